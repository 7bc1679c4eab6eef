//! Streaming decoder without lookahead: each step runs once for each frame at its rate (spec section 6).

use super::Geometry;
use super::counting::{Counting, doubled};
use super::interpolation::{held_back, made_final, under_taps};
use super::snapshot::{LiveState, Progress, SavedState};
use super::stage::{Stage, Step, unless_not_finite};
use crate::error::Result;
use crate::graph::{StepGraph, port};
use crate::model::Interpolation;
use crate::runtime::{Canceller, Tensor};
use std::sync::Arc;

/// Between two steps: the temporal interpolation, and the side branch's pictures, which run ahead of it by one.
struct Boundary {
    /// The last three low-rate frames under the time taps of what follows the interpolation, in turns.
    taps: [Tensor; 3],
    /// Low-rate frames that have come, since the start of the clip.
    count: u64,
    /// At most one picture waits while two new ones come.
    pictures: [Tensor; 3],
    /// Pictures that have come and gone, since the start of the clip.
    pictures_in: u64,
    pictures_out: u64,
    /// Of these taps, for the frame in progress.
    weights: Tensor,
}

pub(crate) struct StreamDecoder {
    interpolation: Interpolation,
    stages: Vec<Stage>,
    boundaries: Vec<Boundary>,
    latent: Tensor,
    /// What the last step makes: two frames of the clip, one where frames are images.
    pictures: Vec<Tensor>,
    pub(crate) latents_in: u64,
    pub(crate) frames_out: u64,
    pub(crate) flushed: bool,
}

/// Where a frame goes: its index in the clip, and its planes.
type PlaneSink<'a> = dyn FnMut(u64, &[f32]) + 'a;

/// What a step needs besides its own stage.
struct Shared<'a> {
    interpolation: Interpolation,
    pictures: &'a [Tensor],
    frames_out: &'a mut u64,
    canceller: &'a Canceller,
    sink: &'a mut PlaneSink<'a>,
}

impl StreamDecoder {
    pub(crate) fn new(steps: &[Arc<Step>], interpolation: Interpolation, geometry: &Geometry) -> Result<Self> {
        let stages = steps.iter().map(|step| Stage::new(step, geometry)).collect::<Result<Vec<_>>>()?;
        let boundary = |stage: &Stage| -> Result<Boundary> {
            let tensor = |port| geometry.tensor(stage.output(port), stage.step().device.as_ref());
            let (taps, picture) = (port::TAPS, port::PICTURES[0]);
            Ok(Boundary {
                taps: [tensor(taps)?, tensor(taps)?, tensor(taps)?],
                count: 0,
                pictures: [tensor(picture)?, tensor(picture)?, tensor(picture)?],
                pictures_in: 0,
                pictures_out: 0,
                weights: Tensor::numbers(&[0.0; 9])?,
            })
        };
        let last = steps.last().expect("a decoder has steps");
        let boundaries = stages[..stages.len() - 1].iter().map(boundary).collect::<Result<_>>()?;
        let end = |port| geometry.end_tensor(port, last.device.as_ref());
        Ok(StreamDecoder {
            interpolation,
            stages,
            boundaries,
            latent: end(&steps[0].inputs[0])?,
            pictures: last.outputs.iter().map(end).collect::<Result<_>>()?,
            latents_in: 0,
            frames_out: 0,
            flushed: false,
        })
    }

    /// Runs each step once, for what a device does at a size's first run only; what comes of it is dropped.
    pub(crate) fn warm_up(&mut self, canceller: &Canceller) -> Result<()> {
        let warmed = self.push(|latent| latent.fill(0.0), canceller, &mut |_, _| ());
        self.reset();
        self.stages.iter_mut().for_each(Stage::forget_runs);
        unless_not_finite(warmed)
    }

    pub(crate) fn reset(&mut self) {
        self.stages.iter_mut().for_each(Stage::reset);
        for boundary in &mut self.boundaries {
            (boundary.count, boundary.pictures_in, boundary.pictures_out) = (0, 0, 0);
        }
        (self.latents_in, self.frames_out, self.flushed) = (0, 0, false);
    }

