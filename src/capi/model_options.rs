//! `wfvae_model_options`, checked and converted.

use super::abi::{self, CStruct};
use super::error_text::NamesErrorText;
use super::text::c_text;
use crate::error::{Result, fail};
use crate::float_mode::FloatMode;
use crate::logger::Logger;
use crate::stream::{CacheType, Convolution, Layout, ModelOptions, Precision, Provider};
use log::{Level, LevelFilter};
use std::ffi::{c_char, c_void};

/// Where the network runs.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_provider {
    /// CUDA device 0 if it can be used, otherwise the CPU. wfvae_model_info.fallback then says what CUDA lacks.
    /// wfvae_model_get_info() says what was chosen and why.
    Auto = 0,
    /// The CPU.
    Cpu = 1,
    /// A CUDA device. Needs the ONNX Runtime of the package onnxruntime-gpu. If it cannot be used, opening the model
    /// fails with WFVAE_STATUS_PROVIDER and a text that names what is missing. Streams keep their causal caches and all
    /// intermediate tensors on the device. The caller's frames and latents are in the CPU's memory, or in the device's: see
    /// wfvae_options.frame_memory and .latent_memory.
    Cuda = 2,
}

/// The type in which one direction of the network computes. The caller's frames and latents do not depend on it.
///
/// Below float32, convolutions, matrix products and causal caches use the narrower type, and weights take half the
/// memory. Residual sums, the statistics of norms, attention scores, wavelets and interpolation stay float32; a CUDA
/// device may compute their products in TF32. Values overflow earlier in float16. In every precision, a result that is
/// not finite is WFVAE_STATUS_NOT_FINITE. Models with whole_clips compute in float32 only.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_precision {
    /// float32 throughout.
    F32 = 0,
    /// float32, but a CUDA device may round the factors of products to 11 bits (TF32). WFVAE_STATUS_INVALID_ARGUMENT
    /// with WFVAE_PROVIDER_CPU. The same as F32 if WFVAE_PROVIDER_AUTO chooses the CPU.
    Tf32 = 1,
    /// IEEE half precision. In the golden test cases on the CPU, moments differ from the reference's by up to 2.6e-3 of
    /// their largest value, and frames by up to 4.7e-3 of theirs; on an H100 by 3.1e-3 and 4.7e-3. On the CPU it is
    /// slower than F32, on CUDA devices about ten times as fast.
    F16 = 2,
    /// bfloat16. On the CPU moments differ by up to 0.020, frames by up to 0.057; on an H100 by 0.10 and 0.08. It takes
    /// - a CPU with a matrix unit (Intel AMX: amx_tile and amx_bf16) and Linux on x86-64, where it is faster than F32;
    ///   otherwise wfvae_create() returns WFVAE_STATUS_PROVIDER. There WFVAE_CONVOLUTION_EXACT and _FAST are the same;
    ///   with others, and with WFVAE_LAYOUT_PLANES, wfvae_create() returns WFVAE_STATUS_INVALID_ARGUMENT.
    /// - or a CUDA device, if ONNX Runtime has such convolutions; otherwise wfvae_create() returns WFVAE_STATUS_RUNTIME.
    Bf16 = 3,
}

/// How streams store their causal caches.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_cache_type {
    /// float, as the network computes them: exact.
    F32 = 0,
    /// IEEE half precision: half the memory. Latents change by up to 1e-3 of their range, frames by up to 3e-3. With
    /// the built-in model, the PSNR of reconstructions changes by at most 0.01 dB.
    F16 = 1,
}

/// How 3x3 convolutions are computed, which are nearly all of the work.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_convolution {
    /// The fastest method whose results match the reference's to the rounding of float32: Winograd's algorithm (arXiv
    /// 1509.09308) in tiles of 2x2 pixels, or of 4x4 in layers where their larger rounding errors stay small in the
    /// result.
    Exact = 0,
    /// Tiles of 4x4 pixels in all layers, which is a few per cent faster. In the golden test cases moments differ from
    /// the reference's by up to 1.6e-5 and frames by up to 3.7e-5. That is mostly within twice the difference of
    /// WFVAE_CONVOLUTION_EXACT, at worst 7 times.
    Fast = 1,
    /// ONNX Runtime's own 2D convolutions. A causal convolution is the sum of three, one for each frame. On the CPU
    /// about half as fast as WFVAE_CONVOLUTION_EXACT. Loading takes three times the memory of the weights for a moment.
    /// In float16 on the CPU the same as WFVAE_CONVOLUTION_STACKED.
    Direct = 2,
    /// ONNX Runtime's 2D convolution of the three frames, stacked on their channels. On a CUDA device and in float16,
    /// WFVAE_CONVOLUTION_EXACT and _FAST use this.
    Stacked = 3,
    /// ONNX Runtime's 3D convolution of a clip of three frames.
    Volume = 4,
}

