#include "y4m.h"

#include <wfvae.h>

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE 1024

static const char MAGIC[] = "YUV4MPEG2 ";

/* A chroma plane has a sample for that many luma columns and rows. The formats are those for 8 bits and for more. */
static const struct {
    const char *tag;
    size_t columns, rows;
    uint32_t formats[2];
    wfvae_siting siting;
} MODES[] = {
    [Y4M_420JPEG] = {"420jpeg", 2, 2,
        {WFVAE_PIXEL_FORMAT_YUV420P8, WFVAE_PIXEL_FORMAT_YUV420P16},
        WFVAE_SITING_CENTRE},
    [Y4M_420MPEG2] = {"420mpeg2", 2, 2,
        {WFVAE_PIXEL_FORMAT_YUV420P8, WFVAE_PIXEL_FORMAT_YUV420P16},
        WFVAE_SITING_LEFT},
    [Y4M_420PALDV] = {"420paldv", 2, 2,
        {WFVAE_PIXEL_FORMAT_YUV420P8, WFVAE_PIXEL_FORMAT_YUV420P16},
        WFVAE_SITING_TOP_LEFT},
    [Y4M_420] = {"420", 2, 2,
        {WFVAE_PIXEL_FORMAT_YUV420P8, WFVAE_PIXEL_FORMAT_YUV420P16},
        WFVAE_SITING_LEFT},
    [Y4M_411] = {"411", 4, 1,
        {WFVAE_PIXEL_FORMAT_YUV411P8, 0}, WFVAE_SITING_LEFT},
    [Y4M_422] = {"422", 2, 1,
        {WFVAE_PIXEL_FORMAT_YUV422P8, WFVAE_PIXEL_FORMAT_YUV422P16},
        WFVAE_SITING_LEFT},
    [Y4M_444] = {"444", 1, 1,
        {WFVAE_PIXEL_FORMAT_YUV444P8, WFVAE_PIXEL_FORMAT_YUV444P16},
        WFVAE_SITING_LEFT},
    [Y4M_MONO] = {"mono", 1, 1,
        {WFVAE_PIXEL_FORMAT_GRAY8, WFVAE_PIXEL_FORMAT_GRAY16},
        WFVAE_SITING_LEFT},
};

#define MODE_COUNT ((int)(sizeof MODES / sizeof MODES[0]))

/* Sizes in samples, offsets and row lengths in bytes. */
struct layout {
    size_t width, height, chroma_width, chroma_height;
    size_t row, chroma_row, cb, cr, total;
    size_t frame; /* in the file: alpha may lie behind the total */
};

static int fail(y4m_stream *stream, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(stream->error, sizeof stream->error, format, args);
    va_end(args);
    return -1;
}

/* ---- stream parameters ---- */

/* Sets the C tag for a mode and depth; returns 0 if there is none. */
static int chroma_tag(int mode, int depth, char tag[16])
{
    const char *name = MODES[mode].tag;
    if (depth == 8)
        snprintf(tag, 16, "%s", name);
    else if (mode == Y4M_MONO)
        snprintf(tag, 16, "%s%d", name, depth);
    else if (strlen(name) == 3 && mode != Y4M_411)
        snprintf(tag, 16, "%sp%d", name, depth);
    else
        return 0;
    return 1;
}

static int same_text(const char *a, const char *b)
{
    while (*a && toupper((unsigned char)*a) == toupper((unsigned char)*b))
        a++, b++;
    return *a == *b;
}

static int parse_chroma(const char *text, y4m_info *info, int *ignores_alpha)
{
    *ignores_alpha = same_text(text, "444alpha");
    if (*ignores_alpha)
        text = "444";
    for (int mode = 0; mode < MODE_COUNT; mode++) {
        for (int depth = 8; depth <= Y4M_MAX_DEPTH; depth++) {
            char tag[16];
            if (chroma_tag(mode, depth, tag) && same_text(text, tag)) {
                info->chroma = (y4m_chroma)mode;
                info->depth = depth;
                return 1;
            }
        }
    }
    return 0;
}

