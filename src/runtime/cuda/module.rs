//! Code on a CUDA device, through the driver's interface.

use super::driver;
use super::loader::open_library;
use libc::{c_char, c_int, c_uint, c_void};
use std::ffi::{CStr, CString};

/// A device's context, which ONNX Runtime uses too, and the driver's functions to run code in it. Both stay for the process's
/// life.
pub(super) struct Context {
    push: extern "C" fn(*mut c_void) -> c_int,
    pop: extern "C" fn(*mut *mut c_void) -> c_int,
    load: extern "C" fn(*mut *mut c_void, *const c_void) -> c_int,
    find: extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> c_int,
    launch: Launch,
    error_name: extern "C" fn(c_int, *mut *const c_char) -> c_int,
    context: *mut c_void,
    /// The compute capability.
    pub(super) capability: [i32; 2],
    pub(super) multiprocessors: u32,
}

type Launch = extern "C" fn(
    *mut c_void,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    *mut c_void,
    *mut *mut c_void,
    *mut *mut c_void,
) -> c_int;

/// A kernel of a context.
#[derive(Clone, Copy)]
pub(super) struct Function(*mut c_void);

// SAFETY: handles of the driver, which any thread may use.
unsafe impl Send for Context {}
unsafe impl Sync for Context {}
unsafe impl Send for Function {}
unsafe impl Sync for Function {}

const MULTIPROCESSORS: c_int = 16;
const CAPABILITY: [c_int; 2] = [75, 76];

impl Context {
    /// Of a device that the driver was asked for before.
    pub(super) fn open(device: u32) -> Result<Self, String> {
        let handle = open_library(driver::FILE, &[])?;
        let symbol = |name: &CStr| -> Result<*mut c_void, String> {
            // SAFETY: the handle is open.
            let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
            match address.is_null() {
                true => Err(format!("{} has no {}", driver::FILE, name.to_string_lossy())),
                false => Ok(address),
            }
        };
        // SAFETY: the signatures are the driver's.
        let (get, attribute, retain, mut context) = unsafe {
            (
                std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_int, c_int) -> c_int>(symbol(c"cuDeviceGet")?),
                std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_int, c_int, c_int) -> c_int>(symbol(
                    c"cuDeviceGetAttribute",
                )?),
                std::mem::transmute::<*mut c_void, extern "C" fn(*mut *mut c_void, c_int) -> c_int>(symbol(
                    c"cuDevicePrimaryCtxRetain",
                )?),
                Context {
                    push: std::mem::transmute::<*mut c_void, extern "C" fn(*mut c_void) -> c_int>(symbol(
                        c"cuCtxPushCurrent_v2",
                    )?),
                    pop: std::mem::transmute::<*mut c_void, extern "C" fn(*mut *mut c_void) -> c_int>(symbol(
                        c"cuCtxPopCurrent_v2",
                    )?),
                    load: std::mem::transmute::<*mut c_void, extern "C" fn(*mut *mut c_void, *const c_void) -> c_int>(
                        symbol(c"cuModuleLoadData")?,
                    ),
                    find: std::mem::transmute::<
                        *mut c_void,
                        extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> c_int,
                    >(symbol(c"cuModuleGetFunction")?),
                    launch: std::mem::transmute::<*mut c_void, Launch>(symbol(c"cuLaunchKernel")?),
                    error_name: std::mem::transmute::<*mut c_void, extern "C" fn(c_int, *mut *const c_char) -> c_int>(
                        symbol(c"cuGetErrorName")?,
                    ),
                    context: std::ptr::null_mut(),
                    capability: [0; 2],
                    multiprocessors: 0,
                },
            )
        };
        let mut found = 0;
        context.asked("cuDeviceGet", get(&mut found, device as c_int))?;
        let value = |which| -> Result<c_int, String> {
            let mut value = 0;
            context.asked("cuDeviceGetAttribute", attribute(&mut value, which, found))?;
            Ok(value)
        };
        let (capability, multiprocessors) =
            ([value(CAPABILITY[0])?, value(CAPABILITY[1])?], value(MULTIPROCESSORS)?.max(1) as u32);
        (context.capability, context.multiprocessors) = (capability, multiprocessors);
        let mut primary = std::ptr::null_mut();
        context.asked("cuDevicePrimaryCtxRetain", retain(&mut primary, found))?;
        context.context = primary;
        Ok(context)
    }

    fn asked(&self, name: &str, result: c_int) -> Result<(), String> {
        if result == 0 {
            return Ok(());
        }
        let mut text = std::ptr::null();
        if (self.error_name)(result, &mut text) != 0 || text.is_null() {
            return Err(format!("{name} gives error {result}"));
        }
        // SAFETY: a text of the driver.
        let text = unsafe { CStr::from_ptr(text) };
        Err(format!("{name} gives error {result} ({})", text.to_string_lossy()))
    }

    /// Runs `what` with this context as the thread's.
    fn inside<T>(&self, what: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        self.asked("cuCtxPushCurrent", (self.push)(self.context))?;
        let result = what();
        let mut popped = std::ptr::null_mut();
        self.asked("cuCtxPopCurrent", (self.pop)(&mut popped))?;
        result
    }

    /// Loads code, which stays, and finds these kernels in it.
    pub(super) fn load(&self, code: &[u8], names: &[String]) -> Result<Vec<Function>, String> {
        self.inside(|| {
            let mut module = std::ptr::null_mut();
            self.asked("cuModuleLoadData", (self.load)(&mut module, code.as_ptr().cast()))?;
            let find = |name: &String| {
                let mut function = std::ptr::null_mut();
                let text = CString::new(name.as_str()).expect("no NUL");
                let found = (self.find)(&mut function, module, text.as_ptr());
                self.asked(&format!("cuModuleGetFunction of {name}"), found)?;
                Ok(Function(function))
            };
            names.iter().map(find).collect()
        })
    }

    /// Starts a kernel with blocks of so many threads.
    ///
    /// # Safety
    /// `arguments` must point to the kernel's arguments, and what these point to must stay until the kernel has run.
    pub(super) unsafe fn launch(
        &self,
        Function(function): Function,
        grid: [u32; 2],
        threads: u32,
        stream: *mut c_void,
        arguments: &mut [*mut c_void],
    ) -> Result<(), String> {
        let [x, y] = grid;
        let (arguments, none) = (arguments.as_mut_ptr(), std::ptr::null_mut());
        self.inside(|| {
            let result = (self.launch)(function, x, y, 1, threads, 1, 1, 0, stream, arguments, none);
            self.asked("cuLaunchKernel", result)
        })
    }
}
