//! Streams video through WF-VAE models (wavelet-driven causal video VAE, arXiv 2411.17459) on ONNX Runtime.
//!
//! A [`Model`] holds the weights; any number of [`Stream`]s share it. A stream holds the causal caches of one clip. Push any
//! number of frames or latents per call, for clips of any length, which need not be known in advance. Output is bit-identical
//! however you split a clip across calls.
//!
//! C and C++ programs use the same through `include/wfvae.h`.
//!
//! **Debug builds** take twice as long as release builds: our kernels are very slow with `opt-level` 0 or 1, so ONNX Runtime's own
//! operators take their place. Results differ in the last bits, and opening a model logs a warning. With the last three lines a
//! debug build computes the same as a release build, as fast; your own code is still built for debugging:
//!
//! ```toml
//! [dependencies]
//! wfvae = "0.1"
//!
//! [profile.dev.package.wfvae]
//! opt-level = 3
//! debug-assertions = false
//! ```
//!
//! ```
//! use wfvae::{Image, ImageMut, Latents, LatentsMut, Model, ModelOptions, PixelFormat, Stream, StreamOptions};
//!
//! # fn main() -> wfvae::Result<()> {
//! let (width, height) = (64, 48);
//! let model = Model::builtin(&ModelOptions::default())?;
//! let mut stream = Stream::new(&model, &StreamOptions::new(width, height))?;
//!
//! // Five grey frames give two latents: one for the first frame, one for the next four.
//! let grey = vec![128u8; width * height * 3];
//! let frames = [Image::packed(&grey, PixelFormat::Rgb8, width, height)?; 5];
//! let info = stream.info();
//! let latent = info.encoded_channels * info.latent_width * info.latent_height;
//! let mut latents = vec![0f32; 2 * latent];
//! assert_eq!(stream.encode(&frames, LatentsMut::F32(&mut latents))?, 2);
//!
//! // The decoder holds two frames back until it knows that the clip has ended.
//! let mut pixels = vec![0u8; 5 * grey.len()];
//! let pictures = pixels.chunks_exact_mut(grey.len());
//! let mut pictures =
//!     pictures.map(|p| ImageMut::packed(p, PixelFormat::Rgb8, width, height)).collect::<wfvae::Result<Vec<_>>>()?;
//! let ready = stream.decode(Latents::F32(&latents), &mut pictures)?;
//! let rest = stream.decode_flush(&mut pictures[ready..])?;
//! assert_eq!((ready, rest), (3, 2));
//! assert!(pixels.iter().all(|&v| v.abs_diff(128) < 8));
//! # Ok(())
//! # }
//! ```
//!
//! ONNX Runtime 1.19 or newer is loaded at run time; [`ModelOptions::runtime`] says where it is searched for. Its telemetry is
//! turned off before it starts, unless the program has set `ORT_DISABLE_TELEMETRY` or has created an environment of ONNX
//! Runtime itself.
//!
//! A child of `fork` may drop what it inherited and open models of its own. Encoding and decoding with its parent's models
//! and streams, and writing its latent files, fails with [`ErrorKind::Forked`].
//!
//! On a CPU with a matrix unit (Intel AMX), opening the first model asks Linux for the right to use the unit's registers. From then
//! on alternate signal stacks must have `sysconf(_SC_MINSIGSTKSZ)` bytes, about 12 kB.
//!
//! If memory is short, calls return [`ErrorKind::OutOfMemory`]. When a small block such as a string cannot be allocated, Rust
//! would end the process. So the feature `reserve`, which is on by default, sets a global allocator: the system's, with 4 MiB in
//! reserve for this case. A program with a global allocator of its own turns the feature off.
#![warn(missing_docs, missing_debug_implementations)]
// Each piece of unsafe code says why it is sound. Tests may go without.
#![cfg_attr(not(test), warn(clippy::undocumented_unsafe_blocks))]

mod capi;
mod engine;
mod error;
mod finite;
mod float_mode;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod graph;
mod kernels;
mod logger;
mod media;
mod memory;
mod model;
mod parallel;
mod platform;
mod process;
mod runtime;
mod stream;
mod sync;
#[cfg(test)]
mod tests;

pub use error::{Error, ErrorKind, Result};
pub use logger::Logger;
pub use media::{
    Chroma, Image, ImageMut, LatentFileInfo, LatentReader, LatentType, LatentWriter, Latents, LatentsMut, Matrix,
    PixelFormat, Posterior, Range, Siting, Yuv, YuvRange,
};
pub use stream::{
    CacheType, CallProgress, Canceller, Convolution, Estimate, Graphs, Layout, MemoryKind, Model, ModelInfo,
    ModelOptions, Precision, Provider, Snapshot, SnapshotInfo, Stream, StreamInfo, StreamOptions, Tiling,
    available_memory,
};
