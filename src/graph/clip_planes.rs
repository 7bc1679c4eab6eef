//! Layers over a clip of planes, `[1, channels, T, H, W]`, by ONNX's operators.

use super::builder::Builder;
use super::haar_bands::{bands, coefficient, taps};
use super::onnx::{Attribute, INT64};
use super::size::Size;
use super::value::{Element, Layout, Value};
use super::{attention, elementary, norms, port};
use crate::model::{
    Attention, Conv, ConvKind, Down, Enlarge, Interpolation, Layer, NORM_GROUPS, Norm, NormScope, ResBlock, Up, Wavelet,
};

pub(super) fn layers(b: &mut Builder, x: Value, layers: &[Layer]) -> Value {
    layers.iter().fold(x, |x, layer| match layer {
        Layer::Conv(layer) => conv(b, &x, layer),
        Layer::ResBlock(block) => resblock(b, &x, block),
        Layer::Attention(layer) => attention(b, &x, layer),
        Layer::Norm(layer) => norm(b, &x, layer),
        Layer::Silu => elementary::silu(b, &x),
    })
}

pub(super) fn conv(b: &mut Builder, x: &Value, conv: &Conv) -> Value {
    convolution(b, x, conv, false, false)
}

pub(super) fn down(b: &mut Builder, x: &Value, down: &Down) -> Value {
    match &down.conv {
        Some(conv) => convolution(b, x, conv, down.space, down.time),
        None => mean(b, x),
    }
}

/// The mean of every second frame and the two before it.
fn mean(b: &mut Builder, x: &Value) -> Value {
    let x = with_first_frames(b, x, 2);
    let attributes = vec![Attribute::ints("kernel_shape", &[3, 1, 1]), Attribute::ints("strides", &[2, 1, 1])];
    let name = b.node("AveragePool", &[&x.name], attributes);
    b.share(&name, 0.5);
    Value { name, slower: 2 * x.slower, ..x }
}

/// `n`: doublings of the frame rate before.
pub(super) fn up(b: &mut Builder, x: &Value, up: &Up, n: usize, interpolation: Interpolation) -> Value {
    let x = if up.time { interpolate(b, x, n, interpolation) } else { x.clone() };
    let x = match up.space {
        Some(Enlarge::Nearest) => double_sides(b, &x, "nearest"),
        Some(Enlarge::Bilinear) => double_sides(b, &x, "linear"),
        None => x,
    };
    match &up.conv {
        Some(conv) => self::conv(b, &x, conv),
        None => x,
    }
}

/// At every second pixel of every second row, or every second frame, or both. Convolutions that halve the sides are padded below
/// and to the right only (docs/spec.md section 2).
fn convolution(b: &mut Builder, x: &Value, conv: &Conv, halves_sides: bool, halves_rate: bool) -> Value {
    let [c_out, c_in, ref kernel @ ..] = conv.weight.shape[..] else { unreachable!("a kernel has channels") };
    let [time, height, width] = match *kernel {
        [height, width] => [1, height, width],
        [time, height, width] => [time, height, width],
        _ => unreachable!("a kernel has two or three axes"),
    };
    let x = &if conv.kind == ConvKind::Causal { with_first_frames(b, x, time - 1) } else { x.clone() };
    let weight = b.weight(&conv.weight, &[c_out, c_in, time, height, width], Element::F32);
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    let pads = match (conv.kind, halves_sides) {
        (ConvKind::Pointwise, _) => [0; 6],
        (_, false) => [0, 1, 1, 0, 1, 1],
        (_, true) => [0, 0, 0, 0, 1, 1],
    };
    let stride = |halves: bool| if halves { 2 } else { 1 };
    let strides = [stride(halves_rate), stride(halves_sides), stride(halves_sides)];
    let attributes = vec![
        Attribute::ints("kernel_shape", &[time, height, width].map(|n| n as i64)),
        Attribute::ints("pads", &pads),
        Attribute::ints("strides", &strides),
    ];
    let name = b.node("Conv", &[&x.name, &weight, &bias], attributes);
    let [slower, _, divisor] = strides.map(|n| n as usize);
    Value { name, channels: c_out, divisor: x.divisor * divisor, slower: x.slower * slower, ..x.clone() }
}

