//! What multiplies Winograd's transformed tiles with its transformed weights, and how both are stored for that.

use super::super::level::Level;
use super::super::micro::float32::{PANEL_VECTORS, Product};
use super::super::micro::parts::{PARTS, ROW, split};
use super::super::micro::tiles::{DEPTH, PartProducts, SIDE};
use super::super::micro::unit::{Ready, Unit};
use super::super::micro::vectors::{LINE, fetch, load, load_some, store};
use super::transforms::Transform;
use pulp::Simd;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Points of the largest tile.
const MOST_POINTS: usize = 36;

/// How a multiplier wants a frame to be divided.
pub(crate) struct Sizes {
    /// Input channels whose weights are transformed at a time, at most; rounded up to a multiple of `depth`.
    pub(super) chunk: usize,
    pub(super) depth: usize,
    /// Float32 elements that `depth` channels are stored in.
    pub(super) stored: usize,
    /// Elements of the transformed tiles of a block, for one channel. The same for both sizes of tile.
    pub(super) block_elements: usize,
    /// Tiles of a block are a multiple of this, but for the frame's last block.
    pub(super) rows: usize,
    /// Elements of the sums of a job, at most, unless one panel has more.
    pub(super) sums: usize,
    /// Panels of a job, at most.
    pub(super) panels: usize,
    /// Whether jobs are made smaller until each thread has two.
    pub(super) for_all_threads: bool,
    /// Points that a job computes at a time, in whole rows, so that what it works with stays in the cache.
    pub(super) points: usize,
}

pub(crate) trait Multiplier: Copy + Send + Sync + 'static {
    const SIZES: Sizes;
    /// What a thread needs to multiply.
    type Ready;

    /// # Safety
    /// As that of `Unit::ready`, if it has one.
    unsafe fn ready(self) -> Self::Ready;

    /// Output channels of a vector of the packed weights.
    fn lanes(self, level: Level) -> usize;

    /// Transforms these channels of a tile. Points are `point_len` elements apart.
    ///
    /// # Safety
    /// `to` has room for a chunk at each point.
    unsafe fn store_tile<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
        s: S,
        tile: &Tile,
        channels: Range<usize>,
        to: *mut f32,
        point_len: usize,
    );

    /// Transforms `depth` input channels of a panel of so many vectors, for some rows of points.
    ///
    /// # Safety
    /// `from` has `depth` x 9 x `vectors` vectors, and `to` has room for a chunk of the panel at each of these points.
    unsafe fn store_weights<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
        s: S,
        from: *const f32,
        depth: usize,
        vectors: usize,
        rows: Range<usize>,
        to: *mut f32,
        point_len: usize,
    );

    /// Multiplies at one point. `product.a_stride` is what a chunk is stored in.
    ///
    /// # Safety
    /// As that of `Product::run`.
    unsafe fn multiply<S: Simd>(ready: &Self::Ready, s: S, product: Product, vectors: usize);
}

/// A tile of a frame, which starts one pixel above and to the left of `y` and `x`.
pub(crate) struct Tile {
    pub(super) frame: *const f32,
    /// Of the frame.
    pub(super) width: usize,
    pub(super) c_in: usize,
    /// Of the frame as the kernel sees it.
    pub(super) seen: [usize; 2],
    /// From there to the frame.
    pub(super) shift: u32,
    pub(super) y: usize,
    pub(super) x: usize,
}

impl Tile {
    /// Transforms a vector of channels, of which there are `count`, from channel `c` on.
    ///
    /// # Safety
    /// The frame has them, and `to` has room for a vector at each point.
    #[inline(always)]
    unsafe fn transform<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
        &self,
        s: S,
        c: usize,
        count: usize,
        to: *mut f32,
        point_len: usize,
    ) {
        let Tile { frame, width, c_in, seen: [seen_height, seen_width], shift, y, x } = *self;
        let inside = y > 0 && x > 0 && y + IN <= seen_height + 1 && x + IN <= seen_width + 1;
        let zero = s.splat_f32s(0.0);
        let mut half = [[zero; IN]; IN];
        for column in 0..IN {
            let mut values = [zero; IN];
            for row in 0..IN {
                // Outside the frame this wraps to a large value.
                let (y, x) = ((y + row).wrapping_sub(1), (x + column).wrapping_sub(1));
                if inside || y < seen_height && x < seen_width {
                    // SAFETY: the pixel is in the frame.
                    values[row] =
                        unsafe { load_some(s, frame.add(((y >> shift) * width + (x >> shift)) * c_in + c), count) };
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
                // SAFETY: as this function asks of its caller.
                unsafe { store::<S>(to.add((row * IN + column) * point_len), transformed[column]) };
            }
        }
    }
}

