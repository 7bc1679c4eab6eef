//! The synchronisation of `src/sync`, in every order in which threads can run and see each other's writes. The files are those of the
//! library; only their types are loom's. `make check-sanitizers PARTS=loom` runs this.

#![cfg(test)]

#[path = "../../src/sync/at_least_once.rs"]
mod at_least_once;
#[path = "../../src/sync/jobs.rs"]
mod jobs;
#[path = "../../src/sync/lasting.rs"]
mod lasting;
#[path = "../../src/sync/spin_lock.rs"]
mod spin_lock;
#[path = "../../src/sync/steps.rs"]
mod steps;

mod types {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
}

use at_least_once::AtLeastOnce;
use jobs::Jobs;
use lasting::Lasting;
use loom::sync::Arc;
use loom::thread;
use spin_lock::SpinLock;
use steps::Steps;
use types::*;

/// Memory that threads share. Loom ends the test if two use it at the same time, or one before it sees what the other wrote.
struct Memory(UnsafeCell<usize>);

// SAFETY: loom looks after it.
unsafe impl Sync for Memory {}
unsafe impl Send for Memory {}

impl Memory {
    fn new() -> Self {
        Memory(UnsafeCell::new(0))
    }

    fn add(&self) {
        self.0.with_mut(|value| unsafe { *value += 1 });
    }

    fn get(&self) -> usize {
        self.0.with(|value| unsafe { *value })
    }
}

#[test]
fn one_thread_at_a_time_has_the_lock() {
    loom::model(|| {
        let lock = Arc::new(SpinLock { locked: AtomicBool::new(false), value: UnsafeCell::new([false; 2]) });
        // As the reserve does with its slots.
        let take = |lock: &SpinLock<[bool; 2]>| {
            lock.with(|slots| {
                let free = slots.iter().position(|taken| !taken).expect("as many as threads");
                slots[free] = true;
                free
            })
        };
        let other = {
            let lock = lock.clone();
            thread::spawn(move || take(&lock))
        };
        let mine = take(&lock);
        let theirs = other.join().unwrap();
        assert_ne!(mine, theirs);
        lock.with(|slots| assert_eq!(*slots, [true; 2]));
    });
}

#[test]
fn each_job_is_done_once_and_its_work_is_seen_at_the_end() {
    loom::model(|| {
        let shared = Arc::new((Jobs::new(3), [Memory::new(), Memory::new(), Memory::new()]));
        let work = |shared: &(Jobs, [Memory; 3])| shared.0.work(|i| shared.1[i].add());
        let other = {
            let shared = shared.clone();
            thread::spawn(move || work(&shared))
        };
        work(&shared);
        other.join().unwrap();
        assert!(shared.1.iter().all(|done| done.get() == 1));
    });
}

#[test]
fn all_threads_get_the_same_value_whole() {
    loom::model(|| {
        let lasting = Arc::new(Lasting(AtomicPtr::new(std::ptr::null_mut())));
        let get = |lasting: &Lasting<Memory>| {
            let make = || {
                let memory = Memory::new();
                memory.add();
                memory
            };
            let value = lasting.get(|value| value.get() == 1, make);
            assert_eq!(value.get(), 1);
            std::ptr::from_ref(value).addr()
        };
        let other = {
            let lasting = lasting.clone();
            thread::spawn(move || get(&lasting))
        };
        let mine = get(&lasting);
        assert_eq!(mine, other.join().unwrap());
    });
}

/// As in a forked child, where the lock of the parent no longer serves.
#[test]
fn a_value_that_no_longer_serves_is_replaced_once() {
    loom::model(|| {
        let lasting = Arc::new(Lasting(AtomicPtr::new(std::ptr::null_mut())));
        assert_eq!(*lasting.get(|_| true, || 1), 1);
        let get = |lasting: &Lasting<usize>| std::ptr::from_ref(lasting.get(|value| *value == 2, || 2)).addr();
        let other = {
            let lasting = lasting.clone();
            thread::spawn(move || get(&lasting))
        };
        let mine = get(&lasting);
        assert_eq!(mine, other.join().unwrap());
    });
}

#[test]
fn no_thread_goes_on_before_the_work_is_done() {
    loom::model(|| {
        let shared = Arc::new((AtLeastOnce(AtomicBool::new(false)), AtomicUsize::new(0)));
        let pass = |(once, done): &(AtLeastOnce, AtomicUsize)| {
            once.ensure(|| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert!(done.load(Ordering::Relaxed) > 0);
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || pass(&shared))
        };
        pass(&shared);
        other.join().unwrap();
        let before = shared.1.load(Ordering::Relaxed);
        pass(&shared);
        assert_eq!(shared.1.load(Ordering::Relaxed), before);
    });
}

#[test]
fn steps_of_an_earlier_call_do_not_count_for_a_later_one() {
    loom::model(|| {
        let steps = Arc::new(Steps::default());
        let calls = {
            let steps = steps.clone();
            thread::spawn(move || {
                steps.begin(1);
                steps.count();
                steps.end();
                steps.begin(2);
            })
        };
        let [done, total] = steps.read();
        assert!(done <= total && total <= 2);
        assert!(total != 2 || done == 0, "the second call has done nothing");
        calls.join().unwrap();
        assert_eq!(steps.read(), [0, 2]);
    });
}
