//! Vectors to and from memory.

use pulp::Simd;

/// Elements of a cache line. What is written in vectors starts on one.
pub(crate) const LINE: usize = 16;

/// # Safety
/// A vector can be read at `from`.
#[inline(always)]
pub(crate) unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: as this function asks of its caller.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}

/// # Safety
/// A vector can be written at `to`.
#[inline(always)]
pub(crate) unsafe fn store<S: Simd>(to: *mut f32, vector: S::f32s) {
    // SAFETY: as this function asks of its caller.
    unsafe { to.cast::<S::f32s>().write_unaligned(vector) }
}

/// The first `count` elements, the rest zero.
///
/// # Safety
/// `count` elements can be read at `from`.
#[inline(always)]
pub(crate) unsafe fn load_some<S: Simd>(s: S, from: *const f32, count: usize) -> S::f32s {
    if count >= S::F32_LANES {
        // SAFETY: as this function asks of its caller.
        unsafe { load::<S>(from) }
    } else {
        // SAFETY: as this function asks of its caller.
        s.partial_load_f32s(unsafe { std::slice::from_raw_parts(from, count) })
    }
}

/// # Safety
/// `count` elements can be written at `to`.
#[inline(always)]
pub(crate) unsafe fn store_some<S: Simd>(s: S, to: *mut f32, vector: S::f32s, count: usize) {
    if count >= S::F32_LANES {
        // SAFETY: as this function asks of its caller.
        unsafe { store::<S>(to, vector) }
    } else {
        // SAFETY: as this function asks of its caller. Memory that nothing was written to is only written to here.
        s.partial_store_f32s(unsafe { std::slice::from_raw_parts_mut(to, count) }, vector);
    }
}

/// Fetches the cache line of an element, where that is known to help. Nothing has to be there.
#[inline(always)]
pub(crate) fn fetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: this changes nothing but the cache.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
