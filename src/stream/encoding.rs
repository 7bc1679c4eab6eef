//! One direction of a stream: frames of the whole picture to latents, by tiles or at once.

use super::clip::ClipEncoder;
use super::counting::Counting;
use super::encoder::StreamEncoder;
use super::snapshot::{LiveState, Progress, SavedState};
use super::stage::Step;
use super::tiles::Tiles;
use super::{Geometry, zeros};
use crate::error::Result;
use crate::media::Image;
use crate::memory;
use crate::runtime::Canceller;
use std::sync::Arc;

/// Where a latent goes: its index in the clip, and the network's mean and log-variance.
pub(crate) type LatentSink<'a> = dyn FnMut(u64, &[f32]) + 'a;

pub(crate) enum Encoding {
    Tiles(TiledEncoder),
    /// For models whose norms span the clip.
    Clip(ClipEncoder),
}

pub(crate) struct TiledEncoder {
    tiles: Tiles,
    /// One for each tile. A clip that is all there needs only one, which takes the tiles in turn.
    engines: Vec<StreamEncoder>,
    geometry: Geometry,
    counting: Counting,
}

impl TiledEncoder {
    pub(crate) fn new(
        steps: &[Arc<Step>],
        geometry: &Geometry,
        tiles: Tiles,
        at_once: bool,
        counting: Counting,
    ) -> Result<Self> {
        let tile = geometry.part(tiles.size());
        let count = if at_once { 1 } else { tiles.count() };
        let engines = (0..count).map(|_| StreamEncoder::new(steps, &tile)).collect::<Result<_>>()?;
        Ok(TiledEncoder { tiles, engines, geometry: geometry.clone(), counting })
    }

