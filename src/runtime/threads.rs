//! Threads that the system may refuse.

use crate::error::{Error, ErrorKind};
use parking_lot::Mutex;
use std::thread::{Builder, ScopedJoinHandle};

/// How many threads can be there at once besides those that are, `most` at most. ONNX Runtime has to be spared from finding
/// out: where the second thread of a session cannot be had, it waits for the first one for ever.
pub(crate) fn obtainable(most: usize) -> usize {
    let gate = Mutex::new(());
    std::thread::scope(|scope| {
        let closed = gate.lock();
        let mut threads: Vec<ScopedJoinHandle<'_, ()>> = vec![];
        let start = || Builder::new().stack_size(stack_bytes()).spawn_scoped(scope, || drop(gate.lock()));
        while threads.len() < most
            && let Ok(thread) = start()
        {
            threads.push(thread);
        }
        drop(closed);
        let count = threads.len();
        // Gone, not only done.
        threads.into_iter().for_each(|thread| drop(thread.join()));
        if count < most {
            // The system counts a thread for a moment longer than it can be seen.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        count
    })
}

/// The system says the same of a limit of threads and of no room for a thread's stack.
pub(crate) fn refused(what: &str) -> Error {
    if memmap2::MmapMut::map_anon(stack_bytes()).is_err() {
        let text = format!(
            "{what}: threads could not be started, there is no memory for their stacks; set n_threads to fewer, or raise \
             the limit (ulimit -v)"
        );
        return Error::new(ErrorKind::OutOfMemory, text);
    }
    let text = format!(
        "{what}: threads could not be started; set n_threads to fewer, or raise the limit of processes and threads (ulimit \
         -u, pids.max of the control group)"
    );
    Error::new(ErrorKind::Runtime, text)
}

/// Of a thread that C++ starts.
fn stack_bytes() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the struct.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) } == 0;
    match limit.rlim_cur {
        bytes if known && bytes <= 1 << 30 => bytes as usize,
        _ => 2 << 20,
    }
}
