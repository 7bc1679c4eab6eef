//! The CUDA path on a machine without a GPU (`make check-cuda-stub` runs these): ONNX Runtime's real CUDA provider over a
//! stub of the CUDA libraries, whose device has memory and computes nothing. So sessions load, nodes are placed, memory is
//! taken, copied and given back, as on a device; what the numbers are is for `make check-cuda`.
//!
//! The stub ends the process where CUDA is used wrongly: see tests/cuda-stub/stub.c.
#![cfg(target_os = "linux")]

mod common;

use common::device_memory::Buffer;
use common::{cases, clip, image, open_case};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::sync::Arc;
use wfvae::{
    Convolution, ErrorKind, Image, ImageMut, Latents, LatentsMut, Layout, Logger, MemoryKind, Model, ModelInfo,
    ModelOptions, PixelFormat, Precision, Provider, Range, Result, Stream, StreamOptions,
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
    graphs: u64,
    own: u64,
    recordings: u64,
    replays: u64,
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

/// The nth launch of one of our kernels from now on fails.
fn fail_launch(nth: u64) {
    // SAFETY: the signature of stub.c.
    let set: extern "C" fn(u64) = unsafe { std::mem::transmute(stub(c"wfvae_stub_fail_launch")) };
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

    /// Any is too much: of copies for nodes that run on the CPU in the middle of a graph, of convolutions for which cuDNN
    /// has no engine.
    fn texts(&self) -> Vec<String> {
        self.0.lock().iter().map(|text| text.split(". ").next().unwrap_or(text).to_string()).collect()
    }
}

#[derive(Clone, Copy)]
struct Way {
    precision: Precision,
    convolution: Convolution,
    layout: Layout,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:?}", self.precision, self.convolution, self.layout)
    }
}

const PRECISIONS: [Precision; 4] = [Precision::F32, Precision::Tf32, Precision::F16, Precision::Bf16];

/// How graphs can be for a device, in this precision.
fn ways(precision: Precision) -> impl Iterator<Item = Way> {
    let convolutions = [Convolution::Stacked, Convolution::Volume, Convolution::Direct];
    let layouts = [Layout::Planes, Layout::ChannelsLast];
    convolutions.into_iter().flat_map(move |convolution| layouts.map(|layout| Way { precision, convolution, layout }))
}

fn open(case: &str, way: Way, warnings: &Warnings) -> Result<Model> {
    let mut options = ModelOptions::default();
    options.provider = Provider::Cuda { device: 0 };
    (options.encode_precision, options.decode_precision) = (way.precision, way.precision);
    (options.convolution, options.layout) = (way.convolution, way.layout);
    options.provider_options = vec![("wfvae_graphs".into(), "1".into())];
    options.logger = warnings.logger();
    open_case(case, &options)
}

/// Of all cases' models.
const SIZE: [usize; 2] = [48, 32];

fn stream(model: &Model, [width, height]: [usize; 2]) -> Result<Stream> {
    Stream::new(model, &StreamOptions::new(width, height))
}

/// Encodes what completes `latents` latents after those before, as floats or bytes, in one call.
fn encode(stream: &mut Stream, latents: usize, bytes: bool) -> Result<Vec<f32>> {
    let (info, unit) = (stream.info(), stream.model().info().temporal_compression as usize);
    let frames = latents * unit - if info.frames_in == 0 { unit - 1 } else { 0 };
    let (width, height) = (info.width, info.height);
    let video = clip(frames, width, height, 1);
    let grey = vec![100u8; 3 * width * height];
    let of_bytes = |_| Image::packed(&grey, PixelFormat::Rgb8, width, height).unwrap();
    let planes = video.chunks(3 * width * height);
    let images: Vec<Image> = match bytes {
        true => planes.map(of_bytes).collect(),
        false => planes.map(|planes| image(planes, width, height)).collect(),
    };
    let mut out = vec![f32::NAN; latents * info.encoded_channels * info.latent_width * info.latent_height];
    assert_eq!(stream.encode(&images, LatentsMut::F32(&mut out))?, latents);
    assert!(out.iter().all(|v| v.is_finite()), "something was not written");
    Ok(out)
}

/// Decodes them in one call and, if `last`, flushes; gives the number of frames.
fn decode(stream: &mut Stream, latents: &[f32], last: bool) -> Result<usize> {
    let info = stream.info();
    let count = latents.len() / (info.latent_channels * info.latent_width * info.latent_height);
    let ready = stream.decode_count(count as u64)? as usize;
    let mut pixels = vec![0u8; 3 * info.width * info.height * (ready + 4 * 8)];
    let pictures = pixels.chunks_exact_mut(3 * info.width * info.height);
    let mut pictures: Vec<ImageMut> =
        pictures.map(|p| ImageMut::packed(p, PixelFormat::Rgb8, info.width, info.height).unwrap()).collect();
    assert_eq!(stream.decode(Latents::F32(latents), &mut pictures)?, ready);
    let rest = if last { stream.decode_flush_count()? as usize } else { 0 };
    if last {
        assert_eq!(stream.decode_flush(&mut pictures[ready..][..rest])?, rest);
    }
    Ok(ready + rest)
}

