//! The sizes of a stream's frames and latents.

use super::options::StreamOptions;
use crate::engine::FrameSize;
use crate::error::{Result, fail};
use crate::media::Rect;

/// Of frames, in pixels. A larger side is a mistake of the caller.
pub(super) const MAX_SIDE: usize = 1 << 15;

#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    /// Of the caller's frames.
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Of the network's frames.
    pub(crate) padded: FrameSize,
    /// The spatial compression.
    pub(crate) compression: usize,
}

impl Geometry {
    pub(crate) fn new(compression: usize, options: &StreamOptions) -> Result<Self> {
        let (width, height) = (options.width, options.height);
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            fail!(InvalidSize, "{width}x{height}: width and height must be 1 to {MAX_SIDE}");
        }
        let multiple = width.is_multiple_of(compression) && height.is_multiple_of(compression);
        if !multiple && !options.pad {
            fail!(
                InvalidSize,
                "{width}x{height}: width and height must be multiples of {compression}; scale or crop, or ask for padding"
            );
        }
        let [padded_width, padded_height] = [width, height].map(|n| n.next_multiple_of(compression));
        let padded = FrameSize { width: padded_width, height: padded_height };
        Ok(Geometry { width, height, padded, compression })
    }

    /// Of a latent.
    pub(crate) fn latent_rect(&self) -> Rect {
        Rect::of(self.padded.width / self.compression, self.padded.height / self.compression)
    }

    /// Values of one channel of a latent.
    pub(crate) fn latent_plane(&self) -> usize {
        let Rect { width, height, .. } = self.latent_rect();
        width * height
    }

    /// Whether frames are padded.
    pub(super) fn is_padded(&self) -> bool {
        (self.padded.width, self.padded.height) != (self.width, self.height)
    }
}