/* Accepts digits only; strtol would accept spaces and signs too. */
static const char *parse_digits(const char *text, int *value)
{
    const char *end = text;
    long long number = 0;
    while (isdigit((unsigned char)*end) && number <= INT_MAX)
        number = number * 10 + (*end++ - '0');
    if (end == text || number > INT_MAX)
        return NULL;
    *value = (int)number;
    return end;
}

static int parse_number(const char *text, int *value)
{
    const char *end = parse_digits(text, value);
    return end && *end == '\0';
}

static int parse_ratio(const char *text, int *num, int *den)
{
    const char *colon = parse_digits(text, num);
    if (!colon || *colon != ':' || !parse_number(colon + 1, den))
        return 0;
    if (*num == 0) /* some write 0:1 for unknown */
        *den = 0;
    return 1;
}

static int parse_extension(const char *text, y4m_info *info,
                           const char **subsampling)
{
    if (strncmp(text, "YSCSS=", 6) == 0)
        *subsampling = text + 6;
    else if (same_text(text, "COLORRANGE=FULL"))
        info->range = Y4M_FULL;
    else if (same_text(text, "COLORRANGE=LIMITED"))
        info->range = Y4M_LIMITED;
    else
        return strncmp(text, "COLORRANGE=", 11) != 0;
    return 1;
}

static int parse_header(y4m_stream *stream, char *line)
{
    y4m_info *info = &stream->info;
    const char *chroma = NULL, *subsampling = NULL;
    char *next;

    for (char *tag = line; *tag; tag = next) {
        int ok = 1;
        next = tag + strcspn(tag, " ");
        while (*next == ' ')
            *next++ = '\0';
        switch (tag[0]) {
        case 'W': ok = parse_number(tag + 1, &info->width); break;
        case 'H': ok = parse_number(tag + 1, &info->height); break;
        case 'F':
            ok = parse_ratio(tag + 1, &info->rate_num, &info->rate_den);
            break;
        case 'A':
            ok = parse_ratio(tag + 1, &info->aspect_num, &info->aspect_den);
            break;
        case 'I':
            if (strcmp(tag, "Ip") != 0 && strcmp(tag, "I?") != 0)
                return fail(stream, "interlaced video (%.20s) is not supported, "
                            "only progressive (Ip): deinterlace it first, with "
                            "ffmpeg -i INPUT -vf bwdif -f yuv4mpegpipe -",
                            tag);
            break;
        case 'C': chroma = tag + 1; break;
        case 'X': ok = parse_extension(tag + 1, info, &subsampling); break;
        }
        if (!ok)
            return fail(stream, "bad header tag %.60s", tag);
    }

    /* XYSCSS is an older tag for the same as C; C takes precedence. */
    if (!chroma)
        chroma = subsampling ? subsampling : "420jpeg";
    if (!parse_chroma(chroma, info, &stream->ignores_alpha))
        return fail(stream, "chroma mode %.40s is not supported, only 420, "
                    "411, 422, 444 and mono, of 8 to 16 bits: convert it, with "
                    "ffmpeg -i INPUT -pix_fmt yuv420p -f yuv4mpegpipe -",
                    chroma);
    return 0;
}

static int is_ratio(int num, int den)
{
    return (num > 0 && den > 0) || (num == 0 && den == 0);
}

