/* Reads media files for wfvae-batch, with FFmpeg's libraries: a child process, so that a decoder that crashes or hangs on a damaged
 * file takes no job with it. One process reads many clips, one after the other; wfvae-batch has one for each worker.
 *
 * Messages go both ways as: kind (1 byte), size (32 bits), and so many bytes. Integers are little-endian.
 * From standard input:
 *     'o' start, end (64 bits each, microseconds from the file's start; INT64_MIN and INT64_MAX: all of it), name of a file: open it
 *     'r' a filter graph as text: decode, filter, and send the frames
 * To standard output:
 *     'i' what the file says of itself, a line NAME=VALUE each: the answer to 'o'
 *     'f' width, height (32 bits each), time (64 bits, microseconds), the names of pixel format, colour matrix, range and chroma
 *         location, each with its NUL, and the planes without padding: a frame
 *     'd' the same lines with what was found: the clip is done
 *     'e' a text: the clip has failed. The next message must be 'o'
 * The process ends where standard input does.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include <libavcodec/avcodec.h>
#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>

#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#define WHOLE_START INT64_MIN
#define WHOLE_END INT64_MAX
#define TEXT 2000

typedef struct clip {
    int64_t start, end; /* microseconds */
    char *name;
    AVFormatContext *file;
    AVCodecContext *decoder;
    AVStream *stream;
    AVFilterGraph *graph;
    AVFilterContext *source, *sink;
    AVPacket *packet;
    AVFrame *frame, *picture;
    int64_t decoded, sent;
    int64_t first, last, duration; /* of decoded frames, in the stream's time base */
    int width, height, format;     /* of the first one */
    int64_t key;                   /* the time of the first packet that is decoded; without a time, none */
    int64_t read;                  /* where the last packet ends in the file */
    int ended;                     /* nothing more is to be decoded */
} clip;

static char failure[TEXT];  /* of the clip that is open; empty: none */
static char reported[TEXT]; /* what a demuxer called an error: the first one */
static char decoder_says[TEXT]; /* likewise, of the packet that is being decoded */

/* Keeps the first text. */
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

static int open_file(clip *c)
{
    const AVCodec *codec = NULL;
    AVDictionary *options = NULL;
    unsigned i;
    int error, found;

    /* Paths only: no names of protocols, which a list of clips could hide. */
    av_dict_set(&options, "protocol_whitelist", "file,crypto,data", 0);
    error = avformat_open_input(&c->file, c->name, NULL, &options);
    av_dict_free(&options);
    if (error < 0)
        return fail_av("cannot open it", error);
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
    c->decoder->err_recognition = AV_EF_CRCCHECK | AV_EF_BITSTREAM | AV_EF_BUFFER | AV_EF_EXPLODE;
    if ((error = avcodec_open2(c->decoder, codec, NULL)) < 0)
        return fail_av("its video cannot be decoded", error);
    c->key = AV_NOPTS_VALUE;
    /* What was said of the frames that were decoded to find out what they are is said again. */
    decoder_says[0] = 0;
    return 0;
}

static void close_file(clip *c)
{
    avcodec_free_context(&c->decoder);
    avformat_close_input(&c->file);
}

static void describe(const clip *c)
{
    const AVCodecParameters *p = c->stream->codecpar;
    const AVRational rate = av_guess_frame_rate(c->file, c->stream, NULL);
    const AVRational aspect = av_guess_sample_aspect_ratio(c->file, c->stream, NULL);
    const int32_t *matrix = display_matrix(c->stream);
    const char *format = av_get_pix_fmt_name(p->format);
    lines l = {0};

    line(&l, "container", "%s", c->file->iformat->name);
    line(&l, "codec", "%s", avcodec_get_name(p->codec_id));
    line(&l, "width", "%d", p->width);
    line(&l, "height", "%d", p->height);
    line(&l, "format", "%s", format ? format : "");
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
    p->sample_aspect_ratio = frame->sample_aspect_ratio;
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
    const char *names[4] = {av_get_pix_fmt_name(f->format), av_color_space_name(f->colorspace), av_color_range_name(f->color_range),
                            av_chroma_location_name(f->chroma_location)};
    size_t size = 16;
    int i;
    const int planes = av_image_get_buffer_size(f->format, f->width, f->height, 1);
    const AVRational base = av_buffersink_get_time_base(c->sink);
    uint8_t *bytes = planes < 0 ? NULL : malloc((size_t)planes);

    if (!bytes)
        return fail("not enough memory for a frame");
    av_image_copy_to_buffer(bytes, planes, (const uint8_t *const *)f->data, f->linesize, f->format, f->width, f->height, 1);
    for (i = 0; i < 4; i++) {
        names[i] = names[i] ? names[i] : "unknown";
        size += strlen(names[i]) + 1;
    }
    put_head('f', size + (size_t)planes);
    put_integer((uint32_t)f->width, 4);
    put_integer((uint32_t)f->height, 4);
    put_integer((uint64_t)av_rescale_q(f->pts, base, AV_TIME_BASE_Q), 8);
    for (i = 0; i < 4; i++)
        put(names[i], strlen(names[i]) + 1);
    put(bytes, (size_t)planes);
    free(bytes);
    if (fflush(stdout))
        exit(1);
    c->sent++;
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
        frame ? av_buffersrc_add_frame(c->source, frame) : av_buffersrc_close(c->source, c->last + c->duration, 0);

    /* Filters that need no more frames say so. */
    if (error == AVERROR_EOF) {
        c->ended = 1;
        return 0;
    }
    return error < 0 ? fail_av("its frames cannot be filtered", error) : drain(c);
}

