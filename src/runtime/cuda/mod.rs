//! Running sessions on CUDA devices.

mod compiler;
mod driver;
mod elf;
mod graph_functions;
mod kernels;
mod loader;
mod memory;
mod module;
mod operators;
mod pixels;
mod probe;
mod provider;
mod queue;
mod recording;

pub(crate) use kernels::Kernels;
pub(crate) use memory::{address, device_memory, pinned_memory};
pub(crate) use operators::domain;
#[cfg(test)]
pub(crate) use operators::{inputs, outputs};
pub(crate) use pixels::{CallersContext, DevicePlanes, PixelKernels};
pub(crate) use probe::{check, runtime_library};
pub(crate) use provider::{CudaOptions, OUR_KERNELS, OUR_RECORDINGS, PROVIDER_OPTIONS, provider};
pub(crate) use queue::{CudaEvent, CudaQueue, Lane};
pub(crate) use recording::CudaRecording;
