//! CUDA devices, asked for and absent; and, where one is (`make check-cuda` runs the ignored tests), what they compute.
//!
//! The golden cases on a device can be run otherwise than by default, by variables of the environment that only they read:
//!
//! - `WFVAE_TEST_CONVOLUTION`: exact (the default), fast, direct, stacked or volume;
//! - `WFVAE_TEST_LAYOUT`: auto (the default), planes or channels-last;
//! - `WFVAE_TEST_CASE`: the names of the only cases to run, separated by commas;
//! - `WFVAE_TEST_PROVIDER`: cpu, to try these tests themselves where there is no device; stub, which the tests of memory and of
//!   several streams and models read too: a device that computes nothing (`make check-cuda-stub`).

mod common;

use common::{Lcg, cases, clip, decode, encode, golden, image, max_abs, open_case, stream, swap_outer, tensor};
use safetensors::SafeTensors;
use std::any::Any;
use std::collections::BTreeSet;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use wfvae::{
    Convolution, ErrorKind, Image, ImageMut, Latents, LatentsMut, Layout, Logger, Model, ModelOptions, PixelFormat,
    Posterior, Precision, Provider, Range, Stream, StreamOptions,
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

/// What runs the tests: a device, or something in its place.
fn tested() -> (&'static str, Provider) {
    chosen("WFVAE_TEST_PROVIDER", &[("cuda", DEVICE), ("cpu", Provider::Cpu), ("stub", DEVICE)])
}

fn builtin_on_device(precision: Precision) -> Model {
    let mut options = options(tested().1, precision);
    options.logger = print_warnings();
    if tested().1 != Provider::Cpu {
        options.provider_options = vec![("wfvae_graphs".into(), "1".into())];
    }
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

/// Whether a model takes whole clips, to encode and to decode. Norms and attention over a clip compute in float32 only.
fn whole_clips(case: &str) -> [bool; 2] {
    let info =
        open_case(case, &options(Provider::Cpu, Precision::F32)).unwrap_or_else(|e| panic!("{case}: {e}")).info();
    [info.whole_clips, info.decode_whole_clips]
}

/// How far the device's results are from the reference's, of their largest value: mean and logvar, and frames. None of
/// models that take whole clips, but in float32, and of those of images.
fn drift(case: &str, options: &ModelOptions) -> Result<Option<[f32; 2]>, Box<dyn Error>> {
    let bytes = std::fs::read(golden(case).join("io.safetensors"))?;
    let io = SafeTensors::deserialize(&bytes)?;
    let [video, mean, logvar, z, decoded] =
        ["video", "mean", "logvar", "z", "decoded"].map(|name| tensor(&io, name).expect("a tensor of the case"));
    let [1, 3, frames, height, width] = video.shape[..] else { return Ok(None) };
    let [_, channels, latents, ..] = mean.shape[..] else { return Ok(None) };
    let [encodes_whole, decodes_whole] = whole_clips(case);
    if encodes_whole && options.encode_precision != Precision::F32 {
        return Ok(None);
    }
    let model = open_case(case, options)?;
    assert_eq!(model.info().provider, if options.provider == Provider::Cpu { "CPU" } else { "CUDA" });
    let mut options = StreamOptions::new(width, height);
    options.posterior = Posterior::Moments;
    let mut stream = Stream::new(&model, &options)?;
    let calls = if encodes_whole { [frames; 2] } else { [1, 3] };
    let found = encode(&mut stream, &swap_outer(&video.data, 3, frames), &calls);
    // [2, channels, latents, ...] to a latent's mean and variance side by side
    let expected = swap_outer(&[mean.data, logvar.data].concat(), 2 * channels, latents);
    let calls = if decodes_whole { latents } else { 1 };
    let frames_found = decode(&mut stream, &swap_outer(&z.data, channels, latents), &[calls]);
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
    let (_, provider) = tested();
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

/// Rounded on the device, as the CPU rounds.
#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn frames_of_bytes_are_those_of_floats_rounded() {
    const SIZE: [usize; 2] = [64, 48];
    let [width, height] = SIZE;
    let (name, provider) = tested();
    for (case, precision) in [("builtin", Precision::F32), ("builtin", Precision::F16), ("v1-image", Precision::F16)] {
        let mut options = options(provider, precision);
        options.logger = print_warnings();
        let model = open_case(case, &options).unwrap_or_else(|e| panic!("{case}: {e}"));
        let mut stream = stream(&model, width, height);
        let latents = encode(&mut stream, &clip(25, width, height, 8), &[5]);
        // Beyond what bytes hold, too.
        let latents: Vec<f32> = latents.iter().map(|value| value * 1.5).collect();
        let floats = decode(&mut stream, &latents, &[2]);
        let count = floats.len() / (3 * width * height);
        let mut bytes = vec![0u8; 4 * width * height * count];
        let pictures = bytes.chunks_exact_mut(4 * width * height);
        let mut pictures: Vec<ImageMut> =
            pictures.map(|p| ImageMut::packed(p, PixelFormat::Rgba8, width, height).unwrap()).collect();
        stream.reset().unwrap();
        let first = stream.decode(Latents::F32(&latents), &mut pictures).unwrap();
        let rest = stream.decode_flush(&mut pictures[first..]).unwrap();
        drop(pictures);
        assert_eq!(first + rest, count);
        if name == "stub" {
            continue;
        }
        let plane = width * height;
        for (n, (floats, bytes)) in floats.chunks(3 * plane).zip(bytes.chunks(4 * plane)).enumerate() {
            for (i, pixel) in bytes.chunks(4).enumerate() {
                let of = |c: usize| ((floats[c * plane + i] * 0.5 + 0.5) * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
                assert_eq!(pixel, [of(0), of(1), of(2), 255], "{case} {precision}: pixel {i} of frame {n}");
            }
        }
        assert!(bytes.contains(&0) && floats.iter().any(|v| v.abs() > 1.0), "nothing was clamped");
    }
}

/// In three clips every rotation of a stream's tensors comes three times: it is seen, recorded, launched.
#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn recorded_runs_give_what_other_runs_give_bit_for_bit() {
    let (name, provider) = tested();
    for case in cases() {
        if whole_clips(&case)[0] {
            continue;
        }
        let (precisions, latents) = match case.as_str() {
            _ if provider == Provider::Cpu => (vec![Precision::F32], 12),
            "builtin" | "v1-image" => (vec![Precision::F32, Precision::Tf32, Precision::F16, Precision::Bf16], 32),
            _ => (vec![Precision::F16], 12),
        };
        for precision in &precisions {
            let with = |graphs: &str| -> [Vec<f32>; 3] {
                let mut options = options(provider, *precision);
                let failed = Arc::new(Mutex::new(vec![]));
                let told = failed.clone();
                options.logger = Logger::new(log::LevelFilter::Warn, move |level, text| {
                    println!("{level}: {text}");
                    if text.contains("are not recorded") {
                        told.lock().unwrap().push(text.to_string());
                    }
                });
                if provider != Provider::Cpu {
                    options.provider_options = vec![("wfvae_graphs".into(), graphs.into())];
                }
                let model = open_case(&case, &options).unwrap_or_else(|e| panic!("{case}: {e}"));
                let unit = model.info().temporal_compression as usize;
                let frames = 1 + unit * (latents - 1);
                let mut stream = stream(&model, 48, 32);
                let mut run = |seed, calls: &[usize]| {
                    stream.reset().unwrap();
                    let latents = encode(&mut stream, &clip(frames, 48, 32, seed), calls);
                    [decode(&mut stream, &latents, &[2]), latents].concat()
                };
                // Another clip of the same stream launches recordings from its start on.
                let results = [run(1, &[1 + unit]), run(2, &[unit]), run(1, &[1])];
                let failed = failed.lock().unwrap();
                assert!(failed.is_empty(), "{case} {precision}: both ways are the same: {failed:?}");
                results
            };
            let (recorded, plain) = (with("1"), with("0"));
            println!("{case} {precision}: {} values", recorded[0].len());
            if name == "stub" {
                continue;
            }
            assert!(recorded[0] == recorded[2], "{case} {precision}: the same clip again");
            assert!(recorded[0] != recorded[1], "{case} {precision}: another clip");
            assert!(recorded == plain, "{case} {precision}: recorded or not");
        }
    }
}

/// Encodes frames in one call, which does not end the clip.
fn encode_call(stream: &mut Stream, video: &[f32]) -> wfvae::Result<Vec<f32>> {
    let info = stream.info();
    let images: Vec<Image> =
        video.chunks(3 * info.width * info.height).map(|f| image(f, info.width, info.height)).collect();
    let latent = info.encoded_channels * info.latent_width * info.latent_height;
    let mut latents = vec![f32::NAN; stream.encode_count(images.len() as u64)? as usize * latent];
    stream.encode(&images, LatentsMut::F32(&mut latents))?;
    Ok(latents)
}

/// Decodes latents in one call, which does not end the clip.
fn decode_call(stream: &mut Stream, latents: &[f32]) -> wfvae::Result<Vec<f32>> {
    let info = stream.info();
    let count = latents.len() / (info.latent_channels * info.latent_width * info.latent_height);
    let frame = 3 * info.width * info.height;
    let mut video = vec![f32::NAN; stream.decode_count(count as u64)? as usize * frame];
    let frames = video.chunks_exact_mut(frame);
    let mut frames: Vec<ImageMut> =
        frames.map(|f| ImageMut::planar_f32(f, Range::Signed, info.width, info.height).unwrap()).collect();
    stream.decode(Latents::F32(latents), &mut frames)?;
    drop(frames);
    Ok(video)
}

/// A clip's latents and the frames that these give.
fn both(stream: &mut Stream, video: &[f32]) -> [Vec<f32>; 2] {
    let latents = encode(stream, video, &[4]);
    let frames = decode(stream, &latents, &[2]);
    [latents, frames]
}

/// The frames before `middle` in one call and their latents in another, then the rest of the clip.
struct Cut<'a> {
    video: &'a [f32],
    middle: usize,
}

impl Cut<'_> {
    fn head(&self, stream: &mut Stream) -> wfvae::Result<[Vec<f32>; 2]> {
        let latents = encode_call(stream, &self.video[..self.middle])?;
        let frames = decode_call(stream, &latents)?;
        Ok([latents, frames])
    }

    fn rest(&self, stream: &mut Stream) -> [Vec<f32>; 2] {
        both(stream, &self.video[self.middle..])
    }
}

