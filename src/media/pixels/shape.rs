//! What the table of formats says about each: elements, planes, channels and colour.

use super::format::{Chroma, PixelFormat, Range, Yuv};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    U8,
    /// The value is `shift` bits above the word's lowest.
    U16 {
        bits: u32,
        shift: u32,
    },
    F16,
    Bf16,
    F32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    /// The range is of floats only.
    Rgb(Range),
    Yuv(Yuv, Chroma),
    Gray(Yuv),
}

/// Where alpha is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    /// An element of each pixel.
    Inside {
        plane: usize,
        index: usize,
    },
    /// A plane of its own, which a picture may lack.
    Plane,
}

pub(super) struct Shape {
    pub(super) element: Element,
    /// Elements of a pixel in each plane.
    pub(super) planes: &'static [usize],
    /// The plane of each channel, and which element of a pixel it is: R, G, B, or Y, Cb, Cr, or luma alone.
    pub(super) channels: &'static [(usize, usize)],
    pub(super) alpha: Alpha,
    pub(super) colour: Colour,
}

impl Element {
    pub(super) fn bytes(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::U16 { .. } | Element::F16 | Element::Bf16 => 2,
            Element::F32 => 4,
        }
    }
}

impl Chroma {
    /// Luma columns and rows for each chroma sample.
    pub(super) fn subsampling(self) -> [usize; 2] {
        match self {
            Chroma::Half => [2, 2],
            Chroma::HalfWidth => [2, 1],
            Chroma::QuarterWidth => [4, 1],
            Chroma::Full => [1, 1],
        }
    }
}

impl Shape {
    /// Columns and rows of a plane.
    pub(super) fn plane_size(&self, plane: usize, width: usize, height: usize) -> [usize; 2] {
        match self.colour {
            Colour::Yuv(_, chroma) if plane > 0 => {
                let [across, down] = chroma.subsampling();
                [width.div_ceil(across), height.div_ceil(down)]
            }
            _ => [width, height],
        }
    }

    /// Bytes from a pixel of a plane to the next.
    pub(super) fn pixel_bytes(&self, plane: usize) -> usize {
        self.planes[plane] * self.element.bytes()
    }

    /// Bytes of a plane without gaps.
    pub(super) fn packed_plane(&self, plane: usize, width: usize, height: usize) -> Option<usize> {
        let [width, height] = self.plane_size(plane, width, height);
        width.checked_mul(self.pixel_bytes(plane))?.checked_mul(height)
    }
}

impl PixelFormat {
    /// The number of planes, without the alpha plane that planar formats may have.
    pub fn planes(self) -> usize {
        self.shape().planes.len()
    }

    /// The bytes of a picture without gaps and without an alpha plane, as [`Image::packed`](crate::Image::packed) takes it;
    /// `None` if that is more than the address space holds.
    pub fn bytes(self, width: usize, height: usize) -> Option<usize> {
        let shape = self.shape();
        let planes = 0..shape.planes.len();
        planes
            .map(|plane| shape.packed_plane(plane, width, height))
            .try_fold(0usize, |sum, plane| sum.checked_add(plane?))
    }

    /// The table of formats.
    pub(super) fn shape(self) -> Shape {
        const SINGLE: [&[(usize, usize)]; 2] = [&[(0, 0), (1, 0), (2, 0)], &[(2, 0), (0, 0), (1, 0)]];
        let [rgb_planes, gbr_planes] = SINGLE;
        let packed = |element, alpha: bool, colour| Shape {
            element,
            planes: if alpha { &[4] } else { &[3] },
            channels: &[(0, 0), (0, 1), (0, 2)],
            alpha: if alpha { Alpha::Inside { plane: 0, index: 3 } } else { Alpha::None },
            colour,
        };
        let planar =
            |element, channels, colour| Shape { element, planes: &[1, 1, 1], channels, alpha: Alpha::Plane, colour };
        let bgr = |shape| Shape { channels: &[(0, 2), (0, 1), (0, 0)], ..shape };
        let gray = |element, yuv| Shape {
            element,
            planes: &[1],
            channels: &[(0, 0)],
            alpha: Alpha::Plane,
            colour: Colour::Gray(yuv),
        };
        let two_planes = |element, yuv| Shape {
            planes: &[1, 2],
            channels: &[(0, 0), (1, 0), (1, 1)],
            ..planar(element, &[], Colour::Yuv(yuv, Chroma::Half))
        };
        let word = |bits| Element::U16 { bits, shift: 0 };
        let integer = Colour::Rgb(Range::Unit);
        match self {
            PixelFormat::Rgb8 => packed(Element::U8, false, integer),
            PixelFormat::Rgba8 => packed(Element::U8, true, integer),
            PixelFormat::Bgr8 => bgr(packed(Element::U8, false, integer)),
            PixelFormat::Bgra8 => bgr(packed(Element::U8, true, integer)),
            PixelFormat::RgbPlanar8 => planar(Element::U8, rgb_planes, integer),
            PixelFormat::GbrPlanar8 => planar(Element::U8, gbr_planes, integer),
            PixelFormat::Rgb16 { bits } => packed(word(bits), false, integer),
            PixelFormat::Rgba16 { bits } => packed(word(bits), true, integer),
            PixelFormat::RgbPlanar16 { bits } => planar(word(bits), rgb_planes, integer),
            PixelFormat::GbrPlanar16 { bits } => planar(word(bits), gbr_planes, integer),
            PixelFormat::RgbF16(range) => packed(Element::F16, false, Colour::Rgb(range)),
            PixelFormat::RgbaF16(range) => packed(Element::F16, true, Colour::Rgb(range)),
            PixelFormat::RgbF32(range) => packed(Element::F32, false, Colour::Rgb(range)),
            PixelFormat::RgbaF32(range) => packed(Element::F32, true, Colour::Rgb(range)),
            PixelFormat::RgbPlanarF16(range) => planar(Element::F16, rgb_planes, Colour::Rgb(range)),
            PixelFormat::RgbPlanarBf16(range) => planar(Element::Bf16, rgb_planes, Colour::Rgb(range)),
            PixelFormat::RgbPlanarF32(range) => planar(Element::F32, rgb_planes, Colour::Rgb(range)),
            PixelFormat::GbrPlanarF32(range) => planar(Element::F32, gbr_planes, Colour::Rgb(range)),
            PixelFormat::Gray8(yuv) => gray(Element::U8, yuv),
            PixelFormat::Gray16 { bits, yuv } => gray(word(bits), yuv),
            PixelFormat::Yuv8 { chroma, yuv } => planar(Element::U8, rgb_planes, Colour::Yuv(yuv, chroma)),
            PixelFormat::Yuv16 { chroma, bits, yuv } => planar(word(bits), rgb_planes, Colour::Yuv(yuv, chroma)),
            PixelFormat::Nv12(yuv) => two_planes(Element::U8, yuv),
            PixelFormat::P010 { bits, yuv } => {
                two_planes(Element::U16 { bits, shift: 16u32.saturating_sub(bits) }, yuv)
            }
        }
    }
}
