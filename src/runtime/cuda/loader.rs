//! Loads CUDA libraries.

use crate::runtime::library::loader_error;
use libc::{RTLD_GLOBAL, RTLD_NOW, c_void};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Loads a library from one of the folders, or else from the loader's search path. It stays loaded. The error is the
/// loader's.
pub(super) fn open_library(name: &str, folders: &[PathBuf]) -> Result<*mut c_void, String> {
    let file = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
    let path = file.unwrap_or(PathBuf::from(name));
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: plain dlopen. It runs the library's initialisers, as the provider would.
    let handle = unsafe { libc::dlopen(path.as_ptr(), RTLD_NOW | RTLD_GLOBAL) };
    if handle.is_null() { Err(loader_error()) } else { Ok(handle) }
}
