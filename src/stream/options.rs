//! How a stream is made.

use crate::media::Posterior;
use std::ffi::c_void;

/// How a stream is made. [`new`](Self::new) gives the defaults, of which you change fields:
///
/// ```
/// let mut options = wfvae::StreamOptions::new(1920, 1080);
/// options.pad = true;
/// options.posterior = wfvae::Posterior::Sample { seed: 1 };
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Width of the frames in pixels: a multiple of the spatial compression, unless `pad` is set.
    pub width: usize,
    /// Height of the frames, as `width`.
    pub height: usize,
    /// Repeats the last column and row up to the next multiple when encoding, and crops them when decoding. Where encoding takes
    /// whole clips, also repeats the last frame of a clip that does not fill its last group. There, what is repeated counts in
    /// the statistics of the norms.
    pub pad: bool,
    /// Whether the stream can encode. A direction that it lacks takes no memory. Must be `false` if the model has no encoder.
    pub encode: bool,
    /// Whether the stream can decode. Must be `false` if the model has no decoder.
    pub decode: bool,
    /// What the encoder writes.
    pub posterior: Posterior,
    /// The caller's latents are `(z - shift) * scale`, with the lists of the config, instead of the network's z.
    pub scaled: bool,
    /// [`check_latent_file`](crate::Stream::check_latent_file) accepts latents of other encoders if their sizes are the model's:
    /// for a copy of the model in another precision, or if you know that they fit.
    pub any_encoder: bool,
    /// If above 0, each call gets a whole clip of at most this many frames and ends it; reset the stream before the next clip.
    /// Each tile is then processed through all frames before the next tile, so only one tile's causal caches exist.
    pub clip_frames: u64,
    /// Whether frames are processed in tiles.
    pub tiling: Tiling,
    /// Width of the tiles in pixels, rounded up to a multiple of the spatial compression. 0: the frame's width. If
    /// `tile_height` is 0 too and `memory_limit` is set: the largest tiles that the limit allows, up to the whole frame.
    pub tile_width: usize,
    /// Height of the tiles, as `tile_width`.
    pub tile_height: usize,
    /// If above 0, [`Stream::new`](crate::Stream::new) fails and reports the sizes if the stream would take more bytes than
    /// this, the model's weights included. A model that takes whole clips needs `clip_frames` for it.
    pub memory_limit: u64,
    /// Carries alpha: that of each input frame is kept and written to the output frame of the same index, where both formats
    /// have alpha. Needs both directions. The kept planes take memory until their frames are decoded: 1 byte per pixel from
    /// 8-bit formats, otherwise 4.
    pub alpha: bool,
    /// Where the frames are, in both directions. Those in a CUDA device's memory need a stream without tiles and alpha, and a
    /// model that takes no whole clips.
    pub frame_memory: MemoryKind,
    /// Where latents are, for the C door. Those of Rust are slices.
    pub(crate) latent_memory: MemoryKind,
    pub(super) cuda_stream: usize,
}

impl StreamOptions {
    /// Both directions, no padding, posterior mean, not scaled.
    pub fn new(width: usize, height: usize) -> Self {
        StreamOptions {
            width,
            height,
            pad: false,
            encode: true,
            decode: true,
            posterior: Posterior::Mean,
            any_encoder: false,
            scaled: false,
            clip_frames: 0,
            tiling: Tiling::Off,
            tile_width: 0,
            tile_height: 0,
            memory_limit: 0,
            alpha: false,
            frame_memory: MemoryKind::Cpu,
            latent_memory: MemoryKind::Cpu,
            cuda_stream: 0,
        }
    }

    /// The CUDA stream (`cudaStream_t`) in which the program works on its frames in a device's memory; null, the default: the
    /// device's default stream.
    ///
    /// # Safety
    /// It must be null, or a stream of the primary context of the model's device that stays as long as the [`Stream`] and its
    /// forks.
    ///
    /// [`Stream`]: crate::Stream
    pub unsafe fn set_cuda_stream(&mut self, stream: *mut c_void) {
        self.cuda_stream = stream as usize;
    }

    pub(super) fn cuda_stream(&self) -> *mut c_void {
        self.cuda_stream as *mut c_void
    }
}

/// Where the caller's frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryKind {
    /// In the CPU's memory.
    #[default]
    Cpu,
    /// In the memory of the model's CUDA device; [`Image::from_raw`](crate::Image::from_raw) takes their addresses. The model
    /// must run there. Each call begins, on the device, when all is done that was put into the program's CUDA stream before.
    /// When it returns, the library neither reads nor writes the frames any more, and all results are there. Frames elsewhere
    /// are an [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    Cuda,
}

/// Whether frames are processed in tiles, which takes less memory at a time and more work in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Tiling {
    /// The whole frame at once.
    #[default]
    Off,
    /// Tiles that overlap by the network's receptive field, so the result is the whole frame's, up to rounding. Only for
    /// networks without attention, whose receptive field is the whole frame.
    Exact,
    /// Tiles that overlap by `overlap` pixels (0: a quarter of the tile's shorter side) and fade into each other. For any network
    /// but those that take whole clips. The result differs from the whole frame's.
    Blended {
        /// In pixels, rounded up to a multiple of the spatial compression.
        overlap: usize,
    },
}
