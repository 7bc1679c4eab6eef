//! Code on a CUDA device, through the driver's interface.

use super::driver;
use super::loader::{functions, open_library};
use super::queue::recording_lock;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

/// A device's context, which ONNX Runtime uses too, and the driver's functions to run code in it. Both stay for the process's
/// life.
pub(super) struct Context {
    functions: Functions,
    context: Handle,
    device: c_int,
    /// The compute capability.
    pub(super) capability: [i32; 2],
    multiprocessors: u32,
}

type Handle = *mut c_void;
type Addresses = *mut *mut c_void;

functions! {
    struct Functions {
        get = c"cuDeviceGet": fn(*mut c_int, c_int) -> c_int;
        attribute = c"cuDeviceGetAttribute": fn(*mut c_int, c_int, c_int) -> c_int;
        retain = c"cuDevicePrimaryCtxRetain": fn(*mut Handle, c_int) -> c_int;
        push = c"cuCtxPushCurrent_v2": fn(Handle) -> c_int;
        pop = c"cuCtxPopCurrent_v2": fn(*mut Handle) -> c_int;
        load = c"cuModuleLoadData": fn(*mut Handle, *const c_void) -> c_int;
        find = c"cuModuleGetFunction": fn(*mut Handle, Handle, *const c_char) -> c_int;
        pointer = c"cuPointerGetAttribute": fn(*mut c_void, c_int, u64) -> c_int;
        launch = c"cuLaunchKernel": fn(
            Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, Addresses, Addresses
        ) -> c_int;
        error_name = c"cuGetErrorName": fn(c_int, *mut *const c_char) -> c_int;
    }
}

/// A kernel of a context.
#[derive(Clone, Copy)]
pub(super) struct Function(*mut c_void);

// SAFETY: handles of the driver, which any thread may use.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}
// SAFETY: as above.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

const MULTIPROCESSORS: c_int = 16;
const CAPABILITY: [c_int; 2] = [75, 76];

/// What the driver knows of an address.
const CONTEXT: c_int = 1;
const MEMORY_TYPE: c_int = 2;
const DEVICE_ORDINAL: c_int = 9;
/// A type of memory.
const DEVICE_MEMORY: c_uint = 2;
/// More blocks than a multiprocessor runs at once would only add to the work of starting them.
const BLOCKS_PER_MULTIPROCESSOR: u32 = 16;
/// Of a block, as the texts of kernels have it.
pub(super) const THREADS: u32 = 256;

impl Functions {
    fn asked(&self, name: &str, result: c_int) -> Result<(), String> {
        if result == 0 {
            return Ok(());
        }
        let mut text = std::ptr::null();
        // SAFETY: any number may be asked for.
        if unsafe { (self.error_name)(result, &mut text) } != 0 || text.is_null() {
            return Err(format!("{name} gives error {result}"));
        }
        // SAFETY: a text of the driver.
        let text = unsafe { CStr::from_ptr(text) };
        Err(format!("{name} gives error {result} ({})", text.to_string_lossy()))
    }
}

impl Context {
    /// Of a device that the driver was asked for before.
    pub(super) fn open(device: u32) -> Result<Self, String> {
        let handle = open_library(driver::FILE, &[])?;
        // SAFETY: the signatures are the driver's.
        let functions = unsafe { Functions::of(handle) }.map_err(|name| format!("{} has no {name}", driver::FILE))?;
        let mut found = 0;
        // SAFETY: it writes a number.
        functions.asked("cuDeviceGet", unsafe { (functions.get)(&mut found, device as c_int) })?;
        let value = |which| -> Result<c_int, String> {
            let mut value = 0;
            // SAFETY: it writes a number.
            functions.asked("cuDeviceGetAttribute", unsafe { (functions.attribute)(&mut value, which, found) })?;
            Ok(value)
        };
        let capability = [value(CAPABILITY[0])?, value(CAPABILITY[1])?];
        let multiprocessors = value(MULTIPROCESSORS)?.max(1) as u32;
        let mut context = std::ptr::null_mut();
        // SAFETY: it writes a handle.
        functions.asked("cuDevicePrimaryCtxRetain", unsafe { (functions.retain)(&mut context, found) })?;
        Ok(Context { functions, context, device: found, capability, multiprocessors })
    }

