//! A finished latent file is on the disk before it has its name. This program's own fsync, which the library calls, looks on.
#![cfg(target_os = "linux")]

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Mutex;
use tempfile::TempDir;
use wfvae::{LatentType, LatentWriter, Latents};

/// Inode and size of what was brought to the disk, and whether the file had its name by then.
type Synced = (u64, u64, bool);

/// The file that is being written, and what was brought to the disk so far.
static WATCHED: Mutex<Option<(PathBuf, Vec<Synced>)>> = Mutex::new(None);

/// Takes the place of the C library's for all that is linked into this program.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: libc::c_int) -> libc::c_int {
    if let Some((path, seen)) = WATCHED.lock().unwrap().as_mut() {
        let meta = std::fs::metadata(format!("/proc/self/fd/{fd}")).unwrap();
        seen.push((meta.ino(), meta.len(), path.exists()));
    }
    // SAFETY: what the C library does.
    unsafe { libc::syscall(libc::SYS_fsync, fd) as libc::c_int }
}

#[test]
fn a_latent_file_is_on_the_disk_before_it_has_its_name() {
    let stream = common::stream(&common::open("v1-tiny"), 16, 16);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("latents");
    let mut writer = LatentWriter::create(&path, stream.latent_file(LatentType::F32)).unwrap();
    writer.write(Latents::F32(&[0.5; 16])).unwrap();
    *WATCHED.lock().unwrap() = Some((path.clone(), vec![]));
    writer.finish(1).unwrap();
    let (_, seen) = WATCHED.lock().unwrap().take().unwrap();
    let [file, parent] = [&path, folder.path()].map(|path| std::fs::metadata(path).unwrap());
    // All of it, under its temporary name; then the folder that holds the new one.
    assert_eq!(seen[0], (file.ino(), file.len(), false), "{seen:?}");
    assert_eq!((seen[1].0, seen[1].2), (parent.ino(), true), "{seen:?}");
}
