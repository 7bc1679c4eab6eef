//! Large frames in tiles, memory limits, and clips that are given whole.

mod common;

use common::{bfloat16, builtin, clip, decode, encode, max_abs, on_matrix_unit, open};
use wfvae::{
    Convolution, ErrorKind, LatentsMut, Layout, Model, ModelOptions, Precision, Stream, StreamOptions, Tiling,
};

/// Without attention, of both generations and several compressions.
const LOCAL: [&str; 6] =
    ["own-noattn", "own-8x-nearest", "own-v2-8x", "own-v2-thw-hw", "own-v2-nearest", "own-v2-image-clip"];

fn local(case: &str, convolution: Convolution, precision: Precision) -> Option<Model> {
    let mut options = if precision == Precision::Bf16 { bfloat16() } else { ModelOptions::default() };
    options.convolution = convolution;
    let model = Model::open(common::golden(case), &options);
    let model = if precision == Precision::Bf16 { on_matrix_unit(model)? } else { model.unwrap() };
    model.info().encode_halo.is_some().then_some(model)
}

/// Exact tiles give the whole frame's numbers, in a stream and one tile after the other: to the bit with direct
/// convolutions and in bfloat16; else to what the convolutions round, which depends on where a frame begins.
#[test]
fn exact_tiles_equal_the_whole_frame() {
    let mut tested = 0;
    let ways = [
        (Convolution::Direct, Precision::F32),
        (Convolution::Exact, Precision::F32),
        (Convolution::Exact, Precision::Bf16),
    ];
    let cases = if common::whole_grids() { LOCAL.len() } else { 3 };
    for (case, (convolution, precision)) in LOCAL[..cases].iter().flat_map(|case| ways.map(|way| (case, way))) {
        let Some(model) = local(case, convolution, precision) else { continue };
        let direct = local(case, Convolution::Direct, Precision::F32).unwrap();
        let info = model.info();
        let unit = info.spatial_compression;
        let frames = 2 * info.temporal_compression as usize + 1;
        for encoding in [true, false] {
            let halo = if encoding { info.encode_halo } else { info.decode_halo }.unwrap();
            let tile = 2 * halo + unit;
            // Two tiles across and three down, the last of which are not full and reach beyond the picture.
            let (width, height) = (tile + unit - 3, tile + 2 * unit - 1);
            let mut options = StreamOptions::new(width, height);
            (options.encode, options.decode, options.pad) = (encoding, !encoding, true);
            let mut whole = Stream::new(&model, &options).unwrap();
            let mut reference = Stream::new(&direct, &options).unwrap();
            (options.tiling, options.tile_width, options.tile_height) = (Tiling::Exact, tile, tile);
            let estimate = Stream::estimate(&model, &options).unwrap();
            assert_eq!(if encoding { estimate.encode_tiles } else { estimate.decode_tiles }, 2 * 3, "{case}");
            let mut tiled = Stream::new(&model, &options).unwrap();
            options.clip_frames = frames as u64;
            let mut at_once = Stream::new(&model, &options).unwrap();

            let stream_info = whole.info();
            let (expected, rounded, found, again) = if encoding {
                let video = clip(frames, width, height, 3);
                let [all, rounded] = [&mut whole, &mut reference].map(|stream| encode(stream, &video, &[frames]));
                (all, rounded, encode(&mut tiled, &video, &[3]), encode(&mut at_once, &video, &[frames]))
            } else {
                let n = model.latents_for_frames(frames as u64) as usize;
                let size = info.latent_channels * stream_info.latent_width * stream_info.latent_height;
                let mut noise = common::Lcg(5);
                let latents: Vec<f32> = (0..n * size).map(|_| noise.signed()).collect();
                let [all, rounded] = [&mut whole, &mut reference].map(|stream| decode(stream, &latents, &[n]));
                (all, rounded, decode(&mut tiled, &latents, &[1]), decode(&mut at_once, &latents, &[n]))
            };
            let rounding = if precision == Precision::Bf16 { 0.0 } else { max_abs(&expected, &rounded) };
            let (error, limit) = (max_abs(&expected, &found), 4.0 * rounding);
            println!(
                "{case} {} {convolution:?} {precision}: {width}x{height}, tiles of {tile}: {error:.1e}, limit {limit:.1e}",
                if encoding { "encode" } else { "decode" }
            );
            assert!(error <= limit && limit < 2e-3, "{case}: {error}, limit {limit}");
            assert!(found == again, "{case}: streamed and at once differ");
            tested += 1;
        }
    }
    assert!(tested >= 16, "{tested}");
}

