//! Convolutions on a matrix unit: direct sums of products of bfloat16 in float32.
//!
//! The frame's pixels, or for strided kernels those of the result, are cut into tiles of 16, four tiles are a unit, and units are
//! grouped into blocks. A job computes a block for a group of panels of output channels. It takes a slice of the sum after
//! another: the kernel's taps of one frame for a few input channels. So the slice's weights of a panel stay in the first-level
//! cache for all units of the block, and pixels in the second-level cache for all panels of the group. Sums are added up in the
//! order of slices, which does not depend on how the frame is divided.

use super::super::bordered::{Bordered, BorderedOut};
use super::super::level::Level;
use super::super::micro::bfloat16::{narrow, store_narrow};
use super::super::micro::tiles::{AHEAD, DEPTH, Products, SIDE, TILES, weights_bytes};
use super::super::micro::unit::{Ready, Unit};
use super::super::micro::vectors::{load, load_some, store, store_some};
use super::super::norm::{LayerNorm, Norm, Normalizer};
use super::super::scratch::{NoMemory, ScratchSize};
use super::super::workers::Shared;
use super::convolution::{Algorithm, Convolution, Form, Outcome, ReadRows, Resources};
use super::pack::{self, pack_parts};
use half::bf16;
use pulp::{Simd, WithSimd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Tiles of output channels of a panel.
const PANEL: usize = 2;
/// Panels of a group, at most. The sums of a block of more would not stay in the second-level cache.
const GROUP: usize = 14;
/// Units of a block, about.
const BLOCK: usize = 8;
/// Steps of a slice, at most. The weights of more would not stay in the first-level cache.
const STEPS: usize = 9;
/// Pixels of a unit.
const UNIT: usize = TILES * SIDE;
/// Output channels up to which a job can have all of them, so that it applies a norm.
const NORMED_AT_ONCE: usize = 384;
/// Panels that a job has for a norm even if threads then have less to do.
const ALWAYS_NORMED: usize = 4;

/// What a convolution on a matrix unit reads.
#[derive(Clone, Copy)]
pub(crate) struct MatrixInput<'a> {
    /// Bordered, oldest first; the same one may be there several times.
    pub(crate) frames: &'a [&'a [bf16]],
    /// Of a frame.
    pub(crate) size: [usize; 2],
    pub(crate) c_in: usize,
    /// As `Target::pack` makes them.
    pub(crate) weights: &'a [f32],
    pub(crate) bias: &'a [f32],
    /// Added to the result, and of its shape.
    pub(crate) residual: Option<&'a [f32]>,
}

/// What a convolution on a matrix unit writes.
#[derive(Clone, Copy)]
pub(crate) enum MatrixOutput<'a> {
    /// `[height, width, c_out]`
    Sums(*mut f32),
    /// The same, rounded.
    Narrow(*mut bf16),
    /// The norm of the result as a bordered frame and, if it is needed, the result.
    Normed(Norm<'a>, *mut bf16, Option<*mut f32>),
}

pub(crate) struct Matrix {
    level: Level,
    convolution: Convolution,
    form: Form,
    outcome: Outcome,
}

impl Matrix {
    pub(crate) fn new(level: Level, convolution: Convolution, form: Form, outcome: Outcome) -> Self {
        Matrix { level, convolution, form, outcome }
    }

    /// Channels of a step.
    fn depth(&self) -> usize {
        Bordered::stored(self.convolution.c_in).min(DEPTH)
    }

    fn chunks(&self) -> usize {
        Bordered::stored(self.convolution.c_in) / self.depth()
    }

    /// Taps of a kernel in height and width together, as it is packed.
    fn taps(&self) -> usize {
        match self.form {
            Form::Same | Form::Strided => 9,
            Form::Doubled => 4,
            Form::Pointwise => 1,
        }
    }

    /// Kernels that are packed one after the other.
    fn phases(&self) -> usize {
        if self.form == Form::Doubled { 4 } else { 1 }
    }

    /// Steps of a sum.
    fn steps(&self) -> usize {
        self.convolution.times * self.chunks() * self.taps()
    }

    /// Tiles of output channels.
    fn tiles(&self) -> usize {
        self.convolution.c_out.div_ceil(SIDE)
    }

