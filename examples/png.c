#include "png.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW 32768
#define HASH_SIZE 32768
#define MIN_MATCH 3
#define MAX_MATCH 257 /* 258 would need a code of its own */
#define MAX_TRIES 32
#define PIXEL 3

struct writer {
    FILE *file;
    unsigned char idat[32768];
    size_t used;
    uint32_t bits; /* not yet in idat, the first one lowest */
    int bit_count;
    /* Positions + 1, so that 0 is none: the last one with a given hash, and
       for each position in the window the one before it. */
    size_t latest[HASH_SIZE], previous[WINDOW];
};

static uint32_t crc32_update(uint32_t crc, const unsigned char *data, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return crc;
}

static uint32_t adler32(const unsigned char *data, size_t n)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = (a + data[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static void big_endian(uint32_t value, unsigned char out[4])
{
    for (int i = 0; i < 4; i++)
        out[i] = (unsigned char)(value >> (24 - 8 * i) & 255);
}

static void write_chunk(FILE *file, const char *type,
                        const unsigned char *data, size_t n)
{
    unsigned char head[8], tail[4];
    big_endian((uint32_t)n, head);
    memcpy(head + 4, type, 4);
    uint32_t crc = crc32_update(0xffffffffu, head + 4, 4);
    big_endian(~crc32_update(crc, data, n), tail);
    fwrite(head, 1, sizeof head, file);
    fwrite(data, 1, n, file);
    fwrite(tail, 1, sizeof tail, file);
}

/* ---- deflate, with the fixed Huffman code ---- */

static void put_byte(struct writer *w, unsigned char byte)
{
    w->idat[w->used++] = byte;
    if (w->used == sizeof w->idat) {
        write_chunk(w->file, "IDAT", w->idat, w->used);
        w->used = 0;
    }
}

static void put_bits(struct writer *w, uint32_t value, int count)
{
    w->bits |= value << w->bit_count;
    for (w->bit_count += count; w->bit_count >= 8; w->bit_count -= 8) {
        put_byte(w, (unsigned char)(w->bits & 255));
        w->bits >>= 8;
    }
}

/* Huffman codes are written from their highest bit. */
static void put_code(struct writer *w, uint32_t code, int count)
{
    while (count-- > 0)
        put_bits(w, code >> count & 1, 1);
}

static void put_symbol(struct writer *w, uint32_t symbol)
{
    if (symbol < 144)
        put_code(w, 0x30 + symbol, 8);
    else if (symbol < 256)
        put_code(w, 0x190 + symbol - 144, 9);
    else if (symbol < 280)
        put_code(w, symbol - 256, 7);
    else
        put_code(w, 0xc0 + symbol - 280, 8);
}

/* Lengths and distances are coded alike: each doubling of the value has
   1 << log codes, the rest of the value follows in extra bits. */
static uint32_t split(uint32_t value, int log, int *extra)
{
    *extra = 0;
    while (value >> *extra >= 2u << log)
        ++*extra;
    return ((uint32_t)*extra << log) + (value >> *extra);
}

static void put_match(struct writer *w, size_t length, size_t distance)
{
    const uint32_t l = (uint32_t)length - MIN_MATCH;
    const uint32_t d = (uint32_t)distance - 1;
    int extra;
    put_symbol(w, 257 + split(l, 2, &extra));
    put_bits(w, l & ((1u << extra) - 1), extra);
    put_code(w, split(d, 1, &extra), 5);
    put_bits(w, d & ((1u << extra) - 1), extra);
}

static size_t hash(const unsigned char *p)
{
    uint32_t key = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
    return (key * 2654435761u) >> 17;
}

static void deflate(struct writer *w, const unsigned char *data, size_t n)
{
    put_bits(w, 1, 1); /* the last block */
    put_bits(w, 1, 2); /* with fixed codes */
    for (size_t at = 0, step; at < n; at += step) {
        const size_t limit = n - at < MAX_MATCH ? n - at : MAX_MATCH;
        size_t length = 0, distance = 0;
        size_t from = limit < MIN_MATCH ? 0 : w->latest[hash(data + at)];
        for (int tries = 0; tries < MAX_TRIES && from > 0; tries++) {
            size_t same = 0, back = at + 1 - from;
            if (back > WINDOW)
                break;
            while (same < limit && data[at + same] == data[at + same - back])
                same++;
            if (same > length) {
                length = same;
                distance = back;
            }
            from = w->previous[(from - 1) % WINDOW];
        }
        step = length < MIN_MATCH ? 1 : length;
        if (step > 1)
            put_match(w, length, distance);
        else
            put_symbol(w, data[at]);
        for (size_t i = at; i < at + step && i + MIN_MATCH <= n; i++) {
            size_t *latest = &w->latest[hash(data + i)];
            w->previous[i % WINDOW] = *latest;
            *latest = i + 1;
        }
    }
    put_symbol(w, 256);
    put_bits(w, 0, 7); /* pad the last byte */
}

/* ---- filters ---- */

static int predict(int filter, int left, int up, int corner)
{
    const int dl = abs(up - corner), du = abs(left - corner);
    const int dc = abs(left + up - 2 * corner);
    switch (filter) {
    case 1: return left;
    case 2: return up;
    case 3: return (left + up) / 2;
    case 4: return dl <= du && dl <= dc ? left : du <= dc ? up : corner;
    default: return 0;
    }
}

/* Filters one row, type first, and returns how far its bytes are from 0. */
static long filter_row(int filter, const unsigned char *row,
                       const unsigned char *above, size_t n,
                       unsigned char *out)
{
    long cost = 0;
    *out++ = (unsigned char)filter;
    for (size_t i = 0; i < n; i++) {
        int left = i < PIXEL ? 0 : row[i - PIXEL];
        int up = above ? above[i] : 0;
        int corner = above && i >= PIXEL ? above[i - PIXEL] : 0;
        out[i] = (unsigned char)(row[i] - predict(filter, left, up, corner));
        cost += out[i] < 128 ? out[i] : 256 - out[i];
    }
    return cost;
}

/* Filters each row with the filter that costs least; trial has room for one row. */
static void filter_rows(const unsigned char *rgb, size_t n, size_t height,
                        size_t stride, unsigned char *out,
                        unsigned char *trial)
{
    for (size_t y = 0; y < height; y++, out += 1 + n) {
        const unsigned char *row = rgb + y * stride;
        const unsigned char *above = y > 0 ? row - stride : NULL;
        long best = filter_row(0, row, above, n, out);
        for (int filter = 1; filter <= 4; filter++) {
            long cost = filter_row(filter, row, above, n, trial);
            if (cost < best) {
                best = cost;
                memcpy(out, trial, 1 + n);
            }
        }
    }
}

const char *png_write_rgb8(FILE *file, const unsigned char *rgb, int width,
                           int height, size_t stride)
{
    unsigned char header[13] = {0}, sum[4];

    if (width < 1 || height < 1 || width > PNG_MAX_SIDE ||
        height > PNG_MAX_SIDE)
        return "PNG: each side must be 1 to 16384 pixels";
    const size_t row = (size_t)width * PIXEL;
    const size_t total = (1 + row) * (size_t)height;
    if (stride < row)
        return "PNG: the stride is shorter than a row";

    struct writer *w = calloc(1, sizeof *w);
    unsigned char *filtered = malloc(total + 1 + row);
    if (!w || !filtered) {
        free(w);
        free(filtered);
        return "PNG: out of memory";
    }
    filter_rows(rgb, row, (size_t)height, stride, filtered, filtered + total);

    big_endian((uint32_t)width, header);
    big_endian((uint32_t)height, header + 4);
    header[8] = 8; /* bits per sample */
    header[9] = 2; /* RGB */
    fwrite("\211PNG\r\n\032\n", 1, 8, file);
    write_chunk(file, "IHDR", header, sizeof header);

    w->file = file;
    put_byte(w, 0x78); /* zlib: deflate with a window of 32 KiB */
    put_byte(w, 0x01);
    deflate(w, filtered, total);
    big_endian(adler32(filtered, total), sum);
    for (int i = 0; i < 4; i++)
        put_byte(w, sum[i]);
    if (w->used > 0)
        write_chunk(file, "IDAT", w->idat, w->used);
    write_chunk(file, "IEND", header, 0);

    free(w);
    free(filtered);
    return fflush(file) != 0 || ferror(file) ? "PNG: cannot write the file"
                                             : NULL;
}
