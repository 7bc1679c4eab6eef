//! Runs on a CUDA device. After a run that failed, a run of the smallest frame makes convolutions plan again.
//!
//! ONNX Runtime's convolutions keep the plan for the last size of frames there. They store a new size before they have its
//! plan. If planning fails for lack of memory, the next run of the same size uses the missing plan and crashes. A run of
//! another size makes them plan again. This is in the source of version 1.31.1 and was seen with it. A run must not meet this
//! while another one fails either, so a session's runs take turns; its convolutions do so anyway.

use super::cancel::Canceller;
use super::tensor::Tensor;
use crate::error::{Error, Result};
use crate::graph::{Layout, Port, SizeList, StepGraph};
use parking_lot::Mutex;

/// Runs a session's graph once.
pub(super) type Run<'a> = &'a dyn Fn(&[&Tensor], &[&Tensor], &Canceller) -> Result<()>;

pub(super) struct Replan {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    sizes: Vec<SizeList>,
    /// Width and height of the smallest frame.
    unit: usize,
    /// The shape of the first input of each run since the last one that succeeded. All of them failed.
    failed: Mutex<Vec<Vec<usize>>>,
    #[cfg(test)]
    pub(super) count: std::sync::atomic::AtomicU64,
}

impl Replan {
    /// `None` for graphs that only move tensors.
    pub(super) fn new(step: &StepGraph) -> Option<Self> {
        let past = step.caches.iter().flat_map(|cache| [&cache.one_ago, &cache.two_ago]);
        let inputs: Vec<Port> = step.inputs.iter().chain(past).cloned().collect();
        let outputs: Vec<Port> = step.outputs.iter().chain(step.caches.iter().map(|c| &c.now)).cloned().collect();
        if inputs.iter().any(|port| port.layout == Layout::Any) {
            return None;
        }
        Some(Replan {
            unit: inputs.iter().chain(&outputs).map(|port| port.divisor).max().unwrap_or(1),
            inputs,
            outputs,
            sizes: step.sizes.clone(),
            failed: Mutex::default(),
            #[cfg(test)]
            count: Default::default(),
        })
    }

    pub(super) fn run(&self, run: Run, inputs: &[&Tensor], outputs: &[&Tensor], canceller: &Canceller) -> Result<()> {
        let mut failed = self.failed.lock();
        if !failed.is_empty() {
            self.run_smallest(run, &mut failed)?;
        }
        let result = run(inputs, outputs, canceller);
        // A run that was cancelled counts too, as it may have failed before that.
        if result.is_err() {
            failed.push(inputs[0].shape().to_vec());
        }
        result
    }

    fn run_smallest(&self, run: Run, failed: &mut Vec<Vec<usize>>) -> Result<()> {
        #[cfg(test)]
        self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let sizes = (1..).map(|n| [self.unit, n * self.unit]);
        let first = |size| self.inputs[0].shape(size, 1);
        let size = sizes.into_iter().find(|size| !failed.contains(&first(*size))).expect("few failed");
        let tensors = |ports: &[Port]| -> Result<Vec<Tensor>> {
            ports.iter().map(|port| Tensor::zeros(&port.shape(size, 1), port.element)).collect()
        };
        let (mut inputs, outputs) = (tensors(&self.inputs)?, tensors(&self.outputs)?);
        for list in &self.sizes {
            inputs.push(Tensor::integers(&list.of(size, 1))?);
        }
        let [inputs, outputs] = [&inputs, &outputs].map(|tensors| tensors.iter().collect::<Vec<_>>());
        match run(&inputs, &outputs, &Canceller::new()?) {
            Ok(()) => failed.clear(),
            Err(e) => {
                failed.push(first(size));
                return Err(Error::new(e.kind(), format!("{e} (in the run that follows a failed one)")));
            }
        }
        Ok(())
    }

    /// The state after a failed run of these inputs.
    #[cfg(test)]
    pub(super) fn fail(&self, inputs: &[&Tensor]) {
        self.failed.lock().push(inputs[0].shape().to_vec());
    }
}