    /// Bytes of the weights of one tile of output channels.
    fn tile_bytes(&self) -> usize {
        self.steps() * weights_bytes(self.depth())
    }

    fn divide(&self, size: [usize; 2], threads: usize) -> Division {
        Division::new(self, size, threads)
    }

    /// Computes a convolution.
    ///
    /// # Safety
    /// As that of `Target::convolve_narrow`.
    pub(crate) unsafe fn run(
        &self,
        input: MatrixInput,
        resources: Resources,
        output: MatrixOutput,
    ) -> Result<(), NoMemory> {
        let unit = self.level.unit().expect("graphs have such convolutions only where there is a matrix unit");
        let MatrixInput { frames, size, c_in, weights, bias, residual } = input;
        let Convolution { c_out, times, .. } = self.convolution;
        let frame = Bordered::new(size, c_in);
        let division = self.divide(size, resources.threads);
        let [height, width] = division.result;
        assert!(frames.len() == times && frames.iter().all(|f| f.len() == frame.len()), "{times} frames {frame:?}");
        assert_eq!((weights.len(), bias.len()), (self.packed_len(), c_out), "weights of {:?}", self.convolution);
        assert!(
            residual.is_none_or(|residual| residual.len() == height * width * c_out),
            "a residual of {height}x{width}"
        );
        if let MatrixOutput::Normed(norm, ..) = &output {
            assert!(self.outcome == Outcome::Normed, "memory for sums, of {:?}", self.convolution);
            assert_eq!((norm.scale.len(), norm.bias.len()), (c_out, c_out), "a norm of {:?}", self.convolution);
        }
        let mut shared = resources.scratch.shared(self.scratch(size, resources.threads))?;
        // A norm of many channels is a pass of its own.
        let (result, then) = match output {
            MatrixOutput::Sums(sums) => (Written::Sums(Shared(sums)), None),
            MatrixOutput::Narrow(narrow) => (Written::Narrow(Shared(narrow)), None),
            MatrixOutput::Normed(norm, normed, sums) if division.normed_at_once => {
                // SAFETY: as this function asks of its caller.
                let normed = unsafe { BorderedOut::begin(Bordered::new(division.result, c_out), normed) };
                (Written::Normed(norm, normed, sums.map(Shared)), None)
            }
            MatrixOutput::Normed(norm, normed, sums) => {
                let sums = sums.unwrap_or_else(|| shared.start());
                (Written::Sums(Shared(sums)), Some((norm, normed, sums)))
            }
        };
        let run = Run { matrix: self, unit, frame, division, frames, weights, bias, residual, result };
        // SAFETY: as this function asks of its caller.
        unsafe { run.run(resources)? };
        if let Some((norm, normed, sums)) = then {
            // SAFETY: the sums are complete.
            let pixels = unsafe { std::slice::from_raw_parts(sums, height * width * c_out) };
            let layer = LayerNorm { pixels, norm };
            // SAFETY: as this function asks of its caller.
            unsafe { layer.run_bordered([height, width], self.level, resources.workers, normed) };
        }
        Ok(())
    }
}

impl Algorithm for Matrix {
    fn packed_len(&self) -> usize {
        self.phases() * self.tiles() * self.tile_bytes() / size_of::<f32>()
    }

