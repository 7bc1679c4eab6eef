//! The operators that are ours: convolutions and norms of channels-last frames, which `runtime::operators` runs on `kernels`.

use super::builder::{Builder, Element, Layout, Value};
use super::footprint::Scratch;
use crate::kernels::{KernelShape, Packing, Sampling};
use crate::model::{Conv, ConvKind, Norm};

/// The domain of their names in a graph.
pub(crate) const DOMAIN: &str = "wfvae";

/// Inputs: packed weights (of a norm its scale), bias, the frame of now; then both frames before it (one ago, two ago), or
/// neither; then what is added to the result, or nothing. None is left out between others: ONNX Runtime before 1.24 crashes
/// on that in operators that are not its own.
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
    /// The weighted sum of what three frames are to each time tap of a convolution. The weights are in the place of a
    /// kernel, and there is no bias.
    Blend,
}

impl Operator {
    /// In the order of their numbers.
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

    /// Of a node of frames of size / `divisor`.
    fn note_scratch(self, b: &mut Builder, shape: KernelShape, divisor: usize) {
        let (large_tiles, sampling) = match self {
            Operator::Winograd2 => (false, Sampling::Same),
            Operator::Winograd2Doubled => (false, Sampling::Doubled),
            Operator::Winograd4 => (true, Sampling::Same),
            Operator::Winograd4Doubled => (true, Sampling::Doubled),
            _ => return,
        };
        b.needs_scratch(Scratch { large_tiles, shape, divisor, sampling });
    }

    fn packing(self) -> Packing {
        match self {
            Operator::Strided | Operator::Pointwise => Packing::ChannelLast,
            _ => Packing::PlaceLast,
        }
    }
}

/// A kernel that the caller packs and binds, as it binds frames: the runtime makes no copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// The tensor of the checkpoint, and the name of the graph's input.
    pub(crate) key: String,
    pub(crate) shape: KernelShape,
    pub(crate) packing: Packing,
    /// A causal kernel whose time taps have output channels of their own, the oldest first.
    pub(crate) taps_apart: bool,
}

/// The size that an operator gives a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Same,
    Doubled,
    Halved,
}

/// The norm of each pixel of `x`, then SiLU if `silu`.
pub(super) fn normalize(b: &mut Builder, x: &Value, norm: &Norm, silu: bool) -> Value {
    let operator = if silu { Operator::NormSilu } else { Operator::Norm };
    let scale = b.weight(&norm.weight, &norm.weight.shape, Element::F32);
    let bias = b.weight(&norm.bias, &norm.bias.shape, Element::F32);
    Value { name: b.operator_node(operator.name(), &[&scale, &bias, &x.name], x), ..x.clone() }
}

/// The convolution of `frames`, oldest first, plus `residual`.
pub(super) fn convolve(
    b: &mut Builder,
    frames: &[&Value],
    conv: &Conv,
    scale: Scale,
    residual: Option<&Value>,
) -> Value {
    let operator = match (conv.kind, scale, b.large_tiles(frames[0].divisor)) {
        (ConvKind::Pointwise, ..) => Operator::Pointwise,
        (_, Scale::Halved, _) => Operator::Strided,
        (_, Scale::Same, false) => Operator::Winograd2,
        (_, Scale::Same, true) => Operator::Winograd4,
        (_, Scale::Doubled, false) => Operator::Winograd2Doubled,
        (_, Scale::Doubled, true) => Operator::Winograd4Doubled,
    };
    let [c_out, c_in, ref axes @ ..] = conv.weight.shape[..] else { unreachable!("a kernel has channels") };
    let now = frames[frames.len() - 1];
    debug_assert_eq!((now.layout, now.channels), (Layout::Pixels, c_in), "{}", conv.weight.key);
    let places = axes[axes.len() - 2..].iter().product();
    let shape = KernelShape { c_out, c_in, times: frames.len(), places };
    let kernel =
        b.kernel(Kernel { key: conv.weight.key.clone(), shape, packing: operator.packing(), taps_apart: false });
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    let mut inputs = vec![kernel.as_str(), &bias];
    inputs.extend(frames.iter().rev().map(|frame| frame.name.as_str()));
    inputs.extend(residual.map(|residual| residual.name.as_str()));
    let divisor = match scale {
        Scale::Same => now.divisor,
        Scale::Doubled => now.divisor / 2,
        Scale::Halved => now.divisor * 2,
    };
    let result = Value { channels: c_out, divisor, ..now.clone() };
    operator.note_scratch(b, shape, now.divisor);
    Value { name: b.operator_node(operator.name(), &inputs, &result), ..result }
}

/// Each time tap of `conv` by itself, of one frame.
pub(super) fn convolve_taps(b: &mut Builder, x: &Value, conv: &Conv, bias: &str) -> Value {
    let operator = if b.large_tiles(x.divisor) { Operator::Winograd4 } else { Operator::Winograd2 };
    let [c_out, c_in, times, height, width] = conv.weight.shape[..] else {
        unreachable!("a causal kernel has five axes")
    };
    let shape = KernelShape { c_out: times * c_out, c_in, times: 1, places: height * width };
    let key = conv.weight.key.clone();
    let kernel = b.kernel(Kernel { key, shape, packing: operator.packing(), taps_apart: true });
    let result = Value { channels: shape.c_out, ..x.clone() };
    operator.note_scratch(b, shape, x.divisor);
    Value { name: b.operator_node(operator.name(), &[&kernel, bias, &x.name], &result), ..result }
}

/// Of the results of `convolve_taps` for three frames, oldest first.
pub(super) fn blend_taps(b: &mut Builder, frames: [&Value; 3], weights: &Value, channels: usize) -> Value {
    let [two_ago, one_ago, now] = frames.map(|frame| frame.name.as_str());
    let result = Value { channels, ..frames[2].clone() };
    let inputs = [&weights.name, now, one_ago, two_ago];
    Value { name: b.operator_node(Operator::Blend.name(), &inputs, &result), ..result }
}
