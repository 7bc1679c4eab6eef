//! Weighted sums of frames, in one pass over their pixels.

use super::level::Level;
use super::micro::bfloat16::Value;
use super::micro::vectors::store_some;
use super::workers::{Shared, Workers};
use pulp::{Simd, WithSimd};

/// Elements of a job's result.
const BLOCK: usize = 1 << 13;

/// A weighted sum of parts of frames. Each pixel of a frame consists of one part for each of the frame's weights, and a part
/// is `channels` elements.
#[derive(Clone, Copy)]
pub(crate) struct Blend<'a, T> {
    /// All of one shape, of float32 or bfloat16.
    pub(crate) frames: &'a [&'a [T]],
    /// Those of the first frame's parts, then of the next frame's. Parts of weight 0 are not read.
    pub(crate) weights: &'a [f32],
    pub(crate) channels: usize,
}

impl<T: Value> Blend<'_, T> {
    /// # Safety
    /// `output` has room for `channels` elements a pixel. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, output: *mut f32) {
        let parts = self.weights.len() / self.frames.len();
        let stride = parts * self.channels;
        assert!(stride > 0 && self.weights.len() == parts * self.frames.len());
        let count = self.frames[0].len() / stride;
        assert!(self.frames.iter().all(|frame| frame.len() == count * stride), "frames of {stride} elements a pixel");
        let terms: Vec<(f32, &[T])> = self
            .weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight != 0.0)
            .map(|(i, weight)| (*weight, &self.frames[i / parts][i % parts * self.channels..]))
            .collect();
        let (output, channels) = (Shared(output), self.channels);
        let in_job = (BLOCK / channels).max(1);
        workers(count.div_ceil(in_job), &|job| {
            let pixels = job * in_job..count.min((job + 1) * in_job);
            level.dispatch(Job { terms: &terms, stride, channels, pixels, output });
        });
    }
}

struct Job<'a, T> {
    terms: &'a [(f32, &'a [T])],
    stride: usize,
    channels: usize,
    pixels: std::ops::Range<usize>,
    output: Shared,
}

impl<T: Value> WithSimd for Job<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Job { terms, stride, channels, pixels, output } = self;
        for pixel in pixels {
            let mut c = 0;
            while c < channels {
                let mut sum = s.splat_f32s(0.0);
                // SAFETY: within the pixel, of the frames and of the result, which is this job's own.
                unsafe {
                    for (weight, frame) in terms {
                        let part = T::load_some(s, frame.as_ptr().add(pixel * stride + c), channels - c);
                        sum = s.mul_add_e_f32s(s.splat_f32s(*weight), part, sum);
                    }
                    store_some(s, output.at(pixel * channels + c), sum, channels - c);
                }
                c += S::F32_LANES;
            }
        }
    }
}
