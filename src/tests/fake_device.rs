//! Streams whose state lies on a fake device. Its memory is the CPU's, but any access from outside a session panics, and
//! every copy and every byte is counted. All else is what runs on a CUDA device.

// As callers outside the crate must.
#![allow(clippy::field_reassign_with_default)]

use crate::error::ErrorKind;
use crate::graph::{Element, Operators};
use crate::kernels::{OPTIMISED, Target};
use crate::media::{
    Image, ImageMut, Latents, LatentsMut, Matrix, PixelFormat, Posterior, Range, Siting, Yuv, YuvRange,
};
use crate::model::Half;
use crate::runtime::Tensor;
use crate::stream::{
    CacheType, Convolution, Layout, Model, ModelOptions, Precision, Provider, Snapshot, Stream, StreamOptions, Tiling,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const SIZE: (usize, usize) = (48, 32);

fn golden(case: &str) -> PathBuf {
    Path::new("tests/golden").join(case)
}

/// The same graphs in the CPU's memory and on the device.
fn models(case: &str, options: &ModelOptions) -> [Model; 2] {
    let mut plain = options.clone();
    plain.provider = Provider::Cpu;
    plain.threads = 1;
    if plain.convolution == Convolution::Exact {
        plain.convolution = Convolution::Stacked;
    }
    [Model::open(golden(case), &plain).unwrap(), Model::open_on_fake_device(Some(&golden(case)), options).unwrap()]
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Tensors that crossed there and back in the queue, and their bytes; tensors that were copied there and
/// back otherwise.
fn traffic(model: &Model) -> [u64; 6] {
    let t = &model.device().expect("it has a device").traffic;
    [&t.sent, &t.sent_bytes, &t.fetched, &t.fetched_bytes, &t.uploads, &t.downloads].map(count)
}

fn more(before: [u64; 6], more: [u64; 6]) -> [u64; 6] {
    std::array::from_fn(|i| before[i] + more[i])
}

/// Bytes of what a device says of each frame that it gives.
const FOUND: usize = 16;

fn moments(mut options: StreamOptions) -> StreamOptions {
    options.posterior = Posterior::Moments;
    options
}

/// Moving stripes, 8-bit.
fn bytes(frame: usize) -> Vec<u8> {
    let (width, height) = SIZE;
    (0..3 * width * height).map(|i| ((i * 7 + i / width * 13 + frame * 29) % 251) as u8).collect()
}

/// Frames `range`, one a call; the latents that come of them.
fn encode(stream: &mut Stream, range: std::ops::Range<usize>) -> Vec<f32> {
    let mut latents = vec![];
    for frame in range {
        let bytes = bytes(frame);
        let image = Image::packed(&bytes, PixelFormat::RgbPlanar8, SIZE.0, SIZE.1).unwrap();
        let info = stream.info();
        let mut latent = vec![0.0; info.encoded_channels * info.latent_width * info.latent_height];
        if stream.encode(&[image], LatentsMut::F32(&mut latent)).unwrap() == 1 {
            latents.extend(latent);
        }
    }
    latents
}

/// Latents of noise, one a call; the frames that come of them.
fn decode(stream: &mut Stream, range: std::ops::Range<usize>) -> Vec<f32> {
    let info = stream.info();
    let size = info.latent_channels * info.latent_width * info.latent_height;
    let mut video = vec![];
    for n in range {
        let latent: Vec<f32> = (0..size).map(|i| ((i * 31 + n * 17) % 97) as f32 / 48.0 - 1.0).collect();
        let count = stream.decode_count(1).unwrap() as usize;
        let mut planes = vec![0.0; count * 3 * SIZE.0 * SIZE.1];
        assert_eq!(stream.decode(Latents::F32(&latent), &mut frames(&mut planes)).unwrap(), count);
        video.extend(planes);
    }
    video
}

#[test]
fn cuda_streams_copy_nothing_but_their_ends() {
    for (case, precision, layout) in [
        ("v1-tiny", Precision::F32, Layout::Auto),
        ("v1-tiny-8x", Precision::F32, Layout::Auto),
        ("v1-tiny", Precision::F16, Layout::Auto),
        ("v1-tiny", Precision::F32, Layout::ChannelsLast),
        ("v1-tiny-8x", Precision::F16, Layout::ChannelsLast),
    ] {
        let mut options = ModelOptions::default();
        (options.encode_precision, options.decode_precision) = (precision, precision);
        options.layout = layout;
        let results = models(case, &options).map(|model| {
            let mut stream = Stream::new(&model, &moments(StreamOptions::new(SIZE.0, SIZE.1))).unwrap();
            let before = model.device().map(|_| traffic(&model));
            let results = (encode(&mut stream, 0..18), decode(&mut stream, 0..4));
            if let Some(before) = before {
                let [latent, frame] = [stream.info().latent_channels * 2, 3 * SIZE.0 * SIZE.1];
                let info = stream.info();
                let latents = results.0.len() / (latent * info.latent_width * info.latent_height);
                let frames = results.1.len() / frame;
                let sent = 18 * frame + 4 * 4 * latent / 2 * info.latent_width * info.latent_height;
                let fetched = 4 * results.0.len() + 4 * results.1.len() + frames * FOUND;
                let counts = [18 + 4, sent, latents + 2 * frames, fetched, 0, 0];
                let expected = more(before, counts.map(|n| n as u64));
                assert_eq!(traffic(&model), expected, "{case}: each frame and latent crosses once, and nothing else");
            }
            results
        });
        assert!(results[0] == results[1], "{case}: the device gives other values than the CPU");
    }
}

/// Long enough for every rotation of a stream's tensors to come three times, then a clip whose tensors have all been seen. A fake
/// recording repeats a run with the inputs of the CPU that it was made with.
#[test]
fn cuda_runs_that_come_again_are_recorded() {
    for case in ["v1-tiny", "v1-tiny-nearest", "own-v2-8x", "own-8x-image"] {
        let run = |model: &Model| {
            let mut stream = Stream::new(model, &moments(StreamOptions::new(SIZE.0, SIZE.1))).unwrap();
            let unit = model.info().temporal_compression as usize;
            let mut clip = |frames: usize, latents: usize| {
                stream.reset().unwrap();
                [encode(&mut stream, 0..frames), decode(&mut stream, 0..latents)].concat()
            };
            [clip(1 + unit * 40, 40), clip(1 + unit * 3, 20)].concat()
        };
        let options = |graphs: &str| ModelOptions {
            provider_options: vec![("wfvae_graphs".into(), graphs.into())],
            ..ModelOptions::default()
        };
        let [plain, _] = models(case, &ModelOptions::default());
        let [recorded, not_recorded] =
            ["1", "0"].map(|graphs| Model::open_on_fake_device(Some(&golden(case)), &options(graphs)).unwrap());
        let expected = run(&plain);
        let repeated = |model: &Model| model.device().expect("it has a device").repeated();
        assert!(run(&not_recorded) == expected, "{case}: not recorded");
        assert_eq!(repeated(&not_recorded), 0, "{case}");
        assert!(run(&recorded) == expected, "{case}: recorded");
        assert!(repeated(&recorded) > 40, "{case}: {} runs were repeated", repeated(&recorded));
    }
}

/// More runs than a session keeps recordings of, in an order in which each is dropped before it comes again.
#[test]
fn cuda_streams_may_be_too_many_to_record() {
    let [plain, model] = models("v1-tiny", &ModelOptions::default());
    let latents = |stream: &mut Stream, n: usize| {
        let unit = stream.model().info().temporal_compression as usize;
        let start = if n == 0 { 0 } else { 1 + (n - 1) * unit };
        encode(stream, start..1 + n * unit)
    };
    let new = |model: &Model| Stream::new(model, &moments(StreamOptions::new(SIZE.0, SIZE.1))).unwrap();
    let mut reference = new(&plain);
    let mut streams: Vec<Stream> = (0..40).map(|_| new(&model)).collect();
    for n in 0..16 {
        let expected = latents(&mut reference, n);
        for stream in &mut streams {
            assert!(latents(stream, n) == expected, "latent {n}");
        }
    }
}

/// Converted on the device, and the same as those that the CPU converts; also of tiles, but for those of which chroma samples
/// need pixels of others. Of each format, the bytes of a frame that crosses.
#[test]
fn cuda_results_cross_in_the_elements_of_their_frames() {
    const FORMATS: [(PixelFormat, usize); 6] = [
        (PixelFormat::RgbPlanar8, 3),
        (PixelFormat::Bgra8, 3),
        (PixelFormat::Gray16 { bits: 12, yuv: YUV }, 2),
        (PixelFormat::RgbPlanarF32(Range::Signed), 12),
        (PixelFormat::RgbaF16(Range::Unit), 6),
        (PixelFormat::Nv12(YUV), 0),
    ];
    const YUV: Yuv = Yuv { matrix: Matrix::Auto, range: YuvRange::Limited, siting: Siting::Left };
    for (case, tiled) in [("v1-tiny", false), ("v1-tiny-8x", false), ("own-8x-image", false), ("own-noattn", true)] {
        let results = models(case, &ModelOptions::default()).map(|model| {
            let mut options = StreamOptions::new(SIZE.0, SIZE.1);
            if tiled {
                let (info, unit) = (model.info(), model.info().spatial_compression);
                let tile = 2 * info.decode_halo.unwrap() + unit;
                // Two tiles across and three down, the last of which reach beyond the picture.
                options = StreamOptions::new(tile + unit - 3, tile + 2 * unit - 1);
                (options.encode, options.pad) = (false, true);
                (options.tiling, options.tile_width, options.tile_height) = (Tiling::Exact, tile, tile);
            }
            let (width, height) = (options.width, options.height);
            let tiles = Stream::estimate(&model, &options).unwrap().decode_tiles as u64;
            let mut stream = Stream::new(&model, &options).unwrap();
            let info = stream.info();
            let size = info.latent_channels * info.latent_width * info.latent_height;
            let mut video = vec![];
            let mut decode = |latent: &[f32], format: PixelFormat| -> crate::Result<usize> {
                let count = stream.decode_count(1)? as usize;
                let bytes = format.bytes(width, height).unwrap();
                let mut pixels = vec![7u32; count * bytes.div_ceil(4)];
                // SAFETY: any integers are bytes.
                let (_, pixels, _) = unsafe { pixels.align_to_mut::<u8>() };
                let pictures = pixels.chunks_exact_mut(bytes.next_multiple_of(4)).map(|pixels| &mut pixels[..bytes]);
                let mut pictures: Vec<ImageMut> =
                    pictures.map(|pixels| ImageMut::packed(pixels, format, width, height).unwrap()).collect();
                stream.decode(Latents::F32(latent), &mut pictures)?;
                drop(pictures);
                video.extend_from_slice(pixels);
                Ok(count)
            };
            for (n, (format, bytes)) in FORMATS.into_iter().enumerate() {
                // The values go beyond those of bytes.
                let latent: Vec<f32> = (0..size).map(|i| ((i * 31 + n * 17) % 97) as f32 / 12.0 - 4.0).collect();
                let before = model.device().map(|_| traffic(&model));
                let count = decode(&latent, format).unwrap() as u64;
                let Some(before) = before else { continue };
                let after = traffic(&model);
                let as_floats = tiled && bytes == 0;
                let crossed = if bytes == 0 { width * height * 3 / 2 } else { bytes * width * height };
                let fetched = tiles * count * if as_floats { 1 } else { 2 };
                assert_eq!([after[0], after[2]], [before[0] + tiles, before[2] + fetched], "{case} {format:?}");
                if !tiled {
                    let bytes = count * (crossed + FOUND) as u64;
                    assert_eq!(after[3], before[3] + bytes, "{case} {format:?}");
                }
            }
            let error = decode(&vec![f32::MAX; size], FORMATS[0].0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFinite, "{error}");
            (video, error.to_string())
        });
        assert!(results[0].0.contains(&0) && results[0].0.contains(&255), "{case}: nothing was clamped");
        assert!(results[0].0 == results[1].0, "{case}: the device gives other values than the CPU");
        assert_eq!(results[0].1, results[1].1);
    }
}

/// By one copy a frame.
#[test]
fn cuda_uploads_of_deep_pixels_are_their_words() {
    let results = models("v1-tiny", &ModelOptions::default()).map(|model| {
        let mut stream = Stream::new(&model, &moments(StreamOptions::new(SIZE.0, SIZE.1))).unwrap();
        let words: Vec<u16> = bytes(3).iter().map(|byte| u16::from(*byte) * 4).collect();
        // SAFETY: words are bytes.
        let words = unsafe { words.align_to::<u8>().1 };
        let image = Image::packed(words, PixelFormat::GbrPlanar16 { bits: 10 }, SIZE.0, SIZE.1).unwrap();
        let info = stream.info();
        let mut latents = vec![0.0; 2 * info.encoded_channels * info.latent_width * info.latent_height];
        let before = model.device().map(|_| traffic(&model));
        assert_eq!(stream.encode(&[image; 5], LatentsMut::F32(&mut latents)).unwrap(), 2);
        if let Some(before) = before {
            let [sent, fetched] = [5 * 2 * 3 * SIZE.0 * SIZE.1, 4 * latents.len()].map(|bytes| bytes as u64);
            assert_eq!(traffic(&model), more(before, [5, sent, 2, fetched, 0, 0]));
        }
        latents
    });
    assert!(results[0] == results[1]);
}

fn frames(planes: &mut [f32]) -> Vec<ImageMut<'_>> {
    let frames = planes.chunks_exact_mut(3 * SIZE.0 * SIZE.1);
    frames.map(|frame| ImageMut::planar_f32(frame, Range::Signed, SIZE.0, SIZE.1).unwrap()).collect()
}

/// In calls of many frames and latents, what crosses does so beside other work: bytes and floats by turns, with flushes, and
/// again after a call that ended early.
#[test]
fn cuda_calls_of_many_frames_give_what_calls_of_one_give() {
    for case in ["v1-tiny", "v1-tiny-8x", "v1-image", "own-v2-16x"] {
        let results = models(case, &ModelOptions::default()).map(|model| {
            let mut stream = Stream::new(&model, &moments(StreamOptions::new(SIZE.0, SIZE.1))).unwrap();
            let info = stream.info();
            let latent = info.encoded_channels * info.latent_width * info.latent_height;
            let pixels: Vec<Vec<u8>> = (0..22).map(bytes).collect();
            let deep: Vec<Vec<u8>> = pixels.iter().map(|p| p.iter().flat_map(|byte| [*byte, 1]).collect()).collect();
            let images: Vec<Image<'_>> = (0..22)
                .map(|i| match i % 3 {
                    2 => Image::packed(&deep[i], PixelFormat::GbrPlanar16 { bits: 10 }, SIZE.0, SIZE.1).unwrap(),
                    _ => Image::packed(&pixels[i], PixelFormat::RgbPlanar8, SIZE.0, SIZE.1).unwrap(),
                })
                .collect();
            let mut found = vec![];
            for _ in 0..2 {
                let mut latents = vec![0.0; 22 * latent];
                // The second frame is of another size, so that the call ends before it has come.
                let other = Image::packed(&pixels[0], PixelFormat::RgbPlanar8, SIZE.1, SIZE.0).unwrap();
                assert!(stream.encode(&[images[0], other], LatentsMut::F32(&mut latents)).is_err());
                stream.reset().unwrap();
                let mut count = stream.encode(&images, LatentsMut::F32(&mut latents)).unwrap();
                count += stream.encode_flush(LatentsMut::F32(&mut latents[count * latent..])).unwrap();
                latents.truncate(count * latent);
                found.push(latents);
                let z: Vec<f32> = (0..6 * latent / 2).map(|i| ((i * 31) % 97) as f32 / 48.0 - 1.0).collect();
                let count = stream.decode_count(6).unwrap() as usize;
                let mut planes = vec![0.0; (count + 16) * 3 * SIZE.0 * SIZE.1];
                let (now, rest) = planes.split_at_mut(count * 3 * SIZE.0 * SIZE.1);
                assert_eq!(stream.decode(Latents::F32(&z), &mut frames(now)).unwrap(), count);
                stream.decode_flush(&mut frames(rest)).unwrap();
                found.push(planes);
                stream.reset().unwrap();
            }
            assert!(found[0] == found[2] && found[1] == found[3], "{case}: the second time");
            found
        });
        assert!(results[0] == results[1], "{case}: the device gives other values than the CPU");
    }
}

/// The first run of each step is behind a stream when it is made, and not to be seen.
#[test]
fn cuda_streams_are_made_warm() {
    let model = Model::open_on_fake_device(Some(&golden("v1-tiny")), &ModelOptions::default()).unwrap();
    let mut options = StreamOptions::new(SIZE.0, SIZE.1);
    options.encode = false;
    let runs = || count(&model.device().unwrap().traffic.steps) as usize;
    let (encoder_steps, decoder_steps) = (model.graphs(Half::Encoder).len(), model.graphs(Half::Decoder).len());
    let decoder = Stream::new(&model, &options).unwrap();
    // The clip's first latent makes one frame, which crosses as a picture and what was found in it.
    let crossings = || {
        let [sent, _, fetched, _, others @ ..] = traffic(&model);
        ([sent, fetched], others)
    };
    assert_eq!((crossings(), runs()), (([1, 2], [0, 0]), decoder_steps));
    (options.encode, options.decode) = (true, false);
    let encoder = Stream::new(&model, &options).unwrap();
    assert_eq!((crossings(), runs()), (([2, 3], [0, 0]), decoder_steps + encoder_steps));
    for stream in [decoder, encoder] {
        let info = stream.info();
        assert_eq!([info.frames_in, info.latents_out, info.latents_in, info.frames_out], [0; 4]);
        assert_eq!([info.encode_steps, info.decode_steps], [0; 2]);
    }
}

#[test]
fn cuda_memory_is_flat_and_freed_with_the_streams() {
    let model = Model::open_on_fake_device(Some(&golden("v1-tiny")), &ModelOptions::default()).unwrap();
    let bytes = || model.info().device_bytes;
    assert_eq!(bytes(), 0);
    let mut stream = Stream::new(&model, &StreamOptions::new(SIZE.0, SIZE.1)).unwrap();
    let one = bytes();
    let info = stream.info();
    // All of the state, a picture in each direction, and what is found in four frames that are on their way. A CUDA device has a
    // second tensor for each that crosses.
    let own = 2 * 4 * 3 * SIZE.0 * SIZE.1 + 4 * FOUND;
    assert_eq!(one, info.encode_state_bytes + info.decode_state_bytes + own as u64);
    for clip in 0..10 {
        encode(&mut stream, 0..40);
        decode(&mut stream, 0..20);
        assert_eq!(bytes(), one, "after clip {clip}");
        stream.reset().unwrap();
    }
    let second = stream.fork().unwrap();
    assert_eq!(bytes(), 2 * one);
    drop(stream);
    assert_eq!(bytes(), one);
    drop(second);
    assert_eq!(bytes(), 0);
}

/// In the middle of groups of frames and of pictures, with both kinds of caches: what follows is what followed.
#[test]
fn cuda_snapshots_and_forks_go_through_copies() {
    for (precision, layout) in
        [(Precision::F32, Layout::Planes), (Precision::F16, Layout::Planes), (Precision::F16, Layout::ChannelsLast)]
    {
        let mut options = ModelOptions::default();
        (options.encode_precision, options.decode_precision) = (precision, precision);
        options.layout = layout;
        let [plain, device] = models("v1-tiny", &options);
        let stream_options = moments(StreamOptions::new(SIZE.0, SIZE.1));
        let mut stream = Stream::new(&device, &stream_options).unwrap();
        encode(&mut stream, 0..7);
        decode(&mut stream, 0..3);
        let snapshot = stream.snapshot().unwrap();
        assert!(traffic(&device)[5] > 0, "nothing was copied from the device");
        let mut fork = stream.fork().unwrap();
        let expected = (encode(&mut stream, 7..14), decode(&mut stream, 3..6));
        assert!((encode(&mut fork, 7..14), decode(&mut fork, 3..6)) == expected, "{precision}: the fork");
        stream.reset().unwrap();
        // Through bytes, on the device and, as the caches are the same, in the CPU's memory.
        let read = Snapshot::from_bytes(snapshot.as_bytes()).unwrap();
        let mut other = Stream::new(&plain, &stream_options).unwrap();
        for stream in [&mut stream, &mut other] {
            stream.restore(&read).unwrap();
            assert!((encode(stream, 7..14), decode(stream, 3..6)) == expected, "{precision}: restored");
        }
    }
}

/// The run of the smallest frame, which comes after one that failed, leaves no trace. Models of every kind of graph.
#[test]
fn cuda_streams_go_on_after_a_run_of_another_size() {
    for (case, layout) in [
        ("v1-tiny", Layout::Planes),
        ("v1-tiny-8x", Layout::ChannelsLast),
        ("v1-image", Layout::ChannelsLast),
        ("own-v2-16x", Layout::Planes),
        ("own-v2-image", Layout::ChannelsLast),
        ("own-v2-groupnorm", Layout::Planes),
    ] {
        let mut options = ModelOptions::default();
        options.layout = layout;
        let model = Model::open_on_fake_device(Some(&golden(case)), &options).unwrap();
        let size = StreamOptions::new(SIZE.0, SIZE.1);
        let steps: Vec<_> = [model.steps(Half::Encoder).unwrap(), model.steps(Half::Decoder).unwrap()].concat();
        let run = |fail: bool| {
            let mut stream = Stream::new(&model, &size).unwrap();
            let mut results = vec![];
            for n in 0..if model.info().whole_clips { 1 } else { 3 } {
                let before: Vec<_> = steps.iter().map(|step| step.session.replanned()).collect();
                let units = if fail { 1..3 } else { 0..0 };
                for (step, units) in steps.iter().flat_map(|step| units.clone().map(move |units| (step, units))) {
                    // Of the smallest frames, which would come next.
                    let unit = model.info().spatial_compression;
                    let first = step.inputs[0].shape([unit, units * unit], 1);
                    step.session.fail(&Tensor::new(&first, Element::F32).unwrap());
                }
                results.push((encode(&mut stream, n..n + 1), decode(&mut stream, n..n + 1)));
                let again = steps.iter().zip(before).map(|(step, before)| step.session.replanned() - before);
                // Steps of lower rates have no frame yet.
                assert_eq!(again.clone().max(), Some(u64::from(fail)), "{case}: {:?}", again.collect::<Vec<_>>());
            }
            results
        };
        assert!(run(false) == run(true), "{case}");
    }
}

#[test]
fn cuda_tiles_have_a_state_each_on_the_device() {
    let mut options = StreamOptions::new(SIZE.0, SIZE.1);
    (options.tiling, options.tile_width, options.tile_height) = (Tiling::Blended { overlap: 8 }, 32, 32);
    let results = models("v1-tiny", &ModelOptions::default()).map(|model| {
        assert_eq!(Stream::estimate(&model, &options).unwrap().decode_tiles, 2);
        let mut stream = Stream::new(&model, &moments(options.clone())).unwrap();
        (encode(&mut stream, 0..9), decode(&mut stream, 0..3))
    });
    assert!(results[0] == results[1]);
}

/// Half precision caches beside float32 convolutions.
#[test]
fn cuda_caches_may_be_narrower_than_the_network() {
    let options = ModelOptions { cache_type: CacheType::F16, ..ModelOptions::default() };
    let results = models("v1-tiny", &options).map(|model| {
        let mut stream = Stream::new(&model, &StreamOptions::new(SIZE.0, SIZE.1)).unwrap();
        (encode(&mut stream, 0..9), decode(&mut stream, 0..3), stream.snapshot().unwrap().as_bytes().to_vec())
    });
    assert!(results[0] == results[1]);
}

/// A model that takes whole clips has no state; its clips are bound where they are.
#[test]
fn cuda_models_of_whole_clips_keep_nothing_on_the_device() {
    let results = models("own-v2-groupnorm", &ModelOptions::default()).map(|model| {
        let mut stream = Stream::new(&model, &StreamOptions::new(SIZE.0, SIZE.1)).unwrap();
        let latents = encode(&mut stream, 0..1);
        assert_eq!(model.info().device_bytes, 0);
        latents
    });
    assert!(results[0] == results[1]);
}

#[test]
#[should_panic(expected = "the CPU accessed a tensor [2, 3] on a device")]
fn cuda_memory_cannot_be_read_by_mistake() {
    let model = Model::open_on_fake_device(None, &ModelOptions::default()).unwrap();
    Tensor::on(model.device(), &[2, 3], Element::F32).unwrap().data();
}

#[test]
fn precisions_that_a_place_lacks_are_refused() {
    let open = |case: &str, precision, provider| {
        let mut options = ModelOptions::default();
        (options.decode_precision, options.provider) = (precision, provider);
        Model::open(golden(case), &options)
    };
    let refused = |case, precision| open(case, precision, Provider::Cpu).expect_err("it cannot be").to_string();
    assert!(refused("v1-tiny", Precision::Tf32).contains("decode_precision tf32: the CPU has no such mode"));
    assert!(refused("own-v2-groupnorm", Precision::F16).contains("groupnorm"));
    // Allowed is not asked.
    if let Ok(auto) = open("v1-tiny", Precision::Tf32, Provider::Auto)
        && auto.info().provider == "CPU"
    {
        assert_eq!(auto.info().decode_precision, Precision::F32);
    }
    let mut options = ModelOptions { layout: Layout::ChannelsLast, ..ModelOptions::default() };
    let error = Model::open(golden("own-v2-groupnorm"), &options).expect_err("its graphs are planes");
    assert!(error.text().contains("layout channels_last: the model has norm_type"), "{error}");
    options.layout = Layout::Planes;
    Model::open(golden("own-v2-groupnorm"), &options).unwrap();
    options.provider_options = vec![("use_tf32".into(), "1\0".into())];
    let error = Model::open(golden("own-v2-groupnorm"), &options).expect_err("no such value");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn bfloat16_on_the_cpu_takes_a_matrix_unit() {
    let open = |change: fn(&mut ModelOptions)| {
        let mut options =
            ModelOptions { provider: Provider::Cpu, decode_precision: Precision::Bf16, ..Default::default() };
        options.encode_precision = Precision::Bf16;
        change(&mut options);
        // Its graphs can be saved everywhere.
        Model::open(golden("v1-tiny"), &options).unwrap()
    };
    let refused = |change, kind, text: &str| {
        let error = Stream::new(&open(change), &StreamOptions::new(SIZE.0, SIZE.1)).expect_err("it cannot be");
        assert!(error.kind() == kind && error.text().contains(text), "{error}");
    };
    if !OPTIMISED {
        refused(
            |_| (),
            ErrorKind::Provider,
            "encode_precision bf16 on the CPU: wfvae was compiled with opt-level 0 or 1",
        );
    } else if let Err(reason) = Target::choose().unwrap().check_matrix_unit() {
        refused(|_| (), ErrorKind::Provider, &format!("encode_precision bf16 on the CPU: {reason}; take f32"));
    } else {
        for convolution in [Convolution::Exact, Convolution::Fast] {
            let options = ModelOptions { decode_precision: Precision::Bf16, convolution, ..Default::default() };
            let model = Model::open(golden("v1-tiny"), &options).unwrap();
            let precisions = (model.info().encode_precision, model.info().decode_precision);
            assert_eq!(precisions, (Precision::F32, Precision::Bf16));
            assert!(model.encoder_options().operators != Operators::Matrix);
            Stream::new(&model, &StreamOptions::new(SIZE.0, SIZE.1)).unwrap();
        }
    }
    refused(
        |o| o.layout = Layout::Planes,
        ErrorKind::InvalidArgument,
        "its frames are channels-last; take layout auto",
    );
    refused(|o| o.convolution = Convolution::Stacked, ErrorKind::InvalidArgument, "take convolution exact or fast");
    refused(|o| o.convolution = Convolution::Direct, ErrorKind::InvalidArgument, "take convolution exact or fast");
}

/// Graphs of our operators on a device, which the CPU runs as they are defined, give what the library gives on the CPU; in
/// half precision they are about as far off as graphs of the operators of ONNX.
#[test]
fn cuda_graphs_of_our_operators_give_what_others_give() {
    let cases =
        std::fs::read_dir("tests/golden").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let cases: Vec<String> = cases.filter(|case| golden(case).join("config.json").exists()).collect();
    let mut ways =
        [Convolution::Stacked, Convolution::Volume, Convolution::Direct].map(|c| (c, Precision::F32)).to_vec();
    ways.push((Convolution::Stacked, Precision::F16));
    // Group norms are of planes.
    let by_ours = |model: &Model, half| !model.network().has_group_norms(half) && model.network().has(half);
    let values = |model: &Model| {
        let mut options = moments(StreamOptions::new(SIZE.0, SIZE.1));
        options.encode = by_ours(model, Half::Encoder);
        let mut stream = Stream::new(model, &options).unwrap();
        [if options.encode { encode(&mut stream, 0..10) } else { vec![] }, decode(&mut stream, 0..3)]
    };
    let mut compared = [0; 2];
    for case in &cases {
        let wide = ModelOptions { provider: Provider::Cpu, threads: 1, ..ModelOptions::default() };
        let plain = Model::open(golden(case), &wide).unwrap();
        if !by_ours(&plain, Half::Decoder) || plain.info().decode_whole_clips {
            continue;
        }
        compared[usize::from(by_ours(&plain, Half::Encoder))] += 1;
        let expected = values(&plain);
        // Of the largest value, for both directions.
        let off = |found: &[Vec<f32>; 2]| -> [f32; 2] {
            std::array::from_fn(|i| {
                let (found, expected) = (&found[i], &expected[i]);
                assert_eq!(found.len(), expected.len());
                let largest = expected.iter().fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
                found.iter().zip(expected).fold(0f32, |most, (x, y)| most.max((x - y).abs())) / largest
            })
        };
        for (convolution, precision) in &ways {
            let mut options = ModelOptions::default();
            options.decode_precision = *precision;
            if by_ours(&plain, Half::Encoder) {
                options.encode_precision = *precision;
            }
            (options.convolution, options.layout) = (*convolution, Layout::ChannelsLast);
            let open = |options: &ModelOptions| Model::open_on_fake_device(Some(&golden(case)), options);
            let own = ModelOptions { provider_options: vec![("wfvae_kernels".into(), "1".into())], ..options.clone() };
            let device = open(&own).unwrap();
            assert_eq!(device.decoder_options().operators, Operators::Device, "{case}");
            let limit = match precision {
                // Both are off, and add up the products in another order.
                Precision::F32 => [4e-5; 2],
                _ => off(&values(&open(&options).unwrap())).map(|off| 2e-2f32.max(2.0 * off)),
            };
            let found = off(&values(&device));
            let fits = found.iter().zip(&limit).all(|(found, limit)| found <= limit);
            assert!(fits, "{case} {precision} {convolution:?}: off by {found:?}, not {limit:?}");
            println!("{case} {precision} {convolution:?}: off by {found:?}, allowed {limit:?}");
        }
    }
    // The packaged crate has no model of the first kind.
    assert!(compared[0] > 0 || !golden("own-cv-layernorm").exists(), "decoders alone");
    assert!(compared[1] > 0, "both halves");
}