/// `x` with `count` more copies of its first frame before it.
fn with_first_frames(b: &mut Builder, x: &Value, count: usize) -> Value {
    let first = b.first_frame(x);
    let parts: Vec<&str> = std::iter::repeat_n(first.as_str(), count).chain([x.name.as_str()]).collect();
    Value { name: b.node("Concat", &parts, vec![Attribute::int("axis", 2)]), ..x.clone() }
}

fn resblock(b: &mut Builder, x: &Value, block: &ResBlock) -> Value {
    let h = norm(b, x, &block.norm1);
    let h = elementary::silu(b, &h);
    let h = conv(b, &h, &block.conv1);
    let h = norm(b, &h, &block.norm2);
    let h = elementary::silu(b, &h);
    let h = conv(b, &h, &block.conv2);
    match &block.shortcut {
        Some(shortcut) => {
            let x = conv(b, x, shortcut);
            elementary::add(b, &x, &h)
        }
        None => elementary::add(b, x, &h),
    }
}

fn norm(b: &mut Builder, x: &Value, norm: &Norm) -> Value {
    let groups = NORM_GROUPS as i64;
    match norm.scope {
        NormScope::Pixel => norms::layer_norm(b, x, norm, &[0, 2, 3, 4, 1], &[0, 4, 1, 2, 3]),
        NormScope::ClipGroups => {
            let groups = b.integers(&[1, groups, -1]);
            norms::group_norm(b, x, norm, &groups, 3, &[1, 1, 1])
        }
        NormScope::FrameGroups => {
            let swapped = swap_frames_and_channels(b, &x.name);
            let swapped = Value { name: swapped, ..x.clone() };
            let grouped = b.integers(&[1, 0, groups, -1]);
            let normed = norms::group_norm(b, &swapped, norm, &grouped, 4, &[1, 1]);
            Value { name: swap_frames_and_channels(b, &normed.name), ..normed }
        }
    }
}

fn swap_frames_and_channels(b: &mut Builder, x: &str) -> String {
    b.node("Transpose", &[x], vec![Attribute::ints("perm", &[0, 2, 1, 3, 4])])
}

/// softmax(q k^T / sqrt(C)) v over the pixels of each frame, one head; or of each group of rows, if the attention mixes frames.
fn attention(b: &mut Builder, x: &Value, layer: &Attention) -> Value {
    let h = norm(b, x, &layer.norm);
    let mut shape = String::new();
    let [query, key, value] = [&layer.query, &layer.key, &layer.value].map(|projection| {
        let projected = conv(b, &h, projection);
        let frames_first = match layer.mixes_frames {
            true => frames_first_as_it_lies(b, &projected),
            false => swap_frames_and_channels(b, &projected.name),
        };
        shape = b.node("Shape", &[&frames_first], vec![]);
        let flat = b.integers(&[0, 0, 0, -1]);
        Value { name: b.node("Reshape", &[&frames_first, &flat], vec![]), ..projected }
    });
    let mixed = attention::attend(b, [query, key, value], x.channels, 2, false);
    let name = match layer.mixes_frames {
        true => {
            let shape = b.node("Shape", &[&h.name], vec![]);
            b.node("Reshape", &[&mixed.name, &shape], vec![])
        }
        false => {
            let mixed = b.node("Reshape", &[&mixed.name, &shape], vec![]);
            swap_frames_and_channels(b, &mixed)
        }
    };
    let projected = conv(b, &Value { name, ..h }, &layer.output);
    elementary::add(b, x, &projected)
}

/// `[1, C, T, H, W]` taken as `[1, T, C, H, W]`, without moving a value.
fn frames_first_as_it_lies(b: &mut Builder, x: &Value) -> String {
    let (one, channels) = (Size::Fixed(1), Size::Fixed(x.channels));
    let shape = b.size_list(vec![one, Size::Rest, channels, Size::Height(x.divisor), Size::Width(x.divisor)]);
    b.node("Reshape", &[&x.name, &shape], vec![])
}