/// What a case is, whatever it runs on.
fn on_cpu(case: &str) -> ModelInfo {
    let mut options = ModelOptions::default();
    options.provider = Provider::Cpu;
    open_case(case, &options).unwrap().info()
}

/// All kinds of calls: new streams, chunks, a copy of one in the middle of a clip, another clip.
fn use_all(model: &Model) -> Result<()> {
    let mut first = stream(model, SIZE)?;
    if model.info().whole_clips {
        let latents = encode(&mut first, 3, false)?;
        decode(&mut first, &latents, true)?;
        return Ok(());
    }
    let latents = encode(&mut first, 3, false)?;
    decode(&mut first, &latents, false)?;
    let mut second = first.fork()?;
    let mut third = stream(model, SIZE)?;
    third.restore(&first.snapshot()?)?;
    for stream in [&mut first, &mut second, &mut third] {
        let latents = encode(stream, 2, true)?;
        decode(stream, &latents, true)?;
    }
    first.reset()?;
    let latents = encode(&mut first, 1, true)?;
    decode(&mut first, &latents, true)?;
    Ok(())
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn every_session_loads_on_cuda_and_copies_nothing_in_the_middle() {
    // Each fault, and which models have it.
    let mut off = BTreeMap::<String, Vec<String>>::new();
    let (mut run, mut not_opened) = (0, 0);
    for case in cases() {
        let whole = on_cpu(&case);
        for way in PRECISIONS.into_iter().flat_map(ways) {
            let warnings = Warnings::default();
            let model = open(&case, way, &warnings);
            let half = matches!(way.precision, Precision::F16 | Precision::Bf16);
            let channels_last = way.layout == Layout::ChannelsLast;
            let refused = way.precision == Precision::Bf16 && channels_last
                || half && whole.whole_clips
                || channels_last && whole.decode_whole_clips;
            let mut fault = |text: String| off.entry(text).or_default().push(format!("{case} {way}"));
            match (model, refused) {
                (Err(e), true) if e.kind() == ErrorKind::InvalidArgument => not_opened += 1,
                (Ok(_), true) => fault("not refused".into()),
                (model, _) => {
                    if let Err(e) = model.and_then(|model| use_all(&model)) {
                        fault(e.to_string());
                    }
                    warnings.texts().into_iter().for_each(fault);
                }
            }
            run += 1;
        }
    }
    let counted = counters();
    println!("{} models ran, {not_opened} were refused as they should: {counted:?}", run - not_opened);
    assert!(off.is_empty(), "{} faults in {run} models: {off:#?}", off.len());
    // Else the convolutions were not the device's.
    assert!(counted.cudnn > 0 && counted.launches > 0);
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn device_memory_is_flat_over_chunks_and_given_back() {
    let way = |layout| Way { precision: Precision::F16, convolution: Convolution::Stacked, layout };
    // Whatever the runtime makes once for the process.
    drop(open("builtin", way(Layout::Planes), &Warnings::default()).and_then(|model| use_all(&model)));
    for layout in [Layout::Planes, Layout::ChannelsLast] {
        let before = counters();
        let model = open("builtin", way(layout), &Warnings::default()).unwrap();
        let mut streams = [stream(&model, SIZE).unwrap(), stream(&model, [64, 64]).unwrap()];
        let mut chunk = || {
            for stream in &mut streams {
                let latents = encode(stream, 2, false).unwrap();
                decode(stream, &latents, false).unwrap();
            }
        };
        // The runtime frees some pinned memory in every 16th run only.
        (0..16).for_each(|_| chunk());
        let first = counters();
        (0..50).for_each(|_| chunk());
        let later = counters();
        let held = |c: &Counters| (c.live, c.live_bytes, c.pinned, c.pinned_bytes);
        println!("{layout:?}: {} bytes on the device, {} pinned", first.live_bytes, first.pinned_bytes);
        assert_eq!(held(&first), held(&later));
        assert_eq!(first.allocations, later.allocations, "a chunk allocated");
        let state = model.info().device_bytes;
        assert!(first.live_bytes - before.live_bytes >= state + model.info().weight_bytes, "{first:?}");
        // What a stream hands to the device and takes from it.
        assert!(first.pinned_bytes > before.pinned_bytes, "the ends of streams are not pinned");
        drop((streams, model));
        let after = counters();
        println!("after the model: {after:?}");
        assert_eq!(held(&after), held(&before), "memory was left behind");
        assert_eq!(after.handles, before.handles, "streams, events or descriptors were left behind");
    }
}

/// Of the calls between the two, by `per`.
fn columns(before: &Counters, after: &Counters, per: u64) -> [f64; 8] {
    let counts = |c: &Counters| {
        [c.launches, c.cudnn, c.cublas, c.synchronizations, c.to_device, c.to_host, c.on_device, c.allocations]
    };
    let (before, after) = (counts(before), counts(after));
    std::array::from_fn(|i| (after[i] - before[i]) as f64 / per as f64)
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn counted_work_of_the_device() {
    let names = ["launches", "cudnn", "cublas", "syncs", "to device", "to host", "on device", "allocations"];
    println!("{:48}{}", "per latent, float16", names.map(|name| format!("{name:>12}")).concat());
    let mut off = vec![];
    for (case, way) in ["builtin", "v1-image"].into_iter().flat_map(|case| ways(Precision::F16).map(move |w| (case, w)))
    {
        match count(case, way) {
            Ok(rows) => rows.into_iter().for_each(|(direction, row)| {
                let title = format!("{case} {:?} {:?} {direction}", way.convolution, way.layout);
                println!("{title:48}{}", row.map(|count| format!("{count:12.2}")).concat());
                if row[7] != 0.0 || row[1] == 0.0 {
                    off.push(format!("{title}: a chunk allocated, or there are no convolutions"));
                }
            }),
            Err(e) => off.push(format!("{case} {way}: {e}")),
        }
    }
    assert!(off.is_empty(), "{off:#?}");
}

/// Of an encoded and a decoded latent in the middle of a clip.
fn count(case: &str, way: Way) -> Result<[(&'static str, [f64; 8]); 2]> {
    // The rings of caches turn in threes, those of pairs in twos.
    const LATENTS: usize = 6;
    let model = open(case, way, &Warnings::default())?;
    let mut stream = stream(&model, SIZE)?;
    let latents = encode(&mut stream, LATENTS, true)?;
    decode(&mut stream, &latents, false)?;
    // Recordings allocate.
    for _ in 0..4 {
        encode(&mut stream, LATENTS, true)?;
        decode(&mut stream, &latents, false)?;
    }
    let start = counters();
    encode(&mut stream, LATENTS, true)?;
    let encoded = counters();
    let frames = decode(&mut stream, &latents, false)?;
    let decoded = counters();
    assert_eq!(frames, LATENTS * model.info().temporal_compression as usize);
    let [up, down] = [encoded.to_device - start.to_device, encoded.to_host - start.to_host];
    assert_eq!((up, down), (frames as u64, LATENTS as u64), "{case} {way}: frames go up once, latents come down once");
    let down = decoded.to_host - encoded.to_host;
    assert_eq!(
        down,
        2 * frames as u64,
        "{case} {way}: frames come down once, each with a value that says if it is finite"
    );
    let per = LATENTS as u64;
    Ok([("encoded", columns(&start, &encoded, per)), ("decoded", columns(&encoded, &decoded, per))])
}

/// Memory ends at some of the allocations from opening a model to its first chunk (WFVAE_CUDA_STUB_ALL: at each), then at
/// each of those of one more stream of the same model.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn a_device_without_memory_is_an_error_and_others_go_on() {
    const LARGER: [usize; 2] = [128, 96];
    let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Planes };
    let open = || open("builtin", way, &Warnings::default());
    let chunk = |stream: &mut Stream| -> Result<()> {
        let latents = encode(stream, 2, true)?;
        decode(stream, &latents, false)?;
        Ok(())
    };
    let all = || chunk(&mut stream(&open()?, LARGER)?);
    let expect_memory = |e: wfvae::Error, place: String| {
        assert_eq!(e.kind(), ErrorKind::OutOfMemory, "{place}: {e}");
    };
    all().unwrap();
    let before = counters().allocations;
    all().unwrap();
    let count = counters().allocations - before;
    let step = if std::env::var_os("WFVAE_CUDA_STUB_ALL").is_some() { 1 } else { count / 16 + 1 };
    let (mut errors, mut harmless) = (0, 0);
    for nth in (1..=count).step_by(step as usize) {
        let held = counters().live_bytes;
        fail_allocation(nth);
        let result = all();
        fail_allocation(0);
        match result {
            Err(e) => {
                expect_memory(e, format!("allocation {nth} of {count}"));
                errors += 1;
            }
            // The runtime found another way.
            Ok(()) => harmless += 1,
        }
        assert_eq!(counters().live_bytes, held, "after the failure of allocation {nth} of {count}");
    }
    println!("{count} allocations from opening to a chunk: of those tried {errors} are errors, {harmless} do no harm");
    assert!(errors > 0);

    let (mut refused, mut off) = (0, vec![]);
    let model = open().unwrap();
    let before = counters().allocations;
    drop(stream(&model, LARGER).unwrap());
    for nth in 1..=counters().allocations - before {
        let model = open().unwrap();
        let mut small = stream(&model, SIZE).unwrap();
        chunk(&mut small).unwrap();
        fail_allocation(nth);
        let made = stream(&model, LARGER);
        fail_allocation(0);
        if let Err(e) = made {
            expect_memory(e, format!("allocation {nth} of a stream"));
            refused += 1;
        }
        // When there is memory again.
        if let Err(e) = stream(&model, LARGER).and_then(|mut larger| chunk(&mut larger)) {
            off.push(format!("the same stream after failure of allocation {nth}: {e}"));
        }
        if let Err(e) = chunk(&mut small) {
            off.push(format!("another stream after failure of allocation {nth}: {e}"));
        }
    }
    println!("one more stream was refused {refused} times");
    assert!(refused > 0);
    assert!(off.is_empty(), "{off:#?}");
}

/// The stub's only engine uses tensor cores. Where the provider may not use them it refuses the engine, and then plans again with
/// all allowed: float32 is planned twice, which is no promise of ours, and all else once, which is.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn all_but_float32_may_use_tensor_cores() {
    let planned = |precision| {
        let way = Way { precision, convolution: Convolution::Stacked, layout: Layout::Planes };
        let model = open("v1-tiny", way, &Warnings::default()).unwrap();
        let before = counters().graphs;
        drop(stream(&model, SIZE).unwrap());
        counters().graphs - before
    };
    let [full, tf32, half, brain] = PRECISIONS.map(planned);
    assert!(tf32 > 0);
    assert_eq!([full, half, brain], [2 * tf32, tf32, tf32]);
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn options_of_the_provider_reach_it() {
    let error = |option: (&str, &str)| {
        let mut options = ModelOptions::default();
        options.provider = Provider::Cuda { device: 0 };
        options.provider_options = vec![(option.0.into(), option.1.into())];
        let model = open_case("v1-tiny", &options).and_then(|model| stream(&model, SIZE));
        model.err().map(|e| (e.kind(), e.to_string()))
    };
    let (kind, text) = error(("gpu_mem_limit", "1000")).expect("it is too little");
    assert_eq!(kind, ErrorKind::OutOfMemory, "{text}");
    let (kind, text) = error(("use_tf32", "maybe")).expect("it is no number");
    assert!(kind == ErrorKind::Runtime && text.contains("use_tf32"), "{text}");
    assert_eq!(error(("fuse_conv_bias", "1")), None);
    for ours in ["wfvae_kernels", "wfvae_graphs"] {
        let (kind, text) = error((ours, "2")).expect("it is neither 0 nor 1");
        assert!(kind == ErrorKind::InvalidArgument && text.contains("expected 0 or 1"), "{text}");
    }
}

/// What these options make of a chunk: launches of our kernels and of others.
fn launches(options: &ModelOptions) -> [u64; 2] {
    let model = open_case("v1-image", options).unwrap();
    let mut stream = stream(&model, SIZE).unwrap();
    let before = counters();
    let latents = encode(&mut stream, 2, true).unwrap();
    decode(&mut stream, &latents, false).unwrap();
    let after = counters();
    let own = after.own - before.own;
    [own, after.launches - before.launches - own]
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn our_kernels_run_where_they_can_and_were_not_refused() {
    let with = |precision, change: &dyn Fn(&mut ModelOptions)| {
        let mut options = ModelOptions::default();
        options.provider = Provider::Cuda { device: 0 };
        (options.encode_precision, options.decode_precision) = (precision, precision);
        change(&mut options);
        launches(&options)
    };
    for precision in PRECISIONS {
        let [own, others] = with(precision, &|_| {});
        let [none, instead] = with(precision, &|o| o.provider_options = vec![("wfvae_kernels".into(), "0".into())]);
        println!("{precision}: {own} of our kernels and {others} others, or {instead} others");
        assert_eq!(none, 0, "{precision}");
        // In planes only frames are converted by our kernels.
        let [frames, _] = with(precision, &|o| o.layout = Layout::Planes);
        assert!(frames > 0, "{precision}");
        match precision {
            Precision::Bf16 => assert_eq!(own, frames),
            // One pass instead of several.
            _ => assert!(own > frames && own + others < instead, "{precision}"),
        }
    }
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn a_failed_launch_is_an_error_and_a_reset_is_enough() {
    let mut options = ModelOptions::default();
    options.provider = Provider::Cuda { device: 0 };
    (options.encode_precision, options.decode_precision) = (Precision::F16, Precision::F16);
    options.provider_options = vec![("wfvae_graphs".into(), "0".into())];
    let model = open_case("v1-tiny", &options).unwrap();
    let mut stream = stream(&model, SIZE).unwrap();
    let before = counters().own;
    encode(&mut stream, 1, true).unwrap();
    let count = counters().own - before;
    for nth in 1..=count {
        stream.reset().unwrap();
        fail_launch(nth);
        let error = encode(&mut stream, 1, true).expect_err("a launch failed");
        assert_eq!(error.kind(), ErrorKind::Runtime);
        let text = error.to_string();
        assert!(text.contains("cuLaunchKernel gives error 719 (CUDA_ERROR_LAUNCH_FAILED)"), "{text}");
        assert!(stream.info().needs_reset);
    }
    stream.reset().unwrap();
    encode(&mut stream, 1, true).unwrap();
}

/// The second run with the same tensors is recorded, and the third is a launch of that.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn a_recording_that_fails_is_run_otherwise_and_a_failed_launch_of_one_is_an_error() {
    let open_one = |warnings: &Warnings| {
        let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Auto };
        let model = open("v1-tiny", way, warnings).unwrap();
        let stream = stream(&model, SIZE).unwrap();
        (model, stream)
    };
    // A new stream was made warm, so its start has been seen. What converts its frame is launched before.
    let warnings = Warnings::default();
    let (_model, mut first) = open_one(&warnings);
    fail_launch(2);
    encode(&mut first, 1, true).unwrap();
    let told = || {
        let texts = warnings.0.lock().clone();
        texts.into_iter().filter(|text| text.contains("its runs are not recorded")).collect::<Vec<_>>()
    };
    let texts = told();
    assert!(texts.len() == 1 && texts[0].starts_with("encoder.0: "), "{texts:?}");
    assert!(texts[0].contains("CUDA_ERROR_LAUNCH_FAILED"), "{texts:?}");
    let before = counters().recordings;
    for _ in 0..3 {
        first.reset().unwrap();
        encode(&mut first, 1, true).unwrap();
    }
    assert_eq!(told().len(), 1);

    let warnings = Warnings::default();
    let (_model, mut second) = open_one(&warnings);
    encode(&mut second, 1, true).unwrap();
    assert!(counters().recordings > before, "nothing was recorded");
    second.reset().unwrap();
    fail_launch(2);
    let error = encode(&mut second, 1, true).expect_err("the launch failed");
    assert_eq!(error.kind(), ErrorKind::Runtime, "{error}");
    assert!(error.to_string().contains("CUDA device 0: a recording cannot be launched"), "{error}");
    assert!(second.info().needs_reset);
    second.reset().unwrap();
    encode(&mut second, 1, true).unwrap();
    assert_eq!(warnings.texts(), Vec::<String>::new());
}

/// Recordings take pinned memory for what they copy, and the device's when they are launched first.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn without_memory_for_a_recording_its_run_is_done_otherwise() {
    let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Auto };
    let mut failed = 0;
    for nth in 1.. {
        let warnings = Warnings::default();
        let model = open("v1-tiny", way, &warnings).unwrap();
        // Its start has been seen.
        let mut first = stream(&model, SIZE).unwrap();
        fail_allocation(nth);
        encode(&mut first, 1, true).unwrap();
        fail_allocation(0);
        let texts = warnings.0.lock().clone();
        if texts.is_empty() {
            break;
        }
        failed += 1;
        assert!(texts.len() == 1 && texts[0].contains("its runs are not recorded"), "{texts:?}");
        assert!(texts[0].contains("cudaErrorMemoryAllocation"), "{texts:?}");
        encode(&mut first, 2, true).unwrap();
    }
    println!("{failed} allocations of recordings");
    // At least those of two steps.
    assert!(failed >= 2);
}

