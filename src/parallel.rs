//! Short work on several threads at once, which end with it.

use crate::platform::{Thread, Work};
use crate::sync::Jobs;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Does `job` for each number below `count`, on this thread and on up to `threads` - 1 others, as far as these can be had.
pub(crate) fn for_each(count: usize, threads: usize, job: impl Fn(usize) + Sync) {
    let jobs = Jobs::new(count);
    together(threads.min(count).saturating_sub(1), || jobs.work(&job));
}

/// Runs `work` on this thread and on up to `others` more at the same time, as far as these can be had, and waits for all. A panic in
/// one of them goes on here.
pub(crate) fn together(others: usize, work: impl Fn() + Sync) {
    let panic = Mutex::new(None);
    let all: Work = &|| {
        if let Err(why) = catch_unwind(AssertUnwindSafe(&work)) {
            let mut first = panic.lock();
            match *first {
                None => *first = Some(why),
                // Whoever panics with a value chooses what its destructor does, which may be to panic.
                Some(_) => std::mem::forget(why),
            }
        }
    };
    let mut threads = vec![];
    while threads.len() < others {
        // SAFETY: it catches what unwinds. The threads are joined below, and nothing unwinds before.
        match unsafe { Thread::start(&all) } {
            Some(thread) => threads.push(thread),
            None => break,
        }
    }
    all();
    threads.into_iter().for_each(Thread::join);
    if let Some(why) = panic.into_inner() {
        resume_unwind(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::panic_any;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

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

    #[test]
    fn a_panic_ends_what_all_do() {
        let (done, first) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let why = catch_unwind(AssertUnwindSafe(|| {
            together(3, || {
                assert!(first.fetch_add(1, Ordering::Relaxed) != 1, "the second");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert_eq!(*why.unwrap_err().downcast::<&str>().unwrap(), "the second");
        assert_eq!(done.load(Ordering::Relaxed), 3);
    }

    /// Otherwise the caller would unwind while the other threads still work with what is on its stack.
    #[test]
    fn destructors_of_panics_do_not_run_before_all_have_ended() {
        struct Bomb;

        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a second panic");
            }
        }

        let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let why = catch_unwind(AssertUnwindSafe(|| {
            together(2, || {
                let which = begun.fetch_add(1, Ordering::Relaxed);
                while begun.load(Ordering::Relaxed) < 3 {
                    std::thread::yield_now();
                }
                if which < 2 {
                    panic_any(Bomb);
                }
                std::thread::sleep(Duration::from_millis(50));
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert_eq!(done.load(Ordering::Relaxed), 1);
        std::mem::forget(why);
    }
}
