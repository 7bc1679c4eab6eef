/*
 * Tests of examples/png.c, which read its files with a PNG reader of their own.
 * Prints "ok <name>" lines; ends with 1 on failure.
 */
#define _POSIX_C_SOURCE 200809L

#include "png.h"
#include "os.h"

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

struct bytes {
    unsigned char *data;
    size_t count, at; /* at: read so far */
    int bit;
};

/* ---- a PNG reader: fixed Huffman blocks only, and strict ---- */

static uint32_t crc32_of(const unsigned char *data, size_t count)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < 8 * count; i++) {
        const uint32_t bit = (crc ^ (uint32_t)data[i / 8] >> i % 8) & 1;
        crc = crc >> 1 ^ bit * 0xedb88320u;
    }
    return ~crc;
}

static uint32_t adler32_of(const unsigned char *data, size_t count)
{
    uint64_t a = 1, b = 0;
    for (size_t i = 0; i < count; i++) {
        a += data[i];
        b += a;
        if (i % 4096 == 0)
            b %= 65521;
    }
    return (uint32_t)(b % 65521 << 16 | a % 65521);
}

static uint32_t get_uint32(struct bytes *in)
{
    uint32_t value = 0;
    CHECK(in->at + 4 <= in->count);
    for (int i = 0; i < 4; i++)
        value = value << 8 | in->data[in->at++];
    return value;
}

static uint32_t get_bit(struct bytes *in)
{
    CHECK(in->at < in->count);
    const uint32_t bit = in->data[in->at] >> in->bit & 1;
    in->bit = (in->bit + 1) % 8;
    in->at += in->bit == 0;
    return bit;
}

static uint32_t get_bits(struct bytes *in, int count)
{
    uint32_t value = 0;
    for (int i = 0; i < count; i++)
        value |= get_bit(in) << i;
    return value;
}

static uint32_t get_code(struct bytes *in, uint32_t code, int count)
{
    while (count-- > 0)
        code = code << 1 | get_bit(in);
    return code;
}

static uint32_t get_symbol(struct bytes *in)
{
    uint32_t code = get_code(in, 0, 7);
    if (code < 0x18)
        return 256 + code;
    code = get_code(in, code, 1);
    if (code >= 0x30 && code < 0xc0)
        return code - 0x30;
    if (code >= 0xc0 && code < 0xc8)
        return 280 + code - 0xc0;
    code = get_code(in, code, 1);
    CHECK(code >= 0x190 && code < 0x200);
    return 144 + code - 0x190;
}

/* The tables of RFC 1951, section 3.2.5. */
static const uint32_t LENGTHS[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,
                                   15, 17, 19, 23, 27, 31, 35, 43, 51,  59,
                                   67, 83, 99, 115, 131, 163, 195, 227, 258};
static const uint32_t DISTANCES[] = {
    1,   2,   3,   4,   5,   7,    9,    13,   17,   25,
    33,  49,  65,  97,  129, 193,  257,  385,  513,  769,
    1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};

static void inflate(struct bytes *in, struct bytes *out)
{
    CHECK(get_bits(in, 1) == 1); /* the last block */
    CHECK(get_bits(in, 2) == 1); /* with fixed codes */
    for (;;) {
        uint32_t symbol = get_symbol(in);
        if (symbol == 256)
            break;
        if (symbol < 256) {
            CHECK(out->at < out->count);
            out->data[out->at++] = (unsigned char)symbol;
            continue;
        }
        symbol -= 257;
        CHECK(symbol < COUNT(LENGTHS));
        int extra = symbol < 4 || symbol == 28 ? 0 : (int)symbol / 4 - 1;
        uint32_t length = LENGTHS[symbol] + get_bits(in, extra);
        CHECK(length < 258 || symbol == 28);
        symbol = get_code(in, 0, 5);
        CHECK(symbol < COUNT(DISTANCES));
        extra = symbol < 2 ? 0 : (int)symbol / 2 - 1;
        uint32_t distance = DISTANCES[symbol] + get_bits(in, extra);
        CHECK(distance <= out->at && distance <= 32768);
        CHECK(out->at + length <= out->count);
        for (; length > 0; length--, out->at++)
            out->data[out->at] = out->data[out->at - distance];
    }
    if (in->bit > 0) {
        in->bit = 0;
        in->at++;
    }
}

