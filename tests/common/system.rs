//! What tests of files need of the operating system.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A device, which can be opened but is no file.
#[cfg(unix)]
pub const DEVICE: &str = "/dev/null";
#[cfg(windows)]
pub const DEVICE: &str = r"\\.\NUL";

/// What the errors of all systems have in common if a path leads nowhere.
pub const NOT_FOUND: &str = "(os error 2)";

/// Makes a link. False if the system then does not follow it, as Wine with some: there is nothing to test.
#[cfg(unix)]
pub fn symlink(target: impl AsRef<Path>, link: impl AsRef<Path>) -> bool {
    std::os::unix::fs::symlink(target, link).unwrap();
    true
}

/// Windows has one kind of link for folders and another for files. Making one takes developer mode, or an administrator.
#[cfg(windows)]
pub fn symlink(target: impl AsRef<Path>, link: impl AsRef<Path>) -> bool {
    let (target, link) = (target.as_ref(), link.as_ref());
    let target = PathBuf::from(target.to_str().unwrap().replace('/', r"\"));
    let target = if target.has_root() { std::path::absolute(target).unwrap() } else { target };
    let full = link.parent().unwrap().join(&target);
    match full.is_dir() {
        true => std::os::windows::fs::symlink_dir(target, link).unwrap(),
        false => std::os::windows::fs::symlink_file(target, link).unwrap(),
    }
    let follows = link.exists() == full.exists();
    if !follows {
        println!("skipped: this system does not follow the link {}", link.display());
    }
    follows
}

/// A pipe with a name, where the system keeps such among files.
pub fn pipe(folder: &Path) -> Option<PathBuf> {
    let pipe = folder.join("pipe");
    if cfg!(windows) {
        return None;
    }
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    Some(pipe)
}

/// Whether a file can be replaced while somebody reads it: always on Unix, on Windows where the file system can.
pub fn replaces_open_files() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name));
    std::fs::write(&old, "old").unwrap();
    std::fs::write(&new, "new").unwrap();
    let _reader = std::fs::File::open(&old).unwrap();
    std::fs::rename(new, old).is_ok()
}

/// Overwrites a part of a file.
pub fn write_at(mut file: &std::fs::File, bytes: &[u8], offset: u64) {
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}
