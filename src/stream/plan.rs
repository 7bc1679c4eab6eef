//! A stream that could be made: its tiles, chosen to keep within a limit, and what it takes.

use super::estimate::{Estimate, Needs};
use super::geometry::{Geometry, MAX_SIDE};
use super::model::Model;
use super::options::{MemoryKind, StreamOptions, Tiling};
use super::tiles::Tiles;
use crate::engine::{FrameSize, check_count};
use crate::error::{Result, fail};
use crate::graph::StepGraph;
use crate::memory;
use crate::model::Half;

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
        let geometry = Geometry::new(model.network().spatial_compression(), options)?;
        if !options.encode && !options.decode {
            fail!(InvalidArgument, "a stream needs at least one direction");
        }
        model.check_half(Half::Encoder, options.encode)?;
        model.check_half(Half::Decoder, options.decode)?;
        if options.alpha && !(options.encode && options.decode) {
            fail!(InvalidArgument, "alpha is carried from encoding to decoding: it needs a stream of both directions");
        }
        check_memory(model, options)?;
        check_count("clip_frames", options.clip_frames)?;
        let whole = needs_whole_clip(model, options);
        if let Some(reason) = whole
            && options.memory_limit > 0
            && options.clip_frames == 0
        {
            fail!(
                InvalidArgument,
                "memory_limit without clip_frames: {} has {reason}, so that memory grows with the clip's length; set \
                 clip_frames to that of the longest",
                model.info().name
            );
        }
        let planner = Planner {
            model,
            options,
            geometry,
            at_once: (whole.is_some() || options.clip_frames > 0).then_some(options.clip_frames),
            encoder: if options.encode { model.graphs(Half::Encoder) } else { vec![] },
            decoder: if options.decode { model.graphs(Half::Decoder) } else { vec![] },
        };
        memory::check("the graphs of a stream")?;
        planner.check_tiling()?;
        let limit = if options.memory_limit == 0 { u64::MAX } else { options.memory_limit };
        let smallest = planner.smallest_tile();
        let mut last = None;
        for size in planner.tile_sizes() {
            let whole = planner.geometry.padded;
            let fits = |side: usize, whole: usize| side >= smallest || side == whole;
            let fits = fits(size.width, whole.width) && fits(size.height, whole.height);
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

/// Why a stream takes whole clips, in one of its directions at least.
fn needs_whole_clip(model: &Model, options: &StreamOptions) -> Option<&'static str> {
    let directions = [(Half::Encoder, options.encode), (Half::Decoder, options.decode)];
    directions.into_iter().filter(|(_, used)| *used).find_map(|(half, _)| model.network().needs_whole_clip(half))
}

/// Frames or latents in a device's memory.
fn check_memory(model: &Model, options: &StreamOptions) -> Result<()> {
    let kinds = [("frame_memory", options.frame_memory), ("latent_memory", options.latent_memory)];
    for (name, _) in kinds.into_iter().filter(|(_, kind)| *kind == MemoryKind::Cuda) {
        if model.device().is_none() {
            let why = model.info().fallback.map_or(String::new(), |why| format!(" ({why})"));
            fail!(
                InvalidArgument,
                "{name} cuda: the model runs on the CPU{why}; open it on the CUDA device whose memory it is"
            );
        }
    }
    if options.frame_memory == MemoryKind::Cpu {
        return Ok(());
    }
    if let Some(reason) = needs_whole_clip(model, options) {
        fail!(
            InvalidArgument,
            "frame_memory cuda: {} has {reason}, and frames of whole clips must be in the CPU's memory",
            model.info().name
        );
    }
    match options {
        StreamOptions { alpha: true, .. } => {
            fail!(
                InvalidArgument,
                "frame_memory cuda with alpha: alpha is carried in the CPU's memory; give frames that are there"
            )
        }
        StreamOptions { tiling: Tiling::Off, .. } => Ok(()),
        _ => fail!(InvalidArgument, "frame_memory cuda with tiles: these need frames in the CPU's memory"),
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
        if tiled && let Some(reason) = needs_whole_clip(self.model, self.options) {
            fail!(InvalidArgument, "tiles: {} has {reason}; ask for none", self.model.info().name);
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
        let encode = if self.options.encode { self.model.halo(Half::Encoder) } else { Some(0) };
        let decode = if self.options.decode { self.model.halo(Half::Decoder) } else { Some(0) };
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
    fn tile_sizes(&self) -> Vec<FrameSize> {
        let FrameSize { width, height } = self.geometry.padded;
        if !self.chooses() {
            let side = |tile: usize, whole: usize| if tile == 0 { whole } else { tile };
            let (width, height) = (side(self.options.tile_width, width), side(self.options.tile_height, height));
            return vec![FrameSize { width, height }];
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
            let size = FrameSize { width: part(width, columns), height: part(height, rows) };
            if sizes.last() != Some(&size) {
                sizes.push(size);
            }
            if size.width >= size.height { columns += 1 } else { rows += 1 }
        }
        sizes
    }

    fn plan(&self, size: FrameSize) -> Result<Plan> {
        let tiles = |halo: Option<usize>| match self.options.tiling {
            Tiling::Off => Ok(Tiles::one(&self.geometry)),
            Tiling::Exact => Tiles::new(&self.geometry, size, 2 * halo.unwrap_or(0), false),
            Tiling::Blended { overlap } => {
                let overlap = if overlap == 0 { size.width.min(size.height) / 4 } else { overlap };
                Tiles::new(&self.geometry, size, overlap.next_multiple_of(self.geometry.compression), true)
            }
        };
        let encode = self.options.encode.then(|| tiles(self.model.halo(Half::Encoder))).transpose()?;
        let decode = self.options.decode.then(|| tiles(self.model.halo(Half::Decoder))).transpose()?;
        let needs = Needs { model: self.model, geometry: &self.geometry, at_once: self.at_once };
        let estimate = needs.estimate((&self.encoder, encode.as_ref()), (&self.decoder, decode.as_ref()));
        Ok(Plan { geometry: self.geometry.clone(), at_once: self.at_once, encode, decode, estimate })
    }

    /// The limit cannot be kept; says what there is to do.
    fn refuse(&self, best: &Estimate) -> Result<Plan> {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        // Rounded down, so that it is less than what is needed. A limit below 1 MiB was mostly meant in other units.
        let limit = match self.options.memory_limit {
            bytes if bytes < 1 << 20 => format!("{bytes} bytes"),
            bytes => format!("{} MiB", bytes >> 20),
        };
        let (width, height) = (self.geometry.width, self.geometry.height);
        let shorter = "shorten clip_frames, ";
        let caches = "open the model with half precision caches, ";
        let advice = match (self.options.tiling, self.at_once) {
            _ if needs_whole_clip(self.model, self.options).is_some() => shorter.into(),
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
             working memory), memory_limit is {limit}; {advice}use one direction, or raise the limit",
            mib(best.total_bytes),
            mib(best.weight_bytes),
            mib(best.encode_state_bytes),
            mib(best.decode_state_bytes),
            mib(best.working_bytes)
        );
    }
}
