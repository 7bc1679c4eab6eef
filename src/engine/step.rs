//! One step of the network: a loaded session, which all streams of a model share.

use super::frame_size::FrameSize;
use crate::error::{Error, ErrorKind, Result};
use crate::finite::first_not_finite;
use crate::graph::{Port, SizeList};
use crate::runtime::{Device, Session, Tensor};
use std::sync::Arc;

pub(crate) struct Step {
    pub(crate) session: Session,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    /// A frame of each cache.
    pub(crate) caches: Vec<Port>,
    pub(crate) sizes: Vec<SizeList>,
    /// Where its tensors lie, if not in the CPU's memory.
    pub(crate) device: Option<Arc<Device>>,
    /// Whether its values, or those that a stream keeps, can overflow where float32 does not.
    pub(crate) narrow: bool,
    pub(crate) weight_bytes: u64,
}

impl Step {
    pub(super) fn output(&self, name: &str) -> &Port {
        self.outputs.iter().find(|port| port.name == name).expect("the graph has this output")
    }

    /// The graph's inputs that tell it the size of its frames, and of the clip that it takes in a run.
    pub(super) fn size_tensors(&self, size: FrameSize, frames: usize) -> Result<Vec<Tensor>> {
        self.sizes.iter().map(|list| Tensor::integers(&list.of(size.axes(), frames))).collect()
    }

    /// Fails if an output of the network, the clip's `what` of that index, holds a NaN or an infinity.
    pub(super) fn check_finite(&self, values: &[f32], what: &str, index: u64) -> Result<()> {
        first_not_finite(values).map_or(Ok(()), |_| Err(self.not_finite(what, index)))
    }

    /// The error for an output that holds a NaN or an infinity.
    pub(super) fn not_finite(&self, what: &str, index: u64) -> Error {
        let name = self.session.name();
        let advice = match self.narrow {
            true => {
                "float16 or bfloat16 cannot hold what this input makes; open the model with precision f32 or tf32 for this \
                 direction and cache_type f32"
            }
            false => {
                "the weights are damaged, which opening the model with check_finite finds out, or the input is far larger than \
                 any that it was trained for"
            }
        };
        let text = format!("{name}: {what} {index} holds a NaN or an infinity: {advice}");
        Error::new(ErrorKind::NotFinite, text)
    }
}
