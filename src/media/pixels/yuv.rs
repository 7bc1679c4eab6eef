//! YUV and grey: matrices, ranges, and the filters of chroma. RGB is -1 to 1 outside of this file and 0 to 1 in its formulas.

use super::format::{Chroma, Matrix, Siting, Yuv, YuvRange};
use super::layout::{Channel, Layout};
use super::rect::Rect;
use super::shape::{Colour, Element};
use super::values::BLOCK;

/// Chroma samples beside a block that its filters reach, on both sides together, and what aligning a block adds.
const MARGIN: usize = 8;

/// Where the chroma samples of one axis are: one for each pixel; one for two, on the first or between both; one for four, on
/// the first.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Axis {
    Every,
    Cosited,
    Centred,
    CositedInFour,
}

/// A code is `zero + span * value`, with luma from 0 to 1 and chroma from -0.5 to 0.5.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    pub(super) zero: f32,
    pub(super) span: f32,
}

/// How a picture converts.
#[derive(Clone, Copy)]
pub(super) struct Conversion<'a> {
    layout: &'a Layout,
    /// The weights of R and B in luma; that of G makes the sum 1.
    pub(super) kr: f32,
    pub(super) kb: f32,
    pub(super) luma: Scale,
    pub(super) chroma: Scale,
    pub(super) across: Axis,
    pub(super) down: Axis,
    grey: bool,
}

/// Differences B - Y and R - Y of a picture that is written in parts, `[2, height, width]`.
pub(super) struct Differences {
    pub(super) values: Vec<f32>,
    /// Pixels that have not come.
    pub(super) left: usize,
}

/// Planes R, G, B that hold a rectangle of the picture.
pub(super) struct Held<'a> {
    pub(super) planes: &'a [f32],
    pub(super) rect: &'a Rect,
}

impl Axis {
    fn subsampling(self) -> usize {
        match self {
            Axis::Every => 1,
            Axis::Cosited | Axis::Centred => 2,
            Axis::CositedInFour => 4,
        }
    }

    /// A sample is a weighted sum of pixels, from `before` its first on.
    fn taps(self) -> (usize, &'static [f32]) {
        match self {
            Axis::Every => (0, &[1.0]),
            Axis::Cosited => (1, &[0.25, 0.5, 0.25]),
            Axis::Centred => (0, &[0.5, 0.5]),
            Axis::CositedInFour => (3, &[0.0625, 0.125, 0.1875, 0.25, 0.1875, 0.125, 0.0625]),
        }
    }

    /// A pixel's value is (1 - weight) * sample + weight * other sample; those beyond the edge equal those on it.
    fn between(self, pixel: usize, samples: usize) -> (usize, usize, f32) {
        let (sample, part) = (pixel / self.subsampling(), pixel % self.subsampling());
        let next = (sample + 1).min(samples - 1);
        match self {
            Axis::Centred if part == 0 => (sample, sample.saturating_sub(1), 0.25),
            Axis::Centred => (sample, next, 0.25),
            _ => (sample, next, part as f32 / self.subsampling() as f32),
        }
    }
}

impl Matrix {
    /// The matrix of pictures of so many lines: [`Auto`](Self::Auto) is replaced, all others stay.
    pub fn for_height(self, height: usize) -> Matrix {
        match self {
            Matrix::Auto if height >= 720 => Matrix::Bt709,
            Matrix::Auto => Matrix::Bt601,
            matrix => matrix,
        }
    }
}

impl<'a> Conversion<'a> {
    /// `None` for RGB.
    pub(super) fn of(layout: &'a Layout) -> Option<Self> {
        let (yuv, chroma) = match layout.colour {
            Colour::Rgb(_) => return None,
            Colour::Yuv(yuv, chroma) => (yuv, chroma),
            Colour::Gray(yuv) => (yuv, Chroma::Full),
        };
        let (kr, kb) = match yuv.matrix.for_height(layout.height) {
            Matrix::Auto | Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
        };
        let (luma, chroma_scale) = scales(&yuv, layout.element);
        let [across, down] = axes(chroma, yuv.siting);
        let grey = matches!(layout.colour, Colour::Gray(_));
        Some(Conversion { layout, kr, kb, luma, chroma: chroma_scale, across, down, grey })
    }

