//! Limits on threads.

use crate::error::{Error, ErrorKind};
use crate::platform;

/// How many more threads the process can start now, up to `most`. ONNX Runtime must not reach the limit: if it cannot
/// start the second thread of a session, it waits for the first for ever.
pub(crate) fn obtainable(most: usize) -> usize {
    platform::obtainable_threads(most)
}

/// The error for refused threads. The system reports a thread limit and a lack of memory for stacks in the same way.
pub(crate) fn refused(what: &str) -> Error {
    if memmap2::MmapMut::map_anon(platform::stack_bytes()).is_err() {
        let text = format!(
            "{what}: threads could not be started, because there is no memory for their stacks; lower n_threads, or \
            {}",
            platform::MORE_STACKS
        );
        return Error::new(ErrorKind::OutOfMemory, text);
    }
    let text = format!("{what}: threads could not be started; lower n_threads, or {}", platform::MORE_THREADS);
    Error::new(ErrorKind::Runtime, text)
}
