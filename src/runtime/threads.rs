//! Threads that the system may refuse.

use crate::error::{Error, ErrorKind};
use libc::c_void;
use std::cell::UnsafeCell;

/// How many threads can be there at once besides those that are, `most` at most. ONNX Runtime must not be the one to find out:
/// where the second thread of a session cannot be had, it waits for the first one for ever.
///
/// Not by the standard library: its threads end the process where memory is short.
pub(crate) fn obtainable(most: usize) -> usize {
    extern "C" fn wait(gate: *mut c_void) -> *mut c_void {
        // SAFETY: the gate outlives the threads, which are joined.
        unsafe {
            libc::pthread_mutex_lock(gate.cast());
            libc::pthread_mutex_unlock(gate.cast());
        }
        std::ptr::null_mut()
    }
    let gate = UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER);
    let mut threads: Vec<libc::pthread_t> = vec![];
    // SAFETY: the mutex stays where it is, and all threads that began are joined.
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
        // The system counts a thread for a moment longer than it can be seen.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    threads.len()
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
