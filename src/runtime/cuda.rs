//! Whether a CUDA device can be used, found out before the runtime tries: it says little of what it lacks.
//!
//! In the order in which a machine is set up: a runtime that has the provider, the provider's own library, the CUDA
//! libraries that this needs, cuDNN, the driver, the device. The Python packages of CUDA keep their libraries in folders
//! that no loader searches; those beside the runtime's package are loaded from there, so that the provider finds them.

use crate::error::{Result, fail};
use libc::{RTLD_GLOBAL, RTLD_NOW, c_int, c_void};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) const PROVIDER: &str = "CUDAExecutionProvider";
const LIBRARIES: [&str; 2] = ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"];
const DRIVER: &str = "libcuda.so.1";
/// The provider opens it itself, so it is not among what its file says that it needs.
const CUDNN: &str = "libcudnn.so.9";
/// Opened by cuDNN, to build kernels for the device at hand.
const COMPILER: &str = "libnvrtc.so";
const GET_ONE: &str = "run `make onnxruntime-gpu`, or install the Python package onnxruntime-gpu, and set \
                       WFVAE_ONNXRUNTIME to the path of its libonnxruntime.so";

/// Fails, naming what is missing, if sessions of the runtime at `path` cannot run on the device of that index.
pub(super) fn check(path: &Path, version: &str, has_provider: bool, device: u32) -> Result<()> {
    let checked = || -> Result<()> {
        if !has_provider {
            let path = path.display();
            fail!(Provider, "ONNX Runtime {version} at {path} was built without the CUDA provider; {GET_ONE}");
        }
        let provider = provider_library(path)?;
        let needed = needed_libraries(&provider)?;
        let folders = package_folders(path);
        load_libraries(&needed, &folders, &provider)?;
        load_cudnn(&folders)?;
        let driver = Driver::open(DRIVER)?;
        driver.check_version(cuda_major(&needed))?;
        driver.check_device(device)
    };
    checked().map_err(|e| e.prefixed(&format!("CUDA device {device}")))
}

/// The provider's library, which the runtime looks for beside itself only: beside the name that it was opened by, be that a
/// link or not.
fn provider_library(runtime: &Path) -> Result<PathBuf> {
    let folder = runtime.parent().unwrap_or(Path::new("."));
    for name in LIBRARIES {
        if !folder.join(name).exists() {
            fail!(
                Provider,
                "{name} is missing beside ONNX Runtime in {}; all libraries of the package onnxruntime-gpu belong in one \
                 folder",
                folder.display()
            );
        }
    }
    Ok(folder.join(LIBRARIES[1]))
}

/// Where Python packages put CUDA: `nvidia/*/lib` beside the package that the runtime is in.
fn package_folders(runtime: &Path) -> Vec<PathBuf> {
    let real = runtime.canonicalize().unwrap_or(runtime.to_path_buf());
    // site-packages/onnxruntime/capi/libonnxruntime.so.1
    let Some(packages) = real.ancestors().nth(3) else { return vec![] };
    let Ok(entries) = std::fs::read_dir(packages.join("nvidia")) else { return vec![] };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path().join("lib")).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

/// Loads what the provider needs of CUDA, for good, as the provider will.
fn load_libraries(needed: &[String], folders: &[PathBuf], provider: &Path) -> Result<()> {
    // The driver is looked at later; the system's own libraries are not the user's to install.
    let mut left: Vec<&String> = needed.iter().filter(|name| name.starts_with("libcu") && *name != DRIVER).collect();
    // They need each other, in an order that nobody has written down: as long as there is progress.
    loop {
        let before = left.len();
        left.retain(|name| open_library(name, folders).is_err());
        if left.is_empty() {
            return Ok(());
        }
        if left.len() == before {
            break;
        }
    }
    let name = left[0];
    let reason = open_library(name, folders).err().unwrap_or_default();
    fail!(
        Provider,
        "{name} cannot be loaded, which {} needs: {reason}; install the CUDA libraries of that version ({GET_ONE})",
        provider.display()
    );
}

fn load_cudnn(folders: &[PathBuf]) -> Result<()> {
    if let Err(reason) = open_library(CUDNN, folders) {
        fail!(Provider, "{CUDNN} cannot be loaded: {reason}; install cuDNN 9 for this version of CUDA ({GET_ONE})");
    }
    // cuDNN does without it, more slowly; so whichever is there.
    for name in folders.iter().flat_map(|folder| files_of(folder)).filter(|name| name.starts_with(COMPILER)) {
        let _ = open_library(&name, folders);
    }
    Ok(())
}

