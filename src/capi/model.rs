use super::abi::{self, Sized_};
use super::guard::{c_text, guard};
use super::status::wfvae_status;
use super::stream::{WFVAE_DIRECTION_DECODE, WFVAE_DIRECTION_ENCODE};
use crate::error::{Result, fail};
use crate::float_mode::FloatMode;
use crate::logger::Logger;
use crate::stream::{CacheType, Convolution, Graphs, Layout, Model, ModelOptions, Precision, Provider};
use log::{Level, LevelFilter};
use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

/// An open model: a checked checkpoint and the sessions that run it.
///
/// Thread-safety: safe. Any number of streams in any threads share one model and its weights.
pub struct wfvae_model {
    model: Model,
    name: CString,
    provider: CString,
    fallback: CString,
    runtime_path: CString,
    runtime_version: CString,
}

/// Where the network runs.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_provider {
    /// The best that there is. For now always the processor: no GPU has run the CUDA path yet, so it has to be asked for.
    /// wfvae_model_get_info() says so.
    Auto = 0,
    /// The processor.
    Cpu = 1,
    /// A CUDA device, which takes the ONNX Runtime of the package onnxruntime-gpu. WFVAE_STATUS_PROVIDER, with a text that
    /// names what is missing, if it cannot be used. Streams keep their causal caches, and all that lies between a stream's
    /// two ends, on the device; frames and latents are the caller's, in the processor's memory.
    Cuda = 2,
}

/// In which numbers a direction of the network computes. Frames and latents of callers do not depend on it.
///
/// Below float32, convolutions, matrix products and causal caches are of the narrower type, and weights take half of the
/// memory; residual sums, the statistics of norms, the scores of attention, wavelets and interpolation stay float32, whose
/// products a CUDA device may then round to TF32. More inputs then make an output that is not finite, which is
/// WFVAE_STATUS_NOT_FINITE in every precision. Models with whole_clips compute in float32 only.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_precision {
    /// float32 throughout.
    F32 = 0,
    /// float32, but a CUDA device may round the factors of products to 11 bits (TF32). WFVAE_STATUS_INVALID_ARGUMENT with
    /// WFVAE_PROVIDER_CPU; as F32 where WFVAE_PROVIDER_AUTO takes the processor.
    Tf32 = 1,
    /// IEEE half precision. In the golden cases, run on the processor, moments differ from the reference's by up to 2.6e-3
    /// of their largest value and frames by up to 4.7e-3 of theirs. That is a lower bound for GPUs, as the processor
    /// computes each convolution in float32 and rounds its result. There it is slower than F32.
    F16 = 2,
    /// bfloat16, on CUDA devices only and where the runtime has such convolutions; else wfvae_create() is
    /// WFVAE_STATUS_PROVIDER or _RUNTIME.
    Bf16 = 3,
}

/// How the causal caches of streams are stored.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_cache_type {
    /// float, as the network computes them: exact.
    F32 = 0,
    /// IEEE half precision: half the memory. Results differ by about a thousandth of their size: with the built-in model
    /// reconstructions keep their PSNR to 0.01 dB.
    F16 = 1,
}

/// How 3x3 convolutions are computed, which are nearly all of the work.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_convolution {
    /// The fastest way whose results are the reference's to the rounding of float32: Winograd's algorithm (arXiv
    /// 1509.09308) in tiles of 2x2 and, in layers where their rounding stays small in the result, of 4x4 pixels.
    Exact = 0,
    /// Tiles of 4x4 pixels in all layers; some per cent faster. In the golden cases moments differ from the reference's by
    /// up to 1.6e-5 and frames by up to 3.7e-5: mostly within twice what WFVAE_CONVOLUTION_EXACT does, at worst 7 times.
    Fast = 1,
    /// By ONNX Runtime's own convolutions, one multiplication for each weight and pixel: three 2D ones for the three
    /// frames of a causal one, added. About half as fast; while it loads, it takes three times the memory of the weights.
    /// Below float32 as WFVAE_CONVOLUTION_STACKED.
    Direct = 2,
    /// The same as one 2D convolution of the three frames stacked on their channels. WFVAE_CONVOLUTION_EXACT and _FAST are
    /// this on a CUDA device and below float32.
    Stacked = 3,
    /// The same as one 3D convolution of a clip of three frames.
    Volume = 4,
}

