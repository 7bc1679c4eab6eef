//! Pixel formats.

/// The range of float values. Integer formats always use their full range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Range {
    /// 0 is black and 1 is white, as in FFmpeg's float formats.
    #[default]
    Unit,
    /// -1 is black and 1 is white, as in the network.
    Signed,
}

/// How YUV and grey are calculated from RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Matrix {
    /// BT.709 for pictures of 720 lines and more, else BT.601.
    #[default]
    Auto,
    /// BT.601, of standard-definition video and JPEG.
    Bt601,
    /// BT.709, of high-definition video.
    Bt709,
    /// BT.2020 with non-constant luminance, of ultra-high-definition and HDR video.
    Bt2020,
}

/// Which codes stand for black and white in YUV and grey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum YuvRange {
    /// In 8 bits, luma is 16 to 235 and chroma 16 to 240; in n bits, 2^(n-8) times that.
    #[default]
    Limited,
    /// Luma uses all codes. Chroma is 2^(n-1) plus or minus half of them.
    Full,
}

/// Where chroma samples lie among the pixels that share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Siting {
    /// On the left column; where chroma has fewer rows, between the rows: MPEG-2, H.264.
    #[default]
    Left,
    /// In the middle: JPEG, MPEG-1.
    Centre,
    /// On the left column; where chroma has fewer rows, on the upper row: most BT.2020 video.
    TopLeft,
}

/// What the codes of YUV and grey mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Yuv {
    /// How they are calculated from RGB.
    pub matrix: Matrix,
    /// Which codes stand for black and white.
    pub range: YuvRange,
    /// Where chroma samples lie. Must be the default for grey and [`Chroma::Full`].
    pub siting: Siting,
}

/// How many chroma samples a planar YUV picture has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Chroma {
    /// 4:2:0: half as many columns and rows as luma, rounded up.
    Half,
    /// 4:2:2: half as many columns, rounded up.
    HalfWidth,
    /// 4:1:1: a quarter as many columns, rounded up.
    QuarterWidth,
    /// 4:4:4: as many as luma.
    Full,
}

/// The memory layout of pixels, and what their values mean.
///
/// Integers are in native byte order. Input is never clamped. On output, integers are rounded to nearest and clamped; floats
/// are not. Alpha is ignored on input and opaque on output, unless a stream carries it.
///
/// A picture whose pixels lie at other distances is one of these formats with pixel steps of its own, see
/// [`Image::from_raw`](crate::Image::from_raw).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    /// One plane of bytes R, G, B.
    Rgb8,
    /// One plane of bytes R, G, B, A.
    Rgba8,
    /// One plane of bytes B, G, R.
    Bgr8,
    /// One plane of bytes B, G, R, A.
    Bgra8,
    /// Three planes R, G, B of bytes.
    RgbPlanar8,
    /// Three planes G, B, R of bytes: FFmpeg's `gbrp`.
    GbrPlanar8,
    /// One plane of 16-bit words R, G, B. The low `bits` bits hold the value.
    Rgb16 {
        /// 9 to 16.
        bits: u32,
    },
    /// One plane of 16-bit words R, G, B, A. The low `bits` bits hold the value.
    Rgba16 {
        /// 9 to 16.
        bits: u32,
    },
    /// Three planes R, G, B of 16-bit words. The low `bits` bits hold the value.
    RgbPlanar16 {
        /// 9 to 16.
        bits: u32,
    },
    /// The same in the order G, B, R: FFmpeg's `gbrp10` to `gbrp16`.
    GbrPlanar16 {
        /// 9 to 16.
        bits: u32,
    },
    /// One plane of float16 values R, G, B.
    RgbF16(Range),
    /// One plane of float16 values R, G, B, A. Alpha is 0 to 1 in either range.
    RgbaF16(Range),
    /// One plane of float32 values R, G, B.
    RgbF32(Range),
    /// One plane of float32 values R, G, B, A. Alpha is 0 to 1 in either range.
    RgbaF32(Range),
    /// Three planes R, G, B of float16.
    RgbPlanarF16(Range),
    /// Three planes R, G, B of bfloat16.
    RgbPlanarBf16(Range),
    /// Three planes R, G, B of float32.
    RgbPlanarF32(Range),
    /// Three planes G, B, R of float32: FFmpeg's `gbrpf32` with [`Range::Unit`].
    GbrPlanarF32(Range),
    /// One plane of bytes: luma. Read as R = G = B.
    Gray8(Yuv),
    /// One plane of 16-bit words: luma in the low `bits` bits.
    Gray16 {
        /// 9 to 16.
        bits: u32,
        /// What the codes mean.
        yuv: Yuv,
    },
    /// Three planes Y, Cb, Cr of bytes: I420 with [`Chroma::Half`].
    Yuv8 {
        /// The size of the planes Cb and Cr.
        chroma: Chroma,
        /// What the codes mean.
        yuv: Yuv,
    },
    /// Three planes Y, Cb, Cr of 16-bit words. The low `bits` bits hold the code.
    Yuv16 {
        /// The size of the planes Cb and Cr.
        chroma: Chroma,
        /// 9 to 16.
        bits: u32,
        /// What the codes mean.
        yuv: Yuv,
    },
    /// A plane of bytes Y, and a plane of bytes Cb, Cr with half as many columns and rows, rounded up.
    Nv12(Yuv),
    /// The same in 16-bit words, whose high `bits` bits hold the code.
    P010 {
        /// 9 to 16; 10 in P010, 12 in P012, 16 in P016.
        bits: u32,
        /// What the codes mean.
        yuv: Yuv,
    },
}
