/*
 * Calls of the C API in any order. Each byte chooses a call or one of its
 * arguments; pointers lead to as much memory as the header asks for, and not
 * a byte more. After each call: its status is one that the header lists, what
 * it wrote agrees with the counts that were asked for before, and a call that
 * failed left its stream as it was.
 */
#define _POSIX_C_SOURCE 200809L

#include "calls_files.h"

static wfvae_snapshot *snapshots[SNAPSHOTS];

static const char *const NAMES[MODELS] = {"own-v2-image", "own-v2-2x", "own-v2-thw", "v1-tiny-8x", "own-v2-groupnorm", NULL};

static void open_models(void)
{
    const char *golden = getenv("WFVAE_GOLDEN");

    for (int i = 0; i < MODELS; i++) {
        char path[1000];
        wfvae_model_options options = {0};

        snprintf(path, sizeof path, "%s/%s", golden ? golden : "tests/golden", NAMES[i] ? NAMES[i] : "");
        options.struct_size = sizeof options;
        options.n_threads = 1 + (uint32_t)i % 2;
        models[i].info.struct_size = sizeof models[i].info;
        if (wfvae_model_open(NAMES[i] ? path : NULL, &options, &models[i].handle) ||
            wfvae_model_get_info(models[i].handle, &models[i].info)) {
            fprintf(stderr, "%s: %s\n", path, wfvae_last_error(NULL));
            exit(1);
        }
    }
}

/* What the caller has of an error's text. */
struct text {
    char *memory;
    size_t size;
};

static struct text error_text(struct input *in, int *verdict)
{
    struct text text = {NULL, 0};

    if (!seldom(in))
        return text;
    text.size = 1 + take(in);
    text.memory = block(text.size);
    memset(text.memory, 'x', text.size);
    if (seldom(in)) {
        text.size = 0;
        mark(verdict, BAD);
    }
    return text;
}

/* What is of no use as options leaves it as it is. */
static void check_error_text(struct text text, wfvae_status status)
{
    if (text.size && text.memory[0] != 'x')
        EXPECT(memchr(text.memory, '\0', text.size) && (text.size == 1 || !*text.memory == (status == WFVAE_STATUS_OK)));
}

static void call_open(struct input *in)
{
    static const char *const paths[] = {"own-v2-image", "own-v2-2x", "own-v2-image/model.safetensors", "none", "", "v1-tiny/config.json"};
    const char *golden = getenv("WFVAE_GOLDEN");
    const unsigned which = below(in, 6);
    const int no_result = seldom(in);
    wfvae_model_options options = {0};
    wfvae_model *model = NULL;
    int verdict = which < 3 ? GOOD : BAD;
    struct text text;
    char path[1000];

    snprintf(path, sizeof path, "%s/%s", golden ? golden : "tests/golden", paths[which]);
    options.n_threads = 1 + below(in, 3);
    options.check_finite = below(in, 2);
    options.cache_type = below(in, 2);
    options.convolution = below(in, 5);
    options.layout = options.convolution < WFVAE_CONVOLUTION_DIRECT ? 0 : below(in, 2);
    options.attention_bytes = take(in);
    options.provider = WFVAE_PROVIDER_CPU;
    options.log_level = below(in, 6);
    if (seldom(in)) {
        uint32_t *const fields[] = {&options.provider, &options.device, &options.n_threads, &options.check_finite, &options.cache_type,
                                    &options.convolution, &options.layout, &options.encode_precision, &options.decode_precision,
                                    &options.log_level};
        *fields[below(in, 10)] = 2000 + take(in);
        mark(&verdict, BAD);
    }
    if (seldom(in)) {
        static const char *const texts[] = {"", "gpu_mem_limit=1", "=", "x", "\xff", "wfvae_graphs=1,,"};
        options.provider_options = texts[below(in, 6)];
        if (*options.provider_options)
            mark(&verdict, BAD);
    }
    text = error_text(in, &verdict);
    options.error_text = text.memory;
    options.error_size = text.size;
    const void *given = sized(in, sizeof options, &options, &verdict);
    if (no_result)
        mark(&verdict, BAD);
    const wfvae_status status = wfvae_model_open(path, given, no_result ? NULL : &model);
    if (check_status("wfvae_model_open", status, OK | ARGUMENT | IO | MODEL_FILES | PROVIDER, verdict == GOOD, verdict == BAD))
        wfvae_model_close(model);
    else
        EXPECT(!model);
    check_error_text(text, status);
}

