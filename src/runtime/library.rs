//! Finds libonnxruntime and checks it first, because `ort` panics if it cannot use a library.

use crate::error::{Error, ErrorKind, Result, fail};
use libc::{RTLD_LOCAL, RTLD_NOLOAD, RTLD_NOW, c_char, c_int, c_void};
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Checked in this order if no path is given.
const VARIABLES: [&str; 2] = ["WFVAE_ONNXRUNTIME", "ORT_DYLIB_PATH"];
const NAMES: [&str; 2] = ["libonnxruntime.so.1", "libonnxruntime.so"];
const ADVICE: &str =
    "set WFVAE_ONNXRUNTIME to the path of libonnxruntime.so, or put libonnxruntime.so.1 beside libwfvae";

/// A library that passed the checks. It stays loaded.
pub(super) struct Library {
    pub(super) path: PathBuf,
    pub(super) version: String,
    pub(super) entry: Entry,
}

/// The address of OrtGetApiBase.
pub(super) struct Entry(pub(super) *const c_void);

// SAFETY: only an address.
unsafe impl Send for Entry {}
unsafe impl Sync for Entry {}

/// Finds the library: at `path`, or else where an environment variable says, already loaded in the process, beside
/// libwfvae, or on the loader's search path. A path or variable must name a usable library; the other candidates are
/// tried in turn.
pub(super) fn find(path: Option<&Path>) -> Result<Library> {
    if let Some(path) = path {
        return check(path, RTLD_NOW).map_err(|e| e.with_origin("the runtime option"));
    }
    for variable in VARIABLES {
        if let Some(path) = std::env::var_os(variable).filter(|p| !p.is_empty()) {
            return check(Path::new(&path), RTLD_NOW).map_err(|e| e.with_origin(variable));
        }
    }
    let mut candidates: Vec<(PathBuf, c_int)> = vec![(PathBuf::from(NAMES[0]), RTLD_NOW | RTLD_NOLOAD)];
    let own = own_path();
    let real = own.as_ref().and_then(|p| p.canonicalize().ok());
    for folder in own.iter().chain(&real).filter_map(|p| p.parent()) {
        candidates.extend(NAMES.iter().map(|name| folder.join(name)).filter(|p| p.exists()).map(|p| (p, RTLD_NOW)));
    }
    candidates.extend(NAMES.iter().map(|name| (PathBuf::from(name), RTLD_NOW)));

    let mut first_failure = None;
    for (candidate, flags) in &candidates {
        match check(candidate, *flags) {
            Ok(library) => return Ok(library),
            // A bare name that was not found is no failure; a file that exists but cannot be used is.
            Err(failure) if failure.kind == ErrorKind::RuntimeMissing && is_bare_name(candidate) => {}
            Err(failure) => {
                first_failure.get_or_insert(failure);
            }
        }
    }
    match first_failure {
        Some(failure) => Err(failure.into()),
        None => fail!(RuntimeMissing, "ONNX Runtime was not found; {ADVICE}"),
    }
}

struct Failure {
    kind: ErrorKind,
    text: String,
}

impl Failure {
    fn with_origin(self, origin: &str) -> Error {
        Error::new(self.kind, format!("{} (from {origin})", self.text))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::new(failure.kind, failure.text)
    }
}

/// How to fix the loader's error. Another path does not help if a limit is the cause.
fn advice(reason: &str) -> &'static str {
    if reason.contains("Too many open files") {
        "raise the limit of open files (ulimit -n)"
    } else if reason.contains("failed to map segment") || reason.contains("annot allocate memory") {
        "not enough memory (ulimit -v, limits of the control group), or its folder is mounted noexec"
    } else {
        ADVICE
    }
}

