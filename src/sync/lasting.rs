//! A value that is made when it is first asked for, and again when it no longer serves, as after a fork.

use super::types::{AtomicPtr, Ordering};

/// Values are never freed, as threads may use old ones. For statics, which begin with a null pointer.
pub(crate) struct Lasting<T>(pub(crate) AtomicPtr<T>);

impl<T: Send + Sync> Lasting<T> {
    /// The value that all threads share. Several may make one at the same time; all but one are dropped.
    pub(crate) fn get(&self, serves: impl Fn(&T) -> bool, make: impl Fn() -> T) -> &T {
        loop {
            let known = self.0.load(Ordering::Acquire);
            // SAFETY: null, as at first, or a value from below, which is never freed.
            if let Some(value) = unsafe { known.as_ref() }.filter(|value| serves(value)) {
                return value;
            }
            let new = Box::into_raw(Box::new(make()));
            match self.0.compare_exchange(known, new, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: as above.
                Ok(_) => return unsafe { &*new },
                // SAFETY: nobody else knows this one.
                Err(_) => drop(unsafe { Box::from_raw(new) }),
            }
        }
    }
}
