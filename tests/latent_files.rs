//! Files of latents: what is written is read, whole or not at all; what is damaged or of another model is refused.

mod common;

use common::system::{DEVICE, pipe, replaces_open_files, symlink};
use common::{Lcg, clip, encode};
use half::f16;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use tempfile::TempDir;
use wfvae::{
    ErrorKind, LatentFileInfo, LatentReader, LatentType, LatentWriter, Latents, LatentsMut, Model, Posterior, Stream,
    StreamOptions,
};

const MEAN: Posterior = Posterior::Mean;

fn options(width: usize, height: usize, posterior: Posterior, scaled: bool) -> StreamOptions {
    let mut options = StreamOptions::new(width, height);
    (options.posterior, options.scaled, options.pad) = (posterior, scaled, true);
    options
}

/// Writes latents, so many in each call.
fn write(path: &Path, info: &LatentFileInfo, latents: &[f32], plan: &[usize], frames: u64) -> wfvae::Result<()> {
    let mut writer = LatentWriter::create(path, info.clone())?;
    let size = info.stored_channels() * info.latent_height() * info.latent_width();
    let mut left = latents;
    for count in common::calls(plan, latents.len() / size) {
        let (now, later) = left.split_at(count * size);
        writer.write(Latents::F32(now))?;
        left = later;
    }
    writer.finish(frames)
}

fn read(reader: &LatentReader, start: u64, count: usize) -> Vec<f32> {
    let info = reader.info();
    let mut latents = vec![f32::NAN; count * info.latent_channels * info.latent_height() * info.latent_width()];
    reader.read(start, LatentsMut::F32(&mut latents)).unwrap();
    latents
}

