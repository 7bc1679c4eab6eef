//! Where a picture's values are in memory.

use super::format::{Chroma, PixelFormat, Siting};
use super::shape::{Alpha, Colour, Element, Shape};
use crate::error::{Result, fail};

/// The values of one channel. Distances are in bytes.
#[derive(Clone, Copy)]
pub(super) struct Channel {
    /// The first value of the first row.
    pub(super) first: *mut u8,
    pub(super) stride: isize,
    pub(super) step: isize,
}

/// Where the caller's planes are. Distances are in bytes.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    /// The fourth is alpha, of formats that have a plane for it.
    pub(super) first: [*mut u8; 4],
    pub(super) strides: [isize; 4],
    /// 0: as the format says.
    pub(super) steps: [isize; 4],
}

/// A picture that was checked: every value is aligned and inside the address space.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) element: Element,
    pub(super) colour: Colour,
    /// R, G, B, or Y, Cb, Cr. Of grey, the first thrice.
    pub(super) channels: [Channel; 3],
    pub(super) alpha: Option<Channel>,
}

const ALPHA: usize = 3;

impl Planes {
    pub(super) const NONE: Planes = Planes { first: [std::ptr::null_mut(); 4], strides: [0; 4], steps: [0; 4] };
}

impl Layout {
    /// Planes without gaps, one after the other.
    pub(super) fn packed(bytes: *mut u8, len: usize, format: PixelFormat, width: usize, height: usize) -> Result<Self> {
        let needed = format.bytes(width, height);
        if needed != Some(len) {
            let expected = in_words(needed);
            fail!(InvalidArgument, "a {width}x{height} picture of {format:?}: found {len} bytes, expected {expected}");
        }
        let shape = format.shape();
        let (mut planes, mut start) = (Planes::NONE, 0);
        for plane in 0..shape.planes.len() {
            let [columns, rows] = shape.plane_size(plane, width, height);
            planes.first[plane] = bytes.wrapping_add(start);
            planes.strides[plane] = (columns * shape.pixel_bytes(plane)) as isize;
            start += columns * shape.pixel_bytes(plane) * rows;
        }
        Self::new(format, width, height, &planes)
    }

    /// Slices of at least the rows that the picture has, and the distance from one row to the next in each.
    pub(super) fn strided(
        slices: impl Iterator<Item = (*mut u8, usize, usize)>,
        format: PixelFormat,
        width: usize,
        height: usize,
    ) -> Result<Self> {
        let shape = format.shape();
        let (mut planes, mut count) = (Planes::NONE, 0);
        let own_alpha = usize::from(shape.alpha == Alpha::Plane);
        for (bytes, len, stride) in slices {
            let plane = if count == shape.planes.len() { ALPHA } else { count };
            if count >= shape.planes.len() + own_alpha {
                fail!(InvalidArgument, "more planes than the {} of {format:?}", shape.planes.len() + own_alpha);
            }
            let [columns, rows] = if plane == ALPHA { [width, height] } else { shape.plane_size(plane, width, height) };
            let pixel = if plane == ALPHA { shape.element.bytes() } else { shape.pixel_bytes(plane) };
            let last = rows.saturating_sub(1).checked_mul(stride);
            let needed = last.and_then(|last| columns.checked_mul(pixel)?.checked_add(last));
            if needed.is_none_or(|needed| needed > len) || isize::try_from(stride).is_err() {
                let (name, needed) = (if plane == ALPHA { " (alpha)" } else { "" }, in_words(needed));
                fail!(
                    InvalidArgument,
                    "plane {plane}{name}: {rows} rows at a stride of {stride} need {needed} bytes, found {len}"
                );
            }
            planes.first[plane] = bytes;
            planes.strides[plane] = stride as isize;
            count += 1;
        }
        if count < shape.planes.len() {
            fail!(InvalidArgument, "found {count} planes, {format:?} has {}", shape.planes.len());
        }
        Self::new(format, width, height, &planes)
    }

