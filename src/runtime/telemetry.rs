//! ONNX Runtime's telemetry, which must be off before it begins.
//!
//! Since version 1.29 the first environment of a process starts it: it writes a device's number and a data base under the
//! home folder, and leaves a thread that sends them to Microsoft. Nothing in the API comes before that;
//! `DisableTelemetryEvents` starts it too. What is asked is the environment variable `ORT_DISABLE_TELEMETRY`, once. To set
//! that would race with whatever other thread of the program reads its environment. So for the moment in which the
//! environment is made, the runtime's own calls of `getenv`, and nobody else's, lead to a function here that answers for
//! that one variable. They do so by a slot that the loader filled in.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The minor version that began with it.
const SINCE: u32 = 29;
/// The variable of all releases so far, and the name that it had before the first one.
const VARIABLES: [&CStr; 2] = [c"ORT_DISABLE_TELEMETRY", c"ORT_TELEMETRY_DISABLED"];

/// While it lives, the runtime finds that the user wants no telemetry.
pub(super) struct OptOut {
    slots: Vec<Slot>,
}

impl OptOut {
    /// `entry`: a function of the library. `None`: there was nothing to do, as the runtime has no telemetry or the program
    /// has set the variable, to whatever it wants. An error is a reason for a warning.
    pub(super) fn new(version: &str, entry: *const c_void) -> Result<Option<Self>, String> {
        let answered = VARIABLES.iter().any(|name| {
            let name = name.to_str().expect("ASCII");
            std::env::var_os(name).is_some_and(|value| !value.is_empty())
        });
        if answered || !super::library::is_new_enough(version, SINCE) {
            return Ok(None);
        }
        let slots = Module::of(entry).map(|module| module.slots(c"getenv")).unwrap_or_default();
        let mut opt_out = OptOut { slots: vec![] };
        for mut slot in slots {
            slot.write(Self::getenv as *const () as usize)?;
            opt_out.slots.push(slot);
        }
        if opt_out.slots.is_empty() {
            return Err("it does not look for environment variables by getenv".into());
        }
        Ok(Some(opt_out))
    }

    /// What the runtime calls meanwhile.
    unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
        // SAFETY: the caller of getenv gives a string.
        match VARIABLES.contains(&unsafe { CStr::from_ptr(name) }) {
            true => c"1".as_ptr().cast_mut(),
            false => unsafe { libc::getenv(name) },
        }
    }
}

impl Drop for OptOut {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            // What could be written once can be written again; if not, our function answers for good.
            let _ = slot.write(slot.before);
        }
    }
}

/// Where a library keeps the address of a function of another one.
struct Slot {
    address: usize,
    /// The loader has made it read-only.
    read_only: bool,
    before: usize,
}

impl Slot {
    fn write(&mut self, value: usize) -> Result<(), String> {
        let page = page_size();
        let start = self.address & !(page - 1);
        let protect = |mode: c_int| {
            // SAFETY: a page of the library's data, which stays readable.
            match !self.read_only || unsafe { libc::mprotect(start as *mut c_void, page, mode) } == 0 {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error().to_string()),
            }
        };
        protect(libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: an aligned slot of a loaded library, which is writable now. Other threads may read it meanwhile.
        unsafe { AtomicUsize::from_ptr(self.address as *mut usize) }.store(value, Ordering::Release);
        // Its own wish for safety: failing here harms nobody.
        let _ = protect(libc::PROT_READ);
        Ok(())
    }
}

fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// A loaded library, as the loader describes it.
struct Module {
    base: usize,
    dynamic: usize,
    /// What the loader made read-only after it filled it in.
    read_only: Range<usize>,
}

/// Of the dynamic section.
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

/// Relocations that are a function's whole address: GLOB_DAT and JUMP_SLOT.
#[cfg(target_arch = "x86_64")]
const ADDRESSES: [u64; 2] = [6, 7];
#[cfg(target_arch = "aarch64")]
const ADDRESSES: [u64; 2] = [1025, 1026];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ADDRESSES: [u64; 0] = [];

impl Module {
    /// The one that holds `address`.
    fn of(address: *const c_void) -> Option<Self> {
        let mut search = (address as usize, None);
        // SAFETY: `visit` gets what is passed here.
        unsafe { libc::dl_iterate_phdr(Some(Self::visit), (&raw mut search).cast()) };
        search.1
    }

    unsafe extern "C" fn visit(info: *mut libc::dl_phdr_info, _: usize, data: *mut c_void) -> c_int {
        // SAFETY: the loader's description and `of`'s search, which live through the call.
        let (info, search) = unsafe { (&*info, &mut *data.cast::<(usize, Option<Module>)>()) };
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
        // Of the last page only a part belongs to it, so that one stays as it is.
        let whole_pages = |range: Range<usize>| range.start..range.end & !(page_size() - 1);
        let read_only = of_kind(libc::PT_GNU_RELRO).next().map(whole_pages).unwrap_or(0..0);
        search.1 = of_kind(libc::PT_DYNAMIC).next().map(|dynamic| Module { base, dynamic: dynamic.start, read_only });
        1
    }

