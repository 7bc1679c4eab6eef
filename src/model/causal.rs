//! CausalVAE, the family without wavelets: `_class_name` is "CausalVAEModel". See docs/spec.md section 11.

use super::blocks::{Layers, causal, mixed, pointwise2d, pointwise3d, resampling_conv, spatial, spatial_of_video};
use super::config::{Config, Interpolation, MAX_BLOCKS, MAX_CHANNELS, NormType};
use super::known_fields::Family;
use super::layer::{Conv, Down, Enlarge, Layer, Mixed, Up};
use super::network::{CAUSAL, Decoder, DecoderLevel, Encoder, EncoderLevel, Identities, Network};
use super::scaling::scaling;
use crate::error::{Result, fail};

/// Frames have at most 2^15 pixels per side, so more halvings cannot work.
const MAX_HALVINGS: u32 = 14;
const RESBLOCKS: [&str; 2] = ["ResnetBlock2D", "ResnetBlock3D"];
const ATTENTIONS: [&str; 3] = ["AttnBlock3D", "AttnBlock3DFix", "AttnBlock2D"];
const DOWNS: [&str; 7] = [
    "",
    "Downsample",
    "SpatialDownsample2x",
    "Spatial2x3DDownsample",
    "Spatial2xTime2x3DDownsample",
    "TimeDownsample2x",
    "TimeDownsampleRes2x",
];
const UPS: [&str; 7] = [
    "",
    "Upsample",
    "SpatialUpsample2x",
    "Spatial2x3DUpsample",
    "Spatial2xTime2x3DUpsample",
    "TimeUpsample2x",
    "TimeUpsampleRes2x",
];

/// What the config says of one half, in lists with one entry for each level, outermost first.
struct Side {
    /// "encoder" or "decoder", with which its fields and tensors begin.
    name: &'static str,
    conv_in: &'static str,
    conv_out: &'static str,
    resblocks: Vec<&'static str>,
    mid: &'static str,
    attention: &'static str,
    /// Whether the level's blocks are followed by attention.
    attends: Vec<bool>,
    spatial: Vec<&'static str>,
    temporal: Vec<&'static str>,
}

/// Both halves, and what they share.
struct Shape {
    encoder: Side,
    decoder: Side,
    /// Of the levels, outermost first.
    widths: Vec<usize>,
    hidden: usize,
    blocks: usize,
    norm: NormType,
    /// An image model: it encodes each frame alone.
    image: bool,
    /// Channels of the encoder's means before the quantization convolution.
    inner: usize,
    latent: usize,
    /// The kind of the quantization convolutions, if there are any.
    quant: Option<&'static str>,
}

/// Describes the network that `config.json` specifies.
pub(super) fn describe(config: &Config) -> Result<Network> {
    let mut warnings = config.check_fields(Family::Causal)?;
    let shape = Shape::read(config)?;
    let (encoder, decoder) = (shape.encoder(), shape.decoder());
    let path = config.path().display();
    for (what, e, d) in [
        ("space", encoder.spatial_compression(), decoder.spatial_compression()),
        ("time", encoder.temporal_compression(), decoder.temporal_compression()),
    ] {
        if e != d {
            fail!(Config, "{path}: the encoder's blocks compress {what} by {e}, the decoder's expand it by {d}");
        }
        if e > 1 << MAX_HALVINGS {
            fail!(Config, "{path}: the blocks compress {what} by {e}, at most {} is possible", 1 << MAX_HALVINGS);
        }
    }
    Ok(Network {
        generation: CAUSAL,
        latent_channels: shape.latent,
        interpolation: Interpolation::Trilinear,
        encoder,
        decoder,
        scaling: scaling(config, shape.latent, 4, &mut warnings)?,
        identities: Identities::default(),
        missing: None,
        warnings,
    })
}