fn names(folder: &TempDir) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// A file of 11 frames, 17x9, of v1-tiny, and its bytes.
fn sample_file(folder: &TempDir, posterior: Posterior) -> (std::path::PathBuf, Vec<u8>) {
    let model = common::open("v1-tiny");
    let mut stream = Stream::new(&model, &options(17, 9, posterior, false)).unwrap();
    let latents = encode(&mut stream, &clip(11, 17, 9, 3), &[11]);
    let path = folder.path().join("sample.safetensors");
    write(&path, &stream.latent_file(LatentType::F32), &latents, &[1], 11).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

/// The header's room is kept before its numbers are known; whatever its length, they fit.
#[test]
fn long_clips_have_room_for_their_numbers() {
    let stream = common::stream(&common::open("v1-tiny"), 8, 8);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("long");
    let latents = vec![0.5; 1001 * 4];
    for length in 0..64 {
        let mut info = stream.latent_file(LatentType::F32);
        info.note = "x".repeat(length);
        write(&path, &info, &latents, &[1001], 4001).unwrap();
        assert_eq!(LatentReader::open(&path).unwrap().info().frames, 4001);
    }
}

/// 11 frames are not 4n + 1, and 17x9 is padded.
#[test]
fn what_is_written_is_read() {
    let model = common::open("v1-tiny");
    let folder = TempDir::new().unwrap();
    let kinds = [(MEAN, false), (MEAN, true), (Posterior::Sample { seed: 1 << 60 }, true), (Posterior::Moments, false)];
    for ((posterior, scaled), latent_type) in
        kinds.into_iter().flat_map(|k| [LatentType::F32, LatentType::F16].map(|t| (k, t)))
    {
        let mut stream = Stream::new(&model, &options(17, 9, posterior, scaled)).unwrap();
        let latents = encode(&mut stream, &clip(11, 17, 9, 3), &[5, 1]);
        let mut info = stream.latent_file(latent_type);
        (info.fps, info.note) = (Some((30000, 1001)), "a \"note\"\nof two lines, \u{e9}".into());
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        write(&one, &info, &latents, &[1], 11).unwrap();
        write(&other, &info, &latents, &[2, 1], 11).unwrap();
        let bytes = std::fs::read(&one).unwrap();
        assert!(bytes == std::fs::read(&other).unwrap(), "equal clips give equal files");

        // As any other program sees it.
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (name, channels) = match posterior {
            Posterior::Mean => ("mean", 4),
            Posterior::Sample { .. } => ("sample", 4),
            Posterior::Moments => ("moments", 8),
        };
        assert_eq!((file.names(), file.tensor(name).unwrap().shape()), (vec![name], &[4, channels, 2, 3][..]));

        let reader = LatentReader::open(&one).unwrap();
        (info.frames, info.latents) = (11, 4);
        assert_eq!(reader.info(), &info);
        assert!(info.padded && info.scaled == scaled && info.scale.len() == 4);
        let stored = |v: f32| if latent_type == LatentType::F16 { f16::from_f32(v).to_f32() } else { v };
        let expected: Vec<f32> = latents.iter().map(|v| stored(*v)).collect();
        let size = 2 * 3 * channels;
        let means = |l: &[f32]| l.chunks(size).flat_map(|latent| latent[..4 * 2 * 3].to_vec()).collect::<Vec<_>>();
        assert!(read(&reader, 0, 4) == means(&expected));
        assert!(read(&reader, 2, 1) == means(&expected[2 * size..3 * size]), "from the middle");
        let mut halves = vec![f16::NAN; 2 * 4 * 2 * 3];
        reader.read(1, LatentsMut::F16(&mut halves)).unwrap();
        assert!(
            halves
                .iter()
                .map(|v| v.to_f32())
                .eq(means(&latents[size..3 * size]).into_iter().map(|v| f16::from_f32(v).to_f32()))
        );
        let mut moments = vec![f32::NAN; 4 * 8 * 2 * 3];
        match reader.read_moments(0, LatentsMut::F32(&mut moments)) {
            Ok(()) => assert!(posterior == Posterior::Moments && moments == expected),
            Err(e) => assert!(posterior != Posterior::Moments && e.kind() == ErrorKind::InvalidState, "{e}"),
        }

        // Decoding from the file is decoding from memory.
        let mut decoder = Stream::new(&model, &StreamOptions::for_latent_file(reader.info())).unwrap();
        decoder.check_latent_file(&reader).unwrap();
        let decoded = common::decode(&mut decoder, &read(&reader, 0, 4), &[4]);
        assert!(decoded == common::decode(&mut stream, &means(&expected), &[1]));
    }
}

#[test]
fn latents_that_are_not_there_are_refused() {
    let folder = TempDir::new().unwrap();
    let reader = LatentReader::open(sample_file(&folder, MEAN).0).unwrap();
    let text = |start: u64, numbers: usize| {
        let e = reader.read(start, LatentsMut::F32(&mut vec![0.0; numbers])).expect_err("refused");
        assert_eq!(e.kind(), ErrorKind::InvalidArgument);
        e.to_string()
    };
    assert!(text(3, 48).ends_with("2 latents from latent 3 were asked for, it holds 4"));
    assert!(text(u64::MAX, 24).contains("1 latents from latent 18446744073709551615"));
    assert!(text(0, 23).contains("the buffer has 23 elements, expected a multiple of 24"));
    reader.read(4, LatentsMut::F32(&mut [])).unwrap();
}

/// The target is the old file or the whole new one, and nothing else remains in its folder.
#[test]
fn an_unfinished_file_leaves_nothing() {
    let model = common::open("v1-tiny");
    let mut stream = Stream::new(&model, &options(16, 16, MEAN, false)).unwrap();
    let latents = encode(&mut stream, &clip(5, 16, 16, 3), &[5]);
    let (info, folder) = (stream.latent_file(LatentType::F32), TempDir::new().unwrap());
    let path = folder.path().join("latents.safetensors");

    let mut writer = LatentWriter::create(&path, info.clone()).unwrap();
    writer.write(Latents::F32(&latents)).unwrap();
    assert!(names(&folder).len() == 1 && !path.exists());
    drop(writer);
    assert!(names(&folder).is_empty());

    std::fs::write(&path, "before").unwrap();
    let mut writer = LatentWriter::create(&path, info.clone()).unwrap();
    writer.write(Latents::F32(&latents[..16])).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
    // A wrong count of frames is not the end of it.
    let e = writer.finish(5).expect_err("refused");
    assert!(e.kind() == ErrorKind::InvalidState && e.text().contains("1 latents were written, 5 frames have 2"), "{e}");
    assert_eq!(writer.finish(0).expect_err("refused").kind(), ErrorKind::InvalidArgument);
    let e = writer.write(Latents::F32(&latents[..17])).expect_err("refused");
    assert!(e.kind() == ErrorKind::InvalidArgument && e.text().contains("found 17 elements"), "{e}");
    writer.write(Latents::F32(&latents[16..])).unwrap();
    writer.write(Latents::F16(&[])).unwrap();
    let e = writer.finish(1).expect_err("refused");
    assert!(e.kind() == ErrorKind::InvalidState && e.text().contains("2 latents were written, 1 frames have 1"), "{e}");
    writer.finish(5).unwrap();
    assert_eq!(names(&folder).len(), 1);
    assert!(read(&LatentReader::open(&path).unwrap(), 0, 2) == latents);
    assert_eq!(writer.finish(5).expect_err("refused").kind(), ErrorKind::InvalidState);
    assert_eq!(writer.write(Latents::F32(&latents)).expect_err("refused").kind(), ErrorKind::InvalidState);

    // The folder vanishes.
    let gone = TempDir::new_in(folder.path()).unwrap();
    let mut writer = LatentWriter::create(gone.path().join("x"), info).unwrap();
    writer.write(Latents::F32(&latents)).unwrap();
    // Windows does not delete a folder with an open file in it.
    if gone.close().is_ok() {
        assert_eq!(writer.finish(5).expect_err("refused").kind(), ErrorKind::Io);
        let e = writer.write(Latents::F32(&latents)).expect_err("refused");
        assert!(e.kind() == ErrorKind::InvalidState && e.text().contains("an earlier call failed"), "{e}");
    }
}

/// A writer must not take the unfinished file of another one that has the same name by now for its own.
#[test]
#[cfg_attr(windows, ignore = "nobody can delete the file")]
fn a_file_that_was_deleted_is_not_finished() {
    let folder = TempDir::new().unwrap();
    let (path, before) = sample_file(&folder, Posterior::Mean);
    let reader = LatentReader::open(&path).unwrap();
    let latents = read(&reader, 0, reader.info().latents as usize);
    let done = names(&folder);
    let mut writers = (0..2).map(|_| {
        let mut writer = LatentWriter::create(&path, reader.info().clone()).unwrap();
        writer.write(Latents::F32(&latents)).unwrap();
        let temporary = names(&folder).into_iter().find(|name| !done.contains(name)).unwrap();
        (writer, folder.path().join(temporary))
    });
    let (mut first, temporary) = writers.next().unwrap();
    std::fs::remove_file(&temporary).unwrap();
    let (mut second, same) = writers.next().unwrap();
    assert_eq!(same, temporary);
    let error = first.finish(reader.info().frames).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("another program deleted it before it was finished"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    drop(first);
    second.finish(reader.info().frames).unwrap();
    assert_eq!(names(&folder), done);
}

#[test]
fn a_read_only_file_is_replaced_or_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let (path, bytes) = sample_file(&folder, MEAN);
    let info = LatentReader::open(&path).unwrap().info().clone();
    let set = |readonly| {
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(readonly);
        std::fs::set_permissions(&path, permissions).unwrap();
    };
    set(true);
    let writer = LatentWriter::create(&path, info);
    if cfg!(windows) {
        let e = writer.expect_err("refused");
        assert!(e.kind() == ErrorKind::Io && e.text().contains("is read-only"), "{e}");
        assert!(std::fs::read(&path).unwrap() == bytes && names(&folder).len() == 1);
        set(false);
    } else {
        writer.unwrap();
    }
}

/// A file that another program has open and does not share, which only Windows knows.
#[cfg(windows)]
#[test]
fn a_file_in_use_is_replaced_when_it_is_closed() {
    use std::os::windows::fs::OpenOptionsExt;

    let folder = TempDir::new().unwrap();
    let (path, bytes) = sample_file(&folder, MEAN);
    let reader = LatentReader::open(&path).unwrap();
    let (info, latents) = (reader.info().clone(), read(&reader, 0, reader.info().latents as usize));
    drop(reader);
    let open = || std::fs::OpenOptions::new().read(true).share_mode(0).open(&path).unwrap();
    let new_writer = || {
        let mut writer = LatentWriter::create(&path, info.clone()).unwrap();
        writer.write(Latents::F32(&latents)).unwrap();
        writer
    };

    // For a moment, as programs that look for viruses do.
    let mut writer = new_writer();
    let file = open();
    let other = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(file);
    });
    writer.finish(info.frames).unwrap();
    other.join().unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);

    // For long.
    let mut writer = new_writer();
    let file = open();
    for _ in 0..2 {
        let e = writer.finish(info.frames).expect_err("in use");
        assert!(e.kind() == ErrorKind::Io && e.text().contains("another program has the old file open"), "{e}");
    }
    drop(file);
    writer.finish(info.frames).unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes && names(&folder).len() == 1);
}

