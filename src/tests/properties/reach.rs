//! What one output depends on in space, the other way round: what one input changes, layer by layer, on a line of pixels.

use super::cases::{self, Kind, first_generation, second_generation};
use super::checkpoint::{Haar, Storage, Weights};
use super::drive::{WholeDecoder, WholeEncoder, noise};
use super::{check, ensure};
use crate::model::{Conv, ConvKind, Decoder, Encoder, Layer, Network};
use crate::stream::{Geometry, Model, ModelOptions, StreamOptions};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// Wide enough for what a layer norm lets through: of one channel nothing, of two only which is larger.
fn local_network() -> impl Strategy<Value = cases::ModelConfig> {
    let any = prop_oneof![first_generation(Kind::Local).boxed(), second_generation(Kind::Local).boxed()];
    any.prop_filter("wide enough", |config| {
        let network = config.describe();
        let norms =
            network.weights().into_iter().filter(|weight| weight.shape.len() == 1 && weight.key.contains(".norm"));
        norms.map(|weight| weight.shape[0]).all(|channels| channels >= 3)
    })
}

/// More layers than tiles can be tested with.
fn any_network() -> impl Strategy<Value = cases::ModelConfig> {
    prop_oneof![first_generation(Kind::Any).boxed(), second_generation(Kind::Any).boxed()]
}

#[test]
fn the_reach_is_as_far_as_changes_spread() {
    check("reach", 300, any_network(), |config| {
        let mut network = config.describe();
        let group_norm = config.0["norm_type"] == "groupnorm";
        // Both halves of a model have the same kinds of layers in their middle.
        let local = !network.has_attention() && !group_norm;
        let reach = [network.encoder_reach(), network.decoder_reach()];
        ensure!(reach.map(|reach| reach.is_some()) == [local; 2], "a reach of {reach:?}");
        if group_norm {
            return Ok(());
        }
        // What is left is local.
        remove_attention(&mut network);
        let block = network.spatial_compression();
        let reach = network.encoder_reach().expect("it is local");
        let blocks = reach / block + 2;
        let (first, length) = (blocks * block, (2 * blocks + 1) * block);
        let changes = |pixel: usize| encoded(&network.encoder, one(pixel, length))[blocks];
        ensure!(changes(first - reach) || changes(first + block - 1 + reach), "the encoder's {reach} is too far");
        for beyond in 1..=block {
            let quiet = !changes(first - reach - beyond) && !changes(first + block - 1 + reach + beyond);
            ensure!(quiet, "the encoder sees further than {reach}");
        }

        let reach = network.decoder_reach().expect("it is local");
        let (middle, length) = (reach + 2, 2 * reach + 5);
        let changes =
            |latent: usize| decoded(&network.decoder, one(latent, length))[middle * block..][..block].contains(&true);
        ensure!(changes(middle - reach) || changes(middle + reach), "the decoder's {reach} is too far");
        for beyond in 1..=2 {
            let quiet = !changes(middle - reach - beyond) && !changes(middle + reach + beyond);
            ensure!(quiet, "the decoder sees further than {reach}");
        }
        Ok(())
    });
}

/// The same in real runs of weights that look to one side.
#[test]
fn the_reach_is_as_far_as_real_changes_spread() {
    check("real reach", 8, (local_network(), any::<u64>().no_shrink(), any::<bool>()), |(config, seed, vertical)| {
        let ([mut encoder, mut decoder], sides) = ([false; 2], [-1i8, 1]);
        for side in sides {
            let lean = if vertical { [0, side] } else { [side, 0] };
            let weights = Weights { seed, lean, storage: Storage::F32, haar: Haar::LeftOut, leave_count_out: false };
            let folder = tempfile::tempdir().unwrap();
            weights.write(folder.path(), &config);
            let model = Model::open(folder.path(), &ModelOptions { threads: 1, ..ModelOptions::default() })?;
            encoder |= encoder_changes(&model, vertical, side, seed)?;
            decoder |= decoder_changes(&model, vertical, side, seed)?;
        }
        ensure!(encoder, "the encoder does not look as far as it could");
        ensure!(decoder, "the decoder does not look as far as it could");
        Ok(())
    });
}

/// Whether a pixel as far away as the encoder looks changes a latent. One that is further must not.
fn encoder_changes(model: &Model, vertical: bool, side: i8, seed: u64) -> Result<bool, TestCaseError> {
    let block = model.network().spatial_compression();
    let reach = model.network().encoder_reach().expect("a local network");
    let blocks = reach / block + 2;
    let line = Line { length: 2 * blocks + 1, block, vertical };
    let mut whole = WholeEncoder::new(model, &line.geometry())?;
    let pixels = line.length * block * block;
    let video = noise(3 * pixels, seed);
    let mut run = |pixel: usize| -> Result<Vec<f32>, TestCaseError> {
        let mut video = video.clone();
        line.indices(pixel, block, 3).for_each(|i| video[i] += 1.0);
        Ok(line.at(&whole.run(&video)?, blocks, 1))
    };
    let [at, beyond] = [reach, reach + 1].map(|distance| match side {
        -1 => blocks * block - distance,
        _ => blocks * block + block - 1 + distance,
    });
    let outside = if side == -1 { 0 } else { line.length * block - 1 };
    let far = run(outside)?;
    ensure!(run(beyond)? == far, "the encoder sees further than {reach}");
    Ok(run(at)? != far)
}

