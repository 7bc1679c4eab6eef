//! The decoder, without lookahead: each step runs once for each frame at its rate (docs/spec.md section 6).

use super::counting::{Counting, doubled};
use super::ends::{Inlet, Outlet, Results};
use super::frame_size::FrameSize;
use super::interface::{Engine, LatentSource, Progress, Run, Values};
use super::interpolation::{held_back, made_final, under_taps};
use super::stage::{Stage, unless_not_finite};
use super::step::Step;
use super::whole_clip::WholeClipDecoder;
use crate::error::Result;
use crate::graph::{Port, StepGraph, port};
use crate::media::{Packing, Rect};
use crate::model::{Half, Interpolation};
use crate::runtime::{CallersMemory, Canceller, Tensor};
use std::sync::Arc;

/// Between two steps: the temporal interpolation, and the side branch's pictures, if there is one, which are ahead of it by one.
struct Boundary {
    /// The last three low-rate frames, under the time taps of the convolution that follows the interpolation, if there is one, in
    /// a ring.
    taps: [Tensor; 3],
    /// Low-rate frames that have come since the start of the clip.
    count: u64,
    /// A ring: at most one picture waits while two new ones come.
    pictures: Option<[Tensor; 3]>,
    /// Pictures that have come, and gone, since the start of the clip.
    pictures_in: u64,
    pictures_out: u64,
    /// The weights of the taps for the frame that is being made.
    weights: Tensor,
}

pub(crate) struct Decoder {
    counting: Counting,
    stages: Vec<Stage>,
    boundaries: Vec<Boundary>,
    latent: Inlet,
    /// What the last step makes: two frames of the clip, one of an image model.
    pictures: Outlet,
}

/// What a step needs besides its own stage.
struct Shared<'a, 'b> {
    interpolation: Interpolation,
    pictures: &'a mut Outlet,
    run: &'a mut Run<'b>,
}

impl Engine for Decoder {
    type Inputs<'a> = LatentSource<'a>;
    type WholeClip = WholeClipDecoder;
    const HALF: Half = Half::Decoder;
    const GIVES_PARTS: bool = true;

    fn divisors(compression: usize) -> [usize; 2] {
        [compression, 1]
    }

    fn outputs(counting: Counting, at: Progress) -> u64 {
        if at.ended { counting.frames(at.count) } else { counting.decoded(at.count) }
    }

    fn new(
        steps: &[Arc<Step>],
        counting: Counting,
        size: FrameSize,
        callers: Option<&Arc<CallersMemory>>,
    ) -> Result<Self> {
        let stages = steps.iter().map(|step| Stage::new(step, size)).collect::<Result<Vec<_>>>()?;
        let boundary = |stage: &Stage| -> Result<Boundary> {
            let ring = |port: &Port| -> Result<[Tensor; 3]> {
                let tensor = || size.tensor(port, stage.step().device.as_ref());
                Ok([tensor()?, tensor()?, tensor()?])
            };
            let picture = stage.step().outputs.iter().find(|port| port.name == port::PICTURES[0]);
            Ok(Boundary {
                taps: ring(stage.output(port::TAPS))?,
                count: 0,
                pictures: picture.map(ring).transpose()?,
                pictures_in: 0,
                pictures_out: 0,
                weights: Tensor::floats(&[0.0; 9])?,
            })
        };
        let last = steps.last().expect("a decoder has steps");
        let boundaries = stages[..stages.len() - 1].iter().map(boundary).collect::<Result<_>>()?;
        let latent = Inlet::new(&steps[0].inputs[0], size, last.device.as_ref())?;
        let pictures =
            Outlet::new(last, "frame", size, if callers.is_some() { Results::OnDevice } else { Results::Frames })?;
        Ok(Decoder { counting, stages, boundaries, latent, pictures })
    }

    /// Hands on the frames that the latent makes final.
    fn push(&mut self, _: u64, inputs: &LatentSource<'_>, n: usize, part: &Rect, run: &mut Run<'_>) -> Result<()> {
        self.latent.fill(|latent| inputs(n, part, latent))?;
        let interpolation = self.counting.interpolation;
        let mut shared = Shared { interpolation, pictures: &mut self.pictures, run };
        shared.step(&mut self.stages, &mut self.boundaries, &[(port::LATENT, self.latent.tensor())])
    }

