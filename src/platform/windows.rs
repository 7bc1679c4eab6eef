//! Windows.

use super::shared::{Kind, STACK_BYTES, Symbols, Work};
use std::ffi::{CStr, OsString, c_void};
use std::fs::{File, OpenOptions};
use std::io::{self, Error, ErrorKind};
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_ACCESS_DENIED, ERROR_BAD_EXE_FORMAT, ERROR_MOD_NOT_FOUND, ERROR_SHARING_VIOLATION,
    ERROR_USER_MAPPED_FILE, FreeLibrary, HANDLE, HMODULE,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_STANDARD_INFO,
    FileStandardInfo, GetFileInformationByHandle, GetFileInformationByHandleEx,
};
use windows_sys::Win32::System::Diagnostics::Debug::{SEM_FAILCRITICALERRORS, SetThreadErrorMode};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN,
    GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW, GetModuleHandleExW, GetProcAddress,
    LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LoadLibraryExW,
};
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;
use windows_sys::Win32::System::Threading::{
    CreateEventW, CreateThread, INFINITE, STACK_SIZE_PARAM_IS_A_RESERVATION, SetEvent, WaitForSingleObject,
};

pub(crate) use super::windows_memory::available as available_memory;

/// Whether sessions can run on CUDA devices here.
pub(crate) const CUDA: bool = false;
/// Whether ONNX Runtime's releases have a telemetry that sends data over the network. Those for Windows write events to the
/// system's log only (ETW), and have a call to stop that.
pub(crate) const TELEMETRY: bool = false;

/// The names of ONNX Runtime's library, in the order of the search.
pub(crate) const RUNTIME_NAMES: &[&str] = &["onnxruntime.dll"];
/// The names that its library may have, with and without a version, as text.
pub(crate) const RUNTIME_PATTERN: &str = "onnxruntime.dll";
/// Its file in the Python package.
pub(crate) const RUNTIME_IN_PACKAGE: &str = "onnxruntime/capi/onnxruntime.dll";

/// The version in the name of a file that may be ONNX Runtime's library; empty if there is none.
pub(crate) fn runtime_version(name: &str) -> Option<&str> {
    name.eq_ignore_ascii_case("onnxruntime.dll").then_some("")
}

/// The longest path of Windows, in UTF-16 units.
const MAX_PATH: usize = 1 << 15;

/// A shared library. It stays loaded until [`close`](Self::close).
#[derive(Clone, Copy)]
pub(crate) struct SharedLibrary(HMODULE);

impl SharedLibrary {
    /// Loads a library. A bare name is that of one in the program's or the system's folder. This runs its initialisers. The error is
    /// the loader's.
    pub(crate) fn open(path: &Path, _: Symbols) -> Result<Self, String> {
        let name = wide(path)?;
        // What it needs is searched for in its own folder, the program's and the system's. Without flags it would be the working
        // folder's, too, where anybody may put a library.
        let own = if path.is_absolute() { LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR } else { 0 };
        let flags = LOAD_LIBRARY_SEARCH_DEFAULT_DIRS | own;
        let mut mode = 0;
        // SAFETY: plain LoadLibrary. It runs the library's initialisers, which the caller asks for. Windows must not show a dialog
        // for a damaged library.
        let (library, error) = unsafe {
            let changed = SetThreadErrorMode(SEM_FAILCRITICALERRORS, &mut mode) != 0;
            let library = LoadLibraryExW(name.as_ptr(), std::ptr::null_mut(), flags);
            let error = Error::last_os_error();
            if changed {
                SetThreadErrorMode(mode, std::ptr::null_mut());
            }
            (library, error)
        };
        if library.is_null() { Err(error.to_string()) } else { Ok(SharedLibrary(library)) }
    }

