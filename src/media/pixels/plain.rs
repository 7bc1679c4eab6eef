//! A plain reference in float64 for every format, which knows only the table below, and pictures in guarded memory that are
//! compared with it. For tests and fuzz targets.

use super::format::{Chroma, Matrix, PixelFormat, Range, Siting, Yuv, YuvRange};
use super::image::{Image, ImageMut};
use super::rect::Rect;
use half::{bf16, f16};

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Kind {
    Byte,
    Word { bits: u32, shift: u32 },
    Half,
    Brain,
    Float,
}

#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    Rgb {
        signed: bool,
    },
    /// Luma weights of R and B; full range; columns and rows of a chroma sample; its place among them, in pixels.
    Yuv {
        kr: f64,
        kb: f64,
        full: bool,
        sub: [usize; 2],
        site: [f64; 2],
        gray: bool,
    },
}

pub(super) struct Plain {
    pub(super) format: PixelFormat,
    pub(super) kind: Kind,
    /// Elements of a pixel in each plane.
    planes: Vec<usize>,
    pub(super) channels: Vec<(usize, usize)>,
    pub(super) alpha: Option<(usize, usize)>,
    meaning: Meaning,
}

impl Kind {
    pub(super) fn bytes(self) -> usize {
        match self {
            Kind::Byte => 1,
            Kind::Float => 4,
            _ => 2,
        }
    }

    pub(super) fn largest(self) -> f64 {
        match self {
            Kind::Byte => 255.0,
            Kind::Word { bits, .. } => f64::from((1u32 << bits) - 1),
            _ => 1.0,
        }
    }

