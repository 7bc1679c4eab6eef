/* The frames that the examples pass to the library: planar float RGB, 0 to 1, without gaps.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef FRAMES_H
#define FRAMES_H

#include <wfvae.h>

#include <string.h>

static wfvae_frame planar_frame(float *pixels, uint32_t width, uint32_t height)
{
    wfvae_frame frame;
    size_t plane = (size_t)width * height;
    int i;

    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_RGBP_F32;
    frame.range = WFVAE_RANGE_UNIT;
    frame.width = width;
    frame.height = height;
    for (i = 0; i < 3; i++) {
        frame.planes[i] = pixels + (size_t)i * plane;
        frame.strides[i] = (ptrdiff_t)(width * sizeof(float));
    }
    return frame;
}

#endif
