//! 3x3 and causal 3x3x3 convolutions, with zeros around the frame.
//!
//! The frame is cut into tiles of `OUT` x `OUT` results, and the tiles are grouped into blocks. First the tiles of all blocks
//! are transformed. Then each job takes a block and a group of panels. For one chunk of input channels after another it
//! transforms the weights and adds the products of all points of the tiles, or of some rows of points and then of the others. At
//! the end it transforms the sums back. So the sums and the transformed weights of a job stay in a core's second-level cache. If
//! there is one group only, a job transforms its own tiles, and they stay there too. `multipliers` has what multiplies.

use super::super::level::Level;
use super::super::micro::float32::{PANEL_VECTORS, Product};
use super::super::micro::vectors::{load, load_some, store_some};
use super::super::scratch::{NoMemory, ScratchSize};
use super::super::workers::Shared;
use super::convolution::{Algorithm, Convolution, FloatAlgorithm, Input, ReadRows, Resources, Sampling};
use super::division::Division;
use super::multipliers::{Multiplier, Tile};
use super::pack::{Order, pack, packed_len};
use super::transforms::Transform;
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Winograd<T, M, const IN: usize, const OUT: usize> {
    level: Level,
    multiplier: M,
    convolution: Convolution,
    sampling: Sampling,
    transform: PhantomData<T>,
}

impl<T: Transform<IN, OUT>, M: Multiplier, const IN: usize, const OUT: usize> Winograd<T, M, IN, OUT> {
    pub(crate) fn new(level: Level, multiplier: M, convolution: Convolution, sampling: Sampling) -> Self {
        Winograd { level, multiplier, convolution, sampling, transform: PhantomData }
    }

    fn divide(&self, size: [usize; 2], threads: usize) -> Division<IN, OUT> {
        Division::new(self.convolution, self.sampling.size(size), M::SIZES, self.lanes(), threads)
    }

    fn lanes(&self) -> usize {
        self.multiplier.lanes(self.level)
    }
}

impl<T: Transform<IN, OUT>, M: Multiplier, const IN: usize, const OUT: usize> Algorithm for Winograd<T, M, IN, OUT> {
    fn packed_len(&self) -> usize {
        packed_len(self.convolution, self.lanes())
    }

    fn pack(&self, read_rows: ReadRows, threads: usize, out: &mut [f32]) -> Result<(), NoMemory> {
        pack(self.convolution, Order::TapLast, self.lanes(), read_rows, threads, out)
    }

    fn scratch(&self, size: [usize; 2], threads: usize) -> ScratchSize {
        self.divide(size, threads).scratch(threads)
    }
}

impl<T: Transform<IN, OUT>, M: Multiplier, const IN: usize, const OUT: usize> FloatAlgorithm
    for Winograd<T, M, IN, OUT>
{
    unsafe fn run(&self, input: Input, resources: Resources, output: *mut f32) -> Result<(), NoMemory> {
        let division = self.divide([input.height, input.width], resources.threads);
        let Winograd { level, multiplier, sampling, transform, .. } = *self;
        let run = Run::<T, M, IN, OUT> { level, multiplier, input, sampling, division, transform };
        // SAFETY: as this function asks of its caller.
        unsafe { run.run(resources, Shared(output)) }
    }
}

/// The convolution of one frame.
struct Run<'a, T, M, const IN: usize, const OUT: usize> {
    level: Level,
    multiplier: M,
    input: Input<'a>,
    sampling: Sampling,
    division: Division<IN, OUT>,
    transform: PhantomData<T>,
}

