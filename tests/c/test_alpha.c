/* Alpha that a stream carries: from each input frame to the output frame of the same index.
 *
 *     test_alpha GOLDEN
 *
 * GOLDEN holds the model v1-tiny. Prints "ok <name>" lines; ends with 1 on failure. */
#include "check.h"

#include <stdint.h>
#include <string.h>

enum { SIDE = 32, FRAMES = 10, LATENTS = 4, SIZE = 4 * SIDE * SIDE };

static wfvae_model *model;
static unsigned char in[FRAMES][SIZE], out[FRAMES + 3][SIZE], plain[FRAMES][SIZE];
static float latents[LATENTS * 4 * 4 * 8];

static wfvae_frame frame_of(unsigned char *pixels)
{
    wfvae_frame frame = {0};

    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_RGBA8;
    frame.width = frame.height = SIDE;
    frame.planes[0] = pixels;
    frame.strides[0] = 4 * SIDE;
    return frame;
}

static wfvae_frames frames_of(wfvae_frame *first, size_t n)
{
    wfvae_frames frames = {0};

    frames.struct_size = sizeof frames;
    frames.first = first;
    frames.n_frames = n;
    frames.frame_strides[0] = SIZE;
    return frames;
}

static wfvae_stream *create(uint32_t alpha, uint32_t tiling)
{
    wfvae_options options = {0};
    wfvae_stream *stream;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.alpha = alpha;
    options.tiling = tiling;
    if (tiling)
        options.tile_width = options.tile_height = SIDE / 2;
    must(!wfvae_create(model, &options, &stream), "stream");
    return stream;
}

static size_t encode(wfvae_stream *stream, size_t start, size_t n, size_t at)
{
    wfvae_frame first = frame_of(in[start]);
    wfvae_frames frames = frames_of(&first, n);
    size_t written;

    must(sizeof latents / LATENTS >= 4 * 4 * 4 * sizeof(float), "room");
    must(!wfvae_encode_frames(stream, &frames, latents + at * 64, LATENTS - at, &written), "encode");
    return written;
}

static size_t decode(wfvae_stream *stream, size_t start, size_t n, size_t at)
{
    wfvae_frame first = frame_of(out[at]);
    wfvae_frames frames = frames_of(&first, FRAMES + 3 - at);
    size_t written;

    must(!wfvae_decode_frames(stream, latents + start * 64, n, &frames, &written), "decode");
    return written;
}

/* Encodes the end of the clip, decodes the latents that were not decoded yet, and ends decoding. */
static void finish(wfvae_stream *stream, size_t encoded, size_t decoded, size_t at)
{
    wfvae_frame first;
    wfvae_frames frames;
    size_t written;

    must(!wfvae_encode_flush(stream, latents + encoded * 64, LATENTS - encoded, &written), "encode flush");
    at += decode(stream, decoded, encoded + written - decoded, at);
    first = frame_of(out[at]);
    frames = frames_of(&first, FRAMES + 3 - at);
    must(!wfvae_decode_flush_frames(stream, &frames, &written), "decode flush");
    must(at + written == FRAMES + 3, "all frames");
}

/* Whether the frames' alpha is the input's, and that of frames that only complete the last group is the last one's. */
static int alpha_is_kept(void)
{
    size_t t, i;

    for (t = 0; t < FRAMES + 3; t++)
        for (i = 3; i < SIZE; i += 4)
            if (out[t][i] != in[t < FRAMES ? t : FRAMES - 1][i])
                return 0;
    return 1;
}

static int colours_are_the_same(void)
{
    size_t t, i;

    for (t = 0; t < FRAMES; t++)
        for (i = 0; i < SIZE; i++)
            if (i % 4 != 3 && out[t][i] != plain[t][i])
                return 0;
    return 1;
}

static void test_whole(void)
{
    wfvae_stream *stream = create(0, WFVAE_TILING_OFF);
    size_t encoded, t, i;
    int opaque = 1;

    encoded = encode(stream, 0, FRAMES, 0);
    finish(stream, encoded, 0, 0);
    memcpy(plain, out, sizeof plain);
    for (t = 0; t < FRAMES; t++)
        for (i = 3; i < SIZE; i += 4)
            opaque &= out[t][i] == 255;
    result("without the option, alpha is ignored and opaque", opaque);
    wfvae_destroy(stream);

    stream = create(1, WFVAE_TILING_OFF);
    encoded = encode(stream, 0, FRAMES, 0);
    finish(stream, encoded, 0, 0);
    result("alpha is carried", alpha_is_kept());
    result("it does not change the colours", colours_are_the_same());
    must(!wfvae_reset(stream), "reset");
    memset(out, 7, sizeof out);
    encoded = encode(stream, 0, 1, 0);
    decode(stream, 0, encoded, 0);
    result("a reset starts with the first frame's alpha", out[0][3] == in[0][3] && out[0][SIZE - 1] == in[0][SIZE - 1]);
    wfvae_destroy(stream);

    stream = create(1, WFVAE_TILING_BLENDED);
    encoded = encode(stream, 0, FRAMES, 0);
    finish(stream, encoded, 0, 0);
    result("alpha is carried with tiles", alpha_is_kept());
    wfvae_destroy(stream);
}

