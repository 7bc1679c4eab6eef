/* Tests that each option has its effect. Values that are refused are in test_errors_options.c.
 *
 *     test_options GOLDEN
 *
 * GOLDEN holds models of the golden cases. Prints "ok <name>" lines; ends with 1 on failure. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "os.h"

#include <dirent.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIDE 16
#define MOST_BYTES (1 << 22)

static char golden[1024];

static wfvae_model *open_model(const char *name, const wfvae_model_options *given)
{
    char path[1200];
    wfvae_model_options options = *given;
    wfvae_model *model;

    options.struct_size = sizeof options;
    options.provider = WFVAE_PROVIDER_CPU;
    snprintf(path, sizeof path, "%s/%s", golden, name ? name : "");
    must(!wfvae_model_open(name ? path : NULL, &options, &model), "model");
    return model;
}

static wfvae_stream *create(wfvae_model *model, const wfvae_options *given)
{
    wfvae_options options = *given;
    wfvae_stream *stream;

    options.struct_size = sizeof options;
    if (!options.width)
        options.width = options.height = SIDE;
    must(!wfvae_create(model, &options, &stream), "stream");
    return stream;
}

static wfvae_info info_of(const wfvae_stream *stream)
{
    wfvae_info info = {0};

    info.struct_size = sizeof info;
    must(!wfvae_get_info(stream, &info), "stream info");
    return info;
}

static wfvae_memory estimate(wfvae_model *model, const wfvae_options *given)
{
    wfvae_options options = *given;
    wfvae_memory memory = {0};

    options.struct_size = sizeof options;
    memory.struct_size = sizeof memory;
    must(!wfvae_estimate(model, &options, &memory), "estimate");
    return memory;
}

/* Threads that have ended stay visible for a moment. */
static int has_threads(int count)
{
    const struct timespec moment = {0, 10000000};
    int i;

    for (i = 0; i < 1000 && os_thread_count() != count; i++)
        nanosleep(&moment, NULL);
    return os_thread_count() == count;
}

static void test_threads(void)
{
    static const uint32_t counts[] = {1, 2, 3};
    const wfvae_options stream_options = {0};
    const int before = os_thread_count();
    size_t i;

    for (i = 0; i < sizeof counts / sizeof *counts; i++) {
        wfvae_model_options options = {0};
        wfvae_model_info info = {0};
        wfvae_model *model;
        wfvae_stream *stream;

        options.n_threads = counts[i];
        model = open_model("v1-tiny", &options);
        stream = create(model, &stream_options);
        info.struct_size = sizeof info;
        must(!wfvae_model_get_info(model, &info), "model info");
        result("n_threads: each session has so many, less one",
               info.sessions > 0 && has_threads(before + (int)(info.sessions * (counts[i] - 1))));
        wfvae_destroy(stream);
        wfvae_model_close(model);
    }
}

static void test_memory(void)
{
    wfvae_model_options options = {0};
    wfvae_options stream_options = {0};
    wfvae_model *model = open_model("v1-tiny", &options), *other;
    wfvae_stream *single = create(model, &stream_options), *half;
    uint64_t working;

    options.cache_type = WFVAE_CACHE_TYPE_F16;
    other = open_model("v1-tiny", &options);
    half = create(other, &stream_options);
    result("cache_type: less state of both directions",
           info_of(half).encode_state_bytes < info_of(single).encode_state_bytes &&
               info_of(half).decode_state_bytes < info_of(single).decode_state_bytes);
    wfvae_destroy(single);
    wfvae_destroy(half);
    wfvae_model_close(other);

    stream_options.width = stream_options.height = 512;
    working = estimate(model, &stream_options).working_bytes;
    options.cache_type = WFVAE_CACHE_TYPE_F32;
    options.attention_bytes = 1;
    other = open_model("v1-tiny", &options);
    result("attention_bytes: less working memory", estimate(other, &stream_options).working_bytes < working);
    wfvae_model_close(other);
    wfvae_model_close(model);
}

static void test_tiles(void)
{
    const wfvae_model_options model_options = {0};
    wfvae_model *model = open_model("own-noattn", &model_options);
    wfvae_options options = {0};
    wfvae_memory small, large;

    options.width = options.height = 2048;
    options.tiling = WFVAE_TILING_BLENDED;
    options.tile_width = 512;
    options.tile_height = 640;
    options.tile_overlap = 8;
    small = estimate(model, &options);
    result("tile_width and tile_height", small.encode_tile_width == 512 && small.encode_tile_height == 640 &&
                                             small.decode_tile_width == 512 && small.decode_tile_height == 640);
    options.tile_overlap = 256;
    large = estimate(model, &options);
    result("tile_overlap: more tiles", large.encode_tiles > small.encode_tiles && large.decode_tiles > small.decode_tiles);
    options.tile_overlap = 0;
    options.tiling = WFVAE_TILING_EXACT;
    large = estimate(model, &options);
    result("tiling: exact tiles are more than blended ones", large.encode_tiles > small.encode_tiles);
    wfvae_model_close(model);
}