fn joined([head_latents, head_frames]: &[Vec<f32>; 2], [latents, frames]: &[Vec<f32>; 2]) -> [Vec<f32>; 2] {
    [[&head_latents[..], latents].concat(), [&head_frames[..], frames].concat()]
}

/// Bit for bit. What a stub gives is whatever was in its memory.
fn equal(found: &[Vec<f32>; 2], expected: &[Vec<f32>; 2]) -> bool {
    match tested().0 {
        "stub" => found.each_ref().map(Vec::len) == expected.each_ref().map(Vec::len),
        _ => found == expected,
    }
}

/// Else equal results say nothing.
fn assert_varied(results: &[Vec<f32>; 2]) {
    if tested().0 == "stub" {
        return;
    }
    for values in results {
        assert!(values.iter().any(|v| *v != values[0]), "all {} values are {}", values.len(), values[0]);
    }
}

#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn snapshots_and_forks_on_a_cuda_device_go_on_bit_for_bit() {
    const SIZE: [usize; 2] = [64, 48];
    let [width, height] = SIZE;
    for precision in [Precision::F32, Precision::F16] {
        let model = builtin_on_device(precision);
        let video = clip(26, width, height, 3);
        let mut whole = stream(&model, width, height);
        let expected = both(&mut whole, &video);
        assert_varied(&expected);
        // After the first latent, after a group, and inside of one.
        for frames in [1, 9, 15] {
            let cut = Cut { video: &video, middle: frames * 3 * width * height };
            let mut first = stream(&model, width, height);
            let head = cut.head(&mut first).unwrap();
            let snapshot = first.snapshot().unwrap();
            let mut fork = first.fork().unwrap();
            // This one is in the middle of another clip.
            let mut other = stream(&model, width, height);
            Cut { video: &clip(26, width, height, 4), middle: 5 * 3 * width * height }.head(&mut other).unwrap();
            other.restore(&snapshot).unwrap();
            for (name, stream) in
                [("the same stream", &mut first), ("a fork", &mut fork), ("another stream", &mut other)]
            {
                let found = joined(&head, &cut.rest(stream));
                assert!(equal(&found, &expected), "{precision}, {frames} frames, then {name}");
            }
            first.restore(&snapshot).unwrap();
            assert!(equal(&joined(&head, &cut.rest(&mut first)), &expected), "{precision}, {frames} frames, restored");
        }
    }
}

