//! Texts for C.

use parking_lot::Mutex;
use std::ffi::{CStr, CString, c_char};

/// A NUL, which a text from a file may hold, becomes `?`.
pub(super) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "?")).unwrap_or_default()
}

/// A text that is never freed, so that callers may keep the pointer. Equal texts are kept once.
pub(super) fn lasting(text: &str) -> *const c_char {
    static TEXTS: Mutex<Vec<&'static CStr>> = Mutex::new(vec![]);
    let text = c_text(text);
    // In a forked child the lock may be held by a thread that is not there: it must not be waited for.
    let Some(mut texts) = TEXTS.try_lock() else { return text.into_raw() };
    // There are few.
    if let Some(known) = texts.iter().find(|known| **known == text.as_c_str()) {
        return known.as_ptr();
    }
    let text: &'static CStr = Box::leak(text.into_boxed_c_str());
    texts.push(text);
    text.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_kept_once() {
        let [a, b, other] = ["one\0text", "one\0text", "another"].map(lasting);
        assert_eq!((a, unsafe { CStr::from_ptr(a) }), (b, c"one?text"));
        assert_eq!(unsafe { CStr::from_ptr(other) }, c"another");
    }
}
