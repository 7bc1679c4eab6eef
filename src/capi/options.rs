//! `wfvae_options`, checked and converted, and `wfvae_estimate`.

use super::abi::{self, CStruct};
use super::error_text::{self, NamesErrorText, reported};
use super::guard::guard;
use super::latents::to_latent_type;
use super::model::wfvae_model;
use super::model_info::wfvae_direction;
use super::status::wfvae_status;
use crate::error::{Result, fail};
use crate::media::{LatentType, Posterior};
use crate::stream::{Estimate, MemoryKind, ModelInfo, Stream, StreamOptions, Tiling};
use std::ffi::{c_char, c_void};

/// Which latent the encoder writes. The network gives a mean and a variance for each value.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_posterior {
    /// The mean, which is also the mode: C channels.
    Mean = 0,
    /// A sample, mean + exp(logvar / 2) * noise: C channels. The noise depends only on the seed (wfvae_options.seed,
    /// wfvae_set_seed()) and the latent's index in the clip.
    Sample = 1,
    /// The mean's C channels, then those of the log-variance, clamped to -30..20: 2C channels. Never scaled.
    Moments = 2,
}

/// Where the caller's frames or latents are.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_memory_kind {
    /// The CPU's memory.
    Cpu = 0,
    /// The memory of the model's CUDA device, as cudaMalloc() and cuMemAlloc() give it in the device's primary context. The
    /// model must run there; on the CPU it is WFVAE_STATUS_INVALID_ARGUMENT. Each call begins, on the device, when all that
    /// was put into wfvae_options.cuda_stream before the call is done; so do other streams' calls on the model that come
    /// later. When a call returns, the library neither reads nor writes the memory any more, and all results are there. The
    /// values are those of WFVAE_MEMORY_KIND_CPU, bit for bit. Pointers to other memory are WFVAE_STATUS_INVALID_ARGUMENT. A
    /// call may make the model's device the thread's current one (cudaSetDevice).
    Cuda = 1,
}

/// Whether frames are processed in tiles. Tiles take less working memory but more computation: tiles of size t that
/// overlap by o take (t / (t - o)) squared times the work. In a stream (clip_frames is 0) each tile has its own causal
/// caches, so tiles save only working memory. Models with whole_clips cannot use tiles.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_tiling {
    /// The whole frame at once.
    Off = 0,
    /// Tiles that overlap by twice the halo in wfvae_model_info, so that they cover the network's receptive field. The
    /// result equals the whole frame's up to rounding. Only for models without attention.
    Exact = 1,
    /// Overlapping tiles with a cross-fade in the overlap. The result differs from the whole frame's. Attention sees
    /// only its own tile.
    Blended = 2,
}

/// The memory that a stream takes while it runs, in bytes, and how it is tiled. Estimates are accurate to 15 % or 4 MB,
/// whichever is more; for models that take whole clips, to a third. Loading the weights takes more for a moment. Memory
/// grows with n_threads, because each thread has its own buffers for the largest convolution.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_memory {
    /// sizeof(wfvae_memory), set by the caller.
    pub struct_size: usize,
    /// The sum of the following four.
    pub total_bytes: u64,
    /// The model's weights for the stream's directions, shared with the model's other streams.
    pub weight_bytes: u64,
    /// The encoder's causal caches, waiting frames and buffers.
    pub encode_state_bytes: u64,
    /// The decoder's causal caches, waiting frames and buffers.
    pub decode_state_bytes: u64,
    /// The tensors between the network's layers. They are kept between calls and shared with the model's other streams. A
    /// call that takes a whole clip on the CPU gives them back.
    pub working_bytes: u64,
    /// Width of the encoder's tiles, in pixels; without tiling, the frame's width.
    pub encode_tile_width: u32,
    /// Height of the encoder's tiles.
    pub encode_tile_height: u32,
    /// The encoder's tiles per frame; 0 without encoding.
    pub encode_tiles: u32,
    /// Width of the decoder's tiles, in pixels.
    pub decode_tile_width: u32,
    /// Height of the decoder's tiles.
    pub decode_tile_height: u32,
    /// The decoder's tiles per frame; 0 without decoding.
    pub decode_tiles: u32,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_memory {
    const NAME: &'static str = "wfvae_memory";
    const FIRST_SIZE: usize = size_of::<wfvae_memory>();
}

