/* Streams of one model in turns and in threads, and threads that disturb each other on one stream.
 *
 *     test_threads [MODEL]
 *
 * With a MODEL, a small one for valgrind, the pictures are smaller and the rounds fewer than with the built-in one. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 7, LATENTS = 3, STREAMS = 4, LONG_FRAMES = 4001, LONG_LATENTS = 1001 };

/* A clip, its latents, and what becomes of them again. */
typedef struct clip {
    wfvae_model *model;
    uint32_t width, height;
    unsigned seed;
    wfvae *stream;
    wfvae_frame in[FRAMES], out[FRAMES];
    unsigned char *latents, *pixels; /* pixels: of in, then of out */
    size_t frame_size, latent_size, latents_out, latents_in, frames_out;
} clip;

/* One call that takes longer than any test waits. All of its frames lie in the same memory. */
typedef struct long_call {
    wfvae *stream;
    wfvae_frame *frames;
    void *latents, *pixels;
    int decodes;
    wfvae_status status;
} long_call;

static const char *path;
static int quick;

static void *allocate(size_t size)
{
    void *memory = calloc(1, size);

    must(memory != NULL, "memory");
    return memory;
}

/* ---- a time limit for each test, so that a deadlock fails and says where ---- */

/* Many times what the slowest takes; valgrind is slower still. */
enum { LIMIT = 300, LIMIT_QUICK = 900 };
/* What the header says that a thread needs. */
enum { STACK = 256 << 10 };

static const char *volatile in_progress;

/* Only what a signal handler may call. */
static void too_long(int signal)
{
    const char *texts[] = {"FAILED ", in_progress, ": it hangs; this is where it was stopped\n"};
    size_t i;

    (void)signal;
    for (i = 0; i < sizeof texts / sizeof *texts; i++)
        if (write(STDOUT_FILENO, texts[i], strlen(texts[i])) < 0)
            break;
    abort();
}

static void begin_test(const char *name)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = too_long;
    sigaction(SIGALRM, &action, NULL);
    in_progress = name;
    alarm(quick ? LIMIT_QUICK : LIMIT);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static wfvae_model *open_model(void)
{
    wfvae_model_options options = {0};
    wfvae_model *model;

    options.struct_size = sizeof options;
    options.n_threads = 2;
    must(!wfvae_model_open(path, &options, &model), "model");
    return model;
}

static wfvae *create(wfvae_model *model, uint32_t width, uint32_t height)
{
    wfvae_options options = {0};
    wfvae *stream;

    options.struct_size = sizeof options;
    options.width = width;
    options.height = height;
    must(!wfvae_create(model, &options, &stream), "stream");
    return stream;
}

static wfvae_info info_of(const wfvae *stream)
{
    wfvae_info info = {0};

    info.struct_size = sizeof info;
    must(!wfvae_get_info(stream, &info), "info");
    return info;
}

static void describe(wfvae_frame *frame, uint32_t width, uint32_t height, void *pixels)
{
    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    frame->format = WFVAE_PIXEL_FORMAT_RGB8;
    frame->width = width;
    frame->height = height;
    frame->planes[0] = pixels;
    frame->strides[0] = (ptrdiff_t)(3 * width);
}

/* ---- clips ---- */

static clip make_clip(wfvae_model *model, unsigned seed, uint32_t width, uint32_t height)
{
    clip c = {0};
    size_t i;

    c.model = model;
    c.seed = seed;
    c.width = width;
    c.height = height;
    c.frame_size = 3 * (size_t)width * height;
    c.pixels = allocate(2 * FRAMES * c.frame_size);
    for (i = 0; i < FRAMES * c.frame_size; i++)
        c.pixels[i] = (unsigned char)((i / c.frame_size * 9 + i * (3 + seed) + i * i % 61) % 251);
    for (i = 0; i < FRAMES; i++) {
        describe(&c.in[i], width, height, c.pixels + i * c.frame_size);
        describe(&c.out[i], width, height, c.pixels + (FRAMES + i) * c.frame_size);
    }
    return c;
}

