//! What AVX-512 has instructions for and `pulp`'s vectors have no name for. Functions give `None` if vectors are not those of AVX-512,
//! which the compiler knows.

use pulp::x86::V4;
use pulp::{Simd, cast};
use std::any::TypeId;
use std::arch::x86_64::{__m512, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEG_INF};
use std::mem::transmute_copy;

/// `exponential::exp2_for_bfloat16`.
#[inline(always)]
pub(super) fn exp2_for_bfloat16<S: Simd>(s: S, x: S::f32s) -> Option<S::f32s> {
    map(s, x, exp2)
}

/// `exponential::reciprocal_for_bfloat16`.
#[inline(always)]
pub(super) fn reciprocal_for_bfloat16<S: Simd>(s: S, x: S::f32s) -> Option<S::f32s> {
    // It is off by at most 2^-14.
    map(s, x, |s, x| s.avx512f._mm512_rcp14_ps(x))
}

#[inline(always)]
fn map<S: Simd>(s: S, x: S::f32s, function: impl Fn(V4, __m512) -> __m512) -> Option<S::f32s> {
    if TypeId::of::<S>() != TypeId::of::<V4>() {
        return None;
    }
    // SAFETY: these are the same types.
    unsafe {
        let result: __m512 = function(transmute_copy(&s), transmute_copy(&x));
        Some(transmute_copy(&result))
    }
}

#[inline(always)]
fn exp2(s: V4, x: __m512) -> __m512 {
    const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    let (avx512f, avx512dq) = (s.avx512f, s.avx512dq);
    let splat = |value: f32| -> __m512 { cast(s.splat_f32s(value)) };
    // 2^n 2^f, where n is rounded down, and 2^f by a polynomial, which is off by less than 3e-6.
    let f = avx512dq._mm512_reduce_ps::<DOWN>(x);
    let mut p = splat(0.013_534_17);
    for coefficient in [0.052_011_46, 0.241_442_76, 0.693_003_83, 1.000_002_6] {
        p = avx512f._mm512_fmadd_ps(p, f, splat(coefficient));
    }
    // This rounds the exponent down, too.
    avx512f._mm512_scalef_ps(p, x)
}
