//! What crosses the library's edge: pictures of many layouts, and latents.

mod latent_file;
mod latents;
mod pixels;

pub use latent_file::{LatentFileInfo, LatentReader, LatentWriter};
pub use latents::{LatentType, Latents, LatentsMut, Posterior};
pub use pixels::{Image, ImageMut, PixelFormat, Range};

pub(crate) use latents::LatentCodec;
pub(crate) use pixels::Rect;