static void start(clip *c)
{
    c->stream = create(c->model, c->width, c->height);
    c->latent_size = info_of(c->stream).encoded_size;
    c->latents = allocate(LATENTS * c->latent_size);
    must(!wfvae_set_frame_count(c->stream, FRAMES), "frame count");
}

/* Frame t goes through; FRAMES ends the clip. */
static void step(clip *c, size_t t)
{
    unsigned char *latent = c->latents + c->latents_out * c->latent_size;
    const size_t room = LATENTS - c->latents_out;
    size_t written;

    if (t < FRAMES)
        must(!wfvae_encode_chunk(c->stream, &c->in[t], 1, latent, room, &written), "encode");
    else
        must(!wfvae_encode_flush(c->stream, latent, room, &written), "encode flush");
    c->latents_out += written;
    if (written) {
        must(!wfvae_decode_chunk(c->stream, latent, written, c->out + c->frames_out, FRAMES - c->frames_out, &written),
             "decode");
        c->frames_out += written;
    }
    if (t == FRAMES) {
        must(!wfvae_decode_flush(c->stream, c->out + c->frames_out, FRAMES - c->frames_out, &written), "decode flush");
        c->frames_out += written;
    }
}

static void *play(void *argument)
{
    clip *c = argument;
    size_t t;

    start(c);
    for (t = 0; t <= FRAMES; t++)
        step(c, t);
    wfvae_destroy(c->stream);
    return NULL;
}

static int same(const clip *a, const clip *b)
{
    return a->latents_out == LATENTS && b->latents_out == LATENTS && a->frames_out == FRAMES &&
           b->frames_out == FRAMES && !memcmp(a->latents, b->latents, LATENTS * a->latent_size) &&
           !memcmp(a->pixels, b->pixels, 2 * FRAMES * a->frame_size);
}

static void drop(clip *c)
{
    free(c->latents);
    free(c->pixels);
}

static clip make_nth(wfvae_model *model, size_t n)
{
    return make_clip(model, (unsigned)n, (uint32_t)(8 + 8 * n), quick ? 8 : 24);
}

/* Each clip as it is when nothing else happens. */
static clip alone[STREAMS];

static void test_turns(wfvae_model *model)
{
    clip a = make_nth(model, 0), b = make_nth(model, 1);
    size_t t;

    start(&a);
    start(&b);
    for (t = 0; t <= FRAMES; t++) {
        step(&a, t);
        step(&b, t);
    }
    result("two streams in turns", same(&a, &alone[0]) && same(&b, &alone[1]));
    wfvae_destroy(a.stream);
    wfvae_destroy(b.stream);
    drop(&a);
    drop(&b);
}

/* On a new model, so that all threads want its weights at once. One stream stays when it is closed. */
static void test_threads(void)
{
    wfvae_model *model = open_model();
    wfvae_model_info info = {0};
    pthread_t threads[STREAMS];
    clip clips[STREAMS], late;
    int round, rounds = quick ? 1 : 5, ok = 1;
    size_t i;

    for (round = 0; round < rounds; round++) {
        for (i = 0; i < STREAMS; i++)
            clips[i] = make_nth(model, i);
        for (i = 0; i < STREAMS; i++)
            must(!pthread_create(&threads[i], NULL, play, &clips[i]), "thread");
        for (i = 0; i < STREAMS; i++) {
            pthread_join(threads[i], NULL);
            ok = ok && same(&clips[i], &alone[i]);
            drop(&clips[i]);
        }
    }
    result("four streams in four threads", ok);
    info.struct_size = sizeof info;
    must(!wfvae_model_get_info(model, &info), "model info");
    result("weights are loaded once", info.sessions == 4);

    late = make_nth(model, 2);
    start(&late);
    wfvae_model_close(model);
    for (i = 0; i <= FRAMES; i++)
        step(&late, i);
    result("a model closed before its stream", same(&late, &alone[2]));
    wfvae_destroy(late.stream);
    drop(&late);
}

