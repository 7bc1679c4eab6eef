//! Kernels that read and write pictures in a device's memory, compiled once in a process for each device.

use super::compiler::Text;
use super::kernels::build;
use super::module::{Context, Function};
use super::queue::CudaQueue;
use crate::error::{Error, ErrorKind, Result};
use crate::media::DevicePicture;
use crate::process::Loading;
use parking_lot::Mutex;
use std::ffi::c_void;
use std::path::Path;
use std::sync::Arc;

const TEXT: Text = Text { name: "pixels.cu", text: include_str!("pixels.cu") };
/// The CPU has no fused multiplications either.
const AS_THE_CPU: &str = "--fmad=false";

static COMPILED: Mutex<Vec<Arc<PixelKernels>>> = Mutex::new(Vec::new());

pub(crate) struct PixelKernels {
    device: u32,
    context: Context,
    read: Function,
    check: Function,
    write: Function,
    write_chroma: Function,
}

/// Planes R, G, B of float32 on a device, without gaps.
#[derive(Clone, Copy)]
pub(crate) struct DevicePlanes {
    pub(crate) first: *mut u8,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl PixelKernels {
    /// Compiles them if that is still to do. `runtime` is the path of an ONNX Runtime whose device was checked.
    pub(crate) fn get(runtime: &Path, device: u32) -> Result<Arc<Self>> {
        let _loading = Loading::begin()?;
        let mut compiled = COMPILED.lock();
        if let Some(kernels) = compiled.iter().find(|kernels| kernels.device == device) {
            return Ok(kernels.clone());
        }
        let names = ["pixels_read", "pixels_check", "pixels_write", "pixels_write_chroma"].map(String::from);
        let built = build(runtime, device, &TEXT, AS_THE_CPU, &names);
        let (context, functions) = built.map_err(|e| Error::new(ErrorKind::Provider, e))?;
        let [read, check, write, write_chroma] = functions.try_into().ok().expect("as many as names");
        let kernels = Arc::new(PixelKernels { device, context, read, check, write, write_chroma });
        compiled.push(kernels.clone());
        Ok(kernels)
    }

    /// Converts a picture to planes, which may be larger.
    ///
    /// # Safety
    /// All must be memory of the queue's device until that is done; so below.
    pub(crate) unsafe fn read(&self, queue: &CudaQueue, mut from: DevicePicture, mut to: DevicePlanes) -> Result<()> {
        let [mut width, mut height] = to.numbers();
        let arguments = [of(&mut from), of(&mut to.first), of(&mut width), of(&mut height)];
        // SAFETY: the caller promises it.
        unsafe { self.start(queue, self.read, to.width * to.height, arguments) }
    }

    /// Finds the first value that is not finite: `first`, a 64-bit number, becomes its index in `[3, height, width]` plus
    /// `before`, if that is less than it was.
    ///
    /// # Safety
    /// As above.
    pub(crate) unsafe fn check(
        &self,
        queue: &CudaQueue,
        mut picture: DevicePicture,
        mut before: u64,
        mut first: *mut u8,
    ) -> Result<()> {
        let [width, height] = picture.size();
        let arguments = [of(&mut picture), of(&mut before), of(&mut first)];
        // SAFETY: the caller promises it.
        unsafe { self.start(queue, self.check, 3 * width * height, arguments) }
    }

    /// Writes a picture from planes, which may be larger. `first` are two 64-bit numbers that were the largest before: the
    /// first becomes less if a value of the planes is not finite, the second the index in `[3, height, width]` of the first
    /// value that is too large for the picture.
    ///
    /// # Safety
    /// As above.
    pub(crate) unsafe fn write(
        &self,
        queue: &CudaQueue,
        mut from: DevicePlanes,
        mut to: DevicePicture,
        mut first: *mut u8,
    ) -> Result<()> {
        let ([mut width, mut height], chroma) = (from.numbers(), to.chroma());
        let planes = [of(&mut from.first), of(&mut width), of(&mut height)];
        let [address, across, down] = planes;
        let arguments = [of(&mut to), address, across, down, of(&mut first)];
        // SAFETY: the caller promises it.
        unsafe {
            self.start(queue, self.write, from.width * from.height, arguments)?;
            match chroma {
                Some([columns, rows]) => {
                    self.start(queue, self.write_chroma, columns * rows, [of(&mut to), address, across, down])
                }
                None => Ok(()),
            }
        }
    }

    /// # Safety
    /// The arguments must be the function's.
    unsafe fn start<const N: usize>(
        &self,
        queue: &CudaQueue,
        function: Function,
        work: usize,
        mut arguments: [*mut c_void; N],
    ) -> Result<()> {
        let _shared = queue.shared();
        // SAFETY: the driver copies the arguments before it returns.
        let started = unsafe { self.context.launch(function, [work, 1], queue.stream().cast(), &mut arguments) };
        started.map_err(|e| Error::new(ErrorKind::Runtime, format!("CUDA device {}: pixels: {e}", self.device)))
    }
}

impl DevicePlanes {
    fn numbers(&self) -> [i32; 2] {
        [self.width, self.height].map(|n| n as i32)
    }
}

/// The address of an argument.
fn of<T>(argument: &mut T) -> *mut c_void {
    (argument as *mut T).cast()
}

/// The context in which a program's memory must be.
pub(crate) struct CallersContext(Context);

static CONTEXTS: Mutex<Vec<(u32, Arc<CallersContext>)>> = Mutex::new(Vec::new());

impl CallersContext {
    /// That of a device, which stays for the process's life.
    pub(crate) fn get(device: u32) -> Result<Arc<Self>> {
        let _loading = Loading::begin()?;
        let mut contexts = CONTEXTS.lock();
        if let Some((_, context)) = contexts.iter().find(|(of, _)| *of == device) {
            return Ok(context.clone());
        }
        let context = Context::open(device).map_err(|e| Error::new(ErrorKind::Provider, e))?;
        let context = Arc::new(CallersContext(context));
        contexts.push((device, context.clone()));
        Ok(context)
    }

    /// Fails unless the memory at that address is the device's, with what it is.
    pub(crate) fn check(&self, address: *mut u8) -> Result<(), String> {
        self.0.check_memory(address)
    }
}
