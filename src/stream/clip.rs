//! Models whose norms span the whole clip: each call runs the whole clip through one graph.

use super::interpolation::{Blend, of_clip};
use super::stage::Step;
use super::{Geometry, zeros};
use crate::error::Result;
use crate::graph::{Element, Port, port};
use crate::media::{Image, Rect};
use crate::model::Interpolation;
use crate::runtime::{Canceller, Tensor};
use std::sync::Arc;

pub(crate) struct ClipEncoder {
    step: Arc<Step>,
    geometry: Geometry,
    pub(crate) frames_in: u64,
    pub(crate) latents_out: u64,
    pub(crate) flushed: bool,
    pub(crate) runs: u64,
}

pub(crate) struct ClipDecoder {
    step: Arc<Step>,
    geometry: Geometry,
    interpolation: Interpolation,
    pub(crate) latents_in: u64,
    pub(crate) frames_out: u64,
    pub(crate) flushed: bool,
    pub(crate) runs: u64,
}

impl ClipEncoder {
    pub(crate) fn new(step: &Arc<Step>, geometry: &Geometry) -> Self {
        let (step, geometry) = (step.clone(), geometry.clone());
        ClipEncoder { step, geometry, frames_in: 0, latents_out: 0, flushed: false, runs: 0 }
    }

    pub(crate) fn reset(&mut self) {
        (self.frames_in, self.latents_out, self.flushed) = (0, 0, false);
    }

    /// Encodes a whole clip; its last frame is repeated up to `padded` frames, which give `latents` latents.
    pub(crate) fn encode(
        &mut self,
        frames: &[Image<'_>],
        padded: u64,
        latents: u64,
        canceller: &Canceller,
        sink: &mut dyn FnMut(u64, &[f32]),
    ) -> Result<()> {
        let (padded, latents) = (padded as usize, latents as usize);
        let part = Rect::of(self.geometry.padded_width, self.geometry.padded_height);
        let mut video = self.geometry.clip_tensor(&self.step.inputs[0], padded)?;
        let moments = self.geometry.clip_tensor(self.step.output(port::CLIP_MOMENTS), latents)?;
        let mut planes = zeros(3 * part.width * part.height)?;
        for t in 0..padded {
            if let Some(frame) = frames.get(t) {
                frame.read(&mut planes, &part);
            }
            scatter(&planes, video.data_mut(), t, padded, 3);
        }
        let sizes = self.step.size_tensors(&self.geometry, latents)?;
        let inputs: Vec<&Tensor> = [&video].into_iter().chain(&sizes).collect();
        self.step.session.run(&inputs, &[&moments], canceller)?;
        self.runs += 1;
        (self.frames_in, self.latents_out, self.flushed) = (frames.len() as u64, latents as u64, true);
        drop(video);
        let mut latent = zeros(moments.data().len() / latents)?;
        for t in 0..latents {
            gather(moments.data(), &mut latent, t, latents, self.step.outputs[0].channels);
            self.step.check_finite(&latent, "latent", t as u64)?;
            sink(t as u64, &latent);
        }
        Ok(())
    }
}

impl ClipDecoder {
    pub(crate) fn new(step: &Arc<Step>, interpolation: Interpolation, geometry: &Geometry) -> Self {
        let (step, geometry) = (step.clone(), geometry.clone());
        ClipDecoder { step, geometry, interpolation, latents_in: 0, frames_out: 0, flushed: false, runs: 0 }
    }

    pub(crate) fn reset(&mut self) {
        (self.latents_in, self.frames_out, self.flushed) = (0, 0, false);
    }

    /// Decodes a whole clip of `latents` latents, which `fill` writes one by one, to `frames` frames.
    pub(crate) fn decode(
        &mut self,
        latents: u64,
        frames: u64,
        mut fill: impl FnMut(usize, &mut [f32]),
        canceller: &Canceller,
        sink: &mut dyn FnMut(u64, &[f32], &Rect),
    ) -> Result<()> {
        let (latents, frames) = (latents as usize, frames as usize);
        let part = Rect::of(self.geometry.padded_width, self.geometry.padded_height);
        let is_main = |port: &Port| port.name == port::LATENTS;
        let main = self.step.inputs.iter().find(|port| is_main(port)).expect("the graph takes latents");
        let mut z = self.geometry.clip_tensor(main, latents)?;
        let mut latent = zeros(z.data().len() / latents)?;
        for t in 0..latents {
            fill(t, &mut latent);
            scatter(&latent, z.data_mut(), t, latents, main.channels);
        }
        // Of each interpolation in turn: the frames before it and their number double, but for the clip's first.
        let (mut lists, mut count) = (vec![], latents as u64);
        for n in 0.. {
            let names = port::interpolation(n);
            if !self.step.inputs.iter().any(|port| port.name == names[1]) {
                break;
            }
            let blends = of_clip(self.interpolation, count)?;
            count = blends.len() as u64;
            let columns: [fn(&Blend) -> f32; 4] =
                [|b| b.before as f32, |b| b.now as f32, |b| b.weights[0], |b| b.weights[1]];
            for (name, column) in names.into_iter().zip(columns) {
                let mut tensor = Tensor::new(&[blends.len()], Element::F32)?;
                tensor.data_mut().iter_mut().zip(&blends).for_each(|(number, blend)| *number = column(blend));
                lists.push((name, tensor));
            }
        }
        let bound = |port: &Port| {
            let list = || lists.iter().find(|(name, _)| *name == port.name).expect("an interpolation's input");
            if is_main(port) { &z } else { &list().1 }
        };
        let sizes = self.step.size_tensors(&self.geometry, latents)?;
        let inputs: Vec<&Tensor> = self.step.inputs.iter().map(bound).chain(&sizes).collect();
        let video = Tensor::new(&[1, 3, frames, part.height, part.width], Element::F32)?;
        self.step.session.run(&inputs, &[&video], canceller)?;
        self.runs += 1;
        (self.latents_in, self.frames_out, self.flushed) = (latents as u64, frames as u64, true);
        drop(z);
        let mut planes = zeros(3 * part.width * part.height)?;
        for t in 0..frames {
            gather(video.data(), &mut planes, t, frames, 3);
            self.step.check_finite(&planes, "frame", t as u64)?;
            sink(t as u64, &planes, &part);
        }
        Ok(())
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
