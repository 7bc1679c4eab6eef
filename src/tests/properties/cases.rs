//! Random models, clips and ways of streaming them.

use super::checkpoint::{Haar, Storage, Weights};
use crate::model::{self, Checkpoint, Config, Network};
use crate::stream::{Convolution, Geometry, StreamOptions, Tiling};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::fmt;
use std::path::Path;

/// `config.json`.
#[derive(Clone)]
pub(super) struct ModelConfig(pub(super) Map<String, Value>);

impl fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Value::Object(self.0.clone()).to_string())
    }
}

impl ModelConfig {
    fn new(value: Value) -> Self {
        let Value::Object(fields) = value else { unreachable!("a config is an object") };
        ModelConfig(fields)
    }

    /// With at least four channels everywhere. Half precision is coarse enough to turn what a norm of three says.
    fn widened(mut self) -> Self {
        fn widen(value: &mut Value) {
            match value {
                Value::Array(list) => list.iter_mut().for_each(widen),
                Value::Number(n) => *value = n.as_u64().unwrap_or(0).max(4).into(),
                _ => {}
            }
        }
        let widths = |name: &&String| name.ends_with("base_channels") || name.contains("_energy_flow_");
        let names: Vec<String> = self.0.keys().filter(widths).cloned().collect();
        names.iter().for_each(|name| widen(&mut self.0[name]));
        self
    }

    pub(super) fn describe(&self) -> Network {
        let text = Value::Object(self.0.clone()).to_string();
        let config = Config::parse(text.as_bytes(), Path::new("config.json")).unwrap();
        let empty = Checkpoint::from_static("no weights", b"\x02\0\0\0\0\0\0\0{}").unwrap();
        model::describe(&config, &empty).unwrap()
    }
}

/// Which networks to make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Any,
    /// A small receptive field, so that tiles can be small.
    Local,
}

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) config: ModelConfig,
    pub(super) weights: Weights,
    pub(super) variant: Variant,
    /// One query at a time.
    pub(super) tiny_attention: bool,
    /// Columns and rows of the latents.
    pub(super) grid: [usize; 2],
    /// The clip's frames: `1 + groups * unit + extra % unit`.
    groups: usize,
    extra: usize,
    pub(super) latents: usize,
    pub(super) encode_plans: [Vec<usize>; 2],
    pub(super) decode_plans: [Vec<usize>; 2],
    /// The call before which the stream is left and taken up again.
    pub(super) cut: usize,
    pub(super) resume: Resume,
    /// The clip's end that is not to be written.
    pub(super) unwanted_frames: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Variant {
    Plain,
    /// The clip in one call, with `clip_frames`.
    AtOnce,
    HalfCaches,
    /// The smallest that are possible, on these axes; `grid` latents are left for the others.
    ExactTiles {
        axes: [bool; 2],
        at_once: bool,
    },
    /// Size and overlap in latents; overlap 0: the default.
    BlendedTiles {
        size: usize,
        overlap: usize,
        at_once: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Resume {
    SameStream,
    Bytes,
    Fork,
}

impl Case {
    /// A quarter of the cases runs on ONNX's operators, which round less.
    pub(super) fn convolution(&self) -> Convolution {
        match self.weights.seed % 4 {
            0 => Convolution::Direct,
            1 => Convolution::Fast,
            _ => Convolution::Exact,
        }
    }

    pub(super) fn frames(&self, unit: usize) -> usize {
        1 + self.groups * unit + self.extra % unit
    }

    /// For one direction, whose halo it is.
    pub(super) fn options(&self, compression: usize, halo: Option<usize>) -> StreamOptions {
        let [mut width, mut height] = self.grid.map(|n| n * compression);
        let mut tiling = Tiling::Off;
        let mut tile = [0, 0];
        match self.variant {
            Variant::ExactTiles { axes, .. } => {
                let smallest = 2 * halo.expect("a local network") + compression;
                tiling = Tiling::Exact;
                for ((side, tile), tiled) in [&mut width, &mut height].into_iter().zip(&mut tile).zip(axes) {
                    if tiled {
                        (*tile, *side) = (smallest, smallest + *side);
                    }
                }
            }
            Variant::BlendedTiles { size, overlap, .. } => {
                // Rounded up again.
                tiling = Tiling::Blended { overlap: (overlap * compression).saturating_sub(1) };
                tile = [size * compression; 2];
            }
            _ => {}
        }
        let mut options = StreamOptions::new(width, height);
        (options.tiling, [options.tile_width, options.tile_height]) = (tiling, tile);
        options
    }

    pub(super) fn at_once(&self) -> bool {
        matches!(
            self.variant,
            Variant::AtOnce | Variant::ExactTiles { at_once: true, .. } | Variant::BlendedTiles { at_once: true, .. }
        )
    }
}

pub(super) fn geometry(options: &StreamOptions, compression: usize) -> Geometry {
    Geometry::new(compression, options).unwrap()
}

fn interpolation() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("nearest"), Just("trilinear")]
}