/// Threads work with one model while others record, load the other direction and copy.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn streams_of_one_model_may_record_at_the_same_time() {
    let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Auto };
    for _ in 0..5 {
        let model = open("v1-tiny", way, &Warnings::default()).unwrap();
        let before = counters().replays;
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let model = &model;
                scope.spawn(move || {
                    let mut own = stream(model, SIZE).unwrap();
                    let info = own.info();
                    let latent = vec![0.5; info.latent_channels * info.latent_width * info.latent_height];
                    for round in 0..30 {
                        if thread % 2 == 0 {
                            encode(&mut own, 1, true).unwrap();
                        } else {
                            decode(&mut own, &latent, false).unwrap();
                        }
                        if thread > 1 && round % 10 == 9 {
                            own = own.fork().unwrap();
                        }
                    }
                });
            }
        });
        assert!(counters().replays > before);
    }
}

/// Opening a model waits for the whole device, which CUDA forbids while anyone records, and a thread's first run may.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn models_may_be_opened_while_another_one_records() {
    let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Auto };
    let (first, before) = (open("v1-tiny", way, &Warnings::default()).unwrap(), counters().replays);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                // Each stream has its own tensors, so its runs are recorded.
                let mut own = stream(&first, SIZE).unwrap();
                (0..3).for_each(|_| drop(encode(&mut own, 3, true).unwrap()));
            }
        });
        for _ in 0..10 {
            let other = open("v1-tiny-8x", way, &Warnings::default()).unwrap();
            let mut own = stream(&other, SIZE).unwrap();
            let latents = encode(&mut own, 3, true).unwrap();
            decode(&mut own, &latents, false).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(counters().replays > before, "nothing was recorded");
}