impl Shape {
    fn read(config: &Config) -> Result<Self> {
        let path = config.path().display();
        let hidden = config.channels("hidden_size", 128)?;
        let factors = config.widths("hidden_size_mult", &[1, 2, 4, 4])?;
        if factors.is_empty() || factors.len() as u64 > MAX_BLOCKS {
            fail!(Config, "{path}: hidden_size_mult has {} entries, expected 1 to {MAX_BLOCKS}", factors.len());
        }
        let width = |factor: usize| Some(hidden * factor).filter(|width| *width as u64 <= MAX_CHANNELS);
        let Some(widths) = factors.iter().map(|factor| width(*factor)).collect::<Option<Vec<_>>>() else {
            fail!(Config, "{path}: hidden_size times hidden_size_mult gives more than {MAX_CHANNELS} channels");
        };
        if !config.flag("double_z", true)? {
            fail!(
                UnsupportedModel,
                "{path}: double_z false: the encoder would make one value where the rest of the model takes a mean and a \
                 log-variance, so no such model can have been trained"
            );
        }
        let inner = config.channels("z_channels", 4)?;
        let embedded = config.channels("embed_dim", 4)?;
        let quant = config.flag("use_quant_layer", true)?.then(|| conv_kind(config, "q_conv")).transpose()?;
        let levels = widths.len();
        let resolution = config.channels("resolution", 256)?;
        let sizes = config.widths("attn_resolutions", &[])?;
        let encoder = Side::read(config, &ENCODER, levels, |side| side.attends_down(resolution, &sizes))?;
        let decoder = Side::read(config, &DECODER, levels, |side| side.attends_up(resolution, &sizes))?;
        for side in [&encoder, &decoder] {
            let resamplings = side.spatial.iter().chain(&side.temporal).filter(|kind| !kind.is_empty()).count();
            if resamplings as u32 > 2 * MAX_HALVINGS {
                let most = 2 * MAX_HALVINGS;
                fail!(
                    Config,
                    "{path}: the {} has {resamplings} blocks that change sizes, at most {most} are possible",
                    side.name
                );
            }
        }
        let shape = Shape {
            image: encoder.attention == "AttnBlock2D" || decoder.attention == "AttnBlock2D",
            encoder,
            decoder,
            widths,
            hidden,
            blocks: config.blocks("num_res_blocks", 2, 1)?,
            norm: config.norm_type(NormType::Group)?,
            inner,
            latent: if quant.is_some() { embedded } else { inner },
            quant,
        };
        if shape.image {
            shape.check_image(config)?;
        }
        Ok(shape)
    }

    /// AttnBlock2D takes images without a time axis, so nothing else may need one.
    fn check_image(&self, config: &Config) -> Result<()> {
        let of_side = |side: &Side| {
            let Side { name, .. } = side;
            let field = |field: &str| format!("{name}_{field}");
            let (spatial, temporal) = match *name {
                "encoder" => ("spatial_downsample", "temporal_downsample"),
                _ => ("spatial_upsample", "temporal_upsample"),
            };
            let one = [("conv_in", side.conv_in), ("conv_out", side.conv_out), ("mid_resnet", side.mid)];
            let one = one.into_iter().chain([("attention", side.attention)]).map(|(name, kind)| (field(name), kind));
            let lists = [("resnet_blocks", &side.resblocks), (spatial, &side.spatial), (temporal, &side.temporal)];
            let lists = lists.into_iter().flat_map(|(name, kinds)| kinds.iter().map(move |kind| (field(name), *kind)));
            one.chain(lists).collect::<Vec<_>>()
        };
        let quant = self.quant.map(|kind| ("q_conv".to_string(), kind));
        let all = of_side(&self.encoder).into_iter().chain(of_side(&self.decoder)).chain(quant);
        let of_images = ["", "Conv2d", "ResnetBlock2D", "AttnBlock2D", "Downsample", "Upsample"];
        if let Some((field, kind)) = all.into_iter().find(|(_, kind)| !of_images.contains(kind)) {
            fail!(
                UnsupportedModel,
                "{}: AttnBlock2D takes images, which have no time axis, and {field} \"{kind}\" needs one; with AttnBlock3DFix \
                 the model takes video",
                config.path().display()
            );
        }
        Ok(())
    }