static int check_info(y4m_stream *stream)
{
    const y4m_info *info = &stream->info;
    int mode = (int)info->chroma;
    char tag[16];

    if (info->width < 1 || info->height < 1 || info->width > Y4M_MAX_SIDE ||
        info->height > Y4M_MAX_SIDE)
        return fail(stream, "frame size %dx%d: each side must be 1 to %d",
                    info->width, info->height, Y4M_MAX_SIDE);
    if (!is_ratio(info->rate_num, info->rate_den))
        return fail(stream, "bad frame rate %d:%d", info->rate_num,
                    info->rate_den);
    if (!is_ratio(info->aspect_num, info->aspect_den))
        return fail(stream, "bad pixel aspect ratio %d:%d", info->aspect_num,
                    info->aspect_den);
    if (mode < 0 || mode >= MODE_COUNT)
        return fail(stream, "unknown chroma mode %d", mode);
    if (info->depth < 8 || info->depth > Y4M_MAX_DEPTH ||
        !chroma_tag(mode, info->depth, tag))
        return fail(stream, "chroma mode %s cannot have %d bits",
                    MODES[mode].tag, info->depth);
    return 0;
}

static struct layout layout_of(const y4m_stream *stream)
{
    const y4m_info *info = &stream->info;
    const size_t sample = info->depth > 8 ? 2 : 1;
    struct layout l;
    l.width = (size_t)info->width;
    l.height = (size_t)info->height;
    l.chroma_width = (l.width + MODES[info->chroma].columns - 1) /
                     MODES[info->chroma].columns;
    l.chroma_height = (l.height + MODES[info->chroma].rows - 1) /
                      MODES[info->chroma].rows;
    if (info->chroma == Y4M_MONO)
        l.chroma_width = l.chroma_height = 0;
    l.row = l.width * sample;
    l.chroma_row = l.chroma_width * sample;
    l.cb = l.row * l.height;
    l.cr = l.cb + l.chroma_row * l.chroma_height;
    l.total = l.cr + l.chroma_row * l.chroma_height;
    l.frame = l.total + (stream->ignores_alpha ? l.row * l.height : 0);
    return l;
}

/* ---- opening and closing ---- */

static int allocate(y4m_stream *stream)
{
    const struct layout l = layout_of(stream);
    stream->bytes = malloc(l.frame);
    if (!stream->bytes)
        return fail(stream, "out of memory for frames of %dx%d",
                    stream->info.width, stream->info.height);
    return 0;
}

/* The file ended inside a header, or reading failed. */
static int fail_short(y4m_stream *stream, const char *what)
{
    return fail(stream, "%s: %s", what,
                ferror(stream->file) ? strerror(errno) : "truncated");
}

/* A comment (X) may be in any language. */
static int is_control(int c)
{
    return c < ' ' || c == 127;
}

/* Reads the rest of a line, without its end. */
static int read_line(y4m_stream *stream, const char *what, char *line)
{
    for (size_t used = 0; used < LINE_SIZE; used++) {
        int c = fgetc(stream->file);
        if (c == '\n') {
            line[used] = '\0';
            return 0;
        }
        if (c == EOF)
            return fail_short(stream, what);
        if (c == '\r')
            return fail(stream, "%s: its line ends with CR LF: the clip was "
                        "changed as if it were text; copy it as bytes",
                        what);
        if (is_control(c))
            return fail(stream, "%s: unexpected byte 0x%02x", what,
                        (unsigned)c);
        line[used] = (char)c;
    }
    return fail(stream, "%s: longer than %d bytes", what, LINE_SIZE);
}

int y4m_open_read(y4m_stream *stream, FILE *file)
{
    char line[LINE_SIZE];

    *stream = (y4m_stream){.file = file};
    const size_t got = fread(line, 1, sizeof MAGIC - 1, file);
    if (ferror(file))
        return fail_short(stream, "stream header");
    if (got == 0)
        return fail(stream, "not a YUV4MPEG2 stream: it is empty");
    if (got < sizeof MAGIC - 1 ||
        memcmp(line, MAGIC, sizeof MAGIC - 1) != 0)
        return fail(stream, "not a YUV4MPEG2 stream: convert it, with "
                    "ffmpeg -i INPUT -f yuv4mpegpipe -strict -1 -");
    if (read_line(stream, "stream header", line) < 0 ||
        parse_header(stream, line) < 0 || check_info(stream) < 0)
        return -1;
    return allocate(stream);
}

