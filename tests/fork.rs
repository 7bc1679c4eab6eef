//! What a child of a fork may do with the Rust API; tests/c/test_fork.c has the same and more for C.
#![cfg(unix)]

use wfvae::{ErrorKind, Image, LatentsMut, Model, ModelOptions, PixelFormat, Result, Stream, StreamOptions};

const SIDE: usize = 32;

/// The latent of one grey frame.
fn encode(stream: &mut Stream) -> Result<Vec<f32>> {
    let grey = vec![99u8; 3 * SIDE * SIDE];
    let frame = Image::packed(&grey, PixelFormat::Rgb8, SIDE, SIDE)?;
    let info = stream.info();
    let mut latent = vec![0.0; info.encoded_channels * info.latent_width * info.latent_height];
    stream.encode(&[frame], LatentsMut::F32(&mut latent))?;
    Ok(latent)
}

fn open() -> Result<(Model, Stream)> {
    let mut options = ModelOptions::default();
    options.threads = 2;
    let model = Model::builtin(&options)?;
    let stream = Stream::new(&model, &StreamOptions::new(SIDE, SIDE))?;
    Ok((model, stream))
}

/// Whether `work` is true in a child, which has a minute for it.
fn in_child(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child ends in `_exit`, and glibc lets it allocate.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::alarm(60);
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(false);
            libc::_exit(if fine { 0 } else { 1 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status == 0
    }
}

#[test]
fn a_child_drops_what_it_inherited_and_opens_its_own() {
    let (model, mut stream) = open().unwrap();
    let expected = encode(&mut stream).unwrap();
    let snapshot = stream.snapshot().unwrap();
    stream.reset().unwrap();
    let (mut model, mut stream) = (Some(model), Some(stream));

    let is_forked = |error: wfvae::Error| error.kind() == ErrorKind::Forked && error.text().contains("forked from it");
    assert!(in_child(|| {
        drop((stream.take(), model.take()));
        true
    }));
    assert!(in_child(|| encode(stream.as_mut().unwrap()).is_err_and(is_forked)));
    assert!(in_child(|| stream.as_mut().unwrap().reset().is_err_and(is_forked)));
    assert!(in_child(|| stream.as_ref().unwrap().snapshot().is_err_and(is_forked)));
    assert!(in_child(|| stream.as_mut().unwrap().restore(&snapshot).is_err_and(is_forked)));
    assert!(in_child(|| stream.as_ref().unwrap().fork().is_err_and(is_forked)));
    assert!(in_child(
        || Stream::estimate(model.as_ref().unwrap(), &StreamOptions::new(SIDE, SIDE)).is_err_and(is_forked)
    ));
    assert!(in_child(|| {
        let folder = tempfile::tempdir().unwrap();
        model.as_ref().unwrap().save_onnx(folder.path(), wfvae::Graphs::Steps).is_err_and(is_forked)
    }));
    assert!(in_child(|| {
        stream.as_ref().unwrap().canceller().cancel();
        true
    }));
    assert!(in_child(|| {
        Stream::new(model.as_ref().unwrap(), &StreamOptions::new(SIDE, SIDE)).is_err_and(is_forked)
    }));
    assert!(in_child(|| {
        drop((stream.take(), model.take()));
        let (_model, mut own) = open().unwrap();
        let same = encode(&mut own).unwrap() == expected;
        own.restore(&snapshot).unwrap();
        same && own.info().frames_in == 1
    }));
    // The children took nothing away.
    assert_eq!(encode(stream.as_mut().unwrap()).unwrap(), expected);
}