/// How frames lie in memory between the layers, where convolutions are ONNX Runtime's: on a CUDA device, below float32, and
/// with WFVAE_CONVOLUTION_DIRECT, _STACKED and _VOLUME. Elsewhere they are channels-last always, and planes in models with
/// whole_clips. The results are the same to the rounding of the convolutions.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_layout {
    /// As WFVAE_LAYOUT_PLANES.
    Auto = 0,
    /// A plane for each channel. Each norm then transposes its frame twice.
    Planes = 1,
    /// The channels of a pixel side by side, as tensor cores want them; norms transpose nothing. Only a CUDA device has such
    /// convolutions, of float32, TF32 and float16; with bfloat16 it is WFVAE_STATUS_INVALID_ARGUMENT. The processor
    /// transposes around each convolution, which is slower than planes.
    ChannelsLast = 2,
}

/// How severe a message is. A log level lets its own and the more severe (smaller) ones through.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_log_level {
    /// As WFVAE_LOG_LEVEL_INFO.
    Default = 0,
    /// Something failed; the call's status says so too.
    Error = 1,
    /// Something is odd and was worked around.
    Warn = 2,
    /// What was opened and where it runs.
    Info = 3,
    /// Loading times and choices.
    Debug = 4,
    /// Everything, including ONNX Runtime's own details.
    Trace = 5,
}

/// Receives messages. level is a wfvae_log_level; text is UTF-8 without a line end and valid during the call only.
///
/// Thread-safety: called in any thread that is inside a call on the model or its streams, also in several at once, and at
/// WFVAE_LOG_LEVEL_TRACE in ONNX Runtime's threads. It has the default floating-point mode, whatever the calling thread's
/// own is. It must not call this library and must not throw.
pub type wfvae_log_callback = Option<unsafe extern "C" fn(user: *mut c_void, level: u32, text: *const c_char)>;

/// How a model is opened. Fill with zero, which means the default everywhere, and set struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_model_options {
    /// sizeof(wfvae_model_options).
    pub struct_size: usize,
    /// Path of the ONNX Runtime library (libonnxruntime.so, 1.19 or newer). NULL: the environment variables
    /// WFVAE_ONNXRUNTIME and ORT_DYLIB_PATH, one that the process has loaded, beside libwfvae, the loader's search, in
    /// this order. A process uses one runtime; asking for another afterwards is WFVAE_STATUS_INVALID_STATE.
    pub runtime_path: *const c_char,
    /// A wfvae_provider. One that was asked for and cannot run is an error, never a silent fallback.
    pub provider: u32,
    /// Device index of the provider. Must be 0 for WFVAE_PROVIDER_AUTO and _CPU.
    pub device: u32,
    /// Threads that work on one call, up to 1024; 0: all processors that the process may use. They sleep between calls.
    /// Each session has so many, less one (wfvae_model_info counts sessions). The first stream of a direction starts up to
    /// twice as many for a moment, to find out whether the system allows them.
    pub n_threads: u32,
    /// 1: also refuse weights that hold a NaN or an infinity now, and say which, which reads the whole checkpoint. 0: do not
    /// look; the first result that is not finite is WFVAE_STATUS_NOT_FINITE.
    pub check_finite: u32,
    /// NULL: no messages. Nothing is ever printed.
    pub log_callback: wfvae_log_callback,
    /// Passed to log_callback. Must live as long as the model and its streams.
    pub log_user: *mut c_void,
    /// A wfvae_log_level.
    pub log_level: u32,
    /// A wfvae_cache_type, for all streams of the model, where they compute in float32.
    pub cache_type: u32,
    /// Attention works on as many queries at once as keep its score matrix below so many bytes; 0: 64 MiB. The results are
    /// the same.
    pub attention_bytes: u64,
    /// A wfvae_convolution. Models with group norm over the clip ("groupnorm") use direct ones always.
    pub convolution: u32,
    /// A wfvae_layout.
    pub layout: u32,
    /// A wfvae_precision, of the encoder.
    pub encode_precision: u32,
    /// The same of the decoder.
    pub decode_precision: u32,
    /// Options of ONNX Runtime's CUDA provider in place of the library's own choice, "name=value" with commas between them;
    /// NULL or "": none. For tuning and measuring; ONNX Runtime's documentation says what they mean. Names are
    /// arena_extend_strategy, cudnn_conv_algo_search, cudnn_conv_use_max_workspace, fuse_conv_bias, gpu_mem_limit (bytes, of
    /// each session) and use_tf32; others are WFVAE_STATUS_INVALID_ARGUMENT, and so are all with
    /// WFVAE_PROVIDER_CPU. A wrong value is WFVAE_STATUS_RUNTIME. Where WFVAE_PROVIDER_AUTO takes the processor they
    /// are not used.
    pub provider_options: *const c_char,
}

