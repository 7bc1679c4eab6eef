//! Streams of random models.

use super::cases::{self, Case, Kind, Resume, Variant, case, causal, first_generation, second_generation};
use super::drive::{self, Values, WholeDecoder, WholeEncoder, calls, clip, noise};
use super::{check, ensure};
use crate::engine::of_clip;
use crate::error::ErrorKind;
use crate::graph;
use crate::media::Posterior;
use crate::stream::{CacheType, Convolution, Model, ModelOptions, Snapshot, Stream, StreamOptions};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestCaseResult};

#[test]
fn any_stream_of_the_first_generation_is_its_whole_clip() {
    check("first generation", 20, case(Kind::Any, first_generation(Kind::Any)), stream_is_whole_clip);
}

#[test]
fn any_stream_of_the_second_generation_is_its_whole_clip() {
    check("second generation", 36, case(Kind::Any, second_generation(Kind::Any)), stream_is_whole_clip);
}

/// Encoders take whole clips; most decoders do, too.
#[test]
fn any_stream_of_a_causal_vae_is_its_whole_clip() {
    check("causal", 15, case(Kind::Any, causal()), stream_is_whole_clip);
}

#[test]
fn exact_tiles_are_the_whole_frame() {
    let config = prop_oneof![
        1 => first_generation(Kind::Local).boxed(),
        3 => second_generation(Kind::Local).boxed(),
    ];
    check("exact tiles", 10, case(Kind::Local, config), stream_is_whole_clip);
}

/// Interpolation by its definition: position (i + 1/2) / 2 - 1/2 among all low-rate frames but the first, within its ends.
#[test]
fn interpolation_equals_its_definition() {
    use crate::model::Interpolation::*;
    check("interpolation", 200, (1..200u64, prop_oneof![Just(Nearest), Just(Trilinear)]), |(count, interpolation)| {
        let blends = of_clip(interpolation, count)?;
        ensure!(blends.len() as u64 == 2 * count - 1, "{} frames", blends.len());
        for (i, blend) in blends.iter().enumerate() {
            let position = match (i, interpolation) {
                (0, _) => 0.0,
                (_, Nearest) => (1 + (i - 1) / 2) as f32,
                (_, Trilinear) => 1.0 + ((i as f32 - 0.5) / 2.0 - 0.5).clamp(0.0, count as f32 - 2.0),
            };
            let weighted = blend.weights[0] * blend.before as f32 + blend.weights[1] * blend.now as f32;
            let near = (position - blend.before as f32).abs() <= 1.0 && (position - blend.now as f32).abs() <= 1.0;
            ensure!(weighted == position && near, "frame {i}: {blend:?}, expected position {position}");
        }
        Ok(())
    });
}

/// What a whole clip takes is counted for each of its frames: at most what the steps take for one, and less where it is
/// most at a lower rate.
#[test]
fn the_working_memory_of_a_clip_is_that_of_its_frames() {
    let config = prop_oneof![first_generation(Kind::Any).boxed(), second_generation(Kind::Any).boxed()];
    check("working memory", 100, config, |config| {
        let network = config.describe();
        let options = graph::Options {
            cache: graph::Element::F32,
            compute: graph::Element::F32,
            attention_bytes: 1 << 26,
            operators: graph::Operators::Onnx,
            taps: graph::Taps::Added,
            channels_last: false,
            narrow_norms: false,
            wide: false,
        };
        let (channels, interpolation) = (network.latent_channels, network.interpolation);
        let encoder = (graph::encoder_clip(&network.encoder, &options), graph::encoder(&network.encoder, &options));
        let decoder = &network.decoder;
        let decoder = (
            graph::decoder_clip(decoder, channels, interpolation, &options),
            graph::decoder(decoder, channels, &options),
        );
        for (clip, steps) in [encoder, decoder] {
            let most = steps.iter().map(|step| step.working.floats).fold(0.0, f64::max);
            let ratio = clip.working.floats / most;
            ensure!((0.02..=2.0).contains(&ratio), "{}: {ratio} times that of a frame", clip.name);
        }
        Ok(())
    });
}

fn stream_is_whole_clip(case: Case) -> TestCaseResult {
    let folder = tempfile::tempdir().unwrap();
    case.weights.write(folder.path(), &case.config);
    let mut options = ModelOptions { threads: 1, ..ModelOptions::default() };
    let reference = Model::open(folder.path(), &options)?;
    options.convolution = case.convolution();
    case.weights.check_haar(reference.network()).map_err(TestCaseError::fail)?;
    options.attention_bytes = u64::from(case.tiny_attention);
    if case.variant == Variant::HalfCaches {
        options.cache_type = CacheType::F16;
    }
    let model = Model::open(folder.path(), &options)?;
    let info = model.info();
    match info.whole_clips {
        true => encode_whole_clip(&case, &model)?,
        false => encode(&case, &model, &reference)?,
    }
    match info.decode_whole_clips {
        true => decode_whole_clip(&case, &model),
        // What attention mixes has no receptive field, and what takes whole clips no tiles.
        false => decode(&case, &model, &reference),
    }
}

