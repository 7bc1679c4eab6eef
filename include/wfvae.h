/* libwfvae: streams video through WF-VAE models (wavelet-driven causal video VAE, arXiv 2411.17459) on ONNX Runtime.
 *
 * A model holds the weights and is shared by any number of streams. A stream holds the causal caches of one clip: frames
 * go in and latents come out, latents go in and frames come out, any number per call, of a clip of any, unknown length.
 * However a clip is cut into calls, the numbers are those of the whole clip in one pass.
 *
 * The first frame gives latent 0; each further group of temporal_compression frames (4 or 8) gives one more. Latents are
 * [T, C, h, w], each contiguous, with h = height / spatial_compression. To get PyTorch's [C, T, h, w] swap the first
 * two axes.
 *
 * The whole loop, from frames to latents and back. Error handling is the same everywhere: a status other than
 * WFVAE_STATUS_OK, and a text from wfvae_last_error().
 *
 *     int reconstruct(read_frame_fn read_frame, write_frame_fn write_frame, void *user, uint32_t width, uint32_t height)
 *     {
 *         wfvae_model *model = NULL;
 *         wfvae *stream = NULL;
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
 * Structs begin with their size and grow at their end only. Fill them with zero, set struct_size to sizeof and what you
 * need; zero is always the default. Enumerations are passed as uint32_t, so that a wrong number is an error and nothing
 * worse. Handles and results come last; results are written on success only (handles: NULL, counts: 0 on failure).
 *
 * The library prints nothing but Rust's report of a bug of its own, installs no signal handlers and starts threads for
 * its calls only. It must not be unloaded (dlclose) once a model was opened: ONNX Runtime's threads may still run;
 * libwfvae.so is linked so that dlclose keeps it.
 *
 * It writes no file and sends nothing that it was not asked for. ONNX Runtime since 1.29 does: its telemetry keeps a thread,
 * files under the home folder and a connection to its maker. Opening the first model turns that off for the whole process,
 * before it begins and without a change of the environment. Where that is not possible, a warning says so. It stays what it
 * was where the program has set ORT_DISABLE_TELEMETRY, or has made an environment of ONNX Runtime itself before it opens a
 * model.
 *
 * fork(): a child has its parent's handles, but not the threads behind them. It may close and destroy what it inherited,
 * which returns at once and takes nothing from the parent (a latent file that the parent writes stays the parent's), and
 * open models of its own. Snapshots and latent readers are data and work in both, and so do wfvae_model_get_info(),
 * wfvae_latents_for_frames() and wfvae_frames_for_latents(). All other calls with an inherited model, stream or latent
 * writer return WFVAE_STATUS_FORKED, which is not named with each of them. So do calls that open a model or make a stream, if
 * another thread of the parent was inside such a call when it forked. The library has no exit handlers. Other libraries may
 * have some that were made for the parent, so a child that does not exec should leave by _exit(). A child of vfork() must
 * not call the library.
 *
 * The floating-point mode of the calling thread (rounding, denormals, traps, exceptions seen) neither changes results nor
 * is changed. Where memory, address space or threads are short, a call fails with a text that says so, and the process
 * goes on; what ONNX Runtime does when a small allocation of its own fails is not in the library's hands. A thread that
 * calls the library needs a stack of 256 KiB, and so does the system's default for new threads (ulimit -s).
 *
 * This file is generated by cbindgen. SPDX-License-Identifier: MIT OR Apache-2.0 */

#ifndef WFVAE_H
#define WFVAE_H

#include <stddef.h>
#include <stdint.h>

/// The directions of a stream, to be combined.
#define WFVAE_DIRECTION_ENCODE 1

/// The directions of a stream, to be combined.
#define WFVAE_DIRECTION_DECODE 2

/// Grows when functions, fields or numbers are added; programs built for a lower one keep working.
#define WFVAE_API_VERSION 1

/// The release of this header.
#define WFVAE_VERSION_MAJOR 0

/// The release of this header.
#define WFVAE_VERSION_MINOR 1

/// The release of this header.
#define WFVAE_VERSION_PATCH 0

/// What a call returns. Numbers are never reused. Treat one that you do not know as a failure.
typedef enum wfvae_status {
  /// Success.
  WFVAE_STATUS_OK = 0,
  /// An argument is outside its documented range. Nothing was consumed.
  WFVAE_STATUS_INVALID_ARGUMENT = 100,
  /// A width or height that the model or the stream cannot take. Nothing was consumed.
  WFVAE_STATUS_INVALID_SIZE = 101,
  /// The output buffer is too small; the error text says how much is needed. Nothing was consumed.
  WFVAE_STATUS_CAPACITY = 102,
  /// The call is out of order, for example a chunk after the flush. Nothing was consumed.
  WFVAE_STATUS_INVALID_STATE = 103,
  /// Another thread is inside a call on the same stream. Nothing was consumed. Only the calling thread's error text
  /// is set, not the stream's.
  WFVAE_STATUS_BUSY = 104,
  /// An earlier call on this stream failed: call wfvae_reset() first. Nothing was consumed.
  WFVAE_STATUS_NEEDS_RESET = 105,
  /// The model, stream or latent writer belongs to the process that this one was forked from: open the model in this
  /// process. Or that process was forked while another thread opened a model or made a stream, and models cannot be opened
  /// in this one at all. Nothing was consumed. Only the calling thread's error text is set, not the stream's.
  WFVAE_STATUS_FORKED = 106,
  /// A file or folder could not be read or written.
  WFVAE_STATUS_IO = 200,
  /// config.json is malformed or holds a value that no WF-VAE has.
  WFVAE_STATUS_CONFIG = 201,
  /// The weights are damaged, incomplete or do not belong to the config.
  WFVAE_STATUS_CHECKPOINT = 202,
  /// A valid model of a kind that this version does not run.
  WFVAE_STATUS_UNSUPPORTED_MODEL = 203,
  /// A latent file is damaged, of another kind or version, or does not belong to the model or stream.
  WFVAE_STATUS_LATENT_FILE = 204,
  /// ONNX Runtime was not found or cannot be loaded.
  WFVAE_STATUS_RUNTIME_MISSING = 300,
  /// The ONNX Runtime that was found is too old.
  WFVAE_STATUS_RUNTIME_TOO_OLD = 301,
  /// The requested execution provider cannot run here.
  WFVAE_STATUS_PROVIDER = 302,
  /// ONNX Runtime failed to load or to run a graph. A stream needs wfvae_reset() afterwards.
  WFVAE_STATUS_RUNTIME = 303,
  /// A NaN or an infinity, or a number too large for float16; the error text says where. In frames, latents, latent
  /// files or snapshots that came in: nothing was consumed, and the call may be repeated with others. In a result of the
  /// network: the stream needs wfvae_reset() afterwards, as wfvae_info.needs_reset says.
  WFVAE_STATUS_NOT_FINITE = 304,
  /// The call was cancelled by wfvae_cancel(). The stream needs wfvae_reset() afterwards.
  WFVAE_STATUS_CANCELLED = 400,
  /// Memory could not be allocated. wfvae_info.needs_reset says whether a stream that existed needs wfvae_reset().
  WFVAE_STATUS_OUT_OF_MEMORY = 401,
  /// A bug in libwfvae; please report it with the error text. Any call may return it, so that their lists leave it out. A
  /// stream needs wfvae_reset() afterwards.
  WFVAE_STATUS_INTERNAL = 900,
} wfvae_status;

