/* Reads media files for wfvae-batch, with FFmpeg's libraries: a child process, so that a decoder that crashes or hangs on a damaged
 * file takes no job with it. One process reads many clips, one after the other; wfvae-batch has one for each worker.
 *
 * Messages go both ways as: kind (1 byte), size (32 bits), and so many bytes. Integers are little-endian.
 * From standard input:
 *     'o' start, end (64 bits each, microseconds from the file's start; INT64_MIN and INT64_MAX: all of it), name of a file: open it
 *     'r' a filter graph as text: decode, filter, and send the frames
 * To standard output:
 *     'i' what the file says of itself, a line NAME=VALUE each: the answer to 'o'
 *     'f' width, height (32 bits each), the frame rate after filters, the names of pixel format, colour matrix, range and chroma
 *         location, each with its NUL, and the planes without padding: a frame
 *     'h' nothing: frames are decoded that are not wanted
 *     'd' the same lines with what was found: the clip is done
 *     'e' a text: the clip has failed. The next message must be 'o'
 * The process ends where standard input does; one that hangs is ended by wfvae-batch, and with it. Its argument is the memory that it may use, in bytes.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "ends.h"

#include <libavcodec/avcodec.h>
#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libavutil/time.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/resource.h>
#endif

#define WHOLE_START INT64_MIN
#define WHOLE_END INT64_MAX
#define TEXT 2000
/* Rounding of times. */
#define MICROSECONDS 1
/* A frame that is shown for longer would be repeated without end where the rate is converted. */
#define LONGEST_FRAME 600
#define HEARTBEAT 200000 /* microseconds */

typedef struct clip {
    int64_t start, end; /* microseconds */
    char *name;
    AVIOContext *io;
    AVFormatContext *file;
    AVCodecContext *decoder;
    AVStream *stream;
    AVFilterGraph *graph;
    AVFilterContext *source, *sink;
    AVPacket *packet;
    AVFrame *frame, *picture;
    int64_t decoded, sent;         /* frames that are wanted */
    int64_t first, last, duration; /* their times, in the stream's time base */
    int width, height, format;     /* of the first one */
    int ended;                     /* nothing more is to be decoded */
    /* Since the file was opened or the last seek. */
    int64_t packets;               /* of the video */
    int64_t read_to;               /* where the last one ends in the file */
    int has_key;                   /* a packet that needs no others has come */
    int64_t key;                   /* its time */
    int64_t shown;                 /* frames that the decoder gave */
    int64_t clock, step;           /* the time of the last one, and how long it is shown */
    int64_t beat;                  /* when something was sent */
} clip;

static char failure[TEXT];  /* of the clip that is open; empty: none */
static char reported[TEXT]; /* what a demuxer called an error: the first one */
static char decoder_says[TEXT]; /* likewise, of the packet that is being decoded */

/* Keeps the first text. */
#ifdef __GNUC__
__attribute__((format(printf, 1, 2)))
#endif
static int fail(const char *format, ...)
{
    va_list arguments;

    if (!failure[0]) {
        va_start(arguments, format);
        vsnprintf(failure, sizeof failure, format, arguments);
        va_end(arguments);
    }
    return -1;
}

static int fail_av(const char *what, int error)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "";

    av_strerror(error, text, sizeof text);
    return decoder_says[0] ? fail("%s: %s (%s)", what, text, decoder_says) : fail("%s: %s", what, text);
}

/* What FFmpeg calls an error is one here, though it goes on after most: a demuxer where a file ends too early, a decoder with a
 * guess in place of what is damaged. */
static void listen(void *context, int level, const char *format, va_list arguments)
{
    const AVClass *class = context ? *(const AVClass *const *)context : NULL;
    AVClassCategory category;
    char *text;

    if (level > AV_LOG_ERROR || !class)
        return;
    category = class->get_category ? class->get_category(context) : class->category;
    /* In H.264, a frame is to be forgotten that was before the cut. */
    if (av_strstart(format, "mmco: unref short failure", NULL))
        return;
    text = category == AV_CLASS_CATEGORY_DEMUXER ? reported : decoder_says;
    if (text[0])
        return;
    vsnprintf(text, TEXT, format, arguments);
    text[strcspn(text, "\r\n")] = 0;
}

/* Messages. A broken pipe means that wfvae-batch is gone. */