unsafe impl Sized_ for wfvae_model_options {
    const NAME: &'static str = "wfvae_model_options";
    const FIRST_SIZE: usize = size_of::<wfvae_model_options>();
}

/// What a model is and what it runs on. Strings are valid as long as the model is open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_model_info {
    /// sizeof(wfvae_model_info), set by the caller.
    pub struct_size: usize,
    /// The folder or file of the checkpoint that was opened, or "the built-in model".
    pub name: *const c_char,
    /// The execution provider that runs the network: "CPU" or "CUDA".
    pub provider: *const c_char,
    /// The ONNX Runtime library in use.
    pub runtime_path: *const c_char,
    /// Its version.
    pub runtime_version: *const c_char,
    /// Trainable numbers that the checkpoint holds.
    pub parameters: u64,
    /// Tells this model from others: a hash of samples of the weights as they are stored, and of the interpolation. The
    /// same on every machine and in every release; a copy of the weights in another precision has another one.
    pub identity: u64,
    /// Bytes of the weights loaded so far, as the network computes with them.
    pub weight_bytes: u64,
    /// Sessions loaded so far. Each holds weights that no other has.
    pub sessions: u32,
    /// 1: WFVAEModel, 2: WFVAE2Model.
    pub generation: u32,
    /// C of the latents.
    pub latent_channels: u32,
    /// Pixels per latent value, in each direction.
    pub spatial_compression: u32,
    /// Frames per latent, after the first.
    pub temporal_compression: u32,
    /// Frames that can go in before a latent comes out.
    pub encode_delay: u32,
    /// Frames that the decoder holds back until more latents or the flush come.
    pub decode_delay: u32,
    /// 1: has attention, whose time grows with the square of a frame's area.
    pub has_attention: u32,
    /// 1: the config's scale and shift can be used, see wfvae_options.scaled.
    pub has_scaling: u32,
    /// 1: norm_type "groupnorm", whose statistics span the whole clip. Such a model cannot stream: each encode and each
    /// decode call gets a whole clip and ends it, and wfvae_reset() comes before the next one.
    pub whole_clips: u32,
    /// Pixels that exact tiles of the encoder must know around what they decide, a multiple of spatial_compression; 0: the
    /// network looks everywhere, so that there are no exact tiles.
    pub encode_halo: u32,
    /// The same of the decoder.
    pub decode_halo: u32,
    /// Why WFVAE_PROVIDER_AUTO took the processor; empty if it was not asked, or did not.
    pub fallback: *const c_char,
    /// Bytes that the model's streams hold on its device, without weights and working memory; 0 on the processor.
    pub device_bytes: u64,
    /// Index of the provider's device; 0 for the processor.
    pub device: u32,
    /// A wfvae_precision: in what the encoder computes.
    pub encode_precision: u32,
    /// In what the decoder computes.
    pub decode_precision: u32,
    /// WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE or both: what streams of the model can do. A checkpoint may hold
    /// the encoder or the decoder alone.
    pub directions: u32,
    /// Tells this model's encoder, and so its latents, from others: a hash of samples of the encoder's weights, by their
    /// numbers and not by the type that they are stored in. The same on every machine and in every release; 0 if the
    /// checkpoint holds no encoder.
    pub encoder_identity: u64,
    /// The same of the decoder and of the interpolation.
    pub decoder_identity: u64,
}

