//! The first generation: `_class_name` is "WFVAEModel".

use super::blocks::{Layers, causal, conv2d, resampling_conv, spatial};
use super::checkpoint::Checkpoint;
use super::config::{Config, Interpolation, MAX_BLOCKS, NormType};
use super::known_fields::Family;
use super::layer::{Down, Layer, Up};
use super::network::{Decoder, DecoderFlow, DecoderLevel, Encoder, EncoderFlow, EncoderLevel, Identities, Network};
use super::scaling::scaling;
use super::wavelet;
use crate::error::{Result, fail};

/// Describes the network that `config.json` specifies.
pub(super) fn describe(config: &Config, checkpoint: &Checkpoint) -> Result<Network> {
    let path = config.path().display();
    let mut warnings = config.check_fields(Family::Generation1)?;
    let layers = Layers { norm: config.norm_type(NormType::Group)?, frames_are_images: false };
    let attention = config.flag("use_attention", true)?;
    match config.text("attention_type", "AttnBlock3DFix")? {
        "AttnBlock3DFix" => {}
        "AttnBlock3D" if attention => fail!(
            UnsupportedModel,
            "{path}: attention_type \"AttnBlock3D\": the legacy attention mixes frames with channels and is not \
            causal; \"AttnBlock3DFix\" is supported"
        ),
        "AttnBlock3D" => {}
        other => return config.unknown_value("attention_type", other, "\"AttnBlock3DFix\""),
    }

    let latent = config.channels("latent_dim", 8)?;
    let base = config.channels("base_channels", 128)?;
    let encoder_blocks = config.blocks("encoder_num_resblocks", 2, 0)?;
    let decoder_blocks = config.blocks("decoder_num_resblocks", 2, 1)?;
    let encoder_flow = config.channels("encoder_energy_flow_hidden_size", 64)?;
    let decoder_flow = config.channels("decoder_energy_flow_hidden_size", 128)?;
    // Some published configs lack this field although their weights differ from the default.
    let connect_default = if config.has("connect_res_layer_num") { 1 } else { connect_layers(checkpoint) };
    let connect = config.blocks("connect_res_layer_num", connect_default, 0)?;
    let temporal_l1 = temporal_first_level(config)?;

    let widths = Widths { base, encoder_flow, decoder_flow, latent };
    let encoder = encoder(&layers, &widths, encoder_blocks, attention, temporal_l1, checkpoint)?;
    let decoder = decoder(&layers, &widths, decoder_blocks, connect, attention, temporal_l1, checkpoint)?;
    Ok(Network {
        generation: 1,
        latent_channels: latent,
        interpolation: config.interpolation(Interpolation::Nearest)?,
        encoder,
        decoder,
        scaling: scaling(config, latent, 4, &mut warnings)?,
        identities: Identities::default(),
        missing: None,
        warnings,
    })
}

struct Widths {
    base: usize,
    encoder_flow: usize,
    decoder_flow: usize,
    latent: usize,
}

fn encoder(
    layers: &Layers,
    w: &Widths,
    blocks: usize,
    attention: bool,
    temporal_l1: bool,
    ckpt: &Checkpoint,
) -> Result<Encoder> {
    let (b, flow) = (w.base, w.encoder_flow);
    let bands_l1 = if temporal_l1 { 24 } else { 12 };

    let mut down1 = vec![conv2d("encoder.down1.0", 24, b)];
    down1.extend((1..=blocks).map(|i| layers.resblock2d(&format!("encoder.down1.{i}"), b, b)));
    let mut down2 = vec![conv2d("encoder.down2.0", b + flow, 2 * b)];
    down2.extend((1..=blocks).map(|i| layers.resblock3d(&format!("encoder.down2.{i}"), 2 * b, 2 * b)));

    let mut tail = vec![layers.resblock3d("encoder.mid.0", 2 * b + flow, 4 * b)];
    if attention {
        tail.push(layers.attention3d("encoder.mid.1", 4 * b));
    }
    tail.push(layers.resblock3d(if attention { "encoder.mid.2" } else { "encoder.mid.1" }, 4 * b, 4 * b));
    tail.push(Layer::Norm(layers.norm("encoder.norm_out", 4 * b)));
    tail.push(Layer::Silu);
    tail.push(Layer::Conv(causal("encoder.conv_out.conv", 4 * b, 2 * w.latent)));

    Ok(Encoder {
        wavelet: Some(wavelet::stored(ckpt, "encoder.wavelet_transform_in", true)?),
        levels: vec![
            EncoderLevel {
                body: down1,
                down: Down::strided(resampling_conv(&format!("encoder.down1.{}", blocks + 1), b, temporal_l1)),
                flow: Some(EncoderFlow {
                    wavelet: wavelet::stored(ckpt, "encoder.wavelet_transform_l1", temporal_l1)?,
                    conv: spatial("encoder.connect_l1", bands_l1, flow),
                }),
                merge: vec![],
            },
            EncoderLevel {
                body: down2,
                down: Down::strided(resampling_conv(&format!("encoder.down2.{}", blocks + 1), 2 * b, true)),
                flow: Some(EncoderFlow {
                    wavelet: wavelet::stored(ckpt, "encoder.wavelet_transform_l2", true)?,
                    conv: spatial("encoder.connect_l2", 24, flow),
                }),
                merge: vec![],
            },
        ],
        tail,
    })
}