    /// Reads pixels of a row.
    pub(super) fn read_row(&self, [x, y]: [usize; 2], r: &mut [f32], g: &mut [f32], b: &mut [f32]) {
        let Scale { zero, span } = self.luma;
        self.layout.channels[0].read_floats(self.layout.element, [x, y], r, |code| (code - zero) / span);
        if self.grey {
            r.iter_mut().for_each(|luma| *luma = *luma * 2.0 - 1.0);
            g.copy_from_slice(r);
            b.copy_from_slice(r);
            return;
        }
        let (kr, kb) = (self.kr, self.kb);
        let (blues, reds, green) = (2.0 * (1.0 - kb), 2.0 * (1.0 - kr), 1.0 - kr - kb);
        let blocks = r.chunks_mut(BLOCK).zip(g.chunks_mut(BLOCK)).zip(b.chunks_mut(BLOCK));
        for (i, ((r, g), b)) in blocks.enumerate() {
            self.upsample(1, [x + i * BLOCK, y], g);
            self.upsample(2, [x + i * BLOCK, y], b);
            for ((r, g), b) in r.iter_mut().zip(g).zip(b) {
                let (luma, blue, red) = (*r, blues * *g, reds * *b);
                *r = (luma + red) * 2.0 - 1.0;
                *g = (luma - (kr * red + kb * blue) / green) * 2.0 - 1.0;
                *b = (luma + blue) * 2.0 - 1.0;
            }
        }
    }

    /// Chroma at the pixels of a part of a row, at most a block.
    fn upsample(&self, channel: usize, [x, y]: [usize; 2], out: &mut [f32]) {
        let [columns, rows] = self.layout.channel_size(channel);
        let step = self.across.subsampling();
        let (first, last) = (x / step, (x + out.len() - 1) / step);
        let (row, other, weight) = self.down.between(y, rows);
        // One sample more on each side.
        let mut samples = [0.0; BLOCK + MARGIN];
        let samples = &mut samples[..last - first + 3];
        self.read_samples(channel, first, [columns, row], samples);
        if weight != 0.0 {
            let mut others = [0.0; BLOCK + MARGIN];
            let others = &mut others[..samples.len()];
            self.read_samples(channel, first, [columns, other], others);
            samples.iter_mut().zip(others).for_each(|(sample, other)| *sample += weight * (*other - *sample));
        }
        let mut pixels = [0.0; BLOCK + MARGIN];
        let pixels = &mut pixels[..(last - first + 1) * step];
        let (before, after) = if self.across == Axis::Centred { (0.25, 0.25) } else { (0.0, 0.5) };
        match self.across {
            Axis::Every => pixels.copy_from_slice(&samples[1..=pixels.len()]),
            Axis::Cosited | Axis::Centred => {
                for (pixels, near) in pixels.chunks_exact_mut(2).zip(samples.windows(3)) {
                    pixels[0] = near[1] + before * (near[0] - near[1]);
                    pixels[1] = near[1] + after * (near[2] - near[1]);
                }
            }
            Axis::CositedInFour => {
                for (pixels, near) in pixels.chunks_exact_mut(4).zip(samples.windows(3)) {
                    for (part, pixel) in pixels.iter_mut().enumerate() {
                        *pixel = near[1] + part as f32 * 0.25 * (near[2] - near[1]);
                    }
                }
            }
        }
        out.copy_from_slice(&pixels[x % step..][..out.len()]);
    }

    /// Samples of a row from the one before `first` on. Those beyond the edges equal those on them.
    fn read_samples(&self, channel: usize, first: usize, [columns, row]: [usize; 2], out: &mut [f32]) {
        let Scale { zero, span } = self.chroma;
        let (from, to) = (first.saturating_sub(1), (first + out.len() - 1).min(columns));
        let skipped = from + 1 - first;
        let inside = &mut out[skipped..skipped + to - from];
        let convert = |code: f32| (code - zero) / span;
        self.layout.channels[channel].read_floats(self.layout.element, [from, row], inside, convert);
        let end = skipped + to - from;
        let (left, right) = (out[skipped], out[end - 1]);
        out[..skipped].fill(left);
        out[end..].fill(right);
    }

