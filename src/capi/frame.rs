//! Pictures in C: `wfvae_frame` and `wfvae_frames`, checked and converted.

use super::abi::{self, CStruct};
use super::guard::guard;
use super::latents::MAX_PER_CALL;
use super::status::wfvae_status;
use crate::error::{Result, fail};
use crate::media::{Chroma, Image, ImageMut, Matrix, PixelFormat, Range, Rect, Siting, Yuv, YuvRange};
use crate::memory;
use std::ffi::c_void;

/// How the pixels of a frame are stored.
///
/// Elements are in native byte order. Integers of RGB and alpha are full range: 0 is black, the largest value is white.
/// On output, integers are rounded to nearest and clamped; floats are not. Input is never clamped. Alpha is ignored on
/// input and opaque on output, unless wfvae_options.alpha is set. Chroma planes with fewer samples than pixels have
/// width and height rounded up.
///
/// With wfvae_frame.pixel_steps these cover further formats. For example, ABGR8 in memory p is WFVAE_PIXEL_FORMAT_RGBP8
/// with planes p + 3, p + 2, p + 1 and p, and steps of 4; NV21 is WFVAE_PIXEL_FORMAT_YUV420P8 with planes y, vu + 1 and
/// vu, and steps of 1, 2 and 2.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_pixel_format {
    /// 1 plane, 3 bytes per pixel: R, G, B.
    Rgb8 = 1,
    /// 1 plane, 4 bytes per pixel: R, G, B, A.
    Rgba8 = 2,
    /// 3 planes of bytes: R, G, B.
    Rgbp8 = 3,
    /// 3 planes of bytes: G, B, R. FFmpeg's AV_PIX_FMT_GBRP.
    Gbrp8 = 4,
    /// 3 planes of uint16_t: R, G, B; see wfvae_frame.bit_depth.
    Rgbp16 = 5,
    /// 3 planes of uint16_t: G, B, R; see wfvae_frame.bit_depth. AV_PIX_FMT_GBRP10, ..12, ..14, ..16.
    Gbrp16 = 6,
    /// 3 planes of float: R, G, B; see wfvae_frame.range.
    RgbpF32 = 7,
    /// 3 planes of float: G, B, R; see wfvae_frame.range. AV_PIX_FMT_GBRPF32 with WFVAE_RANGE_UNIT.
    GbrpF32 = 8,
    /// 1 plane, 3 bytes per pixel: B, G, R.
    Bgr8 = 9,
    /// 1 plane, 4 bytes per pixel: B, G, R, A.
    Bgra8 = 10,
    /// 1 plane, 3 uint16_t per pixel: R, G, B; see wfvae_frame.bit_depth.
    Rgb16 = 11,
    /// 1 plane, 4 uint16_t per pixel: R, G, B, A; see wfvae_frame.bit_depth.
    Rgba16 = 12,
    /// 1 plane, 3 float16 (IEEE half) per pixel: R, G, B; see wfvae_frame.range.
    RgbF16 = 13,
    /// 1 plane, 4 float16 per pixel: R, G, B, A; see wfvae_frame.range.
    RgbaF16 = 14,
    /// 1 plane, 3 floats per pixel: R, G, B; see wfvae_frame.range.
    RgbF32 = 15,
    /// 1 plane, 4 floats per pixel: R, G, B, A; see wfvae_frame.range.
    RgbaF32 = 16,
    /// 3 planes of float16: R, G, B; see wfvae_frame.range.
    RgbpF16 = 17,
    /// 3 planes of bfloat16: R, G, B; see wfvae_frame.range.
    RgbpBf16 = 18,
    /// 1 plane of bytes: luma, of which R = G = B on input.
    Gray8 = 19,
    /// 1 plane of uint16_t: luma; see wfvae_frame.bit_depth.
    Gray16 = 20,
    /// 3 planes of bytes: Y, Cb, Cr; Cb and Cr of half the width and height. I420; AV_PIX_FMT_YUV420P.
    Yuv420p8 = 21,
    /// The same in uint16_t; see wfvae_frame.bit_depth. AV_PIX_FMT_YUV420P10, ..12, ..14, ..16.
    Yuv420p16 = 22,
    /// 3 planes of bytes: Y, Cb, Cr; Cb and Cr of half the width. AV_PIX_FMT_YUV422P.
    Yuv422p8 = 23,
    /// The same in uint16_t; see wfvae_frame.bit_depth.
    Yuv422p16 = 24,
    /// 3 planes of bytes: Y, Cb, Cr, all of the frame's size. AV_PIX_FMT_YUV444P.
    Yuv444p8 = 25,
    /// The same in uint16_t; see wfvae_frame.bit_depth.
    Yuv444p16 = 26,
    /// 3 planes of bytes: Y, Cb, Cr; Cb and Cr of a quarter of the width. AV_PIX_FMT_YUV411P.
    Yuv411p8 = 27,
    /// 2 planes of bytes: Y, and pairs Cb, Cr of half the width and height.
    Nv12 = 28,
    /// The same in uint16_t, whose high bits hold the code: 10, or as wfvae_frame.bit_depth says (P012, P016).
    P010 = 29,
}

