//! Convolutions of one frame, or of three at one point in time.

use super::after::Then;
use super::builder::Builder;
use super::device_nodes::{self, Unbiased};
use super::elementary::{add, concat, to_main, to_planes};
use super::matrix_nodes;
use super::onnx::Attribute;
use super::operator_nodes::{Scale, convolve};
use super::options::Taps;
use super::value::{Element, Layout, Value};
use crate::model::{Conv, ConvKind};

/// Where a frame is padded with zeros.
#[derive(Clone, Copy)]
enum Padding {
    Around,
    BottomRight,
    None,
}

impl Padding {
    /// Rows and columns above, left, below, right.
    fn pads(self) -> [i64; 4] {
        match self {
            Padding::Around => [1, 1, 1, 1],
            Padding::BottomRight => [0, 0, 1, 1],
            Padding::None => [0; 4],
        }
    }
}

pub(super) fn conv(b: &mut Builder, x: Value, conv: &Conv) -> Value {
    convolution(b, x, conv, true)
}

/// On a device without the bias, where it would be a pass of its own.
pub(super) fn unbiased_conv(b: &mut Builder, x: Value, conv: &Conv) -> Unbiased {
    let apart = b.on_device();
    let value = convolution(b, x, conv, !apart);
    Unbiased { value, bias: apart.then(|| b.weight(&conv.bias, &conv.bias.shape, Element::F32)) }
}

fn convolution(b: &mut Builder, x: Value, conv: &Conv, biased: bool) -> Value {
    if b.on_matrix_unit() {
        return with_frames(b, x, conv, |b, frames| matrix_nodes::convolve(b, frames, conv, Scale::Same, None));
    }
    let own = b.our_convolutions() && x.layout == Layout::Pixels;
    match conv.kind {
        ConvKind::Spatial | ConvKind::Pointwise if own => convolve(b, &[&x], conv, Scale::Same, None),
        ConvKind::Spatial => conv2d(b, x, conv, biased, 1, Padding::Around),
        ConvKind::Pointwise => conv2d(b, x, conv, biased, 1, Padding::None),
        ConvKind::Causal => {
            let (now, [one_ago, two_ago]) = b.with_past(x);
            let frames = [&two_ago, &one_ago, &now];
            match own {
                true => convolve(b, &frames, conv, Scale::Same, None),
                false => causal_conv(b, frames, conv, biased, 1, Padding::Around),
            }
        }
    }
}

/// On a matrix unit: the norm of the convolution of `h` plus `x`, if there is one, and that sum if it is needed.
pub(super) fn normed_conv(
    b: &mut Builder,
    x: Option<&Value>,
    h: Value,
    conv: &Conv,
    then: Then,
) -> (Value, Option<Value>) {
    with_frames(b, h, conv, |b, frames| matrix_nodes::convolve_normed(b, frames, conv, Scale::Same, x, then))
}

/// Calls `then` with the frames that `conv` reads on a matrix unit, oldest first, of which `x` is the last.
fn with_frames<R>(b: &mut Builder, x: Value, conv: &Conv, then: impl FnOnce(&mut Builder, &[&Value]) -> R) -> R {
    let x = matrix_nodes::narrow(b, &x);
    match conv.kind {
        ConvKind::Causal => {
            let (now, [one_ago, two_ago]) = b.with_past(x);
            then(b, &[&two_ago, &one_ago, &now])
        }
        ConvKind::Spatial | ConvKind::Pointwise => then(b, &[&x]),
    }
}

/// `x` plus the convolution of `h`.
pub(super) fn add_conv(b: &mut Builder, x: &Value, h: Value, conv: &Conv) -> Value {
    if b.on_matrix_unit() {
        return with_frames(b, h, conv, |b, frames| matrix_nodes::convolve(b, frames, conv, Scale::Same, Some(x)));
    }
    if !b.our_convolutions() || h.layout != Layout::Pixels {
        let h = self::conv(b, h, conv);
        return add(b, x, &h);
    }
    match conv.kind {
        ConvKind::Causal => {
            let (now, [one_ago, two_ago]) = b.with_past(h);
            convolve(b, &[&two_ago, &one_ago, &now], conv, Scale::Same, Some(x))
        }
        _ => convolve(b, &[&h], conv, Scale::Same, Some(x)),
    }
}

/// A 3x3x3 convolution at one point in time. It reads three frames, oldest first.
fn causal_conv(
    b: &mut Builder,
    frames: [&Value; 3],
    conv: &Conv,
    biased: bool,
    stride: usize,
    padding: Padding,
) -> Value {
    let compute = b.options.compute;
    let frames = frames.map(|frame| {
        let frame = to_main(b, frame.clone());
        b.cast(frame, compute)
    });
    let frames = frames.each_ref();
    match b.options.taps {
        Taps::Added => added_taps(b, frames, conv, biased, stride, padding),
        Taps::Stacked => {
            let stacked = if b.on_device() { device_nodes::stack(b, frames) } else { concat(b, &frames) };
            let kernel = b.weight_stacked(&conv.weight);
            let bias = bias_within(b, conv, biased);
            conv_node(b, &stacked, &kernel, bias.as_deref(), conv, stride, padding)
        }
        Taps::Volume => volume(b, frames, conv, biased, stride, padding),
    }
}

/// The bias as an input of ONNX's convolution.
fn bias_within(b: &mut Builder, conv: &Conv, biased: bool) -> Option<String> {
    let compute = b.options.compute;
    biased.then(|| b.weight(&conv.bias, &conv.bias.shape, compute))
}

