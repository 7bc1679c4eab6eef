//! Graphs of a few nodes that move tensors to and from a device, where the network's own do not: copies are theirs, and
//! the runtime makes them when it binds.

use super::builder::{Builder, Element, Half, Layout, Operators, Options, StepGraph, Taps, Value};

const OPTIONS: Options = Options {
    cache: Element::F32,
    compute: Element::F32,
    attention_bytes: 1,
    operators: Operators::Onnx,
    taps: Taps::Added,
    channels_last: false,
    narrow_norms: false,
};

/// A tensor of any shape, as it is.
pub(crate) fn copy(element: Element) -> StepGraph {
    let mut b = Builder::new(Half::Transfer, format!("{element:?}").to_lowercase(), &OPTIONS);
    let from = b.any_input("from", element);
    let to = Value { name: b.node("Identity", &[&from.name], vec![]), ..from };
    b.output("to", to);
    b.finish()
}

/// Planes of bytes, `[1, 3, H, W]`, as what the network reads: -1 to 1, by the numbers of `media`.
pub(crate) fn pixels() -> StepGraph {
    let mut b = Builder::new(Half::Transfer, "pixels", &OPTIONS);
    let bytes = b.any_input("bytes", Element::U8);
    let floats = b.cast(bytes, Element::F32);
    let (scale, shift) = (b.floats(&[1], &[2.0 / 255.0]), b.floats(&[1], &[-1.0]));
    let scaled = b.node("Mul", &[&floats.name, &scale], vec![]);
    let name = b.node("Add", &[&scaled, &shift], vec![]);
    b.output("pixels", Value { name, channels: 3, divisor: 1, layout: Layout::Frame, element: Element::F32 });
    b.finish()
}
