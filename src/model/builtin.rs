//! The small model that is compiled into the library.

use super::checkpoint::Checkpoint;
use super::config::Config;
use crate::error::Result;
use std::path::Path;

static WEIGHTS: &[u8] = include_bytes!("builtin/diffusion_pytorch_model.safetensors");
static CONFIG: &str = include_str!("builtin/config.json");

pub(super) fn open() -> Result<(Checkpoint, Config)> {
    let config = Config::parse(CONFIG.as_bytes(), Path::new("built-in config.json"))?;
    let checkpoint = Checkpoint::from_static("the built-in model", WEIGHTS)?;
    Ok((checkpoint, config))
}
