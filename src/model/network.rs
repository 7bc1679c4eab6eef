//! A network as data: its layers in order, and the tensor that each layer reads.
//!
//! Encoder and decoder are lists of levels: the encoder's starts at full resolution, the decoder's at the latent's.
//! Each level changes the resolution, the frame rate or both. The wavelet beside each level of a WF-VAE is the energy flow of
//! the paper (arXiv 2411.17459, figure 2). CausalVAE has no wavelets.

use super::config::Interpolation;
use super::half::Half;
use super::layer::{Attention, Conv, Down, Enlarge, Layer, Mix, Norm, NormScope, Up, Wavelet, Weight};
use super::scaling::Scaling;

#[derive(Debug, Clone)]
pub(crate) struct EncoderLevel {
    pub(crate) body: Vec<Layer>,
    pub(crate) down: Down,
    pub(crate) flow: Option<EncoderFlow>,
    /// Runs after the channels of `flow` are appended.
    pub(crate) merge: Vec<Layer>,
}

#[derive(Debug, Clone)]
pub(crate) struct EncoderFlow {
    /// Transforms the low-pass band of the previous level.
    pub(crate) wavelet: Wavelet,
    /// Turns the result into channels for the main path.
    pub(crate) conv: Conv,
}

#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    /// What the first level reads is the video's transform; without one, the video.
    pub(crate) wavelet: Option<Wavelet>,
    pub(crate) levels: Vec<EncoderLevel>,
    pub(crate) tail: Vec<Layer>,
}

#[derive(Debug, Clone)]
pub(crate) struct DecoderLevel {
    pub(crate) flow: Option<DecoderFlow>,
    pub(crate) body: Vec<Layer>,
    pub(crate) up: Up,
    pub(crate) merge: Vec<Layer>,
}

/// The side branch.
#[derive(Debug, Clone)]
pub(crate) struct DecoderFlow {
    /// How many channels it gets, counted from the last.
    pub(crate) channels: usize,
    /// Turns those channels into wavelet coefficients.
    pub(crate) branch: Vec<Layer>,
    pub(crate) wavelet: Wavelet,
}

#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    pub(crate) head: Vec<Layer>,
    pub(crate) levels: Vec<DecoderLevel>,
    pub(crate) tail: Vec<Layer>,
    /// Without one, the tail makes the video.
    pub(crate) wavelet: Option<Wavelet>,
}

impl Encoder {
    /// By how much it divides the sides of a frame.
    pub(crate) fn spatial_compression(&self) -> usize {
        1 << (usize::from(self.wavelet.is_some()) + self.levels.iter().filter(|level| level.down.space).count())
    }

    /// By how much it divides the frame rate.
    pub(crate) fn temporal_compression(&self) -> usize {
        1 << (temporal(self.wavelet) + self.levels.iter().filter(|level| level.down.time).count())
    }
}

impl Decoder {
    /// By how much it multiplies the sides of a latent.
    pub(crate) fn spatial_compression(&self) -> usize {
        let doublings = self.levels.iter().filter(|level| level.up.space.is_some()).count();
        1 << (usize::from(self.wavelet.is_some()) + doublings)
    }

    /// By how much it multiplies the rate of latents.
    pub(crate) fn temporal_compression(&self) -> usize {
        1 << (temporal(self.wavelet) + self.interpolations())
    }

    /// How often it doubles the frame rate by interpolation.
    pub(crate) fn interpolations(&self) -> usize {
        self.levels.iter().filter(|level| level.up.time).count()
    }
}

/// How often it halves the frame rate.
fn temporal(wavelet: Option<Wavelet>) -> usize {
    usize::from(wavelet.is_some_and(Wavelet::is_temporal))
}

