/* Tests of examples/y4m.c. Prints "ok <name>" lines; ends with 1 on failure. */
#define _POSIX_C_SOURCE 200809L

#include "temporary.h"
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

/* How each mode should lie: subsampling, and the distance from luma sample 0
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

/* ---- helpers ---- */

static uint32_t next_random(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return state >> 16;
}

static FILE *file_of(const void *bytes, size_t count)
{
    FILE *file = temporary_file();
    CHECK(file);
    CHECK(fwrite(bytes, 1, count, file) == count);
    rewind(file);
    return file;
}

static size_t contents(FILE *file, unsigned char *bytes)
{
    rewind(file);
    size_t count = fread(bytes, 1, MAX_BYTES, file);
    CHECK(count < MAX_BYTES);
    return count;
}

static y4m_info info_of(const struct mode *mode, int width, int height)
{
    y4m_info info;
    memset(&info, 0, sizeof info);
    info.width = width;
    info.height = height;
    info.chroma = mode->chroma;
    info.depth = mode->depth;
    return info;
}

static size_t chroma_count(int luma, int sub)
{
    return sub == 0 ? 0 : (size_t)((luma + sub - 1) / sub);
}

/* Samples of one frame, all planes. */
static size_t sample_count(const struct mode *mode, int width, int height)
{
    return (size_t)width * (size_t)height +
           2 * chroma_count(width, mode->sub_x) *
               chroma_count(height, mode->sub_y);
}

