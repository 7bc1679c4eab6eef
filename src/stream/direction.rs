//! One direction of a stream, with its progress through the clip.

use super::geometry::Geometry;
use super::tiled::{Call, Tiled};
use super::tiles::Tiles;
use crate::engine::{Counting, Engine, Progress, Run, Step, Values, WholeClip};
use crate::error::Result;
use crate::graph::Port;
use crate::media::Rect;
use crate::runtime::{CallersMemory, Canceller, Tensor};
use std::ops::Range;
use std::sync::Arc;

pub(super) struct Direction<E: Engine> {
    counting: Counting,
    progress: Progress,
    /// Whether each call gets a whole clip.
    at_once: bool,
    way: Way<E>,
}

enum Way<E: Engine> {
    Tiles(Tiled<E>),
    /// With the rectangle of an output.
    WholeClip(E::WholeClip, Rect),
}

impl<E: Engine> Direction<E> {
    pub(super) fn new(
        steps: &[Arc<Step>],
        counting: Counting,
        geometry: &Geometry,
        tiles: Tiles,
        at_once: bool,
        callers: Option<&Arc<CallersMemory>>,
    ) -> Result<Self> {
        let way = Way::Tiles(Tiled::new(steps, counting, geometry, tiles, at_once, callers)?);
        Ok(Direction { counting, progress: Progress::default(), at_once, way })
    }

    /// For a model whose norms span the whole clip.
    pub(super) fn of_whole_clips(step: &Arc<Step>, counting: Counting, geometry: &Geometry) -> Self {
        let [_, divisor] = E::divisors(geometry.compression);
        let output = Tiles::one(geometry).whole(divisor);
        let way = Way::WholeClip(E::WholeClip::new(step, counting, geometry.padded), output);
        Direction { counting, progress: Progress::default(), at_once: true, way }
    }

    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// Outputs since the start of the clip.
    pub(super) fn outputs(&self) -> u64 {
        E::outputs(self.counting, self.progress)
    }

    /// The clip's outputs that `count` more inputs would give.
    pub(super) fn outputs_of(&self, count: u64) -> Range<u64> {
        let after = Progress { count: self.progress.count + count, ended: self.at_once };
        self.outputs()..E::outputs(self.counting, after)
    }

    /// The clip's outputs that its end would give.
    pub(super) fn outputs_of_flush(&self) -> Range<u64> {
        self.outputs()..E::outputs(self.counting, Progress { ended: true, ..self.progress })
    }

    /// Takes the first `count` of `inputs`, which are a whole clip if each call gets one.
    pub(super) fn push(&mut self, inputs: &E::Inputs<'_>, count: usize, call: &mut Call<'_, '_>) -> Result<()> {
        match &mut self.way {
            Way::Tiles(tiled) if self.at_once => tiled.clip(inputs, count, call)?,
            Way::Tiles(tiled) => {
                let mut next = 0;
                while next < count {
                    let end = next + tiled.inputs_at_once().min(count - next);
                    let first = E::outputs(self.counting, self.progress);
                    tiled.push(self.progress.count, inputs, next..end, first, call)?;
                    self.progress.count += (end - next) as u64;
                    next = end;
                }
                return Ok(());
            }
            Way::WholeClip(clip, all) => {
                let mut sink = |index: u64, values: Values<'_>| (call.sink)(index, values, all, all);
                clip.run(inputs, count, &mut Run::new(call.canceller, 0, &mut sink))?;
            }
        }
        self.progress = Progress { count: count as u64, ended: true };
        Ok(())
    }

    /// Ends the clip, if it has not ended yet.
    pub(super) fn flush(&mut self, call: &mut Call<'_, '_>) -> Result<()> {
        if self.progress.ended {
            return Ok(());
        }
        if let Way::Tiles(tiled) = &mut self.way {
            let first = E::outputs(self.counting, self.progress);
            tiled.flush(self.progress.count, first, call)?;
        }
        self.progress.ended = true;
        Ok(())
    }

    /// Forgets the clip. Memory is kept.
    pub(super) fn reset(&mut self) {
        self.progress = Progress::default();
        if let Way::Tiles(tiled) = &mut self.way {
            tiled.reset();
        }
    }

    /// Takes the cost of a device's first run. The size of a whole clip is not known yet.
    pub(super) fn warm_up(&mut self, canceller: &Canceller) -> Result<()> {
        match &mut self.way {
            Way::Tiles(tiled) => tiled.warm_up(canceller),
            Way::WholeClip(..) => Ok(()),
        }
    }

    /// Runs of the network's steps that `count` more inputs would take, or the clip's end for `None`.
    pub(super) fn runs_of(&self, count: Option<usize>) -> u64 {
        let from = self.progress;
        let to = match count {
            Some(count) => Progress { count: from.count + count as u64, ended: self.at_once },
            None => Progress { ended: true, ..from },
        };
        match &self.way {
            Way::Tiles(tiled) => tiled.runs_between(from, to),
            Way::WholeClip(..) => u64::from(count.is_some()),
        }
    }

    /// Runs of the network's steps since the stream was made.
    pub(super) fn runs(&self) -> u64 {
        match &self.way {
            Way::Tiles(tiled) => tiled.runs(),
            Way::WholeClip(clip, _) => clip.runs(),
        }
    }

    /// Bytes of caches and buffers.
    pub(super) fn state_bytes(&self) -> u64 {
        match &self.way {
            Way::Tiles(tiled) => tiled.state_bytes(),
            Way::WholeClip(..) => 0,
        }
    }

    /// Calls `keep` for each tensor that the rest of a clip reads after this progress: the step that it belongs to, its
    /// port, the tensor.
    pub(super) fn kept<'a>(&'a self, at: Progress, keep: &mut dyn FnMut(&str, &Port, &'a Tensor)) {
        if let Way::Tiles(tiled) = &self.way {
            tiled.kept(at, keep);
        }
    }

    /// Goes to this progress. Calls `fill` for the same tensors, in the same order.
    pub(super) fn resume(&mut self, at: Progress, fill: &mut dyn FnMut(&mut Tensor)) {
        self.progress = at;
        if let Way::Tiles(tiled) = &mut self.way {
            tiled.resume(at, fill);
        }
    }
}
