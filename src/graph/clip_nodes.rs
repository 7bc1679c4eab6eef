//! Layers over clips as nodes of our operators.

use super::builder::Builder;
use super::clip_operators::{ClipOperator, Prologue};
use super::onnx::Attribute;
use super::operator_nodes::{Scale, chosen, packed_weight, times};
use super::operators::Operator;
use super::value::{Element, Layout, Value};
use crate::kernels::ClipFrames;
use crate::model::{Conv, Norm, NormScope};

/// What a convolution does to each frame first, and the inputs for it.
#[derive(Clone)]
pub(super) struct Before {
    prologue: Prologue,
    inputs: Vec<String>,
}

impl Before {
    pub(super) fn nothing() -> Self {
        Before { prologue: Prologue::Nothing, inputs: vec![] }
    }

    /// Height and width are doubled bilinearly.
    pub(super) fn doubled() -> Self {
        Before { prologue: Prologue::Doubled, inputs: vec![] }
    }

    /// A norm of `x`, then SiLU if `silu`.
    pub(super) fn norm(b: &mut Builder, x: &Value, norm: &Norm, silu: bool) -> Self {
        let [scale, bias] = b.factors(norm);
        let prologue = match (norm.scope, silu) {
            (NormScope::Pixel, false) => Prologue::Pixels,
            (NormScope::Pixel, true) => Prologue::PixelsSilu,
            (_, false) => Prologue::Groups,
            (_, true) => Prologue::GroupsSilu,
        };
        if norm.scope == NormScope::Pixel {
            return Before { prologue, inputs: vec![scale, bias] };
        }
        let per_frame = Attribute::int("per_frame", (norm.scope == NormScope::FrameGroups).into());
        let few = Value { layout: Layout::Any, ..x.clone() };
        let name = ClipOperator::Statistics.name();
        let [factors] = b.own_node(&name, &[&scale, &bias, &x.name], vec![per_frame], [few]);
        Before { prologue, inputs: vec![factors.name] }
    }

    /// The divisor of a frame after it.
    fn divisor(&self, divisor: usize) -> usize {
        if self.prologue == Prologue::Doubled { divisor / 2 } else { divisor }
    }

    fn attribute(&self) -> Attribute {
        Attribute::int("prologue", self.prologue.number())
    }
}

/// What a convolution does besides.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    pub(super) scale: Scale,
    /// Only every second frame has a result.
    pub(super) halves_rate: bool,
}

impl Steps {
    pub(super) const NONE: Steps = Steps { scale: Scale::Same, halves_rate: false };
}

/// The convolution of every frame of `x`, plus `residual`.
pub(super) fn convolve(
    b: &mut Builder,
    x: &Value,
    before: &Before,
    conv: &Conv,
    steps: Steps,
    residual: Option<&Value>,
) -> Value {
    debug_assert_eq!((x.layout, x.channels), (Layout::ClipPixels, conv.in_channels()), "{}", conv.weight.key);
    let read = Value { divisor: before.divisor(x.divisor), ..x.clone() };
    let operator = chosen(b, conv, steps.scale, read.divisor);
    let times = times(conv);
    let kernel = packed_weight(b, operator, conv, &read, times);
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    if before.prologue != Prologue::Nothing {
        let doubled = before.prologue == Prologue::Doubled;
        b.frames_scratch(ClipFrames::ring(doubled, x.channels, times), x.divisor);
    }
    let every = if steps.halves_rate { 2 } else { 1 };
    let mut inputs = vec![kernel.as_str(), &bias, &x.name];
    inputs.extend(before.inputs.iter().map(String::as_str));
    inputs.extend(residual.map(|residual| residual.name.as_str()));
    let attributes =
        vec![before.attribute(), Attribute::int("times", times as i64), Attribute::int("every", every as i64)];
    let result = Value {
        channels: conv.out_channels(),
        divisor: steps.scale.of(read.divisor),
        slower: x.slower * every,
        ..x.clone()
    };
    let [result] = b.own_node(&ClipOperator::Convolution(operator).name(), &inputs, attributes, [result]);
    result
}

/// The convolution of the frames of the doubled rate, whose height and width are doubled, too, by `Before::doubled`.
pub(super) fn convolve_interpolated(b: &mut Builder, x: &Value, before: &Before, conv: &Conv, table: &Value) -> Value {
    let read = Value { divisor: before.divisor(x.divisor), ..x.clone() };
    let operator = if b.large_tiles(read.divisor) { Operator::Winograd4 } else { Operator::Winograd2 };
    let kernel = packed_weight(b, operator, conv, &read, 1);
    let channels = times(conv) * conv.out_channels();
    // The newest tap's weights add up to 1, so the bias is added once.
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    let zeros = b.floats(&[channels - conv.out_channels()], &vec![0.0; channels - conv.out_channels()]);
    let bias = b.node("Concat", &[&zeros, &bias], vec![Attribute::int("axis", 0)]);
    let doubled = before.prologue == Prologue::Doubled;
    b.frames_scratch(ClipFrames::interpolated(doubled, x.channels, channels), x.divisor);
    let result = Value { channels: conv.out_channels(), slower: x.slower / 2, ..read };
    let inputs = [kernel.as_str(), &bias, &x.name, &table.name];
    let name = ClipOperator::Interpolated(operator).name();
    let [result] = b.own_node(&name, &inputs, vec![before.attribute()], [result]);
    result
}

/// The frames of the doubled rate.
pub(super) fn interpolate(b: &mut Builder, x: &Value, table: &Value) -> Value {
    let result = Value { slower: x.slower / 2, ..x.clone() };
    let [result] = b.own_node(&ClipOperator::Interpolation.name(), &[&x.name, &table.name], vec![], [result]);
    result
}

/// The mean of every second frame and the two before it.
pub(super) fn mean(b: &mut Builder, x: &Value) -> Value {
    let result = Value { slower: 2 * x.slower, ..x.clone() };
    let [result] = b.own_node(&ClipOperator::Halved.name(), &[&x.name], vec![], [result]);
    result
}
