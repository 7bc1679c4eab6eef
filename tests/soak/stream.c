/* One clip that goes on and on through one stream, in calls of random sizes.
 *
 * The frames repeat after PERIOD. So does the network's state, once it has forgotten the clip's start, as it looks at a limited
 * number of earlier frames. A second stream, which gets a period in each call, runs until its state at the end of a period is, bit
 * for bit, the one at the end of the period before. All later periods then equal its last one, and that is what the first stream's
 * results are compared with, each of them, at any length. */
#define _GNU_SOURCE

#include "soak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 16, PERIOD = 32, MOST_PERIODS = 64, CHUNK = 9, ROOM = 2 * PERIOD };

/* Results of the second stream; after the last one, the last `period` come again. */
typedef struct results {
    unsigned char *bytes;
    size_t size, count, period;
} results;

static kind k;
static results latents, frames;
static unsigned char pixels[PERIOD * 3 * SIDE * SIDE], decoded[ROOM * 3 * SIDE * SIDE];
static wfvae_frame in[2 * PERIOD], out[ROOM];

/* Its bytes without the counters and the checksum; docs/formats.md says where these are. */
static unsigned char *state(wfvae_stream *stream, size_t *size)
{
    wfvae_snapshot *snapshot;
    unsigned char *bytes;

    MUST(!wfvae_snapshot_create(stream, &snapshot), "snapshot");
    *size = wfvae_snapshot_size(snapshot);
    bytes = allocate(*size);
    MUST(!wfvae_snapshot_write(snapshot, bytes, *size, size) && *size > 104, "snapshot");
    wfvae_snapshot_destroy(snapshot);
    memset(bytes + 72, 0, 16);
    memset(bytes + *size - 4, 0, 4);
    return bytes;
}

static void decode(wfvae_stream *stream, const void *from, size_t n, size_t *written)
{
    *written = 0;
    MUST(!n || !wfvae_decode_chunk(stream, from, n, out, ROOM, written), "decode");
}

/* The end of the clip, for both streams: the latent of the flush, then frames to `out`. */
static void flush(wfvae_stream *stream, unsigned char *latent, size_t *n_latents, size_t *n_frames)
{
    size_t written;

    MUST(!wfvae_encode_flush(stream, latent, 1, n_latents), "encode flush");
    decode(stream, latent, *n_latents, n_frames);
    MUST(!wfvae_decode_flush(stream, out + *n_frames, ROOM - *n_frames, &written), "decode flush");
    *n_frames += written;
}

static void append(results *r, const unsigned char *bytes, size_t n)
{
    memcpy(r->bytes + r->count * r->size, bytes, n * r->size);
    r->count += n;
}

/* Runs the second stream; the frames after its flush follow those of `frames`, and are not counted. */
static size_t reference(unsigned char **steady, size_t *steady_size, unsigned char *last_latent, unsigned char **last_frames)
{
    wfvae_stream *stream = create(&k, 0);
    unsigned char *before = NULL, *chunk = allocate(PERIOD * k.latent_size);
    size_t size = 0, written, n_latents, n_frames, period;
    int same = 0;

    for (period = 0; !same; period++) {
        MUST(period < MOST_PERIODS, "the state does not repeat within %d frames", MOST_PERIODS * PERIOD);
        MUST(!wfvae_encode_chunk(stream, in, PERIOD, chunk, PERIOD, &n_latents), "encode");
        append(&latents, chunk, n_latents);
        decode(stream, chunk, n_latents, &written);
        append(&frames, decoded, written);
        *steady = state(stream, steady_size);
        same = before && size == *steady_size && !memcmp(before, *steady, size);
        free(before);
        before = *steady;
        size = *steady_size;
    }
    MUST(n_latents == latents.period && written == frames.period, "%zu latents, %zu frames in a period", n_latents, written);
    flush(stream, last_latent, &n_latents, &n_frames);
    MUST(n_latents == 1 && n_frames, "%zu latents, %zu frames in the flush", n_latents, n_frames);
    *last_frames = allocate(n_frames * k.frame_size);
    memcpy(*last_frames, decoded, n_frames * k.frame_size);
    wfvae_destroy(stream);
    free(chunk);
    printf("the state repeats after %zu periods of %d frames, bit for bit\n", period, PERIOD);
    return n_frames;
}

