//! Sums of products: some rows of numbers times a panel of weights.

use super::PANEL_VECTORS;
use super::simd::{load, store};
use pulp::{Simd, WithSimd};

/// `c[row][n] += a[row][k] * b[k][n]`, summed over k; or `=`. Distances between rows and panels are in floats.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) a: *const f32,
    pub(super) a_stride: usize,
    /// Of each k the panel's vectors; one panel behind the other.
    pub(super) b: *const f32,
    pub(super) b_stride: usize,
    pub(super) c: *mut f32,
    pub(super) c_stride: usize,
    pub(super) accumulate: bool,
}

impl Product {
    /// All panels, which together have `vectors` vectors. Each sum runs in the order of k whatever the number of rows is,
    /// so that a pixel's result does not depend on its neighbours. `A` is `a_stride` where the compiler knows it: no row
    /// then needs an instruction for its address, which makes all a fifth faster. 0 where it does not.
    ///
    /// # Safety
    /// The sizes must be those of what the pointers point to.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd, const A: usize>(self, s: S, vectors: usize) {
        // As many sums as registers hold, beside two vectors of weights and one number.
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
        // SAFETY: `Product::run` was promised the sizes. Plain loops: a closure would not be compiled for the vectors.
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
                    let number = s.splat_f32s(*a.add(row * a_stride + k));
                    for v in 0..VECTORS {
                        sums[row][v] = s.mul_add_e_f32s(number, weights[v], sums[row][v]);
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