fn decoder(
    layers: &Layers,
    w: &Widths,
    blocks: usize,
    connect: usize,
    attention: bool,
    temporal_l1: bool,
    ckpt: &Checkpoint,
) -> Result<Decoder> {
    let (b, flow) = (w.base, w.decoder_flow);
    let bands_l1 = if temporal_l1 { 24 } else { 12 };

    let mut head = vec![Layer::Conv(causal("decoder.conv_in.conv", w.latent, 4 * b))];
    head.push(layers.resblock3d("decoder.mid.0", 4 * b, 4 * b));
    if attention {
        head.push(layers.attention3d("decoder.mid.1", 4 * b));
    }
    head.push(layers.resblock3d(if attention { "decoder.mid.2" } else { "decoder.mid.1" }, 4 * b, 4 * b + flow));

    let branch = |prefix: &str, bands: usize| {
        let mut layers: Vec<Layer> =
            (0..connect).map(|i| layers.resblock3d(&format!("{prefix}.{i}"), flow, flow)).collect();
        layers.push(conv2d(&format!("{prefix}.{connect}"), flow, bands));
        layers
    };
    let up2 = (0..blocks).map(|i| layers.resblock3d(&format!("decoder.up2.{i}"), 4 * b, 4 * b)).collect();
    let mut up1 = vec![layers.resblock3d("decoder.up1.0", 4 * b, 2 * b)];
    up1.extend((1..blocks).map(|i| layers.resblock3d(&format!("decoder.up1.{i}"), 2 * b, 2 * b)));

    Ok(Decoder {
        head,
        levels: vec![
            DecoderLevel {
                flow: Some(DecoderFlow {
                    channels: flow,
                    branch: branch("decoder.connect_l2", 24),
                    wavelet: wavelet::stored(ckpt, "decoder.inverse_wavelet_transform_l2", true)?,
                }),
                body: up2,
                up: Up::of(resampling_conv(&format!("decoder.up2.{blocks}"), 4 * b, true)),
                merge: vec![layers.resblock3d(&format!("decoder.up2.{}", blocks + 1), 4 * b, 4 * b + flow)],
            },
            DecoderLevel {
                flow: Some(DecoderFlow {
                    channels: flow,
                    branch: branch("decoder.connect_l1", bands_l1),
                    wavelet: wavelet::stored(ckpt, "decoder.inverse_wavelet_transform_l1", temporal_l1)?,
                }),
                body: up1,
                up: Up::of(resampling_conv(&format!("decoder.up1.{blocks}"), 2 * b, temporal_l1)),
                merge: vec![layers.resblock3d(&format!("decoder.up1.{}", blocks + 1), 2 * b, 2 * b)],
            },
        ],
        tail: vec![
            layers.resblock3d("decoder.layer.0", 2 * b, b),
            layers.resblock3d("decoder.layer.1", b, b),
            Layer::Norm(layers.norm("decoder.norm_out", b)),
            Layer::Silu,
            conv2d("decoder.conv_out", b, 24),
        ],
        wavelet: Some(wavelet::stored(ckpt, "decoder.inverse_wavelet_transform_out", true)?),
    })
}

/// Whether the outer level also halves the frame rate (8x compression instead of 4x). All four of its fields must
/// agree.
fn temporal_first_level(config: &Config) -> Result<bool> {
    const SPATIAL: [(&str, &str); 4] = [
        ("l1_dowmsample_block", "Downsample"),
        ("l1_downsample_wavelet", "HaarWaveletTransform2D"),
        ("l1_upsample_block", "Upsample"),
        ("l1_upsample_wavelet", "InverseHaarWaveletTransform2D"),
    ];
    const TEMPORAL: [&str; 4] = [
        "Spatial2xTime2x3DDownsample",
        "HaarWaveletTransform3D",
        "Spatial2xTime2x3DUpsample",
        "InverseHaarWaveletTransform3D",
    ];
    let mut first = None;
    for ((field, spatial), temporal) in SPATIAL.into_iter().zip(TEMPORAL) {
        let found = config.text(field, spatial)?;
        let is_temporal = found == temporal;
        if !is_temporal && found != spatial {
            return config.unknown_value(field, found, &format!("\"{spatial}\" or \"{temporal}\""));
        }
        if *first.get_or_insert(is_temporal) != is_temporal {
            let path = config.path().display();
            fail!(
                UnsupportedModel,
                "{path}: {field} \"{found}\" contradicts the other l1_ fields; all four must be spatial or all temporal"
            );
        }
        // The inner level's fields have the same names with l2, and only one supported value.
        let inner = field.replacen("l1", "l2", 1);
        let found = config.text(&inner, temporal)?;
        if found == spatial {
            let path = config.path().display();
            fail!(UnsupportedModel, "{path}: {inner}: found \"{found}\", only \"{temporal}\" is supported");
        }
        if found != temporal {
            return config.unknown_value(&inner, found, &format!("\"{temporal}\""));
        }
    }
    Ok(first.unwrap_or(false))
}

/// Counts the side branch's resblocks in the weights. The highest index belongs to the convolution after them.
fn connect_layers(checkpoint: &Checkpoint) -> usize {
    let indices = checkpoint.keys().filter_map(|key| {
        let (index, _) = key.strip_prefix("decoder.connect_l1.")?.split_once('.')?;
        index.parse::<usize>().ok()
    });
    // Tensor names may contain any number. If one is too large, a tensor will be missing.
    indices.max().unwrap_or(1).min(MAX_BLOCKS as usize)
}
