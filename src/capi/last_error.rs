//! The calling thread's last error, as text for C.

use super::text::c_text;
use crate::error::Error;
use std::cell::RefCell;
use std::ffi::{CString, c_char};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

pub(super) fn set_last_error(error: &Error) {
    // A thread that is ending may have lost its thread-locals. Then only the status reports the error.
    let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = c_text(error.text()));
}

/// Valid until this thread's next failing call, or its end.
pub(super) fn last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}
