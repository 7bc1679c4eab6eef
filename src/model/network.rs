//! One network as data: the layers in order, and the tensor that each one reads.
//!
//! Both halves are a list of levels, outermost first in the encoder and deepest first in the decoder. A level ends the
//! resolution it works at; a temporal one also halves (doubles) the frame rate. The energy flow of the paper (arXiv
//! 2411.17459, figure 2) is the wavelet beside each level.

use super::{Checkpoint, Half, Identities, Interpolation, Scaling};
use crate::error::{Result, fail};
use std::collections::HashSet;

/// A tensor by name and expected shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) key: String,
    pub(crate) shape: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConvKind {
    /// 3x3, each frame for itself.
    Spatial,
    /// 3x3x3 over this frame and the two before it.
    Causal,
    /// 1x1 or 1x1x1.
    Pointwise,
}

#[derive(Debug, Clone)]
pub(crate) struct Conv {
    pub(crate) kind: ConvKind,
    pub(crate) weight: Weight,
    pub(crate) bias: Weight,
}

/// What the statistics of a norm are taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormScope {
    /// LayerNorm: the channels of each pixel.
    Pixel,
    /// GroupNorm: a 32nd of the channels of one frame.
    FrameGroups,
    /// GroupNorm: a 32nd of the channels of all frames, so that the whole clip must be there.
    ClipGroups,
}

/// Of GroupNorm.
pub(crate) const NORM_GROUPS: usize = 32;

/// eps 1e-6, affine.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub(crate) scope: NormScope,
    pub(crate) weight: Weight,
    pub(crate) bias: Weight,
}

#[derive(Debug, Clone)]
pub(crate) struct ResBlock {
    pub(crate) norm1: Norm,
    pub(crate) conv1: Conv,
    pub(crate) norm2: Norm,
    pub(crate) conv2: Conv,
    /// Present where the channel count changes.
    pub(crate) shortcut: Option<Conv>,
}

/// Self-attention over the pixels of one frame, one head.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) norm: Norm,
    pub(crate) query: Conv,
    pub(crate) key: Conv,
    pub(crate) value: Conv,
    pub(crate) output: Conv,
}

#[derive(Debug, Clone)]
pub(crate) enum Layer {
    Conv(Conv),
    ResBlock(ResBlock),
    Attention(Attention),
    Norm(Norm),
    Silu,
}

/// Haar transforms; 3D ones carry the constant that the checkpoint was trained with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wavelet {
    Haar2d,
    Haar3d { gain: f32 },
}

/// Halves height and width, and the frame rate where the conv is causal.
#[derive(Debug, Clone)]
pub(crate) struct Down(pub(crate) Conv);

/// Doubles height and width, and the frame rate where the conv is causal.
#[derive(Debug, Clone)]
pub(crate) struct Up(pub(crate) Conv);

#[derive(Debug, Clone)]
pub(crate) struct EncoderLevel {
    pub(crate) body: Vec<Layer>,
    pub(crate) down: Down,
    /// Transforms the low-pass picture of the level before; `flow` makes channels of it for the main path.
    pub(crate) wavelet: Wavelet,
    pub(crate) flow: Conv,
    /// After the flow's channels are appended.
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
    /// How many of the last channels leave for the side branch.
    pub(crate) flow_channels: usize,
    /// Makes wavelet coefficients of them.
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

/// A whole model.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) generation: u32,
    pub(crate) latent_channels: usize,
    pub(crate) interpolation: Interpolation,
    pub(crate) encoder: Encoder,
    pub(crate) decoder: Decoder,
    /// Or why the config's lists cannot be used.
    pub(crate) scaling: Result<Scaling, String>,
    /// The half that the checkpoint lacks; known once it was looked at.
    pub(crate) missing: Option<Half>,
    /// Tell this model from others, see `identity`; 0 until the weights are checked.
    pub(crate) identities: Identities,
    /// What the owner of the model should hear about the config.
    pub(crate) warnings: Vec<String>,
}

impl Wavelet {
    pub(crate) fn is_temporal(self) -> bool {
        matches!(self, Wavelet::Haar3d { .. })
    }

    /// Of a 3D transform, which is the checkpoint's; 0 of a 2D one, which is always the same.
    pub(super) fn gain(self) -> f32 {
        match self {
            Wavelet::Haar2d => 0.0,
            Wavelet::Haar3d { gain } => gain,
        }
    }
}

impl Conv {
    pub(crate) fn in_channels(&self) -> usize {
        self.weight.shape[1]
    }

    pub(crate) fn out_channels(&self) -> usize {
        self.weight.shape[0]
    }
}

