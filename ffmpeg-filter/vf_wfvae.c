/*
 * Copyright (c) 2026 the libwfvae authors
 *
 * This file is part of FFmpeg.
 *
 * FFmpeg is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * FFmpeg is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with FFmpeg; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */

/**
 * @file
 * Video autoencoder filter: encodes and decodes video with a WF-VAE, stores
 * its latents as 16-bit gray video, decodes such video, or shows the wavelet
 * sub-bands that are the network's input.
 */

#include <math.h>
#include <wfvae.h>

#include "config.h"

#include "libavutil/common.h"
#include "libavutil/crc.h"
#include "libavutil/fifo.h"
#include "libavutil/hwcontext.h"
#include "libavutil/imgutils.h"
#include "libavutil/intfloat.h"
#include "libavutil/intreadwrite.h"
#include "libavutil/mem.h"
#include "libavutil/opt.h"
#include "libavutil/pixdesc.h"
#if CONFIG_CUDA
#include "libavutil/cuda_check.h"
#include "libavutil/hwcontext_cuda_internal.h"
#endif
#include "avfilter.h"
#include "filters.h"
#include "formats.h"
#include "video.h"
#include "version.h"

/* 7.1 moved link properties behind ff_filter_link() and changed the query. */
#define NEW_QUERY (LIBAVFILTER_VERSION_INT >= AV_VERSION_INT(10, 4, 100))
#if !NEW_QUERY
#include "internal.h"
#define ff_filter_link(link) (link)
typedef AVFilterLink FilterLink;
#endif

#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)
#define FRAME_DURATION(frame) ((frame)->duration)
#else
#define FRAME_DURATION(frame) ((frame)->pkt_duration)
#endif

#ifdef AV_FRAME_FLAG_INTERLACED
#define INTERLACED(frame) ((frame)->flags & AV_FRAME_FLAG_INTERLACED)
#else
#define INTERLACED(frame) ((frame)->interlaced_frame)
#endif

enum Mode { MODE_ROUNDTRIP, MODE_ENCODE, MODE_DECODE, MODE_SUBBANDS };

/* The largest temporal compression; a group's time stamps have this much room
 * in the header. */
#define MAX_GROUP 8

/* Header of a latent frame, in 16-bit samples; it fills the first rows. */
enum {
    HEADER_MAGIC      = 0,  /* 2 samples */
    HEADER_VERSION    = 2,
    HEADER_GROUP      = 3,  /* frames per latent, after the first */
    HEADER_WIDTH      = 4,  /* of the video */
    HEADER_HEIGHT     = 5,
    HEADER_CHANNELS   = 6,
    HEADER_VALID      = 7,  /* frames of the video in this latent */
    HEADER_INDEX      = 8,  /* 2: index in the clip */
    HEADER_STEP       = 10, /* 2: quantisation step, float */
    HEADER_OFFSET     = 12, /* sample value of zero */
    HEADER_IDENTITY   = 13, /* 4: of the model */
    HEADER_TIME_BASE  = 17, /* 4: of the times below */
    HEADER_FLAGS      = 21,
    HEADER_RATE       = 22, /* 4: latents a second that the encoder announced, or 0 */
    HEADER_PTS        = 26, /* 4: of the latent frame */
    HEADER_SLOT       = 30, /* 4: its time, in units of HEADER_RATE */
    HEADER_TIMES      = 34, /* 4 each: pts of the frames of the video */
    HEADER_DURATIONS  = HEADER_TIMES + 4 * MAX_GROUP, /* 4 each */
    HEADER_CHECKSUM   = HEADER_DURATIONS + 4 * MAX_GROUP, /* 2: of all other samples */
    HEADER_SIZE       = HEADER_CHECKSUM + 2,

    /* Version 1 has other times, and no flags. */
    HEADER_1_AGES      = 21, /* 2 each: time before the latent's pts */
    HEADER_1_DURATIONS = HEADER_1_AGES + 2 * MAX_GROUP, /* 2 each */
    HEADER_1_CHECKSUM  = HEADER_1_DURATIONS + 2 * MAX_GROUP, /* 2 */
    HEADER_1_SIZE      = HEADER_1_CHECKSUM + 2,
};
#define LATENT_MAGIC   MKTAG('W', 'F', 'V', 'L')
#define LATENT_VERSION 2
#define LATENT_ZERO    32768
#define LATENT_LAST    1 /* flag: the last of its clip */

/* After this many frames without a readable latent, the input is not latents. */
#define MAX_UNREADABLE 32

typedef struct WFVAEContext {
    const AVClass *class;

    char *model_path;
    int mode;
    int provider;
    int device;
    int precision;
    int convolution;
    int layout;
    int n_threads;
    int cache;
    int64_t memory;
    int tiling, tile, overlap;   ///< of large frames
    int posterior;
    int64_t seed;
    int chunk;
    float step;
    int width, height;           ///< size option: of decoded video
    int strict;                  ///< a latent that cannot be read is an error
    int any_encoder;             ///< decode what another encoder made

    wfvae_model *model;
    wfvae_model_info model_info;
    wfvae_stream *stream;
    wfvae_info info;

    int in_width, in_height, in_format; ///< of the input, as configured
    int sw_format;               ///< the layout of these frames: in_format, or what is in a device's memory
    AVBufferRef *device_ref;     ///< of frames in a CUDA device's memory, else NULL
    int frames_device;           ///< the index of that device
    void *cuda_stream;           ///< in which FFmpeg works on them
    AVFrame **batch;             ///< input frames of the next call
    int nb_batch;
    wfvae_frame *frames;         ///< descriptions of as many frames as a call takes or gives
    int frames_capacity;
    AVFrame **decoded;           ///< frames that a call gives
    float *latents;
    size_t latents_capacity;

    AVFifo *properties;          ///< AVFrame for each frame that is inside, with data only for its alpha
    AVFifo *ready;               ///< AVFrame to output
    int tiles_x, tiles_y;        ///< channels of a latent frame
    int band_frames;             ///< frames in a picture of sub-bands, after the first
    int header_rows;
    AVFrame *held;               ///< latent frame that waits for the next one's time
    uint32_t latent_index;       ///< of the next latent frame
    uint64_t frame_count;        ///< of the clip being decoded
    int64_t last_pts;
    int64_t next_slot;           ///< of the next latent frame at the announced rate
    int64_t offset;              ///< from the header's times to the output's
    int64_t end;                 ///< of the last frame that was decoded
    int64_t container_end;       ///< of the last latent, as its container has it
    int clock_differs;           ///< the container's times are not the header's
    uint32_t last_checksum;
    uint64_t read, unreadable;   ///< latents
    uint64_t clipped, values;    ///< quantised values beyond 16 bits, and all
    int size_warned, encoder_warned, alpha_warned, interlaced_warned, rate_warned;
    int clip_ended;              ///< the latents so far end with a short group

    int eof, eof_status;
    int64_t eof_pts;
} WFVAEContext;

static int averror(wfvae_status status)
{
    switch (status) {
    case WFVAE_STATUS_OK:                return 0;
    case WFVAE_STATUS_INVALID_ARGUMENT:
    case WFVAE_STATUS_INVALID_SIZE:
    case WFVAE_STATUS_CAPACITY:
    case WFVAE_STATUS_INVALID_STATE:
    case WFVAE_STATUS_FORKED:            return AVERROR(EINVAL);
    case WFVAE_STATUS_IO:                return AVERROR(EIO);
    case WFVAE_STATUS_CONFIG:
    case WFVAE_STATUS_CHECKPOINT:
    case WFVAE_STATUS_NOT_FINITE:        return AVERROR_INVALIDDATA;
    case WFVAE_STATUS_UNSUPPORTED_MODEL:
    case WFVAE_STATUS_PROVIDER:          return AVERROR(ENOSYS);
    case WFVAE_STATUS_CANCELLED:         return AVERROR_EXIT;
    case WFVAE_STATUS_OUT_OF_MEMORY:     return AVERROR(ENOMEM);
    case WFVAE_STATUS_INTERNAL:          return AVERROR_BUG;
    default:                             return AVERROR_EXTERNAL;
    }
}

static int fail(AVFilterContext *ctx, wfvae_status status)
{
    av_log(ctx, AV_LOG_ERROR, "%s\n", wfvae_last_error(NULL));
    return averror(status);
}

static void log_message(void *user, uint32_t level, const char *text)
{
    static const int levels[] = {
        [WFVAE_LOG_LEVEL_ERROR] = AV_LOG_ERROR,
        [WFVAE_LOG_LEVEL_WARN]  = AV_LOG_WARNING,
        [WFVAE_LOG_LEVEL_INFO]  = AV_LOG_VERBOSE,
        [WFVAE_LOG_LEVEL_DEBUG] = AV_LOG_DEBUG,
        [WFVAE_LOG_LEVEL_TRACE] = AV_LOG_TRACE,
    };

    av_log(user, level < FF_ARRAY_ELEMS(levels) ? levels[level] : AV_LOG_DEBUG, "%s\n", text);
}

static av_cold int init(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;

    s->properties = av_fifo_alloc2(16, sizeof(AVFrame *), AV_FIFO_FLAG_AUTO_GROW);
    s->ready      = av_fifo_alloc2(16, sizeof(AVFrame *), AV_FIFO_FLAG_AUTO_GROW);
    s->batch      = av_calloc(FFMAX(s->chunk, 2), sizeof(*s->batch));
    if (!s->properties || !s->ready || !s->batch)
        return AVERROR(ENOMEM);
    s->last_pts      = AV_NOPTS_VALUE;
    s->end           = AV_NOPTS_VALUE;
    s->container_end = AV_NOPTS_VALUE;
    s->band_frames   = 2;
    if (s->overlap && s->tiling != WFVAE_TILING_BLENDED) {
        av_log(ctx, AV_LOG_ERROR, "overlap is for tiles=blended; exact tiles overlap by what the model needs.\n");
        return AVERROR(EINVAL);
    }
    if (s->tile && s->tiling == WFVAE_TILING_OFF) {
        av_log(ctx, AV_LOG_ERROR, "tile is the size of tiles: add tiles=exact or tiles=blended.\n");
        return AVERROR(EINVAL);
    }
    return 0;
}

