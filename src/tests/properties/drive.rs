//! Drives streams by a plan, checks every count that the library announces, and runs the whole clip at once.

use super::ensure;
use crate::engine::{Decoder, Encoder, Engine, Run, WholeClip, WholeClipDecoder, WholeClipEncoder};
use crate::graph;
use crate::media::{Image, ImageMut, Latents, LatentsMut, Range, Rect};
use crate::model::Network;
use crate::runtime::Canceller;
use crate::stream::{Geometry, Model, Precision, Stream, StreamInfo};
use proptest::test_runner::TestCaseError;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

pub(super) type Values = Result<Vec<f32>, TestCaseError>;

/// Standard normal.
pub(super) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| StandardNormal.sample(&mut random)).collect()
}

/// A moving pattern with noise, `[frames, 3, height, width]`, about -1 to 1.
pub(super) fn clip(frames: usize, geometry: &Geometry, seed: u64) -> Vec<f32> {
    let (width, height) = (geometry.width, geometry.height);
    let mut video = noise(frames * 3 * height * width, seed);
    for (i, value) in video.iter_mut().enumerate() {
        let (x, y, c) = (i % width, i / width % height, i / width / height % 3);
        let t = i / width / height / 3;
        let wave = (x as f32 * 0.4 + t as f32 * 0.7 + c as f32).sin() * (y as f32 * 0.3 - t as f32 * 0.2).cos();
        *value = 0.7 * wave + 0.2 * *value;
    }
    video
}

/// Splits `total` into calls of the sizes in `plan`, over and over.
pub(super) fn calls(plan: &[usize], total: usize) -> Vec<usize> {
    let mut left = total;
    let mut next = |size: usize| {
        let size = size.min(left);
        left -= size;
        (size > 0).then_some(size)
    };
    plan.iter().cycle().map_while(|size| next(*size)).collect()
}

/// Runs of a direction's steps for each latent after the first.
fn steps_per_latent(network: &Network) -> u64 {
    (2 << network.decoder.interpolations()) - 1
}

/// Runs of a direction's steps for a clip: the first latent runs each step once.
pub(super) fn steps_of_clip(network: &Network, latents: u64) -> u64 {
    1 + network.decoder.interpolations() as u64 + (latents - 1) * steps_per_latent(network)
}

fn frame_len(info: &StreamInfo) -> usize {
    3 * info.width * info.height
}

/// Calls `run` with room for `count` outputs of `len` values and one more. It must write `count` of them.
fn written(count: u64, len: usize, run: impl FnOnce(&mut [f32]) -> crate::Result<usize>) -> Values {
    let mut room = vec![f32::NAN; (count as usize + 1) * len];
    let done = run(&mut room)? as u64;
    ensure!(done == count, "wrote {done}, expected {count}");
    let rest = room.split_off(count as usize * len);
    ensure!(room.iter().all(|v| v.is_finite()), "not finite, or not written");
    ensure!(rest.iter().all(|v| v.is_nan()), "wrote more than it said");
    Ok(room)
}

/// Encodes the frames of `video` by calls, then flushes if the clip ends there.
pub(super) fn encode(stream: &mut Stream, video: &[f32], calls: &[usize], flush: bool) -> Values {
    let info = stream.info();
    let (frame, latent) = (frame_len(&info), info.encoded_channels * info.latent_width * info.latent_height);
    let mut frames = video.chunks_exact(frame);
    let mut latents = vec![];
    for size in calls {
        let image = |f| Image::planar_f32(f, Range::Signed, info.width, info.height).unwrap();
        let images: Vec<Image> = frames.by_ref().take(*size).map(image).collect();
        let count = stream.encode_count(images.len() as u64)?;
        latents.extend(written(count, latent, |room| stream.encode(&images, LatentsMut::F32(room)))?);
    }
    assert!(frames.next().is_none() || !flush, "the calls are the clip");
    if flush {
        let count = stream.encode_flush_count()?;
        latents.extend(written(count, latent, |room| stream.encode_flush(LatentsMut::F32(room)))?);
        ensure!(stream.encode_flush_count()? == 0, "a second flush");
    }
    let out = stream.info().latents_out - info.latents_out;
    ensure!(latents.len() == out as usize * latent, "latents_out grew by {out}");
    Ok(latents)
}

/// Decodes latents by calls, then flushes if the clip ends there.
pub(super) fn decode(stream: &mut Stream, latents: &[f32], calls: &[usize], flush: bool, tiles: usize) -> Values {
    let info = stream.info();
    let (frame, latent) = (frame_len(&info), info.latent_channels * info.latent_width * info.latent_height);
    let mut left = latents;
    let mut video = vec![];
    for size in calls {
        let before = stream.info();
        let (now, later) = left.split_at(size * latent);
        left = later;
        let count = stream.decode_count(*size as u64)?;
        video.extend(written(count, frame, |room| stream.decode(Latents::F32(now), &mut images(room, &info)))?);
        // The second one waits for its successor.
        if before.latents_in >= 2 {
            let steps = (stream.info().decode_steps - before.decode_steps) / tiles as u64;
            let expected = *size as u64 * steps_per_latent(stream.model().network());
            ensure!(steps == expected, "{steps} steps for {size} latents, expected {expected}");
        }
    }
    assert!(left.is_empty() || !flush, "the calls are the clip");
    if flush {
        let count = stream.decode_flush_count()?;
        video.extend(written(count, frame, |room| stream.decode_flush(&mut images(room, &info)))?);
        ensure!(stream.decode_flush_count()? == 0, "a second flush");
    }
    let out = stream.info().frames_out - info.frames_out;
    ensure!(video.len() == out as usize * frame, "frames_out grew by {out}");
    Ok(video)
}