/// How to create a stream. Zero-initialise the struct, then set struct_size, width, height and the fields that you
/// need.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_options {
    /// sizeof(wfvae_options).
    pub struct_size: usize,
    /// Width of the frames in pixels, 1 to 32768; a multiple of the model's spatial_compression, unless padding is set.
    pub width: u32,
    /// Height of the frames, likewise.
    pub height: u32,
    /// WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE, or both combined with |. 0: all directions of the model
    /// (wfvae_model_info.directions), which are both unless its checkpoint holds only one half. A direction that the
    /// stream lacks takes no memory, and its weights are not loaded.
    pub directions: u32,
    /// 1: allow any width and height. Encoding repeats the last column and row up to the next multiple of
    /// spatial_compression, and decoding crops them. With a model of whole_clips also clips of any number of frames:
    /// encoding repeats the last one. What is repeated counts in the statistics of such a model.
    pub padding: u32,
    /// A wfvae_latent_type, for both directions.
    pub latent_type: u32,
    /// A wfvae_posterior, for encoding.
    pub posterior: u32,
    /// The seed of the noise of WFVAE_POSTERIOR_SAMPLE.
    pub seed: u64,
    /// 1: the caller's latents are (z - shift) * scale with the lists in config.json, in both directions. 0: they are
    /// the network's own z.
    pub scaled: u32,
    /// A wfvae_tiling.
    pub tiling: u32,
    /// Width of the tiles in pixels, rounded up to a multiple of spatial_compression. 0: the frame's width. If
    /// tile_height is 0 too and memory_limit is set: the largest tiles that the limit allows, which may be the whole
    /// frame.
    pub tile_width: u32,
    /// Height of the tiles, likewise.
    pub tile_height: u32,
    /// The least overlap of blended tiles in pixels, rounded up likewise. 0: a quarter of a tile's shorter side.
    pub tile_overlap: u32,
    /// 1: wfvae_latent_reader_check_stream() accepts latents of other encoders, as long as their sizes are the model's.
    /// For a copy of the model in another precision, or if you know that the latents fit.
    pub any_encoder: u32,
    /// 0: a clip is split across any number of calls. Above 0: each encode call and each decode call takes one whole
    /// clip, of at most this many frames, and ends it; call wfvae_reset() before the next clip. Tiles are then
    /// processed one after another, each through all frames, so that only one tile's causal caches exist at a time. A
    /// model that takes whole clips (wfvae_model_info.whole_clips) accepts 0 for clips of any length, but then nothing
    /// checks in advance whether memory is enough.
    pub clip_frames: u64,
    /// Above 0: wfvae_create() fails with WFVAE_STATUS_OUT_OF_MEMORY and reports the sizes if the stream would take
    /// more bytes than this, including the model's weights; see wfvae_estimate(). A model that takes whole clips then
    /// needs clip_frames too. 0: no limit.
    pub memory_limit: u64,
    /// 1: carry alpha. The alpha of each input frame is kept and written to the output frame of the same index, where
    /// both have alpha. Frames that only complete the clip's last group get the last frame's. Needs both directions. The
    /// kept planes take memory, beside that of wfvae_memory, until their frames are decoded: 1 byte per pixel from 8-bit
    /// formats, otherwise 4. 0: alpha is ignored on input and opaque on output.
    pub alpha: u32,
    /// A wfvae_memory_kind: where all planes of frames are, in both directions. Frames in a CUDA device's memory need a
    /// stream without tiles and alpha, and a model that takes no whole clips. wfvae_convert_frame() is for the CPU's.
    pub frame_memory: u32,
    /// A wfvae_memory_kind: where latents are that encode and decode calls are given. Those of wfvae_latent_writer_write()
    /// and wfvae_latent_reader_read() are always in the CPU's memory.
    pub latent_memory: u32,
    /// 0.
    pub reserved: u32,
    /// With WFVAE_MEMORY_KIND_CUDA: the CUDA stream (cudaStream_t, CUstream) in which the program works on that memory.
    /// NULL: the device's legacy default stream; a program that is built for default streams of each thread gives
    /// cudaStreamPerThread. It must belong to the device's primary context, must not record a CUDA graph during a call, and
    /// must stay as long as the stream and its forks, and until each call on them has returned.
    pub cuda_stream: *mut c_void,
    /// Receives the error text of a call that takes these options, cut to error_size bytes with its terminating zero;
    /// an empty text on success. For callers whose calls run in another thread than theirs. NULL: only
    /// wfvae_last_error(NULL) has the text.
    pub error_text: *mut c_char,
    /// Bytes at error_text, at least 1; 0 if it is NULL.
    pub error_size: usize,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_options {
    const NAME: &'static str = "wfvae_options";
    const FIRST_SIZE: usize = size_of::<wfvae_options>();
}

impl NamesErrorText for wfvae_options {
    fn error_text(&self) -> (*mut c_char, usize) {
        (self.error_text, self.error_size)
    }
}

