//! Running sessions on CUDA devices.

mod driver;
mod elf;
mod loader;
mod memory;
mod pinned;
mod probe;
mod provider;
mod queue;

pub(crate) use memory::{device_memory, pinned_memory};
pub(crate) use pinned::PinnedView;
pub(crate) use probe::{check, runtime_library};
pub(crate) use provider::{CudaOptions, PROVIDER_OPTIONS, provider};
pub(crate) use queue::{CudaEvent, CudaQueue};
