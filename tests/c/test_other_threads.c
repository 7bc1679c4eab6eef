/* What a thread learns of calls that another thread makes: error texts, and progress.
 *
 *     test_other_threads GOLDEN
 *
 * GOLDEN holds models of the golden cases. Prints "ok <name>" lines; ends with 1 on failure. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "flag.h"
#include "os.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

static char golden[1024], path[1200];

/* ---- error texts ---- */

/* A call that fails, made in a thread of its own. */
typedef struct failing_call {
    void (*make)(struct failing_call *);
    wfvae_status status;
    wfvae_model *model;
    wfvae_stream *stream;
    wfvae_latent_writer *writer;
    char text[200];
} failing_call;

static void *run(void *argument)
{
    failing_call *call = argument;

    call->make(call);
    return NULL;
}

static void make_elsewhere(failing_call *call, void (*make)(failing_call *))
{
    pthread_t thread;

    call->make = make;
    must(!pthread_create(&thread, NULL, run, call) && !pthread_join(thread, NULL), "thread");
}

static void open_missing(failing_call *call)
{
    wfvae_model_options options = {0};
    wfvae_model *none;

    options.struct_size = sizeof options;
    options.error_text = call->text;
    options.error_size = sizeof call->text;
    call->status = wfvae_model_open("/no/such/model", &options, &none);
}

static wfvae_options stream_options(failing_call *call, uint32_t side)
{
    wfvae_options options = {0};

    options.struct_size = sizeof options;
    options.width = options.height = side;
    options.error_text = call->text;
    options.error_size = sizeof call->text;
    return options;
}

static void create_odd(failing_call *call)
{
    wfvae_options options = stream_options(call, 9);
    wfvae_stream *none;

    call->status = wfvae_create(call->model, &options, &none);
}

static void estimate_odd(failing_call *call)
{
    wfvae_options options = stream_options(call, 10);
    wfvae_memory memory = {0};

    memory.struct_size = sizeof memory;
    call->status = wfvae_estimate(call->model, &options, &memory);
}

static void create_writer(failing_call *call)
{
    wfvae_latent_writer_options options = {0};

    options.struct_size = sizeof options;
    options.fps_num = 5;
    options.error_text = call->text;
    options.error_size = sizeof call->text;
    call->status = wfvae_latent_writer_create(call->stream, "/no/such/folder/a.safetensors", &options, &call->writer);
}

static void encode_nothing(failing_call *call)
{
    size_t written;

    call->status = wfvae_encode_chunk(call->stream, NULL, 1, NULL, 0, &written);
}

static void finish_early(failing_call *call)
{
    call->status = wfvae_latent_writer_finish(call->writer, 5);
}

static int has(const failing_call *call, wfvae_status status, const char *part)
{
    if (call->status == status && strstr(call->text, part))
        return 1;
    printf("status %d, text \"%s\"\n", (int)call->status, call->text);
    return 0;
}

/* Memory without a size, for the other calls. They do nothing, and their handles are NULL. */
static void test_half_set(failing_call *call, char *text)
{
    wfvae_model_options opening = {0};
    wfvae_options estimated = stream_options(call, 8);
    wfvae_latent_writer_options writing = {0};
    wfvae_model *model = call->model;
    wfvae_latent_writer *writer = call->writer;
    wfvae_memory memory = {0};

    opening.struct_size = sizeof opening;
    writing.struct_size = sizeof writing;
    memory.struct_size = sizeof memory;
    opening.error_text = estimated.error_text = writing.error_text = text;
    estimated.error_size = 0;
    result("opening with memory without a size",
           wfvae_model_open(NULL, &opening, &model) == WFVAE_STATUS_INVALID_ARGUMENT && !model &&
               strstr(wfvae_last_error(NULL), "wfvae_model_options: error_text"));
    result("estimating with memory without a size",
           wfvae_estimate(call->model, &estimated, &memory) == WFVAE_STATUS_INVALID_ARGUMENT && !memory.total_bytes &&
               strstr(wfvae_last_error(NULL), "wfvae_options: error_text"));
    result("a writer with memory without a size",
           wfvae_latent_writer_create(call->stream, "never", &writing, &writer) == WFVAE_STATUS_INVALID_ARGUMENT &&
               !writer && strstr(wfvae_last_error(NULL), "wfvae_latent_writer_options: error_text"));
}

