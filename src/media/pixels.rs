//! Pictures in the caller's layout, to and from the planes that the network reads: R, G, B, float32, -1 to 1.

use crate::error::{Result, fail};
use crate::finite::first_not_finite;
use std::marker::PhantomData;

/// What the numbers of float pictures mean. Integers always span their whole range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// 0 is black and 1 is white, as in FFmpeg's float formats.
    #[default]
    Unit,
    /// -1 is black and 1 is white, as the network has it.
    Signed,
}

/// How pixels lie in memory. No format is clamped on input; integer formats are rounded to nearest and clamped on
/// output, float formats are neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// One plane, 3 bytes a pixel.
    Rgb8,
    /// One plane, 4 bytes a pixel. Alpha is ignored on input and 255 on output.
    Rgba8,
    /// Three planes R, G, B of bytes.
    RgbPlanar8,
    /// Three planes G, B, R of bytes, FFmpeg's `gbrp`.
    GbrPlanar8,
    /// Three planes R, G, B of 16-bit words with `bits` significant low bits, 9 to 16, native byte order.
    RgbPlanar16 {
        /// Significant bits.
        bits: u32,
    },
    /// The same in the order G, B, R, FFmpeg's `gbrp10` to `gbrp16`.
    GbrPlanar16 {
        /// Significant bits.
        bits: u32,
    },
    /// Three planes R, G, B of float32.
    RgbPlanarF32(Range),
    /// Three planes G, B, R of float32, FFmpeg's `gbrpf32` with [`Range::Unit`].
    GbrPlanarF32(Range),
}

impl PixelFormat {
    /// 1, or 3 for planar formats.
    pub fn planes(self) -> usize {
        match self {
            PixelFormat::Rgb8 | PixelFormat::Rgba8 => 1,
            _ => 3,
        }
    }

    /// Bytes between neighbours in a row.
    pub fn pixel_bytes(self) -> usize {
        match self {
            PixelFormat::Rgb8 => 3,
            PixelFormat::Rgba8 => 4,
            PixelFormat::RgbPlanar8 | PixelFormat::GbrPlanar8 => 1,
            PixelFormat::RgbPlanar16 { .. } | PixelFormat::GbrPlanar16 { .. } => 2,
            PixelFormat::RgbPlanarF32(_) | PixelFormat::GbrPlanarF32(_) => 4,
        }
    }

    fn element_bytes(self) -> usize {
        match self.planes() {
            1 => 1,
            _ => self.pixel_bytes(),
        }
    }

    /// Which plane (or byte of a pixel) holds R, G and B.
    fn order(self) -> [usize; 3] {
        match self {
            PixelFormat::GbrPlanar8 | PixelFormat::GbrPlanar16 { .. } | PixelFormat::GbrPlanarF32(_) => [2, 0, 1],
            _ => [0, 1, 2],
        }
    }
}

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl Rect {
    /// All of a picture.
    pub(crate) fn of(width: usize, height: usize) -> Self {
        Rect { x: 0, y: 0, width, height }
    }
}

/// Pointers, strides and size, checked once.
#[derive(Clone, Copy)]
struct Layout {
    format: PixelFormat,
    width: usize,
    height: usize,
    planes: [*mut u8; 3],
    strides: [isize; 3],
}

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

// SAFETY: they are borrows of plain bytes, like the slices they are made from.
unsafe impl Send for Image<'_> {}
unsafe impl Send for ImageMut<'_> {}

impl<'a> Image<'a> {
    /// A picture whose rows, and then planes, follow each other without gaps.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if `bytes` has another size than the picture needs, or is
    /// not aligned for the format.
    pub fn packed(bytes: &'a [u8], format: PixelFormat, width: usize, height: usize) -> Result<Self> {
        let layout = Layout::packed(bytes.as_ptr().cast_mut(), bytes.len(), format, width, height)?;
        Ok(Image { layout, lifetime: PhantomData })
    }

    /// Three planes R, G, B of float32 that follow each other, `[3, height, width]`.
    ///
    /// # Errors
    /// As for [`packed`](Self::packed).
    pub fn planar_f32(values: &'a [f32], range: Range, width: usize, height: usize) -> Result<Self> {
        let format = PixelFormat::RgbPlanarF32(range);
        let layout = Layout::packed(values.as_ptr().cast_mut().cast(), size_of_val(values), format, width, height)?;
        Ok(Image { layout, lifetime: PhantomData })
    }

