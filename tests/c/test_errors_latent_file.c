/* Latent files: wrong calls of writer and reader, files that are damaged or do not fit, a full disk. */
#define _POSIX_C_SOURCE 200809L

#include "model_files.h"


static wfvae_status create_writer(const char *path, const wfvae_latent_writer_options *options)
{
    wfvae_latent_writer *writer = (wfvae_latent_writer *)s.stream;
    wfvae_status status = wfvae_latent_writer_create(s.stream, path, options, &writer);

    must(status ? !writer : writer != NULL, "handle");
    wfvae_latent_writer_destroy(writer);
    return status;
}

static wfvae_status open_reader(const char *path)
{
    wfvae_latent_reader *reader = (wfvae_latent_reader *)s.stream;
    wfvae_status status = wfvae_latent_reader_open(path, &reader);

    must(status ? !reader : reader != NULL, "handle");
    wfvae_latent_reader_close(reader);
    return status;
}

static wfvae_status create_newer_writer(uint64_t tail)
{
    struct { wfvae_latent_writer_options options; uint64_t tail; } newer = {{0}, 0};

    newer.options.struct_size = sizeof newer;
    newer.tail = tail;
    return create_writer(path_of(folder, LATENT_FILE), &newer.options);
}

static wfvae_status file_info_of_size(const wfvae_latent_reader *reader, size_t size)
{
    wfvae_latent_file_info info = {0};

    info.struct_size = size;
    return wfvae_latent_reader_get_info(reader, &info);
}

/* Checks the file against a stream of another kind. */
static wfvae_status check_stream(const wfvae_latent_reader *reader, uint32_t width, uint32_t scaled)
{
    wfvae_options options = {0};
    wfvae_stream *stream;
    wfvae_status status;

    options.struct_size = sizeof options;
    options.width = width;
    options.height = SIDE;
    options.scaled = scaled;
    must(!wfvae_create(s.model, &options, &stream), "create");
    status = wfvae_latent_reader_check_stream(reader, stream);
    wfvae_destroy(stream);
    return status;
}

static wfvae_status check_builtin(const wfvae_latent_reader *reader)
{
    wfvae_model *model;
    wfvae_status status;

    must(!wfvae_model_open(NULL, NULL, &model), "model");
    status = wfvae_latent_reader_check_model(reader, model);
    wfvae_model_close(model);
    return status;
}

#define WRITER(name, status, text, change)                                                     \
    do {                                                                                       \
        wfvae_latent_writer_options o = {0};                                                   \
        o.struct_size = sizeof o;                                                              \
        change;                                                                                \
        PLAIN("writer options: " name, status, text, create_writer(path_of(folder, LATENT_FILE), &o)); \
    } while (0)

