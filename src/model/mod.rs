//! From a checkpoint folder to a checked description of one network.
//!
//! [`Checkpoint`] finds and maps the files, [`Config`] reads `config.json`, [`Network`] says which
//! layers the model has and which tensor each one reads. Nothing here knows ONNX.

mod builtin;
mod checkpoint;
mod config;
mod identity;
mod network;
mod v1;
mod wavelet;

pub(crate) use checkpoint::Checkpoint;
pub(crate) use config::{Config, Interpolation};
pub(crate) use network::{
    Attention, Conv, ConvKind, Decoder, DecoderLevel, Down, Encoder, EncoderLevel, Layer, Network, Norm, ResBlock,
    Scaling, Up, Wavelet, Weight,
};
pub(crate) use wavelet::{sign_2d, sign_3d};

use crate::error::Result;
use std::path::Path;

/// Opens a checkpoint folder (`None`: the built-in model), checks all of it and describes its network.
pub(crate) fn open(path: Option<&Path>, check_finite: bool) -> Result<(Network, Checkpoint)> {
    let (checkpoint, config) = match path {
        Some(path) => Checkpoint::open(path)?,
        None => builtin::open()?,
    };
    let mut network = v1::describe(&config, &checkpoint)?;
    network.check(&checkpoint)?;
    network.identity = identity::identity(&network, &checkpoint);
    if check_finite {
        checkpoint.check_finite()?;
    }
    Ok((network, checkpoint))
}
