//! A lock that neither allocates nor sleeps. Those of the standard library may allocate.

use super::types::{AtomicBool, Ordering, UnsafeCell, spin_loop};

/// For work that is short, and that no signal handler does. Its fields are only for statics, as loom's types have no constant `new`.
pub(crate) struct SpinLock<T> {
    pub(crate) locked: AtomicBool,
    pub(crate) value: UnsafeCell<T>,
}

// SAFETY: only the thread that holds the lock uses the value.
unsafe impl<T: Send> Sync for SpinLock<T> {}

impl<T> SpinLock<T> {
    /// `work` must not panic, nor use this lock.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            spin_loop();
        }
        // SAFETY: the lock is held.
        let result = self.value.with_mut(|value| work(unsafe { &mut *value }));
        // SAFETY: this thread held it, and is done with the value.
        unsafe { self.unlock() };
        result
    }

    /// Also for a forked child, as a thread of its parent may have held the lock.
    ///
    /// # Safety
    /// No other thread of this process holds the lock. In a child, the value is valid whatever a thread of the parent was doing to it.
    pub(crate) unsafe fn unlock(&self) {
        self.locked.store(false, Ordering::Release);
    }
}
