//! Files and folders that are there after a power loss, too.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Result, Write};
use std::path::Path;

/// Creates a folder and those above it that are missing.
pub fn create_folder(folder: &Path) -> Result<()> {
    // The empty path is the working folder.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new(""));
    create_folder(above)?;
    match std::fs::create_dir(folder) {
        // Another worker was faster.
        Err(e) if e.kind() == ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(e) => Err(e),
        Ok(()) => {
            sync_folder(above);
            Ok(())
        }
    }
}

/// Puts a folder's list of files on the disk. Not every file system can.
pub fn sync_folder(folder: &Path) {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Writes a file that appears complete or not at all, and is on the disk then. `ready` gets it before it has its name.
pub fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<()>,
    ready: impl FnOnce(&File) -> Result<()>,
) -> Result<File> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Only the job that has locked the folder's manifest writes here, so what has this name was left by one that was killed.
    let unfinished = path.with_file_name(format!(".{name}.tmp"));
    let attempt = || {
        let file = OpenOptions::new().read(true).append(true).create(true).open(&unfinished)?;
        file.set_len(0)?;
        let mut writer = BufWriter::new(&file);
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        ready(&file)?;
        std::fs::rename(&unfinished, path)?;
        Ok(file)
    };
    let result = attempt();
    match result {
        Ok(_) => sync_folder(path.parent().unwrap_or(Path::new(""))),
        Err(_) => drop(std::fs::remove_file(&unfinished)),
    }
    result
}
