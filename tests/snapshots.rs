//! Snapshots and forks: what follows is what would have followed, to the bit, and bad bytes change nothing.

mod common;

use common::{bfloat16, clip, golden, image, on_matrix_unit, open, stream};
use wfvae::{
    CacheType, Convolution, ErrorKind, ImageMut, LatentType, Latents, LatentsMut, Layout, Model, ModelOptions,
    Posterior, Precision, Range, Snapshot, Stream, StreamOptions, Tiling,
};

/// Both temporal factors with both interpolations.
const KINDS: [&str; 4] = ["v1-tiny", "v1-tiny-nearest", "v1-tiny-8x", "own-8x-nearest"];
const WIDTH: usize = 16;
const HEIGHT: usize = 8;
const FRAME: usize = 3 * WIDTH * HEIGHT;
const LENGTH: usize = 33;
/// Magic, byte order, version, eleven numbers; and the checksum at the end.
const HEADER: usize = 16 + 11 * 8;
const FIXED: usize = HEADER + 4;

/// The models of `KINDS` and those whose states are made in other ways: the second generation, images that see their past,
/// half precision caches, bfloat16, and tiles.
fn variants() -> Vec<(String, Model, StreamOptions)> {
    let plain = || StreamOptions::new(WIDTH, HEIGHT);
    let names = KINDS.into_iter().chain(["v2-tiny", "own-v2-image-mixing"]);
    let mut variants: Vec<_> = names.map(|case| (case.to_string(), open(case), plain())).collect();
    let mut halves = ModelOptions::default();
    halves.cache_type = CacheType::F16;
    variants.push(("v1-tiny, f16".into(), Model::open(golden("v1-tiny"), &halves).unwrap(), plain()));
    let mut direct = ModelOptions::default();
    direct.convolution = Convolution::Direct;
    for case in ["v1-tiny-8x", "own-8x-nearest"] {
        variants.push((format!("{case}, direct"), Model::open(golden(case), &direct).unwrap(), plain()));
    }
    let mut tiled = plain();
    (tiled.tiling, tiled.tile_width) = (Tiling::Blended { overlap: 4 }, 8);
    for case in KINDS {
        let narrow = on_matrix_unit(Model::open(golden(case), &bfloat16()));
        variants.extend(narrow.map(|model| (format!("{case}, bf16"), model, plain())));
    }
    let narrow = on_matrix_unit(Model::open(golden("own-v2-thw"), &bfloat16()));
    variants.extend(narrow.map(|model| ("own-v2-thw, bf16, tiles".into(), model, tiled.clone())));
    variants.push(("own-v2-thw, tiles".into(), open("own-v2-thw"), tiled));
    variants
}

/// What a stream of both directions does with a clip: a frame goes in, and what comes out of the encoder is decoded.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Frame(usize),
    EncodeFlush,
    DecodeFlush,
}

/// The latents and frames that came out of a step.
type Output = (Vec<f32>, Vec<f32>);

fn steps() -> Vec<Step> {
    (0..LENGTH).map(Step::Frame).chain([Step::EncodeFlush, Step::DecodeFlush]).collect()
}

fn run(stream: &mut Stream, video: &[f32], steps: &[Step]) -> Vec<Output> {
    steps.iter().map(|step| run_step(stream, video, *step)).collect()
}

fn run_step(stream: &mut Stream, video: &[f32], step: Step) -> Output {
    // From here on the clip's last two frames are not to be written.
    if step == Step::Frame(7) {
        stream.set_frame_count(Some(LENGTH as u64 - 2)).unwrap();
    }
    let latents = match step {
        Step::Frame(t) => encode(stream, &video[t * FRAME..][..FRAME]),
        Step::EncodeFlush => {
            let mut latents = room(stream, stream.encode_flush_count().unwrap());
            stream.encode_flush(LatentsMut::F32(&mut latents)).unwrap();
            latents
        }
        Step::DecodeFlush => vec![],
    };
    let count = match step {
        Step::DecodeFlush => stream.decode_flush_count().unwrap(),
        _ => stream.decode_count((latents.len() / latent_size(stream)) as u64).unwrap(),
    };
    let mut frames = vec![f32::INFINITY; count as usize * FRAME];
    let pictures = frames.chunks_exact_mut(FRAME);
    let mut pictures: Vec<_> =
        pictures.map(|f| ImageMut::planar_f32(f, Range::Signed, WIDTH, HEIGHT).unwrap()).collect();
    let written = match step {
        Step::DecodeFlush => stream.decode_flush(&mut pictures).unwrap(),
        _ => stream.decode(Latents::F32(&latents), &mut pictures).unwrap(),
    };
    assert_eq!(written as u64, count);
    (latents, frames)
}