#[test]
fn only_a_file_can_be_the_target() {
    let model = common::open("v1-tiny");
    let mut stream = Stream::new(&model, &options(16, 16, MEAN, false)).unwrap();
    let latents = encode(&mut stream, &clip(1, 16, 16, 3), &[1]);
    let (info, folder) = (stream.latent_file(LatentType::F32), TempDir::new().unwrap());
    let refused = |path: &Path| {
        let e = LatentWriter::create(path, info.clone()).expect_err("refused");
        assert!(e.kind() == ErrorKind::Io && e.text().contains(&path.display().to_string()), "{e}");
        let e = LatentReader::open(path).expect_err("refused");
        assert!(e.kind() == ErrorKind::Io && e.text().contains(&path.display().to_string()), "{e}");
    };
    refused(folder.path());
    refused(Path::new(DEVICE));
    refused(Path::new(""));
    refused(&folder.path().join("no-such-folder/x"));
    if let Some(pipe) = pipe(folder.path()) {
        refused(&pipe);
    }

    // What replaces a file that is open for reading leaves its reader what it had.
    let path = folder.path().join("open");
    let negated: Vec<f32> = latents.iter().map(|v| -v).collect();
    write(&path, &info, &latents, &[1], 1).unwrap();
    let reader = LatentReader::open(&path).unwrap();
    let mut writer = LatentWriter::create(&path, info.clone()).unwrap();
    writer.write(Latents::F32(&negated)).unwrap();
    let finished = writer.finish(1);
    assert!(read(&reader, 0, 1) == latents);
    if replaces_open_files() {
        finished.unwrap();
    } else {
        let e = finished.expect_err("in use");
        assert!(e.kind() == ErrorKind::Io && e.text().contains("finish the latent file again"), "{e}");
        drop(reader);
        writer.finish(1).unwrap();
    }
    assert!(read(&LatentReader::open(&path).unwrap(), 0, 1) == negated);

    // As open to others as any new file.
    let (ours, any) = (folder.path().join("ours"), folder.path().join("any"));
    write(&ours, &info, &latents, &[1], 1).unwrap();
    std::fs::write(&any, "").unwrap();
    let [ours, any] = [ours, any].map(|path| std::fs::metadata(path).unwrap().permissions());
    assert_eq!(ours, any);

    // A link stays one.
    let (link, file) = (folder.path().join("link"), folder.path().join("file"));
    std::fs::write(&file, "before").unwrap();
    if symlink(&file, &link) {
        write(&link, &info, &latents, &[1], 1).unwrap();
        assert!(link.is_symlink() && read(&LatentReader::open(&file).unwrap(), 0, 1) == latents);
    }
}

