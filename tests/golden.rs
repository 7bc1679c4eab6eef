//! Parity with the reference, case by case. A line a case: its folder's name, the max-abs errors, the chunk plans.
//!
//! `WFVAE_GOLDEN_DIR` adds the case folders of another directory. Arguments: the names of the cases to run; none: all.

mod common;

use common::{Lcg, Tensor, calls, decode, encode, max_abs, swap_outer};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wfvae::{
    CacheType, Convolution, ErrorKind, Layout, Model, ModelOptions, Posterior, Precision, Stream, StreamOptions, Tiling,
};

/// tests/golden/README.md says why these.
const MOMENTS: f32 = 1e-5;
/// Of fast convolutions, which round more by themselves.
const MOMENTS_FAST: f32 = 3e-5;
/// Of stacked and volume convolutions, with which come ONNX Runtime's norms: these round more than ours. Relative to the
/// largest moment where MOMENTS is less: the built-in model's are off by 4.0e-5 where log variances reach -17.
const MOMENTS_RUNTIME: f32 = 3e-6;
/// The same where ONNX Runtime is older than its minor version, up to which its norms round more still: 1.2e-5 in own-noattn.
const MOMENTS_OLD_RUNTIME: (u32, f32) = (27, 1.5e-5);
const DECODED: f32 = 5e-5;

/// Of half precision caches, which keep 11 bits of what the network looks back at, relative to the largest value. The
/// worst case drifts by half of it.
const HALF_CACHES: f32 = 5e-3;

/// Of float16 convolutions, relative to the outputs' largest value. The CPU computes them in float32 and rounds what
/// comes out, so a GPU may drift more.
const HALF: [f32; 2] = [5e-3, 8e-3];

/// The same of bfloat16, whose values have 8 bits.
const BFLOAT: [f32; 2] = [4e-2, 6e-2];

/// Ways to compute besides the default one.
const CONVOLUTIONS: [(Convolution, Layout); 7] = [
    (Convolution::Fast, Layout::Auto),
    (Convolution::Direct, Layout::Planes),
    (Convolution::Stacked, Layout::Planes),
    (Convolution::Volume, Layout::Planes),
    (Convolution::Direct, Layout::ChannelsLast),
    (Convolution::Stacked, Layout::ChannelsLast),
    (Convolution::Volume, Layout::ChannelsLast),
];
const HALF_CONVOLUTIONS: [(Convolution, Layout); 5] = [
    (Convolution::Exact, Layout::Auto),
    (Convolution::Direct, Layout::Planes),
    (Convolution::Volume, Layout::Planes),
    (Convolution::Stacked, Layout::ChannelsLast),
    (Convolution::Volume, Layout::ChannelsLast),
];

struct Case {
    name: String,
    folder: PathBuf,
    model: Model,
    video: Tensor,
    mean: Tensor,
    logvar: Tensor,
    z: Tensor,
    z_scaled: Option<Tensor>,
    decoded: Tensor,
}

#[derive(Default)]
struct Errors {
    mean: f32,
    logvar: f32,
    sample: f32,
    scaled: f32,
    decoded: f32,
    /// Between the first plan and each other.
    plans: f32,
    /// Of moments and frames with one query of attention at a time.
    blocks: [f32; 2],
    /// The same with `CONVOLUTIONS`.
    convolutions: [[f32; 2]; CONVOLUTIONS.len()],
    /// The same with half precision caches, relative to the outputs' largest value.
    halves: [f32; 2],
    /// With all of the network in float16, relative too; `None` where it cannot be.
    f16: Option<[f32; 2]>,
    /// The same with bfloat16, where the CPU has a matrix unit.
    bf16: Option<[f32; 2]>,
    /// Blended tiles, relative to the outputs' largest value; how many there are.
    tiles: [f32; 2],
    tile_count: usize,
}

fn main() -> ExitCode {
    let mut folders = case_folders(&common::golden(""));
    if let Some(more) = std::env::var_os("WFVAE_GOLDEN_DIR") {
        folders.extend(case_folders(Path::new(&more)));
    }
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if !wanted.is_empty() {
        folders.retain(|folder| wanted.iter().any(|name| folder.ends_with(name)));
        assert_eq!(folders.len(), wanted.len(), "all of {wanted:?} are cases");
    }
    let (mut passed, mut failed) = (0, vec![]);
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A case that panics, which prints why, is one that failed: the others are run all the same.
        match std::panic::catch_unwind(|| run_case(&name, &folder)) {
            Ok(Outcome::Passed(line)) => {
                passed += 1;
                println!("{line}");
            }
            Ok(Outcome::Skipped(line)) => println!("{line}"),
            Ok(Outcome::Failed(line)) => {
                println!("{line}");
                failed.push(name);
            }
            Err(_) => {
                println!("{name} FAILED: it panicked");
                failed.push(name);
            }
        }
    }
    println!("golden: {passed} passed, {} failed", failed.len());
    if !failed.is_empty() {
        println!("golden: failed: {}", failed.join(" "));
    }
    if failed.is_empty() && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A case's line.
