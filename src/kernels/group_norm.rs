//! Group norm of channels-last frames: the statistics of a clip, and their application to a frame.

use super::level::Level;
use super::micro::exponential::silu;
use super::micro::vectors::{LINE, load_some, store, store_some};
use super::scratch::NoMemory;
use super::workers::{Shared, Workers};
use crate::memory;
use pulp::{Simd, WithSimd};

/// Pixels whose sums are float32. Of one job's channels they stay in the second-level cache between two passes.
const BLOCK: usize = 256;
/// Pixels of a job. Its blocks are combined in float64.
const RUN: usize = 16 * BLOCK;
/// Vectors of channels of a job.
const VECTORS: usize = 4;
/// Channels of a job at most.
const CHANNELS: usize = VECTORS * LINE;
/// Elements of a job that applies factors.
const APPLIED: usize = 1 << 13;

/// What a group norm needs to know of a clip. Results do not depend on the threads.
#[derive(Clone, Copy)]
pub(crate) struct GroupStatistics<'a> {
    /// Channels-last pixels.
    pub(crate) pixels: &'a [f32],
    /// Equal parts of the pixels, each with statistics of its own.
    pub(crate) spans: usize,
    pub(crate) groups: usize,
    /// As many as channels, and as `bias`.
    pub(crate) scale: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) epsilon: f32,
}

/// (x - mean) * scale + bias, then x * sigmoid(x) if `silu`.
#[derive(Clone, Copy)]
pub(crate) struct GroupNorm<'a> {
    pub(crate) pixels: &'a [f32],
    /// Mean, scale and bias of each channel, as `GroupStatistics` gives them for a span.
    pub(crate) factors: &'a [f32],
    pub(crate) silu: bool,
}

/// Statistics of some values, which can be joined.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    /// Of the differences from the mean.
    squares: f64,
}

impl Moments {
    /// Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance".
    #[inline(always)]
    fn join(&mut self, other: Moments) {
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.mean += distance * other.count / count;
        self.squares += other.squares + distance * distance * self.count * other.count / count;
        self.count = count;
    }
}

impl GroupStatistics<'_> {
    /// Writes mean, scale / sqrt(variance + epsilon) and bias of each channel, for each span.
    ///
    /// # Safety
    /// `output` has room for `spans * 3 * channels` elements. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, output: *mut f32) -> Result<(), NoMemory> {
        let channels = self.scale.len();
        let in_span = self.pixels.len() / (self.spans * channels);
        assert!(self.bias.len() == channels && channels.is_multiple_of(self.groups));
        assert!(in_span > 0 && self.pixels.len() == self.spans * in_span * channels);
        let (runs, parts) = (in_span.div_ceil(RUN), channels.div_ceil(VECTORS * level.lanes()));
        let mut sums =
            memory::zeros::<f64>(self.spans * runs * 2 * channels, "sums of a norm").map_err(|_| NoMemory)?;
        let to = Shared(sums.as_mut_ptr());
        workers(self.spans * runs * parts, &|job| {
            let (run, first) = (job / parts, job % parts * VECTORS * level.lanes());
            let start = run % runs * RUN;
            let count = RUN.min(in_span - start);
            let at = (run / runs * in_span + start) * channels + first;
            let (from, at) = (&self.pixels[at..], run * 2 * channels + first);
            level.dispatch(Sums { from, channels, first, count, to, at });
        });
        let in_group = channels / self.groups;
        for (span, sums) in sums.chunks_exact(runs * 2 * channels).enumerate() {
            for group in 0..self.groups {
                let mut moments = Moments::default();
                for channel in group * in_group..(group + 1) * in_group {
                    for (run, sums) in sums.chunks_exact(2 * channels).enumerate() {
                        let count = RUN.min(in_span - run * RUN) as f64;
                        moments.join(Moments { count, mean: sums[channel], squares: sums[channels + channel] });
                    }
                }
                let factor = 1.0 / (moments.squares / moments.count + f64::from(self.epsilon)).sqrt();
                for channel in group * in_group..(group + 1) * in_group {
                    let scale = (f64::from(self.scale[channel]) * factor) as f32;
                    let values = [moments.mean as f32, scale, self.bias[channel]];
                    for (i, value) in values.into_iter().enumerate() {
                        // SAFETY: within the span's factors.
                        unsafe { output.add((span * 3 + i) * channels + channel).write(value) };
                    }
                }
            }
        }
        Ok(())
    }
}

/// Means and squares of a few channels of a run.
struct Sums<'a> {
    /// Begins with the first of these channels.
    from: &'a [f32],
    /// Of a pixel.
    channels: usize,
    first: usize,
    /// Pixels.
    count: usize,
    /// The means, from `at` on; the squares are `channels` elements later.
    to: Shared<f64>,
    at: usize,
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let some = (self.channels - self.first).min(VECTORS * S::F32_LANES);
        if some == VECTORS * S::F32_LANES {
            // SAFETY: there are so many channels.
            return unsafe { self.vectors::<S, VECTORS>(s, 0, some) };
        }
        let mut channel = 0;
        while channel < some {
            // SAFETY: as above.
            unsafe { self.vectors::<S, 1>(s, channel, some - channel) };
            channel += S::F32_LANES;
        }
    }
}

