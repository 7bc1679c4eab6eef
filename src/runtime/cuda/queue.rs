//! CUDA streams. All sessions of a model work in one of them, so the device does their runs in the order in which they were
//! asked for, without the CPU waiting between them. What crosses from and to the CPU has a stream for each way, so that it
//! crosses while the device works. Called through the CUDA runtime that ONNX Runtime's provider loaded.

use super::graph_functions::GraphFunctions;
use super::loader::{Handle, functions, open_library};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::platform::SharedLibrary;
use crate::process::Process;
use crate::sync::{AtomicPtr, Lasting};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

const TO_DEVICE: c_int = 1;
const TO_HOST: c_int = 2;
const ON_DEVICE: c_int = 3;
/// cudaErrorStreamCaptureImplicit
const CAPTURE_IMPLICIT: c_int = 906;
/// cudaErrorInvalidValue, ...DeviceUninitialized, ...InvalidResourceHandle, ...ContextIsDestroyed.
const NO_STREAM: [c_int; 4] = [1, 201, 400, 709];
const OF_OTHERS: &str = "cuda_stream is no CUDA stream of the device's primary context";
/// Does not wait for the legacy default stream, in which the program may work.
const NON_BLOCKING: c_uint = 1;
/// A thread that waits for an event sleeps. Without times, which nobody reads.
const BLOCKING_SYNC_NO_TIMING: c_uint = 1 | 2;

functions! {
    struct Functions {
        set_device = c"cudaSetDevice": fn(c_int) -> c_int;
        error_name = c"cudaGetErrorName": fn(c_int) -> *const c_char;
        last_error = c"cudaGetLastError": fn() -> c_int;
        stream_create = c"cudaStreamCreateWithFlags": fn(*mut Handle, c_uint) -> c_int;
        stream_synchronize = c"cudaStreamSynchronize": fn(Handle) -> c_int;
        stream_wait = c"cudaStreamWaitEvent": fn(Handle, Handle, c_uint) -> c_int;
        stream_destroy = c"cudaStreamDestroy": fn(Handle) -> c_int;
        event_create = c"cudaEventCreateWithFlags": fn(*mut Handle, c_uint) -> c_int;
        event_record = c"cudaEventRecord": fn(Handle, Handle) -> c_int;
        event_synchronize = c"cudaEventSynchronize": fn(Handle) -> c_int;
        event_destroy = c"cudaEventDestroy": fn(Handle) -> c_int;
        copy = c"cudaMemcpyAsync": fn(*mut c_void, *const c_void, usize, c_int, Handle) -> c_int;
        is_capturing = c"cudaStreamIsCapturing": fn(Handle, *mut c_int) -> c_int;
        fill = c"cudaMemsetAsync": fn(*mut c_void, c_int, usize, Handle) -> c_int;
    }
}

/// The library of that name, which is loaded.
fn loaded(library: &str) -> Result<SharedLibrary> {
    match open_library(library, &[]) {
        Ok(handle) => Ok(handle),
        Err(reason) => fail!(Provider, "{library} cannot be loaded: {reason}"),
    }
}

fn functions_of(library: &str, handle: SharedLibrary) -> Result<Functions> {
    // SAFETY: the functions of the CUDA runtime have had these signatures in every version.
    match unsafe { Functions::of(handle) } {
        Ok(functions) => Ok(functions),
        Err(name) => fail!(Provider, "{library} is not the CUDA runtime that ONNX Runtime needs: it has no {name}"),
    }
}

/// Written while a thread records. While anyone in the process records, CUDA lets nobody wait for the whole device, and ends
/// the recording if somebody tries. A forked child gets a lock of its own, as another thread of its parent may hold this one.
pub(super) fn recording_lock() -> &'static RwLock<()> {
    static LOCK: Lasting<(Process, RwLock<()>)> = Lasting(AtomicPtr::new(std::ptr::null_mut()));
    &LOCK.get(|(owner, _)| owner.is_current(), || (Process::current(), RwLock::default())).1
}

pub(crate) struct CudaQueue {
    functions: Functions,
    /// The error is the name of one that the library lacks.
    pub(super) graph_functions: std::result::Result<GraphFunctions, String>,
    recording: &'static RwLock<()>,
    device: c_int,
    streams: [Handle; 3],
}