    /// The library of that bare name, if the process has loaded one.
    pub(crate) fn loaded(name: &str) -> Option<Self> {
        let mut library = std::ptr::null_mut();
        // SAFETY: a string that ends with a NUL, and a place for the result.
        let found = unsafe { GetModuleHandleExW(0, wide(Path::new(name)).ok()?.as_ptr(), &mut library) };
        (found != 0).then_some(SharedLibrary(library))
    }

    pub(crate) fn symbol(self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the library is open.
        unsafe { GetProcAddress(self.0, name.as_ptr().cast()) }.map(|function| function as *mut c_void)
    }

    /// # Safety
    /// Nothing of the library is used any more.
    pub(crate) unsafe fn close(self) {
        // SAFETY: as this function asks of its caller.
        unsafe { FreeLibrary(self.0) };
    }
}

fn wide(path: &Path) -> Result<Vec<u16>, String> {
    let mut wide: Vec<u16> = path.as_os_str().encode_wide().collect();
    if wide.contains(&0) {
        return Err("the path contains a NUL".into());
    }
    wide.push(0);
    Ok(wide)
}

/// A path that a function of Windows writes to a buffer, of which it returns the length.
fn path_from(fill: impl FnOnce(*mut u16, u32) -> u32) -> Option<PathBuf> {
    let mut buffer = vec![0; MAX_PATH];
    let length = fill(buffer.as_mut_ptr(), buffer.len() as u32) as usize;
    (length > 0 && length < buffer.len()).then(|| OsString::from_wide(&buffer[..length]).into())
}

/// The module that is loaded at an address.
fn module_at(address: *const c_void, flags: u32) -> Option<HMODULE> {
    let mut module = std::ptr::null_mut();
    let flags = flags | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
    // SAFETY: with this flag the name is an address.
    let found = unsafe { GetModuleHandleExW(flags, address.cast(), &mut module) };
    (found != 0).then_some(module)
}

/// The file that is loaded at an address.
pub(crate) fn loaded_file(address: *const c_void) -> Option<PathBuf> {
    let module = module_at(address, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT)?;
    // SAFETY: the buffer has that size.
    path_from(|buffer, size| unsafe { GetModuleFileNameW(module, buffer, size) })
}

/// Keeps this library loaded until the process ends. ONNX Runtime's threads and our thread-locals outlive a FreeLibrary.
pub(crate) fn stay_loaded() {
    module_at(stay_loaded as *const c_void, GET_MODULE_HANDLE_EX_FLAG_PIN);
}

/// Where a library of this bare name lies: in the program's folder, in those of PATH, or in the system's, in this order. The loader
/// would take the first, but Windows has an old ONNX Runtime in its folder, and nobody may put a library in the working folder.
pub(crate) fn search_path(name: &str) -> Vec<PathBuf> {
    let program = std::env::current_exe().ok().and_then(|program| program.parent().map(Path::to_path_buf));
    let path = std::env::var_os("PATH").unwrap_or_default();
    // SAFETY: the buffer has that size.
    let system = path_from(|buffer, size| unsafe { GetSystemDirectoryW(buffer, size) });
    let is_system = |folder: &PathBuf| system.as_ref().is_some_and(|own| folder.as_os_str().eq_ignore_ascii_case(own));
    // PATH begins with the system's folder.
    let named = std::env::split_paths(&path).filter(|folder| folder.is_absolute() && !is_system(folder));
    let mut found: Vec<PathBuf> = vec![];
    for file in program.into_iter().chain(named).chain(system.clone()).map(|folder| folder.join(name)) {
        if file.is_file() && !found.contains(&file) {
            found.push(file);
        }
    }
    found
}

/// How to fix the loader's error, if another file does not help.
pub(crate) fn loader_advice(path: &Path, reason: &str) -> Option<&'static str> {
    let is = |code: u32| reason.ends_with(&format!("(os error {code})"));
    if is(ERROR_MOD_NOT_FOUND) && path.exists() {
        Some("a library that it needs is missing: install the Microsoft Visual C++ Redistributable (x64)")
    } else if is(ERROR_BAD_EXE_FORMAT) {
        Some("it is damaged, or for another kind of CPU: get the one for x64")
    } else {
        None
    }
}