/* Not in init, which newer versions of ffmpeg call twice: once to inspect the graph. */
static int open_model(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;
    wfvae_model_options options = {
        .struct_size  = sizeof(options),
        .provider     = s->device_ref ? WFVAE_PROVIDER_CUDA : s->provider,
        .device       = s->device_ref ? s->frames_device : FFMAX(s->device, 0),
        .n_threads    = s->n_threads,
        .log_callback = log_message,
        .log_user     = ctx,
        .log_level    = WFVAE_LOG_LEVEL_DEBUG,
        .cache_type   = s->cache,
        .convolution  = s->convolution,
        .layout       = s->layout,
        .encode_precision = s->precision,
        .decode_precision = s->precision,
    };
    wfvae_status status;

    if (s->model || (s->mode == MODE_SUBBANDS && !s->model_path))
        return 0;
    /* FFmpeg never waits for the whole device. */
    if (options.provider != WFVAE_PROVIDER_CPU)
        options.provider_options = "wfvae_graphs=1";
    status = wfvae_model_open(s->model_path, &options, &s->model);
    if (status)
        return fail(ctx, status);
    s->model_info.struct_size = sizeof(s->model_info);
    status = wfvae_model_get_info(s->model, &s->model_info);
    if (status)
        return fail(ctx, status);
    if (s->mode == MODE_SUBBANDS) {
        if (s->model_info.generation == 3) {
            av_log(ctx, AV_LOG_ERROR, "%s: a CausalVAE has no wavelets, so it has no subbands.\n", s->model_info.name);
            return AVERROR(EINVAL);
        }
        /* Image models transform each frame on its own, all others pairs. */
        s->band_frames = s->model_info.temporal_compression > 1 ? 2 : 1;
        return 0;
    }
    if (s->mode == MODE_DECODE ? s->model_info.decode_whole_clips : s->model_info.whole_clips) {
        av_log(ctx, AV_LOG_ERROR, "%s: the model's norms or attention span the whole clip, as with norm_type \"groupnorm\". "
               "A filter never has a whole clip at once. Use a model with layernorm, or run this one outside of FFmpeg, where "
               "libwfvae takes a whole clip or image in one call.\n", s->model_info.name);
        return AVERROR(ENOSYS);
    }
    if (s->model_info.temporal_compression > MAX_GROUP && s->mode != MODE_ROUNDTRIP) {
        av_log(ctx, AV_LOG_ERROR, "Latent frames hold at most %d frames, the model has %u.\n",
               MAX_GROUP, s->model_info.temporal_compression);
        return AVERROR(ENOSYS);
    }
    return 0;
}

static void free_frames(AVFifo **fifo)
{
    AVFrame *frame;

    while (*fifo && av_fifo_read(*fifo, &frame, 1) >= 0)
        av_frame_free(&frame);
    av_fifo_freep2(fifo);
}

static av_cold void uninit(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;

    if (s->clipped)
        av_log(ctx, AV_LOG_WARNING, "%"PRIu64" of %"PRIu64" latent values did not fit 16 bits; use a larger step.\n",
               s->clipped, s->values);
    /* The library stops logging to ctx with the last of these. */
    wfvae_destroy(s->stream);
    wfvae_model_close(s->model);
    for (int i = 0; i < s->nb_batch; i++)
        av_frame_free(&s->batch[i]);
    av_freep(&s->batch);
    av_freep(&s->frames);
    av_freep(&s->decoded);
    av_freep(&s->latents);
    av_frame_free(&s->held);
    free_frames(&s->properties);
    free_frames(&s->ready);
    /* The stream used it until here. */
    av_buffer_unref(&s->device_ref);
}

/* Formats with alpha come first: decoded latents have none. */
static const enum AVPixelFormat video_formats[] = {
    AV_PIX_FMT_GBRAP, AV_PIX_FMT_GBRAPF32, AV_PIX_FMT_GBRAP10, AV_PIX_FMT_GBRAP12, AV_PIX_FMT_GBRAP16,
#define FORMATS_WITH_ALPHA 5
    AV_PIX_FMT_GBRP, AV_PIX_FMT_GBRPF32, AV_PIX_FMT_GBRP10, AV_PIX_FMT_GBRP12, AV_PIX_FMT_GBRP14, AV_PIX_FMT_GBRP16,
    AV_PIX_FMT_NONE
};
/* Accepts alpha, to warn that it is dropped. */
static const enum AVPixelFormat subband_formats[] = { AV_PIX_FMT_GBRAP, AV_PIX_FMT_GBRP, AV_PIX_FMT_NONE };
static const enum AVPixelFormat latent_formats[]  = { AV_PIX_FMT_GRAY16, AV_PIX_FMT_NONE };

static const enum AVPixelFormat *formats_of(const WFVAEContext *s, int output)
{
    if (s->mode == MODE_SUBBANDS)
        return subband_formats + output;
    if (s->mode == (output ? MODE_ENCODE : MODE_DECODE))
        return latent_formats;
    return video_formats + (s->mode == MODE_DECODE ? FORMATS_WITH_ALPHA : 0);
}

