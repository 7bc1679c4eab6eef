//! One step's graph, loaded; runs from several threads at once.

use super::cancel::Canceller;
use super::cuda::CudaOptions;
use super::environment::Runtime;
use super::place::Place;
use super::replan::Replan;
use super::tensor::Tensor;
use super::{operators, threads};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::graph::{Element, PackedWeight, Source, StepGraph};
use crate::kernels::{NoMemory, ScratchPool, Target};
use crate::logger::Logger;
use crate::memory;
use crate::model::Checkpoint;
use crate::process::{Loading, Owned};
use once_cell::sync::OnceCell;
use ort::AsPointer;
use std::ffi::CString;
use std::io::Read;
use std::sync::Arc;

/// The first session with our operators is built alone, as the runtime adds their domain to a list of the process without a
/// lock.
static OPERATORS_KNOWN: OnceCell<()> = OnceCell::new();

/// How sessions are built.
#[derive(Clone)]
pub(crate) struct SessionOptions {
    pub(crate) place: Place,
    pub(crate) cuda: CudaOptions,
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
    session: Arc<Owned<ort::session::Session>>,
    inputs: Vec<CString>,
    outputs: Vec<CString>,
    /// The last inputs.
    packed_weights: Vec<Tensor>,
    /// On a device.
    replan: Option<Replan>,
}