/// What a stream on a device does when memory ends; the tests below collect all that is wrong.
struct Short<'a> {
    off: Vec<String>,
    round: &'a str,
}

impl Short<'_> {
    fn check(&mut self, right: bool, text: impl FnOnce() -> String) {
        if !right {
            let text = format!("{}: {}", self.round, text());
            println!("FAILED: {text}");
            self.off.push(text);
        }
    }

    /// The error for lack of memory, which names no other cause.
    fn refused<T>(&mut self, what: &str, result: wfvae::Result<T>) {
        match result {
            Ok(_) => self.check(false, || format!("{what}: there was memory")),
            Err(e) => {
                println!("{}: {what}: {:?}: {}", self.round, e.kind(), e.text().chars().take(400).collect::<String>());
                self.check(e.kind() == ErrorKind::OutOfMemory, || format!("{what}: {:?}: {e}", e.kind()));
            }
        }
    }

    fn same(&mut self, what: &str, found: wfvae::Result<[Vec<f32>; 2]>, expected: &[Vec<f32>; 2]) {
        match found {
            Ok(found) => self.check(equal(&found, expected), || format!("{what}: another result")),
            Err(e) => self.check(false, || format!("{what}: {:?}: {e}", e.kind())),
        }
    }

    /// A call in the middle of a stream fails, and then the stream does nothing until it is reset.
    fn fails_and_needs_reset(&mut self, what: &str, stream: &mut Stream, video: &[f32]) {
        let result = encode_call(stream, video);
        self.refused(what, result);
        self.check(stream.info().needs_reset, || format!("{what}: no reset is asked for"));
        let next = encode_call(stream, video).map_err(|e| e.kind());
        self.check(matches!(next, Err(ErrorKind::NeedsReset)), || format!("{what}: the next call is {:?}", next.err()));
    }
}