    fn pack(&self, read_rows: ReadRows, threads: usize, out: &mut [f32]) -> Result<(), NoMemory> {
        assert_eq!(out.len(), self.packed_len());
        let Convolution { c_out, c_in, times, .. } = self.convolution;
        let (depth, chunks, taps) = (self.depth(), self.chunks(), self.taps());
        let row = self.convolution.row_len();
        // Of the checkpoint's kernel, for one output and one input channel.
        let of_checkpoint = row / c_in / times;
        // A part is a panel of a phase. The last panel may have one tile.
        let panel_len = PANEL * self.tile_bytes() / size_of::<f32>();
        let phase_len = out.len() / self.phases();
        let parts = out.chunks_mut(phase_len).enumerate().flat_map(|(phase, out)| {
            out.chunks_mut(panel_len).enumerate().map(move |(panel, out)| {
                let rows = panel * PANEL * SIDE..c_out.min((panel + 1) * PANEL * SIDE);
                pack::Part { rows, key: phase, out }
            })
        });
        pack_parts(
            parts,
            PANEL * SIDE * row,
            row,
            read_rows,
            threads,
            &|pack::Part { rows: channels, key: phase, out }, rows| {
                let channels = channels.len();
                let tiles = channels.div_ceil(SIDE);
                // SAFETY: floats are twice as many values of half their size.
                let out: &mut [bf16] =
                    unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast(), 2 * out.len()) };
                for (i, value) in out.iter_mut().enumerate() {
                    let (second, i) = (i % 2, i / 2);
                    let (channel, i) = (i % SIDE, i / SIDE);
                    let (pair, i) = (i % (depth / 2), i / (depth / 2));
                    let (tile, i) = (i % tiles, i / tiles);
                    let (tap, i) = (i % taps, i / taps);
                    let (chunk, time) = (i % chunks, i / chunks);
                    let (channel, c) = (tile * SIDE + channel, chunk * depth + 2 * pair + second);
                    if channel >= channels || c >= c_in {
                        *value = bf16::ZERO;
                        continue;
                    }
                    let kernel = &rows[channel * row + (c * times + time) * of_checkpoint..][..of_checkpoint];
                    *value = narrow(match self.form {
                        Form::Doubled => doubled_tap(kernel, phase, tap),
                        _ => kernel[tap],
                    });
                }
            },
        )
    }

    fn scratch(&self, size: [usize; 2], threads: usize) -> ScratchSize {
        let division = self.divide(size, threads);
        let [height, width] = division.result;
        let apart = self.outcome == Outcome::Normed && !division.normed_at_once;
        ScratchSize {
            shared: if apart { height * width * self.convolution.c_out } else { 0 },
            own: division.sums_len(),
            workers: division.jobs().min(threads),
            frames: 0,
        }
    }
}

/// A tap of the 2x2 kernel that computes the pixels (y, x) of each 2x2 block of repeated pixels, where `phase` is 2 y + x: the
/// sum of the 3x3 kernel's taps that meet the same pixel.
fn doubled_tap(kernel: &[f32], phase: usize, tap: usize) -> f32 {
    let meets = |phase: usize, tap: usize| match (phase, tap) {
        (0, 0) => 0..1,
        (0, _) => 1..3,
        (_, 0) => 0..2,
        _ => 2..3,
    };
    let (rows, columns) = (meets(phase / 2, tap / 2), meets(phase % 2, tap % 2));
    rows.flat_map(|row| columns.clone().map(move |column| kernel[row * 3 + column])).sum()
}

/// How a frame is divided into jobs.
#[derive(Clone, Copy)]
struct Division {
    form: Form,
    /// Of the result, `[height, width]`.
    result: [usize; 2],
    /// Of the frame.
    frame: Bordered,
    /// Tiles are parts of the result's rows; otherwise they run from one row of the frame to the next.
    in_rows: bool,
    /// Tiles of pixels.
    tiles: usize,
    units: usize,
    blocks: usize,
    panels: usize,
    /// Panels of a group.
    group: usize,
    phases: usize,
    normed_at_once: bool,
}

impl Division {
    fn new(matrix: &Matrix, size: [usize; 2], threads: usize) -> Self {
        let frame = Bordered::new(size, matrix.convolution.c_in);
        let result = matrix.convolution.method.output_size(size);
        // Of a frame that is as large as the result, but for doubled ones, whose phases are as large as the frame.
        let [height, width] = if matrix.form == Form::Strided { result } else { size };
        let in_rows = height * width.div_ceil(SIDE);
        let running = (height * frame.pitch()).div_ceil(SIDE);
        let (in_rows, tiles) = match matrix.form {
            Form::Strided => (true, in_rows),
            _ => (in_rows <= running, in_rows.min(running)),
        };
        let units = tiles.div_ceil(TILES);
        let panels = matrix.tiles().div_ceil(PANEL);
        let phases = matrix.phases();
        // Large blocks are better than large groups, but each thread should have two jobs.
        let wanted = (2 * threads).div_ceil(phases);
        let (mut group, mut blocks) = (panels, units.div_ceil(BLOCK).max(1));
        let normed_at_once = matrix.outcome == Outcome::Normed
            && matrix.convolution.c_out <= NORMED_AT_ONCE
            && (units >= wanted || panels <= ALWAYS_NORMED);
        if !normed_at_once {
            // Groups are of nearly the same size.
            group = panels.div_ceil(panels.div_ceil(GROUP));
            while group > 1 && blocks * panels.div_ceil(group) < wanted {
                group = group.div_ceil(2);
            }
        }
        blocks = blocks.max(wanted.div_ceil(panels.div_ceil(group)).min(units));
        Division {
            form: matrix.form,
            result,
            frame,
            in_rows,
            tiles,
            units,
            blocks,
            panels,
            group,
            phases,
            normed_at_once,
        }
    }

