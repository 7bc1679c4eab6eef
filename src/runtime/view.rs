//! Memory that ONNX Runtime did not allocate, or that it takes for a device's, as sessions see it.

use ort::AsPointer;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::value::TensorElementType;
use std::ffi::c_void;
use std::ptr::NonNull;

/// A tensor in CPU memory that belongs to somebody else. Pinned memory needs this too: since version 1.23 ONNX Runtime treats it as
/// device memory, so kernels write outputs there directly, and then copying to the same memory fails.
pub(crate) struct View(NonNull<ort::sys::OrtValue>);

// SAFETY: a tensor, like ort's own, which are `Send` and `Sync`.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// # Safety
    /// `memory` must have `bytes` bytes, match the shape, and outlive the view.
    pub(crate) unsafe fn new(
        memory: *mut c_void,
        bytes: usize,
        shape: &[i64],
        element: TensorElementType,
    ) -> ort::Result<Self> {
        let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
        let mut out = std::ptr::null_mut();
        // SAFETY: the caller promises it.
        unsafe {
            let create = ort::api().CreateTensorWithDataAsOrtValue;
            let (shape, axes) = (shape.as_ptr(), shape.len());
            let status = create(info.ptr(), memory, bytes, shape, axes, element.into(), &mut out);
            ort::Error::result_from_status(status)?;
        }
        NonNull::new(out).map(View).ok_or_else(|| ort::Error::new("no tensor"))
    }

    pub(crate) fn ptr(&self) -> *mut ort::sys::OrtValue {
        self.0.as_ptr()
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: created above and not shared.
        unsafe { (ort::api().ReleaseValue)(self.0.as_ptr()) }
    }
}