static void get(void *bytes, size_t size)
{
    if (fread(bytes, 1, size, stdin) != size)
        exit(feof(stdin) ? 0 : 1);
}

static void put(const void *bytes, size_t size)
{
    if (fwrite(bytes, 1, size, stdout) != size)
        exit(1);
}

static void put_integer(uint64_t value, int bytes)
{
    unsigned char buffer[8];
    int i;

    for (i = 0; i < bytes; i++)
        buffer[i] = (unsigned char)(value >> 8 * i);
    put(buffer, (size_t)bytes);
}

static uint64_t integer(const unsigned char *bytes, int count)
{
    uint64_t value = 0;

    while (count--)
        value = value << 8 | bytes[count];
    return value;
}

static void put_head(char kind, size_t size)
{
    put(&kind, 1);
    put_integer(size, 4);
}

static void put_text(char kind, const char *text)
{
    put_head(kind, strlen(text));
    put(text, strlen(text));
    if (fflush(stdout))
        exit(1);
}

/* A text that grows. */
typedef struct lines {
    char *text;
    size_t size;
} lines;

static void line(lines *l, const char *name, const char *format, ...)
{
    char value[TEXT];
    va_list arguments;
    size_t size, i;

    va_start(arguments, format);
    vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    for (i = 0; value[i]; i++)
        if (value[i] == '\n' || value[i] == '\r')
            value[i] = ' ';
    size = strlen(name) + strlen(value) + 2;
    if (!(l->text = realloc(l->text, l->size + size + 1)))
        exit(1);
    snprintf(l->text + l->size, size + 1, "%s=%s\n", name, value);
    l->size += size;
}

/* Opening */

/* What was said before is of frames that are decoded again, or are not wanted. */
static void begin_reading(clip *c)
{
    reported[0] = decoder_says[0] = 0;
    c->packets = c->read_to = c->shown = 0;
    c->has_key = c->ended = 0;
    c->key = c->clock = AV_NOPTS_VALUE;
}

static const int32_t *display_matrix(const AVStream *stream)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102)
    const AVPacketSideData *data = av_packet_side_data_get(
        stream->codecpar->coded_side_data, stream->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    return data && data->size >= 9 * sizeof(int32_t) ? (const int32_t *)(const void *)data->data : NULL;
#else
    size_t size = 0;
    const uint8_t *data = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
    return data && size >= 9 * sizeof(int32_t) ? (const int32_t *)(const void *)data : NULL;
#endif
}

/* Playlists and patterns of names, which would read other files. */
static const char OTHER_FILES[] = "concat,hls,applehttp,dash,webm_dash_manifest,imf,sdp,rtsp,rtp,sap,image2,lavfi,tty,vapoursynth,avisynth";

static int refuse_files(AVFormatContext *file, AVIOContext **opened, const char *name, int flags, AVDictionary **options)
{
    (void)file, (void)opened, (void)name, (void)flags, (void)options;
    return AVERROR(EPERM);
}

/* Opens the file of this name and no other one. */
static int open_container(clip *c)
{
    const AVInputFormat *format = NULL;
    char *name = av_asprintf("file:%s", c->name);
    int error = name ? avio_open(&c->io, name, AVIO_FLAG_READ) : AVERROR(ENOMEM);

    av_free(name);
    if (error < 0)
        return fail_av("cannot open it", error);
    if ((error = av_probe_input_buffer2(c->io, &format, c->name, NULL, 0, 0)) < 0)
        return fail_av("cannot open it", error);
    if (av_match_list(format->name, OTHER_FILES, ','))
        return fail("it is no media file but a list of others (%s)", format->name);
    if (!(c->file = avformat_alloc_context()))
        return fail("not enough memory");
    c->file->pb = c->io;
    c->file->io_open = refuse_files;
    if ((error = avformat_open_input(&c->file, c->name, format, NULL)) < 0)
        return fail_av("cannot open it", error);
    return 0;
}

