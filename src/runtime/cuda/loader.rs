//! Loads CUDA libraries.

use crate::platform::{SharedLibrary, Symbols};
use std::ffi::{CStr, c_void};
use std::path::PathBuf;

/// A stream, an event or the like of CUDA.
pub(super) type Handle = *mut c_void;

/// Loads a library from one of the folders, or else from the loader's search path. It stays loaded. The error is the
/// loader's.
pub(super) fn open_library(name: &str, folders: &[PathBuf]) -> Result<SharedLibrary, String> {
    let file = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists());
    // The provider, which is loaded later, uses its functions.
    SharedLibrary::open(&file.unwrap_or(PathBuf::from(name)), Symbols::Global)
}

/// A function of an open library. The error is its name.
pub(super) fn symbol(library: SharedLibrary, name: &CStr) -> Result<*mut c_void, String> {
    library.symbol(name).ok_or_else(|| name.to_string_lossy().into_owned())
}

/// Declares a table of a library's C functions, and `of`, which looks them up in the open library. The error of that is the
/// name of one that it lacks.
macro_rules! functions {
    ($visible:vis struct $table:ident { $($field:ident = $name:literal: fn($($argument:ty),* $(,)?) -> $result:ty;)* }) => {
        $visible struct $table {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl $table {
            /// # Safety
            /// The library's functions must have these signatures, and the library must stay loaded.
            $visible unsafe fn of(library: $crate::platform::SharedLibrary) -> Result<Self, String> {
                Ok($table {
                    $($field: {
                        let address = $crate::runtime::cuda::loader::symbol(library, $name)?;
                        // SAFETY: the caller promises it.
                        unsafe { std::mem::transmute::<*mut std::ffi::c_void, unsafe extern "C" fn($($argument),*) -> $result>(address) }
                    },)*
                })
            }
        }
    };
}
pub(super) use functions;