#if NEW_QUERY
static int query_formats(const AVFilterContext *ctx, AVFilterFormatsConfig **cfg_in, AVFilterFormatsConfig **cfg_out)
{
    const WFVAEContext *s = ctx->priv;
    AVFilterFormats **in = &cfg_in[0]->formats, **out = &cfg_out[0]->formats;
#else
static int query_formats(AVFilterContext *ctx)
{
    const WFVAEContext *s = ctx->priv;
    AVFilterFormats **in = &ctx->inputs[0]->outcfg.formats, **out = &ctx->outputs[0]->incfg.formats;
#endif
    AVFilterFormats *formats = ff_make_format_list((const int *)formats_of(s, 0));
    int ret = 0;

#if CONFIG_CUDA
    if (s->mode == MODE_ROUNDTRIP || s->mode == MODE_ENCODE)
        ret = ff_add_format(&formats, AV_PIX_FMT_CUDA);
#endif
    if (ret < 0 || (ret = ff_formats_ref(formats, in)) < 0)
        return ret;
    /* A round trip keeps the format. In other modes input and output differ. */
    if (s->mode != MODE_ROUNDTRIP)
        formats = ff_make_format_list((const int *)formats_of(s, 1));
    return ff_formats_ref(formats, out);
}

/* What the library takes of the formats that frames in a CUDA device's memory have. */
static const struct {
    enum AVPixelFormat sw_format;
    uint32_t format, bit_depth;
} device_formats[] = {
    { AV_PIX_FMT_NV12,      WFVAE_PIXEL_FORMAT_NV12 },
    { AV_PIX_FMT_P010,      WFVAE_PIXEL_FORMAT_P010, 10 },
#ifdef AV_PIX_FMT_P012
    { AV_PIX_FMT_P012,      WFVAE_PIXEL_FORMAT_P010, 12 },
#endif
    { AV_PIX_FMT_P016,      WFVAE_PIXEL_FORMAT_P010, 16 },
    { AV_PIX_FMT_YUV420P,   WFVAE_PIXEL_FORMAT_YUV420P8 },
    { AV_PIX_FMT_YUV420P10, WFVAE_PIXEL_FORMAT_YUV420P16, 10 },
    { AV_PIX_FMT_YUV422P,   WFVAE_PIXEL_FORMAT_YUV422P8 },
    { AV_PIX_FMT_YUV422P10, WFVAE_PIXEL_FORMAT_YUV422P16, 10 },
    { AV_PIX_FMT_YUV444P,   WFVAE_PIXEL_FORMAT_YUV444P8 },
    { AV_PIX_FMT_YUV444P10, WFVAE_PIXEL_FORMAT_YUV444P16, 10 },
    { AV_PIX_FMT_YUV444P16, WFVAE_PIXEL_FORMAT_YUV444P16, 16 },
    { AV_PIX_FMT_RGB0,      WFVAE_PIXEL_FORMAT_RGBA8 },
    { AV_PIX_FMT_BGR0,      WFVAE_PIXEL_FORMAT_BGRA8 },
    { AV_PIX_FMT_RGBA,      WFVAE_PIXEL_FORMAT_RGBA8 },
    { AV_PIX_FMT_BGRA,      WFVAE_PIXEL_FORMAT_BGRA8 },
};

static int device_format(enum AVPixelFormat sw_format)
{
    for (int i = 0; i < FF_ARRAY_ELEMS(device_formats); i++)
        if (device_formats[i].sw_format == sw_format)
            return i;
    return -1;
}

#if CONFIG_CUDA
#define CHECK_CU(call) FF_CUDA_CHECK_DL(ctx, cu, call)

/* Finds the device of a context of FFmpeg's. The library works in the device's primary context, and no other one's memory
 * can be used there. */
static int primary_device(AVFilterContext *ctx, const AVCUDADeviceContext *cuda, int *device)
{
    CudaFunctions *cu = cuda->internal->cuda_dl;
    CUcontext popped, primary = NULL;
    CUdevice found;
    unsigned flags;
    int active, ret;

    if ((ret = CHECK_CU(cu->cuCtxPushCurrent(cuda->cuda_ctx))) < 0)
        return ret;
    ret = CHECK_CU(cu->cuCtxGetDevice(&found));
    CHECK_CU(cu->cuCtxPopCurrent(&popped));
    if (ret < 0 || (ret = CHECK_CU(cu->cuDevicePrimaryCtxGetState(found, &flags, &active))) < 0)
        return ret;
    /* Only asked for if it is there: to make one takes time and memory. */
    if (active) {
        if ((ret = CHECK_CU(cu->cuDevicePrimaryCtxRetain(&primary, found))) < 0)
            return ret;
        CHECK_CU(cu->cuDevicePrimaryCtxRelease(found));
    }
    if (primary != cuda->cuda_ctx) {
        av_log(ctx, AV_LOG_ERROR, "The frames are not in the primary context of CUDA device %d, where libwfvae works. Make the "
               "device with -init_hw_device cuda=cu:%d,primary_ctx=1 and use it with -hwaccel_device cu or "
               "-filter_hw_device cu.\n", found, found);
        return AVERROR(EINVAL);
    }
    *device = found;
    return 0;
}
#endif

/* Frames in a CUDA device's memory: checks what can be checked of them, and notes where they are. */
static int use_device(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;
    AVFilterLink *inlink = ctx->inputs[0];

    av_buffer_unref(&s->device_ref);
    s->cuda_stream = NULL;
    s->sw_format   = inlink->format;
#if CONFIG_CUDA
    if (inlink->format == AV_PIX_FMT_CUDA) {
        AVBufferRef *frames_ref = ff_filter_link(inlink)->hw_frames_ctx;
        const AVHWFramesContext *frames;
        const AVCUDADeviceContext *cuda;
        int device, ret;

        if (!frames_ref) {
            av_log(ctx, AV_LOG_ERROR, "The frames in a CUDA device's memory come without a hardware frames context.\n");
            return AVERROR(EINVAL);
        }
        frames       = (const AVHWFramesContext *)frames_ref->data;
        cuda         = frames->device_ctx->hwctx;
        s->sw_format = frames->sw_format;
        if (device_format(s->sw_format) < 0) {
            av_log(ctx, AV_LOG_ERROR, "Frames of format %s in a CUDA device's memory are not supported. Convert them to nv12, "
                   "p010, yuv444p or rgb0, with scale_cuda=format=nv12 for example, or put hwdownload,format=%s before this "
                   "filter.\n", av_get_pix_fmt_name(s->sw_format), av_get_pix_fmt_name(s->sw_format));
            return AVERROR(ENOSYS);
        }
        if (s->provider == WFVAE_PROVIDER_CPU) {
            av_log(ctx, AV_LOG_ERROR, "provider=cpu cannot run on frames in a CUDA device's memory: use provider=cuda, or put "
                   "hwdownload,format=%s before this filter.\n", av_get_pix_fmt_name(s->sw_format));
            return AVERROR(EINVAL);
        }
        if (s->tiling) {
            av_log(ctx, AV_LOG_ERROR, "tiles cannot be used on frames in a CUDA device's memory: leave them out, or put "
                   "hwdownload,format=%s before this filter.\n", av_get_pix_fmt_name(s->sw_format));
            return AVERROR(EINVAL);
        }
        if ((ret = primary_device(ctx, cuda, &device)) < 0)
            return ret;
        if (s->device >= 0 && s->device != device) {
            av_log(ctx, AV_LOG_ERROR, "device=%d, but the frames are in the memory of CUDA device %d: leave the option out.\n",
                   s->device, device);
            return AVERROR(EINVAL);
        }
        s->frames_device = device;
        s->cuda_stream   = cuda->stream;
        s->device_ref    = av_buffer_ref(frames->device_ref);
        if (!s->device_ref)
            return AVERROR(ENOMEM);
    }
#endif
    return 0;
}

/* A round trip's frames are in the memory where the input is, in a pool of their own: the input's may be a decoder's. */
static int make_output_pool(AVFilterLink *outlink)
{
    WFVAEContext *s = outlink->src->priv;
    FilterLink *out = ff_filter_link(outlink);
    AVHWFramesContext *frames;

    av_buffer_unref(&out->hw_frames_ctx);
    if (!s->device_ref)
        return 0;
    out->hw_frames_ctx = av_hwframe_ctx_alloc(s->device_ref);
    if (!out->hw_frames_ctx)
        return AVERROR(ENOMEM);
    frames = (AVHWFramesContext *)out->hw_frames_ctx->data;
    frames->format    = s->in_format;
    frames->sw_format = s->sw_format;
    frames->width     = outlink->w;
    frames->height    = outlink->h;
    return av_hwframe_ctx_init(out->hw_frames_ctx);
}

static int create_stream(AVFilterContext *ctx, int width, int height)
{
    WFVAEContext *s = ctx->priv;
    wfvae_options options = {
        .struct_size  = sizeof(options),
        .width        = width,
        .height       = height,
        .padding      = 1,
        .posterior    = s->posterior,
        .seed         = s->seed,
        .directions   = s->mode == MODE_ENCODE ? WFVAE_DIRECTION_ENCODE :
                        s->mode == MODE_DECODE ? WFVAE_DIRECTION_DECODE : 0,
        .tiling       = s->tiling,
        .tile_width   = s->tile,
        .tile_height  = s->tile,
        .tile_overlap = s->overlap,
        .memory_limit = s->memory,
        .frame_memory = s->device_ref ? WFVAE_MEMORY_KIND_CUDA : WFVAE_MEMORY_KIND_CPU,
        .cuda_stream  = s->cuda_stream,
    };
    wfvae_memory memory = { .struct_size = sizeof(memory) };
    wfvae_status status;

    wfvae_destroy(s->stream);
    s->stream = NULL;
    status = wfvae_create(s->model, &options, &s->stream);
    if (status) {
        int ret = fail(ctx, status);
        if (status == WFVAE_STATUS_OUT_OF_MEMORY)
            av_log(ctx, AV_LOG_ERROR, "In this filter that is cache=f16, mode=encode or decode, for models with attention "
                   "tiles=blended, and memory, the limit in bytes; it cannot set clip_frames.\n");
        return ret;
    }
    if (s->memory || s->tiling) {
        status = wfvae_estimate(s->model, &options, &memory);
        if (status)
            return fail(ctx, status);
        av_log(ctx, AV_LOG_VERBOSE, "About %"PRIu64" bytes of memory; %u tiles of %ux%u encode, %u of %ux%u decode.\n",
               memory.total_bytes, memory.encode_tiles, memory.encode_tile_width, memory.encode_tile_height,
               memory.decode_tiles, memory.decode_tile_width, memory.decode_tile_height);
    }
    s->info.struct_size = sizeof(s->info);
    status = wfvae_get_info(s->stream, &s->info);
    return status ? fail(ctx, status) : 0;
}

/* The rows of the header. The height of the frames tells the version of a file before the first frame comes: each version
 * leaves another remainder when divided by the rows of tiles. Models with 1 or 2 channels have one row of tiles, which leaves
 * no remainder. Their old files cannot be told apart and are not read. */
static int header_rows(const WFVAEContext *s, int version, int width)
{
    int old = (HEADER_1_SIZE + width - 1) / width, rows = (HEADER_SIZE + width - 1) / width;

    if (version == 1)
        return old;
    return rows > old && (rows - old) % s->tiles_y == 0 ? rows + 1 : rows;
}

/* A time base for frames decoded from the latents of inlink. Their own time base is in the header, which is not read yet. This
 * one holds the usual time bases exactly, as far as they fit together, and others to within microseconds. */
static AVRational decoded_time_base(AVRational in, AVRational frame_rate)
{
    const int dens[] = { in.den, frame_rate.num, 90000, 120000, 1000000, 15360, 12800, 12288, 16384, 44100 };
    int64_t den = 1;

    for (int i = 0; i < FF_ARRAY_ELEMS(dens); i++) {
        int64_t multiple = dens[i] > 0 ? den / av_gcd(den, dens[i]) * dens[i] : INT64_MAX;
        if (multiple <= INT_MAX)
            den = multiple;
    }
    return (AVRational){ 1, den };
}

/* Channels are tiles of a near-square grid below the header. */
static void place_tiles(WFVAEContext *s)
{
    s->tiles_x = ceil(sqrt(s->model_info.latent_channels));
    s->tiles_y = (s->model_info.latent_channels + s->tiles_x - 1) / s->tiles_x;
}

static int config_output(AVFilterLink *outlink)
{
    AVFilterContext *ctx = outlink->src;
    WFVAEContext *s      = ctx->priv;
    AVFilterLink *inlink = ctx->inputs[0];
    FilterLink *in = ff_filter_link(inlink), *out = ff_filter_link(outlink);
    int unit, ret;

    if ((ret = use_device(ctx)) < 0 || (ret = open_model(ctx)) < 0)
        return ret;
    unit = s->model_info.temporal_compression;
    s->in_width                  = inlink->w;
    s->in_height                 = inlink->h;
    s->in_format                 = inlink->format;
    outlink->time_base           = inlink->time_base;
    outlink->sample_aspect_ratio = inlink->sample_aspect_ratio;
    outlink->w                   = inlink->w;
    outlink->h                   = inlink->h;
    out->frame_rate              = in->frame_rate;

    switch (s->mode) {
    case MODE_ROUNDTRIP:
        if ((ret = make_output_pool(outlink)) < 0)
            return ret;
        return create_stream(ctx, inlink->w, inlink->h);
    case MODE_ENCODE:
        if ((ret = create_stream(ctx, inlink->w, inlink->h)) < 0)
            return ret;
        place_tiles(s);
        outlink->w     = s->tiles_x * s->info.latent_width;
        s->header_rows = header_rows(s, LATENT_VERSION, outlink->w);
        outlink->h     = s->tiles_y * s->info.latent_height + s->header_rows;
        if (in->frame_rate.num > 0)
            out->frame_rate = av_div_q(in->frame_rate, (AVRational){ unit, 1 });
        return 0;
    case MODE_DECODE: {
        int scale = s->model_info.spatial_compression, latent_width, latent_height;

        place_tiles(s);
        s->header_rows = header_rows(s, LATENT_VERSION, inlink->w);
        if ((inlink->h - s->header_rows) % s->tiles_y)
            s->header_rows = header_rows(s, 1, inlink->w);
        latent_width   = inlink->w / s->tiles_x;
        latent_height  = (inlink->h - s->header_rows) / s->tiles_y;
        if (latent_width < 1 || latent_height < 1 || latent_width * s->tiles_x != inlink->w ||
            latent_height * s->tiles_y + s->header_rows != inlink->h) {
            av_log(ctx, AV_LOG_ERROR, "Frames of %dx%d do not hold latents of %u channels: "
                   "not made by mode=encode with this model, or scaled or cropped since.\n",
                   inlink->w, inlink->h, s->model_info.latent_channels);
            return AVERROR_INVALIDDATA;
        }
        outlink->w = s->width  ? s->width  : latent_width  * scale;
        outlink->h = s->height ? s->height : latent_height * scale;
        if ((outlink->w + scale - 1) / scale != latent_width || (outlink->h + scale - 1) / scale != latent_height) {
            av_log(ctx, AV_LOG_ERROR, "size=%dx%d: the latents are of a video of up to %dx%d.\n",
                   outlink->w, outlink->h, latent_width * scale, latent_height * scale);
            return AVERROR(EINVAL);
        }
        outlink->time_base = decoded_time_base(inlink->time_base, in->frame_rate);
        if (in->frame_rate.num > 0)
            out->frame_rate = av_mul_q(in->frame_rate, (AVRational){ unit, 1 });
        return create_stream(ctx, outlink->w, outlink->h);
    }
    case MODE_SUBBANDS:
        /* Eight bands (of image models four) of a quarter of the area, four in
         * a row. */
        outlink->w = 4 * ((inlink->w + 1) / 2);
        outlink->h = s->band_frames * ((inlink->h + 1) / 2);
        if (in->frame_rate.num > 0)
            out->frame_rate = av_div_q(in->frame_rate, (AVRational){ s->band_frames, 1 });
        return 0;
    }
    return AVERROR_BUG;
}

static int push(AVFifo *fifo, AVFrame *frame)
{
    int ret = av_fifo_write(fifo, &frame, 1);

    if (ret < 0)
        av_frame_free(&frame);
    return ret;
}

static int has_alpha(enum AVPixelFormat format)
{
    return !!(av_pix_fmt_desc_get(format)->flags & AV_PIX_FMT_FLAG_ALPHA);
}

/* Keeps a frame's properties until its result comes, and its picture only for the alpha. */
static int push_properties(WFVAEContext *s, const AVFrame *frame, int64_t pts, int64_t duration)
{
    AVFrame *properties;
    int ret;

    if (s->mode == MODE_ROUNDTRIP && has_alpha(frame->format)) {
        properties = av_frame_clone(frame);
    } else if ((properties = av_frame_alloc()) && (ret = av_frame_copy_props(properties, frame)) < 0) {
        av_frame_free(&properties);
        return ret;
    }
    if (!properties)
        return AVERROR(ENOMEM);
    properties->pts = pts;
    FRAME_DURATION(properties) = duration;
    return push(s->properties, properties);
}

/* The matrix, range and siting of YUV. What is not specified is as players take it. */
static int describe_colour(AVFilterContext *ctx, const AVFrame *tags, const AVPixFmtDescriptor *desc, wfvae_frame *f)
{
    switch (tags->colorspace) {
    case AVCOL_SPC_UNSPECIFIED: f->matrix = WFVAE_MATRIX_AUTO;   break;
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:   f->matrix = WFVAE_MATRIX_BT601;  break;
    case AVCOL_SPC_BT709:       f->matrix = WFVAE_MATRIX_BT709;  break;
    case AVCOL_SPC_BT2020_NCL:  f->matrix = WFVAE_MATRIX_BT2020; break;
    default:
        av_log(ctx, AV_LOG_ERROR, "Frames of color space %s in a CUDA device's memory are not supported: convert them to "
               "bt709, smpte170m or bt2020nc, or, if the tag is wrong, put setparams=colorspace=bt709 before this filter.\n",
               av_color_space_name(tags->colorspace));
        return AVERROR(ENOSYS);
    }
    f->yuv_range = tags->color_range == AVCOL_RANGE_JPEG ? WFVAE_YUV_RANGE_FULL : WFVAE_YUV_RANGE_LIMITED;
    if (desc->log2_chroma_w || desc->log2_chroma_h)
        f->siting = tags->chroma_location == AVCHROMA_LOC_CENTER  ? WFVAE_SITING_CENTRE :
                    tags->chroma_location == AVCHROMA_LOC_TOPLEFT ? WFVAE_SITING_TOP_LEFT : WFVAE_SITING_LEFT;
    return 0;
}

/* Describes a frame to the library. Its colour's tags are those of another frame if it is still empty. */
static int describe(AVFilterContext *ctx, const AVFrame *frame, const AVFrame *tags, wfvae_frame *f)
{
    const WFVAEContext *s = ctx->priv;
    int on_device = !!(av_pix_fmt_desc_get(frame->format)->flags & AV_PIX_FMT_FLAG_HWACCEL);
    const AVPixFmtDescriptor *desc = av_pix_fmt_desc_get(on_device ? s->sw_format : frame->format);
    int nb_planes = 3, ret;

    *f = (wfvae_frame){ .struct_size = sizeof(*f), .width = frame->width, .height = frame->height };
    if (on_device) {
        int i = device_format(s->sw_format);
        f->format    = device_formats[i].format;
        f->bit_depth = device_formats[i].bit_depth;
        nb_planes    = av_pix_fmt_count_planes(s->sw_format);
        if (!(desc->flags & AV_PIX_FMT_FLAG_RGB) && (ret = describe_colour(ctx, tags, desc, f)) < 0)
            return ret;
    } else if (desc->flags & AV_PIX_FMT_FLAG_FLOAT) {
        f->format = WFVAE_PIXEL_FORMAT_GBRP_F32;
        f->range  = WFVAE_RANGE_UNIT;
    } else if (desc->comp[0].depth > 8) {
        f->format    = WFVAE_PIXEL_FORMAT_GBRP16;
        f->bit_depth = desc->comp[0].depth;
    } else {
        f->format = WFVAE_PIXEL_FORMAT_GBRP8;
    }
    for (int i = 0; i < nb_planes; i++) {
        f->planes[i]  = frame->data[i];
        f->strides[i] = frame->linesize[i];
    }
    return 0;
}

static int reserve_frames(WFVAEContext *s, size_t count)
{
    if (count > s->frames_capacity) {
        if (count > INT_MAX ||
            av_reallocp_array(&s->frames, count, sizeof(*s->frames)) < 0 ||
            av_reallocp_array(&s->decoded, count, sizeof(*s->decoded)) < 0) {
            s->frames_capacity = 0;
            return AVERROR(ENOMEM);
        }
        s->frames_capacity = count;
    }
    return 0;
}

static int reserve_latents(WFVAEContext *s, size_t count)
{
    size_t size = FFMAX(s->info.encoded_size, s->info.latent_size);

    if (count > s->latents_capacity) {
        if (av_reallocp_array(&s->latents, count, size) < 0) {
            s->latents_capacity = 0;
            return AVERROR(ENOMEM);
        }
        s->latents_capacity = count;
    }
    return 0;
}

/* Decodes nb_latents latents, or flushes if there are none, to the ready queue. */
static int decode(AVFilterContext *ctx, const float *latents, size_t nb_latents, int flush)
{
    AVFilterLink *outlink = ctx->outputs[0];
    WFVAEContext *s       = ctx->priv;
    size_t count, written = 0, allocated = 0;
    wfvae_status status;
    int ret;

    if (!flush && !nb_latents)
        return 0;
    status = flush ? wfvae_decode_flush_count(s->stream, &count) : wfvae_decode_count(s->stream, nb_latents, &count);
    if (status)
        return fail(ctx, status);
    if ((ret = reserve_frames(s, count)) < 0)
        return ret;
    while (allocated < count) {
        AVFrame *frame = ff_get_video_buffer(outlink, outlink->w, outlink->h), *tags = frame;
        if (!frame) {
            ret = AVERROR(ENOMEM);
            goto end;
        }
        s->decoded[allocated] = frame;
        av_fifo_peek(s->properties, &tags, 1, allocated);
        if ((ret = describe(ctx, frame, tags, &s->frames[allocated++])) < 0)
            goto end;
    }
    status = flush ? wfvae_decode_flush(s->stream, s->frames, count, &written)
                   : wfvae_decode_chunk(s->stream, latents, nb_latents, s->frames, count, &written);
    if (status) {
        ret = fail(ctx, status);
        goto end;
    }
    for (size_t i = 0; i < written; i++) {
        AVFrame *frame = s->decoded[i], *properties;

        if (av_fifo_read(s->properties, &properties, 1) < 0) {
            ret = AVERROR_BUG;
            goto end;
        }
        ret = av_frame_copy_props(frame, properties);
        if (properties->data[3])
            av_image_copy_plane(frame->data[3], frame->linesize[3], properties->data[3], properties->linesize[3],
                                frame->width * av_pix_fmt_desc_get(frame->format)->comp[3].step, frame->height);
        av_frame_free(&properties);
        s->decoded[i] = NULL;
        if (ret < 0) {
            av_frame_free(&frame);
            goto end;
        }
        if (s->mode == MODE_DECODE) {
            /* The latents' own tags say nothing about the video. */
            frame->color_range = AVCOL_RANGE_JPEG;
            frame->colorspace  = AVCOL_SPC_RGB;
        }
        if ((ret = push(s->ready, frame)) < 0)
            goto end;
    }
end:
    for (size_t i = 0; i < allocated; i++)
        av_frame_free(&s->decoded[i]);
    return ret;
}

static void put32(uint16_t *to, uint32_t value)
{
    to[0] = value;
    to[1] = value >> 16;
}

static uint32_t get32(const uint16_t *from)
{
    return from[0] | (uint32_t)from[1] << 16;
}

static void put64(uint16_t *to, uint64_t value)
{
    put32(to, value);
    put32(to + 2, value >> 32);
}

static uint64_t get64(const uint16_t *from)
{
    return get32(from) | (uint64_t)get32(from + 2) << 32;
}

/* Rationals as the header has them. */
static void put_rational(uint16_t *to, AVRational value)
{
    put32(to, value.num);
    put32(to + 2, value.den);
}

static AVRational get_rational(const uint16_t *from)
{
    return (AVRational){ get32(from), get32(from + 2) };
}

/* Header samples fill the first rows, in order. */
static uint16_t *header_sample(const AVFrame *frame, int index)
{
    int row = index / frame->width, column = index % frame->width;

    return (uint16_t *)(frame->data[0] + row * frame->linesize[0]) + column;
}

/* Of all samples except the checksum's own, in little endian, as they are stored. */
static uint32_t checksum(const AVFrame *frame, int own)
{
    const AVCRC *table = av_crc_get_table(AV_CRC_32_IEEE_LE);
    uint32_t crc = UINT32_MAX;
    int index = 0;

    for (int y = 0; y < frame->height; y++) {
        const uint16_t *row = (const uint16_t *)(frame->data[0] + y * frame->linesize[0]);
        for (int x = 0; x < frame->width; x++, index++) {
            uint8_t bytes[2];
            if (index == own || index == own + 1)
                continue;
            AV_WL16(bytes, row[x]);
            crc = av_crc(table, crc, bytes, 2);
        }
    }
    return ~crc;
}

/* One sample of a channel's row in a latent frame. */
static uint16_t *tile_row(const WFVAEContext *s, const AVFrame *frame, int channel, int y)
{
    int row    = s->header_rows + channel / s->tiles_x * s->info.latent_height + y;
    int column = channel % s->tiles_x * s->info.latent_width;

    return (uint16_t *)(frame->data[0] + row * frame->linesize[0]) + column;
}

/* What identifies the origin of the latents in a header of this version: the whole model in version 1, the encoder since. */
static uint64_t latents_identity(const wfvae_model_info *info, int version)
{
    return version == 1 ? info->identity : info->encoder_identity;
}

/* Outputs the latent frame that waited for its end, which is the time of the next one, or the end of the clip. */
static int release_held(AVFilterContext *ctx, int64_t next_pts, int last)
{
    WFVAEContext *s = ctx->priv;
    AVFrame *frame  = s->held;
    uint16_t sum[2];

    if (!frame)
        return 0;
    s->held = NULL;
    if (last)
        *header_sample(frame, HEADER_FLAGS) |= LATENT_LAST;
    else if (next_pts != AV_NOPTS_VALUE && frame->pts != AV_NOPTS_VALUE)
        FRAME_DURATION(frame) = av_sat_sub64(next_pts, frame->pts);
    put32(sum, checksum(frame, HEADER_CHECKSUM));
    *header_sample(frame, HEADER_CHECKSUM)     = sum[0];
    *header_sample(frame, HEADER_CHECKSUM + 1) = sum[1];
    return push(s->ready, frame);
}

/* Latents a second, as ffmpeg counts them: 25 if nothing is known. */
static AVRational announced_rate(AVFilterContext *ctx)
{
    AVRational rate = ff_filter_link(ctx->outputs[0])->frame_rate;

    return rate.num > 0 && rate.den > 0 ? rate : (AVRational){ 25, 1 };
}

/* Converts a time to another time base. A time so large that sums could overflow counts as unknown. */
static int64_t rescale_time(int64_t time, AVRational from, AVRational to)
{
    if (time != AV_NOPTS_VALUE)
        time = av_rescale_q(time, from, to);
    return time > INT64_MIN / 8 && time < INT64_MAX / 8 ? time : AV_NOPTS_VALUE;
}

static int64_t rescale_duration(int64_t duration, AVRational from, AVRational to)
{
    duration = rescale_time(duration, from, to);
    return FFMAX(duration, 0);
}

/* The time of a latent frame: that of the last frame in its group, so that latents have a constant rate if the frames have one.
 * ffmpeg makes the announced rate the encoder's time base, counted from zero. If frames come faster than that rate, start
 * below zero, or the last group is short, the time is moved later until no two latents get the same one. The header has the true
 * times. Times that cannot be counted are unknown. */
static int64_t latent_pts(AVFilterContext *ctx, int64_t pts, int64_t duration, int short_group)
{
    WFVAEContext *s      = ctx->priv;
    AVRational time_base = ctx->outputs[0]->time_base, tick = av_inv_q(announced_rate(ctx));
    int64_t earliest, slot;

    if (pts == AV_NOPTS_VALUE)
        return pts;
    earliest = av_rescale_q_rnd(2 * s->next_slot - 1, av_div_q(tick, (AVRational){ 2, 1 }), time_base, AV_ROUND_UP);
    earliest = av_sat_sub64(earliest, short_group ? duration : 0);
    pts      = FFMAX(pts, earliest);
    slot     = rescale_time(pts, time_base, tick);
    if (slot == AV_NOPTS_VALUE)
        return AV_NOPTS_VALUE;
    s->next_slot = FFMAX(slot, s->next_slot) + 1;
    return pts;
}

/* Makes a frame from a latent, with the properties of the video frames in it. */
static int emit_latent(AVFilterContext *ctx, const float *latent, int valid)
{
    AVFilterLink *outlink = ctx->outputs[0];
    WFVAEContext *s       = ctx->priv;
    int unit              = s->model_info.temporal_compression;
    int group             = s->latent_index ? unit : 1;
    AVFrame *properties[MAX_GROUP] = { NULL };
    uint16_t header[HEADER_SIZE] = { 0 };
    int64_t last_duration, pts;
    AVFrame *frame;
    int ret;

    frame = ff_get_video_buffer(outlink, outlink->w, outlink->h);
    if (!frame)
        return AVERROR(ENOMEM);
    if (av_fifo_read(s->properties, properties, valid) < 0) {
        av_frame_free(&frame);
        return AVERROR_BUG;
    }
    if ((ret = av_frame_copy_props(frame, properties[valid - 1])) < 0)
        goto end;
    pts           = frame->pts;
    last_duration = FRAME_DURATION(frame);
    if (!last_duration && pts != AV_NOPTS_VALUE && s->last_pts != AV_NOPTS_VALUE && valid == 1)
        last_duration = av_sat_sub64(pts, s->last_pts);
    if (!last_duration && valid > 1 && pts != AV_NOPTS_VALUE && properties[valid - 2]->pts != AV_NOPTS_VALUE)
        last_duration = av_sat_sub64(pts, properties[valid - 2]->pts);
    s->last_pts = pts;
    pts = latent_pts(ctx, pts, last_duration, valid < group);
    if ((ret = release_held(ctx, pts, 0)) < 0)
        goto end;
    frame->pts             = pts;
    FRAME_DURATION(frame)  = last_duration;
    frame->color_range     = AVCOL_RANGE_JPEG;
    frame->colorspace      = AVCOL_SPC_UNSPECIFIED;
    frame->color_primaries = AVCOL_PRI_UNSPECIFIED;
    frame->color_trc       = AVCOL_TRC_UNSPECIFIED;

    put32(header + HEADER_MAGIC, LATENT_MAGIC);
    header[HEADER_VERSION]  = LATENT_VERSION;
    header[HEADER_GROUP]    = unit;
    header[HEADER_WIDTH]    = s->info.width;
    header[HEADER_HEIGHT]   = s->info.height;
    header[HEADER_CHANNELS] = s->info.latent_channels;
    header[HEADER_VALID]    = valid;
    put32(header + HEADER_INDEX, s->latent_index);
    put32(header + HEADER_STEP, av_float2int(s->step));
    header[HEADER_OFFSET] = LATENT_ZERO;
    put64(header + HEADER_IDENTITY, latents_identity(&s->model_info, LATENT_VERSION));
    put_rational(header + HEADER_TIME_BASE, outlink->time_base);
    if (s->next_slot) {
        put_rational(header + HEADER_RATE, announced_rate(ctx));
        put64(header + HEADER_SLOT, s->next_slot - 1);
    }
    put64(header + HEADER_PTS, pts);
    for (int i = 0; i < valid; i++) {
        put64(header + HEADER_TIMES + 4 * i, properties[i]->pts);
        put64(header + HEADER_DURATIONS + 4 * i, FRAME_DURATION(properties[i]));
    }

    for (int y = 0; y < frame->height; y++)
        memset(frame->data[0] + y * frame->linesize[0], 0, 2 * frame->width);
    for (int i = 0; i < HEADER_SIZE; i++)
        *header_sample(frame, i) = header[i];
    for (int c = 0; c < s->info.latent_channels; c++) {
        for (int y = 0; y < s->info.latent_height; y++) {
            uint16_t *row = tile_row(s, frame, c, y);
            for (int x = 0; x < s->info.latent_width; x++) {
                float value = rintf(*latent++ / s->step) + LATENT_ZERO;
                s->clipped += !(value >= 0 && value <= UINT16_MAX);
                row[x] = value >= 0 ? FFMIN(value, UINT16_MAX) : 0;
            }
        }
    }
    s->values += (uint64_t)s->info.latent_channels * s->info.latent_width * s->info.latent_height;

    s->latent_index++;
    s->held = frame;
    frame   = NULL;
end:
    for (int i = 0; i < valid; i++)
        av_frame_free(&properties[i]);
    av_frame_free(&frame);
    return ret;
}

/* Decodes the latents of a call (roundtrip) or makes frames from them (encode). In
 * a flush the last group may be short. */
static int take_latents(AVFilterContext *ctx, size_t count, int flush)
{
    WFVAEContext *s = ctx->priv;
    size_t numbers  = s->info.encoded_size / sizeof(float);
    int ret = 0;

    if (s->mode == MODE_ROUNDTRIP)
        return decode(ctx, s->latents, count, 0);
    for (size_t i = 0; i < count && ret >= 0; i++) {
        int group = s->latent_index ? s->model_info.temporal_compression : 1;
        int valid = flush ? av_fifo_can_read(s->properties) : group;
        ret = emit_latent(ctx, s->latents + i * numbers, valid);
    }
    return ret;
}

/* Encodes the batch. */
static int encode_batch(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;
    size_t count;
    wfvae_status status;
    int ret;

    if (!s->nb_batch)
        return 0;
    if ((ret = reserve_frames(s, s->nb_batch)) < 0)
        return ret;
    for (int i = 0; i < s->nb_batch; i++) {
        if ((ret = describe(ctx, s->batch[i], s->batch[i], &s->frames[i])) < 0 ||
            (ret = push_properties(s, s->batch[i], s->batch[i]->pts, FRAME_DURATION(s->batch[i]))) < 0)
            return ret;
    }
    status = wfvae_encode_count(s->stream, s->nb_batch, &count);
    if (status)
        return fail(ctx, status);
    if ((ret = reserve_latents(s, count)) < 0)
        return ret;
    status = wfvae_encode_chunk(s->stream, s->frames, s->nb_batch, s->latents, count, &count);
    if (status)
        return fail(ctx, status);
    while (s->nb_batch)
        av_frame_free(&s->batch[--s->nb_batch]);
    return take_latents(ctx, count, 0);
}

/* The end of the clip: completes the last group and outputs all frames. */
static int flush_encoder(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;
    wfvae_status status;
    size_t count;
    int ret;

    if ((ret = encode_batch(ctx)) < 0 || (ret = reserve_latents(s, 1)) < 0)
        return ret;
    if ((status = wfvae_get_info(s->stream, &s->info)) ||
        (status = wfvae_set_frame_count(s->stream, s->info.frames_in)) ||
        (status = wfvae_encode_flush(s->stream, s->latents, 1, &count)))
        return fail(ctx, status);
    if ((ret = take_latents(ctx, count, 1)) < 0)
        return ret;
    return s->mode == MODE_ROUNDTRIP ? decode(ctx, NULL, 0, 1) : release_held(ctx, AV_NOPTS_VALUE, 1);
}

/* Logs why a latent frame cannot be used. Only its own pictures are lost, unless strict is set. */
static int av_printf_format(3, 4) unreadable(AVFilterContext *ctx, const AVFrame *frame, const char *format, ...)
{
    WFVAEContext *s = ctx->priv;
    char text[256], when[32] = "";
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (frame->pts != AV_NOPTS_VALUE)
        snprintf(when, sizeof(when), "At %.3f s: ", frame->pts * av_q2d(ctx->inputs[0]->time_base));
    av_log(ctx, AV_LOG_ERROR, "%s%s\n", when, text);
    s->unreadable++;
    if (s->strict)
        return AVERROR_INVALIDDATA;
    if (!s->read && s->unreadable == MAX_UNREADABLE) {
        av_log(ctx, AV_LOG_ERROR, "None of the first %d frames is a latent frame that can be read.\n", MAX_UNREADABLE);
        return AVERROR_INVALIDDATA;
    }
    return 0;
}

/* Checks a latent frame and its header. Returns 1 if the latent can be decoded, 0 if it is left out. */
static int check_header(AVFilterContext *ctx, const AVFrame *frame, uint16_t *header)
{
    WFVAEContext *s = ctx->priv;
    uint64_t identity, own;
    float step;
    int checksum_index;

    if (frame->width != s->in_width || frame->height != s->in_height || frame->format != s->in_format)
        return unreadable(ctx, frame, "Damaged latent frame: size or format changed in the middle, from %dx%d to %dx%d.",
                          s->in_width, s->in_height, frame->width, frame->height);
    /* The rows of an old header hold fewer samples; those after them are not read. */
    for (int i = 0; i < HEADER_SIZE; i++)
        header[i] = i < s->header_rows * frame->width ? *header_sample(frame, i) : 0;
    if (get32(header + HEADER_MAGIC) != LATENT_MAGIC)
        return unreadable(ctx, frame, "Not a latent frame: made by mode=encode and stored without loss (gray16, FFV1)?");
    if (header[HEADER_VERSION] < 1 || header[HEADER_VERSION] > LATENT_VERSION)
        return unreadable(ctx, frame, "Latent frame of version %d, this filter reads 1 to %d.",
                          header[HEADER_VERSION], LATENT_VERSION);
    checksum_index = header[HEADER_VERSION] == 1 ? HEADER_1_CHECKSUM : HEADER_CHECKSUM;
    if (header_rows(s, header[HEADER_VERSION], frame->width) != s->header_rows ||
        get32(header + checksum_index) != checksum(frame, checksum_index))
        return unreadable(ctx, frame, "Damaged latent frame: latents must be stored without loss and neither scaled, "
                          "filtered nor converted.");
    identity = get64(header + HEADER_IDENTITY);
    own      = latents_identity(&s->model_info, header[HEADER_VERSION]);
    if (identity != own) {
        if (own)
            av_log(ctx, s->any_encoder ? AV_LOG_VERBOSE : AV_LOG_ERROR,
                   "Latents of another encoder: made by %016"PRIx64", that of model \"%s\" is %016"PRIx64"%s.\n",
                   identity, s->model_info.name, own, s->any_encoder ? "" : "; any_encoder=1 decodes them all the same");
        else if (!s->any_encoder)
            av_log(ctx, AV_LOG_ERROR, "Latents made by %016"PRIx64": model \"%s\" has no encoder to compare with; "
                   "any_encoder=1 decodes them.\n", identity, s->model_info.name);
        if (!s->any_encoder)
            return AVERROR_INVALIDDATA;
        if (!s->encoder_warned++)
            av_log(ctx, AV_LOG_WARNING, own ? "Decoding latents of another encoder, as any_encoder says.\n" :
                   "Decoding latents whose encoder is not compared, as any_encoder says.\n");
    }
    /* Twice the option's maximum. No latent overflows with it. */
    step = av_int2float(get32(header + HEADER_STEP));
    if (header[HEADER_GROUP] != s->model_info.temporal_compression ||
        header[HEADER_CHANNELS] != s->info.latent_channels ||
        header[HEADER_VALID] < 1 || header[HEADER_VALID] > header[HEADER_GROUP] ||
        !(step >= 5e-7f && step <= 2e3f))
        return unreadable(ctx, frame, "Latent frame with impossible values.");
    if (header[HEADER_WIDTH] != s->info.width || header[HEADER_HEIGHT] != s->info.height) {
        if (s->width) {
            av_log(ctx, AV_LOG_ERROR, "size=%dx%d: the video was %dx%d.\n",
                   s->width, s->height, header[HEADER_WIDTH], header[HEADER_HEIGHT]);
            return AVERROR(EINVAL);
        }
        if (!s->size_warned++)
            av_log(ctx, AV_LOG_WARNING, "The video was %dx%d: add size=%dx%d to crop the padding.\n",
                   header[HEADER_WIDTH], header[HEADER_HEIGHT], header[HEADER_WIDTH], header[HEADER_HEIGHT]);
    }
    return 1;
}

/* The container's time of a latent frame, in the output's time base. */
static int64_t container_pts(AVFilterContext *ctx, const AVFrame *frame)
{
    return rescale_time(frame->pts, ctx->inputs[0]->time_base, ctx->outputs[0]->time_base);
}

static void note_container_end(AVFilterContext *ctx, const AVFrame *frame)
{
    WFVAEContext *s      = ctx->priv;
    AVFilterLink *inlink = ctx->inputs[0];
    AVRational rate      = ff_filter_link(inlink)->frame_rate, time_base = ctx->outputs[0]->time_base;

    s->container_end = container_pts(ctx, frame);
    if (s->container_end == AV_NOPTS_VALUE)
        return;
    if (FRAME_DURATION(frame) > 0)
        s->container_end += rescale_duration(FRAME_DURATION(frame), inlink->time_base, time_base);
    else if (rate.num > 0 && rate.den > 0)
        s->container_end += rescale_duration(1, av_inv_q(rate), time_base);
}

/* Times of a latent's frames, from first on, in the output's time base: those of the header plus an offset. The container's own
 * times may be coarse or invented. They are only used for the offset: where a clip starts that was cut, moved or joined to
 * another. */
static void place_in_time(AVFilterContext *ctx, const AVFrame *frame, const uint16_t *header, int first, int new_run,
                          int goes_on, int64_t *times, int64_t *durations)
{
    WFVAEContext *s      = ctx->priv;
    AVRational time_base = ctx->outputs[0]->time_base, from = get_rational(header + HEADER_TIME_BASE);
    AVRational rate      = get_rational(header + HEADER_RATE);
    AVRational announced = ff_filter_link(ctx->outputs[0])->frame_rate;
    int64_t pts          = container_pts(ctx, frame), offset = s->offset;
    int64_t half_tick    = av_rescale_q(1, ctx->inputs[0]->time_base, time_base) / 2 + 1;
    int64_t millisecond  = av_rescale_q(1, (AVRational){ 1, 1000 }, time_base);
    int old = header[HEADER_VERSION] == 1, valid = header[HEADER_VALID];

    if (from.num <= 0 || from.den <= 0)
        from = time_base;
    for (int i = 0; i < valid; i++) {
        int64_t time     = old ? get32(header + HEADER_1_AGES + 2 * i)      : get64(header + HEADER_TIMES + 4 * i);
        int64_t duration = old ? get32(header + HEADER_1_DURATIONS + 2 * i) : get64(header + HEADER_DURATIONS + 4 * i);
        times[i]     = rescale_time(time, from, time_base);
        durations[i] = rescale_duration(duration, from, time_base);
        if (old)
            times[i] = pts == AV_NOPTS_VALUE || times[i] == AV_NOPTS_VALUE ? AV_NOPTS_VALUE : pts - times[i];
    }

    if (pts != AV_NOPTS_VALUE && times[first] != AV_NOPTS_VALUE) {
        /* The container has the times that the encoder gave it, or these at the rate that the encoder announced. */
        int64_t given = old ? pts : get64(header + HEADER_PTS), slot = given;
        int agrees, later;

        if (!old) {
            given = rescale_time(given, from, time_base);
            if (given == AV_NOPTS_VALUE)
                given = times[first];
            slot = rate.num <= 0 || rate.den <= 0 ? AV_NOPTS_VALUE :
                   rescale_time(get64(header + HEADER_SLOT), av_inv_q(rate), time_base);
            if (slot == AV_NOPTS_VALUE)
                slot = given;
        }
        agrees = FFABS(pts - given - offset) <= half_tick || FFABS(pts - slot - offset) <= half_tick;
        later  = s->end == AV_NOPTS_VALUE || times[first] + offset >= s->end - millisecond;
        if (new_run && !(goes_on && later && (agrees || old || s->clock_differs))) {
            if (s->container_end != AV_NOPTS_VALUE && s->end != AV_NOPTS_VALUE &&
                pts <= s->container_end + half_tick + 2 * millisecond)
                offset = s->end - times[first]; /* joined */
            else if (old)
                offset = 0;
            else if (!agrees)
                offset = pts - slot;
        } else {
            s->clock_differs = !agrees;
        }
    }
    /* Not before the last output. */
    if (times[first] != AV_NOPTS_VALUE && s->end != AV_NOPTS_VALUE && (new_run || old) &&
        times[first] + offset < s->end - millisecond)
        offset = s->end - times[first];
    if (new_run)
        s->offset = offset;
    for (int i = first; i < valid; i++)
        if (times[i] != AV_NOPTS_VALUE)
            times[i] += offset;

    if (times[valid - 1] != AV_NOPTS_VALUE) {
        int64_t least = announced.num > 0 && announced.den > 0 ? rescale_duration(1, av_inv_q(announced), time_base) : 0;
        int64_t apart = durations[valid - 1];
        if (valid - first > 1 && times[valid - 2] != AV_NOPTS_VALUE)
            apart = times[valid - 1] - times[valid - 2];
        s->end = times[valid - 1] + (durations[valid - 1] ? durations[valid - 1] : apart ? apart : least);
        /* Joined clips add up: no sum with another time may overflow. */
        if (s->end <= INT64_MIN / 8 || s->end >= INT64_MAX / 8)
            s->end = AV_NOPTS_VALUE;
        if (apart && apart < least - least / 4 && !s->rate_warned++)
            av_log(ctx, AV_LOG_WARNING, "Frames are %.4g s apart, and the rate of the input says %.4g s: ffmpeg drops those "
                   "that fall together. Say the rate of the latents before the input (-framerate, 1/%d of the video's) "
                   "or use -fps_mode passthrough.\n",
                   apart * av_q2d(time_base), least * av_q2d(time_base), s->model_info.temporal_compression);
    }
}

static int start_clip(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;
    wfvae_status status;
    int ret = decode(ctx, NULL, 0, 1);

    if (ret < 0)
        return ret;
    status = wfvae_reset(s->stream);
    s->frame_count = 0;
    s->clip_ended  = 0;
    return status ? fail(ctx, status) : 0;
}

static int decode_latent_frame(AVFilterContext *ctx, const AVFrame *frame)
{
    WFVAEContext *s = ctx->priv;
    uint16_t header[HEADER_SIZE];
    int64_t times[MAX_GROUP], durations[MAX_GROUP];
    uint32_t index, sum;
    int valid, first, last, new_run, goes_on, ret;
    float step, *latent;

    if ((ret = check_header(ctx, frame, header)) <= 0) {
        note_container_end(ctx, frame);
        return ret;
    }
    if ((ret = reserve_latents(s, 1)) < 0)
        return ret;
    index = get32(header + HEADER_INDEX);
    valid = header[HEADER_VALID];
    step  = av_int2float(get32(header + HEADER_STEP));
    last  = header[HEADER_VERSION] != 1 && header[HEADER_FLAGS] & LATENT_LAST;
    sum   = get32(header + (header[HEADER_VERSION] == 1 ? HEADER_1_CHECKSUM : HEADER_CHECKSUM));

    /* For muxers with a constant rate, ffmpeg repeats frames where the latents have gaps. Clips of one frame, joined, are
     * no such repetitions. */
    if (s->read && sum == s->last_checksum && index + 1 == s->latent_index &&
        (index || (header[HEADER_VERSION] != 1 && !last))) {
        av_log(ctx, AV_LOG_DEBUG, "Latent %"PRIu32" once more: left out.\n", index);
        note_container_end(ctx, frame);
        return 0;
    }
    goes_on = !s->read || (index >= s->latent_index && index && !s->clip_ended);
    new_run = !s->read || index != s->latent_index || !index || s->clip_ended;
    s->last_checksum = sum;
    s->read++;
    if (new_run) {
        if (index)
            av_log(ctx, AV_LOG_WARNING, "Latent %"PRIu32" without those before it: "
                   "the first pictures after a seek or cut %s approximate.\n", index,
                   s->model_info.temporal_compression > 1 ? "are" : "may be");
        if ((ret = start_clip(ctx)) < 0)
            return ret;
    }
    /* The first latent that a decoder gets stands for one frame, the last of its group. */
    first = s->frame_count ? 0 : valid - 1;
    s->latent_index  = index + 1;
    s->frame_count  += valid - first;
    place_in_time(ctx, frame, header, first, new_run, goes_on, times, durations);
    note_container_end(ctx, frame);
    for (int i = first; i < valid; i++)
        if ((ret = push_properties(s, frame, times[i], durations[i])) < 0)
            return ret;
    /* A short group is the last of its clip. */
    if (index && valid < header[HEADER_GROUP]) {
        wfvae_status status = wfvae_set_frame_count(s->stream, s->frame_count);
        if (status)
            return fail(ctx, status);
        last = 1;
    }
    s->clip_ended = last;

    latent = s->latents;
    for (int c = 0; c < s->info.latent_channels; c++) {
        for (int y = 0; y < s->info.latent_height; y++) {
            const uint16_t *row = tile_row(s, frame, c, y);
            for (int x = 0; x < s->info.latent_width; x++)
                *latent++ = (row[x] - header[HEADER_OFFSET]) * step;
        }
    }
    return decode(ctx, s->latents, 1, 0);
}

/* The end of the input: outputs the last frames, if there were any. */
static int flush_decoder(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;

    if (!s->read && s->unreadable && s->eof_status == AVERROR_EOF) {
        av_log(ctx, AV_LOG_ERROR, "No latent frame could be read.\n");
        return AVERROR_INVALIDDATA;
    }
    if (s->end != AV_NOPTS_VALUE)
        s->eof_pts = s->end;
    else if (s->eof_pts != AV_NOPTS_VALUE)
        s->eof_pts = av_rescale_q(s->eof_pts, ctx->inputs[0]->time_base, ctx->outputs[0]->time_base);
    return decode(ctx, NULL, 0, 1);
}

static int decode_batch(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;
    int ret = 0;

    for (int i = 0; i < s->nb_batch; i++) {
        if (ret >= 0)
            ret = decode_latent_frame(ctx, s->batch[i]);
        av_frame_free(&s->batch[i]);
    }
    s->nb_batch = 0;
    return ret;
}

/* Letters L and H, 5x7, one bit per pixel from the left. */
static const uint8_t glyphs[2][7] = {
    { 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x1f },
    { 0x11, 0x11, 0x11, 0x1f, 0x11, 0x11, 0x11 },
};

/* Low or high: in time, height and width, in this order, or only in the last two. */
static void draw_label(AVFrame *frame, int band, int nb_axes, int left, int top)
{
    for (int axis = 0; axis < nb_axes; axis++) {
        const uint8_t *glyph = glyphs[band >> (nb_axes - 1 - axis) & 1];
        for (int y = -1; y < 8; y++) {
            for (int x = -1; x < 6; x++) {
                int lit = y >= 0 && y < 7 && x >= 0 && x < 5 && glyph[y] >> (4 - x) & 1;
                int px = left + 3 + 6 * axis + x, py = top + 3 + y;
                if (px < frame->width && py < frame->height)
                    for (int i = 0; i < 3; i++)
                        frame->data[i][py * frame->linesize[i] + px] = lit ? 255 : 0;
            }
        }
    }
}

/* One picture of the eight bands of the 3D Haar transform of two frames, or of
 * the four of the 2D transform of one. */
static int emit_subbands(AVFilterContext *ctx, const AVFrame *a, const AVFrame *b)
{
    AVFilterLink *outlink = ctx->outputs[0];
    WFVAEContext *s       = ctx->priv;
    const AVFrame *in[2]  = { a, b };
    int nb_bands = 4 * s->band_frames;
    int width = outlink->w / 4, height = outlink->h / s->band_frames, ret;
    AVFrame *frame = ff_get_video_buffer(outlink, outlink->w, outlink->h);

    if (!frame)
        return AVERROR(ENOMEM);
    if ((ret = av_frame_copy_props(frame, b)) < 0) {
        av_frame_free(&frame);
        return ret;
    }
    if (a != b)
        FRAME_DURATION(frame) = av_sat_add64(FRAME_DURATION(frame), FRAME_DURATION(a));
    for (int plane = 0; plane < 3; plane++) {
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                int pixel[8];
                for (int tap = 0; tap < nb_bands; tap++) {
                    const AVFrame *f = in[tap >> 2];
                    int py = FFMIN(2 * y + (tap >> 1 & 1), f->height - 1), px = FFMIN(2 * x + (tap & 1), f->width - 1);
                    pixel[tap] = f->data[plane][py * f->linesize[plane] + px];
                }
                for (int band = 0; band < nb_bands; band++) {
                    uint8_t *row = frame->data[plane] + (band / 4 * height + y) * frame->linesize[plane];
                    int sum = 0;
                    for (int tap = 0; tap < nb_bands; tap++)
                        sum += av_parity(band & tap) ? -pixel[tap] : pixel[tap];
                    /* The low-pass band as a picture. Detail is small and shown around gray. */
                    row[band % 4 * width + x] = band ? av_clip_uint8(128 + sum / 2) : (sum + nb_bands / 2) / nb_bands;
                }
            }
        }
    }
    for (int band = 0; band < nb_bands; band++)
        draw_label(frame, band, s->band_frames + 1, band % 4 * width, band / 4 * height);
    return push(s->ready, frame);
}