static int paeth(int a, int b, int c)
{
    const int p = a + b - c;
    const int pa = abs(p - a), pb = abs(p - b), pc = abs(p - c);
    if (pa <= pb && pa <= pc)
        return a;
    return pb <= pc ? b : c;
}

/* Undoes the filters in place; counts how often each type occurs. */
static void unfilter(unsigned char *data, size_t width, size_t height,
                     int used[5])
{
    const size_t n = 3 * width;
    for (size_t y = 0; y < height; y++) {
        unsigned char *row = data + y * (n + 1) + 1;
        const unsigned char *above = row - (n + 1);
        const int filter = row[-1];
        CHECK(filter <= 4);
        used[filter]++;
        for (size_t i = 0; i < n; i++) {
            const int a = i >= 3 ? row[i - 3] : 0;
            const int b = y > 0 ? above[i] : 0;
            const int c = i >= 3 && y > 0 ? above[i - 3] : 0;
            const int add[5] = {0, a, b, (a + b) / 2, paeth(a, b, c)};
            row[i] = (unsigned char)(row[i] + add[filter]);
        }
    }
}

static uint32_t get_chunk(struct bytes *in, const char *type)
{
    const uint32_t length = get_uint32(in);
    CHECK(in->count - in->at >= 8 && length <= in->count - in->at - 8);
    CHECK(memcmp(in->data + in->at, type, 4) == 0);
    struct bytes crc = {in->data, in->count, in->at + 4 + length, 0};
    CHECK(get_uint32(&crc) == crc32_of(in->data + in->at, 4 + length));
    in->at += 4;
    return length;
}

/* Checks all of the file against rows of tight pixels. */
static void check_png(struct bytes in, const unsigned char *pixels,
                      uint32_t width, uint32_t height, int used[5])
{
    static const unsigned char TAIL[] = {8, 2, 0, 0, 0};
    const size_t row = 3 * (size_t)width;
    struct bytes packed = {malloc(in.count), 0, 0, 0};
    struct bytes raw = {malloc((row + 1) * height), (row + 1) * height, 0, 0};
    CHECK(packed.data && raw.data);

    CHECK(in.count > 8 && memcmp(in.data, "\x89PNG\r\n\x1a\n", 8) == 0);
    in.at = 8;
    CHECK(get_chunk(&in, "IHDR") == 13);
    CHECK(get_uint32(&in) == width && get_uint32(&in) == height);
    CHECK(memcmp(in.data + in.at, TAIL, 5) == 0);
    in.at += 5 + 4;
    while (in.data[in.at + 5] == 'D') { /* IDAT, not IEND */
        const uint32_t length = get_chunk(&in, "IDAT");
        memcpy(packed.data + packed.count, in.data + in.at, length);
        packed.count += length;
        in.at += length + 4;
    }
    CHECK(get_chunk(&in, "IEND") == 0);
    CHECK(in.at + 4 == in.count);

    CHECK(packed.count > 2 && packed.data[0] == 0x78);
    CHECK((packed.data[0] * 256 + packed.data[1]) % 31 == 0);
    CHECK((packed.data[1] & 0x20) == 0); /* no preset dictionary */
    packed.at = 2;
    inflate(&packed, &raw);
    CHECK(raw.at == raw.count);
    CHECK(get_uint32(&packed) == adler32_of(raw.data, raw.count));
    CHECK(packed.at == packed.count);

    unfilter(raw.data, width, height, used);
    for (uint32_t y = 0; y < height; y++)
        CHECK(memcmp(raw.data + y * (row + 1) + 1, pixels + y * row, row) ==
              0);
    free(packed.data);
    free(raw.data);
}

