//! What AVX-512 has instructions for and `pulp`'s vectors have no name for. Functions give `None` if vectors are not those of AVX-512,
//! which the compiler knows.

use pulp::x86::V4;
use pulp::{Simd, cast};
use std::any::TypeId;
use std::arch::x86_64::{__m512, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEG_INF};
use std::mem::transmute_copy;

/// `silu::silu_for_bfloat16`.
#[inline(always)]
pub(super) fn silu_for_bfloat16<S: Simd>(s: S, x: S::f32s) -> Option<S::f32s> {
    if !is_avx512::<S>() {
        return None;
    }
    // SAFETY: these are the same types.
    unsafe {
        let silu: __m512 = silu(transmute_copy(&s), transmute_copy(&x));
        Some(transmute_copy(&silu))
    }
}

#[inline(always)]
fn is_avx512<S: Simd>() -> bool {
    TypeId::of::<S>() == TypeId::of::<V4>()
}

#[inline(always)]
fn silu(s: V4, x: __m512) -> __m512 {
    const DOWN: i32 = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    let (avx512f, avx512dq) = (s.avx512f, s.avx512dq);
    let splat = |value: f32| -> __m512 { cast(s.splat_f32s(value)) };
    // exp(-x) = 2^n 2^f, where n is rounded down, and 2^f by a polynomial, which is off by less than 3e-6.
    let scaled = avx512f._mm512_mul_ps(x, splat(-std::f32::consts::LOG2_E));
    let f = avx512dq._mm512_reduce_ps::<DOWN>(scaled);
    let mut p = splat(0.013_534_17);
    for coefficient in [0.052_011_46, 0.241_442_76, 0.693_003_83, 1.000_002_6] {
        p = avx512f._mm512_fmadd_ps(p, f, splat(coefficient));
    }
    // This rounds the exponent down, too.
    let exp = avx512f._mm512_scalef_ps(p, scaled);
    // The reciprocal is off by at most 2^-14.
    let divisor = avx512f._mm512_add_ps(exp, splat(1.0));
    avx512f._mm512_mul_ps(x, avx512f._mm512_rcp14_ps(divisor))
}
