//! The decoder as steps: the first takes a latent, each later one a frame interpolated from the step before.

use super::builder::{Builder, Element, Half, Layout, Options, StepGraph};
use super::{ops, port};
use crate::model::{Decoder, Interpolation};

pub(crate) fn decoder(
    decoder: &Decoder,
    latent_channels: usize,
    interpolation: Interpolation,
    options: &Options,
) -> Vec<StepGraph> {
    let mut steps = vec![];
    let mut b = Builder::new(Half::Decoder, 0, options);
    let latent = b.frame_input(port::LATENT, latent_channels, 2 << decoder.levels.len());
    let latent = ops::to_main(&mut b, latent);
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
            let (channels, divisor) = (x.channels, x.divisor);
            let main = b.cast(x, Element::F32);
            b.output(port::MAIN_DECODED, main);
            for (name, picture) in port::PICTURES.into_iter().zip(pictures) {
                b.output(name, picture);
            }
            steps.push(b.finish());

            b = Builder::new(Half::Decoder, steps.len(), options);
            let now = b.main_input(port::NOW, channels, divisor);
            x = match interpolation {
                Interpolation::Nearest => now,
                Interpolation::Trilinear => {
                    let before = b.main_input(port::BEFORE, channels, divisor);
                    let weights =
                        [port::WEIGHT_BEFORE, port::WEIGHT_NOW].map(|name| b.input(name, Layout::Number, 1, 1));
                    ops::interpolate(&mut b, &before, &now, [&weights[0], &weights[1]])
                }
            };
            side = Some(b.frame_input(port::SIDE, 3, divisor / 2));
            x = ops::up_bilinear(&mut b, &x, &level.up);
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
