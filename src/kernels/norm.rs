//! Layer norm over the channels of each pixel, alone or followed by SiLU, in one pass over the frame.

use super::bordered::{Bordered, BorderedOut};
use super::level::Level;
use super::micro::bfloat16::store_narrow;
use super::micro::vectors::{load_some, store_some};
use super::workers::{Shared, Workers};
use half::bf16;
use pulp::{Simd, WithSimd};

/// Elements of a job, which stay in the first-level cache between its passes.
const BLOCK: usize = 1 << 13;

/// (x - mean) / sqrt(variance + epsilon) * scale + bias, then x * sigmoid(x) if `silu`.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    /// As many as channels, and as `bias`.
    pub(crate) scale: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) epsilon: f32,
    pub(crate) silu: bool,
}

/// The norm of each pixel of a frame.
#[derive(Clone, Copy)]
pub(crate) struct LayerNorm<'a> {
    pub(crate) pixels: &'a [f32],
    pub(crate) norm: Norm<'a>,
}

impl LayerNorm<'_> {
    /// # Safety
    /// `output` has room for as many elements as `pixels` has. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, output: *mut f32) {
        let count = self.count();
        let output = Shared(output);
        let in_job = (BLOCK / self.norm.scale.len()).max(1);
        workers(count.div_ceil(in_job), &|job| {
            let pixels = job * in_job..count.min((job + 1) * in_job);
            level.dispatch(Job { layer: *self, pixels, output });
        });
    }

    /// The result is a bordered frame of `[height, width]`.
    ///
    /// # Safety
    /// `output` has room for it. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run_bordered(&self, size: [usize; 2], level: Level, workers: Workers, output: *mut bf16) {
        let [height, width] = size;
        assert_eq!(self.count(), height * width, "a frame of {height}x{width}");
        let out = unsafe { BorderedOut::begin(Bordered::new(size, self.norm.scale.len()), output) };
        workers(height, &|row| {
            level.dispatch(Row { layer: *self, row, out });
        });
    }

    /// Pixels.
    fn count(&self) -> usize {
        let channels = self.norm.scale.len();
        assert!(channels > 0 && self.norm.bias.len() == channels && self.pixels.len().is_multiple_of(channels));
        self.pixels.len() / channels
    }
}

struct Job<'a> {
    layer: LayerNorm<'a>,
    pixels: std::ops::Range<usize>,
    output: Shared,
}

impl WithSimd for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Job { layer: LayerNorm { pixels: frame, norm }, pixels, output } = self;
        let channels = norm.scale.len();
        let normalizer = Normalizer::new(s, norm);
        for pixel in pixels {
            let at = pixel * channels;
            // SAFETY: within the pixel, whose results are this job's own.
            unsafe {
                let from = frame.as_ptr().add(at);
                let statistics = normalizer.statistics(from);
                let mut c = 0;
                while c < channels {
                    let mut value = normalizer.apply(&statistics, from, c);
                    if norm.silu {
                        value = silu(s, value);
                    }
                    store_some(s, output.at(at + c), value, channels - c);
                    c += S::F32_LANES;
                }
            }
        }
    }
}

struct Row<'a> {
    layer: LayerNorm<'a>,
    row: usize,
    out: BorderedOut,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Row { layer: LayerNorm { pixels, norm }, row, out } = self;
        let Bordered { width, .. } = out.frame;
        let normalizer = Normalizer::new(s, norm);
        for column in 0..width {
            // SAFETY: within the pixel, whose results are this job's own.
            unsafe {
                let from = pixels.as_ptr().add((row * width + column) * norm.scale.len());
                normalizer.write_narrow(from, out.pixel(row, column), out.frame.stored);
            }
        }
    }
}

/// A norm, and what is the same for all pixels.
pub(super) struct Normalizer<'a, S: Simd> {
    s: S,
    norm: Norm<'a>,
    one_over: f32,
    /// 1 for each channel in the last vector, else 0.
    last: S::f32s,
}

