//! The second generation: `_class_name` is "WFVAE2Model".

use super::blocks::{Layers, causal, conv2d, resampling_conv, spatial};
use super::checkpoint::Checkpoint;
use super::config::{Config, Interpolation, NormType};
use super::known_fields::Family;
use super::layer::{Down, Layer, Up};
use super::network::{Decoder, DecoderFlow, DecoderLevel, Encoder, EncoderFlow, EncoderLevel, Identities, Network};
use super::scaling::scaling;
use super::wavelet;
use crate::error::{Result, fail};

/// Frames have at most 2^15 pixels per side, so more levels cannot work.
const MAX_LEVELS: usize = 14;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MidLayer {
    ResBlock2d,
    ResBlock3d,
    Attention2d,
    Attention3d,
}

/// One entry each of `layer_type` and `layer_res_type`. The outermost level is first.
struct Level {
    temporal: bool,
    resblocks_3d: bool,
}

struct Shape {
    layers: Layers,
    levels: Vec<Level>,
    mid: Vec<MidLayer>,
    /// An image model: it encodes each frame alone, with 2D outer wavelets and convolutions.
    image: bool,
    latent: usize,
}

/// Describes the network that `config.json` specifies.
pub(super) fn describe(config: &Config, checkpoint: &Checkpoint) -> Result<Network> {
    let path = config.path().display();
    let mut warnings = config.check_fields(Family::Generation2)?;
    let image = match config.text("input_type", "video")? {
        "video" => false,
        "image" => true,
        other => return config.unknown_value("input_type", other, "\"video\" or \"image\""),
    };
    let levels = levels(config)?;
    let mid = mid_layers(config)?;
    if image && let Some(i) = levels.iter().position(|level| level.temporal) {
        fail!(Config, "{path}: layer_type: entry {i} is \"thw\", but an image model (input_type) can only have \"hw\"");
    }
    if !image && mid.contains(&MidLayer::Attention2d) {
        fail!(
            UnsupportedModel,
            "{path}: mid_layers_type: \"AttnBlock2D\" works in image models only, but input_type is \"video\"; use \
            \"AttnBlock3DFix\""
        );
    }
    let flows = [config.channels("encoder_energy_flow_size", 128)?, config.channels("decoder_energy_flow_size", 128)?];
    let encoder_widths = config.widths("base_channels", &[128, 256, 512])?;
    let decoder_widths = config.widths("decoder_base_channels", &encoder_widths)?;
    for (field, widths) in [("base_channels", &encoder_widths), ("decoder_base_channels", &decoder_widths)] {
        if widths.len() != levels.len() + 1 {
            fail!(
                Config,
                "{path}: {field} has {} entries, expected {}: one more than layer_type",
                widths.len(),
                levels.len() + 1
            );
        }
    }
    let frames_are_images =
        image && !mid.contains(&MidLayer::ResBlock3d) && !levels.iter().any(|level| level.resblocks_3d);
    let layers = Layers { norm: config.norm_type(NormType::Layer)?, frames_are_images };
    let shape = Shape { layers, levels, mid, image, latent: config.channels("latent_dim", 4)? };
    let encoder_blocks = config.blocks("encoder_num_resblocks", 2, 1)?;
    let decoder_blocks = config.blocks("decoder_num_resblocks", 3, 2)?;
    Ok(Network {
        generation: 2,
        latent_channels: shape.latent,
        interpolation: config.interpolation(Interpolation::Trilinear)?,
        encoder: shape.encoder(&encoder_widths, flows[0], encoder_blocks - 1, checkpoint)?,
        decoder: shape.decoder(&decoder_widths, flows[1], decoder_blocks - 2, checkpoint)?,
        scaling: scaling(config, shape.latent, 8, &mut warnings)?,
        identities: Identities::default(),
        missing: None,
        warnings,
    })
}

