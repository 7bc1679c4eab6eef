//! Any number of frames or latents per call: nothing lost, nothing twice, and always the same numbers.

mod common;

use common::{Lcg, bfloat16, builtin, clip, decode, encode, has_matrix_unit, on_matrix_unit, open, stream};
use wfvae::{
    Convolution, ErrorKind, Image, ImageMut, LatentType, Latents, LatentsMut, Model, ModelOptions, PixelFormat,
    Posterior, Stream, StreamOptions,
};

/// Both temporal factors with both interpolations.
const KINDS: [&str; 4] = ["v1-tiny", "v1-tiny-nearest", "v1-tiny-8x", "own-8x-nearest"];
const SIDE: usize = 16;

/// Spec section 6: frames that are final after n latents.
fn final_frames(case: &str, unit: usize, latents: usize) -> usize {
    match (case.contains("nearest"), latents) {
        (_, 0) => 0,
        (_, 1) => 1,
        (true, n) => unit * (n - 1) + 1,
        (false, n) if unit == 4 => 4 * (n - 1) - 1,
        (false, n) => 8 * (n - 1) - 5,
    }
}

/// Every clip length 1..40, pushed 1 to 7 at a time: counts before every call, latents and frames as the specification
/// says, and the flush completes the clip. The network's result must not depend on the plan, to the bit.
#[test]
fn every_length_in_every_portion_gives_all_frames() {
    for case in KINDS {
        let model = open(case);
        let unit = model.info().temporal_compression as usize;
        let mut stream = stream(&model, SIDE, SIDE);
        let video = clip(40, SIDE, SIDE, 1);
        let frame = 3 * SIDE * SIDE;
        // The longest clip, frame by frame, is what all others are compared with.
        let reference = encode(&mut stream, &video, &[1]);
        stream.reset().unwrap();
        let info = stream.info();
        let latent = info.latent_channels * info.latent_width * info.latent_height;
        for length in 1..=40 {
            for portion in 1..=7 {
                let latents = encode(&mut stream, &video[..length * frame], &[portion]);
                let count = 1 + (length - 1).div_ceil(unit);
                assert_eq!(latents.len(), count * latent, "{case} {length}");
                assert_eq!(model.latents_for_frames(length as u64), count as u64);
                let whole_groups = (1 + (length - 1) / unit) * latent;
                assert!(latents[..whole_groups] == reference[..whole_groups], "{case} {length} by {portion}");

                check_frame_counts(case, unit, &mut stream, &latents, portion);
                stream.reset().unwrap();
                stream.set_frame_count(Some(length as u64)).unwrap();
                assert_eq!(decode(&mut stream, &latents, &[portion]).len(), length * frame, "{case} {length}");
                stream.reset().unwrap();
            }
        }
    }
}

fn check_frame_counts(case: &str, unit: usize, stream: &mut Stream, latents: &[f32], portion: usize) {
    let info = stream.info();
    let latent = info.latent_channels * info.latent_width * info.latent_height;
    let mut buffers = vec![vec![0u8; 3 * SIDE * SIDE]; 7 * unit + 1];
    let mut done = 0;
    for (i, calls) in latents.chunks(portion * latent).enumerate() {
        let mut frames = pictures(&mut buffers);
        done += stream.decode(Latents::F32(calls), &mut frames).unwrap();
        let latents_in = i * portion + calls.len() / latent;
        assert_eq!(done, final_frames(case, unit, latents_in), "{case} after {latents_in} latents");
    }
    done += stream.decode_flush(&mut pictures(&mut buffers)).unwrap();
    assert_eq!(done, unit * (latents.len() / latent - 1) + 1, "{case} after the flush");
    assert_eq!(stream.decode_flush(&mut []).unwrap(), 0);
}

fn pictures(buffers: &mut [Vec<u8>]) -> Vec<ImageMut<'_>> {
    let one = |bytes| ImageMut::packed(bytes, PixelFormat::Rgb8, SIDE, SIDE).unwrap();
    buffers.iter_mut().map(|b| one(b.as_mut_slice())).collect()
}

fn counters(stream: &Stream) -> [u64; 4] {
    let info = stream.info();
    [info.frames_in, info.latents_out, info.latents_in, info.frames_out]
}

