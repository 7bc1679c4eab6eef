//! The decoder as steps. The first takes a latent, each later one makes a frame of the doubled rate.

use super::after::After;
use super::builder::{Builder, Part};
use super::options::Options;
use super::step::StepGraph;
use super::value::Layout;
use super::{elementary, haar, layers, port, upsampling};
use crate::model::Decoder;

pub(crate) fn decoder(decoder: &Decoder, latent_channels: usize, options: &Options) -> Vec<StepGraph> {
    let mut steps = vec![];
    let mut b = Builder::new(Part::Decoder, 0, options);
    let latent = b.frame_input(port::LATENT, latent_channels, 2 << decoder.levels.len());
    let latent = elementary::input_to_main(&mut b, latent);
    let after = if decoder.levels.is_empty() { After::Layers(&decoder.tail) } else { After::Others };
    let mut sum = layers::layers(&mut b, latent, &decoder.head, after);
    let mut side = None;

    for (i, level) in decoder.levels.iter().enumerate() {
        let mut x = sum.value();
        let main = x.channels - level.flow_channels;
        let flow = b.channels(&x, main, x.channels);
        x = b.channels(&x, 0, main);

        let coefficients = layers::layers(&mut b, flow, &level.branch, After::Others).value();
        let mut pictures = haar::synthesis(&mut b, coefficients, side.as_ref(), level.wavelet);
        let after = if level.up.is_temporal() { After::Others } else { After::Convolutions };
        x = layers::layers(&mut b, x, &level.body, after).value();

        if level.up.is_temporal() {
            let taps = upsampling::up_taps(&mut b, &x, &level.up);
            let (layout, channels, divisor) = (taps.layout, taps.channels, taps.divisor);
            b.stored_output(port::TAPS, taps);
            for (name, picture) in port::PICTURES.into_iter().zip(pictures) {
                b.output(name, picture);
            }
            steps.push(b.finish());

            b = Builder::new(Part::Decoder, steps.len(), options);
            let taps = port::TAPS_OF.map(|name| b.stored_input(name, layout, channels, divisor));
            let weights = b.input(port::WEIGHTS, Layout::Numbers, upsampling::TAPS * upsampling::TAPS, 1);
            side = Some(b.frame_input(port::SIDE, 3, divisor));
            sum = upsampling::blend(&mut b, taps.each_ref(), &weights).into();
        } else {
            side = pictures.pop();
            sum = upsampling::up_nearest(&mut b, &x, &level.up, After::Layers(&level.merge));
        }
        let after = if i + 1 < decoder.levels.len() { After::Others } else { After::Layers(&decoder.tail) };
        sum = layers::layers(&mut b, sum, &level.merge, after);
    }

    let coefficients = layers::layers(&mut b, sum, &decoder.tail, After::Others).value();
    let pictures = haar::synthesis(&mut b, coefficients, side.as_ref(), decoder.wavelet);
    for (name, picture) in port::PICTURES.into_iter().zip(pictures) {
        b.output(name, picture);
    }
    steps.push(b.finish());
    steps
}