/// A path that C passes, in UTF-8.
pub(crate) fn path_from_c(text: &CStr) -> Result<PathBuf, std::str::Utf8Error> {
    text.to_str().map(PathBuf::from)
}

/// The name of a file as ONNX Runtime's calls take it, with a NUL at its end.
pub(crate) fn runtime_string(name: &str) -> Vec<u16> {
    name.encode_utf16().chain([0]).collect()
}

/// Reads from an offset. Threads may do so at the same time.
pub(crate) fn read_exact_at(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match file.seek_read(out, offset) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                out = &mut out[read..];
                offset += read as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// What a path leads to.
pub(crate) fn kind(path: &Path) -> io::Result<Kind> {
    // NUL, COM1 and others are devices in every folder, and have no metadata.
    if std::path::absolute(path).is_ok_and(|path| path.as_os_str().as_encoded_bytes().starts_with(br"\\.\")) {
        return Ok(Kind::Other);
    }
    Ok(Kind::of(&std::fs::metadata(path)?))
}

/// Identifies a file by its volume and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u32, u32, u32);

/// Of the file that a path leads to, also through links.
pub(crate) fn file_id(path: &Path) -> Option<FileId> {
    // Folders, too, and files that nobody may read.
    open_file_id(&OpenOptions::new().access_mode(0).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path).ok()?)
}

pub(crate) fn open_file_id(file: &File) -> Option<FileId> {
    let mut info = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open.
    let known = unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut info) };
    (known != 0).then_some(FileId(info.dwVolumeSerialNumber, info.nFileIndexHigh, info.nFileIndexLow))
}

/// How many names an open file has; 0 if it was deleted.
pub(crate) fn link_count(file: &File) -> io::Result<u64> {
    let mut info = FILE_STANDARD_INFO::default();
    let size = size_of::<FILE_STANDARD_INFO>() as u32;
    // SAFETY: the handle is open, and the struct has that size.
    let known =
        unsafe { GetFileInformationByHandleEx(file.as_raw_handle(), FileStandardInfo, (&raw mut info).cast(), size) };
    match known {
        0 => Err(Error::last_os_error()),
        _ => Ok(if info.DeletePending { 0 } else { info.NumberOfLinks.into() }),
    }
}

/// Whether a file could not be replaced, most likely because somebody has it open.
pub(crate) fn is_in_use(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(|code| code as u32);
    matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_SHARING_VIOLATION | ERROR_USER_MAPPED_FILE))
}

/// Whether a file will not be replaced by another one. Windows keeps what is read-only.
pub(crate) fn is_kept(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.permissions().readonly())
}

/// Opens a file for reading and writing. Does not follow a link, whose own data is opened.
pub(crate) fn open_no_follow(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path)
}

/// Windows has no fork.
///
/// # Safety
/// None is needed here.
pub(crate) unsafe fn on_fork(_: unsafe extern "C" fn()) {}

/// A thread of the system's. The standard library's allocate memory, which may end the process when it is short.
pub(crate) struct Thread(HANDLE);

impl Thread {
    /// Starts one, if the system has one.
    ///
    /// # Safety
    /// `work` does not unwind, and the thread is joined before `work` ends.
    pub(crate) unsafe fn start(work: &Work) -> Option<Self> {
        unsafe extern "system" fn run(work: *mut c_void) -> u32 {
            // SAFETY: it lives until the thread was joined.
            let work = unsafe { *work.cast::<Work>() };
            work();
            0
        }
        let work: *const Work = work;
        let how = STACK_SIZE_PARAM_IS_A_RESERVATION;
        // SAFETY: the thread gets what it expects.
        let thread =
            unsafe { CreateThread(std::ptr::null(), STACK_BYTES, Some(run), work.cast(), how, std::ptr::null_mut()) };
        (!thread.is_null()).then_some(Thread(thread))
    }

