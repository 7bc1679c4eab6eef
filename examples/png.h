/* png.h - writes PNG images. */
#ifndef PNG_H
#define PNG_H

#include <stddef.h>
#include <stdio.h>

#define PNG_MAX_SIDE 16384

/*
 * Writes packed 8-bit RGB, rows stride bytes apart. Returns NULL, or a text
 * that says what failed. The file need not be seekable. The caller closes it.
 */
const char *png_write_rgb8(FILE *file, const unsigned char *rgb, int width,
                           int height, size_t stride);

#endif
