/* Models that are opened and closed, and streams that are created and destroyed. Some of these encode, take snapshots, fork or write
 * latent files, and between them are calls that fail. */
#define _GNU_SOURCE

#include "os.h"
#include "soak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 16, CLIP = 9, PATH = 1200 };

/* First those that open fastest, which most opens take. */
static const char *const names[] = {"own-v2-image", "own-cv-frames", "own-v2-groupnorm", NULL,      "own-v2-2x",
                                    "own-v2-thw",   "own-v2-8x",     "v1-image",         "v1-tiny", "own-noattn"};
enum { FAST = 3, BUILTIN = 3, KINDS = sizeof names / sizeof *names };

static char paths[KINDS][PATH], folder[1000];
static kind kinds[KINDS];
static clip clips[KINDS];
static uint64_t random_state;
static wfvae_snapshot *foreign; /* of the built-in model */

static struct {
    unsigned long long models, streams, clips, snapshots, forks, files, refused;
} counts;

static int one_in(size_t n)
{
    return chance(&random_state, n) == 0;
}

static const char *in_folder(const char *name)
{
    static char path[2][PATH];
    static int which;

    which = !which;
    snprintf(path[which], PATH, "%s/%s", folder, name);
    return path[which];
}

/* ---- files of the test ---- */

/* Copies the first bytes of a file. */
static void copy(const char *from, const char *to, long size)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    int byte;

    MUST(in && out, "%s cannot be copied to %s", from, to);
    while (size-- > 0 && (byte = getc(in)) != EOF)
        putc(byte, out);
    fclose(in);
    MUST(!fclose(out), "%s", to);
}

static void make_files(void)
{
    char from[PATH];

    MUST(!os_temporary_folder(folder, sizeof folder), "no temporary folder");
    MUST(!os_make_folder(in_folder("cut")) && !os_make_folder(in_folder("broken")), "folders");
    snprintf(from, sizeof from, "%s/own-v2-image/config.json", set.golden);
    copy(from, in_folder("cut/config.json"), 1 << 20);
    copy(from, in_folder("broken/config.json"), 100);
    snprintf(from, sizeof from, "%s/own-v2-image/model.safetensors", set.golden);
    copy(from, in_folder("cut/model.safetensors"), 20000);
    copy(from, in_folder("broken/model.safetensors"), 1 << 20);
}

static void remove_files(void)
{
    static const char *const files[] = {"cut/config.json",          "cut/model.safetensors", "broken/config.json",
                                        "broken/model.safetensors", "z.safetensors",         "cut",
                                        "broken"};
    size_t i;

    for (i = 0; i < sizeof files / sizeof *files; i++)
        remove(in_folder(files[i]));
    MUST(!rmdir(folder), "%s is not empty", folder);
}

/* ---- calls that fail ---- */

