//! What a stream will need, before anything is allocated, and tiles that keep it within a limit.

use super::counting::check_count;
use super::decoder::StreamDecoder;
use super::encoder::StreamEncoder;
use super::tiles::{Tiles, Tiling};
use super::{Geometry, MAX_SIDE, Model, StreamOptions};
use crate::error::{Result, fail};
use crate::graph::{Layout, StepGraph};
use crate::kernels::ScratchSize;
use crate::memory;
use crate::model::Half;

/// Bytes that a stream takes while it runs, to within 15 % of what a process then takes, or 4 MB if that is more; to within
/// a third for models that take whole clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Estimate {
    /// The model's weights for the stream's directions, shared with its other streams.
    pub weight_bytes: u64,
    /// Causal caches, waiting frames and buffers of the encoder.
    pub encode_state_bytes: u64,
    /// The same of the decoder.
    pub decode_state_bytes: u64,
    /// What the network's layers hand to each other while a call runs, kept for the next call and shared with the model's
    /// other streams.
    pub working_bytes: u64,
    /// All of these.
    pub total_bytes: u64,
    /// Of the encoder's tiles, in pixels: the whole frame's without tiling, 0 without encoding.
    pub encode_tile: (usize, usize),
    /// Of the decoder's tiles.
    pub decode_tile: (usize, usize),
    /// The encoder's tiles of a frame.
    pub encode_tiles: usize,
    /// The decoder's tiles of a frame.
    pub decode_tiles: usize,
}

/// What ONNX Runtime takes on the processor for each session, and for each of its threads but the caller's; measured.
const SESSION_BYTES: u64 = 1_300_000;
const THREAD_BYTES: u64 = 55_000;
/// What threads leave in a heap of their own, of which the C library has so many for each core.
const HEAP_BYTES: u64 = 200_000;
const HEAPS_PER_CORE: u64 = 8;

/// A stream that could be made.
pub(super) struct Plan {
    pub(super) geometry: Geometry,
    /// The longest clip, where each call gets a whole one; 0: any.
    pub(super) at_once: Option<u64>,
    pub(super) encode: Option<Tiles>,
    pub(super) decode: Option<Tiles>,
    pub(super) estimate: Estimate,
}

/// What all plans for one stream share.
struct Planner<'a> {
    model: &'a Model,
    options: &'a StreamOptions,
    geometry: Geometry,
    at_once: Option<u64>,
    encoder: Vec<StepGraph>,
    decoder: Vec<StepGraph>,
}

impl Plan {
    pub(super) fn new(model: &Model, options: &StreamOptions) -> Result<Self> {
        memory::check("the graphs of a stream")?;
        let geometry = Geometry::new(model, options)?;
        if !options.encode && !options.decode {
            fail!(InvalidArgument, "a stream needs at least one direction");
        }
        model.check_half(Half::Encoder, options.encode)?;
        model.check_half(Half::Decoder, options.decode)?;
        check_count("clip_frames", options.clip_frames)?;
        let whole = model.network().needs_whole_clip();
        if whole && options.memory_limit > 0 && options.clip_frames == 0 {
            fail!(
                InvalidArgument,
                "memory_limit without clip_frames: {} has norm_type \"groupnorm\", so that memory grows with the clip's \
                 length; set clip_frames to that of the longest",
                model.info().name
            );
        }
        let planner = Planner {
            model,
            options,
            geometry,
            at_once: (whole || options.clip_frames > 0).then_some(options.clip_frames),
            encoder: if options.encode { model.encoder_graphs() } else { vec![] },
            decoder: if options.decode { model.decoder_graphs() } else { vec![] },
        };
        memory::check("the graphs of a stream")?;
        planner.check_tiling()?;
        let limit = if options.memory_limit == 0 { u64::MAX } else { options.memory_limit };
        let smallest = planner.smallest_tile();
        let mut last = None;
        for size in planner.tile_sizes() {
            let whole = (planner.geometry.padded_width, planner.geometry.padded_height);
            let fits = (size.0 >= smallest || size.0 == whole.0) && (size.1 >= smallest || size.1 == whole.1);
            // A size that the caller named is used, or refused, as it is.
            if !fits && planner.chooses() {
                continue;
            }
            let plan = planner.plan(size)?;
            if plan.estimate.total_bytes <= limit {
                return Ok(plan);
            }
            if last.as_ref().is_none_or(|best: &Plan| plan.estimate.total_bytes < best.estimate.total_bytes) {
                last = Some(plan);
            }
        }
        planner.refuse(&last.expect("the whole frame was tried").estimate)
    }
}