    /// Runs `what` with this context as the thread's.
    fn inside<T>(&self, what: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        // SAFETY: the context is retained.
        self.functions.asked("cuCtxPushCurrent", unsafe { (self.functions.push)(self.context) })?;
        let result = what();
        let mut popped = std::ptr::null_mut();
        // SAFETY: it was pushed.
        self.functions.asked("cuCtxPopCurrent", unsafe { (self.functions.pop)(&mut popped) })?;
        result
    }

    /// Loads code, which stays, and finds these kernels in it.
    ///
    /// # Safety
    /// The code is whole and NVRTC's: the driver does not know where it ends.
    pub(super) unsafe fn load(&self, code: &[u8], names: &[String]) -> Result<Vec<Function>, String> {
        let _shared = recording_lock().read();
        self.inside(|| {
            let mut module = std::ptr::null_mut();
            // SAFETY: as this function asks of its caller.
            let loaded = unsafe { (self.functions.load)(&mut module, code.as_ptr().cast()) };
            self.functions.asked("cuModuleLoadData", loaded)?;
            let find = |name: &String| {
                let mut function = std::ptr::null_mut();
                let text = CString::new(name.as_str()).expect("no NUL");
                // SAFETY: the module was loaded, and the text has its NUL.
                let found = unsafe { (self.functions.find)(&mut function, module, text.as_ptr()) };
                self.functions.asked(&format!("cuModuleGetFunction of {name}"), found)?;
                Ok(Function(function))
            };
            names.iter().map(find).collect()
        })
    }

    /// Starts a kernel. `work` is the number of threads that have something to do, in each of two directions.
    ///
    /// # Safety
    /// `arguments` must point to the kernel's arguments, and what these point to must stay until the kernel has run.
    pub(super) unsafe fn launch(
        &self,
        Function(function): Function,
        [work, rows]: [usize; 2],
        stream: *mut c_void,
        arguments: &mut [*mut c_void],
    ) -> Result<(), String> {
        let blocks = |work: usize, most: u32| work.min(most as usize) as u32;
        let x = blocks(work.div_ceil(THREADS as usize), BLOCKS_PER_MULTIPROCESSOR * self.multiprocessors);
        let y = blocks(rows, u16::MAX.into());
        let (arguments, none) = (arguments.as_mut_ptr(), std::ptr::null_mut());
        self.inside(|| {
            // SAFETY: as this function asks of its caller.
            let result =
                unsafe { (self.functions.launch)(function, x, y, 1, THREADS, 1, 1, 0, stream, arguments, none) };
            self.functions.asked("cuLaunchKernel", result)
        })
    }

    /// Fails unless work in this context may use the memory at that address.
    pub(super) fn check_memory(&self, address: *mut u8) -> Result<(), String> {
        // SAFETY: below, the values have the sizes of what is asked; any address may be.
        let ask =
            |which: c_int, value: *mut c_void| unsafe { (self.functions.pointer)(value, which, address as u64) } == 0;
        let (mut kind, mut device, mut context): (c_uint, c_int, Handle) = (0, -1, std::ptr::null_mut());
        let known = self.inside(|| {
            Ok([
                ask(MEMORY_TYPE, (&raw mut kind).cast()),
                ask(DEVICE_ORDINAL, (&raw mut device).cast()),
                ask(CONTEXT, (&raw mut context).cast()),
            ])
        })?;
        if !known[0] || kind != DEVICE_MEMORY {
            return Err("is not memory of a CUDA device, such as cudaMalloc() and cuMemAlloc() give".into());
        }
        if known[1] && device != self.device {
            return Err(format!("is memory of CUDA device {device}, the model runs on device {}", self.device));
        }
        // Memory of a pool has none.
        if known[2] && !context.is_null() && context != self.context {
            return Err(
                "is memory of another CUDA context than the device's primary one, in which the model runs; allocate it there \
                 (FFmpeg: primary_ctx=1 of the device)"
                    .into(),
            );
        }
        Ok(())
    }
}
