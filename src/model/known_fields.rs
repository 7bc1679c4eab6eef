//! The fields that `config.json` may have.

use super::config::{Config, shown};
use crate::error::{Result, fail, shortened};
use serde_json::Value;

/// A family of models with fields of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Generation1,
    Generation2,
    Causal,
}

impl Family {
    pub(super) const ALL: [Family; 3] = [Family::Generation1, Family::Generation2, Family::Causal];

    pub(super) fn class(self) -> &'static str {
        match self {
            Family::Generation1 => "WFVAEModel",
            Family::Generation2 => "WFVAE2Model",
            Family::Causal => "CausalVAEModel",
        }
    }

    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Family::Generation1 => &GENERATION_1,
            Family::Generation2 => &GENERATION_2,
            Family::Causal => &CAUSAL,
        }
    }
}

const GENERATION_1: [&str; 22] = [
    "latent_dim",
    "base_channels",
    "encoder_num_resblocks",
    "decoder_num_resblocks",
    "encoder_energy_flow_hidden_size",
    "decoder_energy_flow_hidden_size",
    "attention_type",
    "use_attention",
    "dropout",
    "norm_type",
    "t_interpolation",
    "connect_res_layer_num",
    "scale",
    "shift",
    "l1_dowmsample_block",
    "l1_downsample_wavelet",
    "l1_upsample_block",
    "l1_upsample_wavelet",
    "l2_dowmsample_block",
    "l2_downsample_wavelet",
    "l2_upsample_block",
    "l2_upsample_wavelet",
];

const GENERATION_2: [&str; 16] = [
    "latent_dim",
    "base_channels",
    "decoder_base_channels",
    "layer_type",
    "layer_res_type",
    "encoder_num_resblocks",
    "decoder_num_resblocks",
    "encoder_energy_flow_size",
    "decoder_energy_flow_size",
    "dropout",
    "norm_type",
    "t_interpolation",
    "input_type",
    "mid_layers_type",
    "scale",
    "shift",
];

const CAUSAL: [&str; 30] = [
    "hidden_size",
    "hidden_size_mult",
    "z_channels",
    "embed_dim",
    "use_quant_layer",
    "q_conv",
    "num_res_blocks",
    "double_z",
    "norm_type",
    "attn_resolutions",
    "resolution",
    "dropout",
    "encoder_conv_in",
    "encoder_conv_out",
    "encoder_attention",
    "encoder_resnet_blocks",
    "encoder_spatial_downsample",
    "encoder_temporal_downsample",
    "encoder_mid_resnet",
    "decoder_conv_in",
    "decoder_conv_out",
    "decoder_attention",
    "decoder_resnet_blocks",
    "decoder_spatial_upsample",
    "decoder_temporal_upsample",
    "decoder_mid_resnet",
    "scale",
    "shift",
    // Of training, but beside the others in published configs.
    "loss_type",
    "loss_params",
];

/// Those of them that models of other kinds have, too.
const COMMON: [&str; 5] = ["hidden_size", "embed_dim", "resolution", "loss_type", "loss_params"];

/// Fields of other programs, and of training, that do not affect the network.
const HOUSEKEEPING: [&str; 10] = [
    "architectures",
    "auto_map",
    "dtype",
    "force_upcast",
    "lr",
    "model_type",
    "sample_size",
    "torch_dtype",
    "transformers_version",
    "diffusers_version",
];
/// Fields of other autoencoders, with the values that fit every model here.
const FIXED: [(&str, &str); 5] = [
    ("in_channels", "[3]"),
    ("out_channels", "[3]"),
    ("act_fn", "[\"silu\", \"swish\"]"),
    ("norm_num_groups", "[32]"),
    ("norm_eps", "[1e-6]"),
];
/// How other autoencoders store scaling. The library does not guess whether they mean the same.
pub(super) const OTHER_SCALING: [&str; 4] = ["scaling_factor", "shift_factor", "latents_mean", "latents_std"];

impl Config {
    /// Checks fields that are not the family's: those that may affect the results are errors, the others are warnings.
    pub(super) fn check_fields(&self, family: Family) -> Result<Vec<String>> {
        let (path, known) = (self.path().display(), family.fields());
        if let Some((name, other)) = self.field_of_others(family) {
            fail!(Config, "{path}: {name}: a field of {}; is _class_name right?", other.class());
        }
        let mut warnings = self.warnings().to_vec();
        for (name, value) in self.entries().filter(|(name, _)| !name.starts_with('_')) {
            if [known, &HOUSEKEEPING, &OTHER_SCALING].iter().any(|fields| fields.contains(&name)) {
                continue;
            }
            if let Some((_, fixed)) = FIXED.iter().find(|(field, _)| *field == name) {
                if !serde_json::from_str::<Vec<Value>>(fixed).is_ok_and(|fixed| fixed.iter().any(|f| same(f, value))) {
                    fail!(UnsupportedModel, "{path}: {name}: found {}, expected one of {fixed}", shown(value));
                }
                continue;
            }
            if let Some(meant) = known.iter().find(|known| alike(name, known)).filter(|meant| **meant != "dropout") {
                fail!(Config, "{path}: {name}: unknown field; did you mean {meant}?");
            }
            warnings.push(format!("{path}: unknown field {} is ignored", shortened(name.into())));
        }
        Ok(warnings)
    }

    /// A field of the config that the family does not have and another one has.
    pub(super) fn field_of_others(&self, family: Family) -> Option<(&'static str, Family)> {
        let others = Family::ALL.into_iter().flat_map(|other| other.fields().iter().map(move |name| (*name, other)));
        let own = |name: &&str| family.fields().contains(name) || COMMON.contains(name);
        others.filter(|(name, _)| !own(name)).find(|(name, _)| self.has(name))
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64())
}

/// Whether `name` is `known` with other capitals or separators, or with one or two typing errors.
fn alike(name: &str, known: &str) -> bool {
    // Of a long name, the distance would take long.
    if name.chars().count() > known.len() + 2 {
        return false;
    }
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    distance(&plain(name), &plain(known)) <= if known.len() < 8 { 1 } else { 2 }
}

/// The edit distance: letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, d) in b.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
