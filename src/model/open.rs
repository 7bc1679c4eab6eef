//! Opens a model: its files, its config and its network.

use super::checkpoint::Checkpoint;
use super::config::Config;
use super::known_fields::Family;
use super::mixture::Mixture;
use super::network::Network;
use super::{builtin, causal, check, generation1, generation2, half, identity};
use crate::error::{Result, fail};
use std::collections::HashMap;
use std::path::Path;

/// Opens a checkpoint folder, or the built-in model if `path` is `None`. Checks all of it and describes its network.
pub(crate) fn open(path: Option<&Path>, check_finite: bool) -> Result<(Network, Checkpoint)> {
    let (checkpoint, config) = match path {
        Some(path) => Checkpoint::open(path)?,
        None => builtin::open()?,
    };
    checked(checkpoint, &config, check_finite)
}

/// The same for a checkpoint whose files are open.
pub(super) fn checked(
    mut checkpoint: Checkpoint,
    config: &Config,
    check_finite: bool,
) -> Result<(Network, Checkpoint)> {
    let (network, mixtures) = checkpoint.while_unchanged(|| {
        let mut network = describe(config, &checkpoint)?;
        network.missing = half::missing(&checkpoint);
        check::check(&network, &checkpoint)?;
        network.identities = identity::identities(&network, &checkpoint);
        if check_finite {
            checkpoint.check_finite(network.weights().into_iter().map(|weight| weight.key.as_str()))?;
        }
        let mixtures = mixtures(&network, &checkpoint);
        Ok((network, mixtures))
    })?;
    checkpoint.mix(mixtures);
    Ok((network, checkpoint))
}

/// Those of all kernels and biases that are mixed, by the names of the tensors. The weights must have been checked.
fn mixtures(network: &Network, checkpoint: &Checkpoint) -> HashMap<String, Mixture> {
    let mut mixtures = HashMap::new();
    let here = network.mixes().filter(|(_, mix)| checkpoint.shape(&mix.factor.key).is_some());
    for (conv, mix) in here {
        let mut factor = [0.0];
        checkpoint.read(&mix.factor.key, &mut factor);
        let mixture = Mixture::new(factor[0], mix.with);
        mixtures.extend([&conv.weight.key, &conv.bias.key].map(|key| (key.clone(), mixture)));
    }
    mixtures
}

/// Describes the network that `config.json` names.
pub(crate) fn describe(config: &Config, checkpoint: &Checkpoint) -> Result<Network> {
    if !config.has("_class_name") {
        check_unnamed(config)?;
    }
    match config.text("_class_name", "WFVAEModel")? {
        "WFVAEModel" => generation1::describe(config, checkpoint),
        "WFVAE2Model" => generation2::describe(config, checkpoint),
        "CausalVAEModel" => causal::describe(config),
        other => config.unknown_value("_class_name", other, "\"WFVAEModel\", \"WFVAE2Model\" or \"CausalVAEModel\""),
    }
}

/// A config without a class name must have fields of the first generation only.
fn check_unnamed(config: &Config) -> Result<()> {
    let path = config.path().display();
    if let Some((field, family)) = config.field_of_others(Family::Generation1) {
        fail!(Config, "{path}: {field} is a field of {0}: add \"_class_name\": \"{0}\"", family.class());
    }
    if config.is_list("base_channels") {
        fail!(
            Config,
            "{path}: base_channels is a list, as in the second generation: add \"_class_name\": \"WFVAE2Model\""
        );
    }
    if config.has_any(Family::Generation1.fields()) {
        return Ok(());
    }
    match config.nested(&Family::ALL.map(Family::fields).concat()) {
        Some(field) => fail!(
            Config,
            "{path}: has no field of such a model, but {field} has: save the contents of {field} as a separate config.json"
        ),
        None => {
            fail!(
                Config,
                "{path}: has neither _class_name nor any field of a WF-VAE or CausalVAE; is it the config of another model?"
            )
        }
    }
}
