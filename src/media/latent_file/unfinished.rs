//! The temporary files of latent writers. A living writer holds a lock on its file, which ends with the process. So a
//! file that nobody locks was left by a process that was killed, and the next writer of the same target removes it.

use crate::platform;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Bytes of the target's name that the temporary name repeats, so that it is never too long for a file system.
const NAME_BYTES: usize = 200;
const SUFFIX: &str = ".tmp";
/// How many writers a target can have at a time.
const SLOTS: usize = 100;

/// Creates and locks a temporary file for a target. It gets the first number that is free, or that of a file that a killed process
/// left. So the folder is not searched, which would take long if it has many files.
pub(super) fn create(folder: &Path, target: &Path) -> Result<NamedTempFile> {
    let prefix = prefix(target);
    let mut denied = None;
    for slot in 0..SLOTS {
        let path = numbered(folder, &prefix, slot);
        let created = create_one(folder, &prefix, slot).or_else(|e| match e.kind() {
            // What cannot be removed stays, and keeps its number.
            ErrorKind::AlreadyExists if remove_if_abandoned(&path).unwrap_or(false) => {
                create_one(folder, &prefix, slot)
            }
            _ => Err(e),
        });
        let mut file = match created {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => continue,
            // On Windows that may be the name alone: of a file that was deleted while another writer looks at it.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                denied = Some(e);
                continue;
            }
            Err(e) => return Err(e),
        };
        // Another writer may take a file that is not locked yet for abandoned. It locks the file before it removes it.
        let taken = !lock(file.as_file()).unwrap_or(true);
        if !taken && platform::link_count(file.as_file())? > 0 {
            // Of several writers at once, a later one may have been killed. Mostly there is no next file.
            let _ =
                (slot + 1..SLOTS).try_for_each(|slot| remove_if_abandoned(&numbered(folder, &prefix, slot)).map(drop));
            return Ok(file);
        }
        // What has this name now is not ours.
        file.disable_cleanup(true);
    }
    Err(denied.unwrap_or_else(|| {
        Error::other(format!(
            "there are {SLOTS} unfinished files {prefix}N{SUFFIX}; delete those that no program writes"
        ))
    }))
}

fn numbered(folder: &Path, prefix: &str, slot: usize) -> PathBuf {
    folder.join(format!("{prefix}{slot}{SUFFIX}"))
}

fn create_one(folder: &Path, prefix: &str, slot: usize) -> Result<NamedTempFile> {
    let mut cause = None;
    let open = |path: &Path| {
        // With the default mode of new files; the umask applies.
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        file.inspect_err(|e| cause = e.raw_os_error())
    };
    let name = format!("{slot}{SUFFIX}");
    let file = tempfile::Builder::new().prefix(prefix).suffix(&name).rand_bytes(0).make_in(folder, open);
    // `tempfile` adds the name of the temporary file to the system's error, which users do not know.
    file.map_err(|e| cause.map_or(e, Error::from_raw_os_error))
}

/// `.NAME.wfvae-`, for a name that is cut if it is long.
fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    format!(".{}.wfvae-", &name[..name.floor_char_boundary(NAME_BYTES)])
}

/// Whether the file was left by a writer that is gone, and is removed now.
fn remove_if_abandoned(path: &Path) -> Result<bool> {
    let file = platform::open_no_follow(path)?;
    // Where a file system has no locks, nothing proves that the writer is gone.
    let abandoned =
        file.metadata()?.is_file() && lock(&file)? && platform::file_id(path) == platform::open_file_id(&file);
    if abandoned {
        std::fs::remove_file(path)?;
    }
    Ok(abandoned)
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

    fn names(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    fn name(file: &NamedTempFile) -> &str {
        file.path().file_name().unwrap().to_str().unwrap()
    }

    #[test]
    fn abandoned_files_of_the_same_target_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("clip.safetensors");
        let living = create(folder.path(), &target).unwrap();
        assert_eq!(name(&living), ".clip.safetensors.wfvae-0.tmp");
        for other in [".other.safetensors.wfvae-2.tmp", ".clip.safetensors.wfvae-abc.tmp", "clip.safetensors"] {
            std::fs::write(folder.path().join(other), "").unwrap();
        }
        platform::symlink("clip.safetensors", folder.path().join(".clip.safetensors.wfvae-1.tmp")).unwrap();
        std::fs::create_dir(folder.path().join(".clip.safetensors.wfvae-2.tmp")).unwrap();
        let before = names(folder.path());
        for slot in [3, 4] {
            std::fs::write(numbered(folder.path(), ".clip.safetensors.wfvae-", slot), "abandoned").unwrap();
        }
        let next = create(folder.path(), &target).unwrap();
        assert_eq!(name(&next), ".clip.safetensors.wfvae-3.tmp");
        assert_eq!(next.as_file().metadata().unwrap().len(), 0);
        assert_eq!(std::fs::metadata(&target).unwrap().len(), 0);
        drop(next);
        assert_eq!(names(folder.path()), before);
        drop(living);
        assert_eq!(name(&create(folder.path(), &target).unwrap()), ".clip.safetensors.wfvae-0.tmp");
    }

    #[test]
    fn writers_of_one_target_have_files_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("clip");
        let all: Vec<_> = std::iter::from_fn(|| create(folder.path(), &target).ok()).collect();
        assert_eq!((all.len(), names(folder.path()).len()), (SLOTS, SLOTS));
        let error = create(folder.path(), &target).unwrap_err().to_string();
        assert!(error.contains("100 unfinished files .clip.wfvae-N.tmp"), "{error}");
    }

    /// Many threads create, replace what others left, and finish, all for one target.
    #[test]
    fn no_writer_loses_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("clip");
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (folder, target) = (folder.path(), &target);
                scope.spawn(move || {
                    for round in 0..200 {
                        let file = create(folder, target).unwrap();
                        std::thread::yield_now();
                        assert_eq!(platform::file_id(file.path()), platform::open_file_id(file.as_file()));
                        match round % 3 {
                            // As a process that is killed leaves it.
                            0 => drop(file.keep().unwrap()),
                            // Windows does not replace a file that another thread has open.
                            1 => drop(file.persist(folder.join(thread.to_string())).unwrap()),
                            _ => drop(file),
                        }
                    }
                });
            }
        });
    }

    /// Where a deleted file keeps its name until it is closed, the next number is taken.
    #[test]
    fn a_writer_that_looks_at_a_file_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("clip");
        let file = create(folder.path(), &target).unwrap();
        let _looks = platform::open_no_follow(file.path()).unwrap();
        drop(file);
        create(folder.path(), &target).unwrap();
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