static void test_error_texts(void)
{
    failing_call call = {0};
    wfvae_options options;
    wfvae_stream *stream;
    char folder[1024], file[1200], guarded[8] = "#######";

    make_elsewhere(&call, open_missing);
    result("opening: the options' text", has(&call, WFVAE_STATUS_IO, "/no/such/model"));
    snprintf(path, sizeof path, "%s/v1-image", golden);
    must(!wfvae_model_open(path, NULL, &call.model), "model");
    make_elsewhere(&call, create_odd);
    result("creating: the options' text", has(&call, WFVAE_STATUS_INVALID_SIZE, "9x9"));
    make_elsewhere(&call, estimate_odd);
    result("estimating: the options' text", has(&call, WFVAE_STATUS_INVALID_SIZE, "10x10"));

    options = stream_options(&call, 8);
    must(!wfvae_create(call.model, &options, &call.stream), "stream");
    result("success: an empty text", !*call.text);
    make_elsewhere(&call, create_writer);
    result("a new writer: the options' text", call.status && has(&call, call.status, ""));
    make_elsewhere(&call, encode_nothing);
    result("a stream keeps its text", strstr(wfvae_last_error(call.stream), "frames is NULL") != NULL);

    must(!os_temporary_folder(folder, sizeof folder), "folder");
    snprintf(file, sizeof file, "%s/a.safetensors", folder);
    must(!wfvae_latent_writer_create(call.stream, file, NULL, &call.writer), "writer");
    result("a writer has no text at first", !*wfvae_latent_writer_last_error(call.writer));
    make_elsewhere(&call, finish_early);
    result("a writer keeps its text", call.status == WFVAE_STATUS_INVALID_STATE &&
                                          strstr(wfvae_latent_writer_last_error(call.writer), "0 latents were written") != NULL);
    result("no text of no writer", !*wfvae_latent_writer_last_error(NULL));
    result("none of this is this thread's text", !strstr(wfvae_last_error(NULL), "latents"));
    wfvae_latent_writer_destroy(call.writer);
    must(!rmdir(folder), "the folder is empty");

    options = stream_options(&call, 9);
    options.error_text = guarded;
    options.error_size = 5;
    result("a long text is cut", wfvae_create(call.model, &options, &stream) == WFVAE_STATUS_INVALID_SIZE &&
                                     strlen(guarded) == 4 && guarded[5] == '#' &&
                                     !strncmp(guarded, wfvae_last_error(NULL), 4));
    options.error_text = NULL;
    stream = call.stream;
    result("a size without memory is refused", wfvae_create(call.model, &options, &stream) ==
                                                       WFVAE_STATUS_INVALID_ARGUMENT &&
                                                   !stream && strstr(wfvae_last_error(NULL), "set both or none"));
    options.error_text = guarded;
    options.error_size = 0;
    result("memory without a size is refused", wfvae_create(call.model, &options, &stream) ==
                                                       WFVAE_STATUS_INVALID_ARGUMENT &&
                                                   strstr(wfvae_last_error(NULL), "set both or none"));
    test_half_set(&call, guarded);
    wfvae_destroy(call.stream);
    wfvae_model_close(call.model);
}

/* Every binding read them after it had closed the model. */
static void test_lasting_strings(void)
{
    wfvae_model_info info = {0};
    wfvae_model *model;

    snprintf(path, sizeof path, "%s/v1-image", golden);
    must(!wfvae_model_open(path, NULL, &model), "model");
    info.struct_size = sizeof info;
    must(!wfvae_model_get_info(model, &info), "info");
    wfvae_model_close(model);
    result("a model's strings outlive it", strstr(info.name, "v1-image") && !strcmp(info.provider, "CPU") &&
                                               *info.runtime_path && *info.runtime_version == '1' && *info.fallback);
}

/* ---- progress ---- */

enum { SIDE = 32, FRAMES = 33 };

/* A stream's calls, made in a thread of their own. */
typedef struct work {
    wfvae_stream *stream;
    unsigned char *pixels;
    void *latents;
    size_t n_latents;
    flag done;
} work;

static wfvae_frames clip_of(const wfvae_frame *first)
{
    wfvae_frames frames = {0};

    frames.struct_size = sizeof frames;
    frames.first = first;
    frames.n_frames = FRAMES;
    frames.frame_strides[0] = 3 * SIDE * SIDE;
    return frames;
}

static wfvae_frame frame_of(unsigned char *pixels)
{
    wfvae_frame frame = {0};

    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_RGB8;
    frame.width = frame.height = SIDE;
    frame.planes[0] = pixels;
    frame.strides[0] = 3 * SIDE;
    return frame;
}

static void *encode(void *argument)
{
    work *w = argument;
    wfvae_frame first = frame_of(w->pixels);
    wfvae_frames frames = clip_of(&first);

    must(!wfvae_encode_frames(w->stream, &frames, w->latents, FRAMES, &w->n_latents), "encode");
    set_flag(&w->done, 1);
    return NULL;
}

static void decode_all(work *w)
{
    wfvae_frame first = frame_of(w->pixels);
    wfvae_frames frames = clip_of(&first);
    size_t written;

    must(!wfvae_decode_frames(w->stream, w->latents, w->n_latents, &frames, &written), "decode");
}

static void *decode(void *argument)
{
    work *w = argument;

    decode_all(w);
    set_flag(&w->done, 1);
    return NULL;
}

