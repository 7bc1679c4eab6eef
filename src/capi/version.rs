//! The versions of the library and of its header.

// The constants are for the header. Only a test reads them.
#![cfg_attr(not(test), allow(dead_code))]

use super::guard::guard;
use std::ffi::c_char;

/// Increases when functions, fields or values are added. Programs built for a lower version keep working.
pub const WFVAE_API_VERSION: u32 = 1;
/// Major version of this header's release.
pub const WFVAE_VERSION_MAJOR: u32 = 0;
/// Minor version of this header's release.
pub const WFVAE_VERSION_MINOR: u32 = 1;
/// Patch version of this header's release.
pub const WFVAE_VERSION_PATCH: u32 = 0;

/// Returns the WFVAE_API_VERSION of the loaded library, which is at least that of the header that a program was built
/// with.
///
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub extern "C" fn wfvae_api_version() -> u32 {
    guard!(value or 0; { WFVAE_API_VERSION })
}

/// Returns the release of the loaded library, such as "0.1.0".
///
/// Returns: a static string.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub extern "C" fn wfvae_version() -> *const c_char {
    guard!(value or c"".as_ptr(); { concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_package_have_one_version() {
        let header = format!("{WFVAE_VERSION_MAJOR}.{WFVAE_VERSION_MINOR}.{WFVAE_VERSION_PATCH}");
        assert_eq!(header, env!("CARGO_PKG_VERSION"));
    }
}