/// The range of float frames. Alpha is 0 to 1 in either.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_range {
    /// 0 is black, 1 is white.
    Unit = 0,
    /// -1 is black, 1 is white: the network's own range.
    Signed = 1,
}

/// How YUV and grey are calculated from RGB.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_matrix {
    /// BT.709 for frames of 720 lines and more, else BT.601.
    Auto = 0,
    /// BT.601: standard-definition video, JPEG.
    Bt601 = 1,
    /// BT.709: high-definition video.
    Bt709 = 2,
    /// BT.2020, non-constant luminance: ultra-high-definition and HDR video.
    Bt2020 = 3,
}

/// Which codes stand for black and white in YUV and grey. On input, codes beyond them are not clamped.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_yuv_range {
    /// In 8 bits, luma is 16 to 235 and chroma 16 to 240; in n bits, 2^(n-8) times that.
    Limited = 0,
    /// Luma uses all codes. Chroma is 2^(n-1) plus or minus half of them.
    Full = 1,
}

/// Where chroma samples lie among the pixels that share them. On input, chroma is interpolated linearly between
/// samples. On output, a sample is a weighted mean of the pixels around it: 1/4, 1/2, 1/4 along an axis on which it
/// lies on a pixel, 1/2, 1/2 where it lies between two. Pixels and samples beyond the frame's edge equal those on it.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_siting {
    /// On the left column; where chroma has fewer rows, between the rows: MPEG-2, H.264.
    Left = 0,
    /// In the middle: JPEG, MPEG-1. Not with WFVAE_PIXEL_FORMAT_YUV411P8.
    Centre = 1,
    /// On the left column; where chroma has fewer rows, on the upper row: most BT.2020 video.
    TopLeft = 2,
}

/// One picture in the caller's memory, read by encode calls and written by decode calls.
///
/// Zero-initialise the struct, set struct_size, then set the fields that you need. The library uses the memory during
/// the call only. Rows of a plane must not overlap: each stride must be at least a row's bytes or, in a transposed
/// picture, each pixel step at least a column's. Memory that a call writes, of frames or of latents, must not overlap
/// other memory that it reads or writes; it may hold anything before.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_frame {
    /// sizeof(wfvae_frame), the same in all elements of an array.
    pub struct_size: usize,
    /// A wfvae_pixel_format.
    pub format: u32,
    /// Width in pixels; must be the stream's.
    pub width: u32,
    /// Height in pixels; must be the stream's.
    pub height: u32,
    /// Significant bits of the 16-bit formats, 9 to 16; 0 means 16, of WFVAE_PIXEL_FORMAT_P010 10. They are the low
    /// bits, of WFVAE_PIXEL_FORMAT_P010 the high ones. Must be 0 for other formats.
    pub bit_depth: u32,
    /// A wfvae_range for the float formats. Must be 0 for other formats.
    pub range: u32,
    /// A wfvae_matrix for YUV and grey formats. Must be 0 for other formats.
    pub matrix: u32,
    /// The first element of the first row of each plane, aligned to the size of an element. planes[3] of YUV, grey and
    /// planar RGB formats is alpha: a plane of the frame's full size with the same elements as the others; NULL: none.
    /// Unused planes are ignored.
    pub planes: [*mut c_void; 4],
    /// Bytes from one row to the next, a multiple of the size of an element. Negative for pictures that are stored
    /// bottom up.
    pub strides: [isize; 4],
    /// Bytes from one pixel of a row to the next (in chroma planes, from one sample or pair to the next), a multiple of
    /// the size of an element and at least a pixel's bytes. 0: as the format says. Larger where other data lie between
    /// pixels; negative for mirrored pictures.
    pub pixel_steps: [isize; 4],
    /// A wfvae_yuv_range for YUV and grey formats. Must be 0 for other formats.
    pub yuv_range: u32,
    /// A wfvae_siting for formats with fewer chroma samples than pixels. Must be 0 for other formats.
    pub siting: u32,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_frame {
    const NAME: &'static str = "wfvae_frame";
    const FIRST_SIZE: usize = size_of::<wfvae_frame>();
}