    /// The value of a tag of the dynamic section.
    fn tag(&self, tag: usize) -> Option<usize> {
        let entries = self.dynamic as *const Entry;
        // SAFETY: the section of a loaded library ends with DT_NULL.
        let entries = (0..).map(|i| unsafe { *entries.add(i) }).take_while(|entry| entry.tag != DT_NULL);
        entries.filter(|entry| entry.tag == tag).map(|entry| entry.value).next()
    }

    /// An address of the dynamic section. Some loaders add the base to it, some leave it as it is in the file.
    fn address(&self, tag: usize) -> Option<usize> {
        self.tag(tag).map(|value| if value < self.base { self.base + value } else { value })
    }

    /// Where it keeps the addresses of this function.
    fn slots(&self, function: &CStr) -> Vec<Slot> {
        let (Some(symbols), Some(strings)) = (self.address(DT_SYMTAB), self.address(DT_STRTAB)) else { return vec![] };
        let jumps = self.tag(DT_PLTREL) == Some(DT_RELA);
        let tables = [
            self.address(DT_RELA).zip(self.tag(DT_RELASZ)),
            self.address(DT_JMPREL).zip(self.tag(DT_PLTRELSZ)).filter(|_| jumps),
        ];
        let relocations = tables.into_iter().flatten().flat_map(|(start, bytes)| {
            // SAFETY: tables of the loaded library, of these sizes.
            let count = bytes / size_of::<libc::Elf64_Rela>();
            unsafe { std::slice::from_raw_parts(start as *const libc::Elf64_Rela, count) }
        });
        let addresses = relocations.filter(|relocation| ADDRESSES.contains(&(relocation.r_info & 0xffff_ffff)));
        let found = addresses.filter(|relocation| {
            let index = (relocation.r_info >> 32) as usize;
            // SAFETY: a symbol of the library's table and its name.
            let name = unsafe {
                let symbol = &*(symbols as *const libc::Elf64_Sym).add(index);
                CStr::from_ptr((strings as *const c_char).add(symbol.st_name as usize))
            };
            name == function
        });
        let slot = |relocation: &libc::Elf64_Rela| {
            let address = self.base + relocation.r_offset as usize;
            // SAFETY: the slot of a loaded library.
            let before = unsafe { AtomicUsize::from_ptr(address as *mut usize) }.load(Ordering::Acquire);
            Slot { address, read_only: self.read_only.contains(&address), before }
        };
        found.map(slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logger::Logger;
    use crate::runtime::Runtime;

    fn slots() -> Vec<Slot> {
        let runtime = Runtime::get(None, &Logger::default()).unwrap();
        Module::of(runtime.library.entry.0).unwrap().slots(c"getenv")
    }

    /// What the runtime would call.
    fn ask(slot: &Slot, name: &CStr) -> Option<String> {
        // SAFETY: the slot holds a function like getenv.
        let value = unsafe {
            let getenv = *(slot.address as *const unsafe extern "C" fn(*const c_char) -> *mut c_char);
            getenv(name.as_ptr())
        };
        // SAFETY: a string of the environment, or NULL.
        (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned())
    }

    #[test]
    fn only_the_runtime_is_told_and_only_while_it_is_needed() {
        if VARIABLES.iter().any(|name| std::env::var_os(name.to_str().unwrap()).is_some()) {
            return println!("skipped: {VARIABLES:?} must not be set");
        }
        let before: Vec<usize> = slots().iter().map(|slot| slot.before).collect();
        // Those of the environment that there is, which was made with another function in them.
        assert!(!before.is_empty() && before.iter().all(|address| *address != OptOut::getenv as *const () as usize));
        let path = std::env::var("PATH").unwrap();
        {
            let entry = Runtime::get(None, &Logger::default()).unwrap().library.entry.0;
            let _opt_out = OptOut::new("1.99.0", entry).unwrap().expect("no variable is set");
            for slot in &slots() {
                assert_eq!(ask(slot, c"ORT_DISABLE_TELEMETRY").as_deref(), Some("1"));
                assert_eq!(ask(slot, c"PATH").as_ref(), Some(&path));
                assert_eq!(ask(slot, c"WFVAE_NO_SUCH_VARIABLE"), None);
            }
            assert!(std::env::var_os("ORT_DISABLE_TELEMETRY").is_none());
            assert!(OptOut::new("1.28.0", entry).unwrap().is_none());
            assert!(OptOut::new("1.29.0", entry).unwrap().is_some());
        }
        assert_eq!(slots().iter().map(|slot| slot.before).collect::<Vec<usize>>(), before);
    }
}