#[test]
fn a_description_that_contradicts_itself_is_not_written() {
    let model = common::open("v1-tiny");
    let stream = Stream::new(&model, &options(17, 9, MEAN, false)).unwrap();
    let folder = TempDir::new().unwrap();
    type Change = fn(&mut LatentFileInfo);
    let changes: [(Change, &str); 14] = [
        (|i| i.padded = false, "padded is false, which does not fit 17x9"),
        (|i| i.width = 0, "width is 0"),
        (|i| i.height = 32769, "height is 32769, expected 1 to 32768"),
        (|i| i.temporal_compression = 0, "temporal_compression is 0"),
        (|i| i.fps = Some((25, 0)), "fps is 25/0"),
        (|i| i.fps = Some((0, 1)), "fps is 0/1"),
        (|i| i.latent_channels = 65537, "latent_channels is 65537, expected 1 to 65536"),
        (|i| i.spatial_compression = 1025, "spatial_compression is 1025, expected 1 to 1024"),
        (|i| i.temporal_compression = 1025, "temporal_compression is 1025, expected 1 to 1024"),
        (|i| i.generator = "x".repeat(65537), "the generator has 65537 bytes, expected at most 65536"),
        (|i| i.note = "x".repeat(65537), "the note has 65537 bytes, expected at most 65536"),
        (|i| i.scale = vec![1.0], "scale has 1 entries, expected 4"),
        (|i| i.shift[2] = f32::NAN, "must be finite"),
        (|i| (i.scaled, i.posterior) = (true, Posterior::Moments), "moments are never scaled"),
    ];
    for (change, text) in changes {
        let mut info = stream.latent_file(LatentType::F32);
        change(&mut info);
        let e = LatentWriter::create(folder.path().join("x"), info).expect_err("refused");
        assert!(e.kind() == ErrorKind::InvalidArgument && e.text().contains(text), "{e}");
    }
    assert!(names(&folder).is_empty());

    // The largest of each.
    let largest: [Change; 4] = [
        |i| (i.width, i.height, i.padded, i.spatial_compression) = (32768, 32768, false, 1024),
        |i| i.temporal_compression = 1024,
        |i| (i.latent_channels, i.scale, i.shift) = (65536, vec![], vec![]),
        |i| (i.note, i.generator) = ("x".repeat(65536), "y".repeat(65536)),
    ];
    for change in largest {
        let mut info = stream.latent_file(LatentType::F32);
        change(&mut info);
        LatentWriter::create(folder.path().join("x"), info).unwrap();
    }
}