static void test_latent_writer(void)
{
    const char *path = path_of(folder, LATENT_FILE);
    static char long_note[65538];
    wfvae_latent_writer *writer = NULL;
    wfvae_latent_file_info info = {0};
    wfvae_latent_reader *reader;
    char device[100];

    memset(long_note, 'x', sizeof long_note - 1);
    PLAIN("writer without stream", INVALID_ARGUMENT, "stream is NULL",
          wfvae_latent_writer_create(NULL, path, NULL, &writer));
    PLAIN("writer without path", INVALID_ARGUMENT, "path is NULL", create_writer(NULL, NULL));
    PLAIN("writer without writer", INVALID_ARGUMENT, "writer is NULL",
          wfvae_latent_writer_create(s.stream, path, NULL, NULL));
    PLAIN("writer: empty path", IO, "not the name of a file", create_writer("", NULL));
    PLAIN("writer: a folder", IO, "not a regular file", create_writer(folder, NULL));
    snprintf(device, sizeof device, "%s: exists and is not a regular file", os_null);
    PLAIN("writer: a device", IO, device, create_writer(os_null, NULL));
    PLAIN("writer: no folder", IO, os_no_folder(), create_writer("/no-such-folder/x", NULL));
    WRITER("size 0", INVALID_ARGUMENT, "struct_size is 0, set it to sizeof(wfvae_latent_writer_options)",
           o.struct_size = 0);
    WRITER("size too small", INVALID_ARGUMENT, "struct_size is", o.struct_size--);
    WRITER("size huge", INVALID_ARGUMENT, "struct_size is", o.struct_size = SIZE_MAX);
    WRITER("half a rate", INVALID_ARGUMENT, "fps is 25/0", o.fps_num = 25);
    WRITER("a rate without frames", INVALID_ARGUMENT, "fps is 0/1", o.fps_den = 1);
    WRITER("a note that is not UTF-8", INVALID_ARGUMENT, "note is not UTF-8", o.note = "\xff");
    WRITER("a note that is too long", INVALID_ARGUMENT, "the note has 65537 bytes", o.note = long_note);
    WRITER("the longest note", OK, NULL, o.note = long_note + 1);
    PLAIN("later writer options, not used", OK, NULL, create_newer_writer(0));
    PLAIN("later writer options, used", INVALID_ARGUMENT, "does not know", create_newer_writer(1));
    PLAIN("write without writer", INVALID_ARGUMENT, "writer is NULL",
          wfvae_latent_writer_write(NULL, right_latents, 1));
    PLAIN("finish without writer", INVALID_ARGUMENT, "writer is NULL", wfvae_latent_writer_finish(NULL, 1));
    wfvae_latent_writer_destroy(NULL);

    /* One writer gets all of these calls, and its file is still right in the end. */
    path = path_of(folder, LATENT_FILE);
    PLAIN("writer", OK, NULL, wfvae_latent_writer_create(s.stream, path, NULL, &writer));
    PLAIN("write no latents", OK, NULL, wfvae_latent_writer_write(writer, NULL, 0));
    PLAIN("write without latents", INVALID_ARGUMENT, "latents is", wfvae_latent_writer_write(writer, NULL, 1));
    PLAIN("write misaligned latents", INVALID_ARGUMENT, "aligned to 4 bytes",
          wfvae_latent_writer_write(writer, shifted(s.floats), 1));
    PLAIN("write 65536 latents at NULL", INVALID_ARGUMENT, "latents is", wfvae_latent_writer_write(writer, NULL, 65536));
    PLAIN("write many latents", INVALID_ARGUMENT, "n_latents is 65537, expected at most 65536",
          wfvae_latent_writer_write(writer, right_latents, 65537));
    PLAIN("write most latents", INVALID_ARGUMENT, "n_latents is 18446744073709551615",
          wfvae_latent_writer_write(writer, right_latents, SIZE_MAX));
    PLAIN("finish too early", INVALID_STATE, "0 latents were written, 8 frames have 3",
          wfvae_latent_writer_finish(writer, FRAMES));
    PLAIN("write", OK, NULL, wfvae_latent_writer_write(writer, right_latents, LATENTS));
    PLAIN("finish with no frames", INVALID_ARGUMENT, "0 frames", wfvae_latent_writer_finish(writer, 0));
    PLAIN("finish with most frames", INVALID_STATE, "3 latents were written",
          wfvae_latent_writer_finish(writer, UINT64_MAX));
    PLAIN("nothing before the end", IO, os_no_file(), open_reader(path));
    PLAIN("finish", OK, NULL, wfvae_latent_writer_finish(writer, FRAMES));
    PLAIN("finish twice", INVALID_STATE, "it is finished", wfvae_latent_writer_finish(writer, FRAMES));
    PLAIN("write after the end", INVALID_STATE, "it is finished", wfvae_latent_writer_write(writer, right_latents, 1));
    wfvae_latent_writer_destroy(writer);

    must(!wfvae_latent_reader_open(path, &reader), "reader");
    info.struct_size = sizeof info;
    must(!wfvae_latent_reader_get_info(reader, &info), "info");
    result("file info", info.n_frames == FRAMES && info.n_latents == LATENTS && info.width == SIDE &&
                            info.height == SIDE && !info.padded && info.spatial_compression == 8 && info.temporal_compression == 4 &&
                            info.latent_channels == VALUES && info.latent_width == 1 && info.latent_height == 1 &&
                            info.posterior == WFVAE_POSTERIOR_MEAN && info.latent_type == WFVAE_LATENT_TYPE_F32 &&
                            !info.scaled && !info.fps_num && !info.fps_den && info.scale && info.shift && !*info.note &&
                            !strncmp(info.generator, "libwfvae ", 9));
    wfvae_latent_reader_close(reader);
}