    /// Whether a chroma sample depends on pixels beside its own.
    pub(super) fn joins_pixels(&self) -> bool {
        !self.grey && (self.across, self.down) != (Axis::Every, Axis::Every)
    }

    /// Writes a part of the picture whose chroma samples depend on no other pixels: all of it, or any part if samples and
    /// pixels are the same.
    pub(super) fn write(&self, held: &Held<'_>, part: &Rect) {
        let [step, rows] = [self.across.subsampling(), self.down.subsampling()];
        let columns = part.x / step..(part.x + part.width).div_ceil(step);
        for row in part.y / rows..(part.y + part.height).div_ceil(rows) {
            for y in row * rows..((row + 1) * rows).min(part.y + part.height) {
                self.write_luma(held, part, y);
            }
            if !self.grey {
                self.write_chroma(row, columns.clone(), |y, x, weight, [blue, red]| {
                    let [r, g, b] = held.row(x, y, blue.len());
                    for (i, (blue, red)) in blue.iter_mut().zip(red).enumerate() {
                        let [r, g, b] = [r[i], g[i], b[i]].map(unit);
                        let luma = self.luma_of(r, g, b);
                        *blue += self.blue_weight(weight) * (b - luma);
                        *red += self.red_weight(weight) * (r - luma);
                    }
                });
            }
        }
    }

    /// Writes the luma of a part, and keeps what chroma needs.
    pub(super) fn collect(&self, held: &Held<'_>, part: &Rect, differences: &mut Differences) {
        let plane = self.layout.width * self.layout.height;
        let (blue, red) = differences.values.split_at_mut(plane);
        for y in part.y..part.y + part.height {
            self.write_luma(held, part, y);
            let [r, g, b] = held.row(part.x, y, part.width);
            let at = y * self.layout.width + part.x;
            let outs = blue[at..][..part.width].iter_mut().zip(&mut red[at..][..part.width]);
            for (i, (blue, red)) in outs.enumerate() {
                let [r, g, b] = [r[i], g[i], b[i]].map(unit);
                let luma = self.luma_of(r, g, b);
                (*blue, *red) = (b - luma, r - luma);
            }
        }
        differences.left -= part.width * part.height;
    }

    /// Writes the chroma of a picture all of whose parts have come.
    pub(super) fn finish(&self, differences: &Differences) {
        let (width, plane) = (self.layout.width, self.layout.width * self.layout.height);
        let [columns, rows] = self.layout.channel_size(1);
        for row in 0..rows {
            self.write_chroma(row, 0..columns, |y, x, weight, [blue, red]| {
                let at = y * width + x;
                let add = |sums: &mut [f32], weight: f32, values: &[f32]| {
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
                };
                add(blue, self.blue_weight(weight), &differences.values[at..]);
                add(red, self.red_weight(weight), &differences.values[plane + at..]);
            });
        }
    }

    fn write_luma(&self, held: &Held<'_>, part: &Rect, y: usize) {
        let Scale { zero, span } = self.luma;
        for x in (part.x..part.x + part.width).step_by(BLOCK) {
            let count = (part.x + part.width - x).min(BLOCK);
            let [r, g, b] = held.row(x, y, count);
            let mut luma = [0.0; BLOCK];
            for (i, luma) in luma[..count].iter_mut().enumerate() {
                *luma = self.luma_of(unit(r[i]), unit(g[i]), unit(b[i]));
            }
            let convert = |luma: f32| zero + span * luma;
            self.layout.channels[0].write_floats(self.layout.element, [x, y], &luma[..count], convert);
        }
    }

