//! What every export runs inside: the default floating-point mode, a boundary for panics, and the thread's last error.

use super::last_error::set_last_error;
use super::status::wfvae_status;
use crate::error::{Error, ErrorKind, Result};
use crate::float_mode::FloatMode;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The whole body of an export: `guard!(status: { ... })` for a block that returns `Result<()>`, and
/// `guard!(value or DEFAULT; { ... })` for one that returns a value. A panic becomes `WFVAE_STATUS_INTERNAL` or the
/// default. The block runs in the default floating-point mode; the caller's own is restored afterwards. A test rejects
/// exports with any other body.
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

/// Turns a panic into an error. It does not unwind further, so the caller's floating-point mode is restored in that
/// case too.
pub(super) fn caught<T>(body: impl FnOnce() -> T) -> Result<T> {
    let _mode = FloatMode::set_default();
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown panic");
        Error::new(ErrorKind::Internal, format!("a bug in libwfvae, please report it: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::last_error::last_error;
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
