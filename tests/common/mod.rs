//! Shared by the integration tests: models, clips and comparisons.
#![allow(dead_code)]

#[cfg(unix)]
pub mod device_memory;
pub mod system;

use safetensors::SafeTensors;
use std::path::PathBuf;
use wfvae::{Image, ImageMut, Latents, LatentsMut, Model, ModelOptions, Precision, Range, Stream, StreamOptions};

/// The folder of a case. Cargo sets the variable for the tests that it runs; a test that was carried to another machine is
/// told there where its files are.
pub fn golden(case: &str) -> PathBuf {
    let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    root.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()).join("tests/golden").join(case)
}

pub fn open(case: &str) -> Model {
    Model::open(golden(case), &ModelOptions::default()).unwrap()
}

/// The model of a golden case, which is the built-in one where its folder has none.
pub fn open_case(case: &str, options: &ModelOptions) -> wfvae::Result<Model> {
    let folder = golden(case);
    match folder.join("config.json").exists() {
        true => Model::open(folder, options),
        false => Model::builtin(options),
    }
}

/// Options of a model that computes in bfloat16.
pub fn bfloat16() -> ModelOptions {
    let mut options = ModelOptions::default();
    (options.encode_precision, options.decode_precision) = (Precision::Bf16, Precision::Bf16);
    options
}

/// A model that computes in bfloat16 on the CPU, or `None` where it lacks a matrix unit, without which no stream can be made.
pub fn on_matrix_unit(model: wfvae::Result<Model>) -> Option<Model> {
    let model = model.unwrap();
    if has_matrix_unit() {
        return Some(model);
    }
    let error = Stream::new(&model, &StreamOptions::new(64, 64)).expect_err("there is no matrix unit");
    let missing = if cfg!(optimised) { "matrix unit" } else { "opt-level" };
    assert!(error.kind() == wfvae::ErrorKind::Provider && error.text().contains(missing), "{error}");
    None
}

/// Whether bfloat16 must work on this CPU.
pub fn has_matrix_unit() -> bool {
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let forced = std::env::var("WFVAE_CPU").unwrap_or_default();
    cfg!(all(target_os = "linux", optimised)) && flags.contains(" amx_bf16 ") && ["", "amx"].contains(&forced.as_str())
}

/// The names of all golden cases, or those that WFVAE_TEST_CASE names, separated by commas.
pub fn cases() -> Vec<String> {
    let only = std::env::var("WFVAE_TEST_CASE").ok();
    let entries = std::fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path());
    let names = entries.filter(|path| path.is_dir()).map(|path| path.file_name().unwrap().to_str().unwrap().into());
    let mut names: Vec<String> =
        names.filter(|case| only.as_ref().is_none_or(|only| only.split(',').any(|name| name == case))).collect();
    assert!(!names.is_empty(), "there is no case {only:?}");
    names.sort();
    names
}

pub fn builtin() -> Model {
    Model::builtin(&ModelOptions::default()).unwrap()
}

/// Whether grids are run whole: `make check-grids`. `make check` leaves out what mostly repeats something.
pub fn whole_grids() -> bool {
    std::env::var_os("WFVAE_WHOLE_GRIDS").is_some()
}

/// A float32 tensor of a safetensors file.
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

pub fn tensor(file: &SafeTensors, name: &str) -> Option<Tensor> {
    let view = file.tensor(name).ok()?;
    let data = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    Some(Tensor { shape: view.shape().to_vec(), data })
}

/// `[a, b, n]` as `[b, a, n]`: the reference keeps channels before frames, streams frames before channels.
pub fn swap_outer(data: &[f32], a: usize, b: usize) -> Vec<f32> {
    let n = data.len() / (a * b);
    let plane = |i: usize, j: usize| &data[(i * b + j) * n..][..n];
    (0..b).flat_map(|j| (0..a).flat_map(move |i| plane(i, j).iter().copied())).collect()
}

pub fn max_abs(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // NaN must not look like agreement.
    differences.fold(0.0, |max, d| if d <= max { max } else { d })
}

/// A small deterministic generator; the tests print nothing random.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    pub fn signed(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0
    }
}