fn encode(case: &Case, model: &Model, reference: &Model) -> TestCaseResult {
    let info = model.info();
    let mut options = case.options(info.spatial_compression, info.encode_halo);
    (options.decode, options.posterior) = (false, Posterior::Moments);
    let frames = case.frames(info.temporal_compression as usize);
    let geometry = cases::geometry(&options, info.spatial_compression);
    let video = clip(frames, &geometry, case.weights.seed);

    let run = |stream: &mut Stream, video: &[f32], calls: &[usize], flush| drive::encode(stream, video, calls, flush);
    let direction = Direction {
        case,
        model,
        options: &options,
        plans: &case.encode_plans,
        longest: frames as u64,
        limit: None,
        run: &run,
    };
    let moments = direction.all_plans(&video, frames)?;
    let latents = model.latents_for_frames(frames as u64);
    ensure!(latents == 1 + (frames as u64 - 1).div_ceil(info.temporal_compression), "{latents} latents");
    let expected_len = latents as usize * 2 * info.latent_channels * geometry.latent_plane();
    ensure!(moments.len() == expected_len, "{} moments, expected {expected_len}", moments.len());

    let tiles = Stream::estimate(model, &options)?.encode_tiles as u64;
    let mut stream = direction.stream(true)?;
    let calls = if case.at_once() { vec![frames] } else { vec![1; frames] };
    let one_by_one = drive::encode(&mut stream, &video, &calls, true)?;
    ensure!(one_by_one == moments, "encode: frame by frame differs");
    let (steps, expected) = (stream.info().encode_steps, tiles * drive::steps_of_clip(model.network(), latents));
    ensure!(steps == expected, "{steps} steps to encode, expected {expected}");

    if direction.is_exact() {
        check_tiled(case, tiles)?;
        let mut whole = WholeEncoder::new(reference, &geometry)?;
        compare("moments", case, &moments, 1e-5, &video, |video| whole.run(video))?;
    }
    Ok(())
}

fn decode(case: &Case, model: &Model, reference: &Model) -> TestCaseResult {
    let info = model.info();
    let mut options = case.options(info.spatial_compression, info.decode_halo);
    options.encode = false;
    let geometry = cases::geometry(&options, info.spatial_compression);
    let latents = noise(case.latents * info.latent_channels * geometry.latent_plane(), case.weights.seed);
    let total = model.frames_for_latents(case.latents as u64);
    ensure!(total == 1 + info.temporal_compression * (case.latents as u64 - 1), "{total} frames");

    let tiles = Stream::estimate(model, &options)?.decode_tiles;
    let run = |stream: &mut Stream, latents: &[f32], calls: &[usize], flush| {
        drive::decode(stream, latents, calls, flush, tiles)
    };
    let limit = case.unwanted_frames.map(|frames| total.saturating_sub(frames));
    let direction =
        Direction { case, model, options: &options, plans: &case.decode_plans, longest: total, limit, run: &run };
    let video = direction.all_plans(&latents, case.latents)?;
    let frame = 3 * geometry.width * geometry.height;
    let expected_len = limit.unwrap_or(total) as usize * frame;
    ensure!(video.len() == expected_len, "{} values of frames, expected {expected_len}", video.len());

    let mut stream = direction.stream(true)?;
    stream.set_frame_count(None)?;
    let calls = if case.at_once() { vec![case.latents] } else { vec![1; case.latents] };
    let one_by_one = drive::decode(&mut stream, &latents, &calls, true, tiles)?;
    ensure!(one_by_one[..expected_len] == video, "decode: latent by latent differs");
    let steps = stream.info().decode_steps;
    let expected = tiles as u64 * drive::steps_of_clip(model.network(), case.latents as u64);
    ensure!(steps == expected, "{steps} steps to decode, expected {expected}");

    if direction.is_exact() {
        check_tiled(case, tiles as u64)?;
        let mut whole = WholeDecoder::new(reference, &geometry)?;
        compare("frames", case, &one_by_one, 5e-5, &latents, |latents| whole.run(latents, case.latents))?;
    }
    Ok(())
}