static int open_file(clip *c)
{
    const AVCodec *codec = NULL;
    unsigned i;
    int error, found;

    if (open_container(c))
        return -1;
    if ((error = avformat_find_stream_info(c->file, NULL)) < 0)
        return fail_av("cannot find its streams", error);
    found = av_find_best_stream(c->file, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (found == AVERROR_DECODER_NOT_FOUND)
        return fail("there is no decoder for its video");
    /* Sound with a picture of its cover has no video either. */
    if (found < 0 || c->file->streams[found]->disposition & AV_DISPOSITION_ATTACHED_PIC)
        return fail("it has no video");
    c->stream = c->file->streams[found];
    for (i = 0; i < c->file->nb_streams; i++)
        if ((int)i != found)
            c->file->streams[i]->discard = AVDISCARD_ALL;

    if (!(c->decoder = avcodec_alloc_context3(codec)))
        return fail("not enough memory");
    if ((error = avcodec_parameters_to_context(c->decoder, c->stream->codecpar)) < 0)
        return fail_av("its video cannot be decoded", error);
    c->decoder->pkt_timebase = c->stream->time_base;
    /* wfvae-batch has as many workers as there are CPUs. */
    c->decoder->thread_count = 1;
    c->decoder->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER;
    /* This decoder would give up at what is harmless where a file was cut; it tells all else, too. */
    if (codec->id != AV_CODEC_ID_H264)
        c->decoder->err_recognition |= AV_EF_EXPLODE;
    if ((error = avcodec_open2(c->decoder, codec, NULL)) < 0)
        return fail_av("its video cannot be decoded", error);
    begin_reading(c);
    return 0;
}

static void close_file(clip *c)
{
    avcodec_free_context(&c->decoder);
    avformat_close_input(&c->file);
    avio_closep(&c->io);
}

static void describe(const clip *c)
{
    const AVCodecParameters *p = c->stream->codecpar;
    const AVRational rate = av_guess_frame_rate(c->file, c->stream, NULL);
    const AVRational aspect = av_guess_sample_aspect_ratio(c->file, c->stream, NULL);
    const int32_t *matrix = display_matrix(c->stream);
    const char *format = av_get_pix_fmt_name(p->format);
    const char *location = av_chroma_location_name(p->chroma_location);
    lines l = {0};

    line(&l, "width", "%d", p->width);
    line(&l, "height", "%d", p->height);
    line(&l, "format", "%s", format ? format : "");
    line(&l, "location", "%s", location ? location : "unknown");
    if (rate.num > 0 && rate.den > 0)
        line(&l, "rate", "%d/%d", rate.num, rate.den);
    if (aspect.num > 0 && aspect.den > 0)
        line(&l, "aspect", "%d/%d", aspect.num, aspect.den);
    if (matrix) {
        int i;
        char text[9 * 12 + 1], *end = text;
        for (i = 0; i < 9; i++)
            end += snprintf(end, 13, "%s%ld", i ? "," : "", (long)matrix[i]);
        line(&l, "display_matrix", "%s", text);
    }
    put_text('i', l.text);
    free(l.text);
}

/* Filters */

static int open_graph(clip *c, const char *text)
{
    AVFilterInOut *inputs = avfilter_inout_alloc(), *outputs = avfilter_inout_alloc();
    AVBufferSrcParameters *p = av_buffersrc_parameters_alloc();
    const AVRational rate = av_guess_frame_rate(c->file, c->stream, NULL);
    const AVFrame *frame = c->frame;
    int error = AVERROR(ENOMEM);

    c->graph = avfilter_graph_alloc();
    if (!inputs || !outputs || !p || !c->graph)
        goto done;
    c->graph->nb_threads = 1;
    c->source = avfilter_graph_alloc_filter(c->graph, avfilter_get_by_name("buffer"), "in");
    if (!c->source)
        goto done;
    p->format = frame->format;
    p->width = frame->width;
    p->height = frame->height;
    p->time_base = c->stream->time_base;
    p->sample_aspect_ratio = av_guess_sample_aspect_ratio(c->file, c->stream, c->frame);
    p->frame_rate = rate;
#if LIBAVFILTER_VERSION_MAJOR >= 10
    p->color_space = frame->colorspace;
    p->color_range = frame->color_range;
#endif
    if ((error = av_buffersrc_parameters_set(c->source, p)) < 0 ||
        (error = avfilter_init_str(c->source, NULL)) < 0 ||
        (error = avfilter_graph_create_filter(&c->sink, avfilter_get_by_name("buffersink"), "out", NULL, NULL, c->graph)) < 0)
        goto done;
    outputs->name = av_strdup("in");
    outputs->filter_ctx = c->source;
    inputs->name = av_strdup("out");
    inputs->filter_ctx = c->sink;
    error = avfilter_graph_parse_ptr(c->graph, text, &inputs, &outputs, NULL);
    if (error >= 0)
        error = avfilter_graph_config(c->graph, NULL);
done:
    avfilter_inout_free(&inputs);
    avfilter_inout_free(&outputs);
    av_free(p);
    return error < 0 ? fail_av("its frames cannot be filtered", error) : 0;
}

static int send_frame(clip *c)
{
    const AVFrame *f = c->picture;
    const AVRational rate = av_buffersink_get_frame_rate(c->sink);
    char rate_text[30];
    const char *names[5] = {rate_text, av_get_pix_fmt_name(f->format), av_color_space_name(f->colorspace),
                            av_color_range_name(f->color_range), av_chroma_location_name(f->chroma_location)};
    size_t size = 8;
    int i;
    const int planes = av_image_get_buffer_size(f->format, f->width, f->height, 1);
    uint8_t *bytes = planes < 0 ? NULL : malloc((size_t)planes);

    if (!bytes)
        return fail("not enough memory for a frame");
    av_image_copy_to_buffer(bytes, planes, (const uint8_t *const *)f->data, f->linesize, f->format, f->width, f->height, 1);
    snprintf(rate_text, sizeof rate_text, "%d/%d", rate.num, rate.den);
    for (i = 0; i < 5; i++) {
        names[i] = names[i] ? names[i] : "unknown";
        size += strlen(names[i]) + 1;
    }
    put_head('f', size + (size_t)planes);
    put_integer((uint32_t)f->width, 4);
    put_integer((uint32_t)f->height, 4);
    for (i = 0; i < 5; i++)
        put(names[i], strlen(names[i]) + 1);
    put(bytes, (size_t)planes);
    free(bytes);
    if (fflush(stdout))
        exit(1);
    c->sent++;
    c->beat = av_gettime_relative();
    return 0;
}

/* Sends the frames that the filters have ready. */
static int drain(clip *c)
{
    int error;

    while ((error = av_buffersink_get_frame(c->sink, c->picture)) >= 0) {
        const int failed = send_frame(c);
        av_frame_unref(c->picture);
        if (failed)
            return -1;
    }
    if (error == AVERROR_EOF)
        c->ended = 1;
    return error == AVERROR(EAGAIN) || error == AVERROR_EOF ? 0 : fail_av("its frames cannot be filtered", error);
}

/* NULL: the end, which filters that change the rate must know. */
static int filter(clip *c, AVFrame *frame)
{
    const int error =
        frame ? av_buffersrc_add_frame(c->source, frame) : av_buffersrc_close(c->source, c->last + c->duration - c->first, 0);

    /* Filters that need no more frames say so. */
    if (error == AVERROR_EOF) {
        c->ended = 1;
        return 0;
    }
    return error < 0 ? fail_av("its frames cannot be filtered", error) : drain(c);
}

/* Decoding */

/* Microseconds since the file's start. */
static int64_t time_of(const clip *c, int64_t pts)
{
    const int64_t first = c->file->start_time == AV_NOPTS_VALUE ? 0 : c->file->start_time;

    return av_rescale_q(pts, c->stream->time_base, AV_TIME_BASE_Q) - first;
}

/* How long a frame is shown, in the stream's time base; 0 if nothing tells. */
static int64_t duration_of(const clip *c, const AVFrame *frame)
{
    const AVRational rate = av_guess_frame_rate(c->file, c->stream, NULL);
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 2, 100)
    const int64_t duration = frame->duration;
#else
    const int64_t duration = frame->pkt_duration;
#endif

    if (duration > 0)
        return duration;
    if (rate.num > 0)
        return av_rescale_q(1, av_inv_q(rate), c->stream->time_base);
    return c->shown > 1 ? c->step : 0;
}

