//! The convolutions and norms of the network on the processor, where they are nearly all of its work.
//!
//! Frames are channels-last, `[height, width, channels]`, so that a vector register holds neighbouring channels of one
//! pixel. 3x3 kernels go through Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", arXiv 1509.09308): a quarter (`Tile4`) or 4/9 (`Tile2`) of the direct multiplications. The time taps of a
//! causal kernel lie side by side in one sum. Weights stay as they are; the part that a thread needs is transformed
//! into its cache, again for each block of tiles, so that they take no more memory than the checkpoint's.
//!
//! This module knows neither the network nor ONNX Runtime; `runtime::operators` offers it to graphs.

// Rows and columns are numbers in the formulas; and the closure of an iterator would not be compiled for the vectors.
#![allow(clippy::needless_range_loop)]

mod blend;
mod direct;
mod norm;
mod product;
mod scratch;
mod simd;
mod tiles;
mod winograd;

pub(crate) use blend::Blend;
pub(crate) use direct::{Pointwise, Strided};
pub(crate) use norm::{LayerNorm, NORM_EPSILON};
pub(crate) use scratch::{ScratchPool, ScratchSize};
pub(crate) use simd::lanes;
pub(crate) use tiles::{Tile, Tile2, Tile4};
pub(crate) use winograd::{Sampling, Winograd, scratch_size};

use crate::memory;

/// Runs a job for each number below the first argument, on as many threads as there are.
pub(crate) type Workers<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync + Send));

/// What a convolution reads. Frames and the kernel's time taps are in the same order, oldest first; a kernel without time
/// has one.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// `[height, width, c_in]` each; the same one may be there several times.
    pub(crate) frames: &'a [&'a [f32]],
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) c_in: usize,
    /// From [`pack`], in the order that the convolution names.
    pub(crate) weights: &'a [f32],
    pub(crate) bias: &'a [f32],
    /// Added to the result, and of its size.
    pub(crate) residual: Option<&'a [f32]>,
}

/// The order of packed weights within a panel of output channels, which are innermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Time, input channel, place in the 3x3 kernel.
    PlaceLast,
    /// Time, place in the kernel, input channel.
    ChannelLast,
}

/// The sizes of a kernel `[c_out, c_in, times, places]`; places are those in its height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KernelShape {
    pub(crate) c_out: usize,
    pub(crate) c_in: usize,
    pub(crate) times: usize,
    pub(crate) places: usize,
}

impl Input<'_> {
    fn c_out(&self) -> usize {
        self.bias.len()
    }

    /// Panics if something has another size than the rest says.
    fn check(&self, kernel_places: usize, lanes: usize, pixels_out: usize) {
        let frame = self.height * self.width * self.c_in;
        assert!(self.frames.iter().all(|f| f.len() == frame), "frames of {frame} numbers");
        let shape =
            KernelShape { c_out: self.c_out(), c_in: self.c_in, times: self.frames.len(), places: kernel_places };
        assert_eq!(self.weights.len(), shape.packed_len(lanes), "weights of {shape:?}");
        assert!(self.residual.is_none_or(|r| r.len() == pixels_out * self.c_out()), "a residual of the result's size");
    }
}

impl KernelShape {
    /// How many numbers the packed kernel has: output channels are rounded up to whole vectors.
    pub(crate) fn packed_len(&self, lanes: usize) -> usize {
        self.c_out.next_multiple_of(lanes) * self.c_in * self.times * self.places
    }
}

/// Output channels come in panels of two vectors; the last may be one.
const PANEL_VECTORS: usize = 2;

/// How many panels there are, and how many vectors one has.
#[derive(Clone, Copy)]
struct Panels {
    vectors: usize,
}

impl Panels {
    fn new(c_out: usize, lanes: usize) -> Self {
        Panels { vectors: c_out.div_ceil(lanes) }
    }

    fn count(self) -> usize {
        self.vectors.div_ceil(PANEL_VECTORS)
    }

    fn vectors_of(self, panel: usize) -> usize {
        PANEL_VECTORS.min(self.vectors - panel * PANEL_VECTORS)
    }
}

/// Reorders a kernel for vectors of `lanes` numbers. `read_rows` gives the weights of some output channels, in the
/// checkpoint's order; it is called from several threads: at most `threads`, fewer where the system gives no more.
pub(crate) fn pack(
    shape: KernelShape,
    packing: Packing,
    lanes: usize,
    read_rows: &(dyn Fn(std::ops::Range<usize>, &mut [f32]) + Sync),
    threads: usize,
    out: &mut [f32],
) -> Result<(), NoMemory> {
    assert_eq!(out.len(), shape.packed_len(lanes));
    let KernelShape { c_out, c_in, times, places } = shape;
    let row = c_in * times * places;
    let width = PANEL_VECTORS * lanes;
    let queue = parking_lot::Mutex::new(out.chunks_mut(width * row).enumerate());
    let work = || {
        // Who has no memory leaves the work to the others.
        let Ok(mut rows) = memory::zeros(width * row, "weights") else { return };
        loop {
            let Some((panel, out)) = queue.lock().next() else { break };
            let width_here = out.len() / row;
            let channels = panel * width..c_out.min(panel * width + width_here);
            let rows = &mut rows[..channels.len() * row];
            read_rows(channels, rows);
            // By places of the panel, so that whole cache lines are written.
            for (n, line) in out.chunks_exact_mut(width_here).enumerate() {
                let (time, channel, place) = match packing {
                    Packing::PlaceLast => (n / places / c_in, n / places % c_in, n % places),
                    Packing::ChannelLast => (n / c_in / places, n % c_in, n / c_in % places),
                };
                let at = (channel * times + time) * places + place;
                line.fill(0.0);
                for (value, weights) in line.iter_mut().zip(rows.chunks_exact(row)) {
                    *value = weights[at];
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let mut more = 1..threads.clamp(1, 64);
        // This thread works too, so it can go on without the others.
        while more.next().is_some() && std::thread::Builder::new().spawn_scoped(scope, work).is_ok() {}
        work();
    });
    match queue.into_inner().next() {
        Some(_) => Err(NoMemory),
        None => Ok(()),
    }
}

/// The system gave no memory; the result is not there, or not whole.
#[derive(Debug)]
pub(crate) struct NoMemory;

/// A place that several threads write to, each to a part of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: who makes one sees to it that no two threads use the same part.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// As that of `pointer::add`.
    unsafe fn at(self, offset: usize) -> *mut f32 {
        unsafe { self.0.add(offset) }
    }
}

#[cfg(test)]
mod tests;
