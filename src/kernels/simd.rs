//! Vectors of the processor's own width, by the `pulp` crate.

use memmap2::MmapMut;
use once_cell::sync::Lazy;
use parking_lot::Mutex;
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

/// Memory of this thread's own that outlives a job, so that no job pays for making it.
pub(super) struct Scratch(Memory);

/// Memory that outlives a convolution, for all of its threads together. Convolutions that run at the same time have one
/// each.
#[derive(Default)]
pub(crate) struct ScratchPool(Mutex<Vec<Memory>>);

/// Starts on a large page, of which it consists where the system has them: transforms write to many places at once, more
/// than a processor remembers the addresses of small pages.
#[derive(Default)]
struct Memory {
    mapping: Option<MmapMut>,
    floats: usize,
}

const LARGE_PAGE: usize = 2 << 20;

thread_local! {
    static SCRATCH: std::cell::Cell<Memory> = const { std::cell::Cell::new(Memory { mapping: None, floats: 0 }) };
}

/// What is taken of the system for so many floats.
pub(crate) fn scratch_bytes(floats: usize) -> usize {
    (floats * size_of::<f32>()).next_multiple_of(LARGE_PAGE)
}

impl Memory {
    /// This, or another that is large enough; `None` where the system has no memory.
    fn at_least(self, floats: usize) -> Option<Self> {
        if self.floats >= floats {
            return Some(self);
        }
        // Before there is more.
        drop(self);
        let bytes = scratch_bytes(floats);
        let mapping = MmapMut::map_anon(bytes + LARGE_PAGE).ok()?;
        // Advice: without it small pages serve.
        #[cfg(target_os = "linux")]
        drop(mapping.advise(memmap2::Advice::HugePage));
        Some(Memory { mapping: Some(mapping), floats: bytes / size_of::<f32>() })
    }

    fn start(&mut self) -> *mut f32 {
        // Nothing was asked for where nothing was mapped.
        let Some(mapping) = &mut self.mapping else { return std::ptr::NonNull::dangling().as_ptr() };
        let start = mapping.as_mut_ptr();
        // SAFETY: `at_least` made a page more than was asked for.
        unsafe { start.add(start.align_offset(LARGE_PAGE)).cast() }
    }
}

impl Scratch {
    /// At least `floats`, of any value; `None` where the system has no memory.
    pub(super) fn take(floats: usize) -> Option<Self> {
        SCRATCH.take().at_least(floats).map(Scratch)
    }

    pub(super) fn start(&mut self) -> *mut f32 {
        self.0.start()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.0));
    }
}

impl ScratchPool {
    /// Works with at least `floats`, of any value; `None` where the system has no memory.
    pub(crate) fn with<T>(&self, floats: usize, work: impl FnOnce(*mut f32) -> T) -> Option<T> {
        let memory = self.0.lock().pop().unwrap_or_default();
        let mut memory = memory.at_least(floats)?;
        let result = work(memory.start());
        self.0.lock().push(memory);
        Some(result)
    }
}
