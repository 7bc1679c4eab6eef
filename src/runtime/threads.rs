//! Limits on threads.

use crate::error::{Error, ErrorKind};
use libc::c_void;
use std::cell::UnsafeCell;

/// How many more threads the process can start now, up to `most`. ONNX Runtime must not reach the limit: if it cannot
/// start the second thread of a session, it waits for the first for ever.
///
/// The standard library's threads end the process when memory is short, so this uses pthreads.
pub(crate) fn obtainable(most: usize) -> usize {
    extern "C" fn wait(gate: *mut c_void) -> *mut c_void {
        // SAFETY: the threads are joined before the gate goes out of scope.
        unsafe {
            libc::pthread_mutex_lock(gate.cast());
            libc::pthread_mutex_unlock(gate.cast());
        }
        std::ptr::null_mut()
    }
    let gate = UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER);
    let mut threads: Vec<libc::pthread_t> = vec![];
    // SAFETY: the mutex does not move, and all started threads are joined.
    unsafe {
        libc::pthread_mutex_lock(gate.get());
        while threads.len() < most {
            let mut thread = std::mem::zeroed();
            if libc::pthread_create(&mut thread, std::ptr::null(), wait, gate.get().cast()) != 0 {
                break;
            }
            threads.push(thread);
        }
        libc::pthread_mutex_unlock(gate.get());
        for thread in &threads {
            libc::pthread_join(*thread, std::ptr::null_mut());
        }
    }
    if threads.len() < most {
        // The system counts a thread for a moment after it has been joined.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    threads.len()
}

/// The error for refused threads. The system reports a thread limit and a lack of memory for stacks in the same way.
pub(crate) fn refused(what: &str) -> Error {
    if memmap2::MmapMut::map_anon(stack_bytes()).is_err() {
        let text = format!(
            "{what}: threads could not be started, because there is no memory for their stacks; lower n_threads, or \
            raise the limit (ulimit -v)"
        );
        return Error::new(ErrorKind::OutOfMemory, text);
    }
    let text = format!(
        "{what}: threads could not be started; lower n_threads, or raise the limit of processes and threads (ulimit \
        -u, pids.max of the control group)"
    );
    Error::new(ErrorKind::Runtime, text)
}

/// The stack size of a C++ thread.
fn stack_bytes() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the struct.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) } == 0;
    match limit.rlim_cur {
        bytes if known && bytes <= 1 << 30 => bytes as usize,
        _ => 2 << 20,
    }
}
