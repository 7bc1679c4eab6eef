/* What calls.c holds: models that stay open, streams, and calls on these. */
#ifndef CALLS_H
#define CALLS_H

#include "frames.h"
#include "statuses.h"

#include <pthread.h>

enum { MODELS = 6, STREAMS = 3, SNAPSHOTS = 2 };

struct model {
    wfvae_model *handle;
    wfvae_model_info info;
};

struct stream {
    wfvae_stream *handle; /* or NULL */
    struct model *model;
    wfvae_options options;
    int cancelled; /* a cancellation waits for the next call */
};

static struct model models[MODELS];
static struct stream streams[STREAMS];

static void forget(struct stream *stream)
{
    wfvae_destroy(stream->handle);
    memset(stream, 0, sizeof *stream);
}

/* Zeros without a stream. */
static wfvae_info info_of(const struct stream *stream)
{
    wfvae_info info;

    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    if (stream->handle)
        EXPECT(wfvae_get_info(stream->handle, &info) == WFVAE_STATUS_OK);
    return info;
}

static int same_place(const wfvae_info *a, const wfvae_info *b)
{
    return a->frames_in == b->frames_in && a->latents_out == b->latents_out && a->latents_in == b->latents_in &&
           a->frames_out == b->frames_out;
}

/* ---- what another thread does during a call ---- */

enum { NOTHING, CANCELS, LOOKS, USES, COPIES };

static struct side {
    wfvae_stream *stream;
    int what;
    unsigned delay;
} side;

static void *side_main(void *unused)
{
    wfvae_progress progress = {0};
    wfvae_info info = {0};
    wfvae_snapshot *snapshot = NULL;

    progress.struct_size = sizeof progress;
    info.struct_size = sizeof info;
    /* Without sched_yield(), with which this would take seconds on a busy machine. */
    for (unsigned i = 0; i < 100 * side.delay && !progress.steps_total; i++) {
        EXPECT(wfvae_get_progress(side.stream, &progress) == WFVAE_STATUS_OK);
        EXPECT(progress.steps_done <= progress.steps_total);
    }
    if (side.what == CANCELS)
        EXPECT(wfvae_cancel(side.stream) == WFVAE_STATUS_OK);
    if (side.what == USES)
        check_status("wfvae_get_info", wfvae_get_info(side.stream, &info), OK | BUSY, 0, 0);
    if (side.what == COPIES) {
        check_status("wfvae_snapshot_create", wfvae_snapshot_create(side.stream, &snapshot), OK | BUSY | RESET | NOT_FINITE, 0, 0);
        wfvae_snapshot_destroy(snapshot);
    }
    return unused;
}

/* ---- encode and decode calls ---- */

/* A call on a stream, and what its results must be. */
struct work {
    struct stream *stream;
    int encodes, flushes;
    size_t given;           /* frames or latents */
    wfvae_frame *frames;    /* an array, or NULL */
    const wfvae_frames *at_distances;
    void *latents;
    size_t capacity, count; /* count: what it will write */
    int counted;            /* the library says so */
    int verdict;            /* of the arguments */
};

static wfvae_status run(struct work *work, size_t *written)
{
    wfvae_stream *stream = work->stream->handle;

    if (work->encodes && work->flushes)
        return wfvae_encode_flush(stream, work->latents, work->capacity, written);
    if (work->encodes && work->at_distances)
        return wfvae_encode_frames(stream, work->at_distances, work->latents, work->capacity, written);
    if (work->encodes)
        return wfvae_encode_chunk(stream, work->frames, work->given, work->latents, work->capacity, written);
    if (work->flushes && work->at_distances)
        return wfvae_decode_flush_frames(stream, work->at_distances, written);
    if (work->flushes)
        return wfvae_decode_flush(stream, work->frames, work->capacity, written);
    if (work->at_distances)
        return wfvae_decode_frames(stream, work->latents, work->given, work->at_distances, written);
    return wfvae_decode_chunk(stream, work->latents, work->given, work->frames, work->capacity, written);
}

