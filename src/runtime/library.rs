//! Finds libonnxruntime and checks it first, because `ort` panics if it cannot use a library.

use crate::error::{Error, ErrorKind, Result};
use crate::platform::{self, RUNTIME_IN_PACKAGE, RUNTIME_NAMES, RUNTIME_PATTERN, SharedLibrary, Symbols};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

/// Checked in this order if no path is given.
const VARIABLES: [&str; 2] = ["WFVAE_ONNXRUNTIME", "ORT_DYLIB_PATH"];

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
// SAFETY: as above.
unsafe impl Sync for Entry {}

/// Finds the library: at `path`, or else where an environment variable says, already loaded in the process, beside
/// libwfvae, or on the loader's search path. A path or variable must name a usable library; the other candidates are
/// tried in turn. If none is usable, the error tells what was found at each step.
pub(super) fn find(path: Option<&Path>) -> Result<Library> {
    if let Some(path) = path {
        return open_named(path).map_err(|e| e.with_origin("the runtime option"));
    }
    let mut search = Search::default();
    for variable in VARIABLES {
        if let Some(path) = std::env::var_os(variable).filter(|p| !p.is_empty()) {
            return open_named(Path::new(&path)).map_err(|e| e.with_origin(variable));
        }
        search.steps.push(format!("{variable} is not set"));
    }
    match SharedLibrary::loaded(RUNTIME_NAMES[0]) {
        Some(library) => match check(library, Path::new(RUNTIME_NAMES[0])) {
            Ok(library) => return Ok(library),
            Err(failure) => search.steps.push(format!("the process has loaded one: {}", failure.reason)),
        },
        None => search.steps.push("the process has loaded none".into()),
    }
    for folder in own_folders() {
        if let Some(library) = search.folder(&folder) {
            return Ok(library);
        }
    }
    for name in RUNTIME_NAMES {
        let found = platform::search_path(name);
        if found.is_empty() {
            search.steps.push(format!("the loader's search path has no {name}"));
        }
        for path in found {
            match open(&path) {
                Ok(library) => return Ok(library),
                // That the loader does not find a name is no failure; that a file cannot be used is.
                Err(failure) if failure.kind == ErrorKind::RuntimeMissing => {
                    search.steps.push(format!("the loader's search path: {}", failure.reason));
                }
                Err(failure) => search.fails(failure),
            }
        }
    }
    Err(search.error())
}

/// What a search has met so far.
#[derive(Default)]
struct Search {
    /// Where nothing was found, in the order of the search.
    steps: Vec<String>,
    /// A library that is there but cannot be used.
    first_failure: Option<Failure>,
}

impl Search {
    /// Tries what lies in a folder.
    fn folder(&mut self, folder: &Path) -> Option<Library> {
        let candidates = match candidates(folder) {
            Ok(candidates) => candidates,
            Err(e) => {
                self.steps.push(format!("the folder of libwfvae, {}, cannot be read: {e}", folder.display()));
                return None;
            }
        };
        if candidates.is_empty() {
            self.steps.push(format!("the folder of libwfvae, {}, has no {RUNTIME_PATTERN}", folder.display()));
        }
        for candidate in candidates {
            match open(&candidate) {
                Ok(library) => return Some(library),
                Err(failure) => self.fails(failure),
            }
        }
        None
    }

    fn fails(&mut self, failure: Failure) {
        self.steps.push(failure.reason.clone());
        self.first_failure.get_or_insert(failure);
    }

    fn error(self) -> Error {
        let steps = self.steps.join("; ");
        let (kind, text) = match self.first_failure {
            Some(failure) => (failure.kind, failure.text),
            None => (ErrorKind::RuntimeMissing, format!("ONNX Runtime was not found; {}", advice())),
        };
        Error::new(kind, format!("{text}. Searched in this order: {steps}"))
    }
}

/// The folder of libwfvae, and that of the file if libwfvae is a link to it.
fn own_folders() -> Vec<PathBuf> {
    let own = own_path();
    let real = own.as_ref().and_then(|p| dunce::canonicalize(p).ok());
    let mut folders: Vec<_> = own.iter().chain(&real).filter_map(|p| p.parent().map(Path::to_path_buf)).collect();
    folders.dedup();
    folders
}