/* ---- helpers ---- */

static uint32_t next_random(void)
{
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return state >> 16;
}

static struct bytes written(const unsigned char *rgb, int width, int height,
                            size_t stride)
{
    FILE *file = os_temporary_file();
    CHECK(file);
    CHECK(png_write_rgb8(file, rgb, width, height, stride) == NULL);
    const long size = ftell(file);
    CHECK(size > 0);
    rewind(file);
    struct bytes b = {malloc((size_t)size), (size_t)size, 0, 0};
    CHECK(b.data && fread(b.data, 1, b.count, file) == b.count);
    fclose(file);
    return b;
}

/* Writes tight pixels, checks them and returns the size of the file. */
static size_t round_trip(const unsigned char *pixels, int width, int height,
                         int used[5])
{
    struct bytes b = written(pixels, width, height, 3 * (size_t)width);
    check_png(b, pixels, (uint32_t)width, (uint32_t)height, used);
    free(b.data);
    return b.count;
}

/* ---- tests ---- */

static void test_checksums(void)
{
    /* published values, so that writer and reader cannot share an error */
    CHECK(crc32_of((const unsigned char *)"123456789", 9) == 0xcbf43926u);
    CHECK(adler32_of((const unsigned char *)"Wikipedia", 9) == 0x11e60398u);
}

static void test_small_sizes(void)
{
    unsigned char pixels[3 * 12 * 12];
    int used[5] = {0};
    for (int size = 0; size < 144; size++) {
        for (size_t i = 0; i < sizeof pixels; i++)
            pixels[i] = (unsigned char)next_random();
        round_trip(pixels, 1 + size % 12, 1 + size / 12, used);
    }
}

static void test_long_sides(void)
{
    static unsigned char pixels[3 * PNG_MAX_SIDE];
    int used[5] = {0};
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (unsigned char)(i * i >> 12);
    round_trip(pixels, PNG_MAX_SIDE, 1, used);
    round_trip(pixels, 1, PNG_MAX_SIDE, used);
}

static void test_flat(void)
{
    static unsigned char pixels[3 * 640 * 480];
    int used[5] = {0};
    memset(pixels, 200, sizeof pixels);
    CHECK(round_trip(pixels, 640, 480, used) < sizeof pixels / 100);
}

/* Incompressible: several IDAT chunks, little growth (9 bits a literal). */
static void test_noise(void)
{
    static unsigned char pixels[3 * 301 * 203];
    int used[5] = {0};
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (unsigned char)next_random();
    size_t size = round_trip(pixels, 301, 203, used);
    CHECK(size > sizeof pixels && size < sizeof pixels * 9 / 8);
}

/* Repeats at every distance around the window's size and below. */
static void test_match_distances(void)
{
    enum { WIDTH = 5000, HEIGHT = 9, BYTES = 3 * WIDTH * HEIGHT };
    static unsigned char pixels[BYTES];
    static const size_t PERIODS[] = {1,    2,    3,     4,     5,     100,
                                     258,  4097, 15001, 16384, 32767, 32768,
                                     32769, 40000};
    for (size_t p = 0; p < COUNT(PERIODS); p++) {
        int used[5] = {0};
        for (size_t i = 0; i < BYTES; i++)
            pixels[i] = i < PERIODS[p] ? (unsigned char)next_random()
                                       : pixels[i - PERIODS[p]];
        round_trip(pixels, WIDTH, HEIGHT, used);
    }
}