/// How the pixels of a frame lie in memory. Integers are in native byte order and span their whole range: 0 is black,
/// the largest value white. On output they are rounded to nearest and clamped; floats are neither.
typedef enum wfvae_pixel_format {
  /// 1 plane, 3 bytes a pixel: R, G, B.
  WFVAE_PIXEL_FORMAT_RGB8 = 1,
  /// 1 plane, 4 bytes a pixel: R, G, B, A. Alpha is ignored on input and 255 on output.
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
} wfvae_pixel_format;

/// What the numbers of float frames mean.
typedef enum wfvae_range {
  /// 0 is black, 1 is white.
  WFVAE_RANGE_UNIT = 0,
  /// -1 is black, 1 is white: the network's own range.
  WFVAE_RANGE_SIGNED = 1,
} wfvae_range;

/// Where the network runs.
typedef enum wfvae_provider {
  /// The best that there is. For now always the processor: no GPU has run the CUDA path yet, so it has to be asked for.
  /// wfvae_model_get_info() says so.
  WFVAE_PROVIDER_AUTO = 0,
  /// The processor.
  WFVAE_PROVIDER_CPU = 1,
  /// A CUDA device, which takes the ONNX Runtime of the package onnxruntime-gpu. WFVAE_STATUS_PROVIDER, with a text that
  /// names what is missing, if it cannot be used. Streams keep their causal caches, and all that lies between a stream's
  /// two ends, on the device; frames and latents are the caller's, in the processor's memory.
  WFVAE_PROVIDER_CUDA = 2,
} wfvae_provider;

/// How severe a message is. A log level lets its own and the more severe (smaller) ones through.
typedef enum wfvae_log_level {
  /// As WFVAE_LOG_LEVEL_INFO.
  WFVAE_LOG_LEVEL_DEFAULT = 0,
  /// Something failed; the call's status says so too.
  WFVAE_LOG_LEVEL_ERROR = 1,
  /// Something is odd and was worked around.
  WFVAE_LOG_LEVEL_WARN = 2,
  /// What was opened and where it runs.
  WFVAE_LOG_LEVEL_INFO = 3,
  /// Loading times and choices.
  WFVAE_LOG_LEVEL_DEBUG = 4,
  /// Everything, including ONNX Runtime's own details.
  WFVAE_LOG_LEVEL_TRACE = 5,
} wfvae_log_level;

/// The type of the numbers of latents.
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
  /// A sample, mean + exp(logvar / 2) * noise: C channels. The noise depends on wfvae_options.seed and the latent's
  /// place in the clip alone, not on how the clip was cut into calls.
  WFVAE_POSTERIOR_SAMPLE = 1,
  /// The mean's C channels, then those of the log-variance, clamped to -30..20: 2C channels. Never scaled.
  WFVAE_POSTERIOR_MOMENTS = 2,
} wfvae_posterior;

/// How the causal caches of streams are stored.
typedef enum wfvae_cache_type {
  /// float, as the network computes them: exact.
  WFVAE_CACHE_TYPE_F32 = 0,
  /// IEEE half precision: half the memory. Results differ by about a thousandth of their size: with the built-in model
  /// reconstructions keep their PSNR to 0.01 dB.
  WFVAE_CACHE_TYPE_F16 = 1,
} wfvae_cache_type;

/// How 3x3 convolutions are computed, which are nearly all of the work.
typedef enum wfvae_convolution {
  /// The fastest way whose results are the reference's to the rounding of float32: Winograd's algorithm (arXiv
  /// 1509.09308) in tiles of 2x2 and, in layers where their rounding stays small in the result, of 4x4 pixels.
  WFVAE_CONVOLUTION_EXACT = 0,
  /// Tiles of 4x4 pixels in all layers; some per cent faster. In the golden cases moments differ from the reference's by
  /// up to 1.6e-5 and frames by up to 3.7e-5: mostly within twice what WFVAE_CONVOLUTION_EXACT does, at worst 7 times.
  WFVAE_CONVOLUTION_FAST = 1,
  /// By ONNX Runtime's own convolutions, one multiplication for each weight and pixel: three 2D ones for the three
  /// frames of a causal one, added. About half as fast; while it loads, it takes three times the memory of the weights.
  /// Below float32 as WFVAE_CONVOLUTION_STACKED.
  WFVAE_CONVOLUTION_DIRECT = 2,
  /// The same as one 2D convolution of the three frames stacked on their channels. WFVAE_CONVOLUTION_EXACT and _FAST are
  /// this on a CUDA device and below float32.
  WFVAE_CONVOLUTION_STACKED = 3,
  /// The same as one 3D convolution of a clip of three frames.
  WFVAE_CONVOLUTION_VOLUME = 4,
} wfvae_convolution;

/// How frames lie in memory between the layers, where convolutions are ONNX Runtime's: on a CUDA device, below float32, and
/// with WFVAE_CONVOLUTION_DIRECT, _STACKED and _VOLUME. Elsewhere they are channels-last always, and planes in models with
/// whole_clips. The results are the same to the rounding of the convolutions.
typedef enum wfvae_layout {
  /// As WFVAE_LAYOUT_PLANES.
  WFVAE_LAYOUT_AUTO = 0,
  /// A plane for each channel. Each norm then transposes its frame twice.
  WFVAE_LAYOUT_PLANES = 1,
  /// The channels of a pixel side by side, as tensor cores want them; norms transpose nothing. Only a CUDA device has such
  /// convolutions, of float32, TF32 and float16; with bfloat16 it is WFVAE_STATUS_INVALID_ARGUMENT. The processor
  /// transposes around each convolution, which is slower than planes.
  WFVAE_LAYOUT_CHANNELS_LAST = 2,
} wfvae_layout;

