//! Pixel formats.

/// The range of float values. Integer formats always use their full range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Range {
    /// 0 is black and 1 is white, as in FFmpeg's float formats.
    #[default]
    Unit,
    /// -1 is black and 1 is white, as in the network.
    Signed,
}

/// The memory layout of pixels. Input is never clamped. On output, integer formats round to nearest and clamp; float
/// formats do neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// One plane, 3 bytes per pixel.
    Rgb8,
    /// One plane, 4 bytes per pixel. Alpha is ignored on input and set to 255 on output.
    Rgba8,
    /// Three planes R, G, B of bytes.
    RgbPlanar8,
    /// Three planes G, B, R of bytes: FFmpeg's `gbrp`.
    GbrPlanar8,
    /// Three planes R, G, B of 16-bit words in native byte order. The low `bits` bits hold the value.
    RgbPlanar16 {
        /// 9 to 16.
        bits: u32,
    },
    /// The same in the order G, B, R: FFmpeg's `gbrp10` to `gbrp16`.
    GbrPlanar16 {
        /// 9 to 16.
        bits: u32,
    },
    /// Three planes R, G, B of float32.
    RgbPlanarF32(Range),
    /// Three planes G, B, R of float32: FFmpeg's `gbrpf32` with [`Range::Unit`].
    GbrPlanarF32(Range),
}

impl PixelFormat {
    /// The number of planes: 1, or 3 for planar formats.
    pub fn planes(self) -> usize {
        match self {
            PixelFormat::Rgb8 | PixelFormat::Rgba8 => 1,
            _ => 3,
        }
    }

    /// The distance in bytes from one pixel of a plane's row to the next.
    pub fn pixel_bytes(self) -> usize {
        match self {
            PixelFormat::Rgb8 => 3,
            PixelFormat::Rgba8 => 4,
            PixelFormat::RgbPlanar8 | PixelFormat::GbrPlanar8 => 1,
            PixelFormat::RgbPlanar16 { .. } | PixelFormat::GbrPlanar16 { .. } => 2,
            PixelFormat::RgbPlanarF32(_) | PixelFormat::GbrPlanarF32(_) => 4,
        }
    }

    pub(super) fn element_bytes(self) -> usize {
        match self.planes() {
            1 => 1,
            _ => self.pixel_bytes(),
        }
    }

    /// Which plane, or which byte of a pixel, holds R, G and B.
    pub(super) fn order(self) -> [usize; 3] {
        match self {
            PixelFormat::GbrPlanar8 | PixelFormat::GbrPlanar16 { .. } | PixelFormat::GbrPlanarF32(_) => [2, 0, 1],
            _ => [0, 1, 2],
        }
    }
}
