//! Formats that stay (docs/formats.md): what an earlier version wrote is read and says the same, and what this one writes is
//! what it always wrote.

mod common;

use common::{clip, golden};
use std::path::PathBuf;
use tempfile::TempDir;
use wfvae::{
    CacheType, Convolution, ErrorKind, Image, ImageMut, LatentReader, LatentType, LatentWriter, Latents, LatentsMut,
    Model, ModelOptions, Posterior, Range, Snapshot, Stream, StreamOptions, Tiling,
};

const SIDE: usize = 8;
/// Magic, byte order, version and eleven numbers.
const SNAPSHOT_HEADER: usize = 16 + 11 * 8;

fn stored(name: &str) -> PathBuf {
    golden("").parent().unwrap().join("formats").join(name)
}

/// What the stored files were made of.
fn video() -> Vec<f32> {
    clip(7, SIDE, SIDE, 5)
}

fn images(video: &[f32]) -> Vec<Image<'_>> {
    video.chunks_exact(3 * SIDE * SIDE).map(|frame| common::image(frame, SIDE, SIDE)).collect()
}

fn stream() -> Stream {
    common::stream(&common::open("v1-tiny"), SIDE, SIDE)
}

/// Decoding in half precision caches and two tiles.
fn tiled() -> Stream {
    let mut options = ModelOptions::default();
    (options.cache_type, options.convolution) = (CacheType::F16, Convolution::Stacked);
    let model = Model::open(golden("v1-tiny"), &options).unwrap();
    let mut options = StreamOptions::new(24, SIDE);
    (options.tiling, options.tile_width, options.encode) = (Tiling::Blended { overlap: 8 }, 16, false);
    Stream::new(&model, &options).unwrap()
}

fn decode(stream: &mut Stream, latents: &[f32]) -> Vec<f32> {
    let (info, mut count) = (stream.info(), 0);
    let frame = 3 * info.width * info.height;
    let mut video = vec![f32::NAN; 16 * frame];
    let planes = video.chunks_exact_mut(frame);
    let planes = planes.map(|f| ImageMut::planar_f32(f, Range::Signed, info.width, info.height).unwrap());
    let mut planes: Vec<_> = planes.collect();
    if !latents.is_empty() {
        count = stream.decode(Latents::F32(latents), &mut planes).unwrap();
    }
    count += stream.decode_flush(&mut planes[count..]).unwrap();
    video.truncate(count * frame);
    video
}

fn read(reader: &LatentReader) -> Vec<f32> {
    let mut latents = vec![f32::NAN; 3 * 4];
    reader.read(0, LatentsMut::F32(&mut latents)).unwrap();
    latents
}

/// Files name models by these numbers, so they must never change.
#[test]
fn identities_never_change() {
    let identities = |model: Model| {
        let info = model.info();
        [info.identity, info.encoder_identity, info.decoder_identity]
    };
    let golden = ["v1-tiny", "own-bf16", "own-v2-groupnorm", "v1-tiny-nearest"].map(common::open);
    let found: Vec<[u64; 3]> = [common::builtin()].into_iter().chain(golden).map(identities).collect();
    let expected: Vec<[u64; 3]> = IDENTITIES.into();
    assert!(found == expected, "{found:#018x?}");
}

#[test]
fn latent_files_of_before_are_read() {
    let model = common::open("v1-tiny");
    let mut stream = stream();
    let expected = common::encode(&mut stream, &video(), &[7]);
    for (name, latent_type, tolerance) in [("f32", LatentType::F32, 1e-5), ("f16", LatentType::F16, 1e-3)] {
        let reader = LatentReader::open(stored(&format!("latents-1-{name}.safetensors"))).unwrap();
        let info = reader.info();
        assert_eq!((info.model, info.encoder, info.decoder), (IDENTITIES[1][0], 0, 0));
        assert_eq!((info.width, info.height, info.frames, info.latents), (SIDE, SIDE, 7, 3));
        assert_eq!((info.posterior, info.latent_type, info.scaled), (Posterior::Mean, latent_type, false));
        assert_eq!((info.fps, info.note.as_str()), (Some((30000, 1001)), "a note"));
        assert_eq!((&info.scale[..], &info.shift[..]), (&[0.6, 0.9, 1.2, 0.75][..], &[-0.4, 0.29, 0.06, -0.17][..]));
        assert!(common::max_abs(&read(&reader), &expected) < tolerance);
        model.check_latent_file(&reader).unwrap();
        stream.check_latent_file(&reader).unwrap();

        // It names the whole model, so that another decoder is another model.
        let other = common::open("v1-tiny-8x");
        let e = other.check_latent_file(&reader).expect_err("refused");
        assert!(e.kind() == ErrorKind::LatentFile && e.text().contains("an early version wrote the file"), "{e}");
    }
}

