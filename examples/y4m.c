#include "y4m.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LINE_SIZE 1024

/* Where the chroma samples of one axis are: one for every luma sample; one for
   two, at the first or between both; one for four, at the first. */
enum siting { EVERY_SAMPLE, COSITED, CENTRED, COSITED_4 };

static const size_t SUBSAMPLING[] = {
    [EVERY_SAMPLE] = 1, [COSITED] = 2, [CENTRED] = 2, [COSITED_4] = 4};

static const struct {
    const char *tag;
    enum siting horizontal, vertical;
} MODES[] = {
    [Y4M_420JPEG] = {"420jpeg", CENTRED, CENTRED},
    [Y4M_420MPEG2] = {"420mpeg2", COSITED, CENTRED},
    [Y4M_420PALDV] = {"420paldv", COSITED, COSITED},
    [Y4M_420] = {"420", COSITED, CENTRED},
    [Y4M_411] = {"411", COSITED_4, EVERY_SAMPLE},
    [Y4M_422] = {"422", COSITED, EVERY_SAMPLE},
    [Y4M_444] = {"444", EVERY_SAMPLE, EVERY_SAMPLE},
    [Y4M_MONO] = {"mono", EVERY_SAMPLE, EVERY_SAMPLE},
};

#define MODE_COUNT ((int)(sizeof MODES / sizeof MODES[0]))

/* Sizes in samples, offsets and row lengths in bytes. */
struct layout {
    size_t width, height, chroma_width, chroma_height;
    size_t row, chroma_row, cb, cr, total;
    size_t frame; /* in the file: alpha may lie behind the total */
};

/* code = zero + span * value, with luma in 0..1 and chroma in -0.5..0.5. */
struct scale {
    float zero, span;
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

static size_t chroma_count(size_t luma_count, enum siting siting)
{
    return (luma_count + SUBSAMPLING[siting] - 1) / SUBSAMPLING[siting];
}

static struct layout layout_of(const y4m_stream *stream)
{
    const y4m_info *info = &stream->info;
    const size_t sample = info->depth > 8 ? 2 : 1;
    struct layout l;
    l.width = (size_t)info->width;
    l.height = (size_t)info->height;
    l.chroma_width = chroma_count(l.width, MODES[info->chroma].horizontal);
    l.chroma_height = chroma_count(l.height, MODES[info->chroma].vertical);
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
    stream->scratch = malloc(2 * l.width * sizeof *stream->scratch);
    if (!stream->bytes || !stream->scratch)
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
        if (c < ' ' || c == 127) /* a comment (X) may be in any language */
            return fail(stream, "%s: unexpected byte 0x%02x", what,
                        (unsigned)c);
        line[used] = (char)c;
    }
    return fail(stream, "%s: longer than %d bytes", what, LINE_SIZE);
}

int y4m_open_read(y4m_stream *stream, FILE *file)
{
    static const char MAGIC[] = "YUV4MPEG2 ";
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
    char tag[16];

    *stream = (y4m_stream){.file = file, .info = *info};
    if (check_info(stream) < 0 || allocate(stream) < 0)
        return -1;
    chroma_tag((int)info->chroma, info->depth, tag);
    fprintf(file, "YUV4MPEG2 W%d H%d F%d:%d Ip A%d:%d C%s", info->width,
            info->height, info->rate_num, info->rate_den, info->aspect_num,
            info->aspect_den, tag);
    if (info->range != Y4M_RANGE_UNSPECIFIED)
        fprintf(file, " XCOLORRANGE=%s",
                info->range == Y4M_FULL ? "FULL" : "LIMITED");
    fputc('\n', file);
    if (fflush(file) != 0 || ferror(file))
        return fail(stream, "stream header: cannot write: %s",
                    strerror(errno));
    return 0;
}

void y4m_close(y4m_stream *stream)
{
    free(stream->bytes);
    free(stream->scratch);
    stream->bytes = NULL;
    stream->scratch = NULL;
}

/* ---- colour ---- */

static struct scale luma_scale(const y4m_info *info)
{
    const float unit = (float)(1 << (info->depth - 8));
    struct scale s = {16.0f * unit, 219.0f * unit};
    if (info->range == Y4M_FULL) {
        s.zero = 0.0f;
        s.span = (float)((1 << info->depth) - 1);
    }
    return s;
}

static struct scale chroma_scale(const y4m_info *info)
{
    const float unit = (float)(1 << (info->depth - 8));
    struct scale s = {128.0f * unit, 224.0f * unit};
    if (info->range == Y4M_FULL)
        s.span = (float)((1 << info->depth) - 1);
    return s;
}