unsafe impl Sized_ for wfvae_model_info {
    const NAME: &'static str = "wfvae_model_info";
    const FIRST_SIZE: usize = size_of::<wfvae_model_info>();
}

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
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_model_open(
    path: *const c_char,
    options: *const wfvae_model_options,
    model: *mut *mut wfvae_model,
) -> wfvae_status {
    guard!(status: {
        let out = unsafe { abi::out(model, "model")? };
        out.write(std::ptr::null_mut());
        let options = if options.is_null() { ModelOptions::default() } else { unsafe { abi::read(options)?.convert()? } };
        let opened = match unsafe { abi::path(path) } {
            Some(path) => Model::open(path, &options)?,
            None => Model::builtin(&options)?,
        };
        out.write(Arc::into_raw(Arc::new(wfvae_model::new(opened))).cast_mut());
        Ok(())
    })
}

/// Closes a model. Its streams keep what they need until they are destroyed, so the order does not matter.
///
/// model: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_model_close(model: *mut wfvae_model) {
    guard!(value or (); {
        if !model.is_null() {
            let model = unsafe { Arc::from_raw(model) };
            if !model.model.owner().is_current() {
                // A lock or a count in there may be as another thread left it.
                std::mem::forget(model);
            }
        }
    })
}

/// Says what a model is and what it runs on.
///
/// info: set its struct_size; the rest is written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_model_get_info(model: *const wfvae_model, info: *mut wfvae_model_info) -> wfvae_status {
    guard!(status: { unsafe { abi::write(info, &wfvae_model::of_any_process(model)?.info()) } })
}

/// Latents of a whole clip of n_frames frames, with the last group completed by the flush: 1 + ceil((n_frames - 1) /
/// temporal_compression), 0 for 0.
///
/// Returns: the number, or 0 if model is NULL.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latents_for_frames(model: *const wfvae_model, n_frames: u64) -> u64 {
    guard!(value or 0; { unsafe { wfvae_model::of_any_process(model) }.map_or(0, |m| m.model.latents_for_frames(n_frames)) })
}

/// Frames of a whole clip of n_latents latents: temporal_compression * (n_latents - 1) + 1, 0 for 0.
///
/// Returns: the number (UINT64_MAX where it would be larger), or 0 if model is NULL.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_frames_for_latents(model: *const wfvae_model, n_latents: u64) -> u64 {
    guard!(value or 0; { unsafe { wfvae_model::of_any_process(model) }.map_or(0, |m| m.model.frames_for_latents(n_latents)) })
}

/// Which graphs wfvae_model_save_onnx() writes.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_graphs {
    /// Those that the library runs: encoder.0, ..., decoder.0, ... Each is one step for one frame; causal caches are inputs
    /// and outputs. For a model that takes whole clips the same as WFVAE_GRAPHS_CLIP.
    Steps = 0,
    /// The whole clip in one graph, encoder.clip and decoder.clip, as a plain export would have it.
    Clip = 1,
}

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
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_model_save_onnx(
    model: *const wfvae_model,
    folder: *const c_char,
    graphs: u32,
) -> wfvae_status {
    guard!(status: {
        let model = unsafe { wfvae_model::from_ptr(model)? };
        let Some(folder) = (unsafe { abi::path(folder) }) else { fail!(InvalidArgument, "folder is NULL") };
        let graphs = match graphs {
            0 => Graphs::Steps,
            1 => Graphs::Clip,
            other => fail!(InvalidArgument, "graphs is {other}, expected a wfvae_graphs"),
        };
        model.model.save_onnx(folder, graphs)
    })
}

