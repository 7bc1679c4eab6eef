//! A device's memory, in which streams keep their state, and copies to and from it.
//!
//! On a CUDA device, everything between a stream's input and output stays there: weights, causal caches, and the
//! tensors between steps. Inputs and outputs cross by `queue`, snapshots and forks by sessions of this module.

use super::cancel::Canceller;
use super::cuda::{self, PixelKernels};
use super::environment::Runtime;
use super::pictures::Pictures;
use super::place::Place;
use super::queue::Queue;
use super::session::{Loaded, Session, SessionOptions};
use super::tensor::{DeviceMemory, Tensor};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{self, Element};
use crate::model::Checkpoint;
use crate::process::Owned;
use crate::sync::MadeOnce;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A device, shared by all streams of a model.
pub(crate) struct Device {
    /// ort's documentation says that some allocators are not thread-safe.
    allocator: Mutex<Owned<Allocator>>,
    /// Allocates pinned CPU memory; `None` if there is none.
    staging: Option<Mutex<Owned<Allocator>>>,
    pictures: Option<Pictures>,
    /// Sessions that copy float32, float16, bfloat16 and bytes. Only the first is loaded from the start.
    copies: [MadeOnce<Session>; 4],
    load: Box<dyn Fn(Element) -> Result<Session> + Send + Sync>,
    canceller: Canceller,
    threads: usize,
    /// Bytes of the tensors that are allocated now.
    live: AtomicU64,
    #[cfg(test)]
    pub(crate) traffic: Traffic,
    /// Owns the memory, so it is dropped after that.
    _session: Arc<Loaded>,
    queue: Arc<Queue>,
}

/// Counts operations, for tests.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) uploads: AtomicU64,
    pub(crate) downloads: AtomicU64,
    /// Tensors that crossed to the device, and from it, while the CPU went on.
    pub(crate) sent: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) fetched: AtomicU64,
    pub(crate) fetched_bytes: AtomicU64,
    /// Steps of streams that ran.
    pub(crate) steps: AtomicU64,
}

impl Device {
    /// Loads the first session on `options.place`, so that an unusable device is reported now. `threads`: how many of the CPU's
    /// may prepare what crosses to the device.
    ///
    /// `kernels`: if they can be used, pictures are converted on the device.
    pub(crate) fn open(
        runtime: &'static Runtime,
        checkpoint: &Arc<Checkpoint>,
        options: &SessionOptions,
        threads: usize,
        kernels: Option<Arc<PixelKernels>>,
    ) -> Result<Arc<Self>> {
        let (own, place) = (checkpoint.clone(), options.place);
        let queue = Arc::new(Queue::new(runtime, place)?);
        let mut options =
            SessionOptions { threads: 1, loading_threads: 1, queue: Some(queue.clone()), ..options.clone() };
        // Each copy is between tensors of its own.
        options.cuda.recordings = false;
        let load = move |element| Session::load(runtime, &graph::copy(element), &own, &options);
        let first = load(Element::F32)?;
        let session = first.shared();
        let failed =
            |e: ort::Error| Error::new(ErrorKind::Provider, format!("{}: cannot use its memory: {e}", place.name()));
        let (memory, staging) = match place {
            Place::Cuda(device) => (cuda::device_memory(device), Some(cuda::pinned_memory(device))),
            _ => (MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default), None),
        };
        let allocator = memory.and_then(|info| Allocator::new(&session.session, info)).map_err(failed)?;
        let staging = staging.and_then(|info| Allocator::new(&session.session, info.ok()?).ok());
        Ok(Arc::new(Device {
            allocator: Mutex::new(Owned::new(allocator)),
            staging: staging.map(|staging| Mutex::new(Owned::new(staging))),
            pictures: Pictures::new(&queue, kernels),
            copies: [first.into(), MadeOnce::new(), MadeOnce::new(), MadeOnce::new()],
            load: Box::new(load),
            canceller: Canceller::new()?,
            threads,
            queue,
            live: AtomicU64::new(0),
            #[cfg(test)]
            traffic: Traffic::default(),
            _session: session,
        }))
    }

    /// Bytes of the streams' tensors on the device.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Runs that were repeated from recordings.
    #[cfg(test)]
    pub(crate) fn repeated(&self) -> u64 {
        self.queue.repeated.load(Ordering::Relaxed)
    }

    /// How many of the CPU's threads may prepare what crosses.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// In which all that the model's streams do there is done.
    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// What converts pictures there, if it can.
    pub(crate) fn pictures(&self) -> Option<&Pictures> {
        self.pictures.as_ref()
    }

    pub(super) fn count_crossing(&self, _to_device: bool, _bytes: usize) {
        #[cfg(test)]
        {
            let Traffic { sent, sent_bytes, fetched, fetched_bytes, .. } = &self.traffic;
            let (count, bytes) = if _to_device { (sent, sent_bytes) } else { (fetched, fetched_bytes) };
            count.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add(_bytes as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn copy(&self, from: &Tensor, to: &Tensor) -> Result<()> {
        let index = match from.element() {
            Element::F32 => 0,
            Element::F16 => 1,
            Element::Bf16 => 2,
            Element::U8 => 3,
            Element::I64 => unreachable!("sizes stay on the CPU"),
        };
        let session = self.copies[index].get_or_make(|| (self.load)(from.element()))?;
        session.run(&[from], &[to], &self.canceller)
    }
}

impl DeviceMemory for Device {
    fn allocated(&self, bytes: u64) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }

    fn freed(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn upload(&self, host: &Tensor, device: &Tensor) -> Result<()> {
        #[cfg(test)]
        self.traffic.uploads.fetch_add(1, Ordering::Relaxed);
        self.copy(host, device)
    }

    fn download(&self, device: &Tensor, host: &Tensor) -> Result<()> {
        #[cfg(test)]
        self.traffic.downloads.fetch_add(1, Ordering::Relaxed);
        self.copy(device, host)
    }
}

impl Tensor {
    /// Allocates uninitialised storage on the device, or on the CPU if `device` is `None`.
    pub(crate) fn on(device: Option<&Arc<Device>>, shape: &[usize], element: Element) -> Result<Self> {
        match device.cloned() {
            None => Self::new(shape, element),
            Some(device) => {
                Self::allocate(&device.allocator.lock(), shape, element, Some(device.clone()), Some(device.clone()))
            }
        }
    }

    /// Allocates uninitialised CPU storage that the device can read and write fast.
    pub(crate) fn staged(device: Option<&Arc<Device>>, shape: &[usize], element: Element) -> Result<Self> {
        match device.and_then(|device| Some((device.clone(), device.staging.as_ref()?))) {
            None => Self::new(shape, element),
            Some((owner, staging)) => Self::allocate(&staging.lock(), shape, element, None, Some(owner)),
        }
    }
}
