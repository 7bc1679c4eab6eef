//! Models whose norms span the whole clip: a call runs the whole clip through one graph.

use super::counting::Counting;
use super::frame_size::FrameSize;
use super::interface::{LatentSource, Run, WholeClip};
use super::interpolation::{Blend, of_clip, table_of_clip};
use super::step::Step;
use crate::error::Result;
use crate::graph::{Element, Port, port};
use crate::media::{Image, Rect};
use crate::memory;
use crate::runtime::Tensor;
use std::sync::Arc;

pub(crate) struct WholeClipEncoder {
    step: Arc<Step>,
    counting: Counting,
    size: FrameSize,
    runs: u64,
}

pub(crate) struct WholeClipDecoder {
    step: Arc<Step>,
    counting: Counting,
    size: FrameSize,
    runs: u64,
}

/// For one frame or latent of a clip.
fn buffer(len: usize) -> Result<Vec<f32>> {
    memory::zeros(len, "a frame of a clip")
}

impl WholeClip for WholeClipEncoder {
    type Inputs<'a> = [Image<'a>];

    fn new(step: &Arc<Step>, counting: Counting, size: FrameSize) -> Self {
        WholeClipEncoder { step: step.clone(), counting, size, runs: 0 }
    }

    /// The last frame is repeated up to a whole group.
    fn run(&mut self, inputs: &[Image<'_>], count: usize, run: &mut Run<'_>) -> Result<()> {
        let latents = self.counting.latents(count as u64) as usize;
        let padded = self.counting.frames(latents as u64) as usize;
        let part = self.size.rect();
        let mut video = self.size.clip_tensor(&self.step.inputs[0], padded)?;
        let moments = self.size.clip_tensor(self.step.output(port::CLIP_MOMENTS), latents)?;
        let mut planes = buffer(3 * part.width * part.height)?;
        for t in 0..padded {
            if let Some(frame) = inputs[..count].get(t) {
                frame.read(&mut planes, &part);
            }
            scatter(&planes, video.data_mut(), t, padded, 3);
        }
        let sizes = self.step.size_tensors(self.size, padded)?;
        let bound: Vec<&Tensor> = [&video].into_iter().chain(&sizes).collect();
        self.step.session.run(&bound, &[&moments], run.canceller)?;
        self.runs += 1;
        drop(video);
        let mut latent = buffer(moments.data().len() / latents)?;
        for t in 0..latents {
            gather(moments.data(), &mut latent, t, latents, self.step.outputs[0].channels);
            run.give(&self.step, "latent", &latent)?;
        }
        Ok(())
    }

    fn runs(&self) -> u64 {
        self.runs
    }
}

impl WholeClip for WholeClipDecoder {
    type Inputs<'a> = LatentSource<'a>;

    fn new(step: &Arc<Step>, counting: Counting, size: FrameSize) -> Self {
        WholeClipDecoder { step: step.clone(), counting, size, runs: 0 }
    }

    fn run(&mut self, inputs: &LatentSource<'_>, latents: usize, run: &mut Run<'_>) -> Result<()> {
        let frames = self.counting.frames(latents as u64) as usize;
        let is_main = |port: &Port| port.name == port::LATENTS;
        let main = self.step.inputs.iter().find(|port| is_main(port)).expect("the graph takes latents");
        let [.., height, width] = main.shape(self.size.axes(), 1)[..] else { unreachable!("latents are planes") };
        let mut z = self.size.clip_tensor(main, latents)?;
        let mut latent = buffer(z.data().len() / latents)?;
        for t in 0..latents {
            inputs(t, &Rect::of(width, height), &mut latent);
            scatter(&latent, z.data_mut(), t, latents, main.channels);
        }
        let lists = self.interpolations(latents as u64)?;
        let bound = |port: &Port| {
            let list = || lists.iter().find(|(name, _)| *name == port.name).expect("an interpolation's input");
            if is_main(port) { &z } else { &list().1 }
        };
        let sizes = self.step.size_tensors(self.size, frames)?;
        let bound: Vec<&Tensor> = self.step.inputs.iter().map(bound).chain(&sizes).collect();
        let FrameSize { width, height } = self.size;
        let video = Tensor::new(&[1, 3, frames, height, width], Element::F32)?;
        self.step.session.run(&bound, &[&video], run.canceller)?;
        self.runs += 1;
        drop(z);
        let mut planes = buffer(3 * width * height)?;
        for t in 0..frames {
            gather(video.data(), &mut planes, t, frames, 3);
            run.give(&self.step, "frame", &planes)?;
        }
        Ok(())
    }

    fn runs(&self) -> u64 {
        self.runs
    }
}

impl WholeClipDecoder {
    /// What the graph's interpolations read, by the names of its inputs.
    fn interpolations(&self, latents: u64) -> Result<Vec<(String, Tensor)>> {
        let (mut lists, mut count) = (vec![], latents);
        for n in 0.. {
            let (names, table) = (port::interpolation(n), port::interpolation_table(n));
            if self.step.inputs.iter().any(|port| port.name == table) {
                let rows = table_of_clip(self.counting.interpolation, count)?;
                count = rows.len() as u64;
                let mut tensor = Tensor::new(&[rows.len() * port::TABLE_COLUMNS], Element::F32)?;
                tensor.data_mut().copy_from_slice(rows.as_flattened());
                lists.push((table, tensor));
                continue;
            }
            if !self.step.inputs.iter().any(|port| port.name == names[1]) {
                break;
            }
            // Each interpolation doubles the frames, but for the clip's first.
            let blends = of_clip(self.counting.interpolation, count)?;
            count = blends.len() as u64;
            let columns: [fn(&Blend) -> f32; 4] =
                [|b| b.before as f32, |b| b.now as f32, |b| b.weights[0], |b| b.weights[1]];
            for (name, column) in names.into_iter().zip(columns) {
                let mut tensor = Tensor::new(&[blends.len()], Element::F32)?;
                tensor.data_mut().iter_mut().zip(&blends).for_each(|(value, blend)| *value = column(blend));
                lists.push((name, tensor));
            }
        }
        Ok(lists)
    }
}

/// Puts `[channels, plane]` at frame `t` of `[channels, frames, plane]`.
fn scatter(frame: &[f32], clip: &mut [f32], t: usize, frames: usize, channels: usize) {
    let plane = frame.len() / channels;
    for (channel, values) in frame.chunks_exact(plane).enumerate() {
        clip[(channel * frames + t) * plane..][..plane].copy_from_slice(values);
    }
}

/// Takes frame `t` out of it again.
fn gather(clip: &[f32], frame: &mut [f32], t: usize, frames: usize, channels: usize) {
    let plane = frame.len() / channels;
    for (channel, values) in frame.chunks_exact_mut(plane).enumerate() {
        values.copy_from_slice(&clip[(channel * frames + t) * plane..][..plane]);
    }
}