/// A long clip's numbers are those of the short clip it begins with: no state leaks backwards, and a reset forgets all.
#[test]
fn a_reset_stream_equals_a_new_one() {
    let model = open("v1-tiny");
    let (first, second) = (clip(13, SIDE, SIDE, 1), clip(9, SIDE, SIDE, 2));
    let fresh = |video: &[f32]| {
        let mut stream = stream(&model, SIDE, SIDE);
        let latents = encode(&mut stream, video, &[4]);
        let frames = decode(&mut stream, &latents, &[2]);
        (latents, frames)
    };
    let mut reused = stream(&model, SIDE, SIDE);
    for video in [&first, &second, &first] {
        let latents = encode(&mut reused, video, &[3]);
        let frames = decode(&mut reused, &latents, &[1]);
        reused.reset().unwrap();
        assert!((latents, frames) == fresh(video));
    }
    assert_eq!(counters(&reused), [0; 4]);
    // A reset in the middle, with frames and latents waiting inside.
    let mut latents = vec![0.0; 5 * first.len()];
    let pieces: Vec<Image> = first.chunks(3 * SIDE * SIDE).map(|f| common::image(f, SIDE, SIDE)).collect();
    reused.encode(&pieces[..7], LatentsMut::F32(&mut latents)).unwrap();
    reused.reset().unwrap();
    assert!(encode(&mut reused, &second, &[9]) == fresh(&second).0);
}

