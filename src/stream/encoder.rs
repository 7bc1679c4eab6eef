//! Streaming encoder: every two frames run the first step (every one, where frames are images), every two of its results
//! the next.

use super::Geometry;
use super::counting::Counting;
use super::encoding::LatentSink;
use super::snapshot::{LiveState, Progress, SavedState};
use super::stage::{Stage, Step, unless_not_finite};
use crate::error::Result;
use crate::graph::{Element, StepGraph, port};
use crate::media::{Image, PixelFormat, Rect};
use crate::memory;
use crate::runtime::{Canceller, Device, Tensor};
use std::sync::Arc;

/// What waits between two steps: the pair in the making, and the main path's last frame of the pair before.
struct Pair {
    main: [Tensor; 3],
    low: [Tensor; 2],
    /// Frames that have come, since the start of the clip.
    count: u64,
}

/// The way of frames to a device.
struct Upload {
    device: Arc<Device>,
    /// A frame of each kind, in memory that the device reads by itself.
    bytes: Tensor,
    floats: Tensor,
}

pub(crate) struct StreamEncoder {
    stages: Vec<Stage>,
    pairs: Vec<Pair>,
    /// As many as the first step takes.
    frames: Vec<Tensor>,
    /// Where these are on a device.
    upload: Option<Upload>,
    moments: Tensor,
    /// Frames since the start of the clip, without those that a flush repeats.
    pub(crate) frames_in: u64,
    pub(crate) latents_out: u64,
    pub(crate) flushed: bool,
}

impl StreamEncoder {
    pub(crate) fn new(steps: &[Arc<Step>], geometry: &Geometry) -> Result<Self> {
        let stages = steps.iter().map(|step| Stage::new(step, geometry)).collect::<Result<Vec<_>>>()?;
        let pair = |stage: &Stage| -> Result<Pair> {
            let tensor = |port| geometry.tensor(stage.output(port), stage.step().device.as_ref());
            let (main, low) = (port::MAIN_OUT, port::LOW_OUT);
            Ok(Pair {
                main: [tensor(main)?, tensor(main)?, tensor(main)?],
                low: [tensor(low)?, tensor(low)?],
                count: 0,
            })
        };
        let (last, inner) = stages.split_last().expect("an encoder has steps");
        let pairs = inner.iter().map(pair).collect::<Result<_>>()?;
        let device = last.step().device.as_ref();
        let moments = geometry.end_tensor(last.output(port::MOMENTS), device)?;
        let upload = device.map(|device| Upload::new(device, geometry)).transpose()?;
        Ok(StreamEncoder {
            frames: steps[0].inputs.iter().map(|port| geometry.tensor(port, device)).collect::<Result<_>>()?,
            upload,
            moments,
            pairs,
            stages,
            frames_in: 0,
            latents_out: 0,
            flushed: false,
        })
    }

    /// Runs each step once, for what a device does at a size's first run only; what comes of it is dropped.
    pub(crate) fn warm_up(&mut self, geometry: &Geometry, canceller: &Canceller) -> Result<()> {
        let (width, height) = (geometry.padded_width, geometry.padded_height);
        let black = memory::zeros(3 * width * height, "a frame")?;
        let frame = Image::packed(&black, PixelFormat::RgbPlanar8, width, height)?;
        let warmed = self.push(&frame, &Rect::of(width, height), canceller, &mut |_, _| ());
        self.reset();
        self.stages.iter_mut().for_each(Stage::forget_runs);
        unless_not_finite(warmed)
    }

    pub(crate) fn reset(&mut self) {
        self.stages.iter_mut().for_each(Stage::reset);
        self.pairs.iter_mut().for_each(|pair| pair.count = 0);
        (self.frames_in, self.latents_out, self.flushed) = (0, 0, false);
    }

