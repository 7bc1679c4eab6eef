//! Our operators, as graphs name them. `runtime::operators` runs them on `kernels`.

use crate::kernels::{Convolution, Method, Sampling, Target};

/// The domain of their names in a graph.
pub(crate) const DOMAIN: &str = "wfvae";

/// Convolutions and norms of channels-last frames. Inputs: packed weights (the scale of a norm), bias, the frame of now; then
/// both frames before it (one ago, two ago), or neither; then what is added to the result, or nothing. No input is left out
/// between others, as ONNX Runtime before 1.24 crashes on that in custom operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Operator {
    /// 3x3 or 3x3x3 in tiles of 2x2 results.
    Winograd2,
    /// The same over the frame with each pixel repeated to 2x2.
    Winograd2Doubled,
    /// In tiles of 4x4 results.
    Winograd4,
    Winograd4Doubled,
    /// 3x3 or 3x3x3 at every second pixel.
    Strided,
    /// 1x1.
    Pointwise,
    /// Layer norm over the channels of a pixel.
    Norm,
    /// The same, then SiLU.
    NormSilu,
    /// The weighted sum of three frames' results for each time tap of a convolution. The weights come first, and there is no
    /// bias.
    Blend,
}

/// A weight that the caller packs and binds, as it binds frames, so that the runtime makes no copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedWeight {
    /// The tensor of the checkpoint, and the name of the graph's input.
    pub(crate) key: String,
    pub(crate) convolution: Convolution,
    /// A causal kernel whose time taps have output channels of their own, the oldest first.
    pub(crate) taps_apart: bool,
}

impl Operator {
    /// In the order of their discriminants.
    pub(crate) const ALL: [Operator; 9] = [
        Operator::Winograd2,
        Operator::Winograd2Doubled,
        Operator::Winograd4,
        Operator::Winograd4Doubled,
        Operator::Strided,
        Operator::Pointwise,
        Operator::Norm,
        Operator::NormSilu,
        Operator::Blend,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Operator::Winograd2 => "Winograd2",
            Operator::Winograd2Doubled => "Winograd2Doubled",
            Operator::Winograd4 => "Winograd4",
            Operator::Winograd4Doubled => "Winograd4Doubled",
            Operator::Strided => "Strided",
            Operator::Pointwise => "Pointwise",
            Operator::Norm => "Norm",
            Operator::NormSilu => "NormSilu",
            Operator::Blend => "Blend",
        }
    }

    /// What a convolution computes; `None` for the others.
    pub(crate) fn method(self) -> Option<Method> {
        match self {
            Operator::Winograd2 => Some(Method::Winograd2(Sampling::Same)),
            Operator::Winograd2Doubled => Some(Method::Winograd2(Sampling::Doubled)),
            Operator::Winograd4 => Some(Method::Winograd4(Sampling::Same)),
            Operator::Winograd4Doubled => Some(Method::Winograd4(Sampling::Doubled)),
            Operator::Strided => Some(Method::Strided),
            Operator::Pointwise => Some(Method::Pointwise),
            Operator::Norm | Operator::NormSilu | Operator::Blend => None,
        }
    }
}

impl PackedWeight {
    pub(super) fn bytes(&self) -> usize {
        Target::current().packed_len(self.convolution) * size_of::<f32>()
    }
}
