//! Where a picture's pixels are in memory, and how their values convert to and from the network's -1 to 1.

use super::format::{PixelFormat, Range};
use crate::error::{Result, fail};

/// Checked pointers, strides and size.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) format: PixelFormat,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) planes: [*mut u8; 3],
    pub(super) strides: [isize; 3],
}

impl Layout {
    pub(super) fn packed(bytes: *mut u8, len: usize, format: PixelFormat, width: usize, height: usize) -> Result<Self> {
        let row = width.checked_mul(format.pixel_bytes());
        let plane = row.and_then(|row| row.checked_mul(height));
        let needed = plane.and_then(|plane| plane.checked_mul(format.planes()));
        let (Some(row), Some(plane), true) = (row, plane, needed == Some(len)) else {
            fail!(InvalidArgument, "a {width}x{height} picture of {format:?}: found {len} bytes, expected {needed:?}");
        };
        let planes = match format.planes() {
            1 => [bytes, std::ptr::null_mut(), std::ptr::null_mut()],
            _ => [0, 1, 2].map(|i| bytes.wrapping_add(i * plane)),
        };
        let layout = Layout { format, width, height, planes, strides: [row as isize; 3] };
        layout.check()?;
        Ok(layout)
    }

    pub(super) fn check(&self) -> Result<()> {
        if let PixelFormat::RgbPlanar16 { bits } | PixelFormat::GbrPlanar16 { bits } = self.format
            && !(9..=16).contains(&bits)
        {
            fail!(InvalidArgument, "bit depth {bits} of a 16-bit format, expected 9 to 16");
        }
        if self.width == 0 || self.height == 0 {
            fail!(InvalidSize, "a picture of {}x{} pixels, expected at least 1x1", self.width, self.height);
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
    pub(super) fn row(&self, plane: usize, y: usize) -> *mut u8 {
        self.planes[plane].wrapping_offset(self.strides[plane] * y as isize)
    }

    /// The first element of a channel's row, and the distance to the next in elements.
    fn channel_row<T>(&self, channel: usize, y: usize) -> (*mut T, usize) {
        let index = self.format.order()[channel];
        match self.format.planes() {
            1 => (self.row(0, y).wrapping_add(index).cast(), self.format.pixel_bytes()),
            _ => (self.row(index, y).cast(), 1),
        }
    }

    pub(super) fn read_row(&self, channel: usize, x: usize, y: usize, out: &mut [f32]) {
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

    pub(super) fn write_row(&self, channel: usize, x: usize, y: usize, values: &[f32]) {
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

    pub(super) fn read_elements<T: Copy, U>(
        &self,
        channel: usize,
        x: usize,
        y: usize,
        out: &mut [U],
        convert: impl Fn(T) -> U,
    ) {
        let (row, step) = self.channel_row::<T>(channel, y);
        for (x, value) in (x..).zip(out) {
            // SAFETY: `x` is less than the width. The constructors checked alignment, and their callers promised
            // readable rows.
            *value = convert(unsafe { row.add(x * step).read() });
        }
    }

    fn write_elements<T>(&self, channel: usize, x: usize, y: usize, values: &[f32], convert: impl Fn(f32) -> T) {
        let (row, step) = self.channel_row::<T>(channel, y);
        for (x, value) in (x..).zip(values) {
            // SAFETY: as for reading, with writable rows.
            unsafe { row.add(x * step).write(convert(*value)) };
        }
    }
}

pub(super) fn max_value(bits: u32) -> f32 {
    ((1u32 << bits) - 1) as f32
}

/// -1..1 to 0..max, rounded to nearest; NaN becomes 0.
pub(super) fn to_integer(value: f32, max: f32) -> u32 {
    ((value * 0.5 + 0.5) * max + 0.5).clamp(0.0, max) as u32
}
