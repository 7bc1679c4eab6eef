/* The header of Y4M streams: all fields, defaults, and what is refused. */
#define _POSIX_C_SOURCE 200809L

#include "y4m_test.h"

#include <limits.h>

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

        file = os_temporary_file();
        CHECK(file);
        CHECK(y4m_open_write(&out, file, &in.info) == 0);
        CHECK(contents(file, copy) == strlen(text));
        CHECK(memcmp(copy, text, strlen(text)) == 0);
        fclose(file);
        y4m_close(&in);
        y4m_close(&out);
    }

    /* The longest header. */
    const y4m_info longest = {Y4M_MAX_SIDE, Y4M_MAX_SIDE, INT_MAX, INT_MAX,
                              INT_MAX, INT_MAX, Y4M_420MPEG2, 8, Y4M_LIMITED,
                              Y4M_MATRIX_UNSPECIFIED};
    char text[Y4M_HEADER_SIZE];
    y4m_info again;
    y4m_format_header(&longest, text);
    CHECK(strstr(text, " C420mpeg2 XCOLORRANGE=LIMITED"));
    CHECK(y4m_parse_header(text, &again) == 0);
    CHECK(!memcmp(&again, &longest, sizeof again));
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
        {"YUV4MPEG2 W4 H2 It\n", "interlaced video (It) is not supported, only progressive"},
        {"YUV4MPEG2 W4 H2 Ib\n", "interlaced video (Ib) is not supported, only progressive"},
        {"YUV4MPEG2 W4 H2 Im\n", "interlaced video (Im) is not supported, only progressive"},
        {"YUV4MPEG2 W4 H2 C410\n", "chroma mode 410 is not supported, only 420"},
        {"YUV4MPEG2 W4 H2 C411p10\n", "chroma mode 411p10 is not supported"},
        {"YUV4MPEG2 W4 H2 C420p17\n", "chroma mode 420p17 is not supported"},
        {"YUV4MPEG2 W4 H2 C420p8\n", "chroma mode 420p8 is not supported"},
        {"YUV4MPEG2 W4 H2 C420jpegp10\n", "chroma mode 420jpegp10 is not"},
        {"YUV4MPEG2 W4 H2 C444alphap10\n", "chroma mode 444alphap10 is not"},
        {"YUV4MPEG2 W4 H2 C\n", "ffmpeg -i INPUT -pix_fmt yuv420p"},
        {"YUV4MPEG2 W4 H2 XYSCSS=440\n", "chroma mode 440 is not supported"},
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
        FILE *file = os_temporary_file();
        CHECK(file);
        CHECK(y4m_open_write(&out, file, &CASES[i].info) == -1);
        CHECK(strstr(out.error, CASES[i].error));
        CHECK(contents(file, bytes) == 0);
        y4m_close(&out);
        fclose(file);
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    RUN(header_fields);
    RUN(header_defaults);
    RUN(header_round_trip);
    RUN(bad_headers);
    RUN(bad_write_info);
    return 0;
}