/* The graph of a step or of the whole clip that these options give. */
static size_t graph_of(const wfvae_model_options *options, uint32_t graphs, const char *name, char *bytes)
{
    wfvae_model *model = open_model("v1-tiny", options);
    char folder[1024], path[2048];
    DIR *entries;
    struct dirent *entry;
    FILE *file;
    size_t size;

    must(!os_temporary_folder(folder, sizeof folder), "folder");
    must(!wfvae_model_save_onnx(model, folder, graphs), "graphs");
    wfvae_model_close(model);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    must(file != NULL, name);
    size = fread(bytes, 1, MOST_BYTES, file);
    fclose(file);
    must(size > 0 && size < MOST_BYTES, "the size of a graph");

    entries = opendir(folder);
    must(entries != NULL, "folder");
    while ((entry = readdir(entries))) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(entries);
    rmdir(folder);
    return size;
}

static void test_graphs(void)
{
    static const struct {
        const char *name;
        uint32_t convolution, layout, encode, decode;
    } kinds[] = {
        {"exact", WFVAE_CONVOLUTION_EXACT, 0, 0, 0},
        {"stacked", WFVAE_CONVOLUTION_STACKED, 0, 0, 0},
        {"volume", WFVAE_CONVOLUTION_VOLUME, 0, 0, 0},
        {"stacked, channels last", WFVAE_CONVOLUTION_STACKED, WFVAE_LAYOUT_CHANNELS_LAST, 0, 0},
        {"float16", WFVAE_CONVOLUTION_EXACT, 0, WFVAE_PRECISION_F16, 0},
        /* The last, as it takes a matrix unit. */
        {"bfloat16", WFVAE_CONVOLUTION_EXACT, 0, WFVAE_PRECISION_BF16, 0},
    };
    enum { COUNT = sizeof kinds / sizeof *kinds };
    const size_t count = os_has_matrix_unit() ? COUNT : COUNT - 1;
    wfvae_model_options options = {0};
    char *graphs[COUNT + 1], *changed = malloc(MOST_BYTES);
    size_t sizes[COUNT + 1], i, k, size;
    int differ = 1;

    must(changed != NULL, "memory");
    for (i = 0; i < count; i++) {
        graphs[i] = malloc(MOST_BYTES);
        must(graphs[i] != NULL, "memory");
        options.convolution = kinds[i].convolution;
        options.layout = kinds[i].layout;
        options.encode_precision = kinds[i].encode;
        options.decode_precision = kinds[i].decode;
        sizes[i] = graph_of(&options, WFVAE_GRAPHS_STEPS, "encoder.0.onnx", graphs[i]);
        for (k = 0; k < i; k++)
            if (sizes[i] == sizes[k] && !memcmp(graphs[i], graphs[k], sizes[i])) {
                printf("%s is %s\n", kinds[i].name, kinds[k].name);
                differ = 0;
            }
    }
    result("convolution, layout and encode_precision: the encoder's graphs differ", differ);

    memset(&options, 0, sizeof options);
    options.decode_precision = WFVAE_PRECISION_F16;
    size = graph_of(&options, WFVAE_GRAPHS_STEPS, "encoder.0.onnx", changed);
    result("decode_precision: not the encoder's", size == sizes[0] && !memcmp(changed, graphs[0], size));
    sizes[1] = graph_of(&options, WFVAE_GRAPHS_STEPS, "decoder.0.onnx", graphs[1]);
    options.decode_precision = WFVAE_PRECISION_F32;
    size = graph_of(&options, WFVAE_GRAPHS_STEPS, "decoder.0.onnx", changed);
    result("decode_precision: the decoder's graph", size != sizes[1] || memcmp(changed, graphs[1], size));
    result("graphs: of the clip", graph_of(&options, WFVAE_GRAPHS_CLIP, "encoder.clip.onnx", changed) > 0);
    for (i = 0; i < count; i++)
        free(graphs[i]);
    free(changed);
}

/* Saved graphs are for any runtime, so these three give one graph. They differ in the order of additions. */
static void test_convolutions(void)
{
    static const uint32_t kinds[] = {WFVAE_CONVOLUTION_EXACT, WFVAE_CONVOLUTION_FAST, WFVAE_CONVOLUTION_DIRECT};
    enum { COUNT = sizeof kinds / sizeof *kinds };
    static unsigned char pixels[3 * SIDE * SIDE];
    static float latents[COUNT][16 * (SIDE / 8) * (SIDE / 8)];
    wfvae_frame frame = {0};
    size_t i, written;

    for (i = 0; i < sizeof pixels; i++)
        pixels[i] = (unsigned char)(i * i % 251);
    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_RGB8;
    frame.width = frame.height = SIDE;
    frame.planes[0] = pixels;
    frame.strides[0] = 3 * SIDE;
    for (i = 0; i < COUNT; i++) {
        wfvae_model_options options = {0};
        wfvae_options stream_options = {0};
        wfvae_model *model;
        wfvae_stream *stream;

        options.convolution = kinds[i];
        model = open_model(NULL, &options);
        stream_options.directions = WFVAE_DIRECTION_ENCODE;
        stream = create(model, &stream_options);
        must(info_of(stream).encoded_size == sizeof latents[i], "the size of a latent");
        must(!wfvae_encode_chunk(stream, &frame, 1, latents[i], 1, &written) && written == 1, "encode");
        wfvae_destroy(stream);
        wfvae_model_close(model);
    }
    result("convolution: exact, fast and direct", memcmp(latents[0], latents[1], sizeof latents[0]) &&
                                                      memcmp(latents[0], latents[2], sizeof latents[0]) &&
                                                      memcmp(latents[1], latents[2], sizeof latents[0]));
}

