/* Pictures of every format, in any arrangement, in memory of their exact size. */
#ifndef FRAMES_H
#define FRAMES_H

#include "choices.h"

#include <math.h>
#include <wfvae.h>

/* No plane needs more that is within the address space. */
#define MOST_BYTES (1 << 20)

/* Elements of a pixel in each plane, bytes of an element, columns and rows of a chroma sample, and whether planes[3] may be alpha. */
struct layout {
    unsigned elements[3], bytes, across, down, alpha;
    enum { INTEGER, WORD, HALF, BRAIN, FLOAT } kind;
};

static const struct layout LAYOUTS[30] = {
    [1] = {{3}, 1, 1, 1, 0, INTEGER},        [2] = {{4}, 1, 1, 1, 0, INTEGER},       [3] = {{1, 1, 1}, 1, 1, 1, 1, INTEGER},
    [4] = {{1, 1, 1}, 1, 1, 1, 1, INTEGER},  [5] = {{1, 1, 1}, 2, 1, 1, 1, WORD},    [6] = {{1, 1, 1}, 2, 1, 1, 1, WORD},
    [7] = {{1, 1, 1}, 4, 1, 1, 1, FLOAT},    [8] = {{1, 1, 1}, 4, 1, 1, 1, FLOAT},   [9] = {{3}, 1, 1, 1, 0, INTEGER},
    [10] = {{4}, 1, 1, 1, 0, INTEGER},       [11] = {{3}, 2, 1, 1, 0, WORD},         [12] = {{4}, 2, 1, 1, 0, WORD},
    [13] = {{3}, 2, 1, 1, 0, HALF},          [14] = {{4}, 2, 1, 1, 0, HALF},         [15] = {{3}, 4, 1, 1, 0, FLOAT},
    [16] = {{4}, 4, 1, 1, 0, FLOAT},         [17] = {{1, 1, 1}, 2, 1, 1, 1, HALF},   [18] = {{1, 1, 1}, 2, 1, 1, 1, BRAIN},
    [19] = {{1}, 1, 1, 1, 1, INTEGER},       [20] = {{1}, 2, 1, 1, 1, WORD},         [21] = {{1, 1, 1}, 1, 2, 2, 1, INTEGER},
    [22] = {{1, 1, 1}, 2, 2, 2, 1, WORD},    [23] = {{1, 1, 1}, 1, 2, 1, 1, INTEGER}, [24] = {{1, 1, 1}, 2, 2, 1, 1, WORD},
    [25] = {{1, 1, 1}, 1, 1, 1, 1, INTEGER}, [26] = {{1, 1, 1}, 2, 1, 1, 1, WORD},   [27] = {{1, 1, 1}, 1, 4, 1, 1, INTEGER},
    [28] = {{1, 2}, 1, 2, 2, 1, INTEGER},    [29] = {{1, 2}, 2, 2, 2, 1, WORD},
};

/* What stands in input pictures: any codes, and floats that may not be finite. */
static void fill(unsigned char *memory, size_t size, const struct layout *layout, unsigned seed)
{
    const float floats[] = {0, 1, 0.5f, -1, 0.25f, 0.75f, 2, seed == 255 ? NAN : 0.1f, seed == 254 ? 3e38f : 0.9f};
    const uint16_t halves[] = {0, 0x3c00, 0x3800, 0xbc00, seed == 255 ? 0x7e00 : 0x3400, seed == 254 ? 0x7bff : 0x3a00};

    for (size_t i = 0; i < size; i++)
        memory[i] = (unsigned char)((i + seed) * 37);
    for (size_t i = 0; layout->kind == FLOAT && i + 4 <= size; i += 4)
        memcpy(memory + i, &floats[(i / 4 * 7 + seed) % 9], 4);
    for (size_t i = 0; layout->kind == HALF && i + 2 <= size; i += 2)
        memcpy(memory + i, &halves[(i / 2 * 5 + seed) % 6], 2);
    for (size_t i = 0; layout->kind == BRAIN && i + 2 <= size; i += 2)
        memcpy(memory + i, (const unsigned char *)&floats[(i / 2 * 7 + seed) % 9] + 2, 2);
}

