//! Haar transforms of frames.

use super::after::After;
use super::builder::Builder;
use super::elementary::{add, concat, to_main, to_planes};
use super::haar_bands::{bands, coefficient, taps};
use super::haar_nodes;
use super::onnx::Attribute;
use super::value::{Element, Value};
use crate::model::Wavelet;

/// Haar analysis of one frame (2D) or a pair of frames (3D): coefficients, whose channels are grouped by band, for the layers
/// `after`, and, if it is needed, their low-pass band as planes.
pub(super) fn analysis(
    b: &mut Builder,
    frames: &[&Value],
    wavelet: Wavelet,
    after: After,
    needs_low: bool,
) -> (Value, Option<Value>) {
    if b.our_convolutions() || b.on_matrix_unit() {
        let narrow = b.on_matrix_unit() && after.is_narrow();
        return haar_nodes::analysis(b, frames, wavelet, narrow, needs_low);
    }
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
    let coefficients = Value { name, channels: bands * c, divisor: x.divisor * 2, ..x };
    let low = needs_low.then(|| b.channels(&coefficients, 0, c));
    (to_main(b, coefficients), low)
}

/// The inverse, which is one picture (2D) or two (3D), as planes. `low` is a picture that is added to the low-pass band.
pub(super) fn synthesis(b: &mut Builder, coefficients: Value, low: Option<&Value>, wavelet: Wavelet) -> Vec<Value> {
    if b.our_convolutions() || b.on_matrix_unit() {
        return haar_nodes::synthesis(b, &coefficients, low, wavelet);
    }
    let coefficients = to_planes(b, coefficients);
    let coefficients = match low {
        Some(low) => add_to_low_pass(b, &coefficients, low),
        None => coefficients,
    };
    let coefficients = &b.cast(coefficients, Element::F32);
    let bands = bands(wavelet);
    let c = coefficients.channels / bands;
    let outputs = bands * c;
    let mut kernel = vec![0.0; outputs * coefficients.channels];
    for (band, channel, t, h, w) in taps(wavelet, c) {
        let row = ((t * c + channel) * 2 + h) * 2 + w;
        kernel[row * coefficients.channels + band * c + channel] = coefficient(wavelet, band, t, h, w);
    }
    let kernel = b.floats(&[outputs, coefficients.channels, 1, 1], &kernel);
    // A 1x1 convolution over the bands computes all pixels of each 2x2 block, which are then moved to their positions.
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

/// Adds a picture to the low-pass band of wavelet coefficients, which are the first three channels.
pub(super) fn add_to_low_pass(b: &mut Builder, coefficients: &Value, picture: &Value) -> Value {
    let coefficients = &b.cast(coefficients.clone(), Element::F32);
    let low = b.channels(coefficients, 0, 3);
    let low = add(b, &low, picture);
    let rest = b.channels(coefficients, 3, coefficients.channels);
    concat(b, &[&low, &rest])
}