/// One of a queue's streams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Runs, and copies on the device.
    Work,
    /// Copies to it.
    Up,
    /// Copies from it.
    Down,
}

/// A point in a queue.
pub(crate) struct CudaEvent {
    queue: Arc<CudaQueue>,
    event: Handle,
}

// SAFETY: CUDA's functions may be called from any thread.
unsafe impl Send for CudaQueue {}
// SAFETY: as above.
unsafe impl Sync for CudaQueue {}
// SAFETY: as above.
unsafe impl Send for CudaEvent {}
// SAFETY: as above.
unsafe impl Sync for CudaEvent {}

impl CudaQueue {
    /// `library`: the name of the CUDA runtime that ONNX Runtime's provider needs.
    pub(crate) fn new(library: &str, device: u32) -> Result<Self> {
        let handle = loaded(library)?;
        let mut queue = CudaQueue {
            functions: functions_of(library, handle)?,
            // SAFETY: as above, since version 11.4.
            graph_functions: unsafe { GraphFunctions::of(handle) },
            recording: recording_lock(),
            device: device as c_int,
            streams: [std::ptr::null_mut(); 3],
        };
        let _shared = queue.shared();
        queue.enter()?;
        for lane in [Lane::Work, Lane::Up, Lane::Down] {
            // SAFETY: it writes a handle.
            let result = unsafe { (queue.functions.stream_create)(&mut queue.streams[lane as usize], NON_BLOCKING) };
            queue.check("a stream cannot be created", result)?;
        }
        Ok(queue)
    }

    /// For ONNX Runtime's provider.
    pub(super) fn stream(&self) -> *mut () {
        self.lane(Lane::Work).cast()
    }

    fn lane(&self, lane: Lane) -> Handle {
        self.streams[lane as usize]
    }

    /// CUDA keeps a thread's last error until somebody asks for it. ONNX Runtime does, and would take it for its own.
    pub(super) fn forget_error(&self) {
        // SAFETY: it only reads and clears the thread's.
        unsafe { (self.functions.last_error)() };
    }

    /// Keeps other threads from recording, also for other models. Whatever puts work into a lane, or may wait for the whole
    /// device as loading does, holds it.
    pub(crate) fn shared(&self) -> RwLockReadGuard<'static, ()> {
        self.recording.read()
    }

    /// For a thread that records; `None` if another one works with the stream.
    pub(super) fn alone(&self) -> Option<RwLockWriteGuard<'static, ()>> {
        self.recording.try_write()
    }

    /// Makes the device the thread's, as ONNX Runtime does in each run.
    pub(super) fn enter(&self) -> Result<()> {
        // SAFETY: any number may be given.
        self.check("it cannot be used", unsafe { (self.functions.set_device)(self.device) })
    }

    pub(super) fn check(&self, what: &str, result: c_int) -> Result<()> {
        if result == 0 {
            return Ok(());
        }
        self.forget_error();
        // SAFETY: as above.
        let name = unsafe { (self.functions.error_name)(result) };
        let name = match name.is_null() {
            true => "unknown".into(),
            // SAFETY: a text that stays.
            false => unsafe { CStr::from_ptr(name) }.to_string_lossy(),
        };
        // cudaErrorMemoryAllocation
        let kind = if result == 2 { ErrorKind::OutOfMemory } else { ErrorKind::Runtime };
        Err(Error::new(kind, format!("CUDA device {}: {what}: {name} ({result})", self.device)))
    }

    /// Begins a copy, in its lane.
    ///
    /// # Safety
    /// Both must have so many bytes until it is done, and the CPU must not write what it reads.
    pub(crate) unsafe fn copy(&self, lane: Lane, from: *const u8, to: *mut u8, bytes: usize) -> Result<()> {
        let _shared = self.shared();
        self.enter()?;
        let (kind, what) = match lane {
            Lane::Work => (ON_DEVICE, "a copy on it failed"),
            Lane::Up => (TO_DEVICE, "a copy to it failed"),
            Lane::Down => (TO_HOST, "a copy from it failed"),
        };
        // SAFETY: as this function asks of its caller.
        let result = unsafe { (self.functions.copy)(to.cast(), from.cast(), bytes, kind, self.lane(lane)) };
        self.check(what, result)
    }

    /// Sets all bits of memory on the device.
    ///
    /// # Safety
    /// It must have so many bytes until that is done.
    pub(crate) unsafe fn fill(&self, at: *mut u8, bytes: usize) -> Result<()> {
        let _shared = self.shared();
        self.enter()?;
        // SAFETY: as this function asks of its caller.
        let result = unsafe { (self.functions.fill)(at.cast(), 0xff, bytes, self.lane(Lane::Work)) };
        self.check("it cannot be written", result)
    }

    /// Waits until all is done that was put into a lane.
    pub(crate) fn finish(&self, lane: Lane) -> Result<()> {
        let _shared = self.shared();
        self.enter()?;
        // SAFETY: the queue's own stream.
        self.check("its work failed", unsafe { (self.functions.stream_synchronize)(self.lane(lane)) })
    }
}