__extension__ typedef __int128 wide;

static wide positive(wide value)
{
    return value < 0 ? -value : value;
}

/* What the header says of a plane whose rows do not overlap, and more: it lies in the address space. */
static int may_lie_so(ptrdiff_t width, ptrdiff_t height, ptrdiff_t pixel, ptrdiff_t element, ptrdiff_t step, ptrdiff_t stride)
{
    const wide row = positive(step) * (width - 1) + pixel, column = positive(stride) * (height - 1) + pixel;

    return positive(step) >= pixel && step % element == 0 && stride % element == 0 && row + column <= PTRDIFF_MAX &&
           (positive(stride) >= row || (positive(stride) >= pixel && positive(step) >= column && width > 1));
}

/* Gives one plane of `count` frames its place in memory. `distance`: from each to the next; NULL: it is one frame. */
static void make_plane(struct input *in, wfvae_frame *frame, int plane, int count, ptrdiff_t *distance, const struct layout *layout,
                       int *verdict)
{
    const int chroma = plane == 1 || plane == 2;
    const ptrdiff_t element = (ptrdiff_t)layout->bytes;
    const ptrdiff_t pixel = plane == 3 ? element : (ptrdiff_t)layout->elements[plane] * element;
    const ptrdiff_t width = chroma ? (frame->width + layout->across - 1) / layout->across : frame->width;
    const ptrdiff_t height = chroma ? (frame->height + layout->down - 1) / layout->down : frame->height;
    const ptrdiff_t steps[] = {0, 2 * pixel, -pixel, -pixel - element, pixel, 0, 0, 0};
    ptrdiff_t given = steps[below(in, 8)], step = given ? given : pixel, stride, apart, span;
    unsigned shift;

    stride = (width - 1) * (step < 0 ? -step : step) + pixel;
    switch (below(in, 8)) {
    case 1: stride += 3 * element; break;
    case 2: stride = -stride; break;
    case 3: /* transposed */
        if (width > 1) {
            stride = pixel;
            given = step = height * pixel;
        }
        break;
    }
    if (seldom(in)) {
        const ptrdiff_t others[] = {0, stride - pixel, 1, PTRDIFF_MAX, PTRDIFF_MIN, -1};
        stride = others[below(in, 6)];
    }
    if (seldom(in)) {
        const ptrdiff_t others[] = {1, -1, PTRDIFF_MAX, PTRDIFF_MIN, pixel - 1, 3};
        given = others[below(in, 6)];
        step = given ? given : pixel;
    }
    if (!may_lie_so(width, height, pixel, element, step, stride))
        mark(verdict, BAD);
    const wide across = (wide)step * (width - 1), down = (wide)stride * (height - 1);
    wide lowest = (across < 0 ? across : 0) + (down < 0 ? down : 0), size = positive(across) + positive(down) + pixel;
    if (size > MOST_BYTES) { /* it reaches beyond the address space, and is refused */
        EXPECT(*verdict == BAD);
        size = pixel;
        lowest = 0;
    }
    size += (element - size % element) % element;
    apart = (ptrdiff_t)size;
    if (distance) {
        if (below(in, 4) == 1)
            apart = -apart;
        if (seldom(in)) {
            const ptrdiff_t others[] = {0, 1, apart - 1, pixel};
            apart = others[below(in, 4)];
            mark(verdict, UNSURE); /* frames that are written must not overlap */
        }
        *distance = apart;
    }
    span = apart * (count - 1);
    shift = seldom(in) && element > 1;
    if (shift)
        mark(verdict, BAD);
    const size_t bytes = (size_t)(size + positive(span)) + shift;
    unsigned char *memory = block(bytes);
    fill(memory, bytes, layout, take(in));
    frame->strides[plane] = stride;
    frame->pixel_steps[plane] = given;
    frame->planes[plane] = memory + shift - (ptrdiff_t)lowest - (span < 0 ? span : 0);
    if (seldom(in)) {
        frame->planes[plane] = NULL;
        if (plane != 3)
            mark(verdict, BAD);
    }
}