#[test]
fn a_header_that_no_file_needs_is_not_read() {
    let folder = TempDir::new().unwrap();
    let (_, bytes) = sample_file(&folder, MEAN);
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    // Valid but for its size: spaces behind the text are allowed.
    for (size, refused) in [(16 << 20, false), ((16 << 20) + 1, true)] {
        let mut header = bytes[8..8 + length].to_vec();
        header.resize(size, b' ');
        let path = folder.path().join("padded");
        let long = [&(size as u64).to_le_bytes(), header.as_slice(), &bytes[8 + length..]].concat();
        std::fs::write(&path, long).unwrap();
        let text = LatentReader::open(&path).err().map(|e| e.to_string());
        assert_eq!(text.is_some_and(|text| text.contains("a header of 16777217 bytes")), refused);
    }
}

/// A file with its header changed, and the text that opening it gives.
fn refusal(bytes: &[u8], change: impl FnOnce(&mut Value)) -> String {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut header);
    let header = header.to_string();
    refusal_of_bytes(&[&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat())
}

fn refusal_of_bytes(bytes: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("damaged.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let e =
        LatentReader::open(&path).err().unwrap_or_else(|| panic!("{:?} was opened", &bytes[..200.min(bytes.len())]));
    assert!(e.kind() == ErrorKind::LatentFile && e.text().contains("damaged.safetensors"), "{e}");
    assert!(e.text().len() < 500, "{e}");
    e.to_string()
}

#[test]
fn damaged_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let (_, bytes) = sample_file(&folder, MEAN);
    let long = "9".repeat(100_000);
    // Key, value (null: the key is missing), text.
    let metadata = [
        ("format", json!("pt"), "not a file of latents: found format \"pt\", expected \"wfvae-latents\""),
        ("format", Value::Null, "found format none"),
        ("format_version", json!("2"), "found format_version \"2\", this libwfvae reads \"1\"; use"),
        ("format_version", Value::Null, "metadata format_version is missing"),
        ("model", json!("12345"), "metadata model: found \"12345\", expected 16 hexadecimal digits"),
        ("model", json!("+123456789abcdef"), "expected 16 hexadecimal digits"),
        ("model", Value::Null, "metadata model is missing"),
        ("width", json!("0"), "metadata width: found \"0\", expected an integer from 1 to 32768"),
        ("width", json!("32768"), "tensor mean: found shape [4, 4, 2, 3], expected [4, 4, 2, 4096]"),
        ("width", json!("32769"), "metadata width: found \"32769\", expected an integer from 1 to 32768"),
        ("width", json!("25"), "tensor mean: found shape [4, 4, 2, 3], expected [4, 4, 2, 4] for 11 frames of 25x9"),
        ("width", json!(long), "metadata width: found \"99999"),
        ("height", json!("-9"), "metadata height: found \"-9\""),
        ("height", json!("9.0"), "metadata height: found \"9.0\""),
        ("padded", json!("false"), "padded is false, which does not fit 17x9 with spatial compression 8"),
        ("padded", json!("1"), "metadata padded: found \"1\", expected \"true\" or \"false\""),
        ("spatial_compression", json!("0"), "metadata spatial_compression: found \"0\""),
        ("temporal_compression", json!("8"), "found shape [4, 4, 2, 3], expected [3, 4, 2, 3]"),
        ("temporal_compression", json!("18446744073709551615"), "expected an integer from 1 to 1024"),
        ("spatial_compression", json!("1024"), "expected [4, 4, 1, 1] for 11 frames of 17x9"),
        ("spatial_compression", json!("1025"), "expected an integer from 1 to 1024"),
        ("temporal_compression", json!("1024"), "expected [2, 4, 2, 3]"),
        ("temporal_compression", json!("1025"), "expected an integer from 1 to 1024"),
        ("latent_channels", json!("65536"), "has 4 entries, expected 65536"),
        ("latent_channels", json!("65537"), "expected an integer from 1 to 65536"),
        ("latent_channels", json!("8"), "has 4 entries, expected 8"),
        ("latent_channels", json!("99999999999999999999"), "metadata latent_channels"),
        ("posterior", json!("median"), "metadata posterior: found \"median\", expected \"mean\""),
        ("posterior", json!("sample"), "metadata seed is missing"),
        ("posterior", json!("moments"), "the tensor is named \"mean\", expected \"moments\""),
        ("scaled", json!("yes"), "metadata scaled: found \"yes\""),
        ("scale", Value::Null, "metadata scale is missing"),
        ("shift", Value::Null, "metadata shift is missing"),
        ("scale", json!("[1, 2, 3]"), "scale has 3 entries, expected 4"),
        ("scale", json!("[1, 2, 0, 4]"), "scale and shift must be finite, and scale must not be zero"),
        ("shift", json!("[1, 2, 1e39, 4]"), "scale and shift must be finite"),
        ("shift", json!("1, 2, 3, 4"), "metadata shift: expected a JSON list of numbers"),
        ("frames", json!("14"), "expected [5, 4, 2, 3] for 14 frames"),
        ("frames", json!("18446744073709551615"), "expected [4611686018427387905, 4, 2, 3]"),
        ("frames", json!("0"), "metadata frames: found \"0\""),
        ("fps", json!("25"), "metadata fps: found \"25\", expected a fraction like \"30000/1001\""),
        ("fps", json!("25/0"), "fps is 25/0"),
        ("fps", json!("25/-1"), "metadata fps: found \"25/-1\""),
        ("generator", Value::Null, "metadata generator is missing"),
        ("note", json!("x".repeat(65537)), "the note has 65537 bytes"),
        ("note", json!(7), "damaged, or not safetensors: its header: invalid type: integer"),
    ];
    for (key, value, text) in metadata {
        let found = refusal(&bytes, |header| {
            let metadata = header["__metadata__"].as_object_mut().unwrap();
            match value {
                Value::Null => _ = metadata.remove(key),
                value => _ = metadata.insert(key.into(), value),
            }
        });
        assert!(found.contains(text), "{key}: {found}");
    }

    type Change = fn(&mut Value);
    let headers: [(Change, &str); 9] = [
        (|h| h["__metadata__"] = Value::Null, "found format none"),
        (|h| *h = json!([]), "damaged, or not safetensors"),
        (|h| h["mean"]["dtype"] = json!("I32"), "tensor mean: found I32, expected F32 or F16"),
        (|h| h["mean"]["dtype"] = json!("F16"), "damaged, or not safetensors: its header"),
        (|h| h["mean"]["shape"] = json!([4, 4, 3, 2]), "found shape [4, 4, 3, 2], expected [4, 4, 2, 3]"),
        (|h| h["mean"]["shape"] = json!([96]), "found shape [96]"),
        (|h| h["mean"]["shape"] = json!([1u64 << 40, 1u64 << 40]), "its header: overflow"),
        (|h| h["x"] = json!({"dtype": "F32", "shape": [0], "data_offsets": [384, 384]}), "found 2 tensors"),
        (|h| _ = h.as_object_mut().unwrap().remove("mean"), "describes 0 bytes of data, found 384"),
    ];
    for (change, text) in headers {
        let found = refusal(&bytes, change);
        assert!(found.contains(text), "{found}");
    }

    let size = bytes.len();
    assert!(refusal_of_bytes(&[]).contains("the file is empty"));
    assert!(refusal_of_bytes(&bytes[..7]).contains("found 7 bytes"));
    assert!(refusal_of_bytes(&bytes[..500]).contains("truncated or unfinished, or not safetensors"));
    assert!(refusal_of_bytes(&bytes[..size - 1]).contains("384 bytes of data, found 383"));
    assert!(refusal_of_bytes(&[&bytes[..], b"x"].concat()).contains("384 bytes of data, found 385"));
    assert!(refusal_of_bytes(&[0; 100]).contains("zeros only"), "an unfinished file");
    for (text, found) in [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d4d\nsize 638492160\n", "a Git LFS pointer"),
        ("<!DOCTYPE html><html>", "a text (HTML or XML) page"),
        ("Access denied", "a text file (\"Access denied\")"),
        ("PK\u{3}\u{4}....archive/data.pkl", "a PyTorch pickle"),
        ("YUV4MPEG2 W64 H48 F25:1\nFRAME\n", "a clip (Y4M), not latents: encode it first"),
    ] {
        assert!(refusal_of_bytes(text.as_bytes()).contains(found), "{found}");
    }
    assert!(refusal_of_bytes(&[&[255; 8], &bytes[8..]].concat()).contains("header is 18446744073709551615 bytes"));
    let weights = std::fs::read(common::golden("v1-tiny").join("model.safetensors")).unwrap();
    assert!(refusal_of_bytes(&weights).contains("not a file of latents"));
}

