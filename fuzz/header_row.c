/*
 * Latents as video: frames of gray16, whose first rows are a header, go through
 * the FFmpeg filter's mode=decode, in a real filter graph. Each frame begins as
 * one that the filter itself would make; then bytes of the input change it. Its
 * checksum is made right again, mostly, as nothing behind it would be reached
 * otherwise.
 */
#include "input.h"

#include <libavfilter/avfilter.h>
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/crc.h>
#include <libavutil/log.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <wfvae.h>

/* Positions in the header, in samples: ffmpeg-filter/vf_wfvae.c. */
enum { MAGIC = 0, VERSION = 2, GROUP, WIDTH, HEIGHT, CHANNELS, VALID, INDEX, STEP = 10, OFFSET = 12, IDENTITY, TIME_BASE = 17, FLAGS = 21,
       PTS = 26, TIMES = 34, DURATIONS = 66, CHECKSUM = 98, SAMPLES = 100 };
enum { MOST_FRAMES = 6 };

static wfvae_model *opened;
static wfvae_model_info model;
static char model_path[1000];

/* The filter is compiled to call these: opening a model takes a hundred times as long as a frame. */
wfvae_status model_open_once(const char *path, const wfvae_model_options *options, wfvae_model **handle);
void model_stay_open(wfvae_model *handle);

wfvae_status model_open_once(const char *path, const wfvae_model_options *options, wfvae_model **handle)
{
    EXPECT(options && !strcmp(path, model_path));
    *handle = opened;
    return WFVAE_STATUS_OK;
}

void model_stay_open(wfvae_model *handle)
{
    EXPECT(handle == opened || !handle);
}

static void open_model(void)
{
    const char *golden = getenv("WFVAE_GOLDEN");
    wfvae_model_options options = {0};

    options.struct_size = sizeof options;
    options.n_threads = 1;
    snprintf(model_path, sizeof model_path, "%s/own-v2-thw", golden ? golden : "tests/golden");
    model.struct_size = sizeof model;
    if (wfvae_model_open(model_path, &options, &opened) || wfvae_model_get_info(opened, &model)) {
        fprintf(stderr, "%s: %s\n", model_path, wfvae_last_error(NULL));
        exit(1);
    }
    av_log_set_level(AV_LOG_QUIET);
}

static void put(uint16_t *samples, int at, int count, uint64_t value)
{
    for (int i = 0; i < count; i++)
        samples[at + i] = (uint16_t)(value >> 16 * i);
}

static void seal(uint16_t *samples, int count)
{
    const AVCRC *table = av_crc_get_table(AV_CRC_32_IEEE_LE);
    uint32_t crc = UINT32_MAX;

    for (int i = 0; i < count; i++)
        if (i != CHECKSUM && i != CHECKSUM + 1) {
            const uint8_t bytes[2] = {(uint8_t)samples[i], (uint8_t)(samples[i] >> 8)};
            crc = av_crc(table, crc, bytes, 2);
        }
    put(samples, CHECKSUM, 2, ~crc);
}

static void write_header(uint16_t *samples, int index, int width, int height)
{
    const float step = 0.02f;
    uint32_t bits;

    memcpy(&bits, &step, 4);
    put(samples, MAGIC, 2, MKTAG('W', 'F', 'V', 'L'));
    samples[VERSION] = 2;
    samples[GROUP] = (uint16_t)model.temporal_compression;
    samples[WIDTH] = (uint16_t)width;
    samples[HEIGHT] = (uint16_t)height;
    samples[CHANNELS] = (uint16_t)model.latent_channels;
    samples[VALID] = (uint16_t)(index ? model.temporal_compression : 1);
    put(samples, INDEX, 2, (uint64_t)index);
    put(samples, STEP, 2, bits);
    samples[OFFSET] = 32768;
    put(samples, IDENTITY, 4, model.encoder_identity);
    put(samples, TIME_BASE, 2, 1);
    put(samples, TIME_BASE + 2, 2, 25);
    for (int i = 0; i < 8; i++) {
        put(samples, TIMES + 4 * i, 4, (uint64_t)(index * (int)model.temporal_compression + i));
        put(samples, DURATIONS + 4 * i, 4, 1);
    }
}

