//! Graphs that move tensors to and from a device, for what the network's own graphs do not move.

use super::builder::{Builder, Part};
use super::options::{Operators, Options, Taps};
use super::step::StepGraph;
use super::value::{Element, Value};

const OPTIONS: Options = Options {
    cache: Element::F32,
    compute: Element::F32,
    attention_bytes: 1,
    operators: Operators::Onnx,
    taps: Taps::Added,
    channels_last: false,
    narrow_norms: false,
    wide: false,
};

/// Copies a tensor of any shape.
pub(crate) fn copy(element: Element) -> StepGraph {
    let mut b = Builder::new(Part::Transfer, format!("{element:?}").to_lowercase(), &OPTIONS);
    let from = b.any_input("from", element);
    let to = Value { name: b.node("Identity", &[&from.name], vec![]), ..from };
    b.output("to", to);
    b.finish()
}