/// The files of a folder that may be ONNX Runtime: those of its usual names, then names with a version, the newest first.
fn candidates(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let Some(version) = name.to_str().and_then(platform::runtime_version) else { continue };
        let usual = RUNTIME_NAMES.iter().position(|usual| name == *usual).unwrap_or(RUNTIME_NAMES.len());
        let numbers = version.split('.').filter(|_| !version.is_empty());
        let numbers: Result<Vec<u32>, _> = numbers.map(str::parse).collect();
        // Folders and links that lead nowhere are left out.
        if let Ok(numbers) = numbers
            && folder.join(&name).is_file()
        {
            found.push((usual, std::cmp::Reverse(numbers), folder.join(&name)));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

struct Failure {
    kind: ErrorKind,
    /// What is wrong, and with which file.
    reason: String,
    /// The same, and what to do.
    text: String,
}

impl Failure {
    fn with_origin(self, origin: &str) -> Error {
        Error::new(self.kind, format!("{} (from {origin})", self.text))
    }
}

/// What to do if there is no library.
fn advice() -> String {
    format!(
        "get it, for example with `pip install onnxruntime`, and set WFVAE_ONNXRUNTIME to the path of {} (in the Python \
        package: {RUNTIME_IN_PACKAGE}), or put that file beside libwfvae",
        RUNTIME_NAMES[RUNTIME_NAMES.len() - 1]
    )
}

/// Opens the library that the caller or a variable names: the file of a path, or for a bare name the first usable one on the
/// loader's search path.
fn open_named(path: &Path) -> Result<Library, Failure> {
    let Some(name) = path.to_str().filter(|_| is_bare_name(path)) else { return open(path) };
    let mut first_failure = None;
    for found in platform::search_path(name) {
        match open(&found) {
            Ok(library) => return Ok(library),
            Err(failure) => first_failure.get_or_insert(failure),
        };
    }
    Err(first_failure.unwrap_or_else(|| {
        let reason = format!("the loader's search path has no {name}");
        let text = format!("ONNX Runtime: cannot load {name}: {reason}; {}", advice());
        Failure { kind: ErrorKind::RuntimeMissing, reason, text }
    }))
}

/// Opens a library, on some systems also one that the loader finds by its bare name, and checks it.
fn open(path: &Path) -> Result<Library, Failure> {
    // Relative paths are relative to the working directory; the loader searches for bare names. Links are resolved
    // here, because ONNX Runtime looks for its providers in the folder of the path by which it was opened.
    let absolute = match is_bare_name(path) {
        true => path.to_path_buf(),
        false => dunce::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or(path.to_path_buf()),
    };
    match SharedLibrary::open(&absolute, Symbols::Own) {
        Ok(library) => check(library, &absolute),
        Err(reason) => {
            // Another path does not help if a limit is the cause.
            let advice = platform::loader_advice(&absolute, &reason).map_or_else(advice, str::to_string);
            let text = format!("ONNX Runtime: cannot load {}: {reason}; {advice}", path.display());
            // The loader of Windows does not say of which file it speaks.
            let named = reason.contains(&*path.to_string_lossy()) || reason.contains(&*absolute.to_string_lossy());
            let reason = if named { reason } else { format!("{}: {reason}", path.display()) };
            Err(Failure { kind: ErrorKind::RuntimeMissing, reason, text })
        }
    }
}

/// Checks a library's version and API, which `ort` will use. `path` is that by which it was opened.
fn check(library: SharedLibrary, path: &Path) -> Result<Library, Failure> {
    let needed = ort::MINOR_VERSION;
    let failure = |kind, text: String| Failure { kind, reason: text.clone(), text };
    let Some(symbol) = library.symbol(c"OrtGetApiBase") else {
        // SAFETY: not used any more.
        unsafe { library.close() };
        let text = format!("{}: not ONNX Runtime (it has no OrtGetApiBase)", path.display());
        return Err(failure(ErrorKind::RuntimeMissing, text));
    };
    let too_old = |text| failure(ErrorKind::RuntimeTooOld, text);
    // The resolved file, so that `ort` opens the same one.
    let real = platform::loaded_file(symbol).unwrap_or(path.to_path_buf());
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
    // SAFETY: as above; every libonnxruntime answers NULL for a version that it lacks.
    if !is_new_enough(&version, needed) || unsafe { ((*base).GetApi)(needed) }.is_null() {
        // SAFETY: not used any more. If it stayed open, its soname would hide the next candidate.
        unsafe { library.close() };
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

/// The file that contains this code: libwfvae, or the program that links it.
fn own_path() -> Option<PathBuf> {
    platform::loaded_file(own_path as *const c_void)
}

/// Whether `a`, a path or a bare name, is the file `b`.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    match (dunce::canonicalize(a), dunce::canonicalize(b)) {
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
        platform::symlink(std::path::absolute(&fetched).unwrap(), &link).unwrap();
        if !link.exists() {
            return println!("skipped: this system does not follow the link");
        }
        let library = open(&link).map_err(|e| e.text).unwrap();
        assert_eq!(library.path, dunce::canonicalize(&fetched).unwrap());
    }

    /// Elsewhere the names are others, but not what happens to them.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_s_candidates_are_files_with_the_newest_version_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = [
            "libonnxruntime.so.1.9.1",
            "libonnxruntime.so.1.24.1",
            "libonnxruntime.so.1.24",
            "libonnxruntime.so",
            "libonnxruntime.so.2",
            "libonnxruntime.so.1.24.1.bak",
            "libonnxruntime.so1",
            "libonnxruntime_providers_shared.so",
            "libwfvae.so",
        ];
        files.iter().for_each(|name| std::fs::write(path(name), "").unwrap());
        std::fs::create_dir(path("libonnxruntime.so.1.30.0")).unwrap();
        platform::symlink("nowhere", path("libonnxruntime.so.1.31.0")).unwrap();
        platform::symlink("libonnxruntime.so.1.9.1", path("libonnxruntime.so.1")).unwrap();
        let names = [".so.1", ".so", ".so.2", ".so.1.24.1", ".so.1.24", ".so.1.9.1"];
        let expected: Vec<_> = names.iter().map(|name| path(&format!("libonnxruntime{name}"))).collect();
        assert_eq!(candidates(folder.path()).unwrap(), expected);
        assert!(candidates(&path("none")).is_err());
    }
}
