//! The encoder: every two frames run the first step (every frame of an image model), every two of its results the next.

use super::counting::Counting;
use super::ends::{FrameInlet, Outlet, Results};
use super::frame_size::FrameSize;
use super::interface::{Engine, Progress, Run, Values};
use super::stage::{Stage, unless_not_finite};
use super::step::Step;
use super::whole_clip::WholeClipEncoder;
use crate::error::Result;
use crate::graph::{Port, StepGraph, port};
use crate::media::{Image, Rect};
use crate::model::Half;
use crate::runtime::{CallersMemory, Canceller, Tensor};
use std::sync::Arc;

/// What waits between two steps: the pair that is not complete, and the main path's last frame of the pair before.
struct Pair {
    main: [Tensor; 3],
    low: [Tensor; 2],
    /// Frames that have come since the start of the clip.
    count: u64,
}

pub(crate) struct Encoder {
    counting: Counting,
    size: FrameSize,
    stages: Vec<Stage>,
    pairs: Vec<Pair>,
    /// As many as the first step takes.
    frames: Vec<Tensor>,
    inlet: FrameInlet,
    moments: Outlet,
}

impl Engine for Encoder {
    type Inputs<'a> = [Image<'a>];
    type WholeClip = WholeClipEncoder;
    const HALF: Half = Half::Encoder;
    const GIVES_PARTS: bool = false;

    fn divisors(compression: usize) -> [usize; 2] {
        [1, compression]
    }

    fn outputs(counting: Counting, at: Progress) -> u64 {
        if at.ended { counting.latents(at.count) } else { counting.encoded(at.count) }
    }

    fn new(
        steps: &[Arc<Step>],
        counting: Counting,
        size: FrameSize,
        callers: Option<&Arc<CallersMemory>>,
    ) -> Result<Self> {
        let stages = steps.iter().map(|step| Stage::new(step, size)).collect::<Result<Vec<_>>>()?;
        let pair = |stage: &Stage| -> Result<Pair> {
            let tensor = |port| size.tensor(stage.output(port), stage.step().device.as_ref());
            let (main, low) = (port::MAIN_OUT, port::LOW_OUT);
            Ok(Pair {
                main: [tensor(main)?, tensor(main)?, tensor(main)?],
                low: [tensor(low)?, tensor(low)?],
                count: 0,
            })
        };
        let (last, inner) = stages.split_last().expect("an encoder has steps");
        let pairs = inner.iter().map(pair).collect::<Result<_>>()?;
        debug_assert_eq!(last.output(port::MOMENTS), &last.step().outputs[0]);
        let device = steps[0].device.as_ref();
        let moments = Outlet::new(&steps[steps.len() - 1], "latent", size, Results::Latents)?;
        let inlet = FrameInlet::new(device, callers, size)?;
        let frames = steps[0].inputs.iter().map(|port| size.tensor(port, device)).collect::<Result<_>>()?;
        Ok(Encoder { counting, size, stages, pairs, frames, inlet, moments })
    }

    fn push(&mut self, index: u64, inputs: &[Image<'_>], n: usize, part: &Rect, run: &mut Run<'_>) -> Result<()> {
        // Frame 0 is a pair of its own, later frames come in twos.
        let slot = usize::from(index != 0 && index.is_multiple_of(2)) % self.frames.len();
        self.inlet.fill(&inputs[n], part, &mut self.frames[slot])?;
        match (index, slot) {
            _ if self.frames.len() == 1 => self.run_first([0, 0], run),
            (0, _) => self.run_first([0, 0], run),
            (_, 1) => self.run_first([0, 1], run),
            _ => Ok(()),
        }
    }

    /// Completes the last group by repeating the last frame.
    fn flush(&mut self, count: u64, run: &mut Run<'_>) -> Result<()> {
        let unit = self.counting.unit;
        let in_group = count.saturating_sub(1) % unit;
        if in_group == 0 {
            return Ok(());
        }
        let mut missing = unit - in_group;
        let last = if missing % 2 == 1 { 0 } else { 1 };
        if missing % 2 == 1 {
            self.run_first([0, 0], run)?;
            missing -= 1;
        }
        for _ in 0..missing / 2 {
            self.run_first([last, last], run)?;
        }
        Ok(())
    }

    fn finish(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.moments.finish(run)
    }

    fn reset(&mut self) {
        self.moments.forget();
        self.stages.iter_mut().for_each(Stage::reset);
        self.pairs.iter_mut().for_each(|pair| pair.count = 0);
    }

    fn warm_up(&mut self, canceller: &Canceller) -> Result<()> {
        self.inlet.fill_black(self.size, &mut self.frames[0])?;
        let sink = &mut |_, _: Values<'_>| Ok(());
        let mut run = Run::new(canceller, 0, sink);
        let warmed = self.run_first([0, 0], &mut run).and_then(|()| self.finish(&mut run));
        self.reset();
        self.stages.iter_mut().for_each(Stage::forget_runs);
        unless_not_finite(warmed)
    }

    fn runs_until(&self, at: Progress) -> u64 {
        let mut count = if at.ended { self.counting.frames(self.counting.latents(at.count)) } else { at.count };
        let runs = (0..self.stages.len()).map(|i| {
            count = step_count(i, count, self.counting);
            count
        });
        runs.sum()
    }

    fn runs(&self) -> u64 {
        self.stages.iter().map(Stage::runs).sum()
    }

    fn state_bytes(&self) -> u64 {
        let pairs = self.pairs.iter().flat_map(|pair| pair.main.iter().chain(&pair.low)).map(Tensor::bytes);
        let own = self.frames.iter().map(Tensor::bytes).chain([self.moments.bytes()]);
        self.stages.iter().map(Stage::cache_bytes).chain(pairs).chain(own).sum()
    }

    fn planned_bytes(graphs: &[StepGraph], size: FrameSize) -> u64 {
        let (last, inner) = graphs.split_last().expect("an encoder has steps");
        let pairs = inner.iter().flat_map(|graph| &graph.outputs).map(|output| {
            let count = if output.name == port::MAIN_OUT { 3 } else { 2 };
            count * size.bytes(output)
        });
        let own = graphs[0].inputs.iter().chain(&last.outputs).map(|port| size.bytes(port));
        graphs.iter().map(|graph| Stage::planned_bytes(graph, size)).chain(pairs).chain(own).sum()
    }

    fn kept<'a>(&'a self, mut count: u64, keep: &mut dyn FnMut(&str, &Port, &'a Tensor)) {
        if let Some(slot) = waiting_frame(count, self.counting.unit) {
            keep("encoder", &self.stages[0].step().inputs[slot], &self.frames[slot]);
        }
        for (i, stage) in self.stages.iter().enumerate() {
            let name = format!("encoder.{i}");
            count = step_count(i, count, self.counting);
            stage.kept(count, &name, keep);
            if let Some(pair) = self.pairs.get(i) {
                pair.kept(count, &name, stage, keep);
            }
        }
    }

    fn resume(&mut self, mut count: u64, fill: &mut dyn FnMut(&mut Tensor)) {
        if let Some(slot) = waiting_frame(count, self.counting.unit) {
            fill(&mut self.frames[slot]);
        }
        for (i, stage) in self.stages.iter_mut().enumerate() {
            count = step_count(i, count, self.counting);
            stage.resume(count, fill);
            if let Some(pair) = self.pairs.get_mut(i) {
                pair.resume(count, fill);
            }
        }
    }
}