impl Sums<'_> {
    /// # Safety
    /// From `channel` on there are `some` channels, and all but the last of `N` vectors are whole.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const N: usize>(&self, s: S, channel: usize, some: usize) {
        let some = some.min(N * S::F32_LANES);
        let mut all = [Moments::default(); CHANNELS];
        let mut start = 0;
        while start < self.count {
            let rows = BLOCK.min(self.count - start);
            // SAFETY: as this function asks of its caller.
            let from = unsafe { self.from.as_ptr().add(start * self.channels + channel) };
            let mut mean = [s.splat_f32s(0.0); N];
            let mut row = 0;
            while row < rows {
                for i in 0..N {
                    // SAFETY: as this function asks of its caller.
                    let at = unsafe { from.add(row * self.channels + i * S::F32_LANES) };
                    // SAFETY: as this function asks of its caller.
                    mean[i] = s.add_f32s(mean[i], unsafe { load_some(s, at, some - i * S::F32_LANES) });
                }
                row += 1;
            }
            let one_over = s.splat_f32s(1.0 / rows as f32);
            for i in 0..N {
                mean[i] = s.mul_f32s(mean[i], one_over);
            }
            // These means are rounded, so the sum of the differences is not 0.
            let (mut rest, mut squares) = ([s.splat_f32s(0.0); N], [s.splat_f32s(0.0); N]);
            row = 0;
            while row < rows {
                for i in 0..N {
                    // SAFETY: as this function asks of its caller.
                    let at = unsafe { from.add(row * self.channels + i * S::F32_LANES) };
                    // SAFETY: as this function asks of its caller.
                    let value = unsafe { load_some(s, at, some - i * S::F32_LANES) };
                    let centred = s.sub_f32s(value, mean[i]);
                    rest[i] = s.add_f32s(rest[i], centred);
                    squares[i] = s.mul_add_e_f32s(centred, centred, squares[i]);
                }
                row += 1;
            }
            let mut lists = [[0.0f32; CHANNELS]; 3];
            for i in 0..N {
                // SAFETY: no vector is longer than a line.
                unsafe {
                    store::<S>(lists[0].as_mut_ptr().add(i * S::F32_LANES), mean[i]);
                    store::<S>(lists[1].as_mut_ptr().add(i * S::F32_LANES), rest[i]);
                    store::<S>(lists[2].as_mut_ptr().add(i * S::F32_LANES), squares[i]);
                }
            }
            let count = rows as f64;
            for i in 0..some {
                let [mean, rest, squares] = [lists[0][i], lists[1][i], lists[2][i]];
                let (mean, rest, squares) = (f64::from(mean), f64::from(rest), f64::from(squares));
                let block =
                    Moments { count, mean: mean + rest / count, squares: (squares - rest * rest / count).max(0.0) };
                all[i].join(block);
            }
            start += BLOCK;
        }
        for i in 0..some {
            // SAFETY: these channels are the job's own.
            unsafe {
                self.to.at(self.at + channel + i).write(all[i].mean);
                self.to.at(self.at + self.channels + channel + i).write(all[i].squares);
            }
        }
    }
}

impl GroupNorm<'_> {
    /// # Safety
    /// `output` has room for as many elements as `pixels` has. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, output: *mut f32) {
        let channels = self.factors.len() / 3;
        assert!(channels > 0 && self.factors.len() == 3 * channels && self.pixels.len().is_multiple_of(channels));
        let (count, in_job) = (self.pixels.len() / channels, (APPLIED / channels).max(1));
        let output = Shared(output);
        workers(count.div_ceil(in_job), &|job| {
            let pixels = job * in_job..count.min((job + 1) * in_job);
            level.dispatch(Apply { norm: *self, pixels, output });
        });
    }
}

struct Apply<'a> {
    norm: GroupNorm<'a>,
    pixels: std::ops::Range<usize>,
    output: Shared,
}

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Apply { norm: GroupNorm { pixels: frame, factors, silu: activated }, pixels, output } = self;
        let channels = factors.len() / 3;
        for pixel in pixels {
            let mut c = 0;
            while c < channels {
                let some = channels - c;
                let at = pixel * channels + c;
                // SAFETY: within the pixel, whose results are this job's own.
                unsafe {
                    let mean = load_some(s, factors.as_ptr().add(c), some);
                    let scale = load_some(s, factors.as_ptr().add(channels + c), some);
                    let bias = load_some(s, factors.as_ptr().add(2 * channels + c), some);
                    let centred = s.sub_f32s(load_some(s, frame.as_ptr().add(at), some), mean);
                    let mut value = s.mul_add_e_f32s(centred, scale, bias);
                    if activated {
                        value = silu(s, value);
                    }
                    store_some(s, output.at(at), value, some);
                }
                c += S::F32_LANES;
            }
        }
    }
}