    fn encoder(&self) -> Encoder {
        let side = &self.encoder;
        // The reference leaves norm_type out here, which makes it its default.
        let attention = Layers { norm: NormType::Group, frames_are_images: self.image };
        let layers = Layers { norm: self.norm, frames_are_images: self.image };
        let mut body = vec![Layer::Conv(end_conv(side.conv_in, "encoder.conv_in", 3, self.hidden))];
        let (mut levels, mut width) = (vec![], self.hidden);
        for (i, next) in self.widths.iter().copied().enumerate() {
            for j in 0..self.blocks {
                let prefix = format!("encoder.down.{i}");
                body.push(resblock(&layers, side.resblocks[i], &format!("{prefix}.block.{j}"), width, next));
                width = next;
                if side.attends[i] {
                    body.push(self.attention(&attention, side, &format!("{prefix}.attn.{j}"), width));
                }
            }
            for (slot, kind) in [("downsample", side.spatial[i]), ("time_downsample", side.temporal[i])] {
                if let Some(down) = down(kind, &format!("encoder.down.{i}.{slot}"), width) {
                    levels.push(EncoderLevel { body: std::mem::take(&mut body), down, flow: None, merge: vec![] });
                }
            }
        }
        let mut tail = body;
        tail.extend(self.mid(side, [&layers, &attention], width));
        tail.push(Layer::Norm(layers.norm("encoder.norm_out", width)));
        tail.push(Layer::Silu);
        tail.push(Layer::Conv(end_conv(side.conv_out, "encoder.conv_out", width, 2 * self.inner)));
        tail.extend(self.quant.map(|kind| quant_conv(kind, "quant_conv", 2 * self.inner, 2 * self.latent)));
        Encoder { wavelet: None, levels, tail }
    }

    fn decoder(&self) -> Decoder {
        let side = &self.decoder;
        let layers = Layers { norm: self.norm, frames_are_images: self.image };
        let mut width = self.widths[self.widths.len() - 1];
        let mut before = vec![];
        before.extend(self.quant.map(|kind| quant_conv(kind, "post_quant_conv", self.latent, self.inner)));
        before.push(Layer::Conv(end_conv(side.conv_in, "decoder.conv_in", self.inner, width)));
        before.extend(self.mid(side, [&layers, &layers], width));
        let (mut head, mut levels) = (None, Vec::<DecoderLevel>::new());
        for (i, next) in self.widths.iter().copied().enumerate().rev() {
            for j in 0..=self.blocks {
                let prefix = format!("decoder.up.{i}");
                before.push(resblock(&layers, side.resblocks[i], &format!("{prefix}.block.{j}"), width, next));
                width = next;
                if side.attends[i] {
                    before.push(self.attention(&layers, side, &format!("{prefix}.attn.{j}"), width));
                }
            }
            for (slot, kind) in [("upsample", side.spatial[i]), ("time_upsample", side.temporal[i])] {
                if let Some(up) = up(kind, &format!("decoder.up.{i}.{slot}"), width) {
                    let layers = std::mem::take(&mut before);
                    match levels.last_mut() {
                        None => head = Some(layers),
                        Some(previous) => previous.merge = layers,
                    }
                    levels.push(DecoderLevel { flow: None, body: vec![], up, merge: vec![] });
                }
            }
        }
        let mut tail = before;
        tail.push(Layer::Norm(layers.norm("decoder.norm_out", width)));
        tail.push(Layer::Silu);
        tail.push(Layer::Conv(end_conv(side.conv_out, "decoder.conv_out", width, 3)));
        Decoder { head: head.unwrap_or_default(), levels, tail, wavelet: None }
    }

    /// `norms` are of the resblocks and of the attention.
    fn mid(&self, side: &Side, [layers, attention]: [&Layers; 2], width: usize) -> [Layer; 3] {
        let prefix = |layer: &str| format!("{}.mid.{layer}", side.name);
        [
            resblock(layers, side.mid, &prefix("block_1"), width, width),
            self.attention(attention, side, &prefix("attn_1"), width),
            resblock(layers, side.mid, &prefix("block_2"), width, width),
        ]
    }