    pub(super) fn new(format: PixelFormat, width: usize, height: usize, planes: &Planes) -> Result<Self> {
        let shape = format.shape();
        check_format(&shape)?;
        if width == 0 || height == 0 {
            fail!(InvalidSize, "a picture of {width}x{height} pixels, expected at least 1x1");
        }
        let mut steps = [0; 3];
        for (plane, step) in steps.iter_mut().enumerate().take(shape.planes.len()) {
            let size = shape.plane_size(plane, width, height);
            *step = check_plane(planes, plane, size, shape.pixel_bytes(plane), shape.element.bytes())?;
        }
        let channel = |(plane, index): (usize, usize)| Channel {
            first: planes.first[plane].wrapping_add(index * shape.element.bytes()),
            stride: planes.strides[plane],
            step: steps[plane],
        };
        let of = |i: usize| channel(shape.channels[i.min(shape.channels.len() - 1)]);
        let alpha = match shape.alpha {
            Alpha::Inside { plane, index } => Some(channel((plane, index))),
            Alpha::Plane if !planes.first[ALPHA].is_null() => {
                let bytes = shape.element.bytes();
                let step = check_plane(planes, ALPHA, [width, height], bytes, bytes)?;
                Some(Channel { first: planes.first[ALPHA], stride: planes.strides[ALPHA], step })
            }
            Alpha::Plane | Alpha::None => None,
        };
        let (element, colour) = (shape.element, shape.colour);
        Ok(Layout { width, height, element, colour, channels: [of(0), of(1), of(2)], alpha })
    }

    /// Channel, row and column of an index in `[3, height, width]`.
    pub(super) fn place(&self, index: u64) -> [usize; 3] {
        let (index, plane) = (index as usize, self.width * self.height);
        [index / plane, index % plane / self.width, index % self.width]
    }

    /// The reverse.
    pub(super) fn index(&self, [channel, y, x]: [usize; 3]) -> u64 {
        ((channel * self.height + y) * self.width + x) as u64
    }

    /// Columns and rows of a channel.
    pub(super) fn channel_size(&self, channel: usize) -> [usize; 2] {
        match self.colour {
            Colour::Yuv(_, chroma) if channel > 0 => {
                let [across, down] = chroma.subsampling();
                [self.width.div_ceil(across), self.height.div_ceil(down)]
            }
            _ => [self.width, self.height],
        }
    }
}

/// A size, for error texts.
fn in_words(bytes: Option<usize>) -> String {
    bytes.map_or("more than memory can have".into(), |bytes| bytes.to_string())
}

impl Channel {
    /// The address of a value.
    pub(super) fn at(&self, x: usize, y: usize) -> *mut u8 {
        self.first.wrapping_offset(self.stride * y as isize).wrapping_offset(self.step * x as isize)
    }
}

impl PixelFormat {
    /// Whether the format has this plane. Only alpha, the last, may be missing in a picture.
    pub(crate) fn has_plane(self, plane: usize) -> bool {
        plane < self.planes() || plane == ALPHA && self.shape().alpha == Alpha::Plane
    }

    /// Whether several pictures do not overlap in a plane that the format has, each `distance` bytes from the one before. The
    /// picture itself was checked.
    pub(crate) fn lie_apart(
        self,
        plane: usize,
        [width, height]: [usize; 2],
        [step, stride]: [isize; 2],
        (count, distance): (usize, isize),
    ) -> bool {
        let shape = self.shape();
        let ([columns, rows], pixel) = match plane {
            ALPHA => ([width, height], shape.element.bytes()),
            _ => (shape.plane_size(plane, width, height), shape.pixel_bytes(plane)),
        };
        let mut axes = [(columns, step_of(step, pixel)), (rows, stride), (count, distance)];
        axes.sort_by_key(|(_, distance)| distance.unsigned_abs());
        // Each distance must be at least what the shorter ones span.
        let several = axes.into_iter().filter(|(count, _)| *count > 1);
        let span = several.into_iter().try_fold(pixel, |span, (count, distance)| {
            let distance = Some(distance.unsigned_abs()).filter(|distance| *distance >= span)?;
            Some((count - 1).saturating_mul(distance).saturating_add(span))
        });
        span.is_some()
    }
}

