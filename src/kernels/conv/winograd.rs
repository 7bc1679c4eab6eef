//! 3x3 and causal 3x3x3 convolutions, with zeros around the frame.
//!
//! The frame is cut into tiles of `OUT` x `OUT` results, and the tiles are grouped into blocks. First the tiles of all blocks
//! are transformed. Then each job takes a block and a group of panels. For one chunk of input channels after another it
//! transforms the weights and adds the products of all points of the tiles. At the end it transforms the sums back. So the
//! sums and the transformed weights of a job stay in a core's second-level cache. If there is one group only, a job
//! transforms its own tiles, and they stay there too.

use super::super::level::Level;
use super::super::micro::float32::{PANEL_VECTORS, Product};
use super::super::micro::vectors::{load, load_some, store, store_some};
use super::super::scratch::{NoMemory, ScratchSize};
use super::super::workers::Shared;
use super::convolution::{Algorithm, Convolution, FloatAlgorithm, Input, ReadRows, Resources, Sampling};
use super::division::{CHUNK, Division, PANELS};
use super::pack::{Order, pack, packed_len};
use super::transforms::Transform;
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) struct Winograd<T, const IN: usize, const OUT: usize> {
    level: Level,
    convolution: Convolution,
    sampling: Sampling,
    transform: PhantomData<T>,
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> Winograd<T, IN, OUT> {
    pub(crate) fn new(level: Level, convolution: Convolution, sampling: Sampling) -> Self {
        Winograd { level, convolution, sampling, transform: PhantomData }
    }

    fn divide(&self, size: [usize; 2], threads: usize) -> Division<IN, OUT> {
        Division::new(self.convolution, self.sampling.size(size), self.level, threads)
    }
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> Algorithm for Winograd<T, IN, OUT> {
    fn packed_len(&self) -> usize {
        packed_len(self.convolution, self.level.lanes())
    }

    fn pack(&self, read_rows: ReadRows, threads: usize, out: &mut [f32]) -> Result<(), NoMemory> {
        pack(self.convolution, Order::TapLast, self.level.lanes(), read_rows, threads, out)
    }

    fn scratch(&self, size: [usize; 2], threads: usize) -> ScratchSize {
        self.divide(size, threads).scratch(threads)
    }
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> FloatAlgorithm for Winograd<T, IN, OUT> {
    unsafe fn run(&self, input: Input, resources: Resources, output: *mut f32) -> Result<(), NoMemory> {
        let division = self.divide([input.height, input.width], resources.threads);
        let run =
            Run::<T, IN, OUT> { level: self.level, input, sampling: self.sampling, division, transform: PhantomData };
        unsafe { run.run(resources, Shared(output)) }
    }
}

/// The convolution of one frame.
struct Run<'a, T, const IN: usize, const OUT: usize> {
    level: Level,
    input: Input<'a>,
    sampling: Sampling,
    division: Division<IN, OUT>,
    transform: PhantomData<T>,
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> Run<'_, T, IN, OUT> {
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

struct TransformTiles<'a, 'b, T, const IN: usize, const OUT: usize> {
    run: &'b Run<'a, T, IN, OUT>,
    block: usize,
    piece: usize,
    to: *mut f32,
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> WithSimd for TransformTiles<'_, '_, T, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let TransformTiles { run, block, piece, to } = self;
        let Input { width, c_in, frames, .. } = run.input;
        let frame = frames[piece / run.division.chunks].as_ptr();
        let start = piece % run.division.chunks * run.division.chunk;
        let end = c_in.min(start + run.division.chunk);
        let block = run.division.block(block);
        let point_len = run.division.point_len(block.len());
        let shift = if run.sampling == Sampling::Doubled { 1 } else { 0 };
        let zero = s.splat_f32s(0.0);
        for (i, tile) in block.enumerate() {
            let (y, x) = run.division.origin(tile);
            let inside = y > 0 && x > 0 && y + IN <= run.division.height + 1 && x + IN <= run.division.width + 1;
            let mut c = start;
            while c < end {
                let count = end - c;
                let mut half = [[zero; IN]; IN];
                for column in 0..IN {
                    let mut values = [zero; IN];
                    for row in 0..IN {
                        // The tile starts one pixel above and to the left. Outside the frame that wraps to a large value.
                        let (y, x) = ((y + row).wrapping_sub(1), (x + column).wrapping_sub(1));
                        if inside || y < run.division.height && x < run.division.width {
                            // SAFETY: the pixel is in the frame.
                            values[row] = unsafe {
                                load_some(s, frame.add(((y >> shift) * width + (x >> shift)) * c_in + c), count)
                            };
                        }
                    }
                    let transformed = T::input(s, values);
                    for row in 0..IN {
                        half[row][column] = transformed[row];
                    }
                }
                for row in 0..IN {
                    let transformed = T::input(s, half[row]);
                    for column in 0..IN {
                        // SAFETY: within the piece, as chunks are whole vectors.
                        unsafe {
                            store::<S>(
                                to.add((row * IN + column) * point_len + i * run.division.chunk + c - start),
                                transformed[column],
                            );
                        }
                    }
                }
                c += S::F32_LANES;
            }
        }
    }
}

struct Multiply<'a, 'b, T, const IN: usize, const OUT: usize> {
    run: &'b Run<'a, T, IN, OUT>,
    block: usize,
    group: usize,
    tiles: *const f32,
    scratch: *mut f32,
    output: Shared,
}

impl<T: Transform<IN, OUT>, const IN: usize, const OUT: usize> WithSimd for Multiply<'_, '_, T, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Multiply { run, block, group, tiles, scratch: kernel, output } = self;
        let Input { c_in, frames, weights, .. } = run.input;
        let block = run.division.block(block);
        let count = block.len();
        let point_len = run.division.point_len(count);
        let first_panel = group * PANELS;
        let panels = PANELS.min(run.division.panels.count() - first_panel);
        let vectors = (PANELS * PANEL_VECTORS).min(run.division.panels.vectors - first_panel * PANEL_VECTORS);
        let width = vectors * S::F32_LANES;
        // Weights are [point][panel][channel][vector], sums [point][tile][vector].
        let (panel_len, kernel_len, sums_len) =
            (run.division.panel_len(), run.division.kernel_point_len(), run.division.sums_point_len());
        // SAFETY: within the scratch.
        let sums = unsafe { kernel.add(IN * IN * kernel_len) };
        for piece in 0..run.division.pieces() {
            let (time, start) = (piece / run.division.chunks, piece % run.division.chunks * run.division.chunk);
            let depth = run.division.chunk.min(c_in - start);
            for panel in 0..panels {
                let in_panel = run.division.panels.vectors_of(first_panel + panel);
                // All panels before this one are full.
                let before = (first_panel + panel) * PANEL_VECTORS * frames.len() * c_in;
                let at = (before + (time * c_in + start) * in_panel) * 9 * S::F32_LANES;
                // SAFETY: the caller checked the sizes.
                unsafe {
                    let to = kernel.add(panel * panel_len);
                    transform_kernel::<S, T, IN, OUT>(s, weights.as_ptr().add(at), depth, in_panel, to, kernel_len);
                }
            }
            for point in 0..IN * IN {
                // SAFETY: within the scratch and the piece, which has `point_len` for each point.
                unsafe {
                    let product = Product {
                        rows: count,
                        depth,
                        a: tiles.add(piece * run.division.piece_len() + point * point_len),
                        a_stride: run.division.chunk,
                        b: kernel.add(point * kernel_len),
                        b_stride: panel_len,
                        c: sums.add(point * sums_len),
                        c_stride: width,
                        accumulate: piece > 0,
                    };
                    match run.division.chunk {
                        16 => product.run::<S, 16>(s, vectors),
                        32 => product.run::<S, 32>(s, vectors),
                        48 => product.run::<S, 48>(s, vectors),
                        64 => product.run::<S, 64>(s, vectors),
                        80 => product.run::<S, 80>(s, vectors),
                        CHUNK => product.run::<S, CHUNK>(s, vectors),
                        other => unreachable!("a chunk of {other}"),
                    }
                }
            }
        }
        for (i, tile) in block.enumerate() {
            for vector in 0..vectors {
                // SAFETY: within the scratch.
                let from = unsafe { sums.add(i * width + vector * S::F32_LANES) };
                let channel = first_panel * PANEL_VECTORS * S::F32_LANES + vector * S::F32_LANES;
                // SAFETY: no other job writes these channels of the tile's pixels.
                unsafe { transform_output(s, run, tile, channel, from, sums_len, output) };
            }
        }
    }
}