/// Many frames at equal distances in the caller's memory, such as an array of [frames, height, width, channels] or
/// [channels, frames, height, width].
///
/// Zero-initialise the struct, set struct_size, then set all fields.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_frames {
    /// sizeof(wfvae_frames).
    pub struct_size: usize,
    /// The first frame; decode calls write to its memory.
    pub first: *const wfvae_frame,
    /// The number of frames, 1 to 65536. Of decode calls: the room for them.
    pub n_frames: usize,
    /// Bytes from each plane of a frame to the same plane of the next, a multiple of the size of an element. May be
    /// negative. Frames of decode calls must not overlap.
    pub frame_strides: [isize; 4],
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_frames {
    const NAME: &'static str = "wfvae_frames";
    const FIRST_SIZE: usize = size_of::<wfvae_frames>();
}

/// Converts a picture from any format to any other of the same size, as encoding reads frames and decoding writes them.
/// Needs no model. Alpha is converted if both formats have it; otherwise it is opaque.
///
/// from: read during the call only.
/// to: its memory is written; must not overlap that of from. Its contents are unspecified on failure.
///
/// Takes 12 bytes of memory for each pixel during the call, and for alpha 1 more from 8-bit formats, otherwise 4.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE, _OUT_OF_MEMORY; _NOT_FINITE for a NaN or an infinity in
/// float frames, or a value that is too large for a float format of to. wfvae_last_error(NULL) returns the text.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_convert_frame(from: *const wfvae_frame, to: *mut wfvae_frame) -> wfvae_status {
    guard!(status: {
        let from = unsafe { abi::read(from).and_then(|frame| frame.image()) }.map_err(|e| e.prefixed("from"))?;
        let to = unsafe { abi::read(to).and_then(|frame| frame.image_mut()) }.map_err(|e| e.prefixed("to"))?;
        convert_image(&from, to)
    })
}

fn convert_image(from: &Image<'_>, mut to: ImageMut<'_>) -> Result<()> {
    let (width, height) = (from.width(), from.height());
    if (to.width(), to.height()) != (width, height) {
        fail!(InvalidSize, "to is {}x{}, from is {width}x{height}", to.width(), to.height());
    }
    if let Some([channel, y, x]) = from.first_not_finite() {
        fail!(
            NotFinite,
            "from: {} at column {x}, row {y} is a NaN or an infinity, or too large for float32",
            ["R", "G", "B"][channel]
        );
    }
    let alpha = from.alpha().map_err(|e| e.prefixed("from"))?;
    let whole = Rect::of(width, height);
    let mut planes = memory::zeros(width.saturating_mul(height).saturating_mul(3), "a frame to convert")?;
    from.read(&mut planes, &whole);
    let written = to.write(&planes, &whole, &whole);
    written.and_then(|()| alpha.map_or(Ok(()), |alpha| to.write_alpha(&alpha))).map_err(|e| e.prefixed("to"))
}

/// Converts the caller's array, whose stride is the caller's size of the struct.
unsafe fn convert<T>(
    frames: *const wfvae_frame,
    count: usize,
    convert: impl Fn(&wfvae_frame) -> Result<T>,
) -> Result<Vec<T>> {
    let mut stride = 0;
    let mut element = |i: usize| {
        // SAFETY: the caller promises `count` elements of the first one's size.
        let frame = unsafe { frames.byte_add(i * stride) };
        let size = unsafe { abi::checked_size(frame)? };
        if i == 0 {
            stride = size;
        } else if size != stride {
            fail!(InvalidArgument, "struct_size is {size}, expected {stride} as in frame 0");
        }
        convert(&unsafe { abi::read(frame)? })
    };
    let mut converted = memory::with_room(count, "a list of frames")?;
    for i in 0..count {
        converted.push(element(i).map_err(|e| e.prefixed(&format!("frame {i}")))?);
    }
    Ok(converted)
}