/// A model whose calls take memory: norms span the clip, and each call gets a whole one.
fn whole_clips_on_device(provider_options: &[(&str, &str)]) -> Model {
    let mut options = options(DEVICE, Precision::F32);
    options.provider_options =
        provider_options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    options.logger = print_warnings();
    open_case("own-v2-groupnorm", &options).unwrap()
}

fn whole_clip(stream: &mut Stream, video: &[f32]) -> wfvae::Result<[Vec<f32>; 2]> {
    let latents = encode_call(stream, video)?;
    let frames = decode_call(stream, &latents)?;
    stream.reset()?;
    Ok([latents, frames])
}

/// ONNX Runtime's own limit, for each session.
#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn streams_go_on_when_a_cuda_device_gives_no_more_memory() {
    const LIMIT: (&str, &str) = ("gpu_mem_limit", "268435456");
    const SMALL: [usize; 2] = [64, 48];
    let [width, height] = SMALL;
    let video = clip(26, width, height, 5);
    let cut = Cut { video: &video, middle: 9 * 3 * width * height };
    let expected = both(&mut stream(&builtin_on_device(Precision::F16), width, height), &video);
    assert_varied(&expected);
    let mut limited = options(DEVICE, Precision::F16);
    limited.provider_options = vec![(LIMIT.0.into(), LIMIT.1.into())];
    let model = Model::builtin(&limited).unwrap();
    let mut small = stream(&model, width, height);

    let clips = whole_clips_on_device(&[LIMIT]);
    let short = clip(5, width, height, 6);
    let short_expected = whole_clip(&mut stream(&whole_clips_on_device(&[]), width, height), &short).unwrap();
    assert_varied(&short_expected);
    let long = clip(17, 512, 512, 7);
    let mut off = vec![];
    for round in ["first", "second", "third"] {
        let mut short_of = Short { off: vec![], round };
        let head = cut.head(&mut small).unwrap();
        let before = model.info().device_bytes;
        short_of.refused("a large stream", Stream::new(&model, &StreamOptions::new(2048, 2048)));
        let after = model.info().device_bytes;
        short_of.check(after == before, || format!("the refused stream left {} bytes", after - before));
        short_of.same("the small stream", Ok(joined(&head, &cut.rest(&mut small))), &expected);
        small.reset().unwrap();
        let mut new = stream(&model, width, height);
        short_of.same("a new stream", Ok(both(&mut new, &video)), &expected);

        let mut failing = stream(&clips, 512, 512);
        let mut others = stream(&clips, width, height);
        short_of.same("a short clip before", whole_clip(&mut others, &short), &short_expected);
        short_of.fails_and_needs_reset("a long clip", &mut failing, &long);
        short_of.same("a short clip after", whole_clip(&mut others, &short), &short_expected);
        failing.reset().unwrap();
        let again = encode_call(&mut failing, &long);
        short_of.refused("a long clip after a reset", again);
        drop(failing);
        short_of.same("a short clip at last", whole_clip(&mut others, &short), &short_expected);
        off.extend(short_of.off);
    }
    assert!(off.is_empty(), "{off:#?}");
}