fn encode(stream: &mut Stream, frame: &[f32]) -> Vec<f32> {
    let mut latents = room(stream, stream.encode_count(1).unwrap());
    stream.encode(&[image(frame, WIDTH, HEIGHT)], LatentsMut::F32(&mut latents)).unwrap();
    latents
}

fn latent_size(stream: &Stream) -> usize {
    let info = stream.info();
    info.encoded_channels * info.latent_width * info.latent_height
}

fn room(stream: &Stream, latents: u64) -> Vec<f32> {
    vec![f32::INFINITY; latents as usize * latent_size(stream)]
}

/// A stream some steps into its clip.
fn stream_at(model: &Model, video: &[f32], position: usize) -> Stream {
    let mut stream = stream(model, WIDTH, HEIGHT);
    run(&mut stream, video, &steps()[..position]);
    stream
}

fn counters(stream: &Stream) -> [u64; 4] {
    let info = stream.info();
    [info.frames_in, info.latents_out, info.latents_in, info.frames_out]
}

/// Fails unless the result is an error of this kind that says this.
fn refused<T>(result: wfvae::Result<T>, kind: ErrorKind, text: &str) {
    let error = result.err().unwrap_or_else(|| panic!("not refused, expected {kind:?}: {text}"));
    assert!(error.kind() == kind && error.text().contains(text), "{:?}: {error}; expected {text}", error.kind());
}

/// At every position of a clip, half-filled pairs and the first steps included: restored in the stream itself, restored
/// from bytes in a new stream, and forked; run on to the end, and flushed at once.
#[test]
fn the_continuation_is_the_same_at_every_position() {
    let video = clip(LENGTH, WIDTH, HEIGHT, 1);
    // Far from what a frame is, so that any of it would be seen.
    let unreal: Vec<f32> = clip(LENGTH, WIDTH, HEIGHT, 2).into_iter().map(|v| 50.0 * v).collect();
    let steps = steps();
    for (case, model, options) in variants() {
        let mut origin = Stream::new(&model, &options).unwrap();
        let reference = run(&mut origin, &video, &steps);
        let end = counters(&origin);
        let flushes = [Step::EncodeFlush, Step::DecodeFlush];
        let flushed = |frames: usize| {
            let mut stream = Stream::new(&model, &options).unwrap();
            run(&mut stream, &video, &steps[..frames]);
            (run(&mut stream, &video, &flushes), counters(&stream))
        };

        origin.reset().unwrap();
        let take = |stream: &Stream| (stream.snapshot().unwrap(), stream.fork().unwrap(), counters(stream));
        let mut saved = vec![take(&origin)];
        for (step, expected) in steps.iter().zip(&reference) {
            assert!(run_step(&mut origin, &video, *step) == *expected, "{case}: disturbed after {}", saved.len());
            saved.push(take(&origin));
        }
        // Backwards, so that a stream is never where the snapshot is.
        for (position, (snapshot, mut fork, counted)) in saved.into_iter().enumerate().rev() {
            let continues = |stream: &mut Stream, how: &str| {
                assert_eq!(counters(stream), counted, "{case} {how} at {position}");
                let again = stream.snapshot().unwrap();
                assert!(again.as_bytes() == snapshot.as_bytes(), "{case} {how} at {position}: another state");
                let outputs = run(stream, &video, &steps[position..]);
                assert!(outputs == reference[position..], "{case} {how} at {position}");
                assert_eq!(counters(stream), end, "{case} {how} at {position}");
            };
            origin.restore(&snapshot).unwrap();
            continues(&mut origin, "restored");
            let read = Snapshot::from_bytes(snapshot.as_bytes()).unwrap();
            assert_eq!(read.info(), snapshot.info());
            // What it held before must not be met again.
            let mut new = Stream::new(&model, &options).unwrap();
            run(&mut new, &unreal, &steps[..9]);
            new.restore(&read).unwrap();
            continues(&mut new, "read");
            continues(&mut fork, "forked");
            if position <= LENGTH {
                fork.reset().unwrap();
                run(&mut fork, &unreal, &steps[..9]);
                fork.restore(&read).unwrap();
                let outputs = run(&mut fork, &video, &flushes);
                assert!((outputs, counters(&fork)) == flushed(position), "{case} flushed at {position}");
            }
        }
    }
}

