//! Used on systems other than Linux, and where addresses do not have 64 bits.

use std::ffi::{CStr, c_void};

pub(crate) struct Slot {
    pub(crate) before: usize,
}

impl Slot {
    #[cfg(test)]
    pub(crate) fn address(&self) -> usize {
        unreachable!("no slot is found here")
    }

    /// # Safety
    /// None is needed here.
    pub(crate) unsafe fn write(&mut self, _: usize) -> Result<(), String> {
        Ok(())
    }
}

pub(crate) fn import_slots(_: *const c_void, _: &CStr) -> Result<Vec<Slot>, String> {
    Err("that is not possible on this system".into())
}