fn check_tiled(case: &Case, tiles: u64) -> TestCaseResult {
    let tiled = matches!(case.variant, Variant::ExactTiles { .. });
    ensure!(tiled == (tiles > 1), "{tiles} tiles");
    Ok(())
}

type Run<'a> = dyn Fn(&mut Stream, &[f32], &[usize], bool) -> Values + 'a;

/// One direction of a case, with all that streams of it have in common.
struct Direction<'a> {
    case: &'a Case,
    model: &'a Model,
    options: &'a StreamOptions,
    plans: &'a [Vec<usize>; 2],
    /// Frames of the clip.
    longest: u64,
    /// Frames that are to be written.
    limit: Option<u64>,
    run: &'a Run<'a>,
}

impl Direction<'_> {
    fn is_exact(&self) -> bool {
        !matches!(self.case.variant, Variant::BlendedTiles { .. })
    }

    /// `at_once`: each call gets a whole clip, if the case says so.
    fn stream(&self, at_once: bool) -> Result<Stream, TestCaseError> {
        let mut options = self.options.clone();
        if at_once && self.case.at_once() {
            options.clip_frames = self.longest;
        }
        let mut stream = Stream::new(self.model, &options)?;
        stream.set_frame_count(self.limit)?;
        Ok(stream)
    }

    /// The clip's `count` frames or latents by both plans, with a pause in the second. All results are the same.
    fn all_plans(&self, input: &[f32], count: usize) -> Values {
        let mut stream = self.stream(false)?;
        let first = (self.run)(&mut stream, input, &calls(&self.plans[0], count), true)?;

        stream.reset()?;
        stream.set_frame_count(self.limit)?;
        let plan = calls(&self.plans[1], count);
        let (before, after) = plan.split_at(self.case.cut % (plan.len() + 1));
        let (start, rest) = input.split_at(input.len() / count * before.iter().sum::<usize>());
        let mut second = (self.run)(&mut stream, start, before, false)?;
        let snapshot = stream.snapshot()?;
        let mut fork = stream.fork()?;
        let uninterrupted = (self.run)(&mut stream, rest, after, true)?;
        let stream = match self.case.resume {
            Resume::SameStream => {
                stream.restore(&snapshot)?;
                &mut stream
            }
            Resume::Bytes => {
                // Whatever clip it is in.
                fork.restore(&stream.snapshot()?)?;
                fork.restore(&Snapshot::from_bytes(snapshot.as_bytes())?)?;
                &mut fork
            }
            Resume::Fork => &mut fork,
        };
        let resumed = (self.run)(stream, rest, after, true)?;
        ensure!(resumed == uninterrupted, "a resumed stream differs");
        second.extend(resumed);
        ensure!(second == first, "{plan:?} gives other values than {:?}", calls(&self.plans[0], count));

        if self.case.at_once() {
            let mut stream = self.stream(true)?;
            for _ in 0..2 {
                let whole = (self.run)(&mut stream, input, &[count], true)?;
                ensure!(whole == first, "the clip at once differs from a stream");
                stream.reset()?;
                stream.set_frame_count(self.limit)?;
            }
        }
        Ok(first)
    }
}

/// Fails unless `ours` is what `whole` makes of `input`, but for rounding: `limit` for values of order one, and more where
/// the network itself makes much of little, as a layer norm of few channels does. Large tiles round in every layer some
/// times as much as direct sums do.
fn compare(
    what: &str,
    case: &Case,
    ours: &[f32],
    limit: f32,
    input: &[f32],
    mut whole: impl FnMut(&[f32]) -> Values,
) -> TestCaseResult {
    let expected = whole(input)?;
    ensure!(ours.len() == expected.len(), "{what}: {} values, expected {}", ours.len(), expected.len());
    ensure!(expected.iter().all(|v| v.is_finite()), "{what}: the whole clip is not finite");
    // How much the network makes of little. One draw of noise may miss what the next one finds amplified 25 times as much.
    let mut amplified = |by: f32, distance: fn(&[f32], &[f32]) -> f32| {
        (1..=3).try_fold(0.0f32, |most, draw| -> Result<f32, TestCaseError> {
            let input: Vec<f32> = input.iter().zip(noise(input.len(), draw)).map(|(v, n)| v + by * n).collect();
            Ok(distance(&whole(&input)?, &expected).max(most))
        })
    };
    if case.variant == Variant::HalfCaches {
        // Half precision rounds by up to 1 / 2048, and single values that are near a norm's zero change much.
        let size = root_mean_square(&expected, &vec![0.0; expected.len()]);
        let limit = 0.01 * size + 10.0 * amplified(5e-4, root_mean_square)?;
        prop_assume!(limit < 0.2 * size);
        let error = root_mean_square(ours, &expected);
        let text = "off by half precision caches, root mean square";
        ensure!(error <= limit, "{what}: {error:.1e} {text}, limit {limit:.1e}, values of {size:.1}");
        return Ok(());
    }
    let size = expected.iter().fold(1.0, |max: f32, v| max.max(v.abs()));
    let times = if case.convolution() == Convolution::Direct { 5.0 } else { 20.0 };
    let limit = limit * size + times * amplified(1e-6, max_abs)?;
    // Such a network, all of whose rounding is amplified, proves nothing.
    prop_assume!(limit < 2e-4 * size);
    let error = max_abs(ours, &expected);
    ensure!(error <= limit, "{what}: max-abs {error:.1e} from the whole clip, limit {limit:.1e}, values to {size:.1}");
    Ok(())
}