/// The CPU has launched most of a call's runs when it is cancelled.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn a_call_of_recorded_runs_can_be_cancelled() {
    let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Auto };
    let model = open("v1-tiny", way, &Warnings::default()).unwrap();
    let mut stream = stream(&model, SIZE).unwrap();
    let info = stream.info();
    let latents = vec![0.5; 2000 * info.latent_channels * info.latent_width * info.latent_height];
    let canceller = stream.canceller();
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            while canceller.progress().steps_done < 500 {
                std::thread::yield_now();
            }
            canceller.cancel();
        });
        decode(&mut stream, &latents, false)
    });
    let error = done.expect_err("it was cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
    assert!(stream.info().needs_reset && counters().replays > 0);
    // Its recordings are still there.
    let before = counters();
    stream.reset().unwrap();
    decode(&mut stream, &latents[..latents.len() / 100], false).unwrap();
    assert!(counters().replays > before.replays && before.recordings > 0);
    assert!(counters().recordings >= before.recordings, "some were dropped");
}

/// How often the device's work was recorded, and what it then did in all, for many latents in both directions.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn runs_that_come_again_are_recorded() {
    const CHUNKS: usize = 12;
    let way = Way { precision: Precision::F32, convolution: Convolution::Exact, layout: Layout::Auto };
    // Whatever is made once for the process.
    drop(open("builtin", way, &Warnings::default()).and_then(|model| use_all(&model)));
    let mut off = vec![];
    let all = cases().into_iter().flat_map(|case| PRECISIONS.map(|precision| (case.clone(), precision)));
    // Norms over a clip are float32.
    for (case, precision) in all.filter(|(case, precision)| !case.contains("groupnorm") || *precision == Precision::F32)
    {
        let with = |graphs: &str| -> Result<Option<[u64; 5]>> {
            let warnings = Warnings::default();
            let mut options = ModelOptions::default();
            options.provider = Provider::Cuda { device: 0 };
            (options.encode_precision, options.decode_precision) = (precision, precision);
            options.provider_options = vec![("wfvae_graphs".into(), graphs.into())];
            options.logger = warnings.logger();
            let start = counters();
            if on_cpu(&case).whole_clips {
                return Ok(None);
            }
            let model = open_case(&case, &options)?;
            let mut first = stream(&model, SIZE)?;
            let before = counters();
            for _ in 0..CHUNKS {
                let latents = encode(&mut first, 2, true)?;
                decode(&mut first, &latents, false)?;
            }
            let after = counters();
            assert_eq!(warnings.texts(), Vec::<String>::new(), "{case} {precision}");
            // A new stream is made warm. Convolutions plan for its frames, so what was recorded for others goes.
            if graphs == "1" {
                stream(&model, [64, 64])?;
                let left = counters().recordings;
                assert!(left == 0, "{case} {precision}: {left} recordings are left of {}", after.recordings);
            }
            // A stream's recordings go with it.
            for _ in 0..2 {
                first.reset()?;
                encode(&mut first, 1, true)?;
            }
            assert_eq!(counters().recordings > 0, graphs == "1", "{case} {precision}: a stream of before");
            drop(first);
            assert_eq!(counters().recordings, 0, "{case} {precision}: recordings are left of a stream");
            drop(model);
            assert_eq!(counters().handles, start.handles, "{case} {precision}");
            let difference = |f: fn(&Counters) -> u64| f(&after) - f(&before);
            Ok(Some([
                difference(|c| c.replays),
                difference(|c| c.launches),
                difference(|c| c.cudnn),
                difference(|c| c.cublas),
                difference(|c| c.to_device_bytes + c.to_host_bytes + c.on_device_bytes),
            ]))
        };
        match (with("1"), with("0")) {
            (Ok(Some([replays, work @ ..])), Ok(Some([none, plain @ ..]))) => {
                println!("{case} {precision}: {replays} replays, {work:?}");
                if none != 0 || replays == 0 || work != plain {
                    off.push(format!("{case} {precision}: {replays} and {none} replays, {work:?} and {plain:?}"));
                }
            }
            (Ok(None), Ok(None)) => {}
            (Err(e), _) | (_, Err(e)) => off.push(format!("{case} {precision}: {e}")),
            _ => unreachable!("the same model"),
        }
    }
    assert!(off.is_empty(), "{off:#?}");
}