/* The weights of R and B in luma; that of G makes the sum 1. */
static void luma_weights(const y4m_info *info, float *kr, float *kb)
{
    const int bt709 = info->matrix == Y4M_MATRIX_UNSPECIFIED
                          ? info->height >= 720
                          : info->matrix == Y4M_BT709;
    *kr = bt709 ? 0.2126f : 0.299f;
    *kb = bt709 ? 0.0722f : 0.114f;
}

/* Computed from differences, which is exact for grey. */
static float luma_of(float kr, float kb, float r, float g, float b)
{
    return g + kr * (r - g) + kb * (b - g);
}

static void load_row(const unsigned char *bytes, size_t count, int depth,
                     struct scale s, float *out)
{
    for (size_t i = 0; i < count; i++) {
        int code = depth > 8 ? bytes[2 * i] | bytes[2 * i + 1] << 8 : bytes[i];
        out[i] = ((float)code - s.zero) / s.span;
    }
}

/* Rounds to nearest and clamps; NaN becomes 0. */
static int to_code(float value, int max)
{
    if (!(value > 0.0f))
        return 0;
    return value < (float)max ? (int)(value + 0.5f) : max;
}

static void store(unsigned char *bytes, size_t i, int depth, struct scale s,
                  float value)
{
    int code = to_code(s.zero + s.span * value, (1 << depth) - 1);
    if (depth > 8) {
        bytes[2 * i] = (unsigned char)(code & 255);
        bytes[2 * i + 1] = (unsigned char)(code >> 8);
    } else {
        bytes[i] = (unsigned char)code;
    }
}

/* ---- reading ---- */

/* Linear interpolation: (1 - weight) * chroma[first] + weight * chroma[other],
   where the edge sample is repeated beyond the edge. */
struct tap {
    size_t first, other;
    float weight;
};

static struct tap upsample_tap(size_t luma, size_t chroma_count,
                               enum siting siting)
{
    const size_t step = SUBSAMPLING[siting], part = luma % step;
    struct tap t = {luma / step, luma / step, (float)part / (float)step};
    int before = 0;
    if (siting == CENTRED) {
        before = part == 0;
        t.weight = 0.25f;
    }
    if (before)
        t.other -= t.first > 0;
    else
        t.other += t.first + 1 < chroma_count;
    return t;
}

