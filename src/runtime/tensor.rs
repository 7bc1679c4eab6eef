//! Tensors that the runtime reads and writes in place.

use super::device::Device;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Element;
use ort::AsPointer;
use ort::memory::Allocator;
use std::sync::Arc;

/// A tensor of a fixed shape. Its address never changes, so that it can be bound again and again.
pub(crate) struct Tensor {
    value: Value,
    shape: Vec<usize>,
    element: Element,
    /// Where it lies, if not in the processor's memory.
    device: Option<Arc<Device>>,
    /// Whose session allocated it, and must free it: so dropped after the value.
    _owner: Option<Arc<Device>>,
}

enum Value {
    F32(ort::value::Tensor<f32>),
    F16(ort::value::Tensor<half::f16>),
    Bf16(ort::value::Tensor<half::bf16>),
    U8(ort::value::Tensor<u8>),
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
        let value = match element {
            Element::F32 => ort::value::Tensor::new(allocator, dims).map(Value::F32),
            Element::F16 => ort::value::Tensor::new(allocator, dims).map(Value::F16),
            Element::Bf16 => ort::value::Tensor::new(allocator, dims).map(Value::Bf16),
            Element::U8 => ort::value::Tensor::new(allocator, dims).map(Value::U8),
        };
        let value = value.map_err(|e| {
            let bytes = shape.iter().product::<usize>() as u64 * element.bytes() as u64;
            let place = if device.is_some() { " on the device" } else { "" };
            let text = format!("cannot allocate {bytes} bytes{place} for a tensor {shape:?}: {e}");
            Error::new(ErrorKind::OutOfMemory, text)
        })?;
        let tensor = Tensor { value, shape: shape.into(), element, device: device.cloned(), _owner: owner.cloned() };
        if let Some(device) = &tensor.device {
            device.allocated(tensor.bytes());
        }
        Ok(tensor)
    }

    /// A list of numbers.
    pub(crate) fn numbers(values: &[f32]) -> Result<Self> {
        let mut tensor = Tensor::new(&[values.len()], Element::F32)?;
        tensor.data_mut().copy_from_slice(values);
        Ok(tensor)
    }

    /// A tensor of the same shape and type in the processor's memory.
    pub(crate) fn host_like(&self) -> Result<Self> {
        Tensor::new(&self.shape, self.element)
    }

    pub(crate) fn device(&self) -> Option<&Arc<Device>> {
        self.device.as_ref()
    }

    pub(crate) fn element(&self) -> Element {
        self.element
    }

    /// Of a float32 tensor; only causal caches are others, and these only the runtime reads.
    pub(crate) fn data(&self) -> &[f32] {
        self.check_host();
        match &self.value {
            Value::F32(value) => value.extract_tensor().1,
            _ => unreachable!("not a float32 tensor"),
        }
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        self.check_host();
        match &mut self.value {
            Value::F32(value) => value.extract_tensor_mut().1,
            _ => unreachable!("not a float32 tensor"),
        }
    }

    /// The numbers as they lie in memory.
    pub(crate) fn raw(&self) -> &[u8] {
        self.check_host();
        // SAFETY: floats of any size are bytes of any value, and bytes need no alignment.
        unsafe {
            match &self.value {
                Value::F32(value) => value.extract_tensor().1.align_to().1,
                Value::F16(value) => value.extract_tensor().1.align_to().1,
                Value::Bf16(value) => value.extract_tensor().1.align_to().1,
                Value::U8(value) => value.extract_tensor().1,
            }
        }
    }

    pub(crate) fn raw_mut(&mut self) -> &mut [u8] {
        self.check_host();
        // SAFETY: as above; any bytes are floats.
        unsafe {
            match &mut self.value {
                Value::F32(value) => value.extract_tensor_mut().1.align_to_mut().1,
                Value::F16(value) => value.extract_tensor_mut().1.align_to_mut().1,
                Value::Bf16(value) => value.extract_tensor_mut().1.align_to_mut().1,
                Value::U8(value) => value.extract_tensor_mut().1,
            }
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.element.bytes()) as u64
    }

    pub(super) fn ptr(&self) -> *mut ort::sys::OrtValue {
        match &self.value {
            Value::F32(value) => value.ptr().cast_mut(),
            Value::F16(value) => value.ptr().cast_mut(),
            Value::Bf16(value) => value.ptr().cast_mut(),
            Value::U8(value) => value.ptr().cast_mut(),
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
