//! Detects forks. A forked child has a copy of the parent's memory but only the forking thread: ONNX Runtime objects
//! wait for threads that do not exist, and locks may stay locked for ever.

use crate::error::{Result, fail};
use crate::platform;
use crate::sync::AtLeastOnce;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Grows with each fork of the process after it first used the library.
static FORKS: AtomicU32 = AtomicU32::new(0);
static WATCHED: AtLeastOnce = AtLeastOnce(AtomicBool::new(false));
/// The number of threads inside [`Loading`].
static LOADING: AtomicU32 = AtomicU32::new(0);
/// A thread was inside [`Loading`] when this process was forked.
static TORN: AtomicBool = AtomicBool::new(false);

/// Identifies a process. The process ID is not enough: in its own PID namespace, a child may have the same ID as its
/// parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    id: u32,
    forks: u32,
}

impl Process {
    pub(crate) fn current() -> Self {
        // SAFETY: the handler only touches atomics, which is allowed after a fork. It may run twice.
        WATCHED.ensure(|| unsafe { platform::on_fork(Self::begin) });
        Process { id: std::process::id(), forks: FORKS.load(Ordering::Relaxed) }
    }

    /// Runs in the child.
    unsafe extern "C" fn begin() {
        // SAFETY: this comes before all else that the child does.
        unsafe { crate::memory::unlock_in_child() };
        FORKS.fetch_add(1, Ordering::Relaxed);
        if LOADING.swap(0, Ordering::Relaxed) > 0 {
            TORN.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Fails in any process other than the one that made `what`.
    pub(crate) fn check(self, what: &str) -> Result<()> {
        if !self.is_current() {
            fail!(
                Forked,
                "this {what} belongs to process {}, but this is process {}, forked from it; create a new one in this \
                process",
                self.id,
                std::process::id()
            );
        }
        Ok(())
    }
}

/// Exists while a thread changes process-wide state: ONNX Runtime's environment and its list of operators.
pub(crate) struct Loading(Process);

impl Loading {
    /// Fails if the process was forked while a thread of its parent was doing this.
    pub(crate) fn begin() -> Result<Self> {
        let process = Process::current();
        if TORN.load(Ordering::Relaxed) {
            fail!(
                Forked,
                "this process was forked while another thread opened a model or created a stream, so it cannot \
                use the library; fork at another time, or start a new program with exec"
            );
        }
        LOADING.fetch_add(1, Ordering::Relaxed);
        Ok(Loading(process))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        // A callback may have forked meanwhile.
        if self.0.is_current() {
            LOADING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A value that only the process that created it drops: dropping it elsewhere would wait for missing threads or delete
/// the parent's files. Any other process leaks it.
pub(crate) struct Owned<T> {
    value: ManuallyDrop<T>,
    owner: Process,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Owned { value: ManuallyDrop::new(value), owner: Process::current() }
    }

    pub(crate) fn owner(&self) -> Process {
        self.owner
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.owner.is_current() {
            // SAFETY: `drop` runs once.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In its own PID namespace a child may have its parent's ID, and IDs are reused.
    #[test]
    fn processes_differ_by_id_or_forks() {
        let this = Process::current();
        this.check("stream").unwrap();
        assert!(Process { forks: this.forks + 1, ..this }.check("stream").is_err());
        assert!(Process { id: this.id + 1, ..this }.check("stream").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_child_of_a_fork_during_loading_is_refused() {
        let (loading, parent) = (Loading::begin().unwrap(), Process::current());
        // SAFETY: the child uses only its own memory and exits.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let refused = Loading::begin().is_err_and(|e| e.kind() == crate::ErrorKind::Forked);
            drop(loading);
            let forgotten = LOADING.load(Ordering::Relaxed) == 0;
            let other = !parent.is_current() && !Process { id: std::process::id(), ..parent }.is_current();
            // SAFETY: no preconditions.
            unsafe { libc::_exit(if refused && forgotten && other { 0 } else { 1 }) };
        }
        let mut status = -1;
        // SAFETY: waits for the child and fills `status`.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        drop(loading);
        Loading::begin().unwrap();
    }
}
