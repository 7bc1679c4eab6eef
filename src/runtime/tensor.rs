//! Float32 tensors that the runtime reads and writes in place.

use crate::error::{Error, ErrorKind, Result};
use ort::AsPointer;
use ort::memory::Allocator;

/// A host tensor of a fixed shape. Its address never changes, so that it can be bound again and again.
pub(crate) struct Tensor {
    value: ort::value::Tensor<f32>,
    elements: usize,
}

impl Tensor {
    /// Uninitialised storage: every user writes before it reads.
    pub(crate) fn new(shape: &[usize]) -> Result<Self> {
        let dims: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let elements = shape.iter().product();
        let value = ort::value::Tensor::new(&Allocator::default(), dims).map_err(|e| {
            let bytes = elements as u64 * 4;
            Error::new(ErrorKind::OutOfMemory, format!("cannot allocate {bytes} bytes for a tensor {shape:?}: {e}"))
        })?;
        Ok(Tensor { value, elements })
    }

    pub(crate) fn number(value: f32) -> Result<Self> {
        let mut tensor = Tensor::new(&[1])?;
        tensor.data_mut()[0] = value;
        Ok(tensor)
    }

    pub(crate) fn data(&self) -> &[f32] {
        self.value.extract_tensor().1
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        self.value.extract_tensor_mut().1
    }

    /// The numbers as they lie in memory.
    pub(crate) fn raw(&self) -> &[u8] {
        // SAFETY: a float is four bytes of any value, and bytes need no alignment.
        unsafe { self.data().align_to().1 }
    }

    pub(crate) fn raw_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; any bytes are floats.
        unsafe { self.data_mut().align_to_mut().1 }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.elements as u64 * 4
    }

    pub(super) fn ptr(&self) -> *mut ort::sys::OrtValue {
        self.value.ptr().cast_mut()
    }
}