/// Vectors of float32.
#[derive(Clone, Copy)]
pub(crate) struct Vectors;

impl Multiplier for Vectors {
    // Sums and weights of a job fit 1 MiB, and a panel's weights at a point the first-level cache.
    const SIZES: Sizes = Sizes {
        chunk: 96,
        depth: LINE,
        stored: LINE,
        block_elements: 64 * 36,
        rows: 1,
        sums: usize::MAX,
        panels: 2,
        for_all_threads: false,
        points: MOST_POINTS,
    };
    type Ready = ();

    unsafe fn ready(self) {}

    fn lanes(self, level: Level) -> usize {
        level.lanes()
    }

    #[inline(always)]
    unsafe fn store_tile<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
        s: S,
        tile: &Tile,
        channels: Range<usize>,
        to: *mut f32,
        point_len: usize,
    ) {
        let mut c = channels.start;
        while c < channels.end {
            // SAFETY: within the chunk, as chunks are whole vectors.
            unsafe {
                tile.transform::<S, T, IN, OUT>(s, c, channels.end - c, to.add(c - channels.start), point_len);
            }
            c += S::F32_LANES;
        }
    }

    #[inline(always)]
    unsafe fn store_weights<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
        s: S,
        from: *const f32,
        depth: usize,
        vectors: usize,
        rows: Range<usize>,
        to: *mut f32,
        point_len: usize,
    ) {
        // SAFETY: as this function asks of its caller.
        unsafe { transform_kernel::<S, T, IN, OUT>(s, from, depth, vectors, rows, to, point_len) };
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd>((): &(), s: S, product: Product, vectors: usize) {
        // SAFETY: as this function asks of its caller.
        unsafe {
            match product.a_stride {
                16 => product.run::<S, 16>(s, vectors),
                32 => product.run::<S, 32>(s, vectors),
                48 => product.run::<S, 48>(s, vectors),
                64 => product.run::<S, 64>(s, vectors),
                80 => product.run::<S, 80>(s, vectors),
                96 => product.run::<S, 96>(s, vectors),
                other => unreachable!("a chunk of {other}"),
            }
        }
    }
}

/// A matrix unit, with float32 in three parts of bfloat16 (`parts`). A panel is two of the unit's tiles.
#[derive(Clone, Copy)]
pub(crate) struct OnUnit(pub(crate) Unit);

#[repr(align(64))]
struct Buffer<const LEN: usize>(MaybeUninit<[f32; LEN]>);

impl Multiplier for OnUnit {
    // The fastest by measurement, of L on a core with 2 MiB of second-level cache. What a job works with at a time takes half of it,
    // as tiles come from beyond.
    const SIZES: Sizes = Sizes {
        chunk: 32,
        depth: DEPTH,
        stored: PARTS * ROW,
        block_elements: 64 * 36,
        rows: 2 * SIDE,
        sums: 1 << 18,
        panels: 8,
        for_all_threads: true,
        points: 18,
    };
    type Ready = Ready;

    unsafe fn ready(self) -> Ready {
        // SAFETY: as this function asks of its caller.
        unsafe { self.0.ready(DEPTH) }
    }

    fn lanes(self, _: Level) -> usize {
        SIDE
    }