fn images<'a>(room: &'a mut [f32], info: &StreamInfo) -> Vec<ImageMut<'a>> {
    let image = |f| ImageMut::planar_f32(f, Range::Signed, info.width, info.height).unwrap();
    room.chunks_exact_mut(frame_len(info)).map(image).collect()
}

/// The options of the rank-5 graph.
fn plain(options: &graph::Options) -> graph::Options {
    graph::Options { operators: graph::Operators::Onnx, ..*options }
}

/// Moments of a whole clip by the rank-5 graph.
pub(super) struct WholeEncoder(Geometry, WholeClipEncoder);

impl WholeEncoder {
    pub(super) fn new(model: &Model, geometry: &Geometry) -> crate::Result<Self> {
        let graph = graph::encoder_clip(&model.network().encoder, &plain(model.encoder_options()));
        let steps = model.load(vec![graph], Precision::F32)?;
        let encoder = WholeClipEncoder::new(&steps[0], model.counting(), geometry.padded);
        Ok(WholeEncoder(geometry.clone(), encoder))
    }

    pub(super) fn run(&mut self, video: &[f32]) -> Values {
        let WholeEncoder(geometry, encoder) = self;
        let (width, height) = (geometry.width, geometry.height);
        let frames = video.chunks_exact(3 * width * height);
        let frames: Vec<Image> = frames.map(|f| Image::planar_f32(f, Range::Signed, width, height).unwrap()).collect();
        let mut moments = vec![];
        let mut sink = |_: u64, latent: crate::engine::Values<'_>| clamp_variance(latent.floats(), &mut moments);
        encoder.run(&frames, frames.len(), &mut Run::new(&Canceller::new()?, 0, &mut sink))?;
        Ok(moments)
    }
}

/// As a stream's moments are.
fn clamp_variance(latent: &[f32], moments: &mut Vec<f32>) -> crate::Result<()> {
    let (mean, variance) = latent.split_at(latent.len() / 2);
    moments.extend(mean);
    moments.extend(variance.iter().map(|v| v.clamp(-30.0, 20.0)));
    Ok(())
}

/// Frames of a whole clip by the rank-5 graph.
pub(super) struct WholeDecoder(WholeClipDecoder);

impl WholeDecoder {
    pub(super) fn new(model: &Model, geometry: &Geometry) -> crate::Result<Self> {
        let network = model.network();
        let (channels, interpolation) = (network.latent_channels, network.interpolation);
        let graph = graph::decoder_clip(&network.decoder, channels, interpolation, &plain(model.encoder_options()));
        let steps = model.load(vec![graph], Precision::F32)?;
        Ok(WholeDecoder(WholeClipDecoder::new(&steps[0], model.counting(), geometry.padded)))
    }

    pub(super) fn run(&mut self, latents: &[f32], count: usize) -> Values {
        let WholeDecoder(decoder) = self;
        let latent = latents.len() / count;
        let source = |n: usize, _: &Rect, values: &mut [f32]| values.copy_from_slice(&latents[n * latent..][..latent]);
        let mut video = vec![];
        let mut sink = |_: u64, planes: crate::engine::Values<'_>| {
            video.extend(planes.floats());
            Ok(())
        };
        decoder.run(&source, count, &mut Run::new(&Canceller::new()?, 0, &mut sink))?;
        Ok(video)
    }
}

/// Moments of one frame by the steps. With one frame there is no other for a norm to see.
pub(super) fn encode_image(model: &Model, geometry: &Geometry, frame: &[f32]) -> Values {
    let steps = model.load(graph::encoder(&model.network().encoder, model.encoder_options()), Precision::F32)?;
    let mut moments = vec![];
    let mut sink = |_: u64, latent: crate::engine::Values<'_>| clamp_variance(latent.floats(), &mut moments);
    let (width, height) = (geometry.width, geometry.height);
    let image = Image::planar_f32(frame, Range::Signed, width, height)?;
    let canceller = Canceller::new()?;
    let mut encoder = Encoder::new(&steps, model.counting(), geometry.padded, None)?;
    encoder.push(0, &[image], 0, &geometry.padded.rect(), &mut Run::new(&canceller, 0, &mut sink))?;
    Ok(moments)
}

/// The frame of one latent by the steps.
pub(super) fn decode_image(model: &Model, geometry: &Geometry, latent: &[f32]) -> Values {
    let network = model.network();
    let steps = model
        .load(graph::decoder(&network.decoder, network.latent_channels, model.encoder_options()), Precision::F32)?;
    let mut frame = vec![];
    let mut decoder = Decoder::new(&steps, model.counting(), geometry.padded, None)?;
    let source = |_: usize, _: &Rect, z: &mut [f32]| z.copy_from_slice(latent);
    let mut sink = |_: u64, planes: crate::engine::Values<'_>| {
        frame.extend(planes.floats());
        Ok(())
    };
    decoder.push(0, &source, 0, &geometry.latent_rect(), &mut Run::new(&Canceller::new()?, 0, &mut sink))?;
    Ok(frame)
}
