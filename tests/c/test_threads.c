/* Streams of one model in turns and in threads, threads with a small stack, and threads that are ending. */
#define _POSIX_C_SOURCE 200809L

#include "threads.h"

enum { STREAMS = 4 };
/* What the header says that a thread needs. */
enum { STACK = 256 << 10 };

/* Each clip as it is when nothing else runs. */
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

/* Uses a new model, so that all threads need its weights at once. One stream outlives the model's handle. */
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

/* What a host may do in a thread of its own. */
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

/* A thread that is ending has lost its thread-local error text, and may still call the library. */

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

    threads_begin(argc, argv);
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
    begin_test("an ending thread");
    test_ending_thread();

    begin_test("closing the model");
    for (i = 0; i < STREAMS; i++)
        drop(&alone[i]);
    wfvae_model_close(model);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
