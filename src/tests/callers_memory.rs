//! Streams whose caller has its frames in a device's memory, on a fake device, for which that is the CPU's. All but the kernels and
//! the driver's calls is what runs on a CUDA device.

// As callers outside the crate must.
#![allow(clippy::field_reassign_with_default)]

use crate::error::ErrorKind;
use crate::media::{Image, ImageMut, LatentType, Latents, LatentsMut, PixelFormat, Posterior, Range, Yuv};
use crate::stream::{MemoryKind, Model, ModelOptions, Provider, Stream, StreamOptions, Tiling};
use half::f16;
use std::path::Path;

const SIZE: [usize; 2] = [47, 30];

fn model(case: &str) -> Model {
    Model::open_on_fake_device(Some(&Path::new("tests/golden").join(case)), &ModelOptions::default()).unwrap()
}

fn options(memory: MemoryKind) -> StreamOptions {
    let mut options = StreamOptions::new(SIZE[0], SIZE[1]);
    (options.pad, options.frame_memory, options.posterior) = (true, memory, Posterior::Moments);
    options
}

/// Values of a latent that encoding writes, and that decoding reads.
fn latent_sizes(stream: &Stream) -> [usize; 2] {
    let info = stream.info();
    [info.encoded_channels, info.latent_channels].map(|channels| channels * info.latent_width * info.latent_height)
}

fn picture(format: PixelFormat, frame: usize) -> Vec<u8> {
    let bytes = format.bytes(SIZE[0], SIZE[1]).unwrap();
    match format {
        PixelFormat::RgbPlanarF32(_) => {
            (0..bytes / 4).flat_map(|i| (((i * 7 + frame * 29) % 251) as f32 / 250.0).to_ne_bytes()).collect()
        }
        _ => (0..bytes).map(|i| ((i * 7 + i / SIZE[0] * 13 + frame * 29) % 251) as u8).collect(),
    }
}

/// 17 frames in calls of so many, and what comes of them: moments, and frames of the means.
fn round_trip(stream: &mut Stream, format: PixelFormat, call: usize) -> [Vec<u8>; 2] {
    let [size, _] = latent_sizes(stream);
    let pictures: Vec<Vec<u8>> = (0..17).map(|frame| picture(format, frame)).collect();
    let images: Vec<Image> =
        pictures.iter().map(|bytes| Image::packed(bytes, format, SIZE[0], SIZE[1]).unwrap()).collect();
    let mut latents = vec![0.0; 17 * size];
    let mut count = 0;
    for images in images.chunks(call) {
        count += stream.encode(images, LatentsMut::F32(&mut latents[count * size..])).unwrap();
    }
    count += stream.encode_flush(LatentsMut::F32(&mut latents[count * size..])).unwrap();
    latents.truncate(count * size);
    let means: Vec<f32> = latents.chunks(size).flat_map(|latent| &latent[..size / 2]).copied().collect();
    let mut frames = vec![];
    for latents in means.chunks(call * size / 2) {
        let count = stream.decode_count((2 * latents.len() / size) as u64).unwrap() as usize;
        frames.extend(written(format, count, |images| stream.decode(Latents::F32(latents), images).unwrap()));
    }
    let count = stream.decode_flush_count().unwrap() as usize;
    frames.extend(written(format, count, |images| stream.decode_flush(images).unwrap()));
    [latents.into_iter().flat_map(f32::to_ne_bytes).collect(), frames]
}

fn written(format: PixelFormat, count: usize, write: impl FnOnce(&mut [ImageMut<'_>]) -> usize) -> Vec<u8> {
    let bytes = format.bytes(SIZE[0], SIZE[1]).unwrap();
    // Aligned for all elements.
    let mut words = vec![0u32; count * bytes.next_multiple_of(4) / 4];
    let mut images: Vec<ImageMut> = words
        .chunks_mut(bytes.div_ceil(4))
        .map(|words| {
            // SAFETY: these words, viewed as bytes.
            let all = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), bytes) };
            ImageMut::packed(all, format, SIZE[0], SIZE[1]).unwrap()
        })
        .collect();
    assert_eq!(write(&mut images), count);
    drop(images);
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

#[test]
fn frames_on_a_device_give_what_others_give() {
    for case in ["v1-tiny", "v1-tiny-8x", "own-8x-image"] {
        let model = model(case);
        let yuv = Yuv::default();
        for format in [PixelFormat::Rgb8, PixelFormat::RgbPlanarF32(Range::Unit), PixelFormat::Nv12(yuv)] {
            let [expected, found] = [MemoryKind::Cpu, MemoryKind::Cuda].map(|memory| {
                let mut stream = Stream::new(&model, &options(memory)).unwrap();
                let first = round_trip(&mut stream, format, 5);
                stream.reset().unwrap();
                assert!(round_trip(&mut stream, format, 1) == first, "{case} {format:?} {memory:?}: one a call");
                first
            });
            // The CPU's formats of 8-bit RGB are rounded on the device, by the same rule.
            assert!(found == expected, "{case} {format:?}");
            assert!(expected[1].iter().any(|byte| *byte != expected[1][0]));
        }
    }
}

