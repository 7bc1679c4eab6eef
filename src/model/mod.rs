//! From a checkpoint folder to a checked description of one network.
//!
//! [`Checkpoint`] finds and maps the files, [`Config`] reads `config.json`, [`Network`] says which
//! layers the model has and which tensor each one reads. Nothing here knows ONNX.

mod builtin;
mod checkpoint;
mod config;
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
pub(crate) use network::{
    Attention, Conv, ConvKind, Decoder, DecoderLevel, Down, Encoder, EncoderLevel, Layer, NORM_GROUPS, Network, Norm,
    NormScope, ResBlock, Up, Wavelet, Weight,
};
pub(crate) use scaling::Scaling;
pub(crate) use wavelet::{sign_2d, sign_3d};

use crate::error::Result;
use std::path::Path;

/// Opens a checkpoint folder (`None`: the built-in model), checks all of it and describes its network.
pub(crate) fn open(path: Option<&Path>, check_finite: bool) -> Result<(Network, Checkpoint)> {
    let (checkpoint, config) = match path {
        Some(path) => Checkpoint::open(path)?,
        None => builtin::open()?,
    };
    let mut network = describe(&config, &checkpoint)?;
    network.check(&checkpoint)?;
    network.identity = identity::identity(&network, &checkpoint);
    if check_finite {
        checkpoint.check_finite()?;
    }
    Ok((network, checkpoint))
}

/// Describes the network that `config.json` names.
pub(crate) fn describe(config: &Config, checkpoint: &Checkpoint) -> Result<Network> {
    match config.text("_class_name", "WFVAEModel")? {
        "WFVAEModel" => v1::describe(config, checkpoint),
        "WFVAE2Model" => v2::describe(config, checkpoint),
        other => config.unknown_value("_class_name", other, "\"WFVAEModel\" or \"WFVAE2Model\""),
    }
}