/* A latent file of one model, and a stream of another model of the same sizes. */
static void test_any_encoder(void)
{
    const wfvae_model_options model_options = {0};
    wfvae_model *model = open_model("v1-tiny", &model_options), *other = open_model("v1-tiny-nearest", &model_options);
    wfvae_options options = {0};
    wfvae_latent_writer *writer;
    wfvae_latent_reader *reader;
    const float latent[4 * (SIDE / 8) * (SIDE / 8)] = {0};
    wfvae_stream *encoder = create(model, &options), *decoder;
    char folder[1024], path[1100];
    uint32_t any;

    must(!os_temporary_folder(folder, sizeof folder), "folder");
    snprintf(path, sizeof path, "%s/latents", folder);
    must(!wfvae_latent_writer_create(encoder, path, NULL, &writer) && !wfvae_latent_writer_write(writer, latent, 1) &&
             !wfvae_latent_writer_finish(writer, 1) && !wfvae_latent_reader_open(path, &reader),
         "file");
    for (any = 0; any <= 1; any++) {
        options.any_encoder = any;
        decoder = create(other, &options);
        result(any ? "any_encoder: latents of another encoder are taken" : "any_encoder 0: they are refused",
               wfvae_latent_reader_check_stream(reader, decoder) == (any ? WFVAE_STATUS_OK : WFVAE_STATUS_LATENT_FILE));
        wfvae_destroy(decoder);
    }
    wfvae_latent_reader_close(reader);
    wfvae_latent_writer_destroy(writer);
    wfvae_destroy(encoder);
    wfvae_model_close(other);
    wfvae_model_close(model);
    unlink(path);
    rmdir(folder);
}

/* Copies a file and replaces a name in it by another of the same length. */
static void copy(const char *folder, const char *file, const char *from, const char *to)
{
    static char bytes[MOST_BYTES];
    char path[2048];
    size_t size, i, length = strlen(from);
    FILE *stream;

    snprintf(path, sizeof path, "%s/v1-tiny/%s", golden, file);
    stream = fopen(path, "rb");
    must(stream != NULL, path);
    size = fread(bytes, 1, sizeof bytes, stream);
    fclose(stream);
    must(size < sizeof bytes, "the size of the model");
    for (i = 0; i + length <= size; i++)
        if (!memcmp(bytes + i, from, length))
            memcpy(bytes + i, to, length);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    stream = fopen(path, "wb");
    must(stream && fwrite(bytes, 1, size, stream) == size && !fclose(stream), path);
}

/* Directions 0 means all that the model has. */
static void test_halves(void)
{
    static const struct {
        const char *name, *other;
        uint32_t directions;
    } halves[] = {{"encoder", "\"decoder.", WFVAE_DIRECTION_ENCODE}, {"decoder", "\"encoder.", WFVAE_DIRECTION_DECODE}};
    char folder[1024], path[1100];
    size_t i;

    must(!os_temporary_folder(folder, sizeof folder), "folder");
    copy(folder, "config.json", "-", "-");
    for (i = 0; i < sizeof halves / sizeof *halves; i++) {
        const wfvae_options options = {0};
        wfvae_model_info info = {0};
        wfvae_info stream_info;
        wfvae_model *model;
        wfvae_stream *stream;
        uint32_t has;

        copy(folder, "model.safetensors", halves[i].other, "\"nothing.");
        must(!wfvae_model_open(folder, NULL, &model), halves[i].name);
        info.struct_size = sizeof info;
        must(!wfvae_model_get_info(model, &info), "model info");
        stream = create(model, &options);
        stream_info = info_of(stream);
        has = (stream_info.encode_state_bytes ? WFVAE_DIRECTION_ENCODE : 0) |
              (stream_info.decode_state_bytes ? WFVAE_DIRECTION_DECODE : 0);
        result(i ? "directions 0: the decoder alone" : "directions 0: the encoder alone",
               info.directions == halves[i].directions && has == halves[i].directions &&
                   !info.encoder_identity == !(has & WFVAE_DIRECTION_ENCODE) &&
                   !info.decoder_identity == !(has & WFVAE_DIRECTION_DECODE));
        wfvae_destroy(stream);
        wfvae_model_close(model);
    }
    for (i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, i ? "config.json" : "model.safetensors");
        unlink(path);
    }
    rmdir(folder);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: test_options GOLDEN\n", stderr);
        return EXIT_FAILURE;
    }
    snprintf(golden, sizeof golden, "%s", argv[1]);
    test_threads();
    test_memory();
    test_tiles();
    test_graphs();
    test_convolutions();
    test_any_encoder();
    test_halves();
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
