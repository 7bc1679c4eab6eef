/* Frames that the library refuses, and values that are not finite. */
#define _POSIX_C_SOURCE 200809L

#include "model_files.h"

#include <math.h>

static unsigned char upside_down[3 * PIXELS];

/* Makes the clip's next frame one of another format. */
static wfvae_frame *planar(uint32_t format, size_t element)
{
    wfvae_frame *frame = &s.frames[1];
    int i;

    frame->format = format;
    for (i = 0; i < 3; i++) {
        frame->planes[i] = s.floats[i];
        frame->strides[i] = (ptrdiff_t)(element * SIDE);
    }
    return frame;
}

#define F32 planar(WFVAE_PIXEL_FORMAT_RGBP_F32, 4)
#define U16 planar(WFVAE_PIXEL_FORMAT_GBRP16, 2)

static wfvae_status encode_bottom_up(void)
{
    wfvae_status status;
    int y;

    for (y = 0; y < SIDE; y++)
        memcpy(upside_down + 3 * SIDE * y, s.in[1] + 3 * SIDE * (SIDE - 1 - y), 3 * SIDE);
    s.frames[1].planes[0] = upside_down + 3 * SIDE * (SIDE - 1);
    s.frames[1].strides[0] = -3 * SIDE;
    status = encode(1);
    s.frames_in += status ? 0 : 1;
    return status;
}

static void test_frames(void)
{
    CALL("frame: size 0", INVALID_ARGUMENT, "struct_size is 0", (s.frames[1].struct_size = 0, encode(1)));
    CALL("frame: size too small", INVALID_ARGUMENT, "struct_size is",
         (s.frames[1].struct_size = sizeof(wfvae_frame) - 1, encode(1)));
    CALL("frame: size huge", INVALID_ARGUMENT, "struct_size is", (s.frames[1].struct_size = SIZE_MAX, encode(1)));
    CALL("frame: matrix of RGB", INVALID_ARGUMENT, "matrix is 1, expected 0", (s.frames[1].matrix = 1, encode(1)));
    CALL("frame: format 0", INVALID_ARGUMENT, "format is 0", (s.frames[1].format = 0, encode(1)));
    CALL("frame: format 30", INVALID_ARGUMENT, "format is 30", (s.frames[1].format = 30, encode(1)));
    CALL("frame: bit_depth of bytes", INVALID_ARGUMENT, "bit_depth", (s.frames[1].bit_depth = 8, encode(1)));
    CALL("frame: bit_depth 8 of words", INVALID_ARGUMENT, "bit depth 8", (U16->bit_depth = 8, encode(1)));
    CALL("frame: bit_depth 17 of words", INVALID_ARGUMENT, "9 to 16", (U16->bit_depth = 17, encode(1)));
    CALL("frame: bit_depth of floats", INVALID_ARGUMENT, "bit_depth", (F32->bit_depth = 16, encode(1)));
    CALL("frame: range of bytes", INVALID_ARGUMENT, "only the float formats have one", (s.frames[1].range = 1, encode(1)));
    CALL("frame: range of words", INVALID_ARGUMENT, "only the float formats have one", (U16->range = 1, encode(1)));
    CALL("frame: range 2 of floats", INVALID_ARGUMENT, "range is 2", (F32->range = 2, encode(1)));
    CALL("frame: no plane", INVALID_ARGUMENT, "plane 0 is NULL", (s.frames[1].planes[0] = NULL, encode(1)));
    CALL("frame: no third plane", INVALID_ARGUMENT, "plane 2 is NULL", (F32->planes[2] = NULL, encode(1)));
    CALL("frame: float plane misaligned", INVALID_ARGUMENT, "plane 1: pointer",
         (F32->planes[1] = shifted(s.floats[1]), encode(1)));
    CALL("frame: word plane misaligned", INVALID_ARGUMENT, "multiples of 2 bytes",
         (U16->planes[0] = shifted(s.floats[0]), encode(1)));
    CALL("frame: stride 0", INVALID_ARGUMENT, "stride 0 is shorter", (s.frames[1].strides[0] = 0, encode(1)));
    CALL("frame: stride short", INVALID_ARGUMENT, "stride 23 is shorter", (s.frames[1].strides[0] = 23, encode(1)));
    CALL("frame: stride short, bottom up", INVALID_ARGUMENT, "stride -23", (s.frames[1].strides[0] = -23, encode(1)));
    CALL("frame: float stride misaligned", INVALID_ARGUMENT, "plane 2: pointer and stride 34",
         (F32->strides[2] = 34, encode(1)));
    CALL("frame: bottom up", OK, NULL, encode_bottom_up());
    CALL("frame: another width", INVALID_SIZE, "24x8 in a stream of 8x8",
         (s.frames[1].width = 24, s.frames[1].strides[0] = 72, encode(1)));
    CALL("frame: another height", INVALID_SIZE, "8x16 in a stream of 8x8", (s.frames[1].height = 16, encode(1)));
    CALL("frame: width 0", INVALID_SIZE, "0x8", (s.frames[1].width = 0, encode(1)));
    CALL("frame: height huge", INVALID_SIZE, "8x4294967295", (s.frames[1].height = UINT32_MAX, encode(1)));
    CALL("the third frame: format", INVALID_ARGUMENT, "frame 2: format is 77", (s.frames[3].format = 77, encode(4)));
    CALL("the third frame: width", INVALID_SIZE, "frame 2: 7x8", (s.frames[3].width = 7, encode(4)));
    CALL("the third frame: size", INVALID_ARGUMENT, "frame 2: wfvae_frame: struct_size is 8",
         (s.frames[3].struct_size = 8, encode(4)));

    /* The next latent gives two frames; others are not looked at. */
    CALL("decoded: format", INVALID_ARGUMENT, "frame 1: format is 0",
         (encode_to(5), s.decoded[2].format = 0, decode(1)));
    CALL("decoded: no plane", INVALID_ARGUMENT, "plane 0 is NULL",
         (encode_to(5), s.decoded[1].planes[0] = NULL, decode(1)));
    CALL("decoded: another width", INVALID_SIZE, "7x8 in a stream of 8x8",
         (encode_to(5), s.decoded[2].width = 7, decode(1)));
    CALL("decoded: not looked at", OK, NULL, (encode_to(5), s.decoded[3].format = 0, decode_to(2), WFVAE_STATUS_OK));
}

