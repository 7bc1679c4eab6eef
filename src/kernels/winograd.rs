//! 3x3 and causal 3x3x3 convolutions, zeros around the frame.
//!
//! The frame is cut into tiles of `OUT` x `OUT` results, and these into blocks. First every block's tiles are
//! transformed; then each job takes a block and a group of panels, and for one chunk of input channels after the other
//! transforms the weights and adds the products of all places of the tile, and at the end transforms these back. So the
//! sums and the transformed weights of a job stay in a core's second-level cache. Where there is one group only, a job
//! transforms its tiles itself, and they stay there too.

use super::product::Product;
use super::scratch::{Scratch, ScratchPool, ScratchSize};
use super::simd::{LINE, arch, lanes_of, load, load_some, store, store_some};
use super::tiles::Tile;
use super::{Input, KernelShape, NoMemory, PANEL_VECTORS, Panels, Shared, Workers};
use pulp::{Arch, Simd, WithSimd};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

/// Input channels whose weights are transformed at a time; rounded to cache lines.
const CHUNK: usize = 96;
/// Panels that a job takes.
const PANELS: usize = 2;
/// Products of one place of the tile, in a block: tiles times places is the same for both sizes of tile.
const BLOCK_NUMBERS: usize = 64 * 36;
/// Transformed tiles that are there at a time, unless one block has more: floats for each thread.
const TILE_MEMORY: usize = 3 << 20;

/// Where a convolution's pixels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sampling {
    /// The frame.
    Same,
    /// The frame with each pixel repeated to 2x2.
    Doubled,
}

/// How the convolution of one size of frame is divided; it follows from sizes alone.
struct Division<const IN: usize, const OUT: usize> {
    c_out: usize,
    times: usize,
    /// Of the result.
    height: usize,
    width: usize,
    panels: Panels,
    lanes: usize,
    chunk: usize,
    chunks: usize,
    columns: usize,
    tiles: usize,
    blocks: usize,
    /// Blocks whose transformed tiles are there at the same time; 0 where each job makes its own.
    blocks_at_once: usize,
}

/// A convolution of one size of frame.
pub(crate) struct Winograd<'a, T, const IN: usize, const OUT: usize> {
    arch: Arch,
    input: Input<'a>,
    sampling: Sampling,
    division: Division<IN, OUT>,
    scratch: ScratchSize,
    tile: PhantomData<T>,
}

impl<const IN: usize, const OUT: usize> Division<IN, OUT> {
    /// `height` and `width` are those of the result.
    fn new(shape: KernelShape, [height, width]: [usize; 2], lanes: usize, threads: usize) -> Self {
        let KernelShape { c_out, c_in, times, .. } = shape;
        let columns = width.div_ceil(OUT);
        let tiles = height.div_ceil(OUT) * columns;
        let chunks = c_in.div_ceil(CHUNK);
        let mut division = Division {
            c_out,
            times,
            height,
            width,
            panels: Panels::new(c_out, lanes),
            lanes,
            chunk: c_in.div_ceil(chunks).next_multiple_of(LINE),
            chunks,
            columns,
            tiles,
            blocks: tiles.div_ceil(BLOCK_NUMBERS / (IN * IN)),
            blocks_at_once: 1,
        };
        let budget = TILE_MEMORY * threads / division.tiles_len();
        let own_tiles = division.groups() == 1 && division.blocks >= 2 * threads;
        division.blocks_at_once = if own_tiles { 0 } else { budget.clamp(1, division.blocks.max(1)) };
        division
    }

    fn scratch(&self, threads: usize) -> ScratchSize {
        let (jobs, tiles) = match self.blocks_at_once {
            0 => (self.blocks, self.tiles_len()),
            blocks => (blocks * self.groups(), 0),
        };
        let shared = self.blocks_at_once * self.tiles_len();
        ScratchSize { shared, own: tiles + self.products_len(), workers: jobs.min(threads) }
    }

    fn groups(&self) -> usize {
        self.panels.count().div_ceil(PANELS)
    }

    /// Tiles of block `n`: blocks differ by one at most.
    fn block(&self, n: usize) -> std::ops::Range<usize> {
        let start = |n: usize| (n as u64 * self.tiles as u64 / self.blocks.max(1) as u64) as usize;
        start(n)..start(n + 1)
    }