    fn groups(&self) -> usize {
        self.panels.div_ceil(self.group)
    }

    fn jobs(&self) -> usize {
        if self.units == 0 { 0 } else { self.phases * self.blocks * self.groups() }
    }

    /// The units of block `n`. Blocks differ by one unit at most.
    fn block(&self, n: usize) -> std::ops::Range<usize> {
        n * self.units / self.blocks..(n + 1) * self.units / self.blocks
    }

    fn largest_block(&self) -> usize {
        self.units.div_ceil(self.blocks)
    }

    /// Elements of a job's sums.
    fn sums_len(&self) -> usize {
        self.group * self.panel_len()
    }

    /// Of one panel.
    fn panel_len(&self) -> usize {
        self.largest_block() * UNIT * PANEL * SIDE
    }

    /// The index in the frame of what the first tap of the tile's first pixel reads.
    fn start(&self, tile: usize) -> usize {
        // The last unit may have tiles that nobody needs.
        let tile = tile.min(self.tiles - 1);
        let (y, x) = self.first_pixel(tile);
        match self.form {
            Form::Strided => self.frame.row(2 * y) + 2 * x,
            _ => y * self.frame.pitch() + x,
        }
    }

    /// Columns of the result, or for doubled ones of one phase.
    fn width(&self) -> usize {
        if self.form == Form::Strided { self.result[1] } else { self.frame.width }
    }

    /// Row and column of the tile's first pixel in the result, or for doubled ones in its phase.
    fn first_pixel(&self, tile: usize) -> (usize, usize) {
        if self.in_rows {
            let in_row = self.width().div_ceil(SIDE);
            (tile / in_row, tile % in_row * SIDE)
        } else {
            (tile * SIDE / self.frame.pitch(), tile * SIDE % self.frame.pitch())
        }
    }

    /// Bytes from one of a tile's pixels to the next.
    fn stride(&self) -> usize {
        let step = if self.form == Form::Strided { 2 } else { 1 };
        step * self.frame.stored * size_of::<bf16>()
    }

    /// Pixels from there to what a tap reads.
    fn tap(&self, phase: usize, tap: usize) -> usize {
        let pitch = self.frame.pitch();
        match self.form {
            Form::Same | Form::Strided => tap / 3 * pitch + tap % 3,
            Form::Doubled => (phase / 2 + tap / 2) * pitch + phase % 2 + tap % 2,
            Form::Pointwise => pitch + 1,
        }
    }

    /// Of a tile.
    #[inline(always)]
    fn pixels(&self, phase: usize, tile: usize) -> TilePixels {
        let (y, x) = self.first_pixel(tile);
        let end = match self.in_rows {
            _ if tile >= self.tiles => 0,
            true => SIDE.min(self.width() - x),
            false => SIDE.min(self.frame.height * self.frame.pitch() - tile * SIDE),
        };
        TilePixels { division: *self, phase, at: 0, end, y, x }
    }
}

/// The pixels of a tile that are in the result, a row after another.
struct TilePixels {
    division: Division,
    phase: usize,
    at: usize,
    end: usize,
    y: usize,
    x: usize,
}

/// Pixels of a tile that are in one row of the result.
struct PixelRow {
    /// The first one's place in the tile.
    place: usize,
    /// Its row and column.
    y: usize,
    x: usize,
    /// Columns from one to the next.
    step: usize,
    count: usize,
}

