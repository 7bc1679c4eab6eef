/* Round trips of Y4M frames: what must come back exactly, strides and clamping. */
#define _POSIX_C_SOURCE 200809L

#include "y4m_test.h"

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
        FILE *source = os_temporary_file(), *target = os_temporary_file();
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

        file = os_temporary_file();
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
        const float values[6] = {1e30f, -1e30f, 3, -3, 2, -2};
        const float refused[3] = {INFINITY, -INFINITY, NAN};
        for (size_t i = 0; i < 18; i++)
            rgb[i] = values[i % 6];
        write_codes(&info, rgb, codes, 18);
        for (size_t i = 0; i < 6; i++)
            CHECK(codes[i] == (i % 2 ? 0 : max));
        for (size_t i = 0; i < 3; i++) {
            FILE *file = os_temporary_file();
            y4m_stream out;
            CHECK(file && y4m_open_write(&out, file, &info) == 0);
            rgb[8] = refused[i];
            CHECK(y4m_write_frame(&out, rgb, 6, 6) == -1);
            CHECK(strstr(out.error, "frame 0: from: G at column 2, row 0"));
            CHECK(out.frames == 0);
            y4m_close(&out);
            fclose(file);
        }
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

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    RUN(exact_444_8_bits);
    RUN(exact_random);
    RUN(exact_flat_chroma);
    RUN(strides);
    RUN(clamping);
    RUN(pack_rgb8);
    return 0;
}
