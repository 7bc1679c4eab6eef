//! Nodes that all layers use: they change a layout, concatenate or add.

use super::builder::Builder;
use super::onnx::Attribute;
use super::value::{Element, Layout, Value};

/// `x` in the layout of the main path.
pub(super) fn to_main(b: &mut Builder, x: Value) -> Value {
    if b.main_layout() == Layout::Pixels { to_pixels(b, x) } else { to_planes(b, x) }
}

/// The same for an input of the graph, which may be the frame of now of a cache. A channels-last provider moves a Shape to the
/// other side of a Transpose. Then nodes that read the cache's past would not wait for this frame (see `graph`). It does not
/// move a Shape across a Reshape.
pub(super) fn input_to_main(b: &mut Builder, x: Value) -> Value {
    let x = to_main(b, x);
    if !b.options.channels_last {
        return x;
    }
    let shape = b.shape_of(&x);
    Value { name: b.node("Reshape", &[&x.name, &shape], vec![]), ..x }
}

pub(super) fn to_pixels(b: &mut Builder, x: Value) -> Value {
    if x.layout != Layout::Frame {
        return x;
    }
    let name = b.node("Transpose", &[&x.name], vec![Attribute::ints("perm", &[0, 2, 3, 1])]);
    Value { name, layout: Layout::Pixels, ..x }
}

pub(super) fn to_planes(b: &mut Builder, x: Value) -> Value {
    if x.layout != Layout::Pixels {
        return x;
    }
    let name = b.node("Transpose", &[&x.name], vec![Attribute::ints("perm", &[0, 3, 1, 2])]);
    Value { name, layout: Layout::Frame, ..x }
}

pub(super) fn silu(b: &mut Builder, x: &Value) -> Value {
    // ONNX Runtime fuses these two into one kernel; its own Swish does not.
    let gate = b.node("Sigmoid", &[&x.name], vec![]);
    Value { name: b.node("Mul", &[&x.name, &gate], vec![]), ..x.clone() }
}

/// Sums of residuals and pictures, in float32 as the chain of sums is long.
pub(super) fn add(b: &mut Builder, x: &Value, y: &Value) -> Value {
    debug_assert_eq!((x.channels, x.divisor), (y.channels, y.divisor));
    let [x, y] = [x, y].map(|x| b.cast(x.clone(), Element::F32));
    Value { name: b.node("Add", &[&x.name, &y.name], vec![]), ..x }
}

pub(super) fn concat(b: &mut Builder, parts: &[&Value]) -> Value {
    let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    let name = b.node("Concat", &names, vec![Attribute::int("axis", parts[0].channel_axis())]);
    Value { name, channels: parts.iter().map(|p| p.channels).sum(), ..parts[0].clone() }
}
