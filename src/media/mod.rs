//! What crosses the library's edge: pictures of many layouts, and latents.

mod latents;
mod pixels;

pub use latents::{Latents, LatentsMut, Posterior};
pub use pixels::{Image, ImageMut, PixelFormat, Range};

pub(crate) use latents::LatentCodec;
pub(crate) use pixels::Rect;
