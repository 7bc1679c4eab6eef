//! How a stream is made.

use crate::media::Posterior;

/// How a stream is made. [`new`](Self::new) gives the defaults.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Of the frames, in pixels: a multiple of the spatial compression, unless `pad` is set.
    pub width: usize,
    /// As `width`.
    pub height: usize,
    /// Repeats the last column and row up to the next multiple when encoding, and crops them when decoding.
    pub pad: bool,
    /// Whether the stream can encode. A direction that it lacks costs no memory. A model without that half needs `false`.
    pub encode: bool,
    /// Whether the stream can decode. A model without that half needs `false`.
    pub decode: bool,
    /// Which latent the encoder writes.
    pub posterior: Posterior,
    /// Latents outside the library are `(z - shift) * scale`, with the config's lists, instead of the network's own z.
    pub scaled: bool,
    /// [`check_latent_file`](Stream::check_latent_file) lets latents of other encoders through, as long as their sizes are
    /// the model's: for a copy of the model in another precision, or where you know that they fit.
    pub any_encoder: bool,
    /// Above 0: each call gets a whole clip, of at most so many frames, and ends it; a reset comes before the next one.
    /// Tiles are then worked on one after the other through all frames, so that only one tile's causal caches exist.
    pub clip_frames: u64,
    /// Whether frames are worked on in tiles.
    pub tiling: Tiling,
    /// Of the tiles, in pixels, rounded up to multiples of the spatial compression. 0: the frame's; with `tile_height` 0
    /// too and `memory_limit`, that of the largest tile that the limit allows, which may be the whole frame.
    pub tile_width: usize,
    /// As `tile_width`.
    pub tile_height: usize,
    /// Above 0: making the stream fails, with the numbers, if it would need more bytes than this, the model's weights
    /// included. A model that takes whole clips needs `clip_frames` for it.
    pub memory_limit: u64,
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
        }
    }
}

/// Whether large frames are worked on in parts, which takes less memory at a time and more work in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tiling {
    /// The whole frame at once.
    #[default]
    Off,
    /// Tiles that overlap by as much as the network looks around, so that the result is the whole frame's. Only for
    /// networks without attention, which looks everywhere.
    Exact,
    /// Tiles that overlap by `overlap` pixels (0: a quarter of the tile), in which one fades into the next. For any
    /// network; the result is not that of the whole frame.
    Blended {
        /// In pixels, rounded up to a multiple of the spatial compression.
        overlap: usize,
    },
}