/* Decoding */

static int64_t to_stream(const clip *c, int64_t microseconds)
{
    const int64_t first = c->file->start_time == AV_NOPTS_VALUE ? 0 : c->file->start_time;

    return av_rescale_q(microseconds + first, AV_TIME_BASE_Q, c->stream->time_base);
}

/* Whether the frame is wanted; otherwise it comes before the start, or c->ended is set. */
static int wanted(clip *c, AVFrame *frame)
{
    if (c->start != WHOLE_START && frame->pts < to_stream(c, c->start))
        return 0;
    if (c->end != WHOLE_END && frame->pts >= to_stream(c, c->end)) {
        c->ended = 1;
        return 0;
    }
    return 1;
}

/* How long the frame is shown, in the stream's time base; 0 if nothing tells. */
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
    if (c->decoded)
        return frame->pts - c->last;
    return rate.num > 0 ? av_rescale_q(1, av_inv_q(rate), c->stream->time_base) : 0;
}

static int take_frame(clip *c, const char *graph)
{
    AVFrame *frame = c->frame;
    int64_t duration;

    if (frame->best_effort_timestamp != AV_NOPTS_VALUE)
        frame->pts = frame->best_effort_timestamp;
    if (frame->pts == AV_NOPTS_VALUE) {
        if (c->start != WHOLE_START || c->end != WHOLE_END)
            return fail("its frames have no times, so no part of it can be found");
        frame->pts = c->decoded ? c->last + c->duration : 0;
    }
    if (!wanted(c, frame))
        return 0;
    if ((frame->flags & AV_FRAME_FLAG_CORRUPT) || frame->decode_error_flags)
        return fail("frame %lld is damaged%s%s", (long long)c->decoded, decoder_says[0] ? ": " : "", decoder_says);
    if (c->decoded && frame->pts <= c->last)
        return fail("the times of frames %lld and %lld do not ascend", (long long)c->decoded - 1, (long long)c->decoded);
    duration = duration_of(c, frame);
    if (!c->decoded) {
        c->first = frame->pts;
        c->width = frame->width;
        c->height = frame->height;
        c->format = frame->format;
        if (open_graph(c, graph))
            return -1;
    } else if (frame->width != c->width || frame->height != c->height || frame->format != c->format) {
        return fail("frame %lld is %dx%d %s, the frames before it are %dx%d %s", (long long)c->decoded, frame->width, frame->height,
                    av_get_pix_fmt_name(frame->format), c->width, c->height, av_get_pix_fmt_name(c->format));
    }
    c->last = frame->pts;
    c->duration = duration;
    c->decoded++;
    return filter(c, frame);
}

/* Takes the frames that the decoder has ready. */
static int take_frames(clip *c, const char *graph)
{
    int error = 0;

    while (!c->ended && (error = avcodec_receive_frame(c->decoder, c->frame)) >= 0)
        if (take_frame(c, graph))
            return -1;
    return error >= 0 || error == AVERROR(EAGAIN) || error == AVERROR_EOF ? 0 : fail_av("a frame is damaged", error);
}

/* Moves to before the start, so that every frame from it on can be decoded. Returns whether it tried to. */
static int seek(clip *c)
{
    int64_t time;

    if (c->start == WHOLE_START)
        return 0;
    time = to_stream(c, c->start);
    /* Where files are indexed by decoding times, frames that are shown later may be stored earlier. */
    if (!(c->file->iformat->flags & AVFMT_SEEK_TO_PTS))
        time -= av_rescale_q(AV_TIME_BASE / 2, AV_TIME_BASE_Q, c->stream->time_base);
    if (time <= to_stream(c, 0))
        return 0;
    av_seek_frame(c->file, c->stream->index, time, AVSEEK_FLAG_BACKWARD);
    return 1;
}

