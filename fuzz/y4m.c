/*
 * The Y4M reader and writer of the examples. A clip that can be read is
 * written again, and what was written must read as the same clip.
 */
#include "y4m.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A header may ask for 1.6 GB for each frame. Here frames are small. */
#define MOST_PIXELS 4096
#define MOST_FRAMES 3

static void expect(int condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "expected: %s\n", what);
        abort();
    }
}

static void expect_error(const y4m_stream *stream)
{
    expect(stream->error[0] != '\0', "a text");
    expect(memchr(stream->error, '\0', sizeof stream->error) != NULL, "a text that ends");
}

/* The header as text is read as what it was made of. The matrix is not in it. */
static void check_header(const y4m_info *info)
{
    char text[Y4M_HEADER_SIZE];
    y4m_info again, expected = *info;

    expected.matrix = Y4M_MATRIX_UNSPECIFIED;
    y4m_format_header(info, text);
    expect(y4m_parse_header(text, &again) == 0, "a header of our own can be read");
    expect(memcmp(&again, &expected, sizeof again) == 0, "a header of our own says the same");
}

/* Reads all frames, each to memory of its exact size. Returns how many there are, or -1. */
static int read_frames(y4m_stream *in, size_t pixels, float *frames[MOST_FRAMES])
{
    for (int n = 0;; n++) {
        float *rgb = malloc(3 * pixels * sizeof *rgb);
        const int got = y4m_read_frame(in, rgb, (size_t)in->info.width, pixels);
        if (got <= 0 || n == MOST_FRAMES) {
            free(rgb);
            if (got < 0)
                expect_error(in);
            return got < 0 ? -1 : n;
        }
        for (size_t i = 0; i < 3 * pixels; i++)
            expect(rgb[i] > -8 && rgb[i] < 8, "values near 0 to 1");
        frames[n] = rgb;
    }
}

/* Writes frames that were read, and reads them again. Codes that no RGB has are clamped when written, so frames of 4:4:4 that were
 * written once must come back to the bit from then on. */
static void check_written(const y4m_info *info, float *const *frames, int count, size_t pixels)
{
    char *bytes = NULL;
    size_t size = 0;
    y4m_stream out, in;
    FILE *file = open_memstream(&bytes, &size);

    expect(y4m_open_write(&out, file, info) == 0, "what was read can be written");
    for (int i = 0; i < count; i++)
        expect(y4m_write_frame(&out, frames[i], (size_t)info->width, pixels) == 0, "a frame can be written");
    y4m_close(&out);
    fclose(file);

    file = fmemopen(bytes, size, "r");
    expect(y4m_open_read(&in, file) == 0, "what was written can be read");
    float *again[MOST_FRAMES] = {0};
    expect(read_frames(&in, pixels, again) == count, "as many frames");
    for (int i = 0; i < count; i++)
        free(again[i]);
    y4m_close(&in);
    fclose(file);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    y4m_info info;

    memcpy(text, data, size);
    text[size] = '\0';
    const int parsed = y4m_parse_header(text, &info);
    free(text);
    if (parsed == 0) {
        check_header(&info);
        if (info.width > MOST_PIXELS / info.height)
            return 0;
    }
    if (size == 0)
        return 0;

    y4m_stream in;
    FILE *file = fmemopen((void *)(uintptr_t)data, size, "r");
    if (!file)
        return 0;
    if (y4m_open_read(&in, file) < 0) {
        expect_error(&in);
    } else {
        const size_t pixels = (size_t)in.info.width * (size_t)in.info.height;
        float *frames[MOST_FRAMES] = {0};
        expect(parsed == 0, "the text of a header that can be read");
        const int count = read_frames(&in, pixels, frames);
        if (count >= 0)
            check_written(&in.info, frames, count, pixels);
        for (int i = 0; i < MOST_FRAMES; i++)
            free(frames[i]);
    }
    y4m_close(&in);
    fclose(file);
    return 0;
}