fn files_of(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Loads a library of one of the folders, else one that the loader finds; it stays loaded. The error says why not.
fn open_library(name: &str, folders: &[PathBuf]) -> Result<*mut c_void, String> {
    let file = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
    let path = file.unwrap_or(PathBuf::from(name));
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: plain dlopen; loading runs the library's initialisers, which the provider would run.
    let handle = unsafe { libc::dlopen(path.as_ptr(), RTLD_NOW | RTLD_GLOBAL) };
    if handle.is_null() { Err(super::library::loader_error()) } else { Ok(handle) }
}

/// The major version of CUDA that these libraries are of, 13 of libcudart.so.13.
fn cuda_major(needed: &[String]) -> Option<u32> {
    needed.iter().find_map(|name| name.strip_prefix("libcudart.so.")?.split('.').next()?.parse().ok())
}

/// NVIDIA's driver, through the few calls of its interface that say what it is.
struct Driver {
    /// 1000 times the major version of CUDA that it can run, plus 10 times the minor one.
    version: u32,
    devices: u32,
}

impl Driver {
    fn open(name: &str) -> Result<Self> {
        let advice = "a machine with an NVIDIA GPU needs its driver; in a container, pass the GPU in (--gpus all)";
        let handle = match open_library(name, &[]) {
            Ok(handle) => handle,
            Err(reason) => fail!(Provider, "no NVIDIA driver: {reason}; {advice}"),
        };
        let symbol = |symbol: &CStr| -> Result<*mut c_void> {
            // SAFETY: the handle is open.
            let address = unsafe { libc::dlsym(handle, symbol.as_ptr()) };
            if address.is_null() {
                fail!(Provider, "{name} is not NVIDIA's driver: it has no {}; {advice}", symbol.to_string_lossy());
            }
            Ok(address)
        };
        // SAFETY: the signatures of the driver's interface, which have been these since its first version.
        let (init, version, count) = unsafe {
            (
                std::mem::transmute::<*mut c_void, extern "C" fn(u32) -> c_int>(symbol(c"cuInit")?),
                std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_int) -> c_int>(symbol(c"cuDriverGetVersion")?),
                std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_int) -> c_int>(symbol(c"cuDeviceGetCount")?),
            )
        };
        let asked = |name: &str, result: c_int| {
            if result != 0 {
                fail!(Provider, "the NVIDIA driver does not work: {name} gives error {result}; {advice}");
            }
            Ok(())
        };
        let (mut found, mut devices) = (0, 0);
        asked("cuDriverGetVersion", version(&mut found))?;
        // 100: there is no device.
        match init(0) {
            100 => {}
            result => {
                asked("cuInit", result)?;
                asked("cuDeviceGetCount", count(&mut devices))?;
            }
        }
        Ok(Driver { version: found.max(0) as u32, devices: devices.max(0) as u32 })
    }

    /// Every driver runs all minor versions of its major one.
    fn check_version(&self, needed: Option<u32>) -> Result<()> {
        let (major, minor) = (self.version / 1000, self.version % 1000 / 10);
        match needed {
            Some(needed) if major < needed => fail!(
                Provider,
                "the NVIDIA driver is too old: it runs CUDA up to {major}.{minor}, this ONNX Runtime needs {needed}.0; \
                 update the driver, or take an onnxruntime-gpu for CUDA {major}"
            ),
            _ => Ok(()),
        }
    }

    fn check_device(&self, device: u32) -> Result<()> {
        match self.devices {
            0 => fail!(Provider, "the NVIDIA driver finds no device"),
            count if device >= count => fail!(Provider, "there is no such device: the driver finds {count}, from 0 on"),
            _ => Ok(()),
        }
    }
}

