//! Calls of C programs whose latents are in the device's memory. Latents are small: they cross to the CPU's, where their noise,
//! scale and type are.

use super::calls::{DecodeCall, EncodeCall};
use super::stream::Stream;
use crate::error::Result;
use crate::media::{Image, ImageMut, LatentType, Latents, LatentsMut};
use crate::memory;
use crate::runtime::CallersMemory;
use half::f16;
use std::ffi::c_void;
use std::sync::Arc;

/// Latents in the CPU's memory.
enum Copied {
    F32(Vec<f32>),
    F16(Vec<f16>),
}

impl Copied {
    fn new(len: usize, kind: LatentType) -> Result<Self> {
        let what = "a copy of latents";
        Ok(match kind {
            LatentType::F32 => Copied::F32(memory::zeros(len, what)?),
            LatentType::F16 => Copied::F16(memory::zeros(len, what)?),
        })
    }

    fn bytes(&mut self) -> &mut [u8] {
        let (first, bytes) = match self {
            Copied::F32(values) => (values.as_mut_ptr().cast::<u8>(), size_of_val(&values[..])),
            Copied::F16(values) => (values.as_mut_ptr().cast(), size_of_val(&values[..])),
        };
        // SAFETY: any bytes are values, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(first, bytes) }
    }

    fn get(&self) -> Latents<'_> {
        match self {
            Copied::F32(values) => Latents::F32(values),
            Copied::F16(values) => Latents::F16(values),
        }
    }

    fn get_mut(&mut self) -> LatentsMut<'_> {
        match self {
            Copied::F32(values) => LatentsMut::F32(values),
            Copied::F16(values) => LatentsMut::F16(values),
        }
    }
}

impl EncodeCall<'_> {
    /// As `run`, with latents in the memory of the model's device.
    ///
    /// # Safety
    /// There must be room for as many latents as `count` says.
    pub(crate) unsafe fn run_to_device(
        mut self,
        frames: &[Image<'_>],
        latents: *mut c_void,
        kind: LatentType,
    ) -> Result<usize> {
        let mut copied = Copied::new(self.count() * self.latent_len(), kind)?;
        let callers = self.stream.callers_of_latents(latents, copied.bytes().len())?;
        let count = self.run_once(frames, copied.get_mut())?;
        // SAFETY: the caller promises it, and both ends are the device's.
        let sent = unsafe { callers.send(copied.bytes(), latents.cast()) };
        self.stream.settle(sent)?;
        Ok(count)
    }
}

impl DecodeCall<'_> {
    /// As `run`, with `latent_count` latents in the memory of the model's device.
    ///
    /// # Safety
    /// So many must be there.
    pub(crate) unsafe fn run_from_device(
        mut self,
        latents: *const c_void,
        latent_count: usize,
        kind: LatentType,
        frames: &mut [ImageMut<'_>],
    ) -> Result<usize> {
        let mut copied = Copied::new(latent_count * self.latent_len(), kind)?;
        let callers = self.stream.callers_of_latents(latents, copied.bytes().len())?;
        // SAFETY: the caller promises it, and both ends are the device's.
        let fetched = unsafe { callers.fetch(latents.cast(), copied.bytes()) };
        self.stream.settle_runtime(fetched)?;
        self.run_once(copied.get(), frames)
    }
}

impl Stream {
    /// If the caller's latents of so many bytes are on the device.
    fn callers_of_latents(&self, latents: *const c_void, bytes: usize) -> Result<Arc<CallersMemory>> {
        let callers = self.callers.as_ref().expect("the options say so").clone();
        let first = latents.cast_mut().cast::<u8>();
        if bytes > 0 {
            callers.check([first, first.wrapping_add(bytes - 1)]).map_err(|e| e.prefixed("latents"))?;
        }
        Ok(callers)
    }
}
