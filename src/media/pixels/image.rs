//! Reads and writes pictures in the caller's memory.

use super::alpha::{Alpha, write_opaque};
use super::device_picture::DevicePicture;
use super::format::{PixelFormat, Range};
use super::layout::{Layout, Planes};
use super::rect::Rect;
use super::shape::Colour;
use super::values::BLOCK;
use super::yuv::{Conversion, Differences, Held};
use crate::error::{Error, Result};
use crate::finite::first_not_finite;
use crate::{memory, parallel};
use parking_lot::Mutex;
use std::fmt;
use std::marker::PhantomData;

/// Bytes of a plane that one thread converts about as fast as it starts others.
const SMALL_PLANE: usize = 1 << 20;

/// A picture to read.
#[derive(Clone, Copy)]
pub struct Image<'a> {
    layout: Layout,
    lifetime: PhantomData<&'a [u8]>,
}

/// A picture to write.
pub struct ImageMut<'a> {
    layout: Layout,
    /// Of a picture with fewer chroma samples than pixels, while parts of it are missing.
    differences: Option<Differences>,
    lifetime: PhantomData<&'a mut [u8]>,
}

impl fmt::Debug for Image<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("width", &self.width()).field("height", &self.height()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ImageMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageMut").field("width", &self.width()).field("height", &self.height()).finish_non_exhaustive()
    }
}

// SAFETY: these are borrows of plain bytes, like slices.
unsafe impl Send for Image<'_> {}
// SAFETY: as above.
unsafe impl Send for ImageMut<'_> {}
// SAFETY: nothing writes to it.
unsafe impl Sync for Image<'_> {}

/// The conversion of a picture that is read.
struct Reading<'a>(Conversion<'a>);

// SAFETY: as above.
unsafe impl Sync for Reading<'_> {}

impl Reading<'_> {
    fn row(&self, at: [usize; 2], r: &mut [f32], g: &mut [f32], b: &mut [f32]) {
        self.0.read_row(at, r, g, b);
    }
}

impl<'a> Image<'a> {
    /// A picture without gaps between its rows and planes.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if `bytes` does not have the picture's size, or is not
    /// aligned for the format; [`InvalidSize`](crate::ErrorKind::InvalidSize) if width or height is 0.
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

