//! Upsampling layers, which double height and width, the frame rate, or both.

use super::after::After;
use super::builder::Builder;
use super::device_nodes;
use super::elementary::{add, concat, to_main, to_planes};
use super::matrix_nodes;
use super::onnx::Attribute;
use super::operator_nodes::{Scale, blend_taps, convolve, convolve_taps};
use super::size::Size;
use super::sums::{Sum, conv_then};
use super::value::{Element, Layout, Value};
use crate::model::{Conv, Enlarge, Up};

/// Time taps of a causal convolution.
pub(super) const TAPS: usize = 3;

/// Doubles height and width, then convolves.
pub(super) fn up_sides(b: &mut Builder, x: &Value, up: &Up, after: After) -> Sum {
    let conv = up.conv.as_ref().expect("only frames are doubled without a convolution");
    match up.space {
        Some(Enlarge::Bilinear) => {
            let doubled = bilinear(b, x);
            conv_then(b, doubled, conv, after)
        }
        _ => up_nearest(b, x, conv, after),
    }
}

/// Repeats every pixel to 2x2, then convolves. Each result depends on 2x2 of the original pixels only. So this is four 2x2
/// convolutions of the small frame, one for each pixel of a block, which is 4/9 of the work.
fn up_nearest(b: &mut Builder, x: &Value, conv: &Conv, after: After) -> Sum {
    if b.on_matrix_unit() {
        let x = matrix_nodes::narrow(b, x);
        return match after.then() {
            Some(then) => matrix_nodes::convolve_normed(b, &[&x], conv, Scale::Doubled, None, then).into(),
            None => matrix_nodes::convolve(b, &[&x], conv, Scale::Doubled, None).into(),
        };
    }
    nearest(b, x, conv).into()
}

fn nearest(b: &mut Builder, x: &Value, conv: &Conv) -> Value {
    if b.our_convolutions() {
        return convolve(b, &[x], conv, Scale::Doubled, None);
    }
    let x = b.cast(x.clone(), b.options.compute);
    let x = &to_planes(b, x);
    // On a device it is added where the phases are joined.
    let bias = b.weight(&conv.bias, &conv.bias.shape, if b.on_device() { Element::F32 } else { b.options.compute });
    let bias_within = if b.on_device() { None } else { Some(bias.as_str()) };
    let phases = [[0, 0], [0, 1], [1, 0], [1, 1]].map(|phase| {
        let kernel = b.weight_phase(&conv.weight, phase);
        let [below, right] = phase.map(|n| n as i64);
        let attributes = vec![
            Attribute::ints("kernel_shape", &[2, 2]),
            Attribute::ints("pads", &[1 - below, 1 - right, below, right]),
        ];
        let inputs: Vec<&str> = [x.name.as_str(), &kernel].into_iter().chain(bias_within).collect();
        let name = b.convolution(&inputs, attributes);
        Value { name, element: b.options.arithmetic(), channels: conv.out_channels(), ..x.clone() }
    });
    if b.on_device() {
        let phases = phases.map(|phase| to_main(b, phase));
        return device_nodes::weave(b, phases.each_ref(), &bias);
    }
    let blocks = concat(b, &phases.each_ref());
    let name = blocks_to_pixels(b, &blocks);
    to_main(b, Value { name, channels: conv.out_channels(), divisor: x.divisor / 2, ..blocks })
}

/// From planes `[1, 4 C, h, w]`, with a group of channels for each pixel of a 2x2 block, to planes `[1, C, 2 h, 2 w]`.
fn blocks_to_pixels(b: &mut Builder, blocks: &Value) -> String {
    if blocks.element != Element::Bf16 {
        let attributes = vec![Attribute::int("blocksize", 2), Attribute::text("mode", "DCR")];
        return b.node("DepthToSpace", &[&blocks.name], attributes);
    }
    // No provider of ONNX Runtime has DepthToSpace of bfloat16, so this is its definition.
    let joined = Value { channels: blocks.channels / 4, divisor: blocks.divisor / 2, ..blocks.clone() };
    let two = Size::Fixed(2);
    let sides = [Size::Height(blocks.divisor), Size::Width(blocks.divisor)];
    let split = b.size_list([&[two, two, Size::Fixed(joined.channels)], &sides[..]].concat());
    let joined = b.shape_of(&joined);
    let split = b.node("Reshape", &[&blocks.name, &split], vec![]);
    let moved = b.node("Transpose", &[&split], vec![Attribute::ints("perm", &[2, 3, 0, 4, 1])]);
    b.node("Reshape", &[&moved, &joined], vec![])
}