/// Formats of all kinds; each has all sizes of elements, one plane and several, chroma of each size.
#[cfg(unix)]
fn formats() -> Vec<PixelFormat> {
    use wfvae::{Chroma, Matrix, Siting, Yuv, YuvRange};
    let yuv = Yuv::default();
    let other = Yuv { matrix: Matrix::Bt2020, range: YuvRange::Full, siting: Siting::TopLeft };
    vec![
        PixelFormat::Rgb8,
        PixelFormat::Bgra8,
        PixelFormat::GbrPlanar8,
        PixelFormat::Rgba16 { bits: 12 },
        PixelFormat::GbrPlanar16 { bits: 10 },
        PixelFormat::RgbF16(Range::Unit),
        PixelFormat::RgbPlanarBf16(Range::Signed),
        PixelFormat::RgbPlanarF32(Range::Signed),
        PixelFormat::RgbaF32(Range::Unit),
        PixelFormat::Gray16 { bits: 16, yuv },
        PixelFormat::Nv12(yuv),
        PixelFormat::P010 { bits: 10, yuv: other },
        PixelFormat::Yuv8 { chroma: Chroma::Half, yuv: other },
        PixelFormat::Yuv16 { chroma: Chroma::HalfWidth, bits: 10, yuv },
        PixelFormat::Yuv8 { chroma: Chroma::QuarterWidth, yuv },
        PixelFormat::Yuv16 { chroma: Chroma::Full, bits: 16, yuv: Yuv { siting: Siting::Left, ..other } },
    ]
}

/// A picture without gaps, at an address of any memory.
#[cfg(unix)]
fn planes_of(format: PixelFormat, at: *mut u8, [width, height]: [usize; 2]) -> ([*mut u8; 4], [isize; 4]) {
    use wfvae::Chroma;
    // The format's planes of one row, and of one column, tell the size of each.
    let (mut planes, mut strides, mut start) = ([std::ptr::null_mut(); 4], [0; 4], 0);
    let bytes = |width, height| format.bytes(width, height).unwrap();
    let chroma = match format {
        PixelFormat::Nv12(_) | PixelFormat::P010 { .. } => Some(Chroma::Half),
        PixelFormat::Yuv8 { chroma, .. } | PixelFormat::Yuv16 { chroma, .. } => Some(chroma),
        _ => None,
    };
    let [across, down] = match chroma {
        Some(Chroma::Half) => [2, 2],
        Some(Chroma::HalfWidth) => [2, 1],
        Some(Chroma::QuarterWidth) => [4, 1],
        _ => [1, 1],
    };
    // One pixel has a sample of everything.
    let samples = if chroma.is_some() { 3 } else { format.planes() };
    let element = bytes(1, 1) / samples;
    for plane in 0..format.planes() {
        let (columns, rows) = if plane > 0 { (width.div_ceil(across), height.div_ceil(down)) } else { (width, height) };
        let pairs = if plane > 0 && format.planes() == 2 { 2 } else { 1 };
        planes[plane] = at.wrapping_add(start);
        strides[plane] = (columns * element * pairs) as isize;
        start += columns * rows * element * pairs;
    }
    assert_eq!(start, bytes(width, height), "{format:?}");
    (planes, strides)
}

