//! What targets and tests/findings.rs share: errors are looked at, and files are held in memory.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Looks at an error of an input of so many bytes: it has a text, which is not much longer than the input, and is no bug.
pub fn check(error: &wfvae::Error, input: usize) {
    assert!(error.kind() != wfvae::ErrorKind::Internal, "{error}");
    assert!(error.kind() != wfvae::ErrorKind::OutOfMemory, "{error}");
    let text = error.text();
    assert!(!text.is_empty() && text.len() <= 2000 + 8 * input, "an error of {} bytes", text.len());
}

/// The folder of the golden models.
pub fn golden() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("fuzz") { package.parent().unwrap_or(package) } else { package };
    root.join("tests/golden")
}

/// The bytes of data that a header of safetensors asks for: the largest end of a tensor.
pub fn data_len(header: &[u8]) -> Option<usize> {
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    let ends = header.as_object()?.values().filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    ends.max().map(|end| end as usize)
}

/// A file in memory, for calls that take a path.
pub struct MemoryFile(File);

impl MemoryFile {
    pub fn new() -> Self {
        let name = format!("/dev/shm/wfvae-fuzz-{}", std::process::id());
        let options = || File::options().read(true).write(true).create_new(true).open(&name);
        let file = options().expect("a file in /dev/shm");
        std::fs::remove_file(&name).expect("it was made");
        MemoryFile(file)
    }

    pub fn fill(&mut self, bytes: &[u8]) {
        self.0.set_len(0).expect("an own file");
        self.0.rewind().expect("an own file");
        self.0.write_all(bytes).expect("memory for a file");
    }

    /// It stays the same.
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}

impl Default for MemoryFile {
    fn default() -> Self {
        Self::new()
    }
}
