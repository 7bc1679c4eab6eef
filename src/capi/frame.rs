//! Pictures in C: `wfvae_frame`, checked and converted.

use super::abi::{self, CStruct};
use crate::error::{Result, fail};
use crate::media::{Image, ImageMut, PixelFormat, Range};
use crate::memory;
use std::ffi::c_void;

/// How the pixels of a frame are stored. Integers are in native byte order and full range: 0 is black, the largest
/// value is white. On output, integers are rounded to nearest and clamped; floats are not.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_pixel_format {
    /// 1 plane, 3 bytes per pixel: R, G, B.
    Rgb8 = 1,
    /// 1 plane, 4 bytes per pixel: R, G, B, A. Alpha is ignored on input and 255 on output.
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
}

/// The range of float frames.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_range {
    /// 0 is black, 1 is white.
    Unit = 0,
    /// -1 is black, 1 is white: the network's own range.
    Signed = 1,
}

/// One picture in the caller's memory, read by encode calls and written by decode calls.
///
/// Zero-initialise the struct, set struct_size, then set the fields that you need. The library uses the memory during
/// the call only.
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
    /// Significant low bits of the 16-bit formats, 9 to 16; 0 means 16. Must be 0 for other formats.
    pub bit_depth: u32,
    /// A wfvae_range for the float formats. Must be 0 for other formats.
    pub range: u32,
    /// Must be 0.
    pub reserved: u32,
    /// The first row of each plane, aligned to the size of an element. Unused planes are ignored.
    pub planes: [*mut c_void; 4],
    /// Bytes from one row to the next, at least a row's bytes and a multiple of the size of an element. Negative for
    /// pictures that are stored bottom up.
    pub strides: [isize; 4],
}

unsafe impl CStruct for wfvae_frame {
    const NAME: &'static str = "wfvae_frame";
    const FIRST_SIZE: usize = size_of::<wfvae_frame>();
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
    let image = |frame: &wfvae_frame| {
        let (format, width, height) = frame.describe()?;
        let (planes, strides) = frame.first_planes();
        // SAFETY: the caller promises readable rows.
        unsafe { Image::from_raw(format, width, height, planes.map(|p| p.cast_const()), strides) }
    };
    unsafe { convert(frames, count, image) }
}

pub(super) unsafe fn images_mut<'a>(frames: *mut wfvae_frame, count: usize) -> Result<Vec<ImageMut<'a>>> {
    let image = |frame: &wfvae_frame| {
        let (format, width, height) = frame.describe()?;
        let (planes, strides) = frame.first_planes();
        // SAFETY: the caller promises writable rows.
        unsafe { ImageMut::from_raw(format, width, height, planes, strides) }
    };
    unsafe { convert(frames, count, image) }
}

impl wfvae_frame {
    /// No format has more than three planes.
    fn first_planes(&self) -> ([*mut u8; 3], [isize; 3]) {
        ([0, 1, 2].map(|i| self.planes[i].cast()), [0, 1, 2].map(|i| self.strides[i]))
    }

    fn describe(&self) -> Result<(PixelFormat, usize, usize)> {
        let range = match self.range {
            0 => Range::Unit,
            1 => Range::Signed,
            other => fail!(InvalidArgument, "range is {other}, expected a wfvae_range"),
        };
        let bits = if self.bit_depth == 0 { 16 } else { self.bit_depth };
        let format = match self.format {
            1 => PixelFormat::Rgb8,
            2 => PixelFormat::Rgba8,
            3 => PixelFormat::RgbPlanar8,
            4 => PixelFormat::GbrPlanar8,
            5 => PixelFormat::RgbPlanar16 { bits },
            6 => PixelFormat::GbrPlanar16 { bits },
            7 => PixelFormat::RgbPlanarF32(range),
            8 => PixelFormat::GbrPlanarF32(range),
            other => fail!(InvalidArgument, "format is {other}, expected a wfvae_pixel_format"),
        };
        if !matches!(self.format, 5 | 6) && self.bit_depth != 0 {
            fail!(InvalidArgument, "bit_depth is {}, expected 0: only the 16-bit formats have one", self.bit_depth);
        }
        if !matches!(self.format, 7 | 8) && self.range != 0 {
            fail!(InvalidArgument, "range is {}, expected 0: only the float formats have one", self.range);
        }
        if self.reserved != 0 {
            fail!(InvalidArgument, "reserved is {}, expected 0", self.reserved);
        }
        Ok((format, self.width as usize, self.height as usize))
    }
}