/* Rows that suit one filter each; all five must be chosen, and save bytes. */
static void test_filters(void)
{
    enum { WIDTH = 200, HEIGHT = 100, ROW = 3 * WIDTH };
    static unsigned char pixels[ROW * HEIGHT];
    int used[5] = {0};
    for (size_t y = 0; y < HEIGHT; y++) {
        for (size_t i = 0; i < ROW; i++) {
            const int left = i >= 3 ? pixels[y * ROW + i - 3] : 0;
            const int up = y > 0 ? pixels[(y - 1) * ROW + i] : 0;
            const int corner =
                i >= 3 && y > 0 ? pixels[(y - 1) * ROW + i - 3] : 0;
            const int guess[5] = {0, left, up, (left + up) / 2,
                                  paeth(left, up, corner)};
            const int noise = (int)(next_random() % 3) - 1;
            pixels[y * ROW + i] = (unsigned char)(guess[y % 5] + noise);
        }
    }
    CHECK(round_trip(pixels, WIDTH, HEIGHT, used) < sizeof pixels / 2);
    for (int filter = 0; filter < 5; filter++)
        CHECK(used[filter] >= HEIGHT / 10);
}

static void test_stride(void)
{
    enum { WIDTH = 17, HEIGHT = 11, STRIDE = 3 * WIDTH + 13 };
    unsigned char padded[STRIDE * HEIGHT], pixels[3 * WIDTH * HEIGHT];
    int used[5] = {0};
    for (size_t i = 0; i < sizeof padded; i++)
        padded[i] = (unsigned char)next_random();
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = padded[i / (3 * WIDTH) * STRIDE + i % (3 * WIDTH)];
    /* The last row may end at its last pixel; valgrind checks that nothing behind it is read. */
    unsigned char *exact = malloc(STRIDE * (HEIGHT - 1) + 3 * WIDTH);
    CHECK(exact);
    memcpy(exact, padded, STRIDE * (HEIGHT - 1) + 3 * WIDTH);
    struct bytes b = written(exact, WIDTH, HEIGHT, STRIDE);
    check_png(b, pixels, WIDTH, HEIGHT, used);
    free(b.data);
    free(exact);
}

static void test_bad_arguments(void)
{
    static const struct {
        int width, height;
        size_t stride;
        const char *error;
    } CASES[] = {
        {0, 2, 12, "each side"},
        {4, 0, 12, "each side"},
        {-4, 2, 12, "each side"},
        {4, -1, 12, "each side"},
        {PNG_MAX_SIDE + 1, 1, 3 * (PNG_MAX_SIDE + 1), "each side"},
        {1, PNG_MAX_SIDE + 1, 3, "each side"},
        {2147483647, 2147483647, 0, "each side"},
        {4, 2, 11, "stride"},
        {4, 2, 0, "stride"},
    };
    static const unsigned char pixels[24] = {0};
    for (size_t i = 0; i < COUNT(CASES); i++) {
        FILE *file = os_temporary_file();
        CHECK(file);
        const char *error = png_write_rgb8(file, pixels, CASES[i].width,
                                           CASES[i].height, CASES[i].stride);
        CHECK(error && strstr(error, CASES[i].error));
        CHECK(ftell(file) == 0);
        fclose(file);
    }
}

static void test_write_failure(const char *readable)
{
    static const unsigned char pixels[24] = {0};
    FILE *file = fopen(readable, "rb"); /* cannot be written to */
    CHECK(file);
    const char *error = png_write_rgb8(file, pixels, 4, 2, 12);
    CHECK(error && strstr(error, "cannot write"));
    fclose(file);

    /* A full disk may show only when the buffer is flushed. */
    file = os_full_file();
    if (file) {
        error = png_write_rgb8(file, pixels, 4, 2, 12);
        CHECK(error && strstr(error, "cannot write"));
        fclose(file);
    }
}

#define RUN(name) (test_##name(), (void)puts("ok " #name))

int main(int argc, char **argv)
{
    (void)argc;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    RUN(checksums);
    RUN(small_sizes);
    RUN(long_sides);
    RUN(flat);
    RUN(noise);
    RUN(match_distances);
    RUN(filters);
    RUN(stride);
    RUN(bad_arguments);
    test_write_failure(argv[0]);
    puts("ok write_failure");
    return 0;
}
