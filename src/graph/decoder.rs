//! The decoder as steps: the first takes a latent, each later one makes a frame of the doubled rate.

use super::builder::{Builder, Half, Layout, Options, StepGraph};
use super::{ops, port};
use crate::model::Decoder;

pub(crate) fn decoder(decoder: &Decoder, latent_channels: usize, options: &Options) -> Vec<StepGraph> {
    let mut steps = vec![];
    let mut b = Builder::new(Half::Decoder, 0, options);
    let latent = b.frame_input(port::LATENT, latent_channels, 2 << decoder.levels.len());
    let latent = ops::input_to_main(&mut b, latent);
    let mut x = ops::layers(&mut b, latent, &decoder.head);
    let mut side = None;

    for level in &decoder.levels {
        let main = x.channels - level.flow_channels;
        let flow = b.channels(&x, main, x.channels);
        x = b.channels(&x, 0, main);

        let coefficients = ops::layers(&mut b, flow, &level.branch);
        let mut coefficients = ops::to_planes(&mut b, coefficients);
        if let Some(picture) = &side {
            coefficients = ops::add_to_low_pass(&mut b, &coefficients, picture);
        }
        let mut pictures = ops::synthesis(&mut b, &coefficients, level.wavelet);
        x = ops::layers(&mut b, x, &level.body);

        if level.up.is_temporal() {
            let taps = ops::up_taps(&mut b, &x, &level.up);
            let (layout, channels, divisor) = (taps.layout, taps.channels, taps.divisor);
            b.stored_output(port::TAPS, taps);
            for (name, picture) in port::PICTURES.into_iter().zip(pictures) {
                b.output(name, picture);
            }
            steps.push(b.finish());

            b = Builder::new(Half::Decoder, steps.len(), options);
            let taps = port::TAPS_OF.map(|name| b.stored_input(name, layout, channels, divisor));
            let weights = b.input(port::WEIGHTS, Layout::Numbers, ops::TAPS * ops::TAPS, 1);
            side = Some(b.frame_input(port::SIDE, 3, divisor));
            x = ops::blend(&mut b, taps.each_ref(), &weights);
        } else {
            side = pictures.pop();
            x = ops::up_nearest(&mut b, &x, &level.up);
        }
        x = ops::layers(&mut b, x, &level.merge);
    }

    let coefficients = ops::layers(&mut b, x, &decoder.tail);
    let mut coefficients = ops::to_planes(&mut b, coefficients);
    if let Some(picture) = &side {
        coefficients = ops::add_to_low_pass(&mut b, &coefficients, picture);
    }
    let pictures = ops::synthesis(&mut b, &coefficients, decoder.wavelet);
    for (name, picture) in port::PICTURES.into_iter().zip(pictures) {
        b.output(name, picture);
    }
    steps.push(b.finish());
    steps
}
