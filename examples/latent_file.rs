//! Encodes raw video to a latent file and decodes it again, frame by frame, for clips of any length.
//!
//!     ffmpeg -i clip.mkv -f rawvideo -pix_fmt rgb24 - | cargo run --release --example latent_file encode 320 240 clip.safetensors
//!     cargo run --release --example latent_file decode clip.safetensors | ffplay -f rawvideo -pixel_format rgb24 -video_size 320x240 -
//!
//! SPDX-License-Identifier: MIT OR Apache-2.0

use std::error::Error;
use std::io::{self, Read, Write};
use wfvae::{
    Image, ImageMut, LatentReader, LatentType, LatentWriter, Latents, LatentsMut, Model, ModelOptions, PixelFormat,
    Stream, StreamOptions,
};

fn encode(width: usize, height: usize, path: &str) -> Result<(), Box<dyn Error>> {
    let model = Model::builtin(&ModelOptions::default())?;
    // Padded, the size need not be a multiple of the compression.
    let mut options = StreamOptions::new(width, height);
    (options.decode, options.pad) = (false, true);
    let mut stream = Stream::new(&model, &options)?;
    let mut writer = LatentWriter::create(path, stream.latent_file(LatentType::F32))?;

    let info = stream.info();
    let mut latent = vec![0f32; info.encoded_channels * info.latent_width * info.latent_height];
    let mut frame = vec![0u8; width * height * 3];
    let mut frames = 0;
    while read_frame(&mut frame)? {
        let image = Image::packed(&frame, PixelFormat::Rgb8, width, height)?;
        // One frame completes one latent at most.
        if stream.encode(&[image], LatentsMut::F32(&mut latent))? == 1 {
            writer.write(Latents::F32(&latent))?;
        }
        frames += 1;
    }
    // The last group of frames may be short.
    if stream.encode_flush(LatentsMut::F32(&mut latent))? == 1 {
        writer.write(Latents::F32(&latent))?;
    }
    Ok(writer.finish(frames)?)
}

fn decode(path: &str) -> Result<(), Box<dyn Error>> {
    let file = LatentReader::open(path)?;
    let model = Model::builtin(&ModelOptions::default())?;
    let info = file.info();
    let mut stream = Stream::new(&model, &StreamOptions::for_latent_file(info))?;
    stream.check_latent_file(&file)?;
    // The last latent may stand for fewer frames than the others.
    stream.set_frame_count(Some(info.frames))?;

    let (width, height) = (info.width, info.height);
    let mut latent = vec![0f32; info.latent_channels * stream.info().latent_width * stream.info().latent_height];
    let mut pixels = vec![0u8; info.temporal_compression as usize * width * height * 3];
    let mut output = io::stdout().lock();
    for index in 0..=info.latents {
        let mut frames = pixels
            .chunks_exact_mut(width * height * 3)
            .map(|frame| ImageMut::packed(frame, PixelFormat::Rgb8, width, height))
            .collect::<wfvae::Result<Vec<_>>>()?;
        let written = if index < info.latents {
            file.read(index, LatentsMut::F32(&mut latent))?;
            stream.decode(Latents::F32(&latent), &mut frames)?
        } else {
            // Frames that the decoder held back.
            stream.decode_flush(&mut frames)?
        };
        output.write_all(&pixels[..written * width * height * 3])?;
    }
    Ok(())
}

/// False at the end of the input.
fn read_frame(frame: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < frame.len() {
        match io::stdin().lock().read(&mut frame[filled..])? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
    }
    Ok(true)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["encode", width, height, path] => encode(width.parse()?, height.parse()?, path),
        ["decode", path] => decode(path),
        _ => {
            Err("usage: latent_file encode WIDTH HEIGHT LATENTS.safetensors < RGB, or decode LATENTS.safetensors > RGB"
                .into())
        }
    }
}
