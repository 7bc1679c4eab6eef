//! Memory of a size that a model, a frame or a clip decides: what there is, and room that may be refused.
//!
//! Rust's own `vec!`, `with_capacity`, `to_vec` and `clone` end the process where memory is short. Whatever grows with what
//! the caller brings goes through here instead. Small things do not: for them there is a reserve, while the feature
//! `reserve` is on.

mod available;
#[cfg(feature = "reserve")]
mod reserve;
#[cfg(not(feature = "reserve"))]
mod reserve {
    pub(super) fn is_low() -> bool {
        false
    }

    pub(super) fn unlock_in_child() {}
}

pub(crate) use available::available;

use crate::error::{Result, fail};

/// An empty list with room for exactly `len` values. `what` is for the message.
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

/// A list of what an iterator of known length gives.
pub(crate) fn list<T>(values: impl ExactSizeIterator<Item = T>, what: &str) -> Result<Vec<T>> {
    let mut list = with_room(values.len(), what)?;
    list.extend(values);
    Ok(list)
}

/// Fails where small things have used much of the reserve: now and then between many of them.
pub(crate) fn check(what: &str) -> Result<()> {
    if reserve::is_low() {
        fail!(OutOfMemory, "no memory is left for {what}");
    }
    Ok(())
}

/// What a child of a fork does first.
pub(crate) fn begin_child() {
    reserve::unlock_in_child();
}

/// Adds to a list that grows with a clip.
pub(crate) fn push<T>(list: &mut Vec<T>, value: T) -> Result<()> {
    if list.try_reserve(1).is_err() {
        fail!(OutOfMemory, "cannot allocate memory for a list of {} entries", list.len() + 1);
    }
    list.push(value);
    Ok(())
}

/// Fails where so much could not be allocated now: before code that allocates about as much in a way that cannot be refused.
pub(crate) fn check_room(bytes: u64, what: &str) -> Result<()> {
    with_room::<u8>(usize::try_from(bytes).unwrap_or(usize::MAX), what).map(drop)
}