/// Clips of one stream with seeds of their own equal those of streams with these seeds.
#[test]
fn each_clip_may_have_a_seed() {
    let model = open("v1-tiny");
    let video = clip(9, SIDE, SIDE, 3);
    let sampling = |seed| {
        let mut options = StreamOptions::new(SIDE, SIDE);
        options.posterior = Posterior::Sample { seed };
        Stream::new(&model, &options).unwrap()
    };
    let mut reused = sampling(0);
    for seed in [u64::MAX, 1] {
        reused.set_seed(seed).unwrap();
        for _ in 0..2 {
            let mut other = sampling(seed);
            assert!(encode(&mut reused, &video, &[4]) == encode(&mut other, &video, &[9]), "{seed}");
            assert_eq!(reused.latent_file(LatentType::F32).posterior, Posterior::Sample { seed });
            let late = reused.set_seed(5).unwrap_err();
            assert_eq!(
                (late.kind(), late.text().contains("9 frames of the clip")),
                (ErrorKind::InvalidState, true),
                "{late}"
            );
            reused.reset().unwrap();
        }
    }
    let mut means = stream(&model, SIDE, SIDE);
    assert_eq!(means.set_seed(1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut decoder = StreamOptions::new(SIDE, SIDE);
    (decoder.encode, decoder.posterior) = (false, Posterior::Sample { seed: 1 });
    assert_eq!(Stream::new(&model, &decoder).unwrap().set_seed(1).unwrap_err().kind(), ErrorKind::InvalidState);
}

/// With a frame count too, only the frames that a call says it wrote are touched.
#[test]
fn frames_beyond_the_count_are_not_touched() {
    let model = open("v1-tiny");
    let mut stream = stream(&model, SIDE, SIDE);
    let latents = encode(&mut stream, &clip(9, SIDE, SIDE, 11), &[9]);
    for (limit, written) in [(None, [7, 2]), (Some(9), [7, 2]), (Some(8), [7, 1]), (Some(5), [5, 0]), (Some(0), [0, 0])]
    {
        stream.reset().unwrap();
        stream.set_frame_count(limit).unwrap();
        let mut room = vec![vec![7u8; 3 * SIDE * SIDE]; 10];
        let mut frames = pictures(&mut room);
        let first = stream.decode(Latents::F32(&latents), &mut frames).unwrap();
        let rest = stream.decode_flush(&mut frames[first..]).unwrap();
        assert_eq!([first, rest], written, "{limit:?}");
        for (i, frame) in room.iter().enumerate() {
            assert_eq!(frame.iter().any(|v| *v != 7), i < first + rest, "{limit:?}: frame {i}");
        }
        // It is too late for a count with which this clip would have been another.
        for count in [None, Some(0), Some(4), Some(5), Some(6), Some(8), Some(9), Some(10)] {
            let same = count.unwrap_or(9).min(9) == (first + rest) as u64;
            match stream.set_frame_count(count) {
                Ok(()) => assert!(same, "{limit:?}, then {count:?}"),
                Err(e) => {
                    assert!(!same && e.kind() == ErrorKind::InvalidArgument && e.text().contains(" already; "), "{e}")
                }
            }
        }
    }
}

/// What a clip left in memory is not read after a reset, not even with weight 0: that does not cancel what is no number.
#[test]
fn a_reset_forgets_what_is_no_number() {
    for (case, convolution) in
        ["v1-tiny", "own-8x-nearest"].into_iter().flat_map(|c| [(c, Convolution::Exact), (c, Convolution::Direct)])
    {
        let mut options = ModelOptions::default();
        options.convolution = convolution;
        let model = Model::open(common::golden(case), &options).unwrap();
        let video = clip(9, SIDE, SIDE, 10);
        let mut stream = stream(&model, SIDE, SIDE);
        let latents = encode(&mut stream, &video, &[4]);
        let frames = decode(&mut stream, &latents, &[1]);
        stream.reset().unwrap();
        // The network's sums overflow. Whether that is an error is not asked here.
        let huge = vec![3e38f32; 2 * video.len()];
        let images: Vec<Image> = huge.chunks(3 * SIDE * SIDE).map(|f| common::image(f, SIDE, SIDE)).collect();
        let mut room = vec![0.0; 4 * latents.len()];
        let _ = stream.encode(&images, LatentsMut::F32(&mut room));
        stream.reset().unwrap();
        let mut room = vec![vec![0u8; 3 * SIDE * SIDE]; 40];
        let latent = latents.len() / (1 + 8 / model.info().temporal_compression as usize);
        let _ = stream.decode(Latents::F32(&huge[..4 * latent]), &mut pictures(&mut room));
        stream.reset().unwrap();
        assert!(encode(&mut stream, &video, &[4]) == latents, "{case} {convolution:?}");
        assert!(decode(&mut stream, &latents, &[1]) == frames, "{case} {convolution:?}");
    }
}

/// The last group's missing frames are its last one, however many are missing, to the bit.
#[test]
fn a_flush_repeats_the_last_frame() {
    for case in KINDS {
        let model = open(case);
        let unit = model.info().temporal_compression as usize;
        let mut stream = stream(&model, SIDE, SIDE);
        let frame = 3 * SIDE * SIDE;
        let video = clip(2 * unit, SIDE, SIDE, 9);
        for length in unit + 2..=2 * unit {
            let flushed = encode(&mut stream, &video[..length * frame], &[3]);
            stream.reset().unwrap();
            let mut repeated = video[..length * frame].to_vec();
            (length..2 * unit + 1)
                .for_each(|_| repeated.extend_from_slice(&video[(length - 1) * frame..length * frame]));
            assert!(flushed == encode(&mut stream, &repeated, &[2]), "{case}: {length} frames");
            stream.reset().unwrap();
        }
    }
}

/// Each latent costs the same number of network steps, at the start, in the middle and at the end: nothing is computed
/// twice for lookahead.
#[test]
fn the_number_of_steps_per_latent_is_constant() {
    for (case, encode_steps, decode_steps) in
        [("v1-tiny", [2, 3], [2, 3]), ("v1-tiny-nearest", [2, 3], [2, 3]), ("v1-tiny-8x", [3, 7], [3, 7])]
    {
        let model = open(case);
        let mut stream = stream(&model, SIDE, SIDE);
        let unit = model.info().temporal_compression as usize;
        let latent_count = 6;
        let latents = encode(&mut stream, &clip(1 + unit * (latent_count - 1), SIDE, SIDE, 3), &[1]);
        let later = latent_count as u64 - 1;
        // The first latent runs each step once; a later one 1 + 2 (+ 4) of them, whatever has to be flushed.
        assert_eq!(stream.info().encode_steps, encode_steps[0] + later * encode_steps[1], "{case}");
        decode(&mut stream, &latents, &[1]);
        assert_eq!(stream.info().decode_steps, decode_steps[0] + later * decode_steps[1], "{case}");
    }
}

/// The directions of one stream do not see each other.
#[test]
fn encode_and_decode_may_alternate() {
    let model = open("v1-tiny");
    let video = clip(17, SIDE, SIDE, 4);
    let apart = {
        let mut stream = stream(&model, SIDE, SIDE);
        let latents = encode(&mut stream, &video, &[17]);
        let frames = decode(&mut stream, &latents, &[5]);
        (latents, frames)
    };
    let mut stream = stream(&model, SIDE, SIDE);
    let info = stream.info();
    let latent = info.latent_channels * info.latent_width * info.latent_height;
    let (mut latents, mut frames) = (vec![], vec![]);
    for frame in video.chunks_exact(3 * SIDE * SIDE) {
        let mut room = vec![0.0; latent];
        let written = stream.encode(&[common::image(frame, SIDE, SIDE)], LatentsMut::F32(&mut room)).unwrap();
        let mut buffers = vec![vec![0f32; frame.len()]; 5];
        let signed = wfvae::Range::Signed;
        let mut outputs: Vec<_> =
            buffers.iter_mut().map(|b| ImageMut::planar_f32(b, signed, SIDE, SIDE).unwrap()).collect();
        let done = stream.decode(Latents::F32(&room[..written * latent]), &mut outputs).unwrap();
        latents.extend_from_slice(&room[..written * latent]);
        buffers[..done].iter().for_each(|b| frames.extend_from_slice(b));
    }
    let rest = decode(&mut stream, &[], &[1]);
    frames.extend_from_slice(&rest);
    assert!(latents == apart.0 && frames == apart.1);
}

/// Half-precision latents are the rounded float ones, and both are read.
#[test]
fn half_precision_latents() {
    let model = open("v1-tiny");
    let video = clip(5, SIDE, SIDE, 5);
    let mut stream = stream(&model, SIDE, SIDE);
    let exact = encode(&mut stream, &video, &[5]);
    stream.reset().unwrap();
    let frames: Vec<Image> = video.chunks(3 * SIDE * SIDE).map(|f| common::image(f, SIDE, SIDE)).collect();
    let mut half = vec![half::f16::ZERO; exact.len()];
    assert_eq!(stream.encode(&frames, LatentsMut::F16(&mut half)).unwrap(), 2);
    assert!(exact.iter().zip(&half).all(|(e, h)| half::f16::from_f32(*e) == *h));

    let widened: Vec<f32> = half.iter().map(|h| h.to_f32()).collect();
    let from_float = decode(&mut stream, &widened, &[2]);
    stream.reset().unwrap();
    let mut room = vec![vec![0f32; 3 * SIDE * SIDE]; 3];
    let signed = wfvae::Range::Signed;
    let mut outputs: Vec<_> = room.iter_mut().map(|b| ImageMut::planar_f32(b, signed, SIDE, SIDE).unwrap()).collect();
    assert_eq!(stream.decode(Latents::F16(&half), &mut outputs).unwrap(), 3);
    assert!(room.concat() == from_float[..3 * 3 * SIDE * SIDE]);
}

/// Samples depend on the seed and the latent's index in the clip, not on the calls.
#[test]
fn samples_depend_on_seed_and_index_alone() {
    let model = open("v1-tiny");
    let video = clip(9, SIDE, SIDE, 6);
    let sample = |seed, plan: &[usize]| {
        let mut options = StreamOptions::new(SIDE, SIDE);
        options.posterior = Posterior::Sample { seed };
        encode(&mut Stream::new(&model, &options).unwrap(), &video, plan)
    };
    let first = sample(1, &[9]);
    assert!(first == sample(1, &[1]) && first == sample(1, &[4, 2]));
    assert!(first != sample(2, &[9]));
    // A still clip's latents have one mean; their noise differs.
    let still = clip(1, SIDE, SIDE, 6).repeat(9);
    let mut options = StreamOptions::new(SIDE, SIDE);
    options.posterior = Posterior::Sample { seed: 1 };
    let latents = encode(&mut Stream::new(&model, &options).unwrap(), &still, &[9]);
    let third = latents.len() / 3;
    assert!(latents[third..2 * third] != latents[2 * third..]);
}

/// Odd sizes are padded by their edges and cropped back.
#[test]
fn padding_repeats_the_edges_and_decoding_crops_them() {
    let model = open("v1-tiny");
    let (width, height) = (21, 13);
    let mut options = StreamOptions::new(width, height);
    assert_eq!(Stream::new(&model, &options).err().map(|e| e.kind()), Some(ErrorKind::InvalidSize));
    options.pad = true;
    let mut padded = Stream::new(&model, &options).unwrap();
    let video = clip(5, width, height, 7);
    // The same by hand.
    let at = |t: usize, c: usize, y: usize, x: usize| {
        video[((t * 3 + c) * height + y.min(height - 1)) * width + x.min(width - 1)]
    };
    let whole: Vec<f32> = (0..5 * 3 * 16 * 24).map(|i| at(i / 1152, i / 384 % 3, i / 24 % 16, i % 24)).collect();
    let mut by_hand = stream(&model, 24, 16);
    let latents = encode(&mut padded, &video, &[5]);
    assert!(latents == encode(&mut by_hand, &whole, &[5]));
    let (cropped, full) = (decode(&mut padded, &latents, &[2]), decode(&mut by_hand, &latents, &[2]));
    let crop = |i: usize| full[(i / (width * height)) * 384 + i / width % height * 24 + i % width];
    assert!(cropped.iter().enumerate().all(|(i, v)| *v == crop(i)));
}

/// Streams of different sizes and clips, call by call in turns, against each alone.
#[test]
fn interleaved_streams_do_not_disturb_each_other() {
    let model = open("v1-tiny");
    let sizes = [(16, 16), (32, 24)];
    let alone: Vec<_> = sizes.map(|(w, h)| encode(&mut stream(&model, w, h), &clip(12, w, h, 8), &[1])).into();
    let mut streams = sizes.map(|(w, h)| stream(&model, w, h));
    let mut latents = [vec![], vec![]];
    for t in 0..12 {
        for (i, (w, h)) in sizes.into_iter().enumerate() {
            let frame = 3 * w * h;
            let video = clip(12, w, h, 8);
            let mut room = vec![0.0; alone[i].len()];
            let image = common::image(&video[t * frame..(t + 1) * frame], w, h);
            let written = streams[i].encode(&[image], LatentsMut::F32(&mut room)).unwrap();
            latents[i].extend_from_slice(&room[..written * alone[i].len() / 4]);
        }
    }
    for (i, stream) in streams.iter_mut().enumerate() {
        let mut room = vec![0.0; alone[i].len() / 4];
        assert_eq!(stream.encode_flush(LatentsMut::F32(&mut room)).unwrap(), 1);
        latents[i].extend_from_slice(&room);
        assert!(latents[i] == alone[i], "{:?}", sizes[i]);
    }
}

/// Four threads on one model, each with its own clip, at the same time.
#[test]
fn streams_in_threads_equal_streams_alone() {
    let model: Model = builtin();
    let (width, height) = (64, 48);
    let round_trip = |seed: u64| {
        let mut stream = stream(&model, width, height);
        let latents = encode(&mut stream, &clip(14, width, height, seed), &[1 + seed as usize % 3]);
        let frames = decode(&mut stream, &latents, &[1 + seed as usize % 2]);
        (latents, frames)
    };
    let alone: Vec<_> = (0..4).map(round_trip).collect();
    for _ in 0..2 {
        let together: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || round_trip(seed))).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(together == alone);
    }
    assert_eq!(model.info().sessions, 4, "two for each direction, whatever the number of streams");
}

