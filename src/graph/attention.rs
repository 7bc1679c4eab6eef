//! Self-attention, one block of queries at a time.

use super::after::After;
use super::builder::Builder;
use super::convolutions::conv;
use super::matrix_nodes;
use super::onnx::Attribute;
use super::size::Size;
use super::sums::{Sum, add_residual};
use super::value::{Element, Layout, Value};
use crate::model::Attention;

/// softmax(q k^T / sqrt(C)) v over the pixels of the frame, one head. Attention that mixes frames is the same where there is one.
pub(super) fn attention(b: &mut Builder, x: Sum, layer: &Attention, after: After) -> Sum {
    let h = x.norm(b, &layer.norm);
    let x = x.value();
    if b.on_matrix_unit() {
        let mixed = matrix_nodes::attend(b, &h, [&layer.query, &layer.key, &layer.value]);
        return add_residual(b, &x.into(), mixed, &layer.output, after);
    }
    let pixels = x.layout == Layout::Pixels;
    let channels = x.channels as i64;
    let flat = b.integers(&if pixels { [1, -1, channels] } else { [1, channels, -1] });
    let [query, key, value] = [&layer.query, &layer.key, &layer.value].map(|projection| {
        let projected = conv(b, h.clone(), projection);
        Value { name: b.node("Reshape", &[&projected.name, &flat], vec![]), ..projected }
    });
    let mixed = attend(b, [query, key, value], x.channels, 1, pixels);
    let shape = b.shape_of(&x);
    let name = b.node("Reshape", &[&mixed.name, &shape], vec![]);
    let mixed = Value { name, element: mixed.element, ..x.clone() };
    add_residual(b, &x.into(), mixed, &layer.output, after)
}

/// Query, key, value and result are `[..., channels, N]`, or `[..., N, channels]` if `pixels`, with `outer` axes before. Queries
/// are processed in blocks, so that only the scores of one block exist at a time. A query's result does not depend on the
/// others. Scores are float32, as they may be far larger than the values that they are computed from.
pub(super) fn attend(b: &mut Builder, qkv: [Value; 3], channels: usize, outer: i64, pixels: bool) -> Value {
    let [query, key, value] = qkv;
    let result = value.clone();
    let element = value.element;
    let [query, key] = [query, key].map(|x| b.cast(x, Element::F32));
    let [query, key, value] = [&query.name, &key.name, &value.name];
    let axes = outer + 2;
    // Swaps the last two axes.
    let swapped: Vec<i64> = (0..axes - 2).chain([axes - 1, axes - 2]).collect();
    let swap = |b: &mut Builder, x: &str| b.node("Transpose", &[x], vec![Attribute::ints("perm", &swapped)]);
    let swap_if = |b: &mut Builder, x: &str, yes: bool| if yes { swap(b, x) } else { x.to_string() };
    let [query, value] = [query, value].map(|x| swap_if(b, x, !pixels));
    let key = &swap_if(b, key, pixels);

    let scale = b.floats(&[1], &[(channels as f32).sqrt().recip()]);
    let query = b.node("Mul", &[&query, &scale], vec![]);

    // Blocks of queries are an axis of their own, which is the first one if there is only the batch before it.
    let rows = Size::Queries { divisor: result.divisor, slower: result.slower, bytes: b.options.attention_bytes };
    let (channels, rest) = (Size::Fixed(channels), Size::Rest);
    let (axis, apart, joined) = match outer {
        1 => (0, vec![rest, Size::Fixed(1), rows, channels], vec![Size::Fixed(1), rest, channels]),
        _ => {
            let kept = vec![Size::Fixed(0); outer as usize];
            (outer, [&kept[..], &[rest, rows, channels]].concat(), [&kept[..], &[rest, channels]].concat())
        }
    };
    let apart = b.size_list(apart);
    let query = b.node("Reshape", &[&query, &apart], vec![]);
    let mixed = b.scan_node(&query, Element::F32, axis, element, |b, block| {
        let scores = b.node("MatMul", &[block, key], vec![]);
        let weights = b.node("Softmax", &[&scores], vec![Attribute::int("axis", -1)]);
        let weights = b.cast(Value { name: weights, element: Element::F32, ..result.clone() }, element).name;
        b.node("MatMul", &[&weights, &value], vec![])
    });
    let joined = b.size_list(joined);
    let mixed = b.node("Reshape", &[&mixed, &joined], vec![]);
    Value { name: swap_if(b, &mixed, !pixels), ..result }
}
