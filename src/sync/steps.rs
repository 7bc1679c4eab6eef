//! How far a call is, for other threads to read.

use super::types::{AtomicU64, Ordering};

/// Of the running call.
#[derive(Default)]
pub(crate) struct Steps {
    done: AtomicU64,
    total: AtomicU64,
}

impl Steps {
    pub(crate) fn begin(&self, total: u64) {
        self.done.store(0, Ordering::Release);
        self.total.store(total, Ordering::Release);
    }

    pub(crate) fn count(&self) {
        self.done.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn end(&self) {
        self.total.store(0, Ordering::Release);
    }

    /// Those that are done, and all. Steps of an earlier call are not counted for a later one; but if one ends meanwhile, the first
    /// number may be that of the next.
    pub(crate) fn read(&self) -> [u64; 2] {
        let total = self.total.load(Ordering::Acquire);
        [self.done.load(Ordering::Acquire).min(total), total]
    }
}
