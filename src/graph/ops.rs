//! The layers as ONNX nodes, one frame at a time.

use super::builder::{Builder, Element, Layout, Operators, Taps, Value};
use super::operator::{Scale, blend_taps, convolve, convolve_taps, normalize};
use super::proto::Attribute;
use super::size::Size;
use crate::kernels::NORM_EPSILON;
use crate::model::{
    Attention, Conv, ConvKind, Down, Layer, NORM_GROUPS, Norm, NormScope, ResBlock, Up, Wavelet, sign_2d, sign_3d,
};

/// Of a causal convolution, in time.
pub(super) const TAPS: usize = 3;

/// Zero padding on all sides, or below and to the right only.
#[derive(Clone, Copy)]
enum Padding {
    Around,
    BottomRight,
    None,
}

impl Padding {
    /// Above, left, below, right.
    fn pads(self) -> [i64; 4] {
        match self {
            Padding::Around => [1, 1, 1, 1],
            Padding::BottomRight => [0, 0, 1, 1],
            Padding::None => [0; 4],
        }
    }
}

pub(super) fn layers(b: &mut Builder, mut x: Value, mut layers: &[Layer]) -> Value {
    while let [layer, rest @ ..] = layers {
        layers = rest;
        x = match (layer, rest) {
            (Layer::Norm(norm), [Layer::Silu, rest @ ..]) => {
                layers = rest;
                norm_silu(b, &x, norm)
            }
            (Layer::Conv(conv), _) => self::conv(b, x, conv),
            (Layer::ResBlock(block), _) => resblock(b, x, block),
            (Layer::Attention(layer), _) => attention(b, x, layer),
            (Layer::Norm(layer), _) => norm(b, &x, layer),
            (Layer::Silu, _) => silu(b, &x),
        };
    }
    x
}

/// To where the main path lies.
pub(super) fn to_main(b: &mut Builder, x: Value) -> Value {
    if b.main_layout() == Layout::Pixels { to_pixels(b, x) } else { to_planes(b, x) }
}

/// The same of an input of the graph, which a cache may hold next. A channels-last provider moves Shape from behind a Transpose
/// to before it; what reads a cache's past would then no longer wait for its newest frame (see `graph`). It does not move
/// Shape across a Reshape.
pub(super) fn input_to_main(b: &mut Builder, x: Value) -> Value {
    let x = to_main(b, x);
    if !b.options.channels_last {
        return x;
    }
    let shape = b.shape_of(&x);
    Value { name: b.node("Reshape", &[&x.name, &shape], vec![]), ..x }
}