int y4m_open_write(y4m_stream *stream, FILE *file, const y4m_info *info)
{
    char header[Y4M_HEADER_SIZE];

    *stream = (y4m_stream){.file = file, .info = *info};
    if (check_info(stream) < 0 || allocate(stream) < 0)
        return -1;
    y4m_format_header(info, header);
    fprintf(file, "%s\n", header);
    if (fflush(file) != 0 || ferror(file))
        return fail(stream, "stream header: cannot write: %s",
                    strerror(errno));
    return 0;
}

void y4m_format_header(const y4m_info *info, char text[Y4M_HEADER_SIZE])
{
    char tag[16];

    chroma_tag((int)info->chroma, info->depth, tag);
    snprintf(text, Y4M_HEADER_SIZE, "%sW%d H%d F%d:%d Ip A%d:%d C%s%s", MAGIC,
             info->width, info->height, info->rate_num, info->rate_den,
             info->aspect_num, info->aspect_den, tag,
             info->range == Y4M_FULL      ? " XCOLORRANGE=FULL"
             : info->range == Y4M_LIMITED ? " XCOLORRANGE=LIMITED"
                                          : "");
}

int y4m_parse_header(const char *text, y4m_info *info)
{
    const size_t magic = sizeof MAGIC - 1;
    y4m_stream stream = {0};
    char line[LINE_SIZE];

    if (strncmp(text, MAGIC, magic) != 0)
        return -1;
    const size_t length = strcspn(text + magic, "\n");
    if (length >= LINE_SIZE)
        return -1;
    memcpy(line, text + magic, length);
    line[length] = '\0';
    for (size_t i = 0; i < length; i++)
        if (is_control((unsigned char)line[i]))
            return -1;
    if (parse_header(&stream, line) < 0 || check_info(&stream) < 0)
        return -1;
    *info = stream.info;
    return 0;
}

void y4m_close(y4m_stream *stream)
{
    free(stream->bytes);
    stream->bytes = NULL;
}

/* ---- frames ---- */

/* The frame in stream->bytes, as the library sees it. */
static wfvae_frame stored_frame(const y4m_stream *stream)
{
    const y4m_info *info = &stream->info;
    const struct layout l = layout_of(stream);
    const size_t starts[3] = {0, l.cb, l.cr};
    wfvae_frame frame;

    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.format = MODES[info->chroma].formats[info->depth > 8];
    frame.width = (uint32_t)info->width;
    frame.height = (uint32_t)info->height;
    frame.bit_depth = info->depth > 8 ? (uint32_t)info->depth : 0;
    frame.matrix = info->matrix == Y4M_BT601   ? WFVAE_MATRIX_BT601
                   : info->matrix == Y4M_BT709 ? WFVAE_MATRIX_BT709
                                               : WFVAE_MATRIX_AUTO;
    frame.yuv_range = info->range == Y4M_FULL ? WFVAE_YUV_RANGE_FULL
                                              : WFVAE_YUV_RANGE_LIMITED;
    frame.siting = MODES[info->chroma].siting;
    for (int i = 0; i < 3; i++) {
        frame.planes[i] = stream->bytes + starts[i];
        frame.strides[i] = (ptrdiff_t)(i ? l.chroma_row : l.row);
    }
    return frame;
}

static wfvae_frame rgb_frame(const y4m_stream *stream, float *rgb,
                             size_t stride, size_t plane_stride)
{
    wfvae_frame frame;

    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.format = WFVAE_PIXEL_FORMAT_RGBP_F32;
    frame.width = (uint32_t)stream->info.width;
    frame.height = (uint32_t)stream->info.height;
    for (size_t i = 0; i < 3; i++) {
        frame.planes[i] = rgb + i * plane_stride;
        frame.strides[i] = (ptrdiff_t)(stride * sizeof(float));
    }
    return frame;
}