static void compare(const results *r, const unsigned char *found, uint64_t first, size_t n, const char *name)
{
    uint64_t index;
    size_t i;

    for (i = 0; i < n; i++) {
        index = first + i < r->count ? first + i : r->count - r->period + (first + i - r->count) % r->period;
        MUST(!memcmp(found + i * r->size, r->bytes + index * r->size, r->size), "%s %llu differs", name,
             (unsigned long long)(first + i));
    }
}

static void set_up(void)
{
    char path[1200];
    size_t i;

    snprintf(path, sizeof path, "%s/v1-tiny", set.golden);
    k = make_kind(NULL, open_model(path, 1), SIDE, SIDE);
    for (i = 0; i < PERIOD; i++)
        paint(&k, pixels + i * k.frame_size, 0, i);
    describe(&k, in, PERIOD, pixels);
    describe(&k, in + PERIOD, PERIOD, pixels);
    describe(&k, out, ROOM, decoded);
    latents.size = k.latent_size;
    latents.period = PERIOD / k.group;
    latents.bytes = allocate(MOST_PERIODS * latents.period * latents.size);
    frames.size = k.frame_size;
    frames.period = PERIOD;
    frames.bytes = allocate(MOST_PERIODS * frames.period * frames.size);
}

void part_stream(void)
{
    const uint64_t count = (set.count + PERIOD - 1) / PERIOD * PERIOD;
    unsigned char chunk[CHUNK * 4096], last[4096], *steady, *at_end, *last_frames;
    uint64_t random = set.seed, frames_in = 0, latents_out = 0, frames_out = 0, calls = 0;
    size_t n, i, written, steady_size, size, last_count, n_frames;
    wfvae_info info = {0};
    wfvae_stream *stream;

    set_up();
    MUST(k.latent_size <= sizeof last, "a latent of %zu bytes", k.latent_size);
    last_count = reference(&steady, &steady_size, last, &last_frames);
    stream = create(&k, 0);
    samples_open();
    sample(0, 0);
    while (frames_in < count) {
        n = 1 + chance(&random, CHUNK);
        if (n > count - frames_in)
            n = (size_t)(count - frames_in);
        MUST(!wfvae_encode_chunk(stream, in + frames_in % PERIOD, n, chunk, CHUNK, &written), "encode");
        if (written && plant_bit(frames_in >= count / 2))
            *chunk ^= 1;
        compare(&latents, chunk, latents_out, written, "latent");
        latents_out += written;
        decode(stream, chunk, written, &written);
        compare(&frames, decoded, frames_out, written, "frame");
        frames_out += written;
        for (i = 0; i < n; i++)
            plant_something(++frames_in);
        calls++;
        if (sample_is_due())
            sample(frames_in, 0);
    }
    sample(frames_in, 0);
    samples_close();

    at_end = state(stream, &size);
    MUST(size == steady_size && !memcmp(at_end, steady, size), "the state at the end differs");
    info.struct_size = sizeof info;
    MUST(!wfvae_get_info(stream, &info) && info.frames_in == frames_in && info.latents_out == latents_out &&
             info.latents_in == latents_out && info.frames_out == frames_out,
         "the counters are wrong");
    flush(stream, chunk, &written, &n_frames);
    MUST(written == 1 && n_frames == last_count && !memcmp(chunk, last, k.latent_size) &&
             !memcmp(decoded, last_frames, n_frames * k.frame_size),
         "the flush differs");
    printf("%llu frames in %llu calls: %llu latents and %llu frames equal those of the other stream\n", (unsigned long long)frames_in,
           (unsigned long long)calls, (unsigned long long)latents_out + 1, (unsigned long long)(frames_out + n_frames));
    wfvae_destroy(stream);
    wfvae_model_close(k.model);
    free(latents.bytes);
    free(frames.bytes);
    free(steady);
    free(at_end);
    free(last_frames);
}