    /// A picture anywhere in memory. Strides are bytes from one row to the next and may be negative.
    ///
    /// # Errors
    /// [`InvalidSize`](crate::ErrorKind::InvalidSize) for no pixels,
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a null plane, a stride shorter than a row, or a
    /// pointer or stride that is not a multiple of the element's size.
    ///
    /// # Safety
    /// All rows must be readable for `'a`, and nothing may write to them meanwhile.
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

    /// In pixels.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// In pixels.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// Fills `[3, height, width]` planes with that part of the picture; beyond its edges the last column and row repeat.
    pub(crate) fn read(&self, out: &mut [f32], part: &Rect) {
        self.read_rows(out, part, |channel, x, y, row| self.layout.read_row(channel, x, y, row));
    }

    /// The same of formats of 8 bits, as they are; false for all others, which leave `out` as it is.
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

    /// The first number, as the network would read it, that is a NaN or an infinity: its channel, row and column.
    /// Integers are never.
    pub(crate) fn first_not_finite(&self) -> Option<[usize; 3]> {
        if !matches!(self.layout.format, PixelFormat::RgbPlanarF32(_) | PixelFormat::GbrPlanarF32(_)) {
            return None;
        }
        let mut part = [0.0; 256];
        for (channel, y) in (0..3).flat_map(|channel| (0..self.height()).map(move |y| (channel, y))) {
            for x in (0..self.width()).step_by(part.len()) {
                let part = &mut part[..(self.width() - x).min(256)];
                self.layout.read_row(channel, x, y, part);
                if let Some(place) = first_not_finite(part) {
                    return Some([channel, y, x + place]);
                }
            }
        }
        None
    }

    /// `read` gets a channel, where in the picture a row begins, and the row's part inside of it.
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
    /// As [`Image::packed`].
    ///
    /// # Errors
    /// As for [`Image::packed`].
    pub fn packed(bytes: &'a mut [u8], format: PixelFormat, width: usize, height: usize) -> Result<Self> {
        let layout = Layout::packed(bytes.as_mut_ptr(), bytes.len(), format, width, height)?;
        Ok(ImageMut { layout, lifetime: PhantomData })
    }

    /// As [`Image::planar_f32`].
    ///
    /// # Errors
    /// As for [`Image::packed`].
    pub fn planar_f32(values: &'a mut [f32], range: Range, width: usize, height: usize) -> Result<Self> {
        let format = PixelFormat::RgbPlanarF32(range);
        let layout = Layout::packed(values.as_mut_ptr().cast(), size_of_val(values), format, width, height)?;
        Ok(ImageMut { layout, lifetime: PhantomData })
    }

    /// As [`Image::from_raw`].
    ///
    /// # Errors
    /// As for [`Image::from_raw`].
    ///
    /// # Safety
    /// All rows must be writable for `'a`, and nothing else may touch them meanwhile.
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

    /// In pixels.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// In pixels.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// Writes `part` of the picture from `[3, height, width]` planes that hold the rectangle `held` around it. What lies
    /// beyond the picture's edges is left out.
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

impl Layout {
    fn packed(bytes: *mut u8, len: usize, format: PixelFormat, width: usize, height: usize) -> Result<Self> {
        let row = width.checked_mul(format.pixel_bytes());
        let plane = row.and_then(|row| row.checked_mul(height));
        let needed = plane.and_then(|plane| plane.checked_mul(format.planes()));
        let (Some(row), Some(plane), true) = (row, plane, needed == Some(len)) else {
            fail!(InvalidArgument, "a {width}x{height} picture of {format:?}: found {len} bytes, needed {needed:?}");
        };
        let planes = match format.planes() {
            1 => [bytes, std::ptr::null_mut(), std::ptr::null_mut()],
            _ => [0, 1, 2].map(|i| bytes.wrapping_add(i * plane)),
        };
        let layout = Layout { format, width, height, planes, strides: [row as isize; 3] };
        layout.check()?;
        Ok(layout)
    }

