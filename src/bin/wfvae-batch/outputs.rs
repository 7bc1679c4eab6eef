//! The names of outputs, relative to the job's folder.

use crate::arguments::Arguments;
use crate::clips::Clip;

/// The folder of latents that are to come into a shard.
const WAITING: &str = "waiting";

/// The file to which a job writes the latents of a clip.
pub fn of(clip: &Clip, arguments: &Arguments) -> String {
    match arguments.shards {
        Some(_) => waiting(&clip.key),
        None => latents(&clip.key),
    }
}

/// A clip's latent file.
fn latents(key: &str) -> String {
    format!("{key}.safetensors")
}

/// The same, until a shard is full.
pub fn waiting(key: &str) -> String {
    format!("{WAITING}/{}", latents(key))
}

pub fn shard(number: usize) -> String {
    format!("shard-{number:06}.tar")
}
