//! NVRTC, which compiles CUDA C++ at run time.

use super::loader::open_library;
use libc::{c_char, c_int, c_void};
use std::ffi::{CStr, CString};
use std::path::PathBuf;

/// NVRTC, called through its C interface. These functions have had their signatures since CUDA 11.1.
pub(super) struct Compiler {
    create: Create,
    compile: extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int,
    destroy: extern "C" fn(*mut *mut c_void) -> c_int,
    log_size: extern "C" fn(*mut c_void, *mut usize) -> c_int,
    log: extern "C" fn(*mut c_void, *mut c_char) -> c_int,
    code_size: extern "C" fn(*mut c_void, *mut usize) -> c_int,
    code: extern "C" fn(*mut c_void, *mut c_char) -> c_int,
}

type Create = extern "C" fn(
    *mut *mut c_void,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;

/// A program of NVRTC.
struct Program<'a>(&'a Compiler, *mut c_void);

impl Drop for Program<'_> {
    fn drop(&mut self) {
        (self.0.destroy)(&mut self.1);
    }
}

impl Compiler {
    /// The first of these libraries, in one of the folders or where the loader finds it.
    pub(super) fn open(names: &[String], folders: &[PathBuf]) -> Result<Self, String> {
        let mut reason = "the CUDA packages beside ONNX Runtime have no NVRTC".to_string();
        let opened = names.iter().find_map(|name| open_library(name, folders).map_err(|e| reason = e).ok());
        let handle = opened.ok_or(reason)?;
        let symbol = |name: &CStr| -> Result<*mut c_void, String> {
            // SAFETY: the handle is open.
            let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
            match address.is_null() {
                true => Err(format!("{} has no {}", names.join(", "), name.to_string_lossy())),
                false => Ok(address),
            }
        };
        // SAFETY: the signatures are NVRTC's.
        unsafe {
            Ok(Compiler {
                create: std::mem::transmute::<*mut c_void, Create>(symbol(c"nvrtcCreateProgram")?),
                compile: std::mem::transmute::<
                    *mut c_void,
                    extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int,
                >(symbol(c"nvrtcCompileProgram")?),
                destroy: std::mem::transmute::<*mut c_void, extern "C" fn(*mut *mut c_void) -> c_int>(symbol(
                    c"nvrtcDestroyProgram",
                )?),
                log_size: sized(symbol(c"nvrtcGetProgramLogSize")?),
                log: filled(symbol(c"nvrtcGetProgramLog")?),
                code_size: sized(symbol(c"nvrtcGetCUBINSize")?),
                code: filled(symbol(c"nvrtcGetCUBIN")?),
            })
        }
    }

    /// The code for devices of this compute capability.
    pub(super) fn compile(&self, text: &str, defined: &str, [major, minor]: [i32; 2]) -> Result<Vec<u8>, String> {
        let text = CString::new(text).expect("the text holds no NUL");
        let asked = |name: &str, result: c_int| match result {
            0 => Ok(()),
            error => Err(format!("{name} gives error {error}")),
        };
        let mut program = Program(self, std::ptr::null_mut());
        let no_headers = std::ptr::null();
        let created = (self.create)(&mut program.1, text.as_ptr(), c"kernels.cu".as_ptr(), 0, no_headers, no_headers);
        asked("nvrtcCreateProgram", created)?;
        let options = [format!("--gpu-architecture=sm_{major}{minor}"), "--std=c++17".into(), format!("-D{defined}")];
        let options = options.map(|option| CString::new(option).expect("no NUL"));
        let options = options.each_ref().map(|option| option.as_ptr());
        let result = (self.compile)(program.1, options.len() as c_int, options.as_ptr());
        if let Err(e) = asked("nvrtcCompileProgram", result) {
            let log = read(self.log_size, self.log, program.1);
            return Err(format!("{e}: {}", String::from_utf8_lossy(&log).trim_end_matches('\0').trim()));
        }
        match read(self.code_size, self.code, program.1) {
            code if code.is_empty() => Err("NVRTC gives no code".into()),
            code => Ok(code),
        }
    }
}

/// # Safety
/// The address must be a function's of that signature.
unsafe fn sized(address: *mut c_void) -> extern "C" fn(*mut c_void, *mut usize) -> c_int {
    // SAFETY: the caller promises it.
    unsafe { std::mem::transmute(address) }
}

/// # Safety
/// The address must be a function's of that signature.
unsafe fn filled(address: *mut c_void) -> extern "C" fn(*mut c_void, *mut c_char) -> c_int {
    // SAFETY: the caller promises it.
    unsafe { std::mem::transmute(address) }
}

/// What a program has, in two calls.
fn read(
    size: extern "C" fn(*mut c_void, *mut usize) -> c_int,
    fill: extern "C" fn(*mut c_void, *mut c_char) -> c_int,
    program: *mut c_void,
) -> Vec<u8> {
    let mut bytes = 0;
    if size(program, &mut bytes) != 0 {
        return vec![];
    }
    let mut out = vec![0; bytes];
    if fill(program, out.as_mut_ptr().cast()) == 0 { out } else { vec![] }
}