impl Planner<'_> {
    fn check_tiling(&self) -> Result<()> {
        let tiled = self.options.tiling != Tiling::Off;
        let overlap = if let Tiling::Blended { overlap } = self.options.tiling { overlap } else { 0 };
        let longest = self.options.tile_width.max(self.options.tile_height).max(overlap);
        if longest > MAX_SIDE {
            fail!(InvalidSize, "tiles of {longest} pixels: at most {MAX_SIDE}");
        }
        if !tiled && (self.options.tile_width, self.options.tile_height) != (0, 0) {
            fail!(InvalidArgument, "a tile size without tiling; ask for exact or blended tiles");
        }
        if tiled && self.model.network().needs_whole_clip() {
            fail!(InvalidArgument, "{}: group norm spans the whole frame, so it has no tiles", self.model.info().name);
        }
        if self.options.tiling == Tiling::Exact && self.halo().is_none() {
            fail!(
                InvalidArgument,
                "{}: attention makes every pixel depend on all others, so tiles cannot be exact; blended ones can be had",
                self.model.info().name
            );
        }
        Ok(())
    }

    /// The larger of the directions in use.
    fn halo(&self) -> Option<usize> {
        let encode = if self.options.encode { self.model.encode_halo() } else { Some(0) };
        let decode = if self.options.decode { self.model.decode_halo() } else { Some(0) };
        Some(encode?.max(decode?))
    }

    /// Whether tiles are for the planner to choose.
    fn chooses(&self) -> bool {
        self.options.tiling != Tiling::Off && (self.options.tile_width, self.options.tile_height) == (0, 0)
    }

    fn smallest_tile(&self) -> usize {
        let unit = self.geometry.compression;
        match self.options.tiling {
            Tiling::Off => 0,
            Tiling::Exact => 2 * self.halo().unwrap_or(0) + unit,
            // Anything smaller is all seam.
            Tiling::Blended { overlap } => (2 * overlap.next_multiple_of(unit)).max(8 * unit),
        }
    }

    /// The sizes to try: the frame, then ever smaller parts of it, the longer side first.
    fn tile_sizes(&self) -> Vec<(usize, usize)> {
        let (width, height) = (self.geometry.padded_width, self.geometry.padded_height);
        if !self.chooses() {
            let side = |tile: usize, whole: usize| if tile == 0 { whole } else { tile };
            return vec![(side(self.options.tile_width, width), side(self.options.tile_height, height))];
        }
        let overlap = match self.options.tiling {
            Tiling::Exact => 2 * self.halo().unwrap_or(0),
            _ => 0,
        };
        let (mut columns, mut rows) = (1, 1);
        let part = |length: usize, parts: usize| {
            ((length + (parts - 1) * overlap).div_ceil(parts)).next_multiple_of(self.geometry.compression).min(length)
        };
        let mut sizes = vec![];
        // Until there is nothing left to cut off.
        while columns <= width && rows <= height {
            let size = (part(width, columns), part(height, rows));
            if sizes.last() != Some(&size) {
                sizes.push(size);
            }
            if size.0 >= size.1 { columns += 1 } else { rows += 1 }
        }
        sizes
    }

    fn plan(&self, size: (usize, usize)) -> Result<Plan> {
        let tiles = |halo: Option<usize>| match self.options.tiling {
            Tiling::Off => Ok(Tiles::one(&self.geometry)),
            Tiling::Exact => Tiles::new(&self.geometry, size, 2 * halo.unwrap_or(0), false),
            Tiling::Blended { overlap } => {
                let overlap = if overlap == 0 { size.0.min(size.1) / 4 } else { overlap };
                Tiles::new(&self.geometry, size, overlap.next_multiple_of(self.geometry.compression), true)
            }
        };
        let encode = self.options.encode.then(|| tiles(self.model.encode_halo())).transpose()?;
        let decode = self.options.decode.then(|| tiles(self.model.decode_halo())).transpose()?;
        let mut estimate = Estimate::default();
        let graphs = || self.encoder.iter().chain(&self.decoder);
        estimate.weight_bytes = graphs().map(|graph| graph.weight_bytes() as u64).sum();
        if let Some(tiles) = &encode {
            let planned = |geometry: &Geometry| StreamEncoder::planned_bytes(&self.encoder, geometry);
            estimate.encode_state_bytes = self.state_bytes(tiles, planned);
            estimate.encode_tile = tiles.size();
            estimate.working_bytes = self.working_bytes(&self.encoder, tiles);
            estimate.encode_tiles = tiles.count();
            if tiles.count() > 1 {
                // Latents wait until all of their tiles are there.
                let waiting = self.at_once.map_or(1, |frames| self.model.counting().latents(frames));
                let moments = 2 * self.model.network().latent_channels * self.geometry.latent_plane();
                let bytes = waiting.saturating_mul((moments * size_of::<f32>()) as u64);
                estimate.working_bytes = estimate.working_bytes.saturating_add(bytes);
            }
        }
        if let Some(tiles) = &decode {
            let planned = |geometry: &Geometry| StreamDecoder::planned_bytes(&self.decoder, geometry);
            estimate.decode_state_bytes = self.state_bytes(tiles, planned);
            if tiles.count() > 1 {
                let numbers = self.model.network().latent_channels * self.geometry.latent_plane();
                let bytes = (numbers * size_of::<f32>()) as u64;
                estimate.decode_state_bytes = estimate.decode_state_bytes.saturating_add(bytes);
            }
            estimate.decode_tile = tiles.size();
            estimate.working_bytes = estimate.working_bytes.saturating_add(self.working_bytes(&self.decoder, tiles));
            estimate.decode_tiles = tiles.count();
            if tiles.blended && tiles.count() > 1 {
                // Frames wait until all of their tiles are there.
                let waiting = self.clip_frames().unwrap_or(self.model.counting().unit);
                let clip = waiting.saturating_mul(3 * 4 * self.geometry.area());
                estimate.working_bytes = estimate.working_bytes.saturating_add(clip);
            }
        }
        // Both directions take turns.
        let scratch = |graphs: &[StepGraph], tiles: &Option<Tiles>| {
            tiles.as_ref().map_or(ScratchSize::default(), |tiles| self.scratch(graphs, tiles))
        };
        let scratch = scratch(&self.encoder, &encode).max(scratch(&self.decoder, &decode));
        estimate.working_bytes = estimate.working_bytes.saturating_add(scratch.bytes());
        let parts = [estimate.encode_state_bytes, estimate.decode_state_bytes, estimate.working_bytes];
        estimate.total_bytes = parts.into_iter().fold(estimate.weight_bytes, u64::saturating_add);
        Ok(Plan { geometry: self.geometry.clone(), at_once: self.at_once, encode, decode, estimate })
    }

    /// `planned`: of one engine, which works on one tile.
    fn state_bytes(&self, tiles: &Tiles, planned: impl Fn(&Geometry) -> u64) -> u64 {
        if self.model.network().needs_whole_clip() {
            return 0;
        }
        let engines = if self.at_once.is_some() { 1 } else { tiles.count() };
        (engines as u64).saturating_mul(planned(&self.geometry.part(tiles.size())))
    }

    /// Frames of the longest clip, where each call gets a whole one, with its last group completed.
    fn clip_frames(&self) -> Option<u64> {
        let counting = self.model.counting();
        self.at_once.map(|frames| counting.frames(counting.latents(frames)))
    }

    /// Each graph's session keeps the most that it ever needed.
    fn working_bytes(&self, graphs: &[StepGraph], tiles: &Tiles) -> u64 {
        let geometry = self.geometry.part(tiles.size());
        let pixels = (geometry.latent_plane() as u64).saturating_pow(2).saturating_mul(4);
        let scores = pixels.min(self.model.attention_bytes());
        let frames = match self.model.network().needs_whole_clip() {
            true if self.at_once == Some(0) => 1 + self.model.counting().unit,
            true => self.clip_frames().unwrap_or(1),
            false => 1,
        };
        let one = |graph: &StepGraph| {
            let ports = graph.inputs.iter().chain(&graph.outputs).filter(|port| port.layout == Layout::Clip);
            let ports: u64 = ports.map(|port| geometry.bytes(port)).sum::<u64>().saturating_mul(frames);
            let scores = if graph.has_attention { 2 * scores } else { 0 };
            // Of a clip, half of the frames and one more are where it takes most, before the outer wavelet.
            let frames = if frames == 1 { 1.0 } else { frames as f64 + 1.0 };
            let size = [geometry.padded_height, geometry.padded_width];
            ports.saturating_add(scores).saturating_add(graph.working.bytes(size, frames))
        };
        let runtime = if self.model.device().is_none() { self.runtime_bytes(graphs.len() as u64) } else { 0 };
        graphs.iter().map(one).fold(runtime, u64::saturating_add)
    }

    /// What is ONNX Runtime's own, for so many sessions.
    fn runtime_bytes(&self, sessions: u64) -> u64 {
        let threads = sessions * (self.model.threads() as u64 - 1);
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        sessions * SESSION_BYTES + threads * THREAD_BYTES + threads.min(HEAPS_PER_CORE * cores) * HEAP_BYTES
    }

    /// Sessions take turns too.
    fn scratch(&self, graphs: &[StepGraph], tiles: &Tiles) -> ScratchSize {
        let geometry = self.geometry.part(tiles.size());
        let size = [geometry.padded_height, geometry.padded_width];
        let sizes = graphs.iter().map(|graph| graph.working.scratch(size, self.model.threads()));
        sizes.fold(ScratchSize::default(), ScratchSize::max)
    }

    /// The limit cannot be kept; says what there is to do.
    fn refuse(&self, best: &Estimate) -> Result<Plan> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let (width, height) = (self.geometry.width, self.geometry.height);
        let shorter = "shorten clip_frames, ";
        let caches = "open the model with half precision caches, ";
        let advice = match (self.options.tiling, self.at_once) {
            _ if self.model.network().needs_whole_clip() => shorter.into(),
            (Tiling::Off, None) => {
                format!("ask for tiles and set clip_frames (a whole clip in each call, one tile at a time), {caches}")
            }
            (Tiling::Off, Some(_)) => format!("ask for tiles, {caches}"),
            (_, None) => format!("set clip_frames (a whole clip in each call, one tile at a time), {caches}"),
            (tiling, Some(_)) => {
                let size = if self.chooses() { "no smaller tiles are possible, " } else { "ask for smaller tiles, " };
                // All frames of a clip wait until their last tiles are there.
                let blended = if matches!(tiling, Tiling::Blended { .. }) { shorter } else { "" };
                format!("{size}{blended}{caches}")
            }
        };
        fail!(
            OutOfMemory,
            "a stream of {width}x{height} needs at least {} MiB ({} weights, {} encoder state, {} decoder state, {} \
             working memory), memory_limit is {} MiB; {advice}use one direction, or raise the limit",
            mib(best.total_bytes),
            mib(best.weight_bytes),
            mib(best.encode_state_bytes),
            mib(best.decode_state_bytes),
            mib(best.working_bytes),
            mib(self.options.memory_limit)
        );
    }
}

impl Estimate {
    /// Memory that is not there would be promised all the same, and the process killed when it is used. The weights are
    /// not counted, as other streams may have loaded them.
    pub(super) fn check_available(&self, model: &Model, options: &StreamOptions) -> Result<()> {
        // A device refuses by itself what it has not.
        if model.device().is_some() {
            return Ok(());
        }
        let mut needed = self.total_bytes - self.weight_bytes;
        if model.network().needs_whole_clip() {
            // The estimate may be a third too low.
            needed = needed.saturating_add(needed / 2);
        }
        if let Some(available) = memory::available()
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