/* A frame whose samples the input changes. */
static AVFrame *make_frame(struct input *in, int index, int columns, int rows, int width, int height)
{
    static const uint16_t values[] = {0, 1, 2, 4, 5, 0x7fff, 0x8000, 0xffff, 0x7f80, 3};
    AVFrame *frame = av_frame_alloc();
    uint16_t *samples = calloc((size_t)(columns * rows), 2);

    EXPECT(frame && samples);
    frame->format = AV_PIX_FMT_GRAY16;
    frame->width = columns;
    frame->height = rows;
    if (seldom(in)) /* the size changes in the middle */
        frame->width -= 1;
    EXPECT(av_frame_get_buffer(frame, 0) == 0);
    write_header(samples, index, width, height);
    for (int i = SAMPLES; i < columns * rows; i++)
        samples[i] = (uint16_t)(32768 + (i * 37 + take(in)) % 100 - 50);
    for (unsigned changes = below(in, 6); changes; changes--) {
        const int at = (int)(take(in) % SAMPLES);
        samples[at] = below(in, 2) ? values[below(in, 10)] : (uint16_t)(take(in) | take(in) << 8);
    }
    if (!seldom(in))
        seal(samples, columns * rows);
    for (int y = 0; y < rows; y++)
        memcpy(frame->data[0] + y * frame->linesize[0], samples + y * columns, 2 * (size_t)frame->width);
    free(samples);
    frame->pts = index * (int)model.temporal_compression;
    if (seldom(in)) {
        const int64_t times[] = {AV_NOPTS_VALUE, INT64_MAX, INT64_MIN + 1, 0, -1, INT64_MAX / 8, 1};
        frame->pts = times[below(in, 7)];
    }
    return frame;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    char options[1200];
    AVFilterGraph *graph = avfilter_graph_alloc();
    AVFilterContext *source = NULL, *filter = NULL, *sink = NULL;
    AVFrame *out = av_frame_alloc();
    int status = 0;

    if (!*model_path)
        open_model();
    EXPECT(graph && out);
    graph->nb_threads = 1;
    /* Channels lie in a square of tiles below the header. */
    const int tiles = 2, width = 4 * (int)model.spatial_compression, height = 2 * (int)model.spatial_compression;
    const int columns = tiles * 4, rows = tiles * 2 + (SAMPLES + columns - 1) / columns + (int)below(&in, 2);
    const char *const bases[] = {"1/25", "1/1000", "1001/30000", "1/2147483647", "1/1"};
    snprintf(options, sizeof options, "video_size=%dx%d:pix_fmt=%s:time_base=%s:frame_rate=%s", columns, rows,
             av_get_pix_fmt_name(AV_PIX_FMT_GRAY16), bases[below(&in, 5)], below(&in, 2) ? "0/1" : "25/4");
    EXPECT(avfilter_graph_create_filter(&source, avfilter_get_by_name("buffer"), "in", options, NULL, graph) >= 0);
    snprintf(options, sizeof options, "model=%s:mode=decode:provider=cpu:n_threads=1:any_encoder=%u:strict=%u%s", model_path,
             below(&in, 2), (unsigned)seldom(&in), below(&in, 4) == 1 ? ":size=15x7" : "");
    EXPECT(avfilter_graph_create_filter(&filter, avfilter_get_by_name("wfvae"), "wfvae", options, NULL, graph) >= 0);
    EXPECT(avfilter_graph_create_filter(&sink, avfilter_get_by_name("buffersink"), "out", NULL, NULL, graph) >= 0);
    EXPECT(avfilter_link(source, 0, filter, 0) == 0 && avfilter_link(filter, 0, sink, 0) == 0);
    /* Some heights hold no latents. */
    if (avfilter_graph_config(graph, NULL) >= 0) {
        for (int n = 0; in.left && n < MOST_FRAMES && status >= 0; n++) {
            AVFrame *frame = make_frame(&in, seldom(&in) ? (int)below(&in, 9) : n, columns, rows, width, height);
            status = av_buffersrc_add_frame(source, frame);
            av_frame_free(&frame);
            while (status >= 0 && (status = av_buffersink_get_frame(sink, out)) >= 0) {
                EXPECT(out->width > 0 && out->width <= width && out->height > 0 && out->height <= height);
                av_frame_unref(out);
            }
            if (status == AVERROR(EAGAIN))
                status = 0;
        }
        if (status >= 0 && av_buffersrc_add_frame(source, NULL) >= 0)
            while (av_buffersink_get_frame(sink, out) >= 0)
                av_frame_unref(out);
    }
    av_frame_free(&out);
    avfilter_graph_free(&graph);
    return 0;
}
