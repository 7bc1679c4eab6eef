//! The exponential function and SiLU, x / (1 + exp(-x)).

#[cfg(target_arch = "x86_64")]
use super::avx512;
use pulp::Simd;

/// x / (1 + exp(-x)).
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let one = s.splat_f32s(1.0);
    s.div_f32s(x, s.add_f32s(one, exp(s, s.sub_f32s(s.splat_f32s(0.0), x))))
}

/// Adding this rounds to an integer, which is then in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// exp(x), to 2 units in the last place; x is clamped to the range of float32. exp(x) = 2^n exp(r) with |r| <= ln 2 / 2, by
/// the polynomial of Moshier's Cephes library (expf).
#[inline(always)]
fn exp<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = s.max_f32s(s.min_f32s(x, s.splat_f32s(88.0)), s.splat_f32s(-87.0));
    let rounded = s.add_f32s(s.mul_f32s(x, s.splat_f32s(std::f32::consts::LOG2_E)), s.splat_f32s(ROUND));
    let n = s.sub_f32s(rounded, s.splat_f32s(ROUND));
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-LN_2_HIGH), x);
    let r = s.mul_add_e_f32s(n, s.splat_f32s(-LN_2_LOW), r);
    let mut p = s.splat_f32s(1.987_569_1e-4);
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = s.mul_add_e_f32s(p, r, s.splat_f32s(coefficient));
    }
    let p = s.add_f32s(s.mul_add_e_f32s(p, s.mul_f32s(r, r), r), s.splat_f32s(1.0));
    let power = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(rounded), s.splat_u32s(23));
    let power = s.add_u32s(power, s.splat_u32s(1.0f32.to_bits()));
    s.mul_f32s(p, s.transmute_f32s_u32s(power))
}

/// 2^x with a relative error far below that of rounding to bfloat16. It is 0 or infinite, or near that, where it is out of the range
/// of float32. That of a NaN is one.
#[inline(always)]
pub(crate) fn exp2_for_bfloat16<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    #[cfg(target_arch = "x86_64")]
    if let Some(exp2) = avx512::exp2_for_bfloat16(s, x) {
        return exp2;
    }
    // 2^n 2^f with |f| <= 1/2, and 2^f by its Taylor polynomial, which is off by less than 5e-5.
    let clamped = s.max_f32s(s.min_f32s(x, s.splat_f32s(125.0)), s.splat_f32s(-125.0));
    let rounded = s.add_f32s(clamped, s.splat_f32s(ROUND));
    let f = s.sub_f32s(clamped, s.sub_f32s(rounded, s.splat_f32s(ROUND)));
    let mut p = s.splat_f32s(9.618_129e-3);
    for coefficient in [5.550_411e-2, 2.402_265e-1, std::f32::consts::LN_2, 1.0] {
        p = s.mul_add_e_f32s(p, f, s.splat_f32s(coefficient));
    }
    let power = s.wrapping_dyn_shl_u32s(s.transmute_u32s_f32s(rounded), s.splat_u32s(23));
    let exp2 = s.transmute_f32s_u32s(s.add_u32s(s.transmute_u32s_f32s(p), power));
    // Some CPUs' minimum of a NaN and a number is the number.
    s.select_f32s(s.equal_f32s(x, x), exp2, x)
}

/// SiLU with a relative error far below that of rounding to bfloat16, in half of the time or less.
#[inline(always)]
pub(crate) fn silu_for_bfloat16<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    let exp = exp2_for_bfloat16(s, s.mul_f32s(x, s.splat_f32s(-std::f32::consts::LOG2_E)));
    let divisor = s.add_f32s(exp, s.splat_f32s(1.0));
    s.mul_f32s(x, reciprocal_for_bfloat16(s, divisor))
}

/// 1 / x for x of 1 or more, as exactly as that.
#[inline(always)]
fn reciprocal_for_bfloat16<S: Simd>(s: S, x: S::f32s) -> S::f32s {
    #[cfg(target_arch = "x86_64")]
    if let Some(reciprocal) = avx512::reciprocal_for_bfloat16(s, x) {
        return reciprocal;
    }
    // By Newton's method, from an estimate that is off by at most 12 %; three steps make that 5e-8.
    let estimate = s.sub_u32s(s.splat_u32s(0x7ef3_11c7), s.transmute_u32s_f32s(x));
    let mut reciprocal = s.transmute_f32s_u32s(estimate);
    let minus_x = s.sub_f32s(s.splat_f32s(0.0), x);
    for _ in 0..3 {
        let error = s.mul_add_e_f32s(minus_x, reciprocal, s.splat_f32s(1.0));
        reciprocal = s.mul_add_e_f32s(error, reciprocal, reciprocal);
    }
    reciprocal
}