/* All that a host may do in a thread of its own. */
static void *play_alone(void *argument)
{
    clip *c = argument;
    wfvae_snapshot *snapshot;

    c->model = open_model();
    play(c);
    c->stream = create(c->model, c->width, c->height);
    must(!wfvae_snapshot_create(c->stream, &snapshot) && !wfvae_snapshot_restore(c->stream, snapshot), "snapshot");
    wfvae_snapshot_destroy(snapshot);
    wfvae_destroy(c->stream);
    wfvae_model_close(c->model);
    return NULL;
}

static void test_small_stack(void)
{
    clip c = make_nth(NULL, 3);
    pthread_attr_t attributes;
    pthread_t thread;

    must(!pthread_attr_init(&attributes) && !pthread_attr_setstacksize(&attributes, STACK), "stack");
    must(!pthread_create(&thread, &attributes, play_alone, &c), "thread");
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
    result("a thread with the stack that the header asks for", same(&c, &alone[3]));
    drop(&c);
}

/* ---- two threads on one stream ---- */

static long_call make_long_call(wfvae *stream, int decodes)
{
    const wfvae_info info = info_of(stream);
    long_call call = {0};
    size_t i;

    call.stream = stream;
    call.decodes = decodes;
    call.frames = allocate(LONG_FRAMES * sizeof *call.frames);
    call.pixels = allocate(3 * (size_t)info.width * info.height);
    call.latents = allocate(LONG_LATENTS * info.latent_size);
    for (i = 0; i < LONG_FRAMES; i++)
        describe(&call.frames[i], info.width, info.height, call.pixels);
    return call;
}

static void drop_long_call(long_call *call)
{
    free(call->frames);
    free(call->pixels);
    free(call->latents);
}

static wfvae_status run(long_call *call)
{
    size_t written;

    if (call->decodes)
        return wfvae_decode_chunk(call->stream, call->latents, LONG_LATENTS, call->frames, LONG_FRAMES, &written);
    return wfvae_encode_chunk(call->stream, call->frames, LONG_FRAMES, call->latents, LONG_LATENTS, &written);
}

static void *run_in_thread(void *argument)
{
    long_call *call = argument;

    /* begin() may be inside when this comes. */
    do
        call->status = run(call);
    while (call->status == WFVAE_STATUS_BUSY);
    return NULL;
}

static void pause_for(long milliseconds)
{
    struct timespec time = {0, 0};

    time.tv_nsec = milliseconds * 1000000;
    nanosleep(&time, NULL);
}

/* Returns when the call has been under way for some time. */
static pthread_t begin(long_call *call, long milliseconds)
{
    wfvae_info info = {0};
    pthread_t thread;
    int tries = 0;

    info.struct_size = sizeof info;
    must(!pthread_create(&thread, NULL, run_in_thread, call), "thread");
    while (wfvae_get_info(call->stream, &info) != WFVAE_STATUS_BUSY) {
        must(tries++ < 10000, "the call never began");
        pause_for(1);
    }
    pause_for(milliseconds);
    return thread;
}

static int all_busy(wfvae *stream, const long_call *call)
{
    wfvae_info info = {0};
    float latents[4] = {0};
    wfvae_frame frame = *call->frames;
    wfvae_snapshot *snapshot = NULL;
    wfvae *fork = NULL;
    size_t n = 9, written[4] = {9, 9, 9, 9};
    int ok;

    info.struct_size = sizeof info;
    ok = wfvae_encode_chunk(stream, &frame, 1, latents, 0, &written[0]) == WFVAE_STATUS_BUSY &&
         wfvae_encode_flush(stream, latents, 0, &written[1]) == WFVAE_STATUS_BUSY &&
         wfvae_decode_chunk(stream, latents, 1, &frame, 0, &written[2]) == WFVAE_STATUS_BUSY &&
         wfvae_decode_flush(stream, &frame, 0, &written[3]) == WFVAE_STATUS_BUSY &&
         wfvae_reset(stream) == WFVAE_STATUS_BUSY && wfvae_set_frame_count(stream, 1) == WFVAE_STATUS_BUSY &&
         wfvae_get_info(stream, &info) == WFVAE_STATUS_BUSY &&
         wfvae_encode_count(stream, 1, &n) == WFVAE_STATUS_BUSY &&
         wfvae_encode_flush_count(stream, &n) == WFVAE_STATUS_BUSY &&
         wfvae_decode_count(stream, 1, &n) == WFVAE_STATUS_BUSY &&
         wfvae_decode_flush_count(stream, &n) == WFVAE_STATUS_BUSY &&
         wfvae_snapshot_create(stream, &snapshot) == WFVAE_STATUS_BUSY &&
         wfvae_snapshot_restore(stream, NULL) == WFVAE_STATUS_BUSY && wfvae_fork(stream, &fork) == WFVAE_STATUS_BUSY;
    return ok && !snapshot && !fork && !written[0] && !written[1] && !written[2] && !written[3] &&
           strstr(wfvae_last_error(NULL), "another thread");
}

