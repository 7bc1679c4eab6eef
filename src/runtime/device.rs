//! Where sessions run, and the memory of a device on which streams keep their state.
//!
//! On a CUDA device everything between a stream's two ends stays there: weights, causal caches, what steps hand to each
//! other. The ends are tensors in the processor's memory that are bound as they are; the runtime copies them as part of the
//! run. Snapshots, forks and pixels take the copies of this module.

use super::{Canceller, Runtime, Session, SessionOptions, Tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{self, Element};
use crate::memory;
use crate::model::Checkpoint;
use crate::process::Owned;
use once_cell::sync::OnceCell;
use ort::ep::{ArbitrarilyConfigurableExecutionProvider, ArenaExtendStrategy, CUDA, ExecutionProviderDispatch};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use parking_lot::{Mutex, MutexGuard};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The options of ONNX Runtime's CUDA provider that a user may set: they change how fast and in how much memory it works.
/// The others belong to this library (the device, its stream, channels-last convolutions, which graphs must be made for) or
/// make it wrong (CUDA graphs: tensors change places).
pub(crate) const PROVIDER_OPTIONS: [&str; 6] = [
    "arena_extend_strategy",
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "fuse_conv_bias",
    "gpu_mem_limit",
    "use_tf32",
];

/// What sessions on a CUDA device are told besides the graph.
#[derive(Debug, Clone, Default)]
pub(crate) struct CudaOptions {
    /// Whether convolutions and products may use tensor cores. The runtime calls it `use_tf32`, but without it takes them
    /// from convolutions of every type; with it, what is float32 in a graph is multiplied as TF32, of 11 bits.
    pub(crate) tensor_cores: bool,
    /// Whether the runtime runs convolutions channels-last, as graphs of `graph::Options::channels_last` want it.
    pub(crate) channels_last: bool,
    /// Names of `PROVIDER_OPTIONS` and their values.
    pub(crate) more: Arc<[(String, String)]>,
}

/// Where sessions run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Cpu,
    /// The device of that index.
    Cuda(u32),
    /// The processor, as if its memory were a device's: nobody but sessions may touch it.
    #[cfg(test)]
    Pretended,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Place::Cpu => "CPU",
            Place::Cuda(_) => "CUDA",
            #[cfg(test)]
            Place::Pretended => "pretended",
        }
    }

    /// Whether streams keep their state in memory of its own.
    pub(crate) fn has_memory(self) -> bool {
        self != Place::Cpu
    }

    pub(super) fn provider(self, options: &CudaOptions) -> Option<ExecutionProviderDispatch> {
        let Place::Cuda(device) = self else { return None };
        let cuda = CUDA::default()
            .with_device_id(device as i32)
            .with_tf32(options.tensor_cores)
            .with_prefer_nhwc(options.channels_last)
            // Streams of any size share a session; twice what one needs would stay with it for ever.
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            // The first of cuDNN's own ranking. EXHAUSTIVE tries nothing either since 1.20: it asks for another ranking.
            .with_conv_algorithm_search(ort::ep::cuda::ConvAlgorithmSearch::Heuristic)
            .with_conv_max_workspace(true);
        let cuda = options.more.iter().fold(cuda, |cuda, (name, value)| cuda.with_arbitrary_config(name, value));
        Some(cuda.build().error_on_failure())
    }

    fn memory_info(self) -> ort::Result<MemoryInfo<'static>> {
        match self {
            Place::Cuda(device) => {
                MemoryInfo::new(AllocationDevice::CUDA, device as i32, AllocatorType::Device, MemoryType::Default)
            }
            _ => MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default),
        }
    }
}

/// A device's memory, shared by all streams of a model, and the copies to and from it.
pub(crate) struct Device {
    /// ort says that not all of them may be used from several threads.
    allocator: Mutex<Owned<Allocator>>,
    /// Of pages that the device reads by itself; `None`: not to be had.
    staging: Option<Mutex<Owned<Allocator>>>,
    pixels: Session,
    /// Of float32, float16 and bfloat16, loaded when they are needed; the first one always.
    copies: [OnceCell<Session>; 3],
    load: Box<dyn Fn(Element) -> Result<Session> + Send + Sync>,
    canceller: Canceller,
    /// Bytes that tensors take.
    live: AtomicU64,
    #[cfg(test)]
    pub(crate) traffic: Traffic,
    /// Owns the memory, so it goes last.
    _session: Arc<Owned<ort::session::Session>>,
}