/* The clip's next frame in an array, with one field of the struct wrong. */
static wfvae_status encode_many(void (*spoil)(wfvae_frames *))
{
    wfvae_frames frames = {0};

    frames.struct_size = sizeof frames;
    frames.first = &s.frames[1];
    frames.n_frames = 4;
    frames.frame_strides[0] = sizeof s.in[0];
    spoil(&frames);
    return wfvae_encode_frames(s.stream, &frames, s.latents[1], 1, &s.count);
}

/* Planes that the format does not have. */
static void many_unused(wfvae_frames *frames)
{
    s.frames[1].planes[1] = s.frames[1].planes[3] = shifted(NULL);
    frames->frame_strides[1] = PTRDIFF_MIN;
    frames->frame_strides[3] = 7;
}

static wfvae_status encode_unused(void)
{
    wfvae_status status = encode_many(many_unused);

    s.frames_in += status ? 0 : 4;
    s.latents_out += status ? 0 : 1;
    return status;
}

static void many_none(wfvae_frames *frames) { frames->n_frames = 0; }
/* All of them the same picture. */
static void many_most(wfvae_frames *frames)
{
    frames->n_frames = 65536;
    frames->frame_strides[0] = 0;
}
static void many_too_many(wfvae_frames *frames) { frames->n_frames = 65537; }
static void many_no_first(wfvae_frames *frames) { frames->first = NULL; }
static void many_far(wfvae_frames *frames) { frames->frame_strides[0] = PTRDIFF_MAX; }
static void many_size(wfvae_frames *frames) { frames->struct_size = 8; }

static wfvae_status decode_many(wfvae_frame *first, size_t room, ptrdiff_t stride)
{
    wfvae_frames frames = {0};

    frames.struct_size = sizeof frames;
    frames.first = first;
    frames.n_frames = room;
    frames.frame_strides[0] = stride;
    return wfvae_decode_frames(s.stream, s.latents[1], 1, &frames, &s.count);
}

/* Three planes and alpha, of which those of two frames overlap. */
static wfvae_status decode_planar(ptrdiff_t distance, ptrdiff_t alpha)
{
    wfvae_frames frames = {0};
    wfvae_frame *first = &s.decoded[1];
    static unsigned char memory[4][2 * PIXELS];
    int i;

    first->format = WFVAE_PIXEL_FORMAT_RGBP8;
    frames.struct_size = sizeof frames;
    frames.first = first;
    frames.n_frames = 2;
    for (i = 0; i < 4; i++) {
        first->planes[i] = memory[i];
        first->strides[i] = SIDE;
        frames.frame_strides[i] = i < 3 ? distance : alpha;
    }
    return wfvae_decode_frames(s.stream, s.latents[1], 1, &frames, &s.count);
}

