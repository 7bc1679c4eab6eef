//! Loads CUDA libraries.

use crate::runtime::library::loader_error;
use libc::{RTLD_GLOBAL, RTLD_NOW, c_void};
use std::ffi::{CStr, CString};
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

/// A function of an open library. The error is its name.
pub(super) fn symbol(library: *mut c_void, name: &CStr) -> Result<*mut c_void, String> {
    // SAFETY: the library is open.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() { Err(name.to_string_lossy().into_owned()) } else { Ok(address) }
}

/// Declares a table of a library's C functions, and `of`, which looks them up in the open library. The error of that is the
/// name of one that it lacks.
macro_rules! functions {
    (struct $table:ident { $($field:ident = $name:literal: fn($($argument:ty),* $(,)?) -> $result:ty;)* }) => {
        struct $table {
            $($field: extern "C" fn($($argument),*) -> $result,)*
        }

        impl $table {
            /// # Safety
            /// The library's functions must have these signatures.
            unsafe fn of(library: *mut libc::c_void) -> Result<Self, String> {
                Ok($table {
                    $($field: {
                        let address = $crate::runtime::cuda::loader::symbol(library, $name)?;
                        // SAFETY: the caller promises it.
                        unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn($($argument),*) -> $result>(address) }
                    },)*
                })
            }
        }
    };
}
pub(super) use functions;