/// Whether it is group norm.
fn norm(kind: Kind) -> impl Strategy<Value = bool> {
    prop::bool::weighted(if kind == Kind::Local { 0.0 } else { 0.08 })
}

/// A layer norm of two channels only says which is larger: rounding may change all that follows.
fn flow() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 3..=6usize, 1 => Just(1usize)]
}

pub(super) fn first_generation(kind: Kind) -> impl Strategy<Value = ModelConfig> {
    let local = kind == Kind::Local;
    let blocks = if local { (0..=0usize, 1..=1usize, 0..=1usize) } else { (0..=2, 1..=2, 0..=2) };
    let widths = (3..=5usize, flow(), flow(), 1..=5usize);
    let flags = (any::<bool>(), any::<bool>(), norm(kind), interpolation());
    (blocks, widths, flags).prop_map(move |(blocks, widths, (eight_times, attention, group, interpolation))| {
        let (encoder_blocks, decoder_blocks, connect) = blocks;
        let (mut base, mut encoder_flow, mut decoder_flow, latent) = widths;
        if group {
            (base, encoder_flow, decoder_flow) = (32, 32, 32);
        }
        let [down, analysis, up, synthesis] = match eight_times {
            false => ["Downsample", "HaarWaveletTransform2D", "Upsample", "InverseHaarWaveletTransform2D"],
            true => [
                "Spatial2xTime2x3DDownsample",
                "HaarWaveletTransform3D",
                "Spatial2xTime2x3DUpsample",
                "InverseHaarWaveletTransform3D",
            ],
        };
        ModelConfig::new(json!({
            "_class_name": "WFVAEModel",
            "latent_dim": latent,
            "base_channels": base,
            "encoder_num_resblocks": encoder_blocks,
            "decoder_num_resblocks": decoder_blocks,
            "encoder_energy_flow_hidden_size": encoder_flow,
            "decoder_energy_flow_hidden_size": decoder_flow,
            "use_attention": attention && !local,
            "norm_type": if group { "groupnorm" } else { "layernorm" },
            "t_interpolation": interpolation,
            "connect_res_layer_num": connect,
            "l1_dowmsample_block": down,
            "l1_downsample_wavelet": analysis,
            "l1_upsample_block": up,
            "l1_upsample_wavelet": synthesis,
        }))
    })
}