/* Tells that decoding goes on, where no frame does. */
static void send_heartbeat(clip *c)
{
    const int64_t now = av_gettime_relative();

    if (now - c->beat < HEARTBEAT)
        return;
    c->beat = now;
    put_text('h', "");
}

/* Gives a frame its time. Returns 0 if it has none, after a seek: frames before the first one with a time are not wanted. */
static int set_time(clip *c, AVFrame *frame, int after_seek)
{
    if (frame->best_effort_timestamp != AV_NOPTS_VALUE)
        frame->pts = frame->best_effort_timestamp;
    if (frame->pts == AV_NOPTS_VALUE) {
        if (c->clock != AV_NOPTS_VALUE)
            frame->pts = c->clock + c->step;
        else if (after_seek)
            return 0;
        else
            frame->pts = c->file->start_time == AV_NOPTS_VALUE ?
                0 : av_rescale_q(c->file->start_time, AV_TIME_BASE_Q, c->stream->time_base);
    }
    if (c->clock != AV_NOPTS_VALUE && frame->pts > c->clock)
        c->step = frame->pts - c->clock;
    if (duration_of(c, frame) > 0)
        c->step = duration_of(c, frame);
    c->clock = frame->pts;
    return 1;
}

/* Whether the frame is wanted; otherwise it comes before the start, or c->ended is set. */
static int wanted(clip *c, const AVFrame *frame)
{
    const int64_t time = time_of(c, frame->pts);

    if (c->start != WHOLE_START && time < c->start - MICROSECONDS)
        return 0;
    if (c->end != WHOLE_END && time >= c->end - MICROSECONDS) {
        c->ended = 1;
        return 0;
    }
    return 1;
}