/* Whether the file kept what it says of itself. Only for whole clips: a part says nothing about the rest. */
static int check_whole(const clip *c)
{
    int64_t length, missing;

    if (c->start != WHOLE_START || c->end != WHOLE_END || c->stream->duration <= 0 || !c->decoded)
        return 0;
    length = c->last - c->first + c->duration;
    missing = c->stream->duration - length;
    /* Half a second, as times of containers are rounded, and edit lists hide frames. */
    if (missing > av_rescale_q(AV_TIME_BASE / 2, AV_TIME_BASE_Q, c->stream->time_base))
        return fail("it ends %.2f s too early: it says that it has %.2f s", (double)missing * av_q2d(c->stream->time_base),
                    (double)c->stream->duration * av_q2d(c->stream->time_base));
    return 0;
}

/* Fails for what demuxer and decoder called an error. */
static int check_reports(const clip *c)
{
    const char *text = reported[0] ? reported : decoder_says;

    return text[0] ? fail("after frame %lld: %s", (long long)c->decoded, text) : 0;
}

static int take_packet(clip *c, const char *graph)
{
    const AVPacket *packet = c->packet;
    int error;

    if (packet->flags & AV_PKT_FLAG_CORRUPT)
        return fail("the data after frame %lld are damaged", (long long)c->decoded);
    if (c->key == AV_NOPTS_VALUE)
        c->key = packet->pts;
    if (packet->pos >= 0)
        c->read = packet->pos + packet->size;
    if ((error = avcodec_send_packet(c->decoder, packet)) < 0)
        return fail_av("a frame is damaged", error);
    if (take_frames(c, graph))
        return -1;
    /* After a seek, frames that are shown before the first one may lack others that they refer to. They are not wanted. */
    if (packet->pts != AV_NOPTS_VALUE && c->key != AV_NOPTS_VALUE && packet->pts < c->key && !c->decoded)
        decoder_says[0] = 0;
    return check_reports(c);
}

/* FFmpeg takes a part of an uncompressed frame at the end for the end. */
static int check_end(const clip *c)
{
    const int64_t size = c->file->pb ? avio_size(c->file->pb) : -1;

    if (!strcmp(c->file->iformat->name, "yuv4mpegpipe") && size >= 0 && c->read != size)
        return fail("it ends within frame %lld", (long long)c->decoded);
    return 0;
}

/* Reads packets until the clip has ended. */
static int read_packets(clip *c, const char *graph)
{
    int error = 0;

    while (!c->ended && (error = av_read_frame(c->file, c->packet)) >= 0) {
        const int failed = c->packet->stream_index == c->stream->index && take_packet(c, graph);
        av_packet_unref(c->packet);
        if (failed || check_reports(c))
            return -1;
    }
    if (c->ended)
        return 0;
    if (error < 0 && error != AVERROR_EOF)
        return fail_av("it cannot be read to its end", error);
    if (c->file->pb && c->file->pb->error)
        return fail_av("it cannot be read to its end", c->file->pb->error);
    if (check_reports(c) || check_end(c))
        return -1;
    if ((error = avcodec_send_packet(c->decoder, NULL)) < 0)
        return fail_av("a frame is damaged", error);
    if (take_frames(c, graph) || check_reports(c))
        return -1;
    return c->ended ? 0 : check_whole(c);
}

static int decode(clip *c, const char *graph)
{
    int sought, failed;

    c->packet = av_packet_alloc();
    c->frame = av_frame_alloc();
    c->picture = av_frame_alloc();
    if (!c->packet || !c->frame || !c->picture)
        return fail("not enough memory");
    sought = seek(c);
    failed = read_packets(c, graph);
    if (sought && !c->decoded) {
        /* It may have failed, or frames after it may refer to others before it. Decoding from the file's start tells. */
        close_file(c);
        failure[0] = reported[0] = decoder_says[0] = 0;
        failed = open_file(c) || read_packets(c, graph);
    }
    if (failed)
        return -1;
    if (!c->decoded)
        return fail(c->start == WHOLE_START && c->end == WHOLE_END ? "it has no frames" : "it has no frames in this range");
    return filter(c, NULL);
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

int main(void)
{
    clip c = {0};
    unsigned char head[5];

    /* Control-C is for wfvae-batch, which lets clips end. */
    signal(SIGINT, SIG_IGN);
#ifdef __linux__
    /* A decoder that hangs does not notice that standard input has ended. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    av_log_set_callback(listen);
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