/// Blended tiles differ from the whole frame, but not with how the clip is cut; one tile is the whole frame.
#[test]
fn blended_tiles_do_not_depend_on_the_calls() {
    for case in ["v1-tiny", "v2-tiny", "own-8x-nearest", "v2-image"] {
        let model = open(case);
        let info = model.info();
        let (width, height, frames) = (64, 48, 2 * info.temporal_compression as usize + 1);
        let video = clip(frames, width, height, 4);
        let mut options = StreamOptions::new(width, height);
        let mut whole = Stream::new(&model, &options).unwrap();
        options.tiling = Tiling::Blended { overlap: 8 };
        let mut one = Stream::new(&model, &options).unwrap();
        (options.tile_width, options.tile_height) = (32, 24);
        assert!(Stream::estimate(&model, &options).unwrap().encode_tiles > 4);
        let mut tiled = Stream::new(&model, &options).unwrap();
        options.clip_frames = frames as u64;
        let mut at_once = Stream::new(&model, &options).unwrap();

        let latents = encode(&mut whole, &video, &[frames]);
        assert!(encode(&mut one, &video, &[2]) == latents, "{case}");
        let streamed = encode(&mut tiled, &video, &[1]);
        assert!(streamed != latents && streamed.iter().all(|v| v.is_finite()), "{case}");
        assert!(encode(&mut at_once, &video, &[frames]) == streamed, "{case}");

        let n = model.latents_for_frames(frames as u64) as usize;
        let pictures = decode(&mut whole, &latents, &[n]);
        assert!(decode(&mut one, &latents, &[1]) == pictures, "{case}");
        let streamed = decode(&mut tiled, &latents, &[1]);
        assert!(streamed != pictures && streamed.iter().all(|v| v.is_finite()), "{case}");
        assert!(decode(&mut at_once, &latents, &[n]) == streamed, "{case}");
    }
}

/// A limit chooses tiles, the largest that it allows; without tiles it refuses and says the numbers.
#[test]
fn memory_limits_tile_or_refuse() {
    let model = builtin();
    let mut options = StreamOptions::new(1280, 720);
    options.encode = false;
    let whole = Stream::estimate(&model, &options).unwrap();
    assert_eq!((whole.decode_tile, whole.decode_tiles, whole.encode_tiles), ((1280, 720), 1, 0));
    options.memory_limit = whole.total_bytes;
    assert_eq!(Stream::estimate(&model, &options).unwrap(), whole);

    options.memory_limit = whole.total_bytes - 1;
    let error = Stream::estimate(&model, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.text().contains("clip_frames"), "{error}");
    // In a stream tiles keep caches of their own: no help here.
    options.tiling = Tiling::Exact;
    let error = Stream::new(&model, &options).unwrap_err();
    assert!(error.kind() == ErrorKind::OutOfMemory && error.text().contains("set clip_frames"), "{error}");

    options.clip_frames = 9;
    let mut last = whole.decode_tile;
    for share in [2, 3, 4] {
        options.memory_limit = whole.total_bytes / share;
        let tiled = Stream::estimate(&model, &options).unwrap();
        assert!(tiled.total_bytes <= options.memory_limit && tiled.decode_tiles > 1, "{tiled:?}");
        assert!(tiled.decode_tile.0 * tiled.decode_tile.1 < last.0 * last.1, "{tiled:?}");
        last = tiled.decode_tile;
        let stream = Stream::new(&model, &options).unwrap();
        assert_eq!(stream.info().decode_state_bytes, tiled.decode_state_bytes);
    }
    options.memory_limit = whole.total_bytes / 1000;
    let error = Stream::estimate(&model, &options).unwrap_err();
    assert!(error.text().contains("no smaller tiles are possible"), "{error}");

    // Of blended tiles it takes none that are all seam, however little it may have.
    (options.tiling, options.clip_frames) = (Tiling::Blended { overlap: 0 }, 1);
    let mut smallest = usize::MAX;
    let mut more = whole.total_bytes - whole.weight_bytes;
    loop {
        options.memory_limit = whole.weight_bytes + more;
        let Ok(tiled) = Stream::estimate(&model, &options) else { break };
        smallest = smallest.min(tiled.decode_tile.0).min(tiled.decode_tile.1);
        more = more * 7 / 8;
    }
    assert!((64..100).contains(&smallest), "tiles of {smallest} pixels");
}

