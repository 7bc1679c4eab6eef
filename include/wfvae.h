/* libwfvae: streams video through WF-VAE models (wavelet-driven causal video VAE, arXiv 2411.17459) on ONNX Runtime.
 *
 * A model holds the weights; any number of streams share it. A stream encodes frames to latents and decodes latents to
 * frames. It works on one clip at a time, whose length need not be known. Each call takes any number of frames or
 * latents. The stream keeps the network's causal caches between calls, so output is bit-identical however you split a
 * clip across calls.
 *
 * The first frame gives latent 0. Each further group of temporal_compression frames (mostly 4 or 8; 1 in image
 * models) gives one more latent. Latents are [T, C, h, w], row-major and without gaps. h is height /
 * spatial_compression, rounded up if the stream pads, and w likewise. To get the order of PyTorch, [C, T, h, w], swap
 * the first two axes.
 *
 * The whole loop, from frames to latents and back. All calls report errors in the same way: they return a status other
 * than WFVAE_STATUS_OK, and wfvae_last_error() returns a text.
 *
 *     int reconstruct(read_frame_fn read_frame, write_frame_fn write_frame, void *user, uint32_t width, uint32_t height)
 *     {
 *         wfvae_model *model = NULL;
 *         wfvae_stream *stream = NULL;
 *         wfvae_options options = {0};
 *         wfvae_info info = {0};
 *         wfvae_frame frame = {0}, decoded[8];
 *         size_t latents, frames, i;
 *         void *latent = NULL;
 *         int failed = 1;
 *
 *         options.struct_size = sizeof options;
 *         options.width = width;
 *         options.height = height;
 *         options.padding = 1;
 *         info.struct_size = sizeof info;
 *
 *         if (wfvae_model_open(NULL, NULL, &model)) goto end;           // NULL: the built-in model
 *         if (wfvae_create(model, &options, &stream)) goto end;
 *         if (wfvae_get_info(stream, &info)) goto end;
 *         if (!(latent = malloc(info.encoded_size))) goto end;
 *         prepare(&frame, 1, width, height);                            // struct_size, format, size, planes, strides
 *         prepare(decoded, 8, width, height);                           // one latent gives at most 8 frames
 *
 *         while (read_frame(user, &frame)) {
 *             if (wfvae_encode_chunk(stream, &frame, 1, latent, 1, &latents)) goto end;
 *             if (latents == 0) continue;                               // the frame waits for its group
 *             if (wfvae_decode_chunk(stream, latent, latents, decoded, 8, &frames)) goto end;
 *             for (i = 0; i < frames; i++) write_frame(user, &decoded[i]);
 *         }
 *         // The clip's end. The encoder completes the last group, and the decoder gives what it held back; frames that
 *         // only completed the group are not written.
 *         if (wfvae_get_info(stream, &info)) goto end;
 *         if (wfvae_set_frame_count(stream, info.frames_in)) goto end;
 *         if (wfvae_encode_flush(stream, latent, 1, &latents)) goto end;
 *         if (latents) {
 *             if (wfvae_decode_chunk(stream, latent, latents, decoded, 8, &frames)) goto end;
 *             for (i = 0; i < frames; i++) write_frame(user, &decoded[i]);
 *         }
 *         if (wfvae_decode_flush(stream, decoded, 8, &frames)) goto end;
 *         for (i = 0; i < frames; i++) write_frame(user, &decoded[i]);
 *         failed = 0;                                                   // the next clip: wfvae_reset(stream)
 *     end:
 *         if (failed) fprintf(stderr, "%s\n", wfvae_last_error(NULL));
 *         free(latent);
 *         wfvae_destroy(stream);
 *         wfvae_model_close(model);                                     // in any order
 *         return failed;
 *     }
 *
 * Threads. Any thread may call any function. Several threads may use a model, a snapshot or a latent reader at once. A
 * stream or a latent writer serves one thread at a time; a second call meanwhile returns WFVAE_STATUS_BUSY. One call
 * uses several CPUs, see wfvae_model_options.n_threads.
 *
 * Structs. Each begins with struct_size, and later versions only add fields at the end. Zero-initialise the struct, set
 * struct_size to sizeof, then set the fields that you need. Zero is always the default. Enumerations are passed as
 * uint32_t, so that an unknown value is an error and not undefined behaviour.
 *
 * Results. Handles and results are the last parameters. They are written on success; on failure, handles are set to
 * NULL, counts to 0, and other results stay as they are.
 *
 * Process. The library prints nothing, except Rust's report of a bug in libwfvae itself. It installs no signal
 * handlers, and starts threads only to work on its calls. It must stay loaded after a model was opened, because ONNX
 * Runtime's threads may still run; dlclose and FreeLibrary do not unload it.
 *
 * Strings end with a NUL. Texts are UTF-8. Paths are UTF-8 on Windows, where a path that is not is refused with
 * WFVAE_STATUS_INVALID_ARGUMENT; on other systems they are any bytes.
 *
 * Files and network. The library writes only the files that you ask for, and sends nothing. ONNX Runtime 1.29 and newer
 * has telemetry: a thread, files in the home folder and a connection to its maker (on Windows, events in the system's
 * log). Opening the first model turns that off for the whole process, before it starts and without changing the
 * environment. If that is not possible, a warning is logged. Telemetry stays as it is if the program has set
 * ORT_DISABLE_TELEMETRY, or has created an environment of ONNX Runtime itself before it opens a model.
 *
 * fork(), which Windows lacks. A child inherits its parent's handles, but not the threads behind them. In a child:
 * - Closing and destroying inherited handles returns at once and takes nothing from the parent. A latent file that the
 *   parent is writing stays the parent's.
 * - Snapshots and latent readers still work, and so do wfvae_model_get_info(), wfvae_latents_for_frames() and
 *   wfvae_frames_for_latents().
 * - All other calls with an inherited model, stream or latent writer return WFVAE_STATUS_FORKED. The functions' lists
 *   of statuses leave it out.
 * - The child may open models of its own, unless another thread of the parent was opening a model or creating a stream
 *   at the fork. Then wfvae_model_open() returns WFVAE_STATUS_FORKED.
 * The library has no exit handlers. Other libraries may have some that were made for the parent, so a child that does
 * not exec should end with _exit(). A child of vfork() must not call the library.
 *
 * Floating-point mode. The calling thread's mode (rounding, denormals, traps, exception flags) does not affect results,
 * and calls leave it unchanged.
 *
 * Signal stacks. On a CPU with a matrix unit (Intel AMX), opening the first model asks Linux for the right to use the
 * unit's registers; ONNX Runtime asks, too. From then on sigaltstack() refuses a stack of less than
 * sysconf(_SC_MINSIGSTKSZ) bytes, about 12 kB. If a thread has a smaller one already, the right is refused: float32 is
 * then computed without the unit, which a debug message says, and WFVAE_PRECISION_BF16 needs a CUDA device.
 *
 * Resources. If memory, address space or threads run out, a call fails with a text that says so, and the process
 * continues. The library cannot control what ONNX Runtime does if a small allocation of its own fails. A thread that
 * calls the library needs 256 KiB of stack, and the system's default for new threads (ulimit -s) must be at least that.
 *
 * This file is generated by cbindgen. SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef WFVAE_H
#define WFVAE_H

#include <stddef.h>
#include <stdint.h>

/// Windows only: how functions are declared. Define WFVAE_STATIC before you include this header if you link the static
/// library.
#if defined(_WIN32) && !defined(WFVAE_STATIC)
#define WFVAE_API __declspec(dllimport)
#else
#define WFVAE_API
#endif

/// Increases when functions, fields or values are added. Programs built for a lower version keep working.
#define WFVAE_API_VERSION 1

/// Major version of this header's release.
#define WFVAE_VERSION_MAJOR 0

/// Minor version of this header's release.
#define WFVAE_VERSION_MINOR 1

/// Patch version of this header's release.
#define WFVAE_VERSION_PATCH 0

/// What a call returns. Values never change their meaning. Treat a value that you do not know as a failure.
///
/// "Nothing was consumed" means that the stream, or writer, is as it was before the call.
typedef enum wfvae_status {
  /// Success.
  WFVAE_STATUS_OK = 0,
  /// An argument is outside its documented range. Nothing was consumed.
  WFVAE_STATUS_INVALID_ARGUMENT = 100,
  /// The model or the stream does not support this width or height. Nothing was consumed.
  WFVAE_STATUS_INVALID_SIZE = 101,
  /// The output buffer is too small. The error text says how much is needed. Nothing was consumed.
  WFVAE_STATUS_CAPACITY = 102,
  /// The call is out of order, for example a chunk after the flush. Nothing was consumed.
  WFVAE_STATUS_INVALID_STATE = 103,
  /// Another thread is inside a call on the same stream. Nothing was consumed. Sets the calling thread's error text
  /// only, not the stream's.
  WFVAE_STATUS_BUSY = 104,
  /// An earlier call on this stream failed: call wfvae_reset() first. Nothing was consumed.
  WFVAE_STATUS_NEEDS_RESET = 105,
  /// The model, stream or latent writer belongs to the parent of this forked process: open the model in this process.
  /// Or the parent forked while another thread was opening a model or creating a stream, in which case this process
  /// cannot open models at all. Nothing was consumed. Sets the calling thread's error text only, not the stream's.
  WFVAE_STATUS_FORKED = 106,
  /// A file or folder could not be read or written.
  WFVAE_STATUS_IO = 200,
  /// config.json is malformed, or holds a value that no WF-VAE has.
  WFVAE_STATUS_CONFIG = 201,
  /// The weights are damaged or incomplete, or do not match config.json.
  WFVAE_STATUS_CHECKPOINT = 202,
  /// The model is valid, but of a kind that this version does not support.
  WFVAE_STATUS_UNSUPPORTED_MODEL = 203,
  /// A latent file is damaged, is of another format or version, or does not match the model or stream.
  WFVAE_STATUS_LATENT_FILE = 204,
  /// ONNX Runtime was not found or cannot be loaded.
  WFVAE_STATUS_RUNTIME_MISSING = 300,
  /// The ONNX Runtime that was found is too old.
  WFVAE_STATUS_RUNTIME_TOO_OLD = 301,
  /// The requested execution provider cannot run here.
  WFVAE_STATUS_PROVIDER = 302,
  /// ONNX Runtime failed to load or to run a graph. A stream needs wfvae_reset() afterwards.
  WFVAE_STATUS_RUNTIME = 303,
  /// A NaN, an infinity, or a value too large for float16. The error text says where. If it is in the input (frames,
  /// latents, a latent file or a snapshot), nothing was consumed, and the call may be repeated with other input. If
  /// it is in the network's output, the stream needs wfvae_reset() afterwards. wfvae_info.needs_reset tells which.
  WFVAE_STATUS_NOT_FINITE = 304,
  /// The call was cancelled by wfvae_cancel(). The stream needs wfvae_reset() afterwards.
  WFVAE_STATUS_CANCELLED = 400,
  /// Memory could not be allocated. wfvae_info.needs_reset tells whether an existing stream needs wfvae_reset().
  WFVAE_STATUS_OUT_OF_MEMORY = 401,
  /// A bug in libwfvae: please report it with the error text. Any call may return it, so the functions' lists of
  /// statuses leave it out. A stream needs wfvae_reset() afterwards.
  WFVAE_STATUS_INTERNAL = 900,
} wfvae_status;

/// How the pixels of a frame are stored.
///
/// Elements are in native byte order. Integers of RGB and alpha are full range: 0 is black, the largest value is white.
/// On output, integers are rounded to nearest and clamped; floats are not. Input is never clamped. Alpha is ignored on
/// input and opaque on output, unless wfvae_options.alpha is set. Chroma planes with fewer samples than pixels have
/// width and height rounded up.
///
/// With wfvae_frame.pixel_steps these cover further formats. For example, ABGR8 in memory p is WFVAE_PIXEL_FORMAT_RGBP8
/// with planes p + 3, p + 2, p + 1 and p, and steps of 4; NV21 is WFVAE_PIXEL_FORMAT_YUV420P8 with planes y, vu + 1 and
/// vu, and steps of 1, 2 and 2.
typedef enum wfvae_pixel_format {
  /// 1 plane, 3 bytes per pixel: R, G, B.
  WFVAE_PIXEL_FORMAT_RGB8 = 1,
  /// 1 plane, 4 bytes per pixel: R, G, B, A.
  WFVAE_PIXEL_FORMAT_RGBA8 = 2,
  /// 3 planes of bytes: R, G, B.
  WFVAE_PIXEL_FORMAT_RGBP8 = 3,
  /// 3 planes of bytes: G, B, R. FFmpeg's AV_PIX_FMT_GBRP.
  WFVAE_PIXEL_FORMAT_GBRP8 = 4,
  /// 3 planes of uint16_t: R, G, B; see wfvae_frame.bit_depth.
  WFVAE_PIXEL_FORMAT_RGBP16 = 5,
  /// 3 planes of uint16_t: G, B, R; see wfvae_frame.bit_depth. AV_PIX_FMT_GBRP10, ..12, ..14, ..16.
  WFVAE_PIXEL_FORMAT_GBRP16 = 6,
  /// 3 planes of float: R, G, B; see wfvae_frame.range.
  WFVAE_PIXEL_FORMAT_RGBP_F32 = 7,
  /// 3 planes of float: G, B, R; see wfvae_frame.range. AV_PIX_FMT_GBRPF32 with WFVAE_RANGE_UNIT.
  WFVAE_PIXEL_FORMAT_GBRP_F32 = 8,
  /// 1 plane, 3 bytes per pixel: B, G, R.
  WFVAE_PIXEL_FORMAT_BGR8 = 9,
  /// 1 plane, 4 bytes per pixel: B, G, R, A.
  WFVAE_PIXEL_FORMAT_BGRA8 = 10,
  /// 1 plane, 3 uint16_t per pixel: R, G, B; see wfvae_frame.bit_depth.
  WFVAE_PIXEL_FORMAT_RGB16 = 11,
  /// 1 plane, 4 uint16_t per pixel: R, G, B, A; see wfvae_frame.bit_depth.
  WFVAE_PIXEL_FORMAT_RGBA16 = 12,
  /// 1 plane, 3 float16 (IEEE half) per pixel: R, G, B; see wfvae_frame.range.
  WFVAE_PIXEL_FORMAT_RGB_F16 = 13,
  /// 1 plane, 4 float16 per pixel: R, G, B, A; see wfvae_frame.range.
  WFVAE_PIXEL_FORMAT_RGBA_F16 = 14,
  /// 1 plane, 3 floats per pixel: R, G, B; see wfvae_frame.range.
  WFVAE_PIXEL_FORMAT_RGB_F32 = 15,
  /// 1 plane, 4 floats per pixel: R, G, B, A; see wfvae_frame.range.
  WFVAE_PIXEL_FORMAT_RGBA_F32 = 16,
  /// 3 planes of float16: R, G, B; see wfvae_frame.range.
  WFVAE_PIXEL_FORMAT_RGBP_F16 = 17,
  /// 3 planes of bfloat16: R, G, B; see wfvae_frame.range.
  WFVAE_PIXEL_FORMAT_RGBP_BF16 = 18,
  /// 1 plane of bytes: luma, of which R = G = B on input.
  WFVAE_PIXEL_FORMAT_GRAY8 = 19,
  /// 1 plane of uint16_t: luma; see wfvae_frame.bit_depth.
  WFVAE_PIXEL_FORMAT_GRAY16 = 20,
  /// 3 planes of bytes: Y, Cb, Cr; Cb and Cr of half the width and height. I420; AV_PIX_FMT_YUV420P.
  WFVAE_PIXEL_FORMAT_YUV420P8 = 21,
  /// The same in uint16_t; see wfvae_frame.bit_depth. AV_PIX_FMT_YUV420P10, ..12, ..14, ..16.
  WFVAE_PIXEL_FORMAT_YUV420P16 = 22,
  /// 3 planes of bytes: Y, Cb, Cr; Cb and Cr of half the width. AV_PIX_FMT_YUV422P.
  WFVAE_PIXEL_FORMAT_YUV422P8 = 23,
  /// The same in uint16_t; see wfvae_frame.bit_depth.
  WFVAE_PIXEL_FORMAT_YUV422P16 = 24,
  /// 3 planes of bytes: Y, Cb, Cr, all of the frame's size. AV_PIX_FMT_YUV444P.
  WFVAE_PIXEL_FORMAT_YUV444P8 = 25,
  /// The same in uint16_t; see wfvae_frame.bit_depth.
  WFVAE_PIXEL_FORMAT_YUV444P16 = 26,
  /// 3 planes of bytes: Y, Cb, Cr; Cb and Cr of a quarter of the width. AV_PIX_FMT_YUV411P.
  WFVAE_PIXEL_FORMAT_YUV411P8 = 27,
  /// 2 planes of bytes: Y, and pairs Cb, Cr of half the width and height.
  WFVAE_PIXEL_FORMAT_NV12 = 28,
  /// The same in uint16_t, whose high bits hold the code: 10, or as wfvae_frame.bit_depth says (P012, P016).
  WFVAE_PIXEL_FORMAT_P010 = 29,
} wfvae_pixel_format;

/// The range of float frames. Alpha is 0 to 1 in either.
typedef enum wfvae_range {
  /// 0 is black, 1 is white.
  WFVAE_RANGE_UNIT = 0,
  /// -1 is black, 1 is white: the network's own range.
  WFVAE_RANGE_SIGNED = 1,
} wfvae_range;

/// How YUV and grey are calculated from RGB.
typedef enum wfvae_matrix {
  /// BT.709 for frames of 720 lines and more, else BT.601.
  WFVAE_MATRIX_AUTO = 0,
  /// BT.601: standard-definition video, JPEG.
  WFVAE_MATRIX_BT601 = 1,
  /// BT.709: high-definition video.
  WFVAE_MATRIX_BT709 = 2,
  /// BT.2020, non-constant luminance: ultra-high-definition and HDR video.
  WFVAE_MATRIX_BT2020 = 3,
} wfvae_matrix;

/// Which codes stand for black and white in YUV and grey. On input, codes beyond them are not clamped.
typedef enum wfvae_yuv_range {
  /// In 8 bits, luma is 16 to 235 and chroma 16 to 240; in n bits, 2^(n-8) times that.
  WFVAE_YUV_RANGE_LIMITED = 0,
  /// Luma uses all codes. Chroma is 2^(n-1) plus or minus half of them.
  WFVAE_YUV_RANGE_FULL = 1,
} wfvae_yuv_range;

/// Where chroma samples lie among the pixels that share them. On input, chroma is interpolated linearly between
/// samples. On output, a sample is a weighted mean of the pixels around it: 1/4, 1/2, 1/4 along an axis on which it
/// lies on a pixel, 1/2, 1/2 where it lies between two. Pixels and samples beyond the frame's edge equal those on it.
typedef enum wfvae_siting {
  /// On the left column; where chroma has fewer rows, between the rows: MPEG-2, H.264.
  WFVAE_SITING_LEFT = 0,
  /// In the middle: JPEG, MPEG-1. Not with WFVAE_PIXEL_FORMAT_YUV411P8.
  WFVAE_SITING_CENTRE = 1,
  /// On the left column; where chroma has fewer rows, on the upper row: most BT.2020 video.
  WFVAE_SITING_TOP_LEFT = 2,
} wfvae_siting;

/// Where the network runs.
typedef enum wfvae_provider {
  /// CUDA device 0 if it can be used, otherwise the CPU. wfvae_model_info.fallback then says what CUDA lacks.
  /// wfvae_model_get_info() says what was chosen and why.
  WFVAE_PROVIDER_AUTO = 0,
  /// The CPU.
  WFVAE_PROVIDER_CPU = 1,
  /// A CUDA device. Needs the ONNX Runtime of the package onnxruntime-gpu. If it cannot be used, opening the model
  /// fails with WFVAE_STATUS_PROVIDER and a text that names what is missing. Streams keep their causal caches and all
  /// intermediate tensors on the device. The caller's frames and latents are in the CPU's memory, or in the device's: see
  /// wfvae_options.frame_memory and .latent_memory.
  WFVAE_PROVIDER_CUDA = 2,
} wfvae_provider;

/// How severe a message is. A log level passes messages of its own severity and of more severe (smaller) ones.
typedef enum wfvae_log_level {
  /// The same as WFVAE_LOG_LEVEL_INFO.
  WFVAE_LOG_LEVEL_DEFAULT = 0,
  /// Something failed. The call's status reports it too.
  WFVAE_LOG_LEVEL_ERROR = 1,
  /// Something is unusual and was worked around.
  WFVAE_LOG_LEVEL_WARN = 2,
  /// What was opened and where it runs.
  WFVAE_LOG_LEVEL_INFO = 3,
  /// Loading times and choices.
  WFVAE_LOG_LEVEL_DEBUG = 4,
  /// Everything, including ONNX Runtime's own details.
  WFVAE_LOG_LEVEL_TRACE = 5,
} wfvae_log_level;

/// How the values of latents are stored.
typedef enum wfvae_latent_type {
  /// float, 4 bytes.
  WFVAE_LATENT_TYPE_F32 = 0,
  /// IEEE half precision, 2 bytes.
  WFVAE_LATENT_TYPE_F16 = 1,
} wfvae_latent_type;

/// Which latent the encoder writes. The network gives a mean and a variance for each value.
typedef enum wfvae_posterior {
  /// The mean, which is also the mode: C channels.
  WFVAE_POSTERIOR_MEAN = 0,
  /// A sample, mean + exp(logvar / 2) * noise: C channels. The noise depends only on the seed (wfvae_options.seed,
  /// wfvae_set_seed()) and the latent's index in the clip.
  WFVAE_POSTERIOR_SAMPLE = 1,
  /// The mean's C channels, then those of the log-variance, clamped to -30..20: 2C channels. Never scaled.
  WFVAE_POSTERIOR_MOMENTS = 2,
} wfvae_posterior;

/// How streams store their causal caches.
typedef enum wfvae_cache_type {
  /// float, as the network computes them: exact.
  WFVAE_CACHE_TYPE_F32 = 0,
  /// IEEE half precision: half the memory. Latents change by up to 1e-3 of their range, frames by up to 3e-3. With
  /// the built-in model, the PSNR of reconstructions changes by at most 0.01 dB.
  WFVAE_CACHE_TYPE_F16 = 1,
} wfvae_cache_type;

/// How 3x3 convolutions are computed, which are nearly all of the work.
typedef enum wfvae_convolution {
  /// The fastest method whose results match the reference's to the rounding of float32: Winograd's algorithm (arXiv
  /// 1509.09308) in tiles of 2x2 pixels, or of 4x4 in layers where their larger rounding errors stay small in the
  /// result.
  WFVAE_CONVOLUTION_EXACT = 0,
  /// Tiles of 4x4 pixels in all layers, which is a few per cent faster. In the golden test cases moments differ from
  /// the reference's by up to 1.6e-5 and frames by up to 3.7e-5. That is mostly within twice the difference of
  /// WFVAE_CONVOLUTION_EXACT, at worst 7 times.
  WFVAE_CONVOLUTION_FAST = 1,
  /// ONNX Runtime's own 2D convolutions. A causal convolution is the sum of three, one for each frame. On the CPU
  /// about half as fast as WFVAE_CONVOLUTION_EXACT. Loading takes three times the memory of the weights for a moment.
  /// In float16 on the CPU the same as WFVAE_CONVOLUTION_STACKED.
  WFVAE_CONVOLUTION_DIRECT = 2,
  /// ONNX Runtime's 2D convolution of the three frames, stacked on their channels. On a CUDA device and in float16,
  /// WFVAE_CONVOLUTION_EXACT and _FAST use this.
  WFVAE_CONVOLUTION_STACKED = 3,
  /// ONNX Runtime's 3D convolution of a clip of three frames.
  WFVAE_CONVOLUTION_VOLUME = 4,
} wfvae_convolution;

/// Directions of a model or a stream. Combine them with |.
typedef enum wfvae_direction {
  /// Encoding, frames to latents.
  WFVAE_DIRECTION_ENCODE = 1,
  /// Decoding, latents to frames.
  WFVAE_DIRECTION_DECODE = 2,
} wfvae_direction;

/// The memory layout of frames between the layers, where convolutions are ONNX Runtime's: on a CUDA device, in
/// float16, and with WFVAE_CONVOLUTION_DIRECT, _STACKED and _VOLUME. Otherwise the layout is fixed: channels-last.
/// Whole clips (whole_clips of wfvae_model_info) are channels-last where convolutions are the library's, else planes;
/// WFVAE_LAYOUT_PLANES computes them by ONNX Runtime's. The results are the same to the rounding of the convolutions.
typedef enum wfvae_layout {
  /// Channels-last on a CUDA device, where that is possible and norms are of pixels (norm_type "layernorm"). Otherwise
  /// planes.
  WFVAE_LAYOUT_AUTO = 0,
  /// One plane per channel. Each norm then transposes its frame twice.
  WFVAE_LAYOUT_PLANES = 1,
  /// The channels of a pixel side by side, which suits tensor cores; norms need not transpose. Only CUDA devices have
  /// such convolutions, in float32, TF32 and float16; with bfloat16 it is WFVAE_STATUS_INVALID_ARGUMENT there. The CPU
  /// transposes around each convolution, which is slower than planes.
  WFVAE_LAYOUT_CHANNELS_LAST = 2,
} wfvae_layout;

/// The type in which one direction of the network computes. The caller's frames and latents do not depend on it.
///
/// Below float32, convolutions, matrix products and causal caches use the narrower type, and weights take half the
/// memory. Residual sums, the statistics of norms, attention scores, wavelets and interpolation stay float32; a CUDA
/// device may compute their products in TF32. Values overflow earlier in float16. In every precision, a result that is
/// not finite is WFVAE_STATUS_NOT_FINITE. Models with whole_clips compute in float32 only.
typedef enum wfvae_precision {
  /// float32 throughout.
  WFVAE_PRECISION_F32 = 0,
  /// float32, but a CUDA device may round the factors of products to 11 bits (TF32). WFVAE_STATUS_INVALID_ARGUMENT
  /// with WFVAE_PROVIDER_CPU. The same as F32 if WFVAE_PROVIDER_AUTO chooses the CPU.
  WFVAE_PRECISION_TF32 = 1,
  /// IEEE half precision. In the golden test cases on the CPU, moments differ from the reference's by up to 2.6e-3 of
  /// their largest value, and frames by up to 4.7e-3 of theirs; on an H100 by 3.1e-3 and 4.7e-3. On the CPU it is
  /// slower than F32, on CUDA devices about ten times as fast.
  WFVAE_PRECISION_F16 = 2,
  /// bfloat16. On the CPU moments differ by up to 0.020, frames by up to 0.057; on an H100 by 0.10 and 0.08. It takes
  /// - a CPU with a matrix unit (Intel AMX: amx_tile and amx_bf16) and Linux on x86-64, where it is faster than F32;
  ///   otherwise wfvae_create() returns WFVAE_STATUS_PROVIDER. There WFVAE_CONVOLUTION_EXACT and _FAST are the same;
  ///   with others, and with WFVAE_LAYOUT_PLANES, wfvae_create() returns WFVAE_STATUS_INVALID_ARGUMENT.
  /// - or a CUDA device, if ONNX Runtime has such convolutions; otherwise wfvae_create() returns WFVAE_STATUS_RUNTIME.
  WFVAE_PRECISION_BF16 = 3,
} wfvae_precision;

/// Whether frames are processed in tiles. Tiles take less working memory but more computation: tiles of size t that
/// overlap by o take (t / (t - o)) squared times the work. In a stream (clip_frames is 0) each tile has its own causal
/// caches, so tiles save only working memory. Models with whole_clips cannot use tiles.
typedef enum wfvae_tiling {
  /// The whole frame at once.
  WFVAE_TILING_OFF = 0,
  /// Tiles that overlap by twice the halo in wfvae_model_info, so that they cover the network's receptive field. The
  /// result equals the whole frame's up to rounding. Only for models without attention.
  WFVAE_TILING_EXACT = 1,
  /// Overlapping tiles with a cross-fade in the overlap. The result differs from the whole frame's. Attention sees
  /// only its own tile.
  WFVAE_TILING_BLENDED = 2,
} wfvae_tiling;

/// Where the caller's frames or latents are.
typedef enum wfvae_memory_kind {
  /// The CPU's memory.
  WFVAE_MEMORY_KIND_CPU = 0,
  /// The memory of the model's CUDA device, as cudaMalloc() and cuMemAlloc() give it in the device's primary context. The
  /// model must run there; on the CPU it is WFVAE_STATUS_INVALID_ARGUMENT. Each call begins, on the device, when all that
  /// was put into wfvae_options.cuda_stream before the call is done; so do other streams' calls on the model that come
  /// later. When a call returns, the library neither reads nor writes the memory any more, and all results are there. The
  /// values are those of WFVAE_MEMORY_KIND_CPU, bit for bit. Pointers to other memory are WFVAE_STATUS_INVALID_ARGUMENT. A
  /// call may make the model's device the thread's current one (cudaSetDevice).
  WFVAE_MEMORY_KIND_CUDA = 1,
} wfvae_memory_kind;

/// Which graphs wfvae_model_save_onnx() writes.
typedef enum wfvae_graphs {
  /// Those that the library runs: encoder.0, ..., decoder.0, ... Each is one step for one frame; causal caches are
  /// inputs and outputs. For a model that takes whole clips, the same as WFVAE_GRAPHS_CLIP.
  WFVAE_GRAPHS_STEPS = 0,
  /// The whole clip in one graph, encoder.clip and decoder.clip, as an ordinary export would have it.
  WFVAE_GRAPHS_CLIP = 1,
} wfvae_graphs;

/// A latent file that is open for reading. Memory does not grow with the clip.
///
/// Thread-safety: safe, except for wfvae_latent_reader_close().
typedef struct wfvae_latent_reader wfvae_latent_reader;

/// A latent file that is being written: safetensors with one tensor, [T, C, h, w], and the metadata that decoding it
/// needs; docs/formats.md lists the keys.
///
/// Latents go to a temporary file in the target's folder, .NAME.wfvae-N.tmp, where N is 0 unless several writers have the
/// same target; there can be 100. wfvae_latent_writer_finish() replaces the target with it. If the process was killed
/// before that, the next writer of the target removes the file. Memory does not grow with the clip.
///
/// Thread-safety: one thread at a time; if another thread is inside a call, a call returns WFVAE_STATUS_BUSY.
typedef struct wfvae_latent_writer wfvae_latent_writer;

/// An open model: a checkpoint that was checked, and the ONNX Runtime sessions that run it.
///
/// Thread-safety: safe. Any number of streams in any threads share one model and its weights.
typedef struct wfvae_model wfvae_model;

/// A stream's state at one point of its clip: causal caches, waiting frames, counters and the frame count, in both
/// directions, and the alpha that it carries.
///
/// A snapshot can be restored to any stream that has the same size, directions, tiles and wfvae_options.alpha, and whose
/// model is the same one, opened with the same cache_type, precision and convolution (exact and fast are
/// interchangeable, and so are stacked and volume). If it was taken at a clip's start, or after its flushes, tiles and
/// the model's options may differ. latent_type, posterior, seed and scaled are not part of it: a restored stream keeps
/// its own.
///
/// Thread-safety: safe; it never changes. Several streams may be restored to one snapshot at the same time.
typedef struct wfvae_snapshot wfvae_snapshot;

/// A stream: the causal caches and counters of one clip at a time. Its two directions, encoding and decoding, are
/// independent of each other.
///
/// Thread-safety: one thread at a time; if another thread is inside a call, a call returns WFVAE_STATUS_BUSY. Only
/// wfvae_cancel() and wfvae_get_progress() may be called at any time. Different streams of one model may run at the same time.
typedef struct wfvae_stream wfvae_stream;

/// Receives log messages. level is a wfvae_log_level; text is UTF-8 without a line end, and valid during the call only.
///
/// Thread-safety: called from any thread that is inside a call on the model or its streams, possibly from several at
/// once; at WFVAE_LOG_LEVEL_TRACE also from ONNX Runtime's threads. It runs in the default floating-point mode,
/// whatever the calling thread's is. It must not call this library and must not throw.
typedef void (*wfvae_log_callback)(void *user, uint32_t level, const char *text);

/// How to open a model. Zero-initialise the struct, set struct_size, then set the fields that you need.
typedef struct wfvae_model_options {
  /// sizeof(wfvae_model_options).
  size_t struct_size;
  /// Path of the ONNX Runtime library (libonnxruntime.so or onnxruntime.dll, 1.19 or newer), or a name without a folder,
  /// which is searched for on the loader's search path. NULL: the first of these
  /// that exists: the environment variables WFVAE_ONNXRUNTIME and ORT_DYLIB_PATH, a library that the process has
  /// already loaded, libonnxruntime.so.1, libonnxruntime.so or the newest libonnxruntime.so.VERSION (on Windows
  /// onnxruntime.dll) in the folder of libwfvae, the loader's search path (on Windows the program's folder, PATH, the
  /// system's folder). If there is none, the error text says what was found at each step. docs/onnxruntime.md
  /// says more. A process uses one runtime; asking for another one later is WFVAE_STATUS_INVALID_STATE.
  const char *runtime_path;
  /// A wfvae_provider. If it is not WFVAE_PROVIDER_AUTO and cannot run, that is an error, never a silent fallback.
  uint32_t provider;
  /// Device index of the provider. Must be 0 for WFVAE_PROVIDER_AUTO and _CPU.
  uint32_t device;
  /// Threads that work on one call, up to 1024; 0: one for each CPU that the process may use. They sleep between
  /// calls. Each session (wfvae_model_info.sessions) has n_threads - 1 of its own. The first stream of a direction
  /// briefly starts up to twice as many, to find out whether the system allows them. A call on large frames briefly
  /// starts up to three of them again, but not more than n_threads - 1, to check and convert the frames.
  uint32_t n_threads;
  /// 1: read all weights now, and refuse and name those that hold a NaN or an infinity. 0: weights are not checked;
  /// the first result that is not finite is WFVAE_STATUS_NOT_FINITE.
  uint32_t check_finite;
  /// NULL: no messages. The library never prints any.
  wfvae_log_callback log_callback;
  /// Passed to log_callback. Must stay valid as long as the model and its streams, and until each call on them has
  /// returned.
  void *log_user;
  /// A wfvae_log_level.
  uint32_t log_level;
  /// A wfvae_cache_type, for all streams of the model, where they compute in float32.
  uint32_t cache_type;
  /// Maximum bytes of the attention score matrix; queries are processed in blocks to fit. 0: 64 MiB. Does not change
  /// the results. No effect where the CPU computes in bfloat16, as scores take little memory there.
  uint64_t attention_bytes;
  /// A wfvae_convolution. Models with group norm over the clip ("groupnorm") always use direct convolutions.
  uint32_t convolution;
  /// A wfvae_layout.
  uint32_t layout;
  /// A wfvae_precision, for the encoder.
  uint32_t encode_precision;
  /// A wfvae_precision, for the decoder.
  uint32_t decode_precision;
  /// Options of ONNX Runtime's CUDA provider that replace the library's own choice: "name=value", separated by
  /// commas. NULL or "": none. For tuning and measuring; ONNX Runtime's documentation explains them. The names are
  /// arena_extend_strategy, cudnn_conv_algo_search, cudnn_conv_use_max_workspace, fuse_conv_bias, gpu_mem_limit
  /// (bytes, of each session) and use_tf32; and two of the library's own. wfvae_kernels=0 turns off its kernels between
  /// channels-last convolutions and for frames; ONNX Runtime's then run, and the CPU converts frames. wfvae_graphs=1 turns
  /// on CUDA graphs: runs that come again are recorded, and later ones launched by one call, which makes small frames up to
  /// twice as fast. While a run is recorded, for milliseconds in a stream's first calls, no other code in the process may
  /// wait for the whole device (cudaDeviceSynchronize, cuCtxSynchronize): CUDA refuses that with error 900. Models of this
  /// library take care of each other. Any other name, and any option with WFVAE_PROVIDER_CPU, is
  /// WFVAE_STATUS_INVALID_ARGUMENT; a wrong value is WFVAE_STATUS_RUNTIME, or WFVAE_STATUS_INVALID_ARGUMENT for the
  /// library's own. They are not used if WFVAE_PROVIDER_AUTO chooses the CPU.
  const char *provider_options;
  /// Receives the error text of a call that takes these options, cut to error_size bytes with its terminating zero;
  /// an empty text on success. For callers whose calls run in another thread than theirs. NULL: only
  /// wfvae_last_error(NULL) has the text.
  char *error_text;
  /// Bytes at error_text, at least 1; 0 if it is NULL.
  size_t error_size;
} wfvae_model_options;

/// What a model is and what it runs on. Strings stay valid until the process ends, also after the model is closed.
typedef struct wfvae_model_info {
  /// sizeof(wfvae_model_info), set by the caller.
  size_t struct_size;
  /// The folder or file of the checkpoint that was opened, or "the built-in model".
  const char *name;
  /// The execution provider that runs the network: "CPU" or "CUDA".
  const char *provider;
  /// The ONNX Runtime library in use.
  const char *runtime_path;
  /// The version of that library.
  const char *runtime_version;
  /// Trainable parameters in the checkpoint.
  uint64_t parameters;
  /// Identifies the model: a hash of samples of the weights as they are stored, and of the interpolation. The same on
  /// every machine and in every release. A copy of the weights in another precision has another identity.
  uint64_t identity;
  /// Bytes of the weights loaded so far, in the type in which the network computes.
  uint64_t weight_bytes;
  /// ONNX Runtime sessions loaded so far. No two of them hold the same weights.
  uint32_t sessions;
  /// 1: WFVAEModel, 2: WFVAE2Model, 3: CausalVAEModel.
  uint32_t generation;
  /// C of the latents.
  uint32_t latent_channels;
  /// Pixels per latent value, horizontally and vertically.
  uint32_t spatial_compression;
  /// Frames per latent, after the first.
  uint32_t temporal_compression;
  /// The most frames that wait in the encoder for the rest of their group: temporal_compression - 1.
  uint32_t encode_delay;
  /// Frames that the decoder holds back until the next latent or the flush.
  uint32_t decode_delay;
  /// 1: the network has attention, whose time grows with the square of a frame's area.
  uint32_t has_attention;
  /// 1: config.json has usable lists scale and shift; see wfvae_options.scaled.
  uint32_t has_scaling;
  /// 1: norms or attention span the whole clip, as with norm_type "groupnorm". Such a model cannot stream: each encode
  /// call and, if decode_whole_clips is set, each decode call takes one whole clip and ends it; call wfvae_reset()
  /// before the next clip. A clip that is encoded has 1 + n * temporal_compression frames, unless
  /// wfvae_options.padding is set.
  uint32_t whole_clips;
  /// Pixels of context that an exact encoder tile needs on each side, a multiple of spatial_compression. 0: the
  /// receptive field is the whole frame, so exact tiles are impossible.
  uint32_t encode_halo;
  /// The same for the decoder.
  uint32_t decode_halo;
  /// Why WFVAE_PROVIDER_AUTO chose the CPU; otherwise empty.
  const char *fallback;
  /// Bytes that the model's streams hold on its device, without weights and working memory; 0 on the CPU.
  uint64_t device_bytes;
  /// Index of the provider's device; 0 for the CPU.
  uint32_t device;
  /// The wfvae_precision in which the encoder computes.
  uint32_t encode_precision;
  /// The wfvae_precision in which the decoder computes.
  uint32_t decode_precision;
  /// WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE or both: what streams of the model can do. A checkpoint may hold
  /// only the encoder or only the decoder.
  uint32_t directions;
  /// Identifies the model's encoder, and thereby its latents: a hash of samples of the encoder's weights, by value,
  /// whatever type they are stored in. The same on every machine and in every release; 0 if the checkpoint holds no
  /// encoder.
  uint64_t encoder_identity;
  /// The same for the decoder and the interpolation.
  uint64_t decoder_identity;
  /// 1: decoding takes whole clips. 0: latents are decoded in any number of calls, even if whole_clips is set.
  uint32_t decode_whole_clips;
  /// 0.
  uint32_t reserved;
} wfvae_model_info;

/// One picture in the caller's memory, read by encode calls and written by decode calls.
///
/// Zero-initialise the struct, set struct_size, then set the fields that you need. The library uses the memory during
/// the call only. Rows of a plane must not overlap: each stride must be at least a row's bytes or, in a transposed
/// picture, each pixel step at least a column's. Memory that a call writes, of frames or of latents, must not overlap
/// other memory that it reads or writes; it may hold anything before.
typedef struct wfvae_frame {
  /// sizeof(wfvae_frame), the same in all elements of an array.
  size_t struct_size;
  /// A wfvae_pixel_format.
  uint32_t format;
  /// Width in pixels; must be the stream's.
  uint32_t width;
  /// Height in pixels; must be the stream's.
  uint32_t height;
  /// Significant bits of the 16-bit formats, 9 to 16; 0 means 16, of WFVAE_PIXEL_FORMAT_P010 10. They are the low
  /// bits, of WFVAE_PIXEL_FORMAT_P010 the high ones. Must be 0 for other formats.
  uint32_t bit_depth;
  /// A wfvae_range for the float formats. Must be 0 for other formats.
  uint32_t range;
  /// A wfvae_matrix for YUV and grey formats. Must be 0 for other formats.
  uint32_t matrix;
  /// The first element of the first row of each plane, aligned to the size of an element. planes[3] of YUV, grey and
  /// planar RGB formats is alpha: a plane of the frame's full size with the same elements as the others; NULL: none.
  /// Unused planes are ignored.
  void *planes[4];
  /// Bytes from one row to the next, a multiple of the size of an element. Negative for pictures that are stored
  /// bottom up.
  ptrdiff_t strides[4];
  /// Bytes from one pixel of a row to the next (in chroma planes, from one sample or pair to the next), a multiple of
  /// the size of an element and at least a pixel's bytes. 0: as the format says. Larger where other data lie between
  /// pixels; negative for mirrored pictures.
  ptrdiff_t pixel_steps[4];
  /// A wfvae_yuv_range for YUV and grey formats. Must be 0 for other formats.
  uint32_t yuv_range;
  /// A wfvae_siting for formats with fewer chroma samples than pixels. Must be 0 for other formats.
  uint32_t siting;
} wfvae_frame;

/// How to create a stream. Zero-initialise the struct, then set struct_size, width, height and the fields that you
/// need.
typedef struct wfvae_options {
  /// sizeof(wfvae_options).
  size_t struct_size;
  /// Width of the frames in pixels, 1 to 32768; a multiple of the model's spatial_compression, unless padding is set.
  uint32_t width;
  /// Height of the frames, likewise.
  uint32_t height;
  /// WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE, or both combined with |. 0: all directions of the model
  /// (wfvae_model_info.directions), which are both unless its checkpoint holds only one half. A direction that the
  /// stream lacks takes no memory, and its weights are not loaded.
  uint32_t directions;
  /// 1: allow any width and height. Encoding repeats the last column and row up to the next multiple of
  /// spatial_compression, and decoding crops them. With a model of whole_clips also clips of any number of frames:
  /// encoding repeats the last one. What is repeated counts in the statistics of such a model.
  uint32_t padding;
  /// A wfvae_latent_type, for both directions.
  uint32_t latent_type;
  /// A wfvae_posterior, for encoding.
  uint32_t posterior;
  /// The seed of the noise of WFVAE_POSTERIOR_SAMPLE.
  uint64_t seed;
  /// 1: the caller's latents are (z - shift) * scale with the lists in config.json, in both directions. 0: they are
  /// the network's own z.
  uint32_t scaled;
  /// A wfvae_tiling.
  uint32_t tiling;
  /// Width of the tiles in pixels, rounded up to a multiple of spatial_compression. 0: the frame's width. If
  /// tile_height is 0 too and memory_limit is set: the largest tiles that the limit allows, which may be the whole
  /// frame.
  uint32_t tile_width;
  /// Height of the tiles, likewise.
  uint32_t tile_height;
  /// The least overlap of blended tiles in pixels, rounded up likewise. 0: a quarter of a tile's shorter side.
  uint32_t tile_overlap;
  /// 1: wfvae_latent_reader_check_stream() accepts latents of other encoders, as long as their sizes are the model's.
  /// For a copy of the model in another precision, or if you know that the latents fit.
  uint32_t any_encoder;
  /// 0: a clip is split across any number of calls. Above 0: each encode call and each decode call takes one whole
  /// clip, of at most this many frames, and ends it; call wfvae_reset() before the next clip. Tiles are then
  /// processed one after another, each through all frames, so that only one tile's causal caches exist at a time. A
  /// model that takes whole clips (wfvae_model_info.whole_clips) accepts 0 for clips of any length, but then nothing
  /// checks in advance whether memory is enough.
  uint64_t clip_frames;
  /// Above 0: wfvae_create() fails with WFVAE_STATUS_OUT_OF_MEMORY and reports the sizes if the stream would take
  /// more bytes than this, including the model's weights; see wfvae_estimate(). A model that takes whole clips then
  /// needs clip_frames too. 0: no limit.
  uint64_t memory_limit;
  /// 1: carry alpha. The alpha of each input frame is kept and written to the output frame of the same index, where
  /// both have alpha. Frames that only complete the clip's last group get the last frame's. Needs both directions. The
  /// kept planes take memory, beside that of wfvae_memory, until their frames are decoded: 1 byte per pixel from 8-bit
  /// formats, otherwise 4. 0: alpha is ignored on input and opaque on output.
  uint32_t alpha;
  /// A wfvae_memory_kind: where all planes of frames are, in both directions. Frames in a CUDA device's memory need a
  /// stream without tiles and alpha, and a model that takes no whole clips. wfvae_convert_frame() is for the CPU's.
  uint32_t frame_memory;
  /// A wfvae_memory_kind: where latents are that encode and decode calls are given. Those of wfvae_latent_writer_write()
  /// and wfvae_latent_reader_read() are always in the CPU's memory.
  uint32_t latent_memory;
  /// 0.
  uint32_t reserved;
  /// With WFVAE_MEMORY_KIND_CUDA: the CUDA stream (cudaStream_t, CUstream) in which the program works on that memory.
  /// NULL: the device's legacy default stream; a program that is built for default streams of each thread gives
  /// cudaStreamPerThread. It must belong to the device's primary context, must not record a CUDA graph during a call, and
  /// must stay as long as the stream and its forks, and until each call on them has returned.
  void *cuda_stream;
  /// Receives the error text of a call that takes these options, cut to error_size bytes with its terminating zero;
  /// an empty text on success. For callers whose calls run in another thread than theirs. NULL: only
  /// wfvae_last_error(NULL) has the text.
  char *error_text;
  /// Bytes at error_text, at least 1; 0 if it is NULL.
  size_t error_size;
} wfvae_options;

/// The memory that a stream takes while it runs, in bytes, and how it is tiled. Estimates are accurate to 15 % or 4 MB,
/// whichever is more; for models that take whole clips, to a third. Loading the weights takes more for a moment. Memory
/// grows with n_threads, because each thread has its own buffers for the largest convolution.
typedef struct wfvae_memory {
  /// sizeof(wfvae_memory), set by the caller.
  size_t struct_size;
  /// The sum of the following four.
  uint64_t total_bytes;
  /// The model's weights for the stream's directions, shared with the model's other streams.
  uint64_t weight_bytes;
  /// The encoder's causal caches, waiting frames and buffers.
  uint64_t encode_state_bytes;
  /// The decoder's causal caches, waiting frames and buffers.
  uint64_t decode_state_bytes;
  /// The tensors between the network's layers. They are kept between calls and shared with the model's other streams. A
  /// call that takes a whole clip on the CPU gives them back.
  uint64_t working_bytes;
  /// Width of the encoder's tiles, in pixels; without tiling, the frame's width.
  uint32_t encode_tile_width;
  /// Height of the encoder's tiles.
  uint32_t encode_tile_height;
  /// The encoder's tiles per frame; 0 without encoding.
  uint32_t encode_tiles;
  /// Width of the decoder's tiles, in pixels.
  uint32_t decode_tile_width;
  /// Height of the decoder's tiles.
  uint32_t decode_tile_height;
  /// The decoder's tiles per frame; 0 without decoding.
  uint32_t decode_tiles;
} wfvae_memory;

/// Many frames at equal distances in the caller's memory, such as an array of [frames, height, width, channels] or
/// [channels, frames, height, width].
///
/// Zero-initialise the struct, set struct_size, then set all fields.
typedef struct wfvae_frames {
  /// sizeof(wfvae_frames).
  size_t struct_size;
  /// The first frame; decode calls write to its memory.
  const struct wfvae_frame *first;
  /// The number of frames, 1 to 65536. Of decode calls: the room for them.
  size_t n_frames;
  /// Bytes from each plane of a frame to the same plane of the next, a multiple of the size of an element. May be
  /// negative. Frames of decode calls must not overlap.
  ptrdiff_t frame_strides[4];
} wfvae_frames;

/// Sizes and counters of a stream.
typedef struct wfvae_info {
  /// sizeof(wfvae_info), set by the caller.
  size_t struct_size;
  /// Width of the frames, in pixels.
  uint32_t width;
  /// Height of the frames, in pixels.
  uint32_t height;
  /// w of the latents.
  uint32_t latent_width;
  /// h of the latents.
  uint32_t latent_height;
  /// C of the latents that decoding reads.
  uint32_t latent_channels;
  /// Channels that encoding writes: C, or 2C with WFVAE_POSTERIOR_MOMENTS.
  uint32_t encoded_channels;
  /// Bytes of one latent that decoding reads.
  uint64_t latent_size;
  /// Bytes of one latent that encoding writes.
  uint64_t encoded_size;
  /// Bytes of the encoder's causal caches, waiting frames and buffers. They do not grow.
  uint64_t encode_state_bytes;
  /// Bytes of the decoder's causal caches, waiting frames and buffers. They do not grow.
  uint64_t decode_state_bytes;
  /// Frames encoded since the start of the clip.
  uint64_t frames_in;
  /// Latents written since the start of the clip.
  uint64_t latents_out;
  /// Latents decoded since the start of the clip.
  uint64_t latents_in;
  /// Frames written since the start of the clip.
  uint64_t frames_out;
  /// Runs of the encoder's steps since the stream was created. Each latent after a clip's first takes the same
  /// number.
  uint64_t encode_steps;
  /// Runs of the decoder's steps since the stream was created. Each latent after a clip's first takes the same
  /// number, some of which the flush runs.
  uint64_t decode_steps;
  /// 1: an earlier call failed; call wfvae_reset().
  uint32_t needs_reset;
  /// 0.
  uint32_t reserved;
} wfvae_info;

/// How far a stream's running call is.
typedef struct wfvae_progress {
  /// sizeof(wfvae_progress), set by the caller.
  size_t struct_size;
  /// Steps of the network that the call has run.
  uint64_t steps_done;
  /// Steps that it runs in all; 0 if no call is running. Steps take different times. A model that takes whole clips
  /// has one step.
  uint64_t steps_total;
} wfvae_progress;

/// Facts about the clip that its stream does not know. Zero-initialise the struct, set struct_size, then set the fields
/// that you need.
typedef struct wfvae_latent_writer_options {
  /// sizeof(wfvae_latent_writer_options).
  size_t struct_size;
  /// Frames per second, as fps_num / fps_den. Both 0: unknown.
  uint32_t fps_num;
  /// See fps_num.
  uint32_t fps_den;
  /// A text of your own that is stored with the latents, up to 65536 bytes of UTF-8. NULL: none.
  const char *note;
  /// Receives the error text of a call that takes these options, cut to error_size bytes with its terminating zero;
  /// an empty text on success. For callers whose calls run in another thread than theirs. NULL: only
  /// wfvae_last_error(NULL) has the text.
  char *error_text;
  /// Bytes at error_text, at least 1; 0 if it is NULL.
  size_t error_size;
} wfvae_latent_writer_options;

/// What a latent file holds. Pointers are valid as long as the reader is open.
typedef struct wfvae_latent_file_info {
  /// sizeof(wfvae_latent_file_info), set by the caller.
  size_t struct_size;
  /// wfvae_model_info.identity of the model that encoded the latents.
  uint64_t model_identity;
  /// Frames of the clip, at least 1.
  uint64_t n_frames;
  /// T: latents in the file.
  uint64_t n_latents;
  /// The seed of WFVAE_POSTERIOR_SAMPLE, otherwise 0.
  uint64_t seed;
  /// Width of the frames, in pixels.
  uint32_t width;
  /// Height of the frames, in pixels.
  uint32_t height;
  /// 1: width or height is not a multiple of spatial_compression; decode it with wfvae_options.padding.
  uint32_t padded;
  /// Pixels per latent value, horizontally and vertically.
  uint32_t spatial_compression;
  /// Frames per latent, after the first.
  uint32_t temporal_compression;
  /// C of the latents that decoding reads.
  uint32_t latent_channels;
  /// w of the latents.
  uint32_t latent_width;
  /// h of the latents.
  uint32_t latent_height;
  /// A wfvae_posterior: what the file holds. With WFVAE_POSTERIOR_MOMENTS it has 2C channels.
  uint32_t posterior;
  /// A wfvae_latent_type: how the file stores the values. They can be read as either type.
  uint32_t latent_type;
  /// 1: the latents are (z - shift) * scale; decode them with wfvae_options.scaled.
  uint32_t scaled;
  /// Frames per second, as fps_num / fps_den. Both 0: unknown.
  uint32_t fps_num;
  /// See fps_num.
  uint32_t fps_den;
  /// 0.
  uint32_t reserved;
  /// The model's scale, latent_channels values; NULL if the model has no usable lists.
  const float *scale;
  /// The model's shift, likewise.
  const float *shift;
  /// The program that wrote the file, such as "libwfvae 0.1.0".
  const char *generator;
  /// The text of wfvae_latent_writer_options.note, empty if there is none. UTF-8; do not trust its contents.
  const char *note;
  /// wfvae_model_info.encoder_identity of the encoder that made the latents; 0 if the file was written by an early
  /// version, which stored only model_identity.
  uint64_t encoder_identity;
  /// wfvae_model_info.decoder_identity of that model; 0 if it had no decoder, or if an early version wrote the file.
  uint64_t decoder_identity;
} wfvae_latent_file_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// Returns a short English text for a status. Any value is allowed.
///
/// Returns: a static string, never NULL.
/// Thread-safety: safe.
WFVAE_API const char *wfvae_status_str(int32_t status);

/// Returns the text of the last error: what is wrong, and what to do about it.
///
/// stream: the stream whose call failed; NULL: the last call of any kind that failed in the calling thread.
///
/// Returns: a string, never NULL; empty if there was no error. A stream's string is valid until the next call on that
/// stream, and a thread's until the next call that fails in it, or until it ends. wfvae_reset() and
/// wfvae_snapshot_restore() clear the stream's text.
/// Thread-safety: with a stream, one thread at a time for each stream; with NULL safe.
WFVAE_API const char *wfvae_last_error(const struct wfvae_stream *stream);

/// Opens a model and checks its whole checkpoint. The first stream that needs weights loads them.
///
/// path: one of the following, in UTF-8. The checkpoint may hold only the encoder or only the decoder.
/// - NULL: the model built into the library.
/// - A folder with config.json and *.safetensors. If it holds several weights, diffusion_pytorch_model.safetensors is
///   used before model.safetensors, and the index of either (NAME.safetensors.index.json, with its shards) before the
///   single file. Without these, the folder must hold exactly one *.safetensors file, or one index with its shards, of
///   any name.
/// - The folder of a pipeline, whose vae/ is opened.
/// - A folder models--OWNER--NAME of a download cache. The snapshot that refs/main names is opened, or the only one.
/// - One .safetensors file or index (*.safetensors.index.json) with config.json beside it.
///
/// Weights are F32, F16, BF16, or F64, which is rounded to float32. Tensors that the network does not use may have any
/// type. An unknown field of config.json is an error if it may change the results, otherwise a warning. If a file is
/// written to while the model is open and weights still have to be read from it, wfvae_create() and
/// wfvae_model_save_onnx() return WFVAE_STATUS_CHECKPOINT. If it is deleted, or replaced by a new file of the same
/// name, the model goes on to use the old one.
/// options: NULL for the defaults. Read during the call only, except for what log_user points to.
/// model: receives the handle on success, to be closed with wfvae_model_close(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _IO, _CONFIG, _CHECKPOINT, _UNSUPPORTED_MODEL,
/// _RUNTIME_MISSING, _RUNTIME_TOO_OLD, _PROVIDER, _RUNTIME, _OUT_OF_MEMORY. wfvae_last_error(NULL) returns the text,
/// which names the file, tensor or field, what was found and what was expected.
/// Thread-safety: safe.
WFVAE_API
enum wfvae_status wfvae_model_open(const char *path,
                                   const struct wfvae_model_options *options,
                                   struct wfvae_model **model);

/// Closes a model. Its streams keep what they need until they are destroyed, so the order does not matter.
///
/// model: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per model.
WFVAE_API void wfvae_model_close(struct wfvae_model *model);

/// Gets what a model is and what it runs on.
///
/// info: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe.
WFVAE_API enum wfvae_status wfvae_model_get_info(const struct wfvae_model *model, struct wfvae_model_info *info);

/// Counts the latents of a whole clip of n_frames frames whose last group the flush completes: 1 + ceil((n_frames - 1)
/// / temporal_compression), or 0 for 0 frames.
///
/// Returns: the number, or 0 if model is NULL.
/// Thread-safety: safe.
WFVAE_API uint64_t wfvae_latents_for_frames(const struct wfvae_model *model, uint64_t n_frames);

/// Counts the frames of a whole clip of n_latents latents: temporal_compression * (n_latents - 1) + 1, or 0 for 0
/// latents.
///
/// Returns: the number (UINT64_MAX if it would be larger), or 0 if model is NULL.
/// Thread-safety: safe.
WFVAE_API uint64_t wfvae_frames_for_latents(const struct wfvae_model *model, uint64_t n_latents);

/// Writes a model's ONNX graphs and their weights (encoder.0.onnx, encoder.0.bin, ...), for viewers and other runtimes.
/// The inputs size.0, size.1, ... are integers that depend on the frame's size and on how many queries attention
/// processes at a time. The doc_string of each input, in the file, says how to compute it.
///
/// folder: must exist; files of these names are replaced. UTF-8. The folder of the model's own files is refused with
/// WFVAE_STATUS_INVALID_ARGUMENT, and nothing is written.
/// graphs: a wfvae_graphs. If the checkpoint lacks the encoder or the decoder, its graphs are left out.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _OUT_OF_MEMORY; _CHECKPOINT if the model's files changed since
/// they were opened. A graph that could not be written completely is removed.
/// Thread-safety: safe.
WFVAE_API enum wfvae_status wfvae_model_save_onnx(const struct wfvae_model *model, const char *folder, uint32_t graphs);

/// Converts a picture from any format to any other of the same size, as encoding reads frames and decoding writes them.
/// Needs no model. Alpha is converted if both formats have it; otherwise it is opaque.
///
/// from: read during the call only.
/// to: its memory is written; must not overlap that of from. Its contents are unspecified on failure.
///
/// Takes 12 bytes of memory for each pixel during the call, and for alpha 1 more from 8-bit formats, otherwise 4.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE, _OUT_OF_MEMORY; _NOT_FINITE for a NaN or an infinity in
/// float frames, or a value that is too large for a float format of to. wfvae_last_error(NULL) returns the text.
/// Thread-safety: safe.
WFVAE_API enum wfvae_status wfvae_convert_frame(const struct wfvae_frame *from, struct wfvae_frame *to);

/// Creates a stream of a model. The first stream that uses a direction loads its weights, which takes seconds for a
/// large model. On a CUDA device the call also runs each step once, so that the first chunk does not wait for one-time
/// work: choosing algorithms, loading kernels and allocating memory.
///
/// options: read during the call only.
/// stream: receives the handle on success, to be destroyed with wfvae_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE, _OUT_OF_MEMORY, _RUNTIME; _PROVIDER if the provider lacks
/// what the stream needs; _CHECKPOINT if the checkpoint's files changed since they were opened; _IO if they can no
/// longer be read. wfvae_last_error(NULL) returns the text.
/// Thread-safety: safe.
WFVAE_API
enum wfvae_status wfvae_create(struct wfvae_model *model,
                               const struct wfvae_options *options,
                               struct wfvae_stream **stream);

/// Destroys a stream. Latents and frames that were not flushed are lost.
///
/// stream: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per stream. If another thread is inside a call on the stream, that call is cancelled and
/// returns there. No call may begin any more; wfvae_get_progress() tells whether an encode or decode call has begun.
WFVAE_API void wfvae_destroy(struct wfvae_stream *stream);

/// Estimates how much memory a stream with these options would take, and how it would be tiled. Allocates and loads
/// nothing. For a model that takes whole clips, the estimate is for clips of clip_frames frames; if that is 0, for the
/// shortest clips that have more than one latent.
///
/// options: as for wfvae_create().
/// memory: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE; _OUT_OF_MEMORY if the stream would exceed memory_limit.
/// Thread-safety: safe.
WFVAE_API
enum wfvae_status wfvae_estimate(const struct wfvae_model *model,
                                 const struct wfvae_options *options,
                                 struct wfvae_memory *memory);

/// Encodes frames and writes the latents that they complete: one for the clip's first frame, then one for every
/// temporal_compression frames. The stream keeps the frames of an incomplete group for the next call.
///
/// frames: n_frames frames of the stream's size, in order of time; read during the call only.
/// n_frames: 1 to 65536.
/// latents: memory for capacity latents, [capacity, encoded_channels, latent_height, latent_width] without gaps,
/// aligned for the latent type. May be NULL if capacity is 0.
/// capacity: in latents; wfvae_encode_count() says how many a call needs.
/// written: receives the number of latents written; 0 on failure.
///
/// Returns: WFVAE_STATUS_OK.
/// _INVALID_ARGUMENT, _INVALID_SIZE, _CAPACITY, _INVALID_STATE, _BUSY, _NEEDS_RESET: nothing was consumed.
/// _RUNTIME, _CANCELLED: the contents of latents are unspecified, and the stream needs wfvae_reset().
/// _OUT_OF_MEMORY: nothing was consumed if memory ran out before the first step; otherwise as for _RUNTIME.
/// _NOT_FINITE: if the input (float frames, or the latents to decode) holds a NaN or an infinity, nothing was consumed.
/// If a result holds one, or does not fit float16 latents or frames, the stream needs wfvae_reset().
/// After _OUT_OF_MEMORY and _NOT_FINITE, wfvae_info.needs_reset tells which of the two cases it was.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_encode_chunk(struct wfvae_stream *stream,
                                     const struct wfvae_frame *frames,
                                     size_t n_frames,
                                     void *latents,
                                     size_t capacity,
                                     size_t *written);

/// Does what wfvae_encode_chunk() does, with frames at equal distances in memory.
///
/// frames: the struct is read during the call only, and so are the frames.
/// latents, capacity, written: as for wfvae_encode_chunk().
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_encode_frames(struct wfvae_stream *stream,
                                      const struct wfvae_frames *frames,
                                      void *latents,
                                      size_t capacity,
                                      size_t *written);

/// Ends the clip for encoding. Writes the latent of an incomplete last group, in which the last frame is repeated for
/// the missing ones. Further frames need wfvae_reset(). A second flush writes nothing.
///
/// latents, capacity, written: as for wfvae_encode_chunk(); one latent is always enough.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_encode_flush(struct wfvae_stream *stream,
                                     void *latents,
                                     size_t capacity,
                                     size_t *written);

/// Decodes latents and writes the frames that are final. The clip's first latent gives one frame, each later one
/// temporal_compression. The stream holds back the last decode_delay of them until the next latent or the flush.
///
/// latents: n_latents latents, [n_latents, latent_channels, latent_height, latent_width] without gaps, aligned for the
/// latent type; read during the call only.
/// n_latents: 1 to 65536.
/// frames: an array of capacity frames, whose memory is written in order. Elements beyond the frames written are not
/// read.
/// capacity: in frames; wfvae_decode_count() says how many a call needs.
/// written: receives the number of frames written; 0 on failure.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_decode_chunk(struct wfvae_stream *stream,
                                     const void *latents,
                                     size_t n_latents,
                                     struct wfvae_frame *frames,
                                     size_t capacity,
                                     size_t *written);

/// Does what wfvae_decode_chunk() does, with frames at equal distances in memory.
///
/// latents, n_latents: as for wfvae_decode_chunk().
/// frames: the struct is read during the call only. Its n_frames is the capacity; frames beyond those written are left
/// as they are.
/// written: as for wfvae_decode_chunk().
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_decode_frames(struct wfvae_stream *stream,
                                      const void *latents,
                                      size_t n_latents,
                                      const struct wfvae_frames *frames,
                                      size_t *written);

/// Ends the clip for decoding: writes the frames that were held back. Further latents need wfvae_reset(). A second
/// flush writes nothing.
///
/// frames, capacity, written: as for wfvae_decode_chunk(); decode_delay frames (wfvae_model_info) are always enough.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_decode_flush(struct wfvae_stream *stream,
                                     struct wfvae_frame *frames,
                                     size_t capacity,
                                     size_t *written);

/// Does what wfvae_decode_flush() does, with frames at equal distances in memory.
///
/// frames, written: as for wfvae_decode_frames().
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_decode_flush_frames(struct wfvae_stream *stream,
                                            const struct wfvae_frames *frames,
                                            size_t *written);

/// Starts a new clip in both directions. Forgets frames and latents that wait in the stream, the frame count, any
/// failure and any cancellation. Memory is kept for the next clip.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _RUNTIME.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_reset(struct wfvae_stream *stream);

/// Stops the call that another thread is running on the stream. That call returns WFVAE_STATUS_CANCELLED after its
/// current layer, on a device after its current step, usually within milliseconds. If no call is running, the next one returns it. The cancellation lasts
/// until wfvae_reset() or wfvae_snapshot_restore().
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe, until wfvae_destroy() is called.
WFVAE_API
enum wfvae_status wfvae_cancel(struct wfvae_stream *stream);

/// Tells the decoder how many frames the clip has, so that it does not write the frames that the encoder's flush added.
/// Call it before the last latents are decoded. A reset forgets it.
///
/// n_frames: the clip's length, or UINT64_MAX for no limit.
///
/// Returns: WFVAE_STATUS_OK, _BUSY; _INVALID_ARGUMENT, also if it is too late: the decoder wrote more frames already, or
/// left out some that the clip would now have.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_set_frame_count(struct wfvae_stream *stream,
                                        uint64_t n_frames);

/// Gives the samples of the next clip the noise of another seed than wfvae_options.seed, so that clips that one stream
/// encodes one after the other have noise of their own. wfvae_reset() and wfvae_snapshot_restore() keep the stream's seed,
/// and wfvae_fork() copies it. Set it before wfvae_latent_writer_create(), which writes it to the file.
///
/// seed: any number. Clips of one seed have the same noise.
///
/// Returns: WFVAE_STATUS_OK, _BUSY; _INVALID_ARGUMENT, also if the posterior is not WFVAE_POSTERIOR_SAMPLE;
/// _INVALID_STATE if frames of the clip are encoded already, or the stream does not encode.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_set_seed(struct wfvae_stream *stream,
                                 uint64_t seed);

/// Counts the latents that wfvae_encode_chunk() would write for n_frames more frames.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_encode_count(const struct wfvae_stream *stream, size_t n_frames, size_t *count);

/// Counts the latents that wfvae_encode_flush() would write: 0 or 1.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_encode_flush_count(const struct wfvae_stream *stream, size_t *count);

/// Counts the frames that wfvae_decode_chunk() would write for n_latents more latents.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_decode_count(const struct wfvae_stream *stream, size_t n_latents, size_t *count);

/// Counts the frames that wfvae_decode_flush() would write.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_decode_flush_count(const struct wfvae_stream *stream, size_t *count);

/// Gets the sizes and counters of a stream.
///
/// info: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_get_info(const struct wfvae_stream *stream, struct wfvae_info *info);

/// Gets how far the encode or decode call is that another thread is running on the stream.
///
/// progress: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe, until wfvae_destroy() is called.
WFVAE_API enum wfvae_status wfvae_get_progress(const struct wfvae_stream *stream, struct wfvae_progress *progress);

/// Takes a snapshot of a stream, to return to later. Copies only the frames that the rest of the clip needs: at most
/// two thirds of encode_state_bytes and decode_state_bytes, and almost nothing at a clip's start and after its flushes.
/// Alpha comes on top: the planes of the frames that are not decoded yet, and the newest.
///
/// stream: not changed. A cancellation that no call has returned yet is not part of the snapshot.
/// snapshot: receives the handle on success, to be destroyed with wfvae_snapshot_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _NEEDS_RESET if an earlier call failed, which leaves an
/// incomplete state; _NOT_FINITE if the state holds a NaN or an infinity, which would reach the next result too;
/// _OUT_OF_MEMORY, and _RUNTIME if a device's memory cannot be read. After these two the stream can be used as before.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_snapshot_create(const struct wfvae_stream *stream, struct wfvae_snapshot **snapshot);

/// Restores a stream to the state of a snapshot, in both directions. Later output is bit-identical to what followed the
/// snapshot. The stream's current clip is forgotten, and so are any failure and any cancellation, as with
/// wfvae_reset(). The step counters of wfvae_info are not set back.
///
/// stream: of the snapshot's model, cache_type, size, directions, tiles and alpha; wfvae_snapshot says more.
/// snapshot: not changed; can be used again.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, also for a snapshot of another model, other directions or tiles, with
/// or without alpha, of another cache_type, or of a version whose state has another layout; _INVALID_SIZE for one of
/// another size; _NOT_FINITE for one that holds a NaN or an infinity; _BUSY, _RUNTIME, _OUT_OF_MEMORY. After a failure
/// the stream is as it was before, except after _RUNTIME or _OUT_OF_MEMORY while copying to a device: then it needs
/// wfvae_reset().
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_snapshot_restore(struct wfvae_stream *stream, const struct wfvae_snapshot *snapshot);

/// Destroys a snapshot. Streams that were restored from it do not need it any more.
///
/// snapshot: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per snapshot, while no other call uses it.
WFVAE_API void wfvae_snapshot_destroy(struct wfvae_snapshot *snapshot);

/// Returns the bytes that wfvae_snapshot_write() writes. The snapshot takes no more memory than that.
///
/// Returns: the number, or 0 if snapshot is NULL.
/// Thread-safety: safe.
WFVAE_API size_t wfvae_snapshot_size(const struct wfvae_snapshot *snapshot);

/// Writes a snapshot as bytes. wfvae_snapshot_read() reads them in this or another process, on a machine of the same
/// byte order.
///
/// buffer: receives the bytes; needs no alignment.
/// capacity: size of buffer in bytes, wfvae_snapshot_size() or more.
/// written: receives the number of bytes written; 0 on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _CAPACITY.
/// Thread-safety: safe.
WFVAE_API
enum wfvae_status wfvae_snapshot_write(const struct wfvae_snapshot *snapshot,
                                       void *buffer,
                                       size_t capacity,
                                       size_t *written);

/// Reads a snapshot from the bytes that wfvae_snapshot_write() wrote. Checks all of them, and refuses bytes that are
/// damaged, truncated or something else. wfvae_snapshot_restore() checks whether the snapshot fits a stream.
///
/// bytes: read during the call only; need no alignment.
/// size: number of bytes, exactly as many as were written.
/// snapshot: receives the handle on success, to be destroyed with wfvae_snapshot_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, also for bytes that are not a complete, undamaged snapshot of a version
/// that this one reads; _OUT_OF_MEMORY. wfvae_last_error(NULL) returns the text.
/// Thread-safety: safe.
WFVAE_API enum wfvae_status wfvae_snapshot_read(const void *bytes, size_t size, struct wfvae_snapshot **snapshot);

/// Creates a second stream of the same model and options, at the same point of the clip. Afterwards the two are
/// independent of each other and may run at the same time.
///
/// stream: not changed. A cancellation that no call has returned yet is not passed on.
/// fork: receives the handle on success, to be destroyed with wfvae_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _RUNTIME; _NEEDS_RESET if an earlier call failed;
/// _OUT_OF_MEMORY, after which the first stream can be used as before.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API enum wfvae_status wfvae_fork(const struct wfvae_stream *stream, struct wfvae_stream **fork);

/// Starts a latent file for the latents that a stream encodes. Stores the stream's model, size, padding, latent type,
/// posterior, seed and scaling. An existing file of that name stays as it is until wfvae_latent_writer_finish()
/// replaces it.
///
/// stream: read during the call only; need not live as long as the writer.
/// path: the target, in UTF-8: a regular file, or a name that does not exist yet, in a folder that can be written to.
/// Pipes and devices are refused. The files of the stream's model, under any name, and names that its folder would
/// later open as weights are WFVAE_STATUS_INVALID_ARGUMENT.
/// options: NULL for the defaults; read during the call only.
/// writer: receives the handle on success, to be destroyed with wfvae_latent_writer_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _IO. wfvae_last_error(NULL) returns the text.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_latent_writer_create(const struct wfvae_stream *stream,
                                             const char *path,
                                             const struct wfvae_latent_writer_options *options,
                                             struct wfvae_latent_writer **writer);

/// Appends latents that wfvae_encode_chunk() and wfvae_encode_flush() of the stream wrote.
///
/// latents: n_latents latents, [n_latents, encoded_channels, latent_height, latent_width] without gaps, of the stream's
/// latent type and aligned for it; read during the call only. May be NULL if n_latents is 0.
/// n_latents: 0 to 65536.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _INVALID_STATE if the file is finished or an earlier call
/// failed. _NOT_FINITE for a NaN, an infinity, or a value that a float16 file cannot hold: nothing was appended.
/// _IO: the temporary file is removed, and the writer can only be destroyed.
/// Thread-safety: one thread at a time for each writer.
WFVAE_API
enum wfvae_status wfvae_latent_writer_write(struct wfvae_latent_writer *writer,
                                            const void *latents,
                                            size_t n_latents);

/// Completes the file: writes its header, flushes it to the disk, and atomically replaces the target with it.
///
/// n_frames: frames of the clip (wfvae_info.frames_in), at least 1. The number of latents written must be
/// wfvae_latents_for_frames() of it.
///
/// Returns: WFVAE_STATUS_OK.
/// _INVALID_ARGUMENT, _INVALID_STATE, _BUSY: the call may be repeated.
/// _IO: the temporary file is removed, the target is as it was, and the writer can only be destroyed. Windows does not
/// always replace a file that another program has open: if it does not for two seconds, the text says so, nothing is
/// removed, and the call may be repeated.
/// Thread-safety: one thread at a time for each writer.
WFVAE_API enum wfvae_status wfvae_latent_writer_finish(struct wfvae_latent_writer *writer, uint64_t n_frames);

/// Returns the text of a writer's last error, like wfvae_last_error() for streams.
///
/// Returns: a string, never NULL; empty if there was no error. Valid until the next call on the writer.
/// Thread-safety: one thread at a time for each writer.
WFVAE_API const char *wfvae_latent_writer_last_error(const struct wfvae_latent_writer *writer);

/// Destroys a writer. If its file was not finished, nothing of it remains.
///
/// writer: must not be used afterwards, nor by another thread during the call. NULL is allowed.
///
/// Thread-safety: safe, once per writer.
WFVAE_API void wfvae_latent_writer_destroy(struct wfvae_latent_writer *writer);

/// Opens a latent file and checks all of it except the latents' values.
///
/// path: UTF-8. The file must not change while it is open; otherwise reads may fail or return other values.
/// reader: receives the handle on success, to be closed with wfvae_latent_reader_close(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _LATENT_FILE, _OUT_OF_MEMORY. wfvae_last_error(NULL) returns the
/// text, which names the file, what was found and what was expected.
/// Thread-safety: safe.
WFVAE_API enum wfvae_status wfvae_latent_reader_open(const char *path, struct wfvae_latent_reader **reader);

/// Gets what a latent file holds: what is needed for the wfvae_options of a stream that decodes it, and for buffers.
///
/// info: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe.
WFVAE_API
enum wfvae_status wfvae_latent_reader_get_info(const struct wfvae_latent_reader *reader,
                                               struct wfvae_latent_file_info *info);

/// Checks that a model's encoder made the latents of a file: compares its identity, its sizes and, for scaled latents,
/// its scale and shift. The decoder may differ. If the checkpoint holds no encoder, the decoder's identity is compared
/// instead. Files of early versions identify only whole models.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT; _LATENT_FILE if they do not match, with a text that names both and says
/// what to do.
/// Thread-safety: safe.
WFVAE_API
enum wfvae_status wfvae_latent_reader_check_model(const struct wfvae_latent_reader *reader,
                                                  const struct wfvae_model *model);

/// Checks that a stream can decode the latents of a file: the model as wfvae_latent_reader_check_model() does, unless
/// wfvae_options.any_encoder is set, and the frames' size and wfvae_options.scaled.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _LATENT_FILE if it cannot, with a text that names both and says
/// what to do.
/// Thread-safety: one thread at a time for each stream.
WFVAE_API
enum wfvae_status wfvae_latent_reader_check_stream(const struct wfvae_latent_reader *reader,
                                                   const struct wfvae_stream *stream);

/// Reads latents for decoding. From a file of moments it reads the means.
///
/// start: index of the first latent, from 0.
/// n_latents: 1 to 65536; start + n_latents must be at most wfvae_latent_file_info.n_latents.
/// latent_type: the wfvae_latent_type of the memory; values are converted if the file stores the other type.
/// latents: receives [n_latents, latent_channels, latent_height, latent_width] without gaps; aligned for latent_type.
/// Its contents are unspecified on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO; _NOT_FINITE if a latent holds a NaN, an infinity, or a value that
/// latent_type cannot hold.
/// Thread-safety: safe.
WFVAE_API
enum wfvae_status wfvae_latent_reader_read(const struct wfvae_latent_reader *reader,
                                           uint64_t start,
                                           size_t n_latents,
                                           uint32_t latent_type,
                                           void *latents);

/// Reads both moments from a file of WFVAE_POSTERIOR_MOMENTS.
///
/// start, n_latents, latent_type: as for wfvae_latent_reader_read().
/// latents: receives [n_latents, 2 * latent_channels, latent_height, latent_width], each latent's mean before its
/// log-variance.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _NOT_FINITE as wfvae_latent_reader_read(); _INVALID_STATE if the
/// file holds no moments.
/// Thread-safety: safe.
WFVAE_API
enum wfvae_status wfvae_latent_reader_read_moments(const struct wfvae_latent_reader *reader,
                                                   uint64_t start,
                                                   size_t n_latents,
                                                   uint32_t latent_type,
                                                   void *latents);

/// Closes a latent file.
///
/// reader: must not be used afterwards, nor by another thread during the call. NULL is allowed.
///
/// Thread-safety: safe, once per reader.
WFVAE_API void wfvae_latent_reader_close(struct wfvae_latent_reader *reader);

/// Returns the WFVAE_API_VERSION of the loaded library, which is at least that of the header that a program was built
/// with.
///
/// Thread-safety: safe.
WFVAE_API uint32_t wfvae_api_version(void);

/// Returns the release of the loaded library, such as "0.1.0".
///
/// Returns: a static string.
/// Thread-safety: safe.
WFVAE_API const char *wfvae_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WFVAE_H */