impl Down {
    pub(crate) fn is_temporal(&self) -> bool {
        self.0.kind == ConvKind::Causal
    }
}

impl Up {
    pub(crate) fn is_temporal(&self) -> bool {
        self.0.kind == ConvKind::Causal
    }
}

impl Network {
    /// Pixels per latent in each direction: one halving by the outer wavelet, one by each level.
    pub(crate) fn spatial_compression(&self) -> usize {
        2 << self.encoder.levels.len()
    }

    /// Frames per latent, after the first.
    pub(crate) fn temporal_compression(&self) -> usize {
        if self.encoder.wavelet.is_temporal() { 2 << self.temporal_levels() } else { 1 }
    }

    pub(crate) fn temporal_levels(&self) -> usize {
        self.encoder.levels.iter().filter(|level| level.down.is_temporal()).count()
    }

    pub(crate) fn has_attention(&self) -> bool {
        self.layers().any(|layer| matches!(layer, Layer::Attention(_)))
    }

    /// Whether a layer's statistics span the clip, which then cannot come in parts.
    pub(crate) fn needs_whole_clip(&self) -> bool {
        self.norms().any(|norm| norm.scope == NormScope::ClipGroups)
    }

    /// Whether the checkpoint holds that half.
    pub(crate) fn has(&self, half: Half) -> bool {
        self.missing != Some(half)
    }

    /// Trainable numbers that the checkpoint holds.
    pub(crate) fn parameters(&self) -> u64 {
        self.weights().iter().map(|w| w.shape.iter().product::<usize>() as u64).sum()
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        let encoder = self.encoder.levels.iter().flat_map(|l| l.body.iter().chain(&l.merge)).chain(&self.encoder.tail);
        let levels = self.decoder.levels.iter().flat_map(|l| l.branch.iter().chain(&l.body).chain(&l.merge));
        encoder.chain(&self.decoder.head).chain(levels).chain(&self.decoder.tail)
    }

    fn norms(&self) -> impl Iterator<Item = &Norm> {
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

    /// Of the halves that the checkpoint holds.
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

    /// Every tensor is there, in its shape, and no other encoder or decoder weight is left over.
    pub(crate) fn check(&self, checkpoint: &Checkpoint) -> Result<()> {
        let weights = self.weights();
        for norm in self.norms().filter(|norm| norm.scope != NormScope::Pixel) {
            let [channels] = norm.weight.shape[..] else { unreachable!("a norm has one axis") };
            if !channels.is_multiple_of(NORM_GROUPS) {
                fail!(
                    Config,
                    "{}: norm_type \"groupnorm\" needs multiples of {NORM_GROUPS} channels, {} has {channels}",
                    checkpoint.name(),
                    norm.weight.key
                );
            }
        }
        for weight in &weights {
            match checkpoint.shape(&weight.key) {
                Some(shape) if shape == weight.shape => checkpoint.check_type(&weight.key)?,
                Some(shape) => fail!(
                    Checkpoint,
                    "{}: tensor {}: found shape {shape:?}, expected {:?}",
                    checkpoint.file_of(&weight.key),
                    weight.key,
                    weight.shape
                ),
                None => fail!(
                    Checkpoint,
                    "{}: tensor {} is missing, {}",
                    checkpoint.file_of(&weight.key),
                    weight.key,
                    match checkpoint.wrapped(&weight.key) {
                        Some(found) =>
                            format!("but there is {found}: training/convert.py writes a folder with plain names"),
                        None => format!("expected shape {:?}", weight.shape),
                    }
                ),
            }
        }
        // A config for a smaller model would otherwise run, and give wrong pictures.
        let known: HashSet<&str> = weights.iter().map(|w| w.key.as_str()).collect();
        let extra = checkpoint.keys().filter(|key| {
            let ours = key.starts_with("encoder.") || key.starts_with("decoder.");
            ours && !key.contains("wavelet_transform") && !known.contains(key) && !checkpoint.is_integer(key)
        });
        let mut extra: Vec<&str> = extra.collect();
        extra.sort_unstable();
        if let Some(first) = extra.first() {
            fail!(
                Checkpoint,
                "{}: holds {} tensors that config.json does not describe, the first is {first}: \
                 do the config and the weights belong together?",
                checkpoint.file_of(first),
                extra.len()
            );
        }
        Ok(())
    }
}

fn add_conv<'a>(weights: &mut Vec<&'a Weight>, conv: &'a Conv) {
    weights.extend([&conv.weight, &conv.bias]);
}

fn add_norm<'a>(weights: &mut Vec<&'a Weight>, norm: &'a Norm) {
    weights.extend([&norm.weight, &norm.bias]);
}
