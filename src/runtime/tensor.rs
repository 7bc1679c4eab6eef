//! Tensors that ONNX Runtime reads and writes in place.

use super::cuda;
use super::view::View;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Element;
use crate::memory::{self, Pages};
use crate::process::Owned;
use ort::AsPointer;
use ort::memory::Allocator;
use ort::value::{DynTensor, TensorElementType};
use std::borrow::Cow;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

/// Tensors that share memory start on cache lines.
const ALIGNMENT: usize = 64;

/// What a tensor needs of the device that it is on.
pub(super) trait DeviceMemory: Send + Sync {
    fn allocated(&self, bytes: u64);

    fn freed(&self, bytes: u64);

    fn upload(&self, host: &Tensor, device: &Tensor) -> Result<()>;

    fn download(&self, device: &Tensor, host: &Tensor) -> Result<()>;
}

/// A tensor of fixed shape. Its address never changes, so it can be bound to many runs.
pub(crate) struct Tensor {
    /// If `value` is pinned memory, sessions get this view of it instead. Dropped before `value`.
    pinned: Option<Owned<View>>,
    value: Memory,
    shape: Vec<usize>,
    element: Element,
    /// The device whose memory holds the value; `None`: CPU memory.
    device: Option<Arc<dyn DeviceMemory>>,
    /// Owns the allocator that frees `value`, so it is dropped after it.
    _owner: Option<Arc<dyn DeviceMemory>>,
}

/// A tensor's memory.
enum Memory {
    /// Of an allocator of ONNX Runtime.
    Runtime(Owned<DynTensor>),
    /// Of this library; other tensors may have parts of it, too.
    Pages { view: Owned<View>, _pages: Arc<Pages> },
}

impl Memory {
    fn ptr(&self) -> *mut ort::sys::OrtValue {
        match self {
            Memory::Runtime(value) => value.ptr().cast_mut(),
            Memory::Pages { view, .. } => view.ptr(),
        }
    }