/// Estimates how much memory a stream with these options would take, and how it would be tiled. Allocates and loads
/// nothing. For a model that takes whole clips, the estimate is for clips of clip_frames frames; if that is 0, for the
/// shortest clips that have more than one latent.
///
/// options: as for wfvae_create().
/// memory: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE; _OUT_OF_MEMORY if the stream would exceed memory_limit.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_estimate(
    model: *const wfvae_model,
    options: *const wfvae_options,
    memory: *mut wfvae_memory,
) -> wfvae_status {
    guard!(status: {
        let estimate = || {
            let model = unsafe { wfvae_model::from_ptr(model)? };
            let (options, _) = unsafe { error_text::read(options)? }.convert(&model.model().info())?;
            let estimate = Stream::estimate(model.model(), &options)?;
            unsafe { abi::write(memory, &wfvae_memory::from(&estimate)) }
        };
        unsafe { reported(options, estimate) }
    })
}

impl From<&Estimate> for wfvae_memory {
    fn from(estimate: &Estimate) -> Self {
        let (encode, decode) = (estimate.encode_tile, estimate.decode_tile);
        wfvae_memory {
            struct_size: size_of::<wfvae_memory>(),
            total_bytes: estimate.total_bytes,
            weight_bytes: estimate.weight_bytes,
            encode_state_bytes: estimate.encode_state_bytes,
            decode_state_bytes: estimate.decode_state_bytes,
            working_bytes: estimate.working_bytes,
            encode_tile_width: encode.0 as u32,
            encode_tile_height: encode.1 as u32,
            encode_tiles: estimate.encode_tiles as u32,
            decode_tile_width: decode.0 as u32,
            decode_tile_height: decode.1 as u32,
            decode_tiles: estimate.decode_tiles as u32,
        }
    }
}

impl wfvae_options {
    /// For a stream of that model.
    pub(super) fn convert(&self, model: &ModelInfo) -> Result<(StreamOptions, LatentType)> {
        let name = "wfvae_options";
        let mut options = StreamOptions::new(self.width as usize, self.height as usize);
        options.pad = abi::flag(self.padding, "wfvae_options: padding")?;
        options.scaled = abi::flag(self.scaled, "wfvae_options: scaled")?;
        (options.encode, options.decode) = match self.directions {
            0 => (model.encodes, model.decodes),
            3 => (true, true),
            wfvae_direction::ENCODE => (true, false),
            wfvae_direction::DECODE => (false, true),
            other => fail!(
                InvalidArgument,
                "{name}: directions is {other}, expected WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE or both"
            ),
        };
        options.posterior = match self.posterior {
            0 => Posterior::Mean,
            1 => Posterior::Sample { seed: self.seed },
            2 => Posterior::Moments,
            other => fail!(InvalidArgument, "{name}: posterior is {other}, expected a wfvae_posterior"),
        };
        let latent_type = to_latent_type(self.latent_type).map_err(|e| e.prefixed(name))?;
        let overlap = self.tile_overlap as usize;
        options.tiling = match (self.tiling, overlap) {
            (0, 0) => Tiling::Off,
            (1, 0) => Tiling::Exact,
            (2, overlap) => Tiling::Blended { overlap },
            (0 | 1, overlap) => fail!(
                InvalidArgument,
                "{name}: tile_overlap is {overlap}, expected 0 unless tiling is WFVAE_TILING_BLENDED"
            ),
            (other, _) => fail!(InvalidArgument, "{name}: tiling is {other}, expected a wfvae_tiling"),
        };
        (options.tile_width, options.tile_height) = (self.tile_width as usize, self.tile_height as usize);
        (options.clip_frames, options.memory_limit) = (self.clip_frames, self.memory_limit);
        options.alpha = abi::flag(self.alpha, "wfvae_options: alpha")?;
        if self.reserved != 0 {
            fail!(InvalidArgument, "{name}: reserved is {}, expected 0", self.reserved);
        }
        options.frame_memory = to_memory_kind(self.frame_memory, "wfvae_options: frame_memory")?;
        options.latent_memory = to_memory_kind(self.latent_memory, "wfvae_options: latent_memory")?;
        // SAFETY: the caller promises a stream.
        unsafe { options.set_cuda_stream(self.cuda_stream) };
        options.any_encoder = abi::flag(self.any_encoder, "wfvae_options: any_encoder")?;
        Ok((options, latent_type))
    }
}

pub(super) fn to_memory_kind(value: u32, name: &str) -> Result<MemoryKind> {
    match value {
        0 => Ok(MemoryKind::Cpu),
        1 => Ok(MemoryKind::Cuda),
        other => fail!(InvalidArgument, "{name} is {other}, expected a wfvae_memory_kind"),
    }
}