static int make_options(struct input *in, const struct model *model, wfvae_options *options)
{
    const uint32_t unit = model->info.spatial_compression;
    int verdict = GOOD;

    memset(options, 0, sizeof *options);
    options->width = unit * (1 + below(in, 3));
    options->height = unit * (1 + below(in, 3));
    if (below(in, 4) == 1) {
        options->padding = 1;
        options->width += below(in, unit);
        options->height -= below(in, unit);
    }
    if (below(in, 4) == 1)
        options->directions = 1 + below(in, 3);
    options->latent_type = below(in, 2);
    options->posterior = below(in, 3);
    options->seed = take(in);
    options->scaled = model->info.has_scaling && options->posterior != WFVAE_POSTERIOR_MOMENTS ? below(in, 2) : 0;
    options->any_encoder = below(in, 2);
    if (below(in, 4) == 1 && (options->directions == 0 || options->directions == 3))
        options->alpha = 1;
    /* Whether these fit is for the library to say. */
    if (below(in, 4) == 1) {
        options->clip_frames = 1 + below(in, 12);
        mark(&verdict, UNSURE);
    }
    if (below(in, 8) == 1) {
        options->tiling = 1 + below(in, 2);
        options->tile_width = below(in, 40);
        options->tile_height = below(in, 40);
        options->tile_overlap = below(in, 24);
        mark(&verdict, UNSURE);
    }
    if (seldom(in)) {
        options->memory_limit = (uint64_t)take(in) << (take(in) % 40);
        mark(&verdict, UNSURE);
    }
    if (seldom(in)) {
        uint32_t *const fields[] = {&options->padding, &options->latent_type, &options->posterior, &options->scaled, &options->tiling,
                                    &options->any_encoder, &options->alpha, &options->frame_memory, &options->latent_memory,
                                    &options->reserved, &options->directions};
        *fields[below(in, 11)] = 4 + take(in);
        mark(&verdict, BAD);
    }
    if (seldom(in)) {
        const uint32_t sizes[] = {0, 1, 32768, 32769, UINT32_MAX, unit - 1, unit + 1};
        uint32_t *const fields[] = {&options->width, &options->height};
        *fields[below(in, 2)] = sizes[below(in, 7)];
        mark(&verdict, UNSURE);
    }
    return verdict;
}

static void call_create(struct input *in)
{
    struct stream *stream = &streams[below(in, STREAMS)];
    struct model *model = &models[below(in, MODELS)];
    wfvae_options options;
    wfvae_stream *handle = NULL;
    int verdict = make_options(in, model, &options), for_estimate;
    wfvae_model *const opened = seldom(in) ? NULL : model->handle;
    struct text text = error_text(in, &verdict);

    options.error_text = text.memory;
    options.error_size = text.size;
    const void *given = sized(in, sizeof options, &options, &verdict);
    if (!opened)
        mark(&verdict, BAD);
    for_estimate = verdict;
    void *result = seldom(in) ? NULL : sized(in, sizeof(wfvae_memory), NULL, &for_estimate);
    if (!result)
        mark(&for_estimate, BAD);
    wfvae_status status = wfvae_estimate(opened, given, result);
    const int estimated = check_status("wfvae_estimate", status, OK | ARGUMENT | SIZE | MEMORY, for_estimate == GOOD, for_estimate == BAD);
    check_error_text(text, status);
    /* A stream of so large frames may be too large for this machine. */
    if (options.width > 64 || options.height > 64)
        return;
    const int no_result = seldom(in);
    if (no_result)
        mark(&verdict, BAD);
    status = wfvae_create(opened, given, no_result ? NULL : &handle);
    const int created = check_status("wfvae_create", status, OK | ARGUMENT | SIZE | MEMORY | PROVIDER, verdict == GOOD, verdict == BAD);
    check_error_text(text, status);
    EXPECT(created == (handle != NULL));
    EXPECT(!created || estimated || for_estimate == BAD);
    if (!created)
        return;
    forget(stream);
    stream->handle = handle;
    stream->model = model;
    stream->options = options;
}