/// Whatever the bytes are, opening and reading end, with numbers or an error.
#[test]
fn random_damage_does_no_harm() {
    let folder = TempDir::new().unwrap();
    let (_, bytes) = sample_file(&folder, MEAN);
    let path = folder.path().join("random");
    let (mut random, mut opened) = (Lcg(7), 0);
    for _ in 0..3000 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + random.below(3) {
            let offset = random.below(damaged.len() as u64) as usize;
            damaged[offset] = random.below(256) as u8;
        }
        damaged.truncate(if random.below(8) == 0 { random.below(bytes.len() as u64) as usize } else { bytes.len() });
        std::fs::write(&path, &damaged).unwrap();
        if let Ok(reader) = LatentReader::open(&path) {
            opened += 1;
            let count = reader.info().latents as usize;
            read(&reader, 0, count);
        }
    }
    // Both happen: most damage is to the header, some to its padding and to the numbers.
    assert!((100..2900).contains(&opened), "{opened}");
}

/// A file that is cut while it is open gives an error, not a fault.
#[test]
fn a_file_that_shrinks_gives_an_error() {
    let folder = TempDir::new().unwrap();
    let (path, bytes) = sample_file(&folder, MEAN);
    let reader = LatentReader::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes.len() as u64 - 100).unwrap();
    read(&reader, 0, 2);
    let e = reader.read(2, LatentsMut::F32(&mut [0.0; 48])).expect_err("refused");
    assert!(e.kind() == ErrorKind::Io && e.text().contains("latent 2: "), "{e}");
}

