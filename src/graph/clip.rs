//! The network as one graph over all frames, for models whose norms span the clip. Inputs and outputs are `[1, channels, T, H, W]`
//! with any T, and float32. Between them, layers are ONNX's operators on such planes (`clip_planes`) or ours on channels-last
//! clips (`clip_pixels`).

use super::builder::{Builder, Part};
use super::options::Options;
use super::step::StepGraph;
use super::value::{Layout, Value};
use super::{clip_pixels, clip_planes, elementary, haar, port};
use crate::model::{Conv, Decoder, Down, Encoder, Interpolation, Layer, Up, Wavelet};

/// What layers become.
struct Nodes {
    /// From planes, and to them.
    enter: fn(&mut Builder, &Value) -> Value,
    leave: fn(&mut Builder, &Value) -> Value,
    layers: fn(&mut Builder, Value, &[Layer]) -> Value,
    conv: fn(&mut Builder, &Value, &Conv) -> Value,
    down: fn(&mut Builder, &Value, &Down) -> Value,
    /// It gets the number of doublings of the frame rate before.
    up: fn(&mut Builder, &Value, &Up, usize, Interpolation) -> Value,
}

const PLANES: Nodes = Nodes {
    enter: |_, x| x.clone(),
    leave: |_, x| x.clone(),
    layers: clip_planes::layers,
    conv: clip_planes::conv,
    down: clip_planes::down,
    up: clip_planes::up,
};

const PIXELS: Nodes = Nodes {
    enter: clip_pixels::enter,
    leave: clip_pixels::leave,
    layers: clip_pixels::layers,
    conv: clip_pixels::conv,
    down: clip_pixels::down,
    up: clip_pixels::up,
};

fn nodes(b: &Builder) -> Nodes {
    if b.our_convolutions() { PIXELS } else { PLANES }
}

pub(crate) fn encoder_clip(encoder: &Encoder, options: &Options) -> StepGraph {
    let mut b = Builder::new(Part::Encoder, "clip", options);
    let to = nodes(&b);
    let video = b.input(port::VIDEO, Layout::Clip, 3, 1);
    // As planes: the low-pass band, from which the next level's flow comes.
    let mut coefficients = match encoder.wavelet {
        Some(wavelet) => clip_planes::analysis(&mut b, &video, wavelet),
        None => video,
    };
    let mut x = (to.enter)(&mut b, &coefficients);
    for level in &encoder.levels {
        x = (to.layers)(&mut b, x, &level.body);
        x = (to.down)(&mut b, &x, &level.down);
        if let Some(flow) = &level.flow {
            let low = b.channels(&coefficients, 0, 3);
            coefficients = clip_planes::analysis(&mut b, &low, flow.wavelet);
            let entered = (to.enter)(&mut b, &coefficients);
            let flow = (to.conv)(&mut b, &entered, &flow.conv);
            x = elementary::concat(&mut b, &[&x, &flow]);
        }
        x = (to.layers)(&mut b, x, &level.merge);
    }
    let moments = (to.layers)(&mut b, x, &encoder.tail);
    let moments = (to.leave)(&mut b, &moments);
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
    let to = nodes(&b);
    let (sides, rate) = (decoder.spatial_compression(), decoder.temporal_compression());
    let latents = b.slower_input(port::LATENTS, Layout::Clip, latent_channels, sides, rate);
    let latents = (to.enter)(&mut b, &latents);
    let mut x = (to.layers)(&mut b, latents, &decoder.head);
    let (mut side, mut interpolations) = (None, 0);
    for level in &decoder.levels {
        if let Some(flow) = &level.flow {
            let main = x.channels - flow.channels;
            let branch = b.channels(&x, main, x.channels);
            x = b.channels(&x, 0, main);
            let coefficients = (to.layers)(&mut b, branch, &flow.branch);
            let coefficients = (to.leave)(&mut b, &coefficients);
            side = Some(picture(&mut b, coefficients, side.as_ref(), flow.wavelet));
        }
        x = (to.layers)(&mut b, x, &level.body);
        x = (to.up)(&mut b, &x, &level.up, interpolations, interpolation);
        interpolations += usize::from(level.up.time);
        x = (to.layers)(&mut b, x, &level.merge);
    }
    let video = (to.layers)(&mut b, x, &decoder.tail);
    let mut video = (to.leave)(&mut b, &video);
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
    clip_planes::synthesis(b, &coefficients, wavelet)
}
