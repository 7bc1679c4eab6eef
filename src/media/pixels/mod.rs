//! Pictures in the caller's layout. The network reads and writes planes R, G, B of float32 from -1 to 1.

mod alpha;
mod device_picture;
#[cfg(test)]
mod device_tests;
mod format;
#[cfg(test)]
mod format_tests;
#[cfg(fuzzing)]
mod fuzzing;
mod image;
mod layout;
mod packing;
#[cfg(test)]
mod packing_tests;
#[cfg(any(test, fuzzing))]
mod plain;
mod rect;
#[cfg(test)]
mod reference_tests;
mod shape;
#[cfg(test)]
mod tests;
mod values;
mod yuv;

pub(crate) use alpha::Alpha;
pub(crate) use device_picture::DevicePicture;
pub use format::{Chroma, Matrix, PixelFormat, Range, Siting, Yuv, YuvRange};
#[cfg(fuzzing)]
pub use fuzzing::{Arrangement, Picture, check_picture};
pub use image::{Image, ImageMut};
pub(crate) use packing::Packing;
pub(crate) use rect::Rect;