    /// The transformed tiles of one block, time and chunk: a piece. Of each place the tiles, and a line more, without
    /// which all places would fall on the same lines of the cache.
    fn place_len(&self, tiles: usize) -> usize {
        tiles * self.chunk + LINE
    }

    fn piece_len(&self) -> usize {
        IN * IN * self.place_len(self.tiles.div_ceil(self.blocks.max(1)))
    }

    fn pieces(&self) -> usize {
        self.times * self.chunks
    }

    /// The transformed tiles of a block.
    fn tiles_len(&self) -> usize {
        self.pieces() * self.piece_len()
    }

    /// Distances between the places of a group's transformed weights and of its sums; a line more, as above.
    fn kernel_place_len(&self) -> usize {
        PANELS.min(self.panels.count()) * self.panel_len() + LINE
    }

    fn panel_len(&self) -> usize {
        self.chunk * PANEL_VECTORS * self.lanes
    }

    fn sums_place_len(&self) -> usize {
        self.tiles.div_ceil(self.blocks.max(1)) * (PANELS * PANEL_VECTORS).min(self.panels.vectors) * self.lanes + LINE
    }

    /// Of one job of the second kind.
    fn products_len(&self) -> usize {
        IN * IN * (self.kernel_place_len() + self.sums_place_len())
    }

    /// Row and column of a tile's first result.
    fn place(&self, tile: usize) -> (usize, usize) {
        (tile / self.columns * OUT, tile % self.columns * OUT)
    }
}

/// What the convolution of a frame of that size needs, on so many threads. `large`: in tiles of 4x4 results.
pub(crate) fn scratch_size(
    large: bool,
    shape: KernelShape,
    size: [usize; 2],
    sampling: Sampling,
    threads: usize,
) -> ScratchSize {
    let size = sampling.of(size);
    match large {
        false => Division::<4, 2>::new(shape, size, lanes_of(arch()), threads).scratch(threads),
        true => Division::<6, 4>::new(shape, size, lanes_of(arch()), threads).scratch(threads),
    }
}

impl Sampling {
    /// The size of the result.
    fn of(self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Sampling::Same => size,
            Sampling::Doubled => size.map(|side| 2 * side),
        }
    }
}

impl<'a, T: Tile<IN, OUT>, const IN: usize, const OUT: usize> Winograd<'a, T, IN, OUT> {
    /// Panics where `input`'s sizes do not fit each other. Weights are packed with `Packing::PlaceLast`. `threads` are those
    /// that `run`'s workers have.
    pub(crate) fn new(input: Input<'a>, sampling: Sampling, threads: usize) -> Self {
        Self::with_arch(arch(), input, sampling, threads)
    }

    pub(super) fn with_arch(arch: Arch, input: Input<'a>, sampling: Sampling, threads: usize) -> Self {
        let lanes = lanes_of(arch);
        let size = sampling.of([input.height, input.width]);
        input.check(9, lanes, size[0] * size[1]);
        let shape = KernelShape { c_out: input.c_out(), c_in: input.c_in, times: input.frames.len(), places: 9 };
        let division = Division::new(shape, size, lanes, threads);
        let scratch = division.scratch(threads);
        Winograd { arch, input, sampling, division, scratch, tile: PhantomData }
    }

    /// Numbers of the result, `[height, width, c_out]`.
    pub(crate) fn output_len(&self) -> usize {
        self.division.height * self.division.width * self.division.c_out
    }

    pub(crate) fn output_size(&self) -> [usize; 2] {
        [self.division.height, self.division.width]
    }

    pub(super) fn scratch<'p>(&self, pool: &'p ScratchPool) -> Result<Scratch<'p>, NoMemory> {
        pool.shared(self.scratch)
    }

    /// # Safety
    /// `output` has `output_len` floats, which may hold anything, and nothing else uses it.
    pub(crate) unsafe fn run(&self, output: *mut f32, scratch: &ScratchPool, workers: Workers) -> Result<(), NoMemory> {
        let output = Shared(output);
        let division = &self.division;
        let (pieces, groups) = (division.pieces(), division.groups());
        let mut shared = self.scratch(scratch)?;
        let shared = Shared(shared.start());
        // A job that finds no memory does nothing, and then there is no result.
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
            // SAFETY: each job of the first kind writes a piece of its own, each of the second some pixels' channels.
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
        self.arch.dispatch(TransformTiles { conv: self, block, piece, to });
    }

    /// # Safety
    /// `tiles` are the block's transformed ones, `scratch` has `products_len` floats.
    unsafe fn multiply(&self, block: usize, group: usize, tiles: *const f32, scratch: *mut f32, output: Shared) {
        self.arch.dispatch(Multiply { conv: self, block, group, tiles, scratch, output });
    }
}

