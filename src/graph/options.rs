//! How graphs compute, as far as the network leaves it open.

use super::value::Element;

/// What leaves a network's description open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// The type of the causal caches and time taps that streams keep, if `compute` is float32. Otherwise their type is
    /// `compute`.
    pub(crate) cache: Element,
    /// The type that convolutions and matrix products compute in, and that their weights have. Residual sums, the statistics
    /// of norms, the logits and the softmax of attention, wavelets and the interpolation are always float32 (if this is a
    /// narrower type, a CUDA device multiplies them as TF32).
    pub(crate) compute: Element,
    /// Maximum bytes of the attention score matrix. Queries are processed in blocks to fit.
    pub(crate) attention_bytes: u64,
    pub(crate) operators: Operators,
    /// How ONNX's operators compute causal convolutions.
    pub(crate) taps: Taps,
    /// Frames are channels-last although convolutions are ONNX's, with a transposition on both sides of each. A provider that
    /// prefers channels-last convolutions removes the transpositions.
    pub(crate) channels_last: bool,
    /// If `compute` is float16, norms of float32 return float16, which saves a pass. ONNX's LayerNormalization, which begins
    /// with opset 17, cannot do this. ONNX Runtime's own, for graphs of earlier opsets, can.
    pub(crate) narrow_norms: bool,
    /// If `compute` is narrower than float32, only weights, what convolutions read and what streams keep are of that type: all
    /// nodes that compute have casts to float32 before them. For runtimes that would compute in the narrower type, as ONNX
    /// Runtime does on Arm CPUs with FP16 arithmetic. Our operators on a device read `compute` all the same.
    pub(crate) wide: bool,
}

/// How ONNX's operators compute a causal convolution of three frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taps {
    /// A 2D convolution of each frame, and sums.
    Added,
    /// One 2D convolution of the three frames' channels.
    Stacked,
    /// One 3D convolution of a clip of three frames.
    Volume,
}

/// Whose operators a graph uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operators {
    /// ONNX's, on planes.
    Onnx,
    /// ONNX's, except for norms, which are ours.
    OurNorms,
    /// Ours, on channels-last frames. Tiles are large only where their rounding has little effect on the result.
    Exact,
    /// Ours, with large tiles everywhere.
    Fast,
    /// ONNX's convolutions and ours between them, on channels-last frames on a CUDA device.
    Device,
    /// Ours, on the CPU's matrix unit. Convolutions read bordered frames of bfloat16; sums are channels-last frames of float32.
    Matrix,
}

impl Options {
    /// The type that nodes compute in, except for those that always do in float32.
    pub(super) fn arithmetic(&self) -> Element {
        if self.wide && self.operators != Operators::Device { Element::F32 } else { self.compute }
    }

    /// Whether ONNX's operators compute in bfloat16.
    pub(super) fn has_onnx_bf16(&self) -> bool {
        self.compute == Element::Bf16 && self.operators != Operators::Matrix
    }

    pub(super) fn narrows_norms(&self) -> bool {
        self.narrow_norms && self.arithmetic() == Element::F16
    }
}
