//! How Winograd's filtering divides a frame into jobs. This follows from sizes alone.

use super::super::micro::float32::PANEL_VECTORS;
use super::super::micro::vectors::LINE;
use super::super::scratch::ScratchSize;
use super::convolution::Convolution;
use super::multipliers::Sizes;
use super::pack::Panels;

/// Transformed tiles that exist at a time, unless one block has more: elements for each thread.
const TILE_MEMORY: usize = 3 << 20;

/// A tile of `OUT` x `OUT` results is computed from a transformed tile of `IN` x `IN` points.
pub(super) struct Division<const IN: usize, const OUT: usize> {
    sizes: Sizes,
    times: usize,
    /// Of the result.
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) panels: Panels,
    pub(super) lanes: usize,
    /// Input channels of a chunk.
    pub(super) chunk: usize,
    pub(super) chunks: usize,
    /// Tiles in a row.
    columns: usize,
    tiles: usize,
    pub(super) blocks: usize,
    /// Panels of a job.
    pub(super) group: usize,
    /// Blocks whose transformed tiles exist at the same time; 0 if each job transforms its own.
    pub(super) blocks_at_once: usize,
}

impl<const IN: usize, const OUT: usize> Division<IN, OUT> {
    /// `height` and `width` are those of the result; `lanes` are the elements of a vector of packed weights.
    pub(super) fn new(
        convolution: Convolution,
        [height, width]: [usize; 2],
        sizes: Sizes,
        lanes: usize,
        threads: usize,
    ) -> Self {
        let Convolution { c_out, c_in, times, .. } = convolution;
        let columns = width.div_ceil(OUT);
        let tiles = height.div_ceil(OUT) * columns;
        let chunks = c_in.div_ceil(sizes.chunk);
        let panels = Panels::new(c_out, lanes);
        let mut division = Division {
            times,
            height,
            width,
            panels,
            lanes,
            chunk: c_in.div_ceil(chunks).next_multiple_of(sizes.depth),
            chunks,
            columns,
            tiles,
            blocks: tiles.div_ceil(sizes.block_elements / (IN * IN)),
            group: sizes.panels.min(panels.count()),
            blocks_at_once: 1,
            sizes,
        };
        while division.group > 1 && division.sums_len() > division.sizes.sums {
            division.group = division.group.div_ceil(2);
        }
        if division.sizes.for_all_threads {
            while division.group > 2 && division.blocks * division.groups() < 2 * threads {
                division.group = division.group.div_ceil(2);
            }
            let blocks = (2 * threads).div_ceil(division.groups()).min(tiles.div_ceil(division.sizes.rows));
            division.blocks = division.blocks.max(blocks);
        }
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
        ScratchSize { shared, own: tiles + self.products_len(), workers: jobs.min(threads), frames: 0 }
    }

    /// Groups of panels.
    pub(super) fn groups(&self) -> usize {
        self.panels.count().div_ceil(self.group)
    }

    /// The tiles of block `n`. Blocks differ by `Sizes::rows` tiles at most.
    pub(super) fn block(&self, n: usize) -> std::ops::Range<usize> {
        let rows = self.tiles.div_ceil(self.sizes.rows);
        let start = |n: usize| (n as u64 * rows as u64 / self.blocks.max(1) as u64) as usize * self.sizes.rows;
        start(n)..start(n + 1).min(self.tiles)
    }

    /// With what is there for tiles that a product needs to be whole.
    fn largest_block(&self) -> usize {
        self.tiles.div_ceil(self.sizes.rows).div_ceil(self.blocks.max(1)) * self.sizes.rows
    }

    /// Elements in which a chunk of a tile is stored at a point.
    pub(super) fn stored(&self) -> usize {
        self.chunk / self.sizes.depth * self.sizes.stored
    }

    /// Distance between the points of a piece, which are its outer axis: the tiles' channels, and a line more. Without that
    /// line all points would fall on the same lines of the cache.
    pub(super) fn point_len(&self, tiles: usize) -> usize {
        tiles.next_multiple_of(self.sizes.rows) * self.stored() + LINE
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
        self.group * self.panel_len() + LINE
    }

    pub(super) fn panel_len(&self) -> usize {
        self.stored() * PANEL_VECTORS * self.lanes
    }

    /// Distance between the points of a group's sums, with a line more as above.
    pub(super) fn sums_point_len(&self) -> usize {
        self.largest_block() * (self.group * PANEL_VECTORS).min(self.panels.vectors) * self.lanes + LINE
    }

    /// Rows of points that a job computes at a time.
    pub(super) fn point_rows(&self) -> usize {
        (self.sizes.points / IN).min(IN)
    }

    fn sums_len(&self) -> usize {
        IN * IN * self.sums_point_len()
    }

    /// The transformed weights and the sums of a job that multiplies.
    fn products_len(&self) -> usize {
        self.point_rows() * IN * self.kernel_point_len() + self.sums_len()
    }

    /// Row and column of a tile's first result.
    pub(super) fn origin(&self, tile: usize) -> (usize, usize) {
        (tile / self.columns * OUT, tile % self.columns * OUT)
    }
}