/// What a program's memory on the device gives is what the CPU's gives, bit for bit, and is used in the program's turn.
#[cfg(unix)]
#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn frames_in_a_device_s_memory_are_those_of_the_cpu_s() {
    use common::device_memory::{Buffer, ProgramStream};
    use wfvae::MemoryKind;
    const SIZE: [usize; 2] = [61, 45];
    let ([width, height], (name, _)) = (SIZE, tested());
    let model = builtin_on_device(Precision::F16);
    let program = ProgramStream::new();
    // Keeps the program's stream busy.
    let busy = Buffer::new(if name == "stub" { 1 << 16 } else { 1 << 30 });
    let mut options = StreamOptions::new(width, height);
    options.pad = true;
    let mut plain = Stream::new(&model, &options).unwrap();
    options.frame_memory = MemoryKind::Cuda;
    // SAFETY: a stream of the device that stays.
    unsafe { options.set_cuda_stream(program.0) };
    let mut there = Stream::new(&model, &options).unwrap();
    for format in formats() {
        let bytes = format.bytes(width, height).unwrap();
        let picture = |frame: usize| -> Vec<u8> {
            let value = |i: usize| (i * 7 + i / width * 3 + frame * 29) % 251;
            match bytes / (width * height) {
                12 | 16 => (0..bytes / 4).flat_map(|i| (value(i) as f32 / 250.0).to_ne_bytes()).collect(),
                // Floats of two bytes, and words of any number of bits.
                _ => (0..bytes).map(|i| if i % 2 == 1 { (value(i) % 60) as u8 } else { value(i) as u8 }).collect(),
            }
        };
        let pictures: Vec<Vec<u8>> = (0..9).map(picture).collect();
        let images = |at: &dyn Fn(usize) -> *mut u8, frames: std::ops::Range<usize>| -> Vec<Image<'static>> {
            let image = |frame: usize| {
                let (planes, strides) = planes_of(format, at(frame), SIZE);
                // SAFETY: so many bytes are there, and stay.
                unsafe { Image::from_raw(format, width, height, planes.map(|p| p.cast_const()), strides, [0; 4]) }
            };
            frames.map(|frame| image(frame).unwrap()).collect()
        };
        let images_mut = |at: &dyn Fn(usize) -> *mut u8, count: usize| -> Vec<ImageMut<'static>> {
            let image = |frame: usize| {
                let (planes, strides) = planes_of(format, at(frame), SIZE);
                // SAFETY: as above, and nobody else uses them.
                unsafe { ImageMut::from_raw(format, width, height, planes, strides, [0; 4]) }
            };
            (0..count).map(|frame| image(frame).unwrap()).collect()
        };
        let latent = plain.info().encoded_channels * plain.info().latent_width * plain.info().latent_height;
        let encode = |stream: &mut Stream, at: &dyn Fn(usize) -> *mut u8, before: &dyn Fn()| {
            stream.reset().unwrap();
            let (mut latents, mut count) = (vec![0.0; 3 * latent], 0);
            for frames in [0..1, 1..3, 3..9] {
                before();
                let room = LatentsMut::F32(&mut latents[count * latent..]);
                count += stream.encode(&images(at, frames), room).unwrap_or_else(|e| panic!("{format:?}: {e}"));
            }
            assert_eq!(count, 3);
            latents
        };
        let expected = encode(&mut plain, &|frame| pictures[frame].as_ptr().cast_mut(), &|| {});
        let [staging, buffers] = [0, 1].map(|_| (0..9).map(|_| Buffer::new(bytes)).collect::<Vec<_>>());
        staging.iter().zip(&pictures).for_each(|(buffer, picture)| buffer.write(picture));
        // The program is still writing the frames when it calls, and writes over them when the call is done.
        let late = || {
            (0..20).for_each(|_| busy.fill(3, &program));
            buffers.iter().zip(&staging).for_each(|(buffer, staging)| buffer.take(staging, &program));
        };
        let found = encode(&mut there, &|frame| buffers[frame].at(), &late);
        buffers.iter().for_each(|buffer| buffer.fill(0xee, &program));
        assert!(name == "stub" || found == expected, "{format:?}: latents");

        let mut written: Vec<Vec<u8>> = (0..9).map(|_| vec![0xaa; bytes]).collect();
        let addresses: Vec<*mut u8> = written.iter_mut().map(|bytes| bytes.as_mut_ptr()).collect();
        let decode = |stream: &mut Stream, at: &dyn Fn(usize) -> *mut u8| {
            // Zeros are finite on a stub, too.
            let latents = if name == "stub" { &vec![0.0; 3 * latent] } else { &expected };
            let mut count = 0;
            for latents in [&latents[..latent], &latents[latent..]] {
                let next = stream.decode_count((latents.len() / latent) as u64).unwrap() as usize;
                let mut images = images_mut(&|frame| at(count + frame), next);
                count +=
                    stream.decode(Latents::F32(latents), &mut images).unwrap_or_else(|e| panic!("{format:?}: {e}"));
            }
            let next = stream.decode_flush_count().unwrap() as usize;
            count += stream.decode_flush(&mut images_mut(&|frame| at(count + frame), next)).unwrap();
            assert_eq!(count, 9);
        };
        decode(&mut plain, &|frame| addresses[frame]);
        (0..20).for_each(|_| busy.fill(3, &program));
        buffers.iter().for_each(|buffer| buffer.fill(0xaa, &program));
        decode(&mut there, &|frame| buffers[frame].at());
        for (frame, (buffer, expected)) in buffers.iter().zip(&written).enumerate() {
            assert!(name == "stub" || buffer.read() == *expected, "{format:?}: frame {frame}");
        }
        println!("{format:?}: {} values, {bytes} bytes a frame", found.len());
    }

    // A clip that ends in the middle of a group, as a new stream's first.
    let mut short = Stream::new(&model, &options).unwrap();
    let frame = Buffer::new(3 * width * height);
    frame.fill(7, &program);
    let rgb = |at: *mut u8| {
        ([at, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut()], [3 * width as isize, 0, 0, 0])
    };
    let (planes, strides) = rgb(frame.at());
    // SAFETY: so many bytes are there.
    let image = unsafe {
        Image::from_raw(PixelFormat::Rgb8, width, height, planes.map(|p| p.cast_const()), strides, [0; 4]).unwrap()
    };
    let mut latents =
        vec![0.0; 2 * short.info().encoded_channels * short.info().latent_width * short.info().latent_height];
    let mut count = short.encode(&[image, image], LatentsMut::F32(&mut latents)).unwrap();
    let latent = latents.len() / 2;
    count += short.encode_flush(LatentsMut::F32(&mut latents[latent..])).unwrap();
    assert_eq!(count, 2);
    if name == "stub" {
        latents.fill(0.0);
    }
    short.set_frame_count(Some(2)).unwrap();
    let outs = [0, 1].map(|_| Buffer::new(3 * width * height));
    let mut images = outs.each_ref().map(|out| {
        let (planes, strides) = rgb(out.at());
        // SAFETY: as above, and nobody else uses it.
        unsafe { ImageMut::from_raw(PixelFormat::Rgb8, width, height, planes, strides, [0; 4]).unwrap() }
    });
    let first = short.decode(Latents::F32(&latents), &mut images).unwrap();
    let rest = short.decode_flush(&mut images[first..]).unwrap();
    assert_eq!(first + rest, 2);

    // A stream of the program that records is refused: the library would wait for it for ever.
    short.reset().unwrap();
    let error = program.recording(|| short.encode(&[image], LatentsMut::F32(&mut latents)).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.text().contains("is recording a CUDA graph"), "{error}");
    assert!(short.info().frames_in == 0 && !short.info().needs_reset);
    assert_eq!(short.encode(&[image], LatentsMut::F32(&mut latents)).unwrap(), 1);

    // Memory that is none of the device's is refused, and nothing is consumed.
    let (frames, host) = (there.info().frames_in, vec![0u8; 3 * width * height]);
    let image = Image::packed(&host, PixelFormat::Rgb8, width, height).unwrap();
    let error = there.encode(&[image], LatentsMut::F32(&mut [])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(
        error.text().starts_with("frame 0: 0x") && error.text().contains("is not memory of a CUDA device"),
        "{error}"
    );
    assert!(there.info().frames_in == frames && !there.info().needs_reset);
}