/// A 2D convolution for each frame. On the CPU, ONNX Runtime fuses the chain of sums into the convolutions, which is 1.2 times
/// as fast as the 3D convolution.
fn added_taps(
    b: &mut Builder,
    frames: [&Value; 3],
    conv: &Conv,
    biased: bool,
    stride: usize,
    padding: Padding,
) -> Value {
    let bias = bias_within(b, conv, biased);
    let newest = b.weight_tap(&conv.weight, 2);
    let mut sum = conv_node(b, frames[2], &newest, bias.as_deref(), conv, stride, padding);
    for tap in [1, 0] {
        let kernel = b.weight_tap(&conv.weight, tap);
        let part = conv_node(b, frames[tap], &kernel, None, conv, stride, padding);
        sum = Value { name: b.node("Add", &[&sum.name, &part.name], vec![]), ..sum };
    }
    sum
}

/// One 3D convolution of a clip of the three frames.
fn volume(b: &mut Builder, frames: [&Value; 3], conv: &Conv, biased: bool, stride: usize, padding: Padding) -> Value {
    let input = frames[2].clone();
    let pixels = input.layout == Layout::Pixels;
    // The time axis follows the channels. In channels-last it follows the first axis, so that frames stay contiguous.
    let time = if pixels { 1 } else { 2 };
    let axis = b.integers(&[time]);
    let frames = frames.map(|frame| b.node("Unsqueeze", &[&frame.name, &axis], vec![]));
    let mut clip = b.node("Concat", &frames.each_ref().map(String::as_str), vec![Attribute::int("axis", time)]);
    let perm = |perm: &[i64]| vec![Attribute::ints("perm", perm)];
    if pixels {
        clip = b.node("Transpose", &[&clip], perm(&[0, 4, 1, 2, 3]));
    }
    let kernel = b.weight(&conv.weight, &conv.weight.shape, b.options.compute);
    let bias = bias_within(b, conv, biased);
    let [above, left, below, right] = padding.pads();
    let stride = stride as i64;
    let attributes = vec![
        Attribute::ints("kernel_shape", &[3, 3, 3]),
        Attribute::ints("pads", &[0, above, left, 0, below, right]),
        Attribute::ints("strides", &[1, stride, stride]),
    ];
    let inputs: Vec<&str> = [clip.as_str(), &kernel].into_iter().chain(bias.as_deref()).collect();
    let mut result = b.convolution(&inputs, attributes);
    b.share(&result, 1.0 / 3.0);
    if pixels {
        result = b.node("Transpose", &[&result], perm(&[0, 2, 3, 4, 1]));
    }
    let name = b.node("Squeeze", &[&result, &axis], vec![]);
    let (element, divisor) = (b.options.arithmetic(), input.divisor * stride as usize);
    Value { name, element, channels: conv.out_channels(), divisor, ..input }
}

fn conv2d(b: &mut Builder, x: Value, conv: &Conv, biased: bool, stride: usize, padding: Padding) -> Value {
    // Pointwise kernels of 3D layers have a time axis of length 1.
    let [c_out, c_in, .., height, width] = conv.weight.shape[..] else {
        unreachable!("a kernel has at least four axes")
    };
    let compute = b.options.compute;
    let kernel = b.weight(&conv.weight, &[c_out, c_in, height, width], compute);
    let bias = bias_within(b, conv, biased);
    let x = b.cast(x, compute);
    conv_node(b, &x, &kernel, bias.as_deref(), conv, stride, padding)
}

/// ONNX's convolution, which is of planes. The result has the layout of the main path.
fn conv_node(
    b: &mut Builder,
    x: &Value,
    kernel: &str,
    bias: Option<&str>,
    conv: &Conv,
    stride: usize,
    padding: Padding,
) -> Value {
    debug_assert!(x.channels.is_multiple_of(conv.in_channels()), "{}", conv.weight.key);
    let x = to_planes(b, x.clone());
    let side = *conv.weight.shape.last().expect("a kernel has axes") as i64;
    let attributes = vec![
        Attribute::ints("kernel_shape", &[side, side]),
        Attribute::ints("pads", &padding.pads()),
        Attribute::ints("strides", &[stride as i64; 2]),
    ];
    let inputs: Vec<&str> = [x.name.as_str(), kernel].into_iter().chain(bias).collect();
    let name = b.convolution(&inputs, attributes);
    let element = b.options.arithmetic();
    to_main(b, Value { name, element, channels: conv.out_channels(), divisor: x.divisor * stride, ..x })
}

/// The spatial downsampling conv: stride 2, padded below and to the right only (docs/spec.md section 2).
pub(super) fn down_spatial(b: &mut Builder, x: &Value, conv: &Conv) -> Value {
    if b.our_convolutions() {
        return convolve(b, &[x], conv, Scale::Halved, None);
    }
    if b.on_matrix_unit() {
        let x = matrix_nodes::narrow(b, x);
        return matrix_nodes::convolve(b, &[&x], conv, Scale::Halved, None);
    }
    conv2d(b, x.clone(), conv, true, 2, Padding::BottomRight)
}

/// The same with stride 2 in time. The frames are the last one of the pair before and the pair.
pub(super) fn down_temporal(b: &mut Builder, frames: [&Value; 3], conv: &Conv) -> Value {
    if b.our_convolutions() {
        return convolve(b, &frames, conv, Scale::Halved, None);
    }
    if b.on_matrix_unit() {
        return matrix_nodes::convolve(b, &frames, conv, Scale::Halved, None);
    }
    causal_conv(b, frames, conv, true, 2, Padding::BottomRight)
}
