//! Layers as nodes of our operators on the CPU's matrix unit.

use super::after::Then;
use super::builder::Builder;
use super::matrix_operators::{Adds, Gives, MatrixOperator};
use super::onnx::Attribute;
use super::operator_nodes::{Scale, times};
use super::operators::PackedWeight;
use super::value::{Element, Layout, Value};
use crate::kernels::{Convolution, Form, Method};
use crate::model::{Conv, ConvKind, Norm};

/// `x` as a bordered frame.
pub(super) fn narrow(b: &mut Builder, x: &Value) -> Value {
    if x.layout == Layout::Bordered {
        return x.clone();
    }
    let [narrow] = node(b, MatrixOperator::Narrow, &[&x.name], None, [bordered(x)]);
    narrow
}

/// The same with height and width doubled.
pub(super) fn doubled(b: &mut Builder, x: &Value) -> Value {
    let result = Value { divisor: x.divisor / 2, ..bordered(x) };
    let [doubled] = node(b, MatrixOperator::Doubled, &[&x.name], None, [result]);
    doubled
}

/// The norm of each pixel of `x`, then SiLU if `silu`, as a bordered frame.
pub(super) fn normalize(b: &mut Builder, x: &Value, norm: &Norm, silu: bool) -> Value {
    let [scale, shift] = b.factors(norm);
    let [normed] = node(b, MatrixOperator::Norm, &[&scale, &shift, &x.name], Some(silu), [bordered(x)]);
    normed
}

/// The convolution of `frames`, oldest first, plus `residual`.
pub(super) fn convolve(
    b: &mut Builder,
    frames: &[&Value],
    conv: &Conv,
    scale: Scale,
    residual: Option<&Value>,
) -> Value {
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    let inputs = Inputs { frames, conv, scale, bias: &bias, residual };
    let result = inputs.result(conv.out_channels());
    let [sums] = inputs.node(b, Gives::Sums, &[], None, [result]);
    sums
}

/// The norm of the same, and the same if it is needed.
pub(super) fn convolve_normed(
    b: &mut Builder,
    frames: &[&Value],
    conv: &Conv,
    scale: Scale,
    residual: Option<&Value>,
    then: Then,
) -> (Value, Option<Value>) {
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    let factors = b.factors(then.norm);
    let inputs = Inputs { frames, conv, scale, bias: &bias, residual };
    let sums = inputs.result(conv.out_channels());
    let normed = bordered(&sums);
    if then.needs_sum {
        let [normed, sums] = inputs.node(b, Gives::Normed, &factors, Some(then.silu), [normed, sums]);
        return (normed, Some(sums));
    }
    let [normed] = inputs.node(b, Gives::Normed, &factors, Some(then.silu), [normed]);
    (normed, None)
}

/// The convolution of one frame by each time tap of `conv` separately, rounded.
pub(super) fn convolve_taps(b: &mut Builder, x: &Value, conv: &Conv, bias: &str) -> Value {
    let inputs = Inputs { frames: &[x], conv, scale: Scale::Same, bias, residual: None };
    let result = Value { element: Element::Bf16, ..inputs.result(times(conv) * conv.out_channels()) };
    let [taps] = inputs.node(b, Gives::Narrow, &[], None, [result]);
    taps
}

/// softmax(q k^T / sqrt(C)) v, where q, k and v are 1x1 convolutions of `x`, as a bordered frame.
pub(super) fn attend(b: &mut Builder, x: &Value, projections: [&Conv; 3]) -> Value {
    // A group norm's result is not bordered.
    let x = &narrow(b, x);
    let [query, key, value] = projections.map(|conv| {
        let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
        // There is one tap.
        convolve_taps(b, x, conv, &bias)
    });
    b.attention_scratch(query.channels, query.divisor);
    let result = bordered(&query);
    let [mixed] = node(b, MatrixOperator::Attend, &[&query.name, &key.name, &value.name], None, [result]);
    mixed
}

/// The weighted sum of the results of `convolve_taps` for three frames, oldest first.
pub(super) fn blend_taps(b: &mut Builder, frames: [&Value; 3], weights: &Value, channels: usize) -> Value {
    let [two_ago, one_ago, now] = frames.map(|frame| frame.name.as_str());
    let result = Value { channels, element: Element::F32, ..frames[2].clone() };
    let [blended] = node(b, MatrixOperator::Blend, &[&weights.name, now, one_ago, two_ago], None, [result]);
    blended
}

/// What a convolution reads.
struct Inputs<'a> {
    frames: &'a [&'a Value],
    conv: &'a Conv,
    scale: Scale,
    bias: &'a str,
    residual: Option<&'a Value>,
}

impl Inputs<'_> {
    fn now(&self) -> &Value {
        self.frames[self.frames.len() - 1]
    }

    /// The sums of so many channels.
    fn result(&self, channels: usize) -> Value {
        let now = self.now();
        let divisor = self.scale.of(now.divisor);
        Value { name: String::new(), channels, divisor, layout: Layout::Pixels, element: Element::F32, ..now.clone() }
    }

    fn node<const N: usize>(
        &self,
        b: &mut Builder,
        gives: Gives,
        factors: &[String],
        silu: Option<bool>,
        results: [Value; N],
    ) -> [Value; N] {
        let Inputs { frames, conv, scale, bias, residual } = *self;
        let now = self.now();
        debug_assert_eq!((now.layout, now.channels), (Layout::Bordered, conv.in_channels()), "{}", conv.weight.key);
        let form = match (conv.kind, scale) {
            (ConvKind::Pointwise, _) => Form::Pointwise,
            (_, Scale::Same) => Form::Same,
            (_, Scale::Doubled) => Form::Doubled,
            (_, Scale::Halved) => Form::Strided,
        };
        let method = Method::Matrix(form, gives.outcome());
        let (c_in, times_read) = (conv.in_channels(), frames.len());
        let convolution = Convolution { method, c_out: results[0].channels, c_in, times: times_read };
        let key = conv.weight.key.clone();
        let taps_apart = times_read < times(conv);
        let kernel = b.packed_weight(PackedWeight { key, convolution, taps_apart }, now.divisor);
        let mut inputs = vec![kernel.as_str(), bias];
        inputs.extend(factors.iter().map(String::as_str));
        inputs.extend(residual.map(|residual| residual.name.as_str()));
        inputs.extend(frames.iter().rev().map(|frame| frame.name.as_str()));
        let adds = if residual.is_some() { Adds::Residual } else { Adds::Nothing };
        node(b, MatrixOperator::Convolve(form, adds, gives), &inputs, silu, results)
    }
}

fn bordered(x: &Value) -> Value {
    Value { layout: Layout::Bordered, element: Element::Bf16, ..x.clone() }
}

fn node<const N: usize>(
    b: &mut Builder,
    operator: MatrixOperator,
    inputs: &[&str],
    silu: Option<bool>,
    results: [Value; N],
) -> [Value; N] {
    let attributes = silu.map(|silu| Attribute::int("silu", silu.into())).into_iter().collect();
    b.own_node(&operator.name(), inputs, attributes, results)
}