/// Nothing else may run on the device meanwhile.
#[cfg(unix)]
#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn streams_go_on_when_a_cuda_device_is_full() {
    use common::device_memory::{Filler, free_bytes};
    const SMALL: [usize; 2] = [64, 48];
    let [width, height] = SMALL;
    let model = builtin_on_device(Precision::F16);
    let mut small = stream(&model, width, height);
    let video = clip(26, width, height, 5);
    let cut = Cut { video: &video, middle: 9 * 3 * width * height };
    let expected = both(&mut small, &video);
    assert_varied(&expected);
    small.reset().unwrap();

    let clips = whole_clips_on_device(&[]);
    let short = clip(5, width, height, 6);
    let mut others = stream(&clips, width, height);
    let short_expected = whole_clip(&mut others, &short).unwrap();
    assert_varied(&short_expected);
    let long = clip(17, 512, 512, 7);
    let mut off = vec![];
    for round in ["first", "second", "third"] {
        let mut short_of = Short { off: vec![], round };
        // Streams are made until no more fits.
        let head = cut.head(&mut small).unwrap();
        let mut failing = stream(&clips, 512, 512);
        let mut filler = Filler::default();
        filler.fill(1 << 30);
        let mut held = vec![];
        let refused = loop {
            match Stream::new(&model, &StreamOptions::new(512, 384)) {
                Ok(stream) if held.len() < 300 => held.push(stream),
                result => break result,
            }
        };
        println!("{round}: {} streams of 512x384 in 1 GiB", held.len());
        short_of.refused("one more stream", refused);
        short_of.same("the small stream after that", Ok(joined(&head, &cut.rest(&mut small))), &expected);
        small.reset().unwrap();

        // No byte is left, and calls of a stream need none.
        let head = cut.head(&mut small).unwrap();
        filler.fill(0);
        println!("{round}: {} bytes are free", free_bytes());
        short_of.refused("a stream on the full device", Stream::new(&model, &StreamOptions::new(1024, 1024)));
        short_of.fails_and_needs_reset("a long clip", &mut failing, &long);
        short_of.same("the small stream", Ok(joined(&head, &cut.rest(&mut small))), &expected);
        small.reset().unwrap();
        let more = Model::builtin(&options(DEVICE, Precision::F16))
            .and_then(|model| Stream::new(&model, &StreamOptions::new(512, 512)));
        short_of.refused("one more model", more);
        drop(filler);

        let mut last = held.pop();
        drop(held);
        failing.reset().unwrap();
        short_of.same(
            "the long clip's stream",
            whole_clip(&mut failing, &long).map(|_| short_expected.clone()),
            &short_expected,
        );
        short_of.same("a short clip", whole_clip(&mut others, &short), &short_expected);
        short_of.same("a new stream", Ok(both(&mut stream(&model, width, height), &video)), &expected);
        if let Some(last) = &mut last {
            // Of its clip only whether it can be computed.
            let result = encode_call(last, &clip(5, 512, 384, 8));
            short_of.check(result.is_ok(), || format!("a held stream: {}", result.unwrap_err()));
        }
        off.extend(short_of.off);
    }
    assert!(off.is_empty(), "{off:#?}");
}

