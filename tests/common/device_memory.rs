//! The device's memory, by the functions of the CUDA runtime that ONNX Runtime's provider works with. They use the thread's
//! device, which is 0 unless someone changes it.

use std::ffi::{CStr, c_int, c_void};

/// After a model was opened, which loads the library.
fn function(name: &CStr) -> *mut c_void {
    // SAFETY: looks a name up.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    assert!(!address.is_null(), "no CUDA runtime is loaded");
    address
}

pub fn free_bytes() -> u64 {
    // SAFETY: the function's signature.
    let get: extern "C" fn(&mut usize, &mut usize) -> c_int =
        unsafe { std::mem::transmute(function(c"cudaMemGetInfo")) };
    let (mut free, mut total) = (0, 0);
    assert_eq!(get(&mut free, &mut total), 0, "cudaMemGetInfo");
    free as u64
}

fn done(what: &str, result: c_int) {
    assert_eq!(result, 0, "{what}");
}

/// The program's own memory.
pub struct Buffer {
    at: *mut c_void,
    bytes: usize,
}

/// A CUDA stream of the program.
pub struct ProgramStream(pub *mut c_void);

impl Buffer {
    pub fn new(bytes: usize) -> Self {
        // SAFETY: the function's signature.
        let take: extern "C" fn(&mut *mut c_void, usize) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaMalloc")) };
        let mut at = std::ptr::null_mut();
        done("cudaMalloc", take(&mut at, bytes));
        Buffer { at, bytes }
    }

    pub fn at(&self) -> *mut u8 {
        self.at.cast()
    }

    /// In the stream's turn.
    pub fn fill(&self, value: u8, stream: &ProgramStream) {
        // SAFETY: the function's signature.
        let fill: extern "C" fn(*mut c_void, c_int, usize, *mut c_void) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaMemsetAsync")) };
        done("cudaMemsetAsync", fill(self.at, value.into(), self.bytes, stream.0));
    }

    /// In the stream's turn.
    pub fn take(&self, from: &Buffer, stream: &ProgramStream) {
        done("cudaMemcpyAsync", copy()(self.at, from.at, self.bytes.min(from.bytes), 3, stream.0));
    }

    /// Waits for that.
    pub fn write(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.bytes);
        let stream = ProgramStream::new();
        done("cudaMemcpyAsync", copy()(self.at, bytes.as_ptr().cast(), bytes.len(), 1, stream.0));
        stream.wait();
    }

    /// Waits for that.
    pub fn read(&self) -> Vec<u8> {
        let (mut bytes, stream) = (vec![0; self.bytes], ProgramStream::new());
        done("cudaMemcpyAsync", copy()(bytes.as_mut_ptr().cast(), self.at, self.bytes, 2, stream.0));
        stream.wait();
        bytes
    }
}

fn copy() -> extern "C" fn(*mut c_void, *const c_void, usize, c_int, *mut c_void) -> c_int {
    // SAFETY: the function's signature.
    unsafe { std::mem::transmute(function(c"cudaMemcpyAsync")) }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: the function's signature.
        let give: extern "C" fn(*mut c_void) -> c_int = unsafe { std::mem::transmute(function(c"cudaFree")) };
        done("cudaFree", give(self.at));
    }
}

impl ProgramStream {
    /// One that does not wait for the default stream.
    pub fn new() -> Self {
        // SAFETY: the function's signature.
        let create: extern "C" fn(&mut *mut c_void, u32) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaStreamCreateWithFlags")) };
        let mut stream = std::ptr::null_mut();
        done("cudaStreamCreateWithFlags", create(&mut stream, 1));
        ProgramStream(stream)
    }

    /// What the stream is asked for meanwhile goes into a CUDA graph, and is lost.
    pub fn recording<T>(&self, work: impl FnOnce() -> T) -> T {
        // SAFETY: the function's signature.
        let begin: extern "C" fn(*mut c_void, c_int) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaStreamBeginCapture")) };
        // SAFETY: the function's signature.
        let end: extern "C" fn(*mut c_void, &mut *mut c_void) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaStreamEndCapture")) };
        // SAFETY: the function's signature.
        let destroy: extern "C" fn(*mut c_void) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaGraphDestroy")) };
        const RELAXED: c_int = 2;
        done("cudaStreamBeginCapture", begin(self.0, RELAXED));
        let result = work();
        let mut graph = std::ptr::null_mut();
        done("cudaStreamEndCapture", end(self.0, &mut graph));
        done("cudaGraphDestroy", destroy(graph));
        result
    }

    pub fn wait(&self) {
        // SAFETY: the function's signature.
        let wait: extern "C" fn(*mut c_void) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaStreamSynchronize")) };
        done("cudaStreamSynchronize", wait(self.0));
    }
}

impl Drop for ProgramStream {
    fn drop(&mut self) {
        // SAFETY: the function's signature.
        let destroy: extern "C" fn(*mut c_void) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaStreamDestroy")) };
        done("cudaStreamDestroy", destroy(self.0));
    }
}

/// Takes memory so that others find none.
#[derive(Default)]
pub struct Filler(Vec<*mut c_void>);

impl Filler {
    /// Takes all but about so many bytes.
    pub fn fill(&mut self, leave: u64) {
        // SAFETY: the function's signature.
        let take: extern "C" fn(&mut *mut c_void, usize) -> c_int =
            unsafe { std::mem::transmute(function(c"cudaMalloc")) };
        let mut size = 32u64 << 30;
        while size >= 1 << 16 {
            let mut at = std::ptr::null_mut();
            if free_bytes() >= leave + size && take(&mut at, size as usize) == 0 {
                self.0.push(at);
            } else {
                size /= 2;
            }
        }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // SAFETY: the function's signature.
        let give: extern "C" fn(*mut c_void) -> c_int = unsafe { std::mem::transmute(function(c"cudaFree")) };
        self.0.drain(..).for_each(|at| assert_eq!(give(at), 0, "cudaFree"));
    }
}