impl Encoder {
    fn run_first(&mut self, pair: [usize; 2], run: &mut Run<'_>) -> Result<()> {
        let inputs = [0, 1].map(|i| (port::FRAMES[i], &self.frames[pair[i]]));
        let inputs = &inputs[..self.frames.len()];
        if run_steps(&mut self.stages, &mut self.pairs, &self.moments.tensors()[0], inputs, run.canceller)? {
            self.moments.give(0, run)?;
        }
        Ok(())
    }
}

/// How often step `index` ran after `count` of its inputs: they come in pairs, the first of which is a pair of its own.
/// Where frames are images, there is one step and each is alone.
fn step_count(index: usize, count: u64, counting: Counting) -> u64 {
    if counting.unit == 1 && index == 0 { count } else { count.div_ceil(2) }
}

/// The last frame, if its pair is not complete or if a flush would repeat it.
fn waiting_frame(frames_in: u64, unit: u64) -> Option<usize> {
    let in_group = frames_in.saturating_sub(1) % unit;
    (in_group != 0).then_some(if in_group % 2 == 1 { 0 } else { 1 })
}

impl Pair {
    fn kept<'a>(&'a self, count: u64, name: &str, stage: &Stage, keep: &mut dyn FnMut(&str, &Port, &'a Tensor)) {
        let (mains, low) = waiting_pair(count);
        mains.for_each(|slot| keep(name, stage.output(port::MAIN_OUT), &self.main[slot]));
        if low {
            keep(name, stage.output(port::LOW_OUT), &self.low[0]);
        }
    }

    fn resume(&mut self, count: u64, fill: &mut dyn FnMut(&mut Tensor)) {
        self.count = count;
        let (mains, low) = waiting_pair(count);
        mains.for_each(|slot| fill(&mut self.main[slot]));
        if low {
            fill(&mut self.low[0]);
        }
    }
}

/// What the next complete pair needs of the `count` frames that have come: on the main path the last one of the pair
/// before, and on both paths the half that waits.
fn waiting_pair(count: u64) -> (impl Iterator<Item = usize>, bool) {
    let half = count != 0 && count.is_multiple_of(2);
    let mains = count.saturating_sub(if half { 2 } else { 1 })..count;
    (mains.map(|index| (index % 3) as usize), half)
}

/// Runs the first of `stages`, and the others as far as their pairs are complete. True when the last one ran.
fn run_steps(
    stages: &mut [Stage],
    pairs: &mut [Pair],
    moments: &Tensor,
    inputs: &[(&str, &Tensor)],
    canceller: &Canceller,
) -> Result<bool> {
    let (stage, later_stages) = stages.split_first_mut().expect("called with a stage to run");
    let Some((pair, later_pairs)) = pairs.split_first_mut() else {
        stage.run(inputs, &[(port::MOMENTS, moments)], canceller)?;
        return Ok(true);
    };
    // The main path needs the last frame of the pair before, so its three buffers take turns.
    let main = (pair.count % 3) as usize;
    let low = usize::from(pair.count != 0 && pair.count.is_multiple_of(2));
    stage.run(inputs, &[(port::MAIN_OUT, &pair.main[main]), (port::LOW_OUT, &pair.low[low])], canceller)?;
    pair.count += 1;
    // The start of a clip is a static past: its first frame stands for the whole pair and the one before.
    let (mains, lows) = match (pair.count, low) {
        (1, _) => ([0, 0, 0], [0, 0]),
        (count, 1) => ([count - 3, count - 2, count - 1].map(|n| (n % 3) as usize), [0, 1]),
        _ => return Ok(false),
    };
    let mains = [0, 1, 2].map(|i| (port::MAIN[i], &pair.main[mains[i]]));
    let lows = [0, 1].map(|i| (port::LOW[i], &pair.low[lows[i]]));
    let inputs: Vec<_> = mains.into_iter().chain(lows).collect();
    run_steps(later_stages, later_pairs, moments, &inputs, canceller)
}
