/*
 * y4m.h - reads and writes YUV4MPEG2 (Y4M) video as planar float RGB.
 * The library converts the colours: wfvae_convert_frame().
 *
 *     y4m_stream in, out;
 *     if (y4m_open_read(&in, stdin) < 0 ||
 *         y4m_open_write(&out, stdout, &in.info) < 0) ...
 *     while ((got = y4m_read_frame(&in, rgb, width, width * height)) > 0)
 *         if (y4m_write_frame(&out, rgb, width, width * height) < 0) ...
 *     if (got < 0) fprintf(stderr, "%s\n", in.error);
 *     y4m_close(&in);
 *     y4m_close(&out);
 *
 * Streams need not be seekable, and memory does not grow with their length.
 * All progressive layouts and depths that ffmpeg writes can be read. Unknown
 * X tags and parameters of frames are ignored; known tags with impossible
 * values are errors. An error in a frame does not affect the frames before
 * it, which were already returned.
 */
#ifndef Y4M_H
#define Y4M_H

#include <stddef.h>
#include <stdio.h>

#define Y4M_MAX_SIDE 16384
#define Y4M_MAX_DEPTH 16
#define Y4M_HEADER_SIZE 160 /* of the longest header and its NUL */

/* The C tag: how chroma is subsampled and sited. */
typedef enum y4m_chroma {
    Y4M_420JPEG,  /* centred between the luma samples; the format's default */
    Y4M_420MPEG2, /* left: co-sited horizontally, centred vertically */
    Y4M_420PALDV, /* treated as co-sited both ways, though DV sites Cb and Cr
                     on alternate lines */
    Y4M_420,      /* treated as left */
    Y4M_411,      /* a quarter of the width, co-sited; 8 bits only */
    Y4M_422,      /* co-sited horizontally */
    Y4M_444,
    Y4M_MONO
} y4m_chroma;

typedef enum y4m_range {
    Y4M_RANGE_UNSPECIFIED, /* treated as limited */
    Y4M_LIMITED,           /* 8 bits: luma 16..235, chroma 16..240 */
    Y4M_FULL
} y4m_range;

typedef enum y4m_matrix {
    Y4M_MATRIX_UNSPECIFIED, /* BT.709 from 720 lines up, BT.601 below */
    Y4M_BT601,
    Y4M_BT709
} y4m_matrix;

typedef struct y4m_info {
    int width, height;
    int rate_num, rate_den;     /* frames per second; 0:0 if unknown */
    int aspect_num, aspect_den; /* of a pixel; 0:0 if unknown */
    y4m_chroma chroma;
    int depth; /* bits per sample: 8; with 420, 422, 444 and mono, whose C tags
                  can state it, up to Y4M_MAX_DEPTH */
    y4m_range range;
    y4m_matrix matrix; /* Y4M has no tag for it: unspecified when read */
} y4m_info;

typedef struct y4m_stream {
    y4m_info info; /* after y4m_open_read, range and matrix may be changed */
    unsigned long frames; /* read or written so far; messages count from 0 */
    int ignores_alpha;    /* 1: the frames (444alpha) have alpha, which is
                             skipped; info says 444, 8 bits */
    char error[320];      /* what failed, once a call has returned -1 */

    /* private */
    FILE *file;
    unsigned char *bytes; /* one frame as stored in the file */
} y4m_stream;

/*
 * Both return 0, or -1 with stream->error set. The caller closes the file.
 * y4m_close may be called in either case.
 */
int y4m_open_read(y4m_stream *stream, FILE *file);
int y4m_open_write(y4m_stream *stream, FILE *file, const y4m_info *info);
void y4m_close(y4m_stream *stream);

/*
 * The header of a stream as text, without the end of its line. The matrix is
 * not in it. info is valid: it is that of an open stream.
 */
void y4m_format_header(const y4m_info *info, char text[Y4M_HEADER_SIZE]);

/*
 * Reads such a text. What follows a line's end is ignored. Returns 0, or -1
 * for one that is no header, with *info unchanged.
 */
int y4m_parse_header(const char *text, y4m_info *info);

/*
 * rgb points to the first row of R; G and B follow plane_stride floats apart,
 * rows stride floats apart. Black is 0 and white is 1. Codes below black and
 * above white read as values outside 0..1, so a round trip of 4:4:4 is
 * bit-identical. Writing rounds to nearest, clamps, and flushes; a NaN or an
 * infinity is an error.
 *
 * y4m_read_frame returns 1, 0 at the end of the stream, or -1.
 * y4m_write_frame returns 0 or -1.
 */
int y4m_read_frame(y4m_stream *stream, float *rgb, size_t stride,
                   size_t plane_stride);
int y4m_write_frame(y4m_stream *stream, const float *rgb, size_t stride,
                    size_t plane_stride);

/* The same planes as packed 8-bit RGB, rows 3 * width bytes apart. */
void y4m_pack_rgb8(const float *rgb, size_t stride, size_t plane_stride,
                   int width, int height, unsigned char *packed);

#endif
