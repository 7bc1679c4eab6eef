//! What all engines have in common.

use super::counting::Counting;
use super::frame_size::FrameSize;
use super::step::Step;
use crate::error::Result;
use crate::graph::{Port, StepGraph};
use crate::media::{Packing, Rect};
use crate::model::Half;
use crate::runtime::{CallersMemory, Canceller, Found, Tensor};
use std::sync::Arc;

/// How far a clip is in one direction. All other counters follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Frames or latents that came in, without those that a flush repeats.
    pub(crate) count: u64,
    /// The clip was flushed.
    pub(crate) ended: bool,
}

/// The latents of a call: writes a part of the n-th, `[L, h, w]`.
pub(super) type LatentSource<'a> = dyn Fn(usize, &Rect, &mut [f32]) + 'a;

/// An output: a latent's moments or a frame's planes.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    Floats(&'a [f32]),
    /// Of a frame, as the run takes it, of so many columns and rows, and the index of its first value that is too large for it.
    Packed(&'a [u8], [usize; 2], Option<u64>),
    /// A frame on a device, for a caller whose frames are there: its planes, and where a kernel says what it finds in them. Its
    /// values are not known yet; `Written` follows.
    OnDevice(&'a Tensor, &'a Tensor),
    /// The caller's frame on the device is written, and was finite. The index of its first value that is too large for it.
    Written(Option<u64>),
}

impl<'a> Values<'a> {
    /// Of a run that takes no bytes.
    pub(crate) fn floats(self) -> &'a [f32] {
        match self {
            Values::Floats(values) => values,
            _ => unreachable!("nobody takes anything else"),
        }
    }
}

/// Takes an output, with its index in the clip.
pub(super) type Sink<'a> = dyn FnMut(u64, Values<'_>) -> Result<()> + 'a;

/// What an engine needs besides its input: how to be stopped, and where its outputs go.
pub(crate) struct Run<'a> {
    pub(super) canceller: &'a Canceller,
    /// The index in the clip of the next output.
    next: u64,
    sink: &'a mut Sink<'a>,
    /// How frames may be given by a device, and what of them is in the picture.
    pub(super) takes: Option<(Packing, [usize; 2])>,
}

impl<'a> Run<'a> {
    /// The first output is the clip's output `first`.
    pub(crate) fn new(canceller: &'a Canceller, first: u64, sink: &'a mut Sink<'a>) -> Self {
        Run { canceller, next: first, sink, takes: None }
    }

    /// Frames may be given by a device in this way, which has converted them to so many columns and rows.
    pub(crate) fn taking(self, takes: Option<(Packing, [usize; 2])>) -> Self {
        Run { takes, ..self }
    }

    /// Hands an output on, if its values are finite.
    pub(super) fn give(&mut self, step: &Step, what: &str, values: &[f32]) -> Result<()> {
        step.check_finite(values, what, self.next)?;
        self.hand_on(Values::Floats(values))
    }

    /// The same for a frame that a device has converted, and what it found in it.
    pub(super) fn give_packed(
        &mut self,
        step: &Step,
        what: &str,
        bytes: &[u8],
        size: [usize; 2],
        found: Found,
    ) -> Result<()> {
        match found.not_finite {
            Some(_) => Err(step.not_finite(what, self.next)),
            None => self.hand_on(Values::Packed(bytes, size, found.too_large)),
        }
    }

    /// Hands on a frame whose values are on a device and not known yet. Returns its index.
    pub(super) fn give_on_device(&mut self, planes: &Tensor, found: &Tensor) -> Result<u64> {
        self.hand_on(Values::OnDevice(planes, found))?;
        Ok(self.next - 1)
    }

    /// Says what was found in such a frame.
    pub(super) fn give_found(&mut self, step: &Step, what: &str, index: u64, found: Found) -> Result<()> {
        match found.not_finite {
            Some(_) => Err(step.not_finite(what, index)),
            None => (self.sink)(index, Values::Written(found.too_large)),
        }
    }

    fn hand_on(&mut self, values: Values<'_>) -> Result<()> {
        (self.sink)(self.next, values)?;
        self.next += 1;
        Ok(())
    }
}

/// One direction of the network on one tile.
pub(crate) trait Engine: Sized {
    /// The inputs of a call.
    type Inputs<'a>: ?Sized;
    /// The same direction for models whose norms span the whole clip.
    type WholeClip: for<'a> WholeClip<Inputs<'a> = Self::Inputs<'a>>;
    /// What it runs.
    const HALF: Half;
    /// Whether outputs may be handed on tile by tile. If not, tiles wait to be joined.
    const GIVES_PARTS: bool;

    /// How much smaller than the frame each side of an input and of an output is.
    fn divisors(compression: usize) -> [usize; 2];

    /// Outputs of the clip so far.
    fn outputs(counting: Counting, at: Progress) -> u64;

    /// Allocates caches and buffers. `callers`: of a caller whose frames are on the model's device.
    fn new(
        steps: &[Arc<Step>],
        counting: Counting,
        size: FrameSize,
        callers: Option<&Arc<CallersMemory>>,
    ) -> Result<Self>;

    /// Takes `part` of the n-th of `inputs`, which is the clip's input `index`. Outputs may be handed on by the next call, or
    /// by `finish`, which has to follow the last one.
    fn push(&mut self, index: u64, inputs: &Self::Inputs<'_>, n: usize, part: &Rect, run: &mut Run<'_>) -> Result<()>;

    /// Ends a clip of `count` inputs. `finish` has to follow.
    fn flush(&mut self, count: u64, run: &mut Run<'_>) -> Result<()>;

    /// Hands on what the last calls made and a device may still be working on.
    fn finish(&mut self, run: &mut Run<'_>) -> Result<()>;

    /// Forgets the clip. Memory is kept.
    fn reset(&mut self);

    /// Runs each step once, for what a device does at a size's first run only. Its results are dropped.
    fn warm_up(&mut self, canceller: &Canceller) -> Result<()>;

    /// Runs of the steps that a clip takes from its start to this progress.
    fn runs_until(&self, at: Progress) -> u64;

    /// Runs of the steps since the engine was made.
    fn runs(&self) -> u64;

    /// Bytes of caches and buffers.
    fn state_bytes(&self) -> u64;

    /// What `state_bytes` will be.
    fn planned_bytes(graphs: &[StepGraph], size: FrameSize) -> u64;

    /// Calls `keep` for each tensor that the rest of a clip reads after `count` inputs: the step that it belongs to, its
    /// port, the tensor.
    fn kept<'a>(&'a self, count: u64, keep: &mut dyn FnMut(&str, &Port, &'a Tensor));

    /// Goes to where a clip is after `count` inputs. Calls `fill` for the same tensors, in the same order.
    fn resume(&mut self, count: u64, fill: &mut dyn FnMut(&mut Tensor));
}

/// One direction of a network whose norms span the whole clip.
pub(crate) trait WholeClip {
    /// The inputs of a call.
    type Inputs<'a>: ?Sized;

    fn new(step: &Arc<Step>, counting: Counting, size: FrameSize) -> Self;

    /// Takes the first `count` of `inputs`, a whole clip.
    fn run(&mut self, inputs: &Self::Inputs<'_>, count: usize, run: &mut Run<'_>) -> Result<()>;

    /// Runs of the graph since this was made.
    fn runs(&self) -> u64;
}