impl Session {
    pub(crate) fn load(
        runtime: &Runtime,
        step: &StepGraph,
        checkpoint: &Checkpoint,
        options: &SessionOptions,
    ) -> Result<Self> {
        let _loading = Loading::begin()?;
        let weights = external_data(step, checkpoint)?;
        let pack = |weight| pack(weight, checkpoint, options.loading_threads);
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
                .with_memory_pattern(false)?;
            if step.external_bytes > 0 {
                let (file, data) = (c_string(&step.weights_file()), weights.as_ptr().cast_mut().cast());
                // ort's own method takes an `Arc`, which aborts if there is no memory.
                // SAFETY: the file's name is copied, and the weights live until the session is built.
                unsafe {
                    let builder = builder.ptr_mut();
                    let add = ort::api().AddExternalInitializersFromMemory;
                    ort::Error::result_from_status(add(builder, &file.as_ptr(), &data, &step.external_bytes, 1))?;
                }
            }
            match options.place.provider(&options.cuda) {
                // Our operators run on the CPU only.
                Some(provider) => builder.with_execution_providers([provider])?,
                None => builder.with_operators(operators::domain(options.threads, options.scratch.clone())?)?,
            }
            .commit_from_memory(&step.onnx)
        };
        let session = match options.place {
            Place::Cuda(_) => build(),
            _ => {
                let mut first = None;
                let known = OPERATORS_KNOWN.get_or_try_init(|| build().map(|session| first = Some(session)));
                known.and_then(|()| first.map_or_else(&build, Ok))
            }
        };
        let session = session.map_err(|e| run_error(&step.name, "loading", &e))?;
        drop(weights);
        // Loading leaves several times the weights' size in the allocator's free lists.
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0)
        };
        let inputs = step.inputs.iter().chain(step.caches.iter().flat_map(|c| [&c.one_ago, &c.two_ago]));
        let outputs = step.outputs.iter().chain(step.caches.iter().map(|c| &c.now));
        let packed = step.packed_weights.iter().map(|weight| &weight.key);
        let given = step.sizes.iter().map(|list| &list.name).chain(packed);
        Ok(Session {
            name: step.name.clone(),
            session: Arc::new(Owned::new(session)),
            inputs: inputs.map(|port| &port.name).chain(given).map(|name| c_string(name)).collect(),
            outputs: outputs.map(|port| c_string(&port.name)).collect(),
            packed_weights,
            replan: options.place.has_memory().then(|| Replan::new(step)).flatten(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For allocations in the session's memory.
    pub(super) fn shared(&self) -> Arc<Owned<ort::session::Session>> {
        self.session.clone()
    }

    /// Runs the graph. `inputs` are the step's, then the frames one and two ago of every cache, then the sizes. `outputs` are
    /// the step's, then the frame of now of every cache. Only at the start of a clip may an output share its tensor with a
    /// cache's input.
    pub(crate) fn run(&self, inputs: &[&Tensor], outputs: &[&Tensor], canceller: &Canceller) -> Result<()> {
        match &self.replan {
            Some(replan) => replan.run(self, inputs, outputs, canceller),
            None => self.run_once(inputs, outputs, canceller),
        }
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

    pub(super) fn run_once(&self, inputs: &[&Tensor], outputs: &[&Tensor], canceller: &Canceller) -> Result<()> {
        let inputs: Vec<&Tensor> = inputs.iter().copied().chain(&self.packed_weights).collect();
        assert_eq!((inputs.len(), outputs.len()), (self.inputs.len(), self.outputs.len()), "{}", self.name);
        let input_names: Vec<_> = self.inputs.iter().map(|n| n.as_ptr()).collect();
        let output_names: Vec<_> = self.outputs.iter().map(|n| n.as_ptr()).collect();
        let inputs: Vec<*const ort::sys::OrtValue> = inputs.iter().map(|t| t.ptr().cast_const()).collect();
        let mut outputs: Vec<*mut ort::sys::OrtValue> = outputs.iter().map(|t| t.ptr()).collect();
        // SAFETY: all pointers are valid during the call, and the counts match. The runtime writes to the given outputs, or
        // copies to them if they are in other memory than the session's. OrtApi::Run is safe to call from several threads on
        // one session. ort's wrapper takes `&mut` because some providers' allocators are not; none of these is used here.
        let result = unsafe {
            let status = (ort::api().Run)(
                self.session.ptr().cast_mut(),
                canceller.options.ptr(),
                input_names.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            );
            ort::Error::result_from_status(status)
        };
        match result {
            // The flag may be set after the last node. The results are complete then, but the caller cancelled them.
            _ if canceller.is_cancelled() => fail!(Cancelled, "cancelled in {}; reset the stream", self.name),
            Ok(()) => Ok(()),
            Err(e) => Err(run_error(&self.name, "running", &e)),
        }
    }
}

fn run_error(step: &str, doing: &str, error: &ort::Error) -> Error {
    let text = error.to_string();
    if text.contains("pthread_create failed") {
        return threads::refused(&format!("ONNX Runtime, {doing} {step}"));
    }
    // The last one is from an arena with a limit.
    let signs = ["bad_alloc", "Failed to allocate", "out of memory", "is smaller than requested bytes"];
    let memory = signs.iter().any(|sign| text.contains(sign));
    let (kind, short) = match memory {
        true => (ErrorKind::OutOfMemory, "not enough memory: "),
        false => (ErrorKind::Runtime, ""),
    };
    Error::new(kind, format!("ONNX Runtime, {doing} {step}: {short}{text}"))
}

/// The step's external data in one buffer, aligned for float32.
fn external_data(step: &StepGraph, checkpoint: &Checkpoint) -> Result<Vec<f32>> {
    let mut buffer: Vec<f32> = memory::zeros(step.external_bytes.div_ceil(size_of::<f32>()), "weights")?;
    for (range, fill) in weight_reads(step, checkpoint) {
        fill(&mut bytes_of(&mut buffer)[range])?;
    }
    Ok(buffer)
}

fn bytes_of(floats: &mut [f32]) -> &mut [u8] {
    // SAFETY: floats are bytes, and any bytes are floats.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) }
}

/// A weight of one of our convolutions, as the kernels pack it.
fn pack(weight: &PackedWeight, checkpoint: &Checkpoint, threads: usize) -> Result<Tensor> {
    let PackedWeight { key, convolution, taps_apart } = weight;
    let target = Target::current();
    let mut packed = Tensor::new(&[target.packed_len(*convolution)], Element::F32)?;
    let read_rows = |rows: std::ops::Range<usize>, out: &mut [f32]| match taps_apart {
        true => checkpoint.read_rows_of_taps(key, rows, out),
        false => checkpoint.read_rows(key, rows, out),
    };
    match target.pack(*convolution, &read_rows, threads, packed.data_mut()) {
        Ok(()) => Ok(packed),
        Err(NoMemory) => fail!(OutOfMemory, "{key}: no memory to pack the weights"),
    }
}

/// Writes a step's external data, tensor by tensor; `io` is the error of a failure to write.
pub(crate) fn write_weights(
    step: &StepGraph,
    checkpoint: &Checkpoint,
    out: &mut impl std::io::Write,
    io: impl Fn(std::io::Error) -> Error,
) -> Result<()> {
    let mut position = 0;
    for (range, fill) in weight_reads(step, checkpoint) {
        let gap = (range.start - position) as u64;
        std::io::copy(&mut std::io::repeat(0).take(gap), out).map_err(&io)?;
        let mut values: Vec<f32> = memory::zeros(range.len().div_ceil(size_of::<f32>()), "weights")?;
        let values = &mut bytes_of(&mut values)[..range.len()];
        fill(values)?;
        out.write_all(values).map_err(&io)?;
        position = range.end;
    }
    Ok(())
}

/// For each initializer, in order: its range of the external data, and a function that reads it to these bytes. Bytes of
/// float32 are aligned for it.
fn weight_reads<'a>(
    step: &'a StepGraph,
    checkpoint: &'a Checkpoint,
) -> impl Iterator<Item = (std::ops::Range<usize>, impl Fn(&mut [u8]) -> Result<()>)> {
    step.initializers.iter().map(move |initializer| {
        let size = initializer.element.bytes();
        let range = initializer.offset..initializer.offset + initializer.elements * size;
        let read = move |out: &mut [f32]| -> Result<()> {
            match &initializer.source {
                Source::Tensor(key) => checkpoint.read(key, out),
                Source::Tap(key, tap) => checkpoint.read_tap(key, *tap, out),
                Source::Phase(key, phase) => checkpoint.read_phase(key, *phase, out)?,
                Source::Stacked(key) => checkpoint.read_stacked(key, out),
                Source::TapsApart(key) => checkpoint.read_taps_apart(key, out),
            }
            Ok(())
        };
        let fill = move |out: &mut [u8]| {
            // SAFETY: any bytes are valid floats.
            if let (Element::F32, ([], floats, [])) = (initializer.element, unsafe { out.align_to_mut::<f32>() }) {
                return read(floats);
            }
            let mut values = memory::zeros(initializer.elements, "weights")?;
            read(&mut values)?;
            for (value, out) in values.into_iter().zip(out.chunks_exact_mut(size)) {
                match initializer.element {
                    Element::F32 => out.copy_from_slice(&value.to_ne_bytes()),
                    Element::F16 => out.copy_from_slice(&half::f16::from_f32(value).to_ne_bytes()),
                    Element::Bf16 => out.copy_from_slice(&half::bf16::from_f32(value).to_ne_bytes()),
                    Element::U8 | Element::I64 => unreachable!("weights are floats"),
                }
            }
            Ok(())
        };
        (range, fill)
    })
}
