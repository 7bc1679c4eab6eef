/* STREAMS streams of two models over WORKERS threads. In each turn a worker takes a stream that no other holds, and goes on with its
 * clip, or does something else: resets it, takes or restores a snapshot, puts a fork in the place of another stream, makes a new
 * one, or forks the process. Another thread cancels streams at any time. Whatever a stream writes must be what an undisturbed stream
 * wrote for this place of this clip. */
#define _GNU_SOURCE

#include "flag.h"
#include "soak.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STREAMS = 16, WORKERS = 4, KINDS = 2, CLIPS = 4, KEPT = 8, CHUNK = 7, CHILD_SECONDS = 120 };

static const size_t lengths[CLIPS] = {1, 10, 23, 41};

static kind kinds[KINDS];
static clip clips[KINDS][CLIPS];

/* How far a stream or a snapshot is. */
typedef struct point {
    size_t clip, frames_in, latents_out, latents_in, frames_out;
    int flushed; /* the encoder */
} point;

typedef struct place {
    pthread_mutex_t turn; /* of the worker that uses the stream */
    pthread_mutex_t handle; /* `stream` may be cancelled */
    wfvae_stream *stream;
    size_t kind;
    point at;
} place;

typedef struct kept {
    pthread_mutex_t lock;
    wfvae_snapshot *snapshot;
    point at;
} kept;

static place places[STREAMS];
static kept keeps[KINDS][KEPT];

/* Workers hold it for reading in a turn, the sampler for writing. */
static pthread_rwlock_t gate;
static flag over = FLAG;

typedef struct counts {
    unsigned long long turns, clips, latents, frames, cancelled, resets, snapshots, restored, forks, created, children, children_opened;
} counts;

typedef struct worker {
    pthread_t thread;
    uint64_t random;
    int first; /* of the workers */
    counts n;
} worker;

/* ---- clips ---- */

static void begin_clip(place *p, worker *w)
{
    memset(&p->at, 0, sizeof p->at);
    p->at.clip = chance(&w->random, CLIPS);
    MUST(!wfvae_set_frame_count(p->stream, lengths[p->at.clip]), "frame count");
}

static void reset(place *p, worker *w)
{
    MUST(!wfvae_reset(p->stream), "reset");
    begin_clip(p, w);
    w->n.resets++;
}

/* Takes a snapshot that was kept; 0: there is none. */
static int restore(place *p, worker *w)
{
    kept *from = &keeps[p->kind][chance(&w->random, KEPT)];
    int found;

    pthread_mutex_lock(&from->lock);
    found = from->snapshot != NULL;
    if (found) {
        MUST(!wfvae_snapshot_restore(p->stream, from->snapshot), "restore");
        p->at = from->at;
        w->n.restored++;
    }
    pthread_mutex_unlock(&from->lock);
    return found;
}

/* Whether a call succeeded. One that was cancelled needs a reset or a snapshot, and until then all calls fail. */
static int succeeded(place *p, worker *w, wfvae_status status, const char *name)
{
    wfvae_snapshot *snapshot;

    if (!status)
        return 1;
    MUST(status == WFVAE_STATUS_CANCELLED, "%s gave %d: %s", name, (int)status, wfvae_last_error(p->stream));
    w->n.cancelled++;
    MUST(wfvae_snapshot_create(p->stream, &snapshot) == WFVAE_STATUS_NEEDS_RESET && !snapshot, "a snapshot of a cancelled call");
    if (chance(&w->random, 2) || !restore(p, w))
        reset(p, w);
    return 0;
}

static void same(const unsigned char *found, const unsigned char *expected, size_t size, const place *p, const char *name)
{
    MUST(!memcmp(found, expected, size), "stream %d, %s %zu of clip %zu: %s differ", (int)(p - places),
         p->at.flushed ? "after the flush, frame" : "frame", p->at.frames_in, p->at.clip, name);
}