/// Only what was found in each frame comes back of them.
#[test]
fn frames_on_a_device_do_not_cross() {
    let model = model("v1-tiny");
    let mut stream = Stream::new(&model, &options(MemoryKind::Cuda)).unwrap();
    let traffic = &model.device().expect("it has a device").traffic;
    let counts = || [&traffic.sent, &traffic.fetched].map(|count| count.load(std::sync::atomic::Ordering::Relaxed));
    let before = counts();
    let [moments, frames] = round_trip(&mut stream, PixelFormat::Rgb8, 4);
    let (latents, frames) = (5, frames.len() / PixelFormat::Rgb8.bytes(SIZE[0], SIZE[1]).unwrap().next_multiple_of(4));
    assert!(!moments.is_empty() && frames == 17);
    assert_eq!(counts(), [before[0] + latents, before[1] + latents + frames as u64]);
}

#[test]
fn snapshots_go_from_one_kind_of_memory_to_the_other() {
    let model = model("v1-tiny");
    let [cpu, cuda] = [MemoryKind::Cpu, MemoryKind::Cuda].map(|memory| Stream::new(&model, &options(memory)).unwrap());
    let run = |mut stream: Stream, mut other: Stream| {
        let picture = |frame| picture(PixelFormat::Rgb8, frame);
        let push = |stream: &mut Stream, frames: std::ops::Range<usize>| {
            let [size, _] = latent_sizes(stream);
            let mut latents = vec![0.0; 3 * size];
            let pictures: Vec<Vec<u8>> = frames.map(picture).collect();
            let images: Vec<Image> = pictures
                .iter()
                .map(|bytes| Image::packed(bytes, PixelFormat::Rgb8, SIZE[0], SIZE[1]).unwrap())
                .collect();
            let count = stream.encode(&images, LatentsMut::F32(&mut latents)).unwrap();
            latents.truncate(count * size);
            latents
        };
        let first = push(&mut stream, 0..7);
        other.restore(&stream.snapshot().unwrap()).unwrap();
        [first, push(&mut other, 7..13), push(&mut stream, 7..13)]
    };
    let [first, second, third] = run(cpu, cuda);
    assert!(second == third && !first.is_empty());
    let fork = Stream::new(&model, &options(MemoryKind::Cuda)).unwrap().fork().unwrap();
    assert!(run(fork, Stream::new(&model, &options(MemoryKind::Cpu)).unwrap()) == [first, second, third]);
}

#[test]
fn what_frames_on_a_device_cannot_be_is_refused() {
    let refused = |model: &Model, change: fn(&mut StreamOptions)| {
        let mut options = options(MemoryKind::Cuda);
        change(&mut options);
        for error in [Stream::new(model, &options).err(), Stream::estimate(model, &options).err()] {
            let error = error.expect("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.text().starts_with("frame_memory cuda"), "{error}");
        }
    };
    let ours = model("v1-tiny");
    refused(&ours, |options| options.alpha = true);
    refused(&ours, |options| options.tiling = Tiling::Exact);
    refused(&ours, |options| options.tiling = Tiling::Blended { overlap: 0 });
    refused(&model("own-v2-groupnorm"), |_| {});
    let mut cpu = ModelOptions::default();
    cpu.provider = Provider::Cpu;
    refused(&Model::open("tests/golden/v1-tiny", &cpu).unwrap(), |_| {});
}

#[test]
fn what_is_not_finite_is_found_on_the_device() {
    let model = model("v1-tiny");
    let mut stream = Stream::new(&model, &options(MemoryKind::Cuda)).unwrap();
    let format = PixelFormat::RgbPlanarF32(Range::Unit);
    let [good, mut bad] = [0, 1].map(|frame| picture(format, frame));
    let at = SIZE[0] * SIZE[1] + 4 * SIZE[0] + 3;
    bad[4 * at..][..4].copy_from_slice(&f32::NAN.to_ne_bytes());
    let images = [&good, &bad].map(|bytes| Image::packed(bytes, format, SIZE[0], SIZE[1]).unwrap());
    let [size, latent] = latent_sizes(&stream);
    let mut latents = vec![0.0; 2 * size];
    let error = stream.encode(&images, LatentsMut::F32(&mut latents)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFinite);
    assert!(error.text().starts_with("frame 1 of the call, frame 1 of the clip: G at column 3, row 4 is"), "{error}");
    assert!(!stream.info().needs_reset, "nothing was consumed");
    assert_eq!(stream.encode(&images[..1], LatentsMut::F32(&mut latents)).unwrap(), 1);

    // Results: of the network, and those that are too large for the picture.
    let mut decode = |value: f32, format| {
        stream.reset().unwrap();
        let bytes = PixelFormat::RgbPlanarF32(Range::Unit).bytes(SIZE[0], SIZE[1]).unwrap();
        let mut words = vec![0u32; bytes / 4];
        // SAFETY: these words, viewed as bytes.
        let all = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), bytes) };
        let count = PixelFormat::bytes(format, SIZE[0], SIZE[1]).unwrap();
        let mut frames = [ImageMut::packed(&mut all[..count], format, SIZE[0], SIZE[1]).unwrap()];
        let latents: Vec<f32> = (0..latent).map(|i| if i % 3 == 0 { value } else { 0.5 }).collect();
        let error = stream.decode(Latents::F32(&latents), &mut frames).expect_err("it is too large");
        assert!(error.kind() == ErrorKind::NotFinite && stream.info().needs_reset);
        error.text().to_string()
    };
    let text = decode(3e38, PixelFormat::Rgb8);
    assert!(text.contains("frame 0 holds a NaN or an infinity"), "{text}");
    let text = decode(1e12, PixelFormat::RgbPlanarF16(Range::Signed));
    assert!(text.starts_with("frame 0 of the clip: ") && text.contains("is too large for float16"), "{text}");
}

