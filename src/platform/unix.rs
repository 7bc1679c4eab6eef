//! What Linux and macOS have in common.

use super::shared::{Kind, STACK_BYTES, Symbols, Work};
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A shared library. It stays loaded until [`close`](Self::close).
#[derive(Clone, Copy)]
pub(crate) struct SharedLibrary(*mut c_void);

impl SharedLibrary {
    /// Loads a library, for whose bare name the loader searches. This runs its initialisers. The error is the loader's.
    pub(crate) fn open(path: &Path, symbols: Symbols) -> Result<Self, String> {
        Self::dlopen(
            path,
            match symbols {
                Symbols::Own => libc::RTLD_LOCAL,
                Symbols::Global => libc::RTLD_GLOBAL,
            },
        )
    }

    /// The library of that bare name, if the process has loaded one.
    pub(crate) fn loaded(name: &str) -> Option<Self> {
        Self::dlopen(Path::new(name), libc::RTLD_LOCAL | libc::RTLD_NOLOAD).ok()
    }

    fn dlopen(path: &Path, flags: c_int) -> Result<Self, String> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| "the path contains a NUL".to_string())?;
        // SAFETY: plain dlopen. It runs the library's initialisers, which the caller asks for.
        let handle = unsafe { libc::dlopen(name.as_ptr(), flags | libc::RTLD_NOW) };
        if handle.is_null() { Err(loader_error()) } else { Ok(SharedLibrary(handle)) }
    }

    pub(crate) fn symbol(self, name: &CStr) -> Option<*mut c_void> {
        // SAFETY: the library is open.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    }

    /// # Safety
    /// Nothing of the library is used any more.
    pub(crate) unsafe fn close(self) {
        // SAFETY: the caller promises it.
        unsafe { libc::dlclose(self.0) };
    }
}

fn loader_error() -> String {
    // SAFETY: dlerror returns NULL or a string that is valid until this thread's next call of it.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "unknown error".into();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The file that is loaded at an address.
pub(crate) fn loaded_file(address: *const c_void) -> Option<PathBuf> {
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

/// Where the loader searches for a library of this bare name: it searches itself.
pub(crate) fn search_path(name: &str) -> Vec<PathBuf> {
    vec![name.into()]
}

/// How to fix the loader's error, if another file does not help.
pub(crate) fn loader_advice(_: &Path, reason: &str) -> Option<&'static str> {
    if reason.contains("Too many open files") {
        Some("raise the limit of open files (ulimit -n)")
    } else if reason.contains("failed to map segment") || reason.contains("annot allocate memory") {
        Some("not enough memory (ulimit -v, limits of the control group), or its folder is mounted noexec")
    } else {
        None
    }
}

/// A path that C passes: any bytes.
pub(crate) fn path_from_c(text: &CStr) -> Result<PathBuf, std::str::Utf8Error> {
    Ok(PathBuf::from(OsStr::from_bytes(text.to_bytes())))
}

/// The name of a file as ONNX Runtime's calls take it, with a NUL at its end.
pub(crate) fn runtime_string(name: &str) -> Vec<c_char> {
    name.bytes().chain([0]).map(|byte| byte as c_char).collect()
}

/// Reads from an offset. Threads may do so at the same time.
pub(crate) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(out, offset)
}

/// What a path leads to.
pub(crate) fn kind(path: &Path) -> io::Result<Kind> {
    Ok(Kind::of(&std::fs::metadata(path)?))
}

/// Identifies a file by its device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

/// Of the file that a path leads to, also through links.
pub(crate) fn file_id(path: &Path) -> Option<FileId> {
    std::fs::metadata(path).ok().map(|meta| FileId(meta.dev(), meta.ino()))
}

pub(crate) fn open_file_id(file: &File) -> Option<FileId> {
    file.metadata().ok().map(|meta| FileId(meta.dev(), meta.ino()))
}

/// How many names an open file has; 0 if it was deleted.
pub(crate) fn link_count(file: &File) -> io::Result<u64> {
    file.metadata().map(|meta| meta.nlink())
}

/// Whether a file could not be replaced because somebody has it open. This system replaces such files.
pub(crate) fn is_in_use(_: &io::Error) -> bool {
    false
}

/// Whether a file will not be replaced by another one. This system replaces read-only files, too.
pub(crate) fn is_kept(_: &Path) -> bool {
    false
}