static void call_destroy(struct input *in)
{
    forget(&streams[below(in, STREAMS)]);
    if (seldom(in)) {
        wfvae_destroy(NULL);
        wfvae_snapshot_destroy(NULL);
        wfvae_model_close(NULL);
        wfvae_latent_writer_destroy(NULL);
        wfvae_latent_reader_close(NULL);
    }
}

static void call_fork(struct input *in)
{
    struct stream *from = &streams[below(in, STREAMS)], *to = &streams[below(in, STREAMS)];
    wfvae_stream *handle = NULL;
    const wfvae_info info = info_of(from);

    if (from == to)
        return;
    if (!check_status("wfvae_fork", wfvae_fork(from->handle, &handle), OK | (from->handle ? RESET : ARGUMENT), 0, !from->handle)) {
        EXPECT(!handle && (!from->handle || info.needs_reset));
        return;
    }
    forget(to);
    *to = *from;
    to->handle = handle;
    to->cancelled = 0;
    const wfvae_info forked = info_of(to);
    EXPECT(forked.frames_in == info.frames_in && forked.latents_out == info.latents_out && forked.latents_in == info.latents_in &&
           forked.frames_out == info.frames_out);
}

static void call_snapshot(struct input *in)
{
    struct stream *stream = &streams[below(in, STREAMS)];
    wfvae_snapshot **slot = &snapshots[below(in, SNAPSHOTS)], *handle = NULL;
    const wfvae_info info = info_of(stream);
    size_t size, written = 1;

    if (below(in, 2)) {
        const wfvae_status status = wfvae_snapshot_restore(stream->handle, *slot);
        const wfvae_info after = info_of(stream);
        if (check_status("wfvae_snapshot_restore", status, OK | ARGUMENT | SIZE, 0, !*slot || !stream->handle)) {
            stream->cancelled = 0;
            EXPECT(!after.needs_reset);
        } else {
            EXPECT(!memcmp(&after, &info, sizeof info));
        }
        return;
    }
    if (!check_status("wfvae_snapshot_create", wfvae_snapshot_create(stream->handle, &handle),
                      OK | NOT_FINITE | (stream->handle ? RESET : ARGUMENT), 0, info.needs_reset || !stream->handle)) {
        EXPECT(!handle);
        return;
    }
    /* Bytes are a snapshot again, unless one of them is wrong. */
    size = wfvae_snapshot_size(handle);
    unsigned char *bytes = block(size);
    check_status("wfvae_snapshot_write", wfvae_snapshot_write(handle, bytes, size - 1, &written), CAPACITY, 0, 1);
    EXPECT(written == 0);
    check_status("wfvae_snapshot_write", wfvae_snapshot_write(handle, bytes, size, &written), OK, 1, 0);
    EXPECT(written == size);
    wfvae_snapshot_destroy(*slot);
    check_status("wfvae_snapshot_read", wfvae_snapshot_read(bytes, size, slot), OK, 1, 0);
    wfvae_snapshot_destroy(handle);
    handle = NULL;
    if (below(in, 4) == 1) {
        bytes[take(in) * 251 % size] ^= (unsigned char)(1 + below(in, 255));
        check_status("wfvae_snapshot_read", wfvae_snapshot_read(bytes, size, &handle), ARGUMENT, 0, 1);
        EXPECT(!handle);
        check_status("wfvae_snapshot_read", wfvae_snapshot_read(bytes, take(in) % size, &handle), ARGUMENT, 0, 1);
    }
}

static void call_reset(struct input *in)
{
    struct stream *stream = &streams[below(in, STREAMS)];

    if (!check_status("wfvae_reset", wfvae_reset(stream->handle), stream->handle ? OK : ARGUMENT, 0, 0))
        return;
    stream->cancelled = 0;
    const wfvae_info info = info_of(stream);
    EXPECT(!info.needs_reset && !info.frames_in && !info.latents_out && !info.latents_in && !info.frames_out);
    EXPECT(!*wfvae_last_error(stream->handle));
}