/// Kinds of convolution that keep the same numbers share snapshots; others, of the same size but in another order, do not.
#[test]
fn convolutions_of_another_layout_are_refused() {
    let video = clip(LENGTH, WIDTH, HEIGHT, 9);
    let model = |(convolution, layout)| {
        let mut options = ModelOptions::default();
        (options.convolution, options.layout) = (convolution, layout);
        Model::open(golden("v1-tiny"), &options).unwrap()
    };
    use Convolution::{Direct, Exact, Fast, Stacked, Volume};
    use Layout::{Auto, ChannelsLast};
    let kinds = [
        ((Exact, Auto), 0),
        ((Fast, Auto), 0),
        ((Direct, Auto), 1),
        ((Stacked, Auto), 2),
        ((Volume, Auto), 2),
        ((Direct, ChannelsLast), 3),
        ((Volume, ChannelsLast), 3),
    ];
    for (from, layout) in kinds {
        let snapshot = stream_at(&model(from), &video, 6).snapshot().unwrap();
        for (to, other) in kinds {
            let mut stream = stream(&model(to), WIDTH, HEIGHT);
            if layout == other {
                stream.restore(&snapshot).unwrap();
            } else {
                refused(stream.restore(&snapshot), ErrorKind::InvalidArgument, "the snapshot holds");
            }
        }
    }
}

/// Caches of bfloat16 are no caches of float32, nor those of float16.
#[test]
fn precisions_are_refused_by_each_other() {
    let Some(narrow) = on_matrix_unit(Model::open(golden("v1-tiny"), &bfloat16())) else { return };
    let video = clip(LENGTH, WIDTH, HEIGHT, 9);
    let mut half = ModelOptions::default();
    (half.encode_precision, half.decode_precision) = (Precision::F16, Precision::F16);
    let mut one_of_two = bfloat16();
    one_of_two.decode_precision = Precision::F32;
    let others = [ModelOptions::default(), half, one_of_two].map(|o| Model::open(golden("v1-tiny"), &o).unwrap());
    for other in &others {
        let mut streams = [&narrow, other].map(|model| stream_at(model, &video, 6));
        let snapshots = streams.each_ref().map(|stream| stream.snapshot().unwrap());
        for (stream, snapshot) in streams.iter_mut().zip(snapshots.iter().rev()) {
            let before = stream.snapshot().unwrap();
            refused(stream.restore(snapshot), ErrorKind::InvalidArgument, "the snapshot holds");
            assert!(stream.snapshot().unwrap().as_bytes() == before.as_bytes(), "changed by what it refused");
        }
    }
}

/// A direction alone, and more of one than of the other.
#[test]
fn directions_are_saved_each_for_itself() {
    let model = open("v1-tiny");
    let video = clip(LENGTH, WIDTH, HEIGHT, 2);
    let outputs = run(&mut stream(&model, WIDTH, HEIGHT), &video, &steps());
    let latents: Vec<f32> = outputs.into_iter().flat_map(|(latents, _)| latents).collect();
    let mut one = StreamOptions::new(WIDTH, HEIGHT);
    one.decode = false;
    let mut encoder = Stream::new(&model, &one).unwrap();
    (one.encode, one.decode) = (false, true);
    let mut decoder = Stream::new(&model, &one).unwrap();
    let mut both = stream(&model, WIDTH, HEIGHT);
    let size = latent_size(&both);
    let mut out = vec![0f32; 4 * FRAME];
    let mut decode = |stream: &mut Stream, i: usize| {
        let pictures = out.chunks_exact_mut(FRAME);
        let mut pictures: Vec<_> =
            pictures.map(|f| ImageMut::planar_f32(f, Range::Signed, WIDTH, HEIGHT).unwrap()).collect();
        let written = stream.decode(Latents::F32(&latents[i * size..][..size]), &mut pictures).unwrap();
        out[..written * FRAME].to_vec()
    };
    // Three latents are decoded before the first frame is encoded.
    for i in 0..3 {
        assert!(decode(&mut both, i) == decode(&mut decoder, i));
    }
    for frame in video.chunks(FRAME).take(6) {
        assert!(encode(&mut both, frame) == encode(&mut encoder, frame));
    }
    let snapshots = [&encoder, &decoder, &both].map(|stream| stream.snapshot().unwrap());
    let [e, d, b] = snapshots.each_ref().map(|s| s.as_bytes().len() - FIXED);
    assert!(e > 0 && d > 0 && e + d == b, "{e} and {d} bytes alone, {b} together");
    let info = snapshots[2].info();
    assert_eq!((info.frames_in, info.latents_in, info.encode_flushed, info.decode_flushed), (6, 3, false, false));
    both.reset().unwrap();
    [&mut encoder, &mut decoder, &mut both]
        .into_iter()
        .zip(&snapshots)
        .for_each(|(s, saved)| s.restore(saved).unwrap());
    assert!(decode(&mut both, 3) == decode(&mut decoder, 3));
    for frame in video.chunks(FRAME).skip(6) {
        assert!(encode(&mut both, frame) == encode(&mut encoder, frame));
    }
}

