//! The encoder as steps: the first takes two frames of the clip (one, where frames are images), each later one two
//! results of the step before.

use super::builder::{Builder, Element, Half, Options, StepGraph};
use super::{ops, port};
use crate::model::Encoder;

pub(crate) fn encoder(encoder: &Encoder, options: &Options) -> Vec<StepGraph> {
    let mut steps = vec![];
    let mut b = Builder::new(Half::Encoder, 0, options);
    let frames = if encoder.wavelet.is_temporal() { 2 } else { 1 };
    let frames: Vec<_> = port::FRAMES[..frames].iter().map(|name| b.frame_input(name, 3, 1)).collect();
    let coefficients = ops::analysis(&mut b, &frames.iter().collect::<Vec<_>>(), encoder.wavelet);
    let mut low = b.channels(&coefficients, 0, 3);
    let mut x = ops::to_main(&mut b, coefficients);

    for level in &encoder.levels {
        x = ops::layers(&mut b, x, &level.body);
        let coefficients;
        if level.down.is_temporal() {
            let (channels, divisor) = (x.channels, x.divisor);
            let main = b.cast(x, Element::F32);
            b.output(port::MAIN_OUT, main);
            b.output(port::LOW_OUT, low);
            steps.push(b.finish());

            b = Builder::new(Half::Encoder, steps.len(), options);
            let [before, first, second] = port::MAIN.map(|name| b.main_input(name, channels, divisor));
            let lows = port::LOW.map(|name| b.frame_input(name, 3, divisor));
            x = ops::down_temporal(&mut b, [&before, &first, &second], &level.down);
            coefficients = ops::analysis(&mut b, &[&lows[0], &lows[1]], level.wavelet);
        } else {
            x = ops::down_spatial(&mut b, &x, &level.down);
            coefficients = ops::analysis(&mut b, &[&low], level.wavelet);
        }
        let flow = ops::to_main(&mut b, coefficients.clone());
        let flow = ops::conv(&mut b, flow, &level.flow);
        x = ops::concat(&mut b, &[&x, &flow]);
        x = ops::layers(&mut b, x, &level.merge);
        low = b.channels(&coefficients, 0, 3);
    }

    let moments = ops::layers(&mut b, x, &encoder.tail);
    let moments = ops::to_planes(&mut b, moments);
    let moments = b.cast(moments, Element::F32);
    b.output(port::MOMENTS, moments);
    steps.push(b.finish());
    steps
}