    /// Waits for its end.
    pub(crate) fn join(self) {
        // SAFETY: the handle is open until here.
        unsafe {
            WaitForSingleObject(self.0, INFINITE);
            CloseHandle(self.0);
        }
    }
}

/// How many more threads the process can start now, up to `most`.
pub(crate) fn obtainable_threads(most: usize) -> usize {
    unsafe extern "system" fn wait(gate: *mut c_void) -> u32 {
        // SAFETY: the event is closed after the threads have ended.
        unsafe { WaitForSingleObject(gate, INFINITE) };
        0
    }
    let mut threads: Vec<HANDLE> = vec![];
    // SAFETY: the event stays open until all threads have ended.
    unsafe {
        let gate = CreateEventW(std::ptr::null(), 1, 0, std::ptr::null());
        if gate.is_null() {
            return 0;
        }
        while threads.len() < most {
            let thread = CreateThread(std::ptr::null(), 0, Some(wait), gate, 0, std::ptr::null_mut());
            if thread.is_null() {
                break;
            }
            threads.push(thread);
        }
        SetEvent(gate);
        for thread in &threads {
            WaitForSingleObject(*thread, INFINITE);
            CloseHandle(*thread);
        }
        CloseHandle(gate);
    }
    threads.len()
}

/// The stack size of a thread.
pub(crate) fn stack_bytes() -> usize {
    1 << 20
}

/// How ONNX Runtime's error begins if it cannot start a thread.
pub(crate) const THREAD_REFUSED: &str = "_beginthreadex failed";
pub(crate) const MORE_STACKS: &str = "close other programs, or enlarge the page file";
pub(crate) const MORE_THREADS: &str = "close other programs";

/// Gives free memory of the allocator back to the system. The heap of Windows does so itself.
pub(crate) fn trim_heap() {}

/// Lets this process use the tile registers of its CPU. Not tried on this system yet.
pub(crate) fn allow_tile_registers() -> Result<(), &'static str> {
    Err("wfvae asks only Linux for it")
}

/// Asks for large pages. On Windows they take a privilege that programs rarely have.
pub(crate) fn advise_large_pages(_: &memmap2::MmapMut, _: usize, _: usize) {}

#[cfg(test)]
pub(crate) use std::os::windows::fs::symlink_file as symlink;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_the_loader_s_reason() {
        let advice = |path: &Path| {
            let reason = SharedLibrary::open(path, Symbols::Own).err().unwrap();
            loader_advice(path, &reason)
        };
        let folder = tempfile::tempdir().unwrap();
        let damaged = folder.path().join("damaged.dll");
        std::fs::write(&damaged, "no library").unwrap();
        assert!(advice(&damaged).unwrap().contains("for x64"));
        assert!(advice(&folder.path().join("missing.dll")).is_none());
        let without = loader_advice(&damaged, "x (os error 126)");
        assert!(without.unwrap().contains("Redistributable"));
        assert!(loader_advice(&damaged, "x (os error 1126)").is_none());
    }

    #[test]
    fn the_program_s_folder_is_searched_first_and_the_system_s_last() {
        // Both have one.
        let program = std::env::current_exe().unwrap();
        let name = program.file_name().unwrap().to_str().unwrap();
        assert_eq!(search_path(name)[0], program);
        let found = search_path("kernel32.dll");
        assert!(found.last().unwrap().parent().unwrap().ends_with("system32"), "{found:?}");
        assert!(search_path("wfvae_no_such_library.dll").is_empty());
    }

    #[test]
    fn a_deleted_file_has_no_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let file = open_no_follow(&path).unwrap();
        assert_eq!(link_count(&file).unwrap(), 1);
        std::fs::remove_file(&path).unwrap();
        // Wine counts the name until the file is closed.
        let left = link_count(&file).unwrap();
        assert!(left == 0 || path.exists(), "{left}");
    }
}
