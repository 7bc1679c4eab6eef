/* Frames in the layouts of engines, decoders and array libraries: the same picture gives the same latents, and what cannot
 * be is refused. Uses the built-in model. */
#include "check.h"

#include <math.h>
#include <string.h>

enum { SIDE = 16, PIXELS = SIDE * SIDE };

static unsigned char rgb[3 * PIXELS], other[8 * PIXELS];

static wfvae_frame frame_of(uint32_t format, void *memory, size_t pixel)
{
    wfvae_frame frame;

    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.format = format;
    frame.width = frame.height = SIDE;
    frame.planes[0] = memory;
    frame.strides[0] = (ptrdiff_t)(SIDE * pixel);
    return frame;
}

static wfvae_frame nv12_of(unsigned char *memory)
{
    wfvae_frame frame = frame_of(WFVAE_PIXEL_FORMAT_NV12, memory, 1);

    frame.planes[1] = memory + PIXELS;
    frame.strides[1] = SIDE;
    return frame;
}

static void test_sizes(void)
{
    result("size of wfvae_frame", sizeof(void *) != 8 || sizeof(wfvae_frame) == 136);
    result("size of wfvae_frames", sizeof(void *) != 8 || sizeof(wfvae_frames) == 56);
}

static int same_latents(wfvae_model *model, wfvae_frame frame)
{
    static float latents[2][1 << 14];
    wfvae_frame right = frame_of(WFVAE_PIXEL_FORMAT_RGB8, rgb, 3);
    const wfvae_frame *frames[2] = {&right, &frame};
    int i, ok = 1;

    memset(latents, 0, sizeof latents);
    for (i = 0; i < 2; i++) {
        wfvae_options options = {0};
        size_t written = 0;

        options.struct_size = sizeof options;
        options.width = options.height = SIDE;
        options.directions = WFVAE_DIRECTION_ENCODE;
        /* Each creation makes its own type of handle, whatever its name is. */
        {
            wfvae_stream *stream = NULL;
            must(!wfvae_create(model, &options, (void *)&stream), "stream");
            ok &= !wfvae_encode_chunk(stream, frames[i], 1, latents[i], 1, &written) && written == 1;
            wfvae_destroy(stream);
        }
    }
    return ok && latents[0][0] != 0 && !memcmp(latents[0], latents[1], sizeof latents[0]);
}

static void test_layouts(wfvae_model *model)
{
    wfvae_frame frame;
    int x, y, c;

    /* BGRA, bottom up, with a gap behind each row. */
    for (y = 0; y < SIDE; y++)
        for (x = 0; x < SIDE; x++)
            for (c = 0; c < 3; c++)
                other[(SIDE - 1 - y) * (4 * SIDE + 12) + 4 * x + 2 - c] = rgb[3 * (y * SIDE + x) + c];
    frame = frame_of(WFVAE_PIXEL_FORMAT_BGRA8, other + (SIDE - 1) * (4 * SIDE + 12), 0);
    frame.strides[0] = -(4 * SIDE + 12);
    result("BGRA8 bottom up", same_latents(model, frame));

    /* ABGR by planes, mirrored. */
    for (y = 0; y < SIDE; y++)
        for (x = 0; x < SIDE; x++)
            for (c = 0; c < 3; c++)
                other[4 * (y * SIDE + SIDE - 1 - x) + 3 - c] = rgb[3 * (y * SIDE + x) + c];
    frame = frame_of(WFVAE_PIXEL_FORMAT_RGBP8, NULL, 4);
    for (c = 0; c < 4; c++) {
        frame.planes[c] = other + 4 * (SIDE - 1) + 3 - c;
        frame.strides[c] = 4 * SIDE;
        frame.pixel_steps[c] = -4;
    }
    result("ABGR8 mirrored", same_latents(model, frame));

    /* Columns first: a transposed picture. */
    for (y = 0; y < SIDE; y++)
        for (x = 0; x < SIDE; x++)
            memcpy(other + 3 * (x * SIDE + y), rgb + 3 * (y * SIDE + x), 3);
    frame = frame_of(WFVAE_PIXEL_FORMAT_RGB8, other, 0);
    frame.strides[0] = 3;
    frame.pixel_steps[0] = 3 * SIDE;
    result("RGB8 transposed", same_latents(model, frame));
}

static void refused(const char *name, wfvae_status status, const char *text, wfvae_frame frame)
{
    wfvae_frame to = frame_of(WFVAE_PIXEL_FORMAT_RGB8, other, 3);
    const wfvae_status got = wfvae_convert_frame(&frame, &to);

    result(name, got == status && strstr(wfvae_last_error(NULL), text));
    if (got != status || !strstr(wfvae_last_error(NULL), text))
        printf("  status %d: %s\n", (int)got, wfvae_last_error(NULL));
}

#define WRONG(name, text, base, change) \
    do { \
        wfvae_frame frame = base; \
        change; \
        refused(name, WFVAE_STATUS_INVALID_ARGUMENT, text, frame); \
    } while (0)