/// What was done so far.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) pixels: AtomicU64,
    pub(crate) uploads: AtomicU64,
    pub(crate) downloads: AtomicU64,
    /// Not copied, but run: steps of streams.
    pub(crate) steps: AtomicU64,
}

impl Device {
    /// Loads the first sessions of `options.place`, so that a device that cannot run says so now.
    pub(crate) fn open(
        runtime: &'static Runtime,
        checkpoint: &Arc<Checkpoint>,
        options: &SessionOptions,
    ) -> Result<Arc<Self>> {
        let (own, place) = (checkpoint.clone(), options.place);
        let options = SessionOptions { threads: 1, loading_threads: 1, ..options.clone() };
        let pixels = Session::load(runtime, &graph::pixels(), checkpoint, &options)?;
        let load = move |element| Session::load(runtime, &graph::copy(element), &own, &options);
        let first = load(Element::F32)?;
        let session = first.shared();
        let failed = |e: ort::Error| Error::new(ErrorKind::Provider, format!("{}: its memory: {e}", place.name()));
        let allocator = place.memory_info().and_then(|info| Allocator::new(&session, info)).map_err(failed)?;
        let staging = match place {
            Place::Cuda(device) => {
                let pinned = AllocationDevice::CUDA_PINNED;
                let info = MemoryInfo::new(pinned, device as i32, AllocatorType::Device, MemoryType::CPUOutput);
                info.and_then(|info| Allocator::new(&session, info)).ok()
            }
            _ => None,
        };
        Ok(Arc::new(Device {
            allocator: Mutex::new(Owned::new(allocator)),
            staging: staging.map(|staging| Mutex::new(Owned::new(staging))),
            pixels,
            copies: [OnceCell::with_value(first), OnceCell::new(), OnceCell::new()],
            load: Box::new(load),
            canceller: Canceller::new()?,
            live: AtomicU64::new(0),
            #[cfg(test)]
            traffic: Traffic::default(),
            _session: session,
        }))
    }

    pub(super) fn allocator(&self) -> MutexGuard<'_, Owned<Allocator>> {
        self.allocator.lock()
    }

    pub(super) fn staging(&self) -> Option<MutexGuard<'_, Owned<Allocator>>> {
        self.staging.as_ref().map(Mutex::lock)
    }

    pub(super) fn allocated(&self, bytes: u64) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn freed(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that the streams' tensors take.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Planes of bytes to what the network reads.
    pub(crate) fn upload_pixels(&self, bytes: &Tensor, frame: &Tensor) -> Result<()> {
        #[cfg(test)]
        self.traffic.pixels.fetch_add(1, Ordering::Relaxed);
        self.pixels.run(&[bytes], &[frame], &self.canceller)
    }

    pub(crate) fn upload(&self, host: &Tensor, device: &Tensor) -> Result<()> {
        #[cfg(test)]
        self.traffic.uploads.fetch_add(1, Ordering::Relaxed);
        self.copy(host, device)
    }

    fn download(&self, device: &Tensor, host: &Tensor) -> Result<()> {
        #[cfg(test)]
        self.traffic.downloads.fetch_add(1, Ordering::Relaxed);
        self.copy(device, host)
    }

    fn copy(&self, from: &Tensor, to: &Tensor) -> Result<()> {
        let place = match from.element() {
            Element::F32 => 0,
            Element::F16 => 1,
            Element::Bf16 => 2,
            Element::U8 | Element::I64 => unreachable!("bytes are pixels, and sizes are the processor's"),
        };
        let session = self.copies[place].get_or_try_init(|| (self.load)(from.element()))?;
        session.run(&[from], &[to], &self.canceller)
    }
}

impl Tensor {
    /// The numbers as they lie in memory, wherever that is.
    pub(crate) fn read(&self) -> Result<Cow<'_, [u8]>> {
        let Some(device) = self.device() else { return Ok(Cow::Borrowed(self.raw())) };
        let host = self.host_like()?;
        device.download(self, &host)?;
        Ok(Cow::Owned(memory::list(host.raw().iter().copied(), "a copy of a device's state")?))
    }

    /// Replaces them; `bytes` has their size.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(device) = self.device() else {
            self.raw_mut().copy_from_slice(bytes);
            return Ok(());
        };
        let mut host = self.host_like()?;
        host.raw_mut().copy_from_slice(bytes);
        device.upload(&host, self)
    }
}