    fn check(&self) -> Result<()> {
        if let PixelFormat::RgbPlanar16 { bits } | PixelFormat::GbrPlanar16 { bits } = self.format
            && !(9..=16).contains(&bits)
        {
            fail!(InvalidArgument, "bit depth {bits} of a 16-bit format, expected 9 to 16");
        }
        if self.width == 0 || self.height == 0 {
            fail!(InvalidSize, "a picture of {}x{} pixels", self.width, self.height);
        }
        let row = self.width.saturating_mul(self.format.pixel_bytes());
        let element = self.format.element_bytes();
        for i in 0..self.format.planes() {
            let (plane, stride) = (self.planes[i], self.strides[i]);
            if plane.is_null() {
                fail!(InvalidArgument, "plane {i} is NULL");
            }
            if stride.unsigned_abs() < row {
                fail!(InvalidArgument, "plane {i}: stride {stride} is shorter than a row of {row} bytes");
            }
            if !(plane as usize).is_multiple_of(element) || !stride.unsigned_abs().is_multiple_of(element) {
                fail!(InvalidArgument, "plane {i}: pointer and stride {stride} must be multiples of {element} bytes");
            }
        }
        Ok(())
    }

    /// The first byte of a row.
    fn row(&self, plane: usize, y: usize) -> *mut u8 {
        self.planes[plane].wrapping_offset(self.strides[plane] * y as isize)
    }

    /// The first element of a channel's row, and the distance to the next in elements.
    fn channel_row<T>(&self, channel: usize, y: usize) -> (*mut T, usize) {
        let place = self.format.order()[channel];
        match self.format.planes() {
            1 => (self.row(0, y).wrapping_add(place).cast(), self.format.pixel_bytes()),
            _ => (self.row(place, y).cast(), 1),
        }
    }

    fn read_row(&self, channel: usize, x: usize, y: usize, out: &mut [f32]) {
        match self.format {
            PixelFormat::Rgb8 | PixelFormat::Rgba8 | PixelFormat::RgbPlanar8 | PixelFormat::GbrPlanar8 => {
                self.read_elements(channel, x, y, out, |v: u8| f32::from(v) * (2.0 / 255.0) - 1.0);
            }
            PixelFormat::RgbPlanar16 { bits } | PixelFormat::GbrPlanar16 { bits } => {
                let scale = 2.0 / max_value(bits);
                self.read_elements(channel, x, y, out, |v: u16| f32::from(v) * scale - 1.0);
            }
            PixelFormat::RgbPlanarF32(Range::Signed) | PixelFormat::GbrPlanarF32(Range::Signed) => {
                self.read_elements(channel, x, y, out, |v: f32| v);
            }
            PixelFormat::RgbPlanarF32(Range::Unit) | PixelFormat::GbrPlanarF32(Range::Unit) => {
                self.read_elements(channel, x, y, out, |v: f32| v * 2.0 - 1.0);
            }
        }
    }

    fn write_row(&self, channel: usize, x: usize, y: usize, values: &[f32]) {
        match self.format {
            PixelFormat::Rgb8 | PixelFormat::Rgba8 | PixelFormat::RgbPlanar8 | PixelFormat::GbrPlanar8 => {
                self.write_elements(channel, x, y, values, |v| to_integer(v, 255.0) as u8);
            }
            PixelFormat::RgbPlanar16 { bits } | PixelFormat::GbrPlanar16 { bits } => {
                let max = max_value(bits);
                self.write_elements(channel, x, y, values, |v| to_integer(v, max) as u16);
            }
            PixelFormat::RgbPlanarF32(Range::Signed) | PixelFormat::GbrPlanarF32(Range::Signed) => {
                self.write_elements(channel, x, y, values, |v| v);
            }
            PixelFormat::RgbPlanarF32(Range::Unit) | PixelFormat::GbrPlanarF32(Range::Unit) => {
                self.write_elements(channel, x, y, values, |v| v * 0.5 + 0.5);
            }
        }
    }

    fn read_elements<T: Copy, U>(&self, channel: usize, x: usize, y: usize, out: &mut [U], convert: impl Fn(T) -> U) {
        let (row, step) = self.channel_row::<T>(channel, y);
        for (x, value) in (x..).zip(out) {
            // SAFETY: `x` is below the width; the constructors were promised readable rows and checked alignment.
            *value = convert(unsafe { row.add(x * step).read() });
        }
    }

