//! The encoder as steps. The first takes two frames of the clip (one, if frames are images), each later one takes two results
//! of the step before.

use super::builder::{Builder, Part};
use super::options::Options;
use super::step::StepGraph;
use super::value::Element;
use super::{convolutions, elementary, haar, layers, port};
use crate::model::Encoder;

pub(crate) fn encoder(encoder: &Encoder, options: &Options) -> Vec<StepGraph> {
    let mut steps = vec![];
    let mut b = Builder::new(Part::Encoder, 0, options);
    let frames = if encoder.wavelet.is_temporal() { 2 } else { 1 };
    let frames: Vec<_> = port::FRAMES[..frames].iter().map(|name| b.frame_input(name, 3, 1)).collect();
    let coefficients = haar::analysis(&mut b, &frames.iter().collect::<Vec<_>>(), encoder.wavelet);
    let mut low = b.channels(&coefficients, 0, 3);
    let mut x = elementary::to_main(&mut b, coefficients);

    for level in &encoder.levels {
        x = layers::layers(&mut b, x, &level.body);
        let coefficients;
        if level.down.is_temporal() {
            let (channels, divisor) = (x.channels, x.divisor);
            let main = b.cast(x, Element::F32);
            b.output(port::MAIN_OUT, main);
            b.output(port::LOW_OUT, low);
            steps.push(b.finish());

            b = Builder::new(Part::Encoder, steps.len(), options);
            let [before, first, second] = port::MAIN.map(|name| b.main_input(name, channels, divisor));
            let lows = port::LOW.map(|name| b.frame_input(name, 3, divisor));
            x = convolutions::down_temporal(&mut b, [&before, &first, &second], &level.down);
            coefficients = haar::analysis(&mut b, &[&lows[0], &lows[1]], level.wavelet);
        } else {
            x = convolutions::down_spatial(&mut b, &x, &level.down);
            coefficients = haar::analysis(&mut b, &[&low], level.wavelet);
        }
        let flow = elementary::to_main(&mut b, coefficients.clone());
        let flow = convolutions::conv(&mut b, flow, &level.flow);
        x = elementary::concat(&mut b, &[&x, &flow]);
        x = layers::layers(&mut b, x, &level.merge);
        low = b.channels(&coefficients, 0, 3);
    }

    let moments = layers::layers(&mut b, x, &encoder.tail);
    let moments = elementary::to_planes(&mut b, moments);
    let moments = b.cast(moments, Element::F32);
    b.output(port::MOMENTS, moments);
    steps.push(b.finish());
    steps
}
