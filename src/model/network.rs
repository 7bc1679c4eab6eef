//! A network as data: its layers in order, and the tensor that each layer reads.
//!
//! Encoder and decoder are lists of levels: the encoder's starts at full resolution, the decoder's at the latent's.
//! Each level ends by changing the resolution; a temporal level changes the frame rate too. The wavelet beside each
//! level is the energy flow of the paper (arXiv 2411.17459, figure 2).

use super::config::Interpolation;
use super::half::Half;
use super::layer::{Conv, Down, Layer, Norm, NormScope, Up, Wavelet, Weight};
use super::scaling::Scaling;

#[derive(Debug, Clone)]
pub(crate) struct EncoderLevel {
    pub(crate) body: Vec<Layer>,
    pub(crate) down: Down,
    /// Transforms the low-pass band of the previous level. `flow` turns the result into channels for the main path.
    pub(crate) wavelet: Wavelet,
    pub(crate) flow: Conv,
    /// Runs after the channels of `flow` are appended.
    pub(crate) merge: Vec<Layer>,
}

#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub(crate) wavelet: Wavelet,
    pub(crate) levels: Vec<EncoderLevel>,
    pub(crate) tail: Vec<Layer>,
}

#[derive(Debug, Clone)]
pub(crate) struct DecoderLevel {
    /// How many channels, counted from the last, go to the side branch.
    pub(crate) flow_channels: usize,
    /// Turns those channels into wavelet coefficients.
    pub(crate) branch: Vec<Layer>,
    pub(crate) wavelet: Wavelet,
    pub(crate) body: Vec<Layer>,
    pub(crate) up: Up,
    pub(crate) merge: Vec<Layer>,
}

#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    pub(crate) head: Vec<Layer>,
    pub(crate) levels: Vec<DecoderLevel>,
    pub(crate) tail: Vec<Layer>,
    pub(crate) wavelet: Wavelet,
}

/// Identifies a model, as a whole and by its halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Identities {
    /// A hash of the weights as stored, and of the temporal interpolation.
    pub(crate) model: u64,
    /// A hash of the weights' values, independent of their type; 0 if the checkpoint lacks the half.
    pub(crate) encoder: u64,
    /// The same for the decoder.
    pub(crate) decoder: u64,
}

/// A whole model.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) generation: u32,
    pub(crate) latent_channels: usize,
    pub(crate) interpolation: Interpolation,
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    /// An error text if the config's lists cannot be used.
    pub(crate) scaling: Result<Scaling, String>,
    /// The half that the checkpoint lacks. Set once the checkpoint has been read.
    pub(crate) missing: Option<Half>,
    /// All 0 until the weights have been checked.
    pub(crate) identities: Identities,
    /// Warnings about the config, for the owner of the model.
    pub(crate) warnings: Vec<String>,
}

impl Network {
    /// Pixels per latent in each direction: the outer wavelet and each level halve the resolution.
    pub(crate) fn spatial_compression(&self) -> usize {
        2 << self.encoder.levels.len()
    }

    /// Frames per latent after the first latent.
    pub(crate) fn temporal_compression(&self) -> usize {
        if self.encoder.wavelet.is_temporal() { 2 << self.temporal_levels() } else { 1 }
    }

    pub(crate) fn temporal_levels(&self) -> usize {
        self.encoder.levels.iter().filter(|level| level.down.is_temporal()).count()
    }

    pub(crate) fn has_attention(&self) -> bool {
        self.layers().any(|layer| matches!(layer, Layer::Attention(_)))
    }

    /// Whether any norm needs the whole clip, so that the clip cannot be processed in chunks.
    pub(crate) fn needs_whole_clip(&self) -> bool {
        self.norms().any(|norm| norm.scope == NormScope::ClipGroups)
    }

    /// Whether any norm has statistics of planes instead of pixels.
    pub(crate) fn has_group_norms(&self) -> bool {
        self.norms().any(|norm| norm.scope != NormScope::Pixel)
    }

    /// Whether the checkpoint contains that half.
    pub(crate) fn has(&self, half: Half) -> bool {
        self.missing != Some(half)
    }

    /// The number of trainable values in the checkpoint.
    pub(crate) fn parameters(&self) -> u64 {
        self.weights().iter().map(|w| w.shape.iter().product::<usize>() as u64).sum()
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        let encoder = self.encoder.levels.iter().flat_map(|l| l.body.iter().chain(&l.merge)).chain(&self.encoder.tail);
        let levels = self.decoder.levels.iter().flat_map(|l| l.branch.iter().chain(&l.body).chain(&l.merge));
        encoder.chain(&self.decoder.head).chain(levels).chain(&self.decoder.tail)
    }

    pub(super) fn norms(&self) -> impl Iterator<Item = &Norm> {
        self.layers().flat_map(|layer| match layer {
            Layer::Norm(norm) => vec![norm],
            Layer::ResBlock(block) => vec![&block.norm1, &block.norm2],
            Layer::Attention(attention) => vec![&attention.norm],
            Layer::Conv(_) | Layer::Silu => vec![],
        })
    }

    pub(super) fn norms_of(&self, half: Half) -> impl Iterator<Item = &Norm> {
        self.norms().filter(move |norm| half.owns(&norm.weight.key))
    }

    pub(super) fn wavelets(&self, half: Half) -> Vec<Wavelet> {
        match half {
            Half::Encoder => {
                let levels = self.encoder.levels.iter().map(|level| level.wavelet);
                [self.encoder.wavelet].into_iter().chain(levels).collect()
            }
            Half::Decoder => {
                let levels = self.decoder.levels.iter().map(|level| level.wavelet);
                levels.chain([self.decoder.wavelet]).collect()
            }
        }
    }

    pub(super) fn weights_of(&self, half: Half) -> Vec<&Weight> {
        self.weights().into_iter().filter(|weight| half.owns(&weight.key)).collect()
    }

    /// The weights of the halves that the checkpoint contains.
    pub(crate) fn weights(&self) -> Vec<&Weight> {
        let mut weights = vec![];
        for level in &self.encoder.levels {
            add_conv(&mut weights, &level.down.0);
            add_conv(&mut weights, &level.flow);
        }
        for level in &self.decoder.levels {
            add_conv(&mut weights, &level.up.0);
        }
        for layer in self.layers() {
            match layer {
                Layer::Conv(conv) => add_conv(&mut weights, conv),
                Layer::Norm(norm) => add_norm(&mut weights, norm),
                Layer::ResBlock(block) => {
                    add_norm(&mut weights, &block.norm1);
                    add_conv(&mut weights, &block.conv1);
                    add_norm(&mut weights, &block.norm2);
                    add_conv(&mut weights, &block.conv2);
                    block.shortcut.iter().for_each(|conv| add_conv(&mut weights, conv));
                }
                Layer::Attention(attention) => {
                    add_norm(&mut weights, &attention.norm);
                    for conv in [&attention.query, &attention.key, &attention.value, &attention.output] {
                        add_conv(&mut weights, conv);
                    }
                }
                Layer::Silu => {}
            }
        }
        if let Some(missing) = self.missing {
            weights.retain(|weight| !missing.owns(&weight.key));
        }
        weights
    }
}

fn add_conv<'a>(weights: &mut Vec<&'a Weight>, conv: &'a Conv) {
    weights.extend([&conv.weight, &conv.bias]);
}

fn add_norm<'a>(weights: &mut Vec<&'a Weight>, norm: &'a Norm) {
    weights.extend([&norm.weight, &norm.bias]);
}