/* Small calls, in which encoding runs ahead of decoding by a latent or two. */
static void test_chunks(void)
{
    wfvae_stream *stream = create(1, WFVAE_TILING_OFF);
    size_t encoded = 0, decoded = 0, at = 0, t;

    memset(out, 0, sizeof out);
    for (t = 0; t < FRAMES; t++) {
        encoded += encode(stream, t, 1, encoded);
        if (t % 4 == 2 && decoded < encoded)
            at += decode(stream, decoded++, 1, at);
    }
    finish(stream, encoded, decoded, at);
    result("alpha is carried through small calls", alpha_is_kept() && colours_are_the_same());
    wfvae_destroy(stream);
}

/* A stream's state does not grow with the clip. */
static void test_growth(void)
{
    wfvae_stream *stream = create(1, WFVAE_TILING_OFF);
    size_t sizes[6], i;

    for (i = 0; i < 6; i++) {
        wfvae_snapshot *snapshot;

        decode(stream, 0, encode(stream, 0, 4, 0), 0);
        must(!wfvae_snapshot_create(stream, &snapshot), "snapshot");
        sizes[i] = wfvae_snapshot_size(snapshot);
        wfvae_snapshot_destroy(snapshot);
    }
    result("alpha of frames that were decoded is not kept", sizes[2] == sizes[5]);
    wfvae_destroy(stream);
}

static wfvae_snapshot *copy_of(const wfvae_snapshot *snapshot, size_t damage)
{
    const size_t size = wfvae_snapshot_size(snapshot);
    unsigned char *bytes = malloc(size);
    wfvae_snapshot *copy = NULL;
    size_t written;

    must(bytes && !wfvae_snapshot_write(snapshot, bytes, size, &written) && written == size, "write");
    if (damage)
        bytes[size - damage] ^= 1;
    wfvae_snapshot_read(bytes, size, &copy);
    free(bytes);
    return copy;
}

static void test_snapshots(void)
{
    wfvae_stream *stream = create(1, WFVAE_TILING_OFF), *other = create(1, WFVAE_TILING_OFF), *without, *fork;
    wfvae_snapshot *snapshot, *copy;
    size_t encoded, at;

    memset(out, 0, sizeof out);
    encoded = encode(stream, 0, 7, 0);
    at = decode(stream, 0, 1, 0);
    must(!wfvae_snapshot_create(stream, &snapshot) && !wfvae_fork(stream, &fork), "snapshot and fork");
    copy = copy_of(snapshot, 0);
    must(copy != NULL && !wfvae_snapshot_restore(other, copy), "restore");
    encoded += encode(other, 7, FRAMES - 7, encoded);
    finish(other, encoded, 1, at);
    result("a restored stream carries the snapshot's alpha", alpha_is_kept() && colours_are_the_same());
    memset(out + at, 0, sizeof out - at * SIZE);
    encoded = 2 + encode(fork, 7, FRAMES - 7, 2);
    finish(fork, encoded, 1, at);
    result("so does a fork", alpha_is_kept() && colours_are_the_same());
    result("damaged alpha is noticed", !copy_of(snapshot, 20) && strstr(wfvae_last_error(NULL), "damaged"));

    without = create(0, WFVAE_TILING_OFF);
    result("a stream without alpha refuses the snapshot",
           wfvae_snapshot_restore(without, snapshot) == WFVAE_STATUS_INVALID_ARGUMENT &&
               strstr(wfvae_last_error(NULL), "carries alpha, this one carries no alpha"));
    wfvae_snapshot_destroy(snapshot);
    must(!wfvae_snapshot_create(without, &snapshot), "snapshot");
    result("and one with alpha refuses that of a stream without",
           wfvae_snapshot_restore(stream, snapshot) == WFVAE_STATUS_INVALID_ARGUMENT);
    wfvae_snapshot_destroy(snapshot);
    wfvae_snapshot_destroy(copy);
    wfvae_destroy(without);
    wfvae_destroy(fork);
    wfvae_destroy(other);
    wfvae_destroy(stream);
}

static void test_options(void)
{
    wfvae_options options = {0};
    wfvae_stream *stream;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.alpha = 1;
    options.directions = WFVAE_DIRECTION_ENCODE;
    result("one direction cannot carry alpha", wfvae_create(model, &options, &stream) == WFVAE_STATUS_INVALID_ARGUMENT &&
                                                   strstr(wfvae_last_error(NULL), "both directions"));
    options.directions = 0;
    options.alpha = 2;
    result("the option is 0 or 1", wfvae_create(model, &options, &stream) == WFVAE_STATUS_INVALID_ARGUMENT &&
                                       strstr(wfvae_last_error(NULL), "alpha is 2, expected 0 or 1"));
}

int main(int argc, char **argv)
{
    char path[1100];
    size_t t, i;

    if (argc < 2) {
        fprintf(stderr, "usage: %s GOLDEN\n", argv[0]);
        return 2;
    }
    snprintf(path, sizeof path, "%s/v1-tiny", argv[1]);
    must(!wfvae_model_open(path, NULL, &model), "model");
    for (t = 0; t < FRAMES; t++)
        for (i = 0; i < SIZE; i++)
            in[t][i] = (unsigned char)(i % 4 == 3 ? i / 4 + 37 * t : i * 7 + t * 5);
    test_whole();
    test_chunks();
    test_growth();
    test_snapshots();
    test_options();
    wfvae_model_close(model);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
