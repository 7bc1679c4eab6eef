//! Used when the feature `reserve` is off.

pub(super) fn is_low() -> bool {
    false
}

/// # Safety
/// None is needed here.
pub(crate) unsafe fn unlock_in_child() {}
