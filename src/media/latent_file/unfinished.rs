//! The temporary files of latent writers. A living writer holds a lock on its file, which ends with the process. So a
//! file that nobody locks was left by a process that was killed, and the next writer of the same target removes it.

use crate::platform;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Result;
use std::path::Path;
use tempfile::NamedTempFile;

/// Bytes of the target's name that the temporary name repeats, so that it is never too long for a file system.
const NAME_BYTES: usize = 200;
const SUFFIX: &str = ".tmp";
/// Random letters between prefix and suffix.
const RANDOM: usize = 6;
/// How often another process may remove a new file before it is locked.
const ATTEMPTS: usize = 16;

/// Creates and locks a temporary file for a target, and removes those that killed processes left.
pub(super) fn create(folder: &Path, target: &Path) -> Result<NamedTempFile> {
    let prefix = prefix(target);
    remove_abandoned(folder, &prefix);
    let mut file = create_one(folder, &prefix)?;
    for _ in 0..ATTEMPTS {
        // Another writer may take a file that is not locked yet for abandoned. It locks the file before it removes it.
        let taken = !lock(file.as_file()).unwrap_or(true);
        if !taken && platform::link_count(file.as_file())? > 0 {
            break;
        }
        file = create_one(folder, &prefix)?;
    }
    Ok(file)
}

fn create_one(folder: &Path, prefix: &str) -> Result<NamedTempFile> {
    let mut cause = None;
    let open = |path: &Path| {
        // With the default mode of new files; the umask applies.
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        file.inspect_err(|e| cause = e.raw_os_error())
    };
    let file = tempfile::Builder::new().prefix(prefix).suffix(SUFFIX).rand_bytes(RANDOM).make_in(folder, open);
    // `tempfile` adds the name of the temporary file to the system's error, which users do not know.
    file.map_err(|e| cause.map_or(e, std::io::Error::from_raw_os_error))
}

/// `.NAME.wfvae-`, for a name that is cut if it is long.
fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    format!(".{}.wfvae-", &name[..name.floor_char_boundary(NAME_BYTES)])
}

fn remove_abandoned(folder: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|n| n.strip_prefix(prefix)?.strip_suffix(SUFFIX));
        if random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|letter| letter.is_ascii_alphanumeric())) {
            // What cannot be removed stays; it is in nobody's way.
            let _ = remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(path: &Path) -> Result<()> {
    let file = platform::open_no_follow(path)?;
    // Where a file system has no locks, nothing proves that the writer is gone.
    if file.metadata()?.is_file() && lock(&file)? && platform::file_id(path) == platform::open_file_id(&file) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Whether this process has the file's lock now; false if another one has it.
fn lock(file: &File) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_abandoned_files_of_the_same_target_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("clip.safetensors");
        let names = || {
            let names =
                std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<_> = names.collect();
            names.sort();
            names
        };
        let living = create(folder.path(), &target).unwrap();
        let name = living.path().file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(".clip.safetensors.wfvae-") && name.ends_with(".tmp"), "{name}");
        let others = [".other.safetensors.wfvae-abcdef.tmp", ".clip.safetensors.wfvae-abc.tmp", "clip.safetensors"];
        for other in others {
            std::fs::write(folder.path().join(other), "").unwrap();
        }
        platform::symlink("clip.safetensors", folder.path().join(".clip.safetensors.wfvae-linked.tmp")).unwrap();
        let before = names();
        std::fs::write(folder.path().join(".clip.safetensors.wfvae-abcdef.tmp"), "abandoned").unwrap();
        drop(create(folder.path(), &target).unwrap());
        assert_eq!(names(), before);
    }

    #[test]
    fn long_names_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        create(folder.path(), &folder.path().join("x".repeat(255))).unwrap();
    }

    #[test]
    fn errors_do_not_name_the_temporary_file() {
        let error = create(Path::new("/no/such/folder"), Path::new("clip")).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert!(!error.to_string().contains("wfvae-"), "{error}");
    }
}
