//! Memory does not grow with the clip, and streams share one set of weights.
#![cfg(target_os = "linux")]

mod common;

use common::{builtin, clip, decode, encode, stream};

/// Resident bytes that are the process's own, not mapped files.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).expect("RssAnon");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn memory_is_bounded() {
    let model = builtin();
    let (width, height) = (96, 64);
    let mut first = stream(&model, width, height);
    let video = clip(100, width, height, 1);
    // The same hundred frames again and again, as one clip of 3,000.
    let mut latents =
        vec![0.0; 32 * first.info().latent_channels * first.info().latent_width * first.info().latent_height];
    let mut pictures = vec![0u8; 3 * width * height * 140];
    let mut hundred = |stream: &mut wfvae::Stream| {
        let frames: Vec<_> = video.chunks(3 * width * height).map(|f| common::image(f, width, height)).collect();
        let written = stream.encode(&frames, wfvae::LatentsMut::F32(&mut latents)).unwrap();
        let info = stream.info();
        let size = info.latent_channels * info.latent_width * info.latent_height;
        let planes = pictures.chunks_exact_mut(3 * width * height);
        let rgb = wfvae::PixelFormat::Rgb8;
        let mut outputs: Vec<_> = planes.map(|p| wfvae::ImageMut::packed(p, rgb, width, height).unwrap()).collect();
        stream.decode(wfvae::Latents::F32(&latents[..written * size]), &mut outputs).unwrap();
    };
    hundred(&mut first);
    let after_100 = anonymous();
    for _ in 1..30 {
        hundred(&mut first);
    }
    let after_3000 = anonymous();
    assert_eq!(first.info().frames_in, 3000);
    println!("anonymous memory after 100 frames {after_100}, after 3,000 {after_3000}");
    assert!(after_3000 as f64 <= 1.03 * after_100 as f64, "{after_100} after 100 frames, {after_3000} after 3,000");

    // More streams cost their own state, not another set of weights.
    let info = first.info();
    let state = info.encode_state_bytes + info.decode_state_bytes;
    let before = anonymous();
    let mut more: Vec<_> = (0..8).map(|_| stream(&model, width, height)).collect();
    let short = clip(5, width, height, 2);
    for stream in &mut more {
        let latents = encode(stream, &short, &[5]);
        decode(stream, &latents, &[2]);
    }
    let grown = anonymous().saturating_sub(before);
    println!(
        "8 more streams took {grown}, their states are 8 x {state}; the weights are {}",
        model.info().weight_bytes
    );
    assert!(grown as f64 <= 8.0 * state as f64 * 1.1 + model.info().weight_bytes as f64, "{grown} for 8 x {state}");
    assert_eq!(model.info().sessions, 4);

    // Latent files of any length are written and read a piece at a time.
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    let info = first.latent_file(wfvae::LatentType::F32);
    let mut piece = vec![0.5f32; 100 * info.latent_channels * info.latent_width() * info.latent_height()];
    let before = anonymous();
    let mut writer = wfvae::LatentWriter::create(&path, info).unwrap();
    for _ in 0..200 {
        writer.write(wfvae::Latents::F32(&piece)).unwrap();
    }
    writer.finish(4 * 19_999 + 1).unwrap();
    let reader = wfvae::LatentReader::open(&path).unwrap();
    for i in 0..200 {
        reader.read(100 * i, wfvae::LatentsMut::F32(&mut piece)).unwrap();
    }
    let (size, grown) = (std::fs::metadata(&path).unwrap().len(), anonymous().saturating_sub(before));
    println!("a latent file of {size} took {grown}");
    assert!(size > 100 << 20 && grown < 4 << 20, "{grown} for a file of {size}");
}