/// The frames of the doubled rate. Each is a weighted sum of two frames of `x`; the caller binds their indices and weights.
fn interpolate(b: &mut Builder, x: &Value, n: usize, interpolation: Interpolation) -> Value {
    let names = port::interpolation(n);
    let mut pick = |index: &str| {
        let index = b.input(index, Layout::Numbers, 1, 1);
        let index = b.node("Cast", &[&index.name], vec![Attribute::int("to", INT64.into())]);
        let name = b.node("Gather", &[&x.name, &index], vec![Attribute::int("axis", 2)]);
        Value { name, slower: x.slower / 2, ..x.clone() }
    };
    let now = pick(&names[1]);
    if interpolation == Interpolation::Nearest {
        return now;
    }
    let before = pick(&names[0]);
    let [before, weighted] = [(&before, &names[2]), (&now, &names[3])].map(|(frames, weights)| {
        let weights = b.input(weights, Layout::Numbers, 1, 1);
        let shape = b.integers(&[-1, 1, 1]);
        let weights = b.node("Reshape", &[&weights.name, &shape], vec![]);
        b.node("Mul", &[&frames.name, &weights], vec![])
    });
    Value { name: b.node("Add", &[&before, &weighted], vec![]), ..now }
}

fn double_sides(b: &mut Builder, x: &Value, mode: &str) -> Value {
    let coordinates = if mode == "nearest" { "asymmetric" } else { "half_pixel" };
    let mut attributes =
        vec![Attribute::text("mode", mode), Attribute::text("coordinate_transformation_mode", coordinates)];
    if mode == "nearest" {
        attributes.push(Attribute::text("nearest_mode", "floor"));
    }
    let scales = b.floats(&[5], &[1.0, 1.0, 1.0, 2.0, 2.0]);
    let name = b.node("Resize", &[&x.name, "", &scales], attributes);
    Value { name, divisor: x.divisor / 2, ..x.clone() }
}

/// Haar analysis. A temporal one pairs the first frame with itself.
pub(super) fn analysis(b: &mut Builder, x: &Value, wavelet: Wavelet) -> Value {
    let x = &if wavelet.is_temporal() { with_first_frames(b, x, 1) } else { x.clone() };
    let (times, channels) = (times(wavelet), bands(wavelet) * x.channels);
    let mut kernel = vec![0.0; channels * x.channels * times * 4];
    for (band, channel, t, h, w) in taps(wavelet, x.channels) {
        let row = (band * x.channels + channel) * x.channels + channel;
        kernel[((row * times + t) * 2 + h) * 2 + w] = coefficient(wavelet, band, t, h, w);
    }
    let kernel = b.floats(&[channels, x.channels, times, 2, 2], &kernel);
    let name = b.node("Conv", &[&x.name, &kernel], block_attributes(times));
    Value { name, channels, divisor: x.divisor * 2, slower: x.slower * times, ..x.clone() }
}

/// The inverse. A temporal one makes two frames of the first coefficients; the first of these is dropped.
pub(super) fn synthesis(b: &mut Builder, coefficients: &Value, wavelet: Wavelet) -> Value {
    let times = times(wavelet);
    let channels = coefficients.channels / bands(wavelet);
    let mut kernel = vec![0.0; coefficients.channels * channels * times * 4];
    for (band, channel, t, h, w) in taps(wavelet, channels) {
        let row = (band * channels + channel) * channels + channel;
        kernel[((row * times + t) * 2 + h) * 2 + w] = coefficient(wavelet, band, t, h, w);
    }
    let kernel = b.floats(&[coefficients.channels, channels, times, 2, 2], &kernel);
    let name = b.node("ConvTranspose", &[&coefficients.name, &kernel], block_attributes(times));
    let slower = coefficients.slower / times;
    let video = Value { name, channels, divisor: coefficients.divisor / 2, slower, ..coefficients.clone() };
    if !wavelet.is_temporal() {
        return video;
    }
    let [start, end, axis] = [1, i64::MAX, 2].map(|n| b.integers(&[n]));
    Value { name: b.node("Slice", &[&video.name, &start, &end, &axis], vec![]), ..video }
}

fn times(wavelet: Wavelet) -> usize {
    if wavelet.is_temporal() { 2 } else { 1 }
}

fn block_attributes(times: usize) -> Vec<Attribute> {
    let block = [times as i64, 2, 2];
    vec![Attribute::ints("kernel_shape", &block), Attribute::ints("strides", &block)]
}
