//! How kernels use threads, which are the caller's.

/// Runs a job for each index below the first argument, on the caller's threads.
pub(crate) type Workers<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync + Send));

/// A buffer to which several threads write, each to a part of its own.
#[derive(Clone, Copy)]
pub(super) struct Shared(pub(super) *mut f32);

// SAFETY: whoever makes one ensures that no two threads use the same part.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// As that of `pointer::add`.
    pub(super) unsafe fn at(self, offset: usize) -> *mut f32 {
        unsafe { self.0.add(offset) }
    }
}
