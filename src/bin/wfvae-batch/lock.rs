//! Locks of this program.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A thread that panicked leaves nothing half-done in what these mutexes hold.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