struct TransformTiles<'a, 'b, T, const IN: usize, const OUT: usize> {
    conv: &'b Winograd<'a, T, IN, OUT>,
    block: usize,
    piece: usize,
    to: *mut f32,
}

impl<T: Tile<IN, OUT>, const IN: usize, const OUT: usize> WithSimd for TransformTiles<'_, '_, T, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let TransformTiles { conv, block, piece, to } = self;
        let Input { width, c_in, frames, .. } = conv.input;
        let frame = frames[piece / conv.division.chunks].as_ptr();
        let start = piece % conv.division.chunks * conv.division.chunk;
        let end = c_in.min(start + conv.division.chunk);
        let block = conv.division.block(block);
        let place_len = conv.division.place_len(block.len());
        let shift = if conv.sampling == Sampling::Doubled { 1 } else { 0 };
        let zero = s.splat_f32s(0.0);
        for (i, tile) in block.enumerate() {
            let (y, x) = conv.division.place(tile);
            let inside = y > 0 && x > 0 && y + IN <= conv.division.height + 1 && x + IN <= conv.division.width + 1;
            let mut c = start;
            while c < end {
                let count = end - c;
                let mut half = [[zero; IN]; IN];
                for column in 0..IN {
                    let mut numbers = [zero; IN];
                    for row in 0..IN {
                        // One above and one to the left; where that is outside, it wraps to a large number.
                        let (y, x) = ((y + row).wrapping_sub(1), (x + column).wrapping_sub(1));
                        if inside || y < conv.division.height && x < conv.division.width {
                            // SAFETY: the pixel is in the frame.
                            numbers[row] = unsafe {
                                load_some(s, frame.add(((y >> shift) * width + (x >> shift)) * c_in + c), count)
                            };
                        }
                    }
                    let transformed = T::input(s, numbers);
                    for row in 0..IN {
                        half[row][column] = transformed[row];
                    }
                }
                for row in 0..IN {
                    let transformed = T::input(s, half[row]);
                    for column in 0..IN {
                        // SAFETY: within the piece: chunks are whole vectors.
                        unsafe {
                            store::<S>(
                                to.add((row * IN + column) * place_len + i * conv.division.chunk + c - start),
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
    conv: &'b Winograd<'a, T, IN, OUT>,
    block: usize,
    group: usize,
    tiles: *const f32,
    scratch: *mut f32,
    output: Shared,
}

impl<T: Tile<IN, OUT>, const IN: usize, const OUT: usize> WithSimd for Multiply<'_, '_, T, IN, OUT> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Multiply { conv, block, group, tiles, scratch: kernel, output } = self;
        let Input { c_in, frames, weights, .. } = conv.input;
        let block = conv.division.block(block);
        let count = block.len();
        let place_len = conv.division.place_len(count);
        let first_panel = group * PANELS;
        let panels = PANELS.min(conv.division.panels.count() - first_panel);
        let vectors = (PANELS * PANEL_VECTORS).min(conv.division.panels.vectors - first_panel * PANEL_VECTORS);
        let width = vectors * S::F32_LANES;
        // Weights [place][panel][channel][vector], sums [place][tile][vector].
        let (panel_len, kernel_len, sums_len) =
            (conv.division.panel_len(), conv.division.kernel_place_len(), conv.division.sums_place_len());
        // SAFETY: within the scratch.
        let sums = unsafe { kernel.add(IN * IN * kernel_len) };
        for piece in 0..conv.division.pieces() {
            let (time, start) = (piece / conv.division.chunks, piece % conv.division.chunks * conv.division.chunk);
            let depth = conv.division.chunk.min(c_in - start);
            for panel in 0..panels {
                let in_panel = conv.division.panels.vectors_of(first_panel + panel);
                // Every panel before has all its vectors.
                let before = (first_panel + panel) * PANEL_VECTORS * frames.len() * c_in;
                let at = (before + (time * c_in + start) * in_panel) * 9 * S::F32_LANES;
                // SAFETY: `Input::check` compared the sizes.
                unsafe {
                    let to = kernel.add(panel * panel_len);
                    transform_kernel::<S, T, IN, OUT>(s, weights.as_ptr().add(at), depth, in_panel, to, kernel_len);
                }
            }
            for place in 0..IN * IN {
                // SAFETY: within the scratch and the piece, which has `place_len` for each place.
                unsafe {
                    let product = Product {
                        rows: count,
                        depth,
                        a: tiles.add(piece * conv.division.piece_len() + place * place_len),
                        a_stride: conv.division.chunk,
                        b: kernel.add(place * kernel_len),
                        b_stride: panel_len,
                        c: sums.add(place * sums_len),
                        c_stride: width,
                        accumulate: piece > 0,
                    };
                    match conv.division.chunk {
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
                // SAFETY: the tile's pixels are this job's own.
                unsafe { transform_output(s, conv, tile, channel, from, sums_len, output) };
            }
        }
    }
}

/// # Safety
/// `from` holds `depth` x 9 x `vectors` vectors; there is room for as many in each place, `place_len` apart.
#[inline(always)]
unsafe fn transform_kernel<S: Simd, T: Tile<IN, OUT>, const IN: usize, const OUT: usize>(
    s: S,
    from: *const f32,
    depth: usize,
    vectors: usize,
    to: *mut f32,
    place_len: usize,
) {
    let zero = s.splat_f32s(0.0);
    for n in 0..depth * vectors {
        let (k, vector) = (n / vectors, n % vectors);
        let mut half = [[zero; 3]; IN];
        for column in 0..3 {
            let mut taps = [zero; 3];
            for row in 0..3 {
                let place = row * 3 + column;
                taps[row] = unsafe { load::<S>(from.add(((k * 9 + place) * vectors + vector) * S::F32_LANES)) };
            }
            let transformed = T::kernel(s, taps);
            for row in 0..IN {
                half[row][column] = transformed[row];
            }
        }
        for row in 0..IN {
            let transformed = T::kernel(s, half[row]);
            for column in 0..IN {
                unsafe { store::<S>(to.add((row * IN + column) * place_len + n * S::F32_LANES), transformed[column]) };
            }
        }
    }
}

/// # Safety
/// `from` is the first place of a vector of sums, `place_len` apart; no other thread writes these pixels' channels.
#[inline(always)]
unsafe fn transform_output<S: Simd, T: Tile<IN, OUT>, const IN: usize, const OUT: usize>(
    s: S,
    conv: &Winograd<'_, T, IN, OUT>,
    tile: usize,
    channel: usize,
    from: *const f32,
    place_len: usize,
    output: Shared,
) {
    let zero = s.splat_f32s(0.0);
    let c_out = conv.input.c_out();
    let count = c_out - channel;
    let mut half = [[zero; IN]; OUT];
    for column in 0..IN {
        let mut products = [zero; IN];
        for row in 0..IN {
            products[row] = unsafe { load::<S>(from.add((row * IN + column) * place_len)) };
        }
        let transformed = T::output(s, products);
        for row in 0..OUT {
            half[row][column] = transformed[row];
        }
    }
    let bias = unsafe { load_some(s, conv.input.bias.as_ptr().add(channel), count) };
    let (y, x) = conv.division.place(tile);
    for row in 0..OUT {
        let transformed = T::output(s, half[row]);
        for column in 0..OUT {
            let (y, x) = (y + row, x + column);
            if y < conv.division.height && x < conv.division.width {
                let at = (y * conv.division.width + x) * c_out + channel;
                let mut value = s.add_f32s(transformed[column], bias);
                unsafe {
                    if let Some(residual) = conv.input.residual {
                        value = s.add_f32s(value, load_some(s, residual.as_ptr().add(at), count));
                    }
                    store_some(s, output.at(at), value, count);
                }
            }
        }
    }
}
