/* Whether media files end where they say. Demuxers take what is there, and few tell that there is less.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "ends.h"

#include <libavutil/common.h>

#include <string.h>

static uint64_t little_endian(const unsigned char *bytes, int count)
{
    uint64_t value = 0;

    while (count--)
        value = value << 8 | bytes[count];
    return value;
}

static int read_at(AVIOContext *io, int64_t at, unsigned char *bytes, int count)
{
    return avio_seek(io, at, SEEK_SET) == at && avio_read(io, bytes, count) == count;
}

static uint64_t big_endian(const unsigned char *bytes, int count)
{
    uint64_t value = 0;

    while (count--)
        value = value << 8 | *bytes++;
    return value;
}

/* The end of the last box (ISO/IEC 14496-12, 4.2); 0 if it goes to the file's end. */
static uint64_t end_of_boxes(AVIOContext *io, uint64_t size)
{
    uint64_t at = 0, length;
    unsigned char head[16];
    int i;

    while (at + 8 <= size && read_at(io, (int64_t)at, head, 8)) {
        for (i = 4; i < 8; i++)
            if (head[i] < ' ' || head[i] > 0x7e) /* what comes behind the last one */
                return at;
        length = big_endian(head, 4);
        if (length == 1)
            length = read_at(io, (int64_t)at + 8, head + 8, 8) ? big_endian(head + 8, 8) : UINT32_MAX;
        if (length < 8)
            return 0;
        if (length > size - at)
            return at + length < at ? UINT64_MAX : at + length;
        at += length;
    }
    return at;
}

/* AVI may have several of these; where the writer could not go back, the size is 0. */
static uint64_t end_of_riff(AVIOContext *io, uint64_t size)
{
    uint64_t at = 0, length;
    unsigned char head[8];

    while (at + 8 <= size && read_at(io, (int64_t)at, head, 8) && !memcmp(head, "RIFF", 4)) {
        length = little_endian(head + 4, 4);
        if (!length || length == UINT32_MAX)
            return 0;
        at += 8 + length + (length & 1);
    }
    return at;
}

/* A size of EBML (RFC 8794, section 4). Returns its bytes; UINT64_MAX: not known. */
static int ebml_size(const unsigned char *bytes, uint64_t *size)
{
    int count = 1;
    uint64_t all;

    while (count < 8 && !(bytes[0] & 0x80 >> (count - 1)))
        count++;
    all = (UINT64_C(1) << 7 * count) - 1;
    *size = big_endian(bytes, count) & all;
    if (*size == all)
        *size = UINT64_MAX;
    return count;
}

/* The end of Matroska's segment (RFC 9559, section 4.5); 0: not known. */
static uint64_t end_of_segment(AVIOContext *io)
{
    unsigned char head[12];
    uint64_t at, length;

    if (!read_at(io, 0, head, 12) || big_endian(head, 4) != 0x1a45dfa3)
        return 0;
    at = 4 + (uint64_t)ebml_size(head + 4, &length);
    if (length > INT32_MAX || !read_at(io, (int64_t)(at += length), head, 12) || big_endian(head, 4) != 0x18538067)
        return 0;
    at += 4 + (uint64_t)ebml_size(head + 4, &length);
    return length == UINT64_MAX ? 0 : at + length;
}

/* The file size in ASF's file properties; 0: not known. */
static uint64_t end_of_asf(AVIOContext *io)
{
    static const unsigned char properties[] = {0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11, 0x8e, 0xe4, 0x00, 0xc0, 0x0c, 0x20, 0x53, 0x65};
    unsigned char head[92];
    uint64_t at = 30, end;

    if (!read_at(io, 0, head, 24))
        return 0;
    end = little_endian(head + 16, 8);
    while (at < end && read_at(io, (int64_t)at, head, 24)) {
        const uint64_t length = little_endian(head + 16, 8);
        if (!memcmp(head, properties, sizeof properties))
            /* In a broadcast the size means nothing. */
            return read_at(io, (int64_t)at, head, 92) && !(head[88] & 1) ? little_endian(head + 40, 8) : 0;
        if (length < 24 || length > INT32_MAX)
            return 0;
        at += length;
    }
    return 0;
}

/* Whether the last bytes of a GIF are its end. */
static int ends_gif(AVIOContext *io, int64_t size)
{
    unsigned char byte = 0;

    while (size > 0 && read_at(io, --size, &byte, 1) && !byte)
        ;
    return byte == ';';
}

/* Whether the last page ends a stream of Ogg (RFC 3533, section 6). */
static int ends_ogg(AVIOContext *io, int64_t size)
{
    static unsigned char bytes[1 << 16];
    const int count = (int)FFMIN(size, (int64_t)sizeof bytes);
    int i;

    if (!read_at(io, size - count, bytes, count))
        return 1;
    for (i = count - 6; i >= 0; i--)
        if (!memcmp(bytes + i, "OggS", 4))
            return bytes[i + 5] >> 2 & 1;
    return 1;
}

int is_cut_off(AVIOContext *io, const char *format, int64_t size, uint64_t *says)
{
    *says = 0;
    if (size <= 0)
        return 0;
    if (strstr(format, "mp4"))
        *says = end_of_boxes(io, (uint64_t)size);
    else if (!strcmp(format, "avi"))
        *says = end_of_riff(io, (uint64_t)size);
    else if (strstr(format, "matroska"))
        *says = end_of_segment(io);
    else if (!strcmp(format, "asf"))
        *says = end_of_asf(io);
    else if (!strcmp(format, "gif"))
        return !ends_gif(io, size);
    else if (!strcmp(format, "ogg"))
        return !ends_ogg(io, size);
    return *says > (uint64_t)size;
}
