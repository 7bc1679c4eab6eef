//! Right numbers, or an error: what is not finite is found wherever it comes in or goes out; weights are those of the opening;
//! latents are of one encoder, whatever decodes them.

mod common;

use common::system::{replaces_open_files, write_at};
use common::{clip, golden, image};
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use std::path::Path;
use tempfile::TempDir;
use wfvae::{
    CacheType, Convolution, ErrorKind, Graphs, Image, ImageMut, LatentFileInfo, LatentReader, LatentType, LatentWriter,
    Latents, LatentsMut, Model, ModelOptions, PixelFormat, Posterior, Range, Snapshot, Stream, StreamOptions,
};

const SIDE: usize = 16;
const FRAME: usize = 3 * SIDE * SIDE;
const ENCODER_BIAS: &str = "encoder.conv_out.conv.bias";
const DECODER_BIAS: &str = "decoder.conv_out.bias";

/// A copy of a golden case's model: `change` gets each tensor's name and bytes, and says whether it is kept.
fn copy_of(case: &str, change: impl Fn(&str, Dtype, &mut Vec<u8>) -> bool) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::copy(golden(case).join("config.json"), folder.path().join("config.json")).unwrap();
    let bytes = std::fs::read(golden(case).join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = vec![];
    for (key, view) in file.iter() {
        let mut data = view.data().to_vec();
        if change(key, view.dtype(), &mut data) {
            tensors.push((key.to_string(), view.dtype(), view.shape().to_vec(), data));
        }
    }
    let views =
        tensors.iter().map(|(key, dtype, shape, data)| (key, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    folder
}

/// A copy in which one number of a tensor is another.
fn with_number(case: &str, tensor: &'static str, value: f32) -> TempDir {
    copy_of(case, |key, dtype, data| {
        if key == tensor {
            let bytes = match dtype {
                Dtype::F32 => value.to_le_bytes().to_vec(),
                Dtype::F16 => f16::from_f32(value).to_le_bytes().to_vec(),
                _ => half::bf16::from_f32(value).to_le_bytes().to_vec(),
            };
            data[..bytes.len()].copy_from_slice(&bytes);
        }
        true
    })
}

fn open(path: &Path) -> Model {
    Model::open(path, &ModelOptions::default()).unwrap()
}

fn refused<T>(result: wfvae::Result<T>, kind: ErrorKind, texts: &[&str]) {
    let e = result.err().unwrap_or_else(|| panic!("accepted: {texts:?}"));
    assert!(e.kind() == kind && texts.iter().all(|text| e.text().contains(text)), "{:?}: {e}", e.kind());
}

fn frames_of<'a>(video: &'a mut [f32], width: usize, height: usize) -> Vec<ImageMut<'a>> {
    let planes = video.chunks_exact_mut(3 * width * height);
    planes.map(|f| ImageMut::planar_f32(f, Range::Signed, width, height).unwrap()).collect()
}

#[test]
fn frames_that_are_not_finite_are_refused_before_anything_is_consumed() {
    let model = common::open("v1-tiny");
    let mut stream = common::stream(&model, SIDE, SIDE);
    let mut latents = vec![0.0; 2 * 4 * 2 * 2];
    let formats = [
        (PixelFormat::RgbPlanarF32(Range::Signed), "R"),
        (PixelFormat::RgbPlanarF32(Range::Unit), "R"),
        (PixelFormat::GbrPlanarF32(Range::Unit), "G"),
    ];
    for (format, channel) in formats {
        // The last is finite, but not when it is brought to -1 to 1.
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            if bad == f32::MAX && format == PixelFormat::RgbPlanarF32(Range::Signed) {
                continue;
            }
            let mut video = clip(2, SIDE, SIDE, 1);
            video[FRAME + 3 * SIDE + 5] = bad;
            let bytes = video.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>();
            let aligned: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect();
            let raw = unsafe { std::slice::from_raw_parts(aligned.as_ptr().cast::<u8>(), bytes.len()) };
            let images: Vec<Image> =
                raw.chunks_exact(4 * FRAME).map(|b| Image::packed(b, format, SIDE, SIDE).unwrap()).collect();
            let place = format!("frame 1 of the call, frame 1 of the clip: {channel} at column 5, row 3");
            let result = stream.encode(&images, LatentsMut::F32(&mut latents));
            refused(result, ErrorKind::NotFinite, &[&place]);
            assert!(stream.info().frames_in == 0 && !stream.info().needs_reset);
        }
    }
    // Nothing happened: the clip that follows is as any.
    let video = clip(5, SIDE, SIDE, 1);
    let expected = common::encode(&mut common::stream(&model, SIDE, SIDE), &video, &[5]);
    assert!(common::encode(&mut stream, &video, &[5]) == expected);
}