impl TilePixels {
    #[inline(always)]
    fn next(&mut self) -> Option<PixelRow> {
        let width = self.division.width();
        // The zeros after a row.
        if self.x == width {
            (self.at, self.y, self.x) = (self.at + 1, self.y + 1, 0);
        }
        if self.at >= self.end {
            return None;
        }
        let count = (self.end - self.at).min(width - self.x);
        let (place, y, x) = (self.at, self.y, self.x);
        (self.at, self.x) = (place + count, x + count);
        Some(match self.division.form {
            Form::Doubled => PixelRow { place, y: 2 * y + self.phase / 2, x: 2 * x + self.phase % 2, step: 2, count },
            _ => PixelRow { place, y, x, step: 1, count },
        })
    }
}

/// What is written of a job's sums.
#[derive(Clone, Copy)]
enum Written<'a> {
    Sums(Shared),
    Narrow(Shared<bf16>),
    Normed(Norm<'a>, BorderedOut, Option<Shared>),
}

/// The convolution of one frame.
struct Run<'a> {
    matrix: &'a Matrix,
    unit: Unit,
    frame: Bordered,
    division: Division,
    frames: &'a [&'a [bf16]],
    weights: &'a [f32],
    bias: &'a [f32],
    residual: Option<&'a [f32]>,
    result: Written<'a>,
}

/// One job: a phase, a block, a group of panels, and its sums.
#[derive(Clone, Copy)]
struct Part<'a> {
    run: &'a Run<'a>,
    phase: usize,
    block: usize,
    first_panel: usize,
    panels: usize,
    sums: *mut f32,
}

impl Run<'_> {
    /// # Safety
    /// As that of `Matrix::run`, whose assertions hold.
    unsafe fn run(&self, resources: Resources) -> Result<(), NoMemory> {
        let Division { blocks, panels, group, .. } = self.division;
        // A job that gets no memory does nothing, and then the result is incomplete.
        let short = AtomicBool::new(false);
        // Neighbouring jobs share weights.
        (resources.workers)(self.division.jobs(), &|job| {
            let Ok(mut own) = resources.scratch.own() else { return short.store(true, Ordering::Relaxed) };
            let (block, rest) = (job % blocks, job / blocks);
            let (first_panel, phase) = (rest % self.division.groups() * group, rest / self.division.groups());
            let panels = group.min(panels - first_panel);
            let part = Part { run: self, phase, block, first_panel, panels, sums: own.start() };
            // SAFETY: there is room for the sums; each job writes its own channels of its block's pixels. A level has a unit only where
            // it may be used, and a job has no other.
            unsafe { part.multiply(&self.unit.ready(self.matrix.depth())) };
            self.matrix.level.dispatch(part);
        });
        if short.load(Ordering::Relaxed) { Err(NoMemory) } else { Ok(()) }
    }
}

impl Part<'_> {
    /// Tiles of output channels of a panel of this part.
    fn tiles(&self, panel: usize) -> usize {
        PANEL.min(self.run.matrix.tiles() - (self.first_panel + panel) * PANEL)
    }

    fn panel_sums(&self, panel: usize) -> *mut f32 {
        // SAFETY: within the scratch.
        unsafe { self.sums.add(panel * self.run.division.panel_len()) }
    }

    /// # Safety
    /// There is room for the division's sums.
    unsafe fn multiply(&self, ready: &Ready) {
        let Part { run, phase, block, first_panel, panels, .. } = *self;
        let Run { matrix, frame, division, frames, weights, .. } = *run;
        let (depth, chunks, taps) = (matrix.depth(), matrix.chunks(), matrix.taps());
        let (pixel, stride) = (frame.stored * size_of::<bf16>(), division.stride());
        let mut steps = [0; STEPS];
        let in_slice = STEPS / taps;
        let units = division.block(block);
        for (time, source) in frames.iter().enumerate() {
            for chunk in (0..chunks).step_by(in_slice) {
                let accumulate = (time, chunk) != (0, 0);
                let in_slice = in_slice.min(chunks - chunk);
                let steps = &mut steps[..in_slice * taps];
                for (i, step) in steps.iter_mut().enumerate() {
                    *step = division.tap(phase, i % taps) * pixel + (chunk + i / taps) * depth * size_of::<bf16>();
                }
                // Where the weights of a panel begin. All panels before it are full.
                let weights_of = |panel: usize, chunk: usize| {
                    let before = phase * matrix.tiles() + (first_panel + panel) * PANEL;
                    let step = (time * chunks + chunk) * taps;
                    before * matrix.tile_bytes() + step * self.tiles(panel) * weights_bytes(depth)
                };
                for panel in 0..panels {
                    let tiles = self.tiles(panel);
                    let weights_at = |at: usize| weights.as_ptr().cast::<u8>().wrapping_add(at);
                    // Meanwhile those that are needed next are fetched.
                    let next = if panel + 1 < panels { (panel + 1, chunk) } else { (0, chunk + in_slice) };
                    let next = weights_at(weights_of(next.0, next.1));
                    let halves = units.len() * TILES / 2;
                    let of_step = tiles * weights_bytes(depth);
                    let ahead_stride = of_step.div_ceil(halves).next_multiple_of(64).min(AHEAD);
                    for (n, unit) in units.clone().enumerate() {
                        // SAFETY: tiles read the frame and the zeros around it, of which there are enough.
                        unsafe {
                            let pixels = std::array::from_fn(|tile| {
                                source.as_ptr().byte_add(division.start(unit * TILES + tile) * pixel).cast()
                            });
                            let products = Products {
                                pixels,
                                count: TILES.min(division.tiles - unit * TILES),
                                stride,
                                steps,
                                weights: weights_at(weights_of(panel, chunk)),
                                sums: self.panel_sums(panel).add(n * UNIT * tiles * SIDE),
                                accumulate,
                                ahead: next.wrapping_add(n * TILES / 2 * steps.len() * ahead_stride),
                                ahead_stride,
                            };
                            ready.run(&products, tiles);
                        }
                    }
                }
            }
        }
    }
}

