//! What our operators on the CPU have in common.

use crate::kernels::{NoMemory, ScratchPool, Target};
use ort::operator::ComputeContext;
use std::sync::Arc;

/// What the operators of one session work with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) target: Target,
    pub(super) threads: usize,
    pub(super) scratch: Arc<ScratchPool>,
}

pub(super) fn no_memory(NoMemory: NoMemory) -> ort::Error {
    ort::Error::new("out of memory for a convolution")
}

/// The session's threads.
pub(super) fn workers<'a>(context: &'a ComputeContext) -> impl Fn(usize, &(dyn Fn(usize) + Sync + Send)) + 'a {
    // As many batches as jobs, so that a thread takes its next job when it has finished the last one.
    move |jobs, job| context.par_for(jobs, jobs, job).expect("the runtime has threads")
}
