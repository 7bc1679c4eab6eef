//! Short work on several threads at once, which end with it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Does `job` for each number below `count`, on this thread and on up to `threads` - 1 others, as far as these can be had.
pub(crate) fn for_each(count: usize, threads: usize, job: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                i if i < count => job(i),
                _ => break,
            }
        }
    };
    std::thread::scope(|scope| {
        let mut others = 1..threads.min(count);
        while others.next().is_some() && std::thread::Builder::new().spawn_scoped(scope, work).is_ok() {}
        work();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once() {
        for (count, threads) in [(0, 4), (1, 4), (3, 1), (3, 8), (100, 4), (5, 0)] {
            let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            for_each(count, threads, |i| {
                done[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.iter().all(|times| times.load(Ordering::Relaxed) == 1), "{count} on {threads}");
        }
    }
}