    /// Writes samples of a row. `add` adds the differences from pixel `x` of row `y` on, times the weight.
    fn write_chroma(
        &self,
        row: usize,
        columns: std::ops::Range<usize>,
        add: impl Fn(usize, usize, f32, [&mut [f32]; 2]),
    ) {
        let (step, (before, taps)) = (self.across.subsampling(), self.across.taps());
        let (above, weights) = self.down.taps();
        let [width, height] = [self.layout.width, self.layout.height];
        for first in columns.clone().step_by(BLOCK / step) {
            let count = (columns.end - first).min(BLOCK / step);
            // The pixels that the samples of this block are made of, as far as they are in the picture.
            let needed = (count - 1) * step + taps.len();
            let from = (first * step).saturating_sub(before);
            let skipped = from + before - first * step;
            let end = (first * step + needed - before).min(width);
            let mut sums = [[0.0; BLOCK + MARGIN]; 2];
            let [blue, red] = &mut sums;
            let inside = skipped..skipped + end - from;
            for (i, weight) in weights.iter().enumerate() {
                let y = (row * self.down.subsampling() + i).saturating_sub(above).min(height - 1);
                add(y, from, *weight, [&mut blue[inside.clone()], &mut red[inside.clone()]]);
            }
            for (channel, sums) in (1..).zip(&mut sums) {
                let (left, right) = (sums[inside.start], sums[inside.end - 1]);
                sums[..inside.start].fill(left);
                sums[inside.end..needed.max(inside.end)].fill(right);
                let mut samples = [0.0; BLOCK];
                let samples = &mut samples[..count];
                match self.across {
                    Axis::Every => filter::<1, 1>(sums, taps, samples),
                    Axis::Cosited => filter::<3, 2>(sums, taps, samples),
                    Axis::Centred => filter::<2, 2>(sums, taps, samples),
                    Axis::CositedInFour => filter::<7, 4>(sums, taps, samples),
                }
                self.write_samples(&self.layout.channels[channel], first, row, samples);
            }
        }
    }

    fn write_samples(&self, channel: &Channel, x: usize, y: usize, samples: &[f32]) {
        let Scale { zero, span } = self.chroma;
        channel.write_floats(self.layout.element, [x, y], samples, |value| zero + span * value);
    }

    /// From differences, which is exact for grey.
    #[inline(always)]
    fn luma_of(&self, r: f32, g: f32, b: f32) -> f32 {
        g + self.kr * (r - g) + self.kb * (b - g)
    }

    fn blue_weight(&self, weight: f32) -> f32 {
        weight / (2.0 * (1.0 - self.kb))
    }

    fn red_weight(&self, weight: f32) -> f32 {
        weight / (2.0 * (1.0 - self.kr))
    }
}

impl Held<'_> {
    /// R, G and B of pixels of a row.
    fn row(&self, x: usize, y: usize, count: usize) -> [&[f32]; 3] {
        let Rect { x: left, y: top, width, height } = *self.rect;
        [0, 1, 2].map(|channel| &self.planes[(channel * height + y - top) * width + x - left..][..count])
    }
}

#[inline(always)]
fn unit(value: f32) -> f32 {
    value * 0.5 + 0.5
}

fn filter<const TAPS: usize, const STEP: usize>(pixels: &[f32], taps: &[f32], samples: &mut [f32]) {
    let taps: [f32; TAPS] = std::array::from_fn(|i| taps[i]);
    for (sample, near) in samples.iter_mut().zip(pixels.windows(TAPS).step_by(STEP)) {
        *sample = taps.iter().zip(near).fold(0.0, |sum, (weight, pixel)| sum + weight * pixel);
    }
}

/// Of luma and chroma.
fn scales(yuv: &Yuv, element: Element) -> (Scale, Scale) {
    let largest = element.largest();
    let unit = (largest + 1.0) / 256.0;
    match yuv.range {
        YuvRange::Limited => {
            (Scale { zero: 16.0 * unit, span: 219.0 * unit }, Scale { zero: 128.0 * unit, span: 224.0 * unit })
        }
        YuvRange::Full => (Scale { zero: 0.0, span: largest }, Scale { zero: 128.0 * unit, span: largest }),
    }
}

/// Across and down.
fn axes(chroma: Chroma, siting: Siting) -> [Axis; 2] {
    let across = if siting == Siting::Centre { Axis::Centred } else { Axis::Cosited };
    let down = if siting == Siting::TopLeft { Axis::Cosited } else { Axis::Centred };
    match chroma {
        Chroma::Half => [across, down],
        Chroma::HalfWidth => [across, Axis::Every],
        Chroma::QuarterWidth => [Axis::CositedInFour, Axis::Every],
        Chroma::Full => [Axis::Every, Axis::Every],
    }
}
