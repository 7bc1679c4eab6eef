//! One step of the network within one engine: the shared session and this engine's causal caches.

use super::frame_size::FrameSize;
use super::step::Step;
use crate::error::{ErrorKind, Result};
use crate::graph::{Port, StepGraph};
use crate::memory;
use crate::runtime::{Canceller, Tensor};
use std::sync::Arc;

/// The frames that a causal convolution reads: this one and the two before it. Nothing is copied: each run binds the
/// three buffers in the next rotation.
struct CacheRing([Tensor; 3]);

pub(super) struct Stage {
    step: Arc<Step>,
    caches: Vec<CacheRing>,
    sizes: Vec<Tensor>,
    /// Runs since the start of the clip.
    position: u64,
    /// Runs since the engine was made.
    runs: u64,
    /// Of the first outputs of its runs, for recordings.
    places: Vec<u64>,
}

impl Stage {
    pub(super) fn new(step: &Arc<Step>, size: FrameSize) -> Result<Self> {
        memory::check("a stream")?;
        let slots = step.caches.iter().flat_map(|port| [port; 3]);
        let mut tensors = size.tensors(slots, step.device.as_ref())?.into_iter();
        let mut slot = || tensors.next().expect("three for each cache");
        let caches = step.caches.iter().map(|_| CacheRing([slot(), slot(), slot()])).collect();
        let sizes = step.size_tensors(size, 1)?;
        Ok(Stage { step: step.clone(), caches, sizes, position: 0, runs: 0, places: vec![] })
    }

    pub(super) fn is_at_start(&self) -> bool {
        self.position == 0
    }

    pub(super) fn runs(&self) -> u64 {
        self.runs
    }

    pub(super) fn reset(&mut self) {
        self.position = 0;
    }

    pub(super) fn forget_runs(&mut self) {
        self.runs = 0;
    }

    /// The past that run `position` reads.
    pub(super) fn kept<'a>(&'a self, position: u64, name: &str, keep: &mut dyn FnMut(&str, &Port, &'a Tensor)) {
        for (port, CacheRing(frames)) in self.step.caches.iter().zip(&self.caches) {
            past_slots(position).for_each(|slot| keep(name, port, &frames[slot]));
        }
    }

    pub(super) fn resume(&mut self, position: u64, fill: &mut dyn FnMut(&mut Tensor)) {
        self.position = position;
        for CacheRing(frames) in &mut self.caches {
            past_slots(position).for_each(|slot| fill(&mut frames[slot]));
        }
    }

    pub(super) fn output(&self, name: &str) -> &Port {
        self.step.output(name)
    }

    pub(super) fn step(&self) -> &Step {
        &self.step
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        self.caches.iter().flat_map(|ring| &ring.0).map(Tensor::bytes).sum()
    }

    /// What `cache_bytes` will be.
    pub(super) fn planned_bytes(graph: &StepGraph, size: FrameSize) -> u64 {
        graph.caches.iter().map(|cache| 3 * size.bytes(&cache.now)).sum()
    }

    /// Runs the step. The tensors are named, in any order; an error leaves the caches undefined.
    pub(super) fn run(
        &mut self,
        inputs: &[(&str, &Tensor)],
        outputs: &[(&str, &Tensor)],
        canceller: &Canceller,
    ) -> Result<()> {
        let [two_ago, one_ago, now] = ring_slots(self.position);
        let mut bound_inputs: Vec<&Tensor> = self.step.inputs.iter().map(|port| named(inputs, port)).collect();
        let mut bound_outputs: Vec<&Tensor> = self.step.outputs.iter().map(|port| named(outputs, port)).collect();
        for CacheRing(frames) in &self.caches {
            bound_inputs.extend([&frames[one_ago], &frames[two_ago]]);
            bound_outputs.push(&frames[now]);
        }
        bound_inputs.extend(&self.sizes);
        if let Some(place) = bound_outputs[0].recorded_place().filter(|place| !self.places.contains(place)) {
            self.places.push(place);
        }
        self.step.session.run(&bound_inputs, &bound_outputs, canceller)?;
        #[cfg(test)]
        if let Some(device) = &self.step.device {
            device.traffic.steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        self.position += 1;
        self.runs += 1;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.step.session.forget(&self.places);
    }
}

/// For a run whose values are dropped: they need not be finite.
pub(super) fn unless_not_finite(result: Result<()>) -> Result<()> {
    result.or_else(|e| if e.kind() == ErrorKind::NotFinite { Ok(()) } else { Err(e) })
}

fn named<'a>(tensors: &[(&str, &'a Tensor)], port: &Port) -> &'a Tensor {
    let found = tensors.iter().find(|(name, _)| *name == port.name);
    found.unwrap_or_else(|| panic!("nothing is bound to {}", port.name)).1
}

/// The slots of the frames two steps ago, one step ago and now. The first frame stands for its own past: then slots are the
/// same, and the graph fills the buffer before it reads it (see `graph`).
fn ring_slots(position: u64) -> [usize; 3] {
    [2, 1, 0].map(|age| (position.saturating_sub(age) % 3) as usize)
}

/// The slots of the frames that run `position` reads and earlier ones wrote, oldest first.
fn past_slots(position: u64) -> impl Iterator<Item = usize> {
    (position.saturating_sub(2)..position).map(|index| (index % 3) as usize)
}

#[cfg(test)]
mod tests {
    use super::ring_slots;

    #[test]
    fn the_past_of_the_first_frame_is_the_first_frame() {
        let slots: Vec<_> = (0..6).map(ring_slots).collect();
        assert_eq!(slots, [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