impl Drop for CudaQueue {
    fn drop(&mut self) {
        let _shared = self.shared();
        let _ = self.enter();
        for stream in self.streams.into_iter().filter(|stream| !stream.is_null()) {
            // SAFETY: nobody else has the queue's own streams.
            unsafe {
                (self.functions.stream_synchronize)(stream);
                (self.functions.stream_destroy)(stream);
            }
        }
    }
}

impl CudaEvent {
    pub(crate) fn new(queue: &Arc<CudaQueue>) -> Result<Self> {
        let mut event = CudaEvent { queue: queue.clone(), event: std::ptr::null_mut() };
        queue.enter()?;
        // SAFETY: it writes a handle.
        let result = unsafe { (queue.functions.event_create)(&mut event.event, BLOCKING_SYNC_NO_TIMING) };
        queue.check("an event cannot be created", result)?;
        Ok(event)
    }

    /// Puts it behind all that the lane has to do now.
    pub(crate) fn set(&self, lane: Lane) -> Result<()> {
        let _shared = self.queue.shared();
        self.queue.enter()?;
        // SAFETY: handles that CUDA made; so below.
        let result = unsafe { (self.queue.functions.event_record)(self.event, self.queue.lane(lane)) };
        self.queue.check("an event cannot be set", result)
    }

    /// Puts it behind all that a stream of the program has to do now.
    ///
    /// # Safety
    /// It must be one, or null for the device's default stream.
    pub(crate) unsafe fn set_in(&self, stream: *mut c_void) -> Result<()> {
        let _shared = self.queue.shared();
        let (queue, functions) = (&self.queue, &self.queue.functions);
        queue.enter()?;
        let mut capturing = 0;
        let refused = |result, what: &str| {
            let text = queue.check(what, result).expect_err("a failure").text().to_string();
            Err(Error::new(ErrorKind::InvalidArgument, text))
        };
        const RECORDS: &str = "the program's CUDA stream is recording a CUDA graph; call the library outside of that";
        // SAFETY: as this function asks of its caller.
        match unsafe { (functions.is_capturing)(stream, &mut capturing) } {
            0 if capturing == 0 => {}
            0 => fail!(InvalidArgument, "CUDA device {}: {RECORDS}", queue.device),
            // Another stream does, for which the default stream would wait.
            result @ CAPTURE_IMPLICIT => return refused(result, RECORDS),
            result if NO_STREAM.contains(&result) => return refused(result, OF_OTHERS),
            result => return queue.check("the program's CUDA stream cannot be asked", result),
        }
        // SAFETY: as above.
        match unsafe { (functions.event_record)(self.event, stream) } {
            result if NO_STREAM.contains(&result) => refused(result, OF_OTHERS),
            result => queue.check("the program's CUDA stream cannot be waited for", result),
        }
    }

    /// What the lane is asked for from now on waits until the device has come there.
    pub(crate) fn hold(&self, lane: Lane) -> Result<()> {
        let _shared = self.queue.shared();
        self.queue.enter()?;
        // SAFETY: handles that CUDA made.
        let result = unsafe { (self.queue.functions.stream_wait)(self.queue.lane(lane), self.event, 0) };
        self.queue.check("an event cannot be waited for", result)
    }

    /// Waits until the device has come there.
    pub(crate) fn wait(&self) -> Result<()> {
        self.queue.enter()?;
        // SAFETY: as above.
        self.queue.check("its work failed", unsafe { (self.queue.functions.event_synchronize)(self.event) })
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        if !self.event.is_null() && self.queue.enter().is_ok() {
            // SAFETY: nobody else has it.
            unsafe { (self.queue.functions.event_destroy)(self.event) };
        }
    }
}