#[test]
fn files_of_another_model_size_or_scaling_are_refused() {
    let folder = TempDir::new().unwrap();
    let (path, bytes) = sample_file(&folder, MEAN);
    let reader = LatentReader::open(&path).unwrap();
    let refused = |result: wfvae::Result<()>| {
        let e = result.expect_err("refused");
        assert!(e.kind() == ErrorKind::LatentFile && e.text().contains("sample.safetensors"), "{e}");
        e.to_string()
    };
    let stream = |model: &Model, options: &StreamOptions| Stream::new(model, options).unwrap();
    let model = common::open("v1-tiny");
    let other = common::open("v1-tiny-nearest");
    model.check_latent_file(&reader).unwrap();
    let text = refused(other.check_latent_file(&reader));
    let hexadecimal = |model: &Model| format!("{:016x}", model.info().encoder_identity);
    let (found, expected) = (hexadecimal(&model), hexadecimal(&other));
    assert!(text.contains(&found) && text.contains(&expected) && text.contains("v1-tiny-nearest"), "{text}");
    refused(stream(&other, &options(17, 9, MEAN, false)).check_latent_file(&reader));
    let text = refused(stream(&model, &options(24, 16, MEAN, false)).check_latent_file(&reader));
    assert!(text.contains("its frames are 17x9, those of the stream 24x16"), "{text}");
    let text = refused(stream(&model, &options(17, 9, MEAN, true)).check_latent_file(&reader));
    assert!(text.contains("its latents are raw, the stream reads scaled ones"), "{text}");

    // Scaled by lists that the model's config does not have.
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    let scale = reader.info().scale[0].to_string();
    let shift = reader.info().shift[0].to_string();
    assert!(text.contains(&scale) && text.contains(&shift));
    for wrong in [&scale, &shift] {
        let changed = text.replace("\"scaled\":\"false\"", "\"scaled\":\"true\"").replacen(wrong, "2", 1);
        let changed = [&(changed.len() as u64).to_le_bytes(), changed.as_bytes(), &bytes[8 + length..]].concat();
        std::fs::write(&path, changed).unwrap();
        let text = refused(model.check_latent_file(&LatentReader::open(&path).unwrap()));
        assert!(text.contains("scaled with other scale and shift"), "{wrong}: {text}");
    }
}