/// The memory layout of frames between the layers, where convolutions are ONNX Runtime's: on a CUDA device, in
/// float16, and with WFVAE_CONVOLUTION_DIRECT, _STACKED and _VOLUME. Otherwise the layout is fixed: channels-last.
/// Whole clips (whole_clips of wfvae_model_info) are channels-last where convolutions are the library's, else planes;
/// WFVAE_LAYOUT_PLANES computes them by ONNX Runtime's. The results are the same to the rounding of the convolutions.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_layout {
    /// Channels-last on a CUDA device, where that is possible and norms are of pixels (norm_type "layernorm"). Otherwise
    /// planes.
    Auto = 0,
    /// One plane per channel. Each norm then transposes its frame twice.
    Planes = 1,
    /// The channels of a pixel side by side, which suits tensor cores; norms need not transpose. Only CUDA devices have
    /// such convolutions, in float32, TF32 and float16; with bfloat16 it is WFVAE_STATUS_INVALID_ARGUMENT there. The CPU
    /// transposes around each convolution, which is slower than planes.
    ChannelsLast = 2,
}

/// How severe a message is. A log level passes messages of its own severity and of more severe (smaller) ones.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_log_level {
    /// The same as WFVAE_LOG_LEVEL_INFO.
    Default = 0,
    /// Something failed. The call's status reports it too.
    Error = 1,
    /// Something is unusual and was worked around.
    Warn = 2,
    /// What was opened and where it runs.
    Info = 3,
    /// Loading times and choices.
    Debug = 4,
    /// Everything, including ONNX Runtime's own details.
    Trace = 5,
}

/// Receives log messages. level is a wfvae_log_level; text is UTF-8 without a line end, and valid during the call only.
///
/// Thread-safety: called from any thread that is inside a call on the model or its streams, possibly from several at
/// once; at WFVAE_LOG_LEVEL_TRACE also from ONNX Runtime's threads. It runs in the default floating-point mode,
/// whatever the calling thread's is. It must not call this library and must not throw.
pub type wfvae_log_callback = Option<unsafe extern "C" fn(user: *mut c_void, level: u32, text: *const c_char)>;

/// How to open a model. Zero-initialise the struct, set struct_size, then set the fields that you need.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_model_options {
    /// sizeof(wfvae_model_options).
    pub struct_size: usize,
    /// Path of the ONNX Runtime library (libonnxruntime.so or onnxruntime.dll, 1.19 or newer), or a name without a folder,
    /// which is searched for on the loader's search path. NULL: the first of these
    /// that exists: the environment variables WFVAE_ONNXRUNTIME and ORT_DYLIB_PATH, a library that the process has
    /// already loaded, libonnxruntime.so.1, libonnxruntime.so or the newest libonnxruntime.so.VERSION (on Windows
    /// onnxruntime.dll) in the folder of libwfvae, the loader's search path (on Windows the program's folder, PATH, the
    /// system's folder). If there is none, the error text says what was found at each step. docs/onnxruntime.md
    /// says more. A process uses one runtime; asking for another one later is WFVAE_STATUS_INVALID_STATE.
    pub runtime_path: *const c_char,
    /// A wfvae_provider. If it is not WFVAE_PROVIDER_AUTO and cannot run, that is an error, never a silent fallback.
    pub provider: u32,
    /// Device index of the provider. Must be 0 for WFVAE_PROVIDER_AUTO and _CPU.
    pub device: u32,
    /// Threads that work on one call, up to 1024; 0: one for each CPU that the process may use. They sleep between
    /// calls. Each session (wfvae_model_info.sessions) has n_threads - 1 of its own. The first stream of a direction
    /// briefly starts up to twice as many, to find out whether the system allows them. A call on large frames briefly
    /// starts up to three of them again, but not more than n_threads - 1, to check and convert the frames.
    pub n_threads: u32,
    /// 1: read all weights now, and refuse and name those that hold a NaN or an infinity. 0: weights are not checked;
    /// the first result that is not finite is WFVAE_STATUS_NOT_FINITE.
    pub check_finite: u32,
    /// NULL: no messages. The library never prints any.
    pub log_callback: wfvae_log_callback,
    /// Passed to log_callback. Must stay valid as long as the model and its streams, and until each call on them has
    /// returned.
    pub log_user: *mut c_void,
    /// A wfvae_log_level.
    pub log_level: u32,
    /// A wfvae_cache_type, for all streams of the model, where they compute in float32.
    pub cache_type: u32,
    /// Maximum bytes of the attention score matrix; queries are processed in blocks to fit. 0: 64 MiB. Does not change
    /// the results. No effect where the CPU computes in bfloat16, as scores take little memory there.
    pub attention_bytes: u64,
    /// A wfvae_convolution. Models with group norm over the clip ("groupnorm") always use direct convolutions.
    pub convolution: u32,
    /// A wfvae_layout.
    pub layout: u32,
    /// A wfvae_precision, for the encoder.
    pub encode_precision: u32,
    /// A wfvae_precision, for the decoder.
    pub decode_precision: u32,
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
    pub provider_options: *const c_char,
    /// Receives the error text of a call that takes these options, cut to error_size bytes with its terminating zero;
    /// an empty text on success. For callers whose calls run in another thread than theirs. NULL: only
    /// wfvae_last_error(NULL) has the text.
    pub error_text: *mut c_char,
    /// Bytes at error_text, at least 1; 0 if it is NULL.
    pub error_size: usize,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_model_options {
    const NAME: &'static str = "wfvae_model_options";
    const FIRST_SIZE: usize = size_of::<wfvae_model_options>();
}

