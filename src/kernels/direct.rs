//! Convolutions that Winograd's transforms do not serve: 1x1, and 3x3 at every second pixel.

use super::product::Product;
use super::simd::{LINE, arch, lanes_of, load, load_some, store_some};
use super::{Input, PANEL_VECTORS, Panels, Shared, Workers};
use pulp::{Arch, Simd, WithSimd};
use std::mem::MaybeUninit;

/// Pixels of a job.
const BLOCK: usize = 56;
/// Panels of a job.
const PANELS: usize = 4;
/// Input channels whose weights are in the first-level cache at a time.
const CHUNK: usize = 128;

/// 1x1.
pub(crate) struct Pointwise<'a>(Direct<'a>);

/// 3x3 or 3x3x3 at every second pixel of every second row, from the first on; zeros below the frame and to its right.
pub(crate) struct Strided<'a>(Direct<'a>);

impl<'a> Pointwise<'a> {
    /// Panics where `input`'s sizes do not fit each other. Weights are packed with `Packing::ChannelLast`.
    pub(crate) fn new(input: Input<'a>) -> Self {
        Self::with_arch(arch(), input)
    }

    pub(super) fn with_arch(arch: Arch, input: Input<'a>) -> Self {
        // To a 1x1 convolution the frame is one long row.
        let flat = Input { height: 1, width: input.height * input.width, ..input };
        Pointwise(Direct::new(arch, flat, 1, 1))
    }

    /// # Safety
    /// `output` has the size's pixels times `c_out` floats, which may hold anything, and nothing else uses it.
    pub(crate) unsafe fn run(&self, output: *mut f32, workers: Workers) {
        unsafe { self.0.run(output, workers) }
    }
}

impl<'a> Strided<'a> {
    /// Panics where `input`'s sizes do not fit each other. Weights are packed with `Packing::ChannelLast`.
    pub(crate) fn new(input: Input<'a>) -> Self {
        Self::with_arch(arch(), input)
    }

    pub(super) fn with_arch(arch: Arch, input: Input<'a>) -> Self {
        Strided(Direct::new(arch, input, 3, 2))
    }

    pub(crate) fn output_size(&self) -> [usize; 2] {
        [self.0.height, self.0.width]
    }

    /// # Safety
    /// `output` has the size's pixels times `c_out` floats, which may hold anything, and nothing else uses it.
    pub(crate) unsafe fn run(&self, output: *mut f32, workers: Workers) {
        unsafe { self.0.run(output, workers) }
    }
}

struct Direct<'a> {
    arch: Arch,
    input: Input<'a>,
    /// Of the kernel.
    side: usize,
    stride: usize,
    height: usize,
    width: usize,
    panels: Panels,
    blocks_in_row: usize,
}

impl<'a> Direct<'a> {
    fn new(arch: Arch, input: Input<'a>, side: usize, stride: usize) -> Self {
        let lanes = lanes_of(arch);
        let (height, width) = (input.height / stride, input.width / stride);
        input.check(side * side, lanes, height * width);
        Direct {
            arch,
            side,
            stride,
            height,
            width,
            panels: Panels::new(input.c_out(), lanes),
            blocks_in_row: width.div_ceil(BLOCK),
            input,
        }
    }

    unsafe fn run(&self, output: *mut f32, workers: Workers) {
        let output = Shared(output);
        let groups = self.panels.count().div_ceil(PANELS);
        // Neighbouring jobs share weights.
        let pixels = self.height * self.blocks_in_row;
        workers(pixels * groups, &|job| {
            self.arch.dispatch(Job { conv: self, block: job % pixels, group: job / pixels, output });
        });
    }
}

/// Of a job.
#[repr(align(64))]
struct Sums([MaybeUninit<f32>; BLOCK * PANELS * PANEL_VECTORS * LINE]);

struct Job<'a, 'b> {
    conv: &'b Direct<'a>,
    block: usize,
    group: usize,
    output: Shared,
}

impl WithSimd for Job<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Job { conv, block, group, output } = self;
        let Direct { side, stride, .. } = *conv;
        let Input { width, height, c_in, frames, weights, bias, residual, .. } = conv.input;
        let (y, x) = (block / conv.blocks_in_row, block % conv.blocks_in_row * BLOCK);
        let count = BLOCK.min(conv.width - x);
        let first_panel = group * PANELS;
        let vectors = (PANELS * PANEL_VECTORS).min(conv.panels.vectors - first_panel * PANEL_VECTORS);
        let row_len = vectors * S::F32_LANES;
        // 28 KiB with the widest vectors.
        let mut sums = Sums([const { MaybeUninit::uninit() }; BLOCK * PANELS * PANEL_VECTORS * LINE]);
        assert!(count * row_len <= sums.0.len());
        let sums = sums.0.as_mut_ptr().cast::<f32>();
        let places = frames.len() * side * side;
        let mut accumulate = false;
        for place in 0..places {
            let (time, row, column) = (place / (side * side), place / side % side, place % side);
            let (row, column) = (y * stride + row, x * stride + column);
            // Below the frame, or the columns to its right: zeros. The first place is always inside.
            let rows = if row < height { count.min((width.saturating_sub(column)).div_ceil(stride)) } else { 0 };
            if rows == 0 {
                continue;
            }
            for start in (0..c_in).step_by(CHUNK) {
                for panel in 0..vectors.div_ceil(PANEL_VECTORS) {
                    let in_panel = conv.panels.vectors_of(first_panel + panel);
                    let before = (first_panel + panel) * PANEL_VECTORS * places * c_in;
                    let at = (before + (place * c_in + start) * in_panel) * S::F32_LANES;
                    // SAFETY: `Input::check` compared the sizes; the rows are within the frame.
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
                let at = (y * conv.width + x + i) * bias.len() + channel;
                // SAFETY: these pixels' channels are this job's own.
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