/// Larger than what is read or written at a time, by numbers that do not divide it.
#[test]
fn large_latents_are_read_whole() {
    let model = common::open("v1-tiny");
    let folder = TempDir::new().unwrap();
    let stream = Stream::new(&model, &options(8 * 67, 8 * 71, Posterior::Moments, false)).unwrap();
    let (mean, size) = (4 * 67 * 71, 8 * 67 * 71);
    let mut noise = Lcg(6);
    let latents: Vec<f32> = (0..2 * size).map(|_| f16::from_f32(noise.signed()).to_f32()).collect();
    for latent_type in [LatentType::F32, LatentType::F16] {
        let path = folder.path().join("large");
        write(&path, &stream.latent_file(latent_type), &latents, &[2], 2).unwrap();
        let reader = LatentReader::open(&path).unwrap();
        let mut all = vec![0.0; 2 * size];
        reader.read_moments(0, LatentsMut::F32(&mut all)).unwrap();
        assert!(all == latents, "{latent_type:?}");
        assert!(read(&reader, 1, 1) == latents[size..size + mean], "{latent_type:?}: the second mean");
    }
}

/// What the identity implies is compared all the same, each number by itself; so is each side of the frames.
#[test]
fn numbers_that_are_not_the_model_s_are_refused() {
    let folder = TempDir::new().unwrap();
    let (path, bytes) = sample_file(&folder, MEAN);
    let model = common::open("v1-tiny");
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let with = |changes: &[(&str, &str)]| {
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        changes.iter().for_each(|(key, value)| header["__metadata__"][key] = (*value).into());
        let header = header.to_string();
        let changed = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat();
        std::fs::write(&path, changed).unwrap();
        LatentReader::open(&path).unwrap()
    };
    model.check_latent_file(&with(&[])).unwrap();
    // Four latents of 3x2 values too, but of another clip.
    for changes in [
        &[("temporal_compression", "8"), ("frames", "25")][..],
        &[("spatial_compression", "4"), ("width", "9"), ("height", "5")],
    ] {
        let e = model.check_latent_file(&with(changes)).expect_err("refused");
        assert!(e.kind() == ErrorKind::LatentFile && e.text().contains("its metadata is wrong"), "{e}");
    }
    let reader = with(&[]);
    for (width, height) in [(17, 10), (18, 9)] {
        let stream = Stream::new(&model, &options(width, height, MEAN, false)).unwrap();
        let e = stream.check_latent_file(&reader).expect_err("refused");
        let text = format!("its frames are 17x9, those of the stream {width}x{height}");
        assert!(e.kind() == ErrorKind::LatentFile && e.text().contains(&text), "{e}");
    }
}

/// Moments are never scaled, whatever the stream does with other latents.
#[test]
fn moments_of_a_scaled_stream_are_not_scaled() {
    let model = common::open("v1-tiny");
    let stream = Stream::new(&model, &options(16, 16, Posterior::Moments, true)).unwrap();
    assert!(!stream.latent_file(LatentType::F32).scaled);
    let stream = Stream::new(&model, &options(16, 16, MEAN, true)).unwrap();
    assert!(stream.latent_file(LatentType::F32).scaled);
}