/// Whether this is the process where that variable is set. If not, runs the test in one.
fn is_child(variable: &str) -> bool {
    if std::env::var_os(variable).is_some() {
        return true;
    }
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").expect("a test has a thread of its name");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--ignored", "--exact", test]).env(variable, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn where_nothing_can_be_recorded_models_run_otherwise() {
    if !is_child("WFVAE_CUDA_STUB_NO_RECORDINGS") {
        return;
    }
    let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Auto };
    let warnings = Warnings::default();
    let model = open("v1-tiny", way, &warnings).unwrap();
    use_all(&model).unwrap();
    assert_eq!((counters().replays, counters().own > 0), (0, true));
    let texts = warnings.0.lock().clone();
    assert!(texts.len() == 1 && texts[0].contains("a recording cannot begin"), "{texts:?}");
}

/// Kernels are compiled once in a process, so this is another one.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn without_a_compiler_models_run_on_the_operators_of_onnx() {
    if !is_child("WFVAE_CUDA_STUB_NO_COMPILER") {
        return;
    }
    let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Auto };
    let warnings = Warnings::default();
    let model = open("v1-tiny", way, &warnings).unwrap();
    use_all(&model).unwrap();
    assert_eq!(counters().own, 0);
    let texts = warnings.0.lock().join("; ");
    for part in ["own kernels cannot be used", "error 6", "the stub was told to fail", "nvidia-cuda-nvrtc"] {
        assert!(texts.contains(part), "{part} is missing in {texts}");
    }
}

