//! Large frames in tiles, memory limits, and clips that are given whole.

mod common;

use common::{builtin, clip, decode, encode, max_abs, open, stream};
use wfvae::{ErrorKind, LatentsMut, Model, Stream, StreamOptions, Tiling};

/// Without attention, of both generations and several compressions.
const LOCAL: [&str; 6] =
    ["own-noattn", "own-8x-nearest", "own-v2-8x", "own-v2-thw-hw", "own-v2-nearest", "own-v2-image-clip"];

fn noattn(case: &str) -> Option<Model> {
    let model = open(case);
    model.info().encode_halo.is_some().then_some(model)
}

/// Exact tiles give the whole frame's numbers, in a stream and one tile after the other.
#[test]
fn exact_tiles_equal_the_whole_frame() {
    let mut tested = 0;
    for case in LOCAL {
        let Some(model) = noattn(case) else { continue };
        let info = model.info();
        let unit = info.spatial_compression;
        let frames = 2 * info.temporal_compression as usize + 1;
        for encoding in [true, false] {
            let halo = if encoding { info.encode_halo } else { info.decode_halo }.unwrap();
            let tile = 2 * halo + unit;
            // Two tiles across and three down, the last of which are not full.
            let (width, height) = (tile + unit, tile + 2 * unit);
            let mut options = StreamOptions::new(width, height);
            (options.encode, options.decode) = (encoding, !encoding);
            let mut whole = Stream::new(&model, &options).unwrap();
            (options.tiling, options.tile_width, options.tile_height) = (Tiling::Exact, tile, tile);
            let estimate = Stream::estimate(&model, &options).unwrap();
            assert_eq!(if encoding { estimate.encode_tiles } else { estimate.decode_tiles }, 2 * 3, "{case}");
            let mut tiled = Stream::new(&model, &options).unwrap();
            options.clip_frames = frames as u64;
            let mut at_once = Stream::new(&model, &options).unwrap();

            let stream_info = whole.info();
            let (expected, found, again, limit) = if encoding {
                let video = clip(frames, width, height, 3);
                let all = encode(&mut whole, &video, &[frames]);
                (all, encode(&mut tiled, &video, &[3]), encode(&mut at_once, &video, &[frames]), 1e-5)
            } else {
                let n = model.latents_for_frames(frames as u64) as usize;
                let size = info.latent_channels * stream_info.latent_width * stream_info.latent_height;
                let mut noise = common::Lcg(5);
                let latents: Vec<f32> = (0..n * size).map(|_| noise.signed()).collect();
                let all = decode(&mut whole, &latents, &[n]);
                (all, decode(&mut tiled, &latents, &[1]), decode(&mut at_once, &latents, &[n]), 5e-5)
            };
            let (error, error_again) = (max_abs(&expected, &found), max_abs(&expected, &again));
            println!(
                "{case} {}: {width}x{height}, tiles of {tile}: {error:.1e}",
                if encoding { "encode" } else { "decode" }
            );
            assert!(error <= limit && error_again <= limit, "{case}: {error} {error_again}");
            assert!(found == again, "{case}: streamed and at once differ");
            tested += 1;
        }
    }
    assert!(tested >= 8, "{tested}");
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
    let error = Stream::new(&model, &options).err().unwrap();
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
}

/// Group norm spans the clip: one call a clip, and an error that says so for another.
#[test]
fn group_norm_takes_whole_clips() {
    let model = open("own-v2-groupnorm");
    let info = model.info();
    assert!(info.whole_clips && info.encode_halo.is_none());
    let (width, height) = (16, 8);
    let mut stream = stream(&model, width, height);
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
    // A group that is not full is completed by the last frame, in the same call.
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
    assert!(!stream.info().needs_reset);
    let mut tiled = StreamOptions::new(width, height);
    tiled.tiling = Tiling::Blended { overlap: 0 };
    assert_eq!(Stream::new(&model, &tiled).err().unwrap().kind(), ErrorKind::InvalidArgument);
}
