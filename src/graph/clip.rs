//! The network as one graph over all frames, for models whose norms span the clip. Tensors are `[1, channels, T, H, W]` with
//! any T, and float32.

use super::builder::{Builder, Part};
use super::haar_bands::{bands, coefficient, taps};
use super::onnx::{Attribute, INT64};
use super::options::Options;
use super::size::Size;
use super::step::StepGraph;
use super::value::{Element, Layout, Value};
use super::{attention, elementary, haar, norms, port};
use crate::model::{
    Attention, Conv, ConvKind, Decoder, Down, Encoder, Enlarge, Interpolation, Layer, NORM_GROUPS, Norm, NormScope,
    ResBlock, Up, Wavelet,
};

pub(crate) fn encoder_clip(encoder: &Encoder, options: &Options) -> StepGraph {
    let mut b = Builder::new(Part::Encoder, "clip", options);
    let video = b.input(port::VIDEO, Layout::Clip, 3, 1);
    let mut x = match encoder.wavelet {
        Some(wavelet) => analysis(&mut b, &video, wavelet),
        None => video,
    };
    // The low-pass band, from which the next level's flow comes.
    let mut coefficients = x.clone();
    for level in &encoder.levels {
        x = layers(&mut b, x, &level.body);
        x = down(&mut b, &x, &level.down);
        if let Some(flow) = &level.flow {
            let low = b.channels(&coefficients, 0, 3);
            coefficients = analysis(&mut b, &low, flow.wavelet);
            let flow = conv(&mut b, &coefficients, &flow.conv);
            x = elementary::concat(&mut b, &[&x, &flow]);
        }
        x = layers(&mut b, x, &level.merge);
    }
    let moments = layers(&mut b, x, &encoder.tail);
    b.output(port::CLIP_MOMENTS, moments);
    b.finish()
}

pub(crate) fn decoder_clip(
    decoder: &Decoder,
    latent_channels: usize,
    interpolation: Interpolation,
    options: &Options,
) -> StepGraph {
    let mut b = Builder::new(Part::Decoder, "clip", options);
    let latents = b.input(port::LATENTS, Layout::Clip, latent_channels, decoder.spatial_compression());
    b.slower(&latents, decoder.temporal_compression());
    let mut x = layers(&mut b, latents, &decoder.head);
    let (mut side, mut interpolations) = (None, 0);
    for level in &decoder.levels {
        if let Some(flow) = &level.flow {
            let main = x.channels - flow.channels;
            let branch = b.channels(&x, main, x.channels);
            x = b.channels(&x, 0, main);
            let coefficients = layers(&mut b, branch, &flow.branch);
            side = Some(picture(&mut b, coefficients, side.as_ref(), flow.wavelet));
        }
        x = layers(&mut b, x, &level.body);
        if level.up.time {
            x = interpolate(&mut b, &x, interpolations, interpolation);
            interpolations += 1;
        }
        x = enlarge(&mut b, &x, &level.up);
        x = layers(&mut b, x, &level.merge);
    }
    let mut video = layers(&mut b, x, &decoder.tail);
    if let Some(wavelet) = decoder.wavelet {
        video = picture(&mut b, video, side.as_ref(), wavelet);
    }
    b.output(port::VIDEO, video);
    b.finish()
}

/// The synthesis of coefficients, to whose low-pass band the picture of the level before is added.
fn picture(b: &mut Builder, coefficients: Value, before: Option<&Value>, wavelet: Wavelet) -> Value {
    let coefficients = match before {
        Some(picture) => haar::add_to_low_pass(b, &coefficients, picture),
        None => coefficients,
    };
    synthesis(b, &coefficients, wavelet)
}

fn layers(b: &mut Builder, x: Value, layers: &[Layer]) -> Value {
    layers.iter().fold(x, |x, layer| match layer {
        Layer::Conv(layer) => conv(b, &x, layer),
        Layer::ResBlock(block) => resblock(b, &x, block),
        Layer::Attention(layer) => attention(b, &x, layer),
        Layer::Norm(layer) => norm(b, &x, layer),
        Layer::Silu => elementary::silu(b, &x),
    })
}

fn conv(b: &mut Builder, x: &Value, conv: &Conv) -> Value {
    convolution(b, x, conv, false, false)
}

fn down(b: &mut Builder, x: &Value, down: &Down) -> Value {
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
    Value { name, ..x }
}

/// What follows the doubling of the frame rate.
fn enlarge(b: &mut Builder, x: &Value, up: &Up) -> Value {
    let x = match up.space {
        Some(Enlarge::Nearest) => double_sides(b, x, "nearest"),
        Some(Enlarge::Bilinear) => double_sides(b, x, "linear"),
        None => x.clone(),
    };
    match &up.conv {
        Some(conv) => self::conv(b, &x, conv),
        None => x,
    }
}

/// At every second pixel if `space`, and every second frame if `time`. Convolutions that halve the sides are padded below and
/// to the right only (docs/spec.md section 2).
fn convolution(b: &mut Builder, x: &Value, conv: &Conv, space: bool, time: bool) -> Value {
    let (halves_sides, halves_rate) = (space, time);
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
    Value { name, channels: c_out, divisor: x.divisor * strides[1] as usize, ..x.clone() }
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
        Value { name, ..x.clone() }
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
fn analysis(b: &mut Builder, x: &Value, wavelet: Wavelet) -> Value {
    let x = &if wavelet.is_temporal() { with_first_frames(b, x, 1) } else { x.clone() };
    let (times, channels) = (times(wavelet), bands(wavelet) * x.channels);
    let mut kernel = vec![0.0; channels * x.channels * times * 4];
    for (band, channel, t, h, w) in taps(wavelet, x.channels) {
        let row = (band * x.channels + channel) * x.channels + channel;
        kernel[((row * times + t) * 2 + h) * 2 + w] = coefficient(wavelet, band, t, h, w);
    }
    let kernel = b.floats(&[channels, x.channels, times, 2, 2], &kernel);
    let name = b.node("Conv", &[&x.name, &kernel], block_attributes(times));
    Value { name, channels, divisor: x.divisor * 2, ..x.clone() }
}

/// The inverse. A temporal one makes two frames of the first coefficients; the first of these is dropped.
fn synthesis(b: &mut Builder, coefficients: &Value, wavelet: Wavelet) -> Value {
    let times = times(wavelet);
    let channels = coefficients.channels / bands(wavelet);
    let mut kernel = vec![0.0; coefficients.channels * channels * times * 4];
    for (band, channel, t, h, w) in taps(wavelet, channels) {
        let row = (band * channels + channel) * channels + channel;
        kernel[((row * times + t) * 2 + h) * 2 + w] = coefficient(wavelet, band, t, h, w);
    }
    let kernel = b.floats(&[coefficients.channels, channels, times, 2, 2], &kernel);
    let name = b.node("ConvTranspose", &[&coefficients.name, &kernel], block_attributes(times));
    let video = Value { name, channels, divisor: coefficients.divisor / 2, ..coefficients.clone() };
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