/* All fields for a file in which no two of them are equal by chance. */
static void test_latent_file_info(void)
{
    const char *path = path_of(folder, LATENT_FILE);
    static const float scale[] = {0.6f, 0.9f, 1.2f, 0.75f}, shift[] = {-0.4f, 0.29f, 0.06f, -0.17f};
    const uint16_t latents[2 * 4 * 5 * 3] = {0};
    wfvae_latent_writer_options writer_options = {0};
    wfvae_latent_file_info info = {0};
    wfvae_model_info model_info = {0};
    wfvae_options options = {0};
    wfvae_latent_writer *writer;
    wfvae_latent_reader *reader;
    wfvae_stream *stream;

    options.struct_size = sizeof options;
    options.width = 5 * SIDE - 1;
    options.height = 3 * SIDE;
    options.padding = options.scaled = 1;
    options.directions = WFVAE_DIRECTION_ENCODE;
    options.latent_type = WFVAE_LATENT_TYPE_F16;
    options.posterior = WFVAE_POSTERIOR_SAMPLE;
    options.seed = 1;
    writer_options.struct_size = sizeof writer_options;
    writer_options.fps_num = 30000;
    writer_options.fps_den = 1001;
    writer_options.note = "a note";
    must(!wfvae_create(s.model, &options, &stream) && !wfvae_set_seed(stream, UINT64_MAX - 5) &&
             !wfvae_latent_writer_create(stream, path, &writer_options, &writer) &&
             !wfvae_latent_writer_write(writer, latents, 2) && !wfvae_latent_writer_finish(writer, 4) &&
             !wfvae_latent_reader_open(path, &reader),
         "file");
    info.struct_size = sizeof info;
    model_info.struct_size = sizeof model_info;
    must(!wfvae_latent_reader_get_info(reader, &info) && !wfvae_model_get_info(s.model, &model_info), "info");
    result("file info: model", info.model_identity == model_info.identity &&
                                   info.encoder_identity == model_info.encoder_identity &&
                                   info.decoder_identity == model_info.decoder_identity && info.spatial_compression == 8 &&
                                   info.temporal_compression == 4 && info.latent_channels == 4);
    result("file info: clip", info.n_frames == 4 && info.n_latents == 2 && info.fps_num == 30000 && info.fps_den == 1001);
    result("file info: sizes", info.width == 5 * SIDE - 1 && info.height == 3 * SIDE && info.padded == 1 &&
                                   info.latent_width == 5 * SIDE / 8 && info.latent_height == 3 * SIDE / 8);
    result("file info: latents", info.posterior == WFVAE_POSTERIOR_SAMPLE && info.seed == UINT64_MAX - 5 &&
                                     info.latent_type == WFVAE_LATENT_TYPE_F16 && info.scaled == 1);
    result("file info: lists", !memcmp(info.scale, scale, sizeof scale) && !memcmp(info.shift, shift, sizeof shift));
    result("file info: texts", !strcmp(info.note, "a note") && strstr(info.generator, "libwfvae") == info.generator);
    wfvae_latent_reader_close(reader);
    wfvae_latent_writer_destroy(writer);
    wfvae_destroy(stream);
    remove(path);
}