#[test]
fn latents_that_are_not_finite_are_refused_before_anything_is_consumed() {
    let model = common::open("v1-tiny");
    let mut options = StreamOptions::new(SIDE, SIDE);
    options.scaled = true;
    let mut stream = Stream::new(&model, &options).unwrap();
    let mut video = vec![0.0; 9 * FRAME];
    let place = ["latent 1 of the call, latent 1 of the clip: channel 2: element 3"];
    for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
        let mut latents = vec![0.5; 2 * 16];
        latents[16 + 2 * 4 + 3] = bad;
        // Channel 2 has a scale above 1, channel 0 one below.
        if bad == f32::MAX {
            latents.swap(16 + 2 * 4 + 3, 16);
            let place = ["channel 0: element 0", "too large to be unscaled"];
            refused(
                stream.decode(Latents::F32(&latents), &mut frames_of(&mut video, SIDE, SIDE)),
                ErrorKind::NotFinite,
                &place,
            );
            continue;
        }
        refused(
            stream.decode(Latents::F32(&latents), &mut frames_of(&mut video, SIDE, SIDE)),
            ErrorKind::NotFinite,
            &place,
        );
        let halves: Vec<f16> = latents.iter().map(|v| f16::from_f32(*v)).collect();
        refused(
            stream.decode(Latents::F16(&halves), &mut frames_of(&mut video, SIDE, SIDE)),
            ErrorKind::NotFinite,
            &place,
        );
    }
    assert!(stream.info().latents_in == 0 && !stream.info().needs_reset);
    assert_eq!(stream.decode(Latents::F32(&[0.5; 32]), &mut frames_of(&mut video, SIDE, SIDE)).unwrap(), 3);
}

/// Weights with a NaN open, as nobody looks at all of them; what they make is no result. With and without a clip's norms.
#[test]
fn results_that_are_not_finite_are_errors() {
    for case in ["v1-tiny", "own-v2-groupnorm"] {
        let folder = with_number(case, ENCODER_BIAS, f32::NAN);
        let model = open(folder.path());
        let mut stream = common::stream(&model, SIDE, SIDE);
        let video = clip(5, SIDE, SIDE, 1);
        let images: Vec<Image> = video.chunks_exact(FRAME).map(|f| image(f, SIDE, SIDE)).collect();
        let mut latents = vec![0.0; 1024];
        let result = stream.encode(&images, LatentsMut::F32(&mut latents));
        refused(result, ErrorKind::NotFinite, &["latent 0 holds a NaN", "check_finite"]);
        assert!(stream.info().needs_reset);
        refused(stream.encode(&images, LatentsMut::F32(&mut latents)), ErrorKind::NeedsReset, &["latent 0"]);
        stream.reset().unwrap();
        assert!(stream.info().frames_in == 0 && !stream.info().needs_reset);

        let folder = with_number(case, DECODER_BIAS, f32::INFINITY);
        let model = open(folder.path());
        let mut stream = common::stream(&model, SIDE, SIDE);
        let info = stream.info();
        let latent = info.latent_channels * info.latent_width * info.latent_height;
        let mut video = vec![0.0; 9 * FRAME];
        let result = stream.decode(Latents::F32(&vec![0.1; 2 * latent]), &mut frames_of(&mut video, SIDE, SIDE));
        refused(result, ErrorKind::NotFinite, &["frame 0 holds a NaN", "check_finite"]);
        assert!(stream.info().needs_reset);
    }
}

