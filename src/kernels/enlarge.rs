//! Height and width of a channels-last frame doubled, bilinearly with half-pixel centres.

use super::level::Level;
use super::micro::vectors::{load_some, store_some};
use super::workers::{Shared, Workers};
use pulp::{Simd, WithSimd};

/// A frame `[height, width, channels]`.
#[derive(Clone, Copy)]
pub(crate) struct Doubling<'a> {
    pub(crate) pixels: &'a [f32],
    pub(crate) size: [usize; 2],
    pub(crate) channels: usize,
}

impl Doubling<'_> {
    /// # Safety
    /// `output` has room for four times the elements. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, output: *mut f32) {
        let [height, width] = self.size;
        assert_eq!(self.pixels.len(), height * width * self.channels, "a frame of {height}x{width}");
        let output = Shared(output);
        workers(2 * height, &|row| level.dispatch(Row { doubling: *self, row, output }));
    }
}

/// One of the result.
struct Row<'a> {
    doubling: Doubling<'a>,
    row: usize,
    output: Shared,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Row { doubling: Doubling { pixels, size: [height, width], channels }, row, output } = self;
        let near = row / 2;
        let far = if row % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(height - 1) };
        let (much, little) = (s.splat_f32s(0.75), s.splat_f32s(0.25));
        for x in 0..width {
            let columns = [x.saturating_sub(1), x, (x + 1).min(width - 1)];
            let mut c = 0;
            while c < channels {
                let some = channels - c;
                let mut sums = [s.splat_f32s(0.0); 3];
                // SAFETY: within the frame and its result, whose rows are each job's own.
                unsafe {
                    for i in 0..3 {
                        let near = load_some(s, pixels.as_ptr().add((near * width + columns[i]) * channels + c), some);
                        let far = load_some(s, pixels.as_ptr().add((far * width + columns[i]) * channels + c), some);
                        sums[i] = s.mul_add_e_f32s(far, little, s.mul_f32s(near, much));
                    }
                    let middle = s.mul_f32s(sums[1], much);
                    let to = (row * width + x) * 2 * channels + c;
                    store_some(s, output.at(to), s.mul_add_e_f32s(sums[0], little, middle), some);
                    store_some(s, output.at(to + channels), s.mul_add_e_f32s(sums[2], little, middle), some);
                }
                c += S::F32_LANES;
            }
        }
    }
}
