//! Sums of products in float32: rows of values times panels of weights.

use super::vectors::{load, store};
use pulp::{Simd, WithSimd};

/// Output channels come in panels of two vectors; the last panel may have one.
pub(crate) const PANEL_VECTORS: usize = 2;

/// `c[row][n] += a[row][k] * b[k][n]`, summed over k; `=` unless `accumulate`. Strides are in elements.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) a: *const f32,
    pub(crate) a_stride: usize,
    /// Panel by panel, and within a panel its vectors for each k.
    pub(crate) b: *const f32,
    pub(crate) b_stride: usize,
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    pub(crate) accumulate: bool,
}

impl Product {
    /// Computes all panels, which together have `vectors` vectors. Each sum runs in the order of k however many rows there
    /// are, so that a pixel's result does not depend on its neighbours. `A` is `a_stride` if it is known at compile time,
    /// else 0. A known stride saves an instruction for each row's address, which is a fifth of the time.
    ///
    /// # Safety
    /// The sizes must be those of what the pointers point to.
    #[inline(always)]
    pub(crate) unsafe fn run<S: Simd, const A: usize>(self, s: S, vectors: usize) {
        // As many sums as registers hold, besides two vectors of weights and one value.
        let most = if S::REGISTER_COUNT >= 32 { 14 } else { 6 };
        let blocks = self.rows.div_ceil(most);
        let mut start = 0;
        for block in 0..blocks {
            let rows = (self.rows - start).div_ceil(blocks - block);
            for panel in 0..vectors.div_ceil(PANEL_VECTORS) {
                // SAFETY: rows and panels are within the whole.
                let part = unsafe {
                    Product {
                        rows,
                        a: self.a.add(start * self.a_stride),
                        b: self.b.add(panel * self.b_stride),
                        c: self.c.add(start * self.c_stride + panel * PANEL_VECTORS * S::F32_LANES),
                        ..self
                    }
                };
                match vectors - panel * PANEL_VECTORS {
                    1 => part.run_rows::<S, A, 1>(s),
                    _ => part.run_rows::<S, A, 2>(s),
                }
            }
            start += rows;
        }
    }

    #[inline(always)]
    fn run_rows<S: Simd, const A: usize, const VECTORS: usize>(self, s: S) {
        macro_rules! run {
            ($($rows:literal)*) => {
                match self.rows {
                    $($rows => s.vectorize(Rows::<$rows, A, VECTORS>(self)),)*
                    _ => unreachable!("more rows than registers"),
                }
            };
        }
        if S::REGISTER_COUNT >= 32 { run!(1 2 3 4 5 6 7 8 9 10 11 12 13 14) } else { run!(1 2 3 4 5 6) }
    }
}

struct Rows<const ROWS: usize, const A: usize, const VECTORS: usize>(Product);

impl<const ROWS: usize, const A: usize, const VECTORS: usize> WithSimd for Rows<ROWS, A, VECTORS> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Product { depth, a, a_stride, b, c, c_stride, accumulate, .. } = self.0;
        let a_stride = if A == 0 { a_stride } else { A };
        let mut sums = [[s.splat_f32s(0.0); VECTORS]; ROWS];
        // SAFETY: the caller of `Product::run` promises the sizes. Plain loops, as a closure would not be compiled for the
        // vectors.
        unsafe {
            if accumulate {
                for row in 0..ROWS {
                    for v in 0..VECTORS {
                        sums[row][v] = load::<S>(c.add(row * c_stride + v * S::F32_LANES));
                    }
                }
            }
            for k in 0..depth {
                let mut weights = [s.splat_f32s(0.0); VECTORS];
                for v in 0..VECTORS {
                    weights[v] = load::<S>(b.add((k * VECTORS + v) * S::F32_LANES));
                }
                for row in 0..ROWS {
                    let value = s.splat_f32s(*a.add(row * a_stride + k));
                    for v in 0..VECTORS {
                        sums[row][v] = s.mul_add_e_f32s(value, weights[v], sums[row][v]);
                    }
                }
            }
            for row in 0..ROWS {
                for v in 0..VECTORS {
                    store::<S>(c.add(row * c_stride + v * S::F32_LANES), sums[row][v]);
                }
            }
        }
    }
}
