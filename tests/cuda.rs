//! CUDA devices, asked for and absent; and, where one is (`make check-cuda` runs the ignored tests), what they compute.
//!
//! The golden cases on a device can be run otherwise than by default, by variables of the environment that only they read:
//!
//! - `WFVAE_TEST_CONVOLUTION`: exact (the default), fast, direct, stacked or volume;
//! - `WFVAE_TEST_LAYOUT`: auto (the default), planes or channels-last;
//! - `WFVAE_TEST_CASE`: the name of the only case to run;
//! - `WFVAE_TEST_PROVIDER`: cpu, to try these tests themselves where there is no device.

mod common;

use common::{Lcg, cases, clip, decode, encode, golden, max_abs, open_case, stream, swap_outer, tensor};
use safetensors::SafeTensors;
use std::any::Any;
use std::collections::BTreeSet;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use wfvae::{
    Convolution, ErrorKind, Layout, Logger, Model, ModelOptions, Posterior, Precision, Provider, Stream, StreamOptions,
};

fn options(provider: Provider, precision: Precision) -> ModelOptions {
    let mut options = ModelOptions::default();
    options.provider = provider;
    (options.encode_precision, options.decode_precision) = (precision, precision);
    options
}

const DEVICE: Provider = Provider::Cuda { device: 0 };

/// Prints warnings, ONNX Runtime's included, each text once.
fn print_warnings() -> Logger {
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    Logger::new(log::LevelFilter::Warn, move |level, text| {
        if seen.lock().unwrap().insert(text.to_string()) {
            println!("{level}: {text}");
        }
    })
}

fn builtin_on_device(precision: Precision) -> Model {
    let mut options = options(DEVICE, precision);
    options.logger = print_warnings();
    println!("builtin, {precision}, convolution exact, layout auto");
    Model::builtin(&options).unwrap_or_else(|e| panic!("builtin: {e}"))
}

/// These run with the runtime of `make runtime`, which has no such provider.
#[test]
fn cuda_that_the_runtime_lacks_is_an_error_that_says_what_to_do() {
    let error =
        Model::builtin(&options(Provider::Cuda { device: 1 }, Precision::F32)).expect_err("there is no such provider");
    assert_eq!(error.kind(), ErrorKind::Provider);
    let text = error.to_string();
    assert!(text.contains("CUDA device 1") && text.contains("built without the CUDA provider"), "{text}");
    assert!(text.contains("make onnxruntime-gpu"), "{text}");
}

#[test]
fn auto_takes_the_cpu_where_cuda_cannot_run_and_says_why() {
    let model = Model::builtin(&options(Provider::Auto, Precision::F32)).unwrap();
    let info = model.info();
    assert_eq!((info.provider, info.device_bytes), ("CPU", 0));
    let reason = info.fallback.expect("a reason");
    assert!(reason.contains("CUDA device 0") && reason.contains("built without the CUDA provider"), "{reason}");
    assert!(Model::builtin(&options(Provider::Cpu, Precision::F32)).unwrap().info().fallback.is_none());
}

