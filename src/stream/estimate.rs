//! What a stream takes, before anything is allocated.

use super::geometry::Geometry;
use super::model::Model;
use super::options::StreamOptions;
use super::tiles::Tiles;
use crate::engine::{Decoder, Encoder, Engine};
use crate::error::{Result, fail};
use crate::graph::{Layout, StepGraph};
use crate::kernels::ScratchSize;
use crate::model::Half;
use crate::platform;

/// Bytes that a stream takes while it runs. Accurate to 15 % or 4 MB, whichever is more; to a third for models that take whole
/// clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Estimate {
    /// The model's weights for the stream's directions. All streams of a model share them.
    pub weight_bytes: u64,
    /// Causal caches, waiting frames and buffers of the encoder.
    pub encode_state_bytes: u64,
    /// The same for the decoder.
    pub decode_state_bytes: u64,
    /// Values between the network's layers while a call runs. The memory is kept for the next call, and all streams of a
    /// model share it. A call that takes a whole clip on the CPU gives it back.
    pub working_bytes: u64,
    /// The sum of these.
    pub total_bytes: u64,
    /// Width and height of the encoder's tiles in pixels: the frame's without tiling, 0 without encoding.
    pub encode_tile: (usize, usize),
    /// Width and height of the decoder's tiles.
    pub decode_tile: (usize, usize),
    /// How many tiles of a frame the encoder has.
    pub encode_tiles: usize,
    /// How many tiles of a frame the decoder has.
    pub decode_tiles: usize,
}

/// The memory that this process can still get, in bytes: what the machine has free, or less if a control group limits it. `None` if
/// the system does not say.
pub fn available_memory() -> Option<u64> {
    platform::available_memory()
}

/// What ONNX Runtime takes on the CPU for each session, and for each of its threads but the caller's; measured.
const SESSION_BYTES: u64 = 1_300_000;
const THREAD_BYTES: u64 = 55_000;
/// What threads leave in a heap of their own. The C library has this many heaps for each core.
const HEAP_BYTES: u64 = 200_000;
const HEAPS_PER_CORE: u64 = 8;

/// What an estimate needs to know of a stream besides its tiles.
pub(super) struct Needs<'a> {
    pub(super) model: &'a Model,
    pub(super) geometry: &'a Geometry,
    /// The longest clip in frames, where each call gets a whole one; 0: any.
    pub(super) at_once: Option<u64>,
}

