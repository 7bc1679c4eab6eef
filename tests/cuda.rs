//! CUDA devices, asked for and absent; and, where one is (`make check-cuda` runs the ignored tests), what they compute.

mod common;

use common::{Lcg, clip, decode, encode, golden, max_abs, stream, swap_outer, tensor};
use safetensors::SafeTensors;
use std::path::Path;
use wfvae::{ErrorKind, Model, ModelOptions, Posterior, Precision, Provider, Stream, StreamOptions};

fn options(provider: Provider, precision: Precision) -> ModelOptions {
    let mut options = ModelOptions::default();
    options.provider = provider;
    (options.encode_precision, options.decode_precision) = (precision, precision);
    options
}

fn on_device(case: &str, precision: Precision) -> Model {
    let options = options(Provider::Cuda { device: 0 }, precision);
    let folder = golden(case);
    let model = match folder.join("config.json").exists() {
        true => Model::open(folder, &options),
        false => Model::builtin(&options),
    };
    model.unwrap_or_else(|e| panic!("{case}: {e}"))
}

/// These run with the runtime of `make runtime`, which has no such provider.
#[test]
fn cuda_that_the_runtime_lacks_is_an_error_that_says_what_to_do() {
    let error = Model::builtin(&options(Provider::Cuda { device: 1 }, Precision::F32))
        .err()
        .expect("there is no such provider");
    assert_eq!(error.kind(), ErrorKind::Provider);
    let text = error.to_string();
    assert!(text.contains("CUDA device 1") && text.contains("built without the CUDA provider"), "{text}");
    assert!(text.contains("make onnxruntime-gpu"), "{text}");
}

#[test]
fn auto_takes_the_processor_where_cuda_cannot_run_and_says_why() {
    let model = Model::builtin(&options(Provider::Auto, Precision::F32)).unwrap();
    let info = model.info();
    assert_eq!((info.provider, info.device_bytes), ("CPU", 0));
    assert!(info.fallback.expect("a reason").contains("built without the CUDA provider"));
    assert!(Model::builtin(&options(Provider::Cpu, Precision::F32)).unwrap().info().fallback.is_none());
}

/// `[mean and logvar, frames]`: how far the device's results are from the reference's, of their largest value.
fn drift(case: &str, precision: Precision) -> Option<[f32; 2]> {
    let bytes = std::fs::read(Path::new(&golden(case)).join("io.safetensors")).unwrap();
    let io = SafeTensors::deserialize(&bytes).unwrap();
    let [video, mean, logvar, z, decoded] =
        ["video", "mean", "logvar", "z", "decoded"].map(|name| tensor(&io, name).unwrap());
    let [1, 3, frames, height, width] = video.shape[..] else { return None };
    let [_, channels, latents, ..] = mean.shape[..] else { return None };
    // These take a whole clip in one call, in float32 only.
    if case.contains("groupnorm") {
        return None;
    }
    let model = on_device(case, precision);
    assert_eq!(model.info().provider, "CUDA");
    let mut options = StreamOptions::new(width, height);
    options.posterior = Posterior::Moments;
    let mut stream = Stream::new(&model, &options).unwrap();
    let found = encode(&mut stream, &swap_outer(&video.data, 3, frames), &[1, 3]);
    // [2, channels, latents, ...] to a latent's mean and variance side by side
    let expected = swap_outer(&[mean.data, logvar.data].concat(), 2 * channels, latents);
    let frames_found = decode(&mut stream, &swap_outer(&z.data, channels, latents), &[1]);
    let expected_frames = swap_outer(&decoded.data, 3, frames);
    let size = |x: &[f32]| x.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    Some([
        max_abs(&found, &expected) / size(&expected),
        max_abs(&frames_found, &expected_frames) / size(&expected_frames),
    ])
}

#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn golden_cases_on_a_cuda_device() {
    let (mut run, mut off) = (0, Vec::new());
    for entry in std::fs::read_dir(golden("")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let case = path.file_name().unwrap().to_str().unwrap();
        for (precision, limit) in [(Precision::F32, 2e-4), (Precision::Tf32, 2e-2), (Precision::F16, 2e-2)] {
            let Some([encoded, decoded]) = drift(case, precision) else { continue };
            println!("{case} {precision}: moments {encoded:.1e}, frames {decoded:.1e}");
            // Not a number is off, too.
            if !(encoded <= limit && decoded <= limit) {
                off.push(format!("{case} {precision}: {encoded:.1e} {decoded:.1e}"));
            }
            run += 1;
        }
    }
    assert!(off.is_empty(), "{} of {run}: {off:#?}", off.len());
    assert!(run > 30, "only {run} cases ran");
}

#[test]
#[ignore = "needs a CUDA device: make check-cuda"]
fn cuda_memory_is_flat_over_2000_chunks() {
    let model = on_device("builtin", Precision::F16);
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
    let model = on_device("builtin", Precision::F32);
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