/// # Safety
/// `from` holds `depth` x 9 x `vectors` vectors. `to` has room for `depth` x `vectors` at each point; points are `point_len`
/// apart.
#[inline(always)]
unsafe fn transform_kernel<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    s: S,
    from: *const f32,
    depth: usize,
    vectors: usize,
    to: *mut f32,
    point_len: usize,
) {
    let zero = s.splat_f32s(0.0);
    for n in 0..depth * vectors {
        let (k, vector) = (n / vectors, n % vectors);
        let mut half = [[zero; 3]; IN];
        for column in 0..3 {
            let mut taps = [zero; 3];
            for row in 0..3 {
                let tap = row * 3 + column;
                taps[row] = unsafe { load::<S>(from.add(((k * 9 + tap) * vectors + vector) * S::F32_LANES)) };
            }
            let transformed = T::kernel(s, taps);
            for row in 0..IN {
                half[row][column] = transformed[row];
            }
        }
        for row in 0..IN {
            let transformed = T::kernel(s, half[row]);
            for column in 0..IN {
                unsafe { store::<S>(to.add((row * IN + column) * point_len + n * S::F32_LANES), transformed[column]) };
            }
        }
    }
}

/// # Safety
/// `from` is the first point of a vector of sums; points are `point_len` apart. No other thread writes these pixels' channels.
#[inline(always)]
unsafe fn transform_output<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    s: S,
    run: &Run<'_, T, IN, OUT>,
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
            products[row] = unsafe { load::<S>(from.add((row * IN + column) * point_len)) };
        }
        let transformed = T::output(s, products);
        for row in 0..OUT {
            half[row][column] = transformed[row];
        }
    }
    let bias = unsafe { load_some(s, run.input.bias.as_ptr().add(channel), count) };
    let (y, x) = run.division.origin(tile);
    for row in 0..OUT {
        let transformed = T::output(s, half[row]);
        for column in 0..OUT {
            let (y, x) = (y + row, x + column);
            if y < run.division.height && x < run.division.width {
                let at = (y * run.division.width + x) * c_out + channel;
                let mut value = s.add_f32s(transformed[column], bias);
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
