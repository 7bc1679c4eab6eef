//! In place of `amx`, where CPUs have none.

use super::tiles::{PartProducts, Products};

pub(super) fn is_known() -> bool {
    false
}

pub(super) unsafe fn load_config(_: usize) {
    missing()
}

pub(super) fn release() {
    missing()
}

pub(super) unsafe fn wide(_: &Products, _: usize) {
    missing()
}

pub(super) unsafe fn single(_: &Products, _: usize) {
    missing()
}

pub(super) unsafe fn wide_parts(_: &PartProducts) {
    missing()
}

pub(super) unsafe fn single_parts(_: &PartProducts) {
    missing()
}

#[cfg(test)]
pub(super) fn multiply_registers(_: usize) {
    missing()
}

fn missing() {
    unreachable!("no level has this unit");
}
