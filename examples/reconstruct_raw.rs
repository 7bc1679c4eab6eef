//! Encodes and decodes raw video in one stream, within a limit of memory.
//!
//!     ffmpeg -i clip.mkv -f rawvideo -pix_fmt rgb24 - | cargo run --release --example reconstruct_raw 1920 1080 2000 > out.rgb
//!
//! SPDX-License-Identifier: MIT OR Apache-2.0

use std::error::Error;
use std::io::{self, BufRead, Read, Write};
use wfvae::{Image, ImageMut, Latents, LatentsMut, Model, ModelOptions, PixelFormat, Stream, StreamOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<Vec<usize>, _>>()?;
    let &[width, height, megabytes] = &arguments[..] else {
        return Err("usage: reconstruct_raw WIDTH HEIGHT MEGABYTES < RGB > RGB".into());
    };
    let model = Model::builtin(&ModelOptions::default())?;
    let mut options = StreamOptions::new(width, height);
    options.pad = true;
    // If that is too little, this fails now, with a text that says how much is needed and which options need less.
    options.memory_limit = megabytes as u64 * 1_000_000;
    let mut stream = Stream::new(&model, &options)?;

    let info = stream.info();
    let mut latent = vec![0f32; info.encoded_channels * info.latent_width * info.latent_height];
    let size = width * height * 3;
    let mut frame = vec![0u8; size];
    let mut decoded = vec![0u8; model.info().temporal_compression as usize * size];
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    loop {
        let at_end = input.fill_buf()?.is_empty();
        let latents = if at_end {
            // Only the frames that came in are written, not those that complete the last group.
            stream.set_frame_count(Some(stream.info().frames_in))?;
            stream.encode_flush(LatentsMut::F32(&mut latent))?
        } else {
            input.read_exact(&mut frame)?;
            stream.encode(&[Image::packed(&frame, PixelFormat::Rgb8, width, height)?], LatentsMut::F32(&mut latent))?
        };
        if latents == 1 {
            let written = stream.decode(Latents::F32(&latent), &mut images(&mut decoded, width, height)?)?;
            output.write_all(&decoded[..written * size])?;
        }
        if at_end {
            let written = stream.decode_flush(&mut images(&mut decoded, width, height)?)?;
            output.write_all(&decoded[..written * size])?;
            return Ok(());
        }
    }
}

fn images(pixels: &mut [u8], width: usize, height: usize) -> wfvae::Result<Vec<ImageMut<'_>>> {
    let frames = pixels.chunks_exact_mut(width * height * 3);
    frames.map(|frame| ImageMut::packed(frame, PixelFormat::Rgb8, width, height)).collect()
}
