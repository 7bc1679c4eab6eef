//! Opens a model: its files, its config and its network.

use super::checkpoint::Checkpoint;
use super::config::Config;
use super::network::Network;
use super::{builtin, check, generation1, generation2, half, identity, known_fields};
use crate::error::{Result, fail};
use std::path::Path;

/// Opens a checkpoint folder, or the built-in model if `path` is `None`. Checks all of it and describes its network.
pub(crate) fn open(path: Option<&Path>, check_finite: bool) -> Result<(Network, Checkpoint)> {
    let (checkpoint, config) = match path {
        Some(path) => Checkpoint::open(path)?,
        None => builtin::open()?,
    };
    let network = checkpoint.while_unchanged(|| {
        let mut network = describe(&config, &checkpoint)?;
        network.missing = half::missing(&checkpoint);
        check::check(&network, &checkpoint)?;
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
        "WFVAEModel" => generation1::describe(config, checkpoint),
        "WFVAE2Model" => generation2::describe(config, checkpoint),
        other => config.unknown_value("_class_name", other, "\"WFVAEModel\" or \"WFVAE2Model\""),
    }
}

/// A config without a class name must have fields of the first generation only.
fn check_unnamed(config: &Config) -> Result<()> {
    let path = config.path().display();
    let own = |field: &&&str| !known_fields::GENERATION_1.contains(*field);
    if let Some(field) = known_fields::GENERATION_2.iter().filter(own).find(|field| config.has(field)) {
        fail!(Config, "{path}: {field} is a field of the second generation: add \"_class_name\": \"WFVAE2Model\"");
    }
    if config.is_list("base_channels") {
        fail!(
            Config,
            "{path}: base_channels is a list, as in the second generation: add \"_class_name\": \"WFVAE2Model\""
        );
    }
    if config.has_any(&known_fields::GENERATION_1) {
        return Ok(());
    }
    match config.nested(&[&known_fields::GENERATION_1[..], &known_fields::GENERATION_2[..]].concat()) {
        Some(field) => fail!(
            Config,
            "{path}: has no field of a WF-VAE, but {field} has: save the contents of {field} as a separate config.json"
        ),
        None => {
            fail!(
                Config,
                "{path}: has neither _class_name nor any field of a WF-VAE; is it the config of another model?"
            )
        }
    }
}