/// A moving pattern with some noise, `[frames, 3, height, width]`, -1 to 1.
pub fn clip(frames: usize, width: usize, height: usize, seed: u64) -> Vec<f32> {
    let mut noise = Lcg(seed);
    let mut video = vec![];
    for t in 0..frames {
        for c in 0..3 {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let wave = (x as f32 * 0.4 + t as f32 * 0.7 + c as f32).sin() * (y as f32 * 0.3 - t as f32 * 0.2).cos();
                video.push(0.8 * wave + 0.2 * noise.signed());
            }
        }
    }
    video
}

/// Splits `total` into calls of the sizes in `plan`, the last of which repeats.
pub fn calls(plan: &[usize], total: usize) -> Vec<usize> {
    let mut calls = vec![];
    let mut left = total;
    for i in 0.. {
        if left == 0 {
            break;
        }
        let size = plan[i.min(plan.len() - 1)].min(left);
        calls.push(size);
        left -= size;
    }
    calls
}

/// Encodes `[T, 3, H, W]` by a plan of frames per call, then flushes.
pub fn encode(stream: &mut Stream, video: &[f32], plan: &[usize]) -> Vec<f32> {
    let info = stream.info();
    let frame = 3 * info.width * info.height;
    let latent = info.encoded_channels * info.latent_width * info.latent_height;
    let mut latents = vec![];
    let mut frames = video.chunks_exact(frame);
    for size in calls(plan, video.len() / frame) {
        let images: Vec<Image> = frames.by_ref().take(size).map(|f| image(f, info.width, info.height)).collect();
        let count = stream.encode_count(size as u64).unwrap() as usize;
        let start = latents.len();
        latents.resize(start + count * latent, f32::NAN);
        assert_eq!(stream.encode(&images, LatentsMut::F32(&mut latents[start..])).unwrap(), count);
    }
    let count = stream.encode_flush_count().unwrap() as usize;
    let start = latents.len();
    latents.resize(start + count * latent, f32::NAN);
    assert_eq!(stream.encode_flush(LatentsMut::F32(&mut latents[start..])).unwrap(), count);
    latents
}

/// Decodes `[T, C, h, w]` by a plan of latents per call, then flushes; gives `[T, 3, H, W]`.
pub fn decode(stream: &mut Stream, latents: &[f32], plan: &[usize]) -> Vec<f32> {
    let mut video = decode_part(stream, latents, plan);
    let (info, count) = (stream.info(), stream.decode_flush_count().unwrap() as usize);
    let frames = with_frames(&mut video, count, &info, |frames| stream.decode_flush(frames).unwrap());
    assert_eq!(frames, count);
    video
}

/// The same without the flush.
pub fn decode_part(stream: &mut Stream, latents: &[f32], plan: &[usize]) -> Vec<f32> {
    let info = stream.info();
    let latent = info.latent_channels * info.latent_width * info.latent_height;
    let mut video = vec![];
    let mut left = latents;
    for size in calls(plan, latents.len() / latent) {
        let (now, later) = left.split_at(size * latent);
        left = later;
        let count = stream.decode_count(size as u64).unwrap() as usize;
        let frames = with_frames(&mut video, count, &info, |frames| stream.decode(Latents::F32(now), frames).unwrap());
        assert_eq!(frames, count);
    }
    video
}

fn with_frames(
    video: &mut Vec<f32>,
    count: usize,
    info: &wfvae::StreamInfo,
    run: impl FnOnce(&mut [ImageMut]) -> usize,
) -> usize {
    let start = video.len();
    let frame = 3 * info.width * info.height;
    video.resize(start + count * frame, f32::NAN);
    let planes = video[start..].chunks_exact_mut(frame);
    let frames = planes.map(|f| ImageMut::planar_f32(f, Range::Signed, info.width, info.height).unwrap());
    run(&mut frames.collect::<Vec<_>>())
}

pub fn image(planes: &[f32], width: usize, height: usize) -> Image<'_> {
    Image::planar_f32(planes, Range::Signed, width, height).unwrap()
}

pub fn stream(model: &Model, width: usize, height: usize) -> Stream {
    Stream::new(model, &StreamOptions::new(width, height)).unwrap()
}
