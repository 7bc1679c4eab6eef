//! The fields that `config.json` may have.

use super::config::Config;
use crate::error::{Result, fail};
use serde_json::Value;

pub(super) const GENERATION_1: [&str; 22] = [
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

pub(super) const GENERATION_2: [&str; 16] = [
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
/// Fields of other programs that do not affect the network.
const HOUSEKEEPING: [&str; 9] = [
    "architectures",
    "auto_map",
    "dtype",
    "force_upcast",
    "model_type",
    "sample_size",
    "torch_dtype",
    "transformers_version",
    "diffusers_version",
];
/// Fields of other autoencoders, with the values that fit every WF-VAE.
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
    /// Checks fields that are not in `known`: those that may affect the results are errors, the others are warnings.
    /// `other`: the fields and the class of the other generation.
    pub(super) fn check_fields(&self, known: &[&str], other: (&[&str], &str)) -> Result<Vec<String>> {
        let path = self.path().display();
        let mut warnings = self.warnings().to_vec();
        for (name, value) in self.entries().filter(|(name, _)| !name.starts_with('_')) {
            if [known, &HOUSEKEEPING, &OTHER_SCALING].iter().any(|fields| fields.contains(&name)) {
                continue;
            }
            if let Some((_, fixed)) = FIXED.iter().find(|(field, _)| *field == name) {
                if !serde_json::from_str::<Vec<Value>>(fixed).is_ok_and(|fixed| fixed.iter().any(|f| same(f, value))) {
                    fail!(UnsupportedModel, "{path}: {name}: found {value}, expected one of {fixed} for a WF-VAE");
                }
                continue;
            }
            if other.0.contains(&name) {
                fail!(Config, "{path}: {name}: a field of {}, the other generation; is _class_name right?", other.1);
            }
            if let Some(meant) = known.iter().find(|known| alike(name, known)).filter(|meant| **meant != "dropout") {
                fail!(Config, "{path}: {name}: unknown field; did you mean {meant}?");
            }
            warnings.push(format!("{path}: unknown field {name} is ignored"));
        }
        Ok(warnings)
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64())
}

/// Whether `name` is `known` with other capitals or separators, or with one or two typing errors.
fn alike(name: &str, known: &str) -> bool {
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