static void encode(place *p, worker *w)
{
    const kind *k = &kinds[p->kind];
    const clip *c = &clips[p->kind][p->at.clip];
    size_t n = 1 + chance(&w->random, CHUNK), written = 0, size;
    unsigned char *latents = allocate(CHUNK * k->latent_size);
    wfvae_frame frames[CHUNK];
    wfvae_status status;

    if (n > c->n_frames - p->at.frames_in)
        n = c->n_frames - p->at.frames_in;
    if (n) {
        describe(k, frames, n, c->in + p->at.frames_in * k->frame_size);
        status = wfvae_encode_chunk(p->stream, frames, n, latents, CHUNK, &written);
    } else {
        status = wfvae_encode_flush(p->stream, latents, CHUNK, &written);
    }
    if (succeeded(p, w, status, "encode")) {
        size = written * k->latent_size;
        if (size && w->first && plant_bit(seconds_since_start() > set.seconds / 2))
            *latents ^= 1;
        MUST(p->at.latents_out + written <= c->n_latents, "too many latents");
        same(latents, c->latents + p->at.latents_out * k->latent_size, size, p, "latents");
        p->at.frames_in += n;
        p->at.flushed = !n;
        p->at.latents_out += written;
        w->n.latents += written;
    }
    free(latents);
}

static void decode(place *p, worker *w)
{
    const kind *k = &kinds[p->kind];
    const clip *c = &clips[p->kind][p->at.clip];
    const size_t left = p->at.latents_out - p->at.latents_in, room = CHUNK * k->group + 1;
    size_t n = left ? 1 + chance(&w->random, left < CHUNK ? left : CHUNK) : 0, written = 0;
    unsigned char *out = allocate(room * k->frame_size);
    wfvae_frame *frames = allocate(room * sizeof *frames);
    wfvae_status status;

    describe(k, frames, room, out);
    if (n)
        status = wfvae_decode_chunk(p->stream, c->latents + p->at.latents_in * k->latent_size, n, frames, room, &written);
    else
        status = wfvae_decode_flush(p->stream, frames, room, &written);
    if (succeeded(p, w, status, "decode")) {
        MUST(p->at.frames_out + written <= c->n_frames, "too many frames");
        same(out, c->out + p->at.frames_out * k->frame_size, written * k->frame_size, p, "frames");
        p->at.latents_in += n;
        p->at.frames_out += written;
        w->n.frames += written;
        if (!n) {
            MUST(p->at.frames_out == c->n_frames && p->at.latents_in == c->n_latents, "the clip ends after %zu frames", p->at.frames_out);
            w->n.clips++;
            reset(p, w);
        }
    }
    free(frames);
    free(out);
}

static void go_on(place *p, worker *w)
{
    const int can_decode = p->at.latents_in < p->at.latents_out || p->at.flushed;

    if (p->at.flushed || (can_decode && chance(&w->random, 2)))
        decode(p, w);
    else
        encode(p, w);
}

/* ---- other turns ---- */

static void keep(place *p, worker *w)
{
    kept *to = &keeps[p->kind][chance(&w->random, KEPT)];
    wfvae_snapshot *snapshot, *copied;
    unsigned char *bytes;
    size_t size;

    MUST(!wfvae_snapshot_create(p->stream, &snapshot), "snapshot");
    if (chance(&w->random, 2)) {
        size = wfvae_snapshot_size(snapshot);
        bytes = allocate(size);
        MUST(!wfvae_snapshot_write(snapshot, bytes, size, &size) && !wfvae_snapshot_read(bytes, size, &copied), "a snapshot's bytes");
        wfvae_snapshot_destroy(snapshot);
        snapshot = copied;
        free(bytes);
    }
    pthread_mutex_lock(&to->lock);
    wfvae_snapshot_destroy(to->snapshot);
    to->snapshot = snapshot;
    to->at = p->at;
    pthread_mutex_unlock(&to->lock);
    w->n.snapshots++;
}

/* Cancels come for the old stream or for the new one. */
static void replace(place *p, wfvae_stream *by)
{
    wfvae_stream *old;

    pthread_mutex_lock(&p->handle);
    old = p->stream;
    p->stream = by;
    pthread_mutex_unlock(&p->handle);
    wfvae_destroy(old);
}

static void fork_stream(place *p, worker *w)
{
    place *to = &places[chance(&w->random, STREAMS)];
    wfvae_stream *fork;

    if (to == p || to->kind != p->kind || pthread_mutex_trylock(&to->turn))
        return;
    MUST(!wfvae_fork(p->stream, &fork), "fork");
    replace(to, fork);
    to->at = p->at;
    pthread_mutex_unlock(&to->turn);
    w->n.forks++;
}

static void make_new(place *p, worker *w)
{
    replace(p, create(&kinds[p->kind], 0));
    begin_clip(p, w);
    w->n.created++;
}

/* ---- children of fork() ---- */