    /// What the rest of a clip reads after this progress.
    pub(crate) fn save<'a>(&'a self, at: Progress, counting: Counting, state: &mut LiveState<'a>) {
        if at.ended {
            return;
        }
        let mut count = at.count;
        for (i, stage) in self.stages.iter().enumerate() {
            stage.save(count, &format!("decoder.{i}"), state);
            if let Some(boundary) = self.boundaries.get(i) {
                boundary.save(count, &format!("decoder.{i}"), stage, counting, state);
                count = counting.interpolated(count);
            }
        }
    }

    pub(crate) fn load(&mut self, at: Progress, counting: Counting, state: &mut SavedState<'_>) {
        self.reset();
        (self.latents_in, self.flushed) = (at.count, at.ended);
        // What has ended does nothing until a reset.
        if at.ended {
            self.frames_out = counting.frames(at.count);
            return;
        }
        self.frames_out = counting.decoded(at.count);
        let mut count = at.count;
        for (i, stage) in self.stages.iter_mut().enumerate() {
            stage.load(count, state);
            if let Some(boundary) = self.boundaries.get_mut(i) {
                boundary.load(count, counting, state);
                count = counting.interpolated(count);
            }
        }
    }

    pub(crate) fn runs(&self) -> u64 {
        self.stages.iter().map(Stage::runs).sum()
    }

    pub(crate) fn state_bytes(&self) -> u64 {
        let boundaries = self.boundaries.iter().flat_map(|b| b.taps.iter().chain(&b.pictures)).map(Tensor::bytes);
        let own = self.pictures.iter().chain([&self.latent]).map(Tensor::bytes);
        self.stages.iter().map(Stage::cache_bytes).chain(boundaries).chain(own).sum()
    }

    /// What `state_bytes` will be.
    pub(crate) fn planned_bytes(graphs: &[StepGraph], geometry: &Geometry) -> u64 {
        let (last, inner) = graphs.split_last().expect("a decoder has steps");
        let boundaries = inner.iter().flat_map(|graph| &graph.outputs).map(|output| match output.name.as_str() {
            port::TAPS => 3 * geometry.bytes(output),
            name if name == port::PICTURES[0] => 3 * geometry.bytes(output),
            _ => 0,
        });
        let own = graphs[0].inputs.iter().chain(&last.outputs).map(|port| geometry.bytes(port));
        graphs.iter().map(|graph| Stage::planned_bytes(graph, geometry)).chain(boundaries).chain(own).sum()
    }

    /// Takes one latent, which `fill` writes; gives the frames that are final.
    pub(crate) fn push(
        &mut self,
        fill: impl FnOnce(&mut [f32]),
        canceller: &Canceller,
        sink: &mut PlaneSink<'_>,
    ) -> Result<()> {
        fill(self.latent.data_mut());
        self.latents_in += 1;
        let mut shared = Shared {
            interpolation: self.interpolation,
            pictures: &self.pictures,
            frames_out: &mut self.frames_out,
            canceller,
            sink,
        };
        shared.step(&mut self.stages, &mut self.boundaries, &[(port::LATENT, &self.latent)])
    }

    /// Ends the clip: gives the frames that interpolation held back.
    pub(crate) fn flush(&mut self, canceller: &Canceller, sink: &mut PlaneSink<'_>) -> Result<()> {
        self.flushed = true;
        let mut shared = Shared {
            interpolation: self.interpolation,
            pictures: &self.pictures,
            frames_out: &mut self.frames_out,
            canceller,
            sink,
        };
        for first in 0..self.boundaries.len() {
            let (boundary, later) = self.boundaries[first..].split_first_mut().expect("in range");
            let last = boundary.count.checked_sub(1);
            if last.and_then(|last| held_back(self.interpolation, last)).is_some() {
                shared.cross(boundary, true, &mut self.stages[first + 1..], later)?;
            }
        }
        Ok(())
    }
}

