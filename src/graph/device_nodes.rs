//! Layers as nodes of our operators on a device.

use super::builder::Builder;
use super::device_operators::{DeviceKind, DeviceOperator};
use super::onnx::Attribute;
use super::value::{Element, Layout, Value};
use crate::model::Norm;

/// A frame to whose channels a bias has still to be added.
pub(super) struct Unbiased {
    pub(super) value: Value,
    /// float32.
    pub(super) bias: Option<String>,
}

impl From<Value> for Unbiased {
    fn from(value: Value) -> Self {
        Unbiased { value, bias: None }
    }
}

/// The norm of each pixel of `x`, then SiLU if `silu`.
pub(super) fn normalize(b: &mut Builder, x: &Unbiased, norm: &Norm, silu: bool) -> Value {
    let [scale, shift] = b.factors(norm);
    let inputs = [&x.value.name, &scale, &shift].into_iter().chain(&x.bias);
    let [normed] = node(b, DeviceKind::Norm, inputs, Some(silu), &x.value, [computed(b, &x.value)]);
    normed
}

/// `x` plus `y`.
pub(super) fn add(b: &mut Builder, x: &Value, y: &Unbiased) -> Value {
    let inputs = [&x.name, &y.value.name].into_iter().chain(&y.bias);
    let [sum] = node(b, DeviceKind::Add, inputs, None, x, [Value { element: Element::F32, ..x.clone() }]);
    sum
}

/// The same in the type that convolutions compute in.
pub(super) fn add_narrow(b: &mut Builder, x: &Value, y: &Unbiased) -> Value {
    let inputs = [&x.name, &y.value.name].into_iter().chain(&y.bias);
    let [sum] = node(b, DeviceKind::AddNarrow, inputs, None, x, [computed(b, x)]);
    sum
}

/// The norm of each pixel of `x` plus `y`, then SiLU if `silu`; and the sum, if it is needed.
pub(super) fn add_norm(
    b: &mut Builder,
    x: &Value,
    y: &Unbiased,
    norm: &Norm,
    silu: bool,
    needed: bool,
) -> (Value, Option<Value>) {
    let [scale, shift] = b.factors(norm);
    let inputs = [&x.name, &y.value.name, &scale, &shift].into_iter().chain(&y.bias);
    let (normed, sum) = (computed(b, x), Value { element: Element::F32, ..x.clone() });
    if needed {
        let [normed, sum] = node(b, DeviceKind::AddNorm, inputs, Some(silu), x, [normed, sum]);
        return (normed, Some(sum));
    }
    let [normed] = node(b, DeviceKind::AddNorm, inputs, Some(silu), x, [normed]);
    (normed, None)
}

/// One frame of four, which have the pixels of each 2x2 block, in rows.
pub(super) fn weave(b: &mut Builder, phases: [&Value; 4], bias: &String) -> Value {
    let result = Value { divisor: phases[0].divisor / 2, ..phases[0].clone() };
    let inputs = phases.map(|phase| &phase.name).into_iter().chain([bias]);
    let [woven] = node(b, DeviceKind::Weave, inputs, None, phases[0], [result]);
    woven
}

/// The weighted sum of what three frames, oldest first, have for each time tap.
pub(super) fn blend(b: &mut Builder, frames: [&Value; 3], weights: &Value, channels: usize) -> Value {
    let inputs = [weights, frames[0], frames[1], frames[2]].map(|value| &value.name);
    let result = Value { channels, element: Element::F32, ..frames[0].clone() };
    let [blended] = node(b, DeviceKind::Blend, inputs, None, frames[0], [result]);
    blended
}

/// The channels of three frames side by side.
pub(super) fn stack(b: &mut Builder, frames: [&Value; 3]) -> Value {
    let result = Value { channels: 3 * frames[0].channels, ..frames[0].clone() };
    let [stacked] = node(b, DeviceKind::Stack, frames.map(|frame| &frame.name), None, frames[0], [result]);
    stacked
}

/// Height and width doubled, in the type that convolutions compute in.
pub(super) fn doubled(b: &mut Builder, x: &Value) -> Value {
    let x = b.cast(x.clone(), Element::F32);
    let result = Value { divisor: x.divisor / 2, ..computed(b, &x) };
    let [doubled] = node(b, DeviceKind::Doubled, [&x.name], None, &x, [result]);
    doubled
}

fn computed(b: &Builder, x: &Value) -> Value {
    Value { element: b.options.compute, ..x.clone() }
}

/// A node whose first frame is like `first`.
fn node<'a, const N: usize>(
    b: &mut Builder,
    kind: DeviceKind,
    inputs: impl IntoIterator<Item = &'a String>,
    silu: Option<bool>,
    first: &Value,
    results: [Value; N],
) -> [Value; N] {
    debug_assert_eq!(first.layout, Layout::Pixels, "{kind:?}");
    let operator = DeviceOperator { kind, first: first.element, compute: b.options.compute };
    let inputs: Vec<&str> = inputs.into_iter().map(String::as_str).collect();
    let attributes = silu.map(|silu| Attribute::int("silu", silu.into())).into_iter().collect();
    b.device_node(operator, &inputs, attributes, results)
}