    /// A picture whose rows have gaps between them. `planes` gives the memory of each plane, which begins with its first row,
    /// and its stride: the distance in bytes from one row to the next. Planar RGB, YUV and grey may have a plane more for
    /// alpha.
    ///
    /// ```
    /// # use wfvae::{Image, PixelFormat, Yuv};
    /// # fn main() -> wfvae::Result<()> {
    /// // A buffer of 1920x1080 in NV12, with rows of 2048 bytes.
    /// let (luma, chroma) = (vec![16u8; 2048 * 1080], vec![128u8; 2048 * 540]);
    /// let frame = Image::strided([(&luma[..], 2048), (&chroma[..], 2048)], PixelFormat::Nv12(Yuv::default()), 1920, 1080)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidSize`](crate::ErrorKind::InvalidSize) if width or height is 0;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for another number of planes, memory that does not hold the
    /// rows, a stride shorter than a row, or memory that is not aligned for the format.
    pub fn strided(
        planes: impl IntoIterator<Item = (&'a [u8], usize)>,
        format: PixelFormat,
        width: usize,
        height: usize,
    ) -> Result<Self> {
        let planes = planes.into_iter().map(|(bytes, stride)| (bytes.as_ptr().cast_mut(), bytes.len(), stride));
        Ok(Image { layout: Layout::strided(planes, format, width, height)?, lifetime: PhantomData })
    }

    /// A picture anywhere in memory. `planes` are the first element of the first row of each plane. The fourth is alpha, of
    /// planar RGB, YUV and grey; null: none. Others that the format does not have are ignored. A stride is the distance in
    /// bytes from one row to the next, negative for pictures that are stored bottom up. A pixel step is the distance in bytes
    /// from one pixel of a row to the next (in chroma planes, from one sample or pair), negative for mirrored pictures; 0: as
    /// the format says.
    ///
    /// # Errors
    /// [`InvalidSize`](crate::ErrorKind::InvalidSize) if width or height is 0;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a null plane, pixels or rows that overlap, or a pointer,
    /// stride or step that is not a multiple of the element's size.
    ///
    /// # Safety
    /// All pixels must be readable for `'a`, and nothing may write to them during that time. A picture in a device's memory may only
    /// be given to streams whose [`frame_memory`](crate::StreamOptions::frame_memory) is the device's.
    pub unsafe fn from_raw(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: [*const u8; 4],
        strides: [isize; 4],
        pixel_steps: [isize; 4],
    ) -> Result<Self> {
        let planes = Planes { first: planes.map(<*const u8>::cast_mut), strides, steps: pixel_steps };
        Ok(Image { layout: Layout::new(format, width, height, &planes)?, lifetime: PhantomData })
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
        self.read_on(1, out, part);
    }

    /// The same on up to so many threads, if the part is large.
    pub(crate) fn read_on(&self, threads: usize, out: &mut [f32], part: &Rect) {
        match Conversion::of(&self.layout) {
            Some(conversion) => {
                let reading = Reading(conversion);
                let reading = &reading;
                self.read_rows(threads, out, part, |at, [r, g, b]| reading.row(at, r, g, b));
            }
            None => self.read_rows(threads, out, part, |at, rows| {
                for (channel, row) in rows.into_iter().enumerate() {
                    read_rgb(&self.layout, channel, at, row);
                }
            }),
        }
    }

    /// The channel, row and column of the first value that is not finite once converted for the network. Integer
    /// formats have none.
    pub(crate) fn first_not_finite(&self) -> Option<[usize; 3]> {
        if !self.layout.element.is_float() {
            return None;
        }
        let mut part = [0.0; BLOCK];
        for (channel, y) in (0..3).flat_map(|channel| (0..self.height()).map(move |y| (channel, y))) {
            for x in (0..self.width()).step_by(part.len()) {
                let part = &mut part[..(self.width() - x).min(BLOCK)];
                read_rgb(&self.layout, channel, [x, y], part);
                if let Some(offset) = first_not_finite(part) {
                    return Some([channel, y, x + offset]);
                }
            }
        }
        None
    }

    pub(super) fn with_layout(layout: Layout) -> Self {
        Image { layout, lifetime: PhantomData }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// For kernels of the device in whose memory it is.
    pub(crate) fn on_device(&self) -> DevicePicture {
        DevicePicture::of(&self.layout)
    }

    /// The lowest and the highest address of each channel.
    pub(crate) fn extents(&self) -> impl Iterator<Item = [*mut u8; 2]> {
        self.layout.extents()
    }

    /// Channel, row and column of an index in `[3, height, width]`.
    pub(crate) fn place(&self, index: u64) -> [usize; 3] {
        self.layout.place(index)
    }

    /// Whether values may be no finite ones.
    pub(crate) fn is_float(&self) -> bool {
        self.layout.element.is_float()
    }

    /// The picture's alpha, if it has any. A NaN or an infinity in it is an error.
    pub(crate) fn alpha(&self) -> Result<Option<Alpha>> {
        Alpha::read(&self.layout)
    }

    /// The first column of a part that is read, and how many columns there are from it on.
    fn inside(&self, part: &Rect) -> (usize, usize) {
        let inside = part.width.min(self.layout.width.saturating_sub(part.x)).max(1);
        (part.x.min(self.layout.width - 1), inside)
    }

    /// `read` gets the position of a row's first pixel in the picture, and the output for the pixels inside it: a row of each
    /// plane.
    fn read_rows(
        &self,
        threads: usize,
        out: &mut [f32],
        part: &Rect,
        read: impl Fn([usize; 2], [&mut [f32]; 3]) + Sync,
    ) {
        let (start, inside) = self.inside(part);
        let plane = part.width * part.height;
        let (r, rest) = out.split_at_mut(plane);
        let (g, b) = rest.split_at_mut(plane);
        let bands = if size_of_val(r) < SMALL_PLANE { 1 } else { threads.clamp(1, part.height) };
        let rows = part.height.div_ceil(bands);
        let [r, g, b] = [r, g, b].map(|plane| plane.chunks_mut(rows * part.width));
        let planes: Vec<Mutex<[&mut [f32]; 3]>> = r.zip(g).zip(b).map(|((r, g), b)| Mutex::new([r, g, b])).collect();
        parallel::for_each(planes.len(), bands, |band| {
            let [r, g, b] = &mut *planes[band].lock();
            let [r, g, b] = [r, g, b].map(|plane| plane.chunks_exact_mut(part.width));
            for (y, ((r, g), b)) in r.zip(g).zip(b).enumerate() {
                let y = (part.y + band * rows + y).min(self.layout.height - 1);
                read([start, y], [&mut r[..inside], &mut g[..inside], &mut b[..inside]]);
                for row in [r, g, b] {
                    let edge = row[inside - 1];
                    row[inside..].fill(edge);
                }
            }
        });
    }
}

impl<'a> ImageMut<'a> {
    /// Like [`Image::packed`].
    ///
    /// # Errors
    /// As for [`Image::packed`].
    pub fn packed(bytes: &'a mut [u8], format: PixelFormat, width: usize, height: usize) -> Result<Self> {
        let layout = Layout::packed(bytes.as_mut_ptr(), bytes.len(), format, width, height)?;
        Ok(ImageMut { layout, differences: None, lifetime: PhantomData })
    }

    /// Like [`Image::planar_f32`].
    ///
    /// # Errors
    /// As for [`Image::packed`].
    pub fn planar_f32(values: &'a mut [f32], range: Range, width: usize, height: usize) -> Result<Self> {
        let format = PixelFormat::RgbPlanarF32(range);
        let layout = Layout::packed(values.as_mut_ptr().cast(), size_of_val(values), format, width, height)?;
        Ok(ImageMut { layout, differences: None, lifetime: PhantomData })
    }

    /// Like [`Image::strided`].
    ///
    /// # Errors
    /// As for [`Image::strided`].
    pub fn strided(
        planes: impl IntoIterator<Item = (&'a mut [u8], usize)>,
        format: PixelFormat,
        width: usize,
        height: usize,
    ) -> Result<Self> {
        let planes = planes.into_iter().map(|(bytes, stride)| (bytes.as_mut_ptr(), bytes.len(), stride));
        Ok(ImageMut {
            layout: Layout::strided(planes, format, width, height)?,
            differences: None,
            lifetime: PhantomData,
        })
    }

    /// Like [`Image::from_raw`].
    ///
    /// # Errors
    /// As for [`Image::from_raw`].
    ///
    /// # Safety
    /// All pixels must be writable for `'a`, and nothing else may access them during that time. Planes must not overlap. For pictures in a
    /// device's memory, see [`Image::from_raw`].
    pub unsafe fn from_raw(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: [*mut u8; 4],
        strides: [isize; 4],
        pixel_steps: [isize; 4],
    ) -> Result<Self> {
        let planes = Planes { first: planes, strides, steps: pixel_steps };
        Ok(ImageMut { layout: Layout::new(format, width, height, &planes)?, differences: None, lifetime: PhantomData })
    }

    /// The width in pixels.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// The height in pixels.
    pub fn height(&self) -> usize {
        self.layout.height
    }

    /// Writes `part` of the picture, with opaque alpha. `planes` are `[3, height, width]` of the rectangle `held`, which
    /// contains `part`. Pixels outside the picture are skipped. A picture with fewer chroma samples than pixels is complete
    /// when all of its pixels came, each once.
    pub(crate) fn write(&mut self, planes: &[f32], held: &Rect, part: &Rect) -> Result<()> {
        self.write_on(1, planes, held, part)
    }

    /// The same on up to so many threads, if it is much and RGB.
    pub(crate) fn write_on(&mut self, threads: usize, planes: &[f32], held: &Rect, part: &Rect) -> Result<()> {
        let Some(part) = self.inside(part) else { return Ok(()) };
        let Layout { width, height, .. } = self.layout;
        let Some(conversion) = Conversion::of(&self.layout) else {
            return match self.write_rgb_on(threads, planes, held, &part) {
                Some(place) => Err(self.too_large(self.layout.index(place))),
                None => Ok(()),
            };
        };
        write_opaque(&self.layout, &part);
        let held = Held { planes, rect: held };
        if !conversion.joins_pixels() || part == Rect::of(width, height) {
            conversion.write(&held, &part);
            return Ok(());
        }
        if self.differences.is_none() {
            let values = memory::zeros(2 * width * height, "the chroma of a frame that is decoded in tiles")?;
            self.differences = Some(Differences { values, left: width * height });
        }
        let Some(differences) = &mut self.differences else { unreachable!("it was made") };
        conversion.collect(&held, &part, differences);
        if differences.left == 0 {
            conversion.finish(differences);
            self.differences = None;
        }
        Ok(())
    }

    pub(super) fn with_layout(layout: Layout) -> Self {
        ImageMut { layout, differences: None, lifetime: PhantomData }
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Writes a part that is in the picture, which is RGB. Returns channel, row and column of the first value that is too large
    /// for it.
    fn write_rgb_on(&self, threads: usize, planes: &[f32], held: &Rect, part: &Rect) -> Option<[usize; 3]> {
        let too_large = Mutex::new(None);
        self.write_rows(threads, size_of_val(planes) / 3, part, |writing, part| {
            // SAFETY: each band has rows of its own.
            if let Some(place) = unsafe { writing.rows(planes, held, part) } {
                let mut first = too_large.lock();
                *first = Some(first.map_or(place, |other: [usize; 3]| other.min(place)));
            }
        });
        too_large.into_inner()
    }

    /// Writes the picture from planes, as a device's kernels do. Returns the index in `[3, height, width]` of the first value
    /// that is too large.
    #[cfg(test)]
    pub(crate) fn write_as_device(&mut self, planes: &[f32], held: &Rect) -> Option<u64> {
        let whole = Rect::of(self.layout.width, self.layout.height);
        if Conversion::of(&self.layout).is_none() {
            return self.write_rgb_on(1, planes, held, &whole).map(|place| self.layout.index(place));
        }
        self.write(planes, held, &whole).expect("codes are clamped");
        None
    }

    /// Like [`Image::on_device`].
    pub(crate) fn on_device(&self) -> DevicePicture {
        DevicePicture::of(&self.layout)
    }

    /// Like [`Image::extents`].
    pub(crate) fn extents(&self) -> impl Iterator<Item = [*mut u8; 2]> {
        self.layout.extents()
    }

    /// The error for the value of that index in `[3, height, width]`, which is too large for the picture.
    pub(crate) fn too_large(&self, index: u64) -> Error {
        let [channel, y, x] = self.layout.place(index);
        self.layout.element.too_large(["R", "G", "B"][channel], [x, y])
    }

    /// What of a part is in the picture.
    pub(super) fn inside(&self, part: &Rect) -> Option<Rect> {
        let width = part.width.min(self.layout.width.saturating_sub(part.x));
        let height = part.height.min(self.layout.height.saturating_sub(part.y));
        (width > 0 && height > 0).then_some(Rect { width, height, ..*part })
    }

    /// Divides a part of the picture among up to so many threads, if a plane's values are many bytes.
    fn write_rows(&self, threads: usize, plane: usize, part: &Rect, write: impl Fn(&Writing<'_>, &Rect) + Sync) {
        let writing = Writing(&self.layout);
        let writing = &writing;
        let bands = if plane < SMALL_PLANE { 1 } else { threads.clamp(1, part.height) };
        let height = part.height.div_ceil(bands);
        parallel::for_each(part.height.div_ceil(height), bands, |band| {
            let y = part.y + band * height;
            write(writing, &Rect { y, height: height.min(part.y + part.height - y), ..*part });
        });
    }

    /// Writes alpha over the opaque one, if the format has any.
    pub(crate) fn write_alpha(&mut self, alpha: &Alpha) -> Result<()> {
        alpha.write(&self.layout)
    }
}

/// The layout of a picture that is written.
struct Writing<'a>(&'a Layout);

// SAFETY: its rows may be written by several threads, each row by one.
unsafe impl Sync for Writing<'_> {}

impl Writing<'_> {
    /// Writes a part of R, G and B, of planes that hold `held` of the picture, and opaque alpha. Returns the channel, row and
    /// column of the first value that is too large for the format.
    ///
    /// # Safety
    /// Nobody else may use these rows meanwhile.
    unsafe fn rows(&self, planes: &[f32], held: &Rect, part: &Rect) -> Option<[usize; 3]> {
        let mut too_large = None;
        write_opaque(self.0, part);
        for (channel, plane) in planes.chunks_exact(held.width * held.height).enumerate() {
            for y in part.y..part.y + part.height {
                let row = &plane[(y - held.y) * held.width + part.x - held.x..][..part.width];
                let x = write_rgb(self.0, channel, [part.x, y], row);
                too_large = too_large.or(x.map(|x| [channel, y, part.x + x]));
            }
        }
        too_large
    }
}

/// Reads a row of R, G or B.
fn read_rgb(layout: &Layout, channel: usize, at: [usize; 2], out: &mut [f32]) {
    let (channel, element) = (layout.channels[channel], layout.element);
    match layout.colour {
        Colour::Rgb(Range::Signed) => channel.read_floats(element, at, out, |v| v),
        _ if element.is_float() => channel.read_floats(element, at, out, |v| v * 2.0 - 1.0),
        _ => {
            let scale = 2.0 / element.largest();
            channel.read_floats(element, at, out, |v| v * scale - 1.0);
        }
    }
}

/// Writes a row of R, G or B. Returns the index of the first value that is too large for the format.
fn write_rgb(layout: &Layout, channel: usize, at: [usize; 2], values: &[f32]) -> Option<usize> {
    let (channel, element) = (layout.channels[channel], layout.element);
    match layout.colour {
        Colour::Rgb(Range::Signed) => channel.write_floats(element, at, values, |v| v),
        _ if element.is_float() => channel.write_floats(element, at, values, |v| v * 0.5 + 0.5),
        _ => {
            let largest = element.largest();
            channel.write_floats(element, at, values, |v| (v * 0.5 + 0.5) * largest)
        }
    }
}
