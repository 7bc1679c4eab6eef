//! The decoder as steps. The first takes a latent, each later one makes a frame of the doubled rate.

use super::after::After;
use super::builder::{Builder, Part};
use super::options::Options;
use super::step::StepGraph;
use super::value::{Element, Layout};
use super::{elementary, haar, layers, port, upsampling};
use crate::model::{Decoder, DecoderLevel, Enlarge, Up};

pub(crate) fn decoder(decoder: &Decoder, latent_channels: usize, options: &Options) -> Vec<StepGraph> {
    let mut steps = vec![];
    let mut b = Builder::new(Part::Decoder, 0, options);
    let latent = b.frame_input(port::LATENT, latent_channels, decoder.spatial_compression());
    let latent = elementary::input_to_main(&mut b, latent);
    let mut sum = layers::layers(&mut b, latent, &decoder.head, after(decoder, 0));
    let mut side = None;

    for (i, level) in decoder.levels.iter().enumerate() {
        let mut x = sum.value();
        let mut pictures = vec![];
        if let Some(flow) = &level.flow {
            let main = x.channels - flow.channels;
            let branch = b.channels(&x, main, x.channels);
            x = b.channels(&x, 0, main);
            let coefficients = layers::layers(&mut b, branch, &flow.branch, After::Others).value();
            pictures = haar::synthesis(&mut b, coefficients, side.as_ref(), flow.wavelet);
        }
        x = layers::layers(&mut b, x, &level.body, before_up(&level.up)).value();

        if level.up.time {
            let taps = upsampling::up_taps(&mut b, &x, &level.up);
            let (layout, channels, divisor) = (taps.layout, taps.channels, taps.divisor);
            b.stored_output(port::TAPS, taps);
            let has_side = !pictures.is_empty();
            for (name, picture) in port::PICTURES.into_iter().zip(pictures) {
                b.output(name, picture);
            }
            steps.push(b.finish());

            b = Builder::new(Part::Decoder, steps.len(), options);
            let taps = port::TAPS_OF.map(|name| b.stored_input(name, layout, channels, divisor));
            let weights = b.input(port::WEIGHTS, Layout::Numbers, upsampling::TAPS * upsampling::TAPS, 1);
            side = has_side.then(|| b.frame_input(port::SIDE, 3, divisor));
            sum = match level.up.conv {
                Some(_) => upsampling::blend(&mut b, taps.each_ref(), &weights).into(),
                None => upsampling::blend_frames(&mut b, taps.each_ref(), &weights).into(),
            };
        } else {
            side = pictures.pop();
            sum = upsampling::up_sides(&mut b, &x, &level.up, After::Layers(&level.merge));
        }
        sum = layers::layers(&mut b, sum, &level.merge, after(decoder, i + 1));
    }

    let last = layers::layers(&mut b, sum, &decoder.tail, After::Others).value();
    let pictures = match decoder.wavelet {
        Some(wavelet) => haar::synthesis(&mut b, last, side.as_ref(), wavelet),
        None => {
            let picture = elementary::to_planes(&mut b, last);
            vec![b.cast(picture, Element::F32)]
        }
    };
    for (name, picture) in port::PICTURES.into_iter().zip(pictures) {
        b.output(name, picture);
    }
    steps.push(b.finish());
    steps
}

/// What comes after the layers before level `i`.
fn after(decoder: &Decoder, i: usize) -> After<'_> {
    match decoder.levels.get(i) {
        None => After::Layers(&decoder.tail),
        Some(DecoderLevel { flow: None, body, up, .. }) if body.is_empty() => before_up(up),
        Some(_) => After::Others,
    }
}

/// What comes after the layers before this.
fn before_up(up: &Up) -> After<'static> {
    if up.space == Some(Enlarge::Nearest) { After::Convolutions } else { After::Others }
}