/// The libraries that a 64-bit ELF file of this machine's byte order says that it needs.
fn needed_libraries(path: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Option<Vec<String>>> {
        let file = std::fs::File::open(path)?;
        // SAFETY: read only; the file is a library in use.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(elf_needed(&map))
    };
    match read() {
        Ok(Some(names)) => Ok(names),
        Ok(None) => fail!(Provider, "{}: not a shared library of this machine", path.display()),
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
    // Of each segment: kind, place in the file, address, length in the file.
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
    use crate::error::ErrorKind;

    fn text<T>(result: Result<T>) -> String {
        let error = result.err().expect("something is missing");
        assert_eq!(error.kind(), ErrorKind::Provider);
        error.text().into()
    }

    /// A folder like that of the Python packages, with the runtime of these tests in it.
    fn packages() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let capi = folder.path().join("onnxruntime/capi");
        std::fs::create_dir_all(&capi).unwrap();
        let fetched = std::env::var_os("WFVAE_ONNXRUNTIME").expect("set by .cargo/config.toml");
        let runtime = capi.join("libonnxruntime.so.1");
        std::fs::copy(fetched, &runtime).unwrap();
        (folder, capi, runtime)
    }

    #[test]
    fn a_runtime_without_cuda_is_named() {
        let text = text(check(Path::new("/x/libonnxruntime.so.1"), "1.31.1", false, 2));
        assert!(text.starts_with("CUDA device 2: ONNX Runtime 1.31.1 at /x/libonnxruntime.so.1 was built"), "{text}");
        assert!(text.contains("make onnxruntime-gpu") && text.contains("WFVAE_ONNXRUNTIME"), "{text}");
    }

    #[test]
    fn missing_cuda_provider_libraries_are_named_in_their_order() {
        let (_folder, capi, runtime) = packages();
        let check = || text(check(&runtime, "1.31.1", true, 0));
        assert!(check().contains("libonnxruntime_providers_shared.so is missing"), "{}", check());
        std::fs::write(capi.join(LIBRARIES[0]), b"").unwrap();
        assert!(check().contains("libonnxruntime_providers_cuda.so is missing"), "{}", check());
        std::fs::write(capi.join(LIBRARIES[1]), b"no library").unwrap();
        assert!(check().contains("libonnxruntime_providers_cuda.so: not a shared library"), "{}", check());
    }

    #[test]
    fn missing_cuda_libraries_are_named_with_their_version() {
        let needed = ["libcudart.so.97", "libcuda.so.1", "libc.so.6"].map(String::from);
        let text = text(load_libraries(&needed, &[], Path::new("provider.so")));
        assert!(text.starts_with("libcudart.so.97 cannot be loaded, which provider.so needs"), "{text}");
        assert!(load_libraries(&needed[1..], &[], Path::new("provider.so")).is_ok());
        assert_eq!(cuda_major(&needed), Some(97));
    }

    /// What is beside the runtime's package is taken from there: one that is no library is an error that names it.
    #[test]
    fn cuda_libraries_are_looked_for_beside_the_package() {
        let (folder, _, runtime) = packages();
        let lib = folder.path().join("nvidia/cu97/lib");
        std::fs::create_dir_all(&lib).unwrap();
        let folders = package_folders(&runtime);
        assert_eq!(folders, [lib.canonicalize().unwrap()]);
        std::fs::copy(&runtime, lib.join("libcuanything.so.97")).unwrap();
        let needed = ["libcuanything.so.97".to_string()];
        load_libraries(&needed, &folders, Path::new("provider.so")).unwrap();
        std::fs::write(lib.join(CUDNN), b"no library").unwrap();
        let text = text(load_cudnn(&folders));
        assert!(text.contains(CUDNN) && text.contains("nvidia/cu97/lib") && text.contains("cuDNN 9"), "{text}");
    }

    #[test]
    fn a_missing_cuda_driver_is_named() {
        let missing = text(Driver::open("libcuda-nowhere.so.1"));
        assert!(missing.contains("no NVIDIA driver: libcuda-nowhere.so.1"), "{missing}");
        let other = text(Driver::open("libm.so.6"));
        assert!(other.contains("libm.so.6 is not NVIDIA's driver: it has no cuInit"), "{other}");
    }

    #[test]
    fn old_cuda_drivers_and_absent_devices_are_named() {
        let driver = Driver { version: 12040, devices: 2 };
        let old = text(driver.check_version(Some(13)));
        assert!(old.contains("runs CUDA up to 12.4") && old.contains("needs 13.0"), "{old}");
        assert!(driver.check_version(Some(12)).is_ok() && driver.check_device(1).is_ok());
        assert!(text(driver.check_device(2)).contains("the driver finds 2"));
        assert!(text(Driver { version: 13000, devices: 0 }.check_device(0)).contains("finds no device"));
    }

    #[test]
    fn needed_libraries_are_read_from_the_file() {
        let (_folder, _, runtime) = packages();
        let needed = needed_libraries(&runtime).unwrap();
        assert!(needed.iter().any(|name| name == "libc.so.6"), "{needed:?}");
        let bytes = std::fs::read(&runtime).unwrap();
        for cut in [0, 5, 40, 64, 200, 5000] {
            assert!(elf_needed(&bytes[..cut]).is_none(), "{cut} bytes of a library");
        }
    }
}
