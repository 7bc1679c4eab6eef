//! Used where addresses do not have 64 bits: ONNX Runtime has no releases for such CPUs.

use std::ffi::{CStr, c_void};

pub(super) struct Slot {
    pub(super) before: usize,
}

impl Slot {
    pub(super) fn write(&mut self, _: usize) -> Result<(), String> {
        Ok(())
    }
}

pub(super) fn find(_: *const c_void, _: &CStr) -> Result<Vec<Slot>, String> {
    Err("this CPU has no 64-bit addresses".into())
}
