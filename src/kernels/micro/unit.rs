//! The CPU's matrix unit.

use super::amx;
#[cfg(test)]
use super::plain_tiles;
use super::tiles::{DEPTH, PartProducts, Products};
use crate::platform;
use std::marker::PhantomData;

/// What multiplies tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Intel's, of x86-64.
    Amx,
    /// What that computes, for tests on CPUs without it.
    #[cfg(test)]
    Plain,
}

/// The unit, ready for tiles of pixels of some depth, in this thread and until this is dropped.
pub(crate) struct Ready {
    unit: Unit,
    depth: usize,
    /// Registers are the thread's.
    _here: PhantomData<*const ()>,
}

impl Unit {
    /// Whether the CPU has AMX with bfloat16.
    pub(crate) fn has_amx() -> bool {
        amx::is_known()
    }

    /// Asks the system whether the process may use it. The process must ask before it uses the unit. Afterwards signal handlers with
    /// stacks of their own need larger ones.
    pub(crate) fn ask(self) -> Result<(), &'static str> {
        match self {
            Unit::Amx => platform::allow_tile_registers(),
            #[cfg(test)]
            Unit::Plain => Ok(()),
        }
    }

    /// For tiles of `depth` channels, an even number up to 32.
    ///
    /// # Safety
    /// The CPU has the unit, and the process has asked for it. The thread has no other `Ready`, as that would lose its registers.
    pub(crate) unsafe fn ready(self, depth: usize) -> Ready {
        assert!(depth.is_multiple_of(2) && (2..=DEPTH).contains(&depth));
        match self {
            // SAFETY: as this function asks of its caller.
            Unit::Amx => unsafe { amx::load_config(depth) },
            #[cfg(test)]
            Unit::Plain => {}
        }
        Ready { unit: self, depth, _here: PhantomData }
    }
}

impl Ready {
    /// Of a panel of one or two tiles.
    ///
    /// # Safety
    /// Pixels and weights are there for all steps, of which there is one at least, and `sums` has room for 64 pixels of the
    /// panel.
    pub(crate) unsafe fn run(&self, products: &Products, tiles: usize) {
        let depth = self.depth;
        debug_assert!((1..=2).contains(&tiles) && !products.steps.is_empty());
        match self.unit {
            // SAFETY: as this function asks of its caller.
            Unit::Amx if tiles == 2 => unsafe { amx::wide(products, depth) },
            // SAFETY: as this function asks of its caller.
            Unit::Amx => unsafe { amx::single(products, depth) },
            #[cfg(test)]
            Unit::Plain => unsafe { plain_tiles::run(products, depth, tiles) },
        }
    }

    /// Of a panel of one or two tiles. The unit must be ready for `DEPTH` channels.
    ///
    /// # Safety
    /// Numbers and weights are there for all steps, and sums for all rows.
    pub(crate) unsafe fn run_parts(&self, products: &PartProducts, tiles: usize) {
        debug_assert!((1..=2).contains(&tiles) && self.depth == DEPTH);
        match self.unit {
            // SAFETY: as this function asks of its caller.
            Unit::Amx if tiles == 2 => unsafe { amx::wide_parts(products) },
            // SAFETY: as this function asks of its caller.
            Unit::Amx => unsafe { amx::single_parts(products) },
            #[cfg(test)]
            Unit::Plain => unsafe { plain_tiles::run_parts(products, tiles) },
        }
    }
}

#[cfg(test)]
impl Ready {
    /// Four products of what is in the registers, so many times.
    pub(crate) fn multiply_registers(&self, times: usize) {
        match self.unit {
            Unit::Amx => amx::multiply_registers(times),
            Unit::Plain => {}
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        match self.unit {
            Unit::Amx => amx::release(),
            #[cfg(test)]
            Unit::Plain => {}
        }
    }
}
