//! The caller's memory for the error text of one call, which options may name.

use super::abi::{self, CStruct};
use super::guard::caught;
use crate::error::{Error, Result, fail};
use std::ffi::c_char;

/// Options with the fields `error_text` and `error_size`.
pub(super) trait NamesErrorText: CStruct {
    fn error_text(&self) -> (*mut c_char, usize);
}

/// Reads options, as the call itself does.
pub(super) unsafe fn read<T: NamesErrorText>(options: *const T) -> Result<T> {
    let read = unsafe { abi::read(options)? };
    let (text, size) = read.error_text();
    if text.is_null() != (size == 0) {
        fail!(InvalidArgument, "{}: error_text is {text:p} and error_size is {size}, set both or none", T::NAME);
    }
    Ok(read)
}

/// Runs a call that takes these options and writes its error text to where they say; an empty one on success.
pub(super) unsafe fn reported<T: NamesErrorText>(options: *const T, call: impl FnOnce() -> Result<()>) -> Result<()> {
    let result = caught(call).and_then(|result| result);
    // Options that cannot be read name no memory. The call itself reports them.
    let (text, size) =
        unsafe { abi::read_known(options) }.map_or((std::ptr::null_mut(), 0), |options| options.error_text());
    if !text.is_null() && size > 0 {
        let full = result.as_ref().err().map_or("", Error::text);
        // SAFETY: the caller promises `size` bytes, which are at least one.
        unsafe { write(full, text.cast(), size) };
    }
    result
}

/// As much of the text as fits, in whole characters, and a NUL. A NUL inside becomes `?`.
unsafe fn write(full: &str, to: *mut u8, size: usize) {
    let text = &full[..full.floor_char_boundary(size - 1)];
    for (i, byte) in text.bytes().enumerate() {
        unsafe { to.add(i).write(if byte == 0 { b'?' } else { byte }) };
    }
    unsafe { to.add(text.len()).write(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        let full = "aä\0€";
        for (size, expected) in
            [(1, ""), (2, "a"), (3, "a"), (4, "aä"), (5, "aä?"), (6, "aä?"), (7, "aä?"), (8, "aä?€"), (12, "aä?€")]
        {
            let mut bytes = [7; 12];
            unsafe { write(full, bytes.as_mut_ptr(), size) };
            let (text, rest) = bytes.split_at(expected.len());
            assert_eq!((text, rest[0]), (expected.as_bytes(), 0), "{size}");
            assert!(rest[1..].iter().all(|byte| *byte == 7), "{size}");
        }
    }
}