/// Nothing else may run on the device meanwhile.
#[cfg(unix)]
#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn two_models_on_one_cuda_device_do_not_disturb_each_other() {
    use common::device_memory::free_bytes;
    const CASES: [(&str, [usize; 2]); 2] = [("builtin", [128, 96]), ("v1-image", [256, 192])];
    let open = |case: &str| {
        let mut options = options(DEVICE, Precision::F16);
        options.logger = print_warnings();
        options.provider_options = vec![("wfvae_graphs".into(), "1".into())];
        open_case(case, &options).unwrap()
    };
    let run = |model: &Model, [width, height]: [usize; 2]| {
        both(&mut stream(model, width, height), &clip(17, width, height, 9))
    };
    let alone = CASES.map(|(case, size)| run(&open(case), size));
    alone.iter().for_each(assert_varied);
    // CUDA's context and libraries are loaded now, and keep more and more in the first round.
    let empty = free_bytes();
    let mut left = vec![];
    for (kept, dropped) in [(0, 1), (1, 0), (0, 1), (1, 0)] {
        let model = open(CASES[kept].0);
        assert!(equal(&run(&model, CASES[kept].1), &alone[kept]));
        let with_one = free_bytes();
        let other = open(CASES[dropped].0);
        for _ in 0..3 {
            let [first, second] = std::thread::scope(|scope| {
                let first = scope.spawn(|| run(&model, CASES[kept].1));
                let second = scope.spawn(|| run(&other, CASES[dropped].1));
                [first, second].map(|thread| thread.join().unwrap())
            });
            assert!(equal(&first, &alone[kept]), "{} beside another", CASES[kept].0);
            assert!(equal(&second, &alone[dropped]), "{} beside another", CASES[dropped].0);
        }
        let with_both = free_bytes();
        let mut going = stream(&model, CASES[kept].1[0], CASES[kept].1[1]);
        let video = clip(17, CASES[kept].1[0], CASES[kept].1[1], 9);
        let cut = Cut { video: &video, middle: 9 * video.len() / 17 };
        let head = cut.head(&mut going).unwrap();
        let before = free_bytes();
        drop(other);
        let after = free_bytes();
        assert!(
            equal(&joined(&head, &cut.rest(&mut going)), &alone[kept]),
            "{} after another was dropped",
            CASES[kept].0
        );
        drop((going, model));
        let (took, given) = (with_one.saturating_sub(with_both), after.saturating_sub(before));
        left.push(empty.saturating_sub(free_bytes()));
        println!(
            "{} took {} bytes, {took} more with {}, whose end gave {given} back; {} are left of both",
            CASES[kept].0,
            empty.saturating_sub(with_one),
            CASES[dropped].0,
            left[left.len() - 1]
        );
        assert!(took > 0 && given >= took / 4 * 3, "{given} of {took} bytes were given back");
    }
    assert!(left[3] <= left[1], "bytes that were not given back after each round: {left:?}");
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