#define REFUSED(wanted, call)                                                                                                           \
    do {                                                                                                                                \
        const wfvae_status got = (call);                                                                                                \
        MUST(got == WFVAE_STATUS_##wanted && *wfvae_last_error(NULL), #call " gave %d", (int)got);                                      \
        counts.refused++;                                                                                                               \
    } while (0)

static void fails_to_open(void)
{
    wfvae_model_options options = {0};
    wfvae_latent_reader *reader;
    wfvae_snapshot *snapshot;
    wfvae_model *model;

    options.struct_size = sizeof options;
    REFUSED(IO, wfvae_model_open(in_folder("missing"), NULL, &model));
    REFUSED(CONFIG, wfvae_model_open(in_folder("broken"), NULL, &model));
    REFUSED(CHECKPOINT, wfvae_model_open(in_folder("cut"), NULL, &model));
    options.provider = 99;
    REFUSED(INVALID_ARGUMENT, wfvae_model_open(NULL, &options, &model));
    options.provider = 0;
    options.runtime_path = "/missing/libonnxruntime.so";
    REFUSED(INVALID_STATE, wfvae_model_open(NULL, &options, &model));
    REFUSED(IO, wfvae_latent_reader_open(in_folder("missing"), &reader));
    REFUSED(LATENT_FILE, wfvae_latent_reader_open(in_folder("cut/config.json"), &reader));
    REFUSED(INVALID_ARGUMENT, wfvae_snapshot_read(folder, sizeof folder, &snapshot));
}

static void fails_to_create(const kind *k)
{
    wfvae_options options = {0};
    wfvae_stream *stream;

    options.struct_size = sizeof options;
    options.width = k->width + 1;
    options.height = k->height;
    REFUSED(INVALID_SIZE, wfvae_create(k->model, &options, &stream));
    options.width = k->width;
    options.directions = 8;
    REFUSED(INVALID_ARGUMENT, wfvae_create(k->model, &options, &stream));
    options.directions = 0;
    options.memory_limit = 1;
    options.clip_frames = CLIP;
    REFUSED(OUT_OF_MEMORY, wfvae_create(k->model, &options, &stream));
}

static void fails_on(wfvae_stream *stream, const kind *k, const clip *c)
{
    wfvae_latent_writer *writer;
    wfvae_frame frames[CLIP];
    size_t written;

    describe(k, frames, CLIP, c->in);
    REFUSED(CAPACITY, wfvae_encode_chunk(stream, frames, CLIP, NULL, 0, &written));
    frames[CLIP - 1].format = 99;
    REFUSED(INVALID_ARGUMENT, wfvae_encode_chunk(stream, frames, CLIP, c->latents, c->n_latents, &written));
    REFUSED(IO, wfvae_latent_writer_create(stream, in_folder("missing/z.safetensors"), NULL, &writer));
    if (k->path)
        REFUSED(INVALID_ARGUMENT, wfvae_snapshot_restore(stream, foreign));
}

/* ---- what a stream does ---- */

static void clip_through(wfvae_stream *stream, const kind *k, const clip *c)
{
    MUST(!wfvae_reset(stream), "reset");
    MUST(plays(stream, k, c), "a clip of %s differs", k->path ? k->path : "the built-in model");
    counts.clips++;
}

/* Leaves the stream inside a clip. */
static void snapshots(wfvae_stream *stream, const kind *k, const clip *c)
{
    wfvae_snapshot *snapshot, *copied;
    wfvae_frame frames[CLIP];
    wfvae_stream *fork;
    unsigned char *bytes, *latent = allocate(c->n_latents * k->latent_size);
    size_t size, written;

    describe(k, frames, CLIP, c->in);
    MUST(!wfvae_reset(stream) && !wfvae_encode_chunk(stream, frames, CLIP, latent, c->n_latents, &written), "encode");
    MUST(!wfvae_snapshot_create(stream, &snapshot), "snapshot");
    size = wfvae_snapshot_size(snapshot);
    bytes = allocate(size);
    MUST(!wfvae_snapshot_write(snapshot, bytes, size, &written), "write");
    MUST(!wfvae_snapshot_read(bytes, size, &copied) && !wfvae_snapshot_restore(stream, copied), "restore");
    wfvae_snapshot_destroy(copied);
    REFUSED(INVALID_ARGUMENT, wfvae_snapshot_read(bytes, size - 1, &copied));
    bytes[size / 2] ^= 1;
    REFUSED(INVALID_ARGUMENT, wfvae_snapshot_read(bytes, size, &copied));
    MUST(!wfvae_fork(stream, &fork) && !wfvae_snapshot_restore(fork, snapshot), "fork");
    wfvae_destroy(fork);
    wfvae_snapshot_destroy(snapshot);
    free(bytes);
    free(latent);
    counts.snapshots += 2;
    counts.forks++;
}

static void latent_file(wfvae_stream *stream, const kind *k, const clip *c)
{
    const char *path = in_folder("z.safetensors");
    const size_t size = c->n_latents * k->latent_size;
    unsigned char *read = allocate(size);
    wfvae_latent_file_info info = {0};
    wfvae_latent_writer *writer;
    wfvae_latent_reader *reader;

    MUST(!wfvae_latent_writer_create(stream, path, NULL, &writer), "writer");
    MUST(!wfvae_latent_writer_write(writer, c->latents, c->n_latents), "write");
    /* One that is not finished leaves no file. */
    if (!one_in(4)) {
        MUST(!wfvae_latent_writer_finish(writer, c->n_frames) && !wfvae_latent_reader_open(path, &reader), "finish");
        info.struct_size = sizeof info;
        MUST(!wfvae_latent_reader_get_info(reader, &info) && info.n_latents == c->n_latents, "info");
        MUST(!wfvae_latent_reader_check_stream(reader, stream), "check");
        MUST(!wfvae_latent_reader_read(reader, 0, c->n_latents, WFVAE_LATENT_TYPE_F32, read) && !memcmp(read, c->latents, size),
             "the file's latents differ");
        wfvae_latent_reader_close(reader);
    }
    wfvae_latent_writer_destroy(writer);
    free(read);
    counts.files++;
}

/* What the first stream of a model does. */
static void work(wfvae_stream *stream, const kind *k, const clip *c, uint32_t directions)
{
    const int encodes = directions != WFVAE_DIRECTION_DECODE;

    if (encodes && one_in(4))
        latent_file(stream, k, c);
    if (!directions && one_in(8))
        fails_on(stream, k, c);
    if (!directions && one_in(2))
        clip_through(stream, k, c);
    if (encodes && one_in(4))
        snapshots(stream, k, c);
    if (one_in(8))
        wfvae_cancel(stream);
}

/* Two of three models get no stream, as the first one loads the weights, which takes most of the time; the others three on average. */
static void open_one(void)
{
    const size_t which = chance(&random_state, one_in(4) ? KINDS : FAST), n = one_in(3) ? 2 + chance(&random_state, 3) : 0;
    const clip *c = &clips[which];
    const uint32_t directions = one_in(3) ? 0 : one_in(2) ? WFVAE_DIRECTION_ENCODE : WFVAE_DIRECTION_DECODE;
    kind k = kinds[which];
    wfvae_stream *streams[4];
    size_t i;

    if (one_in(8))
        fails_to_open();
    k.model = open_model(k.path, one_in(16) ? 2 : 1);
    counts.models++;
    if (one_in(8))
        fails_to_create(&k);
    for (i = 0; i < n; i++) {
        streams[i] = create(&k, directions);
        counts.streams++;
        if (!i)
            work(streams[i], &k, c, directions);
    }
    if (one_in(2)) {
        wfvae_model_close(k.model);
        k.model = NULL;
    }
    for (i = n; i-- > 0;) {
        if (i && !directions && one_in(4))
            clip_through(streams[i], &k, c);
        wfvae_destroy(streams[i]);
    }
    wfvae_model_close(k.model);
}

void part_open(void)
{
    uint64_t n;
    size_t i;

    random_state = set.seed;
    make_files();
    for (i = 0; i < KINDS; i++) {
        if (names[i])
            snprintf(paths[i], PATH, "%s/%s", set.golden, names[i]);
        kinds[i] = make_kind(names[i] ? paths[i] : NULL, open_model(names[i] ? paths[i] : NULL, 1), SIDE, SIDE);
        clips[i] = make_clip(&kinds[i], (unsigned)i, CLIP);
        if (i == BUILTIN) {
            wfvae_stream *stream = create(&kinds[i], 0);

            MUST(!wfvae_snapshot_create(stream, &foreign), "snapshot");
            wfvae_destroy(stream);
        }
        wfvae_model_close(kinds[i].model);
        kinds[i].model = NULL;
    }
    samples_open();
    sample(0, 0);
    for (n = 1; n <= set.count; n++) {
        if (plant_bit(n >= set.count / 2))
            *clips[0].latents ^= 1;
        open_one();
        plant_something(n);
        if (sample_is_due() || n == set.count)
            sample(n, 0);
    }
    samples_close();
    wfvae_snapshot_destroy(foreign);
    for (i = 0; i < KINDS; i++)
        drop_clip(&clips[i]);
    remove_files();
    printf("%llu models opened and closed with %llu streams; %llu clips as they should be, %llu snapshots, %llu forks, %llu latent "
           "files, %llu calls refused\n",
           counts.models, counts.streams, counts.clips, counts.snapshots, counts.forks, counts.files, counts.refused);
}