/* Runs it and checks what came of it. */
static wfvae_status run_checked(struct input *in, struct work *work)
{
    struct stream *stream = work->stream;
    const wfvae_info before = info_of(stream);
    const int whole = stream->handle && (stream->model->info.whole_clips || stream->options.clip_frames);
    int allowed = OK | ARGUMENT | SIZE | CAPACITY | NOT_FINITE;
    size_t written = 77, *result = &written;
    pthread_t thread;

    if (seldom(in)) {
        result = NULL;
        mark(&work->verdict, BAD);
    }
    side.what = stream->handle && below(in, 8) == 1 ? 1 + (int)below(in, 4) : NOTHING;
    side.stream = stream->handle;
    side.delay = take(in);
    if (side.what != NOTHING)
        EXPECT(pthread_create(&thread, NULL, side_main, NULL) == 0);
    const wfvae_status status = run(work, result);
    if (side.what != NOTHING)
        EXPECT(pthread_join(thread, NULL) == 0);
    if (side.what == USES || side.what == COPIES)
        allowed |= BUSY;
    if (side.what == CANCELS)
        stream->cancelled = 1;
    if (stream->cancelled)
        allowed |= CANCELLED;
    if (before.needs_reset)
        allowed = RESET | ARGUMENT | (allowed & BUSY);
    if (!work->counted)
        allowed |= STATE;
    const int done = check_status("a call on a stream", status, allowed,
                                  work->verdict == GOOD && stream->handle && work->counted && !whole && !before.needs_reset,
                                  work->verdict == BAD || !stream->handle);
    const wfvae_info after = info_of(stream);
    if (done) {
        EXPECT(written == work->count && work->counted);
        const size_t given = work->flushes ? 0 : work->given;
        EXPECT(after.frames_in == before.frames_in + (work->encodes ? given : 0));
        EXPECT(after.latents_in == before.latents_in + (work->encodes ? 0 : given));
        EXPECT(after.latents_out == before.latents_out + (work->encodes ? written : 0));
        EXPECT(after.frames_out == before.frames_out + (work->encodes ? 0 : written));
        EXPECT(!after.needs_reset);
    } else {
        EXPECT(!result || written == 0);
        EXPECT(!stream->handle || status == WFVAE_STATUS_BUSY || !result || *wfvae_last_error(stream->handle));
        if (status == WFVAE_STATUS_CANCELLED)
            EXPECT(after.needs_reset);
        else if (status != WFVAE_STATUS_NOT_FINITE)
            EXPECT(after.needs_reset == before.needs_reset);
        if (!after.needs_reset)
            EXPECT(same_place(&before, &after));
    }
    return status;
}

/* Memory for latents: of exactly so many, or none, or not aligned. `read`: with values. */
static void *latent_memory(struct input *in, size_t count, size_t size, int half, int read, int *verdict)
{
    const struct layout *const values = &LAYOUTS[half ? 13 : 7];
    unsigned char *memory = block(count * size + 1);

    /* The last byte is for what is not aligned. */
    if (seldom(in) && count) {
        mark(verdict, BAD);
        if (below(in, 2))
            return NULL;
        fill(memory, count * size + 1, values, 0);
        return memory + 1;
    }
    memory = block(count * size);
    if (read)
        fill(memory, count * size, values, take(in));
    return memory;
}

/* Mostly what is needed. */
static size_t capacity_for(struct input *in, size_t count, int *verdict)
{
    if (!seldom(in))
        return count + below(in, 2);
    const size_t capacities[] = {0, count - (count > 0), count + 3};
    const size_t capacity = capacities[below(in, 3)];
    if (capacity < count)
        mark(verdict, BAD);
    return capacity;
}

