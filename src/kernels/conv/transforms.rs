//! Winograd's transforms for kernels of three taps, along one axis; each is applied to both axes.
//!
//! A tile of `IN` values and a kernel of three taps become `IN` products, and these become `OUT` results. The matrices
//! follow from the points at which the polynomials are evaluated (Toom and Cook). One of the points is infinity.

use pulp::Simd;

pub(crate) trait Transform<const IN: usize, const OUT: usize>: Send + Sync + 'static {
    fn input<S: Simd>(s: S, values: [S::f32s; IN]) -> [S::f32s; IN];
    fn kernel<S: Simd>(s: S, taps: [S::f32s; 3]) -> [S::f32s; IN];
    fn output<S: Simd>(s: S, products: [S::f32s; IN]) -> [S::f32s; OUT];
}

/// F(2, 3), points 0, 1, -1: nearly as exact as the direct sum.
pub(crate) enum F23 {}

/// F(4, 3), points 0, ±3/4, ±3/2. Of the usual sets of points these lose the least: about 7 times the error of F(2, 3),
/// while 0, ±1, ±2 lose 28 times.
pub(crate) enum F43 {}

impl Transform<4, 2> for F23 {
    #[inline(always)]
    fn input<S: Simd>(s: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 4] {
        [s.sub_f32s(a, c), s.add_f32s(b, c), s.sub_f32s(c, b), s.sub_f32s(d, b)]
    }

    #[inline(always)]
    fn kernel<S: Simd>(s: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 4] {
        let half = s.splat_f32s(0.5);
        let (even, odd) = (s.mul_f32s(s.add_f32s(a, c), half), s.mul_f32s(b, half));
        [a, s.add_f32s(even, odd), s.sub_f32s(even, odd), c]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, [a, b, c, d]: [S::f32s; 4]) -> [S::f32s; 2] {
        [s.add_f32s(a, s.add_f32s(b, c)), s.add_f32s(s.sub_f32s(b, c), d)]
    }
}

/// The points.
const P: f32 = 0.75;
const Q: f32 = 1.5;
const P2: f32 = P * P;
const Q2: f32 = Q * Q;

impl Transform<6, 4> for F43 {
    #[inline(always)]
    fn input<S: Simd>(s: S, [a, b, c, d, e, f]: [S::f32s; 6]) -> [S::f32s; 6] {
        let (product, sum) = (s.splat_f32s(P2 * Q2), s.splat_f32s(-(P2 + Q2)));
        let (minus_p2, minus_q2) = (s.splat_f32s(-P2), s.splat_f32s(-Q2));
        let first = s.mul_add_e_f32s(sum, c, s.mul_add_e_f32s(product, a, e));
        let last = s.mul_add_e_f32s(sum, d, s.mul_add_e_f32s(product, b, f));
        // The even part is the same at p and -p, the odd part changes its sign.
        let even_p = s.mul_add_e_f32s(minus_q2, c, e);
        let odd_p = s.mul_f32s(s.splat_f32s(P), s.mul_add_e_f32s(minus_q2, b, d));
        let even_q = s.mul_add_e_f32s(minus_p2, c, e);
        let odd_q = s.mul_f32s(s.splat_f32s(Q), s.mul_add_e_f32s(minus_p2, b, d));
        [
            first,
            s.add_f32s(even_p, odd_p),
            s.sub_f32s(even_p, odd_p),
            s.add_f32s(even_q, odd_q),
            s.sub_f32s(even_q, odd_q),
            last,
        ]
    }

    #[inline(always)]
    fn kernel<S: Simd>(s: S, [a, b, c]: [S::f32s; 3]) -> [S::f32s; 6] {
        // The reciprocal of the product of a point's distances to the others.
        const AT_0: f32 = 1.0 / (P2 * Q2);
        const AT_P: f32 = 1.0 / (2.0 * P2 * (P2 - Q2));
        const AT_Q: f32 = 1.0 / (2.0 * Q2 * (Q2 - P2));
        let even_p = s.mul_add_e_f32s(s.splat_f32s(P2 * AT_P), c, s.mul_f32s(s.splat_f32s(AT_P), a));
        let odd_p = s.mul_f32s(s.splat_f32s(P * AT_P), b);
        let even_q = s.mul_add_e_f32s(s.splat_f32s(Q2 * AT_Q), c, s.mul_f32s(s.splat_f32s(AT_Q), a));
        let odd_q = s.mul_f32s(s.splat_f32s(Q * AT_Q), b);
        [
            s.mul_f32s(s.splat_f32s(AT_0), a),
            s.add_f32s(even_p, odd_p),
            s.sub_f32s(even_p, odd_p),
            s.add_f32s(even_q, odd_q),
            s.sub_f32s(even_q, odd_q),
            c,
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, [a, p, minus_p, q, minus_q, f]: [S::f32s; 6]) -> [S::f32s; 4] {
        let (even_p, odd_p) = (s.add_f32s(p, minus_p), s.sub_f32s(p, minus_p));
        let (even_q, odd_q) = (s.add_f32s(q, minus_q), s.sub_f32s(q, minus_q));
        [
            s.add_f32s(a, s.add_f32s(even_p, even_q)),
            s.mul_add_e_f32s(s.splat_f32s(Q), odd_q, s.mul_f32s(s.splat_f32s(P), odd_p)),
            s.mul_add_e_f32s(s.splat_f32s(Q2), even_q, s.mul_f32s(s.splat_f32s(P2), even_p)),
            s.mul_add_e_f32s(s.splat_f32s(Q * Q2), odd_q, s.mul_add_e_f32s(s.splat_f32s(P * P2), odd_p, f)),
        ]
    }
}
