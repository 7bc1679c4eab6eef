//! A stream's state at one point of its clip: in memory, as bytes, and taken up by another stream.
//!
//! All counters follow from how many frames and latents came in and whether the clip ended, so no others are saved:
//! bytes cannot hold counters that contradict each other. Only those tensors are saved that the rest of the clip reads,
//! oldest first, whichever slots of their rings they are in. docs/formats.md has the bytes.

mod format;
mod state;
mod take;
mod value;

pub use value::{Snapshot, SnapshotInfo};