static void test_latent_reader(void)
{
    const char *path = path_of(folder, LATENT_FILE);
    float latents[LATENTS][VALUES] = {{0}};
    uint16_t halves[VALUES] = {0};
    wfvae_latent_reader *reader;
    size_t size;
    char *bytes;

    must(!wfvae_latent_reader_open(path, &reader), "reader");
    PLAIN("open without path", INVALID_ARGUMENT, "path is NULL", open_reader(NULL));
    PLAIN("open without reader", INVALID_ARGUMENT, "reader is NULL", wfvae_latent_reader_open(path, NULL));
    PLAIN("file info without reader", INVALID_ARGUMENT, "reader is NULL",
          file_info_of_size(NULL, sizeof(wfvae_latent_file_info)));
    PLAIN("file info without info", INVALID_ARGUMENT, "info is NULL", wfvae_latent_reader_get_info(reader, NULL));
    PLAIN("file info: size 0", INVALID_ARGUMENT, "struct_size is 0, set it to sizeof(wfvae_latent_file_info)",
          file_info_of_size(reader, 0));
    PLAIN("file info: size huge", INVALID_ARGUMENT, "struct_size is", file_info_of_size(reader, SIZE_MAX));
    PLAIN("check without reader", INVALID_ARGUMENT, "reader is NULL", wfvae_latent_reader_check_model(NULL, s.model));
    PLAIN("check without model", INVALID_ARGUMENT, "model is NULL", wfvae_latent_reader_check_model(reader, NULL));
    PLAIN("check stream without reader", INVALID_ARGUMENT, "reader is NULL",
          wfvae_latent_reader_check_stream(NULL, s.stream));
    PLAIN("check without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_latent_reader_check_stream(reader, NULL));
    PLAIN("check model", OK, NULL, wfvae_latent_reader_check_model(reader, s.model));
    PLAIN("check stream", OK, NULL, wfvae_latent_reader_check_stream(reader, s.stream));
    PLAIN("check another model", LATENT_FILE, "that of the built-in model is 63a04ed0837b4b59: encoders and decoders differ", check_builtin(reader));
    PLAIN("check another width", LATENT_FILE, "its frames are 8x8, those of the stream 16x8",
          check_stream(reader, 16, 0));
    PLAIN("check another scaling", LATENT_FILE, "its latents are raw, the stream reads scaled ones",
          check_stream(reader, SIDE, 1));

    PLAIN("read without reader", INVALID_ARGUMENT, "reader is NULL", wfvae_latent_reader_read(NULL, 0, 1, 0, latents));
    PLAIN("read without latents", INVALID_ARGUMENT, "latents is", wfvae_latent_reader_read(reader, 0, 1, 0, NULL));
    PLAIN("read to misaligned memory", INVALID_ARGUMENT, "aligned to 4 bytes",
          wfvae_latent_reader_read(reader, 0, 1, 0, shifted(s.floats)));
    PLAIN("read none", INVALID_ARGUMENT, "n_latents is 0", wfvae_latent_reader_read(reader, 0, 0, 0, latents));
    PLAIN("read many", INVALID_ARGUMENT, "n_latents is 65537", wfvae_latent_reader_read(reader, 0, 65537, 0, latents));
    PLAIN("read most", INVALID_ARGUMENT, "n_latents is 18446744073709551615",
          wfvae_latent_reader_read(reader, 0, SIZE_MAX, 0, latents));
    PLAIN("read beyond the end", INVALID_ARGUMENT, "2 latents from latent 2 were asked for, it holds 3",
          wfvae_latent_reader_read(reader, 2, 2, 0, latents));
    PLAIN("read from far beyond the end", INVALID_ARGUMENT, "from latent 18446744073709551615",
          wfvae_latent_reader_read(reader, UINT64_MAX, 1, 0, latents));
    PLAIN("read another type", INVALID_ARGUMENT, "latent_type is 2",
          wfvae_latent_reader_read(reader, 0, 1, 2, latents));
    PLAIN("read moments of means", INVALID_STATE, "it holds the mean, not the moments",
          wfvae_latent_reader_read_moments(reader, 0, 1, 0, latents));
    PLAIN("read moments without reader", INVALID_ARGUMENT, "reader is NULL",
          wfvae_latent_reader_read_moments(NULL, 0, 1, 0, latents));
    PLAIN("read", OK, NULL, wfvae_latent_reader_read(reader, 0, LATENTS, 0, latents));
    result("read, latents", !memcmp(latents, right_latents, sizeof latents));
    PLAIN("read halves", OK, NULL,
          wfvae_latent_reader_read(reader, LATENTS - 1, 1, WFVAE_LATENT_TYPE_F16, halves));
    result("read halves, latent", halves[0] && halves[VALUES - 1]);
    wfvae_latent_reader_close(reader);
    wfvae_latent_reader_close(NULL);

    PLAIN("open: nothing there", IO, "no-such-file", open_reader(path_of(folder, "no-such-file")));
    PLAIN("open: empty path", IO, os_no_folder(), open_reader(""));
    PLAIN("open: a folder", IO, "not a regular file", open_reader(folder));
    PLAIN("open: a device", IO, "not a regular file", open_reader(os_null));
    PLAIN("open: weights", LATENT_FILE, "not a file of latents: found format none",
          (good_files(), open_reader(path_of(folder, WEIGHTS))));
    PLAIN("open: a config", LATENT_FILE, CONFIG_JSON ": a text file",
          open_reader(path_of(folder, CONFIG_JSON)));
    bytes = load(path_of(folder, LATENT_FILE), &size);
    PLAIN("open: cut to 5", LATENT_FILE, "found 5 bytes",
          (put(LATENT_FILE, bytes, 5), open_reader(path_of(folder, LATENT_FILE))));
    PLAIN("open: cut in the header", LATENT_FILE, "truncated or unfinished, or not safetensors",
          (put(LATENT_FILE, bytes, 100), open_reader(path_of(folder, LATENT_FILE))));
    PLAIN("open: cut by one byte", LATENT_FILE, "describes 48 bytes of data, found 47",
          (put(LATENT_FILE, bytes, size - 1), open_reader(path_of(folder, LATENT_FILE))));
    PLAIN("open: one byte more", LATENT_FILE, "describes 48 bytes of data, found 49",
          (put(LATENT_FILE, bytes, size + 1), open_reader(path_of(folder, LATENT_FILE))));
    free(bytes);
    drop(LATENT_FILE);
}

/* On a full disk the writer fails, leaves no file, and can only be destroyed. */
static void test_full_disk(void)
{
    const char *path = path_of(folder, LATENT_FILE);
    wfvae_latent_writer *writer;
    int i, status = 0;

    must(!wfvae_latent_writer_create(s.stream, path, NULL, &writer), "writer");
    if (os_limit_files(4096)) {
        puts("skipped a full disk: the system limits no files");
        wfvae_latent_writer_destroy(writer);
        return;
    }
    for (i = 0; i < 1000 && !status; i++)
        status = wfvae_latent_writer_write(writer, right_latents, LATENTS);
    PLAIN("write to a full disk", IO, "latents.safetensors: File too large", (wfvae_status)status);
    must(!os_limit_files(0), "no limit");
    PLAIN("write after a full disk", INVALID_STATE, "an earlier call failed: File too large",
          wfvae_latent_writer_write(writer, right_latents, 1));
    PLAIN("finish after a full disk", INVALID_STATE, "an earlier call failed",
          wfvae_latent_writer_finish(writer, FRAMES));
    wfvae_latent_writer_destroy(writer);
    PLAIN("nothing after a full disk", IO, os_no_file(), open_reader(path));
}

int main(int argc, char **argv)
{
    clip_open(argc, argv);
    folder_make();
    test_latent_writer();
    test_latent_reader();
    test_latent_file_info();
    test_full_disk();
    folder_remove();
    return clip_close();
}
