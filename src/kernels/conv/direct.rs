//! Convolutions for which Winograd's filtering is of no use: 1x1, and 3x3 at every second pixel.

use super::super::level::Level;
use super::super::micro::float32::{PANEL_VECTORS, Product};
use super::super::micro::vectors::{LINE, load, load_some, store_some};
use super::super::scratch::{NoMemory, ScratchSize};
use super::super::workers::{Shared, Workers};
use super::convolution::{Algorithm, Convolution, FloatAlgorithm, Input, ReadRows, Resources};
use super::pack::{Order, Panels, pack, packed_len};
use pulp::{Simd, WithSimd};
use std::mem::MaybeUninit;

/// Pixels of a job.
const BLOCK: usize = 56;
/// Panels of a job.
const PANELS: usize = 4;
/// Input channels whose weights are in the first-level cache at a time.
const CHUNK: usize = 128;

/// A kernel of `side` x `side` taps at every `stride`th pixel. The first tap is at the pixel itself.
pub(crate) struct Direct {
    level: Level,
    convolution: Convolution,
    side: usize,
    stride: usize,
}

impl Direct {
    pub(crate) fn new(level: Level, convolution: Convolution, side: usize, stride: usize) -> Self {
        Direct { level, convolution, side, stride }
    }
}

impl Algorithm for Direct {
    fn packed_len(&self) -> usize {
        packed_len(self.convolution, self.level.lanes())
    }

    fn pack(&self, read_rows: ReadRows, threads: usize, out: &mut [f32]) -> Result<(), NoMemory> {
        pack(self.convolution, Order::ChannelLast, self.level.lanes(), read_rows, threads, out)
    }

    fn scratch(&self, _: [usize; 2], _: usize) -> ScratchSize {
        ScratchSize::default()
    }
}

impl FloatAlgorithm for Direct {
    unsafe fn run(&self, input: Input, resources: Resources, output: *mut f32) -> Result<(), NoMemory> {
        let Direct { level, side, stride, .. } = *self;
        // To a 1x1 convolution the frame is one long row.
        let input = match side {
            1 => Input { height: 1, width: input.height * input.width, ..input },
            _ => input,
        };
        let (height, width) = (input.height / stride, input.width / stride);
        let panels = Panels::new(input.c_out(), level.lanes());
        let run = Run { level, input, side, stride, height, width, panels, blocks_in_row: width.div_ceil(BLOCK) };
        run.run(Shared(output), resources.workers);
        Ok(())
    }
}

/// The convolution of one frame.
struct Run<'a> {
    level: Level,
    input: Input<'a>,
    side: usize,
    stride: usize,
    /// Of the result.
    height: usize,
    width: usize,
    panels: Panels,
    blocks_in_row: usize,
}

impl Run<'_> {
    fn run(&self, output: Shared, workers: Workers) {
        let groups = self.panels.count().div_ceil(PANELS);
        // Neighbouring jobs share weights.
        let pixels = self.height * self.blocks_in_row;
        workers(pixels * groups, &|job| {
            self.level.dispatch(Job { run: self, block: job % pixels, group: job / pixels, output });
        });
    }
}

/// Of a job.
#[repr(align(64))]
struct Sums([MaybeUninit<f32>; BLOCK * PANELS * PANEL_VECTORS * LINE]);

struct Job<'a, 'b> {
    run: &'b Run<'a>,
    block: usize,
    group: usize,
    output: Shared,
}

impl WithSimd for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Job { run, block, group, output } = self;
        let Run { side, stride, .. } = *run;
        let Input { width, height, c_in, frames, weights, bias, residual, .. } = run.input;
        let (y, x) = (block / run.blocks_in_row, block % run.blocks_in_row * BLOCK);
        let count = BLOCK.min(run.width - x);
        let first_panel = group * PANELS;
        let vectors = (PANELS * PANEL_VECTORS).min(run.panels.vectors - first_panel * PANEL_VECTORS);
        let row_len = vectors * S::F32_LANES;
        // 28 KiB with the widest vectors.
        let mut sums = Sums([const { MaybeUninit::uninit() }; BLOCK * PANELS * PANEL_VECTORS * LINE]);
        assert!(count * row_len <= sums.0.len());
        let sums = sums.0.as_mut_ptr().cast::<f32>();
        let taps = frames.len() * side * side;
        let mut accumulate = false;
        for tap in 0..taps {
            let (time, row, column) = (tap / (side * side), tap / side % side, tap % side);
            let (row, column) = (y * stride + row, x * stride + column);
            // Zeros below the frame and to its right. The first tap is always inside.
            let rows = if row < height { count.min((width.saturating_sub(column)).div_ceil(stride)) } else { 0 };
            if rows == 0 {
                continue;
            }
            for start in (0..c_in).step_by(CHUNK) {
                for panel in 0..vectors.div_ceil(PANEL_VECTORS) {
                    let in_panel = run.panels.vectors_of(first_panel + panel);
                    let before = (first_panel + panel) * PANEL_VECTORS * taps * c_in;
                    let at = (before + (tap * c_in + start) * in_panel) * S::F32_LANES;
                    // SAFETY: the caller checked the sizes; the rows are within the frame.
                    unsafe {
                        Product {
                            rows,
                            depth: CHUNK.min(c_in - start),
                            a: frames[time].as_ptr().add((row * width + column) * c_in + start),
                            a_stride: stride * c_in,
                            b: weights.as_ptr().add(at),
                            b_stride: 0,
                            c: sums.add(panel * PANEL_VECTORS * S::F32_LANES),
                            c_stride: row_len,
                            accumulate,
                        }
                        .run::<S, 0>(s, in_panel);
                    }
                }
                accumulate = true;
            }
        }
        for i in 0..count {
            for vector in 0..vectors {
                let channel = (first_panel * PANEL_VECTORS + vector) * S::F32_LANES;
                let some = bias.len() - channel;
                let at = (y * run.width + x + i) * bias.len() + channel;
                // SAFETY: no other job writes these pixels' channels.
                unsafe {
                    let mut value = load::<S>(sums.add(i * row_len + vector * S::F32_LANES));
                    value = s.add_f32s(value, load_some(s, bias.as_ptr().add(channel), some));
                    if let Some(residual) = residual {
                        value = s.add_f32s(value, load_some(s, residual.as_ptr().add(at), some));
                    }
                    store_some(s, output.at(at), value, some);
                }
            }
        }
    }
}
