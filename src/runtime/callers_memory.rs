//! The caller's frames and latents in a device's memory.
//!
//! Work on them is put into the queue between other work of the stream. A call begins when the program's CUDA stream is done
//! with what it was asked for before, and does not end before the device is done with the caller's memory.

use super::cuda::{CallersContext, CudaEvent, CudaQueue, Lane, PixelKernels};
use super::device::Device;
use super::environment::Runtime;
use super::pictures::{FOUND_BYTES, Found, Pictures};
use super::place::Place;
use super::staged::Staged;
use super::tensor::Tensor;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::graph::Element;
use crate::media::{Image, ImageMut};
use crate::process::Owned;
use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::Arc;

/// A caller whose frames or latents are in the device's memory.
pub(crate) struct CallersMemory {
    /// For frames that come in.
    found: Mutex<(Tensor, Staged)>,
    /// If frames are there.
    pictures: Option<Pictures>,
    way: Way,
}

enum Way {
    Cuda(Cuda),
    /// A fake device, for which the caller's memory is the CPU's.
    #[cfg(test)]
    Fake,
}

struct Cuda {
    queue: Arc<CudaQueue>,
    context: Arc<CallersContext>,
    /// The program's CUDA stream.
    stream: usize,
    /// What the program asked for before the call.
    before: Owned<CudaEvent>,
    /// The last work on the caller's frames.
    used: Owned<CudaEvent>,
}

impl Cuda {
    /// What a lane is asked for from now on waits for what the program has asked for.
    fn begin(&self, lane: Lane) -> Result<()> {
        // SAFETY: whoever made this promised a stream.
        unsafe { self.before.set_in(self.stream as *mut c_void)? };
        self.before.hold(lane)
    }
}

/// A call, at whose end the caller may use its memory again.
pub(crate) struct Lent(Option<Arc<CallersMemory>>);

impl CallersMemory {
    /// `frames`: whether frames are there, too, and not only latents.
    ///
    /// # Safety
    /// `stream` must be a CUDA stream of the program that stays as long as this, or null.
    pub(crate) unsafe fn new(
        runtime: &Runtime,
        device: &Arc<Device>,
        place: Place,
        stream: *mut c_void,
        frames: bool,
    ) -> Result<Arc<Self>> {
        let way = match (place, device.queue().cuda()) {
            (Place::Cuda(index), Some(queue)) => Way::Cuda(Cuda {
                context: CallersContext::get(index)?,
                stream: stream as usize,
                before: Owned::new(CudaEvent::new(&queue)?),
                used: Owned::new(CudaEvent::new(&queue)?),
                queue,
            }),
            #[cfg(test)]
            (Place::Fake, _) => Way::Fake,
            _ => unreachable!("the model is on a device"),
        };
        let kernels = match place {
            Place::Cuda(index) if frames => Some(kernels(runtime, index)?),
            _ => None,
        };
        let pictures = if frames { Pictures::new(device.queue(), kernels) } else { None };
        let found = Mutex::new((
            Tensor::on(Some(device), &[FOUND_BYTES], Element::U8)?,
            Staged::new(device, &[FOUND_BYTES], Element::U8)?,
        ));
        Ok(Arc::new(CallersMemory { found, pictures, way }))
    }

    /// Begins a call with frames.
    pub(crate) fn lend(self: &Arc<Self>) -> Result<Lent> {
        match &self.way {
            Way::Cuda(cuda) => cuda.begin(Lane::Work)?,
            #[cfg(test)]
            Way::Fake => {}
        }
        Ok(Lent(Some(self.clone())))
    }

    /// Waits until the device is done with the caller's frames.
    fn finish(&self) -> Result<()> {
        match &self.way {
            Way::Cuda(cuda) => cuda.used.wait(),
            #[cfg(test)]
            Way::Fake => Ok(()),
        }
    }

    /// Fails unless `first` to `last` are of the device's memory. What is between them is the caller's promise.
    pub(crate) fn check(&self, [first, last]: [*mut u8; 2]) -> Result<()> {
        match &self.way {
            Way::Cuda(cuda) => {
                for address in [first, last] {
                    if let Err(what) = cuda.context.check(address) {
                        fail!(InvalidArgument, "{address:p} {what}");
                    }
                }
                Ok(())
            }
            #[cfg(test)]
            Way::Fake => Ok(()),
        }
    }