/* One frame's codes as a file of them, and back. */
static FILE *file_of_codes(const y4m_info *info, const int *codes,
                           size_t count)
{
    y4m_stream out;
    FILE *file = temporary_file();
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

static void read_codes(const y4m_info *info, const int *codes, size_t count,
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

static void write_codes(const y4m_info *info, const float *rgb, int *codes,
                        size_t count)
{
    static unsigned char bytes[MAX_BYTES];
    const size_t width = (size_t)info->width, height = (size_t)info->height;
    const size_t wide = info->depth > 8 ? 2 : 1;
    y4m_stream out;
    FILE *file = temporary_file();
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

static int open_text(const char *text, y4m_stream *in)
{
    FILE *file = file_of(text, strlen(text));
    int result = y4m_open_read(in, file);
    y4m_close(in);
    fclose(file);
    return result;
}

/* A pixel of luma 0.5 and the given chroma, under BT.601. */
static void set_pixel(float *rgb, size_t plane, size_t i, double cb, double cr)
{
    rgb[i] = (float)(0.5 + 1.402 * cr);
    rgb[plane + i] =
        (float)(0.5 - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587);
    rgb[2 * plane + i] = (float)(0.5 + 1.772 * cb);
}

/* ---- headers ---- */

static void test_header_fields(void)
{
    y4m_stream in;
    CHECK(open_text("YUV4MPEG2 W35 H27 F30000:1001 Ip A10:11 C422p10 "
                    "XYSCSS=420P10 XOTHER=1 XCOLORRANGE=FULL\n", &in) == 0);
    CHECK(in.info.width == 35 && in.info.height == 27);
    CHECK(in.info.rate_num == 30000 && in.info.rate_den == 1001);
    CHECK(in.info.aspect_num == 10 && in.info.aspect_den == 11);
    CHECK(in.info.chroma == Y4M_422 && in.info.depth == 10);
    CHECK(in.info.range == Y4M_FULL);
    CHECK(in.info.matrix == Y4M_MATRIX_UNSPECIFIED);
    CHECK(in.error[0] == '\0');
}

static void test_header_defaults(void)
{
    y4m_stream in;
    CHECK(open_text("YUV4MPEG2 H2  W4 I? \n", &in) == 0);
    CHECK(in.info.width == 4 && in.info.height == 2);
    CHECK(in.info.rate_num == 0 && in.info.rate_den == 0);
    CHECK(in.info.aspect_num == 0 && in.info.aspect_den == 0);
    CHECK(in.info.chroma == Y4M_420JPEG && in.info.depth == 8);
    CHECK(in.info.range == Y4M_RANGE_UNSPECIFIED);
    CHECK(open_text("YUV4MPEG2 W4 H2 XYSCSS=420MPEG2\n", &in) == 0);
    CHECK(in.info.chroma == Y4M_420MPEG2);
    CHECK(open_text("YUV4MPEG2 W4 H2 XCOLORRANGE=LIMITED\n", &in) == 0);
    CHECK(in.info.range == Y4M_LIMITED);
    CHECK(open_text("YUV4MPEG2 W16384 H16384 C444p12\n", &in) == 0);
    /* Unknown rates as some write them, and what nobody need understand. */
    CHECK(open_text("YUV4MPEG2 W4 H2 F0:1 A0:1 Q7 X XTITLE=F\xc3\xaate "
                    "XCOLORRANGES=3 XW9\n", &in) == 0);
    CHECK(in.info.rate_num == 0 && in.info.rate_den == 0);
    CHECK(in.info.aspect_num == 0 && in.info.aspect_den == 0);
    CHECK(in.info.width == 4 && in.info.range == Y4M_RANGE_UNSPECIFIED);
}

/* Every mode and range: what was read is written again, byte for byte. */
static void test_header_round_trip(void)
{
    static const char *const RANGES[] = {"", " XCOLORRANGE=LIMITED",
                                         " XCOLORRANGE=FULL"};
    for (size_t i = 0; i < COUNT(MODES) * COUNT(RANGES); i++) {
        const struct mode *mode = &MODES[i / COUNT(RANGES)];
        unsigned char copy[MAX_BYTES];
        char text[200];
        y4m_stream in, out;
        snprintf(text, sizeof text,
                 "YUV4MPEG2 W35 H27 F24000:1001 Ip A128:117 C%s%s\n",
                 mode->tag, RANGES[i % COUNT(RANGES)]);
        FILE *file = file_of(text, strlen(text));
        CHECK(y4m_open_read(&in, file) == 0);
        CHECK(in.info.chroma == mode->chroma);
        CHECK(in.info.depth == mode->depth);
        fclose(file);

        file = temporary_file();
        CHECK(file);
        CHECK(y4m_open_write(&out, file, &in.info) == 0);
        CHECK(contents(file, copy) == strlen(text));
        CHECK(memcmp(copy, text, strlen(text)) == 0);
        fclose(file);
        y4m_close(&in);
        y4m_close(&out);
    }
}

static void test_bad_headers(void)
{
    static const struct {
        const char *text, *error;
    } CASES[] = {
        {"", "not a YUV4MPEG2 stream: it is empty"},
        {"YUV4MP", "not a YUV4MPEG2 stream"},
        {"RIFF....WEBPVP8 and more", "not a YUV4MPEG2 stream: convert it"},
        {"YUV4MPEG2\n", "not a YUV4MPEG2 stream"},
        {"YUV4MPEG2 W4 H2", "stream header: truncated"},
        {"YUV4MPEG2 W4 H2\x01\n", "unexpected byte 0x01"},
        {"YUV4MPEG2 W4 H2\r\n", "stream header: its line ends with CR LF"},
        {"YUV4MPEG2 W4 H2 X\x7f\n", "unexpected byte 0x7f"},
        {"YUV4MPEG2 W99999999 H99999999 C444p16\n", "frame size 99999999x"},
        {"YUV4MPEG2 \n", "frame size 0x0"},
        {"YUV4MPEG2 W4\n", "frame size 4x0"},
        {"YUV4MPEG2 H4\n", "frame size 0x4"},
        {"YUV4MPEG2 W0 H4\n", "frame size 0x4"},
        {"YUV4MPEG2 W-4 H4\n", "bad header tag W-4"},
        {"YUV4MPEG2 W+4 H4\n", "bad header tag W+4"},
        {"YUV4MPEG2 W4x H4\n", "bad header tag W4x"},
        {"YUV4MPEG2 W H4\n", "bad header tag W"},
        {"YUV4MPEG2 W16385 H4\n", "frame size 16385x4"},
        {"YUV4MPEG2 W4 H2147483647\n", "frame size 4x2147483647"},
        {"YUV4MPEG2 W4 H2147483648\n", "bad header tag H2147483648"},
        {"YUV4MPEG2 W4 H99999999999999999999999999\n", "bad header tag H9999"},
        {"YUV4MPEG2 W4 H2 F25\n", "bad header tag F25"},
        {"YUV4MPEG2 W4 H2 F25:\n", "bad header tag F25:"},
        {"YUV4MPEG2 W4 H2 F25:1:1\n", "bad header tag F25:1:1"},
        {"YUV4MPEG2 W4 H2 F25:0\n", "bad frame rate 25:0"},
        {"YUV4MPEG2 W4 H2 A1:0\n", "bad pixel aspect ratio 1:0"},
        {"YUV4MPEG2 W4 H2 A1:\n", "bad header tag A1:"},
        {"YUV4MPEG2 W4 H2 It\n", "interlaced video (It) is not read, only progressive"},
        {"YUV4MPEG2 W4 H2 Ib\n", "interlaced video (Ib) is not read, only progressive"},
        {"YUV4MPEG2 W4 H2 Im\n", "interlaced video (Im) is not read, only progressive"},
        {"YUV4MPEG2 W4 H2 C410\n", "chroma mode 410 is not read, only 420"},
        {"YUV4MPEG2 W4 H2 C411p10\n", "chroma mode 411p10 is not read"},
        {"YUV4MPEG2 W4 H2 C420p17\n", "chroma mode 420p17 is not read"},
        {"YUV4MPEG2 W4 H2 C420p8\n", "chroma mode 420p8 is not read"},
        {"YUV4MPEG2 W4 H2 C420jpegp10\n", "chroma mode 420jpegp10 is not"},
        {"YUV4MPEG2 W4 H2 C444alphap10\n", "chroma mode 444alphap10 is not"},
        {"YUV4MPEG2 W4 H2 C\n", "ffmpeg -i INPUT -pix_fmt yuv420p"},
        {"YUV4MPEG2 W4 H2 XYSCSS=440\n", "chroma mode 440 is not read"},
        {"YUV4MPEG2 W4 H2 XCOLORRANGE=WIDE\n", "bad header tag XCOLORRANGE"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        y4m_stream in;
        CHECK(open_text(CASES[i].text, &in) == -1);
        if (!strstr(in.error, CASES[i].error)) {
            fprintf(stderr, "%s gave: %s\n", CASES[i].text, in.error);
            exit(1);
        }
    }

    char text[5000] = "YUV4MPEG2 W4 H2 X";
    y4m_stream in;
    memset(text + strlen(text), 'x', sizeof text - strlen(text) - 1);
    text[sizeof text - 1] = '\0';
    CHECK(open_text(text, &in) == -1);
    CHECK(strstr(in.error, "longer than"));
    memset(text + 16, 'C', 1000);
    text[1000] = '\n'; /* a long tag in a line of allowed length */
    CHECK(open_text(text, &in) == -1);
    CHECK(strstr(in.error, "chroma mode CCC"));
}

static void test_bad_write_info(void)
{
    static const struct {
        y4m_info info;
        const char *error;
    } CASES[] = {
        {{0, 2, 0, 0, 0, 0, Y4M_444, 8, 0, 0}, "frame size 0x2"},
        {{4, -1, 0, 0, 0, 0, Y4M_444, 8, 0, 0}, "frame size 4x-1"},
        {{4, 2, -1, -1, 0, 0, Y4M_444, 8, 0, 0}, "bad frame rate"},
        {{4, 2, 0, 0, 1, 0, Y4M_444, 8, 0, 0}, "bad pixel aspect"},
        {{4, 2, 0, 0, 0, 0, (y4m_chroma)99, 8, 0, 0}, "chroma mode 99"},
        {{4, 2, 0, 0, 0, 0, Y4M_444, 0, 0, 0}, "444 cannot have 0 bits"},
        {{4, 2, 0, 0, 0, 0, Y4M_444, 17, 0, 0}, "444 cannot have 17 bits"},
        {{4, 2, 0, 0, 0, 0, Y4M_411, 10, 0, 0}, "411 cannot have 10 bits"},
        {{4, 2, 0, 0, 0, 0, Y4M_420JPEG, 10, 0, 0},
         "420jpeg cannot have 10 bits"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        unsigned char bytes[MAX_BYTES];
        y4m_stream out;
        FILE *file = temporary_file();
        CHECK(file);
        CHECK(y4m_open_write(&out, file, &CASES[i].info) == -1);
        CHECK(strstr(out.error, CASES[i].error));
        CHECK(contents(file, bytes) == 0);
        y4m_close(&out);
        fclose(file);
    }
}

/* ---- colour ---- */

/* Codes calculated from BT.601, BT.709 and, for full range, JFIF. */
static void test_known_colours(void)
{
    static const struct {
        float rgb[3];
        int code[8][3]; /* columns as below */
    } COLOURS[] = {
        {{1, 1, 1},
         {{235, 128, 128}, {235, 128, 128}, {255, 128, 128}, {255, 128, 128},
          {940, 512, 512}, {3760, 2048, 2048}, {1023, 512, 512},
          {4095, 2048, 2048}}},
        {{0, 0, 0},
         {{16, 128, 128}, {16, 128, 128}, {0, 128, 128}, {0, 128, 128},
          {64, 512, 512}, {256, 2048, 2048}, {0, 512, 512}, {0, 2048, 2048}}},
        {{1, 0, 0},
         {{81, 90, 240}, {63, 102, 240}, {76, 85, 255}, {54, 99, 255},
          {326, 361, 960}, {1001, 1637, 3840}, {306, 339, 1023},
          {871, 1579, 4095}}},
        {{0, 1, 0},
         {{145, 54, 34}, {173, 42, 26}, {150, 44, 21}, {182, 30, 12},
          {578, 215, 137}, {2762, 667, 420}, {601, 173, 84},
          {2929, 470, 188}}},
        {{0, 0, 1},
         {{41, 240, 110}, {32, 240, 118}, {29, 255, 107}, {18, 255, 116},
          {164, 960, 439}, {509, 3840, 1884}, {117, 1023, 429},
          {296, 4095, 1860}}},
        {{0.5f, 0.5f, 0.5f},
         {{126, 128, 128}, {126, 128, 128}, {128, 128, 128}, {128, 128, 128},
          {502, 512, 512}, {2008, 2048, 2048}, {512, 512, 512},
          {2048, 2048, 2048}}},
    };
    static const struct {
        int depth;
        y4m_range range;
        y4m_matrix matrix;
    } COLUMNS[8] = {
        {8, Y4M_LIMITED, Y4M_BT601},  {8, Y4M_LIMITED, Y4M_BT709},
        {8, Y4M_FULL, Y4M_BT601},     {8, Y4M_FULL, Y4M_BT709},
        {10, Y4M_LIMITED, Y4M_BT601}, {12, Y4M_LIMITED, Y4M_BT709},
        {10, Y4M_FULL, Y4M_BT601},    {12, Y4M_FULL, Y4M_BT709},
    };
    const struct mode mode = {"444", Y4M_444, 8, 1, 1, 0, 0};

    for (size_t i = 0; i < COUNT(COLOURS); i++) {
        for (size_t j = 0; j < 8; j++) {
            y4m_info info = info_of(&mode, 1, 1);
            int codes[3];
            float rgb[3];
            info.depth = COLUMNS[j].depth;
            info.range = COLUMNS[j].range;
            info.matrix = COLUMNS[j].matrix;
            write_codes(&info, COLOURS[i].rgb, codes, 3);
            for (int c = 0; c < 3; c++)
                CHECK(codes[c] == COLOURS[i].code[j][c]);
            read_codes(&info, codes, 3, rgb);
            for (int c = 0; c < 3; c++) /* up to the rounding of the codes */
                CHECK(fabsf(rgb[c] - COLOURS[i].rgb[c]) <
                      1.2f / (float)(1 << (info.depth - 1)));
        }
    }
}

static void test_default_range_and_matrix(void)
{
    const struct mode mode = {"444", Y4M_444, 8, 1, 1, 0, 0};
    for (int height = 719; height <= 720; height++) {
        int codes[3 * 720];
        float rgb[3 * 720] = {0};
        y4m_info info = info_of(&mode, 1, height);
        for (int y = 0; y < height; y++)
            rgb[y] = 1.0f; /* red */
        write_codes(&info, rgb, codes, (size_t)(3 * height));
        CHECK(codes[0] == (height < 720 ? 81 : 63));
        CHECK(codes[height] == (height < 720 ? 90 : 102));
        CHECK(codes[2 * height] == 240);
        read_codes(&info, codes, (size_t)(3 * height), rgb);
        CHECK(fabsf(rgb[0] - 1.0f) < 0.01f && fabsf(rgb[height]) < 0.01f);
    }
}

/* A chroma ramp must come out at every pixel as the standard sites it. */
static void test_chroma_upsampling(void)
{
    for (size_t m = 0; m < COUNT(MODES); m++) {
        const struct mode *mode = &MODES[m];
        for (int width = 34; width <= 35 && mode->sub_x; width++) {
            const int height = width - 8;
            const size_t cw = chroma_count(width, mode->sub_x);
            const size_t ch = chroma_count(height, mode->sub_y);
            const size_t luma = (size_t)(width * height), chroma = cw * ch;
            const int unit = 1 << (mode->depth - 8);
            int codes[3 * 35 * 27];
            float rgb[3 * 35 * 27];
            y4m_info info = info_of(mode, width, height);

            for (size_t i = 0; i < luma; i++)
                codes[i] = 100 * unit;
            for (size_t i = 0; i < chroma; i++) {
                double x = mode->sub_x * (double)(i % cw) + mode->offset_x;
                double y = mode->sub_y * (double)(i / cw) + mode->offset_y;
                codes[luma + i] = (int)(64 + 2 * x + 2 * y) * unit;
                codes[luma + chroma + i] = (int)(220 - 2 * x - 2 * y) * unit;
            }
            read_codes(&info, codes, luma + 2 * chroma, rgb);

            for (size_t i = 0; i < luma; i++) {
                /* No chroma lies beyond the outermost samples. */
                double x = (double)(i % (size_t)width);
                double y = (double)(i / (size_t)width);
                x = fmax(x, mode->offset_x);
                y = fmax(y, mode->offset_y);
                x = fmin(x, mode->sub_x * (double)(cw - 1) + mode->offset_x);
                y = fmin(y, mode->sub_y * (double)(ch - 1) + mode->offset_y);
                const double cb = (64 + 2 * x + 2 * y - 128) / 224;
                const double cr = (220 - 2 * x - 2 * y - 128) / 224;
                const double l = (100.0 - 16) / 219;
                CHECK(fabs(rgb[i] - (l + 1.402 * cr)) < 1e-5);
                CHECK(fabs(rgb[luma + i] -
                           (l - 0.114 * 1.772 / 0.587 * cb -
                            0.299 * 1.402 / 0.587 * cr)) < 1e-5);
                CHECK(fabs(rgb[2 * luma + i] - (l + 1.772 * cb)) < 1e-5);
            }
        }
    }
}

static void test_chroma_downsampling(void)
{
    for (size_t m = 0; m < COUNT(MODES); m++) {
        const struct mode *mode = &MODES[m];
        const int width = 35, height = 27;
        const size_t cw = chroma_count(width, mode->sub_x);
        const size_t ch = chroma_count(height, mode->sub_y);
        const size_t luma = (size_t)(width * height), chroma = cw * ch;
        const int unit = 1 << (mode->depth - 8);
        int codes[3 * 35 * 27];
        float rgb[3 * 35 * 27];
        y4m_info info = info_of(mode, width, height);

        for (size_t i = 0; i < luma; i++) {
            double x = (double)(i % 35), y = (double)(i / 35);
            set_pixel(rgb, luma, i, (64 + 2 * x + 2 * y - 128) / 224,
                      (220 - 2 * x - 2 * y - 128) / 224);
        }
        write_codes(&info, rgb, codes, luma + 2 * chroma);
        /* Not the outermost samples: their filters reach over the edge. */
        for (size_t i = 0; i < chroma; i++) {
            if (i % cw == 0 || i % cw == cw - 1 || i / cw == 0 ||
                i / cw == ch - 1)
                continue;
            double x = mode->sub_x * (double)(i % cw) + mode->offset_x;
            double y = mode->sub_y * (double)(i / cw) + mode->offset_y;
            CHECK(codes[luma + i] == (int)(64 + 2 * x + 2 * y) * unit);
            CHECK(codes[luma + chroma + i] ==
                  (int)(220 - 2 * x - 2 * y) * unit);
        }
    }
}

/* One line of chroma in a grey picture, in sixteenths of it by chroma sample:
   a triangle as wide as the distance to the next sample, or the mean of two
   lines where chroma lies between them; edge lines stand for those beyond. */
static void test_chroma_filters(void)
{
    static const int EVERY[5][5] = {{16, 0, 0, 0, 0}, {0, 16, 0, 0, 0},
        {0, 0, 16, 0, 0}, {0, 0, 0, 16, 0}, {0, 0, 0, 0, 16}};
    static const int COSITED[5][5] = {
        {12, 0, 0}, {4, 4, 0}, {0, 8, 0}, {0, 4, 4}, {0, 0, 12}};
    static const int CENTRED[5][5] = {
        {8, 0, 0}, {8, 0, 0}, {0, 8, 0}, {0, 8, 0}, {0, 0, 16}};
    static const int COSITED_4[5][5] = {
        {10, 0}, {3, 1}, {2, 2}, {1, 3}, {0, 10}};

    for (size_t m = 0; m < COUNT(MODES); m++) {
        const struct mode *mode = &MODES[m];
        const size_t cw = chroma_count(5, mode->sub_x);
        const size_t ch = chroma_count(5, mode->sub_y), chroma = cw * ch;
        const int unit = 1 << (mode->depth - 8);
        for (size_t line = 0; line < 10; line++) {
            const int across = line < 5;
            const size_t at = line % 5;
            const int sub = across ? mode->sub_x : mode->sub_y;
            const double offset = across ? mode->offset_x : mode->offset_y;
            const int(*share)[5] = sub == 4    ? COSITED_4
                                   : sub == 1  ? EVERY
                                   : offset > 0 ? CENTRED
                                                : COSITED;
            y4m_info info = info_of(mode, 5, 5);
            float rgb[75];
            int codes[75];
            for (size_t i = 0; i < 25; i++) {
                const int on = (across ? i % 5 : i / 5) == at;
                set_pixel(rgb, 25, i, on ? 2.0 / 7 : 0.0, on ? -2.0 / 7 : 0.0);
            }
            write_codes(&info, rgb, codes, 25 + 2 * chroma);
            for (size_t i = 0; i < chroma; i++) {
                const int n = 4 * share[at][across ? i % cw : i / cw];
                CHECK(codes[25 + i] == (128 + n) * unit);
                CHECK(codes[25 + chroma + i] == (128 - n) * unit);
            }
        }
    }
}

/* Chroma at a pixel by the standard's words alone: a straight line between the
   samples around it, the edge's sample beyond the edge. */
static double chroma_at(const int *plane, const struct mode *mode, int width,
                        int height, int px, int py)
{
    const int cw = (int)chroma_count(width, mode->sub_x);
    const int ch = (int)chroma_count(height, mode->sub_y);
    double x = (px - mode->offset_x) / mode->sub_x;
    double y = (py - mode->offset_y) / mode->sub_y;
    x = fmin(fmax(x, 0.0), cw - 1);
    y = fmin(fmax(y, 0.0), ch - 1);
    const int x0 = (int)x, x1 = x0 + 1 < cw ? x0 + 1 : x0;
    const int y0 = (int)y, y1 = y0 + 1 < ch ? y0 + 1 : y0;
    const double fx = x - x0, fy = y - y0;
    return (1 - fy) * ((1 - fx) * plane[y0 * cw + x0] + fx * plane[y0 * cw + x1]) +
           fy * ((1 - fx) * plane[y1 * cw + x0] + fx * plane[y1 * cw + x1]);
}

/* Headers as FFmpeg 5.1 and later write them, for each of its pixel formats
   that `-strict -1 -f yuv4mpegpipe` takes; then random samples. */
static void test_all_that_ffmpeg_writes(void)
{
    static const struct {
        const char *tags;
        size_t alpha;
    } HEADERS[] = {
        {"C420jpeg XYSCSS=420JPEG XCOLORRANGE=LIMITED", 0},
        {"C420jpeg XYSCSS=420JPEG XCOLORRANGE=FULL", 0},
        {"C420mpeg2 XYSCSS=420MPEG2", 0},
        {"C420paldv XYSCSS=420PALDV", 0},
        {"C411 XYSCSS=411 XCOLORRANGE=LIMITED", 0},
        {"C422 XYSCSS=422 XCOLORRANGE=LIMITED", 0},
        {"C444 XYSCSS=444 XCOLORRANGE=FULL", 0},
        {"C444alpha XYSCSS=444 XCOLORRANGE=LIMITED", 1},
        {"Cmono XCOLORRANGE=FULL", 0},
        {"Cmono9 XCOLORRANGE=FULL", 0},
        {"Cmono10 XCOLORRANGE=FULL", 0},
        {"Cmono12 XCOLORRANGE=FULL", 0},
        {"Cmono16 XCOLORRANGE=FULL", 0},
        {"C420p9 XYSCSS=420P9 XCOLORRANGE=LIMITED", 0},
        {"C422p9 XYSCSS=422P9 XCOLORRANGE=LIMITED", 0},
        {"C444p9 XYSCSS=444P9 XCOLORRANGE=LIMITED", 0},
        {"C420p10 XYSCSS=420P10 XCOLORRANGE=LIMITED", 0},
        {"C422p10 XYSCSS=422P10 XCOLORRANGE=LIMITED", 0},
        {"C444p10 XYSCSS=444P10 XCOLORRANGE=FULL", 0},
        {"C420p12 XYSCSS=420P12 XCOLORRANGE=LIMITED", 0},
        {"C422p12 XYSCSS=422P12 XCOLORRANGE=LIMITED", 0},
        {"C444p12 XYSCSS=444P12 XCOLORRANGE=LIMITED", 0},
        {"C420p14 XYSCSS=420P14 XCOLORRANGE=LIMITED", 0},
        {"C422p14 XYSCSS=422P14 XCOLORRANGE=LIMITED", 0},
        {"C444p14 XYSCSS=444P14 XCOLORRANGE=LIMITED", 0},
        {"C420p16 XYSCSS=420P16 XCOLORRANGE=LIMITED", 0},
        {"C422p16 XYSCSS=422P16 XCOLORRANGE=FULL", 0},
        {"C444p16 XYSCSS=444P16 XCOLORRANGE=LIMITED", 0},
    };
    enum { WIDTH = 11, HEIGHT = 7, PIXELS = WIDTH * HEIGHT };

    for (size_t h = 0; h < COUNT(HEADERS); h++) {
        const char *tags = HEADERS[h].tags;
        const size_t length = HEADERS[h].alpha ? 3 : strcspn(tags, " ") - 1;
        const struct mode *mode = NULL;
        for (size_t m = 0; m < COUNT(MODES); m++)
            if (strlen(MODES[m].tag) == length &&
                strncmp(tags + 1, MODES[m].tag, length) == 0)
                mode = &MODES[m];
        CHECK(mode);

        const size_t count = sample_count(mode, WIDTH, HEIGHT);
        const size_t chroma = (count - PIXELS) / 2;
        const int full = strstr(tags, "FULL") != NULL;
        const double unit = 1 << (mode->depth - 8);
        const double top = (1 << mode->depth) - 1;
        int codes[2][4 * PIXELS] = {{0}};
        FILE *file = temporary_file();
        CHECK(file);
        fprintf(file, "YUV4MPEG2 W%d H%d F25:1 Ip A1:1 %s\n", WIDTH, HEIGHT,
                tags);
        for (size_t frame = 0; frame < 2; frame++) {
            fputs("FRAME\n", file);
            for (size_t i = 0; i < count + HEADERS[h].alpha * PIXELS;
                 i++) {
                codes[frame][i] = (int)(next_random() % (1u << mode->depth));
                fputc(codes[frame][i] & 255, file);
                if (mode->depth > 8)
                    fputc(codes[frame][i] >> 8, file);
            }
        }
        rewind(file);

        for (int matrix = 0; matrix < 2; matrix++) {
            const double kr = matrix ? 0.2126 : 0.299;
            const double kb = matrix ? 0.0722 : 0.114;
            float rgb[3 * PIXELS];
            y4m_stream in;
            rewind(file);
            CHECK(y4m_open_read(&in, file) == 0);
            CHECK(in.info.chroma == mode->chroma);
            CHECK(in.info.depth == mode->depth);
            CHECK(in.ignores_alpha == (int)HEADERS[h].alpha);
            in.info.matrix = matrix ? Y4M_BT709 : Y4M_BT601;
            for (size_t frame = 0; frame < 2; frame++) {
                const int *plane = codes[frame];
                CHECK(y4m_read_frame(&in, rgb, WIDTH, PIXELS) == 1);
                for (int i = 0; i < PIXELS; i++) {
                    double luma = full ? plane[i] / top
                                       : (plane[i] / unit - 16) / 219;
                    double cb = 0, cr = 0;
                    if (chroma) {
                        const double span = full ? top / unit : 224;
                        cb = (chroma_at(plane + PIXELS, mode, WIDTH, HEIGHT,
                                        i % WIDTH, i / WIDTH) / unit - 128) /
                             span;
                        cr = (chroma_at(plane + PIXELS + chroma, mode, WIDTH,
                                        HEIGHT, i % WIDTH, i / WIDTH) / unit -
                              128) / span;
                    }
                    const double r = luma + 2 * (1 - kr) * cr;
                    const double b = luma + 2 * (1 - kb) * cb;
                    CHECK(fabs(rgb[i] - r) < 3e-6);
                    CHECK(fabs(rgb[PIXELS + i] -
                               (luma - kr * r - kb * b) / (1 - kr - kb)) < 3e-6);
                    CHECK(fabs(rgb[2 * PIXELS + i] - b) < 3e-6);
                }
            }
            CHECK(y4m_read_frame(&in, rgb, WIDTH, PIXELS) == 0);
            y4m_close(&in);
        }

        /* Cut anywhere in the second frame: the first is good. */
        static unsigned char bytes[MAX_BYTES];
        const size_t size = contents(file, bytes);
        const size_t second = 6 + (count + HEADERS[h].alpha * PIXELS) *
                                      (mode->depth > 8 ? 2 : 1);
        for (size_t cut = 1; cut < second; cut += 13) {
            float rgb[3 * PIXELS];
            y4m_stream in;
            FILE *part = file_of(bytes, size - cut);
            CHECK(y4m_open_read(&in, part) == 0);
            CHECK(y4m_read_frame(&in, rgb, WIDTH, PIXELS) == 1);
            CHECK(y4m_read_frame(&in, rgb, WIDTH, PIXELS) == -1);
            CHECK(strstr(in.error, "frame 1: truncated"));
            CHECK(in.frames == 1);
            y4m_close(&in);
            fclose(part);
        }
        fclose(file);
    }
}

/* ---- round trips ---- */

/* Luma steps through frames; each holds all pairs of Cb and Cr. */
static void test_exact_444_8_bits(void)
{
    enum { SIDE = 256, PIXELS = SIDE * SIDE, STEP = 15 };
    static unsigned char bytes[3 * PIXELS], copy[3 * PIXELS];
    static float rgb[3 * PIXELS];
    for (int config = 0; config < 4; config++) {
        const y4m_range range = config & 1 ? Y4M_FULL : Y4M_LIMITED;
        const y4m_matrix matrix = config & 2 ? Y4M_BT709 : Y4M_BT601;
        y4m_info info = info_of(&MODES[6], SIDE, SIDE);
        CHECK(info.chroma == Y4M_444 && info.depth == 8);
        info.range = range;
        y4m_stream in, out;
        FILE *source = temporary_file(), *target = temporary_file();
        CHECK(source && target);
        CHECK(y4m_open_write(&out, source, &info) == 0);
        y4m_close(&out);
        for (int luma = 0; luma < 256; luma += STEP) {
            memset(bytes, luma, PIXELS);
            for (int i = 0; i < PIXELS; i++) {
                bytes[PIXELS + i] = (unsigned char)(i / SIDE);
                bytes[2 * PIXELS + i] = (unsigned char)(i % SIDE);
            }
            fputs("FRAME\n", source);
            CHECK(fwrite(bytes, 1, sizeof bytes, source) == sizeof bytes);
        }

        rewind(source);
        CHECK(y4m_open_read(&in, source) == 0);
        in.info.matrix = matrix;
        CHECK(y4m_open_write(&out, target, &in.info) == 0);
        while (y4m_read_frame(&in, rgb, SIDE, PIXELS) == 1)
            CHECK(y4m_write_frame(&out, rgb, SIDE, PIXELS) == 0);
        CHECK(in.frames == 255 / STEP + 1 && out.frames == in.frames);
        y4m_close(&in);
        y4m_close(&out);

        rewind(source);
        rewind(target);
        for (size_t got = 1; got > 0;) {
            got = fread(bytes, 1, sizeof bytes, source);
            CHECK(fread(copy, 1, sizeof copy, target) == got);
            CHECK(memcmp(bytes, copy, got) == 0);
        }
        fclose(source);
        fclose(target);
    }
}

/* Exact where chroma is not resampled: 4:4:4 and mono at every depth. */
static void test_exact_random(void)
{
    enum { WIDTH = 35, HEIGHT = 27, PIXELS = WIDTH * HEIGHT };
    for (int depth = 8; depth <= 16; depth++) {
        for (int config = 0; config < 8; config++) {
            const struct mode mode = {"", config & 4 ? Y4M_MONO : Y4M_444,
                                      depth, config & 4 ? 0 : 1, 1, 0, 0};
            const size_t count = sample_count(&mode, WIDTH, HEIGHT);
            y4m_info info = info_of(&mode, WIDTH, HEIGHT);
            int codes[3 * PIXELS], copy[3 * PIXELS];
            float rgb[3 * PIXELS];
            info.range = config & 1 ? Y4M_FULL : Y4M_LIMITED;
            info.matrix = config & 2 ? Y4M_BT709 : Y4M_BT601;
            for (size_t i = 0; i < count; i++)
                codes[i] = (int)(next_random() % (1u << depth));
            read_codes(&info, codes, count, rgb);
            write_codes(&info, rgb, copy, count);
            CHECK(memcmp(codes, copy, count * sizeof *codes) == 0);
            if (mode.chroma == Y4M_MONO)
                CHECK(memcmp(rgb, rgb + PIXELS, PIXELS * sizeof *rgb) == 0 &&
                      memcmp(rgb, rgb + 2 * PIXELS, PIXELS * sizeof *rgb) == 0);
        }
    }
}

/* Exact in every mode and at every small size where chroma is flat. */
static void test_exact_flat_chroma(void)
{
    for (size_t m = 0; m < COUNT(MODES); m++) {
        for (int size = 0; size < 25; size++) {
            const int width = 1 + size % 5, height = 1 + size / 5;
            const size_t luma = (size_t)(width * height);
            const size_t count = sample_count(&MODES[m], width, height);
            const uint32_t codes_per_sample = 1u << MODES[m].depth;
            const int cb = (int)(next_random() % codes_per_sample);
            const int cr = (int)(next_random() % codes_per_sample);
            y4m_info info = info_of(&MODES[m], width, height);
            int codes[75], copy[75];
            float rgb[75];
            for (size_t i = 0; i < count; i++)
                codes[i] = i < luma ? (int)(next_random() % codes_per_sample)
                           : i < luma + (count - luma) / 2 ? cb
                                                           : cr;
            read_codes(&info, codes, count, rgb);
            write_codes(&info, rgb, copy, count);
            CHECK(memcmp(codes, copy, count * sizeof *codes) == 0);
        }
    }
}

/* Padded planes: the padding stays as it was and is not looked at. */
static void test_strides(void)
{
    enum { WIDTH = 35, HEIGHT = 27, STRIDE = 40, PLANE = STRIDE * HEIGHT + 7 };
    for (size_t m = 0; m < COUNT(MODES); m++) {
        unsigned char bytes[MAX_BYTES], padded[MAX_BYTES];
        const size_t count = sample_count(&MODES[m], WIDTH, HEIGHT);
        y4m_info info = info_of(&MODES[m], WIDTH, HEIGHT);
        int codes[3 * WIDTH * HEIGHT], again[3 * WIDTH * HEIGHT];
        float rgb[3 * WIDTH * HEIGHT];
        static float planes[3 * PLANE];
        y4m_stream in, out;

        for (size_t i = 0; i < count; i++)
            codes[i] = (int)(next_random() % (1u << MODES[m].depth));
        read_codes(&info, codes, count, rgb);
        write_codes(&info, rgb, again, count);

        for (size_t i = 0; i < COUNT(planes); i++)
            planes[i] = 99.0f;
        FILE *file = file_of_codes(&info, codes, count);
        CHECK(y4m_open_read(&in, file) == 0);
        CHECK(y4m_read_frame(&in, planes, STRIDE, PLANE) == 1);
        for (size_t i = 0; i < COUNT(planes); i++) {
            const size_t c = i / PLANE, y = i % PLANE / STRIDE;
            const size_t x = i % PLANE % STRIDE;
            if (x < WIDTH && y < HEIGHT)
                CHECK(planes[i] == rgb[(c * HEIGHT + y) * WIDTH + x]);
            else
                CHECK(planes[i] == 99.0f);
        }
        y4m_close(&in);
        fclose(file);

        file = temporary_file();
        CHECK(file);
        CHECK(y4m_open_write(&out, file, &info) == 0);
        CHECK(y4m_write_frame(&out, planes, STRIDE, PLANE) == 0);
        y4m_close(&out);
        size_t total = contents(file, padded);
        fclose(file);
        file = file_of_codes(&info, again, count);
        CHECK(contents(file, bytes) == total);
        CHECK(memcmp(bytes, padded, total) == 0);
        fclose(file);
    }
}

static void test_clamping(void)
{
    const struct mode mode = {"444", Y4M_444, 8, 1, 1, 0, 0};
    for (int depth = 8; depth <= 16; depth += 2) {
        const int max = (1 << depth) - 1;
        y4m_info info = info_of(&mode, 6, 1);
        info.depth = depth;
        float rgb[18];
        int codes[18];
        const float values[6] = {1e30f, -1e30f, INFINITY, -INFINITY, NAN, 3};
        for (size_t i = 0; i < 18; i++)
            rgb[i] = values[i % 6];
        write_codes(&info, rgb, codes, 18);
        CHECK(codes[0] == max && codes[1] == 0);
        CHECK(codes[4] == 0 && codes[5] == max);
        for (size_t i = 0; i < 18; i++)
            CHECK(codes[i] >= 0 && codes[i] <= max);
    }
}

static void test_pack_rgb8(void)
{
    /* 3x2 pixels in rows of 4 and planes of 9 floats */
    float rgb[27];
    unsigned char packed[20];
    for (size_t i = 0; i < 27; i++)
        rgb[i] = (float)i / 255.0f;
    rgb[0] = -1.0f;
    rgb[1] = 2.0f;
    rgb[2] = NAN;
    rgb[4] = 0.4999f / 255.0f;
    rgb[5] = 0.5001f / 255.0f;
    memset(packed, 77, sizeof packed);
    y4m_pack_rgb8(rgb, 4, 9, 3, 2, packed + 1);
    static const unsigned char EXPECTED[20] = {
        77, 0, 9, 18, 255, 10, 19, 0, 11, 20,
        0, 13, 22, 1, 14, 23, 6, 15, 24, 77};
    CHECK(memcmp(packed, EXPECTED, 20) == 0);
}

/* ---- broken streams ---- */

#define SMALL_HEADER "YUV4MPEG2 W4 H2 C444\n"
#define SMALL_FRAME "FRAME\nabcdefghijklmnopqrstuvwx"

static void test_frame_headers(void)
{
    static const struct {
        const char *frame, *error; /* no error: the frame is good */
    } CASES[] = {
        {SMALL_FRAME, NULL},
        {"FRAME Ip XFOO\nabcdefghijklmnopqrstuvwx", NULL},
        {"FRAMED\nabcdefghijklmnopqrstuvwx", "does not begin with FRAME"},
        {"frame\nabcdefghijklmnopqrstuvwx", "does not begin with FRAME"},
        {"FRAME\r\nabcdefghijklmnopqrstuvwx", "frame 1: its line ends with CR LF"},
        {"FRAME\x02\nabcdefghijklmnopqrstuvwx", "unexpected byte 0x02"},
        {"FRA", "frame 1: truncated"},
        {"FRAME", "frame 1: truncated"},
        {"FRAME Ip", "frame 1: truncated"},
        {"FRAME\n", "frame 1: truncated, 24 of 24 bytes are missing"},
        {"FRAME\nabcdefg", "frame 1: truncated, 17 of 24 bytes are missing"},
        {"FRAME\nabcdefghijklmnopqrstuvw", "frame 1: truncated, 1 of 24"},
    };
    for (size_t i = 0; i < COUNT(CASES); i++) {
        char text[200];
        float rgb[24];
        y4m_stream in;
        snprintf(text, sizeof text, SMALL_HEADER SMALL_FRAME "%s",
                 CASES[i].frame);
        FILE *file = file_of(text, strlen(text));
        CHECK(y4m_open_read(&in, file) == 0);
        CHECK(y4m_read_frame(&in, rgb, 4, 8) == 1);
        if (CASES[i].error) {
            CHECK(y4m_read_frame(&in, rgb, 4, 8) == -1);
            CHECK(strstr(in.error, CASES[i].error));
            CHECK(in.frames == 1);
        } else {
            CHECK(y4m_read_frame(&in, rgb, 4, 8) == 1);
            CHECK(y4m_read_frame(&in, rgb, 4, 8) == 0);
            CHECK(in.frames == 2);
        }
        y4m_close(&in);
        fclose(file);
    }
}

/* Cut anywhere but between frames, a stream gives an error. */
static void test_truncation(void)
{
    static const char text[] = SMALL_HEADER SMALL_FRAME SMALL_FRAME;
    const size_t header = strlen(SMALL_HEADER), frame = strlen(SMALL_FRAME);
    for (size_t length = 0; length < sizeof text; length++) {
        float rgb[24];
        y4m_stream in;
        FILE *file = file_of(text, length);
        int result = y4m_open_read(&in, file);
        CHECK(result == (length < header ? -1 : 0));
        if (result == 0) {
            while ((result = y4m_read_frame(&in, rgb, 4, 8)) == 1)
                ;
            CHECK(in.frames == (length - header) / frame);
            CHECK(result == ((length - header) % frame == 0 ? 0 : -1));
        }
        CHECK((result == -1) == (in.error[0] != '\0'));
        y4m_close(&in);
        fclose(file);
    }
}

static void test_sample_beyond_depth(void)
{
    static const unsigned char tail[] = {0xff, 0x03, 0x00, 0x04};
    for (size_t bad = 0; bad < 2; bad++) {
        float rgb[3];
        y4m_stream in;
        FILE *file = temporary_file();
        CHECK(file);
        fputs("YUV4MPEG2 W1 H1 Cmono10\nFRAME\n", file);
        fwrite(tail + 2 * bad, 1, 2, file);
        rewind(file);
        CHECK(y4m_open_read(&in, file) == 0);
        CHECK(y4m_read_frame(&in, rgb, 1, 1) == (bad ? -1 : 1));
        if (bad)
            CHECK(strstr(in.error, "frame 0: a sample exceeds 10 bits"));
        y4m_close(&in);
        fclose(file);
    }
}

/* Random damage: any result but a crash, and text with every error. */
static void test_damage(void)
{
    static const char text[] =
        "YUV4MPEG2 W5 H3 F25:1 Ip A1:1 C420p10 XCOLORRANGE=FULL\n"
        "FRAME\n0a0b0c0d0e0f0g0h0i0j0k0l0m0n0o0p0q0r0s0t0u0v0w0x0y0z0"
        "FRAME\n0a0b0c0d0e0f0g0h0i0j0k0l0m0n0o0p0q0r0s0t0u0v0w0x0y0z0";
    static float rgb[3 * sizeof text];
    int opened = 0, refused = 0;
    for (int round = 0; round < 3000; round++) {
        char bytes[sizeof text];
        y4m_stream in;
        memcpy(bytes, text, sizeof text);
        for (uint32_t i = 0; i <= next_random() % 3; i++)
            bytes[10 + next_random() % 70] =
                (char)(next_random() % 3 ? ' ' + next_random() % 95
                                         : next_random() % 256);
        FILE *file = file_of(bytes, sizeof text - 1);
        int result = y4m_open_read(&in, file);
        opened += result == 0;
        refused += result < 0;
        /* No frame larger than the file is converted: rgb is large enough. */
        while (result >= 0) {
            const size_t width = (size_t)in.info.width;
            result = y4m_read_frame(&in, rgb, width,
                                    width * (size_t)in.info.height);
            if (result == 0)
                break;
        }
        CHECK((result < 0) == (in.error[0] != '\0'));
        y4m_close(&in);
        fclose(file);
    }
    CHECK(opened > 100 && refused > 100);
}

static void test_write_failure(const char *readable)
{
    const y4m_info info = info_of(&MODES[0], 4, 2);
    float rgb[24] = {0};
    y4m_stream out;
    FILE *file = fopen(readable, "rb"); /* cannot be written to */
    CHECK(file);
    CHECK(y4m_open_write(&out, file, &info) == -1);
    CHECK(strstr(out.error, "cannot write"));
    y4m_close(&out);
    fclose(file);

    file = temporary_file();
    CHECK(file);
    CHECK(y4m_open_write(&out, file, &info) == 0);
    FILE *unwritable = fopen(readable, "rb");
    CHECK(unwritable);
    out.file = unwritable;
    CHECK(y4m_write_frame(&out, rgb, 4, 8) == -1);
    CHECK(strstr(out.error, "frame 0: cannot write"));
    CHECK(out.frames == 0);
    fclose(unwritable);

    /* A full disk may show only when the buffer is flushed. */
    FILE *full = fopen("/dev/full", "wb");
    if (full) {
        out.file = full;
        CHECK(y4m_write_frame(&out, rgb, 4, 8) == -1);
        CHECK(strstr(out.error, "frame 0: cannot write"));
        fclose(full);
    }
    y4m_close(&out);
    y4m_close(&out); /* twice is harmless */
    fclose(file);
}

#define RUN(name) (test_##name(), (void)puts("ok " #name))

int main(int argc, char **argv)
{
    (void)argc;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    RUN(header_fields);
    RUN(header_defaults);
    RUN(header_round_trip);
    RUN(bad_headers);
    RUN(bad_write_info);
    RUN(known_colours);
    RUN(default_range_and_matrix);
    RUN(chroma_upsampling);
    RUN(chroma_downsampling);
    RUN(chroma_filters);
    RUN(all_that_ffmpeg_writes);
    RUN(exact_444_8_bits);
    RUN(exact_random);
    RUN(exact_flat_chroma);
    RUN(strides);
    RUN(clamping);
    RUN(pack_rgb8);
    RUN(frame_headers);
    RUN(truncation);
    RUN(sample_beyond_depth);
    RUN(damage);
    test_write_failure(argv[0]);
    puts("ok write_failure");
    return 0;
}