    fn attention(&self, layers: &Layers, side: &Side, prefix: &str, width: usize) -> Layer {
        match side.attention {
            "AttnBlock3D" => layers.legacy_attention(prefix, width),
            "AttnBlock2D" => layers.attention2d(prefix, width),
            _ => layers.attention3d(prefix, width),
        }
    }
}

/// The names of a half's fields, and their defaults.
struct Fields {
    name: &'static str,
    spatial: (&'static str, [&'static str; 4]),
    temporal: (&'static str, [&'static str; 4]),
    /// What may be there.
    resamplings: [&'static str; 7],
}

const ENCODER: Fields = Fields {
    name: "encoder",
    spatial: ("spatial_downsample", ["SpatialDownsample2x", "SpatialDownsample2x", "SpatialDownsample2x", ""]),
    temporal: ("temporal_downsample", ["", "TimeDownsample2x", "TimeDownsample2x", ""]),
    resamplings: DOWNS,
};
const DECODER: Fields = Fields {
    name: "decoder",
    spatial: ("spatial_upsample", ["", "SpatialUpsample2x", "SpatialUpsample2x", "SpatialUpsample2x"]),
    temporal: ("temporal_upsample", ["", "", "TimeUpsample2x", "TimeUpsample2x"]),
    resamplings: UPS,
};

impl Side {
    fn read(config: &Config, fields: &Fields, levels: usize, attends: impl FnOnce(&Side) -> Vec<bool>) -> Result<Self> {
        let field = |name: &str| format!("{}_{name}", fields.name);
        let resblocks = kinds(config, &field("resnet_blocks"), &["ResnetBlock3D"; 4], &RESBLOCKS, levels)?;
        let (path, listed) =
            (config.path().display(), config.texts(&field("resnet_blocks"), &["ResnetBlock3D"; 4])?.len());
        if fields.name == "encoder" && listed != levels {
            fail!(
                Config,
                "{path}: encoder_resnet_blocks has {listed} entries, expected {levels} as in hidden_size_mult"
            );
        }
        let resampling = |(name, default): (&str, [&'static str; 4])| {
            kinds(config, &field(name), &default, &fields.resamplings, levels)
        };
        let mut side = Side {
            name: fields.name,
            conv_in: conv_kind(config, &field("conv_in"))?,
            conv_out: conv_kind(config, &field("conv_out"))?,
            resblocks,
            mid: kind(config, &field("mid_resnet"), "ResnetBlock3D", &RESBLOCKS)?,
            attention: kind(config, &field("attention"), "AttnBlock3D", &ATTENTIONS)?,
            attends: vec![],
            spatial: resampling(fields.spatial)?,
            temporal: resampling(fields.temporal)?,
        };
        side.attends = attends(&side);
        Ok(side)
    }

    /// Which levels of an encoder attend: those whose nominal size is listed. It halves after every entry of the spatial list.
    fn attends_down(&self, resolution: usize, sizes: &[usize]) -> Vec<bool> {
        let mut size = resolution;
        let attends = |kind: &&str| {
            let listed = sizes.contains(&size);
            size /= if kind.is_empty() { 1 } else { 2 };
            listed
        };
        self.spatial.iter().map(attends).collect()
    }

    /// The same of a decoder, whose nominal size begins at the deepest level and doubles.
    fn attends_up(&self, resolution: usize, sizes: &[usize]) -> Vec<bool> {
        let mut size = resolution.checked_shr(self.spatial.len() as u32 - 1).unwrap_or(0);
        let attends = |kind: &&str| {
            let listed = sizes.contains(&size);
            size = size.saturating_mul(if kind.is_empty() { 1 } else { 2 });
            listed
        };
        let mut attends: Vec<bool> = self.spatial.iter().rev().map(attends).collect();
        attends.reverse();
        attends
    }
}

/// The first `levels` entries of a list of layers.
fn kinds(
    config: &Config,
    field: &str,
    default: &[&'static str],
    known: &[&'static str],
    levels: usize,
) -> Result<Vec<&'static str>> {
    let names = config.texts(field, default)?;
    if names.len() < levels {
        let path = config.path().display();
        fail!(Config, "{path}: {field} has {} entries, expected {levels} as in hidden_size_mult", names.len());
    }
    names[..levels].iter().map(|name| known_kind(config, field, name, known)).collect()
}

fn kind(config: &Config, field: &str, default: &'static str, known: &[&'static str]) -> Result<&'static str> {
    known_kind(config, field, config.text(field, default)?, known)
}

