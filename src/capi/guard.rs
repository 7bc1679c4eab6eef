//! What every export is inside of: the floating-point mode, the panic boundary, and the calling thread's last error.

use super::status::wfvae_status;
use crate::error::{Error, ErrorKind, Result};
use crate::float_mode::FloatMode;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// The whole body of an export: `guard!(status: { ... })` for a block that gives `Result<()>`, and
/// `guard!(value or DEFAULT: { ... })` for one that gives a value. A panic becomes `WFVAE_STATUS_INTERNAL` or the
/// default. The body has the default floating-point mode, and the host's own comes back. A test refuses exports with
/// another body.
macro_rules! guard {
    (status: $body:block) => {
        $crate::capi::guard::status(|| -> $crate::error::Result<()> { $body })
    };
    (value or $default:expr; $body:block) => {
        $crate::capi::guard::value(|| $default, || $body)
    };
}
pub(super) use guard;

pub(super) fn status(body: impl FnOnce() -> Result<()>) -> wfvae_status {
    match caught(body).and_then(|result| result) {
        Ok(()) => wfvae_status::Ok,
        Err(e) => {
            set_last_error(&e);
            e.kind().into()
        }
    }
}

pub(super) fn value<T>(default: impl FnOnce() -> T, body: impl FnOnce() -> T) -> T {
    caught(body).unwrap_or_else(|e| {
        set_last_error(&e);
        default()
    })
}

/// A panic as an error. Panics are told here and go no further, so the host has its floating-point mode back after them too.
pub(super) fn caught<T>(body: impl FnOnce() -> T) -> Result<T> {
    let _mode = FloatMode::set_default();
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic");
        Error::new(ErrorKind::Internal, format!("a bug in libwfvae, please report it: {text}"))
    })
}

fn set_last_error(error: &Error) {
    // A thread that is ending may have no thread-locals any more; its text is lost, its status is not.
    let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = c_text(error.text()));
}

/// The text stays where it is until this thread's next failing call.
pub(super) fn last_error() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Text for C; paths may hold anything but a NUL.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn a_panic_becomes_a_status_and_a_text() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let status = guard!(status: { panic!("on purpose") });
        let value = guard!(value or 7; { panic!("again") });
        std::panic::set_hook(hook);
        assert!(status == wfvae_status::Internal && value == 7);
        let text = unsafe { CStr::from_ptr(last_error()) }.to_str().unwrap();
        assert!(text.contains("again"), "{text}");
    }
}
