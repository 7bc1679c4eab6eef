//! From a checkpoint folder to a checked description of one network.
//!
//! [`Checkpoint`] finds the files and reads their tensors, [`Config`] reads `config.json`, [`Network`] says which layers the
//! model has and which tensor each one reads. Nothing here knows ONNX.

mod builtin;
mod checkpoint;
mod config;
mod damage;
mod fields;
mod files;
mod half;
mod header;
mod identity;
mod layers;
mod network;
mod own_files;
mod reach;
mod scaling;
mod v1;
mod v2;
mod wavelet;

pub(crate) use checkpoint::Checkpoint;
pub(crate) use config::{Config, Interpolation, NormType};
pub(crate) use damage::{START, instead_of_safetensors};
pub(crate) use half::Half;
pub(crate) use identity::Identities;
pub(crate) use network::{
    Attention, Conv, ConvKind, Decoder, DecoderLevel, Down, Encoder, EncoderLevel, Layer, NORM_GROUPS, Network, Norm,
    NormScope, ResBlock, Up, Wavelet, Weight,
};
pub(crate) use scaling::Scaling;
pub(crate) use wavelet::{sign_2d, sign_3d};

use crate::error::{Result, fail};
use std::path::Path;

/// Opens a checkpoint folder (`None`: the built-in model), checks all of it and describes its network.
pub(crate) fn open(path: Option<&Path>, check_finite: bool) -> Result<(Network, Checkpoint)> {
    let (checkpoint, config) = match path {
        Some(path) => Checkpoint::open(path)?,
        None => builtin::open()?,
    };
    let network = checkpoint.while_unchanged(|| {
        let mut network = describe(&config, &checkpoint)?;
        network.missing = half::missing(&checkpoint);
        network.check(&checkpoint)?;
        network.identities = identity::identities(&network, &checkpoint);
        if check_finite {
            checkpoint.check_finite(network.weights().into_iter().map(|weight| weight.key.as_str()))?;
        }
        Ok(network)
    })?;
    Ok((network, checkpoint))
}

/// Describes the network that `config.json` names.
pub(crate) fn describe(config: &Config, checkpoint: &Checkpoint) -> Result<Network> {
    if !config.has("_class_name") {
        check_unnamed(config)?;
    }
    match config.text("_class_name", "WFVAEModel")? {
        "WFVAEModel" => v1::describe(config, checkpoint),
        "WFVAE2Model" => v2::describe(config, checkpoint),
        other => config.unknown_value("_class_name", other, "\"WFVAEModel\" or \"WFVAE2Model\""),
    }
}

/// A config that does not name its class is one of the first generation, or an error.
fn check_unnamed(config: &Config) -> Result<()> {
    let path = config.path().display();
    let own = |field: &&&str| !v1::FIELDS.contains(*field);
    if let Some(field) = v2::FIELDS.iter().filter(own).find(|field| config.has(field)) {
        fail!(Config, "{path}: {field} is a field of the second generation: add \"_class_name\": \"WFVAE2Model\"");
    }
    if config.is_list("base_channels") {
        fail!(
            Config,
            "{path}: base_channels is a list, as in the second generation: add \"_class_name\": \"WFVAE2Model\""
        );
    }
    if config.has_any(&v1::FIELDS) {
        return Ok(());
    }
    match config.nested(&[&v1::FIELDS[..], &v2::FIELDS[..]].concat()) {
        Some(field) => fail!(
            Config,
            "{path}: has no field of a WF-VAE, but its {field} has: write what is in {field} to a config.json of its own"
        ),
        None => {
            fail!(Config, "{path}: has no field of a WF-VAE, nor a _class_name; is it the config of another model?")
        }
    }
}