/* The first frame is a pair of its own, as in the network; later ones come in
 * twos. To an image model all are the first. */
static int subbands_batch(AVFilterContext *ctx, int flush)
{
    WFVAEContext *s = ctx->priv;
    int ret = 0;

    if (s->nb_batch && (s->nb_batch == s->band_frames || flush || !s->frame_count)) {
        ret = emit_subbands(ctx, s->batch[0], s->batch[s->nb_batch - 1]);
        s->frame_count += s->nb_batch;
        while (s->nb_batch)
            av_frame_free(&s->batch[--s->nb_batch]);
    }
    return ret;
}

static int batch_size(const WFVAEContext *s)
{
    switch (s->mode) {
    case MODE_SUBBANDS: return s->frame_count ? s->band_frames : 1;
    case MODE_DECODE:   return 1;
    default:            return s->chunk;
    }
}

static int run_batch(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;

    switch (s->mode) {
    case MODE_SUBBANDS: return subbands_batch(ctx, 0);
    case MODE_DECODE:   return decode_batch(ctx);
    default:            return encode_batch(ctx);
    }
}

static int run_flush(AVFilterContext *ctx)
{
    WFVAEContext *s = ctx->priv;

    switch (s->mode) {
    case MODE_SUBBANDS: return subbands_batch(ctx, 1);
    case MODE_DECODE:   return flush_decoder(ctx);
    default:            return flush_encoder(ctx);
    }
}

