//! Layers as nodes of our operators.

use super::builder::Builder;
use super::operators::{Operator, PackedWeight};
use super::value::{Element, Layout, Value};
use crate::kernels::Convolution;
use crate::model::{Conv, ConvKind, Norm};

/// How a convolution changes the size of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Same,
    Doubled,
    Halved,
}

impl Scale {
    /// The divisor of the result.
    pub(super) fn of(self, divisor: usize) -> usize {
        match self {
            Scale::Same => divisor,
            Scale::Doubled => divisor / 2,
            Scale::Halved => divisor * 2,
        }
    }
}

/// The norm of each pixel of `x`, then SiLU if `silu`.
pub(super) fn normalize(b: &mut Builder, x: &Value, norm: &Norm, silu: bool) -> Value {
    let operator = if silu { Operator::NormSilu } else { Operator::Norm };
    let [scale, bias] = b.factors(norm);
    Value { name: b.operator_node(operator, &[&scale, &bias, &x.name], x), ..x.clone() }
}

/// The convolution of `frames`, oldest first, plus `residual`.
pub(super) fn convolve(
    b: &mut Builder,
    frames: &[&Value],
    conv: &Conv,
    scale: Scale,
    residual: Option<&Value>,
) -> Value {
    let now = frames[frames.len() - 1];
    let operator = chosen(b, conv, scale, now.divisor);
    debug_assert_eq!((now.layout, now.channels), (Layout::Pixels, conv.in_channels()), "{}", conv.weight.key);
    let kernel = packed_weight(b, operator, conv, now, frames.len());
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    let mut inputs = vec![kernel.as_str(), &bias];
    inputs.extend(frames.iter().rev().map(|frame| frame.name.as_str()));
    inputs.extend(residual.map(|residual| residual.name.as_str()));
    let result = Value { channels: conv.out_channels(), divisor: scale.of(now.divisor), ..now.clone() };
    Value { name: b.operator_node(operator, &inputs, &result), ..result }
}

/// The operator for a convolution of frames of H / `divisor`.
pub(super) fn chosen(b: &Builder, conv: &Conv, scale: Scale, divisor: usize) -> Operator {
    match (conv.kind, scale, b.large_tiles(divisor)) {
        (ConvKind::Pointwise, ..) => Operator::Pointwise,
        (_, Scale::Halved, _) => Operator::Strided,
        (_, Scale::Same, false) => Operator::Winograd2,
        (_, Scale::Same, true) => Operator::Winograd4,
        (_, Scale::Doubled, false) => Operator::Winograd2Doubled,
        (_, Scale::Doubled, true) => Operator::Winograd4Doubled,
    }
}

/// The convolution of one frame by each time tap of `conv` separately.
pub(super) fn convolve_taps(b: &mut Builder, x: &Value, conv: &Conv, bias: &str) -> Value {
    let operator = if b.large_tiles(x.divisor) { Operator::Winograd4 } else { Operator::Winograd2 };
    let kernel = packed_weight(b, operator, conv, x, 1);
    let result = Value { channels: times(conv) * conv.out_channels(), ..x.clone() };
    Value { name: b.operator_node(operator, &[&kernel, bias, &x.name], &result), ..result }
}

/// The weight of a convolution that reads `frames` frames like `x`. If these are fewer than its time taps, the taps have
/// output channels of their own.
pub(super) fn packed_weight(b: &mut Builder, operator: Operator, conv: &Conv, x: &Value, frames: usize) -> String {
    let method = operator.method().expect("a convolution");
    let c_out = times(conv) / frames * conv.out_channels();
    let convolution = Convolution { method, c_out, c_in: conv.in_channels(), times: frames };
    let key = conv.weight.key.clone();
    b.packed_weight(PackedWeight { key, convolution, taps_apart: frames < times(conv) }, x.divisor)
}

/// Time taps of a kernel.
pub(super) fn times(conv: &Conv) -> usize {
    if let [_, _, times, _, _] = conv.weight.shape[..] { times } else { 1 }
}

/// The weighted sum of the results of `convolve_taps` for three frames, oldest first.
pub(super) fn blend_taps(b: &mut Builder, frames: [&Value; 3], weights: &Value, channels: usize) -> Value {
    let [two_ago, one_ago, now] = frames.map(|frame| frame.name.as_str());
    let result = Value { channels, ..frames[2].clone() };
    let inputs = [&weights.name, now, one_ago, two_ago];
    Value { name: b.operator_node(Operator::Blend, &inputs, &result), ..result }
}
