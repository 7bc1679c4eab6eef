//! A loaded graph, which several threads may run at once.

use super::cancel::Canceller;
use super::cuda::{self, CudaOptions};
#[cfg(test)]
use super::device_reference;
use super::environment::Runtime;
use super::place::Place;
use super::queue::Queue;
use super::recordings::{Known, Recording, Recordings};
use super::replan::Replan;
use super::tensor::Tensor;
use super::{operators, threads, weights};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::StepGraph;
use crate::kernels::ScratchPool;
use crate::logger::Logger;
use crate::model::Checkpoint;
use crate::platform;
use crate::process::{Loading, Owned};
use crate::sync::MadeOnce;
use ort::AsPointer;
use ort::memory::Allocator;
use parking_lot::Mutex;
use std::ffi::CString;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The first session with our operators is built alone, as the runtime adds their domain to a list of the process without a
/// lock.
static OPERATORS_KNOWN: MadeOnce<()> = MadeOnce::new();

/// One in so many runs on a device waits until it is done. Only then does ONNX Runtime free the pinned memory that it copied
/// small lists from, such as the sizes of a Split's outputs.
const RUNS_OF_A_WAIT: u64 = 16;

/// How sessions are built.
#[derive(Clone)]
pub(crate) struct SessionOptions {
    pub(crate) place: Place,
    pub(crate) cuda: CudaOptions,
    /// On a device: where sessions put their work.
    pub(crate) queue: Option<Arc<Queue>>,
    pub(crate) threads: usize,
    /// Threads that prepare the weights. Other sessions may have as many at the same time.
    pub(crate) loading_threads: usize,
    /// For the convolutions of all sessions of a model.
    pub(crate) scratch: Arc<ScratchPool>,
    pub(crate) logger: Logger,
}

/// A loaded graph. It or the runtime holds the only copy of each weight, in the order in which it is read.
pub(crate) struct Session {
    name: String,
    /// On a device, unless turned off. Dropped before the session, whose memory they use. In runs the queue's turn is taken first.
    recordings: Option<Mutex<Recordings>>,
    session: Arc<Loaded>,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
    /// The last inputs.
    packed_weights: Vec<Tensor>,
    /// On a device.
    replan: Option<Replan>,
    queue: Option<Arc<Queue>>,
    /// Runs whose outputs are all on a device, but for those that were recorded.
    runs: AtomicU64,
    logger: Logger,
}

/// What several owners share.
pub(super) struct Loaded {
    pub(super) session: ManuallyDrop<Owned<ort::session::Session>>,
    /// Dropped after it.
    _pinned: Option<Owned<Pinned>>,
    queue: Option<Arc<Queue>>,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // It may put work into the queue. A forked child has no such queue, and its locks may never be free.
        let queue = self.queue.as_ref().filter(|_| self.session.owner().is_current());
        let _shared = queue.map(|queue| queue.shared());
        // SAFETY: `drop` runs once.
        unsafe { ManuallyDrop::drop(&mut self.session) }
    }
}

/// The allocator of a session's pinned memory. When a session on a CUDA device is dropped, the driver may still have to give
/// some of this memory back, in a thread where CUDA cannot be called. So somebody else has to own the allocator until then.
struct Pinned {
    queue: Arc<Queue>,
    _allocator: Allocator,
}

// SAFETY: nobody uses the allocator, and it is dropped once.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    fn of(session: &ort::session::Session, device: u32, queue: Arc<Queue>) -> ort::Result<Self> {
        Ok(Pinned { queue, _allocator: Allocator::new(session, cuda::pinned_memory(device)?)? })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.queue.finish();
    }
}

