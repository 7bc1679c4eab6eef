//! Graphs of a few nodes that move tensors to and from a device, for what the network's own graphs do not move.

use super::builder::{Builder, Part};
use super::onnx::Attribute;
use super::options::{Operators, Options, Taps};
use super::step::StepGraph;
use super::value::{Element, Layout, Value};

const OPTIONS: Options = Options {
    cache: Element::F32,
    compute: Element::F32,
    attention_bytes: 1,
    operators: Operators::Onnx,
    taps: Taps::Added,
    channels_last: false,
    narrow_norms: false,
    wide_sums: false,
};

/// Copies a tensor of any shape.
pub(crate) fn copy(element: Element) -> StepGraph {
    let mut b = Builder::new(Part::Transfer, format!("{element:?}").to_lowercase(), &OPTIONS);
    let from = b.any_input("from", element);
    let to = Value { name: b.node("Identity", &[&from.name], vec![]), ..from };
    b.output("to", to);
    b.finish()
}

/// Planes of bytes, `[1, 3, H, W]`, as the network reads them: -1 to 1, computed as in `media`.
pub(crate) fn pixels() -> StepGraph {
    let mut b = Builder::new(Part::Transfer, "pixels", &OPTIONS);
    let bytes = b.any_input("bytes", Element::U8);
    let floats = b.cast(bytes, Element::F32);
    let (scale, shift) = (b.floats(&[1], &[2.0 / 255.0]), b.floats(&[1], &[-1.0]));
    let scaled = b.node("Mul", &[&floats.name, &scale], vec![]);
    let name = b.node("Add", &[&scaled, &shift], vec![]);
    b.output("pixels", Value { name, channels: 3, divisor: 1, layout: Layout::Frame, element: Element::F32 });
    b.finish()
}

/// The reverse: planes, `[1, 3, H, W]`, as bytes, rounded and clamped as in `media`; and one value, which is a NaN if any of
/// theirs is a NaN or an infinity, else 0.
pub(crate) fn bytes() -> StepGraph {
    let mut b = Builder::new(Part::Transfer, "bytes", &OPTIONS);
    let pixels = b.any_input("pixels", Element::F32);
    let number = |b: &mut Builder, value: f32| b.floats(&[1], &[value]);
    let (half, largest, zero) = (number(&mut b, 0.5), number(&mut b, 255.0), number(&mut b, 0.0));
    let mut value = pixels.name.clone();
    // The last addition makes the cast round to nearest.
    for (op, operand) in
        [("Mul", &half), ("Add", &half), ("Mul", &largest), ("Add", &half), ("Max", &zero), ("Min", &largest)]
    {
        value = b.node(op, &[&value, operand], vec![]);
    }
    let code = Value { name: value, channels: 3, divisor: 1, layout: Layout::Any, element: Element::F32 };
    let bytes = b.cast(code, Element::U8);
    b.output("bytes", bytes);
    let nothing = b.node("Mul", &[&pixels.name, &zero], vec![]);
    let name = b.node("ReduceSum", &[&nothing], vec![Attribute::int("keepdims", 0)]);
    b.output("finite", Value { name, channels: 1, divisor: 1, layout: Layout::Any, element: Element::F32 });
    b.finish()
}