/// Of a pixel.
struct Statistics<S: Simd> {
    mean: S::f32s,
    /// 1 / sqrt(variance + epsilon)
    factor: S::f32s,
}

impl<'a, S: Simd> Normalizer<'a, S> {
    #[inline(always)]
    pub(super) fn new(s: S, norm: Norm<'a>) -> Self {
        let channels = norm.scale.len();
        let mut ones = [1.0; 64];
        ones[channels % S::F32_LANES..].fill(0.0);
        // SAFETY: no vector has more elements.
        let last = unsafe { load_some(s, ones.as_ptr(), S::F32_LANES) };
        Normalizer { s, norm, one_over: 1.0 / channels as f32, last }
    }

    /// Writes the norm of one pixel as bfloat16, and zeros up to `stored` channels.
    ///
    /// # Safety
    /// `from` has the norm's channels, `to` has room for `stored`, which are whole vectors.
    #[inline(always)]
    pub(super) unsafe fn write_narrow(&self, from: *const f32, to: *mut bf16, stored: usize) {
        let s = self.s;
        unsafe {
            let statistics = self.statistics(from);
            let mut c = 0;
            while c < stored {
                let mut value = s.splat_f32s(0.0);
                // What is loaded after the last channel is zero, and so is its norm.
                if c < self.norm.scale.len() {
                    value = self.apply(&statistics, from, c);
                    if self.norm.silu {
                        value = silu_for_bfloat16(s, value);
                    }
                }
                store_narrow::<S>(to.add(c), value, S::F32_LANES);
                c += S::F32_LANES;
            }
        }
    }

    /// # Safety
    /// `from` has the norm's channels.
    #[inline(always)]
    unsafe fn statistics(&self, from: *const f32) -> Statistics<S> {
        let (s, channels) = (self.s, self.norm.scale.len());
        unsafe {
            let mut sum = s.splat_f32s(0.0);
            let mut c = 0;
            while c < channels {
                sum = s.add_f32s(sum, load_some(s, from.add(c), channels - c));
                c += S::F32_LANES;
            }
            let mean = s.splat_f32s(s.reduce_sum_f32s(sum) * self.one_over);
            let mut squares = s.splat_f32s(0.0);
            c = 0;
            while c < channels {
                let mut centred = s.sub_f32s(load_some(s, from.add(c), channels - c), mean);
                if channels - c < S::F32_LANES {
                    centred = s.mul_f32s(centred, self.last);
                }
                squares = s.mul_add_e_f32s(centred, centred, squares);
                c += S::F32_LANES;
            }
            let variance = s.reduce_sum_f32s(squares) * self.one_over;
            let factor = s.splat_f32s(1.0 / (variance + self.norm.epsilon).sqrt());
            Statistics { mean, factor }
        }
    }

    /// The norm, without SiLU, of the vector that begins with channel `c`.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn apply(&self, statistics: &Statistics<S>, from: *const f32, c: usize) -> S::f32s {
        let (s, Norm { scale, bias, .. }) = (self.s, self.norm);
        let some = scale.len() - c;
        unsafe {
            let centred = s.sub_f32s(load_some(s, from.add(c), some), statistics.mean);
            let (scale, bias) = (load_some(s, scale.as_ptr().add(c), some), load_some(s, bias.as_ptr().add(c), some));
            s.mul_add_e_f32s(s.mul_f32s(centred, statistics.factor), scale, bias)
        }
    }
}