enum Outcome {
    Passed(String),
    Skipped(String),
    Failed(String),
}

fn run_case(name: &str, folder: &Path) -> Outcome {
    match Case::open(name.into(), folder) {
        Ok(case) => case.run().map_or_else(|line| Outcome::Failed(format!("{line} FAILED")), Outcome::Passed),
        Err(e) if e.kind() == ErrorKind::UnsupportedModel => Outcome::Skipped(format!("{name} skip: {e}")),
        Err(e) => Outcome::Failed(format!("{name} FAILED to open: {e}")),
    }
}

/// NaN is the worst.
fn worst(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

/// The built-in model's weights are in the library.
fn open_model(folder: &Path, options: &ModelOptions) -> wfvae::Result<Model> {
    match folder.join("config.json").exists() {
        true => Model::open(folder, options),
        false => Model::builtin(options),
    }
}

fn case_folders(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).unwrap_or_else(|e| panic!("{}: {e}", parent.display()));
    let mut folders: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    folders.sort();
    folders
}

impl Case {
    fn open(name: String, folder: &Path) -> wfvae::Result<Case> {
        let model = open_model(folder, &ModelOptions::default())?;
        let bytes = std::fs::read(folder.join("io.safetensors")).expect("a case has io.safetensors");
        let io = SafeTensors::deserialize(&bytes).expect("io.safetensors is whole");
        let get =
            |key: &str| with_frames(common::tensor(&io, key).unwrap_or_else(|| panic!("{name}: no tensor {key}")));
        Ok(Case {
            model,
            video: get("video"),
            mean: get("mean"),
            logvar: get("logvar"),
            z: get("z"),
            z_scaled: common::tensor(&io, "z_scaled").map(with_frames),
            decoded: get("decoded"),
            folder: folder.into(),
            name,
        })
    }

    fn run(&self) -> Result<String, String> {
        let [_, _, frames, height, width] = self.video.shape[..] else { panic!("{}: video is not 5-D", self.name) };
        let [_, _, latents, ..] = self.mean.shape[..] else { panic!("{}: mean is not 5-D", self.name) };
        let mut errors = Errors::default();

        let info = self.model.info();
        let encode_plans = plans(frames, info.temporal_compression as usize, 1, info.whole_clips);
        self.encode_all(&encode_plans, (width, height), &mut errors);
        let decode_plans = plans(latents, 1, 2, info.decode_whole_clips);
        self.decode_all(&decode_plans, (width, height), &mut errors);

        self.forced(&mut errors);

        let drift = |errors: Option<[f32; 2]>| {
            errors.map_or("-".into(), |[encode, decode]| format!("{encode:.1e} {decode:.1e}"))
        };
        let by_convolution: String = CONVOLUTIONS
            .iter()
            .zip(errors.convolutions)
            .map(|((convolution, layout), [encode, decode])| match layout {
                Layout::ChannelsLast => format!("{convolution:?} channels-last {encode:.1e} {decode:.1e}; "),
                _ => format!("{convolution:?} {encode:.1e} {decode:.1e}; "),
            })
            .collect();
        let line = format!(
            "{} mean {:.1e} logvar {:.1e} sample {:.1e} scaled {} decoded {:.1e} between plans {:.1e}; queries one by one {:.1e} {:.1e}; \
             {by_convolution}half precision caches {:.1e} {:.1e}; f16 {}; bf16 {}; {} blended tiles {:.1e} {:.1e}; encode {} decode {}",
            self.name,
            errors.mean,
            errors.logvar,
            errors.sample,
            self.usable_scaling().map_or("-".into(), |_| format!("{:.1e}", errors.scaled)),
            errors.decoded,
            errors.plans,
            errors.blocks[0],
            errors.blocks[1],
            errors.halves[0],
            errors.halves[1],
            drift(errors.f16),
            drift(errors.bf16),
            errors.tile_count,
            errors.tiles[0],
            errors.tiles[1],
            describe(&encode_plans),
            describe(&decode_plans),
        );
        let small = |error: f32, limit: f32| error <= limit;
        let moments = [errors.mean, errors.logvar, errors.sample, errors.scaled].map(|e| small(e, MOMENTS));
        let largest = self.mean.data.iter().chain(&self.logvar.data).fold(0.0f32, |most, v| most.max(v.abs()));
        let (minor, old_runtime) = MOMENTS_OLD_RUNTIME;
        let version =
            info.runtime_version.split('.').nth(1).and_then(|version| version.parse().ok()).unwrap_or(u32::MAX);
        let runtime = if version < minor { old_runtime } else { MOMENTS }.max(MOMENTS_RUNTIME * largest);
        let limits = CONVOLUTIONS.map(|(convolution, _)| match convolution {
            Convolution::Fast => MOMENTS_FAST,
            Convolution::Stacked | Convolution::Volume => runtime,
            _ => MOMENTS,
        });
        let forced = small(errors.blocks[0], MOMENTS)
            && small(errors.blocks[1], DECODED)
            && errors.convolutions.iter().zip(limits).all(|([encode, decode], limit)| small(*encode, limit) && small(*decode, DECODED))
            && errors.f16.is_none_or(|f16| small(f16[0], HALF[0]) && small(f16[1], HALF[1]))
            && errors.bf16.is_none_or(|bf16| small(bf16[0], BFLOAT[0]) && small(bf16[1], BFLOAT[1]))
            && errors.halves.iter().all(|e| small(*e, HALF_CACHES))
            // Not the whole frame's numbers, but its picture.
            && errors.tiles.iter().all(|e| small(*e, 2.0));
        let fine = forced && moments == [true; 4] && small(errors.decoded, DECODED) && small(errors.plans, MOMENTS);
        if fine { Ok(line) } else { Err(line) }
    }

