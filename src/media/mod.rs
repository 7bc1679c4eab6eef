//! The caller's data: pictures in many layouts, latents, and latent files.

mod latent_codec;
mod latent_file;
mod latents;
mod pixels;

pub use latent_file::{LatentFileInfo, LatentReader, LatentWriter};
pub use latents::{LatentType, Latents, LatentsMut, Posterior};
#[cfg(fuzzing)]
pub use pixels::{Arrangement, Picture, check_picture};
pub use pixels::{Chroma, Image, ImageMut, Matrix, PixelFormat, Range, Siting, Yuv, YuvRange};

pub(crate) use latent_codec::LatentCodec;
pub(crate) use pixels::{Alpha, DevicePicture, Packing, Rect};
