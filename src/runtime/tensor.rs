//! Tensors that the runtime reads and writes in place.

use crate::error::{Error, ErrorKind, Result};
use crate::graph::Element;
use ort::AsPointer;
use ort::memory::Allocator;

/// A host tensor of a fixed shape. Its address never changes, so that it can be bound again and again.
pub(crate) struct Tensor {
    value: Value,
    elements: usize,
}

enum Value {
    F32(ort::value::Tensor<f32>),
    F16(ort::value::Tensor<half::f16>),
}

impl Tensor {
    /// Uninitialised storage: every user writes before it reads.
    pub(crate) fn new(shape: &[usize], element: Element) -> Result<Self> {
        let dims: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let elements = shape.iter().product::<usize>();
        let allocator = Allocator::default();
        let value = match element {
            Element::F32 => ort::value::Tensor::new(&allocator, dims).map(Value::F32),
            Element::F16 => ort::value::Tensor::new(&allocator, dims).map(Value::F16),
        };
        let value = value.map_err(|e| {
            let bytes = elements as u64 * element.bytes() as u64;
            Error::new(ErrorKind::OutOfMemory, format!("cannot allocate {bytes} bytes for a tensor {shape:?}: {e}"))
        })?;
        Ok(Tensor { value, elements })
    }

    /// A list of numbers.
    pub(crate) fn numbers(values: &[f32]) -> Result<Self> {
        let mut tensor = Tensor::new(&[values.len()], Element::F32)?;
        tensor.data_mut().copy_from_slice(values);
        Ok(tensor)
    }

    /// Of a float32 tensor; only causal caches are others, and these only the runtime reads.
    pub(crate) fn data(&self) -> &[f32] {
        match &self.value {
            Value::F32(value) => value.extract_tensor().1,
            Value::F16(_) => unreachable!("not a float32 tensor"),
        }
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        match &mut self.value {
            Value::F32(value) => value.extract_tensor_mut().1,
            Value::F16(_) => unreachable!("not a float32 tensor"),
        }
    }

    /// The numbers as they lie in memory.
    pub(crate) fn raw(&self) -> &[u8] {
        // SAFETY: floats of either size are bytes of any value, and bytes need no alignment.
        unsafe {
            match &self.value {
                Value::F32(value) => value.extract_tensor().1.align_to().1,
                Value::F16(value) => value.extract_tensor().1.align_to().1,
            }
        }
    }

    pub(crate) fn raw_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; any bytes are floats.
        unsafe {
            match &mut self.value {
                Value::F32(value) => value.extract_tensor_mut().1.align_to_mut().1,
                Value::F16(value) => value.extract_tensor_mut().1.align_to_mut().1,
            }
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let size = match &self.value {
            Value::F32(_) => 4,
            Value::F16(_) => 2,
        };
        self.elements as u64 * size
    }

    pub(super) fn ptr(&self) -> *mut ort::sys::OrtValue {
        match &self.value {
            Value::F32(value) => value.ptr().cast_mut(),
            Value::F16(value) => value.ptr().cast_mut(),
        }
    }
}