/* Warns once about what the results cannot show. */
static void warn_of(AVFilterContext *ctx, const AVFrame *frame)
{
    WFVAEContext *s = ctx->priv;

    if (s->mode == MODE_DECODE)
        return;
    if (INTERLACED(frame) && !s->interlaced_warned++)
        av_log(ctx, AV_LOG_WARNING, "Interlaced frames: the model takes both fields for one picture and blurs motion. "
               "Deinterlace them first, with bwdif for example.\n");
    if ((s->mode != MODE_ROUNDTRIP || s->device_ref) && has_alpha(s->sw_format) && !s->alpha_warned++)
        av_log(ctx, AV_LOG_WARNING, "Alpha is dropped: %s.\n",
               s->mode == MODE_ENCODE    ? "latents do not hold it" :
               s->mode == MODE_ROUNDTRIP ? "frames in a CUDA device's memory come out opaque" :
                                           "sub-bands are shown without it");
}

/* A frame in a device's memory has a context of its own, which need not be the link's. */
static int check_memory(AVFilterContext *ctx, const AVFrame *frame)
{
    WFVAEContext *s = ctx->priv;
    const AVHWFramesContext *frames;

    if (!s->device_ref)
        return 0;
    frames = frame->hw_frames_ctx ? (const AVHWFramesContext *)frame->hw_frames_ctx->data : NULL;
    if (!frames || frames->sw_format != s->sw_format || frames->device_ref->data != s->device_ref->data) {
        av_log(ctx, AV_LOG_ERROR, "Frames in the memory of the CUDA device changed their device or format in the middle.\n");
        return AVERROR(EINVAL);
    }
    return 0;
}

