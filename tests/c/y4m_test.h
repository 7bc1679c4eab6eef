/* What the tests of examples/y4m.c share. Each prints "ok NAME" lines, and ends with 1 on failure. */
#ifndef Y4M_TEST_H
#define Y4M_TEST_H

#include "os.h"
#include "y4m.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__,        \
                    #condition);                                              \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MAX_BYTES 65536

/* What each mode should be: subsampling, and the distance from luma sample 0
   to chroma sample 0. */
static const struct mode {
    const char *tag;
    y4m_chroma chroma;
    int depth;
    int sub_x, sub_y;
    double offset_x, offset_y;
} MODES[] = {
    {"420jpeg", Y4M_420JPEG, 8, 2, 2, 0.5, 0.5},
    {"420mpeg2", Y4M_420MPEG2, 8, 2, 2, 0.0, 0.5},
    {"420paldv", Y4M_420PALDV, 8, 2, 2, 0.0, 0.0},
    {"420", Y4M_420, 8, 2, 2, 0.0, 0.5},
    {"411", Y4M_411, 8, 4, 1, 0.0, 0.0},
    {"422", Y4M_422, 8, 2, 1, 0.0, 0.0},
    {"444", Y4M_444, 8, 1, 1, 0.0, 0.0},
    {"mono", Y4M_MONO, 8, 0, 0, 0.0, 0.0},
    {"420p9", Y4M_420, 9, 2, 2, 0.0, 0.5},
    {"422p9", Y4M_422, 9, 2, 1, 0.0, 0.0},
    {"444p9", Y4M_444, 9, 1, 1, 0.0, 0.0},
    {"mono9", Y4M_MONO, 9, 0, 0, 0.0, 0.0},
    {"420p10", Y4M_420, 10, 2, 2, 0.0, 0.5},
    {"422p10", Y4M_422, 10, 2, 1, 0.0, 0.0},
    {"444p10", Y4M_444, 10, 1, 1, 0.0, 0.0},
    {"mono10", Y4M_MONO, 10, 0, 0, 0.0, 0.0},
    {"420p12", Y4M_420, 12, 2, 2, 0.0, 0.5},
    {"422p12", Y4M_422, 12, 2, 1, 0.0, 0.0},
    {"444p12", Y4M_444, 12, 1, 1, 0.0, 0.0},
    {"mono12", Y4M_MONO, 12, 0, 0, 0.0, 0.0},
    {"420p14", Y4M_420, 14, 2, 2, 0.0, 0.5},
    {"422p14", Y4M_422, 14, 2, 1, 0.0, 0.0},
    {"444p14", Y4M_444, 14, 1, 1, 0.0, 0.0},
    {"mono14", Y4M_MONO, 14, 0, 0, 0.0, 0.0},
    {"420p16", Y4M_420, 16, 2, 2, 0.0, 0.5},
    {"422p16", Y4M_422, 16, 2, 1, 0.0, 0.0},
    {"444p16", Y4M_444, 16, 1, 1, 0.0, 0.0},
    {"mono16", Y4M_MONO, 16, 0, 0, 0.0, 0.0},
};

static inline uint32_t next_random(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return state >> 16;
}

static inline FILE *file_of(const void *bytes, size_t count)
{
    FILE *file = os_temporary_file();
    CHECK(file);
    CHECK(fwrite(bytes, 1, count, file) == count);
    rewind(file);
    return file;
}

static inline size_t contents(FILE *file, unsigned char *bytes)
{
    rewind(file);
    size_t count = fread(bytes, 1, MAX_BYTES, file);
    CHECK(count < MAX_BYTES);
    return count;
}

static inline y4m_info info_of(const struct mode *mode, int width, int height)
{
    y4m_info info;
    memset(&info, 0, sizeof info);
    info.width = width;
    info.height = height;
    info.chroma = mode->chroma;
    info.depth = mode->depth;
    return info;
}

static inline size_t chroma_count(int luma, int sub)
{
    return sub == 0 ? 0 : (size_t)((luma + sub - 1) / sub);
}

/* Samples of one frame, all planes. */
static inline size_t sample_count(const struct mode *mode, int width, int height)
{
    return (size_t)width * (size_t)height +
           2 * chroma_count(width, mode->sub_x) *
               chroma_count(height, mode->sub_y);
}

/* One frame's codes as a file of them, and back. */
static inline FILE *file_of_codes(const y4m_info *info, const int *codes,
                           size_t count)
{
    y4m_stream out;
    FILE *file = os_temporary_file();
    CHECK(file);
    CHECK(y4m_open_write(&out, file, info) == 0);
    y4m_close(&out);
    fputs("FRAME\n", file);
    for (size_t i = 0; i < count; i++) {
        fputc(codes[i] & 255, file);
        if (info->depth > 8)
            fputc(codes[i] >> 8, file);
    }
    rewind(file);
    return file;
}

static inline void read_codes(const y4m_info *info, const int *codes, size_t count,
                       float *rgb)
{
    const size_t width = (size_t)info->width, height = (size_t)info->height;
    y4m_stream in;
    FILE *file = file_of_codes(info, codes, count);
    CHECK(y4m_open_read(&in, file) == 0);
    in.info.matrix = info->matrix;
    CHECK(y4m_read_frame(&in, rgb, width, width * height) == 1);
    CHECK(y4m_read_frame(&in, rgb, width, width * height) == 0);
    CHECK(in.frames == 1);
    y4m_close(&in);
    fclose(file);
}

static inline void write_codes(const y4m_info *info, const float *rgb, int *codes,
                        size_t count)
{
    static unsigned char bytes[MAX_BYTES];
    const size_t width = (size_t)info->width, height = (size_t)info->height;
    const size_t wide = info->depth > 8 ? 2 : 1;
    y4m_stream out;
    FILE *file = os_temporary_file();
    CHECK(file);
    CHECK(y4m_open_write(&out, file, info) == 0);
    CHECK(y4m_write_frame(&out, rgb, width, width * height) == 0);
    CHECK(out.frames == 1);
    y4m_close(&out);

    size_t total = contents(file, bytes);
    fclose(file);
    const unsigned char *frame = memchr(bytes, '\n', total);
    CHECK(frame && memcmp(frame + 1, "FRAME\n", 6) == 0);
    frame += 7;
    CHECK(bytes + total == frame + count * wide);
    for (size_t i = 0; i < count; i++)
        codes[i] = wide == 1 ? frame[i] : frame[2 * i] | frame[2 * i + 1] << 8;
}

/* y4m_parse_header says the same, but needs no end of the line. */
static inline int open_text(const char *text, y4m_stream *in)
{
    FILE *file = file_of(text, strlen(text));
    int result = y4m_open_read(in, file);
    y4m_info info;
    memset(&info, 1, sizeof info);
    const y4m_info before = info;
    y4m_close(in);
    fclose(file);
    if (strchr(text, '\n')) {
        CHECK(y4m_parse_header(text, &info) == result);
        CHECK(!memcmp(&info, result ? &before : &in->info, sizeof info));
    }
    return result;
}

/* A pixel of luma 0.5 and the given chroma, under BT.601. */
static inline void set_pixel(float *rgb, size_t plane, size_t i, double cb, double cr)
{
    rgb[i] = (float)(0.5 + 1.402 * cr);
    rgb[plane + i] =
        (float)(0.5 - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587);
    rgb[2 * plane + i] = (float)(0.5 + 1.772 * cb);
}

#define RUN(name) (test_##name(), (void)puts("ok " #name))

#endif