fn max_abs(a: &[f32], b: &[f32]) -> f32 {
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    // NaN must not look like agreement.
    differences.fold(0.0, |max, d| if d <= max { max } else { d })
}

fn root_mean_square(a: &[f32], b: &[f32]) -> f32 {
    (a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / a.len() as f32).sqrt()
}

/// Statistics over the clip: whole clips only. With one frame there is no other to see, so the steps can be compared.
fn encode_whole_clip(case: &Case, model: &Model) -> TestCaseResult {
    let info = model.info();
    let [width, height] = case.grid.map(|n| n * info.spatial_compression);
    let mut options = StreamOptions::new(width, height);
    (options.posterior, options.pad, options.decode) = (Posterior::Moments, true, false);
    let geometry = cases::geometry(&options, info.spatial_compression);
    let frames = case.frames(info.temporal_compression as usize);
    let video = clip(frames, &geometry, case.weights.seed);
    let mut stream = Stream::new(model, &options)?;
    let moments = drive::encode(&mut stream, &video, &[frames], true)?;
    let latents = model.latents_for_frames(frames as u64);
    let expected_len = latents as usize * 2 * info.latent_channels * geometry.latent_plane();
    ensure!(moments.len() == expected_len, "{} moments, expected {expected_len}", moments.len());
    let refused = stream.encode_count(1).err().map(|error| error.kind());
    ensure!(refused == Some(ErrorKind::InvalidState), "a second call: {refused:?}");
    stream.reset()?;
    ensure!(drive::encode(&mut stream, &video, &[frames], true)? == moments, "the same clip again differs");
    options.pad = false;
    let unpadded = Stream::new(model, &options)?.encode_count(frames as u64);
    let fits = model.frames_for_latents(latents) == frames as u64;
    ensure!(unpadded.is_ok() == fits, "{frames} frames without padding: {unpadded:?}");

    let mut whole = WholeEncoder::new(model, &geometry)?;
    compare("moments", case, &moments, 1e-5, &video, |video| whole.run(video))?;

    // CausalVAE's encoder has steps in image models only.
    let image = &video[..3 * width * height];
    if model.network().encoder.wavelet.is_some() {
        let ours = drive::encode_image(model, &geometry, image)?;
        let mut whole = WholeEncoder::new(model, &geometry)?;
        compare("moments of an image", case, &ours, 1e-5, image, |image| whole.run(image))?;
    }
    Ok(())
}

/// The same of decoding.
fn decode_whole_clip(case: &Case, model: &Model) -> TestCaseResult {
    let info = model.info();
    let [width, height] = case.grid.map(|n| n * info.spatial_compression);
    let mut options = StreamOptions::new(width, height);
    options.encode = false;
    let geometry = cases::geometry(&options, info.spatial_compression);
    let mut stream = Stream::new(model, &options)?;
    let z = noise(case.latents * info.latent_channels * geometry.latent_plane(), case.weights.seed);
    let decoded = drive::decode(&mut stream, &z, &[case.latents], true, 1)?;
    let expected_len = model.frames_for_latents(case.latents as u64) as usize * 3 * width * height;
    ensure!(decoded.len() == expected_len, "{} values of frames, expected {expected_len}", decoded.len());

    let refused = stream.decode_count(1).err().map(|error| error.kind());
    ensure!(refused == Some(ErrorKind::InvalidState), "a second call: {refused:?}");
    let mut whole = WholeDecoder::new(model, &geometry)?;
    compare("frames", case, &decoded, 5e-5, &z, |z| whole.run(z, case.latents))?;

    let latent = &z[..z.len() / case.latents];
    let ours = drive::decode_image(model, &geometry, latent)?;
    let mut whole = WholeDecoder::new(model, &geometry)?;
    compare("frame of a latent", case, &ours, 5e-5, latent, |latent| whole.run(latent, 1))
}
