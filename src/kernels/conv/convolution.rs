//! What a convolution is, what it reads, and what an algorithm for it has to offer.

use super::super::scratch::{NoMemory, ScratchPool, ScratchSize};
use super::super::workers::Workers;

/// A convolution, apart from the size of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Convolution {
    pub(crate) method: Method,
    pub(crate) c_out: usize,
    pub(crate) c_in: usize,
    /// Time taps: frames that it reads.
    pub(crate) times: usize,
}

/// What is computed, and by which algorithm where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// 3x3 or 3x3x3 with zeros around the frame, by Winograd's filtering in tiles of 2x2 results.
    Winograd2(Sampling),
    /// The same in tiles of 4x4 results, which is less work and rounds more.
    Winograd4(Sampling),
    /// 3x3 or 3x3x3 at every second pixel of every second row, with zeros below the frame and to its right.
    Strided,
    /// 1x1.
    Pointwise,
    /// On a matrix unit, of bordered frames of bfloat16.
    Matrix(Form, Outcome),
}

/// What a convolution on a matrix unit computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 3x3 or 3x3x3 with zeros around the frame.
    Same,
    /// The same over the frame with each pixel repeated to 2x2.
    Doubled,
    /// As `Method::Strided`.
    Strided,
    /// 1x1.
    Pointwise,
}

/// What is done with the sums of a convolution on a matrix unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They are the result, as they are or rounded.
    Sums,
    /// Their norm is a result.
    Normed,
}

/// Which pixels a convolution sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// The frame.
    Same,
    /// The frame with each pixel repeated to 2x2.
    Doubled,
}

/// What a convolution reads. Frames and the kernel's time taps are in the same order, oldest first.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// `[height, width, c_in]` each; the same one may be there several times.
    pub(crate) frames: &'a [&'a [f32]],
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) c_in: usize,
    /// As `Target::pack` makes them.
    pub(crate) weights: &'a [f32],
    pub(crate) bias: &'a [f32],
    /// Added to the result, and of its shape.
    pub(crate) residual: Option<&'a [f32]>,
}

/// What a convolution works with.
#[derive(Clone, Copy)]
pub(crate) struct Resources<'a> {
    /// Threads that `workers` has.
    pub(crate) threads: usize,
    pub(crate) workers: Workers<'a>,
    pub(crate) scratch: &'a ScratchPool,
}

/// Reads the weights of some output channels, in the checkpoint's order: `[c_in, times, taps]` for each.
pub(crate) type ReadRows<'a> = &'a (dyn Fn(std::ops::Range<usize>, &mut [f32]) + Sync);

/// A way to compute one convolution, with its own packing.
pub(crate) trait Algorithm {
    /// Float32 elements of the packed weights. What they hold only the algorithm knows.
    fn packed_len(&self) -> usize;

    /// Packs the weights into `out`, of `packed_len` elements. Several threads may call `read_rows` at once.
    fn pack(&self, read_rows: ReadRows, threads: usize, out: &mut [f32]) -> Result<(), NoMemory>;

    /// What a frame of `[height, width]` takes of the pool.
    fn scratch(&self, size: [usize; 2], threads: usize) -> ScratchSize;
}

/// One that takes and gives frames of float32.
pub(crate) trait FloatAlgorithm: Algorithm {
    /// # Safety
    /// The sizes of `input` must fit the convolution and each other; `output` as in `Target::convolve`.
    unsafe fn run(&self, input: Input, resources: Resources, output: *mut f32) -> Result<(), NoMemory>;
}

impl Method {
    /// Of the result, for a frame of `[height, width]`.
    pub(crate) fn output_size(self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Method::Winograd2(sampling) | Method::Winograd4(sampling) => sampling.size(size),
            Method::Strided | Method::Matrix(Form::Strided, _) => size.map(|side| side / 2),
            Method::Matrix(Form::Doubled, _) => Sampling::Doubled.size(size),
            Method::Pointwise | Method::Matrix(Form::Same | Form::Pointwise, _) => size,
        }
    }

    /// Taps of the kernel in height and width together.
    pub(super) fn taps(self) -> usize {
        if matches!(self, Method::Pointwise | Method::Matrix(Form::Pointwise, _)) { 1 } else { 9 }
    }
}

impl Sampling {
    pub(super) fn size(self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Sampling::Same => size,
            Sampling::Doubled => size.map(|side| 2 * side),
        }
    }
}

impl Convolution {
    /// Weights of one output channel.
    pub(super) fn row_len(self) -> usize {
        self.c_in * self.times * self.method.taps()
    }
}

impl Input<'_> {
    pub(super) fn c_out(&self) -> usize {
        self.bias.len()
    }

    pub(crate) fn convolution(&self, method: Method) -> Convolution {
        Convolution { method, c_out: self.c_out(), c_in: self.c_in, times: self.frames.len() }
    }

    /// Panics if the sizes do not fit each other.
    pub(crate) fn check(&self, method: Method, packed_len: usize) {
        let frame = self.height * self.width * self.c_in;
        assert!(self.c_in > 0 && !self.frames.is_empty(), "{} frames of {} channels", self.frames.len(), self.c_in);
        assert!(self.frames.iter().all(|f| f.len() == frame), "frames of {frame} elements");
        assert_eq!(self.weights.len(), packed_len, "packed weights of {:?}", self.convolution(method));
        let [height, width] = method.output_size([self.height, self.width]);
        let result = height * width * self.c_out();
        assert!(self.residual.is_none_or(|residual| residual.len() == result), "a residual of {result} elements");
    }
}
