//! Every format in every arrangement, against a plain reference in float64 that knows only the table below. The memory
//! around the elements of a picture is guarded.

use super::{Chroma, Image, ImageMut, Matrix, PixelFormat, Range, Rect, Siting, Yuv, YuvRange};
use half::{bf16, f16};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
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

struct Plain {
    format: PixelFormat,
    kind: Kind,
    /// Elements of a pixel in each plane.
    planes: Vec<usize>,
    channels: Vec<(usize, usize)>,
    alpha: Option<(usize, usize)>,
    meaning: Meaning,
}

impl Kind {
    fn bytes(self) -> usize {
        match self {
            Kind::Byte => 1,
            Kind::Float => 4,
            _ => 2,
        }
    }

    fn largest(self) -> f64 {
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

fn table() -> Vec<Plain> {
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
    plain: &'a Plain,
    pub(super) size: [usize; 2],
    words: Vec<u32>,
    starts: [usize; 4],
    strides: [isize; 4],
    steps: [isize; 4],
    natural: bool,
}

impl<'a> Memory<'a> {
    /// `wider`: how many times the natural step; `flips`: mirrored, bottom up.
    fn new(plain: &'a Plain, size: [usize; 2], wider: usize, flips: [bool; 2]) -> Self {
        let mut memory = Memory {
            plain,
            size,
            words: vec![],
            starts: [0; 4],
            strides: [0; 4],
            steps: [0; 4],
            natural: wider == 1 && !flips[0],
        };
        let mut end = 64;
        for plane in (0..plain.planes.len()).chain([3]) {
            let [width, height] = memory.plane_size(plane);
            let step = plain.planes.get(plane).unwrap_or(&1) * plain.kind.bytes() * wider;
            let stride = width * step + (1 + plane) * plain.kind.bytes();
            let (last_row, last_column) = ((height - 1) * stride, (width - 1) * step);
            memory.starts[plane] = end + if flips[1] { last_row } else { 0 } + if flips[0] { last_column } else { 0 };
            memory.strides[plane] = if flips[1] { -(stride as isize) } else { stride as isize };
            memory.steps[plane] = if flips[0] { -(step as isize) } else { step as isize };
            end = (end + height * stride + 64).next_multiple_of(4);
        }
        memory.words = (0..end as u32 / 4).map(|i| 0xa5c3_9e71_u32.wrapping_mul(2 * i + 1)).collect();
        memory
    }

    fn plane_size(&self, plane: usize) -> [usize; 2] {
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

    fn offset(&self, (plane, element): (usize, usize), x: usize, y: usize) -> usize {
        let row = self.starts[plane].wrapping_add_signed(self.strides[plane] * y as isize);
        row.wrapping_add_signed(self.steps[plane] * x as isize) + element * self.plain.kind.bytes()
    }

    fn value(&mut self, at: (usize, usize), x: usize, y: usize) -> f64 {
        let (offset, kind) = (self.offset(at, x, y), self.plain.kind);
        kind.get(&self.bytes()[offset..][..kind.bytes()])
    }

    /// Fills all elements, alpha too.
    pub(super) fn fill(&mut self) {
        let kind = self.plain.kind;
        for at in self.plain.channels.iter().copied().chain(self.plain.alpha) {
            let [width, height] = self.plane_size(at.0);
            for (n, (y, x)) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).enumerate() {
                let offset = self.offset(at, x, y);
                self.bytes()[offset..][..kind.bytes()].copy_from_slice(&kind.nth(n * 5 + 31 * at.0 + 7 * at.1));
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

pub(super) fn formats() -> Vec<PixelFormat> {
    table().iter().map(|plain| plain.format).collect()
}

pub(super) fn each(test: impl Fn(&mut Memory, &str)) {
    for plain in table() {
        for size in [[7, 5], [1, 1], [10, 8]] {
            for (wider, flips) in
                [(1, [false, false]), (1, [false, true]), (3, [false, false]), (1, [true, true]), (2, [true, false])]
            {
                let name = format!("{:?} {size:?} {wider} {flips:?}", plain.format);
                test(&mut Memory::new(&plain, size, wider, flips), &name);
            }
        }
    }
}

fn pixels([width, height]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)))
}

#[test]
fn every_arrangement_is_read_as_the_reference_says() {
    each(|memory, name| {
        memory.fill();
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
        // A part is what the whole has there, and repeats the edge beyond it.
        for part in [
            Rect { x: width / 2, y: height / 2, width: width - width / 2, height: height - height / 2 },
            Rect { x: width / 3, y: height / 3, width: width + 1, height: height + 2 },
        ] {
            let mut found = vec![f32::NAN; 3 * part.width * part.height];
            memory.image().read(&mut found, &part);
            for (i, (c, (x, y))) in
                (0..3).flat_map(|c| pixels([part.width, part.height]).map(move |p| (c, p))).enumerate()
            {
                let (x, y) = ((part.x + x).min(width - 1), (part.y + y).min(height - 1));
                assert_eq!(found[i], whole[(c * height + y) * width + x], "{name} {part:?} {c} {x} {y}");
            }
        }
    });
}

#[test]
fn every_arrangement_is_written_as_the_reference_says_in_one_part_or_several() {
    each(|memory, name| {
        let (plain, [width, height]) = (memory.plain, memory.size);
        let value = |n: usize| ((n * 7919 % 997) as f32 / 498.0 - 1.0) * if n % 13 == 5 { 1.6 } else { 1.0 };
        let planes: Vec<f32> = (0..3 * width * height).map(value).collect();
        let before = memory.bytes().to_vec();
        let whole = Rect::of(width, height);
        memory.image_mut().write(&planes, &whole, &whole).unwrap();
        let mut rest = memory.bytes().to_vec();
        let integer = matches!(plain.kind, Kind::Byte | Kind::Word { .. });
        let alpha = plain.alpha.map(|at| (usize::MAX, at));
        for (channel, at) in plain.channels.iter().copied().enumerate().chain(alpha) {
            for (x, y) in pixels(memory.plane_size(at.0)) {
                let mut expected = match channel {
                    usize::MAX => plain.kind.largest(),
                    _ => expected_element(plain, memory.size, &planes, channel, x, y),
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

        let written = memory.bytes().to_vec();
        memory.bytes().copy_from_slice(&before);
        let (cut_x, cut_y) = (width / 2, height / 3);
        let mut image = memory.image_mut();
        for (x, y, w, h) in [
            (cut_x, 0, width - cut_x + 2, cut_y),
            (0, cut_y, cut_x, height - cut_y),
            (0, 0, cut_x, cut_y),
            (cut_x, cut_y, width - cut_x + 2, height - cut_y + 1),
        ] {
            let part = Rect { x, y, width: w, height: h };
            let held = Rect::of(width + 2, height + 1);
            let mut padded = vec![9.0; 3 * held.width * held.height];
            for (c, (x, y)) in (0..3).flat_map(|c| pixels([width, height]).map(move |p| (c, p))) {
                padded[(c * held.height + y) * held.width + x] = planes[(c * height + y) * width + x];
            }
            image.write(&padded, &held, &part).unwrap();
        }
        assert!(memory.bytes() == &written[..], "{name}: written in parts it differs");
    });
}

/// Alpha keeps its exact elements, through bytes too, and converts between types.
#[test]
fn alpha_is_kept() {
    each(|memory, name| {
        memory.fill();
        let (plain, [width, height]) = (memory.plain, memory.size);
        let alpha = memory.image().alpha().unwrap();
        assert_eq!(alpha.is_some(), plain.alpha.is_some(), "{name}");
        let (Some(alpha), Some(at)) = (alpha, plain.alpha) else { return };
        let alpha = super::Alpha::from_bytes(&alpha.to_bytes().unwrap(), width, height).unwrap();
        let before = memory.bytes().to_vec();
        let planes = vec![0.0; 3 * width * height];
        let whole = Rect::of(width, height);
        memory.image_mut().write(&planes, &whole, &whole).unwrap();
        memory.image_mut().write_alpha(&alpha).unwrap();
        for (x, y) in pixels(memory.size) {
            let (offset, bytes) = (memory.offset(at, x, y), plain.kind.bytes());
            assert_eq!(memory.bytes()[offset..][..bytes], before[offset..][..bytes], "{name} {x} {y}");
        }
        let mut words = vec![0u8; 4 * width * height];
        let mut other = ImageMut::packed(&mut words, PixelFormat::Bgra8, width, height).unwrap();
        other.write_alpha(&alpha).unwrap();
        for (x, y) in pixels(memory.size) {
            let expected = (memory.value(at, x, y) / plain.kind.largest()).clamp(0.0, 1.0) * 255.0;
            let found = f64::from(words[4 * (y * width + x) + 3]);
            assert!((found - expected).abs() <= 0.5001, "{name} {x} {y}: {found} {expected}");
        }
    });
    let bad = |bytes: &[u8]| super::Alpha::from_bytes(bytes, 1, 1).is_err();
    assert!(bad(&[]) && bad(&[1]) && bad(&[1, 2, 3]) && bad(&[3, 0]) && bad(&[2, 0, 0, 0]));
    let float = |v: f32| [&[2][..], &v.to_ne_bytes()].concat();
    assert!(bad(&float(f32::NAN)) && bad(&float(f32::INFINITY)) && !bad(&float(0.5)) && !bad(&[1, 7]));
}

/// Codes of 4:4:4 come back exactly.
#[test]
fn full_chroma_round_trips_exactly() {
    for (range, bits) in [YuvRange::Limited, YuvRange::Full].into_iter().flat_map(|r| [9, 10, 12, 16].map(|b| (r, b))) {
        let yuv = Yuv { range, ..Yuv::default() };
        let format = PixelFormat::Yuv16 { chroma: Chroma::Full, bits, yuv };
        // Grey of all codes, and coloured ones from the middle of the range, which no matrix clips.
        let codes: Vec<u16> = (0..3 * 512).map(|i| ((i * 977) % (1 << bits)) as u16).collect();
        let bytes: Vec<u8> = codes.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let mut aligned = vec![0u32; bytes.len() / 4];
        // SAFETY: all of the words, viewed as bytes.
        let memory = unsafe { std::slice::from_raw_parts_mut(aligned.as_mut_ptr().cast::<u8>(), bytes.len()) };
        memory.copy_from_slice(&bytes);
        let (mut planes, whole) = (vec![0.0; 3 * 512], Rect::of(32, 16));
        Image::packed(memory, format, 32, 16).unwrap().read(&mut planes, &whole);
        memory.fill(0);
        ImageMut::packed(memory, format, 32, 16).unwrap().write(&planes, &whole, &whole).unwrap();
        assert!(memory == &bytes[..], "{format:?}");
    }
}

#[test]
fn strided_slices_hold_what_they_must() {
    let (luma, chroma) = (vec![1u8; 10 * 4 + 6], vec![2u8; 12 + 6]);
    let nv12 = PixelFormat::Nv12(Yuv::default());
    let image = |planes: &[(&[u8], usize)], format| Image::strided(planes.iter().copied(), format, 6, 5).map(|_| ());
    let text = |planes: &[(&[u8], usize)], format| image(planes, format).unwrap_err().text().to_string();
    assert!(image(&[(&luma, 10), (&[2; 2 * 12 + 6], 12)], nv12).is_ok());
    assert!(text(&[(&luma, 10), (&chroma, 12)], nv12).contains("plane 1"));
    assert!(
        text(&[(&luma[1..], 10), (&[2; 30], 12)], nv12)
            .contains("plane 0: 5 rows at a stride of 10 need 46 bytes, found 45")
    );
    assert!(text(&[(&luma, 10)], nv12).contains("found 1 planes"));
    assert!(text(&[(&luma, 5), (&[2; 30], 12)], nv12).contains("stride 5 is shorter"));
    assert!(text(&[(&luma, usize::MAX), (&[2; 30], 12)], nv12).contains("need more than memory can have"));
    let packed = |height| Image::packed(&luma, PixelFormat::Rgb8, 6, height).unwrap_err().text().to_string();
    assert!(
        packed(5).ends_with("found 46 bytes, expected 90") && packed(usize::MAX).ends_with("more than memory can have")
    );
    assert!(text(&[(&luma, 10), (&[2; 30], 12), (&luma, 10), (&luma, 10)], nv12).contains("more planes"));
    assert!(image(&[(&luma, 10), (&[2; 30], 12), (&luma, 10)], nv12).is_ok());
    assert!(text(&[(&[0; 200], 20), (&[0; 200], 20)], PixelFormat::Rgb8).contains("more planes"));
}
