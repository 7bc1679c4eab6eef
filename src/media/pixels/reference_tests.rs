//! Compares every conversion with a simple reference, byte by byte. The picture's memory has guard bytes around each
//! row; only samples in the written part may change.

use super::{Image, ImageMut, PixelFormat, Range, Rect};

/// An independent description of a format: where each channel's samples are and what they mean.
struct Plain {
    format: PixelFormat,
    /// For R, G and B: the plane, and the byte offset within a pixel.
    offsets: [(usize, usize); 3],
    planes: usize,
    pixel: usize,
    alpha: bool,
    samples: Samples,
}

#[derive(Clone, Copy, PartialEq)]
enum Samples {
    Byte,
    Word { largest: u16 },
    Unit,
    Signed,
}

impl Samples {
    fn bytes(self) -> usize {
        match self {
            Samples::Byte => 1,
            Samples::Word { .. } => 2,
            Samples::Unit | Samples::Signed => 4,
        }
    }

    /// Converts to -1..1.
    fn read(self, bytes: &[u8]) -> f64 {
        match self {
            Samples::Byte => f64::from(bytes[0]) / 255.0 * 2.0 - 1.0,
            Samples::Word { largest } => {
                f64::from(u16::from_ne_bytes([bytes[0], bytes[1]])) / f64::from(largest) * 2.0 - 1.0
            }
            Samples::Unit => f64::from(float(bytes)) * 2.0 - 1.0,
            Samples::Signed => f64::from(float(bytes)),
        }
    }

    fn write(self, value: f32) -> Vec<u8> {
        let integer = |largest: u16| ((f64::from(value) + 1.0) / 2.0 * f64::from(largest)).round();
        match self {
            Samples::Byte => vec![integer(255).clamp(0.0, 255.0) as u8],
            Samples::Word { largest } => {
                (integer(largest).clamp(0.0, f64::from(largest)) as u16).to_ne_bytes().to_vec()
            }
            Samples::Unit => (value * 0.5 + 0.5).to_ne_bytes().to_vec(),
            Samples::Signed => value.to_ne_bytes().to_vec(),
        }
    }

    /// Sample `n` of an input picture. Covers all bytes, words with and without bits above the depth, and floats
    /// outside the range.
    fn nth(self, n: usize) -> Vec<u8> {
        match self {
            Samples::Byte => vec![(n * 37 + 11) as u8],
            Samples::Word { largest } if n % 7 != 3 => (((n * 12347) as u16) & largest).to_ne_bytes().to_vec(),
            Samples::Word { .. } => ((n * 12347 + 40000) as u16).to_ne_bytes().to_vec(),
            _ => (n as f32 * 0.37 % 4.0 - 2.0).to_ne_bytes().to_vec(),
        }
    }

    /// Value `n` of the planes to write: near the midpoint of two integers of the format but not on it, and outside the
    /// range.
    fn value(self, n: usize) -> f32 {
        let largest = match self {
            Samples::Byte => 255,
            Samples::Word { largest } => usize::from(largest),
            _ => 1000,
        };
        match n % 11 {
            3 => -1.5,
            7 => 1.5,
            9 => 40.0,
            _ => {
                let near = (n * 7919 % (largest + 1)) as f64 + [-0.4, 0.0, 0.4][n % 3];
                (near / largest as f64 * 2.0 - 1.0) as f32
            }
        }
    }
}

