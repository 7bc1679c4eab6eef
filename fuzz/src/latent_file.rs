//! A latent file: opened and read, or, by a target of its own as that takes a hundred times as long, decoded by a tiny model if it fits
//! one. The file's data are as long as its header says, if the first byte is even, so that most inputs get behind that check.

use crate::allocations::bounded;
use crate::checks::{MemoryFile, check, data_len, golden};
use std::cell::RefCell;
use std::sync::LazyLock;
use wfvae::{
    ErrorKind, ImageMut, LatentReader, Latents, LatentsMut, Model, ModelOptions, PixelFormat, Posterior, Stream,
    StreamOptions,
};

/// More values are not read.
const MOST: usize = 1 << 16;

/// The longest side of frames that are decoded, and the most latents.
const MOST_SIDE: usize = 64;
const MOST_LATENTS: usize = 4;

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let mut options = ModelOptions::default();
    options.threads = 1;
    Model::open(golden().join("own-v2-thw"), &options).expect("a golden model, and ONNX Runtime at WFVAE_ONNXRUNTIME")
});

thread_local! {
    static FILE: RefCell<MemoryFile> = RefCell::default();
}

pub fn run(input: &[u8]) {
    opened(input, read);
}

/// The target `latent_decode`.
pub fn run_decode(input: &[u8]) {
    opened(input, decode);
}

fn opened(input: &[u8], work: impl FnOnce(&LatentReader, usize)) {
    let Some((mode, rest)) = input.split_first() else { return };
    let bytes = if mode % 2 == 0 { with_lengths(rest) } else { rest.to_vec() };
    FILE.with_borrow_mut(|file| {
        file.fill(&bytes);
        match bounded(bytes.len(), || LatentReader::open(file.path())) {
            Ok(reader) => work(&reader, bytes.len()),
            Err(error) => check(&error, bytes.len()),
        }
    });
}

/// A header without its length, and behind it the data: adds the length and cuts or fills the data.
fn with_lengths(rest: &[u8]) -> Vec<u8> {
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (header, data) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header);
    let needed = data_len(header).filter(|len| *len <= 1 << 20).unwrap_or(data.len());
    file.extend(data.iter().copied().chain(std::iter::repeat(0)).take(needed));
    file
}

fn read(reader: &LatentReader, size: usize) {
    let info = reader.info();
    assert!(info.frames > 0 && info.latents > 0 && info.stored_channels() > 0);
    let latent = info.latent_channels * info.latent_width() * info.latent_height();
    let count = (MOST / latent).min(info.latents as usize);
    let mut values = vec![0f32; count * latent];
    let results = [
        reader.read(0, LatentsMut::F32(&mut values)),
        reader.read(info.latents - count as u64, LatentsMut::F32(&mut values)),
    ];
    results.iter().filter_map(|result| result.as_ref().err()).for_each(|error| check(error, size));
    if results[1].is_ok() {
        assert!(values.iter().all(|value| value.is_finite()));
    }
    for start in [info.latents - count as u64 + 1, info.latents, u64::MAX] {
        assert!(count == 0 || reader.read(start, LatentsMut::F32(&mut values)).is_err());
    }
    let mut moments = vec![0f32; 2 * latent * (count / 2)];
    match reader.read_moments(0, LatentsMut::F32(&mut moments)) {
        Ok(()) => assert!(matches!(info.posterior, Posterior::Moments)),
        Err(error) => check(&error, size),
    }
}

/// Latents of other encoders are decoded, too: only sizes must fit.
fn decode(reader: &LatentReader, size: usize) {
    let info = reader.info();
    if info.width > MOST_SIDE || info.height > MOST_SIDE {
        return;
    }
    let mut options = StreamOptions::for_latent_file(info);
    (options.encode, options.any_encoder) = (false, true);
    // The file may say that it is padded where the model does not pad, and the like.
    let Ok(mut stream) = Stream::new(&MODEL, &options) else { return };
    if let Err(error) = stream.check_latent_file(reader) {
        return check(&error, size);
    }
    let count = MOST_LATENTS.min(info.latents as usize);
    let mut latents = vec![0f32; count * info.latent_channels * info.latent_width() * info.latent_height()];
    if reader.read(0, LatentsMut::F32(&mut latents)).is_err() {
        return;
    }
    let frames = stream.decode_count(count as u64).expect("a new stream") as usize;
    let len = 3 * info.width * info.height;
    let mut pixels = vec![0u8; frames * len];
    let mut images: Vec<_> = pixels
        .chunks_exact_mut(len)
        .map(|pixels| ImageMut::packed(pixels, PixelFormat::Rgb8, info.width, info.height).expect("memory of its size"))
        .collect();
    match stream.decode(Latents::F32(&latents), &mut images) {
        Ok(written) => assert_eq!(written, frames),
        // Finite latents may be too large for the network.
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFinite, "{error}"),
    }
}