/// x / (1 + exp(-x)), with a relative error far below that of rounding to bfloat16, in half of the time.
#[inline(always)]
fn silu_for_bfloat16<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    // exp(-x) = 2^n 2^f with |f| <= 1/2, and 2^f by its Taylor polynomial, which is off by less than 5e-5.
    let scaled = s.mul_f32s(x, s.splat_f32s(-std::f32::consts::LOG2_E));
    let scaled = s.max_f32s(s.min_f32s(scaled, s.splat_f32s(125.0)), s.splat_f32s(-125.0));
    let rounded = s.add_f32s(scaled, s.splat_f32s(ROUND));
    let f = s.sub_f32s(scaled, s.sub_f32s(rounded, s.splat_f32s(ROUND)));
    let mut p = s.splat_f32s(9.618_129e-3);
    for coefficient in [5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0] {
        p = s.mul_add_e_f32s(p, f, s.splat_f32s(coefficient));
    }
    let power = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(rounded), s.splat_u32s(23));
    let exp = s.transmute_f32s_u32s(s.add_u32s(s.transmute_u32s_f32s(p), power));
    let divisor = s.add_f32s(exp, s.splat_f32s(1.0));
    // The reciprocal by Newton's method, from an estimate that is off by at most 12 %; three steps make that 5e-8.
    let estimate = s.sub_u32s(s.splat_u32s(0x7ef3_11c7), s.transmute_u32s_f32s(divisor));
    let mut reciprocal = s.transmute_f32s_u32s(estimate);
    let minus_divisor = s.sub_f32s(s.splat_f32s(0.0), divisor);
    for _ in 0..3 {
        let error = s.mul_add_e_f32s(minus_divisor, reciprocal, s.splat_f32s(1.0));
        reciprocal = s.mul_add_e_f32s(error, reciprocal, reciprocal);
    }
    s.mul_f32s(x, reciprocal)
}

/// x / (1 + exp(-x)).
#[inline(always)]
fn silu<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    s.div_f32s(x, s.add_f32s(one, exp(s, s.sub_f32s(s.splat_f32s(0.0), x))))
}

/// Adding this rounds to an integer, which is then in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// exp(x), to 2 units in the last place; x is clamped to the range of float32. exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, by
/// the polynomial of Moshier's Cephes library (expf).
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = s.max_f32s(s.min_f32s(x, s.splat_f32s(88.0)), s.splat_f32s(-87.0));
    let rounded = s.add_f32s(s.mul_f32s(x, s.splat_f32s(std::f32::consts::LOG2_E)), s.splat_f32s(ROUND));
    let n = s.sub_f32s(rounded, s.splat_f32s(ROUND));
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-LN_2_HIGH), x);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-LN_2_LOW), r);
    let mut p = s.splat_f32s(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = s.mul_add_e_f32s(p, r, s.splat_f32s(coefficient));
    }
    let p = s.add_f32s(s.mul_add_e_f32s(p, s.mul_f32s(r, r), r), s.splat_f32s(1.0));
    let power = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(rounded), s.splat_u32s(23));
    let power = s.add_u32s(power, s.splat_u32s(1.0f32.to_bits()));
    s.mul_f32s(p, s.transmute_f32s_u32s(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silu<'a>(&'a mut [f32]);

    impl WithSimd for Silu<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            for values in self.0.chunks_mut(S::F32_LANES) {
                let count = values.len();
                // SAFETY: there are so many values.
                unsafe {
                    let value = silu_for_bfloat16(s, load_some(s, values.as_ptr(), count));
                    store_some(s, values.as_mut_ptr(), value, count);
                }
            }
        }
    }

    #[test]
    fn the_shorter_silu_is_near_the_exact_one() {
        let given: Vec<f32> = (-80_000..=80_000).map(|n| n as f32 / 1000.0).collect();
        for level in Level::available() {
            let mut found = given.clone();
            level.dispatch(Silu(&mut found));
            for (x, y) in given.iter().zip(found) {
                let (x, y) = (f64::from(*x), f64::from(y));
                let exact = x / (1.0 + (-x).exp());
                assert!((y - exact).abs() <= 6e-5 * exact.abs(), "{level:?}: silu({x}) is {exact}, found {y}");
            }
            let mut special = [f32::NAN, f32::INFINITY, -1e30, 1e30];
            level.dispatch(Silu(&mut special));
            assert!(special[0].is_nan() && special[1] == f32::INFINITY && special[3] == 1e30, "{special:?}");
            assert!(special[2].abs() < 1e-6, "{special:?}");
        }
    }
}