    fn get(self, bytes: &[u8]) -> f64 {
        let word = || u16::from_ne_bytes([bytes[0], bytes[1]]);
        match self {
            Kind::Byte => f64::from(bytes[0]),
            Kind::Word { shift, .. } => f64::from(word() >> shift),
            Kind::Half => f16::from_bits(word()).to_f64(),
            Kind::Brain => bf16::from_bits(word()).to_f64(),
            Kind::Float => f64::from(f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
        }
    }

    /// Element `n` of an input picture.
    #[cfg(test)]
    fn nth(self, n: usize) -> Vec<u8> {
        let value = (n * 37 % 101) as f32 / 50.0 - 0.5;
        match self {
            Kind::Byte => vec![(n * 37 + 11) as u8],
            Kind::Word { bits, shift } => ((((n * 12347) & ((1 << bits) - 1)) << shift) as u16).to_ne_bytes().to_vec(),
            Kind::Half => f16::from_f32(value).to_ne_bytes().to_vec(),
            Kind::Brain => bf16::from_f32(value).to_ne_bytes().to_vec(),
            Kind::Float => value.to_ne_bytes().to_vec(),
        }
    }

    /// How far an element may be from the exact value.
    fn tolerance(self, value: f64) -> f64 {
        match self {
            Kind::Byte | Kind::Word { .. } => 0.5 + self.largest() * 4e-7,
            Kind::Half => value.abs() / 2040.0 + 1e-7,
            Kind::Brain => value.abs() / 255.0 + 1e-7,
            Kind::Float => value.abs() * 1e-6 + 3e-7,
        }
    }
}

pub(super) fn table() -> Vec<Plain> {
    let mut table = vec![];
    let rgb = |signed| Meaning::Rgb { signed };
    let mut packed = |format, kind, elements: usize, bgr: bool, signed| {
        let order = if bgr { [2, 1, 0] } else { [0, 1, 2] };
        let channels = order.map(|i| (0, i)).to_vec();
        let alpha = (elements == 4).then_some((0, 3));
        table.push(Plain { format, kind, planes: vec![elements], channels, alpha, meaning: rgb(signed) });
    };
    packed(PixelFormat::Rgb8, Kind::Byte, 3, false, false);
    packed(PixelFormat::Rgba8, Kind::Byte, 4, false, false);
    packed(PixelFormat::Bgr8, Kind::Byte, 3, true, false);
    packed(PixelFormat::Bgra8, Kind::Byte, 4, true, false);
    for bits in [9, 10, 12, 14, 16] {
        packed(PixelFormat::Rgb16 { bits }, Kind::Word { bits, shift: 0 }, 3, false, false);
        packed(PixelFormat::Rgba16 { bits }, Kind::Word { bits, shift: 0 }, 4, false, false);
    }
    for (range, signed) in [(Range::Unit, false), (Range::Signed, true)] {
        packed(PixelFormat::RgbF16(range), Kind::Half, 3, false, signed);
        packed(PixelFormat::RgbaF16(range), Kind::Half, 4, false, signed);
        packed(PixelFormat::RgbF32(range), Kind::Float, 3, false, signed);
        packed(PixelFormat::RgbaF32(range), Kind::Float, 4, false, signed);
    }
    let mut planar = |format, kind, order: [usize; 3], meaning| {
        let channels = order.map(|plane| (plane, 0)).to_vec();
        table.push(Plain { format, kind, planes: vec![1; 3], channels, alpha: Some((3, 0)), meaning });
    };
    let (straight, gbr) = ([0, 1, 2], [2, 0, 1]);
    planar(PixelFormat::RgbPlanar8, Kind::Byte, straight, rgb(false));
    planar(PixelFormat::GbrPlanar8, Kind::Byte, gbr, rgb(false));
    for bits in [9, 10, 12, 14, 16] {
        planar(PixelFormat::RgbPlanar16 { bits }, Kind::Word { bits, shift: 0 }, straight, rgb(false));
        planar(PixelFormat::GbrPlanar16 { bits }, Kind::Word { bits, shift: 0 }, gbr, rgb(false));
    }
    for (range, signed) in [(Range::Unit, false), (Range::Signed, true)] {
        planar(PixelFormat::RgbPlanarF16(range), Kind::Half, straight, rgb(signed));
        planar(PixelFormat::RgbPlanarBf16(range), Kind::Brain, straight, rgb(signed));
        planar(PixelFormat::RgbPlanarF32(range), Kind::Float, straight, rgb(signed));
        planar(PixelFormat::GbrPlanarF32(range), Kind::Float, gbr, rgb(signed));
    }
    let matrices = [
        (Matrix::Auto, 0.299, 0.114),
        (Matrix::Bt601, 0.299, 0.114),
        (Matrix::Bt709, 0.2126, 0.0722),
        (Matrix::Bt2020, 0.2627, 0.0593),
    ];
    for ((matrix, kr, kb), (range, full)) in
        matrices.into_iter().flat_map(|m| [(YuvRange::Limited, false), (YuvRange::Full, true)].map(|r| (m, r)))
    {
        let meaning = |sub, site, gray| Meaning::Yuv { kr, kb, full, sub, site, gray };
        let sitings = [(Siting::Left, [0.0, 0.5]), (Siting::Centre, [0.5, 0.5]), (Siting::TopLeft, [0.0, 0.0])];
        for (siting, site) in sitings {
            let yuv = Yuv { matrix, range, siting };
            let kinds = [(9, 7), (10, 6), (12, 4), (16, 0)];
            let half = meaning([2, 2], site, false);
            let mut two = |format, kind| {
                let channels = vec![(0, 0), (1, 0), (1, 1)];
                table.push(Plain { format, kind, planes: vec![1, 2], channels, alpha: Some((3, 0)), meaning: half });
            };
            two(PixelFormat::Nv12(yuv), Kind::Byte);
            for (bits, shift) in kinds {
                two(PixelFormat::P010 { bits, yuv }, Kind::Word { bits, shift });
            }
            let default = siting == Siting::Left;
            for (chroma, sub) in [
                (Chroma::Half, [2, 2]),
                (Chroma::HalfWidth, [2, 1]),
                (Chroma::QuarterWidth, [4, 1]),
                (Chroma::Full, [1, 1]),
            ] {
                if !default && (chroma == Chroma::QuarterWidth || chroma == Chroma::Full) {
                    continue;
                }
                let site = if sub[1] == 1 { [site[0], 0.0] } else { site };
                let mut planar = |format, kind| {
                    let channels = vec![(0, 0), (1, 0), (2, 0)];
                    let meaning = meaning(sub, site, false);
                    table.push(Plain { format, kind, planes: vec![1; 3], channels, alpha: Some((3, 0)), meaning });
                };
                planar(PixelFormat::Yuv8 { chroma, yuv }, Kind::Byte);
                for bits in [9, 10, 14, 16] {
                    planar(PixelFormat::Yuv16 { chroma, bits, yuv }, Kind::Word { bits, shift: 0 });
                }
            }
            if default {
                let mut gray = |format, kind| {
                    let meaning = meaning([1, 1], [0.0; 2], true);
                    let channels = vec![(0, 0)];
                    table.push(Plain { format, kind, planes: vec![1], channels, alpha: Some((3, 0)), meaning });
                };
                gray(PixelFormat::Gray8(yuv), Kind::Byte);
                gray(PixelFormat::Gray16 { bits: 12, yuv }, Kind::Word { bits: 12, shift: 0 });
            }
        }
    }
    table
}

/// A picture in guarded memory.
pub(super) struct Memory<'a> {
    pub(super) plain: &'a Plain,
    pub(super) size: [usize; 2],
    words: Vec<u32>,
    starts: [usize; 4],
    strides: [isize; 4],
    steps: [isize; 4],
    natural: bool,
}

