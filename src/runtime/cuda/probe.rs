//! Checks whether a CUDA device can be used before ONNX Runtime tries, because its own error messages do not say what
//! is missing.
//!
//! The checks follow the order of setting up a machine: an ONNX Runtime with the CUDA provider, the provider's library,
//! the CUDA libraries that it needs, cuDNN, the driver, the device. NVIDIA's Python packages keep their libraries in
//! folders that the loader does not search. If such packages are installed beside onnxruntime, their libraries are
//! loaded here so that the provider finds them.

use super::driver::{self, Driver};
use super::elf::needed_libraries;
use super::loader::open_library;
use crate::error::{Result, fail};
use crate::platform;
use std::path::{Path, PathBuf};

const PROVIDER: &str = "CUDAExecutionProvider";
const LIBRARIES: [&str; 2] = ["libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"];
/// The provider loads it at run time, so its ELF file does not list it.
const CUDNN: &str = "libcudnn.so.9";
/// cuDNN uses it to compile kernels for the device.
const COMPILER: &str = "libnvrtc.so";
const GET_ONE: &str = "run `make onnxruntime-gpu`, or install the Python package onnxruntime-gpu, and set \
                       WFVAE_ONNXRUNTIME to the path of its libonnxruntime.so";

/// Fails if the ONNX Runtime at `path` cannot run sessions on the device. The error names what is missing.
pub(crate) fn check(path: &Path, version: &str, providers: &[String], device: u32) -> Result<()> {
    let checked = || -> Result<()> {
        if !platform::CUDA {
            fail!(Provider, "libwfvae runs on CUDA devices on Linux only so far; use the CPU, or Linux (also in WSL)");
        }
        if !providers.iter().any(|name| name == PROVIDER) {
            let path = path.display();
            fail!(Provider, "ONNX Runtime {version} at {path} was built without the CUDA provider; {GET_ONE}");
        }
        let provider = provider_library(path)?;
        let needed = needed_libraries(&provider)?;
        let folders = package_folders(path);
        load_libraries(&needed, &folders, &provider)?;
        load_cudnn(&folders)?;
        let driver = Driver::open(driver::FILE)?;
        driver.check_version(cuda_major(&needed))?;
        driver.check_device(device)
    };
    checked().map_err(|e| e.prefixed(&format!("CUDA device {device}")))
}

/// The name of the CUDA runtime that the provider of the ONNX Runtime at `path` needs, and has loaded.
pub(crate) fn runtime_library(path: &Path) -> Result<String> {
    let provider = provider_library(path)?;
    match needed_libraries(&provider)?.into_iter().find(|name| name.starts_with("libcudart.so")) {
        Some(name) => Ok(name),
        None => fail!(Provider, "{} does not use the CUDA runtime as a shared library; {GET_ONE}", provider.display()),
    }
}

/// The provider's library. ONNX Runtime looks for it only in the folder of the path by which it was opened, even if
/// that is a link.
fn provider_library(runtime: &Path) -> Result<PathBuf> {
    let folder = runtime.parent().unwrap_or(Path::new("."));
    for name in LIBRARIES {
        if !folder.join(name).exists() {
            fail!(
                Provider,
                "{name} is missing beside ONNX Runtime in {}; all libraries of the package onnxruntime-gpu belong in \
                one folder",
                folder.display()
            );
        }
    }
    Ok(folder.join(LIBRARIES[1]))
}

/// The library folders of NVIDIA's Python packages: `nvidia/*/lib` beside the onnxruntime package.
fn package_folders(runtime: &Path) -> Vec<PathBuf> {
    let real = dunce::canonicalize(runtime).unwrap_or(runtime.to_path_buf());
    // site-packages/onnxruntime/capi/libonnxruntime.so.1
    let Some(packages) = real.ancestors().nth(3) else { return vec![] };
    let Ok(entries) = std::fs::read_dir(packages.join("nvidia")) else { return vec![] };
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path().join("lib")).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

/// Loads the CUDA libraries that the provider needs. They stay loaded.
fn load_libraries(needed: &[String], folders: &[PathBuf], provider: &Path) -> Result<()> {
    // The driver is checked later, and the user does not install the system's own libraries.
    let mut left: Vec<&String> =
        needed.iter().filter(|name| name.starts_with("libcu") && *name != driver::FILE).collect();
    // They depend on each other in an undocumented order, so this repeats while any of them loads.
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
        "{name}, which {} needs, cannot be loaded: {reason}; install the CUDA libraries of that version ({GET_ONE})",
        provider.display()
    );
}

fn load_cudnn(folders: &[PathBuf]) -> Result<()> {
    if let Err(reason) = open_library(CUDNN, folders) {
        fail!(Provider, "{CUDNN} cannot be loaded: {reason}; install cuDNN 9 for this version of CUDA ({GET_ONE})");
    }
    // cuDNN works without it, more slowly, so errors are ignored.
    for name in folders.iter().flat_map(|folder| files_of(folder)).filter(|name| name.starts_with(COMPILER)) {
        let _ = open_library(&name, folders);
    }
    Ok(())
}

/// The names of NVRTC's libraries to try, and the folders to look in. ONNX Runtime's device was checked before.
pub(super) fn compilers(runtime: &Path) -> (Vec<String>, Vec<PathBuf>) {
    let folders = package_folders(runtime);
    let beside = folders.iter().flat_map(|folder| files_of(folder)).filter(|name| name.starts_with(COMPILER));
    let needed = provider_library(runtime).and_then(|provider| needed_libraries(&provider)).unwrap_or_default();
    let installed = cuda_major(&needed).map(|major| format!("{COMPILER}.{major}"));
    (beside.chain(installed).collect(), folders)
}

fn files_of(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The major version of CUDA: 13 for libcudart.so.13.
fn cuda_major(needed: &[String]) -> Option<u32> {
    needed.iter().find_map(|name| name.strip_prefix("libcudart.so.")?.split('.').next()?.parse().ok())
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

    /// A folder like that of the Python packages, with the tests' ONNX Runtime in it.
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
        let text = text(check(Path::new("/x/libonnxruntime.so.1"), "1.31.1", &[], 2));
        assert!(text.starts_with("CUDA device 2: ONNX Runtime 1.31.1 at /x/libonnxruntime.so.1 was built"), "{text}");
        assert!(text.contains("make onnxruntime-gpu") && text.contains("WFVAE_ONNXRUNTIME"), "{text}");
    }

    #[test]
    fn missing_cuda_provider_libraries_are_named_in_their_order() {
        let (_folder, capi, runtime) = packages();
        let check = || text(check(&runtime, "1.31.1", &[PROVIDER.into()], 0));
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
        assert!(text.starts_with("libcudart.so.97, which provider.so needs, cannot be loaded"), "{text}");
        assert!(load_libraries(&needed[1..], &[], Path::new("provider.so")).is_ok());
        assert_eq!(cuda_major(&needed), Some(97));
    }

    /// The folders beside the package are searched first: an invalid library there is an error that names it.
    #[test]
    fn cuda_libraries_beside_the_package_are_found_first() {
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
}
