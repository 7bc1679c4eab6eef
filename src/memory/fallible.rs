//! Allocation that reports failure instead of ending the process.

use super::reserve;
use crate::error::{Result, fail};

/// An empty list with capacity for exactly `len` values. `what` names it in the error.
pub(crate) fn with_room<T>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut values = Vec::new();
    if reserve::is_low() || values.try_reserve_exact(len).is_err() {
        fail!(OutOfMemory, "cannot allocate {} bytes for {what}", len.saturating_mul(size_of::<T>()));
    }
    Ok(values)
}

/// `len` zeros.
pub(crate) fn zeros<T: Copy + Default>(len: usize, what: &str) -> Result<Vec<T>> {
    let mut values = with_room(len, what)?;
    values.resize(len, T::default());
    Ok(values)
}

/// Collects an iterator of known length.
pub(crate) fn list<T>(values: impl ExactSizeIterator<Item = T>, what: &str) -> Result<Vec<T>> {
    let mut list = with_room(values.len(), what)?;
    list.extend(values);
    Ok(list)
}

/// Fails if small allocations have used up much of the reserve. Call it now and then in loops that make many.
pub(crate) fn check(what: &str) -> Result<()> {
    if reserve::is_low() {
        fail!(OutOfMemory, "no memory is left for {what}");
    }
    Ok(())
}

/// Appends to a list that grows with the clip.
pub(crate) fn push<T>(list: &mut Vec<T>, value: T) -> Result<()> {
    if list.try_reserve(1).is_err() {
        fail!(OutOfMemory, "cannot allocate memory for a list of {} entries", list.len() + 1);
    }
    list.push(value);
    Ok(())
}

/// Fails if `bytes` cannot be allocated now. Call it before code that allocates about that much and cannot report
/// failure.
pub(crate) fn check_room(bytes: u64, what: &str) -> Result<()> {
    with_room::<u8>(usize::try_from(bytes).unwrap_or(usize::MAX), what).map(drop)
}