static void choose_encode(struct input *in, struct work *work)
{
    struct stream *stream = work->stream;
    const wfvae_info info = info_of(stream);
    const uint32_t width = stream->handle ? info.width : 8, height = stream->handle ? info.height : 8;

    work->encodes = 1;
    work->verdict = GOOD;
    work->given = work->flushes ? 0 : 1 + below(in, 9);
    work->counted = (work->flushes ? wfvae_encode_flush_count(stream->handle, &work->count) :
                     wfvae_encode_count(stream->handle, work->given, &work->count)) == WFVAE_STATUS_OK;
    EXPECT(work->counted || work->count == 0);
    if (!work->flushes && below(in, 2)) {
        work->at_distances = frames_at_distances(in, width, height, (int)work->given, &work->verdict);
    } else if (!work->flushes) {
        work->frames = frame_array(in, width, height, (int)work->given, &work->verdict);
        if (seldom(in)) {
            const size_t counts[] = {0, 65537, SIZE_MAX};
            work->given = counts[below(in, 3)];
            mark(&work->verdict, BAD);
        }
        if (seldom(in)) {
            work->frames = NULL;
            mark(&work->verdict, BAD);
        }
    }
    work->capacity = capacity_for(in, work->count, &work->verdict);
    int memory = GOOD;
    work->latents = latent_memory(in, work->capacity, (size_t)info.encoded_size, stream->options.latent_type == 1, 0, &memory);
    /* Where nothing is written, it is not looked at. */
    if (memory == BAD)
        mark(&work->verdict, work->count ? BAD : UNSURE);
}

static void choose_decode(struct input *in, struct work *work)
{
    struct stream *stream = work->stream;
    const wfvae_info info = info_of(stream);
    const uint32_t width = stream->handle ? info.width : 8, height = stream->handle ? info.height : 8;
    int frames = GOOD;

    work->verdict = GOOD;
    work->given = work->flushes ? 0 : 1 + below(in, 3);
    work->counted = (work->flushes ? wfvae_decode_flush_count(stream->handle, &work->count) :
                     wfvae_decode_count(stream->handle, work->given, &work->count)) == WFVAE_STATUS_OK;
    EXPECT(work->counted || work->count == 0);
    EXPECT(work->count <= 40);
    if (!work->flushes) {
        work->latents = latent_memory(in, work->given, (size_t)info.latent_size, stream->options.latent_type == 1, 1, &work->verdict);
        if (seldom(in)) {
            const size_t counts[] = {0, 65537, SIZE_MAX};
            work->given = counts[below(in, 3)];
            mark(&work->verdict, BAD);
        }
    }
    work->capacity = capacity_for(in, work->count, &work->verdict);
    if (work->capacity && below(in, 2)) {
        work->at_distances = frames_at_distances(in, width, height, (int)work->capacity, &frames);
    } else {
        /* Only those that are written are looked at. */
        work->frames = frame_array(in, width, height, (int)(work->capacity < work->count ? work->capacity : work->count), &frames);
        if (seldom(in)) {
            work->frames = NULL;
            frames = BAD;
        }
    }
    if (frames != GOOD)
        mark(&work->verdict, frames == BAD && work->count ? BAD : UNSURE);
}

static void call_encode(struct input *in)
{
    struct work work = {.stream = &streams[below(in, STREAMS)]};

    choose_encode(in, &work);
    run_checked(in, &work);
}

static void call_decode(struct input *in)
{
    struct work work = {.stream = &streams[below(in, STREAMS)]};

    choose_decode(in, &work);
    run_checked(in, &work);
}

static void call_flush(struct input *in)
{
    struct work work = {.stream = &streams[below(in, STREAMS)], .flushes = 1};

    if (below(in, 2))
        choose_encode(in, &work);
    else
        choose_decode(in, &work);
    run_checked(in, &work);
}

/* The same call after a snapshot and after going back to it: the same results, to the bit. */
static void call_twice(struct input *in)
{
    struct work work = {.stream = &streams[below(in, STREAMS)]};
    wfvae_snapshot *snapshot = NULL;
    size_t written[2] = {0};
    wfvae_status status[2];
    unsigned char *first, *second;

    if (!work.stream->handle || work.stream->cancelled || wfvae_snapshot_create(work.stream->handle, &snapshot))
        return;
    choose_encode(in, &work);
    const size_t size = work.count * (size_t)info_of(work.stream).encoded_size;
    work.capacity = work.count;
    work.latents = first = block(size);
    status[0] = run(&work, &written[0]);
    EXPECT(wfvae_snapshot_restore(work.stream->handle, snapshot) == WFVAE_STATUS_OK);
    work.latents = second = block(size);
    status[1] = run(&work, &written[1]);
    EXPECT(status[0] == status[1] && written[0] == written[1]);
    EXPECT(status[0] != WFVAE_STATUS_OK || !memcmp(first, second, size));
    wfvae_snapshot_destroy(snapshot);
}

#endif