fn known_kind(config: &Config, field: &str, name: &str, known: &[&'static str]) -> Result<&'static str> {
    match known.iter().find(|known| **known == name) {
        Some(known) => Ok(known),
        None => {
            let names: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
            config.unknown_value(field, name, &format!("one of {}", names.join(", ")))
        }
    }
}

fn conv_kind(config: &Config, field: &str) -> Result<&'static str> {
    match config.text(field, "CausalConv3d")? {
        // The same, but for how it is trained.
        "CausalConv3d_GC" => Ok("CausalConv3d"),
        name => known_kind(config, field, name, &["CausalConv3d", "Conv2d"]),
    }
}

/// A convolution at an end of a half.
fn end_conv(kind: &str, prefix: &str, c_in: usize, c_out: usize) -> Conv {
    match kind {
        "Conv2d" => spatial(prefix, c_in, c_out),
        _ => causal(&format!("{prefix}.conv"), c_in, c_out),
    }
}

fn quant_conv(kind: &str, prefix: &str, c_in: usize, c_out: usize) -> Layer {
    Layer::Conv(match kind {
        "Conv2d" => pointwise2d(prefix, c_in, c_out),
        _ => pointwise3d(&format!("{prefix}.conv"), c_in, c_out),
    })
}

fn resblock(layers: &Layers, kind: &str, prefix: &str, c_in: usize, c_out: usize) -> Layer {
    match kind {
        "ResnetBlock2D" => layers.resblock2d(prefix, c_in, c_out),
        _ => layers.resblock3d(prefix, c_in, c_out),
    }
}

fn down(kind: &str, prefix: &str, width: usize) -> Option<Down> {
    let time = matches!(kind, "Spatial2xTime2x3DDownsample" | "TimeDownsample2x" | "TimeDownsampleRes2x");
    let space = !kind.starts_with("Time");
    let conv = match kind {
        "" => return None,
        "Downsample" => Some(resampling_conv(prefix, width, false)),
        "SpatialDownsample2x" => Some(spatial_of_video(&format!("{prefix}.conv.conv"), width, width)),
        "TimeDownsample2x" => None,
        "TimeDownsampleRes2x" => {
            Some(mixed(&format!("{prefix}.conv"), width, &format!("{prefix}.mix_factor"), Mixed::Mean))
        }
        _ => Some(resampling_conv(prefix, width, true)),
    };
    Some(Down { conv, space, time })
}

fn up(kind: &str, prefix: &str, width: usize) -> Option<Up> {
    let (conv, space, time) = match kind {
        "" => return None,
        "Upsample" => (Some(resampling_conv(prefix, width, false)), Some(Enlarge::Nearest), false),
        "SpatialUpsample2x" => {
            (Some(spatial_of_video(&format!("{prefix}.conv.conv"), width, width)), Some(Enlarge::Nearest), false)
        }
        "TimeUpsample2x" => (None, None, true),
        "TimeUpsampleRes2x" => {
            let conv = mixed(&format!("{prefix}.conv.conv"), width, &format!("{prefix}.mix_factor"), Mixed::Newest);
            (Some(conv), None, true)
        }
        kind => {
            let conv = resampling_conv(prefix, width, true);
            (Some(conv), Some(Enlarge::Bilinear), kind == "Spatial2xTime2x3DUpsample")
        }
    };
    Some(Up { conv, space, time })
}
