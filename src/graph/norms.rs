//! Layer norm and group norm.

use super::builder::Builder;
use super::device_nodes::{self, Unbiased};
use super::elementary::{silu, to_main, to_pixels, to_planes};
use super::matrix_nodes;
use super::onnx::Attribute;
use super::operator_nodes::normalize;
use super::options::Operators;
use super::value::{Element, Layout, Value};
use crate::model::{NORM_EPSILON, NORM_GROUPS, Norm, NormScope};

/// Of a convolution's result.
pub(super) fn unbiased_norm_silu(b: &mut Builder, x: &Unbiased, norm: &Norm) -> Value {
    match x.bias {
        Some(_) if norm.scope == NormScope::Pixel => device_nodes::normalize(b, x, norm, true),
        Some(_) => unreachable!("only norms of pixels follow a convolution without its bias"),
        None => norm_silu(b, &x.value, norm),
    }
}

pub(super) fn norm_silu(b: &mut Builder, x: &Value, norm: &Norm) -> Value {
    match b.options.operators {
        Operators::Onnx => {}
        _ if norm.scope != NormScope::Pixel => {}
        Operators::Device => {
            return device_nodes::normalize(b, &x.clone().into(), norm, true);
        }
        Operators::OurNorms | Operators::Exact | Operators::Fast => {
            let pixels = to_pixels(b, x.clone());
            return normalize(b, &pixels, norm, true);
        }
        Operators::Matrix => return matrix_nodes::normalize(b, x, norm, true),
    }
    let normed = self::norm(b, x, norm);
    // On a matrix unit, convolutions round what they read.
    let normed = if b.on_matrix_unit() { normed } else { b.cast(normed, b.options.arithmetic()) };
    silu(b, &normed)
}

pub(super) fn norm(b: &mut Builder, x: &Value, norm: &Norm) -> Value {
    if norm.scope == NormScope::Pixel {
        return match x.layout {
            Layout::Pixels => match b.options.operators {
                Operators::Onnx => layer_norm_last(b, x, norm),
                Operators::Device => device_nodes::normalize(b, &x.clone().into(), norm, false),
                Operators::Matrix => matrix_nodes::normalize(b, x, norm, false),
                Operators::OurNorms | Operators::Exact | Operators::Fast => normalize(b, x, norm, false),
            },
            _ => layer_norm(b, x, norm, &[0, 2, 3, 1], &[0, 3, 1, 2]),
        };
    }
    // The graph has one frame, so that frame is the clip.
    let planes = to_planes(b, x.clone());
    let groups = b.integers(&[1, NORM_GROUPS as i64, -1]);
    let normed = group_norm(b, &planes, norm, &groups, 3, &[1, 1]);
    to_main(b, normed)
}

/// `to_last` is the permutation that moves the channels to the end, `back` its inverse.
pub(super) fn layer_norm(b: &mut Builder, x: &Value, norm: &Norm, to_last: &[i64], back: &[i64]) -> Value {
    let transpose = |b: &mut Builder, x: &Value, perm: &[i64]| Value {
        name: b.node("Transpose", &[&x.name], vec![Attribute::ints("perm", perm)]),
        ..x.clone()
    };
    let last = transpose(b, x, to_last);
    let normed = layer_norm_last(b, &last, norm);
    transpose(b, &normed, back)
}

/// Over the last axis, the channels.
fn layer_norm_last(b: &mut Builder, x: &Value, norm: &Norm) -> Value {
    // The statistics are float32 for every type (stash_type 1).
    let element = if b.options.narrows_norms() { b.options.compute } else { x.element };
    let scale = b.weight(&norm.weight, &norm.weight.shape, element);
    let bias = b.weight(&norm.bias, &norm.bias.shape, element);
    let attributes = vec![Attribute::int("axis", -1), Attribute::float("epsilon", NORM_EPSILON)];
    Value { name: b.node("LayerNormalization", &[&x.name, &scale, &bias], attributes), element, ..x.clone() }
}

/// `groups` is a shape of `axes` axes, whose last axis is the values that share statistics. `inner` has a 1 for each axis of
/// `x` after the channels.
pub(super) fn group_norm(b: &mut Builder, x: &Value, norm: &Norm, groups: &str, axes: i64, inner: &[usize]) -> Value {
    let x = &b.cast(x.clone(), Element::F32);
    let shape = match x.layout {
        Layout::Clip => b.node("Shape", &[&x.name], vec![]),
        _ => b.shape_of(x),
    };
    let grouped = b.node("Reshape", &[&x.name, groups], vec![]);
    let mean = |b: &mut Builder, x: &str| match b.options.has_onnx_bf16() {
        // Graphs of bfloat16 have a later opset, in which the axes are an input.
        true => {
            let axis = b.integers(&[axes - 1]);
            b.node("ReduceMean", &[x, &axis], vec![])
        }
        false => b.node("ReduceMean", &[x], vec![Attribute::ints("axes", &[axes - 1])]),
    };
    let average = mean(b, &grouped);
    let centred = b.node("Sub", &[&grouped, &average], vec![]);
    let squares = b.node("Mul", &[&centred, &centred], vec![]);
    let variance = mean(b, &squares);
    let epsilon = b.floats(&[1], &[NORM_EPSILON]);
    let variance = b.node("Add", &[&variance, &epsilon], vec![]);
    let deviation = b.node("Sqrt", &[&variance], vec![]);
    let normed = b.node("Div", &[&centred, &deviation], vec![]);
    let normed = b.node("Reshape", &[&normed, &shape], vec![]);
    let channel = [&[x.channels], inner].concat();
    let (scale, bias) = (b.weight(&norm.weight, &channel, Element::F32), b.weight(&norm.bias, &channel, Element::F32));
    let scaled = b.node("Mul", &[&normed, &scale], vec![]);
    Value { name: b.node("Add", &[&scaled, &bias], vec![]), ..x.clone() }
}