/// The value in `names` that a variable of the environment names, or the first.
fn chosen<T: Copy>(variable: &str, names: &[(&'static str, T)]) -> (&'static str, T) {
    let Ok(name) = std::env::var(variable) else { return names[0] };
    *names.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{variable} is {name:?}"))
}

/// How far the device's results are from the reference's, of their largest value: mean and logvar, and frames. None of
/// models that take a whole clip in one call, in float32 only, and of those of images.
fn drift(case: &str, options: &ModelOptions) -> Result<Option<[f32; 2]>, Box<dyn Error>> {
    let bytes = std::fs::read(golden(case).join("io.safetensors"))?;
    let io = SafeTensors::deserialize(&bytes)?;
    let [video, mean, logvar, z, decoded] =
        ["video", "mean", "logvar", "z", "decoded"].map(|name| tensor(&io, name).expect("a tensor of the case"));
    let [1, 3, frames, height, width] = video.shape[..] else { return Ok(None) };
    let [_, channels, latents, ..] = mean.shape[..] else { return Ok(None) };
    if case.contains("groupnorm") {
        return Ok(None);
    }
    let model = open_case(case, options)?;
    assert_eq!(model.info().provider, if options.provider == Provider::Cpu { "CPU" } else { "CUDA" });
    let mut options = StreamOptions::new(width, height);
    options.posterior = Posterior::Moments;
    let mut stream = Stream::new(&model, &options)?;
    let found = encode(&mut stream, &swap_outer(&video.data, 3, frames), &[1, 3]);
    // [2, channels, latents, ...] to a latent's mean and variance side by side
    let expected = swap_outer(&[mean.data, logvar.data].concat(), 2 * channels, latents);
    let frames_found = decode(&mut stream, &swap_outer(&z.data, channels, latents), &[1]);
    let expected_frames = swap_outer(&decoded.data, 3, frames);
    let size = |x: &[f32]| x.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    Ok(Some([
        max_abs(&found, &expected) / size(&expected),
        max_abs(&frames_found, &expected_frames) / size(&expected_frames),
    ]))
}

fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_string()
}

/// Runs every case, also after one that fails, and lists all that failed. Results may be off by `limit` of the largest.
fn golden_cases(precision: Precision, limit: f32) {
    let (_, provider) = chosen("WFVAE_TEST_PROVIDER", &[("cuda", DEVICE), ("cpu", Provider::Cpu)]);
    let convolutions = [
        ("exact", Convolution::Exact),
        ("fast", Convolution::Fast),
        ("direct", Convolution::Direct),
        ("stacked", Convolution::Stacked),
        ("volume", Convolution::Volume),
    ];
    let layouts = [("auto", Layout::Auto), ("planes", Layout::Planes), ("channels-last", Layout::ChannelsLast)];
    let (convolution, layout) =
        (chosen("WFVAE_TEST_CONVOLUTION", &convolutions), chosen("WFVAE_TEST_LAYOUT", &layouts));
    println!("golden cases, {precision}, convolution {}, layout {}", convolution.0, layout.0);
    let mut options = options(provider, precision);
    (options.convolution, options.layout, options.logger) = (convolution.1, layout.1, print_warnings());
    let (mut run, mut failed) = (0, Vec::new());
    for case in &cases() {
        let failure = match catch_unwind(AssertUnwindSafe(|| drift(case, &options))) {
            Ok(Ok(None)) => {
                println!("{case} {precision}: left out");
                continue;
            }
            Ok(Ok(Some([encoded, decoded]))) => {
                println!("{case} {precision}: moments {encoded:.1e}, frames {decoded:.1e}");
                // Not a number is off, too.
                (!(encoded <= limit && decoded <= limit))
                    .then(|| format!("moments {encoded:.1e}, frames {decoded:.1e}: more than {limit:.0e}"))
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(panic) => Some(panic_text(panic)),
        };
        run += 1;
        if let Some(text) = failure {
            println!("{case} {precision}: FAILED: {text}");
            failed.push(format!("{case}: {text}"));
        }
    }
    assert!(failed.is_empty(), "{} of {run} cases: {failed:#?}", failed.len());
    // The one that was asked for may be one that is left out.
    assert!(run > 15 || std::env::var_os("WFVAE_TEST_CASE").is_some(), "only {run} cases ran");
}

/// Float32 that is rounded to TF32 on the way should be off by more.
#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn golden_cases_on_a_cuda_device_in_f32() {
    golden_cases(Precision::F32, 2e-5);
}

#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn golden_cases_on_a_cuda_device_in_tf32() {
    golden_cases(Precision::Tf32, 2e-2);
}

#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn golden_cases_on_a_cuda_device_in_f16() {
    golden_cases(Precision::F16, 2e-2);
}

#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn golden_cases_on_a_cuda_device_in_bf16() {
    // An H100 had up to 1.0e-1.
    golden_cases(Precision::Bf16, 1.5e-1);
}

#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn cuda_memory_is_flat_over_2000_chunks() {
    let model = builtin_on_device(Precision::F16);
    let mut stream = stream(&model, 64, 48);
    let video = clip(8, 64, 48, 1);
    let before = model.info().device_bytes;
    for _ in 0..1000 {
        let latents = encode(&mut stream, &video, &[4]);
        decode(&mut stream, &latents, &[1]);
        stream.reset().unwrap();
        assert_eq!(model.info().device_bytes, before);
    }
}

#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn two_streams_on_one_cuda_device_do_not_disturb_each_other() {
    let model = builtin_on_device(Precision::F32);
    let run = |seed| {
        let mut stream = stream(&model, 64, 48);
        let latents = encode(&mut stream, &clip(17, 64, 48, seed), &[1 + Lcg(seed).below(5) as usize]);
        decode(&mut stream, &latents, &[1])
    };
    let alone = [run(1), run(2)];
    for _ in 0..10 {
        let together =
            std::thread::scope(|scope| [1, 2].map(|seed| scope.spawn(move || run(seed))).map(|t| t.join().unwrap()));
        assert!(together == alone);
    }
}

/// A bias that float32 holds and float16 does not.
#[test]
fn what_half_precision_cannot_hold_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden("v1-tiny").join("config.json"), folder.path().join("config.json")).unwrap();
    let mut bytes = std::fs::read(golden("v1-tiny").join("model.safetensors")).unwrap();
    let place = {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let bias = file.tensor("encoder.conv_out.conv.bias").unwrap();
        assert_eq!(bias.dtype(), safetensors::Dtype::F32);
        bias.data().as_ptr() as usize - bytes.as_ptr() as usize
    };
    bytes[place..place + 4].copy_from_slice(&1e6f32.to_le_bytes());
    std::fs::write(folder.path().join("model.safetensors"), &bytes).unwrap();
    let encode = |precision| {
        let model = Model::open(folder.path(), &options(Provider::Cpu, precision)).unwrap();
        let mut stream = Stream::new(&model, &StreamOptions::new(32, 32)).unwrap();
        let info = stream.info();
        let mut latent = vec![0.0; info.encoded_channels * info.latent_width * info.latent_height];
        let video = clip(1, 32, 32, 1);
        let image = wfvae::Image::planar_f32(&video, wfvae::Range::Signed, 32, 32).unwrap();
        stream.encode(&[image], wfvae::LatentsMut::F32(&mut latent))
    };
    assert_eq!(encode(Precision::F32).unwrap(), 1);
    let error = encode(Precision::F16).expect_err("infinite");
    assert_eq!(error.kind(), ErrorKind::NotFinite, "{error}");
}