/// In which numbers a direction of the network computes. Frames and latents of callers do not depend on it.
///
/// Below float32, convolutions, matrix products and causal caches are of the narrower type, and weights take half of the
/// memory; residual sums, the statistics of norms, the scores of attention, wavelets and interpolation stay float32, whose
/// products a CUDA device may then round to TF32. More inputs then make an output that is not finite, which is
/// WFVAE_STATUS_NOT_FINITE in every precision. Models with whole_clips compute in float32 only.
typedef enum wfvae_precision {
  /// float32 throughout.
  WFVAE_PRECISION_F32 = 0,
  /// float32, but a CUDA device may round the factors of products to 11 bits (TF32). WFVAE_STATUS_INVALID_ARGUMENT with
  /// WFVAE_PROVIDER_CPU; as F32 where WFVAE_PROVIDER_AUTO takes the processor.
  WFVAE_PRECISION_TF32 = 1,
  /// IEEE half precision. In the golden cases, run on the processor, moments differ from the reference's by up to 2.6e-3
  /// of their largest value and frames by up to 4.7e-3 of theirs. That is a lower bound for GPUs, as the processor
  /// computes each convolution in float32 and rounds its result. There it is slower than F32.
  WFVAE_PRECISION_F16 = 2,
  /// bfloat16, on CUDA devices only and where the runtime has such convolutions; else wfvae_create() is
  /// WFVAE_STATUS_PROVIDER or _RUNTIME.
  WFVAE_PRECISION_BF16 = 3,
} wfvae_precision;

/// Whether large frames are worked on in tiles, which takes less memory at a time and more work in all: tiles of size t
/// that overlap by o do (t / (t - o)) squared times the work. In a stream (clip_frames is 0) each tile has causal caches
/// of its own, so that tiles save working memory only.
typedef enum wfvae_tiling {
  /// The whole frame at once.
  WFVAE_TILING_OFF = 0,
  /// Tiles that overlap by as much as the network looks around (twice the halo in wfvae_model_info), so that the result
  /// is the whole frame's but for rounding. Only for models without attention.
  WFVAE_TILING_EXACT = 1,
  /// Tiles in whose overlap one fades into the next. For any model; the result is not that of the whole frame, and
  /// attention only sees its tile.
  WFVAE_TILING_BLENDED = 2,
} wfvae_tiling;

/// Which graphs wfvae_model_save_onnx() writes.
typedef enum wfvae_graphs {
  /// Those that the library runs: encoder.0, ..., decoder.0, ... Each is one step for one frame; causal caches are inputs
  /// and outputs. For a model that takes whole clips the same as WFVAE_GRAPHS_CLIP.
  WFVAE_GRAPHS_STEPS = 0,
  /// The whole clip in one graph, encoder.clip and decoder.clip, as a plain export would have it.
  WFVAE_GRAPHS_CLIP = 1,
} wfvae_graphs;

/// A stream: the causal caches and counters of one clip at a time. Its two directions, encode and decode, are
/// independent of each other.
///
/// Thread-safety: one thread at a time; a call that finds another thread inside returns WFVAE_STATUS_BUSY.
/// wfvae_cancel() may be called at any time. Streams of one model run at the same time without disturbing each other.
typedef struct wfvae wfvae;

/// A latent file that is open for reading. Memory does not grow with the clip.
///
/// Thread-safety: safe, but for wfvae_latent_reader_close().
typedef struct wfvae_latent_reader wfvae_latent_reader;

/// A latent file that is being written: safetensors with one tensor, [T, C, h, w], and the metadata that one needs to
/// decode it; docs/formats.md lists the keys.
///
/// Latents go to a temporary file in the target's folder, which wfvae_latent_writer_finish() makes the target. Memory
/// does not grow with the clip.
///
/// Thread-safety: one thread at a time; a call that finds another thread inside returns WFVAE_STATUS_BUSY.
typedef struct wfvae_latent_writer wfvae_latent_writer;

/// An open model: a checked checkpoint and the sessions that run it.
///
/// Thread-safety: safe. Any number of streams in any threads share one model and its weights.
typedef struct wfvae_model wfvae_model;

/// A stream's state at one point of its clip: causal caches, waiting frames, counters and the frame count, in both
/// directions. It belongs to no stream: any one of the same model, opened with the same cache_type, precision and convolution
/// (exact and fast are one; so are stacked and volume), of the same size, directions and tiles can be restored to it; at a
/// clip's start and after its flushes, one of other tiles or of a model opened otherwise too.
///
/// latent_type, posterior, seed and scaled are the stream's: one that is restored keeps its own.
///
/// Thread-safety: safe; it never changes. Several streams may be restored to one snapshot at the same time.
typedef struct wfvae_snapshot wfvae_snapshot;

/// What a stream does not know about the clip. Fill with zero, set struct_size.
typedef struct wfvae_latent_writer_options {
  /// sizeof(wfvae_latent_writer_options).
  size_t struct_size;
  /// Frames per second, as fps_num / fps_den. Both 0: unknown.
  uint32_t fps_num;
  /// As fps_num.
  uint32_t fps_den;
  /// A text of your own that is kept with the latents, up to 65536 bytes of UTF-8. NULL: none.
  const char *note;
} wfvae_latent_writer_options;

/// What a latent file holds. Pointers are valid as long as the reader is open.
typedef struct wfvae_latent_file_info {
  /// sizeof(wfvae_latent_file_info), set by the caller.
  size_t struct_size;
  /// wfvae_model_info.identity of the model that the latents belong to.
  uint64_t model_identity;
  /// Frames of the clip, at least 1.
  uint64_t n_frames;
  /// T: latents in the file.
  uint64_t n_latents;
  /// Of WFVAE_POSTERIOR_SAMPLE, else 0.
  uint64_t seed;
  /// Of the frames, in pixels.
  uint32_t width;
  /// Of the frames, in pixels.
  uint32_t height;
  /// 1: width or height is not a multiple of spatial_compression; wfvae_options.padding decodes it.
  uint32_t padded;
  /// Pixels per latent value, in each direction.
  uint32_t spatial_compression;
  /// Frames per latent, after the first.
  uint32_t temporal_compression;
  /// C.
  uint32_t latent_channels;
  /// w of the latents.
  uint32_t latent_width;
  /// h of the latents.
  uint32_t latent_height;
  /// A wfvae_posterior: what the numbers are. A file of WFVAE_POSTERIOR_MOMENTS holds 2C channels.
  uint32_t posterior;
  /// A wfvae_latent_type: how the file stores them. They can be read as either type.
  uint32_t latent_type;
  /// 1: the latents are (z - shift) * scale; wfvae_options.scaled decodes them.
  uint32_t scaled;
  /// Frames per second, as fps_num / fps_den. Both 0: unknown.
  uint32_t fps_num;
  /// As fps_num.
  uint32_t fps_den;
  /// 0.
  uint32_t reserved;
  /// The model's list, latent_channels numbers; NULL where the model has no usable lists.
  const float *scale;
  /// As scale.
  const float *shift;
  /// What wrote the file, as "libwfvae 0.1.0".
  const char *generator;
  /// The writer's own text, empty if there is none. UTF-8, by whoever made the file.
  const char *note;
  /// wfvae_model_info.encoder_identity of the encoder that made the latents; 0 if an early version wrote the file, which
  /// knew model_identity only.
  uint64_t encoder_identity;
  /// wfvae_model_info.decoder_identity of the model that made the latents; 0 if it held no decoder, or as above.
  uint64_t decoder_identity;
} wfvae_latent_file_info;