/* A few frames through a stream that was reset. The numbers begin with the frames, as they did before the trouble. */
static void short_call(wfvae *stream, wfvae_frame *frames, void *latents, unsigned char *pixels, size_t frame_size)
{
    wfvae_frame out[3];
    size_t i, written;

    for (i = 0; i < 3; i++)
        describe(&out[i], frames->width, frames->height, pixels + i * frame_size);
    must(!wfvae_encode_chunk(stream, frames, 5, latents, 2, &written) && written == 2, "encode");
    must(!wfvae_decode_chunk(stream, latents, 2, out, 3, &written) && written == 3, "decode");
}

static void test_cancel(wfvae_model *model, int decodes)
{
    const uint32_t width = quick ? 32 : 640, height = quick ? 24 : 480;
    const size_t frame_size = 3 * (size_t)width * height;
    wfvae *stream = create(model, width, height);
    const size_t latent_size = info_of(stream).latent_size;
    unsigned char *numbers = allocate(2 * (2 * latent_size + 3 * frame_size));
    unsigned char *again = numbers + 2 * latent_size + 3 * frame_size;
    long_call call = make_long_call(stream, decodes);
    const char *verb = decodes ? "decode" : "encode";
    int round, rounds = quick ? 1 : 8, cancelled = 0, busy = 0;
    double start, worst = 0;
    pthread_t thread;
    char name[80];

    memset(call.pixels, 90, frame_size / 2);
    short_call(stream, call.frames, numbers, numbers + 2 * latent_size, frame_size);
    for (round = 0; round < rounds; round++) {
        must(!wfvae_reset(stream), "reset");
        thread = begin(&call, 5 + 9 * round);
        busy += all_busy(stream, &call);
        start = now();
        must(!wfvae_cancel(stream), "cancel");
        pthread_join(thread, NULL);
        cancelled += call.status == WFVAE_STATUS_CANCELLED;
        if (now() - start > worst)
            worst = now() - start;
    }
    snprintf(name, sizeof name, "cancelled in %s, after %.1f ms at most", verb, worst * 1e3);
    result(name, cancelled == rounds && worst < (quick ? 60 : 1));
    snprintf(name, sizeof name, "busy in %s", verb);
    result(name, busy == rounds);
    snprintf(name, sizeof name, "only the cancelled call leaves a text, %s", verb);
    result(name, strstr(wfvae_last_error(stream), "cancelled") != NULL);
    snprintf(name, sizeof name, "%s again without reset", verb);
    result(name, run(&call) == WFVAE_STATUS_NEEDS_RESET && info_of(stream).needs_reset == 1);
    must(!wfvae_reset(stream), "reset");

    memset(call.pixels, 0, frame_size);
    memset(call.pixels, 90, frame_size / 2);
    short_call(stream, call.frames, again, again + 2 * latent_size, frame_size);
    snprintf(name, sizeof name, "the same numbers after a cancelled %s", verb);
    result(name, !memcmp(numbers, again, 2 * latent_size + 3 * frame_size));
    wfvae_destroy(stream);
    drop_long_call(&call);
    free(numbers);
}

