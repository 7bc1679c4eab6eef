//! The small model that is compiled into the library.

use super::{Checkpoint, Config};
use crate::error::Result;
use std::path::Path;

/// safetensors headers want no alignment, but an aligned base lets whole tensors be read as slices.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("builtin/diffusion_pytorch_model.safetensors"));
static CONFIG: &str = include_str!("builtin/config.json");

pub(super) fn open() -> Result<(Checkpoint, Config)> {
    let config = Config::parse(CONFIG.as_bytes(), Path::new("built-in config.json"))?;
    let checkpoint = Checkpoint::from_static("the built-in model", &WEIGHTS.0)?;
    Ok((checkpoint, config))
}