/// How a picture lies in memory.
#[derive(Debug, Clone, Copy)]
pub struct Arrangement {
    /// How many times the natural step a step is.
    pub wider: usize,
    /// Elements between rows; each further plane has one more.
    pub gap: usize,
    /// Mirrored, bottom up.
    pub flips: [bool; 2],
    /// Guard bytes around each plane, a multiple of 4.
    pub room: usize,
}

impl<'a> Memory<'a> {
    pub(super) fn new(plain: &'a Plain, size: [usize; 2], arrangement: Arrangement) -> Self {
        let Arrangement { wider, gap, flips, room } = arrangement;
        let mut memory = Memory {
            plain,
            size,
            words: vec![],
            starts: [0; 4],
            strides: [0; 4],
            steps: [0; 4],
            natural: wider == 1 && !flips[0],
        };
        let mut end = room;
        for plane in (0..plain.planes.len()).chain([3]) {
            let [width, height] = memory.plane_size(plane);
            let step = plain.planes.get(plane).unwrap_or(&1) * plain.kind.bytes() * wider;
            let stride = width * step + (gap + plane) * plain.kind.bytes();
            let (last_row, last_column) = ((height - 1) * stride, (width - 1) * step);
            memory.starts[plane] = end + if flips[1] { last_row } else { 0 } + if flips[0] { last_column } else { 0 };
            memory.strides[plane] = if flips[1] { -(stride as isize) } else { stride as isize };
            memory.steps[plane] = if flips[0] { -(step as isize) } else { step as isize };
            end = (end + height * stride + room).next_multiple_of(4);
        }
        memory.words = (0..end as u32 / 4).map(|i| 0xa5c3_9e71_u32.wrapping_mul(2 * i + 1)).collect();
        memory
    }

    pub(super) fn plane_size(&self, plane: usize) -> [usize; 2] {
        match self.plain.meaning {
            Meaning::Yuv { sub, .. } if plane == 1 || plane == 2 => [0, 1].map(|i| self.size[i].div_ceil(sub[i])),
            _ => self.size,
        }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        let len = size_of_val(&self.words[..]);
        // SAFETY: all of the words, viewed as bytes.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), len) }
    }

    pub(super) fn offset(&self, (plane, element): (usize, usize), x: usize, y: usize) -> usize {
        let row = self.starts[plane].wrapping_add_signed(self.strides[plane] * y as isize);
        row.wrapping_add_signed(self.steps[plane] * x as isize) + element * self.plain.kind.bytes()
    }

    pub(super) fn value(&mut self, at: (usize, usize), x: usize, y: usize) -> f64 {
        let (offset, kind) = (self.offset(at, x, y), self.plain.kind);
        kind.get(&self.bytes()[offset..][..kind.bytes()])
    }

    /// Fills all elements, alpha too.
    #[cfg(test)]
    pub(super) fn fill(&mut self) {
        let kind = self.plain.kind;
        self.fill_with(|n| kind.nth(n));
    }

    /// The same with elements of the caller's, by a number.
    pub(super) fn fill_with(&mut self, element: impl Fn(usize) -> Vec<u8>) {
        let kind = self.plain.kind;
        for at in self.plain.channels.iter().copied().chain(self.plain.alpha) {
            let [width, height] = self.plane_size(at.0);
            for (n, (y, x)) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).enumerate() {
                let offset = self.offset(at, x, y);
                self.bytes()[offset..][..kind.bytes()].copy_from_slice(&element(n * 5 + 31 * at.0 + 7 * at.1));
            }
        }
    }

    pub(super) fn image_mut(&mut self) -> ImageMut<'_> {
        let (starts, strides, steps) = (self.starts, self.strides, if self.natural { [0; 4] } else { self.steps });
        let (format, [width, height]) = (self.plain.format, self.size);
        let planes = self.bytes().as_mut_ptr();
        // SAFETY: inside the memory, which nothing else uses.
        unsafe {
            ImageMut::from_raw(format, width, height, starts.map(|start| planes.wrapping_add(start)), strides, steps)
        }
        .unwrap()
    }

    pub(super) fn image(&mut self) -> Image<'_> {
        let (starts, strides, steps) = (self.starts, self.strides, if self.natural { [0; 4] } else { self.steps });
        let (format, [width, height]) = (self.plain.format, self.size);
        let planes = self.bytes().as_ptr();
        // SAFETY: as above.
        unsafe {
            Image::from_raw(format, width, height, starts.map(|start| planes.wrapping_add(start)), strides, steps)
        }
        .unwrap()
    }
}

