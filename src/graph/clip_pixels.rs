//! Layers over a channels-last clip, `[T, H, W, channels]`, by our operators. A norm is part of the convolution that follows it.

use super::builder::Builder;
use super::clip_nodes::{Before, Steps, convolve, convolve_interpolated, interpolate, mean};
use super::onnx::Attribute;
use super::operator_nodes::Scale;
use super::size::Size;
use super::value::{Layout, Value};
use super::{attention, port};
use crate::model::{Attention, Conv, Down, Enlarge, Interpolation, Layer, ResBlock, Up};

/// From planes.
pub(super) fn enter(b: &mut Builder, x: &Value) -> Value {
    let axis = b.integers(&[0]);
    let squeezed = b.node("Squeeze", &[&x.name, &axis], vec![]);
    let name = transpose(b, &squeezed, &[1, 2, 3, 0]);
    Value { name, layout: Layout::ClipPixels, ..x.clone() }
}

/// To planes.
pub(super) fn leave(b: &mut Builder, x: &Value) -> Value {
    let planes = transpose(b, &x.name, &[3, 0, 1, 2]);
    let axis = b.integers(&[0]);
    Value { name: b.node("Unsqueeze", &[&planes, &axis], vec![]), layout: Layout::Clip, ..x.clone() }
}

fn transpose(b: &mut Builder, x: &str, perm: &[i64]) -> String {
    b.node("Transpose", &[x], vec![Attribute::ints("perm", perm)])
}

pub(super) fn layers(b: &mut Builder, mut x: Value, mut layers: &[Layer]) -> Value {
    while let [layer, rest @ ..] = layers {
        layers = rest;
        x = match layer {
            Layer::Conv(layer) => conv(b, &x, layer),
            Layer::ResBlock(block) => resblock(b, &x, block),
            Layer::Attention(layer) => attention(b, &x, layer),
            Layer::Norm(norm) => {
                let (silu, conv, after) = match rest {
                    [Layer::Silu, Layer::Conv(conv), after @ ..] => (true, conv, after),
                    [Layer::Conv(conv), after @ ..] => (false, conv, after),
                    _ => unreachable!("a convolution follows a norm"),
                };
                layers = after;
                let before = Before::norm(b, &x, norm, silu);
                convolve(b, &x, &before, conv, Steps::NONE, None)
            }
            Layer::Silu => unreachable!("SiLU follows a norm"),
        };
    }
    x
}

pub(super) fn conv(b: &mut Builder, x: &Value, conv: &Conv) -> Value {
    convolve(b, x, &Before::nothing(), conv, Steps::NONE, None)
}

fn resblock(b: &mut Builder, x: &Value, block: &ResBlock) -> Value {
    let before = Before::norm(b, x, &block.norm1, true);
    let h = convolve(b, x, &before, &block.conv1, Steps::NONE, None);
    let before = Before::norm(b, &h, &block.norm2, true);
    let shortcut = block.shortcut.as_ref().map(|shortcut| conv(b, x, shortcut));
    convolve(b, &h, &before, &block.conv2, Steps::NONE, Some(shortcut.as_ref().unwrap_or(x)))
}

pub(super) fn down(b: &mut Builder, x: &Value, down: &Down) -> Value {
    let Some(conv) = &down.conv else { return mean(b, x) };
    let scale = if down.space { Scale::Halved } else { Scale::Same };
    convolve(b, x, &Before::nothing(), conv, Steps { scale, halves_rate: down.time }, None)
}

/// `n`: doublings of the frame rate before.
pub(super) fn up(b: &mut Builder, x: &Value, up: &Up, n: usize, _: Interpolation) -> Value {
    let (before, scale) = match up.space {
        Some(Enlarge::Nearest) => (Before::nothing(), Scale::Doubled),
        Some(Enlarge::Bilinear) => (Before::doubled(), Scale::Same),
        None => (Before::nothing(), Scale::Same),
    };
    let table = up.time.then(|| b.input(&port::interpolation_table(n), Layout::Numbers, port::TABLE_COLUMNS, 1));
    match (&up.conv, table) {
        (Some(conv), None) => convolve(b, x, &before, conv, Steps { scale, halves_rate: false }, None),
        (Some(conv), Some(table)) => {
            debug_assert_eq!(scale, Scale::Same, "a doubling of the frame rate is bilinear");
            convolve_interpolated(b, x, &before, conv, &table)
        }
        (None, Some(table)) => interpolate(b, x, &table),
        (None, None) => unreachable!("only frames are doubled without a convolution"),
    }
}

/// softmax(q k^T / sqrt(C)) v over the pixels of each frame, one head; or of each group of rows, if the attention mixes frames.
fn attention(b: &mut Builder, x: &Value, layer: &Attention) -> Value {
    let before = Before::norm(b, x, &layer.norm, false);
    let projected =
        [&layer.query, &layer.key, &layer.value].map(|conv| convolve(b, x, &before, conv, Steps::NONE, None));
    let mixed = if layer.mixes_frames { mix_frames(b, projected) } else { mix_pixels(b, projected) };
    convolve(b, &mixed, &Before::nothing(), &layer.output, Steps::NONE, Some(x))
}

fn mix_pixels(b: &mut Builder, projected: [Value; 3]) -> Value {
    let like = projected[0].clone();
    let channels = like.channels;
    let axis = b.integers(&[0]);
    let projected = projected.map(|x| {
        let flat = b.integers(&[0, -1, channels as i64]);
        let flat = b.node("Reshape", &[&x.name, &flat], vec![]);
        Value { name: b.node("Unsqueeze", &[&flat, &axis], vec![]), ..x }
    });
    let mixed = attention::attend(b, projected, channels, 2, true);
    let sides = [Size::Height(like.divisor), Size::Width(like.divisor)];
    let shape = b.size_list(vec![Size::Rest, sides[0], sides[1], Size::Fixed(channels)]);
    Value { name: b.node("Reshape", &[&mixed.name, &shape], vec![]), ..like }
}

/// The planes `[C, T, H * W]` are taken as `[T, C, H * W]`, without moving a value.
fn mix_frames(b: &mut Builder, projected: [Value; 3]) -> Value {
    let like = projected[0].clone();
    let channels = like.channels;
    let sides = [Size::Height(like.divisor), Size::Width(like.divisor)];
    let taken = b.size_list(vec![Size::Fixed(1), Size::Rest, Size::Fixed(channels), sides[0], sides[1]]);
    let mut shape = String::new();
    let projected = projected.map(|x| {
        let planes = transpose(b, &x.name, &[3, 0, 1, 2]);
        shape = b.node("Shape", &[&planes], vec![]);
        let taken = b.node("Reshape", &[&planes, &taken], vec![]);
        let flat = b.integers(&[0, 0, 0, -1]);
        Value { name: b.node("Reshape", &[&taken, &flat], vec![]), ..x }
    });
    let mixed = attention::attend(b, projected, channels, 2, false);
    let name = b.node("Reshape", &[&mixed.name, &shape], vec![]);
    Value { name: transpose(b, &name, &[1, 2, 3, 0]), ..like }
}
