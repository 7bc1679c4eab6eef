//! The names of outputs, relative to the job's folder.

/// The folder of latents that are to come into a shard.
const WAITING: &str = "waiting";

/// A clip's latent file.
pub fn latents(key: &str) -> String {
    format!("{key}.safetensors")
}

/// The same, until a shard is full.
pub fn waiting(key: &str) -> String {
    format!("{WAITING}/{}", latents(key))
}

pub fn shard(number: usize) -> String {
    format!("shard-{number:06}.tar")
}