/// Receives messages. level is a wfvae_log_level; text is UTF-8 without a line end and valid during the call only.
///
/// Thread-safety: called in any thread that is inside a call on the model or its streams, also in several at once, and at
/// WFVAE_LOG_LEVEL_TRACE in ONNX Runtime's threads. It has the default floating-point mode, whatever the calling thread's
/// own is. It must not call this library and must not throw.
typedef void (*wfvae_log_callback)(void *user, uint32_t level, const char *text);

/// How a model is opened. Fill with zero, which means the default everywhere, and set struct_size.
typedef struct wfvae_model_options {
  /// sizeof(wfvae_model_options).
  size_t struct_size;
  /// Path of the ONNX Runtime library (libonnxruntime.so, 1.19 or newer). NULL: the environment variables
  /// WFVAE_ONNXRUNTIME and ORT_DYLIB_PATH, one that the process has loaded, beside libwfvae, the loader's search, in
  /// this order. A process uses one runtime; asking for another afterwards is WFVAE_STATUS_INVALID_STATE.
  const char *runtime_path;
  /// A wfvae_provider. One that was asked for and cannot run is an error, never a silent fallback.
  uint32_t provider;
  /// Device index of the provider. Must be 0 for WFVAE_PROVIDER_AUTO and _CPU.
  uint32_t device;
  /// Threads that work on one call, up to 1024; 0: all processors that the process may use. They sleep between calls.
  /// Each session has so many, less one (wfvae_model_info counts sessions). The first stream of a direction starts up to
  /// twice as many for a moment, to find out whether the system allows them.
  uint32_t n_threads;
  /// 1: also refuse weights that hold a NaN or an infinity now, and say which, which reads the whole checkpoint. 0: do not
  /// look; the first result that is not finite is WFVAE_STATUS_NOT_FINITE.
  uint32_t check_finite;
  /// NULL: no messages. Nothing is ever printed.
  wfvae_log_callback log_callback;
  /// Passed to log_callback. Must live as long as the model and its streams.
  void *log_user;
  /// A wfvae_log_level.
  uint32_t log_level;
  /// A wfvae_cache_type, for all streams of the model, where they compute in float32.
  uint32_t cache_type;
  /// Attention works on as many queries at once as keep its score matrix below so many bytes; 0: 64 MiB. The results are
  /// the same.
  uint64_t attention_bytes;
  /// A wfvae_convolution. Models with group norm over the clip ("groupnorm") use direct ones always.
  uint32_t convolution;
  /// A wfvae_layout.
  uint32_t layout;
  /// A wfvae_precision, of the encoder.
  uint32_t encode_precision;
  /// The same of the decoder.
  uint32_t decode_precision;
  /// Options of ONNX Runtime's CUDA provider in place of the library's own choice, "name=value" with commas between them;
  /// NULL or "": none. For tuning and measuring; ONNX Runtime's documentation says what they mean. Names are
  /// arena_extend_strategy, cudnn_conv_algo_search, cudnn_conv_use_max_workspace, fuse_conv_bias, gpu_mem_limit (bytes, of
  /// each session) and use_tf32; others are WFVAE_STATUS_INVALID_ARGUMENT, and so are all with
  /// WFVAE_PROVIDER_CPU. A wrong value is WFVAE_STATUS_RUNTIME. Where WFVAE_PROVIDER_AUTO takes the processor they
  /// are not used.
  const char *provider_options;
} wfvae_model_options;

/// What a model is and what it runs on. Strings are valid as long as the model is open.
typedef struct wfvae_model_info {
  /// sizeof(wfvae_model_info), set by the caller.
  size_t struct_size;
  /// The folder or file of the checkpoint that was opened, or "the built-in model".
  const char *name;
  /// The execution provider that runs the network: "CPU" or "CUDA".
  const char *provider;
  /// The ONNX Runtime library in use.
  const char *runtime_path;
  /// Its version.
  const char *runtime_version;
  /// Trainable numbers that the checkpoint holds.
  uint64_t parameters;
  /// Tells this model from others: a hash of samples of the weights as they are stored, and of the interpolation. The
  /// same on every machine and in every release; a copy of the weights in another precision has another one.
  uint64_t identity;
  /// Bytes of the weights loaded so far, as the network computes with them.
  uint64_t weight_bytes;
  /// Sessions loaded so far. Each holds weights that no other has.
  uint32_t sessions;
  /// 1: WFVAEModel, 2: WFVAE2Model.
  uint32_t generation;
  /// C of the latents.
  uint32_t latent_channels;
  /// Pixels per latent value, in each direction.
  uint32_t spatial_compression;
  /// Frames per latent, after the first.
  uint32_t temporal_compression;
  /// Frames that can go in before a latent comes out.
  uint32_t encode_delay;
  /// Frames that the decoder holds back until more latents or the flush come.
  uint32_t decode_delay;
  /// 1: has attention, whose time grows with the square of a frame's area.
  uint32_t has_attention;
  /// 1: the config's scale and shift can be used, see wfvae_options.scaled.
  uint32_t has_scaling;
  /// 1: norm_type "groupnorm", whose statistics span the whole clip. Such a model cannot stream: each encode and each
  /// decode call gets a whole clip and ends it, and wfvae_reset() comes before the next one.
  uint32_t whole_clips;
  /// Pixels that exact tiles of the encoder must know around what they decide, a multiple of spatial_compression; 0: the
  /// network looks everywhere, so that there are no exact tiles.
  uint32_t encode_halo;
  /// The same of the decoder.
  uint32_t decode_halo;
  /// Why WFVAE_PROVIDER_AUTO took the processor; empty if it was not asked, or did not.
  const char *fallback;
  /// Bytes that the model's streams hold on its device, without weights and working memory; 0 on the processor.
  uint64_t device_bytes;
  /// Index of the provider's device; 0 for the processor.
  uint32_t device;
  /// A wfvae_precision: in what the encoder computes.
  uint32_t encode_precision;
  /// In what the decoder computes.
  uint32_t decode_precision;
  /// WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE or both: what streams of the model can do. A checkpoint may hold
  /// the encoder or the decoder alone.
  uint32_t directions;
  /// Tells this model's encoder, and so its latents, from others: a hash of samples of the encoder's weights, by their
  /// numbers and not by the type that they are stored in. The same on every machine and in every release; 0 if the
  /// checkpoint holds no encoder.
  uint64_t encoder_identity;
  /// The same of the decoder and of the interpolation.
  uint64_t decoder_identity;
} wfvae_model_info;