static int activate(AVFilterContext *ctx)
{
    AVFilterLink *inlink  = ctx->inputs[0];
    AVFilterLink *outlink = ctx->outputs[0];
    WFVAEContext *s       = ctx->priv;
    AVFrame *frame;
    int ret;

    FF_FILTER_FORWARD_STATUS_BACK(outlink, inlink);

    if (av_fifo_read(s->ready, &frame, 1) >= 0) {
        if (av_fifo_can_read(s->ready) || s->eof)
            ff_filter_set_ready(ctx, 100);
        return ff_filter_frame(outlink, frame);
    }
    if (s->eof) {
        ff_outlink_set_status(outlink, s->eof_status, s->eof_pts);
        return 0;
    }

    while (s->nb_batch < batch_size(s)) {
        ret = ff_inlink_consume_frame(inlink, &frame);
        if (ret < 0)
            return ret;
        if (!ret)
            break;
        if (s->mode != MODE_DECODE &&
            (frame->width != s->in_width || frame->height != s->in_height || frame->format != s->in_format)) {
            av_log(ctx, AV_LOG_ERROR, "Size or format of frames changed in the middle, from %dx%d to %dx%d.\n",
                   s->in_width, s->in_height, frame->width, frame->height);
            av_frame_free(&frame);
            return AVERROR(EINVAL);
        }
        if ((ret = check_memory(ctx, frame)) < 0) {
            av_frame_free(&frame);
            return ret;
        }
        warn_of(ctx, frame);
        s->batch[s->nb_batch++] = frame;
    }
    if (s->nb_batch == batch_size(s)) {
        if ((ret = run_batch(ctx)) < 0)
            return ret;
        ff_filter_set_ready(ctx, 100);
        return 0;
    }
    if (ff_inlink_acknowledge_status(inlink, &s->eof_status, &s->eof_pts)) {
        s->eof = 1;
        if ((ret = run_flush(ctx)) < 0)
            return ret;
        ff_filter_set_ready(ctx, 100);
        return 0;
    }
    FF_FILTER_FORWARD_WANTED(outlink, inlink);

    return FFERROR_NOT_READY;
}

