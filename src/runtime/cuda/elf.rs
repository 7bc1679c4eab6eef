//! Reads which libraries a shared library needs.

use crate::error::{Result, fail};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// Longer names than any file has.
const MAX_NAME: u64 = 4096;

/// The names of the libraries that a 64-bit ELF file of this machine's byte order needs.
pub(super) fn needed_libraries(path: &Path) -> Result<Vec<String>> {
    // The file is not mapped: if another program truncated it, a mapping would crash the process.
    match File::open(path).and_then(elf_needed) {
        Ok(names) => Ok(names),
        Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
            fail!(Provider, "{}: not a shared library for this machine", path.display())
        }
        Err(e) => fail!(Provider, "{}: {e}", path.display()),
    }
}

/// What is not such a file is `InvalidData`, or its end comes too early.
fn elf_needed(mut file: impl Read + Seek) -> io::Result<Vec<String>> {
    const PT_LOAD: u64 = 1;
    const PT_DYNAMIC: u64 = 2;
    const DT_NEEDED: u64 = 1;
    const DT_STRTAB: u64 = 5;
    let wrong = || io::Error::from(ErrorKind::InvalidData);
    let mut header = [0; 64];
    file.read_exact(&mut header)?;
    let class = if cfg!(target_endian = "little") { [2, 1] } else { [2, 2] };
    if header[..6] != [&b"\x7fELF"[..], &class].concat() {
        return Err(wrong());
    }
    let (table, entry, count) = (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    // Per segment: kind, file offset, address, length in the file.
    let mut segments = vec![];
    for i in 0..count {
        file.seek(SeekFrom::Start(table.checked_add(i * entry).ok_or_else(wrong)?))?;
        let mut segment = [0; 40];
        file.read_exact(&mut segment)?;
        let [kind, offset] = [number(&segment[..4]), number(&segment[8..16])];
        segments.push((kind, offset, number(&segment[16..24]), number(&segment[32..40])));
    }
    let (_, start, _, length) = *segments.iter().find(|segment| segment.0 == PT_DYNAMIC).ok_or_else(wrong)?;
    file.seek(SeekFrom::Start(start))?;
    let (mut names, mut strings) = (vec![], None);
    for _ in 0..length / 16 {
        let mut pair = [0; 16];
        file.read_exact(&mut pair)?;
        match (number(&pair[..8]), number(&pair[8..])) {
            (0, _) => break,
            (DT_NEEDED, name) => names.push(name),
            (DT_STRTAB, address) => strings = Some(address),
            _ => {}
        }
    }
    let strings = strings.ok_or_else(wrong)?;
    let holds = |s: &&(u64, u64, u64, u64)| s.0 == PT_LOAD && (s.2..s.2.saturating_add(s.3)).contains(&strings);
    let (_, offset, address, _) = *segments.iter().find(holds).ok_or_else(wrong)?;
    let strings = (strings - address).checked_add(offset).ok_or_else(wrong)?;
    let mut name = |name: u64| {
        file.seek(SeekFrom::Start(strings.checked_add(name).ok_or_else(wrong)?))?;
        let mut text = vec![];
        file.by_ref().take(MAX_NAME).read_to_end(&mut text)?;
        let text = CStr::from_bytes_until_nul(&text).map_err(|_| wrong())?;
        Ok(text.to_string_lossy().into_owned())
    };
    names.into_iter().map(&mut name).collect()
}

/// In this machine's byte order, from up to 8 bytes.
fn number(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    let start = if cfg!(target_endian = "little") { 0 } else { all.len() - bytes.len() };
    all[start..][..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(all)
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
            assert!(elf_needed(io::Cursor::new(&bytes[..cut])).is_err(), "{cut} bytes of a library");
        }
    }
}