/// How a stream is made. Fill with zero, set struct_size, width and height; zero is the default of all else.
typedef struct wfvae_options {
  /// sizeof(wfvae_options).
  size_t struct_size;
  /// Of the frames, in pixels, 1 to 32768: multiples of the model's spatial_compression, unless padding is set.
  uint32_t width;
  /// As width.
  uint32_t height;
  /// WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE or both; 0: all that the model has, which is both unless its checkpoint
  /// holds one half alone (wfvae_model_info.directions). A direction that the stream lacks costs no
  /// memory, and no weights of it are loaded.
  uint32_t directions;
  /// 1: any width and height; encoding repeats the last column and row up to the next multiple, decoding crops them.
  uint32_t padding;
  /// A wfvae_latent_type, for both directions.
  uint32_t latent_type;
  /// A wfvae_posterior, for encoding.
  uint32_t posterior;
  /// Of WFVAE_POSTERIOR_SAMPLE.
  uint64_t seed;
  /// 1: latents outside the library are (z - shift) * scale with the config's lists, in both directions. 0: they are
  /// the network's own z.
  uint32_t scaled;
  /// A wfvae_tiling.
  uint32_t tiling;
  /// Of the tiles, in pixels, rounded up to multiples of spatial_compression. 0: the frame's; with tile_height 0 too and
  /// memory_limit, that of the largest tile that the limit allows, which may be the whole frame.
  uint32_t tile_width;
  /// As tile_width.
  uint32_t tile_height;
  /// By how many pixels blended tiles overlap at least, rounded up likewise; 0: a quarter of a tile's shorter side.
  uint32_t tile_overlap;
  /// 1: wfvae_latent_reader_check_stream() lets latents of other encoders through, as long as their sizes are the model's:
  /// for a copy of the model in another precision, or where you know that they fit.
  uint32_t any_encoder;
  /// Above 0: each encode and each decode call gets a whole clip, of at most so many frames, and ends it;
  /// wfvae_reset() comes before the next one. Tiles are then worked on one after the other through all frames, so that
  /// only one tile's causal caches exist. 0: the clip comes in any number of calls; a model that takes whole clips
  /// (wfvae_model_info.whole_clips) takes one of any length, and nothing says in advance whether memory is enough.
  uint64_t clip_frames;
  /// Above 0: wfvae_create() fails with WFVAE_STATUS_OUT_OF_MEMORY and says the numbers, if the stream would need more
  /// bytes than this, the model's weights included; see wfvae_estimate(). A model that takes whole clips needs
  /// clip_frames for it. 0: no limit but the machine's.
  uint64_t memory_limit;
} wfvae_options;

/// What a stream takes while it runs, in bytes, to within 15 % or 4 MB, whichever is more; for models that take whole clips
/// to within a third. Loading the weights takes more for a moment. Memory grows with n_threads: each thread has its own
/// for the largest convolution.
typedef struct wfvae_memory {
  /// sizeof(wfvae_memory), set by the caller.
  size_t struct_size;
  /// All of the following four.
  uint64_t total_bytes;
  /// The model's weights for the stream's directions, shared with its other streams.
  uint64_t weight_bytes;
  /// Causal caches, waiting frames and buffers of the encoder.
  uint64_t encode_state_bytes;
  /// The same of the decoder.
  uint64_t decode_state_bytes;
  /// What the network's layers hand to each other. Kept from call to call, shared with the model's other streams.
  uint64_t working_bytes;
  /// Of the encoder's tiles, in pixels: the whole frame's without tiling.
  uint32_t encode_tile_width;
  /// As encode_tile_width.
  uint32_t encode_tile_height;
  /// The encoder's tiles of a frame; 0 without encoding.
  uint32_t encode_tiles;
  /// Of the decoder's tiles, in pixels.
  uint32_t decode_tile_width;
  /// As decode_tile_width.
  uint32_t decode_tile_height;
  /// The decoder's tiles of a frame; 0 without decoding.
  uint32_t decode_tiles;
} wfvae_memory;

/// One picture in the caller's memory, read by encode calls and written by decode calls.
///
/// Fill with zero, then set struct_size and what you need. The library uses the memory during the call only.
typedef struct wfvae_frame {
  /// sizeof(wfvae_frame). The same in all elements of an array.
  size_t struct_size;
  /// A wfvae_pixel_format.
  uint32_t format;
  /// In pixels; must be the stream's.
  uint32_t width;
  /// In pixels; must be the stream's.
  uint32_t height;
  /// Significant low bits of the 16-bit formats, 9 to 16; 0 means 16. Must be 0 for other formats.
  uint32_t bit_depth;
  /// A wfvae_range for the float formats. Must be 0 for other formats.
  uint32_t range;
  /// Must be 0.
  uint32_t reserved;
  /// The first row of each plane, aligned to the element's size. Unused ones are ignored.
  void *planes[4];
  /// Bytes from one row to the next: at least a row in magnitude, a multiple of the element's size; negative for
  /// pictures stored bottom up.
  ptrdiff_t strides[4];
} wfvae_frame;

/// Sizes and counters of a stream.
typedef struct wfvae_info {
  /// sizeof(wfvae_info), set by the caller.
  size_t struct_size;
  /// Of the frames, in pixels.
  uint32_t width;
  /// Of the frames, in pixels.
  uint32_t height;
  /// w of the latents.
  uint32_t latent_width;
  /// h of the latents.
  uint32_t latent_height;
  /// C of the latents that decoding reads.
  uint32_t latent_channels;
  /// Channels that encoding writes: C, or 2C for WFVAE_POSTERIOR_MOMENTS.
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
  /// Runs of the encoder's steps since the stream was made. Their number per latent is constant.
  uint64_t encode_steps;
  /// Runs of the decoder's steps since the stream was made. Their number per latent is constant.
  uint64_t decode_steps;
  /// 1: an earlier call failed; call wfvae_reset().
  uint32_t needs_reset;
  /// 0.
  uint32_t reserved;
} wfvae_info;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/// Begins a latent file for the latents that a stream encodes: its model, size, padding, latent type, posterior, seed and
/// scaling go into the file. A file of that name stays as it is until wfvae_latent_writer_finish() replaces it.
///
/// stream: read during the call only; need not live as long as the writer.
/// path: of the target, a regular file or nothing yet, in a folder that can be written to. Pipes and devices are refused,
/// and with WFVAE_STATUS_INVALID_ARGUMENT the files of the stream's model, by any name, and names that its folder would
/// later open as weights. UTF-8.
/// options: NULL for the defaults; read during the call only.
/// writer: receives the handle on success, to be destroyed with wfvae_latent_writer_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _IO. The text is in wfvae_last_error(NULL).
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_latent_writer_create(const struct wfvae *stream,
                                             const char *path,
                                             const struct wfvae_latent_writer_options *options,
                                             struct wfvae_latent_writer **writer);

