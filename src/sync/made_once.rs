//! A value that one thread makes while the others that need it wait.

use once_cell::sync::OnceCell;
use parking_lot::Mutex;

/// Threads wait for a lock instead of the cell: the cell's own wait takes memory, and the process ends if there is none. In a forked child a
/// thread may wait for one that is not there, so whoever uses this refuses such a child first.
pub(crate) struct MadeOnce<T> {
    value: OnceCell<T>,
    making: Mutex<()>,
}

impl<T> MadeOnce<T> {
    pub(crate) const fn new() -> Self {
        MadeOnce { value: OnceCell::new(), making: Mutex::new(()) }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value. If `make` fails, the next caller makes it.
    pub(crate) fn get_or_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let _making = self.making.lock();
        self.value.get_or_try_init(make)
    }
}

impl<T> From<T> for MadeOnce<T> {
    fn from(value: T) -> Self {
        MadeOnce { value: OnceCell::with_value(value), making: Mutex::new(()) }
    }
}
