//! Checks pointers, structs and flags that C passes before they are used.

use crate::error::{Result, fail};
use crate::platform;
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::path::PathBuf;

/// Of a struct in bytes. Far more than any version will have: the field was not set.
const MAX_STRUCT_BYTES: usize = 64 << 10;

/// A struct that begins with its `size_t struct_size`, and to which later versions add fields at the end.
///
/// # Safety
/// The implementor is `repr(C)`, begins with the size, and is valid with any bytes that C may put there, as numbers, pointers and
/// optional functions are. It has no padding, whose bytes would be copied to the caller.
pub(super) unsafe trait CStruct: Copy {
    const NAME: &'static str;
    /// Its size in the first release that had it.
    const FIRST_SIZE: usize;
}

/// Reads a struct of the caller's size. Fields that the caller's version lacks read as zero; fields that ours lacks
/// must be zero.
pub(super) unsafe fn read<T: CStruct>(from: *const T) -> Result<T> {
    let size = unsafe { checked_size(from)? };
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes.
    let newer = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if newer.iter().any(|byte| *byte != 0) {
        fail!(InvalidArgument, "{}: sets fields that this version of libwfvae does not know", T::NAME);
    }
    unsafe { read_known(from) }
}

/// The same, without looking at fields that ours lacks.
pub(super) unsafe fn read_known<T: CStruct>(from: *const T) -> Result<T> {
    let known = unsafe { checked_size(from)? }.min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both hold `known` bytes, and zero is valid for the rest.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast(), known);
        Ok(value.assume_init())
    }
}

/// Writes a struct into the caller's, which keeps its `struct_size`. Fields that ours lacks become zero.
pub(super) unsafe fn write<T: CStruct>(to: *mut T, value: &T) -> Result<()> {
    let size = unsafe { checked_size(to)? };
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes. The first field, its size, is not written.
    unsafe {
        let start = size_of::<usize>();
        let source = std::ptr::from_ref(value).cast::<u8>();
        std::ptr::copy_nonoverlapping(source.add(start), to.cast::<u8>().add(start), known - start);
        std::ptr::write_bytes(to.cast::<u8>().add(known), 0, size - known);
    }
    Ok(())
}

/// The `struct_size` that the caller set.
pub(super) unsafe fn checked_size<T: CStruct>(from: *const T) -> Result<usize> {
    if from.is_null() {
        fail!(InvalidArgument, "{} is NULL", T::NAME);
    }
    if !from.is_aligned() {
        fail!(InvalidArgument, "{}: {from:p} is not aligned", T::NAME);
    }
    // SAFETY: not null, and every version begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    if size < T::FIRST_SIZE || size > MAX_STRUCT_BYTES {
        fail!(InvalidArgument, "{}: struct_size is {size}, set it to sizeof({})", T::NAME, T::NAME);
    }
    Ok(size)
}

/// The caller's memory for a result.
pub(super) unsafe fn out<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut MaybeUninit<T>> {
    if pointer.is_null() || !pointer.is_aligned() {
        fail!(InvalidArgument, "{name} is NULL or not aligned");
    }
    // SAFETY: not null; it is only written through.
    Ok(unsafe { &mut *pointer.cast::<MaybeUninit<T>>() })
}

/// Sets a count to 0, which it stays unless the call succeeds. NULL is reported by `out`.
pub(super) unsafe fn zero(count: *mut usize) {
    if let Ok(count) = unsafe { out(count, "count") } {
        count.write(0);
    }
}

/// A path, or `None` for NULL.
pub(super) unsafe fn path(text: *const c_char, name: &str) -> Result<Option<PathBuf>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's string ends with a NUL.
    match platform::path_from_c(unsafe { CStr::from_ptr(text) }) {
        Ok(path) => Ok(Some(path)),
        Err(e) => fail!(InvalidArgument, "{name} is not UTF-8: {e}"),
    }
}

/// A path that must be there.
pub(super) unsafe fn required_path(text: *const c_char, name: &str) -> Result<PathBuf> {
    match unsafe { path(text, name)? } {
        Some(path) => Ok(path),
        None => fail!(InvalidArgument, "{name} is NULL"),
    }
}

/// A text, or `None` for NULL.
pub(super) unsafe fn text(text: *const c_char, name: &str) -> Result<Option<String>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's string ends with a NUL.
    match unsafe { CStr::from_ptr(text) }.to_str() {
        Ok(text) => Ok(Some(text.into())),
        Err(e) => fail!(InvalidArgument, "{name} is not UTF-8: {e}"),
    }
}

