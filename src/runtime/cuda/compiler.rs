//! NVRTC, which compiles CUDA C++ at run time.

use super::loader::{functions, open_library};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::PathBuf;

/// What is compiled: CUDA C++, and the name of its file.
pub(super) struct Text {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// NVRTC, called through its C interface.
pub(super) struct Compiler(Functions);

type Handle = *mut c_void;
type Texts = *const *const c_char;

functions! {
    struct Functions {
        create = c"nvrtcCreateProgram": fn(*mut Handle, *const c_char, *const c_char, c_int, Texts, Texts) -> c_int;
        compile = c"nvrtcCompileProgram": fn(Handle, c_int, Texts) -> c_int;
        destroy = c"nvrtcDestroyProgram": fn(*mut Handle) -> c_int;
        log_size = c"nvrtcGetProgramLogSize": fn(Handle, *mut usize) -> c_int;
        log = c"nvrtcGetProgramLog": fn(Handle, *mut c_char) -> c_int;
        code_size = c"nvrtcGetCUBINSize": fn(Handle, *mut usize) -> c_int;
        code = c"nvrtcGetCUBIN": fn(Handle, *mut c_char) -> c_int;
    }
}

/// A program of NVRTC.
struct Program<'a>(&'a Functions, Handle);

impl Drop for Program<'_> {
    fn drop(&mut self) {
        // SAFETY: NVRTC made it, or it is null, which is refused.
        unsafe { (self.0.destroy)(&mut self.1) };
    }
}

impl Compiler {
    /// The first of these libraries, in one of the folders or where the loader finds it.
    pub(super) fn open(names: &[String], folders: &[PathBuf]) -> Result<Self, String> {
        let mut reason = "the CUDA packages beside ONNX Runtime have no NVRTC".to_string();
        let opened = names.iter().find_map(|name| open_library(name, folders).map_err(|e| reason = e).ok());
        let handle = opened.ok_or(reason)?;
        // SAFETY: these functions have had their signatures since CUDA 11.1.
        match unsafe { Functions::of(handle) } {
            Ok(functions) => Ok(Compiler(functions)),
            Err(name) => Err(format!("{} has no {name}", names.join(", "))),
        }
    }

    /// The code of a text for devices of this compute capability, with one more option.
    pub(super) fn compile(&self, text: &Text, option: &str, [major, minor]: [i32; 2]) -> Result<Vec<u8>, String> {
        let name = CString::new(text.name).expect("no NUL");
        let text = CString::new(text.text).expect("the text holds no NUL");
        let asked = |name: &str, result: c_int| match result {
            0 => Ok(()),
            error => Err(format!("{name} gives error {error}")),
        };
        let mut program = Program(&self.0, std::ptr::null_mut());
        let no_headers = std::ptr::null();
        // SAFETY: texts with their NULs, and no headers.
        let created =
            unsafe { (self.0.create)(&mut program.1, text.as_ptr(), name.as_ptr(), 0, no_headers, no_headers) };
        asked("nvrtcCreateProgram", created)?;
        let options = [format!("--gpu-architecture=sm_{major}{minor}"), "--std=c++17".into(), option.into()];
        let options = options.map(|option| CString::new(option).expect("no NUL"));
        let options = options.each_ref().map(|option| option.as_ptr());
        // SAFETY: the program was made, and there are so many texts.
        let result = unsafe { (self.0.compile)(program.1, options.len() as c_int, options.as_ptr()) };
        if let Err(e) = asked("nvrtcCompileProgram", result) {
            // SAFETY: functions of NVRTC for this program.
            let log = unsafe { read(self.0.log_size, self.0.log, program.1) };
            return Err(format!("{e}: {}", String::from_utf8_lossy(&log).trim_end_matches('\0').trim()));
        }
        // SAFETY: as above.
        match unsafe { read(self.0.code_size, self.0.code, program.1) } {
            code if code.is_empty() => Err("NVRTC gives no code".into()),
            code => Ok(code),
        }
    }
}

/// What a program has, in two calls.
///
/// # Safety
/// `fill` must write as many bytes as `size` says of the program.
unsafe fn read(
    size: unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int,
    fill: unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int,
    program: *mut c_void,
) -> Vec<u8> {
    let mut bytes = 0;
    // SAFETY: as this function asks of its caller.
    if unsafe { size(program, &mut bytes) } != 0 {
        return vec![];
    }
    let mut out = vec![0; bytes];
    // SAFETY: as this function asks of its caller, there is room.
    if unsafe { fill(program, out.as_mut_ptr().cast()) } == 0 { out } else { vec![] }
}