    /// Hands on the frames that interpolation held back.
    fn flush(&mut self, _: u64, run: &mut Run<'_>) -> Result<()> {
        let interpolation = self.counting.interpolation;
        let mut shared = Shared { interpolation, pictures: &mut self.pictures, run };
        for first in 0..self.boundaries.len() {
            let (boundary, later) = self.boundaries[first..].split_first_mut().expect("in range");
            let last = boundary.count.checked_sub(1);
            if last.and_then(|last| held_back(interpolation, last)).is_some() {
                shared.cross(boundary, true, &mut self.stages[first + 1..], later)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.pictures.finish(run)
    }

    fn reset(&mut self) {
        self.pictures.forget();
        self.stages.iter_mut().for_each(Stage::reset);
        for boundary in &mut self.boundaries {
            (boundary.count, boundary.pictures_in, boundary.pictures_out) = (0, 0, 0);
        }
    }

    fn warm_up(&mut self, canceller: &Canceller) -> Result<()> {
        let zeros: &LatentSource<'_> = &|_, _, latent| latent.fill(0.0);
        let (sink, part) = (&mut |_, _: Values<'_>| Ok(()), Rect::of(0, 0));
        let [.., height, width] = *self.pictures.tensors()[0].shape() else { unreachable!("frames have four axes") };
        // What converts frames is made warm, too.
        let mut run = Run::new(canceller, 0, sink).taking(Some((Packing::RGB8, [width, height])));
        let warmed = self.push(0, zeros, 0, &part, &mut run).and_then(|()| self.finish(&mut run));
        self.reset();
        self.stages.iter_mut().for_each(Stage::forget_runs);
        unless_not_finite(warmed)
    }

    fn runs_until(&self, at: Progress) -> u64 {
        let next = |count: &u64| match at.ended {
            true => Some(doubled(*count)),
            false => Some(self.counting.interpolated(*count)),
        };
        std::iter::successors(Some(at.count), next).take(self.stages.len()).sum()
    }

    fn runs(&self) -> u64 {
        self.stages.iter().map(Stage::runs).sum()
    }

    fn state_bytes(&self) -> u64 {
        let rings = self.boundaries.iter().flat_map(|b| b.taps.iter().chain(b.pictures.iter().flatten()));
        let boundaries = rings.map(Tensor::bytes);
        let own = [self.pictures.bytes(), self.latent.tensor().bytes()];
        self.stages.iter().map(Stage::cache_bytes).chain(boundaries).chain(own).sum()
    }

    fn planned_bytes(graphs: &[StepGraph], size: FrameSize) -> u64 {
        let (last, inner) = graphs.split_last().expect("a decoder has steps");
        let boundaries = inner.iter().flat_map(|graph| &graph.outputs).map(|output| match output.name.as_str() {
            port::TAPS => 3 * size.bytes(output),
            name if name == port::PICTURES[0] => 3 * size.bytes(output),
            _ => 0,
        });
        let own = graphs[0].inputs.iter().chain(&last.outputs).map(|port| size.bytes(port));
        graphs.iter().map(|graph| Stage::planned_bytes(graph, size)).chain(boundaries).chain(own).sum()
    }

    fn kept<'a>(&'a self, mut count: u64, keep: &mut dyn FnMut(&str, &Port, &'a Tensor)) {
        for (i, stage) in self.stages.iter().enumerate() {
            let name = format!("decoder.{i}");
            stage.kept(count, &name, keep);
            if let Some(boundary) = self.boundaries.get(i) {
                boundary.kept(count, &name, stage, self.counting, keep);
                count = self.counting.interpolated(count);
            }
        }
    }

    fn resume(&mut self, mut count: u64, fill: &mut dyn FnMut(&mut Tensor)) {
        for (i, stage) in self.stages.iter_mut().enumerate() {
            stage.resume(count, fill);
            if let Some(boundary) = self.boundaries.get_mut(i) {
                boundary.resume(count, self.counting, fill);
                count = self.counting.interpolated(count);
            }
        }
    }
}

impl Shared<'_, '_> {
    /// Runs the first of `stages`, and the later ones for every frame that comes of it.
    fn step(&mut self, stages: &mut [Stage], boundaries: &mut [Boundary], inputs: &[(&str, &Tensor)]) -> Result<()> {
        let (stage, later_stages) = stages.split_first_mut().expect("called with a stage to run");
        let starting = stage.is_at_start();
        let Some((boundary, later_boundaries)) = boundaries.split_first_mut() else {
            let pictures = self.pictures.tensors();
            let (outputs, count) = (port::PICTURES.into_iter().zip(pictures).collect::<Vec<_>>(), pictures.len());
            stage.run(inputs, &outputs, self.run.canceller)?;
            // The temporal inverse wavelet makes two frames; the clip's first has no partner.
            let first = usize::from(starting && count == 2);
            return (first..count).try_for_each(|index| self.pictures.give(index, self.run));
        };
        let mut outputs = vec![(port::TAPS, &boundary.taps[slot(boundary.count)])];
        if let Some(pictures) = &boundary.pictures {
            let slots = boundary.new_picture_slots(starting);
            outputs.extend(port::PICTURES.into_iter().zip(slots.map(|slot| &pictures[slot])));
        }
        stage.run(inputs, &outputs, self.run.canceller)?;
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
        // The slot of a frame without weight may hold a NaN, which 0 does not cancel.
        let frame = |i: usize| {
            let used = weights[3 * i..3 * i + 3].iter().any(|weight| *weight != 0.0);
            &boundary.taps[slot(if used { newest + i as u64 - 2 } else { newest })]
        };
        let [two_ago, one_ago, now] = port::TAPS_OF;
        let mut inputs =
            vec![(two_ago, frame(0)), (one_ago, frame(1)), (now, frame(2)), (port::WEIGHTS, &boundary.weights)];
        inputs.extend(boundary.pictures.iter().map(|pictures| (port::SIDE, &pictures[slot(n)])));
        self.step(stages, boundaries, &inputs)
    }
}

impl Boundary {
    fn kept<'a>(
        &'a self,
        count: u64,
        name: &str,
        stage: &Stage,
        counting: Counting,
        keep: &mut dyn FnMut(&str, &Port, &'a Tensor),
    ) {
        for frame in kept_frames(count, counting) {
            keep(name, stage.output(port::TAPS), &self.taps[slot(frame)]);
        }
        if let Some(pictures) = &self.pictures {
            for picture in counting.interpolated(count)..doubled(count) {
                keep(name, stage.output(port::PICTURES[0]), &pictures[slot(picture)]);
            }
        }
    }

    fn resume(&mut self, count: u64, counting: Counting, fill: &mut dyn FnMut(&mut Tensor)) {
        (self.count, self.pictures_in, self.pictures_out) = (count, doubled(count), counting.interpolated(count));
        for frame in kept_frames(count, counting) {
            fill(&mut self.taps[slot(frame)]);
        }
        if let Some(pictures) = &mut self.pictures {
            (self.pictures_out..self.pictures_in).for_each(|picture| fill(&mut pictures[slot(picture)]));
        }
    }

    /// The next two slots of the ring. The clip's first picture has no partner: the slot before it is overwritten.
    fn new_picture_slots(&self, starting: bool) -> [usize; 2] {
        let next = self.pictures_in;
        let slots = if starting { [next + 2, next] } else { [next, next + 1] };
        slots.map(slot)
    }
}

/// Of a frame in a ring.
fn slot(index: u64) -> usize {
    (index % 3) as usize
}

/// Those of the first `count` low-rate frames that later frames are made of.
fn kept_frames(count: u64, counting: Counting) -> std::ops::Range<u64> {
    let most = if counting.interpolation == Interpolation::Trilinear { 2 } else { 1 };
    count.saturating_sub(most)..count
}
