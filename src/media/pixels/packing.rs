//! How pictures cross to and from a device: in the elements of the caller's, each channel without gaps, one after the other. The
//! device converts them.

use super::alpha::write_opaque;
use super::format::{Range, Yuv};
use super::image::{Image, ImageMut};
use super::layout::{Channel, Layout};
use super::rect::Rect;
use super::shape::{Colour, Element};
use super::yuv::Conversion;
use crate::error::Error;
use crate::parallel;

/// Bytes that one thread copies about as fast as it starts others.
const SMALL: usize = 1 << 20;

/// What the channels of a crossing picture are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Packing {
    element: Element,
    colour: Colour,
}

impl Packing {
    /// Of 8-bit RGB.
    pub(crate) const RGB8: Packing = Packing { element: Element::U8, colour: Colour::Rgb(Range::Unit) };

    fn of(layout: &Layout) -> Self {
        // Which matrix may depend on the height of the whole picture.
        let known = |yuv: Yuv| Yuv { matrix: yuv.matrix.for_height(layout.height), ..yuv };
        let colour = match layout.colour {
            Colour::Yuv(yuv, chroma) => Colour::Yuv(known(yuv), chroma),
            Colour::Gray(yuv) => Colour::Gray(known(yuv)),
            colour => colour,
        };
        Packing { element: layout.element, colour }
    }

    /// Whether parts of a picture can cross, as no value depends on pixels beside its own.
    pub(crate) fn is_of_pixels(self) -> bool {
        let layout = self.layout(std::ptr::null_mut(), [1, 1]);
        Conversion::of(&layout).is_none_or(|conversion| !conversion.joins_pixels())
    }

    /// Bytes of a picture of so many columns and rows.
    pub(crate) fn bytes(self, size: [usize; 2]) -> usize {
        let layout = self.layout(std::ptr::null_mut(), size);
        let values = |channel| layout.channel_size(channel).into_iter().product::<usize>();
        (0..self.channels()).map(values).sum::<usize>() * self.element.bytes()
    }

    /// A picture that has crossed, of so many columns and rows, at that address.
    ///
    /// # Safety
    /// As for [`Image::from_raw`].
    pub(crate) unsafe fn image<'a>(self, first: *mut u8, size: [usize; 2]) -> Image<'a> {
        Image::with_layout(self.layout(first, size))
    }

    /// One that will cross.
    ///
    /// # Safety
    /// As for [`ImageMut::from_raw`].
    pub(crate) unsafe fn image_mut<'a>(self, first: *mut u8, size: [usize; 2]) -> ImageMut<'a> {
        ImageMut::with_layout(self.layout(first, size))
    }

    /// Memory for a picture of so many columns and rows.
    fn checked(self, memory: *mut u8, len: usize, size: [usize; 2]) -> *mut u8 {
        let aligned = memory.addr().is_multiple_of(self.element.bytes());
        assert!(aligned && self.bytes(size) <= len, "{len} bytes at {memory:p} for {size:?}, {self:?}");
        memory
    }

    fn channels(self) -> usize {
        if matches!(self.colour, Colour::Gray(_)) { 1 } else { 3 }
    }

    fn layout(self, first: *mut u8, [width, height]: [usize; 2]) -> Layout {
        let Packing { element, colour } = self;
        let empty = Channel { first, stride: 0, step: element.bytes() as isize };
        let mut layout = Layout { width, height, element, colour, channels: [empty; 3], alpha: None };
        let mut start = 0;
        for channel in 0..self.channels() {
            let [columns, rows] = layout.channel_size(channel);
            let stride = columns * element.bytes();
            layout.channels[channel] =
                Channel { first: first.wrapping_add(start), stride: stride as isize, ..layout.channels[channel] };
            start += stride * rows;
        }
        if self.channels() == 1 {
            layout.channels = [layout.channels[0]; 3];
        }
        layout
    }
}

/// Where rows of one channel are copied from and to.
struct Copy {
    from: Channel,
    to: Channel,
    columns: usize,
    rows: usize,
}

// SAFETY: the rows that are written are of one thread each.
unsafe impl Sync for Copy {}

/// Copies channels on up to so many threads. `also` does more of a band, the n-th of so many.
///
/// # Safety
/// All must be readable and writable, and nobody else may write them meanwhile.
unsafe fn copy_all(threads: usize, element: Element, channels: &[Copy], also: impl Fn(usize, usize) + Sync) {
    let bytes: usize = channels.iter().map(|c| c.columns * c.rows * element.bytes()).sum();
    let bands = if bytes < SMALL { 1 } else { threads.max(1) };
    parallel::for_each(bands, bands, |band| {
        also(band, bands);
        // SAFETY: as this function asks of its caller; bands have rows of their own.
        unsafe {
            match element.bytes() {
                1 => copy_band::<u8>(channels, band, bands),
                2 => copy_band::<u16>(channels, band, bands),
                _ => copy_band::<u32>(channels, band, bands),
            }
        }
    });
}

