//! The other direction of a stream: latents to frames of the whole picture, by tiles or at once.

use super::clip::ClipDecoder;
use super::counting::Counting;
use super::decoder::StreamDecoder;
use super::snapshot::{LiveState, Progress, SavedState};
use super::stage::Step;
use super::tiles::Tiles;
use super::{Geometry, zeros};
use crate::error::Result;
use crate::media::Rect;
use crate::memory;
use crate::model::Interpolation;
use crate::runtime::Canceller;
use std::sync::Arc;

/// Where a frame goes, or a part of it: its index in the clip, planes, the rectangle that these hold, and the part of it
/// that is final.
pub(crate) type FrameSink<'a> = dyn FnMut(u64, &[f32], &Rect, &Rect) + 'a;

/// Where latents come from: writes the n-th of the call, `[L, h, w]`.
pub(crate) type LatentSource<'a> = dyn Fn(usize, &mut [f32]) + 'a;

pub(crate) enum Decoding {
    Tiles(TiledDecoder),
    /// For models whose norms span the clip.
    Clip(ClipDecoder),
}

pub(crate) struct TiledDecoder {
    tiles: Tiles,
    /// One for each tile. A clip that is all there needs only one, which takes the tiles in turn.
    engines: Vec<StreamDecoder>,
    geometry: Geometry,
    /// The whole picture's latent, where tiles take parts of it.
    latent: Vec<f32>,
}

impl TiledDecoder {
    pub(crate) fn new(
        steps: &[Arc<Step>],
        interpolation: Interpolation,
        geometry: &Geometry,
        tiles: Tiles,
        at_once: bool,
        latent_channels: usize,
    ) -> Result<Self> {
        let tile = geometry.part(tiles.size());
        let count = if at_once { 1 } else { tiles.count() };
        let engines = (0..count).map(|_| StreamDecoder::new(steps, interpolation, &tile)).collect::<Result<_>>()?;
        let latent = if tiles.count() == 1 { 0 } else { latent_channels * geometry.latent_plane() };
        Ok(TiledDecoder { tiles, engines, geometry: geometry.clone(), latent: zeros(latent)? })
    }

    fn push(
        &mut self,
        count: usize,
        source: &LatentSource<'_>,
        canceller: &Canceller,
        sink: &mut FrameSink<'_>,
    ) -> Result<()> {
        for n in 0..count {
            self.each_tile(sink, |engine, part, sink| {
                engine.push(|values| part.read(n, source, values), canceller, sink)
            })?;
        }
        Ok(())
    }

    fn flush(&mut self, canceller: &Canceller, sink: &mut FrameSink<'_>) -> Result<()> {
        self.each_tile(sink, |engine, _, sink| engine.flush(canceller, sink))
    }

    /// A whole clip.
    fn clip(
        &mut self,
        count: usize,
        source: &LatentSource<'_>,
        canceller: &Canceller,
        sink: &mut FrameSink<'_>,
    ) -> Result<()> {
        self.each_tile(sink, |engine, part, sink| {
            engine.reset();
            for n in 0..count {
                engine.push(|values| part.read(n, source, values), canceller, sink)?;
            }
            engine.flush(canceller, sink)
        })
    }

    /// Lets every tile do the same, and joins the frames that come of it.
    fn each_tile(
        &mut self,
        sink: &mut FrameSink<'_>,
        mut run: impl FnMut(&mut StreamDecoder, &mut LatentPart<'_>, &mut dyn FnMut(u64, &[f32])) -> Result<()>,
    ) -> Result<()> {
        let whole = Rect::of(self.geometry.padded_width, self.geometry.padded_height);
        let (tiles, engines) = (&self.tiles, self.engines.len());
        let mut blended: Vec<(u64, Vec<f32>)> = vec![];
        for i in 0..tiles.count() {
            let (held, owned) = tiles.tile(i, 1);
            let mut part = LatentPart {
                whole: &mut self.latent,
                width: self.geometry.latent_width(),
                rect: tiles.tile(i, self.geometry.compression).0,
            };
            let (mut place, mut short) = (0, None);
            let mut take = |index: u64, planes: &[f32]| {
                if !tiles.blended {
                    return sink(index, planes, &held, &owned);
                }
                if place == blended.len() {
                    let planes = zeros(3 * whole.width * whole.height);
                    if let Err(e) = planes.and_then(|planes| memory::push(&mut blended, (index, planes))) {
                        return short = Some(e);
                    }
                }
                tiles.join(i, 1, planes, &mut blended[place].1, whole.width);
                place += 1;
            };
            run(&mut self.engines[i % engines], &mut part, &mut take)?;
            if let Some(e) = short {
                return Err(e);
            }
        }
        blended.iter().for_each(|(index, planes)| sink(*index, planes, &whole, &whole));
        Ok(())
    }
}

/// A tile's part of the latents.
struct LatentPart<'a> {
    /// Of the whole picture; empty where the tile is the picture.
    whole: &'a mut [f32],
    width: usize,
    rect: Rect,
}

