//! Small blocks for when the system gives none.
//!
//! Rust ends the process where a string or a short list finds no memory. An embedded library must not. So small blocks that
//! the system refuses come from a reserve, which is enough for a call to reach the next place that can be refused memory,
//! and to say so. Lists of up to 1 MiB may come from it too; larger ones are refused.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The system's allocator, and the reserve behind it.
pub(super) struct Reserving;

#[global_allocator]
static ALLOCATOR: Reserving = Reserving;

/// What blocks are counted in, and aligned to.
const SLOT: usize = 64;
const SLOTS: usize = 1 << 16;
/// More than the description of a large network takes, or a list of its tensors.
const LARGEST: usize = 1 << 20;

/// Takes no memory until it is used.
#[repr(C, align(64))]
struct Reserve {
    bytes: UnsafeCell<[u8; SLOT * SLOTS]>,
    /// A bit for each slot, set while it is part of a block.
    taken: UnsafeCell<[u64; SLOTS / 64]>,
    /// Held while `taken` is read or written. A lock of the standard library may itself ask for memory.
    locked: AtomicBool,
    used: AtomicUsize,
}

// SAFETY: `taken` is behind the lock, and each block of `bytes` is its owner's.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve = Reserve {
    bytes: UnsafeCell::new([0; SLOT * SLOTS]),
    taken: UnsafeCell::new([0; SLOTS / 64]),
    locked: AtomicBool::new(false),
    used: AtomicUsize::new(0),
};

/// Whether so much of the reserve is in use that a call should end. Blocks of the host may be in there for long, which does
/// not matter once the system has memory again.
pub(super) fn is_low() -> bool {
    RESERVE.used.load(Ordering::Relaxed) > SLOTS / 4 && !system_has_memory()
}

fn system_has_memory() -> bool {
    let layout = Layout::new::<[u8; 1 << 16]>();
    // SAFETY: of a size, and freed as it was made.
    unsafe {
        // Or the compiler, which sees that nobody uses the block, takes it for granted.
        let block = std::hint::black_box(System.alloc(layout));
        if !block.is_null() {
            System.dealloc(block, layout);
        }
        !block.is_null()
    }
}

/// In the child of a fork, whose parent may have had a thread that held the lock. What that was doing is lost, which is some
/// slots at worst.
pub(super) fn unlock_in_child() {
    RESERVE.locked.store(false, Ordering::Release);
}

impl Reserve {
    fn with_slots<T>(&self, work: impl FnOnce(&mut [u64; SLOTS / 64]) -> T) -> T {
        while self.locked.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            std::hint::spin_loop();
        }
        // SAFETY: the lock is held.
        let result = work(unsafe { &mut *self.taken.get() });
        self.locked.store(false, Ordering::Release);
        result
    }

    fn take(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST || layout.align() > SLOT {
            return std::ptr::null_mut();
        }
        let count = layout.size().div_ceil(SLOT);
        let start = self.with_slots(|taken| {
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
                // SAFETY: within the bytes.
                unsafe { self.start().add(start * SLOT) }
            }
            None => std::ptr::null_mut(),
        }
    }

    fn give_back(&self, block: *mut u8, size: usize) {
        let (start, count) = ((block as usize - self.start() as usize) / SLOT, size.div_ceil(SLOT));
        self.with_slots(|taken| {
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

// SAFETY: blocks are the system's, or slots that no other block has, aligned to their size.
unsafe impl GlobalAlloc for Reserving {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { RESERVE.take(layout) } else { block }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let block = unsafe { System.alloc_zeroed(layout) };
        if !block.is_null() {
            return block;
        }
        let block = RESERVE.take(layout);
        if !block.is_null() {
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match RESERVE.holds(block) {
            true => RESERVE.give_back(block, layout.size()),
            false => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if !RESERVE.holds(block) {
            let grown = unsafe { System.realloc(block, layout, new_size) };
            if !grown.is_null() {
                return grown;
            }
        }
        // SAFETY: the caller promises that the new size is one that a layout can have.
        let grown = unsafe { self.alloc(Layout::from_size_align_unchecked(new_size, layout.align())) };
        if !grown.is_null() {
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
        // Not the process's own, which other tests may be using.
        static OWN: Reserve = Reserve {
            bytes: UnsafeCell::new([0; SLOT * SLOTS]),
            taken: UnsafeCell::new([0; SLOTS / 64]),
            locked: AtomicBool::new(false),
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
        // A gap in the middle serves again.
        let (block, size) = blocks[3];
        OWN.give_back(block, size);
        assert_eq!(OWN.take(layout(size)), block);
        blocks.iter().for_each(|(block, size)| OWN.give_back(*block, *size));
        assert_eq!(OWN.used.load(Ordering::Relaxed), 0);
        assert!(OWN.take(layout(LARGEST + 1)).is_null() && !OWN.take(layout(LARGEST)).is_null());
    }
}
