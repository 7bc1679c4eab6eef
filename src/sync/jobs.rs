//! Numbers that threads share among themselves.

use super::types::{AtomicUsize, Ordering};

pub(crate) struct Jobs {
    next: AtomicUsize,
    count: usize,
}

impl Jobs {
    pub(crate) fn new(count: usize) -> Self {
        Jobs { next: AtomicUsize::new(0), count }
    }

    /// Does those that no other thread has begun. What a job wrote is seen by whoever waits for the end of its thread.
    pub(crate) fn work(&self, job: impl Fn(usize)) {
        loop {
            match self.next.fetch_add(1, Ordering::Relaxed) {
                i if i < self.count => job(i),
                _ => break,
            }
        }
    }
}
