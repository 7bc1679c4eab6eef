/* Broken Y4M streams: truncated, damaged, out of range, and files that cannot be written. */
#define _POSIX_C_SOURCE 200809L

#include "y4m_test.h"

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
        FILE *file = os_temporary_file();
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

    file = os_temporary_file();
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
    FILE *full = os_full_file();
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

int main(int argc, char **argv)
{
    (void)argc;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    RUN(frame_headers);
    RUN(truncation);
    RUN(sample_beyond_depth);
    RUN(damage);
    test_write_failure(argv[0]);
    puts("ok write_failure");
    return 0;
}
