//! Vectors of the processor's own width, by the `pulp` crate.

use once_cell::sync::Lazy;
use pulp::{Arch, Simd, WithSimd};

/// Floats of a cache line: what is written in vectors starts on one.
pub(super) const LINE: usize = 16;

static ARCH: Lazy<Arch> = Lazy::new(Arch::new);

/// The widest vectors that this processor has.
pub(super) fn arch() -> Arch {
    *ARCH
}

/// Floats in a vector of this processor; weights are packed for it.
pub(crate) fn lanes() -> usize {
    lanes_of(arch())
}

pub(super) fn lanes_of(arch: Arch) -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    arch.dispatch(Lanes)
}

/// # Safety
/// A vector can be read at `from`.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// # Safety
/// A vector can be written at `to`.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(to: *mut f32, vector: S::f32s) {
    unsafe { to.cast::<S::f32s>().write_unaligned(vector) }
}

/// The first `count` floats, the rest zero.
///
/// # Safety
/// `count` floats can be read at `from`.
#[inline(always)]
pub(super) unsafe fn load_some<S: Simd>(s: S, from: *const f32, count: usize) -> S::f32s {
    if count >= S::F32_LANES {
        unsafe { load::<S>(from) }
    } else {
        s.partial_load_f32s(unsafe { std::slice::from_raw_parts(from, count) })
    }
}

/// # Safety
/// `count` floats can be written at `to`.
#[inline(always)]
pub(super) unsafe fn store_some<S: Simd>(s: S, to: *mut f32, vector: S::f32s, count: usize) {
    if count >= S::F32_LANES {
        unsafe { store::<S>(to, vector) }
    } else {
        s.partial_store_f32s(unsafe { std::slice::from_raw_parts_mut(to, count) }, vector);
    }
}