/// The same beginning, two endings, in turns and in two threads.
#[test]
fn forks_are_independent() {
    let model = open("v1-tiny-8x");
    let first = clip(LENGTH, WIDTH, HEIGHT, 3);
    let mut second = first.clone();
    second[14 * FRAME..].copy_from_slice(&clip(LENGTH, WIDTH, HEIGHT, 4)[14 * FRAME..]);
    let [expected_first, expected_second] =
        [&first, &second].map(|video| run(&mut stream(&model, WIDTH, HEIGHT), video, &steps()));
    assert!(expected_first != expected_second);

    let mut origin = stream_at(&model, &first, 14);
    let mut fork = origin.fork().unwrap();
    let (mut origin_thread, mut fork_thread) = (origin.fork().unwrap(), fork.fork().unwrap());
    for (i, step) in steps().into_iter().enumerate().skip(14) {
        assert!(run_step(&mut origin, &first, step) == expected_first[i], "origin at {i}");
        assert!(run_step(&mut fork, &second, step) == expected_second[i], "fork at {i}");
    }
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(run(&mut origin_thread, &first, &steps()[14..]) == expected_first[14..]));
        scope.spawn(|| assert!(run(&mut fork_thread, &second, &steps()[14..]) == expected_second[14..]));
    });
    // A reset of one leaves the other where it is.
    let mut origin = stream_at(&model, &first, 14);
    let mut fork = origin.fork().unwrap();
    origin.reset().unwrap();
    drop(origin);
    assert!(run(&mut fork, &second, &steps()[14..]) == expected_second[14..]);
}

/// A restored stream keeps its own seed, also one of `set_seed`; a fork has that of its origin.
#[test]
fn seeds_stay_with_their_streams() {
    let model = open("v1-tiny");
    let video = clip(LENGTH, WIDTH, HEIGHT, 10);
    let sampling = |seed| {
        let mut options = StreamOptions::new(WIDTH, HEIGHT);
        options.posterior = Posterior::Sample { seed };
        Stream::new(&model, &options).unwrap()
    };
    let seed_of = |stream: &Stream| stream.latent_file(LatentType::F32).posterior;
    let [with_0, with_1] = [0, 1].map(|seed| run(&mut sampling(seed), &video, &steps()));
    assert!(with_0[5..] != with_1[5..]);

    let mut origin = sampling(0);
    let start = origin.snapshot().unwrap();
    origin.set_seed(1).unwrap();
    assert!(origin.snapshot().unwrap().as_bytes() == start.as_bytes());
    assert!(run(&mut origin, &video, &steps()[..5]) == with_1[..5]);
    let middle = origin.snapshot().unwrap();
    let mut fork = origin.fork().unwrap();
    for stream in [&mut origin, &mut fork] {
        assert!(run(stream, &video, &steps()[5..]) == with_1[5..]);
        stream.restore(&middle).unwrap();
        assert_eq!(seed_of(stream), Posterior::Sample { seed: 1 });
        refused(stream.set_seed(0), ErrorKind::InvalidState, "5 frames of the clip are encoded already");
        assert!(run(stream, &video, &steps()[5..]) == with_1[5..]);
        // What is restored at a clip's start may have another seed.
        stream.restore(&start).unwrap();
        assert_eq!(seed_of(stream), Posterior::Sample { seed: 1 });
        stream.set_seed(0).unwrap();
        assert!(run(stream, &video, &steps()) == with_0);
    }
    let mut other = sampling(7);
    other.set_seed(0).unwrap();
    other.restore(&middle).unwrap();
    assert_eq!(seed_of(&other), Posterior::Sample { seed: 0 });
    let latents = |outputs: &[Output]| outputs.iter().flat_map(|(latents, _)| latents.clone()).collect::<Vec<_>>();
    assert!(latents(&run(&mut other, &video, &steps()[5..])) == latents(&with_0[5..]));
}

/// One snapshot, several threads that restore it at the same time.
#[test]
fn threads_share_a_snapshot() {
    let model = open("v1-tiny");
    let video = clip(LENGTH, WIDTH, HEIGHT, 5);
    let snapshot = stream_at(&model, &video, 11).snapshot().unwrap();
    let expected = run(&mut stream(&model, WIDTH, HEIGHT), &video, &steps());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = stream(&model, WIDTH, HEIGHT);
                stream.restore(&snapshot).unwrap();
                assert!(run(&mut stream, &video, &steps()[11..]) == expected[11..]);
            });
        }
    });
}

/// At a clip's start and end there is nothing to keep; in between, two of three buffers at most.
#[test]
fn only_what_is_live_is_saved() {
    let video = clip(LENGTH, WIDTH, HEIGHT, 6);
    for case in KINDS {
        let model = open(case);
        let mut stream = stream(&model, WIDTH, HEIGHT);
        let info = stream.info();
        let state = (info.encode_state_bytes + info.decode_state_bytes) as usize;
        let size = |stream: &Stream| stream.snapshot().unwrap().as_bytes().len();
        assert_eq!(size(&stream), FIXED, "{case} at the start");
        run(&mut stream, &video, &steps()[..1]);
        let after_one = size(&stream);
        assert!(after_one - FIXED <= state / 3, "{case}: {after_one} bytes after a frame, of {state}");
        for t in 1..LENGTH {
            run(&mut stream, &video, &[Step::Frame(t)]);
            let size = size(&stream);
            assert!(size > after_one && size - FIXED <= state * 2 / 3, "{case}: {size} bytes at {t}, of {state}");
        }
        run(&mut stream, &video, &[Step::EncodeFlush, Step::DecodeFlush]);
        assert_eq!(size(&stream), FIXED, "{case} at the end");
        stream.reset().unwrap();
        assert_eq!(size(&stream), FIXED, "{case} after a reset");
    }
}

