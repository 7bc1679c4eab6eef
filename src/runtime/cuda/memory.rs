//! The memory kinds of a CUDA device.

use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

pub(crate) fn device_memory(device: u32) -> ort::Result<MemoryInfo<'static>> {
    MemoryInfo::new(AllocationDevice::CUDA, device as i32, AllocatorType::Device, MemoryType::Default)
}

/// Pinned CPU memory, which the device can read and write directly.
pub(crate) fn pinned_memory(device: u32) -> ort::Result<MemoryInfo<'static>> {
    MemoryInfo::new(AllocationDevice::CUDA_PINNED, device as i32, AllocatorType::Device, MemoryType::CPUOutput)
}