/* For how long the last frame is shown. Where the rate is converted, by wfvae-batch or the user's filters, it is repeated. */
static int check_gap(const clip *c, const char *graph, int64_t duration)
{
    const int64_t time = av_rescale_q(duration, c->stream->time_base, AV_TIME_BASE_Q);

    return strstr(graph, "fps=") && time > LONGEST_FRAME * INT64_C(1000000) ?
        fail("frame %lld would be repeated for more than %d s", (long long)c->decoded - 1, LONGEST_FRAME) : 0;
}

/* Returns 1 if frames are missing before it, after a seek. */
static int take_frame(clip *c, const char *graph, int after_seek)
{
    AVFrame *frame = c->frame;
    const int is_first = c->clock == AV_NOPTS_VALUE;
    const char *format;

    c->shown++;
    if (!set_time(c, frame, after_seek))
        return 0;
    if (after_seek && is_first && time_of(c, frame->pts) > c->start + MICROSECONDS)
        return 1;
    if (!wanted(c, frame)) {
        send_heartbeat(c);
        return 0;
    }
    if ((frame->flags & AV_FRAME_FLAG_CORRUPT) || frame->decode_error_flags)
        return fail("frame %lld is damaged%s%s", (long long)c->decoded, decoder_says[0] ? ": " : "", decoder_says);
    if (c->decoded && frame->pts <= c->last)
        return fail("the times of frames %lld and %lld do not ascend", (long long)c->decoded - 1, (long long)c->decoded);
    if (c->decoded && check_gap(c, graph, frame->pts - c->last))
        return -1;
    if (!c->decoded) {
        c->first = frame->pts;
        c->width = frame->width;
        c->height = frame->height;
        c->format = frame->format;
        if (open_graph(c, graph))
            return -1;
    } else if (frame->width != c->width || frame->height != c->height || frame->format != c->format) {
        format = av_get_pix_fmt_name(frame->format);
        return fail("frame %lld is %dx%d %s, the frames before it are %dx%d %s", (long long)c->decoded, frame->width, frame->height,
                    format ? format : "", c->width, c->height, av_get_pix_fmt_name(c->format));
    }
    frame->sample_aspect_ratio = av_guess_sample_aspect_ratio(c->file, c->stream, frame);
    c->last = frame->pts;
    c->duration = c->step;
    c->decoded++;
    send_heartbeat(c);
    frame->pts -= c->first;
    return filter(c, frame);
}

/* Takes the frames that the decoder has ready. */
static int take_frames(clip *c, const char *graph, int after_seek)
{
    int error = 0, result;

    while (!c->ended && (error = avcodec_receive_frame(c->decoder, c->frame)) >= 0)
        if ((result = take_frame(c, graph, after_seek)) != 0)
            return result;
    return error >= 0 || error == AVERROR(EAGAIN) || error == AVERROR_EOF ? 0 : fail_av("a frame is damaged", error);
}

/* Fails for what demuxer and decoder called an error. */
static int check_reports(const clip *c)
{
    const char *text = reported[0] ? reported : decoder_says;

    return text[0] ? fail("after frame %lld: %s", (long long)c->decoded, text) : 0;
}

/* Whether a packet's frame cannot be had where decoding begins, and is shown before all that can: files may be cut before frames that
 * others refer to, and seeks lead there, too. */