/// Streams are made warm and their calls allocate nothing, but for whole clips. Memory is short twice in a row; and the frame is
/// also the smallest, which is what a session runs after a failure.
#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn without_memory_in_the_middle_of_a_clip_a_reset_is_enough() {
    let way = Way { precision: Precision::F32, convolution: Convolution::Stacked, layout: Layout::Planes };
    let open = || open("own-v2-groupnorm", way, &Warnings::default()).unwrap();
    let unit = open().info().spatial_compression;
    for size in [SIZE, [unit, unit]] {
        let model = open();
        let mut clips = stream(&model, size).unwrap();
        let before = counters().allocations;
        encode(&mut clips, 3, false).unwrap();
        let count = counters().allocations - before;
        let mut failed = [0; 2];
        for nth in 1..=count {
            let model = open();
            let mut clips = stream(&model, size).unwrap();
            for failed in &mut failed {
                fail_allocation(nth);
                let result = encode(&mut clips, 3, false);
                fail_allocation(0);
                if let Err(e) = result {
                    assert_eq!(e.kind(), ErrorKind::OutOfMemory, "allocation {nth} of a clip: {e}");
                    assert!(clips.info().needs_reset);
                    let kind = encode(&mut clips, 3, false).expect_err("a reset is needed").kind();
                    assert_eq!(kind, ErrorKind::NeedsReset);
                    *failed += 1;
                }
                clips.reset().unwrap();
            }
            let result = encode(&mut clips, 3, false).and_then(|latents| decode(&mut clips, &latents, true));
            if let Err(e) = result {
                panic!("{size:?}: the stream, reset after failure of allocation {nth} of {count}: {e}");
            }
        }
        println!("{size:?}: of {count} allocations of a clip {} were errors, then {}", failed[0], failed[1]);
        assert!(failed[0] > 0 && failed[1] > 0);
    }
}