    /// The next frames of a clip.
    fn push(&mut self, frames: &[Image<'_>], canceller: &Canceller, sink: &mut LatentSink<'_>) -> Result<()> {
        for frame in frames {
            self.each_tile(sink, |engine, tiles, i, sink| engine.push(frame, &tiles.tile(i, 1).0, canceller, sink))?;
        }
        Ok(())
    }

    fn flush(&mut self, canceller: &Canceller, sink: &mut LatentSink<'_>) -> Result<()> {
        let unit = self.counting.unit;
        self.each_tile(sink, |engine, _, _, sink| engine.flush(unit, canceller, sink))
    }

    /// A whole clip.
    fn clip(&mut self, frames: &[Image<'_>], canceller: &Canceller, sink: &mut LatentSink<'_>) -> Result<()> {
        let unit = self.counting.unit;
        self.each_tile(sink, |engine, tiles, i, sink| {
            engine.reset();
            for frame in frames {
                engine.push(frame, &tiles.tile(i, 1).0, canceller, sink)?;
            }
            engine.flush(unit, canceller, sink)
        })
    }

    /// Lets every tile do the same, and joins the latents that come of it.
    fn each_tile(
        &mut self,
        sink: &mut LatentSink<'_>,
        mut run: impl FnMut(&mut StreamEncoder, &Tiles, usize, &mut LatentSink<'_>) -> Result<()>,
    ) -> Result<()> {
        if self.tiles.count() == 1 {
            return run(&mut self.engines[0], &self.tiles, 0, sink);
        }
        let (plane, width) = (self.geometry.latent_plane(), self.geometry.latent_width());
        let engines = self.engines.len();
        let mut latents: Vec<(u64, Vec<f32>)> = vec![];
        for i in 0..self.tiles.count() {
            let (mut place, mut short) = (0, None);
            let (tiles, divisor) = (&self.tiles, self.geometry.compression);
            let mut join = |index: u64, moments: &[f32]| {
                if place == latents.len() {
                    let (held, _) = tiles.tile(i, divisor);
                    let channels = moments.len() / (held.width * held.height);
                    let whole = zeros(channels * plane);
                    if let Err(e) = whole.and_then(|whole| memory::push(&mut latents, (index, whole))) {
                        return short = Some(e);
                    }
                }
                tiles.join(i, divisor, moments, &mut latents[place].1, width);
                place += 1;
            };
            run(&mut self.engines[i % engines], tiles, i, &mut join)?;
            if let Some(e) = short {
                return Err(e);
            }
        }
        latents.iter().for_each(|(index, moments)| sink(*index, moments));
        Ok(())
    }
}

impl Encoding {
    /// Frames since the start of the clip, without those that a flush repeats.
    pub(crate) fn frames_in(&self) -> u64 {
        match self {
            Encoding::Tiles(tiled) => tiled.engines[0].frames_in,
            Encoding::Clip(clip) => clip.frames_in,
        }
    }

    pub(crate) fn latents_out(&self) -> u64 {
        match self {
            Encoding::Tiles(tiled) => tiled.engines[0].latents_out,
            Encoding::Clip(clip) => clip.latents_out,
        }
    }

    /// Whether the clip has ended.
    pub(crate) fn flushed(&self) -> bool {
        match self {
            Encoding::Tiles(tiled) => tiled.engines[0].flushed,
            Encoding::Clip(clip) => clip.flushed,
        }
    }

    /// Runs of the network's steps since the stream was made.
    pub(crate) fn runs(&self) -> u64 {
        match self {
            Encoding::Tiles(tiled) => tiled.engines.iter().map(StreamEncoder::runs).sum(),
            Encoding::Clip(clip) => clip.runs,
        }
    }

    pub(crate) fn state_bytes(&self) -> u64 {
        match self {
            Encoding::Tiles(tiled) => tiled.engines.iter().map(StreamEncoder::state_bytes).sum(),
            Encoding::Clip(_) => 0,
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress { count: self.frames_in(), ended: self.flushed() }
    }

    /// What the rest of a clip reads after this progress.
    pub(crate) fn save<'a>(&'a self, at: Progress, counting: Counting, state: &mut LiveState<'a>) {
        match self {
            Encoding::Tiles(tiled) => {
                for (i, engine) in tiled.engines.iter().enumerate() {
                    state.tile(&tiled.tiles, i);
                    engine.save(at, counting, state);
                }
            }
            Encoding::Clip(_) => {}
        }
    }

    pub(crate) fn load(&mut self, at: Progress, counting: Counting, state: &mut SavedState<'_>) {
        match self {
            Encoding::Tiles(tiled) => tiled.engines.iter_mut().for_each(|engine| engine.load(at, counting, state)),
            Encoding::Clip(clip) => {
                (clip.frames_in, clip.flushed) = (at.count, at.ended);
                clip.latents_out = counting.latents(at.count);
            }
        }
    }

    pub(crate) fn reset(&mut self) {
        match self {
            Encoding::Tiles(tiled) => tiled.engines.iter_mut().for_each(StreamEncoder::reset),
            Encoding::Clip(clip) => clip.reset(),
        }
    }

    /// Takes the cost of a device's first run. A whole clip's size is not known yet.
    pub(crate) fn warm_up(&mut self, canceller: &Canceller) -> Result<()> {
        match self {
            // All tiles have one size.
            Encoding::Tiles(tiled) => {
                let tile = tiled.geometry.part(tiled.tiles.size());
                tiled.engines[0].warm_up(&tile, canceller)
            }
            Encoding::Clip(_) => Ok(()),
        }
    }

    /// The next frames of a clip.
    pub(crate) fn push(
        &mut self,
        frames: &[Image<'_>],
        canceller: &Canceller,
        sink: &mut LatentSink<'_>,
    ) -> Result<()> {
        match self {
            Encoding::Tiles(tiled) => tiled.push(frames, canceller, sink),
            Encoding::Clip(_) => unreachable!("such a stream takes whole clips"),
        }
    }

    /// A whole clip, from start to end.
    pub(crate) fn clip(
        &mut self,
        frames: &[Image<'_>],
        counting: Counting,
        canceller: &Canceller,
        sink: &mut LatentSink<'_>,
    ) -> Result<()> {
        let latents = counting.latents(frames.len() as u64);
        match self {
            Encoding::Tiles(tiled) => tiled.clip(frames, canceller, sink),
            Encoding::Clip(clip) => clip.encode(frames, counting.frames(latents), latents, canceller, sink),
        }
    }

    /// Ends the clip: completes the last group by repeating the last frame.
    pub(crate) fn flush(&mut self, canceller: &Canceller, sink: &mut LatentSink<'_>) -> Result<()> {
        match self {
            Encoding::Tiles(tiled) => tiled.flush(canceller, sink),
            Encoding::Clip(clip) => {
                clip.flushed = true;
                Ok(())
            }
        }
    }
}