/// Of a handle, which threads of the caller pass to each other.
pub(super) const fn goes_between_threads<T: Send + Sync>() {}

pub(super) fn flag(value: u32, name: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => fail!(InvalidArgument, "{name} is {other}, expected 0 or 1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Old {
        struct_size: usize,
        number: u32,
        other: u32,
        pointer: usize,
    }

    unsafe impl CStruct for Old {
        const NAME: &'static str = "old";
        const FIRST_SIZE: usize = 16;
    }

    /// The caller's memory: the struct as its version has it, of `size` bytes, followed by guard bytes.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Caller {
        old: Old,
        more: [u8; 40],
    }

    fn caller(size: usize) -> Caller {
        Caller { old: Old { struct_size: size, number: 7, other: 8, pointer: 9 }, more: [0; 40] }
    }

    /// Every unknown byte is checked, up to the last. Bytes behind the caller's struct are not read.
    #[test]
    fn any_field_that_is_not_known_is_refused() {
        for size in size_of::<Old>()..size_of::<Caller>() {
            let unknown = size - size_of::<Old>();
            let mut from = caller(size);
            from.more[unknown..].fill(0xff);
            assert_eq!(unsafe { read(&raw const from.old) }.unwrap(), from.old);
            for byte in 0..unknown {
                let mut from = from;
                from.more[byte] = 1 << (byte % 8);
                let error = unsafe { read(&raw const from.old) }.unwrap_err();
                assert!(error.text().contains("sets fields that this version"), "{size} {byte}: {error}");
            }
        }
    }

    #[test]
    fn what_an_older_caller_lacks_is_zero() {
        let from = caller(Old::FIRST_SIZE);
        let expected = Old { pointer: 0, ..from.old };
        assert_eq!(unsafe { read(&raw const from.old) }.unwrap(), expected);
    }

    #[test]
    fn only_the_caller_s_bytes_are_written() {
        let value = Old { struct_size: 1, number: 2, other: 3, pointer: 4 };
        for size in Old::FIRST_SIZE..size_of::<Caller>() {
            let mut to = caller(size);
            to.more.fill(0xff);
            unsafe { write(&raw mut to.old, &value) }.unwrap();
            let Old { struct_size, number, other, pointer } = to.old;
            assert_eq!((struct_size, number, other), (size, 2, 3));
            let written = size.saturating_sub(16).min(8);
            let expected: [u8; 8] =
                std::array::from_fn(|i| if i < written { 4usize.to_ne_bytes()[i] } else { 9usize.to_ne_bytes()[i] });
            assert_eq!(pointer.to_ne_bytes(), expected, "{size}");
            let cleared = size.saturating_sub(size_of::<Old>());
            assert!(to.more[..cleared].iter().all(|byte| *byte == 0), "{size}");
            assert!(to.more[cleared..].iter().all(|byte| *byte == 0xff), "{size}");
        }
    }

    #[test]
    fn sizes_and_pointers_that_cannot_be_are_refused() {
        for size in [0, Old::FIRST_SIZE - 1, MAX_STRUCT_BYTES + 1, usize::MAX] {
            let from = caller(size);
            let error = unsafe { checked_size(&raw const from.old) }.unwrap_err();
            assert!(error.text().contains(&format!("struct_size is {size}, set it to sizeof(old)")), "{error}");
        }
        let from = caller(MAX_STRUCT_BYTES);
        assert_eq!(unsafe { checked_size(&raw const from.old) }.unwrap(), MAX_STRUCT_BYTES);
        assert!(unsafe { checked_size::<Old>(std::ptr::null()) }.unwrap_err().text().contains("old is NULL"));
        let odd = (&raw const from.old).wrapping_byte_add(4);
        assert!(unsafe { checked_size(odd) }.unwrap_err().text().contains("is not aligned"));
        let odd = (&raw const from.old.number).wrapping_byte_add(1).cast_mut();
        assert!(unsafe { out(odd, "count") }.unwrap_err().text().contains("count is NULL or not aligned"));
        assert!(unsafe { out::<u32>(std::ptr::null_mut(), "count") }.is_err());
    }

    #[test]
    fn flags_are_zero_or_one() {
        assert_eq!([flag(0, "flag").unwrap(), flag(1, "flag").unwrap()], [false, true]);
        assert!(flag(2, "flag").unwrap_err().text().contains("flag is 2, expected 0 or 1"));
    }
}
