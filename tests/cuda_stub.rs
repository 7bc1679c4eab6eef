//! The CUDA path on a machine without a GPU (`make check-cuda-stub` runs these): ONNX Runtime's real CUDA provider over a
//! stub of the CUDA libraries, whose device has memory and computes nothing. So sessions load, nodes are placed, memory is
//! taken, copied and given back, as on a device; what the numbers are is for `make check-cuda`.
//!
//! The stub ends the process where CUDA is used wrongly: see tests/cuda-stub/stub.c.

mod common;

use common::{clip, decode, encode, golden};
use parking_lot::Mutex;
use std::ffi::CStr;
use std::sync::Arc;
use wfvae::{
    Convolution, ErrorKind, Layout, Logger, Model, ModelOptions, Precision, Provider, Result, Stream, StreamOptions,
};

/// Those of tests/cuda-stub/stub.c.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    launches: u64,
    cudnn: u64,
    cublas: u64,
    synchronizations: u64,
    to_device: u64,
    to_device_bytes: u64,
    to_host: u64,
    to_host_bytes: u64,
    on_device: u64,
    on_device_bytes: u64,
    allocations: u64,
    live: u64,
    live_bytes: u64,
    peak_bytes: u64,
    pinned: u64,
    pinned_bytes: u64,
    handles: u64,
}

/// A function of the stub, which the first model has loaded.
fn stub(name: &CStr) -> *mut libc::c_void {
    // SAFETY: looks a name up.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    assert!(!address.is_null(), "no stub of CUDA is loaded: run make check-cuda-stub");
    address
}

fn counters() -> Counters {
    // SAFETY: the signature of stub.c.
    let get: extern "C" fn(&mut Counters) = unsafe { std::mem::transmute(stub(c"wfvae_stub_counters")) };
    let mut counters = Counters::default();
    get(&mut counters);
    counters
}

/// The nth allocation from now on, of the device or pinned, fails; 0: none.
fn fail_allocation(nth: u64) {
    // SAFETY: the signature of stub.c.
    let set: extern "C" fn(u64) = unsafe { std::mem::transmute(stub(c"wfvae_stub_fail")) };
    set(nth)
}

/// Warnings and errors of a model, and ONNX Runtime's about it.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl Warnings {
    fn logger(&self) -> Logger {
        let texts = self.0.clone();
        Logger::new(log::LevelFilter::Warn, move |_, text| texts.lock().push(text.into()))
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

#[derive(Debug, Clone, Copy)]
struct Way {
    precision: Precision,
    convolution: Convolution,
    layout: Layout,
}

const CONVOLUTIONS: [Convolution; 3] = [Convolution::Stacked, Convolution::Volume, Convolution::Direct];
const LAYOUTS: [Layout; 2] = [Layout::Planes, Layout::ChannelsLast];

fn open(case: &str, way: Way, warnings: &Warnings) -> Result<Model> {
    let mut options = ModelOptions::default();
    options.provider = Provider::Cuda { device: 0 };
    (options.encode_precision, options.decode_precision) = (way.precision, way.precision);
    (options.convolution, options.layout) = (way.convolution, way.layout);
    options.logger = warnings.logger();
    match golden(case).join("config.json").exists() {
        true => Model::open(golden(case), &options),
        false => Model::builtin(&options),
    }
}

fn is_image(case: &str) -> bool {
    case.contains("image")
}

/// A small size that the case can have.
const SIZE: (usize, usize) = (48, 32);

/// Two chunks of a clip through a new stream and back; then all of it once more.
fn there_and_back(model: &Model) -> Result<()> {
    let mut stream = Stream::new(model, &StreamOptions::new(SIZE.0, SIZE.1))?;
    for _ in 0..2 {
        let frames = 1 + 2 * model.info().temporal_compression as usize;
        // Whole clips in one call.
        let plan = if model.info().whole_clips { frames } else { 1 };
        let latents = encode(&mut stream, &clip(frames, SIZE.0, SIZE.1, 1), &[plan, 3]);
        decode(&mut stream, &latents, &[latents.len()]);
        stream.reset()?;
    }
    Ok(())
}

fn cases() -> Vec<String> {
    let entries = std::fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> =
        entries.filter(|path| path.is_dir()).map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect();
    cases.sort();
    if let Ok(only) = std::env::var("WFVAE_CUDA_STUB_CASE") {
        cases.retain(|case| case == &only);
    }
    cases
}

/// All grids, not the thinner ones.
fn all() -> bool {
    std::env::var_os("WFVAE_CUDA_STUB_ALL").is_some()
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn every_session_loads_on_cuda_and_nothing_falls_to_the_processor() {
    let (mut run, mut off) = (0, vec![]);
    for case in cases() {
        for precision in [Precision::F32, Precision::Tf32, Precision::F16, Precision::Bf16] {
            for (convolution, layout) in CONVOLUTIONS.into_iter().flat_map(|c| LAYOUTS.map(|l| (c, l))) {
                let way = Way { precision, convolution, layout };
                let warnings = Warnings::default();
                let found = open(&case, way, &warnings).and_then(|model| there_and_back(&model));
                println!("{case} {way:?}: {found:?} {:?}", warnings.take());
                run += 1;
            }
        }
    }
    let _ = (&mut off as &mut Vec<String>, run, counters(), is_image("x"), all(), ErrorKind::OutOfMemory);
    fail_allocation(0);
}