impl WithSimd for Part<'_> {
    type Output = ();

    /// Writes the sums.
    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        match self.run.result {
            Written::Sums(_) | Written::Narrow(_) => self.write(s),
            Written::Normed(norm, out, sums) => {
                let normalizer = Normalizer::new(s, norm);
                // A pixel of a few whole vectors stays in registers.
                match norm.scale.len() / S::F32_LANES {
                    _ if !norm.scale.len().is_multiple_of(S::F32_LANES) => self.write_normed(s, normalizer, out, sums),
                    1 => self.write_normed_vectors::<S, 1>(s, normalizer, out, sums),
                    2 => self.write_normed_vectors::<S, 2>(s, normalizer, out, sums),
                    3 => self.write_normed_vectors::<S, 3>(s, normalizer, out, sums),
                    4 => self.write_normed_vectors::<S, 4>(s, normalizer, out, sums),
                    5 => self.write_normed_vectors::<S, 5>(s, normalizer, out, sums),
                    _ => self.write_normed(s, normalizer, out, sums),
                }
            }
        }
    }
}

/// The rows of pixels of a part, with the place of the first pixel's sums in a panel's.
struct Rows<'a> {
    part: &'a Part<'a>,
    /// Tiles of the block: the next one, and their end.
    next: usize,
    end: usize,
    pixels: TilePixels,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn of(part: &'a Part<'a>) -> Self {
        let units = part.run.division.block(part.block);
        let first = units.start * TILES;
        let pixels = part.run.division.pixels(part.phase, first);
        Rows { part, next: first + 1, end: units.end * TILES, pixels }
    }

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, PixelRow)> {
        let division = &self.part.run.division;
        loop {
            if let Some(row) = self.pixels.next() {
                let tile = self.next - 1 - division.block(self.part.block).start * TILES;
                return Some((tile * SIDE + row.place, row));
            }
            if self.next >= self.end {
                return None;
            }
            self.pixels = division.pixels(self.part.phase, self.next);
            self.next += 1;
        }
    }
}