static int is_leading(const clip *c, const AVPacket *packet)
{
    if (c->shown)
        return 0;
    return !c->has_key || packet->flags & AV_PKT_FLAG_DISCARD ||
           (packet->pts != AV_NOPTS_VALUE && c->key != AV_NOPTS_VALUE && packet->pts < c->key);
}

static int take_packet(clip *c, const char *graph, int after_seek)
{
    const AVPacket *packet = c->packet;
    int error, leading, result;

    if (packet->flags & AV_PKT_FLAG_CORRUPT)
        return fail("the data after frame %lld are damaged", (long long)c->decoded);
    c->packets++;
    if (packet->pos >= 0)
        c->read_to = packet->pos + packet->size;
    if (!c->has_key && packet->flags & AV_PKT_FLAG_KEY) {
        c->has_key = 1;
        c->key = packet->pts;
    }
    leading = is_leading(c, packet);
    error = avcodec_send_packet(c->decoder, packet);
    if (error < 0 && !leading)
        return fail_av("a frame is damaged", error);
    if ((result = take_frames(c, graph, after_seek)) != 0)
        return result;
    if (leading)
        decoder_says[0] = 0;
    return check_reports(c);
}

/* Whether the file kept what it says of itself, where it was read to its end. FFmpeg goes by what is there. */
static int check_end(const clip *c, int after_seek)
{
    const char *format = c->file->iformat->name;
    const int64_t size = avio_size(c->io);
    uint64_t says;
    int64_t missing, tolerance = av_rescale_q(AV_TIME_BASE / 2, AV_TIME_BASE_Q, c->stream->time_base);
    int entries;

    if (!strcmp(format, "yuv4mpegpipe") && size >= 0 && c->read_to != size)
        return fail("it ends within frame %lld", (long long)c->decoded);
    if (is_cut_off(c->io, format, size, &says))
        return says ? fail("its end is missing: it says that it has %llu bytes, and has %lld", (unsigned long long)says, (long long)size) :
                      fail("its end is missing");
    if (after_seek || c->start != WHOLE_START || c->end != WHOLE_END || !c->decoded)
        return 0;
    /* An index that comes before the frames. */
    entries = avformat_index_get_entries_count(c->stream);
    if (strstr(format, "mp4") && entries > c->packets)
        return fail("it has %lld frames, and its index %d", (long long)c->packets, entries);
    /* This one has the length of the longest stream only, and its size was checked. */
    if (!strcmp(format, "asf"))
        return 0;
    missing = c->stream->duration - (c->last + c->duration);
    missing += c->stream->start_time == AV_NOPTS_VALUE ? c->first : c->stream->start_time;
    if (c->stream->duration <= 0 && !strcmp(format, "flv") && c->file->duration > 0)
        missing = av_rescale_q(c->file->duration, AV_TIME_BASE_Q, c->stream->time_base) - (c->last + c->duration);
    else if (c->stream->duration <= 0)
        return 0;
    /* Half a second, as times of containers are rounded, and edit lists hide frames. These two only round. */
    if (!strcmp(format, "flv") || !strcmp(format, "ivf"))
        tolerance = FFMIN(tolerance, 2 * c->duration);
    if (missing > tolerance)
        return fail("it ends %.2f s too early", (double)missing * av_q2d(c->stream->time_base));
    return 0;
}

/* Reads packets until the clip has ended. Returns 1 if frames are missing after a seek. */
static int read_packets(clip *c, const char *graph, int after_seek)
{
    int error = 0, result = 0;

    while (!c->ended && (error = av_read_frame(c->file, c->packet)) >= 0) {
        /* Parsers speak for decoders. */
        if (!c->shown && !c->has_key && !(c->packet->flags & AV_PKT_FLAG_KEY))
            decoder_says[0] = 0;
        if (c->packet->stream_index == c->stream->index)
            result = take_packet(c, graph, after_seek);
        av_packet_unref(c->packet);
        if (result)
            return result;
        if (check_reports(c))
            return -1;
    }
    if (c->ended)
        return 0;
    if (error < 0 && error != AVERROR_EOF)
        return fail_av("it cannot be read to its end", error);
    if (c->io->error)
        return fail_av("it cannot be read to its end", c->io->error);
    if (check_reports(c))
        return -1;
    if ((error = avcodec_send_packet(c->decoder, NULL)) < 0)
        return fail_av("a frame is damaged", error);
    if ((result = take_frames(c, graph, after_seek)) != 0)
        return result;
    if (check_reports(c))
        return -1;
    return c->ended ? 0 : check_end(c, after_seek);
}