    /// The same clip on the paths that only large frames take, forced by tiny limits.
    fn forced(&self, errors: &mut Errors) {
        let stream_options = StreamOptions::new(self.video.shape[4], self.video.shape[3]);
        let run = |model: &Model, options: &StreamOptions| -> [(f32, f32); 2] {
            let mut options = options.clone();
            options.posterior = Posterior::Moments;
            let mut stream = Stream::new(model, &options).unwrap();
            let (latents, channels) = (self.mean.shape[2], 2 * self.mean.shape[1]);
            let moments = encode(&mut stream, &frames_first(&self.video), &[usize::MAX]);
            let moments = swap_outer(&moments, latents, channels);
            let expected = [self.mean.data.as_slice(), &self.logvar.data].concat();
            let video = decode(&mut stream, &frames_first(&self.z), &[usize::MAX]);
            let video = swap_outer(&video, self.decoded.shape[2], 3);
            let largest = |values: &[f32]| values.iter().fold(0.0, |max: f32, v| max.max(v.abs()));
            [
                (max_abs(&moments, &expected), largest(&expected)),
                (max_abs(&video, &self.decoded.data), largest(&self.decoded.data)),
            ]
        };
        let mut blocks = ModelOptions::default();
        blocks.attention_bytes = 1;
        errors.blocks = run(&open_model(&self.folder, &blocks).unwrap(), &stream_options).map(|(error, _)| error);
        for ((convolution, layout), errors) in CONVOLUTIONS.into_iter().zip(&mut errors.convolutions) {
            let thin = [
                (Convolution::Fast, Layout::Auto),
                (Convolution::Direct, Layout::Planes),
                (Convolution::Stacked, Layout::ChannelsLast),
            ];
            // Graphs of whole clips are the library's or planes.
            let repeats =
                self.model.info().whole_clips && !matches!(convolution, Convolution::Fast | Convolution::Direct);
            let left_out = !common::whole_grids() && !thin.contains(&(convolution, layout));
            if repeats || left_out || layout == Layout::ChannelsLast && self.model.info().whole_clips {
                continue;
            }
            let mut options = ModelOptions::default();
            (options.convolution, options.layout) = (convolution, layout);
            *errors = run(&open_model(&self.folder, &options).unwrap(), &stream_options).map(|(error, _)| error);
        }
        let mut halves = ModelOptions::default();
        halves.cache_type = CacheType::F16;
        errors.halves = run(&open_model(&self.folder, &halves).unwrap(), &stream_options).map(|(e, most)| e / most);
        let info = self.model.info();
        // Whole clips are float32.
        let narrow = |precision| {
            let of = |whole_clips| if whole_clips { Precision::F32 } else { precision };
            (of(info.whole_clips), of(info.decode_whole_clips))
        };
        if !info.decode_whole_clips {
            let mut f16 = ModelOptions::default();
            (f16.encode_precision, f16.decode_precision) = narrow(Precision::F16);
            let ways = if common::whole_grids() { HALF_CONVOLUTIONS.len() } else { 2 };
            let drift = HALF_CONVOLUTIONS[..ways].iter().map(|&(convolution, layout)| {
                let layout = if info.whole_clips { Layout::Auto } else { layout };
                (f16.convolution, f16.layout) = (convolution, layout);
                run(&open_model(&self.folder, &f16).unwrap(), &stream_options).map(|(e, most)| e / most)
            });
            errors.f16 = drift.reduce(|[a, b], [c, d]| [worst(a, c), worst(b, d)]);
            let mut bf16 = common::bfloat16();
            (bf16.encode_precision, bf16.decode_precision) = narrow(Precision::Bf16);
            if let Some(model) = common::on_matrix_unit(open_model(&self.folder, &bf16)) {
                errors.bf16 = Some(run(&model, &stream_options).map(|(e, most)| e / most));
                errors.plans = max_nan(errors.plans, self.between_plans(&model, &stream_options));
            }
        }
        let unit = self.model.info().spatial_compression;
        let mut tiles = stream_options.clone();
        tiles.tiling = Tiling::Blended { overlap: unit };
        (tiles.tile_width, tiles.tile_height) = (2 * unit, 2 * unit);
        if !info.whole_clips {
            errors.tile_count = Stream::estimate(&self.model, &tiles).unwrap().decode_tiles;
            errors.tiles = run(&self.model, &tiles).map(|(error, most)| error / most);
        }
    }

