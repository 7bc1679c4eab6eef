//! Import slots: where a loaded library stores the addresses of functions that it calls in other libraries.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The slots for `function` in the library that contains the address `inside`.
pub(crate) fn import_slots(inside: *const c_void, function: &CStr) -> Result<Vec<Slot>, String> {
    Ok(Module::of(inside).map(|module| module.slots(function)).unwrap_or_default())
}

/// One slot.
pub(crate) struct Slot {
    address: usize,
    /// The loader made its page read-only.
    read_only: bool,
    pub(crate) before: usize,
}

impl Slot {
    #[cfg(test)]
    pub(crate) fn address(&self) -> usize {
        self.address
    }

    /// # Safety
    /// The library is still loaded. `value` is `before`, or the address of a function that can be called in place of it.
    pub(crate) unsafe fn write(&mut self, value: usize) -> Result<(), String> {
        let page = page_size();
        let start = self.address & !(page - 1);
        let protect = |mode: c_int| {
            // SAFETY: the page belongs to the library's data and stays readable.
            match !self.read_only || unsafe { libc::mprotect(start as *mut c_void, page, mode) } == 0 {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error().to_string()),
            }
        };
        protect(libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: an aligned slot of a loaded library, now writable. Other threads may read it at the same time.
        unsafe { AtomicUsize::from_ptr(self.address as *mut usize) }.store(value, Ordering::Release);
        // Failing here only leaves the page writable.
        let _ = protect(libc::PROT_READ);
        Ok(())
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// A loaded library.
struct Module {
    base: usize,
    dynamic: usize,
    /// The part that the loader made read-only after filling it in.
    read_only: Range<usize>,
}

/// An entry of the dynamic section.
#[repr(C)]
#[derive(Clone, Copy)]
struct Entry {
    tag: usize,
    value: usize,
}

const DT_NULL: usize = 0;
const DT_PLTRELSZ: usize = 2;
const DT_STRTAB: usize = 5;
const DT_SYMTAB: usize = 6;
const DT_RELA: usize = 7;
const DT_RELASZ: usize = 8;
const DT_PLTREL: usize = 20;
const DT_JMPREL: usize = 23;

/// The relocation types that store a function's full address: GLOB_DAT and JUMP_SLOT.
#[cfg(target_arch = "x86_64")]
const ADDRESSES: [u64; 2] = [6, 7];
#[cfg(target_arch = "aarch64")]
const ADDRESSES: [u64; 2] = [1025, 1026];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ADDRESSES: [u64; 0] = [];

impl Module {
    /// The library that contains `address`.
    fn of(address: *const c_void) -> Option<Self> {
        let mut search = (address as usize, None);
        // SAFETY: `visit` gets the pointer passed here.
        unsafe { libc::dl_iterate_phdr(Some(Self::visit), (&raw mut search).cast()) };
        search.1
    }

    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: the loader's description and the search of `of`, both valid during the call.
        let (info, search) = unsafe { (&*info, &mut *data.cast::<(usize, Option<Module>)>()) };
        // SAFETY: so many segments, which stay while the library is loaded.
        let segments = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let base = info.dlpi_addr as usize;
        let range = |segment: &libc::Elf64_Phdr| {
            let start = base + segment.p_vaddr as usize;
            start..start + segment.p_memsz as usize
        };
        let of_kind = |kind| segments.iter().filter(move |segment| segment.p_type == kind).map(range);
        if !of_kind(libc::PT_LOAD).any(|range| range.contains(&search.0)) {
            return 0;
        }
        // The loader protects whole pages only, so the last partial page stays writable.
        let whole_pages = |range: Range<usize>| range.start..range.end & !(page_size() - 1);
        let read_only = of_kind(libc::PT_GNU_RELRO).next().map(whole_pages).unwrap_or(0..0);
        search.1 = of_kind(libc::PT_DYNAMIC).next().map(|dynamic| Module { base, dynamic: dynamic.start, read_only });
        1
    }

    /// The value of a tag in the dynamic section.
    fn tag(&self, tag: usize) -> Option<usize> {
        let entries = self.dynamic as *const Entry;
        // SAFETY: the section of a loaded library ends with DT_NULL.
        let entries = (0..).map(|i| unsafe { *entries.add(i) }).take_while(|entry| entry.tag != DT_NULL);
        entries.filter(|entry| entry.tag == tag).map(|entry| entry.value).next()
    }

    /// The address in a tag of the dynamic section. Some loaders have added the base to it, others leave it as in the
    /// file.
    fn address(&self, tag: usize) -> Option<usize> {
        self.tag(tag).map(|value| if value < self.base { self.base + value } else { value })
    }

    /// The slots for this function.
    fn slots(&self, function: &CStr) -> Vec<Slot> {
        let (Some(symbols), Some(strings)) = (self.address(DT_SYMTAB), self.address(DT_STRTAB)) else { return vec![] };
        let jumps = self.tag(DT_PLTREL) == Some(DT_RELA);
        let tables = [
            self.address(DT_RELA).zip(self.tag(DT_RELASZ)),
            self.address(DT_JMPREL).zip(self.tag(DT_PLTRELSZ)).filter(|_| jumps),
        ];
        let relocations = tables.into_iter().flatten().flat_map(|(start, bytes)| {
            let count = bytes / size_of::<libc::Elf64_Rela>();
            // SAFETY: tables of the loaded library, with these sizes.
            unsafe { std::slice::from_raw_parts(start as *const libc::Elf64_Rela, count) }
        });
        let addresses = relocations.filter(|relocation| ADDRESSES.contains(&(relocation.r_info & 0xffff_ffff)));
        let found = addresses.filter(|relocation| {
            let index = (relocation.r_info >> 32) as usize;
            // SAFETY: a symbol in the library's table, and its name.
            let name = unsafe {
                let symbol = &*(symbols as *const libc::Elf64_Sym).add(index);
                CStr::from_ptr((strings as *const c_char).add(symbol.st_name as usize))
            };
            name == function
        });
        let slot = |relocation: &libc::Elf64_Rela| {
            let address = self.base + relocation.r_offset as usize;
            // SAFETY: a slot of the loaded library.
            let before = unsafe { AtomicUsize::from_ptr(address as *mut usize) }.load(Ordering::Acquire);
            Slot { address, read_only: self.read_only.contains(&address), before }
        };
        found.map(slot).collect()
    }
}