/* Row y of a chroma plane at luma resolution. */
static void upsample_row(const y4m_stream *stream, const unsigned char *plane,
                         size_t y, float *out)
{
    const struct layout l = layout_of(stream);
    const struct scale s = chroma_scale(&stream->info);
    const enum siting across = MODES[stream->info.chroma].horizontal;
    const int depth = stream->info.depth;
    float *row = stream->scratch, *other = row + l.width;

    struct tap t = upsample_tap(y, l.chroma_height,
                                MODES[stream->info.chroma].vertical);
    load_row(plane + t.first * l.chroma_row, l.chroma_width, depth, s, row);
    load_row(plane + t.other * l.chroma_row, l.chroma_width, depth, s, other);
    for (size_t x = 0; x < l.chroma_width; x++)
        row[x] += t.weight * (other[x] - row[x]);
    for (size_t x = 0; x < l.width; x++) {
        t = upsample_tap(x, l.chroma_width, across);
        out[x] = row[t.first] + t.weight * (row[t.other] - row[t.first]);
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
    const y4m_info *info = &stream->info;
    const struct layout l = layout_of(stream);
    float kr, kb;
    int got = read_bytes(stream);
    if (got <= 0)
        return got;

    luma_weights(info, &kr, &kb);
    for (size_t y = 0; y < l.height; y++) {
        /* The output rows hold Y, Cb and Cr until they are converted. */
        float *r = rgb + y * stride;
        float *g = r + plane_stride, *b = g + plane_stride;
        load_row(stream->bytes + y * l.row, l.width, info->depth,
                 luma_scale(info), r);
        if (info->chroma == Y4M_MONO) {
            memcpy(g, r, l.width * sizeof *r);
            memcpy(b, r, l.width * sizeof *r);
            continue;
        }
        upsample_row(stream, stream->bytes + l.cb, y, g);
        upsample_row(stream, stream->bytes + l.cr, y, b);
        for (size_t x = 0; x < l.width; x++) {
            const float luma = r[x];
            const float blue = 2.0f * (1.0f - kb) * g[x];
            const float red = 2.0f * (1.0f - kr) * b[x];
            r[x] = luma + red;
            g[x] = luma - (kr * red + kb * blue) / (1.0f - kr - kb);
            b[x] = luma + blue;
        }
    }
    stream->frames++;
    return 1;
}

/* ---- writing ---- */

/* A chroma sample is a weighted sum of luma-rate samples around the first of
   those that it replaces. */
#define MOST_TAPS 7

static const struct filter {
    int before, taps;
    float weights[MOST_TAPS];
} DOWNSAMPLE[] = {
    [EVERY_SAMPLE] = {0, 1, {1.0f}},
    [COSITED] = {1, 3, {0.25f, 0.5f, 0.25f}},
    [CENTRED] = {0, 2, {0.5f, 0.5f}},
    [COSITED_4] = {3, 7, {0.0625f, 0.125f, 0.1875f, 0.25f, 0.1875f, 0.125f,
                          0.0625f}},
};

/* The index of a weight's luma-rate sample, clamped to the picture. */
static size_t downsample_index(size_t chroma, int tap, size_t luma_count,
                               enum siting siting)
{
    const size_t before = (size_t)DOWNSAMPLE[siting].before;
    const size_t at = SUBSAMPLING[siting] * chroma + (size_t)tap;
    if (at < before)
        return 0;
    return at - before < luma_count ? at - before : luma_count - 1;
}

/* Adds weight * (difference from luma), Cb's or Cr's, of one row to sums. */
static void add_chroma(const y4m_info *info, const float *r, const float *g,
                       const float *b, int is_cr, float weight, float *sums)
{
    float kr, kb;
    luma_weights(info, &kr, &kb);
    weight /= 2.0f * (1.0f - (is_cr ? kr : kb));
    for (int x = 0; x < info->width; x++) {
        const float luma = luma_of(kr, kb, r[x], g[x], b[x]);
        sums[x] += weight * ((is_cr ? r[x] : b[x]) - luma);
    }
}

static void downsample_plane(const y4m_stream *stream, const float *rgb,
                             size_t stride, size_t plane_stride, int is_cr)
{
    const y4m_info *info = &stream->info;
    const struct layout l = layout_of(stream);
    const enum siting across = MODES[info->chroma].horizontal;
    const enum siting down = MODES[info->chroma].vertical;
    unsigned char *out = stream->bytes + (is_cr ? l.cr : l.cb);
    float *row = stream->scratch;

    for (size_t y = 0; y < l.chroma_height; y++, out += l.chroma_row) {
        for (size_t x = 0; x < l.width; x++)
            row[x] = 0.0f;
        for (int tap = 0; tap < DOWNSAMPLE[down].taps; tap++) {
            const float *r =
                rgb + downsample_index(y, tap, l.height, down) * stride;
            add_chroma(info, r, r + plane_stride, r + 2 * plane_stride, is_cr,
                       DOWNSAMPLE[down].weights[tap], row);
        }
        for (size_t x = 0; x < l.chroma_width; x++) {
            float sum = 0.0f;
            for (int tap = 0; tap < DOWNSAMPLE[across].taps; tap++)
                sum += DOWNSAMPLE[across].weights[tap] *
                       row[downsample_index(x, tap, l.width, across)];
            store(out, x, info->depth, chroma_scale(info), sum);
        }
    }
}

int y4m_write_frame(y4m_stream *stream, const float *rgb, size_t stride,
                    size_t plane_stride)
{
    const y4m_info *info = &stream->info;
    const struct layout l = layout_of(stream);
    float kr, kb;

    luma_weights(info, &kr, &kb);
    for (size_t y = 0; y < l.height; y++) {
        const float *r = rgb + y * stride;
        const float *g = r + plane_stride, *b = g + plane_stride;
        for (size_t x = 0; x < l.width; x++)
            store(stream->bytes + y * l.row, x, info->depth, luma_scale(info),
                  luma_of(kr, kb, r[x], g[x], b[x]));
    }
    if (info->chroma != Y4M_MONO) {
        downsample_plane(stream, rgb, stride, plane_stride, 0);
        downsample_plane(stream, rgb, stride, plane_stride, 1);
    }

    if (fputs("FRAME\n", stream->file) == EOF ||
        fwrite(stream->bytes, 1, l.total, stream->file) != l.total ||
        fflush(stream->file) != 0)
        return fail(stream, "frame %lu: cannot write: %s", stream->frames,
                    strerror(errno));
    stream->frames++;
    return 0;
}

void y4m_pack_rgb8(const float *rgb, size_t stride, size_t plane_stride,
                   int width, int height, unsigned char *packed)
{
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++)
                *packed++ = (unsigned char)to_code(
                    255.0f * rgb[c * plane_stride + (size_t)y * stride +
                                 (size_t)x],
                    255);
}