/* A picture, mostly of this size. `distances`: it is the first of `count` at equal distances; NULL: it is alone. */
static void make_frames(struct input *in, wfvae_frame *frame, uint32_t width, uint32_t height, int count, ptrdiff_t *distances,
                        int *verdict)
{
    static const uint32_t sizes[] = {0, 1, 7, 8, 40, UINT32_MAX, 1u << 31, 32769};
    const struct layout *layout;

    memset(frame, 0, sizeof *frame);
    frame->struct_size = sizeof *frame;
    frame->format = 1 + below(in, 29);
    frame->width = width;
    frame->height = height;
    if (seldom(in)) {
        if (below(in, 2))
            frame->width = sizes[below(in, 8)];
        else
            frame->height = sizes[below(in, 8)];
        if (frame->width != width || frame->height != height)
            mark(verdict, UNSURE);
    }
    if (seldom(in))
        frame->format = take(in) + 29;
    /* Refused for this alone, before its memory is looked at: strides are 0. */
    if (frame->format > 29 || !frame->width || !frame->height || frame->width > 64 || frame->height > 64) {
        for (int i = 0; i < 4; i++)
            frame->planes[i] = block(8);
        mark(verdict, BAD);
        return;
    }
    layout = &LAYOUTS[frame->format];
    if (layout->kind == WORD && below(in, 4)) {
        const uint32_t bits[] = {9, 10, 12, 16, 14, 11};
        frame->bit_depth = bits[below(in, 6)];
    }
    if (layout->kind == FLOAT || layout->kind == HALF || layout->kind == BRAIN)
        frame->range = below(in, 2);
    if (frame->format >= 19) {
        frame->matrix = below(in, 4);
        frame->yuv_range = below(in, 2);
        if (layout->across > 1)
            frame->siting = frame->format == 27 ? 2 * below(in, 2) : below(in, 3);
    }
    if (seldom(in)) {
        uint32_t *const fields[] = {&frame->bit_depth, &frame->range, &frame->matrix, &frame->yuv_range, &frame->siting};
        *fields[below(in, 5)] = take(in) + 17;
        mark(verdict, BAD);
    }
    for (int plane = 0; plane < 3 && layout->elements[plane]; plane++)
        make_plane(in, frame, plane, count, distances ? distances + plane : NULL, layout, verdict);
    if (layout->alpha && below(in, 4) == 1)
        make_plane(in, frame, 3, count, distances ? distances + 3 : NULL, layout, verdict);
}

/* An array of pictures. Its elements may be larger than this version's, and all must say the same size. */
static wfvae_frame *frame_array(struct input *in, uint32_t width, uint32_t height, int count, int *verdict)
{
    const size_t more = seldom(in) ? 8 * (size_t)below(in, 4) : 0;
    unsigned char *array = block((size_t)count * (sizeof(wfvae_frame) + more));

    for (int i = 0; i < count; i++) {
        unsigned char *at = array + (size_t)i * (sizeof(wfvae_frame) + more);
        wfvae_frame frame;
        make_frames(in, &frame, width, height, 1, NULL, verdict);
        frame.struct_size += more;
        if (i && seldom(in)) {
            frame.struct_size += 8;
            mark(verdict, BAD);
        }
        memset(at + sizeof frame, 0, more);
        memcpy(at, &frame, sizeof frame);
    }
    return (wfvae_frame *)(void *)array;
}

/* Pictures at equal distances. */
static const wfvae_frames *frames_at_distances(struct input *in, uint32_t width, uint32_t height, int count, int *verdict)
{
    wfvae_frames frames = {0};
    wfvae_frame *first = block(sizeof *first);

    make_frames(in, first, width, height, count, frames.frame_strides, verdict);
    frames.first = first;
    frames.n_frames = (size_t)count;
    if (seldom(in)) {
        const size_t counts[] = {0, 65537, SIZE_MAX};
        frames.n_frames = counts[below(in, 3)];
        mark(verdict, BAD);
    }
    if (seldom(in)) {
        frames.first = NULL;
        mark(verdict, BAD);
    }
    return sized(in, sizeof frames, &frames, verdict);
}

#endif
