//! Fuzz targets in Rust: each is a module with a function `run`. docs/fuzzing.md says what they are given.

mod allocations;
pub mod checkpoint;
mod checks;
pub mod index;
pub mod latent_file;
pub mod pixels;
pub mod snapshot;
