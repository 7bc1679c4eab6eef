//! Checks that a network and its weights match.

use super::checkpoint::Checkpoint;
use super::half::Half;
use super::layer::{NORM_GROUPS, NormScope};
use super::network::{CAUSAL, Network};
use crate::error::{Result, fail};
use std::collections::HashSet;

/// Checks that every tensor exists in its expected shape, and that no other encoder or decoder weights are left.
pub(super) fn check(network: &Network, checkpoint: &Checkpoint) -> Result<()> {
    let weights = network.weights();
    for norm in network.norms().filter(|norm| norm.scope != NormScope::Pixel) {
        let [channels] = norm.weight.shape[..] else { unreachable!("a norm has one axis") };
        if !channels.is_multiple_of(NORM_GROUPS) {
            fail!(
                Config,
                "{}: group norms need multiples of {NORM_GROUPS} channels, {} has {channels}",
                checkpoint.name(),
                norm.weight.key
            );
        }
    }
    for weight in &weights {
        match checkpoint.shape(&weight.key) {
            Some(shape) if shape == weight.shape => checkpoint.check_type(&weight.key)?,
            Some(shape) => fail!(
                Checkpoint,
                "{}: tensor {}: found shape {shape:?}, expected {:?}",
                checkpoint.file_of(&weight.key),
                weight.key,
                weight.shape
            ),
            None => fail!(
                Checkpoint,
                "{}: tensor {} is missing, {}",
                checkpoint.file_of(&weight.key),
                weight.key,
                match checkpoint.wrapped(&weight.key) {
                    Some(found) =>
                        format!("but {found} exists: run training/convert.py to remove the prefix from the names"),
                    None => format!("expected shape {:?}", weight.shape),
                }
            ),
        }
    }
    // Otherwise the config of a smaller model would run and give wrong pictures.
    let known: HashSet<&str> = weights.iter().map(|w| w.key.as_str()).collect();
    let extra = checkpoint.keys().filter(|key| {
        let owned = Half::Encoder.owns(key) || Half::Decoder.owns(key);
        // Training runs of CausalVAE save their loss with the model.
        let ours = owned || network.generation == CAUSAL && !key.starts_with("loss.");
        ours && !key.contains("wavelet_transform") && !known.contains(key) && !checkpoint.is_integer(key)
    });
    let mut extra: Vec<&str> = extra.collect();
    extra.sort_unstable();
    if let Some(first) = extra.first() {
        fail!(
            Checkpoint,
            "{}: has {} tensors that config.json does not describe, the first is {first}: do the config and the \
            weights belong together?",
            checkpoint.file_of(first),
            extra.len()
        );
    }
    Ok(())
}