static int convert(y4m_stream *stream, const wfvae_frame *from,
                   wfvae_frame *to)
{
    if (wfvae_convert_frame(from, to))
        return fail(stream, "frame %lu: %s", stream->frames,
                    wfvae_last_error(NULL));
    return 0;
}

/* Y4M's words have the low byte first. On machines that do too, this does
   nothing, in either direction. */
static void swap_words(unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i += 2) {
        const uint16_t word = (uint16_t)(bytes[i] | bytes[i + 1] << 8);
        memcpy(bytes + i, &word, 2);
    }
}

/* Fills stream->bytes. Returns 1, 0 at the end of the stream, or -1. */
static int read_bytes(y4m_stream *stream)
{
    const struct layout l = layout_of(stream);
    char what[32], line[LINE_SIZE];
    size_t got;

    snprintf(what, sizeof what, "frame %lu", stream->frames);
    got = fread(line, 1, 5, stream->file);
    if (got == 0 && !ferror(stream->file))
        return 0;
    if (got < 5)
        return fail_short(stream, what);
    if (memcmp(line, "FRAME", 5) != 0)
        return fail(stream, "%s: does not begin with FRAME", what);
    if (read_line(stream, what, line) < 0)
        return -1;
    if (line[0] != '\0' && line[0] != ' ')
        return fail(stream, "%s: does not begin with FRAME", what);

    got = fread(stream->bytes, 1, l.frame, stream->file);
    if (ferror(stream->file))
        return fail_short(stream, what);
    if (got < l.frame)
        return fail(stream, "%s: truncated, %zu of %zu bytes are missing",
                    what, l.frame - got, l.frame);
    if (stream->info.depth > 8)
        for (size_t i = 1; i < l.total; i += 2)
            if (stream->bytes[i] >> (stream->info.depth - 8))
                return fail(stream, "%s: a sample exceeds %d bits", what,
                            stream->info.depth);
    return 1;
}

int y4m_read_frame(y4m_stream *stream, float *rgb, size_t stride,
                   size_t plane_stride)
{
    const wfvae_frame stored = stored_frame(stream);
    wfvae_frame planes = rgb_frame(stream, rgb, stride, plane_stride);
    const int got = read_bytes(stream);

    if (got <= 0)
        return got;
    if (stream->info.depth > 8)
        swap_words(stream->bytes, layout_of(stream).total);
    if (convert(stream, &stored, &planes) < 0)
        return -1;
    stream->frames++;
    return 1;
}

int y4m_write_frame(y4m_stream *stream, const float *rgb, size_t stride,
                    size_t plane_stride)
{
    const struct layout l = layout_of(stream);
    /* A frame to convert from is not written to. */
    const wfvae_frame planes =
        rgb_frame(stream, (float *)(uintptr_t)rgb, stride, plane_stride);
    wfvae_frame stored = stored_frame(stream);

    if (convert(stream, &planes, &stored) < 0)
        return -1;
    if (stream->info.depth > 8)
        swap_words(stream->bytes, l.total);
    if (fputs("FRAME\n", stream->file) == EOF ||
        fwrite(stream->bytes, 1, l.total, stream->file) != l.total ||
        fflush(stream->file) != 0)
        return fail(stream, "frame %lu: cannot write: %s", stream->frames,
                    strerror(errno));
    stream->frames++;
    return 0;
}

/* Rounds to nearest and clamps; NaN becomes 0. */
static unsigned char to_byte(float value)
{
    value *= 255.0f;
    if (!(value > 0.0f))
        return 0;
    return (unsigned char)(value < 255.0f ? value + 0.5f : 255.0f);
}

void y4m_pack_rgb8(const float *rgb, size_t stride, size_t plane_stride,
                   int width, int height, unsigned char *packed)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++)
                *packed++ = to_byte(rgb[c * plane_stride +
                                        (size_t)y * stride + (size_t)x]);
}