static void test_wrong(void)
{
    static float floats[4 * PIXELS];
    static unsigned char nv12[4 * PIXELS];
    const wfvae_frame bytes = frame_of(WFVAE_PIXEL_FORMAT_RGB8, rgb, 3), yuv = nv12_of(nv12);
    const wfvae_frame rgba_f32 = frame_of(WFVAE_PIXEL_FORMAT_RGBA_F32, floats, 16);
    wfvae_frame to = frame_of(WFVAE_PIXEL_FORMAT_BGRA8, other, 4), from = yuv;

    WRONG("matrix of RGB", "matrix is 2", bytes, frame.matrix = 2);
    WRONG("yuv_range of RGB", "yuv_range is 1", bytes, frame.yuv_range = 1);
    WRONG("siting of RGB", "siting is 1", bytes, frame.siting = 1);
    WRONG("siting of grey", "siting is 1", bytes, (frame.format = WFVAE_PIXEL_FORMAT_GRAY8, frame.siting = 1));
    WRONG("matrix 4", "matrix is 4", yuv, frame.matrix = 4);
    WRONG("yuv_range 2", "yuv_range is 2", yuv, frame.yuv_range = 2);
    WRONG("siting 3", "siting is 3", yuv, frame.siting = 3);
    WRONG("range of YUV", "range is 1, expected 0", yuv, frame.range = 1);
    WRONG("bit_depth of NV12", "bit_depth is 10", yuv, frame.bit_depth = 10);
    WRONG("bit_depth 8 of P010", "bit depth 8", yuv, (frame.format = WFVAE_PIXEL_FORMAT_P010, frame.bit_depth = 8));
    WRONG("bit_depth 17 of P010", "bit depth 17", yuv, (frame.format = WFVAE_PIXEL_FORMAT_P010, frame.bit_depth = 17));
    WRONG("no chroma", "plane 1 is NULL", yuv, frame.planes[1] = NULL);
    WRONG("chroma stride short", "plane 1: stride 15", yuv, frame.strides[1] = 15);
    WRONG("alpha stride short", "plane 3: stride 3", yuv, (frame.planes[3] = nv12, frame.strides[3] = 3));
    WRONG("step short", "pixel step 2 is shorter", bytes, frame.pixel_steps[0] = 2);
    WRONG("step short, mirrored", "pixel step -2 is shorter", bytes, frame.pixel_steps[0] = -2);
    WRONG("rows overlap", "stride 48 is shorter than a row of 63", bytes, frame.pixel_steps[0] = 4);
    WRONG("step misaligned", "pixel step 18", rgba_f32, (frame.pixel_steps[0] = 18, frame.strides[0] = 400));
    WRONG("plane misaligned", "pointer", rgba_f32, frame.planes[0] = (char *)floats + 2);
    WRONG("stride huge", "address space", bytes, frame.strides[0] = PTRDIFF_MAX - 1);
    WRONG("stride huge, bottom up", "address space", bytes, frame.strides[0] = PTRDIFF_MIN);
    WRONG("step huge", "address space", bytes, frame.pixel_steps[0] = PTRDIFF_MAX - 1);
    WRONG("a corner below the address space", "address space", bytes,
          (frame.height = 2, frame.planes[0] = (void *)16, frame.pixel_steps[0] = 40, frame.strides[0] = -610));
    WRONG("format 30", "format is 30", bytes, frame.format = 30);

    to.width = 8;
    result("another size", wfvae_convert_frame(&from, &to) == WFVAE_STATUS_INVALID_SIZE);
    to.width = SIDE;
    floats[4 * 17 + 1] = NAN;
    refused("a NaN", WFVAE_STATUS_NOT_FINITE, "G at column 1, row 1", rgba_f32);
    floats[4 * 17 + 1] = 0;
    floats[4 * 18 + 3] = INFINITY;
    refused("an infinite alpha", WFVAE_STATUS_NOT_FINITE, "alpha at column 2, row 1", rgba_f32);
    floats[4 * 18 + 3] = 0;
    floats[4 * 19 + 1] = -70000;
    to = frame_of(WFVAE_PIXEL_FORMAT_RGB_F16, other, 6);
    result("too large for float16", wfvae_convert_frame(&rgba_f32, &to) == WFVAE_STATUS_NOT_FINITE &&
                                        strstr(wfvae_last_error(NULL), "to: G at column 3, row 1 is too large for float16"));
    floats[4 * 19 + 1] = 0;
    floats[4 * 20 + 3] = 70000;
    to = frame_of(WFVAE_PIXEL_FORMAT_RGBA_F16, other, 8);
    result("alpha too large for float16", wfvae_convert_frame(&rgba_f32, &to) == WFVAE_STATUS_NOT_FINITE &&
                                              strstr(wfvae_last_error(NULL), "to: alpha at column 4, row 1 is too large"));
    result("no frame", wfvae_convert_frame(NULL, &to) == WFVAE_STATUS_INVALID_ARGUMENT);
    result("no frame to write", wfvae_convert_frame(&from, NULL) == WFVAE_STATUS_INVALID_ARGUMENT);
}

static void test_colours(void)
{
    static unsigned char nv12[PIXELS * 3 / 2], bgra[4 * PIXELS];
    wfvae_frame yuv = nv12_of(nv12), from = frame_of(WFVAE_PIXEL_FORMAT_RGB8, bgra, 3);
    wfvae_frame to = frame_of(WFVAE_PIXEL_FORMAT_BGRA8, bgra, 4);
    int i;

    /* Red in BT.601, limited range. */
    for (i = 0; i < PIXELS; i++)
        bgra[3 * i] = 255;
    result("red to NV12", !wfvae_convert_frame(&from, &yuv) && nv12[0] == 81 && nv12[PIXELS] == 90 &&
                              nv12[PIXELS + 1] == 240 && nv12[PIXELS * 3 / 2 - 1] == 240);
    result("red from NV12", !wfvae_convert_frame(&yuv, &to) && bgra[2] >= 254 && bgra[1] <= 1 && bgra[0] <= 1 &&
                                bgra[3] == 255 && bgra[4 * PIXELS - 1] == 255);
}

int main(void)
{
    wfvae_model *model = NULL;
    int i;

    for (i = 0; i < 3 * PIXELS; i++)
        rgb[i] = (unsigned char)(i * 7 + i * i % 101);
    test_sizes();
    test_wrong();
    test_colours();
    must(!wfvae_model_open(NULL, NULL, &model), "model");
    test_layouts(model);
    wfvae_model_close(model);
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