/// Zero and span of luma and of chroma.
fn codes(kind: Kind, full: bool) -> [[f64; 2]; 2] {
    let unit = (kind.largest() + 1.0) / 256.0;
    match full {
        true => [[0.0, kind.largest()], [128.0 * unit, kind.largest()]],
        false => [[16.0 * unit, 219.0 * unit], [128.0 * unit, 224.0 * unit]],
    }
}

/// What the network should see at a pixel.
fn expected_rgb(memory: &mut Memory, x: usize, y: usize) -> [f64; 3] {
    let plain = memory.plain;
    match plain.meaning {
        Meaning::Rgb { signed } => [0, 1, 2].map(|channel| {
            let value = memory.value(plain.channels[channel], x, y) / plain.kind.largest();
            if signed { value } else { value * 2.0 - 1.0 }
        }),
        Meaning::Yuv { kr, kb, full, sub, site, gray } => {
            let [luma, chroma] = codes(plain.kind, full);
            let l = (memory.value(plain.channels[0], x, y) - luma[0]) / luma[1];
            if gray {
                return [l * 2.0 - 1.0; 3];
            }
            // On a straight line between samples.
            let [cb, cr] = [1, 2].map(|channel| {
                let counts = memory.plane_size(1);
                let [u, v] =
                    [0, 1].map(|i| (([x, y][i] as f64 - site[i]) / sub[i] as f64).clamp(0.0, (counts[i] - 1) as f64));
                let mut at = |dx: usize, dy: usize| {
                    let (cx, cy) = ((u as usize + dx).min(counts[0] - 1), (v as usize + dy).min(counts[1] - 1));
                    (memory.value(plain.channels[channel], cx, cy) - chroma[0]) / chroma[1]
                };
                let (fu, fv) = (u.fract(), v.fract());
                let rows = [0, 1].map(|dy| at(0, dy) * (1.0 - fu) + at(1, dy) * fu);
                rows[0] * (1.0 - fv) + rows[1] * fv
            });
            let (r, b) = (l + 2.0 * (1.0 - kr) * cr, l + 2.0 * (1.0 - kb) * cb);
            [r, (l - kr * r - kb * b) / (1.0 - kr - kb), b].map(|v| v * 2.0 - 1.0)
        }
    }
}

/// The weights of a chroma sample along an axis: pixels and how much each counts.
fn weights(sample: usize, sub: usize, site: f64, size: usize) -> Vec<(usize, f64)> {
    let at = |pixel: isize| pixel.clamp(0, size as isize - 1) as usize;
    let first = (sample * sub) as isize;
    match (sub, site > 0.0) {
        (1, _) => vec![(at(first), 1.0)],
        (_, true) => vec![(at(first), 0.5), (at(first + 1), 0.5)],
        (sub, false) => {
            let sub = sub as isize;
            let triangle = |d: isize| (sub - d.abs()) as f64 / (sub * sub) as f64;
            (1 - sub..sub).map(|d| (at(first + d), triangle(d))).collect()
        }
    }
}

/// What channel `channel` should hold at its `x` and `y`, of planes from -1 to 1, before rounding and clamping.
fn expected_element(
    plain: &Plain,
    [width, height]: [usize; 2],
    planes: &[f32],
    channel: usize,
    x: usize,
    y: usize,
) -> f64 {
    let rgb = |x: usize, y: usize| [0, 1, 2].map(|c| f64::from(planes[(c * height + y) * width + x]));
    match plain.meaning {
        Meaning::Rgb { signed: true } => rgb(x, y)[channel],
        Meaning::Rgb { signed: false } => (rgb(x, y)[channel] + 1.0) / 2.0 * plain.kind.largest(),
        Meaning::Yuv { kr, kb, full, sub, site, .. } => {
            let [luma, chroma] = codes(plain.kind, full);
            let yuv = |x: usize, y: usize| {
                let [r, g, b] = rgb(x, y).map(|v| (v + 1.0) / 2.0);
                let l = kr * r + (1.0 - kr - kb) * g + kb * b;
                [l, (b - l) / 2.0 / (1.0 - kb), (r - l) / 2.0 / (1.0 - kr)]
            };
            if channel == 0 {
                return luma[0] + luma[1] * yuv(x, y)[0];
            }
            let mut sum = 0.0;
            for (py, down) in weights(y, sub[1], site[1], height) {
                for (px, across) in weights(x, sub[0], site[0], width) {
                    sum += down * across * yuv(px, py)[channel];
                }
            }
            chroma[0] + chroma[1] * sum
        }
    }
}