/// Nothing dead is saved: other numbers in any saved block come out, at the latest at the end of the clip or of one that is
/// flushed at once.
#[test]
fn every_saved_block_matters() {
    // Bytes: a pixel of the widest frames under three time taps, of which one or two may be dead.
    const BLOCK: usize = 384;
    let video = clip(LENGTH, WIDTH, HEIGHT, 7);
    let steps = steps();
    for (case, positions) in [("v1-tiny", [1, 2, 6, 7]), ("own-8x-nearest", [1, 3, 5, 12])] {
        let model = open(case);
        let mut stream = stream(&model, WIDTH, HEIGHT);
        for position in positions {
            let snapshot = stream_at(&model, &video, position).snapshot().unwrap();
            let end = snapshot.as_bytes().len() - 4;
            let ways = [&steps[position..], &steps[LENGTH..]];
            let right = ways.map(|steps| {
                stream.restore(&snapshot).unwrap();
                run(&mut stream, &video, steps)
            });
            for offset in (HEADER..end).step_by(BLOCK) {
                let block = offset..(offset + BLOCK).min(end);
                let large = 1e3f32.to_ne_bytes();
                let poisoned =
                    forged(&snapshot, |b| b[block].chunks_exact_mut(4).for_each(|v| v.copy_from_slice(&large)));
                let poisoned = Snapshot::from_bytes(&poisoned).unwrap();
                let comes_out = ways.iter().zip(&right).any(|(steps, right)| {
                    stream.restore(&poisoned).unwrap();
                    steps.iter().zip(right).any(|(step, right)| run_step(&mut stream, &video, *step) != *right)
                });
                assert!(comes_out, "{case} at {position}: the block at {offset} is dead");
            }
            println!("{case} at {position}: {} blocks", (end - HEADER).div_ceil(BLOCK));
        }
    }
}

/// The bytes of a snapshot after a change, with the right checksum.
fn forged(snapshot: &Snapshot, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = snapshot.as_bytes().to_vec();
    change(&mut bytes);
    let end = bytes.len() - 4;
    let checksum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_ne_bytes());
    bytes
}

#[test]
fn damaged_bytes_are_refused() {
    let model = open("v1-tiny");
    let snapshot = stream_at(&model, &clip(LENGTH, WIDTH, HEIGHT, 8), 6).snapshot().unwrap();
    let bytes = snapshot.as_bytes();
    let mut damaged = bytes.to_vec();
    let everywhere = (0..FIXED).chain((FIXED..bytes.len() - 8).step_by(101)).chain(bytes.len() - 8..bytes.len());
    for offset in everywhere {
        for bits in [0x01, 0x80, 0xff] {
            damaged[offset] ^= bits;
            refused(Snapshot::from_bytes(&damaged), ErrorKind::InvalidArgument, "snapshot: ");
            damaged[offset] ^= bits;
        }
    }
    let lengths = (0..2 * FIXED).chain((2 * FIXED..bytes.len()).step_by(67)).chain([bytes.len() - 1]);
    for length in lengths {
        refused(Snapshot::from_bytes(&bytes[..length]), ErrorKind::InvalidArgument, &format!("found {length} bytes"));
    }
    damaged.push(0);
    refused(Snapshot::from_bytes(&damaged), ErrorKind::InvalidArgument, "cut or damaged");
    let mut file = vec![];
    snapshot.write(&mut file).unwrap();
    assert!(Snapshot::from_bytes(&file).is_ok() && file == bytes);
    refused(snapshot.write(&mut &mut [0u8; 50][..]), ErrorKind::Io, "writing a snapshot");
}