/// Appends latents, as wfvae_encode_chunk() and wfvae_encode_flush() of the stream write them.
///
/// latents: n_latents latents, [n_latents, encoded_channels, latent_height, latent_width] without gaps, of the stream's
/// latent type and aligned for it; read during the call only. May be NULL if n_latents is 0.
/// n_latents: 0 to 65536.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, _INVALID_STATE (the file is finished, or an earlier call failed), _BUSY;
/// _NOT_FINITE for a NaN, an infinity, or a number that a float16 file cannot hold, after which nothing was appended;
/// _IO, after which the temporary file is gone and the writer can only be destroyed.
/// Thread-safety: one thread at a time for each writer.
enum wfvae_status wfvae_latent_writer_write(struct wfvae_latent_writer *writer,
                                            const void *latents,
                                            size_t n_latents);

/// Completes the file: writes its header, brings it to the disk and puts it in the target's place, at once.
///
/// n_frames: of the clip, at least 1: wfvae_info.frames_in. The latents written must be those of so many frames, see
/// wfvae_latents_for_frames().
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, _INVALID_STATE, _BUSY, after which the call may be repeated; _IO, after
/// which the temporary file is gone, the target is as it was, and the writer can only be destroyed.
/// Thread-safety: one thread at a time for each writer.
enum wfvae_status wfvae_latent_writer_finish(struct wfvae_latent_writer *writer, uint64_t n_frames);

/// Destroys a writer. Of a file that was not finished nothing remains.
///
/// writer: must not be used afterwards, nor in another thread meanwhile. NULL is allowed.
///
/// Thread-safety: safe, once per writer.
void wfvae_latent_writer_destroy(struct wfvae_latent_writer *writer);

/// Opens a latent file and checks all of it but the latents' values.
///
/// path: UTF-8. The file must not change while it is open; if it does, reads may fail or give other numbers.
/// reader: receives the handle on success, to be closed with wfvae_latent_reader_close(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _LATENT_FILE, _OUT_OF_MEMORY. The text, from wfvae_last_error(NULL),
/// names the file, what was found and what was expected.
/// Thread-safety: safe.
enum wfvae_status wfvae_latent_reader_open(const char *path,
                                           struct wfvae_latent_reader **reader);

/// Says what a latent file holds, for wfvae_options of a stream that decodes it, and for buffers.
///
/// info: set its struct_size; the rest is written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe.
enum wfvae_status wfvae_latent_reader_get_info(const struct wfvae_latent_reader *reader,
                                               struct wfvae_latent_file_info *info);

/// Fails unless the latents of a file are those of a model's encoder: its identity, its sizes, and for scaled latents its
/// scale and shift. Whether the decoder is the one that was beside the encoder does not matter, but for a checkpoint without
/// an encoder, which must hold that one. Files of early versions name whole models only.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT; _LATENT_FILE, with a text that names both and says what to do.
/// Thread-safety: safe.
enum wfvae_status wfvae_latent_reader_check_model(const struct wfvae_latent_reader *reader,
                                                  const struct wfvae_model *model);

/// Fails unless a stream can decode the latents of a file: as wfvae_latent_reader_check_model(), unless
/// wfvae_options.any_encoder is set, and the frames' size and wfvae_options.scaled.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _LATENT_FILE, with a text that names both and says what to do.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_latent_reader_check_stream(const struct wfvae_latent_reader *reader,
                                                   const struct wfvae *stream);

/// Reads latents to decode. Of a file of moments these are the means.
///
/// start: the first latent, from 0.
/// n_latents: 1 to 65536, start + n_latents at most wfvae_latent_file_info.n_latents.
/// latent_type: a wfvae_latent_type, of the memory; numbers are converted if the file stores the other one.
/// latents: receives [n_latents, latent_channels, latent_height, latent_width] without gaps; aligned for latent_type. Its
/// contents are unspecified on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO; _NOT_FINITE if a latent holds a NaN, an infinity, or a number that
/// latent_type cannot hold.
/// Thread-safety: safe.
enum wfvae_status wfvae_latent_reader_read(const struct wfvae_latent_reader *reader,
                                           uint64_t start,
                                           size_t n_latents,
                                           uint32_t latent_type,
                                           void *latents);

/// Reads both moments, of a file of WFVAE_POSTERIOR_MOMENTS.
///
/// start, n_latents, latent_type: as for wfvae_latent_reader_read().
/// latents: receives [n_latents, 2 * latent_channels, latent_height, latent_width], each latent's mean before its
/// log-variance.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _NOT_FINITE as wfvae_latent_reader_read(); _INVALID_STATE if the file
/// holds no moments.
/// Thread-safety: safe.
enum wfvae_status wfvae_latent_reader_read_moments(const struct wfvae_latent_reader *reader,
                                                   uint64_t start,
                                                   size_t n_latents,
                                                   uint32_t latent_type,
                                                   void *latents);

/// Closes a latent file.
///
/// reader: must not be used afterwards, nor in another thread meanwhile. NULL is allowed.
///
/// Thread-safety: safe, once per reader.
void wfvae_latent_reader_close(struct wfvae_latent_reader *reader);

/// Opens a model and checks all of its checkpoint. Weights are loaded by the first stream that needs them.
///
/// path: a folder with config.json and *.safetensors; the folder of a pipeline, whose vae/ is opened; a folder
/// models--OWNER--NAME of a download cache, whose snapshot of refs/main is opened, or its only one; or one .safetensors
/// file or index (*.safetensors.index.json) with config.json beside it. UTF-8. NULL: the model built into the library. The
/// checkpoint may hold the encoder or the decoder alone.
/// Of several weights in a folder, diffusion_pytorch_model.safetensors is taken before model.safetensors, and the index of
/// either (NAME.safetensors.index.json, with its shards) before the single file. Without one of these there must be one
/// *.safetensors file, or one index with its shards, of any name and variant.
/// Weights are F32, F16, BF16, or F64, which is rounded to float32; tensors that the network does not use may have any type.
/// A field of config.json that the library does not know is an error if it may change the results, else a warning.
/// Files that are written to while the model is open make wfvae_create() and wfvae_model_save_onnx() return
/// WFVAE_STATUS_CHECKPOINT, where weights are still to be read; one that is deleted or replaced by a new file of its name
/// stays the old one here.
/// options: NULL for the defaults. Read during the call only, but for log_user.
/// model: receives the handle on success, to be closed with wfvae_model_close(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _IO, _CONFIG, _CHECKPOINT, _UNSUPPORTED_MODEL,
/// _RUNTIME_MISSING, _RUNTIME_TOO_OLD, _PROVIDER, _RUNTIME, _OUT_OF_MEMORY. The text, from wfvae_last_error(NULL), names
/// file, tensor or field, what was found and what was expected.
/// Thread-safety: safe.
enum wfvae_status wfvae_model_open(const char *path,
                                   const struct wfvae_model_options *options,
                                   struct wfvae_model **model);

