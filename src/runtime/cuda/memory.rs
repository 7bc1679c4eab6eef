//! The memory kinds of a CUDA device, and addresses in them.

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use std::ffi::c_void;

pub(crate) fn device_memory(device: u32) -> ort::Result<MemoryInfo<'static>> {
    MemoryInfo::new(AllocationDevice::CUDA, device as i32, AllocatorType::Device, MemoryType::Default)
}

/// Pinned CPU memory, which the device can read and write directly.
pub(crate) fn pinned_memory(device: u32) -> ort::Result<MemoryInfo<'static>> {
    MemoryInfo::new(AllocationDevice::CUDA_PINNED, device as i32, AllocatorType::Device, MemoryType::CPUOutput)
}

/// The address of a tensor's first element, in whatever memory. ort's accessors refuse what is not the CPU's.
///
/// # Safety
/// The value must be a live tensor.
pub(crate) unsafe fn address(value: *mut ort::sys::OrtValue) -> ort::Result<*mut c_void> {
    let mut address = std::ptr::null_mut();
    // SAFETY: the caller promises it.
    unsafe { ort::Error::result_from_status((ort::api().GetTensorMutableData)(value, &mut address))? };
    Ok(address)
}