fn check_format(shape: &Shape) -> Result<()> {
    if let Element::U16 { bits, .. } = shape.element
        && !(9..=16).contains(&bits)
    {
        fail!(InvalidArgument, "bit depth {bits} of a 16-bit format, expected 9 to 16");
    }
    let (siting, chroma) = match shape.colour {
        Colour::Rgb(_) => return Ok(()),
        Colour::Gray(yuv) => (yuv.siting, None),
        Colour::Yuv(yuv, chroma) => (yuv.siting, Some(chroma)),
    };
    match chroma {
        None | Some(Chroma::Full) if siting != Siting::default() => {
            fail!(InvalidArgument, "siting {siting:?} of a format that has a chroma sample for each pixel, or none")
        }
        Some(Chroma::QuarterWidth) if siting == Siting::Centre => {
            fail!(InvalidArgument, "siting {siting:?} of 4:1:1, which has its chroma on the left column")
        }
        _ => Ok(()),
    }
}

/// The distance from one pixel to the next.
fn step_of(given: isize, pixel: usize) -> isize {
    if given == 0 { pixel as isize } else { given }
}

/// Returns the distance from one pixel to the next.
fn check_plane(
    planes: &Planes,
    plane: usize,
    [width, height]: [usize; 2],
    pixel: usize,
    element: usize,
) -> Result<isize> {
    let (first, stride) = (planes.first[plane], planes.strides[plane]);
    let step = step_of(planes.steps[plane], pixel);
    if first.is_null() {
        fail!(InvalidArgument, "plane {plane} is NULL");
    }
    if step.unsigned_abs() < pixel {
        fail!(InvalidArgument, "plane {plane}: pixel step {step} is shorter than a pixel of {pixel} bytes");
    }
    if !(first as usize).is_multiple_of(element) || !stride.unsigned_abs().is_multiple_of(element) {
        fail!(InvalidArgument, "plane {plane}: pointer and stride {stride} must be multiples of {element} bytes");
    }
    if !step.unsigned_abs().is_multiple_of(element) {
        fail!(InvalidArgument, "plane {plane}: pixel step {step} must be a multiple of {element} bytes");
    }
    // From the first byte of a row, or column, to the one behind its last.
    let extent = |count: usize, distance: isize| {
        (count - 1).checked_mul(distance.unsigned_abs()).and_then(|last| last.checked_add(pixel))
    };
    let (row, column) = (extent(width, step), extent(height, stride));
    let apart = |distance: isize, of: Option<usize>| of.is_some_and(|of| distance.unsigned_abs() >= of);
    let transposed = stride.unsigned_abs() >= pixel && apart(step, column) && width > 1;
    if !apart(stride, row) && !transposed {
        match row {
            Some(row) => fail!(InvalidArgument, "plane {plane}: stride {stride} is shorter than a row of {row} bytes"),
            None => {
                fail!(InvalidArgument, "plane {plane}: a row at pixel step {step} is larger than the address space")
            }
        }
    }
    let behind = row.zip(column).and_then(|(row, column)| row.checked_add(column));
    let fits = behind.is_some_and(|behind| isize::try_from(behind).is_ok()) && {
        let [across, down] = [(width, step), (height, stride)].map(|(count, distance)| distance * (count - 1) as isize);
        let lowest = (first as usize).checked_add_signed(across.min(0) + down.min(0));
        let highest = (first as usize).checked_add_signed(across.max(0) + down.max(0));
        lowest.is_some() && highest.is_some_and(|highest| highest.checked_add(pixel).is_some())
    };
    if !fits {
        fail!(
            InvalidArgument,
            "plane {plane}: {height} rows at a stride of {stride} bytes, with a pixel step of {step}, reach beyond the \
             address space"
        );
    }
    Ok(step)
}