/// A stream whose frames are in the program's memory on the device, and that memory.
struct OnDevice {
    stream: Stream,
    frames: Vec<Buffer>,
}

impl OnDevice {
    fn options() -> StreamOptions {
        let mut options = StreamOptions::new(SIZE[0], SIZE[1]);
        options.frame_memory = MemoryKind::Cuda;
        options
    }

    fn new(model: &Model) -> Result<Self> {
        let stream = Stream::new(model, &Self::options())?;
        Ok(OnDevice { stream, frames: (0..8).map(|_| Buffer::new(4 * 3 * SIZE[0] * SIZE[1])).collect() })
    }

    /// Encodes and decodes 16 frames of bytes or floats in calls of four, and of a latent.
    fn run(&mut self, floats: bool) -> Result<()> {
        let format = if floats { PixelFormat::RgbPlanarF32(Range::Signed) } else { PixelFormat::RgbPlanar8 };
        let ([width, height], bytes) = (SIZE, if floats { 4 } else { 1 });
        let planes = |frame: usize| {
            let plane = |i: usize| self.frames[frame].at().wrapping_add(i * width * height * bytes);
            ([plane(0), plane(1), plane(2), std::ptr::null_mut()], [(width * bytes) as isize; 4])
        };
        let info = self.stream.info();
        let size = info.latent_channels * info.latent_width * info.latent_height;
        for _ in 0..4 {
            let images: Vec<Image> = (0..4)
                .map(|frame| {
                    let (planes, strides) = planes(frame);
                    let planes = planes.map(|plane| plane.cast_const());
                    // SAFETY: the device's memory has room for any of these formats.
                    unsafe { Image::from_raw(format, width, height, planes, strides, [0; 4]) }.unwrap()
                })
                .collect();
            self.stream.encode(&images, LatentsMut::F32(&mut vec![0.0; 2 * size]))?;
            let mut images: Vec<ImageMut> = (0..8)
                .map(|frame| {
                    let (planes, strides) = planes(frame);
                    // SAFETY: as above.
                    unsafe { ImageMut::from_raw(format, width, height, planes, strides, [0; 4]) }.unwrap()
                })
                .collect();
            self.stream.decode(Latents::F32(&vec![0.0; size]), &mut images)?;
        }
        Ok(())
    }
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn frames_on_the_device_do_not_cross_and_take_no_more_memory() {
    let way = Way { precision: Precision::F16, convolution: Convolution::Stacked, layout: Layout::Auto };
    let model = open("v1-tiny", way, &Warnings::default()).unwrap();
    let mut ours = OnDevice::new(&model).unwrap();
    let mut held = vec![];
    for floats in [false, true] {
        (0..8).for_each(|_| ours.run(floats).unwrap());
        let before = counters();
        ours.run(floats).unwrap();
        let after = counters();
        let info = ours.stream.info();
        let latent = (4 * info.latent_channels * info.latent_width * info.latent_height) as u64;
        // Only four latents cross, and two numbers for each of 16 frames that are written and for each call with floats.
        let calls = if floats { 4 } else { 0 };
        assert_eq!(after.to_device_bytes - before.to_device_bytes, 4 * latent, "latents to decode");
        assert_eq!(after.to_host_bytes - before.to_host_bytes, 4 * 2 * latent + (16 + calls) * 16);
        held.push((after.live, after.live_bytes, after.pinned, after.pinned_bytes));
    }
    assert_eq!(held[0], held[1]);
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn failed_launches_and_allocations_for_frames_on_the_device_are_errors() {
    let mut options = ModelOptions::default();
    options.provider = Provider::Cuda { device: 0 };
    (options.encode_precision, options.decode_precision) = (Precision::F16, Precision::F16);
    options.provider_options = vec![("wfvae_graphs".into(), "0".into())];
    let model = open_case("v1-tiny", &options).unwrap();
    let mut ours = OnDevice::new(&model).unwrap();
    ours.run(true).unwrap();
    let before = counters().own;
    ours.stream.reset().unwrap();
    ours.run(true).unwrap();
    let (mut read, mut written) = (0, 0);
    for nth in 1..=counters().own - before {
        ours.stream.reset().unwrap();
        fail_launch(nth);
        let error = ours.run(true).expect_err("a launch failed");
        assert_eq!(error.kind(), ErrorKind::Runtime, "{error}");
        let pixels = "CUDA device 0: pixels: cuLaunchKernel gives error 719";
        read += u32::from(error.text().starts_with(pixels));
        written += u32::from(error.text().contains(&format!("of the clip: {pixels}")));
    }
    // A call checks its four frames first. After a failed run, others have more launches.
    assert!(read > 4 && written > 0, "{read} {written}");
    ours.stream.reset().unwrap();
    ours.run(false).unwrap();

    let before = counters();
    for nth in 1.. {
        fail_allocation(nth);
        let made = Stream::new(&model, &OnDevice::options());
        fail_allocation(0);
        match made {
            Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{nth}: {error}"),
            Ok(stream) => {
                assert!(nth > 10, "only {nth} allocations");
                drop(stream);
                break;
            }
        }
    }
    assert_eq!(counters().handles, before.handles);
    ours.run(false).unwrap();
}

#[test]
#[ignore = "needs the stub of CUDA: make check-cuda-stub"]
fn without_a_compiler_frames_on_the_device_are_refused() {
    if !is_child("WFVAE_CUDA_STUB_NO_COMPILER") {
        return;
    }
    let mut options = ModelOptions::default();
    options.provider = Provider::Cuda { device: 0 };
    let model = open_case("v1-tiny", &options).unwrap();
    let error = Stream::new(&model, &OnDevice::options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Provider);
    assert!(error.text().contains("frames in its memory cannot be read, because nvrtcCompileProgram"), "{error}");
    assert!(error.text().contains("the stub was told to fail"), "{error}");
}