fn float(bytes: &[u8]) -> f32 {
    f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn table() -> Vec<Plain> {
    let packed = [(0, 0), (0, 1), (0, 2)];
    let rgb = [(0, 0), (1, 0), (2, 0)];
    let gbr = [(2, 0), (0, 0), (1, 0)];
    let planar = |format, offsets, samples: Samples| Plain {
        format,
        offsets,
        planes: 3,
        pixel: samples.bytes(),
        alpha: false,
        samples,
    };
    let mut table = vec![
        Plain { format: PixelFormat::Rgb8, offsets: packed, planes: 1, pixel: 3, alpha: false, samples: Samples::Byte },
        Plain { format: PixelFormat::Rgba8, offsets: packed, planes: 1, pixel: 4, alpha: true, samples: Samples::Byte },
        planar(PixelFormat::RgbPlanar8, rgb, Samples::Byte),
        planar(PixelFormat::GbrPlanar8, gbr, Samples::Byte),
    ];
    let depths = [(9, 511), (10, 1023), (11, 2047), (12, 4095), (13, 8191), (14, 16383), (15, 32767), (16, 65535)];
    for (bits, largest) in depths {
        table.push(planar(PixelFormat::RgbPlanar16 { bits }, rgb, Samples::Word { largest }));
        table.push(planar(PixelFormat::GbrPlanar16 { bits }, gbr, Samples::Word { largest }));
    }
    for (range, samples) in [(Range::Unit, Samples::Unit), (Range::Signed, Samples::Signed)] {
        table.push(planar(PixelFormat::RgbPlanarF32(range), rgb, samples));
        table.push(planar(PixelFormat::GbrPlanarF32(range), gbr, samples));
    }
    table
}

/// How a plane's rows are arranged.
#[derive(Debug, Clone, Copy)]
struct Rows {
    /// Elements between rows. Each further plane has one more.
    gap: usize,
    bottom_up: bool,
}

const ROWS: [Rows; 4] = [
    Rows { gap: 0, bottom_up: false },
    Rows { gap: 3, bottom_up: false },
    Rows { gap: 0, bottom_up: true },
    Rows { gap: 2, bottom_up: true },
];

/// A picture in memory: one block for all planes, with gaps before, between and after them.
struct Memory {
    /// Words, to align floats.
    words: Vec<u32>,
    /// The byte offset of each plane's first row.
    starts: [usize; 4],
    strides: [isize; 4],
}

const ROOM: usize = 64;

impl Memory {
    fn new(plain: &Plain, (width, height): (usize, usize), rows: Rows) -> Self {
        let (mut starts, mut strides, mut end) = ([0; 4], [0; 4], ROOM);
        for plane in 0..plain.planes {
            let stride = width * plain.pixel + (rows.gap + plane) * plain.samples.bytes();
            starts[plane] = if rows.bottom_up { end + (height - 1) * stride } else { end };
            strides[plane] = if rows.bottom_up { -(stride as isize) } else { stride as isize };
            end = (end + height * stride + ROOM).next_multiple_of(4);
        }
        // Neighbouring bytes differ, and the values are not those of any test picture.
        let words = (0..end as u32 / 4).map(|i| 0xa5c3_9e71_u32.wrapping_mul(2 * i + 1)).collect();
        Memory { words, starts, strides }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let len = size_of_val(&self.words[..]);
        // SAFETY: all of the words, viewed as bytes.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), len) }
    }

    /// The byte offset of a channel's sample.
    fn offset(&self, plain: &Plain, channel: usize, x: usize, y: usize) -> usize {
        let (plane, offset) = plain.offsets[channel];
        let row = self.starts[plane].wrapping_add_signed(self.strides[plane] * y as isize);
        row + x * plain.pixel + offset
    }

    fn planes(&mut self, plain: &Plain) -> [*mut u8; 4] {
        let starts = self.starts;
        let bytes = self.bytes().as_mut_ptr();
        // Pointers of planes that the format does not have are ignored.
        [0, 1, 2, 3].map(|i| if i < plain.planes { bytes.wrapping_add(starts[i]) } else { std::ptr::null_mut() })
    }
}

/// Calls `test` with each format in each arrangement.
fn each(sizes: &[(usize, usize)], test: impl Fn(&Plain, (usize, usize), Rows)) {
    for plain in table() {
        for &size in sizes {
            ROWS.into_iter().for_each(|rows| test(&plain, size, rows));
        }
    }
}

/// Rectangles inside, around and beyond a picture: all of it, padded, tiles inside, at the edges and outside.
fn parts((width, height): (usize, usize)) -> Vec<Rect> {
    let along = |length: usize| {
        let mut spans = vec![(0, length), (0, length + 3), (0, 1), (length - 1, 1), (length - 1, 4), (length, 2)];
        spans.extend([(length + 2, 3), (length / 2, length - length / 2), (length / 3, (length / 3).max(1))]);
        spans
    };
    let spans = along(width).into_iter().flat_map(|x| along(height).into_iter().map(move |y| (x, y)));
    spans.map(|((x, width), (y, height))| Rect { x, y, width, height }).collect()
}

#[test]
fn every_picture_is_read_as_the_reference_says() {
    each(&[(7, 5), (1, 1), (2, 9)], |plain, (width, height), rows| {
        let mut memory = Memory::new(plain, (width, height), rows);
        for (n, (channel, y, x)) in pixels(width, height).enumerate() {
            let offset = memory.offset(plain, channel, x, y);
            memory.bytes()[offset..][..plain.samples.bytes()].copy_from_slice(&plain.samples.nth(n));
        }
        let planes = memory.planes(plain).map(|p| p.cast_const());
        // SAFETY: rows of the memory, which nothing writes to.
        let image = unsafe { Image::from_raw(plain.format, width, height, planes, memory.strides, [0; 4]) }.unwrap();
        for part in parts((width, height)) {
            let count = 3 * part.width * part.height;
            let mut found = vec![f32::NAN; count];
            image.read(&mut found, &part);
            for (i, (channel, y, x)) in pixels(part.width, part.height).enumerate() {
                let (x, y) = ((part.x + x).min(width - 1), (part.y + y).min(height - 1));
                let offset = memory.offset(plain, channel, x, y);
                let sample = &memory.bytes()[offset..][..plain.samples.bytes()];
                let expected = plain.samples.read(sample);
                let near = (f64::from(found[i]) - expected).abs() <= 1e-6 * expected.abs().max(1.0);
                let format = plain.format;
                assert!(near, "{format:?} {width}x{height} {rows:?} {part:?} {i}: {}, not {expected}", found[i]);
            }
        }
    });
}

#[test]
fn every_picture_is_written_as_the_reference_says_and_nothing_else() {
    each(&[(7, 5), (1, 1), (2, 9)], |plain, (width, height), rows| {
        for part in parts((width, height)) {
            // As for tiles: exactly the part, or more around it on some sides.
            for [left, above, right, below] in [[0; 4], [2, 1, 3, 2], [0, 2, 0, 1]] {
                let (x, y) = (part.x.saturating_sub(left), part.y.saturating_sub(above));
                let held =
                    Rect { x, y, width: part.x + part.width + right - x, height: part.y + part.height + below - y };
                let values: Vec<f32> = (0..3 * held.width * held.height).map(|n| plain.samples.value(n)).collect();
                let mut memory = Memory::new(plain, (width, height), rows);
                let mut expected = memory.bytes().to_vec();
                for (channel, y, x) in pixels(width, height) {
                    if x < part.x || x >= part.x + part.width || y < part.y || y >= part.y + part.height {
                        continue;
                    }
                    let value = values[(channel * held.height + y - held.y) * held.width + x - held.x];
                    let offset = memory.offset(plain, channel, x, y);
                    expected[offset..][..plain.samples.bytes()].copy_from_slice(&plain.samples.write(value));
                    if plain.alpha {
                        expected[memory.offset(plain, 0, x, y) + 3] = 255;
                    }
                }
                let planes = memory.planes(plain);
                // SAFETY: rows of the memory, which nothing else accesses.
                let image = unsafe { ImageMut::from_raw(plain.format, width, height, planes, memory.strides, [0; 4]) };
                image.unwrap().write(&values, &held, &part).unwrap();
                let wrong = memory.bytes().iter().zip(&expected).position(|(found, expected)| found != expected);
                let format = plain.format;
                assert!(wrong.is_none(), "{format:?} {width}x{height} {rows:?} {part:?} of {held:?}: byte {wrong:?}");
            }
        }
    });
}

/// Channel, row and column, in the order of planes.
fn pixels(width: usize, height: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..3).flat_map(move |c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))))
}
