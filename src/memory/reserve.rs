//! A reserve for small allocations.
//!
//! Rust ends the process when a string or a short list cannot be allocated, which an embedded library must not do. So
//! when the system refuses a small block, it comes from this reserve. The reserve is large enough for a call to reach
//! the next allocation that can fail and to return an error. It serves blocks of up to 1 MiB.

use crate::sync::{self, AtomicBool, SpinLock};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator with the reserve as its fallback.
pub(super) struct Reserving;

#[global_allocator]
static ALLOCATOR: Reserving = Reserving;

/// The unit and the alignment of blocks.
const SLOT: usize = 64;
const SLOTS: usize = 1 << 16;
/// More than the description of a large network or a list of its tensors needs.
const LARGEST: usize = 1 << 20;

/// Untouched pages take no memory.
#[repr(C, align(64))]
struct Reserve {
    bytes: UnsafeCell<[u8; SLOT * SLOTS]>,
    /// One bit per slot, set while the slot is in use.
    taken: SpinLock<[u64; SLOTS / 64]>,
    used: AtomicUsize,
}

// SAFETY: each block of `bytes` has one owner.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve = Reserve {
    bytes: UnsafeCell::new([0; SLOT * SLOTS]),
    taken: SpinLock { locked: AtomicBool::new(false), value: sync::UnsafeCell::new([0; SLOTS / 64]) },
    used: AtomicUsize::new(0),
};

/// Whether so much of the reserve is in use that calls should fail. The host may hold blocks of the reserve for long;
/// they do not count once the system has memory again.
pub(super) fn is_low() -> bool {
    RESERVE.used.load(Ordering::Relaxed) > SLOTS / 4 && !system_has_memory()
}

fn system_has_memory() -> bool {
    let layout = Layout::new::<[u8; 1 << 16]>();
    // SAFETY: the size is not zero, and the block is freed with the same layout.
    unsafe {
        // Otherwise the compiler removes the unused allocation and assumes that it succeeds.
        let block = std::hint::black_box(System.alloc(layout));
        if !block.is_null() {
            System.dealloc(block, layout);
        }
        !block.is_null()
    }
}

/// Called in a forked child: a thread of the parent may have held the lock. At worst, the slots that it was changing
/// are lost.
///
/// # Safety
/// As that of `SpinLock::unlock`: it is the child's first use of this library.
pub(crate) unsafe fn unlock_in_child() {
    // SAFETY: as this function asks of its caller; any bits are valid.
    unsafe { RESERVE.taken.unlock() };
}

impl Reserve {
    fn take(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST || layout.align() > SLOT {
            return std::ptr::null_mut();
        }
        let count = layout.size().div_ceil(SLOT);
        let start = self.taken.with(|taken| {
            let mut free = 0;
            for slot in 0..SLOTS {
                free = if taken[slot / 64] >> (slot % 64) & 1 == 0 { free + 1 } else { 0 };
                if free == count {
                    let start = slot + 1 - count;
                    (start..=slot).for_each(|slot| taken[slot / 64] |= 1 << (slot % 64));
                    return Some(start);
                }
            }
            None
        });
        match start {
            Some(start) => {
                self.used.fetch_add(count, Ordering::Relaxed);
                // SAFETY: the slot is within `bytes`.
                unsafe { self.start().add(start * SLOT) }
            }
            None => std::ptr::null_mut(),
        }
    }

    fn give_back(&self, block: *mut u8, size: usize) {
        let (start, count) = ((block as usize - self.start() as usize) / SLOT, size.div_ceil(SLOT));
        self.taken.with(|taken| {
            (start..start + count).for_each(|slot| taken[slot / 64] &= !(1 << (slot % 64)));
        });
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    fn holds(&self, block: *mut u8) -> bool {
        (block as usize).wrapping_sub(self.start() as usize) < SLOT * SLOTS
    }

    fn start(&self) -> *mut u8 {
        self.bytes.get().cast()
    }
}

// SAFETY: blocks come from the system, or are free slots with sufficient alignment.
unsafe impl GlobalAlloc for Reserving {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a size above zero.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { RESERVE.take(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = RESERVE.take(layout);
        if !block.is_null() {
            // SAFETY: the block has that size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match RESERVE.holds(block) {
            true => RESERVE.give_back(block, layout.size()),
            // SAFETY: the block is the system's, and the caller promises its layout.
            false => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !RESERVE.holds(block) {
            // SAFETY: as in `dealloc`.
            let grown = unsafe { System.realloc(block, layout, new_size) };
            if !grown.is_null() {
                return grown;
            }
        }
        // SAFETY: the caller promises that the new size is valid for a layout.
        let grown = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !grown.is_null() {
            // SAFETY: both blocks have so many bytes, and the old one is not used any more.
            unsafe {
                grown.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_the_reserve_lie_apart_and_come_back() {
        // Other tests may use the process's own reserve.
        static OWN: Reserve = Reserve {
            bytes: UnsafeCell::new([0; SLOT * SLOTS]),
            taken: SpinLock { locked: AtomicBool::new(false), value: sync::UnsafeCell::new([0; SLOTS / 64]) },
            used: AtomicUsize::new(0),
        };
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        let mut blocks = vec![];
        for size in [1, 64, 65, 4096, LARGEST, 7].into_iter().cycle() {
            let block = OWN.take(layout(size));
            if block.is_null() {
                break;
            }
            assert!(OWN.holds(block) && OWN.holds(unsafe { block.add(size - 1) }) && block.addr().is_multiple_of(SLOT));
            unsafe { block.write_bytes(blocks.len() as u8, size) };
            blocks.push((block, size));
        }
        assert!(blocks.len() > 20, "{} blocks", blocks.len());
        for (i, (block, size)) in blocks.iter().enumerate() {
            let bytes = unsafe { std::slice::from_raw_parts(*block, *size) };
            assert!(bytes.iter().all(|byte| *byte == i as u8), "block {i}");
        }
        // A freed block in the middle is used again.
        let (block, size) = blocks[3];
        OWN.give_back(block, size);
        assert_eq!(OWN.take(layout(size)), block);
        blocks.iter().for_each(|(block, size)| OWN.give_back(*block, *size));
        assert_eq!(OWN.used.load(Ordering::Relaxed), 0);
        assert!(OWN.take(layout(LARGEST + 1)).is_null() && !OWN.take(layout(LARGEST)).is_null());
    }
}