/// Buffers that the next clip has not written yet hold NaNs then, which not even a weight of 0 cancels.
#[test]
fn numbers_of_a_failed_clip_do_not_reach_the_next_one() {
    for case in ["v1-tiny", "v1-tiny-8x", "v1-tiny-nearest", "own-v2-2x", "own-v2-thw", "own-noattn"] {
        for convolution in [Convolution::Exact, Convolution::Direct, Convolution::Stacked] {
            let mut options = ModelOptions::default();
            options.convolution = convolution;
            next_clip_is_right(&Model::open(golden(case), &options).unwrap());
        }
    }
}

fn next_clip_is_right(model: &Model) {
    let name = model.info().name;
    let mut stream = Stream::new(model, &StreamOptions::new(32, 32)).unwrap();
    let info = stream.info();
    let size = info.latent_channels * info.latent_height * info.latent_width;
    let latents: Vec<f32> = (0..4 * size).map(|i| (i % 7) as f32 - 3.0).collect();
    let most = model.info().temporal_compression as usize * 4;
    let decode = |stream: &mut Stream, latents: &[f32]| {
        let mut video = vec![0.0; most * 3 * 32 * 32];
        let count = stream.decode(Latents::F32(latents), &mut frames_of(&mut video, 32, 32))?;
        video.truncate(count * 3 * 32 * 32);
        Ok::<_, wfvae::Error>(video)
    };
    let right = decode(&mut stream, &latents).unwrap();
    // So that each buffer of a ring is the last one that was written.
    for whole in 0..4 {
        stream.reset().unwrap();
        decode(&mut stream, &latents[..whole * size]).unwrap();
        let huge = vec![f32::MAX; size];
        let failed = (0..3).map(|_| decode(&mut stream, &huge)).find(|result| result.is_err());
        refused(failed.unwrap_or_else(|| panic!("{name}: no frame was out of range")), ErrorKind::NotFinite, &[]);
        stream.reset().unwrap();
        assert!(decode(&mut stream, &latents).unwrap() == right, "{name}, after {whole} latents");
    }
}

