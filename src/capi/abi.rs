//! Values from C: checked before they are used as what they claim to be.

use crate::error::{Result, fail};
use std::ffi::{CStr, OsStr, c_char};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A struct that grows at its end and begins with its `size_t struct_size`.
///
/// # Safety
/// The implementor is `repr(C)`, begins with the size, and is valid when all its bytes are zero.
pub(super) unsafe trait Sized_: Copy {
    const NAME: &'static str;
    /// Its size in the first release that had it.
    const FIRST_SIZE: usize;
}

/// Reads a struct of the caller's size. What the caller's version lacks is zero; what ours lacks must be zero.
pub(super) unsafe fn read<T: Sized_>(from: *const T) -> Result<T> {
    let size = unsafe { checked_size(from)? };
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes.
    let newer = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if newer.iter().any(|byte| *byte != 0) {
        fail!(InvalidArgument, "{}: sets fields that this version of libwfvae does not know", T::NAME);
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both hold `known` bytes, and zero is valid for the rest.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), value.as_mut_ptr().cast(), known);
        Ok(value.assume_init())
    }
}

/// Writes a struct into the caller's, which keeps its own size; fields that ours lacks become zero.
pub(super) unsafe fn write<T: Sized_>(to: *mut T, value: &T) -> Result<()> {
    let size = unsafe { checked_size(to)? };
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's struct has `size` bytes; the first field is its size, which stays.
    unsafe {
        let start = size_of::<usize>();
        let source = std::ptr::from_ref(value).cast::<u8>();
        std::ptr::copy_nonoverlapping(source.add(start), to.cast::<u8>().add(start), known - start);
        std::ptr::write_bytes(to.cast::<u8>().add(known), 0, size - known);
    }
    Ok(())
}

/// The `struct_size` that the caller filled in.
pub(super) unsafe fn checked_size<T: Sized_>(from: *const T) -> Result<usize> {
    if from.is_null() {
        fail!(InvalidArgument, "{} is NULL", T::NAME);
    }
    if !from.is_aligned() {
        fail!(InvalidArgument, "{}: {from:p} is not aligned", T::NAME);
    }
    // SAFETY: not null, and every version begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    // Far more than any version will have: the field was not set.
    if size < T::FIRST_SIZE || size > 64 * 1024 {
        fail!(InvalidArgument, "{}: struct_size is {size}, set it to sizeof({})", T::NAME, T::NAME);
    }
    Ok(size)
}

/// A place for a result.
pub(super) unsafe fn out<'a, T>(pointer: *mut T, name: &str) -> Result<&'a mut MaybeUninit<T>> {
    if pointer.is_null() || !pointer.is_aligned() {
        fail!(InvalidArgument, "{name} is NULL or not aligned");
    }
    // SAFETY: not null; it is only written through.
    Ok(unsafe { &mut *pointer.cast::<MaybeUninit<T>>() })
}

/// What a count says until its call succeeds. NULL is reported by `out`.
pub(super) unsafe fn zero(count: *mut usize) {
    if let Ok(count) = unsafe { out(count, "count") } {
        count.write(0);
    }
}

/// A path, or `None` for NULL.
pub(super) unsafe fn path(text: *const c_char) -> Option<PathBuf> {
    // SAFETY: the caller's string ends with a NUL.
    (!text.is_null()).then(|| PathBuf::from(OsStr::from_bytes(unsafe { CStr::from_ptr(text) }.to_bytes())))
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

pub(super) fn flag(value: u32, name: &str) -> Result<bool> {
    match value {
        0 => Ok(false),
        1 => Ok(true),
        other => fail!(InvalidArgument, "{name} is {other}, expected 0 or 1"),
    }
}
