//! The two handles: a [`Model`] holds the weights, a [`Stream`] the state of one clip at a time.
//!
//! A stream has up to two [directions](direction), which encode and decode independently. Each drives the engines of its
//! tiles through the clip, or one graph where norms span the whole clip.

mod alpha;
mod calls;
mod compute;
mod direction;
mod estimate;
mod geometry;
mod latent_files;
mod latents_on_device;
mod model;
mod model_info;
mod model_options;
mod options;
mod plan;
mod save_onnx;
mod sessions;
mod snapshot;
#[allow(clippy::module_inception)]
mod stream;
mod tiled;
mod tiles;

pub use crate::runtime::{CallProgress, Canceller};
pub use estimate::{Estimate, available_memory};
pub use model::Model;
pub use model_info::ModelInfo;
pub use model_options::{CacheType, Convolution, Layout, ModelOptions, Precision, Provider};
pub use options::{MemoryKind, StreamOptions, Tiling};
pub use save_onnx::Graphs;
pub use snapshot::{Snapshot, SnapshotInfo};
pub use stream::{Stream, StreamInfo};

pub(crate) use calls::Ready;

#[cfg(test)]
pub(crate) use geometry::Geometry;