/// Height and width doubled by half-pixel bilinear interpolation.
fn bilinear(b: &mut Builder, x: &Value) -> Value {
    let attributes =
        vec![Attribute::text("mode", "linear"), Attribute::text("coordinate_transformation_mode", "half_pixel")];
    // The CUDA provider resizes planes only. With ONNX's operators the results stay planes, so that `blend` can be a matrix
    // product.
    match (b.on_device(), b.our_convolutions(), b.on_matrix_unit()) {
        (true, ..) => device_nodes::doubled(b, x),
        (_, true, _) => resize(b, x, attributes),
        (_, _, true) => matrix_nodes::doubled(b, x),
        _ => {
            let x = to_planes(b, x.clone());
            resize(b, &x, attributes)
        }
    }
}

/// Doubles height and width, if the layer does, then convolves by each time tap separately. The taps' results are on channels of
/// their own, the oldest tap first. The last tap's include the bias. Without a convolution, it is the frame itself.
pub(super) fn up_taps(b: &mut Builder, x: &Value, up: &Up) -> Value {
    let Some(conv) = &up.conv else { return x.clone() };
    let doubled = match (up.space, b.on_matrix_unit()) {
        (Some(_), _) => bilinear(b, x),
        (None, true) => matrix_nodes::narrow(b, x),
        // As planes, where `bilinear` gives planes.
        (None, false) if b.our_convolutions() || b.on_device() => x.clone(),
        (None, false) => to_planes(b, x.clone()),
    };
    let channels = TAPS * conv.out_channels();
    // The last tap's weights in `blend` add up to 1, so the bias is added once.
    let bias = b.weight(&conv.bias, &conv.bias.shape, Element::F32);
    let zeros = b.floats(&[channels - conv.out_channels()], &vec![0.0; channels - conv.out_channels()]);
    let bias = b.node("Concat", &[&zeros, &bias], vec![Attribute::int("axis", 0)]);
    if b.our_convolutions() {
        return convolve_taps(b, &doubled, conv, &bias);
    }
    if b.on_matrix_unit() {
        return matrix_nodes::convolve_taps(b, &doubled, conv, &bias);
    }
    let compute = b.options.compute;
    let doubled = b.cast(doubled, compute);
    let bias = b.cast(Value { name: bias, element: Element::F32, ..doubled.clone() }, compute).name;
    let kernel = b.weight_taps_apart(&conv.weight);
    let attributes = vec![Attribute::ints("kernel_shape", &[3, 3]), Attribute::ints("pads", &[1; 4])];
    let pixels = doubled.layout == Layout::Pixels;
    let doubled = to_planes(b, doubled);
    let name = b.convolution(&[&doubled.name, &kernel, &bias], attributes);
    let taps = Value { name, element: b.options.arithmetic(), channels, ..doubled };
    if pixels { to_main(b, taps) } else { taps }
}

/// The weighted sum of three frames, oldest first, as the newest time tap of `blend` would have it.
pub(super) fn blend_frames(b: &mut Builder, frames: [&Value; 3], weights: &Value) -> Value {
    let mut sum: Option<Value> = None;
    for (i, frame) in frames.into_iter().enumerate() {
        let frame = b.cast(frame.clone(), Element::F32);
        let index = b.integers(&[(TAPS * i + TAPS - 1) as i64]);
        let weight = b.node("Gather", &[&weights.name, &index], vec![Attribute::int("axis", 0)]);
        let part = Value { name: b.node("Mul", &[&frame.name, &weight], vec![]), ..frame };
        sum = Some(match sum {
            Some(sum) => add(b, &sum, &part),
            None => part,
        });
    }
    let sum = sum.expect("there are frames");
    to_main(b, sum)
}

/// The weighted sum of the results of `up_taps` for three frames, oldest first. `weights` has those of the oldest frame first.
pub(super) fn blend(b: &mut Builder, frames: [&Value; 3], weights: &Value) -> Value {
    let channels = frames[0].channels / TAPS;
    if b.on_device() {
        return device_nodes::blend(b, frames, weights, channels);
    }
    if b.on_matrix_unit() {
        return matrix_nodes::blend_taps(b, frames, weights, channels);
    }
    let frames = frames.map(|frame| b.cast(frame.clone(), Element::F32));
    let frames = frames.each_ref();
    if frames[0].layout == Layout::Pixels {
        return blend_taps(b, frames, weights, channels);
    }
    // A matrix product for each frame: its weights times the results, a row for each tap.
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