/// Group norm spans the clip: one call a clip, and an error that says so for another.
#[test]
fn group_norm_takes_whole_clips() {
    let model = open("own-v2-groupnorm");
    let info = model.info();
    assert!(info.whole_clips && info.encode_halo.is_none());
    let (width, height) = (16, 8);
    let mut options = StreamOptions::new(width, height);
    options.pad = true;
    let mut stream = Stream::new(&model, &options).unwrap();
    let mut latents_of = |video: &[f32], frames: usize| {
        let latents = encode(&mut stream, video, &[frames]);
        let pictures = decode(&mut stream, &latents, &[usize::MAX]);
        stream.reset().unwrap();
        (latents, pictures)
    };
    let video = clip(9, width, height, 6);
    let frame = 3 * width * height;
    let (nine, pictures) = latents_of(&video, 9);
    assert_eq!((nine.len() / (pictures.len() / frame), pictures.len() / frame), (nine.len() / 9, 9));
    // Statistics of more frames are others.
    let (five, _) = latents_of(&video[..5 * frame], 5);
    assert!(max_abs(&five, &nine[..five.len()]) > 1e-3);
    // A group that is not full is completed by the last frame, in the same call, if that was asked for.
    let mut repeated = video[..7 * frame].to_vec();
    repeated.extend_from_within(6 * frame..);
    repeated.extend_from_within(6 * frame..7 * frame);
    assert!(latents_of(&video[..7 * frame], 7).0 == latents_of(&repeated, 9).0);

    let images: Vec<_> = video.chunks(frame).map(|f| common::image(f, width, height)).collect();
    let mut room = vec![0.0; nine.len()];
    assert_eq!(stream.encode_count(7).unwrap(), 3);
    stream.encode(&images[..5], LatentsMut::F32(&mut room)).unwrap();
    assert_eq!(stream.encode_flush_count().unwrap(), 0);
    let error = stream.encode(&images[5..], LatentsMut::F32(&mut room)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    assert!(error.text().contains("\"groupnorm\"") && error.text().contains("cannot stream"), "{error}");
    // Four clips, and one that was encoded only; calls that were refused did nothing.
    assert_eq!((stream.info().encode_steps, stream.info().decode_steps), (5, 4));
    assert!(!stream.info().needs_reset);
    let mut tiled = StreamOptions::new(width, height);
    tiled.tiling = Tiling::Blended { overlap: 0 };
    assert_eq!(Stream::new(&model, &tiled).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// Sums over a clip need float32, and its graphs have one layout.
#[test]
fn group_norm_has_one_precision_and_one_layout() {
    type Change = fn(&mut ModelOptions);
    let changes: [(Change, &str); 3] = [
        (|o| o.encode_precision = Precision::F16, "encode_precision f16: the model has norm_type \"groupnorm\""),
        (|o| o.decode_precision = Precision::Bf16, "decode_precision bf16: the model has norm_type \"groupnorm\""),
        (|o| o.layout = Layout::ChannelsLast, "graphs of a whole clip have a layout of their own"),
    ];
    for (change, text) in changes {
        let mut options = ModelOptions::default();
        change(&mut options);
        let error = Model::open(common::golden("own-v2-groupnorm"), &options).expect_err("refused");
        assert!(error.kind() == ErrorKind::InvalidArgument && error.text().contains(text), "{error}");
    }
}

/// Numbers that no machine has are large, not small: a limit refuses them. What helps is said.
#[test]
fn absurd_estimates_are_refused_with_advice() {
    let refused = |model: &Model, change: &dyn Fn(&mut StreamOptions), kind: ErrorKind, texts: &[&str]| {
        let mut options = StreamOptions::new(32768, 32768);
        (options.memory_limit, options.clip_frames) = (1 << 30, 1 << 48);
        change(&mut options);
        let error = Stream::estimate(model, &options).unwrap_err();
        assert!(error.kind() == kind && texts.iter().all(|text| error.text().contains(text)), "{error}");
        options.memory_limit = 0;
        Stream::estimate(model, &options).unwrap()
    };
    let blended = |o: &mut StreamOptions| {
        (o.tiling, o.tile_width, o.tile_height) = (Tiling::Blended { overlap: 0 }, 128, 128);
    };
    let limit = ErrorKind::OutOfMemory;
    let model = builtin();
    assert_eq!(refused(&model, &blended, limit, &["ask for smaller tiles, shorten clip_frames"]).total_bytes, u64::MAX);
    refused(&model, &|_| (), limit, &["MiB; ask for tiles, open the model"]);
    let whole = open("own-v2-groupnorm");
    assert_eq!(refused(&whole, &|_| (), limit, &["MiB; shorten clip_frames, use one"]).total_bytes, u64::MAX);
    // Nobody knows how much clips of any length take.
    let any = |o: &mut StreamOptions| o.clip_frames = 0;
    refused(&whole, &any, ErrorKind::InvalidArgument, &["set clip_frames"]);
}

/// Encoding holds the latents of a clip until the last tile gave its part of them.
#[test]
fn estimates_count_what_waits_for_tiles() {
    let model = builtin();
    let mut options = StreamOptions::new(512, 512);
    (options.decode, options.tiling) = (false, Tiling::Exact);
    (options.tile_width, options.tile_height) = (256, 256);
    let mut of = |frames| {
        options.clip_frames = frames;
        Stream::estimate(&model, &options).unwrap()
    };
    let (short, long) = (of(1), of(1001));
    let latents = model.latents_for_frames(1001) - 1;
    assert!(short.encode_tiles > 1);
    assert_eq!(long.total_bytes - short.total_bytes, latents * 2 * model.info().latent_channels as u64 * 64 * 64 * 4);
}

/// A flush ends a clip of no frames too, and what comes next says so; clip_frames is the longest that is encoded.
#[test]
fn whole_clips_have_a_length_and_an_end() {
    for case in ["v1-tiny", "own-v2-groupnorm"] {
        let model = open(case);
        let mut options = StreamOptions::new(16, 8);
        (options.clip_frames, options.pad) = (6, true);
        let mut stream = Stream::new(&model, &options).unwrap();
        let video = clip(9, 16, 8, 8);
        let images: Vec<_> = video.chunks(3 * 16 * 8).map(|f| common::image(f, 16, 8)).collect();
        let info = stream.info();
        let mut room = vec![0.0; 3 * info.latent_channels * info.latent_width * info.latent_height];
        let error = stream.encode(&images[..7], LatentsMut::F32(&mut room)).unwrap_err();
        assert!(error.text().contains("a clip of 7 frames: clip_frames is 6"), "{case}: {error}");
        let counters = |stream: &Stream| {
            let info = stream.info();
            [info.frames_in, info.latents_out, info.latents_in, info.frames_out]
        };
        assert_eq!(counters(&stream), [0; 4], "{case}: a call that was refused");
        assert_eq!(stream.encode(&images[..6], LatentsMut::F32(&mut room)).unwrap(), 3, "{case}");
        assert_eq!(decode(&mut stream, &room, &[3]).len(), video.len(), "{case}");
        assert_eq!(counters(&stream), [6, 3, 3, 9], "{case}");
        stream.reset().unwrap();
        assert_eq!(counters(&stream), [0; 4], "{case}: after a reset");
        assert_eq!(stream.encode_flush(LatentsMut::F32(&mut room)).unwrap(), 0);
        assert_eq!(stream.decode_flush(&mut []).unwrap(), 0);
        let error = stream.encode(&images[..6], LatentsMut::F32(&mut room)).unwrap_err();
        assert!(error.text().contains("was flushed, its clip has ended"), "{case}: {error}");
        let error = stream.decode_count(1).unwrap_err();
        assert!(error.text().contains("was flushed, its clip has ended"), "{case}: {error}");
        let mut fork = stream.fork().unwrap();
        assert_eq!(fork.encode_count(1).unwrap_err().kind(), ErrorKind::InvalidState, "{case}");
        fork.reset().unwrap();
        assert_eq!(fork.encode(&images[..6], LatentsMut::F32(&mut room)).unwrap(), 3, "{case}");
        // Three latents are nine frames, of which the last group was completed.
        assert_eq!(decode(&mut fork, &room, &[3]).len(), video.len(), "{case}");
    }
}

/// After a call was stopped in the middle of a clip that is given whole, counts are those of the next one.
#[test]
fn counts_hold_after_a_stopped_clip() {
    let model = builtin();
    let mut options = StreamOptions::new(128, 128);
    (options.encode, options.clip_frames) = (false, 33);
    let mut stream = Stream::new(&model, &options).unwrap();
    let latents = vec![0.5; 9 * stream.info().latent_channels * 16 * 16];
    let mut room = vec![0.0; 33 * 3 * 128 * 128];
    let stopped = (1..200).any(|i| {
        stream.reset().unwrap();
        let before = stream.info().decode_steps;
        let canceller = stream.canceller();
        let mut frames: Vec<_> = room
            .chunks_exact_mut(3 * 128 * 128)
            .map(|f| wfvae::ImageMut::planar_f32(f, wfvae::Range::Signed, 128, 128).unwrap())
            .collect();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(2 * i));
                canceller.cancel();
            });
            let _ = stream.decode(wfvae::Latents::F32(&latents), &mut frames);
        });
        stream.info().needs_reset && stream.info().decode_steps > before + 1
    });
    assert!(stopped);
    // A clip that was not completed does not count.
    assert_eq!((stream.info().latents_in, stream.info().frames_out), (0, 0));
    assert_eq!(stream.decode_count(1).unwrap(), 1);
}

/// Without clip_frames nobody knows a clip's memory before the call, which then asks for it and fails cleanly.
#[test]
fn whole_clips_that_do_not_fit_are_refused() {
    let model = open("own-v2-groupnorm");
    let side = 8192;
    let mut options = StreamOptions::new(side, side);
    options.decode = false;
    let mut stream = Stream::new(&model, &options).unwrap();
    let black = vec![0u8; 3 * side * side];
    let frame = wfvae::Image::packed(&black, wfvae::PixelFormat::Rgb8, side, side).unwrap();
    let mut room =
        vec![0.0; 33 * stream.info().latent_channels * stream.info().latent_width * stream.info().latent_height];
    let error = stream.encode(&[frame; 129], LatentsMut::F32(&mut room)).unwrap_err();
    assert!(error.kind() == ErrorKind::OutOfMemory && error.text().contains("8192x8192"), "{error}");
    assert!(!stream.info().needs_reset);
}
