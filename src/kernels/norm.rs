//! Layer norm over the channels of each pixel, alone or followed by SiLU, in one pass over the frame.

use super::level::Level;
use super::micro::vectors::{load_some, store_some};
use super::workers::{Shared, Workers};
use pulp::{Simd, WithSimd};

/// Elements of a job, which stay in the first-level cache between its passes.
const BLOCK: usize = 1 << 13;

/// (x - mean) / sqrt(variance + epsilon) * scale + bias, then x * sigmoid(x) if `silu`.
#[derive(Clone, Copy)]
pub(crate) struct LayerNorm<'a> {
    /// Pixels of as many channels as `scale` and `bias` have.
    pub(crate) pixels: &'a [f32],
    pub(crate) scale: &'a [f32],
    pub(crate) bias: &'a [f32],
    pub(crate) epsilon: f32,
    pub(crate) silu: bool,
}

impl LayerNorm<'_> {
    /// # Safety
    /// `output` has room for as many elements as `pixels` has. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, output: *mut f32) {
        let channels = self.scale.len();
        assert!(channels > 0 && self.bias.len() == channels && self.pixels.len().is_multiple_of(channels));
        let output = Shared(output);
        let count = self.pixels.len() / channels;
        let in_job = (BLOCK / channels).max(1);
        workers(count.div_ceil(in_job), &|job| {
            let pixels = job * in_job..count.min((job + 1) * in_job);
            level.dispatch(Job { norm: *self, pixels, output });
        });
    }
}

struct Job<'a> {
    norm: LayerNorm<'a>,
    pixels: std::ops::Range<usize>,
    output: Shared,
}

impl WithSimd for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Job { norm, pixels, output } = self;
        let channels = norm.scale.len();
        let one_over = 1.0 / channels as f32;
        let mut ones = [1.0; 64];
        ones[channels % S::F32_LANES..].fill(0.0);
        // 1 for each channel in the last vector, else 0.
        let last = unsafe { load_some(s, ones.as_ptr(), S::F32_LANES) };
        for pixel in pixels {
            let at = pixel * channels;
            // SAFETY: within the pixel, whose results are this job's own.
            unsafe {
                let from = norm.pixels.as_ptr().add(at);
                let mut sum = s.splat_f32s(0.0);
                let mut c = 0;
                while c < channels {
                    sum = s.add_f32s(sum, load_some(s, from.add(c), channels - c));
                    c += S::F32_LANES;
                }
                let mean = s.splat_f32s(s.reduce_sum_f32s(sum) * one_over);
                let mut squares = s.splat_f32s(0.0);
                c = 0;
                while c < channels {
                    let mut centred = s.sub_f32s(load_some(s, from.add(c), channels - c), mean);
                    if channels - c < S::F32_LANES {
                        centred = s.mul_f32s(centred, last);
                    }
                    squares = s.mul_add_e_f32s(centred, centred, squares);
                    c += S::F32_LANES;
                }
                let variance = s.reduce_sum_f32s(squares) * one_over;
                let factor = s.splat_f32s(1.0 / (variance + norm.epsilon).sqrt());
                c = 0;
                while c < channels {
                    let some = channels - c;
                    let centred = s.sub_f32s(load_some(s, from.add(c), some), mean);
                    let scale = load_some(s, norm.scale.as_ptr().add(c), some);
                    let bias = load_some(s, norm.bias.as_ptr().add(c), some);
                    let mut value = s.mul_add_e_f32s(s.mul_f32s(centred, factor), scale, bias);
                    if norm.silu {
                        value = silu(s, value);
                    }
                    store_some(s, output.at(at + c), value, some);
                    c += S::F32_LANES;
                }
            }
        }
    }
}

/// x / (1 + exp(-x)).
#[inline(always)]
fn silu<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    s.div_f32s(x, s.add_f32s(one, exp(s, s.sub_f32s(s.splat_f32s(0.0), x))))
}

/// exp(x), to 2 units in the last place; x is clamped to the range of float32. exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, by
/// the polynomial of Moshier's Cephes library (expf).
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    // Adding this rounds to an integer, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
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