/// Bytes with a right checksum and wrong contents.
#[test]
fn forged_bytes_are_refused_or_harmless() {
    let model = open("v1-tiny");
    let video = clip(LENGTH, WIDTH, HEIGHT, 9);
    let mut stream = stream_at(&model, &video, 8);
    let snapshot = stream.snapshot().unwrap();
    let number = |index: usize, value: u64| {
        forged(&snapshot, |b| b[16 + 8 * index..][..8].copy_from_slice(&value.to_ne_bytes()))
    };
    let text = |place: usize, text: &[u8]| forged(&snapshot, |b| b[place..place + text.len()].copy_from_slice(text));
    let most = 1 << 48;
    for (bytes, expected) in [
        (text(0, b"PK"), "not a snapshot: begins with \"PK"),
        (text(8, &0x0403_0201u32.to_ne_bytes()), "another byte order"),
        (text(8, &7u32.to_ne_bytes()), "byte order 00000007"),
        (text(12, &2u32.to_ne_bytes()), "format version 2, this libwfvae reads 1"),
        (number(0, 0), "expected 0"),
        (number(0, u64::MAX), "expected 18446744073709551615"),
        (number(2, 0), "size 0x8"),
        (number(3, 1 << 40), "size 16x1099511627776"),
        (number(4, 32769), "in 32769x8"),
        (number(6, 0), "flags 0"),
        (number(6, 12), "flags c"),
        (number(6, 16 + 3), "alpha"),
        (number(6, 16 + 1), "flags 11: alpha needs both directions"),
        (number(6, 32 + 3), "flags 23"),
        (number(6, 1), "2 latents in a direction that the stream lacks"),
        (number(6, 2 + 4), "8 frames in a direction that the stream lacks"),
        (number(7, most + 1), "281474976710657 frames: more than"),
        (number(7, u64::MAX), "18446744073709551615 frames: more than"),
        (number(8, most + 1), "latents: more than"),
    ] {
        refused(Snapshot::from_bytes(&bytes), ErrorKind::InvalidArgument, expected);
    }

    // What only a stream can know.
    for (bytes, kind, expected) in [
        (number(1, 1), ErrorKind::InvalidArgument, "of model 0000000000000001, this stream runs model"),
        (number(2, 24), ErrorKind::InvalidSize, "24x8 (padded to 16x8), this one is of 16x8 (padded to 16x8)"),
        (number(5, 16), ErrorKind::InvalidSize, "16x8 (padded to 16x16), this one"),
        (number(6, 3 + 4), ErrorKind::InvalidArgument, "the snapshot holds"),
        (number(7, 9), ErrorKind::InvalidArgument, "the snapshot holds"),
        (number(7, 0), ErrorKind::InvalidArgument, "the snapshot holds"),
        (number(8, 1), ErrorKind::InvalidArgument, "the snapshot holds"),
        (number(10, 5), ErrorKind::InvalidArgument, "in layout 00000005"),
        (number(10, u64::MAX), ErrorKind::InvalidArgument, "in layout ffffffffffffffff"),
    ] {
        refused(stream.restore(&Snapshot::from_bytes(&bytes).unwrap()), kind, expected);
        assert!(stream.snapshot().unwrap().as_bytes() == snapshot.as_bytes(), "{expected}: the stream has changed");
    }
    // A payload that is longer or shorter than it says, with all numbers right.
    for change in [4, -4] {
        let bytes = forged(&snapshot, |b| {
            let size = b.len().checked_add_signed(change).unwrap();
            b.resize(size, 0);
            b[16..24].copy_from_slice(&(size as u64).to_ne_bytes());
        });
        let foreign = Snapshot::from_bytes(&bytes).unwrap();
        refused(stream.restore(&foreign), ErrorKind::InvalidArgument, "the snapshot holds");
    }

    // The largest counters at which the same tensors are live: wrong pictures, and no overflow.
    let at = |frames: u64, latents: u64| {
        forged(&snapshot, |b| {
            b[16 + 8 * 7..][..8].copy_from_slice(&frames.to_ne_bytes());
            b[16 + 8 * 8..][..8].copy_from_slice(&latents.to_ne_bytes());
            // No frame count, which would leave out what is decoded.
            b[16 + 8 * 9..][..8].copy_from_slice(&u64::MAX.to_ne_bytes());
        })
    };
    stream.restore(&Snapshot::from_bytes(&at(most, most - 2)).unwrap()).unwrap();
    assert_eq!((stream.info().frames_in, stream.encode_count(0)), (most, Ok(0)));
    assert_eq!(stream.decode_count(2).unwrap(), 8);
    let whole = clip(1, WIDTH, HEIGHT, 1);
    let room = &mut vec![0.0; latent_size(&stream)];
    let more = stream.encode(&[image(&whole, WIDTH, HEIGHT)], LatentsMut::F32(room));
    refused(more, ErrorKind::InvalidArgument, "281474976710657 frames in the clip: more than 281474976710656");
    refused(stream.decode_count(3), ErrorKind::InvalidArgument, "281474976710657 latents in the clip: more than");
    stream.restore(&Snapshot::from_bytes(&at(most - 64, most - 66)).unwrap()).unwrap();
    assert_eq!(run(&mut stream, &video, &steps()[..5]).len(), 5);
    run(&mut stream, &video, &[Step::EncodeFlush, Step::DecodeFlush]);
}

