//! From a network's description to ONNX graphs, one for each frame rate inside the network.
//!
//! A graph is one *step*. It takes one frame at its rate (later encoder steps take two from the step before) and the two past
//! frames of every causal convolution, and returns one frame. Tensors are float32, `[1, channels, height, width]`, or
//! `[1, height, width, channels]` where our operators work on them. Time is outside the graphs. So the start, the middle and
//! the end of a clip run the same graphs with the same weights. This room knows neither files nor ONNX Runtime.
//!
//! ## Precision
//! `Options::compute` is the type in which convolutions and matrix products compute and which causal caches hold. Values are
//! cast where they cross; with float32 there are no casts.
//!
//! ## Interpolation
//! Between two rates the decoder interpolates frames, and a causal convolution follows. Both are sums, so their order can be
//! changed: interpolation is applied after the convolution's time taps. A step ends with the convolution of its low-rate frame
//! by each time tap separately, and the next step begins with the weighted sum of nine such results. This halves the work, as
//! otherwise each interpolated frame would meet all taps.
//!
//! If the norms of a network span the clip, it has no steps: it is one graph over all frames (`clip`), of planes (`clip_planes`) or, with our operators, channels-last (`clip_pixels`).
//!
//! ## Our operators
//! On the CPU, norms and convolutions can be nodes of ours (`operators`, `operator_nodes`), and with them wavelets
//! (`haar_operators`, `haar_nodes`) or layers over a whole clip (`clip_operators`, `clip_nodes`); on a CUDA device, what lies between the convolutions (`device_operators`, `device_nodes`); on
//! a CPU's matrix unit, attention and convolutions of bfloat16 with the norms that follow them (`matrix_operators`,
//! `matrix_nodes`). On a device a convolution leaves its bias to the node that reads its result,
//! and a sum is one node with the norm that follows it (`sums`).
//!
//! ## Sizes
//! A graph takes frames of any size. Sizes at which it cuts or joins values, and which follow from the frame's, are inputs
//! (`size`).
//!
//! ## Causal caches
//! A causal convolution reads its input now (`cacheN.now`, also an output) and one and two frames ago (`cacheN.1`,
//! `cacheN.2`). The caller keeps these tensors and binds each as the next older one in the next step. At the start of a clip
//! the past is the first frame itself (docs/spec.md section 2, replicate padding): the caller then binds *one* buffer as `.now`, `.1` and `.2`.
//! To make this well defined, the graph reads the past only through a `Reshape` to the shape of `.now`, which cannot run
//! before `.now` is computed, and which moves no data. To select with `Where` instead costs 8 to 15 % of the whole step.

mod after;
mod attention;
mod builder;
mod clip;
mod clip_nodes;
mod clip_operators;
mod clip_pixels;
mod clip_planes;
mod convolutions;
mod decoder;
mod device_nodes;
mod device_operators;
mod elementary;
mod encoder;
mod footprint;
mod haar;
mod haar_bands;
mod haar_nodes;
mod haar_operators;
mod layers;
mod matrix_nodes;
mod matrix_operators;
mod norms;
mod onnx;
mod operator_nodes;
mod operators;
mod options;
pub(crate) mod port;
mod size;
mod step;
mod sums;
#[cfg(test)]
mod tests;
mod transfer;
mod upsampling;
mod value;

pub(crate) use clip::{decoder_clip, encoder_clip};
pub(crate) use clip_operators::{ClipOperator, Prologue};
pub(crate) use decoder::decoder;
pub(crate) use device_operators::{DeviceKind, DeviceOperator};
pub(crate) use encoder::encoder;
pub(crate) use haar_operators::HaarOperator;
pub(crate) use matrix_operators::{Adds, Gives, MatrixOperator};
pub(crate) use operators::{DOMAIN as OPERATOR_DOMAIN, Operator, PackedWeight};
pub(crate) use options::{Operators, Options, Taps};
pub(crate) use size::SizeList;
pub(crate) use step::{Source, StepGraph};
pub(crate) use transfer::copy;
pub(crate) use value::{Element, Layout, Port};
