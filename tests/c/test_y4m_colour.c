/* Colour and chroma of Y4M streams: matrices, ranges, siting and filters. */
#define _POSIX_C_SOURCE 200809L

#include "y4m_test.h"

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
        FILE *file = os_temporary_file();
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

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    RUN(known_colours);
    RUN(default_range_and_matrix);
    RUN(chroma_upsampling);
    RUN(chroma_downsampling);
    RUN(chroma_filters);
    RUN(all_that_ffmpeg_writes);
    return 0;
}