/// Snapshots of other streams, each in the middle of a clip that goes on undisturbed.
#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let model = open("v1-tiny");
    let video = clip(LENGTH, WIDTH, HEIGHT, 10);
    let expected = run(&mut stream(&model, WIDTH, HEIGHT), &video, &steps());
    let of = |model: &Model, width: usize, height: usize, change: &dyn Fn(&mut StreamOptions)| {
        let mut options = StreamOptions::new(width, height);
        change(&mut options);
        let mut stream = Stream::new(model, &options).unwrap();
        if options.encode {
            let frame = clip(1, width, height, 1);
            let mut room = vec![0.0; 2 * latent_size(&stream)];
            stream.encode(&[image(&frame, width, height)], LatentsMut::F32(&mut room)).unwrap();
        }
        stream.snapshot().unwrap()
    };
    let other = ErrorKind::InvalidArgument;
    for (snapshot, kind, text) in [
        (of(&open("v1-tiny-nearest"), WIDTH, HEIGHT, &|_| ()), other, "the snapshot is of model"),
        (of(&open("v1-tiny-8x"), WIDTH, HEIGHT, &|_| ()), other, "the snapshot is of model"),
        (of(&model, HEIGHT, WIDTH, &|_| ()), ErrorKind::InvalidSize, "of a stream of 8x16"),
        (of(&model, 32, 16, &|_| ()), ErrorKind::InvalidSize, "of a stream of 32x16"),
        (of(&model, 15, HEIGHT, &|o| o.pad = true), ErrorKind::InvalidSize, "15x8 (padded to 16x8)"),
        (of(&model, WIDTH, HEIGHT, &|o| o.decode = false), other, "only encodes, this one encodes and decodes"),
        (of(&model, WIDTH, HEIGHT, &|o| o.encode = false), other, "only decodes, this one encodes and decodes"),
    ] {
        let mut stream = stream_at(&model, &video, 10);
        let before = stream.snapshot().unwrap();
        refused(stream.restore(&snapshot), kind, text);
        assert!(stream.snapshot().unwrap().as_bytes() == before.as_bytes(), "{text}");
        assert!(run(&mut stream, &video, &steps()[10..]) == expected[10..], "{text}");
    }
    // Padding that has nothing to do makes no other stream.
    let padded = of(&model, WIDTH, HEIGHT, &|o| o.pad = true);
    stream(&model, WIDTH, HEIGHT).restore(&padded).unwrap();
}

/// A stream that gets whole clips goes to a clip's start or end, not to its middle, in neither direction.
#[test]
fn the_middle_of_a_clip_is_not_for_whole_clips() {
    let model = open("v1-tiny");
    let video = clip(LENGTH, WIDTH, HEIGHT, 14);
    let mut options = StreamOptions::new(WIDTH, HEIGHT);
    options.clip_frames = LENGTH as u64;
    let at_once = || Stream::new(&model, &options).unwrap();
    let other = ErrorKind::InvalidArgument;
    let text = "the snapshot is of the middle of a clip, this stream takes whole clips";
    // The first frame gives a latent, which is decoded.
    for position in [1, 6, LENGTH, LENGTH + 1] {
        refused(at_once().restore(&stream_at(&model, &video, position).snapshot().unwrap()), other, text);
    }
    let mut encoding = stream(&model, WIDTH, HEIGHT);
    encode(&mut encoding, &video[..FRAME]);
    refused(at_once().restore(&encoding.snapshot().unwrap()), other, text);
    at_once().restore(&stream_at(&model, &video, 0).snapshot().unwrap()).unwrap();
    let mut ended = at_once();
    ended.restore(&stream_at(&model, &video, LENGTH + 2).snapshot().unwrap()).unwrap();
    assert_eq!(counters(&ended), counters(&stream_at(&model, &video, LENGTH + 2)));
    assert_eq!(ended.encode_count(1).unwrap_err().kind(), ErrorKind::InvalidState);
}

/// A clip whose last group was completed by the flush, and of which the decoder held frames back until its own.
#[test]
fn an_ended_clip_keeps_its_counters() {
    for (case, [latents, frames]) in
        [("v1-tiny", [3, 9]), ("v1-tiny-8x", [2, 9]), ("v1-tiny-nearest", [3, 9]), ("own-v2-groupnorm", [3, 9])]
    {
        let model = open(case);
        let mut options = StreamOptions::new(WIDTH, HEIGHT);
        options.pad = true;
        let stream = || Stream::new(&model, &options).unwrap();
        let mut ended = stream();
        let latents_of = common::encode(&mut ended, &clip(7, WIDTH, HEIGHT, 15), &[7]);
        common::decode(&mut ended, &latents_of, &[3]);
        assert_eq!(counters(&ended), [7, latents, latents, frames], "{case}");
        let mut restored = stream();
        restored.restore(&ended.snapshot().unwrap()).unwrap();
        for stream in [restored, ended.fork().unwrap()] {
            assert_eq!(counters(&stream), counters(&ended), "{case}");
            assert_eq!((stream.encode_flush_count().unwrap(), stream.decode_flush_count().unwrap()), (0, 0), "{case}");
        }
    }
}

