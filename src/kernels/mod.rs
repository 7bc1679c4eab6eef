//! The network's convolutions, norms and wavelets on the CPU, which are nearly all of its work.
//!
//! [`Target`] is the way in: it chooses the instruction set and the algorithm. A convolution is described by
//! [`Convolution`]; its weights are packed once and stay in the order that its algorithm reads them in.
//!
//! Frames are channels-last, `[height, width, channels]`, so that a vector register holds neighbouring channels of one
//! pixel. 3x3 kernels use Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural
//! Networks", arXiv 1509.09308), which needs 4/9 (`F23`) or a quarter (`F43`) of the multiplications. The time taps of a
//! causal kernel are further terms of the same sum. Weights are packed untransformed, and each thread transforms the part
//! that it needs into its cache, again for each block of tiles. So they take no more memory than in the checkpoint.
//!
//! This room knows neither the network nor ONNX Runtime; `runtime::operators` offers it to graphs.
//!
//! ## Matrix units
//! On a CPU with a matrix unit, convolutions can be direct sums of products of bfloat16 (`conv::matrix`, on `micro::tiles`). They
//! read frames of bfloat16 with zeros around them (`bordered`), which norms and other convolutions write. A convolution can apply
//! the norm that follows it while its sums are in the cache. Attention multiplies on the unit, too (`attention`). Everything else is
//! float32.
//!
//! In float32, such a unit multiplies the transformed tiles of wide convolutions (`conv::multipliers`). There a float32 is the exact
//! sum of three bfloat16, and a product of two is the sum of the six largest products of their parts, which loses no more than
//! float32's own rounding (Henry, Tang and Heinecke, arXiv 1904.06376).
//!
//! ## Adding another kind of product
//! 1. `micro/`: the inner product.
//! 2. `conv/`: a `Multiplier`, if it is for Winograd's transformed tiles; else a type with the trait `Algorithm`, which says how
//!    weights are packed and how much scratch a frame takes, and `FloatAlgorithm`, if frames are float32. Packed weights are
//!    float32 storage that only the algorithm reads: two bfloat16 fit an element. Set up a thread's state at the start of each
//!    job, as jobs run on threads of ONNX Runtime.
//! 3. `level.rs`: a name for `WFVAE_CPU`, if the CPU may lack the instructions.
//! 4. `target.rs`: an arm in `Target::with_floats`. The tests then run it on every level against float64.

// Indices are part of the formulas, and the closure of an iterator would not be compiled for the vectors.
#![allow(clippy::needless_range_loop)]

mod attention;
#[cfg(test)]
mod attention_tests;
mod blend;
mod bordered;
mod clip;
#[cfg(test)]
mod clip_tests;
mod conv;
mod enlarge;
#[cfg(test)]
mod exponential_tests;
mod group_norm;
mod haar;
#[cfg(test)]
mod haar_tests;
mod level;
#[cfg(test)]
mod matrix_rates;
#[cfg(test)]
mod matrix_tests;
mod micro;
mod norm;
mod scratch;
mod target;
#[cfg(test)]
mod tests;
mod workers;

pub(crate) use attention::Attention;
pub(crate) use blend::Blend;
pub(crate) use bordered::{Bordered, Narrow};
pub(crate) use clip::{Before, Clip, ClipConvolution, ClipFrames, FrameSums, Interpolated};
pub(crate) use conv::convolution::{Convolution, Form, Input, Method, Outcome, Resources, Sampling};
pub(crate) use conv::matrix::{MatrixInput, MatrixOutput};
pub(crate) use group_norm::GroupStatistics;
pub(crate) use haar::{Analysis, Coefficients, Synthesis};
pub(crate) use norm::{LayerNorm, Norm};
pub(crate) use scratch::{NoMemory, ScratchPool, ScratchSize};
pub(crate) use target::{OPTIMISED, Target};