static void test_many(void)
{
    CALL("many: unused planes", OK, NULL, encode_unused());
    CALL("many: none", INVALID_ARGUMENT, "n_frames is 0, expected 1 to 65536", encode_many(many_none));
    CALL("many: most", CAPACITY, "this call writes", encode_many(many_most));
    CALL("many: too many", INVALID_ARGUMENT, "n_frames is 65537", encode_many(many_too_many));
    CALL("many: no first", INVALID_ARGUMENT, "first: wfvae_frame is NULL", encode_many(many_no_first));
    CALL("many: far apart", INVALID_ARGUMENT, "beyond the address space", encode_many(many_far));
    CALL("many: size", INVALID_ARGUMENT, "wfvae_frames: struct_size is 8", encode_many(many_size));
    CALL("many: NULL", INVALID_ARGUMENT, "wfvae_frames is NULL",
         wfvae_encode_frames(s.stream, NULL, s.latents[1], 1, &s.count));
    CALL("many decoded: no room", CAPACITY, "room for 1 frames, this call writes 2",
         (encode_to(5), decode_many(&s.decoded[1], 1, sizeof s.out[0])));
    CALL("many decoded: one on the other", INVALID_ARGUMENT, "frame_strides[0] is 0",
         (encode_to(5), decode_many(&s.decoded[1], 2, 0)));
    CALL("many decoded: elements for bytes", INVALID_ARGUMENT, "frame_strides[0] is 64: 2 frames would overlap",
         (encode_to(5), decode_many(&s.decoded[1], 2, PIXELS)));
    CALL("many decoded: planes overlap", INVALID_ARGUMENT, "frame_strides[0] is -63",
         (encode_to(5), decode_planar(-63, PIXELS)));
    CALL("many decoded: one alpha", INVALID_ARGUMENT, "frame_strides[3] is 0", (encode_to(5), decode_planar(PIXELS, 0)));
    CALL("many decoded: no first", INVALID_ARGUMENT, "first: wfvae_frame is NULL",
         (encode_to(5), decode_many(NULL, 2, sizeof s.out[0])));
}

static void test_not_finite(void)
{
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae_latent_writer *writer = NULL;
    wfvae_stream *stream = NULL;
    wfvae_frame frame, *decoded = s.decoded;
    float latents[2][VALUES] = {{0}}, planes[3][PIXELS] = {{0}};
    size_t count = UNTOUCHED;
    int i;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    info.struct_size = sizeof info;
    must(!wfvae_create(s.model, &options, &stream), "stream");
    describe(&frame, planes[0]);
    frame.format = WFVAE_PIXEL_FORMAT_RGBP_F32;
    for (i = 0; i < 3; i++) {
        frame.planes[i] = planes[i];
        frame.strides[i] = SIDE * sizeof(float);
    }
    planes[1][SIDE + 2] = NAN;
    PLAIN("frame: a NaN", NOT_FINITE, "frame 0 of the call, frame 0 of the clip: G at column 2, row 1",
          wfvae_encode_chunk(stream, &frame, 1, latents, 2, &count));
    result("frame: a NaN: nothing written", !count);
    planes[1][SIDE + 2] = 0.5f;
    must(!wfvae_get_info(stream, &info), "info");
    result("frame: a NaN: nothing consumed", !info.frames_in && !info.needs_reset);
    PLAIN("frame: finite again", OK, NULL, wfvae_encode_chunk(stream, &frame, 1, latents, 2, &count));

    latents[1][3] = -INFINITY;
    PLAIN("latent: an infinity", NOT_FINITE, "latent 1 of the call, latent 1 of the clip: channel 3: element 0",
          wfvae_decode_chunk(stream, latents, 2, decoded, FRAMES, &count));
    must(!wfvae_latent_writer_create(stream, path_of(folder, LATENT_FILE), NULL, &writer), "writer");
    PLAIN("latent file: an infinity", NOT_FINITE, "latent 1: element 3 is -inf",
          wfvae_latent_writer_write(writer, latents, 2));
    wfvae_latent_writer_destroy(writer);
    latents[1][3] = 0;
    PLAIN("latents: finite again", OK, NULL, wfvae_decode_chunk(stream, latents, 2, decoded, FRAMES, &count));
    wfvae_destroy(stream);
}

int main(int argc, char **argv)
{
    clip_open(argc, argv);
    folder_make();
    test_frames();
    test_many();
    test_not_finite();
    folder_remove();
    return clip_close();
}