/// In each type that weights may be stored in.
#[test]
fn check_finite_finds_weights_of_every_type() {
    let mut options = ModelOptions::default();
    options.check_finite = true;
    for (case, dtype) in [("v1-tiny", Dtype::F32), ("own-v2-groupnorm", Dtype::F16), ("own-bf16", Dtype::BF16)] {
        for bad in [f32::NAN, f32::INFINITY] {
            let folder = with_number(case, DECODER_BIAS, bad);
            let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(file.tensor(DECODER_BIAS).unwrap().dtype(), dtype);
            let result = Model::open(folder.path(), &options);
            refused(result, ErrorKind::Checkpoint, &[DECODER_BIAS, "element 0 is "]);
        }
        Model::open(golden(case), &options).unwrap();
    }
    // To the last number of a tensor that is read in several parts, in either half.
    for half in ["encoder.", "decoder."] {
        let folder = copy_of("v1-tiny", |key, _, data| {
            if key.starts_with(half) && data.len() > 1 << 15 {
                let end = data.len();
                data[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            true
        });
        let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let error = Model::open(folder.path(), &options).expect_err("refused");
        let (_, text) = error.text().split_once("tensor ").unwrap();
        let (key, text) = text.split_once(": ").unwrap();
        let last = file.tensor(key).unwrap().shape().iter().product::<usize>() - 1;
        assert!(key.starts_with(half) && text.starts_with(&format!("element {last} is NaN")), "{error}");
    }
}

#[test]
fn latents_that_float16_cannot_hold_say_so() {
    let folder = with_number("v1-tiny", ENCODER_BIAS, 1e6);
    let mut stream = common::stream(&open(folder.path()), SIDE, SIDE);
    let video = clip(1, SIDE, SIDE, 1);
    let mut halves = vec![f16::ZERO; 16];
    let result = stream.encode(&[image(&video, SIDE, SIDE)], LatentsMut::F16(&mut halves));
    refused(result, ErrorKind::NotFinite, &["latent 0: too large for float16", "65504", "store float32"]);
    assert!(stream.info().needs_reset);
    stream.reset().unwrap();
    // Moments have no scaled kind.
    let mut options = StreamOptions::new(SIDE, SIDE);
    options.posterior = Posterior::Moments;
    let mut moments = Stream::new(stream.model(), &options).unwrap();
    let error = moments.encode(&[image(&video, SIDE, SIDE)], LatentsMut::F16(&mut [f16::ZERO; 32])).unwrap_err();
    assert!(error.text().ends_with("store float32 latents"), "{error}");
    let latents = common::encode(&mut stream, &video, &[1]);
    assert!(latents[0] > 9e5 && latents.iter().all(|v| v.is_finite()));

    // The same of files, which convert too.
    let path = folder.path().join("latents");
    let (half, single) = (stream.latent_file(LatentType::F16), stream.latent_file(LatentType::F32));
    let mut writer = LatentWriter::create(&path, half).unwrap();
    refused(writer.write(Latents::F32(&latents)), ErrorKind::NotFinite, &["latent 0: ", "too large for float16"]);
    writer.write(Latents::F32(&[65504.0; 16])).unwrap();
    writer.finish(1).unwrap();
    write(&path, single, &latents, 1).unwrap();
    let reader = LatentReader::open(&path).unwrap();
    refused(
        reader.read(0, LatentsMut::F16(&mut halves)),
        ErrorKind::NotFinite,
        &["latent 0: ", "too large for float16"],
    );
    let mut again = vec![0.0; 16];
    reader.read(0, LatentsMut::F32(&mut again)).unwrap();
    assert!(again == latents);
}

fn write(path: &Path, info: LatentFileInfo, latents: &[f32], frames: u64) -> wfvae::Result<()> {
    let mut writer = LatentWriter::create(path, info)?;
    writer.write(Latents::F32(latents))?;
    writer.finish(frames)
}

#[test]
fn latent_files_hold_finite_numbers() {
    let stream = common::stream(&common::open("v1-tiny"), SIDE, SIDE);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("latents");
    for latent_type in [LatentType::F32, LatentType::F16] {
        let mut writer = LatentWriter::create(&path, stream.latent_file(latent_type)).unwrap();
        writer.write(Latents::F32(&[0.25; 16])).unwrap();
        for bad in [f32::NAN, f32::NEG_INFINITY] {
            let mut latents = vec![0.25; 16];
            latents[7] = bad;
            refused(writer.write(Latents::F32(&latents)), ErrorKind::NotFinite, &["latent 1: element 7 is"]);
            let halves: Vec<f16> = latents.iter().map(|v| f16::from_f32(*v)).collect();
            refused(writer.write(Latents::F16(&halves)), ErrorKind::NotFinite, &["latent 1: element 7 is"]);
        }
        // Nothing of it was appended.
        writer.write(Latents::F32(&[0.25; 16])).unwrap();
        writer.finish(5).unwrap();

        let reader = LatentReader::open(&path).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        match latent_type {
            LatentType::F32 => write_at(&file, &f32::NAN.to_le_bytes(), size - 9 * 4),
            LatentType::F16 => write_at(&file, &f16::INFINITY.to_le_bytes(), size - 9 * 2),
        }
        let (mut singles, mut halves) = ([0.0; 16], [f16::ZERO; 16]);
        reader.read(0, LatentsMut::F32(&mut singles)).unwrap();
        refused(reader.read(1, LatentsMut::F32(&mut singles)), ErrorKind::NotFinite, &["latent 1: element 7 is"]);
        refused(reader.read(1, LatentsMut::F16(&mut halves)), ErrorKind::NotFinite, &["latent 1: element 7 is"]);
    }
}

#[test]
fn snapshots_hold_finite_numbers() {
    let model = common::open("v1-tiny");
    let mut stream = common::stream(&model, SIDE, SIDE);
    let video = clip(5, SIDE, SIDE, 1);
    let mut latents = vec![0.0; 16];
    stream.encode(&[image(&video[..FRAME], SIDE, SIDE)], LatentsMut::F32(&mut latents)).unwrap();
    let mut bytes = stream.snapshot().unwrap().as_bytes().to_vec();
    let end = bytes.len() - 4;
    bytes[end - 4..end].copy_from_slice(&f32::NAN.to_ne_bytes());
    let checksum = crc32fast::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(&checksum.to_ne_bytes());
    let snapshot = Snapshot::from_bytes(&bytes).unwrap();
    refused(stream.restore(&snapshot), ErrorKind::NotFinite, &["snapshot: "]);
    assert!(stream.info().frames_in == 1 && !stream.info().needs_reset);
}

/// Latents that float32 computes with, and float16 caches do not hold.
#[test]
fn caches_of_float16_overflow_by_name() {
    let mut options = ModelOptions::default();
    options.cache_type = CacheType::F16;
    let mut streams = [
        common::stream(&common::open("v1-tiny"), SIDE, SIDE),
        common::stream(&Model::open(golden("v1-tiny"), &options).unwrap(), SIDE, SIDE),
    ];
    let mut video = vec![0.0; 9 * FRAME];
    let mut latents = [0.5; 3 * 16];
    // What the first convolution keeps of it is too large, what it makes of it is not.
    latents[2 * 16] = 7e4;
    let mut decode = |stream: &mut Stream, latents: &[f32]| {
        stream.decode(Latents::F32(latents), &mut frames_of(&mut video, SIDE, SIDE))
    };
    for stream in &mut streams {
        decode(stream, &latents[..16]).unwrap();
        decode(stream, &latents[16..]).unwrap();
    }
    let [single, half] = &mut streams;
    single.snapshot().unwrap();
    decode(single, &latents[..16]).unwrap();
    // Nothing that came out shows it yet.
    refused(half.snapshot(), ErrorKind::NotFinite, &["state of the stream holds a NaN or an infinity"]);
    assert!(half.info().latents_in == 3 && !half.info().needs_reset);
    refused(decode(half, &latents[..16]), ErrorKind::NotFinite, &["holds a NaN", "float16", "cache_type f32"]);
    assert!(half.info().needs_reset);
}

/// Whatever fails, no graph is left without its weights.
#[test]
fn graphs_that_cannot_be_written_leave_nothing() {
    let model = common::open("v1-tiny");
    for taken in ["encoder.0.onnx", "encoder.0.bin"] {
        let out = TempDir::new().unwrap();
        std::fs::create_dir(out.path().join(taken)).unwrap();
        refused(model.save_onnx(out.path(), Graphs::Steps), ErrorKind::Io, &[taken]);
        let names = std::fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), [taken]);
    }
}

