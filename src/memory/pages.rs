//! Memory that many threads read at once, in large pages as far as the system has them: kernels read from more places at once than
//! the CPU keeps translations of small pages for.

use crate::platform;
use memmap2::MmapMut;
use std::ptr::NonNull;

/// Memory of its own, which starts on a large page. The part that does not fill one is in small pages.
pub(crate) struct Pages {
    mapping: MmapMut,
    start: NonNull<u8>,
}

// SAFETY: it owns what `start` points into. Whoever uses that sees to it that nobody else does.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    pub(crate) const LARGE: usize = 2 << 20;

    /// Zeros. The system allocates a page when it is first written to.
    pub(crate) fn new(bytes: usize) -> std::io::Result<Self> {
        let all = bytes.checked_add(Self::LARGE).ok_or(std::io::ErrorKind::OutOfMemory)?;
        let mut mapping = MmapMut::map_anon(all)?;
        let first = mapping.as_mut_ptr();
        let skipped = first.align_offset(Self::LARGE);
        // Only advice: small pages work too.
        platform::advise_large_pages(&mapping, skipped, bytes / Self::LARGE * Self::LARGE);
        // SAFETY: within the mapping, which is one large page longer than what was asked for.
        let start = NonNull::new(unsafe { first.add(skipped) }).expect("a mapping has an address");
        Ok(Pages { mapping, start })
    }

    pub(crate) fn start(&self) -> *mut u8 {
        debug_assert!(self.mapping.as_ptr_range().contains(&self.start.as_ptr().cast_const()));
        self.start.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_can_be_used() {
        for bytes in [1, Pages::LARGE - 1, Pages::LARGE, 2 * Pages::LARGE + 5] {
            let pages = Pages::new(bytes).unwrap();
            assert_eq!(pages.start().addr() % Pages::LARGE, 0);
            // SAFETY: it has so many bytes.
            let all = unsafe { std::slice::from_raw_parts_mut(pages.start(), bytes) };
            assert!(all.iter().all(|byte| *byte == 0));
            all.fill(1);
        }
        assert!(Pages::new(usize::MAX / 2).is_err());
        assert!(Pages::new(usize::MAX).is_err());
    }
}