impl Session {
    pub(crate) fn load(
        runtime: &Runtime,
        step: &StepGraph,
        checkpoint: &Checkpoint,
        options: &SessionOptions,
    ) -> Result<Self> {
        let _loading = Loading::begin()?;
        let weights = weights::external_data(step, checkpoint)?;
        let pack = |weight| weights::pack(weight, checkpoint, options.loading_threads);
        let packed_weights = step.packed_weights.iter().map(pack).collect::<Result<Vec<_>>>()?;
        let c_string = |name: &str| CString::new(name).expect("names hold no NUL");
        let build = || -> ort::Result<ort::session::Session> {
            let mut builder = ort::session::Session::builder(&runtime.environment)?
                .with_log_id(&step.name)?
                .with_logger(options.logger.for_runtime())?
                .with_log_level(options.logger.runtime_level())?
                .with_intra_threads(options.threads)?
                // Idle threads of a library must not take the program's CPU time.
                .with_intra_op_spinning(false)?
                // Streams of any size share this session, and a pattern for each size would be kept.
                .with_memory_pattern(false)?
                // On Arm CPUs with SME, ONNX Runtime's sums come from KleidiAI, which turns infinities into the largest numbers: an
                // overflow would pass for a result. Releases that do not know the entry ignore it.
                .with_config_entry("mlas.disable_kleidiai", "1")?;
            if step.has_clip_operators() {
                // The arena would take half as much again as there is at a time, and keep it. Few and large values cost little
                // without one.
                // SAFETY: the builder is valid.
                unsafe { ort::Error::result_from_status((ort::api().DisableCpuMemArena)(builder.ptr_mut()))? };
            }
            if step.external_bytes > 0 {
                let file = platform::runtime_string(&step.weights_file());
                let data = weights.as_ptr().cast_mut().cast();
                // ort's own method takes an `Arc`, which aborts if there is no memory.
                // SAFETY: the file's name is copied, and the weights live until the session is built.
                unsafe {
                    let builder = builder.ptr_mut();
                    let add = ort::api().AddExternalInitializersFromMemory;
                    ort::Error::result_from_status(add(builder, &file.as_ptr(), &data, &step.external_bytes, 1))?;
                }
            }
            let queue = options.queue.as_ref().and_then(|queue| queue.cuda());
            match (options.place.provider(&options.cuda, queue), &options.cuda.kernels) {
                (Some(provider), Some(kernels)) => {
                    builder.with_execution_providers([provider])?.with_operators(cuda::domain(kernels)?)?
                }
                (Some(provider), None) => builder.with_execution_providers([provider])?,
                (None, _) => {
                    let domain = operators::domain(options.threads, options.scratch.clone())?;
                    // The fake device's.
                    #[cfg(test)]
                    let domain = device_reference::add_to(domain)?;
                    builder.with_operators(domain)?
                }
            }
            .commit_from_memory(&step.onnx)
        };
        let build = || {
            let _shared = options.queue.as_ref().map(|queue| queue.shared());
            build()
        };
        let session = match options.place {
            Place::Cuda(_) if options.cuda.kernels.is_none() => build(),
            _ => {
                let mut first = None;
                let known = OPERATORS_KNOWN.get_or_make(|| build().map(|session| first = Some(session)));
                known.and_then(|()| first.map_or_else(&build, Ok))
            }
        };
        let session = session.map_err(|e| run_error(&step.name, "loading", e))?;
        let pinned = match (options.place, &options.queue) {
            (Place::Cuda(device), Some(queue)) => Some(Pinned::of(&session, device, queue.clone())),
            _ => None,
        };
        let pinned = pinned.transpose().map_err(|e| run_error(&step.name, "loading", e))?;
        let loaded = Loaded {
            session: ManuallyDrop::new(Owned::new(session)),
            _pinned: pinned.map(Owned::new),
            queue: options.queue.clone(),
        };
        drop(weights);
        // Loading leaves several times the weights' size in the allocator's free lists.
        platform::trim_heap();
        let inputs = step.inputs.iter().chain(step.caches.iter().flat_map(|c| [&c.one_ago, &c.two_ago]));
        let outputs = step.outputs.iter().chain(step.caches.iter().map(|c| &c.now));
        let packed = step.packed_weights.iter().map(|weight| &weight.key);
        let given = step.sizes.iter().map(|list| &list.name).chain(packed);
        Ok(Session {
            name: step.name.clone(),
            recordings: (options.place.has_memory() && options.cuda.recordings).then(Mutex::default),
            session: Arc::new(loaded),
            inputs: inputs.map(|port| &port.name).chain(given).map(|name| c_string(name)).collect(),
            outputs: outputs.map(|port| c_string(&port.name)).collect(),
            packed_weights,
            replan: options.place.has_memory().then(|| Replan::new(step)).flatten(),
            queue: options.queue.clone(),
            runs: AtomicU64::new(0),
            logger: options.logger.clone(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For allocations in the session's memory.
    pub(super) fn shared(&self) -> Arc<Loaded> {
        self.session.clone()
    }

    /// Runs the graph. `inputs` are the step's, then the frames one and two ago of every cache, then the sizes. `outputs` are
    /// the step's, then the frame of now of every cache. Only at the start of a clip may an output share its tensor with a
    /// cache's input. On a device, a run whose outputs are all there may not be done when this returns.
    pub(crate) fn run(&self, inputs: &[&Tensor], outputs: &[&Tensor], canceller: &Canceller) -> Result<()> {
        if canceller.is_cancelled() {
            return Err(self.cancelled());
        }
        match &self.replan {
            Some(replan) => replan.run(
                &|inputs, outputs, canceller| self.run_once(inputs, outputs, canceller),
                inputs,
                outputs,
                canceller,
            )?,
            None => self.run_once(inputs, outputs, canceller)?,
        }
        canceller.count_step();
        Ok(())
    }

    /// Makes the next run one that follows a failed run with this first input.
    #[cfg(test)]
    pub(crate) fn fail(&self, first: &Tensor) {
        self.replan.as_ref().expect("of a device").fail(&[first]);
    }

    /// Runs of the smallest frame so far.
    #[cfg(test)]
    pub(crate) fn replanned(&self) -> u64 {
        self.replan.as_ref().expect("of a device").count.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn run_once(&self, inputs: &[&Tensor], outputs: &[&Tensor], canceller: &Canceller) -> Result<()> {
        let _turn = self.queue.as_ref().map(|queue| queue.turn());
        let (Some(queue), Some(recordings)) = (&self.queue, &self.recordings) else {
            return self.call(inputs, outputs, canceller, false);
        };
        let mut recordings = recordings.lock();
        let key = match recordings.of(inputs, outputs) {
            Known::Nothing => return self.call(inputs, outputs, canceller, false),
            Known::Recorded(recording) => return self.repeat(recording, inputs, outputs, canceller),
            Known::Seen(key) => key,
        };
        let recorded = match queue.record(inputs, outputs, || self.call(inputs, outputs, canceller, true)) {
            Ok(None) => return self.call(inputs, outputs, canceller, false),
            Ok(Some((done, recording))) => done.and(recording),
            Err(e) => Err(e),
        };
        let error = match recorded {
            // The first launch may need memory.
            Ok(recording) => match self.repeat(&recording, inputs, outputs, canceller) {
                Ok(()) => {
                    recordings.keep(key, recording);
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::OutOfMemory => e,
                Err(e) => return Err(e),
            },
            Err(e) if e.kind() == ErrorKind::Cancelled => return Err(e),
            Err(e) => e,
        };
        // Nothing of it was done.
        recordings.failed(error.kind() == ErrorKind::OutOfMemory);
        let text = format_args!("{}: its runs are not recorded, and are slower: {error}", self.name);
        self.logger.log(queue.level_of_failure(), text);
        self.call(inputs, outputs, canceller, false)
    }

    /// Drops recordings that hold one of these places, whose tensors are about to be dropped.
    pub(crate) fn forget(&self, places: &[u64]) {
        // A forked child has no recordings, and the lock may never be free there.
        if let Some(recordings) = self.recordings.as_ref().filter(|_| self.session.session.owner().is_current()) {
            recordings.lock().forget(places);
        }
    }

    fn repeat(
        &self,
        recording: &Recording,
        _inputs: &[&Tensor],
        _outputs: &[&Tensor],
        _canceller: &Canceller,
    ) -> Result<()> {
        match recording {
            Recording::Cuda(recording) => recording.replay(),
            #[cfg(test)]
            Recording::Fake(recording) => {
                self.queue.as_ref().expect("of a device").repeated.fetch_add(1, Ordering::Relaxed);
                self.call(&recording.inputs(_inputs, _outputs), _outputs, _canceller, false)
            }
        }
    }

    fn cancelled(&self) -> Error {
        Error::new(ErrorKind::Cancelled, format!("cancelled in {}; reset the stream", self.name))
    }

    /// Has ONNX Runtime run the graph. `recorded`: what it puts into the queue is not done now.
    fn call(&self, inputs: &[&Tensor], outputs: &[&Tensor], canceller: &Canceller, recorded: bool) -> Result<()> {
        let inputs: Vec<&Tensor> = inputs.iter().copied().chain(&self.packed_weights).collect();
        assert_eq!((inputs.len(), outputs.len()), (self.inputs.len(), self.outputs.len()), "{}", self.name);
        let input_names: Vec<_> = self.inputs.iter().map(|n| n.as_ptr()).collect();
        let output_names: Vec<_> = self.outputs.iter().map(|n| n.as_ptr()).collect();
        let on_device = outputs.iter().all(|output| output.is_on_device());
        let inputs: Vec<*const ort::sys::OrtValue> = inputs.iter().map(|t| t.ptr().cast_const()).collect();
        let mut outputs: Vec<*mut ort::sys::OrtValue> = outputs.iter().map(|t| t.ptr()).collect();
        let is_one_to_wait = || self.runs.fetch_add(1, Ordering::Relaxed).is_multiple_of(RUNS_OF_A_WAIT);
        let waits = !recorded && (!on_device || is_one_to_wait());
        // A thread's first run makes handles of CUDA's libraries.
        let _shared = self.queue.as_ref().filter(|_| !recorded).map(|queue| queue.shared());
        // SAFETY: all pointers are valid during the call, and the counts match. The runtime writes to the given outputs, or
        // copies to them if they are in other memory than the session's; they belong to one stage, which runs one session at a
        // time and reads them afterwards. OrtApi::Run is safe to call from several threads on
        // one session. ort's wrapper takes `&mut` because some providers' allocators are not; none of these is used here.
        let result = canceller.watched(|| unsafe {
            let status = (ort::api().Run)(
                self.session.session.ptr().cast_mut(),
                canceller.options[usize::from(!waits)].ptr(),
                input_names.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            );
            ort::Error::result_from_status(status)
        });
        match result {
            // The flag may be set after the last node. The results are complete then, but the caller cancelled them.
            _ if canceller.is_cancelled() => Err(self.cancelled()),
            Ok(()) => Ok(()),
            Err(e) => Err(run_error(&self.name, "running", e)),
        }
    }
}

fn run_error(step: &str, doing: &str, error: ort::Error) -> Error {
    let text = error.to_string();
    if text.contains(platform::THREAD_REFUSED) {
        return threads::refused(&format!("ONNX Runtime, {doing} {step}"));
    }
    let signs = [
        "bad_alloc",
        "Failed to allocate",
        "out of memory",
        // From an arena with a limit.
        "is smaller than requested bytes",
        // CUDA's driver; cuDNN; cuDNN since 9; cuBLAS.
        "OUT_OF_MEMORY",
        "ALLOC_FAILED",
        "ALLOCATION_FAILED",
        "the resource allocation failed",
    ];
    let memory = signs.iter().any(|sign| text.contains(sign));
    let (kind, short) = match memory {
        true => (ErrorKind::OutOfMemory, "not enough memory: "),
        false => (ErrorKind::Runtime, ""),
    };
    Error::new(kind, format!("ONNX Runtime, {doing} {step}: {short}{text}")).caused_by(error)
}
