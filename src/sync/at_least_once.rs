//! Work that is done before any thread goes on. A thread that waited for another one would wait for ever in a forked child, so instead
//! several may do it at the same time.

use super::types::{AtomicBool, Ordering};

pub(crate) struct AtLeastOnce(pub(crate) AtomicBool);

impl AtLeastOnce {
    /// Doing the work twice must do no harm.
    pub(crate) fn ensure(&self, work: impl FnOnce()) {
        if !self.0.load(Ordering::Acquire) {
            work();
            self.0.store(true, Ordering::Release);
        }
    }
}