/* Cancels that come at any moment: before, in, between and after calls and resets. */

typedef struct canceller {
    wfvae *stream;
    int rounds;
} canceller;

static void *cancel_often(void *argument)
{
    const canceller *c = argument;
    int i;

    for (i = 0; i < c->rounds; i++) {
        wfvae_cancel(c->stream);
        pause_for(i % 4);
    }
    return NULL;
}

static void test_many_cancels(wfvae_model *model)
{
    clip c = make_nth(model, 0);
    canceller other = {NULL, quick ? 10 : 1000};
    int counts[2] = {0, 0}, others = 0, i;
    wfvae_status status;
    pthread_t thread;
    size_t t, written;

    start(&c);
    other.stream = c.stream;
    must(!pthread_create(&thread, NULL, cancel_often, &other), "thread");
    for (i = 0; i < other.rounds; i++) {
        must(!wfvae_reset(c.stream), "reset");
        status = wfvae_encode_chunk(c.stream, c.in, 5, c.latents, 2, &written);
        if (status == WFVAE_STATUS_OK || status == WFVAE_STATUS_CANCELLED) {
            counts[status == WFVAE_STATUS_CANCELLED]++;
        } else {
            printf("   %d: %s\n", (int)status, wfvae_last_error(c.stream));
            others++;
        }
    }
    pthread_join(thread, NULL);
    must(!wfvae_reset(c.stream) && !wfvae_set_frame_count(c.stream, FRAMES), "reset");
    for (t = 0; t <= FRAMES; t++)
        step(&c, t);
    printf("   %d calls whole, %d cancelled\n", counts[0], counts[1]);
    result("many cancels", !others && same(&c, &alone[0]));
    wfvae_destroy(c.stream);
    drop(&c);
}

static void test_destroy(wfvae_model *model)
{
    wfvae *stream = create(model, quick ? 32 : 320, quick ? 24 : 240);
    long_call call = make_long_call(stream, 0);
    pthread_t thread = begin(&call, 20);

    wfvae_destroy(stream);
    pthread_join(thread, NULL);
    result("destroyed in encode", call.status == WFVAE_STATUS_CANCELLED);
    drop_long_call(&call);
}

/* A thread that is ending has lost its thread-local text, and may still call. */

static pthread_key_t ending;

static void call_at_the_end(void *status)
{
    if (wfvae_last_error(NULL))
        *(wfvae_status *)status = wfvae_reset(NULL);
}

static void *fail_and_end(void *status)
{
    wfvae_reset(NULL);
    pthread_setspecific(ending, status);
    return NULL;
}

static void test_ending_thread(void)
{
    wfvae_status status = WFVAE_STATUS_OK;
    pthread_t thread;

    must(!pthread_key_create(&ending, call_at_the_end), "key");
    must(!pthread_create(&thread, NULL, fail_and_end, &status), "thread");
    pthread_join(thread, NULL);
    result("calls of an ending thread", status == WFVAE_STATUS_INVALID_ARGUMENT);
    pthread_key_delete(ending);
}

int main(int argc, char **argv)
{
    wfvae_model *model;
    size_t i;

    quick = argc > 1;
    path = quick ? argv[1] : NULL;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    begin_test("each clip alone");
    model = open_model();
    for (i = 0; i < STREAMS; i++) {
        alone[i] = make_nth(model, i);
        play(&alone[i]);
    }
    begin_test("two streams in turns");
    test_turns(model);
    begin_test("streams in threads");
    test_threads();
    begin_test("a small stack");
    test_small_stack();
    begin_test("cancel of encode");
    test_cancel(model, 0);
    begin_test("cancel of decode");
    test_cancel(model, 1);
    begin_test("many cancels");
    test_many_cancels(model);
    begin_test("destroy in encode");
    test_destroy(model);
    begin_test("an ending thread");
    test_ending_thread();

    begin_test("closing the model");
    for (i = 0; i < STREAMS; i++)
        drop(&alone[i]);
    wfvae_model_close(model);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