// Loops have no closures, as these would not always be compiled for the vectors.
impl Part<'_> {
    /// The sums of a channel of the part, and how many elements are from one pixel's to the next.
    #[inline(always)]
    fn column(&self, channel: usize) -> (*const f32, usize) {
        let (panel, in_panel) = (channel / (PANEL * SIDE), channel % (PANEL * SIDE));
        // SAFETY: within the scratch.
        (unsafe { self.panel_sums(panel).add(in_panel) }, self.tiles(panel) * SIDE)
    }

    /// A vector of results: the sums at a place, which begin with channel `c`, plus bias and residual. `index` is that of the
    /// pixel's first channel in the result.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    unsafe fn result<S: Simd>(&self, s: S, sums: *const f32, index: usize, c: usize) -> S::f32s {
        let Run { bias, residual, .. } = *self.run;
        let some = bias.len() - c;
        // SAFETY: as this function asks of its caller.
        unsafe {
            let value = s.add_f32s(load::<S>(sums), load_some(s, bias.as_ptr().add(c), some));
            match residual {
                Some(residual) => s.add_f32s(value, load_some(s, residual.as_ptr().add(index + c), some)),
                None => value,
            }
        }
    }

    #[inline(always)]
    fn write<S: Simd>(&self, s: S) {
        let Run { division, bias, result, .. } = *self.run;
        let c_out = bias.len();
        let mut rows = Rows::of(self);
        while let Some((place, row)) = rows.next() {
            for panel in 0..self.panels {
                let first = (self.first_panel + panel) * PANEL * SIDE;
                let end = c_out.min(first + PANEL * SIDE);
                let (sums, stride) = self.column(panel * PANEL * SIDE);
                for i in 0..row.count {
                    let index = (row.y * division.result[1] + row.x + i * row.step) * c_out;
                    let mut c = first;
                    while c < end {
                        // SAFETY: within the scratch, whole vectors; no other job writes these channels of the pixel.
                        unsafe {
                            let value = self.result(s, sums.add((place + i) * stride + c - first), index, c);
                            match result {
                                Written::Narrow(to) => store_narrow::<S>(to.at(index + c), value, c_out - c),
                                Written::Sums(to) => store_some(s, to.at(index + c), value, c_out - c),
                                Written::Normed(..) => unreachable!("written with its norm"),
                            }
                        }
                        c += S::F32_LANES;
                    }
                }
            }
        }
    }

    /// The part has all channels.
    #[inline(always)]
    fn write_normed<S: Simd>(&self, s: S, normalizer: Normalizer<S>, out: BorderedOut, to: Option<Shared>) {
        let Run { division, bias, .. } = *self.run;
        let c_out = bias.len();
        // The results of a pixel.
        let mut results = [0.0; NORMED_AT_ONCE];
        let mut rows = Rows::of(self);
        while let Some((place, row)) = rows.next() {
            for i in 0..row.count {
                let index = (row.y * division.result[1] + row.x + i * row.step) * c_out;
                let mut c = 0;
                // SAFETY: as in `write`; the pixel is in the frame.
                unsafe {
                    while c < c_out {
                        let (sums, stride) = self.column(c);
                        let value = self.result(s, sums.add((place + i) * stride), index, c);
                        store::<S>(results.as_mut_ptr().add(c), value);
                        if let Some(to) = to {
                            store_some(s, to.at(index + c), value, c_out - c);
                        }
                        c += S::F32_LANES;
                    }
                    let to = out.pixel(row.y, row.x + i * row.step);
                    normalizer.write_narrow(results.as_ptr(), to, out.frame.stored);
                }
            }
        }
    }

    /// The same, if the channels are so many whole vectors.
    #[inline(always)]
    fn write_normed_vectors<S: Simd, const N: usize>(
        &self,
        s: S,
        normalizer: Normalizer<S>,
        out: BorderedOut,
        to: Option<Shared>,
    ) {
        let division = self.run.division;
        let mut columns = [(std::ptr::null(), 0); N];
        for v in 0..N {
            columns[v] = self.column(v * S::F32_LANES);
        }
        let mut rows = Rows::of(self);
        while let Some((place, row)) = rows.next() {
            for i in 0..row.count {
                let index = (row.y * division.result[1] + row.x + i * row.step) * N * S::F32_LANES;
                // SAFETY: as above.
                unsafe {
                    let mut values = [s.splat_f32s(0.0); N];
                    for v in 0..N {
                        let ((sums, stride), c) = (columns[v], v * S::F32_LANES);
                        values[v] = self.result(s, sums.add((place + i) * stride), index, c);
                        if let Some(to) = to {
                            store::<S>(to.at(index + c), values[v]);
                        }
                    }
                    let to = out.pixel(row.y, row.x + i * row.step);
                    normalizer.write_vectors_narrow(values, to, out.frame.stored);
                }
            }
        }
    }
}