impl<T: Transform<IN, OUT>, M: Multiplier, const IN: usize, const OUT: usize> Run<'_, T, M, IN, OUT> {
    /// # Safety
    /// As that of `Algorithm::run`.
    unsafe fn run(&self, resources: Resources, output: Shared) -> Result<(), NoMemory> {
        let Resources { threads, workers, scratch } = resources;
        let division = &self.division;
        let (pieces, groups) = (division.pieces(), division.groups());
        let mut shared = scratch.shared(division.scratch(threads))?;
        let shared = Shared(shared.start());
        // A job that gets no memory does nothing, and then the result is incomplete.
        let short = AtomicBool::new(false);
        let own = || scratch.own().inspect_err(|NoMemory| short.store(true, Ordering::Relaxed));
        let finish = || if short.load(Ordering::Relaxed) { Err(NoMemory) } else { Ok(()) };
        if division.blocks_at_once == 0 {
            workers(division.blocks, &|block| {
                let Ok(mut own) = own() else { return };
                let tiles = own.start();
                // SAFETY: there is room for both; each job writes the pixels of its own block.
                unsafe {
                    for piece in 0..pieces {
                        self.transform_tiles(block, piece, tiles.add(piece * division.piece_len()));
                    }
                    self.multiply(block, 0, tiles, tiles.add(division.tiles_len()), output);
                }
            });
            return finish();
        }
        for first in (0..division.blocks).step_by(division.blocks_at_once) {
            let blocks = division.blocks_at_once.min(division.blocks - first);
            // SAFETY: each job that transforms writes its own piece, and each that multiplies writes its own channels of its
            // block's pixels.
            workers(blocks * pieces, &|job| unsafe {
                self.transform_tiles(first + job / pieces, job % pieces, shared.at(job * division.piece_len()));
            });
            // SAFETY: all pieces of these blocks are transformed, and each job has memory for its products; as this function asks of its
            // caller, the output has room.
            workers(blocks * groups, &|job| unsafe {
                let (block, group) = (job / groups, job % groups);
                let Ok(mut own) = own() else { return };
                self.multiply(first + block, group, shared.at(block * division.tiles_len()), own.start(), output);
            });
        }
        finish()
    }

    /// # Safety
    /// `to` has room for a piece.
    unsafe fn transform_tiles(&self, block: usize, piece: usize, to: *mut f32) {
        self.level.dispatch(TransformTiles { run: self, block, piece, to });
    }

    /// # Safety
    /// `tiles` are the block's transformed ones, `scratch` has room for the division's products.
    unsafe fn multiply(&self, block: usize, group: usize, tiles: *const f32, scratch: *mut f32, output: Shared) {
        self.level.dispatch(Multiply { run: self, block, group, tiles, scratch, output });
    }
}

struct TransformTiles<'a, 'b, T, M, const IN: usize, const OUT: usize> {
    run: &'b Run<'a, T, M, IN, OUT>,
    block: usize,
    piece: usize,
    to: *mut f32,
}

impl<T: Transform<IN, OUT>, M: Multiplier, const IN: usize, const OUT: usize> WithSimd
    for TransformTiles<'_, '_, T, M, IN, OUT>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let TransformTiles { run, block, piece, to } = self;
        let Input { width, c_in, frames, .. } = run.input;
        let division = &run.division;
        let frame = frames[piece / division.chunks].as_ptr();
        let start = piece % division.chunks * division.chunk;
        let channels = start..c_in.min(start + division.chunk);
        let block = division.block(block);
        let point_len = division.point_len(block.len());
        let shift = if run.sampling == Sampling::Doubled { 1 } else { 0 };
        for (i, tile) in block.enumerate() {
            let (y, x) = division.origin(tile);
            let tile = Tile { frame, width, c_in, seen: [division.height, division.width], shift, y, x };
            // SAFETY: within the piece.
            unsafe {
                M::store_tile::<S, T, IN, OUT>(s, &tile, channels.clone(), to.add(i * division.stored()), point_len);
            }
        }
    }
}

struct Multiply<'a, 'b, T, M, const IN: usize, const OUT: usize> {
    run: &'b Run<'a, T, M, IN, OUT>,
    block: usize,
    group: usize,
    tiles: *const f32,
    scratch: *mut f32,
    output: Shared,
}

