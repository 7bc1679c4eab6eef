//! Disks that are full or read-only, and files that other programs cut.

use super::MODELS;
use super::resources::{Files, Resources, files, put};
use super::work::{Objects, Step, Work};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use wfvae::{ErrorKind, LatentReader, LatentsMut};

const STEPS: [Step; 2] = [Step::Write, Step::Save];

/// Mounts a tmpfs of so many bytes at a folder, or mounts it again, for this process alone. It goes with the process.
fn mount(folder: &Path, bytes: usize, flags: libc::c_ulong) -> std::io::Result<()> {
    let target = CString::new(folder.as_os_str().as_bytes()).unwrap();
    let size = CString::new(format!("size={bytes}")).unwrap();
    let none = c"none".as_ptr();
    match unsafe { libc::mount(none, target.as_ptr(), c"tmpfs".as_ptr(), flags, size.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Where a disk is mounted. It ends with this, so that the folder below it can be deleted.
struct Disk(tempfile::TempDir);

impl Disk {
    fn resize(&self, bytes: usize) {
        mount(self.0.path(), bytes, libc::MS_REMOUNT).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let folder = CString::new(self.0.path().as_os_str().as_bytes()).unwrap();
        unsafe { libc::umount2(folder.as_ptr(), libc::MNT_DETACH) };
    }
}

/// A small disk; `None` where none can be mounted. Before there are threads.
fn disk(bytes: usize) -> Option<Disk> {
    let folder = tempfile::tempdir().unwrap();
    // A user may mount in a namespace of users, where the system allows that.
    let spaces = libc::CLONE_NEWNS | if unsafe { libc::geteuid() } == 0 { 0 } else { libc::CLONE_NEWUSER };
    let flags = libc::MS_PRIVATE | libc::MS_REC;
    let nothing = std::ptr::null();
    let apart = unsafe {
        libc::unshare(spaces) == 0 && libc::mount(nothing, c"/".as_ptr(), nothing, flags, nothing.cast()) == 0
    };
    (apart && mount(folder.path(), bytes, 0).is_ok()).then_some(Disk(folder))
}

pub fn full() {
    let Some(disk) = disk(16 << 20) else { return println!("done: skipped, no disk can be mounted") };
    let mut work = Work::within(tempfile::tempdir_in(disk.0.path()).unwrap(), Path::new(MODELS[0]), 2);
    let mut objects = Objects::default();
    work.steps(&mut objects, &Step::ALL, || (), || ()).unwrap();
    let (path, right, hash) = (work.folder().to_path_buf(), files(work.folder()), work.hash());
    let (mut refused, mut went_on) = (0, 0);
    for step in STEPS {
        // Only what this step writes.
        let result = |found: &Files| -> Files {
            let own = |path: &Path| (step == Step::Write) == (path == work_file(&right));
            found.iter().filter(|(path, _)| own(path)).map(|(path, content)| (path.clone(), content.clone())).collect()
        };
        let right = result(&right);
        let old: Files = right.keys().map(|path| (path.clone(), vec![7; 5000])).collect();
        let whole = right.values().map(Vec::len).sum::<usize>();
        for place in [&Files::new(), &old] {
            for part in 0..=12 {
                disk.resize(16 << 20);
                put(&path, place);
                // Folders take none of it. The last one has room for all.
                let bytes = place.values().map(|content| content.len().next_multiple_of(4096)).sum::<usize>()
                    + if part == 12 { 2 * whole + (1 << 20) } else { part * whole / 12 };
                disk.resize(bytes.next_multiple_of(4096).max(4096));
                let held = Resources::now();
                let case = format!("{step:?} with {part}/12, {} old files", place.len());
                println!("{case}");
                let result = work.steps(&mut objects, &[step], || (), || ());
                let found = files(&path);
                match result {
                    Ok(()) => {
                        assert!(found == right, "{case}: {:?}", found.keys());
                        went_on += 1;
                    }
                    Err(e) => {
                        let named = e.text().contains(path.to_str().unwrap());
                        assert!(
                            e.kind() == ErrorKind::Io && named && e.text().contains("No space left"),
                            "{case}: {e}"
                        );
                        let is_whole = |(path, content): (&_, &_)| {
                            place.get(path) == Some(content) || right.get(path) == Some(content)
                        };
                        assert!(found.iter().all(is_whole), "{case}: {:?}", found.keys());
                        assert!(step != Step::Write || found == *place, "{case}: {:?}", found.keys());
                        refused += 1;
                    }
                }
                held.check(&case);
            }
        }
    }
    disk.resize(16 << 20);
    work.steps(&mut objects, &Step::ALL, || (), || ()).unwrap();
    assert!(work.hash() == hash && files(&path) == right);
    assert!(refused > 20 && went_on >= 4, "{refused} refused, {went_on} went on");
    println!("done, {refused} refused, {went_on} went on");
}

/// The latent file among all files.
fn work_file(all: &Files) -> &Path {
    all.keys().find(|path| path.ends_with("latents.safetensors")).unwrap()
}

/// Whatever is only read can be on a read-only disk. What cannot be written stays as it was.
pub fn read_only() {
    let Some(disk) = disk(32 << 20) else { return println!("done: skipped, no disk can be mounted") };
    let folder = tempfile::tempdir_in(disk.0.path()).unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(MODELS[0]).join(name), model.join(name)).unwrap();
    }
    let mut work = Work::within(folder, &model, 2);
    let mut objects = Objects::default();
    work.steps(&mut objects, &Step::ALL, || (), || ()).unwrap();
    let (path, right, hash) = (work.folder().to_path_buf(), files(work.folder()), work.hash());
    drop(objects);
    mount(disk.0.path(), 32 << 20, libc::MS_REMOUNT | libc::MS_RDONLY).unwrap();
    let mut objects = Objects::default();
    for step in Step::ALL {
        let held = Resources::now();
        match work.steps(&mut objects, &[step], || (), || ()) {
            Ok(()) => assert!(!STEPS.contains(&step), "{step:?}"),
            Err(e) => {
                let named = e.text().contains(path.to_str().unwrap()) && e.text().contains("Read-only file system");
                assert!(STEPS.contains(&step) && e.kind() == ErrorKind::Io && named, "{step:?}: {:?}: {e}", e.kind());
                held.check("a step that failed");
            }
        }
    }
    assert!(work.hash() == hash && files(&path) == right);
    disk.resize(32 << 20);
    println!("done");
}

/// Nothing of the library maps a user's file, as the process would end where it reads what is no longer there.
pub fn cut() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(Path::new(MODELS[0]).join(name), model.join(name)).unwrap();
    }
    let weights = model.join("model.safetensors");
    let mut work = Work::within(folder, &model, 2);
    let right = work.run(|| (), || ()).unwrap();
    let whole = files(work.folder());
    let cut = |path: &Path, bytes: usize| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(bytes as u64).unwrap();
    };
    for eighths in [0, 1, 4, 7] {
        // The model's weights, between opening and reading them.
        let mut objects = Objects::default();
        work.steps(&mut objects, &[Step::Open], || (), || ()).unwrap();
        cut(&weights, whole[&weights].len() * eighths / 8);
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(model.to_str().unwrap()), "weights are mapped");
        let error = work.steps(&mut objects, &[Step::Create], || (), || ()).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Checkpoint | ErrorKind::Io), "{:?}: {error}", error.kind());
        assert!(error.text().contains(weights.to_str().unwrap()) && error.text().contains("changed"), "{error}");
        // A stream that has its weights needs no file.
        put(work.folder(), &whole);
        drop(objects);
        let mut objects = Objects::default();
        work.steps(&mut objects, &[Step::Open, Step::Create], || (), || ()).unwrap();
        cut(&weights, whole[&weights].len() * eighths / 8);
        work.steps(&mut objects, &[Step::Encode, Step::Snapshot, Step::Decode], || (), || ()).unwrap();
        put(work.folder(), &whole);
        // Latents.
        let reader = LatentReader::open(&work.file).unwrap();
        let info = reader.info();
        let (channels, latents) = (info.latent_channels, info.latents as usize);
        let side = info.spatial_compression;
        let mut out = vec![0.0; latents * channels * (info.width / side) * (info.height / side)];
        cut(&work.file, whole[&work.file].len() * eighths / 8);
        let error = reader.read(0, LatentsMut::F32(&mut out)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.text().contains(work.file.to_str().unwrap()) && error.text().contains("cut"), "{error}");
        put(work.folder(), &whole);
        reader.read(0, LatentsMut::F32(&mut out)).unwrap();
    }
    assert_eq!(work.run(|| (), || ()).unwrap(), right);
    println!("done");
}