impl wfvae_model {
    fn new(model: Model) -> Self {
        let info = model.info();
        wfvae_model {
            name: c_text(&info.name),
            provider: c_text(info.provider),
            fallback: c_text(info.fallback.as_deref().unwrap_or("")),
            runtime_path: c_text(&info.runtime_path.to_string_lossy()),
            runtime_version: c_text(&info.runtime_version),
            model,
        }
    }

    pub(super) unsafe fn from_ptr<'a>(model: *const wfvae_model) -> Result<&'a wfvae_model> {
        let model = unsafe { wfvae_model::of_any_process(model)? };
        model.model.owner().check("model")?;
        Ok(model)
    }

    /// For what is only read, and never changes.
    unsafe fn of_any_process<'a>(model: *const wfvae_model) -> Result<&'a wfvae_model> {
        match unsafe { model.as_ref() } {
            Some(model) => Ok(model),
            None => fail!(InvalidArgument, "model is NULL"),
        }
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    fn info(&self) -> wfvae_model_info {
        let info = self.model.info();
        wfvae_model_info {
            struct_size: size_of::<wfvae_model_info>(),
            name: self.name.as_ptr(),
            provider: self.provider.as_ptr(),
            runtime_path: self.runtime_path.as_ptr(),
            runtime_version: self.runtime_version.as_ptr(),
            parameters: info.parameters,
            identity: info.identity,
            weight_bytes: info.weight_bytes,
            sessions: info.sessions,
            generation: info.generation,
            latent_channels: info.latent_channels as u32,
            spatial_compression: info.spatial_compression as u32,
            temporal_compression: info.temporal_compression as u32,
            encode_delay: info.encode_delay as u32,
            decode_delay: info.decode_delay as u32,
            has_attention: info.has_attention.into(),
            has_scaling: info.has_scaling.into(),
            whole_clips: info.whole_clips.into(),
            encode_halo: info.encode_halo.unwrap_or(0) as u32,
            decode_halo: info.decode_halo.unwrap_or(0) as u32,
            fallback: self.fallback.as_ptr(),
            device_bytes: info.device_bytes,
            device: info.device,
            encode_precision: info.encode_precision as u32,
            decode_precision: info.decode_precision as u32,
            directions: match (info.encodes, info.decodes) {
                (true, false) => WFVAE_DIRECTION_ENCODE,
                (false, true) => WFVAE_DIRECTION_DECODE,
                _ => WFVAE_DIRECTION_ENCODE | WFVAE_DIRECTION_DECODE,
            },
            encoder_identity: info.encoder_identity,
            decoder_identity: info.decoder_identity,
        }
    }
}

/// A C callback and its user pointer, which the caller promised may be used from any thread.
struct CallbackSink {
    callback: unsafe extern "C" fn(*mut c_void, u32, *const c_char),
    user: *mut c_void,
}

unsafe impl Send for CallbackSink {}
unsafe impl Sync for CallbackSink {}

impl CallbackSink {
    fn send(&self, level: Level, text: &str) {
        // Whatever the callback does to the floating-point mode must not change our numbers.
        let _mode = FloatMode::set_default();
        // SAFETY: a valid callback with its own pointer; the text lives through the call.
        unsafe { (self.callback)(self.user, level as u32, c_text(text).as_ptr()) }
    }
}

impl wfvae_model_options {
    fn convert(&self) -> Result<ModelOptions> {
        let provider = match (self.provider, self.device) {
            (0, 0) => Provider::Auto,
            (1, 0) => Provider::Cpu,
            (0 | 1, device) => {
                fail!(InvalidArgument, "wfvae_model_options: device is {device}, 0 without a GPU provider")
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
            runtime: unsafe { abi::path(self.runtime_path) },
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
