//! Where a model's sessions run, and how they are loaded.

use super::compute;
use super::model_options::{ModelOptions, Precision, Provider};
use crate::engine::Step;
use crate::error::{Error, Result};
use crate::graph::{self, Element, Operators, StepGraph};
use crate::kernels::ScratchPool;
use crate::logger::Logger;
use crate::memory;
use crate::model::Checkpoint;
use crate::parallel;
use crate::runtime::{
    CudaOptions, Device, Kernels, OUR_KERNELS, OUR_RECORDINGS, PixelKernels, Place, Runtime, Session, SessionOptions,
    threads,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// More would wait for memory.
const CONVERTING_THREADS: usize = 4;

pub(super) struct Sessions {
    pub(super) runtime: &'static Runtime,
    pub(super) checkpoint: Arc<Checkpoint>,
    pub(super) place: Place,
    /// The memory of `place`, if it has its own.
    pub(super) device: Option<Arc<Device>>,
    /// Why [`Provider::Auto`] did not take a CUDA device.
    pub(super) fallback: Option<String>,
    pub(super) threads: usize,
    pub(super) logger: Logger,
    provider_options: Arc<[(String, String)]>,
    /// Whether runs on a device are recorded.
    recordings: bool,
    /// Ours on a CUDA device, for each type that a direction computes in.
    kernels: Vec<(Element, Arc<Kernels>)>,
    scratch: Arc<ScratchPool>,
}

impl Sessions {
    /// Finds the runtime and the device that the options ask for; loads nothing yet.
    pub(super) fn new(checkpoint: Checkpoint, options: &ModelOptions) -> Result<Self> {
        let runtime = Runtime::get(options.runtime.as_deref(), &options.logger)?;
        let available = || std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut sessions = Sessions {
            runtime,
            checkpoint: Arc::new(checkpoint),
            place: Place::Cpu,
            device: None,
            fallback: None,
            threads: if options.threads == 0 { available() } else { options.threads },
            logger: options.logger.clone(),
            provider_options: options.provider_options.clone().into(),
            recordings: options.is_on(OUR_RECORDINGS, false),
            kernels: vec![],
            scratch: Arc::default(),
        };
        match options.provider {
            Provider::Cpu => {}
            Provider::Cuda { device } => sessions.take_cuda(device, options)?,
            Provider::Auto => {
                if let Err(e) = sessions.take_cuda(0, options) {
                    // Only those who look for a GPU want to know.
                    options.logger.log(log::Level::Debug, format_args!("provider: the CPU, because {e}"));
                    sessions.fallback = Some(e.to_string());
                }
            }
        }
        Ok(sessions)
    }

    /// Takes that device, if it can be used.
    fn take_cuda(&mut self, device: u32, options: &ModelOptions) -> Result<()> {
        self.runtime.check_cuda(device)?;
        let place = Place::Cuda(device);
        let pixels = if options.is_on(OUR_KERNELS, true) { self.open_pixel_kernels(device) } else { None };
        // What keeps those from being compiled keeps all.
        let wanted = if pixels.is_some() { compute::wanted_kernels(options) } else { vec![] };
        self.device = Some(self.open_device(place, pixels)?);
        self.place = place;
        self.open_kernels(device, wanted);
        Ok(())
    }

    /// With a fake device, whose memory streams may touch as little as a real one's.
    #[cfg(test)]
    pub(super) fn on_fake_device(checkpoint: Checkpoint, options: &ModelOptions) -> Result<Self> {
        let cpu = ModelOptions { provider: Provider::Cpu, threads: 1, ..options.clone() };
        let mut sessions = Sessions::new(checkpoint, &cpu)?;
        sessions.place = Place::Fake;
        sessions.device = Some(sessions.open_device(Place::Fake, None)?);
        Ok(sessions)
    }

    /// Threads that may check and convert what a call gets.
    pub(super) fn converting_threads(&self) -> usize {
        self.threads.min(CONVERTING_THREADS)
    }

    fn open_device(&self, place: Place, pixels: Option<Arc<PixelKernels>>) -> Result<Arc<Device>> {
        let options = SessionOptions {
            place,
            queue: None,
            cuda: CudaOptions {
                more: self.provider_options.clone(),
                recordings: self.recordings,
                ..CudaOptions::default()
            },
            threads: 1,
            loading_threads: 1,
            scratch: Arc::default(),
            logger: self.logger.clone(),
        };
        Device::open(self.runtime, &self.checkpoint, &options, self.converting_threads(), pixels)
    }

    /// Compiles our kernels that convert frames. Without them the CPU does.
    fn open_pixel_kernels(&self, device: u32) -> Option<Arc<PixelKernels>> {
        self.runtime.cuda_pixel_kernels(device).map_err(|e| self.warn_of_kernels(device, &e)).ok()
    }

    /// Compiles our kernels of the network. Without them ONNX's operators do the same.
    fn open_kernels(&mut self, device: u32, wanted: Vec<Element>) {
        for compute in wanted {
            match self.runtime.cuda_kernels(device, compute) {
                Ok(kernels) => self.kernels.push((compute, kernels)),
                Err(e) => self.warn_of_kernels(device, &e),
            }
        }
    }

    fn warn_of_kernels(&self, device: u32, error: &Error) {
        self.logger.log(
            log::Level::Warn,
            format_args!(
                "CUDA device {device}: the library's own kernels cannot be used, because {}. The model runs on ONNX \
                 Runtime's, which is slower. They need NVRTC: install the Python package nvidia-cuda-nvrtc beside \
                 onnxruntime-gpu, or NVRTC of the same CUDA version; {OUR_KERNELS}=0 in provider_options does without",
                error.text()
            ),
        );
    }

    /// The types that our kernels on the device compute in.
    pub(super) fn kernels(&self) -> Vec<Element> {
        #[cfg(test)]
        if self.place == Place::Fake && self.provider_options.iter().any(|(name, _)| name == OUR_KERNELS) {
            return vec![Element::F32, Element::F16];
        }
        self.kernels.iter().map(|(compute, _)| *compute).collect()
    }

    /// Loads the graphs of one direction, which were made by these options.
    pub(super) fn load(
        &self,
        graphs: Vec<StepGraph>,
        precision: Precision,
        graph: &graph::Options,
    ) -> Result<Vec<Arc<Step>>> {
        let place = self.place;
        // Each session has threads of its own, and others load and pack. Where not all of these can be had, this thread does
        // what it can alone.
        let (pools, others) = (graphs.len() * (self.threads - 1), graphs.len().saturating_sub(1));
        let wanted = if self.threads == 1 { 0 } else { 2 * pools + others };
        let (more, loading_threads) = match threads::obtainable(wanted) {
            count if count < pools => {
                let what = format!("n_threads {}, {} sessions", self.threads, graphs.len());
                return Err(threads::refused(&what));
            }
            count if count < wanted || self.threads == 1 => (0, 1),
            _ => (others, self.threads),
        };
        let cuda = CudaOptions {
            tensor_cores: precision != Precision::F32,
            channels_last: graph.channels_last,
            more: self.provider_options.clone(),
            recordings: self.recordings,
            kernels: match graph.operators {
                Operators::Device => self.kernels.iter().find(|(compute, _)| *compute == graph.compute),
                _ => None,
            }
            .map(|(_, kernels)| kernels.clone()),
        };
        let options = SessionOptions {
            place,
            cuda,
            queue: self.device.as_ref().map(|device| device.queue().clone()),
            threads: self.threads,
            loading_threads,
            scratch: self.scratch.clone(),
            logger: self.logger.clone(),
        };
        let narrow = matches!(precision, Precision::F16 | Precision::Bf16)
            || graphs.iter().flat_map(|graph| &graph.caches).any(|cache| cache.now.element == Element::F16);
        let load = |graph: StepGraph| -> Result<Arc<Step>> {
            let start = std::time::Instant::now();
            memory::check("a session")?;
            let session = Session::load(self.runtime, &graph, &self.checkpoint, &options)?;
            self.logger.log(
                log::Level::Debug,
                format_args!("{}: {} bytes of weights in {:.2?}", graph.name, graph.weight_bytes(), start.elapsed()),
            );
            let weight_bytes = graph.weight_bytes() as u64;
            Ok(Arc::new(Step {
                session,
                inputs: graph.inputs,
                outputs: graph.outputs,
                caches: graph.caches.into_iter().map(|cache| cache.now).collect(),
                sizes: graph.sizes,
                device: self.device.clone(),
                narrow,
                weight_bytes,
            }))
        };
        // Building a session is the work of one thread, of which this is one.
        let (queue, loaded) = (Mutex::new(graphs.into_iter().enumerate()), Mutex::new(Vec::new()));
        let work = || {
            loop {
                let Some((i, graph)) = queue.lock().next() else { break };
                let step = load(graph);
                loaded.lock().push((i, step));
            }
        };
        self.checkpoint.while_unchanged(|| {
            parallel::together(more, work);
            let mut loaded = std::mem::take(&mut *loaded.lock());
            loaded.sort_by_key(|(i, _)| *i);
            loaded.into_iter().map(|(_, step)| step).collect()
        })
    }
}
