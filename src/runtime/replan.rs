//! After a run on a CUDA device that failed: runs of the smallest frame, so that convolutions forget it.
//!
//! ONNX Runtime's convolutions there keep the plan for the last size of frames. They note a new size before they have its
//! plan: when making that fails, for lack of memory, the next run of the same size believes that it is there, and crashes. A
//! run of another size makes them plan again. Read in its source and seen, of version 1.31.1.

use super::{Canceller, Tensor};
use crate::error::{Error, Result};
use crate::graph::{Layout, Port, SizeList, StepGraph};
use parking_lot::Mutex;

pub(super) struct Replan {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    sizes: Vec<SizeList>,
    /// Width and height of the smallest frame.
    unit: usize,
    /// Runs since one that failed, of which none succeeded; `None`: no run failed.
    tries: Mutex<Option<usize>>,
}

impl Replan {
    /// `None` of graphs that only move tensors.
    pub(super) fn new(step: &StepGraph) -> Option<Self> {
        let past = step.caches.iter().flat_map(|cache| [&cache.one_ago, &cache.two_ago]);
        let inputs: Vec<Port> = step.inputs.iter().chain(past).cloned().collect();
        let outputs: Vec<Port> = step.outputs.iter().chain(step.caches.iter().map(|c| &c.now)).cloned().collect();
        if inputs.iter().any(|port| port.layout == Layout::Any) {
            return None;
        }
        let unit = inputs.iter().chain(&outputs).map(|port| port.divisor).max().unwrap_or(1);
        Some(Replan { inputs, outputs, sizes: step.sizes.clone(), unit, tries: Mutex::new(None) })
    }

    pub(super) fn is_needed(&self) {
        self.tries.lock().get_or_insert(0);
    }

    /// `run` runs the graph.
    pub(super) fn if_needed(&self, run: impl Fn(&[&Tensor], &[&Tensor], &Canceller) -> Result<()>) -> Result<()> {
        let mut tries = self.tries.lock();
        let Some(count) = *tries else { return Ok(()) };
        // Never twice the same size, as the run before may have failed as well.
        let size = [self.unit, self.unit * (1 + count % 2)];
        *tries = Some(count + 1);
        let tensors = |ports: &[Port]| -> Result<Vec<Tensor>> {
            ports.iter().map(|port| Tensor::zeros(&port.shape(size, 1), port.element)).collect()
        };
        let (mut inputs, outputs) = (tensors(&self.inputs)?, tensors(&self.outputs)?);
        for list in &self.sizes {
            inputs.push(Tensor::whole_numbers(&list.of(size, 1))?);
        }
        let [inputs, outputs] = [&inputs, &outputs].map(|tensors| tensors.iter().collect::<Vec<_>>());
        run(&inputs, &outputs, &Canceller::new()?)
            .map_err(|e| Error::new(e.kind(), format!("after a run failed: {e}")))?;
        *tries = None;
        Ok(())
    }
}