/// Opens a library and checks its version and API, which `ort` will use.
fn check(path: &Path, flags: c_int) -> Result<Library, Failure> {
    let needed = ort::MINOR_VERSION;
    let missing = |text: String| Failure { kind: ErrorKind::RuntimeMissing, text };
    let too_old = |text: String| Failure { kind: ErrorKind::RuntimeTooOld, text };

    // Relative paths are relative to the working directory; the loader searches for bare names. Links are resolved
    // here, because ONNX Runtime looks for its providers in the folder of the path by which it was opened.
    let absolute = match is_bare_name(path) {
        true => path.to_path_buf(),
        false => path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or(path.to_path_buf()),
    };
    let name = CString::new(absolute.as_os_str().as_bytes())
        .map_err(|_| missing(format!("ONNX Runtime: {}: the path contains a NUL", path.display())))?;
    // SAFETY: plain dlopen. It runs the library's initialisers, which the caller asks for.
    let handle = unsafe { libc::dlopen(name.as_ptr(), flags | RTLD_LOCAL) };
    if handle.is_null() {
        let reason = loader_error();
        let advice = advice(&reason);
        return Err(missing(format!("ONNX Runtime: cannot load {}: {reason}; {advice}", path.display())));
    }
    // SAFETY: the handle is open.
    let symbol = unsafe { libc::dlsym(handle, c"OrtGetApiBase".as_ptr()) };
    if symbol.is_null() {
        // SAFETY: opened above and not used any more.
        unsafe { libc::dlclose(handle) };
        return Err(missing(format!("{}: not ONNX Runtime (it has no OrtGetApiBase)", path.display())));
    }
    // The resolved file, so that `ort` opens the same one.
    let real = path_of(symbol).unwrap_or(absolute);
    // SAFETY: every libonnxruntime since 1.0 has this entry point with this signature.
    let base =
        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(symbol)() };
    if base.is_null() {
        return Err(too_old(format!("{}: OrtGetApiBase returned NULL", real.display())));
    }
    // SAFETY: OrtApiBase is a static table of two functions; the version is a static string.
    let version = unsafe {
        let version = ((*base).GetVersionString)();
        if version.is_null() { String::new() } else { CStr::from_ptr(version).to_string_lossy().into_owned() }
    };
    // GetApi writes to standard error if it refuses, so it is called last.
    if !is_new_enough(&version, needed) || unsafe { ((*base).GetApi)(needed) }.is_null() {
        // SAFETY: not used any more. If it stayed open, its soname would hide the next candidate.
        unsafe { libc::dlclose(handle) };
        return Err(too_old(format!(
            "ONNX Runtime at {}: found version \"{version}\", needed 1.{needed} or newer",
            real.display()
        )));
    }
    Ok(Library { path: real, version, entry: Entry(symbol) })
}

pub(super) fn is_new_enough(version: &str, needed: u32) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    major > 1 || (major == 1 && minor >= needed)
}

pub(super) fn loader_error() -> String {
    // SAFETY: dlerror returns NULL or a string that is valid until this thread's next call of it.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "unknown error".into();
    }
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The file that contains this code: libwfvae, or the program that links it.
fn own_path() -> Option<PathBuf> {
    path_of(own_path as *const libc::c_void)
}

/// The file that is loaded at an address.
pub(super) fn path_of(address: *const c_void) -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr fills the struct when it returns non-zero; its strings live as long as the object is loaded.
    unsafe {
        if libc::dladdr(address, info.as_mut_ptr()) == 0 || info.assume_init_ref().dli_fname.is_null() {
            return None;
        }
        let name = CStr::from_ptr(info.assume_init_ref().dli_fname);
        std::path::absolute(OsStr::from_bytes(name.to_bytes())).ok()
    }
}

/// Whether `a`, a path or a bare name, is the file `b`.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        // The loader found `b` by its name.
        _ => is_bare_name(a) && a.file_name() == b.file_name(),
    }
}

/// Whether the loader searches for this name.
fn is_bare_name(path: &Path) -> bool {
    path.components().count() == 1 && !path.is_absolute()
}

pub(super) fn providers() -> Vec<String> {
    let (mut names, mut count): (*mut *mut c_char, c_int) = (std::ptr::null_mut(), 0);
    // SAFETY: ONNX Runtime owns the list until it is released below.
    unsafe {
        let status = (ort::api().GetAvailableProviders)(&mut names, &mut count);
        if ort::Error::result_from_status(status).is_err() || names.is_null() {
            return vec![];
        }
        let list = std::slice::from_raw_parts(names, count.max(0) as usize);
        let found = list.iter().map(|name| CStr::from_ptr(*name).to_string_lossy().into_owned()).collect();
        let _ = ort::Error::result_from_status((ort::api().ReleaseAvailableProviders)(names, count));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_the_loader_s_reason() {
        for (reason, word) in [
            ("x.so: cannot open shared object file: Too many open files", "ulimit -n"),
            ("x.so: failed to map segment from shared object", "ulimit -v"),
            ("x.so: cannot create shared object descriptor: Cannot allocate memory", "ulimit -v"),
            ("x.so: cannot open shared object file: No such file or directory", "WFVAE_ONNXRUNTIME"),
        ] {
            assert!(advice(reason).contains(word), "{reason}");
        }
    }

    #[test]
    fn the_oldest_runtime_that_is_taken_is_the_oldest_that_is_tested() {
        let tested = include_str!("../../tools/onnxruntime-tested.txt");
        let version = tested.strip_prefix("onnxruntime==").and_then(|rest| rest.split(' ').next()).unwrap();
        assert_eq!(version, format!("1.{}.0", ort::MINOR_VERSION));
        assert!(is_new_enough(version, ort::MINOR_VERSION));
        assert!(!is_new_enough(&format!("1.{}.9", ort::MINOR_VERSION - 1), ort::MINOR_VERSION));
    }

    #[test]
    fn links_to_the_runtime_are_followed() {
        let fetched = std::env::var_os("WFVAE_ONNXRUNTIME").expect("set by .cargo/config.toml");
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("libonnxruntime.so.1");
        std::os::unix::fs::symlink(std::path::absolute(&fetched).unwrap(), &link).unwrap();
        let library = check(&link, RTLD_NOW).map_err(|e| e.text).unwrap();
        assert_eq!(library.path, Path::new(&fetched).canonicalize().unwrap());
    }
}