fn to_pixels(b: &mut Builder, x: Value) -> Value {
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

pub(super) fn conv(b: &mut Builder, x: Value, conv: &Conv) -> Value {
    let own = b.our_convolutions() && x.layout == Layout::Pixels;
    match conv.kind {
        ConvKind::Spatial | ConvKind::Pointwise if own => convolve(b, &[&x], conv, Scale::Same, None),
        ConvKind::Spatial => conv2d(b, x, conv, 1, Padding::Around),
        ConvKind::Pointwise => conv2d(b, x, conv, 1, Padding::None),
        ConvKind::Causal => {
            let (now, [one_ago, two_ago]) = b.with_past(x);
            let frames = [&two_ago, &one_ago, &now];
            match own {
                true => convolve(b, &frames, conv, Scale::Same, None),
                false => causal_conv(b, frames, conv, 1, Padding::Around),
            }
        }
    }
}

/// `x` plus the convolution of `h`.
fn add_conv(b: &mut Builder, x: &Value, h: Value, conv: &Conv) -> Value {
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

/// A 3x3x3 convolution at one point in time, of its three frames, oldest first.
fn causal_conv(b: &mut Builder, frames: [&Value; 3], conv: &Conv, stride: usize, padding: Padding) -> Value {
    let compute = b.options.compute;
    let frames = frames.map(|frame| {
        let frame = to_main(b, frame.clone());
        b.cast(frame, compute)
    });
    let frames = frames.each_ref();
    match b.options.taps {
        Taps::Added => added_taps(b, frames, conv, stride, padding),
        Taps::Stacked => {
            let stacked = concat(b, &frames);
            let kernel = b.weight_stacked(&conv.weight);
            let bias = b.weight(&conv.bias, &conv.bias.shape, compute);
            conv_node(b, &stacked, &kernel, Some(&bias), conv, stride, padding)
        }
        Taps::Volume => volume(b, frames, conv, stride, padding),
    }
}

/// A 2D convolution for each frame. On the processor adds in a chain fuse into the convolutions, and run 1.2 times as fast
/// as the rank-5 Conv.
fn added_taps(b: &mut Builder, frames: [&Value; 3], conv: &Conv, stride: usize, padding: Padding) -> Value {
    let bias = b.weight(&conv.bias, &conv.bias.shape, b.options.compute);
    let newest = b.weight_tap(&conv.weight, 2);
    let mut sum = conv_node(b, frames[2], &newest, Some(&bias), conv, stride, padding);
    for tap in [1, 0] {
        let kernel = b.weight_tap(&conv.weight, tap);
        let part = conv_node(b, frames[tap], &kernel, None, conv, stride, padding);
        sum = Value { name: b.node("Add", &[&sum.name, &part.name], vec![]), ..sum };
    }
    sum
}

/// A clip of three frames, whose 3D convolution is one frame.
fn volume(b: &mut Builder, frames: [&Value; 3], conv: &Conv, stride: usize, padding: Padding) -> Value {
    let input = frames[2].clone();
    let pixels = input.layout == Layout::Pixels;
    // Time lies behind the channels; or, channels-last, behind the first axis, where whole frames lie side by side.
    let time = if pixels { 1 } else { 2 };
    let axis = b.integers(&[time]);
    let frames = frames.map(|frame| b.node("Unsqueeze", &[&frame.name, &axis], vec![]));
    let mut clip = b.node("Concat", &frames.each_ref().map(String::as_str), vec![Attribute::int("axis", time)]);
    let perm = |perm: &[i64]| vec![Attribute::ints("perm", perm)];
    if pixels {
        clip = b.node("Transpose", &[&clip], perm(&[0, 4, 1, 2, 3]));
    }
    let kernel = b.weight(&conv.weight, &conv.weight.shape, b.options.compute);
    let bias = b.weight(&conv.bias, &conv.bias.shape, b.options.compute);
    let [above, left, below, right] = padding.pads();
    let stride = stride as i64;
    let attributes = vec![
        Attribute::ints("kernel_shape", &[3, 3, 3]),
        Attribute::ints("pads", &[0, above, left, 0, below, right]),
        Attribute::ints("strides", &[1, stride, stride]),
    ];
    let mut result = b.node("Conv", &[&clip, &kernel, &bias], attributes);
    b.share(&result, 1.0 / 3.0);
    if pixels {
        result = b.node("Transpose", &[&result], perm(&[0, 2, 3, 4, 1]));
    }
    let name = b.node("Squeeze", &[&result, &axis], vec![]);
    Value { name, channels: conv.out_channels(), divisor: input.divisor * stride as usize, ..input }
}

fn conv2d(b: &mut Builder, x: Value, conv: &Conv, stride: usize, padding: Padding) -> Value {
    // Pointwise kernels of 3D layers have a time axis of one.
    let [c_out, c_in, .., height, width] = conv.weight.shape[..] else {
        unreachable!("a kernel has at least four axes")
    };
    let compute = b.options.compute;
    let kernel = b.weight(&conv.weight, &[c_out, c_in, height, width], compute);
    let bias = b.weight(&conv.bias, &conv.bias.shape, compute);
    let x = b.cast(x, compute);
    conv_node(b, &x, &kernel, Some(&bias), conv, stride, padding)
}

/// In planes, as ONNX's convolutions are; the result lies where the main path does.
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
    let name = b.node("Conv", &inputs, attributes);
    to_main(b, Value { name, channels: conv.out_channels(), divisor: x.divisor * stride, ..x })
}

fn resblock(b: &mut Builder, x: Value, block: &ResBlock) -> Value {
    let h = norm_silu(b, &x, &block.norm1);
    let h = conv(b, h, &block.conv1);
    let h = norm_silu(b, &h, &block.norm2);
    let x = match &block.shortcut {
        Some(shortcut) => conv(b, x, shortcut),
        None => x,
    };
    add_conv(b, &x, h, &block.conv2)
}

/// softmax(q k^T / sqrt(C)) v over the pixels of the frame, one head.
fn attention(b: &mut Builder, x: Value, layer: &Attention) -> Value {
    let h = norm(b, &x, &layer.norm);
    let pixels = h.layout == Layout::Pixels;
    let channels = x.channels as i64;
    let flat = b.integers(&if pixels { [1, -1, channels] } else { [1, channels, -1] });
    let [query, key, value] = [&layer.query, &layer.key, &layer.value].map(|projection| {
        let projected = conv(b, h.clone(), projection);
        Value { name: b.node("Reshape", &[&projected.name, &flat], vec![]), ..projected }
    });
    let mixed = attend(b, [query, key, value], x.channels, 1, pixels);
    let shape = b.shape_of(&h);
    let mixed = Value { name: b.node("Reshape", &[&mixed.name, &shape], vec![]), element: mixed.element, ..h };
    add_conv(b, &x, mixed, &layer.output)
}

/// Of query, key and value, each `[..., channels, N]` with `outer` axes before, or `[..., N, channels]` if `pixels`; so is
/// the result. The queries are taken in blocks, so that the scores of one block are all that is there at a time; a query's
/// result does not depend on the others. Scores are float32: their products may be far larger than what goes in.
pub(super) fn attend(b: &mut Builder, qkv: [Value; 3], channels: usize, outer: i64, pixels: bool) -> Value {
    let [query, key, value] = qkv;
    let (result, element) = (value.clone(), value.element);
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

    // A block of queries for each turn, on an axis of its own: the first, where nothing lies before.
    let rows = Size::Queries { divisor: result.divisor, bytes: b.options.attention_bytes };
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

fn norm_silu(b: &mut Builder, x: &Value, norm: &Norm) -> Value {
    if norm.scope == NormScope::Pixel && b.options.operators != Operators::Onnx {
        let pixels = to_pixels(b, x.clone());
        return normalize(b, &pixels, norm, true);
    }
    let normed = self::norm(b, x, norm);
    let normed = b.cast(normed, b.options.compute);
    silu(b, &normed)
}

fn norm(b: &mut Builder, x: &Value, norm: &Norm) -> Value {
    if norm.scope == NormScope::Pixel {
        return match x.layout {
            Layout::Pixels if b.options.operators != Operators::Onnx => normalize(b, x, norm, false),
            Layout::Pixels => layer_norm_last(b, x, norm),
            _ => layer_norm(b, x, norm, &[0, 2, 3, 1], &[0, 3, 1, 2]),
        };
    }
    // The graph has one frame, so that is the clip.
    let planes = to_planes(b, x.clone());
    let groups = b.integers(&[1, NORM_GROUPS as i64, -1]);
    let normed = group_norm(b, &planes, norm, &groups, 3, &[1, 1]);
    to_main(b, normed)
}

/// `to_last` moves the channels to the end, `back` undoes that.
pub(super) fn layer_norm(b: &mut Builder, x: &Value, norm: &Norm, to_last: &[i64], back: &[i64]) -> Value {
    let transpose = |b: &mut Builder, x: &Value, perm: &[i64]| Value {
        name: b.node("Transpose", &[&x.name], vec![Attribute::ints("perm", perm)]),
        ..x.clone()
    };
    let last = transpose(b, x, to_last);
    let normed = layer_norm_last(b, &last, norm);
    transpose(b, &normed, back)
}

/// Over the last axis.
fn layer_norm_last(b: &mut Builder, x: &Value, norm: &Norm) -> Value {
    // Of whatever type, its statistics are float32 (stash_type 1).
    let element = if b.options.narrows_norms() { b.options.compute } else { x.element };
    let scale = b.weight(&norm.weight, &norm.weight.shape, element);
    let bias = b.weight(&norm.bias, &norm.bias.shape, element);
    let attributes = vec![Attribute::int("axis", -1), Attribute::float("epsilon", NORM_EPSILON)];
    Value { name: b.node("LayerNormalization", &[&x.name, &scale, &bias], attributes), element, ..x.clone() }
}

/// `groups` is a shape, of `axes` axes, in which the last one holds what shares its statistics. `inner` is as many ones as
/// `x` has axes behind that of the channels.
pub(super) fn group_norm(b: &mut Builder, x: &Value, norm: &Norm, groups: &str, axes: i64, inner: &[usize]) -> Value {
    let x = &b.cast(x.clone(), Element::F32);
    let shape = match x.layout {
        Layout::Clip => b.node("Shape", &[&x.name], vec![]),
        _ => b.shape_of(x),
    };
    let grouped = b.node("Reshape", &[&x.name, groups], vec![]);
    let mean = |b: &mut Builder, x: &str| match b.options.compute {
        // Of a later version of ONNX.
        Element::Bf16 => {
            let axis = b.integers(&[axes - 1]);
            b.node("ReduceMean", &[x, &axis], vec![])
        }
        _ => b.node("ReduceMean", &[x], vec![Attribute::ints("axes", &[axes - 1])]),
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

pub(super) fn silu(b: &mut Builder, x: &Value) -> Value {
    // ONNX Runtime fuses these two into one kernel; its own Swish does not.
    let gate = b.node("Sigmoid", &[&x.name], vec![]);
    Value { name: b.node("Mul", &[&x.name, &gate], vec![]), ..x.clone() }
}

/// Sums of a long chain, of residuals and pictures, so in float32.
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

/// Adds a picture to the low-pass band of wavelet coefficients, which are the first three channels.
pub(super) fn add_to_low_pass(b: &mut Builder, coefficients: &Value, picture: &Value) -> Value {
    let coefficients = &b.cast(coefficients.clone(), Element::F32);
    let low = b.channels(coefficients, 0, 3);
    let low = add(b, &low, picture);
    let rest = b.channels(coefficients, 3, coefficients.channels);
    concat(b, &[&low, &rest])
}

/// The spatial downsampling conv: stride 2, padded below and to the right only (spec section 2).
pub(super) fn down_spatial(b: &mut Builder, x: &Value, down: &Down) -> Value {
    if b.our_convolutions() {
        return convolve(b, &[x], &down.0, Scale::Halved, None);
    }
    conv2d(b, x.clone(), &down.0, 2, Padding::BottomRight)
}

/// The same in time as well; the three frames are the pair and the last one of the pair before.
pub(super) fn down_temporal(b: &mut Builder, frames: [&Value; 3], down: &Down) -> Value {
    if b.our_convolutions() {
        return convolve(b, &frames, &down.0, Scale::Halved, None);
    }
    causal_conv(b, frames, &down.0, 2, Padding::BottomRight)
}

/// Every pixel repeated to 2x2, then the convolution. Of its nine taps four or more meet the same pixel, so it is four
/// 2x2 convolutions of the small picture, one for each pixel of a block: 4/9 of the work.
pub(super) fn up_nearest(b: &mut Builder, x: &Value, up: &Up) -> Value {
    let conv = &up.0;
    if b.our_convolutions() {
        return convolve(b, &[x], conv, Scale::Doubled, None);
    }
    let x = b.cast(x.clone(), b.options.compute);
    let x = &to_planes(b, x);
    let bias = b.weight(&conv.bias, &conv.bias.shape, b.options.compute);
    let phases = [[0, 0], [0, 1], [1, 0], [1, 1]].map(|phase| {
        let kernel = b.weight_phase(&conv.weight, phase);
        let [below, right] = phase.map(|n| n as i64);
        let attributes = vec![
            Attribute::ints("kernel_shape", &[2, 2]),
            Attribute::ints("pads", &[1 - below, 1 - right, below, right]),
        ];
        let name = b.node("Conv", &[&x.name, &kernel, &bias], attributes);
        Value { name, channels: conv.out_channels(), ..x.clone() }
    });
    let blocks = concat(b, &phases.each_ref());
    let name = blocks_to_pixels(b, &blocks);
    to_main(b, Value { name, channels: conv.out_channels(), divisor: x.divisor / 2, ..x.clone() })
}

/// Of planes `[1, 4 C, h, w]`, the four pixels of each 2x2 block one behind the other, planes `[1, C, 2 h, 2 w]`.
fn blocks_to_pixels(b: &mut Builder, blocks: &Value) -> String {
    if blocks.element != Element::Bf16 {
        let attributes = vec![Attribute::int("blocksize", 2), Attribute::text("mode", "DCR")];
        return b.node("DepthToSpace", &[&blocks.name], attributes);
    }
    // No provider of ONNX Runtime has DepthToSpace of bfloat16, so by its definition.
    let joined = Value { channels: blocks.channels / 4, divisor: blocks.divisor / 2, ..blocks.clone() };
    let two = Size::Fixed(2);
    let sides = [Size::Height(blocks.divisor), Size::Width(blocks.divisor)];
    let split = b.size_list([&[two, two, Size::Fixed(joined.channels)], &sides[..]].concat());
    let joined = b.shape_of(&joined);
    let split = b.node("Reshape", &[&blocks.name, &split], vec![]);
    let moved = b.node("Transpose", &[&split], vec![Attribute::ints("perm", &[2, 3, 0, 4, 1])]);
    b.node("Reshape", &[&moved, &joined], vec![])
}

/// Height and width by half-pixel bilinear interpolation, then each time tap of the convolution by itself, on channels of
/// its own, the oldest first. The bias is with the last.
pub(super) fn up_taps(b: &mut Builder, x: &Value, up: &Up) -> Value {
    let attributes =
        vec![Attribute::text("mode", "linear"), Attribute::text("coordinate_transformation_mode", "half_pixel")];
    // The CUDA provider resizes planes only; taps stay planes, which is how their weighted sum is a product.
    let x = &if b.our_convolutions() { x.clone() } else { to_planes(b, x.clone()) };
    let doubled = resize(b, x, attributes);
    let conv = &up.0;
    let channels = TAPS * conv.out_channels();
    // The weights of a tap's frames add up to one, so the bias is there once.
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    let zeros = b.floats(&[channels - conv.out_channels()], &vec![0.0; channels - conv.out_channels()]);
    let bias = b.node("Concat", &[&zeros, &bias], vec![Attribute::int("axis", 0)]);
    if b.our_convolutions() {
        return convolve_taps(b, &doubled, conv, &bias);
    }
    let compute = b.options.compute;
    let doubled = b.cast(doubled, compute);
    let bias = b.cast(Value { name: bias, element: Element::F32, ..doubled.clone() }, compute).name;
    let kernel = b.weight_taps_apart(&conv.weight);
    let attributes = vec![Attribute::ints("kernel_shape", &[3, 3]), Attribute::ints("pads", &Padding::Around.pads())];
    let name = b.node("Conv", &[&doubled.name, &kernel, &bias], attributes);
    Value { name, channels, ..doubled }
}

/// The sum of what three frames, oldest first, are to each time tap, by `weights`: of the oldest frame first.
pub(super) fn blend(b: &mut Builder, frames: [&Value; 3], weights: &Value) -> Value {
    let channels = frames[0].channels / TAPS;
    if frames[0].layout == Layout::Pixels {
        return blend_taps(b, frames, weights, channels);
    }
    // Of each frame a product: its weights times the taps as rows.
    let (rows, of_frame) = (b.integers(&[TAPS as i64, -1]), b.integers(&[TAPS as i64, 1, TAPS as i64]));
    let weights = b.node("Reshape", &[&weights.name, &of_frame], vec![]);
    let mut sum: Option<String> = None;
    for (i, frame) in frames.into_iter().enumerate() {
        let taps = b.node("Reshape", &[&frame.name, &rows], vec![]);
        let index = b.scalar(i as i64);
        let weights = b.node("Gather", &[&weights, &index], vec![Attribute::int("axis", 0)]);
        let part = b.node("MatMul", &[&weights, &taps], vec![]);
        b.share(&part, 1.0 / TAPS as f64);
        sum = Some(match sum {
            Some(sum) => b.node("Add", &[&sum, &part], vec![]),
            None => part,
        });
    }
    let sum = sum.expect("there are frames");
    let blended = Value { channels, ..frames[0].clone() };
    let shape = b.shape_of(&blended);
    let name = b.node("Reshape", &[&sum, &shape], vec![]);
    to_main(b, Value { name, ..blended })
}

fn resize(b: &mut Builder, x: &Value, attributes: Vec<Attribute>) -> Value {
    let scales = b.floats(&[4], &if x.layout == Layout::Pixels { [1.0, 2.0, 2.0, 1.0] } else { [1.0, 1.0, 2.0, 2.0] });
    let name = b.node("Resize", &[&x.name, "", &scales], attributes);
    Value { name, divisor: x.divisor / 2, ..x.clone() }
}

/// Haar analysis of one frame (2D) or a pair of frames (3D): bands major, channels minor.
pub(super) fn analysis(b: &mut Builder, frames: &[&Value], wavelet: Wavelet) -> Value {
    let x = if let [one] = frames { (*one).clone() } else { concat(b, frames) };
    let c = frames[0].channels;
    let bands = bands(wavelet);
    // [bands * c, taps * c, 2, 2]
    let mut kernel = vec![0.0; bands * c * x.channels * 4];
    for (band, channel, t, h, w) in taps(wavelet, c) {
        let row = band * c + channel;
        kernel[((row * x.channels + t * c + channel) * 2 + h) * 2 + w] = coefficient(wavelet, band, t, h, w);
    }
    let kernel = b.floats(&[bands * c, x.channels, 2, 2], &kernel);
    let attributes = vec![Attribute::ints("kernel_shape", &[2, 2]), Attribute::ints("strides", &[2, 2])];
    let name = b.node("Conv", &[&x.name, &kernel], attributes);
    Value { name, channels: bands * c, divisor: x.divisor * 2, ..x }
}

/// The inverse: one picture (2D) or two (3D). A 1x1 conv over the bands makes all pixels of each 2x2 block, which then
/// move to their places.
pub(super) fn synthesis(b: &mut Builder, coefficients: &Value, wavelet: Wavelet) -> Vec<Value> {
    let coefficients = &b.cast(coefficients.clone(), Element::F32);
    let bands = bands(wavelet);
    let c = coefficients.channels / bands;
    let outputs = bands * c;
    let mut kernel = vec![0.0; outputs * coefficients.channels];
    for (band, channel, t, h, w) in taps(wavelet, c) {
        let row = ((t * c + channel) * 2 + h) * 2 + w;
        kernel[row * coefficients.channels + band * c + channel] = coefficient(wavelet, band, t, h, w);
    }
    let kernel = b.floats(&[outputs, coefficients.channels, 1, 1], &kernel);
    let blocks = b.node("Conv", &[&coefficients.name, &kernel], vec![Attribute::ints("kernel_shape", &[1, 1])]);
    let attributes = vec![Attribute::int("blocksize", 2), Attribute::text("mode", "CRD")];
    let name = b.node("DepthToSpace", &[&blocks], attributes);
    let pictures = Value { name, channels: outputs / 4, divisor: coefficients.divisor / 2, ..coefficients.clone() };
    if wavelet.is_temporal() {
        vec![b.channels(&pictures, 0, c), b.channels(&pictures, c, 2 * c)]
    } else {
        vec![pictures]
    }
}

pub(super) fn bands(wavelet: Wavelet) -> usize {
    if wavelet.is_temporal() { 8 } else { 4 }
}

/// Every (band, channel, t, h, w) of a transform.
pub(super) fn taps(wavelet: Wavelet, channels: usize) -> impl Iterator<Item = (usize, usize, usize, usize, usize)> {
    let (bands, times) = (bands(wavelet), if wavelet.is_temporal() { 2 } else { 1 });
    (0..bands * channels * times * 4).map(move |i| {
        let (block, pixel) = (i / 4, i % 4);
        (block / times / channels, block / times % channels, block % times, pixel / 2, pixel % 2)
    })
}

pub(super) fn coefficient(wavelet: Wavelet, band: usize, t: usize, h: usize, w: usize) -> f32 {
    match wavelet {
        Wavelet::Haar2d => 0.5 * sign_2d(band, h, w),
        Wavelet::Haar3d { gain } => gain * sign_3d(band, t, h, w),
    }
}