/// What the C door does with latents there.
#[test]
fn latents_on_a_device_are_those_of_the_cpu() {
    let model = model("v1-tiny");
    for kind in [LatentType::F32, LatentType::F16] {
        let mut options = StreamOptions::new(SIZE[0], SIZE[1]);
        (options.pad, options.posterior) = (true, Posterior::Sample { seed: 5 });
        let mut cpu = Stream::new(&model, &options).unwrap();
        options.latent_memory = MemoryKind::Cuda;
        let mut cuda = Stream::new(&model, &options).unwrap();
        let pictures: Vec<Vec<u8>> = (0..9).map(|frame| picture(PixelFormat::Rgb8, frame)).collect();
        let images: Vec<Image> =
            pictures.iter().map(|bytes| Image::packed(bytes, PixelFormat::Rgb8, SIZE[0], SIZE[1]).unwrap()).collect();
        let values = 3 * latent_sizes(&cpu)[0];
        let (mut floats, mut halves) = (vec![0.0f32; values], vec![f16::ZERO; values]);
        let (mut device_floats, mut device_halves) = (vec![9.0f32; values], vec![f16::MAX; values]);
        let (into, out) = match kind {
            LatentType::F32 => (LatentsMut::F32(&mut floats), device_floats.as_mut_ptr().cast()),
            LatentType::F16 => (LatentsMut::F16(&mut halves), device_halves.as_mut_ptr().cast()),
        };
        assert_eq!(cpu.encode(&images, into).unwrap(), 3);
        let call = cuda.ready().unwrap().encode(Some(images.len())).unwrap();
        // SAFETY: there is room for three latents.
        assert_eq!(unsafe { call.run_to_device(&images, out, kind) }.unwrap(), 3);
        let (latents, from) = match kind {
            LatentType::F32 => (Latents::F32(&floats), device_floats.as_ptr().cast()),
            LatentType::F16 => (Latents::F16(&halves), device_halves.as_ptr().cast()),
        };
        match kind {
            LatentType::F32 => assert!(floats == device_floats),
            LatentType::F16 => assert!(halves == device_halves),
        }
        let count = cpu.decode_count(3).unwrap() as usize;
        let expected = written(PixelFormat::Rgb8, count, |frames| cpu.decode(latents, frames).unwrap());
        let found = written(PixelFormat::Rgb8, count, |frames| {
            let call = cuda.ready().unwrap().decode(Some(3), count).unwrap();
            // SAFETY: three latents are there.
            unsafe { call.run_from_device(from, 3, kind, frames) }.unwrap()
        });
        assert!(found == expected && count > 0, "{kind:?}");
    }
}

/// Frames behind the clip's end are not written, but checked, as in the CPU's memory. What was found in frames before is forgotten.
#[test]
fn frames_behind_the_clip_s_end_are_only_checked() {
    let model = model("v1-tiny");
    let format = PixelFormat::Rgb8;
    let results = [MemoryKind::Cpu, MemoryKind::Cuda].map(|memory| {
        let mut stream = Stream::new(&model, &options(memory)).unwrap();
        let [_, latent] = latent_sizes(&stream);
        let mut decode = |values: [f32; 2], end: Option<u64>| {
            stream.reset().unwrap();
            stream.set_frame_count(end).unwrap();
            let latents: Vec<f32> = values.iter().flat_map(|value| vec![*value; latent]).collect();
            let count = stream.decode_count(2).unwrap() as usize;
            let mut failed = None;
            let frames = written(format, count, |images| match stream.decode(Latents::F32(&latents), images) {
                Ok(count) => count,
                Err(e) => {
                    failed = Some(e.to_string());
                    count
                }
            });
            failed.map_or(Ok(frames), Err)
        };
        [
            decode([0.5, 0.25], Some(2)),
            decode([f32::MAX, 0.5], Some(2)),
            decode([0.5, 0.25], Some(2)),
            // A value that is not finite makes others so, behind the end.
            decode([0.5, f32::MAX], Some(1)),
            decode([0.5, 0.25], Some(1)),
            decode([0.5, 0.25], None),
        ]
    });
    assert!(results[0] == results[1], "{results:?}");
    let failed = results[1].each_ref().map(Result::is_err);
    assert_eq!(failed, [false, true, false, true, false, false], "{results:?}");
}