#define OFFSET(x) offsetof(WFVAEContext, x)
#define FLAGS AV_OPT_FLAG_FILTERING_PARAM | AV_OPT_FLAG_VIDEO_PARAM
static const AVOption wfvae_options_table[] = {
    { "model",     "set checkpoint folder or file; the default is built in", OFFSET(model_path), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, FLAGS },
    { "mode",      "set what to do", OFFSET(mode), AV_OPT_TYPE_INT, { .i64 = MODE_ROUNDTRIP }, 0, MODE_SUBBANDS, FLAGS, "mode" },
    {   "roundtrip", "encode and decode",                       0, AV_OPT_TYPE_CONST, { .i64 = MODE_ROUNDTRIP }, 0, 0, FLAGS, "mode" },
    {   "encode",    "video to latents, as gray16 video",       0, AV_OPT_TYPE_CONST, { .i64 = MODE_ENCODE },    0, 0, FLAGS, "mode" },
    {   "decode",    "latents to video",                        0, AV_OPT_TYPE_CONST, { .i64 = MODE_DECODE },    0, 0, FLAGS, "mode" },
    {   "subbands",  "show the bands of the wavelet transform", 0, AV_OPT_TYPE_CONST, { .i64 = MODE_SUBBANDS },  0, 0, FLAGS, "mode" },
    { "provider",  "set where the network runs", OFFSET(provider), AV_OPT_TYPE_INT, { .i64 = WFVAE_PROVIDER_AUTO }, 0, WFVAE_PROVIDER_CUDA, FLAGS, "provider" },
    {   "auto",      "the best there is", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_PROVIDER_AUTO }, 0, 0, FLAGS, "provider" },
    {   "cpu",       "the CPU",           0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_PROVIDER_CPU },  0, 0, FLAGS, "provider" },
    {   "cuda",      "a CUDA device, where libwfvae can", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_PROVIDER_CUDA }, 0, 0, FLAGS, "provider" },
    { "device",    "set device index of the provider, -1 for that of frames on a device, else 0", OFFSET(device), AV_OPT_TYPE_INT, { .i64 = -1 }, -1, 255, FLAGS },
    { "precision", "set number type that the network computes in", OFFSET(precision), AV_OPT_TYPE_INT, { .i64 = WFVAE_PRECISION_F32 }, 0, WFVAE_PRECISION_BF16, FLAGS, "precision" },
    {   "f32",       "single precision", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_PRECISION_F32 }, 0, 0, FLAGS, "precision" },
    {   "tf32",      "single precision with shorter factors, CUDA only", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_PRECISION_TF32 }, 0, 0, FLAGS, "precision" },
    {   "f16",       "half precision", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_PRECISION_F16 }, 0, 0, FLAGS, "precision" },
    {   "bf16",      "bfloat16, CUDA or a CPU with a matrix unit", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_PRECISION_BF16 }, 0, 0, FLAGS, "precision" },
    { "convolution", "set how convolutions are computed", OFFSET(convolution), AV_OPT_TYPE_INT, { .i64 = WFVAE_CONVOLUTION_EXACT }, 0, WFVAE_CONVOLUTION_VOLUME, FLAGS, "convolution" },
    {   "exact",     "fastest with the reference's results", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_CONVOLUTION_EXACT }, 0, 0, FLAGS, "convolution" },
    {   "fast",      "fastest", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_CONVOLUTION_FAST }, 0, 0, FLAGS, "convolution" },
    {   "direct",    "by ONNX Runtime, three added", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_CONVOLUTION_DIRECT }, 0, 0, FLAGS, "convolution" },
    {   "stacked",   "by ONNX Runtime, three frames as channels", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_CONVOLUTION_STACKED }, 0, 0, FLAGS, "convolution" },
    {   "volume",    "by ONNX Runtime, in three dimensions", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_CONVOLUTION_VOLUME }, 0, 0, FLAGS, "convolution" },
    { "layout", "set layout of frames between the network's layers", OFFSET(layout), AV_OPT_TYPE_INT, { .i64 = WFVAE_LAYOUT_AUTO }, 0, WFVAE_LAYOUT_CHANNELS_LAST, FLAGS, "layout" },
    {   "auto",      "what is best", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_LAYOUT_AUTO }, 0, 0, FLAGS, "layout" },
    {   "planes",    "a plane for each channel", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_LAYOUT_PLANES }, 0, 0, FLAGS, "layout" },
    {   "channels-last", "a pixel's channels side by side", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_LAYOUT_CHANNELS_LAST }, 0, 0, FLAGS, "layout" },
    { "n_threads", "set threads, 0 for one per CPU", OFFSET(n_threads), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, 1024, FLAGS },
    { "cache",     "set precision of the causal caches", OFFSET(cache), AV_OPT_TYPE_INT, { .i64 = WFVAE_CACHE_TYPE_F32 }, 0, WFVAE_CACHE_TYPE_F16, FLAGS, "cache" },
    {   "f32",       "single precision", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_CACHE_TYPE_F32 }, 0, 0, FLAGS, "cache" },
    {   "f16",       "half precision, half the memory", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_CACHE_TYPE_F16 }, 0, 0, FLAGS, "cache" },
    { "memory",    "set limit in bytes, 0 for none", OFFSET(memory), AV_OPT_TYPE_INT64, { .i64 = 0 }, 0, INT64_MAX, FLAGS },
    { "tiles",     "set whether large frames are processed in tiles", OFFSET(tiling), AV_OPT_TYPE_INT, { .i64 = WFVAE_TILING_OFF }, 0, WFVAE_TILING_BLENDED, FLAGS, "tiles" },
    {   "off",       "the whole frame at once", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_TILING_OFF }, 0, 0, FLAGS, "tiles" },
    {   "exact",     "the whole frame's results", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_TILING_EXACT }, 0, 0, FLAGS, "tiles" },
    {   "blended",   "one tile fades into the next", 0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_TILING_BLENDED }, 0, 0, FLAGS, "tiles" },
    { "tile",      "set side of tiles in pixels, 0 for the largest that memory allows", OFFSET(tile), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, 32768, FLAGS },
    { "overlap",   "set overlap of blended tiles in pixels, 0 for a quarter of a tile", OFFSET(overlap), AV_OPT_TYPE_INT, { .i64 = 0 }, 0, 32768, FLAGS },
    { "posterior", "set which latent", OFFSET(posterior), AV_OPT_TYPE_INT, { .i64 = WFVAE_POSTERIOR_MEAN }, 0, WFVAE_POSTERIOR_SAMPLE, FLAGS, "posterior" },
    {   "mean",      "the most likely",  0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_POSTERIOR_MEAN },   0, 0, FLAGS, "posterior" },
    {   "sample",    "a random one",     0, AV_OPT_TYPE_CONST, { .i64 = WFVAE_POSTERIOR_SAMPLE }, 0, 0, FLAGS, "posterior" },
    { "seed",      "set seed of the samples", OFFSET(seed), AV_OPT_TYPE_INT64, { .i64 = 0 }, 0, INT64_MAX, FLAGS },
    { "chunk",     "set frames for each call; results do not depend on it", OFFSET(chunk), AV_OPT_TYPE_INT, { .i64 = 4 }, 1, 1024, FLAGS },
    { "step",      "set quantisation step of stored latents", OFFSET(step), AV_OPT_TYPE_FLOAT, { .dbl = 0.02 }, 1e-6, 1e3, FLAGS },
    { "size",      "set size of decoded video, to crop the padding", OFFSET(width), AV_OPT_TYPE_IMAGE_SIZE, { .str = NULL }, 0, 0, FLAGS },
    { "strict",    "end with an error at the first latent that cannot be read", OFFSET(strict), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, FLAGS },
    { "any_encoder", "decode latents of another encoder too", OFFSET(any_encoder), AV_OPT_TYPE_BOOL, { .i64 = 0 }, 0, 1, FLAGS },
    { NULL }
};

