//! The encoder as steps. The first takes two frames of the clip (one, if frames are images), each later one takes two results
//! of the step before.

use super::after::After;
use super::builder::{Builder, Part};
use super::options::Options;
use super::step::StepGraph;
use super::sums::Sum;
use super::value::Element;
use super::{convolutions, elementary, haar, layers, matrix_nodes, port};
use crate::model::{ConvKind, Encoder, EncoderFlow, Wavelet};

pub(crate) fn encoder(encoder: &Encoder, options: &Options) -> Vec<StepGraph> {
    let mut steps = vec![];
    let mut b = Builder::new(Part::Encoder, 0, options);
    let frames = if encoder.wavelet.is_some_and(Wavelet::is_temporal) { 2 } else { 1 };
    let frames: Vec<_> = port::FRAMES[..frames].iter().map(|name| b.frame_input(name, 3, 1)).collect();
    let first = encoder.levels.first().map_or(&encoder.tail, |level| &level.body);
    let needs_low = !encoder.levels.is_empty();
    let (start, mut low) = match encoder.wavelet {
        Some(wavelet) => {
            let frames: Vec<_> = frames.iter().collect();
            haar::analysis(&mut b, &frames, wavelet, After::Layers(first), needs_low)
        }
        None => (elementary::input_to_main(&mut b, frames[0].clone()), None),
    };
    let mut x = Sum::from(start);

    for (i, level) in encoder.levels.iter().enumerate() {
        let mut down = layers::layers(&mut b, x, &level.body, After::Convolutions).value();
        let next = encoder.levels.get(i + 1).map_or(&encoder.tail, |next| &next.body);
        let conv = level.down.conv.as_ref().expect("only models of whole clips take means of frames");
        let Some(EncoderFlow { wavelet, conv: flow_conv }) = &level.flow else {
            debug_assert!(conv.kind == ConvKind::Spatial, "without wavelets, only images are encoded step by step");
            let down = convolutions::down_spatial(&mut b, &down, conv);
            x = layers::layers(&mut b, down, &level.merge, After::Layers(next));
            continue;
        };
        let needs_low = i + 1 < encoder.levels.len();
        let picture = low.expect("there is another level");
        let flow;
        if level.down.time {
            // On a device, and for a matrix unit, only what the convolution reads is kept.
            let main = match (b.on_matrix_unit(), b.on_device()) {
                (true, _) => matrix_nodes::narrow(&mut b, &down),
                (_, true) => b.cast(down, b.options.compute),
                _ => b.cast(down, Element::F32),
            };
            let divisor = main.divisor;
            b.output(port::MAIN_OUT, main.clone());
            b.output(port::LOW_OUT, picture);
            steps.push(b.finish());

            b = Builder::new(Part::Encoder, steps.len(), options);
            let [before, first, second] = port::MAIN.map(|name| b.input_like(name, &main));
            let lows = port::LOW.map(|name| b.frame_input(name, 3, divisor));
            down = convolutions::down_temporal(&mut b, [&before, &first, &second], conv);
            let lows = [&lows[0], &lows[1]];
            (flow, low) = haar::analysis(&mut b, &lows, *wavelet, After::Convolutions, needs_low);
        } else {
            down = convolutions::down_spatial(&mut b, &down, conv);
            (flow, low) = haar::analysis(&mut b, &[&picture], *wavelet, After::Convolutions, needs_low);
        }
        let flow = convolutions::conv(&mut b, flow, flow_conv);
        let joined = elementary::concat(&mut b, &[&down, &flow]);
        x = layers::layers(&mut b, joined, &level.merge, After::Layers(next));
    }

    let moments = layers::layers(&mut b, x, &encoder.tail, After::Others).value();
    let moments = elementary::to_planes(&mut b, moments);
    let moments = b.cast(moments, Element::F32);
    b.output(port::MOMENTS, moments);
    steps.push(b.finish());
    steps
}
