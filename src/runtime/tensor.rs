//! Tensors that the runtime reads and writes in place.

use super::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Element;
use crate::process::Owned;
use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::value::{DynTensor, TensorElementType};
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

/// A tensor of a fixed shape. Its address never changes, so that it can be bound again and again.
pub(crate) struct Tensor {
    /// Of pinned memory: what the runtime is given in place of `value`. Dropped before that.
    plain: Option<Owned<Plain>>,
    value: Owned<DynTensor>,
    shape: Vec<usize>,
    element: Element,
    /// Where it lies, if not in the processor's memory.
    device: Option<Arc<Device>>,
    /// Whose session allocated it, and must free it: so dropped after the value.
    _owner: Option<Arc<Device>>,
}

/// Pinned memory as a tensor in the processor's. The runtime counts pinned memory to the device since 1.23: kernels then write
/// an output there themselves, and the runtime fails to copy it to itself.
struct Plain(NonNull<ort::sys::OrtValue>);

// SAFETY: a tensor, as ort's are.
unsafe impl Send for Plain {}
unsafe impl Sync for Plain {}

impl Plain {
    /// `memory` must outlive it.
    fn new(memory: &DynTensor, shape: &[i64], element: Element) -> ort::Result<Self> {
        let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
        let bytes = shape.iter().product::<i64>() as usize * element.bytes();
        let mut out = std::ptr::null_mut();
        // SAFETY: the memory has that size.
        unsafe {
            ort::Error::result_from_status((ort::api().CreateTensorWithDataAsOrtValue)(
                info.ptr(),
                address(memory)?,
                bytes,
                shape.as_ptr(),
                shape.len(),
                type_of(element).into(),
                &mut out,
            ))?;
        }
        NonNull::new(out).map(Plain).ok_or_else(|| ort::Error::new("no tensor"))
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // SAFETY: made above, and nobody else's.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) }
    }
}

fn type_of(element: Element) -> TensorElementType {
    match element {
        Element::F32 => TensorElementType::Float32,
        Element::F16 => TensorElementType::Float16,
        Element::Bf16 => TensorElementType::Bfloat16,
        Element::U8 => TensorElementType::Uint8,
        Element::I64 => TensorElementType::Int64,
    }
}

/// Of the first number. ort's own views refuse pinned memory, as the runtime counts that to the device.
fn address(value: &DynTensor) -> ort::Result<*mut c_void> {
    let mut address = std::ptr::null_mut();
    // SAFETY: a live tensor.
    unsafe {
        let status = (ort::api().GetTensorMutableData)(value.ptr().cast_mut(), &mut address);
        ort::Error::result_from_status(status)?;
    }
    Ok(address)
}

impl Tensor {
    /// Uninitialised storage: every user writes before it reads.
    pub(crate) fn new(shape: &[usize], element: Element) -> Result<Self> {
        Self::allocate(&Allocator::default(), shape, element, None, None)
    }

    /// The same on a device; `None`: in the processor's memory.
    pub(crate) fn on(device: Option<&Arc<Device>>, shape: &[usize], element: Element) -> Result<Self> {
        match device {
            None => Self::new(shape, element),
            Some(device) => Self::allocate(&device.allocator(), shape, element, Some(device), Some(device)),
        }
    }

    /// In the processor's memory, where the device reads and writes it fast.
    pub(crate) fn staged(device: Option<&Arc<Device>>, shape: &[usize], element: Element) -> Result<Self> {
        match device.and_then(|device| Some((device, device.staging()?))) {
            None => Self::new(shape, element),
            Some((owner, staging)) => Self::allocate(&staging, shape, element, None, Some(owner)),
        }
    }