/// Opens a file for reading and writing. Does not follow a link, which is an error here, nor wait for the other end of a pipe.
pub(crate) fn open_no_follow(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// Lets `handler` run in each forked child.
///
/// # Safety
/// The handler does only what is allowed after a fork.
pub(crate) unsafe fn on_fork(handler: unsafe extern "C" fn()) {
    // If registering fails for lack of memory, the process ID still tells most processes apart.
    // SAFETY: the caller promises it of the handler.
    unsafe { libc::pthread_atfork(None, None, Some(handler)) };
}

/// A thread of the system's. The standard library's end the process when memory is short.
pub(crate) struct Thread(libc::pthread_t);

impl Thread {
    /// Starts one, if the system has one.
    ///
    /// # Safety
    /// `work` does not unwind, and the thread is joined before `work` ends.
    pub(crate) unsafe fn start(work: &Work) -> Option<Self> {
        extern "C" fn run(work: *mut c_void) -> *mut c_void {
            // SAFETY: it lives until the thread was joined.
            let work = unsafe { *work.cast::<Work>() };
            work();
            std::ptr::null_mut()
        }
        let mut how = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        let mut thread = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
        let work = std::ptr::from_ref(work).cast_mut().cast();
        // SAFETY: the attributes are used only if they are filled, and so is the thread.
        unsafe {
            if libc::pthread_attr_init(how.as_mut_ptr()) != 0 {
                return None;
            }
            libc::pthread_attr_setstacksize(how.as_mut_ptr(), STACK_BYTES);
            let refused = libc::pthread_create(thread.as_mut_ptr(), how.as_ptr(), run, work);
            libc::pthread_attr_destroy(how.as_mut_ptr());
            (refused == 0).then(|| Thread(thread.assume_init()))
        }
    }

    /// Waits for its end.
    pub(crate) fn join(self) {
        // SAFETY: nobody else joins it.
        unsafe { libc::pthread_join(self.0, std::ptr::null_mut()) };
    }
}

/// How many more threads the process can start now, up to `most`.
pub(crate) fn obtainable_threads(most: usize) -> usize {
    extern "C" fn wait(gate: *mut c_void) -> *mut c_void {
        // SAFETY: the threads are joined before the gate goes out of scope.
        unsafe {
            libc::pthread_mutex_lock(gate.cast());
            libc::pthread_mutex_unlock(gate.cast());
        }
        std::ptr::null_mut()
    }
    let gate = UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER);
    let mut threads: Vec<libc::pthread_t> = vec![];
    // SAFETY: the mutex does not move, and all started threads are joined.
    unsafe {
        libc::pthread_mutex_lock(gate.get());
        while threads.len() < most {
            let mut thread = std::mem::zeroed();
            if libc::pthread_create(&mut thread, std::ptr::null(), wait, gate.get().cast()) != 0 {
                break;
            }
            threads.push(thread);
        }
        libc::pthread_mutex_unlock(gate.get());
        for thread in &threads {
            libc::pthread_join(*thread, std::ptr::null_mut());
        }
    }
    if threads.len() < most {
        // The system counts a thread for a moment after it has been joined.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    threads.len()
}

/// The stack size of a C++ thread.
pub(crate) fn stack_bytes() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: fills the struct.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) } == 0;
    match limit.rlim_cur {
        bytes if known && bytes <= 1 << 30 => bytes as usize,
        _ => 2 << 20,
    }
}

/// How ONNX Runtime's error begins if it cannot start a thread.
pub(crate) const THREAD_REFUSED: &str = "pthread_create failed";
pub(crate) const MORE_STACKS: &str = "raise the limit (ulimit -v)";
pub(crate) const MORE_THREADS: &str =
    "raise the limit of processes and threads (ulimit -u, pids.max of the control group)";

#[cfg(test)]
pub(crate) use std::os::unix::fs::symlink;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_the_loader_s_reason() {
        for (reason, word) in [
            ("x.so: cannot open shared object file: Too many open files", Some("ulimit -n")),
            ("x.so: failed to map segment from shared object", Some("ulimit -v")),
            ("x.so: cannot create shared object descriptor: Cannot allocate memory", Some("ulimit -v")),
            ("x.so: cannot open shared object file: No such file or directory", None),
        ] {
            assert_eq!(loader_advice(Path::new("x.so"), reason).is_some(), word.is_some(), "{reason}");
            assert!(
                word.is_none_or(|word| loader_advice(Path::new("x.so"), reason).unwrap().contains(word)),
                "{reason}"
            );
        }
    }
}
