//! Haar transforms of frames.

use super::builder::Builder;
use super::elementary::{add, concat};
use super::onnx::Attribute;
use super::value::{Element, Value};
use crate::model::{Wavelet, sign_2d, sign_3d};

/// Haar analysis of one frame (2D) or a pair of frames (3D). Channels are grouped by band.
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

/// The inverse, which is one picture (2D) or two (3D). A 1x1 convolution over the bands computes all pixels of each 2x2 block,
/// which are then moved to their positions.
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

/// Adds a picture to the low-pass band of wavelet coefficients, which are the first three channels.
pub(super) fn add_to_low_pass(b: &mut Builder, coefficients: &Value, picture: &Value) -> Value {
    let coefficients = &b.cast(coefficients.clone(), Element::F32);
    let low = b.channels(coefficients, 0, 3);
    let low = add(b, &low, picture);
    let rest = b.channels(coefficients, 3, coefficients.channels);
    concat(b, &[&low, &rest])
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