    fn allocate(
        allocator: &Allocator,
        shape: &[usize],
        element: Element,
        device: Option<&Arc<Device>>,
        owner: Option<&Arc<Device>>,
    ) -> Result<Self> {
        let dims: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let value = DynTensor::new(allocator, type_of(element), dims.clone()).map_err(|e| {
            let bytes = shape.iter().product::<usize>() as u64 * element.bytes() as u64;
            let place = if device.is_some() { " on the device" } else { "" };
            let text = format!("cannot allocate {bytes} bytes{place} for a tensor {shape:?}: {e}");
            Error::new(ErrorKind::OutOfMemory, text)
        })?;
        // In the processor's memory, but a device's to free.
        let pinned = device.is_none() && owner.is_some();
        let plain = pinned.then(|| Plain::new(&value, &dims, element)).transpose();
        let plain = plain.map_err(|e| Error::new(ErrorKind::Runtime, format!("pinned memory: {e}")))?;
        let (device, _owner) = (device.cloned(), owner.cloned());
        let (plain, value) = (plain.map(Owned::new), Owned::new(value));
        let tensor = Tensor { plain, value, shape: shape.into(), element, device, _owner };
        if let Some(device) = &tensor.device {
            device.allocated(tensor.bytes());
        }
        Ok(tensor)
    }

    pub(crate) fn zeros(shape: &[usize], element: Element) -> Result<Self> {
        let mut tensor = Tensor::new(shape, element)?;
        tensor.raw_mut().fill(0);
        Ok(tensor)
    }

    /// A list of numbers.
    pub(crate) fn numbers(values: &[f32]) -> Result<Self> {
        let mut tensor = Tensor::new(&[values.len()], Element::F32)?;
        tensor.data_mut().copy_from_slice(values);
        Ok(tensor)
    }

    /// A list of whole numbers.
    pub(crate) fn whole_numbers(values: &[i64]) -> Result<Self> {
        let mut tensor = Tensor::new(&[values.len()], Element::I64)?;
        for (bytes, value) in tensor.raw_mut().chunks_exact_mut(size_of::<i64>()).zip(values) {
            bytes.copy_from_slice(&value.to_ne_bytes());
        }
        Ok(tensor)
    }

    /// A tensor of the same shape and type in the processor's memory.
    pub(crate) fn host_like(&self) -> Result<Self> {
        Tensor::new(&self.shape, self.element)
    }

    pub(crate) fn device(&self) -> Option<&Arc<Device>> {
        self.device.as_ref()
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn element(&self) -> Element {
        self.element
    }

    /// Of a float32 tensor; only causal caches are others, and these only the runtime reads.
    pub(crate) fn data(&self) -> &[f32] {
        assert_eq!(self.element, Element::F32);
        // SAFETY: floats that this tensor owns.
        unsafe { std::slice::from_raw_parts(self.address().cast(), self.shape.iter().product()) }
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        assert_eq!(self.element, Element::F32);
        // SAFETY: as above, and nobody else's meanwhile.
        unsafe { std::slice::from_raw_parts_mut(self.address().cast(), self.shape.iter().product()) }
    }

    /// The numbers as they lie in memory.
    pub(crate) fn raw(&self) -> &[u8] {
        // SAFETY: floats of any size are bytes of any value, and bytes need no alignment.
        unsafe { std::slice::from_raw_parts(self.address(), self.bytes() as usize) }
    }

    pub(crate) fn raw_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; any bytes are floats.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.bytes() as usize) }
    }

    fn address(&self) -> *mut u8 {
        self.check_host();
        let address = address(&self.value).expect("a tensor has an address");
        // A tensor of no numbers may have none.
        if address.is_null() { NonNull::<u64>::dangling().as_ptr().cast() } else { address.cast() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.element.bytes()) as u64
    }

    pub(super) fn ptr(&self) -> *mut ort::sys::OrtValue {
        match &self.plain {
            Some(plain) => plain.0.as_ptr(),
            None => self.value.ptr().cast_mut(),
        }
    }

    /// A device's addresses mean nothing to the processor.
    fn check_host(&self) {
        assert!(self.device.is_none(), "a tensor {:?} on a device was read as the processor's", self.shape);
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            device.freed(self.bytes());
        }
    }
}