    /// The largest difference between a clip in one call and one by one.
    fn between_plans(&self, model: &Model, options: &StreamOptions) -> f32 {
        let mut options = options.clone();
        options.posterior = Posterior::Moments;
        let mut stream = Stream::new(model, &options).unwrap();
        let (video, z) = (frames_first(&self.video), frames_first(&self.z));
        let one_by_one = if self.model.info().whole_clips { usize::MAX } else { 1 };
        let moments = [usize::MAX, one_by_one].map(|plan| {
            let moments = encode(&mut stream, &video, &[plan]);
            stream.reset().unwrap();
            moments
        });
        let decoded = [usize::MAX, 1].map(|plan| {
            let video = decode(&mut stream, &z, &[plan]);
            stream.reset().unwrap();
            video
        });
        max_nan(max_abs(&moments[0], &moments[1]), max_abs(&decoded[0], &decoded[1]))
    }

    fn stream(&self, (width, height): (usize, usize), posterior: Posterior, scaled: bool) -> Stream {
        let mut options = StreamOptions::new(width, height);
        (options.posterior, options.scaled) = (posterior, scaled);
        Stream::new(&self.model, &options).unwrap()
    }

    fn encode_all(&self, plans: &[Vec<usize>], size: (usize, usize), errors: &mut Errors) {
        let (channels, latents) = (self.mean.shape[1], self.mean.shape[2]);
        let video = frames_first(&self.video);
        let (mean, logvar) = (frames_first(&self.mean), frames_first(&self.logvar));
        let mut stream = self.stream(size, Posterior::Moments, false);
        let mut first: Option<Vec<f32>> = None;
        for plan in plans {
            let moments = encode(&mut stream, &video, plan);
            stream.reset().unwrap();
            // [T, 2C, h, w] to [2C, T, h, w]: means, then log-variances.
            let by_channel = swap_outer(&moments, latents, 2 * channels);
            let (our_mean, our_logvar) = by_channel.split_at(self.mean.data.len());
            errors.mean = max_nan(errors.mean, max_abs(our_mean, &self.mean.data));
            errors.logvar = max_nan(errors.logvar, max_abs(our_logvar, &self.logvar.data));
            errors.plans = max_nan(errors.plans, max_abs(first.get_or_insert(moments.clone()), &moments));
        }

        // Samples by their definition: the noise that a sample implies must be the same in every plan, and normal.
        let posterior = Posterior::Sample { seed: 7 };
        let whole = encode(&mut self.stream(size, posterior, false), &video, &[usize::MAX]);
        let one_by_one = if self.model.info().whole_clips { usize::MAX } else { 1 };
        let single = encode(&mut self.stream(size, posterior, false), &video, &[one_by_one]);
        errors.sample = max_abs(&whole, &single);
        let noise: Vec<f32> =
            whole.iter().zip(mean.iter().zip(&logvar)).map(|(z, (m, v))| (z - m) / (0.5 * v).exp()).collect();
        let n = noise.len() as f32;
        let variance = noise.iter().map(|e| e * e).sum::<f32>() / n;
        let deviation = (variance - 1.0).abs();
        if deviation.is_nan() || deviation > 6.0 * (2.0 / n).sqrt() {
            println!("{}: the noise of a sample has variance {variance}", self.name);
            errors.sample = f32::INFINITY;
        }

        if let Some(z_scaled) = self.usable_scaling() {
            // z_scaled = (z - shift) * scale, so two points of each channel give its line, which the mean must be on.
            let ours = encode(&mut self.stream(size, Posterior::Mean, true), &video, &[usize::MAX]);
            let ours = swap_outer(&ours, latents, channels);
            let plane = z_scaled.data.len() / channels;
            for c in 0..channels {
                let range = c * plane..(c + 1) * plane;
                let (z, scaled) = (&self.z.data[range.clone()], &z_scaled.data[range.clone()]);
                let (low, high) = extremes(z);
                let scale = (scaled[high] - scaled[low]) / (z[high] - z[low]);
                let expected: Vec<f32> =
                    self.mean.data[range.clone()].iter().map(|m| (m - z[low]) * scale + scaled[low]).collect();
                // The line is known to rounding only.
                let error = max_abs(&ours[range], &expected) / scale.abs().max(1.0);
                errors.scaled = max_nan(errors.scaled, error);
            }
        }
    }