/// Closes a model. Its streams keep what they need until they are destroyed, so the order does not matter.
///
/// model: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per model.
void wfvae_model_close(struct wfvae_model *model);

/// Says what a model is and what it runs on.
///
/// info: set its struct_size; the rest is written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe.
enum wfvae_status wfvae_model_get_info(const struct wfvae_model *model, struct wfvae_model_info *info);

/// Latents of a whole clip of n_frames frames, with the last group completed by the flush: 1 + ceil((n_frames - 1) /
/// temporal_compression), 0 for 0.
///
/// Returns: the number, or 0 if model is NULL.
/// Thread-safety: safe.
uint64_t wfvae_latents_for_frames(const struct wfvae_model *model, uint64_t n_frames);

/// Frames of a whole clip of n_latents latents: temporal_compression * (n_latents - 1) + 1, 0 for 0.
///
/// Returns: the number (UINT64_MAX where it would be larger), or 0 if model is NULL.
/// Thread-safety: safe.
uint64_t wfvae_frames_for_latents(const struct wfvae_model *model, uint64_t n_latents);

/// Writes a model's ONNX graphs with their weights beside them, encoder.0.onnx, encoder.0.bin, ..., for viewers and other
/// runtimes. Inputs size.0, size.1, ... are whole numbers that follow from the size of a frame, and how many queries attention
/// takes at a time; the description of each in the file (doc_string) tells which.
///
/// folder: must exist; files of these names are replaced. One that holds the model's own files is refused, with
/// WFVAE_STATUS_INVALID_ARGUMENT and nothing written. UTF-8.
/// graphs: a wfvae_graphs. A half that the checkpoint lacks is left out.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _OUT_OF_MEMORY; _CHECKPOINT if its files changed since they were opened.
/// After a failure nothing is left of the graph that was being written.
/// Thread-safety: safe.
enum wfvae_status wfvae_model_save_onnx(const struct wfvae_model *model,
                                        const char *folder,
                                        uint32_t graphs);

/// A short English text for a status; any number is allowed.
///
/// Returns: a static string, never NULL.
/// Thread-safety: safe.
const char *wfvae_status_str(int32_t status);

/// The text of the last error: what was wrong, and what to do.
///
/// stream: the stream whose call failed, or NULL for the last failing call of any kind in the calling thread.
///
/// Returns: a string, empty if there was no error, never NULL. With a stream it is valid until the next call on that
/// stream; with NULL until the calling thread's next failing call. A reset or a restore clears a stream's
/// text.
/// Thread-safety: as for every call on the stream; with NULL safe.
const char *wfvae_last_error(const struct wfvae *stream);

/// Makes a stream on a model, and loads the model's weights for the stream's directions if no stream did before (for a
/// large model that takes seconds). On a CUDA device it also runs each step once, so that the first chunk does not wait
/// for what a size's first run does: choosing algorithms, loading kernels, growing the memory.
///
/// options: read during the call only.
/// stream: receives the handle on success, to be destroyed with wfvae_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE, _OUT_OF_MEMORY, _RUNTIME; _PROVIDER if the precision cannot
/// be had where the model runs; _CHECKPOINT if the checkpoint's files changed since they were opened, _IO if they cannot be
/// read any more. The text is in wfvae_last_error(NULL).
/// Thread-safety: safe.
enum wfvae_status wfvae_create(struct wfvae_model *model,
                               const struct wfvae_options *options,
                               struct wfvae **stream);

/// Says what a stream with these options would take and how it would be tiled. Allocates and loads nothing. For a model
/// that takes whole clips these have clip_frames frames; where that is 0, the shortest ones of more than one latent.
///
/// options: as for wfvae_create().
/// memory: set its struct_size; the rest is written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE; _OUT_OF_MEMORY if it would exceed memory_limit.
/// Thread-safety: safe.
enum wfvae_status wfvae_estimate(const struct wfvae_model *model,
                                 const struct wfvae_options *options,
                                 struct wfvae_memory *memory);

/// Destroys a stream. What was not flushed is lost.
///
/// stream: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per stream. A call that another thread has already entered is cancelled and returns there.
void wfvae_destroy(struct wfvae *stream);

/// Encodes frames and writes the latents that they complete: one for the clip's first frame, then one for every
/// temporal_compression frames. Frames of an incomplete group wait inside.
///
/// frames: n_frames frames of the stream's size, in order of time; read during the call only.
/// n_frames: 1 to 65536.
/// latents: room for `capacity` latents, [capacity, encoded_channels, latent_height, latent_width] without gaps,
/// aligned for the latent type; may be NULL if capacity is 0.
/// capacity: in latents; wfvae_encode_count() says how many a call needs.
/// written: receives the number of latents written; 0 on failure.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, _INVALID_SIZE, _CAPACITY, _INVALID_STATE, _BUSY, _NEEDS_RESET, after which
/// nothing was consumed; _RUNTIME, _CANCELLED, after which the contents of latents are unspecified and the stream needs
/// wfvae_reset(); _OUT_OF_MEMORY before the first step, after which nothing was consumed, or in one, which is as _RUNTIME;
/// _NOT_FINITE for float frames (in decoding: latents) with a NaN or an infinity, after which nothing was consumed, and for
/// results that hold one or that latents of float16 cannot hold, after which the stream needs wfvae_reset(). Of the last
/// two, wfvae_info.needs_reset says which it was.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_encode_chunk(struct wfvae *stream,
                                     const struct wfvae_frame *frames,
                                     size_t n_frames,
                                     void *latents,
                                     size_t capacity,
                                     size_t *written);

/// Ends the clip for encoding: writes the latent of an incomplete last group, whose missing frames repeat the last one.
/// Further frames need wfvae_reset(). A second flush writes nothing.
///
/// latents, capacity, written: as for wfvae_encode_chunk(); one latent is always enough.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_encode_flush(struct wfvae *stream, void *latents, size_t capacity, size_t *written);

