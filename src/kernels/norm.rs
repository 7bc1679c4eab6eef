//! Layer norm over the channels of each pixel, alone or followed by SiLU, in one pass over the frame.

use super::bordered::{Bordered, BorderedOut};
use super::level::Level;
use super::micro::bfloat16::{store_narrow, store_narrow_filled};
use super::micro::exponential::{silu, silu_for_bfloat16};
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
        // SAFETY: as this function asks of its caller.
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
        let (s, channels) = (self.s, self.norm.scale.len());
        // SAFETY: as this function asks of its caller.
        unsafe {
            let statistics = self.statistics(from);
            let mut c = 0;
            while c + S::F32_LANES <= channels {
                let normed = self.apply(&statistics, from, c);
                store_narrow::<S>(to.add(c), self.activated(normed), S::F32_LANES);
                c += S::F32_LANES;
            }
            if c < channels {
                let normed = self.apply(&statistics, from, c);
                store_narrow_filled(s, to.add(c), self.activated(normed), channels - c);
                c += S::F32_LANES;
            }
            while c < stored {
                store_narrow::<S>(to.add(c), s.splat_f32s(0.0), S::F32_LANES);
                c += S::F32_LANES;
            }
        }
    }

    /// The same of a pixel whose channels are so many whole vectors, which are given.
    ///
    /// # Safety
    /// `to` has room for `stored` channels, which are whole vectors.
    #[inline(always)]
    pub(super) unsafe fn write_vectors_narrow<const N: usize>(
        &self,
        values: [S::f32s; N],
        to: *mut bf16,
        stored: usize,
    ) {
        let s = self.s;
        let mut sum = s.splat_f32s(0.0);
        for i in 0..N {
            sum = s.add_f32s(sum, values[i]);
        }
        let mean = s.splat_f32s(s.reduce_sum_f32s(sum) * self.one_over);
        let mut centred = values;
        let mut squares = s.splat_f32s(0.0);
        for i in 0..N {
            centred[i] = s.sub_f32s(values[i], mean);
            squares = s.mul_add_e_f32s(centred[i], centred[i], squares);
        }
        let factor = self.factor(squares);
        for i in 0..N {
            let c = i * S::F32_LANES;
            // SAFETY: as this function asks of its caller.
            unsafe {
                let normed = self.scaled(centred[i], factor, c);
                store_narrow::<S>(to.add(c), self.activated(normed), S::F32_LANES);
            }
        }
        let mut c = N * S::F32_LANES;
        while c < stored {
            // SAFETY: as this function asks of its caller.
            unsafe { store_narrow::<S>(to.add(c), s.splat_f32s(0.0), S::F32_LANES) };
            c += S::F32_LANES;
        }
    }

    #[inline(always)]
    fn activated(&self, normed: S::f32s) -> S::f32s {
        if self.norm.silu { silu_for_bfloat16(self.s, normed) } else { normed }
    }

    /// # Safety
    /// `from` has the norm's channels.
    #[inline(always)]
    unsafe fn statistics(&self, from: *const f32) -> Statistics<S> {
        let (s, channels) = (self.s, self.norm.scale.len());
        // SAFETY: as this function asks of its caller.
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
            Statistics { mean, factor: self.factor(squares) }
        }
    }

    /// 1 / sqrt(variance + epsilon)
    #[inline(always)]
    fn factor(&self, squares: S::f32s) -> S::f32s {
        let variance = self.s.reduce_sum_f32s(squares) * self.one_over;
        self.s.splat_f32s(1.0 / (variance + self.norm.epsilon).sqrt())
    }

    /// The norm, without SiLU, of the vector that begins with channel `c`.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn apply(&self, statistics: &Statistics<S>, from: *const f32, c: usize) -> S::f32s {
        let s = self.s;
        // SAFETY: as this function asks of its caller.
        unsafe {
            let centred = s.sub_f32s(load_some(s, from.add(c), self.norm.scale.len() - c), statistics.mean);
            self.scaled(centred, statistics.factor, c)
        }
    }

    /// # Safety
    /// There is a channel `c`.
    #[inline(always)]
    unsafe fn scaled(&self, centred: S::f32s, factor: S::f32s, c: usize) -> S::f32s {
        let (s, Norm { scale, bias, .. }) = (self.s, self.norm);
        let some = scale.len() - c;
        // SAFETY: as this function asks of its caller.
        unsafe {
            let (scale, bias) = (load_some(s, scale.as_ptr().add(c), some), load_some(s, bias.as_ptr().add(c), some));
            s.mul_add_e_f32s(s.mul_f32s(centred, factor), scale, bias)
        }
    }
}