/// Caches of other tiles may have the same sizes; they are of other parts of the frame.
#[test]
fn snapshots_belong_to_their_tiles() {
    let model = open("v1-tiny");
    let side = 48;
    let video = clip(9, side, side, 13);
    let tiled = |width, height| {
        let mut options = StreamOptions::new(side, side);
        (options.tile_width, options.tile_height) = (width, height);
        options.tiling = Tiling::Blended { overlap: 16 };
        Stream::new(&model, &options).unwrap()
    };
    let encode = |stream: &mut Stream, frames: &[f32]| {
        let images: Vec<_> = frames.chunks(3 * side * side).map(|f| image(f, side, side)).collect();
        let mut latents = room(stream, stream.encode_count(images.len() as u64).unwrap());
        stream.encode(&images, LatentsMut::F32(&mut latents)).unwrap();
        latents
    };
    let (mut columns, mut rows) = (tiled(32, side), tiled(side, 32));
    // A clip's start is the same for all.
    rows.restore(&columns.snapshot().unwrap()).unwrap();
    let (begin, rest) = video.split_at(3 * 3 * side * side);
    encode(&mut columns, begin);
    let snapshot = columns.snapshot().unwrap();
    refused(rows.restore(&snapshot), ErrorKind::InvalidArgument, "of other tiles");
    let mut again = tiled(32, side);
    again.restore(&snapshot).unwrap();
    assert!(encode(&mut again, rest) == encode(&mut columns, rest));
}

#[test]
fn a_failed_stream_has_no_snapshot_and_can_be_restored() {
    let model = open("v1-tiny");
    let video = clip(LENGTH, WIDTH, HEIGHT, 11);
    let expected = run(&mut stream(&model, WIDTH, HEIGHT), &video, &steps());
    let mut stream = stream_at(&model, &video, 9);
    let good = stream.snapshot().unwrap();
    let foreign = common::stream(&model, 32, 16).snapshot().unwrap();

    stream.canceller().cancel();
    // No call has seen it yet: the state is whole, and the flag stays with this stream.
    assert!(stream.snapshot().unwrap().as_bytes() == good.as_bytes());
    assert!(run(&mut stream.fork().unwrap(), &video, &steps()[9..]) == expected[9..]);
    let mut latents = vec![0.0; latent_size(&stream)];
    let mut fail = |stream: &mut Stream| {
        let frame = image(&video[..FRAME], WIDTH, HEIGHT);
        refused(stream.encode(&[frame], LatentsMut::F32(&mut latents)), ErrorKind::Cancelled, "cancelled");
    };
    fail(&mut stream);
    refused(stream.snapshot(), ErrorKind::NeedsReset, "reset the stream first");
    refused(stream.fork(), ErrorKind::NeedsReset, "reset the stream first");
    // A refused restore heals nothing.
    refused(stream.restore(&foreign), ErrorKind::InvalidSize, "32x16");
    assert!(stream.info().needs_reset && stream.failure().is_some());

    stream.restore(&good).unwrap();
    assert!(!stream.info().needs_reset && stream.failure().is_none());
    assert!(run(&mut stream, &video, &steps()[9..]) == expected[9..]);
    // A cancellation that no call has seen is cleared too.
    stream.canceller().cancel();
    stream.restore(&good).unwrap();
    assert!(run(&mut stream, &video, &steps()[9..]) == expected[9..]);
}

/// What a stream makes of the moments is its own, and a sample depends on the place in the clip.
#[test]
fn the_posterior_belongs_to_the_stream() {
    let model = open("v1-tiny");
    let video = clip(LENGTH, WIDTH, HEIGHT, 12);
    let sampling = |seed: u64| {
        let mut options = StreamOptions::new(WIDTH, HEIGHT);
        options.posterior = Posterior::Sample { seed };
        Stream::new(&model, &options).unwrap()
    };
    let samples = |stream: &mut Stream, from: usize| -> Vec<f32> {
        video.chunks(FRAME).skip(from).flat_map(|frame| encode(stream, frame)).collect()
    };
    let whole = samples(&mut sampling(5), 0);
    let snapshot = stream_at(&model, &video, 7).snapshot().unwrap();
    for seed in [5, 6] {
        let mut stream = sampling(seed);
        stream.restore(&snapshot).unwrap();
        let mut fork = stream.fork().unwrap();
        let rest = samples(&mut stream, 7);
        assert_eq!(rest == whole[whole.len() - rest.len()..], seed == 5, "seed {seed}");
        assert!(samples(&mut fork, 7) == rest, "a fork of seed {seed}");
    }
}