/* Moves to some time before the start, so that every frame from it on can be decoded. Returns 0 if that is the file's start. */
static int seek(const clip *c, int64_t margin, int *moved)
{
    const int64_t first = c->file->start_time == AV_NOPTS_VALUE ? 0 : c->file->start_time;
    const int64_t time = c->start - margin;

    if (c->start == WHOLE_START || time <= 0)
        return 0;
    *moved = 1;
    return av_seek_frame(c->file, c->stream->index, av_rescale_q(time + first, AV_TIME_BASE_Q, c->stream->time_base),
                         AVSEEK_FLAG_BACKWARD) >= 0;
}

/* Where files are indexed by decoding times, frames that are shown later may be stored earlier. Where key frames are rare, the first
 * seek is too short. */
static const int64_t MARGINS[] = {500000, 10000000};

static int decode(clip *c, const char *graph)
{
    size_t i;
    int result = 1, moved = 0;

    c->packet = av_packet_alloc();
    c->frame = av_frame_alloc();
    c->picture = av_frame_alloc();
    if (!c->packet || !c->frame || !c->picture)
        return fail("not enough memory");
    for (i = 0; result == 1 && i < sizeof MARGINS / sizeof *MARGINS && seek(c, MARGINS[i], &moved); i++) {
        avcodec_flush_buffers(c->decoder);
        begin_reading(c);
        result = read_packets(c, graph, 1);
        /* The seek may have failed; decoding from the file's start tells. */
        if (!c->decoded && result <= 0) {
            result = 1;
            failure[0] = 0;
        }
    }
    if (result == 1) {
        if (moved) {
            close_file(c);
            failure[0] = 0;
            if (open_file(c))
                return -1;
        }
        result = read_packets(c, graph, 0);
    }
    if (result)
        return -1;
    if (!c->decoded)
        return fail(c->start == WHOLE_START && c->end == WHOLE_END ? "it has no frames" : "it has no frames in this range");
    return c->ended || !check_gap(c, graph, c->duration) ? filter(c, NULL) : -1;
}

static void send_counts(const clip *c)
{
    lines l = {0};

    line(&l, "decoded", "%lld", (long long)c->decoded);
    line(&l, "sent", "%lld", (long long)c->sent);
    put_text('d', l.text);
    free(l.text);
}

static void close_clip(clip *c)
{
    avfilter_graph_free(&c->graph);
    av_packet_free(&c->packet);
    av_frame_free(&c->frame);
    av_frame_free(&c->picture);
    close_file(c);
    free(c->name);
    memset(c, 0, sizeof *c);
    failure[0] = reported[0] = decoder_says[0] = 0;
}

/* A hostile file should fail, and not take the job's memory. */
static void limit_memory(const char *bytes)
{
#ifdef __linux__
    const struct rlimit limit = {strtoull(bytes, NULL, 10), strtoull(bytes, NULL, 10)};
    FILE *score = fopen("/proc/self/oom_score_adj", "w");

    setrlimit(RLIMIT_DATA, &limit);
    if (score) {
        fputs("1000", score);
        fclose(score);
    }
#else
    (void)bytes;
#endif
}

int main(int count, char **arguments)
{
    clip c = {0};
    unsigned char head[5];

    av_log_set_callback(listen);
    if (count > 1)
        limit_memory(arguments[1]);
    for (;;) {
        size_t size;
        char *body;
        int failed;

        get(head, sizeof head);
        size = (size_t)integer(head + 1, 4);
        if (!(body = malloc(size + 1)))
            return 1;
        get(body, size);
        body[size] = 0;
        if (head[0] == 'o' && size >= 16) {
            close_clip(&c);
            c.start = (int64_t)integer((unsigned char *)body, 8);
            c.end = (int64_t)integer((unsigned char *)body + 8, 8);
            if (!(c.name = strdup(body + 16)))
                return 1;
            if (!(failed = open_file(&c)))
                describe(&c);
        } else if (head[0] == 'r' && c.decoder) {
            if (!(failed = decode(&c, body)))
                send_counts(&c);
        } else {
            return 1;
        }
        free(body);
        if (failed)
            put_text('e', failure);
        if (failed || head[0] == 'r')
            close_clip(&c);
    }
}