impl Needs<'_> {
    /// For the directions that have tiles.
    pub(super) fn estimate(
        &self,
        (encoder, encode): (&[StepGraph], Option<&Tiles>),
        (decoder, decode): (&[StepGraph], Option<&Tiles>),
    ) -> Estimate {
        let (counting, channels) = (self.model.counting(), self.model.network().latent_channels);
        let weight_bytes = encoder.iter().chain(decoder).map(|graph| graph.weight_bytes() as u64).sum();
        let mut estimate = Estimate { weight_bytes, ..Estimate::default() };
        let mut scratch = ScratchSize::default();
        if let Some(tiles) = encode {
            estimate.encode_state_bytes = self.state_bytes::<Encoder>(encoder, tiles);
            (estimate.encode_tile, estimate.encode_tiles) = (sides(tiles), tiles.count());
            let waiting = self.at_once.map_or(1, |frames| counting.latents(frames));
            let joined = self.joined_bytes::<Encoder>(tiles, waiting, 2 * channels * self.geometry.latent_plane());
            estimate.working_bytes = self.working_bytes(Half::Encoder, encoder, tiles).saturating_add(joined);
            scratch = scratch.max(self.scratch(encoder, tiles));
        }
        if let Some(tiles) = decode {
            estimate.decode_state_bytes = self.state_bytes::<Decoder>(decoder, tiles);
            (estimate.decode_tile, estimate.decode_tiles) = (sides(tiles), tiles.count());
            let waiting = self.clip_frames().unwrap_or(counting.unit);
            let joined = self.joined_bytes::<Decoder>(tiles, waiting, 3 * self.geometry.padded.pixels() as usize);
            let working = self.working_bytes(Half::Decoder, decoder, tiles).saturating_add(joined);
            estimate.working_bytes = estimate.working_bytes.saturating_add(working);
            // The directions take turns.
            scratch = scratch.max(self.scratch(decoder, tiles));
        }
        estimate.working_bytes = estimate.working_bytes.saturating_add(scratch.bytes());
        let parts = [estimate.encode_state_bytes, estimate.decode_state_bytes, estimate.working_bytes];
        estimate.total_bytes = parts.into_iter().fold(estimate.weight_bytes, u64::saturating_add);
        estimate
    }

    fn state_bytes<E: Engine>(&self, graphs: &[StepGraph], tiles: &Tiles) -> u64 {
        if self.takes_whole_clips(E::HALF) {
            return 0;
        }
        let engines = if self.at_once.is_some() { 1 } else { tiles.count() };
        (engines as u64).saturating_mul(E::planned_bytes(graphs, tiles.size()))
    }

    /// Of `outputs` that wait until all of their tiles are there, each of `values` values.
    fn joined_bytes<E: Engine>(&self, tiles: &Tiles, outputs: u64, values: usize) -> u64 {
        if !tiles.are_joined::<E>() {
            return 0;
        }
        outputs.saturating_mul((values * size_of::<f32>()) as u64)
    }

    fn takes_whole_clips(&self, half: Half) -> bool {
        self.model.network().needs_whole_clip(half).is_some()
    }

    /// Frames of the longest clip, where each call gets a whole one, with its last group completed.
    fn clip_frames(&self) -> Option<u64> {
        let counting = self.model.counting();
        self.at_once.map(|frames| counting.frames(counting.latents(frames)))
    }

    /// Each graph's session keeps the most that it ever needed; one of our operators on a whole clip keeps nothing.
    fn working_bytes(&self, half: Half, graphs: &[StepGraph], tiles: &Tiles) -> u64 {
        let size = tiles.size();
        let frames = match self.takes_whole_clips(half) {
            true if self.at_once == Some(0) => 1 + self.model.counting().unit,
            true => self.clip_frames().unwrap_or(1),
            false => 1,
        };
        let one = |graph: &StepGraph| {
            let ports = graph.inputs.iter().chain(&graph.outputs).filter(|port| port.layout == Layout::Clip);
            let ports: u64 = ports.map(|port| size.bytes(port)).sum::<u64>().saturating_mul(frames);
            // Scores and their softmax.
            let scores = graph.sizes.iter().map(|list| list.score_bytes(size.axes(), frames as usize));
            let scores = scores.max().unwrap_or(0).saturating_mul(2);
            // Of a clip with an outer wavelet in time, half of the frames and one more are where it takes most.
            let more = frames > 1 && self.model.counting().wavelet;
            let frames = frames as f64 + if more { 1.0 } else { 0.0 };
            let working = graph.working.bytes(size.axes(), frames);
            ports.saturating_add(match graph.has_clip_operators() {
                true => working.max(scores.saturating_add(graph.working.attending_bytes(size.axes(), frames))),
                false => working.saturating_add(scores),
            })
        };
        let runtime = if self.model.device().is_none() { self.runtime_bytes(graphs.len() as u64) } else { 0 };
        graphs.iter().map(one).fold(runtime, u64::saturating_add)
    }

    /// ONNX Runtime's own memory.
    fn runtime_bytes(&self, sessions: u64) -> u64 {
        let threads = sessions * (self.model.threads() as u64 - 1);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        sessions * SESSION_BYTES + threads * THREAD_BYTES + threads.min(HEAPS_PER_CORE * cores) * HEAP_BYTES
    }

    /// Of the largest session, as they take turns.
    fn scratch(&self, graphs: &[StepGraph], tiles: &Tiles) -> ScratchSize {
        let size = tiles.size().axes();
        let sizes = graphs.iter().map(|graph| graph.working.scratch(size, self.model.threads()));
        sizes.fold(ScratchSize::default(), ScratchSize::max)
    }
}

/// Width and height of a tile.
fn sides(tiles: &Tiles) -> (usize, usize) {
    (tiles.size().width, tiles.size().height)
}

impl Estimate {
    /// Memory that is not there would be promised all the same, and the process killed when it is used. The weights are
    /// not counted, as other streams may have loaded them.
    pub(super) fn check_available(&self, model: &Model, options: &StreamOptions) -> Result<()> {
        // A device refuses what it lacks.
        if model.device().is_some() {
            return Ok(());
        }
        let mut needed = self.total_bytes - self.weight_bytes;
        if model.network().any_needs_whole_clip().is_some() {
            // The estimate may be a third too low.
            needed = needed.saturating_add(needed / 2);
        }
        if let Some(available) = platform::available_memory()
            && needed > available
        {
            let (width, height) = (options.width, options.height);
            fail!(
                OutOfMemory,
                "a stream of {width}x{height} needs {needed} bytes for causal caches and working memory, {available} are \
                 available; take tiles with clip_frames, half precision caches, one direction or shorter clips"
            );
        }
        Ok(())
    }
}
