//! A CUDA stream: all sessions of a model and all its copies work in it, so the device does them in the order in which they
//! were asked for, without the CPU waiting between them. Called through the CUDA runtime that ONNX Runtime's provider loaded.

use super::loader::{functions, open_library};
use crate::error::{Error, ErrorKind, Result, fail};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

const TO_DEVICE: c_int = 1;
const TO_HOST: c_int = 2;
/// Does not wait for the legacy default stream, in which the program may work.
const NON_BLOCKING: c_uint = 1;
/// A thread that waits for an event sleeps. Without times, which nobody reads.
const BLOCKING_SYNC_NO_TIMING: c_uint = 1 | 2;

/// A stream or an event of CUDA.
type Handle = *mut c_void;

functions! {
    struct Functions {
        set_device = c"cudaSetDevice": fn(c_int) -> c_int;
        error_name = c"cudaGetErrorName": fn(c_int) -> *const c_char;
        stream_create = c"cudaStreamCreateWithFlags": fn(*mut Handle, c_uint) -> c_int;
        stream_synchronize = c"cudaStreamSynchronize": fn(Handle) -> c_int;
        stream_destroy = c"cudaStreamDestroy": fn(Handle) -> c_int;
        event_create = c"cudaEventCreateWithFlags": fn(*mut Handle, c_uint) -> c_int;
        event_record = c"cudaEventRecord": fn(Handle, Handle) -> c_int;
        event_synchronize = c"cudaEventSynchronize": fn(Handle) -> c_int;
        event_destroy = c"cudaEventDestroy": fn(Handle) -> c_int;
        copy = c"cudaMemcpyAsync": fn(*mut c_void, *const c_void, usize, c_int, Handle) -> c_int;
    }
}

/// Of the library of that name, which is loaded.
fn functions_of(library: &str) -> Result<Functions> {
    let handle = match open_library(library, &[]) {
        Ok(handle) => handle,
        Err(reason) => fail!(Provider, "{library} cannot be loaded: {reason}"),
    };
    // SAFETY: the functions of the CUDA runtime have had these signatures in every version.
    match unsafe { Functions::of(handle) } {
        Ok(functions) => Ok(functions),
        Err(name) => fail!(Provider, "{library} is not the CUDA runtime that ONNX Runtime needs: it has no {name}"),
    }
}

pub(crate) struct CudaQueue {
    functions: Functions,
    device: c_int,
    stream: Handle,
}

/// A point in a queue.
pub(crate) struct CudaEvent {
    queue: Arc<CudaQueue>,
    event: Handle,
}

// SAFETY: CUDA's functions may be called from any thread.
unsafe impl Send for CudaQueue {}
unsafe impl Sync for CudaQueue {}
unsafe impl Send for CudaEvent {}
unsafe impl Sync for CudaEvent {}

impl CudaQueue {
    /// `library`: the name of the CUDA runtime that ONNX Runtime's provider needs.
    pub(crate) fn new(library: &str, device: u32) -> Result<Self> {
        let mut queue =
            CudaQueue { functions: functions_of(library)?, device: device as c_int, stream: std::ptr::null_mut() };
        queue.enter()?;
        let result = (queue.functions.stream_create)(&mut queue.stream, NON_BLOCKING);
        queue.check("a stream cannot be created", result)?;
        Ok(queue)
    }

    /// For ONNX Runtime's provider.
    pub(super) fn stream(&self) -> *mut () {
        self.stream.cast()
    }

    /// Makes the device the thread's, as ONNX Runtime does in each run.
    fn enter(&self) -> Result<()> {
        self.check("it cannot be used", (self.functions.set_device)(self.device))
    }

    fn check(&self, what: &str, result: c_int) -> Result<()> {
        if result == 0 {
            return Ok(());
        }
        let name = (self.functions.error_name)(result);
        let name = match name.is_null() {
            true => "unknown".into(),
            // SAFETY: a text that stays.
            false => unsafe { CStr::from_ptr(name) }.to_string_lossy(),
        };
        // cudaErrorMemoryAllocation
        let kind = if result == 2 { ErrorKind::OutOfMemory } else { ErrorKind::Runtime };
        Err(Error::new(kind, format!("CUDA device {}: {what}: {name} ({result})", self.device)))
    }

    /// Begins a copy of host memory, which must stay as it is until the copy is done.
    ///
    /// # Safety
    /// Both must have so many bytes until then.
    pub(crate) unsafe fn upload(&self, from: *const u8, to: *mut u8, bytes: usize) -> Result<()> {
        self.enter()?;
        let result = (self.functions.copy)(to.cast(), from.cast(), bytes, TO_DEVICE, self.stream);
        self.check("a copy to it failed", result)
    }

    /// Begins a copy to host memory.
    ///
    /// # Safety
    /// Both must have so many bytes until it is done.
    pub(crate) unsafe fn download(&self, from: *const u8, to: *mut u8, bytes: usize) -> Result<()> {
        self.enter()?;
        let result = (self.functions.copy)(to.cast(), from.cast(), bytes, TO_HOST, self.stream);
        self.check("a copy from it failed", result)
    }

    /// Waits until all is done.
    pub(crate) fn finish(&self) -> Result<()> {
        self.enter()?;
        self.check("its work failed", (self.functions.stream_synchronize)(self.stream))
    }
}

impl Drop for CudaQueue {
    fn drop(&mut self) {
        if !self.stream.is_null() {
            let _ = self.finish();
            (self.functions.stream_destroy)(self.stream);
        }
    }
}

impl CudaEvent {
    pub(crate) fn new(queue: &Arc<CudaQueue>) -> Result<Self> {
        let mut event = CudaEvent { queue: queue.clone(), event: std::ptr::null_mut() };
        queue.enter()?;
        let result = (queue.functions.event_create)(&mut event.event, BLOCKING_SYNC_NO_TIMING);
        queue.check("an event cannot be created", result)?;
        Ok(event)
    }

    /// Sets it behind all that the queue has to do now.
    pub(crate) fn record(&self) -> Result<()> {
        self.queue.enter()?;
        self.queue.check("an event cannot be set", (self.queue.functions.event_record)(self.event, self.queue.stream))
    }

    /// Waits until the device has come there.
    pub(crate) fn wait(&self) -> Result<()> {
        self.queue.enter()?;
        self.queue.check("its work failed", (self.queue.functions.event_synchronize)(self.event))
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        if !self.event.is_null() && self.queue.enter().is_ok() {
            (self.queue.functions.event_destroy)(self.event);
        }
    }
}