impl Shape {
    /// `blocks`: how many plain resblocks each level has.
    fn encoder(&self, widths: &[usize], flow: usize, blocks: usize, checkpoint: &Checkpoint) -> Result<Encoder> {
        let mut body = vec![conv2d("encoder.conv_in", if self.image { 12 } else { 24 }, widths[0])];
        let mut levels = vec![];
        for (i, level) in self.levels.iter().enumerate() {
            let prefix = format!("encoder.down_blocks.{i}");
            let (width, next) = (widths[i], widths[i + 1]);
            body.extend((0..blocks).map(|j| self.resblock(level, &format!("{prefix}.res_block.{j}"), width, width)));
            levels.push(EncoderLevel {
                body: std::mem::take(&mut body),
                down: Down::strided(resampling_conv(&format!("{prefix}.down"), width, level.temporal)),
                flow: Some(EncoderFlow {
                    wavelet: wavelet::stored(checkpoint, &format!("{prefix}.wavelet_transform"), level.temporal)?,
                    conv: spatial(&format!("{prefix}.in_flow_conv"), level.coefficients(), flow),
                }),
                merge: vec![self.resblock(level, &format!("{prefix}.out_res_block"), width + flow, next)],
            });
        }
        let width = widths[self.levels.len()];
        let mut tail = self.mid("encoder.mid", width);
        tail.push(Layer::Norm(self.layers.norm("encoder.norm_out", width)));
        tail.push(Layer::Silu);
        tail.push(self.outer_conv("encoder.conv_out", width, 2 * self.latent));
        let wavelet = Some(wavelet::stored(checkpoint, "encoder.wavelet_transform_in", !self.image)?);
        Ok(Encoder { wavelet, levels, tail })
    }

    /// `blocks`: how many plain resblocks each level has.
    fn decoder(&self, widths: &[usize], flow: usize, blocks: usize, checkpoint: &Checkpoint) -> Result<Decoder> {
        let deepest = widths[self.levels.len()];
        let mut before = vec![self.outer_conv("decoder.conv_in", self.latent, deepest)];
        before.extend(self.mid("decoder.mid", deepest));
        let mut head = vec![];
        let mut levels: Vec<DecoderLevel> = vec![];
        for (i, level) in self.levels.iter().rev().enumerate() {
            let prefix = format!("decoder.up_blocks.{i}");
            let (width, next) = (widths[self.levels.len() - i], widths[self.levels.len() - i - 1]);
            // The branch block creates the side branch's channels. It is the last block before the level.
            before.push(level.side_block(&self.layers, &format!("{prefix}.branch_conv"), width, width + flow));
            match levels.last_mut() {
                None => head = before,
                Some(previous) => previous.merge = before,
            }
            levels.push(DecoderLevel {
                flow: Some(DecoderFlow {
                    channels: flow,
                    branch: vec![
                        level.side_block(&self.layers, &format!("{prefix}.out_flow_conv.0"), flow, flow),
                        conv2d(&format!("{prefix}.out_flow_conv.1"), flow, level.coefficients()),
                    ],
                    wavelet: wavelet::stored(
                        checkpoint,
                        &format!("{prefix}.inverse_wavelet_transform"),
                        level.temporal,
                    )?,
                }),
                body: (0..blocks)
                    .map(|j| self.resblock(level, &format!("{prefix}.res_block.{j}"), width, width))
                    .collect(),
                up: Up::of(resampling_conv(&format!("{prefix}.up"), width, level.temporal)),
                merge: vec![],
            });
            before = vec![self.resblock(level, &format!("{prefix}.out_res_block"), width, next)];
        }
        // Unlike in the first generation, there is no activation before this convolution.
        let mut tail = before;
        tail.push(Layer::Norm(self.layers.norm("decoder.norm_out", widths[0])));
        tail.push(conv2d("decoder.conv_out", widths[0], if self.image { 12 } else { 24 }));
        let wavelet = Some(wavelet::stored(checkpoint, "decoder.inverse_wavelet_transform_out", !self.image)?);
        Ok(Decoder { head, levels, tail, wavelet })
    }

    fn resblock(&self, level: &Level, prefix: &str, c_in: usize, c_out: usize) -> Layer {
        match level.resblocks_3d {
            true => self.layers.resblock3d(prefix, c_in, c_out),
            false => self.layers.resblock2d(prefix, c_in, c_out),
        }
    }

    fn mid(&self, prefix: &str, width: usize) -> Vec<Layer> {
        let layers = self.mid.iter().enumerate().map(|(i, kind)| {
            let prefix = format!("{prefix}.{i}");
            match kind {
                MidLayer::ResBlock2d => self.layers.resblock2d(&prefix, width, width),
                MidLayer::ResBlock3d => self.layers.resblock3d(&prefix, width, width),
                MidLayer::Attention2d => self.layers.attention2d(&prefix, width),
                MidLayer::Attention3d => self.layers.attention3d(&prefix, width),
            }
        });
        layers.collect()
    }

