//! How Winograd's filtering divides a frame into jobs. This follows from sizes alone.

use super::super::level::Level;
use super::super::micro::float32::PANEL_VECTORS;
use super::super::micro::vectors::LINE;
use super::super::scratch::ScratchSize;
use super::convolution::Convolution;
use super::pack::Panels;

/// Input channels whose weights are transformed at a time; rounded to cache lines.
pub(super) const CHUNK: usize = 96;
/// Panels of a job.
pub(super) const PANELS: usize = 2;
/// Elements of the transformed tiles of a block, for one channel. The same for both sizes of tile.
const BLOCK_ELEMENTS: usize = 64 * 36;
/// Transformed tiles that exist at a time, unless one block has more: elements for each thread.
const TILE_MEMORY: usize = 3 << 20;

/// A tile of `OUT` x `OUT` results is computed from a transformed tile of `IN` x `IN` points.
pub(super) struct Division<const IN: usize, const OUT: usize> {
    times: usize,
    /// Of the result.
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) panels: Panels,
    lanes: usize,
    /// Input channels of a chunk.
    pub(super) chunk: usize,
    pub(super) chunks: usize,
    /// Tiles in a row.
    columns: usize,
    tiles: usize,
    pub(super) blocks: usize,
    /// Blocks whose transformed tiles exist at the same time; 0 if each job transforms its own.
    pub(super) blocks_at_once: usize,
}

impl<const IN: usize, const OUT: usize> Division<IN, OUT> {
    /// `height` and `width` are those of the result.
    pub(super) fn new(convolution: Convolution, [height, width]: [usize; 2], level: Level, threads: usize) -> Self {
        let Convolution { c_out, c_in, times, .. } = convolution;
        let lanes = level.lanes();
        let columns = width.div_ceil(OUT);
        let tiles = height.div_ceil(OUT) * columns;
        let chunks = c_in.div_ceil(CHUNK);
        let mut division = Division {
            times,
            height,
            width,
            panels: Panels::new(c_out, lanes),
            lanes,
            chunk: c_in.div_ceil(chunks).next_multiple_of(LINE),
            chunks,
            columns,
            tiles,
            blocks: tiles.div_ceil(BLOCK_ELEMENTS / (IN * IN)),
            blocks_at_once: 1,
        };
        let budget = TILE_MEMORY * threads / division.tiles_len();
        let own_tiles = division.groups() == 1 && division.blocks >= 2 * threads;
        division.blocks_at_once = if own_tiles { 0 } else { budget.clamp(1, division.blocks.max(1)) };
        division
    }

    pub(super) fn scratch(&self, threads: usize) -> ScratchSize {
        let (jobs, tiles) = match self.blocks_at_once {
            0 => (self.blocks, self.tiles_len()),
            blocks => (blocks * self.groups(), 0),
        };
        let shared = self.blocks_at_once * self.tiles_len();
        ScratchSize { shared, own: tiles + self.products_len(), workers: jobs.min(threads) }
    }

    /// Groups of panels.
    pub(super) fn groups(&self) -> usize {
        self.panels.count().div_ceil(PANELS)
    }

    /// The tiles of block `n`. Blocks differ by one tile at most.
    pub(super) fn block(&self, n: usize) -> std::ops::Range<usize> {
        let start = |n: usize| (n as u64 * self.tiles as u64 / self.blocks.max(1) as u64) as usize;
        start(n)..start(n + 1)
    }

    fn largest_block(&self) -> usize {
        self.tiles.div_ceil(self.blocks.max(1))
    }

    /// Distance between the points of a piece, which are its outer axis: the tiles' channels, and a line more. Without that
    /// line all points would fall on the same lines of the cache.
    pub(super) fn point_len(&self, tiles: usize) -> usize {
        tiles * self.chunk + LINE
    }

    /// A piece is the transformed tiles of one block, time and chunk.
    pub(super) fn piece_len(&self) -> usize {
        IN * IN * self.point_len(self.largest_block())
    }

    pub(super) fn pieces(&self) -> usize {
        self.times * self.chunks
    }

    /// The transformed tiles of a block.
    pub(super) fn tiles_len(&self) -> usize {
        self.pieces() * self.piece_len()
    }

    /// Distance between the points of a group's transformed weights, with a line more as above.
    pub(super) fn kernel_point_len(&self) -> usize {
        PANELS.min(self.panels.count()) * self.panel_len() + LINE
    }

    pub(super) fn panel_len(&self) -> usize {
        self.chunk * PANEL_VECTORS * self.lanes
    }

    /// Distance between the points of a group's sums, with a line more as above.
    pub(super) fn sums_point_len(&self) -> usize {
        self.largest_block() * (PANELS * PANEL_VECTORS).min(self.panels.vectors) * self.lanes + LINE
    }

    /// The transformed weights and the sums of a job that multiplies.
    fn products_len(&self) -> usize {
        IN * IN * (self.kernel_point_len() + self.sums_point_len())
    }

    /// Row and column of a tile's first result.
    pub(super) fn origin(&self, tile: usize) -> (usize, usize) {
        (tile / self.columns * OUT, tile % self.columns * OUT)
    }
}
