//! Reads and writes pictures in the caller's memory.

use super::format::{PixelFormat, Range};
use super::layout::Layout;
use super::rect::Rect;
use crate::error::Result;
use crate::finite::first_not_finite;
use std::marker::PhantomData;

/// A picture to read.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    layout: Layout,
    lifetime: PhantomData<&'a [u8]>,
}

/// A picture to write.
pub struct ImageMut<'a> {
    layout: Layout,
    lifetime: PhantomData<&'a mut [u8]>,
}

// SAFETY: these are borrows of plain bytes, like slices.
unsafe impl Send for Image<'_> {}
unsafe impl Send for ImageMut<'_> {}

impl<'a> Image<'a> {
    /// A picture without gaps between its rows and planes.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if `bytes` does not have the picture's size, or is not
    /// aligned for the format.
    pub fn packed(bytes: &'a [u8], format: PixelFormat, width: usize, height: usize) -> Result<Self> {
        let layout = Layout::packed(bytes.as_ptr().cast_mut(), bytes.len(), format, width, height)?;
        Ok(Image { layout, lifetime: PhantomData })
    }

    /// Three planes R, G, B of float32 without gaps: `[3, height, width]`.
    ///
    /// # Errors
    /// As for [`packed`](Self::packed).
    pub fn planar_f32(values: &'a [f32], range: Range, width: usize, height: usize) -> Result<Self> {
        let format = PixelFormat::RgbPlanarF32(range);
        let layout = Layout::packed(values.as_ptr().cast_mut().cast(), size_of_val(values), format, width, height)?;
        Ok(Image { layout, lifetime: PhantomData })
    }

    /// A picture anywhere in memory. A stride is the distance in bytes from one row to the next and may be negative.
    ///
    /// # Errors
    /// [`InvalidSize`](crate::ErrorKind::InvalidSize) if width or height is 0;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a null plane, a stride shorter than a row, or a
    /// pointer or stride that is not a multiple of the element's size.
    ///
    /// # Safety
    /// All rows must be readable for `'a`, and nothing may write to them during that time.
    pub unsafe fn from_raw(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: [*const u8; 3],
        strides: [isize; 3],
    ) -> Result<Self> {
        let layout = Layout { format, width, height, planes: planes.map(|p| p.cast_mut()), strides };
        layout.check()?;
        Ok(Image { layout, lifetime: PhantomData })
    }

    /// The width in pixels.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// The height in pixels.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// Fills `[3, height, width]` planes from a part of the picture. Beyond the picture's edges, the last column and
    /// row are repeated.
    pub(crate) fn read(&self, out: &mut [f32], part: &Rect) {
        self.read_rows(out, part, |channel, x, y, row| self.layout.read_row(channel, x, y, row));
    }

    /// The same for 8-bit formats, without conversion. Returns false for other formats and leaves `out` unchanged.
    pub(crate) fn read_bytes(&self, out: &mut [u8], part: &Rect) -> bool {
        let bytes = matches!(
            self.layout.format,
            PixelFormat::Rgb8 | PixelFormat::Rgba8 | PixelFormat::RgbPlanar8 | PixelFormat::GbrPlanar8
        );
        if bytes {
            self.read_rows(out, part, |channel, x, y, row| {
                self.layout.read_elements(channel, x, y, row, |v: u8| v);
            });
        }
        bytes
    }

    /// The channel, row and column of the first value that is not finite once converted for the network. Integer
    /// formats have none.
    pub(crate) fn first_not_finite(&self) -> Option<[usize; 3]> {
        if !matches!(self.layout.format, PixelFormat::RgbPlanarF32(_) | PixelFormat::GbrPlanarF32(_)) {
            return None;
        }
        let mut part = [0.0; 256];
        for (channel, y) in (0..3).flat_map(|channel| (0..self.height()).map(move |y| (channel, y))) {
            for x in (0..self.width()).step_by(part.len()) {
                let part = &mut part[..(self.width() - x).min(256)];
                self.layout.read_row(channel, x, y, part);
                if let Some(offset) = first_not_finite(part) {
                    return Some([channel, y, x + offset]);
                }
            }
        }
        None
    }

    /// `read` gets a channel, the position of a row's first pixel in the picture, and the output for the pixels inside
    /// it.
    fn read_rows<T: Copy>(&self, out: &mut [T], part: &Rect, read: impl Fn(usize, usize, usize, &mut [T])) {
        let inside = part.width.min(self.layout.width.saturating_sub(part.x)).max(1);
        let start = part.x.min(self.layout.width - 1);
        for (channel, plane) in out.chunks_exact_mut(part.width * part.height).enumerate() {
            for (y, row) in plane.chunks_exact_mut(part.width).enumerate() {
                read(channel, start, (part.y + y).min(self.layout.height - 1), &mut row[..inside]);
                let edge = row[inside - 1];
                row[inside..].fill(edge);
            }
        }
    }
}

impl<'a> ImageMut<'a> {
    /// Like [`Image::packed`].
    ///
    /// # Errors
    /// As for [`Image::packed`].
    pub fn packed(bytes: &'a mut [u8], format: PixelFormat, width: usize, height: usize) -> Result<Self> {
        let layout = Layout::packed(bytes.as_mut_ptr(), bytes.len(), format, width, height)?;
        Ok(ImageMut { layout, lifetime: PhantomData })
    }

    /// Like [`Image::planar_f32`].
    ///
    /// # Errors
    /// As for [`Image::packed`].
    pub fn planar_f32(values: &'a mut [f32], range: Range, width: usize, height: usize) -> Result<Self> {
        let format = PixelFormat::RgbPlanarF32(range);
        let layout = Layout::packed(values.as_mut_ptr().cast(), size_of_val(values), format, width, height)?;
        Ok(ImageMut { layout, lifetime: PhantomData })
    }

    /// Like [`Image::from_raw`].
    ///
    /// # Errors
    /// As for [`Image::from_raw`].
    ///
    /// # Safety
    /// All rows must be writable for `'a`, and nothing else may access them during that time.
    pub unsafe fn from_raw(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: [*mut u8; 3],
        strides: [isize; 3],
    ) -> Result<Self> {
        let layout = Layout { format, width, height, planes, strides };
        layout.check()?;
        Ok(ImageMut { layout, lifetime: PhantomData })
    }

    /// The width in pixels.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// The height in pixels.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// Writes `part` of the picture. `planes` are `[3, height, width]` of the rectangle `held`, which contains `part`.
    /// Pixels outside the picture are skipped.
    pub(crate) fn write(&mut self, planes: &[f32], held: &Rect, part: &Rect) {
        let width = part.width.min(self.layout.width.saturating_sub(part.x));
        let height = part.height.min(self.layout.height.saturating_sub(part.y));
        for (channel, plane) in planes.chunks_exact(held.width * held.height).enumerate() {
            for y in part.y..part.y + height {
                let row = &plane[(y - held.y) * held.width + part.x - held.x..][..width];
                self.layout.write_row(channel, part.x, y, row);
            }
        }
        if self.layout.format == PixelFormat::Rgba8 {
            for y in part.y..part.y + height {
                for x in part.x..part.x + width {
                    // SAFETY: inside the row.
                    unsafe { self.layout.row(0, y).add(4 * x + 3).write(255) };
                }
            }
        }
    }
}