/// What happens to the file between the opening and the first stream.
#[test]
fn weights_are_those_of_the_opening_or_an_error() {
    let expected =
        |model: &Model| common::encode(&mut common::stream(model, SIDE, SIDE), &clip(1, SIDE, SIDE, 1), &[1]);
    let right = expected(&common::open("v1-tiny"));
    let other = with_number("v1-tiny", ENCODER_BIAS, 3.0);
    let other = std::fs::read(other.path().join("model.safetensors")).unwrap();
    let changed = |what: &str, change: &dyn Fn(&Path)| {
        let folder = copy_of("v1-tiny", |_, _, _| true);
        let path = folder.path().join("model.safetensors");
        let model = open(folder.path());
        change(&path);
        let texts = ["model.safetensors: changed since it was opened; open it again"];
        let text = if what == "times set back" { "changed since it was opened" } else { texts[0] };
        refused(Stream::new(&model, &StreamOptions::new(SIDE, SIDE)), ErrorKind::Checkpoint, &[text]);
        let out = TempDir::new().unwrap();
        refused(model.save_onnx(out.path(), Graphs::Steps), ErrorKind::Checkpoint, &[text]);
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "{what}");
    };
    let write = |path: &Path, bytes: &[u8]| {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        write_at(&file, bytes, 0);
        file
    };
    changed("cut to nothing", &|path| _ = std::fs::write(path, b""));
    changed("cut", &|path| write(path, &[]).set_len(1 << 20).unwrap());
    changed("rewritten", &|path| _ = write(path, &other));
    changed("times set back", &|path| {
        let time = std::fs::metadata(path).unwrap().modified().unwrap();
        let bytes: Vec<u8> = other.iter().enumerate().map(|(i, b)| if i % 64 == 60 { b ^ 1 } else { *b }).collect();
        write(path, &[&other[..1 << 16], &bytes[1 << 16..]].concat()).set_modified(time).unwrap();
    });

    // The file that is open is still the old one.
    let cases: &[bool] = if replaces_open_files() { &[false, true] } else { &[false] };
    for &replaced in cases {
        let folder = copy_of("v1-tiny", |_, _, _| true);
        let path = folder.path().join("model.safetensors");
        let model = open(folder.path());
        if replaced {
            std::fs::write(folder.path().join("new"), &other).unwrap();
            std::fs::rename(folder.path().join("new"), &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        assert!(expected(&model) == right);
        assert!(!replaced || expected(&open(folder.path())) != right);
    }

    // What was loaded stays; a direction that was not is refused.
    let folder = copy_of("v1-tiny", |_, _, _| true);
    let model = open(folder.path());
    let mut options = StreamOptions::new(SIDE, SIDE);
    options.decode = false;
    Stream::new(&model, &options).unwrap();
    write(&folder.path().join("model.safetensors"), &other);
    let mut stream = Stream::new(&model, &options).unwrap();
    assert!(common::encode(&mut stream, &clip(1, SIDE, SIDE, 1), &[1]) == right);
    refused(Stream::new(&model, &StreamOptions::new(SIDE, SIDE)), ErrorKind::Checkpoint, &["changed"]);
}

/// A file of one latent of a case's stream.
fn latent_file(model: &Model, folder: &TempDir) -> LatentReader {
    let mut options = StreamOptions::new(SIDE, SIDE);
    options.decode = false;
    let mut stream = Stream::new(model, &options).unwrap();
    let latents = common::encode(&mut stream, &clip(1, SIDE, SIDE, 1), &[1]);
    let path = folder.path().join("latents");
    write(&path, stream.latent_file(LatentType::F32), &latents, 1).unwrap();
    LatentReader::open(path).unwrap()
}

/// Decodes it with the first frame as result, if the stream takes it.
fn decode(model: &Model, reader: &LatentReader, any_encoder: bool) -> wfvae::Result<Vec<f32>> {
    let mut options = StreamOptions::for_latent_file(reader.info());
    options.any_encoder = any_encoder;
    let mut stream = Stream::new(model, &options)?;
    stream.check_latent_file(reader)?;
    let mut latent = vec![0.0; 16];
    reader.read(0, LatentsMut::F32(&mut latent))?;
    Ok(common::decode(&mut stream, &latent, &[1]))
}

#[test]
fn latents_belong_to_an_encoder() {
    let base = common::open("v1-tiny");
    let folder = TempDir::new().unwrap();
    let reader = latent_file(&base, &folder);
    assert_eq!(reader.info().encoder, base.info().encoder_identity);
    let expected = decode(&base, &reader, false).unwrap();

    // Another decoder for a frozen encoder.
    let tuned = with_number("v1-tiny", DECODER_BIAS, 0.5);
    let tuned = open(tuned.path());
    assert_eq!(tuned.info().encoder_identity, base.info().encoder_identity);
    assert_ne!(tuned.info().decoder_identity, base.info().decoder_identity);
    tuned.check_latent_file(&reader).unwrap();
    assert!(decode(&tuned, &reader, false).unwrap() != expected);

    // Another encoder, with the same decoder or another one.
    let both = copy_of("v1-tiny", |key, _, data| {
        if [ENCODER_BIAS, DECODER_BIAS].contains(&key) {
            data[..4].copy_from_slice(&0.5f32.to_le_bytes());
        }
        true
    });
    let encoder = with_number("v1-tiny", ENCODER_BIAS, 0.5);
    for (folder, text) in [(encoder, "only the encoders differ"), (both, "encoders and decoders differ")] {
        let model = open(folder.path());
        let found = format!("{:016x}", base.info().encoder_identity);
        let own = format!("{:016x}", model.info().encoder_identity);
        refused(decode(&model, &reader, false), ErrorKind::LatentFile, &[text, &found, &own, "any_encoder"]);
        decode(&model, &reader, true).unwrap();
    }
    // What does not fit is refused all the same.
    let other = common::open("v1-tiny-8x");
    refused(decode(&other, &reader, true), ErrorKind::LatentFile, &["no decoder of other sizes"]);
}

/// The same numbers in a wider type are the same halves, though not the same bytes.
#[test]
fn identities_go_by_numbers() {
    let bytes = std::fs::read(golden("own-bf16").join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::copy(golden("own-bf16").join("config.json"), folder.path().join("config.json")).unwrap();
    let wide: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .iter()
        .map(|(key, view)| {
            assert_eq!(view.dtype(), Dtype::BF16);
            // bfloat16 is the upper half of float32.
            let data = view.data().chunks_exact(2).flat_map(|b| [0, 0, b[0], b[1]]).collect();
            (key.to_string(), view.shape().to_vec(), data)
        })
        .collect();
    let views = wide.iter().map(|(key, shape, data)| (key, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    let (narrow, wide) = (common::open("own-bf16").info(), open(folder.path()).info());
    assert_eq!(narrow.encoder_identity, wide.encoder_identity);
    assert_eq!(narrow.decoder_identity, wide.decoder_identity);
    assert_ne!(narrow.identity, wide.identity);
    assert_ne!(narrow.encoder_identity, narrow.decoder_identity);
}

#[test]
fn a_checkpoint_may_hold_one_half() {
    let base = common::open("v1-tiny");
    let folder = TempDir::new().unwrap();
    let video = clip(5, SIDE, SIDE, 1);
    let both = StreamOptions::new(SIDE, SIDE);
    let half = |prefix: &'static str| copy_of("v1-tiny", move |key, _, _| key.starts_with(prefix));

    let encoder = half("encoder.");
    let model = open(encoder.path());
    let info = model.info();
    assert_eq!((info.encodes, info.decodes, info.decoder_identity), (true, false, 0));
    assert_eq!(info.encoder_identity, base.info().encoder_identity);
    assert!(info.parameters < base.info().parameters);
    let texts = ["holds the encoder alone", "cannot decode", "only encodes"];
    refused(Stream::new(&model, &both), ErrorKind::InvalidArgument, &texts);
    refused(Stream::estimate(&model, &both), ErrorKind::InvalidArgument, &texts);
    let mut options = both.clone();
    options.decode = false;
    let mut stream = Stream::new(&model, &options).unwrap();
    assert!(
        common::encode(&mut stream, &video, &[5])
            == common::encode(&mut common::stream(&base, SIDE, SIDE), &video, &[5])
    );
    let out = TempDir::new().unwrap();
    model.save_onnx(out.path(), Graphs::Steps).unwrap();
    let names = std::fs::read_dir(out.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(names.collect::<Vec<_>>().iter().all(|name| name.starts_with("encoder.")));
    let reader = latent_file(&model, &folder);
    assert_eq!(reader.info().decoder, 0);
    let expected = decode(&base, &reader, false).unwrap();

    let decoder = half("decoder.");
    let model = open(decoder.path());
    assert_eq!((model.info().encodes, model.info().decodes, model.info().encoder_identity), (false, true, 0));
    assert_eq!(model.info().decoder_identity, base.info().decoder_identity);
    let mut options = both.clone();
    options.decode = false;
    let texts = ["holds the decoder alone", "cannot encode", "only decodes"];
    refused(Stream::new(&model, &options), ErrorKind::InvalidArgument, &texts);
    // Latents of the whole model are this decoder's; those of a file that knows no decoder may be.
    refused(
        decode(&model, &reader, false),
        ErrorKind::LatentFile,
        &["no decoder beside it", "nothing tells whether they fit"],
    );
    assert!(decode(&model, &reader, true).unwrap() == expected);
    drop(reader);
    let reader = latent_file(&base, &folder);
    assert!(decode(&model, &reader, false).unwrap() == expected);

    // Integers are no weights: what counts something is not half a model.
    let counting = half("encoder.");
    let bytes = std::fs::read(counting.path().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let steps = TensorView::new(Dtype::I64, vec![1], &[0; 8]).unwrap();
    let views = file.iter().chain([("decoder.steps", steps)]);
    serialize_to_file(views, None, &counting.path().join("model.safetensors")).unwrap();
    assert!(!open(counting.path()).info().decodes);

    // Nor are the wavelets, which are the same in all models.
    let wavelets = copy_of("v1-tiny", |key, _, _| key.starts_with("encoder.") || key.contains("wavelet_transform"));
    let info = open(wavelets.path()).info();
    assert!(info.encodes && !info.decodes);

    // A half with a hole is none.
    let holes = copy_of("v1-tiny", |key, _, _| key.starts_with("encoder.") && key != ENCODER_BIAS);
    let result = Model::open(holes.path(), &ModelOptions::default());
    refused(result, ErrorKind::Checkpoint, &[ENCODER_BIAS, "missing"]);
}
