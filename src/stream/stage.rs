//! One step of the network within one stream: the shared session and this stream's causal caches.

use super::Geometry;
use super::snapshot::{LiveState, SavedState};
use crate::error::{ErrorKind, Result, fail};
use crate::finite::first_not_finite;
use crate::graph::{Port, SizeList, StepGraph};
use crate::memory;
use crate::runtime::{Canceller, Device, Session, Tensor};
use std::sync::Arc;

/// A loaded step, shared by all streams of a model.
pub(crate) struct Step {
    pub(crate) session: Session,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    /// The size of each cache's frames.
    pub(crate) caches: Vec<Port>,
    pub(crate) sizes: Vec<SizeList>,
    /// Where its tensors lie, if not in the processor's memory.
    pub(crate) device: Option<Arc<Device>>,
    /// Whether its numbers, or those that its stream keeps, can overflow where float32's do not.
    pub(crate) narrow: bool,
    pub(crate) weight_bytes: u64,
}

impl Step {
    pub(crate) fn output(&self, name: &str) -> &Port {
        self.outputs.iter().find(|port| port.name == name).expect("the graph has this output")
    }

    /// What the graph is told of the size of `frames` frames.
    pub(crate) fn size_tensors(&self, geometry: &Geometry, frames: usize) -> Result<Vec<Tensor>> {
        let size = [geometry.padded_height, geometry.padded_width];
        self.sizes.iter().map(|list| Tensor::whole_numbers(&list.of(size, frames))).collect()
    }

    /// Of an output that leaves the network, which is the `index`-th `what` of the clip.
    pub(crate) fn check_finite(&self, values: &[f32], what: &str, index: u64) -> Result<()> {
        if first_not_finite(values).is_none() {
            return Ok(());
        }
        let name = self.session.name();
        if self.narrow {
            fail!(
                NotFinite,
                "{name}: {what} {index} holds a NaN or an infinity: float16 or bfloat16 cannot hold what this input makes; \
                 open the model with precision f32 or tf32 for this direction and cache_type f32"
            );
        }
        fail!(
            NotFinite,
            "{name}: {what} {index} holds a NaN or an infinity: the weights are damaged, which opening the model with \
             check_finite finds out, or the input is far larger than any that it was trained for"
        )
    }
}

/// The frames that a causal convolution looks at: now, one ago and two ago. Nothing is ever copied; each step binds the
/// three buffers one place further on.
struct CacheRing([Tensor; 3]);

pub(crate) struct Stage {
    step: Arc<Step>,
    caches: Vec<CacheRing>,
    sizes: Vec<Tensor>,
    /// Steps since the start of the clip.
    position: u64,
    /// Steps since the stream was made.
    runs: u64,
}

impl Stage {
    pub(crate) fn new(step: &Arc<Step>, geometry: &Geometry) -> Result<Self> {
        let ring = |port| -> Result<_> {
            memory::check("a stream")?;
            let tensor = || geometry.tensor(port, step.device.as_ref());
            Ok(CacheRing([tensor()?, tensor()?, tensor()?]))
        };
        let caches = step.caches.iter().map(ring).collect::<Result<_>>()?;
        let sizes = step.size_tensors(geometry, 1)?;
        Ok(Stage { step: step.clone(), caches, sizes, position: 0, runs: 0 })
    }

    pub(crate) fn is_at_start(&self) -> bool {
        self.position == 0
    }

    pub(crate) fn runs(&self) -> u64 {
        self.runs
    }

    pub(crate) fn reset(&mut self) {
        self.position = 0;
    }

    pub(crate) fn forget_runs(&mut self) {
        self.runs = 0;
    }

    /// What the step after `position` others reads of its past.
    pub(crate) fn save<'a>(&'a self, position: u64, name: &str, state: &mut LiveState<'a>) {
        for (port, CacheRing(frames)) in self.step.caches.iter().zip(&self.caches) {
            past_places(position).for_each(|place| state.add(name, port, &frames[place]));
        }
    }

    pub(crate) fn load(&mut self, position: u64, state: &mut SavedState<'_>) {
        self.position = position;
        for CacheRing(frames) in &mut self.caches {
            past_places(position).for_each(|place| state.give(&mut frames[place]));
        }
    }

    pub(crate) fn output(&self, name: &str) -> &Port {
        self.step.output(name)
    }

    pub(crate) fn step(&self) -> &Step {
        &self.step
    }

    pub(crate) fn cache_bytes(&self) -> u64 {
        self.caches.iter().flat_map(|ring| &ring.0).map(Tensor::bytes).sum()
    }

    /// What `cache_bytes` will be.
    pub(crate) fn planned_bytes(graph: &StepGraph, geometry: &Geometry) -> u64 {
        graph.caches.iter().map(|cache| 3 * geometry.bytes(&cache.now)).sum()
    }

    /// Runs the step. The tensors are named, in any order; an error leaves the caches undefined.
    pub(crate) fn run(
        &mut self,
        inputs: &[(&str, &Tensor)],
        outputs: &[(&str, &Tensor)],
        canceller: &Canceller,
    ) -> Result<()> {
        let [two_ago, one_ago, now] = ring_places(self.position);
        let mut bound_inputs: Vec<&Tensor> = self.step.inputs.iter().map(|port| named(inputs, port)).collect();
        let mut bound_outputs: Vec<&Tensor> = self.step.outputs.iter().map(|port| named(outputs, port)).collect();
        for CacheRing(frames) in &self.caches {
            bound_inputs.extend([&frames[one_ago], &frames[two_ago]]);
            bound_outputs.push(&frames[now]);
        }
        bound_inputs.extend(&self.sizes);
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

/// Of a run whose numbers nobody asked for: what they are is no error.
pub(crate) fn unless_not_finite(result: Result<()>) -> Result<()> {
    result.or_else(|e| if e.kind() == ErrorKind::NotFinite { Ok(()) } else { Err(e) })
}

fn named<'a>(tensors: &[(&str, &'a Tensor)], port: &Port) -> &'a Tensor {
    let found = tensors.iter().find(|(name, _)| *name == port.name);
    found.unwrap_or_else(|| panic!("nothing is bound to {}", port.name)).1
}

/// Where the frames of two steps ago, one step ago and now are. Before the first frame lies the first frame: then these
/// are the same buffer, which the graph fills before it reads (see `graph`).
fn ring_places(position: u64) -> [usize; 3] {
    [2, 1, 0].map(|age| (position.saturating_sub(age) % 3) as usize)
}

/// Where the frames lie that a step reads and an earlier one wrote, oldest first.
fn past_places(position: u64) -> impl Iterator<Item = usize> {
    (position.saturating_sub(2)..position).map(|index| (index % 3) as usize)
}

#[cfg(test)]
mod tests {
    use super::ring_places;

    #[test]
    fn the_past_of_the_first_frame_is_the_first_frame() {
        let places: Vec<_> = (0..6).map(ring_places).collect();
        assert_eq!(places, [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