    /// What the rest of a clip reads after this progress.
    pub(crate) fn save<'a>(&'a self, at: Progress, counting: Counting, state: &mut LiveState<'a>) {
        if at.ended {
            return;
        }
        if let Some(place) = waiting_frame(at.count, counting.unit) {
            state.add("encoder", &self.stages[0].step().inputs[place], &self.frames[place]);
        }
        let mut count = at.count;
        for (i, stage) in self.stages.iter().enumerate() {
            count = step_count(i, count, counting);
            stage.save(count, &format!("encoder.{i}"), state);
            if let Some(pair) = self.pairs.get(i) {
                pair.save(count, &format!("encoder.{i}"), stage, state);
            }
        }
    }

    pub(crate) fn load(&mut self, at: Progress, counting: Counting, state: &mut SavedState<'_>) {
        self.reset();
        (self.frames_in, self.flushed) = (at.count, at.ended);
        // What has ended does nothing until a reset.
        if at.ended {
            self.latents_out = counting.latents(at.count);
            return;
        }
        self.latents_out = counting.encoded(at.count);
        if let Some(place) = waiting_frame(at.count, counting.unit) {
            state.give(&mut self.frames[place]);
        }
        let mut count = at.count;
        for (i, stage) in self.stages.iter_mut().enumerate() {
            count = step_count(i, count, counting);
            stage.load(count, state);
            if let Some(pair) = self.pairs.get_mut(i) {
                pair.load(count, state);
            }
        }
    }

    pub(crate) fn runs(&self) -> u64 {
        self.stages.iter().map(Stage::runs).sum()
    }

    pub(crate) fn state_bytes(&self) -> u64 {
        let pairs = self.pairs.iter().flat_map(|pair| pair.main.iter().chain(&pair.low)).map(Tensor::bytes);
        let own = self.frames.iter().chain([&self.moments]).map(Tensor::bytes);
        self.stages.iter().map(Stage::cache_bytes).chain(pairs).chain(own).sum()
    }

    /// What `state_bytes` will be.
    pub(crate) fn planned_bytes(graphs: &[StepGraph], geometry: &Geometry) -> u64 {
        let (last, inner) = graphs.split_last().expect("an encoder has steps");
        let pairs = inner.iter().flat_map(|graph| &graph.outputs).map(|output| {
            let count = if output.name == port::MAIN_OUT { 3 } else { 2 };
            count * geometry.bytes(output)
        });
        let own = graphs[0].inputs.iter().chain(&last.outputs).map(|port| geometry.bytes(port));
        graphs.iter().map(|graph| Stage::planned_bytes(graph, geometry)).chain(pairs).chain(own).sum()
    }

    /// Takes that part of a frame; gives a latent if it completes a group.
    pub(crate) fn push(
        &mut self,
        frame: &Image<'_>,
        part: &Rect,
        canceller: &Canceller,
        sink: &mut LatentSink<'_>,
    ) -> Result<()> {
        // Frame 0 is a pair of its own, later frames come in twos.
        let place = usize::from(self.frames_in != 0 && self.frames_in.is_multiple_of(2)) % self.frames.len();
        match &mut self.upload {
            None => frame.read(self.frames[place].data_mut(), part),
            Some(upload) => upload.send(frame, part, &self.frames[place])?,
        }
        self.frames_in += 1;
        match (self.frames_in, place) {
            _ if self.frames.len() == 1 => self.run_first([0, 0], canceller, sink),
            (1, _) => self.run_first([0, 0], canceller, sink),
            (_, 1) => self.run_first([0, 1], canceller, sink),
            _ => Ok(()),
        }
    }

    /// Ends the clip: completes the last group by repeating the last frame.
    pub(crate) fn flush(&mut self, unit: u64, canceller: &Canceller, sink: &mut LatentSink<'_>) -> Result<()> {
        self.flushed = true;
        let in_group = self.frames_in.saturating_sub(1) % unit;
        if in_group == 0 {
            return Ok(());
        }
        let mut missing = unit - in_group;
        let last = if missing % 2 == 1 { 0 } else { 1 };
        if missing % 2 == 1 {
            self.run_first([0, 0], canceller, sink)?;
            missing -= 1;
        }
        for _ in 0..missing / 2 {
            self.run_first([last, last], canceller, sink)?;
        }
        Ok(())
    }

    fn run_first(&mut self, pair: [usize; 2], canceller: &Canceller, sink: &mut LatentSink<'_>) -> Result<()> {
        let inputs = [0, 1].map(|i| (port::FRAMES[i], &self.frames[pair[i]]));
        let inputs = &inputs[..self.frames.len()];
        if run(&mut self.stages, &mut self.pairs, &self.moments, inputs, canceller)? {
            let last = self.stages.last().expect("an encoder has steps").step();
            let moments = self.moments.data();
            last.check_finite(moments, "latent", self.latents_out)?;
            sink(self.latents_out, moments);
            self.latents_out += 1;
        }
        Ok(())
    }
}

impl Upload {
    fn new(device: &Arc<Device>, geometry: &Geometry) -> Result<Self> {
        let shape = [1, 3, geometry.padded_height, geometry.padded_width];
        let tensor = |element| Tensor::staged(Some(device), &shape, element);
        Ok(Upload { device: device.clone(), bytes: tensor(Element::U8)?, floats: tensor(Element::F32)? })
    }

    /// Pixels of 8 bits cross as they are, all others as float32.
    fn send(&mut self, frame: &Image<'_>, part: &Rect, to: &Tensor) -> Result<()> {
        if frame.read_bytes(self.bytes.raw_mut(), part) {
            return self.device.upload_pixels(&self.bytes, to);
        }
        frame.read(self.floats.data_mut(), part);
        self.device.upload(&self.floats, to)
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
    fn save<'a>(&'a self, count: u64, name: &str, stage: &Stage, state: &mut LiveState<'a>) {
        let (mains, low) = waiting_pair(count);
        mains.for_each(|place| state.add(name, stage.output(port::MAIN_OUT), &self.main[place]));
        if low {
            state.add(name, stage.output(port::LOW_OUT), &self.low[0]);
        }
    }

    fn load(&mut self, count: u64, state: &mut SavedState<'_>) {
        self.count = count;
        let (mains, low) = waiting_pair(count);
        mains.for_each(|place| state.give(&mut self.main[place]));
        if low {
            state.give(&mut self.low[0]);
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
fn run(
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
    run(later_stages, later_pairs, moments, &inputs, canceller)
}
