//! Turns a checkpoint folder into a checked description of its network.
//!
//! [`Checkpoint`] finds the files and reads tensors, `Config` reads `config.json`, and [`Network`] describes the layers
//! and which tensors they use. Nothing here depends on ONNX.

mod blocks;
mod builtin;
mod causal;
mod check;
mod checkpoint;
mod config;
mod damage;
mod fields;
mod files;
#[cfg(fuzzing)]
mod fuzzing;
mod generation1;
mod generation2;
mod half;
mod header;
mod identity;
mod known_fields;
mod layer;
mod mixture;
mod network;
mod open;
mod own_files;
mod read;
mod receptive_field;
mod scaling;
mod wavelet;
mod weight_type;

pub(crate) use checkpoint::Checkpoint;
pub(crate) use config::Interpolation;
pub(crate) use damage::{START, instead_of_safetensors};
pub(crate) use half::Half;
pub(crate) use layer::{
    Attention, Conv, ConvKind, Down, Enlarge, Layer, NORM_EPSILON, NORM_GROUPS, Norm, NormScope, ResBlock, Up, Wavelet,
    Weight,
};
pub(crate) use network::{Decoder, DecoderLevel, Encoder, EncoderFlow, Network};
pub(crate) use open::open;
pub(crate) use wavelet::{sign_2d, sign_3d};

#[cfg(fuzzing)]
pub use fuzzing::{Tensor, checkpoint, config_fields, index, tensors};

#[cfg(test)]
pub(crate) use config::Config;
#[cfg(test)]
pub(crate) use open::describe;