pub(super) fn second_generation(kind: Kind) -> impl Strategy<Value = ModelConfig> {
    let local = kind == Kind::Local;
    let most = if local { 2 } else { 3 };
    let level = (any::<bool>(), any::<bool>());
    let widths = || vec(3..=9usize, 4);
    let flags = (prop::bool::weighted(0.25), norm(kind), interpolation());
    let blocks = if local { (1..=1usize, 2..=2usize) } else { (1..=3, 2..=4) };
    let mid = vec(0..if local { 2usize } else { 4 }, 0..=if local { 1 } else { 3 });
    let numbers = (flow(), flow(), 1..=5usize);
    (vec(level, 1..=most), (widths(), weighted(0.5, widths())), flags, blocks, mid, numbers).prop_map(
        move |(levels, (encoder_widths, decoder_widths), flags, blocks, mid, numbers)| {
            let (image, group, interpolation) = flags;
            let (encoder_flow, decoder_flow, latent) = numbers;
            let width = |n: usize| if group { 32 + 32 * (n / 7) } else { n };
            let widths = |list: Vec<usize>| list.into_iter().take(levels.len() + 1).map(width).collect::<Vec<_>>();
            let flow = |n: usize| if group { 32 } else { n };
            let name = |i: usize| match i {
                0 => "ResnetBlock2D",
                1 => "ResnetBlock3D",
                2 => "AttnBlock3DFix",
                _ if image => "AttnBlock2D",
                _ => "ResnetBlock3D",
            };
            let text = |yes: bool, [no, then]: [&'static str; 2]| if yes { then } else { no };
            ModelConfig::new(json!({
                "_class_name": "WFVAE2Model",
                "latent_dim": latent,
                "base_channels": widths(encoder_widths),
                "decoder_base_channels": decoder_widths.map(widths),
                "layer_type": levels.iter().map(|level| text(level.0 && !image, ["hw", "thw"])).collect::<Vec<_>>(),
                "layer_res_type": levels.iter().map(|level| text(level.1, ["ResnetBlock2D", "ResnetBlock3D"])).collect::<Vec<_>>(),
                "encoder_num_resblocks": blocks.0,
                "decoder_num_resblocks": blocks.1,
                "encoder_energy_flow_size": flow(encoder_flow),
                "decoder_energy_flow_size": flow(decoder_flow),
                "norm_type": text(group, ["layernorm", "groupnorm"]),
                "t_interpolation": interpolation,
                "input_type": text(image, ["video", "image"]),
                "mid_layers_type": mid.into_iter().map(name).collect::<Vec<_>>(),
            }))
        },
    )
}

/// The blocks of a level in the spatial and the temporal list that double or halve so much.
fn resampling(space: bool, time: bool, choice: usize, encoder: bool) -> [&'static str; 2] {
    let of_space = match (choice % 3, encoder) {
        (0, true) => "Downsample",
        (1, true) => "SpatialDownsample2x",
        (_, true) => "Spatial2x3DDownsample",
        (0, false) => "Upsample",
        (1, false) => "SpatialUpsample2x",
        (_, false) => "Spatial2x3DUpsample",
    };
    let of_time = match (choice / 3 % 2, encoder) {
        (0, true) => "TimeDownsample2x",
        (_, true) => "TimeDownsampleRes2x",
        (0, false) => "TimeUpsample2x",
        (_, false) => "TimeUpsampleRes2x",
    };
    let of_both = if encoder { "Spatial2xTime2x3DDownsample" } else { "Spatial2xTime2x3DUpsample" };
    let pair = match (space, time, choice / 6 % 2) {
        (true, true, 0) => [of_both, ""],
        (true, true, _) => [of_space, of_time],
        (true, false, _) => [of_space, ""],
        (false, true, _) => [of_time, ""],
        (false, false, _) => ["", ""],
    };
    // In which list a block stands makes no difference.
    if choice / 12 % 2 == 1 && pair[1].is_empty() { [pair[1], pair[0]] } else { pair }
}

/// CausalVAE. A third of them have layer norms, so that their decoders stream.
pub(super) fn causal() -> impl Strategy<Value = ModelConfig> {
    let level = (any::<bool>(), any::<bool>(), [0..24usize, 0..24], 1..=2usize, any::<[bool; 2]>());
    let ends = any::<[bool; 5]>();
    let numbers = (1..=4usize, 1..=5usize, prop::option::of(any::<bool>()));
    let attention = (prop_oneof![3 => Just(false), 1 => Just(true)], prop_oneof![3 => Just(false), 1 => Just(true)]);
    (vec(level, 1..=3), ends, numbers, attention, prop_oneof![1 => Just(true), 2 => Just(false)]).prop_map(
        |(levels, ends, (inner, embedded, quant), attention, group)| {
            let last = levels.len() - 1;
            let width = |i: usize, factor: usize| match (group, i == last) {
                (true, _) => factor,
                // The encoder's attention has group norms all the same.
                (false, true) => 4,
                (false, false) => factor,
            };
            let each = |of: &dyn Fn(usize) -> Value| (0..levels.len()).map(of).collect::<Vec<_>>();
            let slots = |encoder: bool, slot: usize| {
                each(&|i| {
                    let (space, time, choices, ..) = levels[i];
                    json!(resampling(space, time, choices[usize::from(encoder)], encoder)[slot])
                })
            };
            let conv = |yes: bool| if yes { "Conv2d" } else { "CausalConv3d" };
            let block = |yes: bool| if yes { "ResnetBlock2D" } else { "ResnetBlock3D" };
            let attends = |legacy: bool| if legacy { "AttnBlock3D" } else { "AttnBlock3DFix" };
            ModelConfig::new(json!({
                "_class_name": "CausalVAEModel",
                "hidden_size": if group { 32 } else { 8 },
                "hidden_size_mult": each(&|i| json!(width(i, levels[i].3))),
                "z_channels": inner,
                "embed_dim": embedded,
                "use_quant_layer": quant.is_some(),
                "q_conv": conv(quant == Some(true)),
                "num_res_blocks": 1,
                "norm_type": if group { "groupnorm" } else { "layernorm" },
                "encoder_conv_in": conv(ends[0]),
                "encoder_conv_out": conv(ends[1]),
                "decoder_conv_in": conv(ends[2]),
                "decoder_conv_out": conv(ends[3]),
                "encoder_mid_resnet": block(ends[4]),
                "decoder_mid_resnet": block(ends[0]),
                "encoder_attention": attends(attention.0),
                "decoder_attention": attends(attention.1),
                "encoder_resnet_blocks": each(&|i| json!(block(levels[i].4[0]))),
                "decoder_resnet_blocks": each(&|i| json!(block(levels[i].4[1]))),
                "encoder_spatial_downsample": slots(true, 0),
                "encoder_temporal_downsample": slots(true, 1),
                "decoder_spatial_upsample": slots(false, 0),
                "decoder_temporal_upsample": slots(false, 1),
            }))
        },
    )
}

fn weights(kind: Kind) -> impl Strategy<Value = Weights> {
    let storage = prop_oneof![Just(Storage::F32), Just(Storage::F16), Just(Storage::Bf16)];
    let haar = prop_oneof![Just(Haar::LeftOut), Just(Haar::F32), Just(Haar::AsWeights)];
    let lean = [-1..=1i8, -1..=1];
    let lean = lean.prop_map(move |lean| if kind == Kind::Local { lean } else { [0, 0] });
    (any::<u64>().no_shrink(), storage, haar, lean, any::<bool>())
        .prop_map(|(seed, storage, haar, lean, leave_count_out)| Weights { seed, storage, haar, lean, leave_count_out })
}

fn variant(kind: Kind) -> BoxedStrategy<Variant> {
    if kind == Kind::Local {
        let axes = prop_oneof![4 => Just([true, false]), 4 => Just([false, true]), 1 => Just([true, true])];
        return (axes, any::<bool>()).prop_map(|(axes, at_once)| Variant::ExactTiles { axes, at_once }).boxed();
    }
    let blended = (2..=3usize, 0..=2usize, any::<bool>()).prop_map(|(size, overlap, at_once)| Variant::BlendedTiles {
        size,
        overlap: overlap.min(size - 1),
        at_once,
    });
    prop_oneof![
        4 => Just(Variant::Plain),
        1 => Just(Variant::AtOnce),
        1 => Just(Variant::HalfCaches),
        1 => blended,
    ]
    .boxed()
}

pub(super) fn case(kind: Kind, config: impl Strategy<Value = ModelConfig>) -> impl Strategy<Value = Case> {
    let plan = || vec(1..=7usize, 1..=5);
    let resume = prop_oneof![Just(Resume::SameStream), Just(Resume::Bytes), Just(Resume::Fork)];
    let network = (config, weights(kind), variant(kind), any::<bool>());
    let clip = ([1..=3usize, 1..=3], 0..=2usize, 0..=15usize, 1..=5usize);
    let plans = ([plan(), plan()], [plan(), plan()], 0..=20usize, resume, weighted(0.3, 0..=9u64));
    (network, clip, plans).prop_map(
        |((config, weights, variant, tiny_attention), (grid, groups, extra, latents), plans)| {
            let (encode_plans, decode_plans, cut, resume, unwanted_frames) = plans;
            Case {
                config: if variant == Variant::HalfCaches { config.widened() } else { config },
                weights,
                variant,
                tiny_attention,
                grid,
                groups,
                extra,
                latents,
                encode_plans,
                decode_plans,
                cut,
                resume,
                unwanted_frames,
            }
        },
    )
}