/* What the header allows a child; it has this thread only. Ends with _exit(). */
static void child(const place *p, wfvae_snapshot *snapshot, int opens)
{
    kind k = kinds[p->kind];
    wfvae_info info = {0};
    wfvae_model_options options = {0};
    wfvae_stream *stream, *made;
    wfvae_status status;
    unsigned char *bytes;
    size_t size, written;

    alarm(CHILD_SECONDS);
    info.struct_size = sizeof info;
    MUST(wfvae_get_info(p->stream, &info) == WFVAE_STATUS_FORKED, "info in a child");
    MUST(wfvae_encode_flush(p->stream, NULL, 0, &written) == WFVAE_STATUS_FORKED, "encode in a child");
    MUST(wfvae_fork(p->stream, &made) == WFVAE_STATUS_FORKED && !made, "fork in a child");
    MUST(wfvae_latents_for_frames(k.model, lengths[1]) == clips[p->kind][1].n_latents, "count in a child");
    wfvae_destroy(p->stream);
    wfvae_model_close(k.model);
    if (opens) {
        options.struct_size = sizeof options;
        options.n_threads = 1;
        status = wfvae_model_open(k.path, &options, &k.model);
        if (status == WFVAE_STATUS_FORKED)
            _exit(EXIT_SUCCESS); /* another thread of the parent was just creating a stream */
        MUST(!status, "open in a child");
        stream = create(&k, 0);
        MUST(plays(stream, &k, &clips[p->kind][1]), "a clip differs in a child");
        if (snapshot)
            MUST(!wfvae_snapshot_restore(stream, snapshot), "restore in a child");
        wfvae_destroy(stream);
        wfvae_model_close(k.model);
    }
    if (snapshot) {
        size = wfvae_snapshot_size(snapshot);
        bytes = allocate(size);
        MUST(!wfvae_snapshot_write(snapshot, bytes, size, &written) && written == size, "a snapshot in a child");
        wfvae_snapshot_destroy(snapshot);
        free(bytes);
    }
    _exit(EXIT_SUCCESS);
}

static void fork_process(place *p, worker *w)
{
    kept *with = &keeps[p->kind][chance(&w->random, KEPT)];
    const int opens = !chance(&w->random, 4);
    int status = 0;
    pid_t id;

    pthread_mutex_lock(&with->lock);
    fflush(stdout);
    id = fork();
    if (id == 0)
        child(p, with->snapshot, opens);
    pthread_mutex_unlock(&with->lock);
    MUST(id > 0 && waitpid(id, &status, 0) == id, "fork");
    MUST(status == 0, "a child ended with %s %d", WIFSIGNALED(status) ? "signal" : "exit code",
         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    w->n.children++;
    w->n.children_opened += opens != 0;
}

/* ---- threads ---- */

static void *work(void *argument)
{
    worker *w = argument;
    place *p;
    size_t what;

    while (!is_up(&over)) {
        pthread_rwlock_rdlock(&gate);
        p = &places[chance(&w->random, STREAMS)];
        if (!pthread_mutex_trylock(&p->turn)) {
            what = chance(&w->random, 10000);
            if (what < 8800)
                go_on(p, w);
            else if (what < 9300)
                keep(p, w);
            else if (what < 9600)
                restore(p, w);
            else if (what < 9800)
                fork_stream(p, w);
            else if (what < 9900)
                reset(p, w);
            else if (what < 9970)
                make_new(p, w);
            else
                fork_process(p, w);
            pthread_mutex_unlock(&p->turn);
            w->n.turns++;
            plant_something(w->n.turns);
        }
        pthread_rwlock_unlock(&gate);
    }
    return NULL;
}

static void pause_for(long microseconds)
{
    struct timespec time = {0, 0};

    time.tv_nsec = microseconds * 1000;
    nanosleep(&time, NULL);
}

static void *cancel(void *argument)
{
    worker *w = argument;
    wfvae_progress progress = {0};
    place *p;

    progress.struct_size = sizeof progress;
    while (!is_up(&over)) {
        pause_for((long)chance(&w->random, 20000));
        p = &places[chance(&w->random, STREAMS)];
        pthread_mutex_lock(&p->handle);
        MUST(!wfvae_get_progress(p->stream, &progress) && progress.steps_done <= progress.steps_total, "progress");
        MUST(!wfvae_cancel(p->stream), "cancel");
        pthread_mutex_unlock(&p->handle);
        w->n.turns++;
    }
    return NULL;
}

static void set_up(worker *w)
{
    static char path[1200];
    pthread_rwlockattr_t attributes;
    size_t i, j;

    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&gate, &attributes);
    snprintf(path, sizeof path, "%s/v1-tiny-8x", set.golden);
    kinds[0] = make_kind(NULL, open_model(NULL, 2), 32, 24);
    kinds[1] = make_kind(path, open_model(path, 2), 16, 16);
    for (i = 0; i < KINDS; i++) {
        for (j = 0; j < CLIPS; j++)
            clips[i][j] = make_clip(&kinds[i], (unsigned)j, lengths[j]);
        for (j = 0; j < KEPT; j++)
            pthread_mutex_init(&keeps[i][j].lock, NULL);
    }
    for (i = 0; i < STREAMS; i++) {
        places[i].kind = i % KINDS;
        pthread_mutex_init(&places[i].turn, NULL);
        pthread_mutex_init(&places[i].handle, NULL);
        places[i].stream = create(&kinds[i % KINDS], 0);
        begin_clip(&places[i], w);
    }
    /* As many snapshots as there will be. */
    for (i = 0; i < 20 * STREAMS; i++) {
        go_on(&places[i % STREAMS], w);
        keep(&places[i % STREAMS], w);
    }
}