impl NamesErrorText for wfvae_model_options {
    fn error_text(&self) -> (*mut c_char, usize) {
        (self.error_text, self.error_size)
    }
}

/// The caller's callback and its pointer. The header says that any thread may call it.
struct CallbackSink {
    callback: unsafe extern "C" fn(*mut c_void, u32, *const c_char),
    user: *mut c_void,
}

// SAFETY: the header says it of the callback, and that what the pointer leads to stays until all calls have returned.
unsafe impl Send for CallbackSink {}
// SAFETY: as above.
unsafe impl Sync for CallbackSink {}

impl CallbackSink {
    fn send(&self, level: Level, text: &str) {
        // The callback may change the floating-point mode; that must not change our results.
        let _mode = FloatMode::set_default();
        // SAFETY: the caller's callback with the caller's pointer; the text outlives the call.
        unsafe { (self.callback)(self.user, level as u32, c_text(text).as_ptr()) }
    }
}

impl wfvae_model_options {
    pub(super) fn convert(&self) -> Result<ModelOptions> {
        let provider = match (self.provider, self.device) {
            (0, 0) => Provider::Auto,
            (1, 0) => Provider::Cpu,
            (0 | 1, device) => {
                fail!(
                    InvalidArgument,
                    "wfvae_model_options: device is {device}, expected 0 without WFVAE_PROVIDER_CUDA"
                )
            }
            (2, device) => Provider::Cuda { device },
            (other, _) => fail!(InvalidArgument, "wfvae_model_options: provider is {other}, expected a wfvae_provider"),
        };
        let filter = match self.log_level {
            0 | 3 => LevelFilter::Info,
            1 => LevelFilter::Error,
            2 => LevelFilter::Warn,
            4 => LevelFilter::Debug,
            5 => LevelFilter::Trace,
            other => fail!(InvalidArgument, "wfvae_model_options: log_level is {other}, expected a wfvae_log_level"),
        };
        let cache_type = match self.cache_type {
            0 => CacheType::F32,
            1 => CacheType::F16,
            other => fail!(InvalidArgument, "wfvae_model_options: cache_type is {other}, expected a wfvae_cache_type"),
        };
        let convolution = match self.convolution {
            0 => Convolution::Exact,
            1 => Convolution::Fast,
            2 => Convolution::Direct,
            3 => Convolution::Stacked,
            4 => Convolution::Volume,
            other => {
                fail!(InvalidArgument, "wfvae_model_options: convolution is {other}, expected a wfvae_convolution")
            }
        };
        let precision = |value, direction| match value {
            0 => Ok(Precision::F32),
            1 => Ok(Precision::Tf32),
            2 => Ok(Precision::F16),
            3 => Ok(Precision::Bf16),
            other => fail!(
                InvalidArgument,
                "wfvae_model_options: {direction}_precision is {other}, expected a wfvae_precision"
            ),
        };
        let layout = match self.layout {
            0 => Layout::Auto,
            1 => Layout::Planes,
            2 => Layout::ChannelsLast,
            other => fail!(InvalidArgument, "wfvae_model_options: layout is {other}, expected a wfvae_layout"),
        };
        // SAFETY: NULL or the caller's string.
        let provider_options = unsafe { abi::text(self.provider_options, "wfvae_model_options: provider_options")? };
        let provider_options = provider_options.unwrap_or_default();
        let provider_options = provider_options.split(',').map(str::trim).filter(|option| !option.is_empty());
        let provider_options = provider_options.map(|option| match option.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_string(), value.trim().to_string())),
            None => fail!(InvalidArgument, "wfvae_model_options: provider_options: {option:?} is not name=value"),
        });
        let mut options = ModelOptions {
            // SAFETY: NULL or the caller's string.
            runtime: unsafe { abi::path(self.runtime_path, "runtime_path")? },
            provider,
            encode_precision: precision(self.encode_precision, "encode")?,
            decode_precision: precision(self.decode_precision, "decode")?,
            threads: self.n_threads as usize,
            cache_type,
            convolution,
            layout,
            provider_options: provider_options.collect::<Result<_>>()?,
            attention_bytes: self.attention_bytes,
            check_finite: abi::flag(self.check_finite, "wfvae_model_options: check_finite")?,
            ..Default::default()
        };
        if let Some(callback) = self.log_callback {
            let sink = CallbackSink { callback, user: self.log_user };
            options.logger = Logger::new(filter, move |level, text| sink.send(level, text));
        }
        Ok(options)
    }
}
