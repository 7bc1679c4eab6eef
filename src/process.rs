//! Which process this is. A fork copies memory, but of the threads only the one that forks: a child has the objects of
//! ONNX Runtime without the threads that they wait for, and locks that nobody will open.

use crate::error::{Result, fail};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Forks between the first process that used the library and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);
static WATCHED: AtomicBool = AtomicBool::new(false);
/// Threads that are inside [`Loading`].
static LOADING: AtomicU32 = AtomicU32::new(0);
/// A thread was in there when this process was forked.
static TORN: AtomicBool = AtomicBool::new(false);

/// One process. Its number alone would not do: a child in a name space of its own may have its parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    id: u32,
    forks: u32,
}

impl Process {
    pub(crate) fn current() -> Self {
        if !WATCHED.swap(true, Ordering::Relaxed) {
            // SAFETY: the handler only touches atomics, as one after a fork may. If there is no memory for it, the process's
            // number is still there.
            unsafe { libc::pthread_atfork(None, None, Some(Self::begin)) };
        }
        Process { id: std::process::id(), forks: FORKS.load(Ordering::Relaxed) }
    }

    /// In the child.
    unsafe extern "C" fn begin() {
        crate::memory::begin_child();
        FORKS.fetch_add(1, Ordering::Relaxed);
        if LOADING.swap(0, Ordering::Relaxed) > 0 {
            TORN.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// Fails in any other process, for what was made in this one.
    pub(crate) fn check(self, what: &str) -> Result<()> {
        if !self.is_current() {
            fail!(
                Forked,
                "this {what} was made by process {}, this is process {}, forked from it; make one in this process",
                self.id,
                std::process::id()
            );
        }
        Ok(())
    }
}

/// Lives while a thread changes what all of the process shares: the runtime's environment and its lists of operators.
pub(crate) struct Loading(Process);

impl Loading {
    /// Fails where a parent's thread will never end what it began.
    pub(crate) fn begin() -> Result<Self> {
        let process = Process::current();
        if TORN.load(Ordering::Relaxed) {
            fail!(
                Forked,
                "this process was forked while another thread opened a model or made a stream, which nobody will end \
                 here; fork at another time, or use the library in a program that is executed anew"
            );
        }
        LOADING.fetch_add(1, Ordering::Relaxed);
        Ok(Loading(process))
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        // A callback may have forked in between.
        if self.0.is_current() {
            LOADING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What only the process that made it drops, because dropping it waits for its threads, or takes from the others what is
/// theirs. Elsewhere it is left alone.
pub(crate) struct Owned<T> {
    value: ManuallyDrop<T>,
    owner: Process,
}

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Owned { value: ManuallyDrop::new(value), owner: Process::current() }
    }

    pub(crate) fn into_inner(mut self) -> T {
        // SAFETY: it is forgotten before anybody could take it again.
        let value = unsafe { ManuallyDrop::take(&mut self.value) };
        std::mem::forget(self);
        value
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
            // SAFETY: dropped once, here.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A child in a name space of its own may have its parent's number, and a later process an earlier one's.
    #[test]
    fn a_process_is_its_number_and_its_forks() {
        let this = Process::current();
        this.check("stream").unwrap();
        assert!(Process { forks: this.forks + 1, ..this }.check("stream").is_err());
        assert!(Process { id: this.id + 1, ..this }.check("stream").is_err());
    }

    #[test]
    fn a_child_knows_what_nobody_will_end() {
        let (loading, parent) = (Loading::begin().unwrap(), Process::current());
        // SAFETY: the child looks at what is its own and ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let refused = Loading::begin().is_err_and(|e| e.kind() == crate::ErrorKind::Forked);
            drop(loading);
            let forgotten = LOADING.load(Ordering::Relaxed) == 0;
            let other = !parent.is_current() && !Process { id: std::process::id(), ..parent }.is_current();
            // SAFETY: has no preconditions.
            unsafe { libc::_exit(if refused && forgotten && other { 0 } else { 1 }) };
        }
        let mut status = -1;
        // SAFETY: waits for the child, and fills the number.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        drop(loading);
        Loading::begin().unwrap();
    }
}
