//! Texts for statuses and for the last error.

use super::guard::guard;
use super::handle::wfvae_stream;
use super::last_error::last_error;
use super::status::describe;
use std::ffi::c_char;

/// Returns a short English text for a status. Any value is allowed.
///
/// Returns: a static string, never NULL.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub extern "C" fn wfvae_status_str(status: i32) -> *const c_char {
    guard!(value or c"".as_ptr(); { describe(status).as_ptr() })
}

/// Returns the text of the last error: what is wrong, and what to do about it.
///
/// stream: the stream whose call failed; NULL: the last call of any kind that failed in the calling thread.
///
/// Returns: a string, never NULL; empty if there was no error. A stream's string is valid until the next call on that
/// stream, and a thread's until the next call that fails in it, or until it ends. wfvae_reset() and
/// wfvae_snapshot_restore() clear the stream's text.
/// Thread-safety: with a stream, one thread at a time for each stream; with NULL safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_last_error(stream: *const wfvae_stream) -> *const c_char {
    guard!(value or c"".as_ptr(); {
        match unsafe { stream.as_ref() } {
            Some(stream) if stream.owner().is_current() => stream.error_text(),
            _ => last_error(),
        }
    })
}
