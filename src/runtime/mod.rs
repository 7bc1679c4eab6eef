//! ONNX Runtime: finding the library, the process-wide environment, sessions, tensors, devices and cancelling.

mod callers_memory;
mod cancel;
mod clip_operators;
mod cuda;
mod device;
#[cfg(test)]
mod device_reference;
mod environment;
#[cfg(test)]
mod fake_kernels;
mod haar_operators;
mod library;
mod matrix_operators;
mod messages;
mod operator_parts;
mod operators;
mod pictures;
mod place;
mod queue;
mod recordings;
mod replan;
mod session;
mod staged;
mod telemetry;
mod tensor;
pub(crate) mod threads;
mod view;
mod weights;

pub use cancel::{CallProgress, Canceller};

pub(crate) use callers_memory::{CallersMemory, Lent};
pub(crate) use cuda::{CudaOptions, Kernels, OUR_KERNELS, OUR_RECORDINGS, PROVIDER_OPTIONS, PixelKernels};
pub(crate) use device::Device;
pub(crate) use environment::Runtime;
pub(crate) use pictures::{FOUND_BYTES, Found};
pub(crate) use place::Place;
pub(crate) use session::{Session, SessionOptions};
pub(crate) use staged::Staged;
pub(crate) use tensor::Tensor;
pub(crate) use weights::write_weights;