    /// The address of the first element. ort's own accessors refuse pinned memory, which ONNX Runtime treats as device memory.
    fn address(&self) -> ort::Result<*mut c_void> {
        // SAFETY: a live tensor.
        unsafe { cuda::address(self.ptr()) }
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

impl Tensor {
    /// Allocates uninitialised storage; every user writes before it reads.
    pub(crate) fn new(shape: &[usize], element: Element) -> Result<Self> {
        Self::allocate(&Allocator::default(), shape, element, None, None)
    }

    /// `device`: whose memory the tensor is in; `None`: CPU memory. `owner`: whose allocator this is. CPU memory with
    /// an owner is pinned.
    pub(super) fn allocate(
        allocator: &Allocator,
        shape: &[usize],
        element: Element,
        device: Option<Arc<dyn DeviceMemory>>,
        owner: Option<Arc<dyn DeviceMemory>>,
    ) -> Result<Self> {
        let dims: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let bytes = shape.iter().product::<usize>() * element.bytes();
        let value = DynTensor::new(allocator, type_of(element), dims.clone()).map_err(|e| {
            let location = if device.is_some() { " on the device" } else { "" };
            let text = format!("cannot allocate {bytes} bytes{location} for a tensor {shape:?}: {e}");
            Error::new(ErrorKind::OutOfMemory, text)
        })?;
        let value = Memory::Runtime(Owned::new(value));
        let is_pinned = device.is_none() && owner.is_some();
        // SAFETY: the value has that size and outlives its view.
        let view = || unsafe { View::new(value.address()?, bytes, &dims, type_of(element)) };
        let pinned = is_pinned.then(view).transpose();
        let pinned = pinned.map_err(|e| Error::new(ErrorKind::Runtime, format!("pinned memory: {e}")))?;
        let tensor =
            Tensor { pinned: pinned.map(Owned::new), value, shape: shape.into(), element, device, _owner: owner };
        if let Some(device) = &tensor.device {
            device.allocated(tensor.bytes());
        }
        Ok(tensor)
    }

    /// Tensors side by side in CPU memory, in large pages if they are large enough together.
    pub(crate) fn together(ports: &[(Vec<usize>, Element)]) -> Result<Vec<Self>> {
        let bytes = |(shape, element): &(Vec<usize>, Element)| shape.iter().product::<usize>() * element.bytes();
        let total = ports.iter().map(|port| bytes(port).next_multiple_of(ALIGNMENT)).sum();
        if total < Pages::LARGE {
            return ports.iter().map(|(shape, element)| Tensor::new(shape, *element)).collect();
        }
        let no_memory = |e: &dyn std::fmt::Display| {
            Error::new(
                ErrorKind::OutOfMemory,
                format!("cannot allocate {total} bytes for {} tensors: {e}", ports.len()),
            )
        };
        memory::check("tensors")?;
        let pages = Arc::new(Pages::new(total).map_err(|e| no_memory(&e))?);
        let mut at = 0;
        let tensor = |port: &(Vec<usize>, Element)| -> Result<Self> {
            let (shape, element) = port;
            let dims: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
            // SAFETY: the pages have room for all, and outlive their views.
            let view = unsafe {
                let start = pages.start().add(at);
                View::new(start.cast(), bytes(port), &dims, type_of(*element)).map_err(|e| no_memory(&e))?
            };
            at += bytes(port).next_multiple_of(ALIGNMENT);
            let value = Memory::Pages { view: Owned::new(view), _pages: pages.clone() };
            Ok(Tensor { pinned: None, value, shape: shape.clone(), element: *element, device: None, _owner: None })
        };
        ports.iter().map(tensor).collect()
    }

    pub(crate) fn zeros(shape: &[usize], element: Element) -> Result<Self> {
        let mut tensor = Tensor::new(shape, element)?;
        tensor.raw_mut().fill(0);
        Ok(tensor)
    }

    /// A one-dimensional tensor of float32 values.
    pub(crate) fn floats(values: &[f32]) -> Result<Self> {
        let mut tensor = Tensor::new(&[values.len()], Element::F32)?;
        tensor.data_mut().copy_from_slice(values);
        Ok(tensor)
    }

    /// A one-dimensional tensor of int64 values.
    pub(crate) fn integers(values: &[i64]) -> Result<Self> {
        let mut tensor = Tensor::new(&[values.len()], Element::I64)?;
        for (bytes, value) in tensor.raw_mut().chunks_exact_mut(size_of::<i64>()).zip(values) {
            bytes.copy_from_slice(&value.to_ne_bytes());
        }
        Ok(tensor)
    }

    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn element(&self) -> Element {
        self.element
    }

    /// The values of a float32 tensor. Only causal caches have other types, and only ONNX Runtime reads those.
    pub(crate) fn data(&self) -> &[f32] {
        assert_eq!(self.element, Element::F32);
        // SAFETY: this tensor owns the floats.
        unsafe { std::slice::from_raw_parts(self.address().cast(), self.shape.iter().product()) }
    }

    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        assert_eq!(self.element, Element::F32);
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.address().cast(), self.shape.iter().product()) }
    }

    /// The elements' bytes.
    pub(crate) fn raw(&self) -> &[u8] {
        // SAFETY: any floats can be viewed as bytes, which need no alignment.
        unsafe { std::slice::from_raw_parts(self.address(), self.bytes() as usize) }
    }

    pub(crate) fn raw_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any bytes are valid floats.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.bytes() as usize) }
    }

    fn address(&self) -> *mut u8 {
        self.check_host();
        let address = self.value.address().expect("a tensor has an address");
        // An empty tensor may have a null address.
        if address.is_null() { NonNull::<u64>::dangling().as_ptr().cast() } else { address.cast() }
    }

    /// The elements' bytes, copied from the device if there is one.
    pub(crate) fn read(&self) -> Result<Cow<'_, [u8]>> {
        let Some(device) = &self.device else { return Ok(Cow::Borrowed(self.raw())) };
        let host = Tensor::new(&self.shape, self.element)?;
        device.download(self, &host)?;
        Ok(Cow::Owned(memory::list(host.raw().iter().copied(), "a copy of a device's state")?))
    }

    /// Overwrites the elements; `bytes` must have the same size.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(device) = &self.device else {
            self.raw_mut().copy_from_slice(bytes);
            return Ok(());
        };
        let mut host = Tensor::new(&self.shape, self.element)?;
        host.raw_mut().copy_from_slice(bytes);
        device.upload(&host, self)
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.element.bytes()) as u64
    }

    /// The address of the first element, which only copies between the CPU and a device may use.
    pub(super) fn place(&self) -> *mut u8 {
        self.value.address().expect("a tensor has an address").cast()
    }

    /// Where recordings of runs with it would find it; `None`: they need not.
    pub(crate) fn recorded_place(&self) -> Option<u64> {
        self.is_on_device().then(|| self.place() as u64)
    }

    /// Whether it is in a device's memory.
    pub(super) fn is_on_device(&self) -> bool {
        self.device.is_some()
    }

    /// Whether this process made it, rather than one that it was forked from.
    pub(super) fn is_ours(&self) -> bool {
        match &self.value {
            Memory::Runtime(value) => value.owner().is_current(),
            Memory::Pages { view, .. } => view.owner().is_current(),
        }
    }

    pub(super) fn ptr(&self) -> *mut ort::sys::OrtValue {
        match &self.pinned {
            Some(pinned) => pinned.ptr(),
            None => self.value.ptr(),
        }
    }

    /// The CPU must not access device memory.
    fn check_host(&self) {
        assert!(self.device.is_none(), "the CPU accessed a tensor {:?} on a device", self.shape);
    }
}

impl Drop for Tensor {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            device.freed(self.bytes());
        }
    }
}