/// Checks the planes of the whole picture against the reference, and returns them.
pub(super) fn check_read(memory: &mut Memory, name: &str) -> Vec<f32> {
    let [width, height] = memory.size;
    let mut whole = vec![f32::NAN; 3 * width * height];
    memory.image().read(&mut whole, &Rect::of(width, height));
    for (x, y) in pixels(memory.size) {
        for (c, expected) in expected_rgb(memory, x, y).into_iter().enumerate() {
            let found = f64::from(whole[(c * height + y) * width + x]);
            assert!(
                (found - expected).abs() < 2e-6 * expected.abs().max(1.0),
                "{name} {c} {x} {y}: {found} {expected}"
            );
        }
    }
    whole
}

/// Checks that a part is what the whole picture has there, and repeats the edge beyond it.
pub(super) fn check_part(memory: &mut Memory, whole: &[f32], part: Rect, name: &str) {
    let [width, height] = memory.size;
    let mut found = vec![f32::NAN; 3 * part.width * part.height];
    memory.image().read(&mut found, &part);
    for (i, (c, (x, y))) in (0..3).flat_map(|c| pixels([part.width, part.height]).map(move |p| (c, p))).enumerate() {
        let (x, y) = ((part.x + x).min(width - 1), (part.y + y).min(height - 1));
        assert_eq!(found[i], whole[(c * height + y) * width + x], "{name} {part:?} {c} {x} {y}");
    }
}

/// Writes the whole picture, and checks each element against the reference and that no other byte changed.
pub(super) fn check_write(memory: &mut Memory, planes: &[f32], name: &str) {
    let (plain, [width, height]) = (memory.plain, memory.size);
    let before = memory.bytes().to_vec();
    let whole = Rect::of(width, height);
    memory.image_mut().write(planes, &whole, &whole).unwrap();
    let mut rest = memory.bytes().to_vec();
    let integer = matches!(plain.kind, Kind::Byte | Kind::Word { .. });
    let alpha = plain.alpha.map(|at| (usize::MAX, at));
    for (channel, at) in plain.channels.iter().copied().enumerate().chain(alpha) {
        for (x, y) in pixels(memory.plane_size(at.0)) {
            let mut expected = match channel {
                usize::MAX => plain.kind.largest(),
                _ => expected_element(plain, memory.size, planes, channel, x, y),
            };
            if integer {
                expected = expected.clamp(0.0, plain.kind.largest());
            }
            let found = memory.value(at, x, y);
            assert!(
                (found - expected).abs() <= plain.kind.tolerance(expected),
                "{name} {at:?} {x} {y}: {found} {expected}"
            );
            let (offset, bytes) = (memory.offset(at, x, y), plain.kind.bytes());
            rest[offset..][..bytes].copy_from_slice(&before[offset..][..bytes]);
        }
    }
    assert!(rest == before, "{name}: bytes around the picture changed");
}

/// Writes the picture in four parts that meet at `cut`, from planes that reach beyond it, and checks that it is what it was before.
pub(super) fn check_write_in_parts(memory: &mut Memory, planes: &[f32], [cut_x, cut_y]: [usize; 2], name: &str) {
    let [width, height] = memory.size;
    let written = memory.bytes().to_vec();
    memory.words.fill(0xa5c3_9e71);
    let mut other = memory.bytes().to_vec();
    let mut image = memory.image_mut();
    let held = Rect::of(width + 2, height + 1);
    let mut padded = vec![9.0; 3 * held.width * held.height];
    for (c, (x, y)) in (0..3).flat_map(|c| pixels([width, height]).map(move |p| (c, p))) {
        padded[(c * held.height + y) * held.width + x] = planes[(c * height + y) * width + x];
    }
    for (x, y, w, h) in [
        (cut_x, 0, width - cut_x + 2, cut_y),
        (0, cut_y, cut_x, height - cut_y),
        (0, 0, cut_x, cut_y),
        (cut_x, cut_y, width - cut_x + 2, height - cut_y + 1),
    ] {
        image.write(&padded, &held, &Rect { x, y, width: w, height: h }).unwrap();
    }
    let (plain, kind) = (memory.plain, memory.plain.kind);
    for at in plain.channels.iter().copied().chain(plain.alpha) {
        for (x, y) in pixels(memory.plane_size(at.0)) {
            let offset = memory.offset(at, x, y);
            other[offset..][..kind.bytes()].copy_from_slice(&written[offset..][..kind.bytes()]);
        }
    }
    assert!(memory.bytes() == &other[..], "{name}: written in parts it differs");
}

pub(super) fn pixels([width, height]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
}
