//! Where sessions run.

use super::cuda::{self, CudaOptions, CudaQueue};
use ort::ep::ExecutionProviderDispatch;
use std::sync::Arc;

/// Where sessions run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Cpu,
    /// The CUDA device of that index.
    Cuda(u32),
    /// A fake device for tests: it runs on the CPU, but only sessions may access its tensors.
    #[cfg(test)]
    Fake,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::Cpu => "CPU",
            Place::Cuda(_) => "CUDA",
            #[cfg(test)]
            Place::Fake => "fake",
        }
    }

    /// Whether streams keep their state in device memory.
    pub(super) fn has_memory(self) -> bool {
        self != Place::Cpu
    }

    pub(super) fn provider(
        self,
        options: &CudaOptions,
        queue: Option<Arc<CudaQueue>>,
    ) -> Option<ExecutionProviderDispatch> {
        match (self, queue) {
            (Place::Cuda(device), Some(queue)) => Some(cuda::provider(device, options, &queue)),
            _ => None,
        }
    }
}