/// How many threads share the work does not show in bfloat16 either, whose sums are divided in another way.
#[test]
fn bfloat16_does_not_depend_on_the_threads() {
    for (case, width, height) in [(None, 104, 72), (Some("v1-tiny"), 48, 40), (Some("own-v2-8x"), 32, 16)] {
        let results: Vec<_> = [1, 2, 4, 7]
            .into_iter()
            .filter_map(|threads| {
                let mut options = bfloat16();
                options.threads = threads;
                on_matrix_unit(
                    case.map_or_else(|| Model::builtin(&options), |case| Model::open(common::golden(case), &options)),
                )
            })
            .map(|model| {
                let mut stream = stream(&model, width, height);
                let latents = encode(&mut stream, &clip(9, width, height, 6), &[4]);
                let frames = decode(&mut stream, &latents, &[2]);
                (latents, frames)
            })
            .collect();
        assert!(results.iter().all(|result| *result == results[0]), "{case:?}");
        assert_eq!(results.len(), if has_matrix_unit() { 4 } else { 0 });
    }
}

/// Random plans in both directions over random lengths, until the clock says stop.
#[test]
fn random_plans_agree() {
    let mut random = Lcg(11);
    let models = KINDS.map(open);
    for round in 0..24 {
        let model = &models[round % 4];
        let mut stream = stream(model, SIDE, SIDE);
        let length = 1 + random.below(33) as usize;
        let mut plan = || (0..40).map(|_| 1 + random.below(9) as usize).collect::<Vec<_>>();
        let video = clip(length, SIDE, SIDE, round as u64);
        let plans = [plan(), plan(), plan(), plan()];
        let latents = encode(&mut stream, &video, &plans[0]);
        stream.reset().unwrap();
        assert!(latents == encode(&mut stream, &video, &plans[1]), "length {length}, plans {plans:?}");
        let frames = decode(&mut stream, &latents, &plans[2]);
        stream.reset().unwrap();
        assert!(frames == decode(&mut stream, &latents, &plans[3]), "length {length}, plans {plans:?}");
    }
}