impl Shared<'_> {
    /// Runs the first of `stages`, and the later ones for every frame that comes of it.
    fn step(&mut self, stages: &mut [Stage], boundaries: &mut [Boundary], inputs: &[(&str, &Tensor)]) -> Result<()> {
        let (stage, later_stages) = stages.split_first_mut().expect("called with a stage to run");
        let starting = stage.is_at_start();
        let Some((boundary, later_boundaries)) = boundaries.split_first_mut() else {
            let outputs: Vec<_> = port::PICTURES.into_iter().zip(self.pictures).collect();
            stage.run(inputs, &outputs, self.canceller)?;
            // The temporal inverse wavelet makes two frames; the clip's first has no partner.
            let first = usize::from(starting && self.pictures.len() == 2);
            for picture in &self.pictures[first..] {
                let planes = picture.data();
                stage.step().check_finite(planes, "frame", *self.frames_out)?;
                (self.sink)(*self.frames_out, planes);
                *self.frames_out += 1;
            }
            return Ok(());
        };
        let [first, second] = boundary.new_picture_places(starting);
        let outputs = [
            (port::TAPS, &boundary.taps[place(boundary.count)]),
            (port::PICTURES[0], &boundary.pictures[first]),
            (port::PICTURES[1], &boundary.pictures[second]),
        ];
        stage.run(inputs, &outputs, self.canceller)?;
        boundary.count += 1;
        boundary.pictures_in += if starting { 1 } else { 2 };
        for n in made_final(self.interpolation, boundary.count - 1) {
            debug_assert_eq!(n, boundary.pictures_out);
            self.cross(boundary, false, later_stages, later_boundaries)?;
        }
        Ok(())
    }

    /// Hands the next interpolated frame, which may be the clip's last, and its picture to the next stage.
    fn cross(
        &mut self,
        boundary: &mut Boundary,
        last: bool,
        stages: &mut [Stage],
        boundaries: &mut [Boundary],
    ) -> Result<()> {
        let (n, newest) = (boundary.pictures_out, boundary.count - 1);
        boundary.pictures_out += 1;
        let weights = under_taps(self.interpolation, n, newest, last);
        boundary.weights.data_mut().copy_from_slice(&weights);
        // The place of a frame that has no weight may hold what is no number, which 0 does not cancel.
        let frame = |i: usize| {
            let used = weights[3 * i..3 * i + 3].iter().any(|weight| *weight != 0.0);
            &boundary.taps[place(if used { newest + i as u64 - 2 } else { newest })]
        };
        let [two_ago, one_ago, now] = port::TAPS_OF;
        let inputs = [
            (two_ago, frame(0)),
            (one_ago, frame(1)),
            (now, frame(2)),
            (port::WEIGHTS, &boundary.weights),
            (port::SIDE, &boundary.pictures[place(n)]),
        ];
        self.step(stages, boundaries, &inputs)
    }
}

impl Boundary {
    fn save<'a>(&'a self, count: u64, name: &str, stage: &Stage, counting: Counting, state: &mut LiveState<'a>) {
        for frame in kept_frames(count, counting) {
            state.add(name, stage.output(port::TAPS), &self.taps[place(frame)]);
        }
        for picture in counting.interpolated(count)..doubled(count) {
            state.add(name, stage.output(port::PICTURES[0]), &self.pictures[place(picture)]);
        }
    }

    fn load(&mut self, count: u64, counting: Counting, state: &mut SavedState<'_>) {
        (self.count, self.pictures_in, self.pictures_out) = (count, doubled(count), counting.interpolated(count));
        for frame in kept_frames(count, counting) {
            state.give(&mut self.taps[place(frame)]);
        }
        for picture in self.pictures_out..self.pictures_in {
            state.give(&mut self.pictures[place(picture)]);
        }
    }

    /// The next two places of the ring. The clip's first picture has no partner: what comes before it is overwritten.
    fn new_picture_places(&self, starting: bool) -> [usize; 2] {
        let next = self.pictures_in;
        let places = if starting { [next + 2, next] } else { [next, next + 1] };
        places.map(place)
    }
}

/// Of a ring.
fn place(index: u64) -> usize {
    (index % 3) as usize
}

/// The low-rate frames of `count` that later frames are made of.
fn kept_frames(count: u64, counting: Counting) -> std::ops::Range<u64> {
    let most = if counting.interpolation == Interpolation::Trilinear { 2 } else { 1 };
    count.saturating_sub(most)..count
}