pub(super) unsafe fn images<'a>(frames: *const wfvae_frame, count: usize) -> Result<Vec<Image<'a>>> {
    unsafe { convert(frames, count, |frame| frame.image()) }
}

pub(super) unsafe fn images_mut<'a>(frames: *mut wfvae_frame, count: usize) -> Result<Vec<ImageMut<'a>>> {
    unsafe { convert(frames, count, |frame| frame.image_mut()) }
}

/// All frames.
pub(super) unsafe fn frames_images<'a>(frames: &wfvae_frames) -> Result<Vec<Image<'a>>> {
    unsafe { frames.convert(frames.n_frames, |frame| frame.image()) }
}

/// The first `count` frames, at most `n_frames`.
pub(super) unsafe fn frames_images_mut<'a>(frames: &wfvae_frames, count: usize) -> Result<Vec<ImageMut<'a>>> {
    // SAFETY: the caller promises writable rows.
    let images = unsafe { frames.convert(count, |frame| frame.image_mut())? };
    let first = unsafe { abi::read(frames.first)? };
    let (format, width, height) = first.describe()?;
    for plane in first.used_planes(format) {
        let [step, stride, next] = [first.pixel_steps[plane], first.strides[plane], frames.frame_strides[plane]];
        if !format.lie_apart(plane, [width, height], [step, stride], (frames.n_frames, next)) {
            fail!(
                InvalidArgument,
                "frame_strides[{plane}] is {next}: {} frames would overlap in memory; give bytes from a frame to the next",
                frames.n_frames
            );
        }
    }
    Ok(images)
}

impl wfvae_frames {
    unsafe fn convert<T>(&self, count: usize, convert: impl Fn(&wfvae_frame) -> Result<T>) -> Result<Vec<T>> {
        if self.n_frames == 0 || self.n_frames > MAX_PER_CALL || count > self.n_frames {
            fail!(InvalidArgument, "n_frames is {}, expected 1 to {MAX_PER_CALL}", self.n_frames);
        }
        let first = unsafe { abi::read(self.first) }.map_err(|e| e.prefixed("first"))?;
        let (format, ..) = first.describe().map_err(|e| e.prefixed("first"))?;
        let frame = |i: usize| {
            let mut frame = first;
            for plane in first.used_planes(format) {
                let (address, stride) = (&mut frame.planes[plane], self.frame_strides[plane]);
                let offset = stride.checked_mul(i as isize);
                match offset.and_then(|offset| (*address as usize).checked_add_signed(offset)) {
                    None | Some(0) => {
                        fail!(InvalidArgument, "frame_strides[{plane}] of {stride} reaches beyond the address space")
                    }
                    Some(_) => *address = address.wrapping_byte_offset(stride * i as isize),
                }
            }
            convert(&frame)
        };
        let mut converted = memory::with_room(count, "a list of frames")?;
        for i in 0..count {
            converted.push(frame(i).map_err(|e| e.prefixed(&format!("frame {i}")))?);
        }
        Ok(converted)
    }
}

impl wfvae_frame {
    unsafe fn image<'a>(&self) -> Result<Image<'a>> {
        let (format, width, height) = self.describe()?;
        let planes = self.planes.map(|plane| plane.cast_const().cast());
        // SAFETY: the caller promises readable rows.
        unsafe { Image::from_raw(format, width, height, planes, self.strides, self.pixel_steps) }
    }

    unsafe fn image_mut<'a>(&self) -> Result<ImageMut<'a>> {
        let (format, width, height) = self.describe()?;
        // SAFETY: the caller promises writable rows.
        unsafe {
            ImageMut::from_raw(format, width, height, self.planes.map(<*mut _>::cast), self.strides, self.pixel_steps)
        }
    }