    /// The convolution at the latent end of the network.
    fn outer_conv(&self, prefix: &str, c_in: usize, c_out: usize) -> Layer {
        match self.image {
            true => conv2d(prefix, c_in, c_out),
            false => Layer::Conv(causal(&format!("{prefix}.conv"), c_in, c_out)),
        }
    }
}

impl Level {
    /// Channels of the level's wavelet coefficients, for three colours.
    fn coefficients(&self) -> usize {
        if self.temporal { 24 } else { 12 }
    }

    /// The side branch's blocks are 3D in temporal levels, even if the level's own blocks are 2D.
    fn side_block(&self, layers: &Layers, prefix: &str, c_in: usize, c_out: usize) -> Layer {
        match self.temporal {
            true => layers.resblock3d(prefix, c_in, c_out),
            false => layers.resblock2d(prefix, c_in, c_out),
        }
    }
}

fn levels(config: &Config) -> Result<Vec<Level>> {
    let path = config.path().display();
    let kinds = config.texts("layer_type", &["hw", "thw"])?;
    let blocks = config.texts("layer_res_type", &["ResnetBlock2D", "ResnetBlock3D"])?;
    if kinds.is_empty() || kinds.len() > MAX_LEVELS {
        fail!(Config, "{path}: layer_type has {} entries, expected 1 to {MAX_LEVELS}", kinds.len());
    }
    if kinds.len() != blocks.len() {
        fail!(Config, "{path}: layer_res_type has {} entries, expected {} as in layer_type", blocks.len(), kinds.len());
    }
    let level = |(kind, block): (&str, &str)| {
        let temporal = match kind {
            "hw" => false,
            "thw" => true,
            other => return config.unknown_value("layer_type", other, "\"hw\" or \"thw\""),
        };
        let resblocks_3d = match block {
            "ResnetBlock2D" => false,
            "ResnetBlock3D" => true,
            other => {
                return config.unknown_value("layer_res_type", other, "\"ResnetBlock2D\" or \"ResnetBlock3D\"");
            }
        };
        Ok(Level { temporal, resblocks_3d })
    };
    kinds.into_iter().zip(blocks).map(level).collect()
}

fn mid_layers(config: &Config) -> Result<Vec<MidLayer>> {
    const WORKING: &str =
        "\"ResnetBlock3D\", \"ResnetBlock2D\", \"AttnBlock3DFix\" or, in image models, \"AttnBlock2D\"";
    let path = config.path().display();
    let layer = |name: &str| match name {
        "ResnetBlock2D" => Ok(MidLayer::ResBlock2d),
        "ResnetBlock3D" => Ok(MidLayer::ResBlock3d),
        "AttnBlock3DFix" => Ok(MidLayer::Attention3d),
        "AttnBlock2D" => Ok(MidLayer::Attention2d),
        "AttnBlock3D" => fail!(
            UnsupportedModel,
            "{path}: mid_layers_type \"AttnBlock3D\": the legacy attention mixes frames with channels and is not \
             causal; supported are {WORKING}"
        ),
        // The reference's own default, which the reference cannot build.
        "Attention3DFix" => fail!(
            Config,
            "{path}: mid_layers_type \"Attention3DFix\" (the default where the field is missing): the reference has no \
             such layer, so no checkpoint was made with it; expected {WORKING}"
        ),
        other => config.unknown_value("mid_layers_type", other, WORKING),
    };
    let names = config.texts("mid_layers_type", &["ResnetBlock3D", "Attention3DFix", "ResnetBlock3D"])?;
    names.into_iter().map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn there_is_a_largest_number_of_levels() {
        let of = |count: usize| {
            let config = json!({ "layer_type": vec!["hw"; count], "layer_res_type": vec!["ResnetBlock2D"; count] });
            levels(&Config::parse(config.to_string().as_bytes(), "c".as_ref()).unwrap()).map(|levels| levels.len())
        };
        assert_eq!(of(MAX_LEVELS).unwrap(), MAX_LEVELS);
        assert!(of(MAX_LEVELS + 1).unwrap_err().text().contains("layer_type has 15 entries, expected 1 to 14"));
    }
}
