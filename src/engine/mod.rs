//! One direction of the network on one tile of the frame, or on all of it: an [`Engine`].
//!
//! An engine keeps the causal caches and the frames that wait between the steps. It has no counters and knows no tiles,
//! options or snapshots: `stream` drives it and says which input of the clip comes next.

mod counting;
mod decoder;
mod encoder;
mod ends;
mod frame_size;
mod interface;
mod interpolation;
mod stage;
mod step;
mod whole_clip;

pub(crate) use counting::{Counting, check_count};
pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
pub(crate) use frame_size::FrameSize;
pub(crate) use interface::{Engine, Progress, Run, Values, WholeClip};
pub(crate) use step::Step;

#[cfg(test)]
pub(crate) use interpolation::of_clip;
#[cfg(test)]
pub(crate) use whole_clip::{WholeClipDecoder, WholeClipEncoder};
