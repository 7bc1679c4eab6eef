//! How kernels use threads, which are the caller's.

/// Runs a job once for each index below the first argument, on the caller's threads, and returns when all have ended. Kernels are unsafe
/// functions whose callers also promise that.
pub(crate) type Workers<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync + Send));

/// A buffer to which several threads write, each to a part of its own.
pub(super) struct Shared<T = f32>(pub(super) *mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

// SAFETY: whoever makes one ensures that no two threads use the same part.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// As that of `pointer::add`.
    pub(super) unsafe fn at(self, offset: usize) -> *mut T {
        // SAFETY: as this function asks of its caller.
        unsafe { self.0.add(offset) }
    }
}
