//! Reads which libraries a shared library needs.

use crate::error::{Result, fail};
use std::ffi::CStr;
use std::path::Path;

/// The names of the libraries that a 64-bit ELF file of this machine's byte order needs.
pub(super) fn needed_libraries(path: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Option<Vec<String>>> {
        let file = std::fs::File::open(path)?;
        // SAFETY: the mapping is read-only, and the file is a library in use.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(elf_needed(&map))
    };
    match read() {
        Ok(Some(names)) => Ok(names),
        Ok(None) => fail!(Provider, "{}: not a shared library for this machine", path.display()),
        Err(e) => fail!(Provider, "{}: {e}", path.display()),
    }
}

fn elf_needed(file: &[u8]) -> Option<Vec<String>> {
    const PT_LOAD: u32 = 1;
    const PT_DYNAMIC: u32 = 2;
    const DT_NEEDED: u64 = 1;
    const DT_STRTAB: u64 = 5;
    let u16_at = |at: usize| Some(u16::from_ne_bytes(file.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(file.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_ne_bytes(file.get(at..at.checked_add(8)?)?.try_into().ok()?));
    let class = if cfg!(target_endian = "little") { [2, 1] } else { [2, 2] };
    if file.get(..6)? != [&b"\x7fELF"[..], &class].concat() {
        return None;
    }
    let (table, entry, count) = (u64_at(32)? as usize, u16_at(54)? as usize, u16_at(56)? as usize);
    if table > file.len() {
        return None;
    }
    // Per segment: kind, file offset, address, length in the file.
    let segments: Vec<(u32, u64, u64, u64)> = (0..count)
        .map(|i| {
            let at = table.checked_add(i * entry)?;
            Some((u32_at(at)?, u64_at(at + 8)?, u64_at(at + 16)?, u64_at(at + 32)?))
        })
        .collect::<Option<_>>()?;
    let (_, start, _, length) = *segments.iter().find(|segment| segment.0 == PT_DYNAMIC)?;
    let (mut names, mut strings) = (vec![], None);
    for at in (start..start.checked_add(length)?).step_by(16) {
        match (u64_at(at as usize)?, u64_at(at as usize + 8)?) {
            (0, _) => break,
            (DT_NEEDED, name) => names.push(name),
            (DT_STRTAB, address) => strings = Some(address),
            _ => {}
        }
    }
    let strings = strings?;
    let holds = |s: &&(u32, u64, u64, u64)| s.0 == PT_LOAD && (s.2..s.2.saturating_add(s.3)).contains(&strings);
    let (_, offset, address, _) = *segments.iter().find(holds)?;
    let strings = strings - address + offset;
    let name = |name: u64| {
        let text = CStr::from_bytes_until_nul(file.get(strings.checked_add(name)? as usize..)?).ok()?;
        Some(text.to_string_lossy().into_owned())
    };
    names.into_iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read_from_the_file() {
        let runtime = std::env::var_os("WFVAE_ONNXRUNTIME").expect("set by .cargo/config.toml");
        let runtime = Path::new(&runtime);
        let needed = needed_libraries(runtime).unwrap();
        assert!(needed.iter().any(|name| name == "libc.so.6"), "{needed:?}");
        let bytes = std::fs::read(runtime).unwrap();
        for cut in [0, 5, 40, 64, 200, 5000] {
            assert!(elf_needed(&bytes[..cut]).is_none(), "{cut} bytes of a library");
        }
    }
}
