/* Calls on a stream with wrong counts, too little memory for results, or in the wrong order. */
#define _POSIX_C_SOURCE 200809L

#include "one_clip.h"

static void test_null(void)
{
    wfvae_info info = {0};

    info.struct_size = sizeof info;
    wfvae_destroy(NULL);
    CALL("encode without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_encode_chunk(NULL, s.frames, 1, s.latents, 1, &s.count));
    CALL("encode without frames", INVALID_ARGUMENT, "frames is NULL",
         wfvae_encode_chunk(s.stream, NULL, 1, s.latents, 1, &s.count));
    CALL("encode without latents", INVALID_ARGUMENT, "latents is",
         wfvae_encode_chunk(s.stream, s.frames, 4, NULL, 1, &s.count));
    CALL("encode without written", INVALID_ARGUMENT, "written is NULL",
         wfvae_encode_chunk(s.stream, s.frames, 1, s.latents, 1, NULL));
    CALL("encode flush without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_encode_flush(NULL, s.latents, 1, &s.count));
    CALL("encode flush without latents", INVALID_ARGUMENT, "latents is",
         (encode_to(FRAMES), wfvae_encode_flush(s.stream, NULL, 1, &s.count)));
    CALL("encode flush without written", INVALID_ARGUMENT, "written is NULL",
         wfvae_encode_flush(s.stream, s.latents, 1, NULL));
    CALL("decode without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_decode_chunk(NULL, s.latents, 1, s.decoded, 2, &s.count));
    CALL("decode without latents", INVALID_ARGUMENT, "latents is NULL",
         wfvae_decode_chunk(s.stream, NULL, 1, s.decoded, 2, &s.count));
    CALL("decode without frames", INVALID_ARGUMENT, "frames is NULL",
         wfvae_decode_chunk(s.stream, s.latents, 1, NULL, 2, &s.count));
    CALL("decode without written", INVALID_ARGUMENT, "written is NULL",
         wfvae_decode_chunk(s.stream, s.latents, 1, s.decoded, 2, NULL));
    CALL("decode flush without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_decode_flush(NULL, s.decoded, 2, &s.count));
    CALL("decode flush without frames", INVALID_ARGUMENT, "frames is NULL",
         (end_encoding(), decode_to(2), wfvae_decode_flush(s.stream, NULL, 2, &s.count)));
    CALL("decode flush without written", INVALID_ARGUMENT, "written is NULL",
         wfvae_decode_flush(s.stream, s.decoded, 2, NULL));

    CALL("reset without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_reset(NULL));
    CALL("cancel without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_cancel(NULL));
    CALL("frame count without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_set_frame_count(NULL, 1));
    CALL("seed without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_set_seed(NULL, 1));
    CALL("info without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_get_info(NULL, &info));
    CALL("info without info", INVALID_ARGUMENT, "info is NULL", wfvae_get_info(s.stream, NULL));
    CALL("encode count without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_encode_count(NULL, 1, &s.count));
    CALL("encode count without count", INVALID_ARGUMENT, "count is NULL", wfvae_encode_count(s.stream, 1, NULL));
    CALL("encode flush count without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_encode_flush_count(NULL, &s.count));
    CALL("encode flush count without count", INVALID_ARGUMENT, "count is NULL",
         wfvae_encode_flush_count(s.stream, NULL));
    CALL("decode count without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_decode_count(NULL, 1, &s.count));
    CALL("decode count without count", INVALID_ARGUMENT, "count is NULL", wfvae_decode_count(s.stream, 1, NULL));
    CALL("decode flush count without stream", INVALID_ARGUMENT, "stream is NULL",
         wfvae_decode_flush_count(NULL, &s.count));
    CALL("decode flush count without count", INVALID_ARGUMENT, "count is NULL",
         wfvae_decode_flush_count(s.stream, NULL));
}

static wfvae_status encode_without_room(size_t frames)
{
    return wfvae_encode_chunk(s.stream, s.frames + 1, frames, NULL, 0, &s.count);
}

static wfvae_status decode_in(size_t capacity)
{
    return wfvae_decode_chunk(s.stream, s.latents[1], 1, s.decoded + 1, capacity, &s.count);
}

static void test_counts(void)
{
    CALL("no frames", INVALID_ARGUMENT, "n_frames is 0, expected 1 to 65536", encode(0));
    CALL("many frames", INVALID_ARGUMENT, "n_frames is 65537", encode(65537));
    CALL("most frames", INVALID_ARGUMENT, "n_frames is 18446744073709551615", encode(SIZE_MAX));
    CALL("no latents", INVALID_ARGUMENT, "n_latents is 0, expected 1 to 65536", decode(0));
    CALL("many latents", INVALID_ARGUMENT, "n_latents is 65537", decode(65537));
    CALL("most latents", INVALID_ARGUMENT, "n_latents is 18446744073709551615", decode(SIZE_MAX));
    CALL("count of most frames", INVALID_ARGUMENT, "frames: more than",
         wfvae_encode_count(s.stream, SIZE_MAX, &s.count));
    CALL("count of most latents", INVALID_ARGUMENT, "latents: more than",
         wfvae_decode_count(s.stream, SIZE_MAX, &s.count));
    result("latents of most frames", wfvae_latents_for_frames(s.model, UINT64_MAX) == 1 + (UINT64_MAX - 1) / 4 + 1);
    result("frames of many latents", wfvae_frames_for_latents(s.model, UINT64_MAX / 4 + 2) == UINT64_MAX);
    result("frames of most latents", wfvae_frames_for_latents(s.model, UINT64_MAX) == UINT64_MAX);

    CALL("no room for a latent", CAPACITY, "room for 0 latents, this call writes 1", encode_without_room(4));
    CALL("no room needed", OK, NULL, (s.frames_in += 3, encode_without_room(3)));
    CALL("no room for the flush", CAPACITY, "room for 0 latents, this call writes 1",
         (encode_to(FRAMES), wfvae_encode_flush(s.stream, NULL, 0, &s.count)));
    CALL("no room for frames", CAPACITY, "room for 0 frames, this call writes 2", (encode_to(5), decode_in(0)));
    CALL("room for half the frames", CAPACITY, "room for 1 frames, this call writes 2", (encode_to(5), decode_in(1)));
    CALL("frames that are not written are not read", CAPACITY, "room for 1 frames, this call writes 2",
         (encode_to(5), wfvae_decode_chunk(s.stream, s.latents[1], 1, NULL, 1, &s.count)));
    CALL("no room for the last frame", CAPACITY, "room for 0 frames, this call writes 1",
         (end_encoding(), decode_to(LATENTS), wfvae_decode_flush(s.stream, NULL, 0, &s.count)));
    CALL("misaligned latents, encode", INVALID_ARGUMENT, "aligned to 4 bytes",
         wfvae_encode_chunk(s.stream, s.frames + 1, 4, shifted(s.floats), 1, &s.count));
    CALL("misaligned latents, encode flush", INVALID_ARGUMENT, "aligned to 4 bytes",
         (encode_to(FRAMES), wfvae_encode_flush(s.stream, shifted(s.floats), 1, &s.count)));
    CALL("misaligned latents, decode", INVALID_ARGUMENT, "aligned to 4 bytes",
         wfvae_decode_chunk(s.stream, shifted(s.floats), 1, s.decoded + 1, 2, &s.count));
}

/* A stream of one direction, alone: whether it refuses the other and goes on in its own. */
static void test_direction(uint32_t direction)
{
    wfvae_options options = {0};
    wfvae_stream *both = s.stream, *one = NULL;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.directions = direction;
    must(!wfvae_create(s.model, &options, &one), "create");
    describe_all();
    s.stream = one;
    if (direction == WFVAE_DIRECTION_ENCODE) {
        PLAIN("decode while encoding only", INVALID_STATE, "does not decode; make one that does", decode(1));
        PLAIN("decode flush while encoding only", INVALID_STATE, "does not decode; make one that does",
              wfvae_decode_flush(one, s.decoded, 2, &s.count));
        PLAIN("decode count while encoding only", INVALID_STATE, "does not decode; make one that does",
              wfvae_decode_count(one, 1, &s.count));
        PLAIN("decode flush count while encoding only", INVALID_STATE, "does not decode; make one that does",
              wfvae_decode_flush_count(one, &s.count));
        PLAIN("encode afterwards", OK, NULL, wfvae_encode_chunk(one, s.frames, 1, s.latents[0], 1, &s.count));
        result("encode afterwards, latent", s.count == 1 && !memcmp(s.latents, right_latents, sizeof *s.latents));
    } else {
        PLAIN("encode while decoding only", INVALID_STATE, "does not encode; make one that does", encode(1));
        PLAIN("encode flush while decoding only", INVALID_STATE, "does not encode; make one that does",
              wfvae_encode_flush(one, s.latents, 1, &s.count));
        PLAIN("encode count while decoding only", INVALID_STATE, "does not encode; make one that does",
              wfvae_encode_count(one, 1, &s.count));
        PLAIN("encode flush count while decoding only", INVALID_STATE, "does not encode; make one that does",
              wfvae_encode_flush_count(one, &s.count));
        PLAIN("seed while decoding only", INVALID_STATE, "does not encode; make one that does", wfvae_set_seed(one, 1));
        PLAIN("decode afterwards", OK, NULL, wfvae_decode_chunk(one, right_latents, 1, s.decoded, 1, &s.count));
        result("decode afterwards, frame", s.count == 1 && !memcmp(s.out, right_out, sizeof *s.out));
    }
    s.stream = both;
    wfvae_destroy(one);
}

/* When a stream takes a seed. */
static void test_seed(void)
{
    wfvae_options options = {0};
    wfvae_stream *sampler = NULL;

    CALL("seed of means", INVALID_ARGUMENT, "the stream's posterior is not a sample", wfvae_set_seed(s.stream, 1));
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.posterior = WFVAE_POSTERIOR_SAMPLE;
    must(!wfvae_create(s.model, &options, &sampler), "create");
    describe_all();
    PLAIN("seed before a clip", OK, NULL, wfvae_set_seed(sampler, UINT64_MAX));
    must(!wfvae_encode_chunk(sampler, s.frames, 1, s.latents[0], 1, &s.count), "encode");
    PLAIN("seed in the middle of a clip", INVALID_STATE, "1 frames of the clip are encoded already",
          wfvae_set_seed(sampler, 1));
    must(!wfvae_encode_flush(sampler, NULL, 0, &s.count), "flush");
    PLAIN("seed before the reset", INVALID_STATE, "reset the stream", wfvae_set_seed(sampler, 1));
    must(!wfvae_reset(sampler), "reset");
    PLAIN("seed after the reset", OK, NULL, wfvae_set_seed(sampler, 0));
    wfvae_destroy(sampler);
}

static void test_order(void)
{
    CALL("encode after the flush", INVALID_STATE, "the encoder was flushed", (end_encoding(), encode(1)));
    CALL("encode count after the flush", INVALID_STATE, "the encoder was flushed",
         (end_encoding(), s.count = 0, wfvae_encode_count(s.stream, 1, &s.count)));
    CALL("decode after the flush", INVALID_STATE, "the decoder was flushed", (end_decoding(), decode(1)));
    CALL("decode count after the flush", INVALID_STATE, "the decoder was flushed",
         (end_decoding(), wfvae_decode_count(s.stream, 1, &s.count)));
    CALL("encode flush twice", OK, NULL, (end_encoding(), wfvae_encode_flush(s.stream, NULL, 0, &s.count)));
    CALL("decode flush twice", OK, NULL, (end_decoding(), wfvae_decode_flush(s.stream, NULL, 0, &s.count)));
    result("decode flush twice, count", s.count == 0);

    CALL("cancel, encode", CANCELLED, "cancelled", (wfvae_cancel(s.stream), encode(4)));
    CALL("cancel, decode", CANCELLED, "cancelled", (encode_to(5), wfvae_cancel(s.stream), decode(1)));
    CALL("cancel, encode flush", CANCELLED, "cancelled",
         (wfvae_cancel(s.stream), wfvae_encode_flush(s.stream, s.latents[1], 1, &s.count)));
    CALL("cancel, decode flush", CANCELLED, "cancelled",
         (wfvae_cancel(s.stream), wfvae_decode_flush(s.stream, s.decoded, 2, &s.count)));
    CALL("cancel, encode no frames", CANCELLED, "cancelled", (wfvae_cancel(s.stream), encode(0)));
    CALL("cancel, encode, decode no latents", NEEDS_RESET, "an earlier call failed",
         (wfvae_cancel(s.stream), encode(4), decode(0)));
    CALL("cancel, encode twice", NEEDS_RESET, "an earlier call failed", (wfvae_cancel(s.stream), encode(4), encode(4)));
    CALL("cancel, encode, decode", NEEDS_RESET, "an earlier call failed",
         (wfvae_cancel(s.stream), encode(4), decode(1)));
    CALL("cancel, decode, decode flush", NEEDS_RESET, "an earlier call failed",
         (wfvae_cancel(s.stream), decode(1), wfvae_decode_flush(s.stream, s.decoded, 2, &s.count)));
    CALL("cancel, decode, decode without room", NEEDS_RESET, "an earlier call failed",
         (wfvae_cancel(s.stream), decode(1), decode_in(0)));
    CALL("cancel, reset", OK, NULL, (wfvae_cancel(s.stream), begin(), WFVAE_STATUS_OK));
    result("a reset clears the text", !*wfvae_last_error(s.stream));
}

int main(int argc, char **argv)
{
    clip_open(argc, argv);
    test_null();
    test_counts();
    test_direction(WFVAE_DIRECTION_ENCODE);
    test_direction(WFVAE_DIRECTION_DECODE);
    test_seed();
    test_order();
    return clip_close();
}