/// # Safety
/// As that of `copy_all`, of rows of this band and elements of so many bytes.
unsafe fn copy_band<T: std::marker::Copy>(channels: &[Copy], band: usize, bands: usize) {
    let rows = |channel: &Copy| channel.rows * band / bands..channel.rows * (band + 1) / bands;
    // Channels of one row of interleaved pixels are read while it is in the cache.
    let lines = channels.iter().map(|channel| rows(channel).len()).max().unwrap_or(0);
    for line in 0..lines {
        for channel in channels {
            if let Some(y) = rows(channel).nth(line) {
                // SAFETY: as this function asks of its caller.
                unsafe { copy_row::<T>(channel, y) };
            }
        }
    }
}

/// # Safety
/// As that of `copy_band`, of this row.
unsafe fn copy_row<T: std::marker::Copy>(channel: &Copy, y: usize) {
    let Copy { from, to, columns, .. } = channel;
    // One of them has no gaps.
    if to.step == size_of::<T>() as isize {
        // SAFETY: as this function asks of its caller.
        let row = unsafe { std::slice::from_raw_parts_mut(to.at(0, y).cast::<T>(), *columns) };
        from.read(0, y, row, |value: T| value);
    } else {
        // SAFETY: as above.
        let row = unsafe { std::slice::from_raw_parts(from.at(0, y).cast::<T>().cast_const(), *columns) };
        to.write(0, y, row, |value: T| value);
    }
}

/// The alpha of a picture that is written.
struct Opaque<'a>(&'a Layout);

// SAFETY: the rows that are written are of one thread each.
unsafe impl Sync for Opaque<'_> {}

impl Opaque<'_> {
    fn write(&self, part: &Rect) {
        write_opaque(self.0, part);
    }
}

impl Channel {
    fn from(self, x: usize, y: usize) -> Channel {
        Channel { first: self.at(x, y), ..self }
    }
}

impl Image<'_> {
    pub(crate) fn packing(&self) -> Packing {
        Packing::of(self.layout())
    }

    /// Copies what of `part` is in the picture to `out`, as it crosses. Returns its columns and rows.
    pub(crate) fn pack_on(&self, threads: usize, out: &mut [u8], part: &Rect) -> [usize; 2] {
        let (layout, packing) = (self.layout(), self.packing());
        let [x, y] = [part.x.min(layout.width - 1), part.y.min(layout.height - 1)];
        let size = [part.width.min(layout.width - x), part.height.min(layout.height - y)];
        assert!(
            size == [layout.width, layout.height] || packing.is_of_pixels(),
            "{part:?} of pixels that share values"
        );
        let packed = packing.layout(packing.checked(out.as_mut_ptr(), out.len(), size), size);
        let channels: Vec<Copy> = (0..packing.channels())
            .map(|i| {
                let [columns, rows] = packed.channel_size(i);
                // Parts begin at a pixel of their own, or are all of the picture.
                Copy { from: layout.channels[i].from(x, y), to: packed.channels[i], columns, rows }
            })
            .collect();
        // SAFETY: the picture is readable, and `out`, which was checked, has room.
        unsafe { copy_all(threads, packing.element, &channels, |_, _| {}) };
        size
    }
}

impl ImageMut<'_> {
    pub(crate) fn packing(&self) -> Packing {
        Packing::of(self.layout())
    }

    /// The error for a value that is too large, by its index in the part `held` of the picture, which has `size`.
    pub(crate) fn too_large_in(&self, index: u64, [width, height]: [usize; 2], held: &Rect) -> Error {
        let (index, plane) = (index as usize, width * height);
        let place = [index / plane, index % plane / width + held.y, index % width + held.x];
        self.too_large(self.layout().index(place))
    }

    /// Writes `part` of the picture, with opaque alpha, from what crossed: the part `held` of it, which has `size`.
    pub(crate) fn unpack_on(&mut self, threads: usize, bytes: &[u8], size: [usize; 2], held: &Rect, part: &Rect) {
        let (layout, packing) = (*self.layout(), self.packing());
        let Some(part) = self.inside(part) else { return };
        let packed = packing.layout(packing.checked(bytes.as_ptr().cast_mut(), bytes.len(), size), size);
        let whole = part == Rect::of(layout.width, layout.height);
        let came = Rect { x: held.x, y: held.y, width: size[0], height: size[1] };
        assert!(came.holds(&part) && (whole || packing.is_of_pixels()), "{part:?} of {came:?}");
        let channels: Vec<Copy> = (0..packing.channels())
            .map(|i| {
                let [columns, rows] = if whole { layout.channel_size(i) } else { [part.width, part.height] };
                let from = packed.channels[i].from(part.x - held.x, part.y - held.y);
                Copy { from, to: layout.channels[i].from(part.x, part.y), columns, rows }
            })
            .collect();
        let opaque = Opaque(&layout);
        let opaque = &opaque;
        // SAFETY: the picture is writable and nobody else uses it, and the part is in what came, which was checked.
        unsafe {
            copy_all(threads, packing.element, &channels, |band, bands| {
                let (y, end) = (part.height * band / bands, part.height * (band + 1) / bands);
                opaque.write(&Rect { y: part.y + y, height: end - y, ..part });
            });
        }
    }
}
