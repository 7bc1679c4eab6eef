//! The preloaded library that lets calls to the system fail.

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Instead of an error number: calls read and write only a few bytes.
pub const SHORT: c_int = -1;
/// Instead of an error number: files end.
pub const ENDS: c_int = -2;

/// Which calls do what they should not.
#[derive(Clone, Copy)]
pub struct Failing {
    pub first: c_long,
    pub last: c_long,
    /// From the first on, each of so many.
    pub every: c_long,
    /// The number of the error, or `SHORT` or `ENDS`.
    pub how: c_int,
}

impl Failing {
    /// Call number `n`, and all later ones if `forever`.
    pub fn from(n: c_long, forever: bool, how: c_int) -> Self {
        Failing { first: n, last: if forever { c_long::MAX } else { n }, every: 1, how }
    }

    /// Each call of so many.
    pub fn each(every: c_long, how: c_int) -> Self {
        Failing { first: 0, last: c_long::MAX, every, how }
    }

    /// None; they are counted.
    pub fn none() -> Self {
        Failing::from(c_long::MAX, false, libc::EIO)
    }
}

type Start = extern "C" fn(*const c_char, c_long, c_long, c_long, c_int, *const u8);

/// The functions of the preloaded library.
pub struct Shim {
    start: Start,
    pub large: extern "C" fn(usize),
    stop: extern "C" fn() -> c_long,
}

impl Shim {
    pub fn new() -> Self {
        let symbol = |name: &CStr| {
            let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            assert!(!symbol.is_null(), "{name:?} is not preloaded");
            symbol
        };
        // SAFETY: as they are declared in C.
        unsafe {
            Shim {
                start: std::mem::transmute::<*mut c_void, Start>(symbol(c"fail_start")),
                large: std::mem::transmute::<*mut c_void, extern "C" fn(usize)>(symbol(c"fail_large")),
                stop: std::mem::transmute::<*mut c_void, extern "C" fn() -> c_long>(symbol(c"fail_stop")),
            }
        }
    }

    /// Lets this program's calls of these kinds fail while `work` runs, which is given what starts and stops that. Also gives how
    /// many there were.
    pub fn run<T>(
        &self,
        kinds: &str,
        failing: Failing,
        work: impl FnOnce(&mut dyn FnMut(), &mut dyn FnMut()) -> T,
    ) -> (T, c_long) {
        let kinds = CString::new(kinds).unwrap();
        let Failing { first, last, every, how } = failing;
        let mut count = 0;
        let part = super::main as *const u8;
        let result =
            work(&mut || (self.start)(kinds.as_ptr(), first, last, every, how, part), &mut || count = (self.stop)());
        (result, count)
    }
}

/// Builds the library.
pub fn build(folder: &Path) -> Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Err("only with glibc".into());
    }
    let library = folder.join("fail.so");
    let compiler = std::env::var_os("CC").unwrap_or("cc".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/limits/fail.c");
    let output = Command::new(compiler).args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).output();
    let output = output.map_err(|e| format!("no C compiler: {e}"))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(library)
}