/// Written again, it is the same file.
#[test]
fn latent_files_are_written_as_ever() {
    let path = stored("latents-2-f32.safetensors");
    let reader = LatentReader::open(&path).unwrap();
    let info = reader.info().clone();
    assert_eq!([info.model, info.encoder, info.decoder], IDENTITIES[1]);
    common::open("v1-tiny").check_latent_file(&reader).unwrap();
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("copy");
    let mut writer = LatentWriter::create(&copy, info).unwrap();
    writer.write(Latents::F32(&read(&reader))).unwrap();
    writer.finish(7).unwrap();
    assert!(std::fs::read(copy).unwrap() == std::fs::read(path).unwrap());
}

/// A stored snapshot goes on as the stream would have that made it, and is laid out as one that is made now.
#[test]
fn snapshots_of_before_are_restored() {
    let snapshot = |name: &str| Snapshot::from_bytes(&std::fs::read(stored(name)).unwrap()).unwrap();
    let same_header = |old: &Snapshot, new: &Snapshot| {
        let [old, new] = [old, new].map(|s| s.as_bytes());
        assert!(old.len() == new.len() && old[..SNAPSHOT_HEADER] == new[..SNAPSHOT_HEADER]);
    };

    let old = snapshot("snapshot-1-steps");
    let video = video();
    let images = images(&video);
    let mut whole = stream();
    let expected = common::encode(&mut whole, &video, &[7]);
    whole.reset().unwrap();
    let mut room = vec![0.0; expected.len()];
    whole.encode(&images[..4], LatentsMut::F32(&mut room)).unwrap();
    let frames = decode_some(&mut whole, &expected[..8]);
    same_header(&old, &whole.snapshot().unwrap());
    let mut restored = stream();
    restored.restore(&old).unwrap();
    let mut encoded = [0, 0].map(|_| vec![0.0; 8]);
    for (stream, out) in [&mut whole, &mut restored].into_iter().zip(&mut encoded) {
        let count = stream.encode(&images[4..], LatentsMut::F32(out)).unwrap();
        assert_eq!(count + stream.encode_flush(LatentsMut::F32(&mut out[count * 4..])).unwrap(), 2);
    }
    assert!(common::max_abs(&encoded[0], &encoded[1]) < 1e-4);
    let [one, other] = [&mut whole, &mut restored].map(|stream| decode(stream, &expected[8..]));
    assert!(one.len() == 3 * SIDE * SIDE * (9 - frames) && common::max_abs(&one, &other) < 1e-4);

    let old = snapshot("snapshot-1-tiles");
    let mut whole = tiled();
    let mut noise = common::Lcg(1);
    let latent: Vec<f32> = (0..4 * 3).map(|_| noise.signed()).collect();
    decode_some(&mut whole, &latent);
    same_header(&old, &whole.snapshot().unwrap());
    let mut restored = tiled();
    restored.restore(&old).unwrap();
    let [one, other] = [&mut whole, &mut restored].map(|stream| decode(stream, &latent));
    assert!(one.len() == 4 * 3 * 24 * SIDE && common::max_abs(&one, &other) < 1e-2);
}

/// How many frames that gave.
fn decode_some(stream: &mut Stream, latents: &[f32]) -> usize {
    let info = stream.info();
    let mut video = vec![0.0; 8 * 3 * info.width * info.height];
    let planes = video.chunks_exact_mut(3 * info.width * info.height);
    let planes = planes.map(|f| ImageMut::planar_f32(f, Range::Signed, info.width, info.height).unwrap());
    stream.decode(Latents::F32(latents), &mut planes.collect::<Vec<_>>()).unwrap()
}

/// Of the whole, the encoder and the decoder: the built-in model, v1-tiny, own-bf16, own-v2-groupnorm, v1-tiny-nearest.
const IDENTITIES: [[u64; 3]; 5] = [
    [0xc87d_bf89_e0a1_93dc, 0x63a0_4ed0_837b_4b59, 0x74e8_5060_fdd8_8dd8],
    [0x2efe_5339_6291_59ea, 0x7708_fcb2_e7a0_eda6, 0x4431_6a03_6876_6e22],
    [0x2fb2_dabd_4ddd_dbc1, 0x957a_b5d7_6ee3_6ccc, 0x9570_bff5_9989_07d5],
    [0x7b65_fdcf_0aba_1dda, 0x371b_0be2_3776_5698, 0xf7cc_2c04_93d9_07ea],
    [0x787c_ae7d_046f_4baa, 0xd53a_c0c2_b39b_b9f8, 0x5615_0a05_9380_3a03],
];