/* Before a flush: all but two frames, so that it has a group to complete. */
static void encode_most(work *w)
{
    wfvae_frame first = frame_of(w->pixels);
    wfvae_frames frames = clip_of(&first);

    frames.n_frames = FRAMES - 2;
    must(!wfvae_encode_frames(w->stream, &frames, w->latents, FRAMES, &w->n_latents), "encode");
}

static void *encode_flush(void *argument)
{
    work *w = argument;
    size_t written;

    must(!wfvae_encode_flush(w->stream, w->latents, FRAMES, &written), "encode flush");
    set_flag(&w->done, 1);
    return NULL;
}

static void *decode_flush(void *argument)
{
    work *w = argument;
    wfvae_frame first = frame_of(w->pixels);
    wfvae_frames frames = clip_of(&first);
    size_t written;

    must(!wfvae_decode_flush_frames(w->stream, &frames, &written), "decode flush");
    set_flag(&w->done, 1);
    return NULL;
}

static wfvae_progress progress_of(const wfvae_stream *stream)
{
    wfvae_progress progress = {0};

    progress.struct_size = sizeof progress;
    must(!wfvae_get_progress(stream, &progress), "progress");
    return progress;
}

static wfvae_info info_of(const wfvae_stream *stream)
{
    wfvae_info info = {0};

    info.struct_size = sizeof info;
    must(!wfvae_get_info(stream, &info), "info");
    return info;
}

/* Watches a call until it ends, which is made after `first`, if that is given. Progress never falls, and its total is what the
 * call then has run. On a busy machine the call may end before this thread runs at all: then it is made again. */
static void watch(const char *name, const char *what, work *w, void (*first)(work *), void *(*make)(void *))
{
    wfvae_info before, after;
    wfvae_progress now;
    uint64_t most, total = 0;
    char line[100];
    int ok = 1, i;
    pthread_t thread;

    for (i = 0; i < 200 && !total; i++) {
        must(!wfvae_reset(w->stream), "reset");
        if (first)
            first(w);
        before = info_of(w->stream);
        set_flag(&w->done, 0);
        most = 0;
        must(!pthread_create(&thread, NULL, make, w), "thread");
        while (!is_up(&w->done)) {
            now = progress_of(w->stream);
            if (!now.steps_total)
                continue;
            ok &= now.steps_done <= now.steps_total && now.steps_done >= most && (!total || total == now.steps_total);
            most = now.steps_done;
            total = now.steps_total;
        }
        must(!pthread_join(thread, NULL), "join");
    }
    now = progress_of(w->stream);
    after = info_of(w->stream);
    snprintf(line, sizeof line, "progress: %s, %s, %lu steps", name, what, (unsigned long)total);
    result(line, ok && total && total == after.encode_steps + after.decode_steps - before.encode_steps - before.decode_steps &&
                     !now.steps_done && !now.steps_total);
}

static void test_progress(const char *name, uint32_t tiling, uint64_t clip_frames, int flushes)
{
    wfvae_options options = {0};
    wfvae_model *model;
    work w = {.done = FLAG};
    wfvae_info info;

    snprintf(path, sizeof path, "%s/%s", golden, name);
    must(!wfvae_model_open(path, NULL, &model), "model");
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.tiling = tiling;
    options.tile_width = options.tile_height = tiling ? 16 : 0;
    options.clip_frames = clip_frames;
    must(!wfvae_create(model, &options, &w.stream), "stream");
    info = info_of(w.stream);
    w.pixels = calloc(FRAMES, 3 * SIDE * SIDE);
    w.latents = malloc(FRAMES * info.encoded_size);
    must(w.pixels && w.latents, "memory");
    result("progress: none before a call", !progress_of(w.stream).steps_total);
    watch(name, "encoding", &w, NULL, encode);
    watch(name, "decoding", &w, NULL, decode);
    if (flushes) {
        watch(name, "the end of encoding", &w, encode_most, encode_flush);
        watch(name, "the end of decoding", &w, decode_all, decode_flush);
    }
    wfvae_destroy(w.stream);
    wfvae_model_close(model);
    free(w.pixels);
    free(w.latents);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s GOLDEN\n", argv[0]);
        return 2;
    }
    snprintf(golden, sizeof golden, "%s", argv[1]);
    test_error_texts();
    test_lasting_strings();
    test_progress("v1-tiny", WFVAE_TILING_OFF, 0, 1);
    test_progress("v1-tiny-8x", WFVAE_TILING_OFF, 0, 1);
    test_progress("v1-tiny", WFVAE_TILING_BLENDED, 0, 1);
    test_progress("v1-tiny-8x", WFVAE_TILING_BLENDED, FRAMES, 0);
    test_progress("own-8x-nearest", WFVAE_TILING_OFF, FRAMES, 0);
    test_progress("v1-image", WFVAE_TILING_OFF, 0, 0);
    test_progress("own-v2-groupnorm", WFVAE_TILING_OFF, FRAMES, 0);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
