//! Those of the standard library, with the interface of loom's.

#[cfg(feature = "reserve")]
pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};

#[cfg(feature = "reserve")]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(feature = "reserve")]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    pub(crate) fn with_mut<R>(&self, work: impl FnOnce(*mut T) -> R) -> R {
        work(self.0.get())
    }
}