    fn decode_all(&self, plans: &[Vec<usize>], size: (usize, usize), errors: &mut Errors) {
        let frames = self.decoded.shape[2];
        let mut stream = self.stream(size, Posterior::Mean, false);
        let z = frames_first(&self.z);
        let mut first: Option<Vec<f32>> = None;
        for plan in plans {
            let video = decode(&mut stream, &z, plan);
            stream.reset().unwrap();
            let ours = swap_outer(&video, frames, 3);
            errors.decoded = max_nan(errors.decoded, max_abs(&ours, &self.decoded.data));
            errors.plans = max_nan(errors.plans, max_abs(first.get_or_insert(video.clone()), &video));
        }
        if let Some(z_scaled) = self.usable_scaling() {
            let mut stream = self.stream(size, Posterior::Mean, true);
            let video = decode(&mut stream, &frames_first(z_scaled), &[usize::MAX]);
            errors.decoded = max_nan(errors.decoded, max_abs(&swap_outer(&video, frames, 3), &self.decoded.data));
        }
    }

    fn usable_scaling(&self) -> Option<&Tensor> {
        self.z_scaled.as_ref().filter(|_| self.model.info().has_scaling)
    }
}

/// An image without a frames axis, `[1, C, H, W]`, as `[1, C, 1, H, W]`.
fn with_frames(mut tensor: Tensor) -> Tensor {
    if tensor.shape.len() == 4 {
        tensor.shape.insert(2, 1);
    }
    tensor
}

/// `[1, C, T, H, W]` as `[T, C, H, W]`.
fn frames_first(tensor: &Tensor) -> Vec<f32> {
    swap_outer(&tensor.data, tensor.shape[1], tensor.shape[2])
}

fn max_nan(a: f32, b: f32) -> f32 {
    if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }
}

fn extremes(values: &[f32]) -> (usize, usize) {
    let by_value = |a: &usize, b: &usize| values[*a].total_cmp(&values[*b]);
    (0..values.len()).min_by(by_value).zip((0..values.len()).max_by(by_value)).unwrap()
}

/// At once, one by one, [1, U, U, ...], [1, 2U, U, ...] and three random plans. Where only whole clips go: at once.
fn plans(total: usize, unit: usize, seed: u64, whole: bool) -> Vec<Vec<usize>> {
    if whole {
        return vec![vec![total]];
    }
    let mut random = Lcg(seed);
    let mut plans = vec![vec![total], vec![1], vec![1, unit], vec![1, 2 * unit, unit]];
    plans.extend((0..3).map(|_| (0..total).map(|_| 1 + random.below(2 * unit as u64 + 1) as usize).collect()));
    let mut plans: Vec<Vec<usize>> = plans.iter().map(|plan| calls(plan, total)).collect();
    let mut seen = std::collections::HashSet::new();
    plans.retain(|plan| seen.insert(plan.clone()));
    plans
}

fn describe(plans: &[Vec<usize>]) -> String {
    let one = |plan: &Vec<usize>| plan.iter().map(usize::to_string).collect::<Vec<_>>().join("+");
    plans.iter().map(one).collect::<Vec<_>>().join(" ")
}