static void call_cancel(struct input *in)
{
    struct stream *stream = &streams[below(in, STREAMS)];

    check_status("wfvae_cancel", wfvae_cancel(stream->handle), stream->handle ? OK : ARGUMENT, 0, 0);
    stream->cancelled = stream->handle != NULL;
}

static void call_set(struct input *in)
{
    struct stream *stream = &streams[below(in, STREAMS)];
    const uint64_t counts[] = {take(in), UINT64_MAX, 0, UINT64_MAX - 1};
    const wfvae_info info = info_of(stream);

    if (below(in, 2)) {
        const int sampling = stream->options.posterior == WFVAE_POSTERIOR_SAMPLE;
        check_status("wfvae_set_seed", wfvae_set_seed(stream->handle, counts[below(in, 4)]), OK | ARGUMENT | STATE, 0,
                     !stream->handle || !sampling || info.frames_in);
    } else {
        const uint64_t count = counts[below(in, 4)];
        check_status("wfvae_set_frame_count", wfvae_set_frame_count(stream->handle, count), OK | ARGUMENT, 0,
                     !stream->handle || count < info.frames_out);
    }
}

static void call_info(struct input *in)
{
    const struct stream *stream = &streams[below(in, STREAMS)];
    const struct model *model = &models[below(in, MODELS)];
    int verdict[3] = {stream->handle ? GOOD : BAD, stream->handle ? GOOD : BAD, GOOD};
    void *info = sized(in, sizeof(wfvae_info), NULL, &verdict[0]), *progress = sized(in, sizeof(wfvae_progress), NULL, &verdict[1]);
    void *of_model = sized(in, sizeof(wfvae_model_info), NULL, &verdict[2]);
    const uint64_t n = (uint64_t)take(in) << (take(in) % 60);

    check_status("wfvae_get_info", wfvae_get_info(stream->handle, info), OK | ARGUMENT, verdict[0] == GOOD, verdict[0] == BAD);
    check_status("wfvae_get_progress", wfvae_get_progress(stream->handle, progress), OK | ARGUMENT, verdict[1] == GOOD, verdict[1] == BAD);
    check_status("wfvae_model_get_info", wfvae_model_get_info(model->handle, of_model), OK | ARGUMENT, verdict[2] == GOOD, verdict[2] == BAD);
    EXPECT(wfvae_last_error(stream->handle) && *wfvae_status_str((int32_t)n));
    EXPECT(!n || wfvae_frames_for_latents(model->handle, wfvae_latents_for_frames(model->handle, n)) >= n);
}

static void call_convert(struct input *in)
{
    const uint32_t width = 1 + below(in, 19), height = 1 + below(in, 11);
    wfvae_frame from, to;
    int verdict = GOOD;

    make_frames(in, &from, width, height, 1, NULL, &verdict);
    make_frames(in, &to, width, height, 1, NULL, &verdict);
    check_status("wfvae_convert_frame", wfvae_convert_frame(&from, &to), OK | ARGUMENT | SIZE | NOT_FINITE, verdict == GOOD, verdict == BAD);
}

/* Each call has bytes of its own, so that a change of one call leaves the others as they are. */
enum { MOST_CALLS = 20, BYTES = 48 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const calls[])(struct input *) = {
        call_create, call_encode, call_decode, call_encode, call_decode, call_flush, call_reset, call_snapshot, call_fork, call_twice,
        call_write_file, call_read_file, call_cancel, call_set, call_info, call_convert, call_destroy, call_open,
    };

    if (!models[0].handle)
        open_models();
    for (size_t at = 0; at < size && at < MOST_CALLS * BYTES; at += BYTES) {
        struct input in = {data + at, size - at < BYTES ? size - at : BYTES};
        calls[below(&in, sizeof calls / sizeof *calls)](&in);
        free_blocks();
    }
    for (int i = 0; i < STREAMS; i++)
        forget(&streams[i]);
    for (int i = 0; i < SNAPSHOTS; i++) {
        wfvae_snapshot_destroy(snapshots[i]);
        snapshots[i] = NULL;
    }
    close_files();
    return 0;
}