/// The generation of CausalVAE, the family without wavelets.
pub(crate) const CAUSAL: u32 = 3;

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
    /// 1 and 2 of WF-VAE, or [`CAUSAL`].
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
    /// Pixels per latent in each direction.
    pub(crate) fn spatial_compression(&self) -> usize {
        self.encoder.spatial_compression()
    }

    /// Frames per latent after the first latent.
    pub(crate) fn temporal_compression(&self) -> usize {
        self.encoder.temporal_compression()
    }

    pub(crate) fn has_attention(&self) -> bool {
        self.layers().any(|layer| matches!(layer, Layer::Attention(_)))
    }

    /// Why a half cannot process a clip in chunks, for error texts; `None` if it can. It says what the model has.
    pub(crate) fn needs_whole_clip(&self, half: Half) -> Option<&'static str> {
        let attentions = self.attentions().filter(|attention| half.owns(&attention.norm.weight.key));
        if attentions.into_iter().any(|attention| attention.mixes_frames) {
            return Some("attention of the kind AttnBlock3D, which mixes the frames of a clip");
        }
        if !self.norms_of(half).any(|norm| norm.scope == NormScope::ClipGroups) {
            return None;
        }
        Some(match self.norms_of(half).any(|norm| norm.scope == NormScope::Pixel) {
            true => "group norms in the encoder's attention, whose statistics span the whole clip",
            false => "norm_type \"groupnorm\", whose statistics span the whole clip",
        })
    }

    /// The same of any half that the checkpoint contains.
    pub(crate) fn any_needs_whole_clip(&self) -> Option<&'static str> {
        self.halves().find_map(|half| self.needs_whole_clip(half))
    }

    /// The same, if no half that the checkpoint contains can process a clip in chunks.
    pub(crate) fn all_need_whole_clip(&self) -> Option<&'static str> {
        self.halves().map(|half| self.needs_whole_clip(half)).reduce(|reason, other| reason.and(other)).flatten()
    }

    fn halves(&self) -> impl Iterator<Item = Half> {
        [Half::Encoder, Half::Decoder].into_iter().filter(|half| self.has(*half))
    }

    /// Whether any norm of a half has statistics of planes instead of pixels.
    pub(crate) fn has_group_norms(&self, half: Half) -> bool {
        self.norms_of(half).any(|norm| norm.scope != NormScope::Pixel)
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
        let levels = self.decoder.levels.iter().flat_map(|level| {
            let branch = level.flow.iter().flat_map(|flow| &flow.branch);
            branch.chain(&level.body).chain(&level.merge)
        });
        encoder.chain(&self.decoder.head).chain(levels).chain(&self.decoder.tail)
    }

    fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.layers().filter_map(|layer| match layer {
            Layer::Attention(attention) => Some(attention),
            _ => None,
        })
    }

    /// Convolutions that are mixed with what they read.
    pub(super) fn mixes(&self) -> impl Iterator<Item = (&Conv, &Mix)> {
        let downs = self.encoder.levels.iter().filter_map(|level| level.down.conv.as_ref());
        let ups = self.decoder.levels.iter().filter_map(|level| level.up.conv.as_ref());
        downs.chain(ups).filter_map(|conv| Some((conv, conv.mix.as_ref()?)))
    }

    /// What a half computes that the names and shapes of its weights do not determine, in a family without wavelets. Files
    /// store hashes of it: docs/formats.md.
    pub(super) fn layout(&self, half: Half) -> String {
        let resamplings: String = match half {
            Half::Encoder => {
                let step = |level: &EncoderLevel| match (level.down.space, level.down.time) {
                    (true, true) => 'b',
                    (true, false) => 's',
                    (false, _) => 't',
                };
                let steps = self.encoder.levels.iter().map(|level| format!("{}{}", level.body.len(), step(level)));
                steps.collect()
            }
            Half::Decoder => {
                let step = |level: &DecoderLevel| match (level.up.space, level.up.time) {
                    (Some(Enlarge::Nearest), _) => 'n',
                    (Some(Enlarge::Bilinear), false) => 's',
                    (Some(Enlarge::Bilinear), true) => 'b',
                    (None, _) => 't',
                };
                let after = self.decoder.levels.iter().map(|level| &level.merge);
                let before = std::iter::once(&self.decoder.head).chain(after);
                let steps = self.decoder.levels.iter().zip(before);
                steps.map(|(level, before)| format!("{}{}", before.len(), step(level))).collect()
            }
        };
        let attentions = self.attentions().filter(|attention| half.owns(&attention.norm.weight.key));
        let attentions: String = attentions.map(|attention| if attention.mixes_frames { 'm' } else { 'f' }).collect();
        format!("{resamplings} {attentions}")
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
                let levels = self.encoder.levels.iter().filter_map(|level| Some(level.flow.as_ref()?.wavelet));
                self.encoder.wavelet.into_iter().chain(levels).collect()
            }
            Half::Decoder => {
                let levels = self.decoder.levels.iter().filter_map(|level| Some(level.flow.as_ref()?.wavelet));
                levels.chain(self.decoder.wavelet).collect()
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
            level.down.conv.iter().for_each(|conv| add_conv(&mut weights, conv));
            level.flow.iter().for_each(|flow| add_conv(&mut weights, &flow.conv));
        }
        for level in &self.decoder.levels {
            level.up.conv.iter().for_each(|conv| add_conv(&mut weights, conv));
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
    weights.extend(conv.mix.iter().map(|mix| &mix.factor));
}

fn add_norm<'a>(weights: &mut Vec<&'a Weight>, norm: &'a Norm) {
    weights.extend([&norm.weight, &norm.bias]);
}
