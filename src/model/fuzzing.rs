//! What fuzz targets do with the bytes of a checkpoint's files, without the files.

use super::checkpoint::Checkpoint;
use super::config::Config;
use super::known_fields::Family;
use super::{files, open};
use crate::error::Result;
use std::path::Path;

/// A tensor's name and shape.
pub type Tensor = (String, Vec<usize>);

/// Opens a model of these files.
pub fn checkpoint(config: &[u8], weights: &'static [u8]) -> Result<Vec<Tensor>> {
    let checkpoint = Checkpoint::from_static("fuzzed", weights)?;
    let config = Config::parse(config, Path::new("fuzzed/config.json"))?;
    let (network, _) = open::checked(checkpoint, &config, true)?;
    Ok(network.weights().into_iter().map(|weight| (weight.key.clone(), weight.shape.clone())).collect())
}

/// The tensors that the network of a config needs. `weights`: of a model that may be another one.
pub fn tensors(config: &[u8], weights: &'static [u8]) -> Result<Vec<Tensor>> {
    let checkpoint = Checkpoint::from_static("fuzzed", weights)?;
    let config = Config::parse(config, Path::new("fuzzed/config.json"))?;
    let network = open::describe(&config, &checkpoint)?;
    Ok(network.weights().into_iter().map(|weight| (weight.key.clone(), weight.shape.clone())).collect())
}

/// All fields that some family's config has.
pub fn config_fields() -> Vec<&'static str> {
    Family::ALL.iter().flat_map(|family| family.fields()).copied().collect()
}

/// The shards that an index names.
pub fn index(text: &[u8]) -> Result<Vec<(String, Vec<String>)>> {
    files::shards_of(text, Path::new("fuzzed/model.safetensors.index.json"))
}
