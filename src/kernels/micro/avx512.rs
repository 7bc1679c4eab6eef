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
    if !is_avx512::<S>() {
        return None;
    }
    // SAFETY: `S` is V4 here, and a vector of sixteen floats has the bits of a register.
    unsafe {
        let exp2: __m512 = exp2(transmute_copy(&s), transmute_copy(&x));
        Some(transmute_copy(&exp2))
    }
}

/// `exponential::reciprocal_for_bfloat16`, off by at most 2^-14.
#[inline(always)]
pub(super) fn reciprocal_for_bfloat16<S: Simd>(s: S, x: S::f32s) -> Option<S::f32s> {
    if !is_avx512::<S>() {
        return None;
    }
    // SAFETY: as above.
    unsafe {
        let v4: V4 = transmute_copy(&s);
        let reciprocal: __m512 = v4.avx512f._mm512_rcp14_ps(transmute_copy(&x));
        Some(transmute_copy(&reciprocal))
    }
}

#[inline(always)]
fn is_avx512<S: Simd>() -> bool {
    TypeId::of::<S>() == TypeId::of::<V4>()
}

#[inline(always)]
fn exp2(s: V4, x: __m512) -> __m512 {
    const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    let (avx512f, avx512dq) = (s.avx512f, s.avx512dq);
    // 2^n 2^f, where n is rounded down, and 2^f by a polynomial, which is off by less than 3e-6.
    let f = avx512dq._mm512_reduce_ps::<DOWN>(x);
    let mut p = cast(s.splat_f32s(0.013_534_17));
    for coefficient in [0.052_011_46, 0.241_442_76, 0.693_003_83, 1.000_002_6] {
        p = avx512f._mm512_fmadd_ps(p, f, cast(s.splat_f32s(coefficient)));
    }
    // This rounds the exponent down, too.
    avx512f._mm512_scalef_ps(p, x)
}