    /// The planes of the format that the frame gives.
    fn used_planes(&self, format: PixelFormat) -> impl Iterator<Item = usize> {
        let planes = self.planes;
        (0..planes.len()).filter(move |plane| format.has_plane(*plane) && !planes[*plane].is_null())
    }

    fn describe(&self) -> Result<(PixelFormat, usize, usize)> {
        let range = match self.range {
            0 => Range::Unit,
            1 => Range::Signed,
            other => fail!(InvalidArgument, "range is {other}, expected a wfvae_range"),
        };
        let yuv = self.yuv()?;
        let bits = match (self.bit_depth, self.format) {
            (0, 29) => 10,
            (0, _) => 16,
            (bits, _) => bits,
        };
        let planar = |chroma| match self.format % 2 {
            1 => PixelFormat::Yuv8 { chroma, yuv },
            _ => PixelFormat::Yuv16 { chroma, bits, yuv },
        };
        let format = match self.format {
            1 => PixelFormat::Rgb8,
            2 => PixelFormat::Rgba8,
            3 => PixelFormat::RgbPlanar8,
            4 => PixelFormat::GbrPlanar8,
            5 => PixelFormat::RgbPlanar16 { bits },
            6 => PixelFormat::GbrPlanar16 { bits },
            7 => PixelFormat::RgbPlanarF32(range),
            8 => PixelFormat::GbrPlanarF32(range),
            9 => PixelFormat::Bgr8,
            10 => PixelFormat::Bgra8,
            11 => PixelFormat::Rgb16 { bits },
            12 => PixelFormat::Rgba16 { bits },
            13 => PixelFormat::RgbF16(range),
            14 => PixelFormat::RgbaF16(range),
            15 => PixelFormat::RgbF32(range),
            16 => PixelFormat::RgbaF32(range),
            17 => PixelFormat::RgbPlanarF16(range),
            18 => PixelFormat::RgbPlanarBf16(range),
            19 => PixelFormat::Gray8(yuv),
            20 => PixelFormat::Gray16 { bits, yuv },
            21 | 22 => planar(Chroma::Half),
            23 | 24 => planar(Chroma::HalfWidth),
            25 | 26 => planar(Chroma::Full),
            27 => planar(Chroma::QuarterWidth),
            28 => PixelFormat::Nv12(yuv),
            29 => PixelFormat::P010 { bits, yuv },
            other => fail!(InvalidArgument, "format is {other}, expected a wfvae_pixel_format"),
        };
        let words = matches!(self.format, 5 | 6 | 11 | 12 | 20 | 22 | 24 | 26 | 29);
        if !words && self.bit_depth != 0 {
            fail!(InvalidArgument, "bit_depth is {}, expected 0: only the 16-bit formats have one", self.bit_depth);
        }
        if !matches!(self.format, 7 | 8 | 13..=18) && self.range != 0 {
            fail!(InvalidArgument, "range is {}, expected 0: only the float formats have one", self.range);
        }
        for (name, value) in [("matrix", self.matrix), ("yuv_range", self.yuv_range)] {
            if self.format < 19 && value != 0 {
                fail!(InvalidArgument, "{name} is {value}, expected 0: only YUV and grey formats have one");
            }
        }
        if !matches!(self.format, 21..=24 | 27..=29) && self.siting != 0 {
            fail!(
                InvalidArgument,
                "siting is {}, expected 0: only formats with fewer chroma samples than pixels have one",
                self.siting
            );
        }
        Ok((format, self.width as usize, self.height as usize))
    }

    fn yuv(&self) -> Result<Yuv> {
        let matrix = match self.matrix {
            0 => Matrix::Auto,
            1 => Matrix::Bt601,
            2 => Matrix::Bt709,
            3 => Matrix::Bt2020,
            other => fail!(InvalidArgument, "matrix is {other}, expected a wfvae_matrix"),
        };
        let range = match self.yuv_range {
            0 => YuvRange::Limited,
            1 => YuvRange::Full,
            other => fail!(InvalidArgument, "yuv_range is {other}, expected a wfvae_yuv_range"),
        };
        let siting = match self.siting {
            0 => Siting::Left,
            1 => Siting::Centre,
            2 => Siting::TopLeft,
            other => fail!(InvalidArgument, "siting is {other}, expected a wfvae_siting"),
        };
        Ok(Yuv { matrix, range, siting })
    }
}