impl<T: Transform<IN, OUT>, M: Multiplier, const IN: usize, const OUT: usize> WithSimd
    for Multiply<'_, '_, T, M, IN, OUT>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Multiply { run, block, group, tiles, scratch: kernel, output } = self;
        let Input { c_in, frames, weights, .. } = run.input;
        let division = &run.division;
        let block = division.block(block);
        let count = block.len();
        let point_len = division.point_len(count);
        let first_panel = group * division.group;
        let panels = division.group.min(division.panels.count() - first_panel);
        let vectors = (division.group * PANEL_VECTORS).min(division.panels.vectors - first_panel * PANEL_VECTORS);
        let width = vectors * division.lanes;
        // SAFETY: a level has a unit only where it may be used, and a job has no other.
        let ready = unsafe { run.multiplier.ready() };
        // Weights are [point][panel][channel][vector], sums [point][tile][vector].
        let (panel_len, kernel_len, sums_len) =
            (division.panel_len(), division.kernel_point_len(), division.sums_point_len());
        // SAFETY: within the scratch.
        let sums = unsafe { kernel.add(division.point_rows() * IN * kernel_len) };
        for rows in (0..IN).step_by(division.point_rows()) {
            let rows = rows..IN.min(rows + division.point_rows());
            for piece in 0..division.pieces() {
                let (time, start) = (piece / division.chunks, piece % division.chunks * division.chunk);
                let depth = division.chunk.min(c_in - start);
                for panel in 0..panels {
                    let in_panel = division.panels.vectors_of(first_panel + panel);
                    // All panels before this one are full.
                    let before = (first_panel + panel) * PANEL_VECTORS * frames.len() * c_in;
                    let at = (before + (time * c_in + start) * in_panel) * 9 * division.lanes;
                    // SAFETY: the caller checked the sizes.
                    unsafe {
                        let (from, to) = (weights.as_ptr().add(at), kernel.add(panel * panel_len));
                        M::store_weights::<S, T, IN, OUT>(s, from, depth, in_panel, rows.clone(), to, kernel_len);
                    }
                }
                for point in rows.start * IN..rows.end * IN {
                    // SAFETY: within the scratch and the piece, which has `point_len` for each point.
                    unsafe {
                        let product = Product {
                            rows: count,
                            depth,
                            a: tiles.add(piece * division.piece_len() + point * point_len),
                            a_stride: division.stored(),
                            b: kernel.add((point - rows.start * IN) * kernel_len),
                            b_stride: panel_len,
                            c: sums.add(point * sums_len),
                            c_stride: width,
                            accumulate: piece > 0,
                        };
                        M::multiply(&ready, s, product, vectors);
                    }
                }
            }
        }
        for (i, tile) in block.enumerate() {
            for n in (0..width).step_by(S::F32_LANES) {
                let channel = first_panel * PANEL_VECTORS * division.lanes + n;
                // Panels may have more channels than there are.
                if channel >= run.input.c_out() {
                    break;
                }
                // SAFETY: within the scratch.
                let from = unsafe { sums.add(i * width + n) };
                // SAFETY: no other job writes these channels of the tile's pixels.
                unsafe { transform_output(s, run, tile, channel, from, sums_len, output) };
            }
        }
    }
}

/// # Safety
/// `from` is the first point of a vector of sums; points are `point_len` apart. No other thread writes these pixels' channels.
#[inline(always)]
unsafe fn transform_output<S: Simd, T: Transform<IN, OUT>, M: Multiplier, const IN: usize, const OUT: usize>(
    s: S,
    run: &Run<'_, T, M, IN, OUT>,
    tile: usize,
    channel: usize,
    from: *const f32,
    point_len: usize,
    output: Shared,
) {
    let zero = s.splat_f32s(0.0);
    let c_out = run.input.c_out();
    let count = c_out - channel;
    let mut half = [[zero; IN]; OUT];
    for column in 0..IN {
        let mut products = [zero; IN];
        for row in 0..IN {
            // SAFETY: as this function asks of its caller.
            products[row] = unsafe { load::<S>(from.add((row * IN + column) * point_len)) };
        }
        let transformed = T::output(s, products);
        for row in 0..OUT {
            half[row][column] = transformed[row];
        }
    }
    // SAFETY: as this function asks of its caller.
    let bias = unsafe { load_some(s, run.input.bias.as_ptr().add(channel), count) };
    let division = &run.division;
    let (y, x) = division.origin(tile);
    for row in 0..OUT {
        let transformed = T::output(s, half[row]);
        for column in 0..OUT {
            let (y, x) = (y + row, x + column);
            if y < division.height && x < division.width {
                let at = (y * division.width + x) * c_out + channel;
                let mut value = s.add_f32s(transformed[column], bias);
                // SAFETY: as this function asks of its caller.
                unsafe {
                    if let Some(residual) = run.input.residual {
                        value = s.add_f32s(value, load_some(s, residual.as_ptr().add(at), count));
                    }
                    store_some(s, output.at(at), value, count);
                }
            }
        }
    }
}