static const AVClass wfvae_class = {
    .class_name = "wfvae",
    .item_name  = av_default_item_name,
    .option     = wfvae_options_table,
    .version    = LIBAVUTIL_VERSION_INT,
    .category   = AV_CLASS_CATEGORY_FILTER,
};

static const AVFilterPad wfvae_inputs[] = {
    {
        .name = "default",
        .type = AVMEDIA_TYPE_VIDEO,
    },
};

static const AVFilterPad wfvae_outputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
        .config_props = config_output,
    },
};

/* 8.0 put the public fields into a struct of their own. */
#if LIBAVFILTER_VERSION_MAJOR >= 11
#define PUBLIC(field) .p.field
const FFFilter ff_vf_wfvae = {
#else
#define PUBLIC(field) .field
const AVFilter ff_vf_wfvae = {
#endif
    PUBLIC(name)        = "wfvae",
    PUBLIC(description) = NULL_IF_CONFIG_SMALL("Run video through a WF-VAE video autoencoder."),
    PUBLIC(priv_class)  = &wfvae_class,
    .priv_size          = sizeof(WFVAEContext),
    .init               = init,
    .uninit             = uninit,
    .activate           = activate,
    .flags_internal     = FF_FILTER_FLAG_HWFRAME_AWARE,
    FILTER_INPUTS(wfvae_inputs),
    FILTER_OUTPUTS(wfvae_outputs),
#if NEW_QUERY
    FILTER_QUERY_FUNC2(query_formats),
#else
    FILTER_QUERY_FUNC(query_formats),
#endif
};