impl LatentPart<'_> {
    fn read(&mut self, n: usize, source: &LatentSource<'_>, values: &mut [f32]) {
        if self.whole.is_empty() {
            return source(n, values);
        }
        source(n, self.whole);
        let rect = self.rect;
        let channels = values.len() / (rect.width * rect.height);
        let planes = self.whole.chunks_exact(self.whole.len() / channels);
        for (plane, values) in planes.zip(values.chunks_exact_mut(rect.width * rect.height)) {
            for (y, row) in values.chunks_exact_mut(rect.width).enumerate() {
                row.copy_from_slice(&plane[(rect.y + y) * self.width + rect.x..][..rect.width]);
            }
        }
    }
}

impl Decoding {
    /// Latents since the start of the clip.
    pub(crate) fn latents_in(&self) -> u64 {
        match self {
            Decoding::Tiles(tiled) => tiled.engines[0].latents_in,
            Decoding::Clip(clip) => clip.latents_in,
        }
    }

    pub(crate) fn frames_out(&self) -> u64 {
        match self {
            Decoding::Tiles(tiled) => tiled.engines[0].frames_out,
            Decoding::Clip(clip) => clip.frames_out,
        }
    }

    /// Whether the clip has ended.
    pub(crate) fn flushed(&self) -> bool {
        match self {
            Decoding::Tiles(tiled) => tiled.engines[0].flushed,
            Decoding::Clip(clip) => clip.flushed,
        }
    }

    /// Runs of the network's steps since the stream was made.
    pub(crate) fn runs(&self) -> u64 {
        match self {
            Decoding::Tiles(tiled) => tiled.engines.iter().map(StreamDecoder::runs).sum(),
            Decoding::Clip(clip) => clip.runs,
        }
    }

    pub(crate) fn state_bytes(&self) -> u64 {
        match self {
            Decoding::Tiles(tiled) => {
                let latent = size_of_val(tiled.latent.as_slice()) as u64;
                latent + tiled.engines.iter().map(StreamDecoder::state_bytes).sum::<u64>()
            }
            Decoding::Clip(_) => 0,
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress { count: self.latents_in(), ended: self.flushed() }
    }

    /// What the rest of a clip reads after this progress.
    pub(crate) fn save<'a>(&'a self, at: Progress, counting: Counting, state: &mut LiveState<'a>) {
        match self {
            Decoding::Tiles(tiled) => {
                for (i, engine) in tiled.engines.iter().enumerate() {
                    state.tile(&tiled.tiles, i);
                    engine.save(at, counting, state);
                }
            }
            Decoding::Clip(_) => {}
        }
    }

    pub(crate) fn load(&mut self, at: Progress, counting: Counting, state: &mut SavedState<'_>) {
        match self {
            Decoding::Tiles(tiled) => tiled.engines.iter_mut().for_each(|engine| engine.load(at, counting, state)),
            Decoding::Clip(clip) => {
                (clip.latents_in, clip.flushed) = (at.count, at.ended);
                clip.frames_out = counting.frames(at.count);
            }
        }
    }

    pub(crate) fn reset(&mut self) {
        match self {
            Decoding::Tiles(tiled) => tiled.engines.iter_mut().for_each(StreamDecoder::reset),
            Decoding::Clip(clip) => clip.reset(),
        }
    }

    /// Takes the cost of a device's first run. A whole clip's size is not known yet.
    pub(crate) fn warm_up(&mut self, canceller: &Canceller) -> Result<()> {
        match self {
            // All tiles have one size.
            Decoding::Tiles(tiled) => tiled.engines[0].warm_up(canceller),
            Decoding::Clip(_) => Ok(()),
        }
    }

    /// The next `count` latents of a clip.
    pub(crate) fn push(
        &mut self,
        count: usize,
        source: &LatentSource<'_>,
        canceller: &Canceller,
        sink: &mut FrameSink<'_>,
    ) -> Result<()> {
        match self {
            Decoding::Tiles(tiled) => tiled.push(count, source, canceller, sink),
            Decoding::Clip(_) => unreachable!("such a stream takes whole clips"),
        }
    }

    /// A whole clip, from start to end.
    pub(crate) fn clip(
        &mut self,
        count: usize,
        counting: Counting,
        source: &LatentSource<'_>,
        canceller: &Canceller,
        sink: &mut FrameSink<'_>,
    ) -> Result<()> {
        match self {
            Decoding::Tiles(tiled) => tiled.clip(count, source, canceller, sink),
            Decoding::Clip(clip) => {
                let frames = counting.frames(count as u64);
                let sink = &mut |index: u64, planes: &[f32], held: &Rect| sink(index, planes, held, held);
                clip.decode(count as u64, frames, source, canceller, sink)
            }
        }
    }

    /// Ends the clip: gives the frames that interpolation held back.
    pub(crate) fn flush(&mut self, canceller: &Canceller, sink: &mut FrameSink<'_>) -> Result<()> {
        match self {
            Decoding::Tiles(tiled) => tiled.flush(canceller, sink),
            Decoding::Clip(clip) => {
                clip.flushed = true;
                Ok(())
            }
        }
    }
}