    fn write_elements<T>(&self, channel: usize, x: usize, y: usize, values: &[f32], convert: impl Fn(f32) -> T) {
        let (row, step) = self.channel_row::<T>(channel, y);
        for (x, value) in (x..).zip(values) {
            // SAFETY: as for reading, with rows promised to be writable.
            unsafe { row.add(x * step).write(convert(*value)) };
        }
    }
}

fn max_value(bits: u32) -> f32 {
    ((1u32 << bits) - 1) as f32
}

/// -1..1 to 0..max, rounded to nearest; NaN becomes 0.
fn to_integer(value: f32, max: f32) -> u32 {
    ((value * 0.5 + 0.5) * max + 0.5).clamp(0.0, max) as u32
}

#[cfg(test)]
mod reference;

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (5, 3);

    fn formats() -> Vec<PixelFormat> {
        let depths = [9, 10, 12, 16];
        let words =
            depths.iter().flat_map(|&bits| [PixelFormat::RgbPlanar16 { bits }, PixelFormat::GbrPlanar16 { bits }]);
        let bytes = [PixelFormat::Rgb8, PixelFormat::Rgba8, PixelFormat::RgbPlanar8, PixelFormat::GbrPlanar8];
        let floats = [Range::Unit, Range::Signed];
        let floats = floats.iter().flat_map(|&r| [PixelFormat::RgbPlanarF32(r), PixelFormat::GbrPlanarF32(r)]);
        bytes.into_iter().chain(words).chain(floats).collect()
    }

    /// Every format carries the same picture to within half of its step, through padding and cropping.
    #[test]
    fn every_format_round_trips() {
        let (w, h) = SIZE;
        let plane = |c: usize| (0..w * h).map(move |i| ((i * 37 + c * 101) % 200) as f32 / 100.0 - 1.0);
        let picture: Vec<f32> = (0..3).flat_map(plane).collect();
        for format in formats() {
            // An aligned buffer.
            let mut words = vec![0f32; w * h * 4];
            let len = w * h * format.planes() * format.pixel_bytes();
            let bytes = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), len) };
            ImageMut::packed(bytes, format, w, h).unwrap().write(&picture, &Rect::of(w, h), &Rect::of(w, h));
            let mut padded = vec![9.0; 3 * 8 * 4];
            Image::packed(bytes, format, w, h).unwrap().read(&mut padded, &Rect::of(8, 4));
            let tolerance = match format {
                PixelFormat::RgbPlanar16 { bits } | PixelFormat::GbrPlanar16 { bits } => 1.01 / max_value(bits),
                PixelFormat::RgbPlanarF32(_) | PixelFormat::GbrPlanarF32(_) => 1e-6,
                _ => 1.01 / 255.0,
            };
            for (c, (y, x)) in (0..3).flat_map(|c| (0..4).flat_map(move |y| (0..8).map(move |x| (c, (y, x))))) {
                let expected = picture[(c * h + y.min(h - 1)) * w + x.min(w - 1)];
                let found = padded[(c * 4 + y) * 8 + x];
                assert!((found - expected).abs() <= tolerance, "{format:?} {c} {y} {x}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn integers_round_to_nearest_and_clamp() {
        assert_eq!([-1.5, -1.0, 0.0, 1.0, 1.5, f32::NAN].map(|v| to_integer(v, 255.0)), [0, 0, 128, 255, 255, 0]);
        assert_eq!((0..=255).filter(|&v| to_integer(v as f32 * (2.0 / 255.0) - 1.0, 255.0) != v).count(), 0);
    }

    #[test]
    fn gbr_order_is_green_blue_red() {
        let bytes = [1u8, 2, 3];
        let mut planes = [0.0; 3];
        Image::packed(&bytes, PixelFormat::GbrPlanar8, 1, 1).unwrap().read(&mut planes, &Rect::of(1, 1));
        assert_eq!(planes.map(|v| to_integer(v, 255.0)), [3, 1, 2]);
    }

    #[test]
    fn bottom_up_rows_are_read_through_a_negative_stride() {
        let bytes = [10u8, 11, 20, 21];
        let mut plane = [0.0; 12];
        let last = bytes[2..].as_ptr();
        let image = unsafe { Image::from_raw(PixelFormat::RgbPlanar8, 2, 2, [last; 3], [-2; 3]) };
        image.unwrap().read(&mut plane, &Rect::of(2, 2));
        assert_eq!([0, 1, 2, 3].map(|i| to_integer(plane[i], 255.0)), [20, 21, 10, 11]);
    }
}
