/* Threads that disturb each other on one stream: calls while another is running, cancelling and destroying. */
#define _POSIX_C_SOURCE 200809L

#include "threads.h"

enum { LONG_FRAMES = 4001, LONG_LATENTS = 1001 };

/* One call that takes longer than any test waits. All of its frames share the same memory. */
typedef struct long_call {
    wfvae_stream *stream;
    wfvae_frame *frames;
    void *latents, *pixels;
    int decodes;
    wfvae_status status;
} long_call;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static long_call make_long_call(wfvae_stream *stream, int decodes)
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

    /* begin() may be inside a call at this moment. */
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

/* Returns when the call has been running for some time. */
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

static int all_busy(wfvae_stream *stream, const long_call *call)
{
    wfvae_info info = {0};
    float latents[4] = {0};
    wfvae_frame frame = *call->frames;
    wfvae_snapshot *snapshot = NULL;
    wfvae_stream *fork = NULL;
    size_t n = 9, written[4] = {9, 9, 9, 9};
    int ok;

    info.struct_size = sizeof info;
    ok = wfvae_encode_chunk(stream, &frame, 1, latents, 0, &written[0]) == WFVAE_STATUS_BUSY &&
         wfvae_encode_flush(stream, latents, 0, &written[1]) == WFVAE_STATUS_BUSY &&
         wfvae_decode_chunk(stream, latents, 1, &frame, 0, &written[2]) == WFVAE_STATUS_BUSY &&
         wfvae_decode_flush(stream, &frame, 0, &written[3]) == WFVAE_STATUS_BUSY &&
         wfvae_reset(stream) == WFVAE_STATUS_BUSY && wfvae_set_frame_count(stream, 1) == WFVAE_STATUS_BUSY &&
         wfvae_set_seed(stream, 1) == WFVAE_STATUS_BUSY &&
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

/* Passes a few frames through a stream that was reset. */
static void short_call(wfvae_stream *stream, wfvae_frame *frames, void *latents, unsigned char *pixels, size_t frame_size)
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
    wfvae_stream *stream = create(model, width, height);
    const size_t latent_size = info_of(stream).latent_size;
    unsigned char *output = allocate(2 * (2 * latent_size + 3 * frame_size));
    unsigned char *again = output + 2 * latent_size + 3 * frame_size;
    long_call call = make_long_call(stream, decodes);
    const char *verb = decodes ? "decode" : "encode";
    int round, rounds = quick ? 1 : 8, cancelled = 0, busy = 0;
    double start, worst = 0;
    pthread_t thread;
    char name[80];

    memset(call.pixels, 90, frame_size / 2);
    short_call(stream, call.frames, output, output + 2 * latent_size, frame_size);
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
    snprintf(name, sizeof name, "the same output after a cancelled %s", verb);
    result(name, !memcmp(output, again, 2 * latent_size + 3 * frame_size));
    wfvae_destroy(stream);
    drop_long_call(&call);
    free(output);
}

/* Cancels that come at any moment: before, in, between and after calls and resets. */

typedef struct canceller {
    wfvae_stream *stream;
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
    clip c = make_nth(model, 0), alone = make_nth(model, 0);
    canceller other = {NULL, quick ? 10 : 1000};
    int counts[2] = {0, 0}, others = 0, i;
    wfvae_status status;
    pthread_t thread;
    size_t t, written;

    play(&alone);
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
    result("many cancels", !others && same(&c, &alone));
    wfvae_destroy(c.stream);
    drop(&c);
    drop(&alone);
}

static void test_destroy(wfvae_model *model)
{
    wfvae_stream *stream = create(model, quick ? 32 : 320, quick ? 24 : 240);
    long_call call = make_long_call(stream, 0);
    pthread_t thread = begin(&call, 20);

    wfvae_destroy(stream);
    pthread_join(thread, NULL);
    result("destroyed in encode", call.status == WFVAE_STATUS_CANCELLED);
    drop_long_call(&call);
}

int main(int argc, char **argv)
{
    wfvae_model *model;

    threads_begin(argc, argv);
    begin_test("cancel of encode");
    model = open_model();
    test_cancel(model, 0);
    begin_test("cancel of decode");
    test_cancel(model, 1);
    begin_test("many cancels");
    test_many_cancels(model);
    begin_test("destroy in encode");
    test_destroy(model);
    wfvae_model_close(model);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
