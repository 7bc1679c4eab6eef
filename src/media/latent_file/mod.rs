//! Latent files: the latents of a clip with everything needed to use them later. A latent file is a safetensors file
//! with one tensor of shape `[T, C, h, w]`, whose name says what it contains, and a `__metadata__` map of strings.
//! docs/formats.md lists its keys.

mod info;
mod metadata;
mod reader;
mod unfinished;
mod writer;

pub use info::LatentFileInfo;
pub use reader::LatentReader;
pub use writer::LatentWriter;
