//! Ends child processes that do not answer in time: reading from a pipe has no time limit.

use crate::lock::lock;
use crate::process;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);
/// If it looked so much later, this process was stopped, as Control-Z and frozen containers do, and so the time does not count.
const STOPPED: Duration = Duration::from_secs(1);

/// One thread for all children.
#[derive(Default)]
pub struct Watchdog {
    watched: Mutex<Vec<Arc<Watched>>>,
    changed: Condvar,
}

struct Watched {
    child: Arc<Mutex<Child>>,
    deadline: Mutex<Option<Instant>>,
    ended: AtomicBool,
    dropped: AtomicBool,
}

/// A child that is watched until this is dropped.
pub struct Watch {
    watched: Arc<Watched>,
    dog: Arc<Watchdog>,
}

impl Watchdog {
    pub fn start() -> Arc<Self> {
        let dog = Arc::new(Watchdog::default());
        let weak = Arc::downgrade(&dog);
        std::thread::spawn(move || {
            let mut last = Instant::now();
            while let Some(dog) = weak.upgrade() {
                let mut watched = lock(&dog.watched);
                watched.retain(|watched| !watched.dropped.load(Ordering::Relaxed));
                let gone = last.elapsed();
                last = Instant::now();
                match gone > STOPPED {
                    true => watched.iter().for_each(|watched| watched.postpone(gone)),
                    false => watched.iter().for_each(|watched| watched.end_if_late()),
                }
                drop(dog.changed.wait_timeout(watched, LOOK));
            }
        });
        dog
    }

    pub fn watch(self: &Arc<Self>, child: Arc<Mutex<Child>>) -> Watch {
        let watched = Arc::new(Watched {
            child,
            deadline: Mutex::new(None),
            ended: AtomicBool::new(false),
            dropped: AtomicBool::new(false),
        });
        lock(&self.watched).push(watched.clone());
        Watch { watched, dog: self.clone() }
    }
}

impl Watched {
    fn end_if_late(&self) {
        let late = lock(&self.deadline).is_some_and(|deadline| deadline < Instant::now());
        if late && !self.ended.swap(true, Ordering::Relaxed) {
            process::kill(&mut lock(&self.child));
        }
    }

    fn postpone(&self, time: Duration) {
        if let Some(deadline) = &mut *lock(&self.deadline) {
            *deadline += time;
        }
    }
}

impl Watch {
    /// The child is ended unless this is called again before `time` is over; `None`: it may take any time.
    pub fn allow(&self, time: Option<Duration>) {
        *lock(&self.watched.deadline) = time.map(|time| Instant::now() + time);
    }

    /// Whether the child was ended because it was late.
    pub fn was_late(&self) -> bool {
        self.watched.ended.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watched.dropped.store(true, Ordering::Relaxed);
        self.dog.changed.notify_one();
    }
}