/// Decodes latents and writes the frames that are final: one for the clip's first latent, later temporal_compression for
/// each, of which the last decode_delay wait inside for the next latent or the flush.
///
/// latents: n_latents latents, [n_latents, latent_channels, latent_height, latent_width] without gaps, aligned for the
/// latent type; read during the call only.
/// n_latents: 1 to 65536.
/// frames: capacity descriptions of memory to write to, filled in order; those of frames that are not written are not
/// looked at.
/// capacity: in frames; wfvae_decode_count() says how many a call needs.
/// written: receives the number of frames written; 0 on failure.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_decode_chunk(struct wfvae *stream,
                                     const void *latents,
                                     size_t n_latents,
                                     struct wfvae_frame *frames,
                                     size_t capacity,
                                     size_t *written);

/// Ends the clip for decoding: writes the frames that waited inside. Further latents need wfvae_reset(). A second flush
/// writes nothing.
///
/// frames, capacity, written: as for wfvae_decode_chunk(); decode_delay of wfvae_model_info is always enough.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_decode_flush(struct wfvae *stream,
                                     struct wfvae_frame *frames,
                                     size_t capacity,
                                     size_t *written);

/// Forgets the clip in both directions, what waits inside, the frame count, any failure and any cancellation. Memory is
/// kept for the next clip.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _RUNTIME.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_reset(struct wfvae *stream);

/// Stops the call that runs on a stream in another thread: it returns WFVAE_STATUS_CANCELLED after the layer it is in,
/// typically within some milliseconds. If none runs, the next one returns that. Until wfvae_reset() or
/// wfvae_snapshot_restore().
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe, until wfvae_destroy() is called.
enum wfvae_status wfvae_cancel(struct wfvae *stream);

/// Tells the decoder how many frames the clip has, so that it does not write those that the encoder's flush added. To
/// be called before the last latents are decoded; a reset forgets it.
///
/// n_frames: the clip's length, or UINT64_MAX for no limit.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_set_frame_count(struct wfvae *stream, uint64_t n_frames);

/// Sizes and counters of a stream.
///
/// info: set its struct_size; the rest is written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_get_info(const struct wfvae *stream, struct wfvae_info *info);

/// The latents that wfvae_encode_chunk() would write for n_frames more frames.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_encode_count(const struct wfvae *stream, size_t n_frames, size_t *count);

/// The latents that wfvae_encode_flush() would write: 0 or 1.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_encode_flush_count(const struct wfvae *stream, size_t *count);

/// The frames that wfvae_decode_chunk() would write for n_latents more latents.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_decode_count(const struct wfvae *stream, size_t n_latents, size_t *count);

/// The frames that wfvae_decode_flush() would write.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_decode_flush_count(const struct wfvae *stream, size_t *count);

/// Takes a snapshot of a stream, to come back to. Only frames that the rest of the clip needs are copied: at most two thirds of
/// encode_state_bytes and decode_state_bytes, next to nothing at a clip's start and after its flushes.
///
/// stream: is not changed. A cancellation that no call has seen yet is not part of the snapshot.
/// snapshot: receives the handle on success, to be destroyed with wfvae_snapshot_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _NEEDS_RESET after a failure, which leaves no whole state;
/// _NOT_FINITE if the state holds a NaN or an infinity, which the next result will show too; _OUT_OF_MEMORY, and _RUNTIME if
/// a device's memory cannot be read, after which the stream goes on.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_snapshot_create(const struct wfvae *stream,
                                        struct wfvae_snapshot **snapshot);

/// Puts a stream where a snapshot was taken, in both directions: what follows is what followed there, to the bit. The
/// clip that the stream was in is forgotten; as with wfvae_reset(), so are any failure and any cancellation. The step
/// counters of wfvae_info go on.
///
/// stream: of the snapshot's model, cache_type, size, directions and tiles.
/// snapshot: is not changed and can be used again.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, also for a snapshot of another model, other directions or tiles, another
/// cache_type, or from a version that keeps its state in another way; _INVALID_SIZE for one of another size;
/// _NOT_FINITE for one that holds a NaN or an infinity; _BUSY, _RUNTIME. After a failure the stream is as it was before; if
/// copying to a device failed, with _RUNTIME or _OUT_OF_MEMORY, it needs wfvae_reset().
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_snapshot_restore(struct wfvae *stream,
                                         const struct wfvae_snapshot *snapshot);

/// Destroys a snapshot. Streams that were restored to it do not need it.
///
/// snapshot: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per snapshot, when no call uses it.
void wfvae_snapshot_destroy(struct wfvae_snapshot *snapshot);

/// Bytes that wfvae_snapshot_write() writes; the memory that the snapshot takes is no more.
///
/// Returns: the number, or 0 if snapshot is NULL.
/// Thread-safety: safe.
size_t wfvae_snapshot_size(const struct wfvae_snapshot *snapshot);

/// Writes a snapshot as bytes, which wfvae_snapshot_read() reads in this or another process, on a machine of the same
/// byte order.
///
/// buffer: receives the bytes; needs no alignment.
/// capacity: of buffer, in bytes: wfvae_snapshot_size() or more.
/// written: receives the number of bytes written; 0 on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _CAPACITY.
/// Thread-safety: safe.
enum wfvae_status wfvae_snapshot_write(const struct wfvae_snapshot *snapshot,
                                       void *buffer,
                                       size_t capacity,
                                       size_t *written);

/// Makes a snapshot of the bytes that wfvae_snapshot_write() wrote. All of them are checked, so that damaged, cut and
/// foreign ones are refused; whether the snapshot fits a stream is checked by wfvae_snapshot_restore().
///
/// bytes: read during the call only; need no alignment.
/// size: of bytes; exactly what was written.
/// snapshot: receives the handle on success, to be destroyed with wfvae_snapshot_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT for bytes that are no whole, undamaged snapshot of a version that this one
/// reads; _OUT_OF_MEMORY. The text is in wfvae_last_error(NULL).
/// Thread-safety: safe.
enum wfvae_status wfvae_snapshot_read(const void *bytes,
                                      size_t size,
                                      struct wfvae_snapshot **snapshot);

/// Makes a second stream of the same model and options, which is where the first is in its clip. Afterwards they do not
/// disturb each other, and may run at the same time.
///
/// stream: is not changed. A cancellation that no call has seen yet stays with it.
/// fork: receives the handle on success, to be destroyed with wfvae_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _RUNTIME; _NEEDS_RESET after a failure; _OUT_OF_MEMORY, after which
/// the first stream goes on.
/// Thread-safety: one thread at a time for each stream.
enum wfvae_status wfvae_fork(const struct wfvae *stream,
                             struct wfvae **fork);

/// The WFVAE_API_VERSION of the library that is loaded, at least that of the header a program was built with.
///
/// Thread-safety: safe.
uint32_t wfvae_api_version(void);

/// The release of the library that is loaded, as "0.1.0".
///
/// Returns: a static string.
/// Thread-safety: safe.
const char *wfvae_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WFVAE_H */