    #[inline(always)]
    unsafe fn store_tile<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
        s: S,
        tile: &Tile,
        channels: Range<usize>,
        to: *mut f32,
        point_len: usize,
    ) {
        let mut buffer = Buffer::<{ MOST_POINTS * DEPTH }>(MaybeUninit::uninit());
        let buffer = buffer.0.as_mut_ptr().cast::<f32>();
        for (step, start) in channels.clone().step_by(DEPTH).enumerate() {
            let mut at = 0;
            while at < DEPTH {
                // What is left of the last step is zero.
                let c = channels.end.min(start + at);
                // SAFETY: within the frame and the buffer.
                unsafe { tile.transform::<S, T, IN, OUT>(s, c, channels.end - c, buffer.add(at), DEPTH) };
                at += S::F32_LANES;
            }
            for point in 0..IN * IN {
                // SAFETY: within the buffer and the chunk.
                unsafe {
                    let from = buffer.add(point * DEPTH);
                    split(s, from, from.add(SIDE), to.add(point * point_len + step * PARTS * ROW), ROW);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn store_weights<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
        s: S,
        from: *const f32,
        depth: usize,
        vectors: usize,
        rows: Range<usize>,
        to: *mut f32,
        point_len: usize,
    ) {
        let points = rows.len() * IN;
        // At each point two input channels of a panel.
        const PAIR: usize = 2 * PANEL_VECTORS * SIDE;
        let mut buffer = Buffer::<{ MOST_POINTS * PAIR }>(MaybeUninit::uninit());
        let buffer = buffer.0.as_mut_ptr().cast::<f32>();
        let width = vectors * SIDE;
        for step in 0..depth.div_ceil(DEPTH) {
            for row in 0..SIDE {
                for half in 0..2 {
                    let k = step * DEPTH + half * SIDE + row;
                    let at = half * PANEL_VECTORS * SIDE;
                    // SAFETY: within the weights and the buffer.
                    unsafe {
                        if k < depth {
                            let (from, vectors) = (from.add(k * 9 * width), width / S::F32_LANES);
                            let to = buffer.add(at);
                            // Those of the next chunk, as they are needed next or after the next panel's.
                            for line in 0..9 * width / LINE {
                                fetch(from.wrapping_add(DEPTH * 9 * width + line * LINE));
                            }
                            transform_kernel::<S, T, IN, OUT>(s, from, 1, vectors, rows.clone(), to, PAIR);
                        } else {
                            for point in 0..points {
                                buffer.add(point * PAIR + at).write_bytes(0, width);
                            }
                        }
                    }
                }
                for point in 0..points {
                    for tile in 0..vectors {
                        // SAFETY: within the buffer and the chunk.
                        unsafe {
                            let from = buffer.add(point * PAIR + tile * SIDE);
                            let at = ((step * PARTS * vectors + tile) * SIDE + row) * ROW;
                            let to = to.add(point * point_len + at);
                            split(s, from, from.add(PANEL_VECTORS * SIDE), to, vectors * SIDE * ROW);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn multiply<S: Simd>(ready: &Ready, _: S, product: Product, vectors: usize) {
        let Product { rows, depth, a, a_stride, b, b_stride, c, c_stride, accumulate } = product;
        for start in (0..rows).step_by(2 * SIDE) {
            for panel in 0..vectors.div_ceil(PANEL_VECTORS) {
                // SAFETY: rows and panels are within the whole; blocks have room for whole tiles.
                unsafe {
                    let products = PartProducts {
                        rows: a.add(start * a_stride).cast(),
                        stride: a_stride * size_of::<f32>(),
                        steps: depth.div_ceil(DEPTH),
                        weights: b.add(panel * b_stride).cast(),
                        sums: c.add(start * c_stride + panel * PANEL_VECTORS * SIDE),
                        sums_stride: c_stride * size_of::<f32>(),
                        accumulate,
                    };
                    ready.run_parts(&products, PANEL_VECTORS.min(vectors - panel * PANEL_VECTORS));
                }
            }
        }
    }
}

/// Transforms weights for some rows of points.
///
/// # Safety
/// `from` holds `depth` x 9 x `vectors` vectors. `to` has room for `depth` x `vectors` at each of these points, which are
/// `point_len` apart.
#[inline(always)]
unsafe fn transform_kernel<S: Simd, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    s: S,
    from: *const f32,
    depth: usize,
    vectors: usize,
    rows: Range<usize>,
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
                // SAFETY: as this function asks of its caller.
                taps[row] = unsafe { load::<S>(from.add(((k * 9 + tap) * vectors + vector) * S::F32_LANES)) };
            }
            let transformed = T::kernel(s, taps);
            for row in 0..IN {
                half[row][column] = transformed[row];
            }
        }
        for (i, row) in rows.clone().enumerate() {
            let transformed = T::kernel(s, half[row]);
            for column in 0..IN {
                // SAFETY: as this function asks of its caller.
                unsafe { store::<S>(to.add((i * IN + column) * point_len + n * S::F32_LANES), transformed[column]) };
            }
        }
    }
}