static void tear_down(void)
{
    size_t i, j;

    for (i = 0; i < STREAMS; i++) {
        MUST(!wfvae_reset(places[i].stream), "reset");
        MUST(plays(places[i].stream, &kinds[places[i].kind], &clips[places[i].kind][2]), "stream %zu differs at the end", i);
        wfvae_destroy(places[i].stream);
    }
    for (i = 0; i < KINDS; i++) {
        for (j = 0; j < KEPT; j++)
            wfvae_snapshot_destroy(keeps[i][j].snapshot);
        for (j = 0; j < CLIPS; j++)
            drop_clip(&clips[i][j]);
        wfvae_model_close(kinds[i].model);
    }
}

/* Of all workers. */
static counts sum_of(const worker *workers)
{
    unsigned long long sums[sizeof(counts) / sizeof(unsigned long long)] = {0}, its[sizeof sums / sizeof *sums];
    counts all;
    size_t i, j;

    for (i = 0; i < WORKERS; i++) {
        memcpy(its, &workers[i].n, sizeof its);
        for (j = 0; j < sizeof sums / sizeof *sums; j++)
            sums[j] += its[j];
    }
    memcpy(&all, sums, sizeof all);
    return all;
}

static void report(const worker *workers, unsigned long long cancels)
{
    const counts all = sum_of(workers);

    printf("%llu turns: %llu latents, %llu frames and %llu whole clips equal those of an undisturbed stream; %llu cancels, %llu calls "
           "cancelled, %llu resets, %llu snapshots, %llu restored, %llu forks, %llu streams created, %llu child processes, %llu of them "
           "with a model of their own\n",
           all.turns, all.latents, all.frames, all.clips, cancels, all.cancelled, all.resets, all.snapshots, all.restored, all.forks,
           all.created, all.children, all.children_opened);
    /* In fewer turns, what is rare may be left out. */
    MUST(all.turns < 10000 || (all.clips && all.cancelled && all.resets && all.snapshots && all.restored && all.forks && all.created &&
                               all.children && all.children_opened),
         "something was never done");
}

static size_t snapshot_bytes(void)
{
    size_t i, j, sum = 0;

    for (i = 0; i < KINDS; i++)
        for (j = 0; j < KEPT; j++)
            sum += wfvae_snapshot_size(keeps[i][j].snapshot);
    return sum;
}

void part_threads(void)
{
    static worker workers[WORKERS + 1];
    size_t i;

    for (i = 0; i <= WORKERS; i++) {
        workers[i].random = set.seed + (i << 32);
        workers[i].first = !i;
    }
    set_up(&workers[0]);
    samples_open();
    sample(0, snapshot_bytes());
    for (i = 0; i <= WORKERS; i++)
        MUST(!pthread_create(&workers[i].thread, NULL, i < WORKERS ? work : cancel, &workers[i]), "thread");
    while (seconds_since_start() < set.seconds) {
        pause_for(10000);
        if (!sample_is_due())
            continue;
        pthread_rwlock_wrlock(&gate);
        sample(sum_of(workers).turns, snapshot_bytes());
        pthread_rwlock_unlock(&gate);
    }
    set_flag(&over, 1);
    for (i = 0; i <= WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    samples_close();
    tear_down();
    report(workers, workers[WORKERS].n.turns);
}