    /// The first frame, with channel, row and column, that holds a value that is not finite. All frames have one size. Waits
    /// for the device if there are frames of floats.
    pub(crate) fn first_not_finite(&self, frames: &[Image<'_>]) -> Result<Option<(usize, [usize; 3])>> {
        if !frames.iter().any(Image::is_float) {
            return Ok(None);
        }
        let values = (3 * frames[0].width() * frames[0].height()) as u64;
        let (found, staged) = &mut *self.found.lock();
        self.ask(|pictures| pictures.clear(found))?;
        for (i, frame) in frames.iter().enumerate().filter(|(_, frame)| frame.is_float()) {
            // SAFETY: the frames were checked, and the call waits for the device.
            self.ask(|pictures| unsafe { pictures.check(frame, i as u64 * values, found) })?;
        }
        staged.fetch(found, FOUND_BYTES)?;
        let first = Found::of(staged.host()?).not_finite;
        Ok(first.map(|first| ((first / values) as usize, frames[0].place(first % values))))
    }

    /// Puts a conversion of a frame to the network's input into the queue.
    pub(crate) fn read(&self, frame: &Image<'_>, to: &Tensor) -> Result<()> {
        // SAFETY: the frame was checked, and the call waits for the device.
        self.ask(|pictures| unsafe { pictures.read(frame, to) })
    }

    /// Puts a conversion of the network's output to a frame into the queue. `found` is told what is found in it. `None`: a frame
    /// that the caller does not get.
    pub(crate) fn write(&self, from: &Tensor, frame: Option<&mut ImageMut<'_>>, found: &Tensor) -> Result<()> {
        // SAFETY: as above.
        self.ask(|pictures| unsafe { pictures.write(from, frame, found) })
    }

    /// Puts work on the caller's frames into the queue.
    fn ask(&self, work: impl FnOnce(&Pictures) -> Result<()>) -> Result<()> {
        let done = work(self.pictures.as_ref().expect("frames are on the device"));
        match &self.way {
            Way::Cuda(cuda) => {
                // Also after a failure: some of it may be there.
                let set = cuda.used.set(Lane::Work);
                if set.is_err() {
                    // Nothing else tells when it is done.
                    let _ = cuda.queue.finish(Lane::Work);
                }
                done.and(set)
            }
            #[cfg(test)]
            Way::Fake => done,
        }
    }

    /// Copies latents from the caller's memory, when the program's CUDA stream is done with what it was asked for.
    ///
    /// # Safety
    /// As many bytes must be there.
    pub(crate) unsafe fn fetch(&self, from: *const u8, to: &mut [u8]) -> Result<()> {
        // SAFETY: the caller promises it, and the copy is waited for.
        unsafe { self.cross(Lane::Down, from, to.as_mut_ptr(), to.len()) }
    }

    /// Copies latents to the caller's memory; as above.
    ///
    /// # Safety
    /// As many bytes must be there.
    pub(crate) unsafe fn send(&self, from: &[u8], to: *mut u8) -> Result<()> {
        // SAFETY: as above.
        unsafe { self.cross(Lane::Up, from.as_ptr(), to, from.len()) }
    }

    unsafe fn cross(&self, lane: Lane, from: *const u8, to: *mut u8, bytes: usize) -> Result<()> {
        match &self.way {
            Way::Cuda(cuda) => {
                cuda.begin(lane)?;
                // SAFETY: the caller promises it.
                let asked = unsafe { cuda.queue.copy(lane, from, to, bytes) };
                asked.and_then(|()| cuda.used.set(lane)).and_then(|()| cuda.used.wait())
            }
            #[cfg(test)]
            Way::Fake => {
                // SAFETY: as above; for a fake device all memory is the CPU's.
                unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) };
                Ok(())
            }
        }
    }
}

impl Lent {
    /// Ends the call: waits until the device is done with the caller's memory.
    pub(crate) fn end(mut self) -> Result<()> {
        self.0.take().map_or(Ok(()), |memory| memory.finish())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(memory) = self.0.take() {
            let _ = memory.finish();
        }
    }
}

fn kernels(runtime: &Runtime, device: u32) -> Result<Arc<PixelKernels>> {
    runtime.cuda_pixel_kernels(device).map_err(|e| {
        let text = format!(
            "CUDA device {device}: frames in its memory cannot be read, because {e}. They need NVRTC: install the Python \
             package nvidia-cuda-nvrtc beside onnxruntime-gpu, or NVRTC of the same CUDA version"
        );
        Error::new(ErrorKind::Provider, text)
    })
}