/// The same of latents and the block of one.
fn decoder_changes(model: &Model, vertical: bool, side: i8, seed: u64) -> Result<bool, TestCaseError> {
    let block = model.network().spatial_compression();
    let channels = model.network().latent_channels;
    let reach = model.network().decoder_reach().expect("a local network");
    let middle = reach + 2;
    let line = Line { length: 2 * reach + 5, block, vertical };
    let mut whole = WholeDecoder::new(model, &line.geometry())?;
    let latents = noise(channels * line.length, seed);
    let mut run = |latent: usize| -> Result<Vec<f32>, TestCaseError> {
        let mut latents = latents.clone();
        line.indices(latent, 1, channels).for_each(|i| latents[i] += 1.0);
        Ok(line.at(&whole.run(&latents, 1)?, middle, block))
    };
    let at = |distance: usize| if side == -1 { middle - distance } else { middle + distance };
    let far = run(at(reach + 2))?;
    ensure!(run(at(reach + 1))? == far, "the decoder sees further than {reach}");
    Ok(run(at(reach))? != far)
}

/// A picture one latent wide or high.
struct Line {
    length: usize,
    block: usize,
    vertical: bool,
}

impl Line {
    fn geometry(&self) -> Geometry {
        let (long, short) = (self.length * self.block, self.block);
        let (width, height) = if self.vertical { (short, long) } else { (long, short) };
        cases::geometry(&StreamOptions::new(width, height), self.block)
    }

    /// Of planes `across` wide: the indices of the values at `position` along the line.
    fn indices(&self, position: usize, across: usize, channels: usize) -> impl Iterator<Item = usize> + use<> {
        let (along, vertical) = (self.length * across, self.vertical);
        (0..channels * across).map(move |i| {
            let (channel, side) = (i / across, i % across);
            let inside = if vertical { position * across + side } else { side * along + position };
            channel * along * across + inside
        })
    }

    /// What planes that are `across` wide hold for latent `index` of the line.
    fn at(&self, planes: &[f32], index: usize, across: usize) -> Vec<f32> {
        let channels = planes.len() / (self.length * across * across);
        let positions = index * across..(index + 1) * across;
        positions.flat_map(|position| self.indices(position, across, channels)).map(|i| planes[i]).collect()
    }
}

fn remove_attention(network: &mut Network) {
    for layers in [&mut network.encoder.tail, &mut network.decoder.head] {
        layers.retain(|layer| !matches!(layer, Layer::Attention(_)));
    }
}

fn one(changed: usize, length: usize) -> Vec<bool> {
    (0..length).map(|i| i == changed).collect()
}

fn encoded(encoder: &Encoder, pixels: Vec<bool>) -> Vec<bool> {
    let coefficients = halved(&pixels);
    let (mut main, mut low) = (coefficients.clone(), coefficients);
    for level in &encoder.levels {
        main = layers(&level.body, main);
        // Stride 2; what lies beyond the end is zero.
        let at = |x: &[bool], i: usize| x.get(i).copied().unwrap_or(false);
        main = (0..main.len() / 2).map(|i| (0..3).any(|tap| at(&main, 2 * i + tap))).collect();
        low = halved(&low);
        main = either(main, &conv(&level.flow.as_ref().expect("a WF-VAE").conv, low.clone()));
        main = layers(&level.merge, main);
    }
    layers(&encoder.tail, main)
}

fn decoded(decoder: &Decoder, latents: Vec<bool>) -> Vec<bool> {
    let mut main = layers(&decoder.head, latents);
    let mut side = vec![false; main.len()];
    for level in &decoder.levels {
        let branch = &level.flow.as_ref().expect("a WF-VAE").branch;
        side = doubled(&either(side, &layers(branch, main.clone())));
        main = layers(&level.body, main);
        main = if level.up.time { interpolated(&main) } else { doubled(&main) };
        main = layers(&level.merge, conv(level.up.conv.as_ref().expect("a WF-VAE"), main));
    }
    doubled(&either(side, &layers(&decoder.tail, main)))
}

fn layers(layers: &[Layer], x: Vec<bool>) -> Vec<bool> {
    layers.iter().fold(x, |x, layer| match layer {
        Layer::Conv(layer) => conv(layer, x),
        Layer::ResBlock(block) => conv(&block.conv2, conv(&block.conv1, x)),
        Layer::Norm(_) | Layer::Silu => x,
        Layer::Attention(_) => unreachable!("removed"),
    })
}

fn conv(conv: &Conv, x: Vec<bool>) -> Vec<bool> {
    if conv.kind == ConvKind::Pointwise {
        return x;
    }
    (0..x.len()).map(|i| x[i.saturating_sub(1)..x.len().min(i + 2)].contains(&true)).collect()
}

fn either(mut x: Vec<bool>, y: &[bool]) -> Vec<bool> {
    assert_eq!(x.len(), y.len());
    x.iter_mut().zip(y).for_each(|(x, y)| *x |= y);
    x
}

fn halved(x: &[bool]) -> Vec<bool> {
    x.chunks_exact(2).map(|pair| pair[0] || pair[1]).collect()
}

fn doubled(x: &[bool]) -> Vec<bool> {
    x.iter().flat_map(|v| [*v; 2]).collect()
}

/// Half-pixel centres: each takes a quarter of a neighbour.
fn interpolated(x: &[bool]) -> Vec<bool> {
    let last = x.len() - 1;
    (0..x.len()).flat_map(|i| [x[i] || x[i.saturating_sub(1)], x[i] || x[(i + 1).min(last)]]).collect()
}
