//! Folders that are there after a power loss, too.

use std::fs::File;
use std::io::{ErrorKind, Result};
use std::path::Path;

/// Creates a folder and those above it that are missing.
pub fn create(folder: &Path) -> Result<()> {
    // The empty path is the working folder.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    create(above)?;
    match std::fs::create_dir(folder) {
        // Another worker was faster.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(e),
        Ok(()) => {
            sync(above);
            Ok(())
        }
    }
}

/// Puts a folder's list of files on the disk. Not every file system can.
pub fn sync(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}
