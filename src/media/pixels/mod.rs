//! Pictures in the caller's layout. The network reads and writes planes R, G, B of float32 from -1 to 1.

mod format;
mod image;
mod layout;
mod rect;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;

pub use format::{PixelFormat, Range};
pub use image::{Image, ImageMut};
pub(crate) use rect::Rect;
