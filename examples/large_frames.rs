//! Encodes and decodes a clip of large frames in tiles, within a limit of memory. Tiles are as large as the limit allows, and the
//! result is that of whole frames, up to rounding.
//!
//!     ffmpeg -i clip.mkv -frames:v 9 -f rawvideo -pix_fmt rgb24 - | cargo run --release --example large_frames 1920 1080 9 800 > out.rgb
//!
//! SPDX-License-Identifier: MIT OR Apache-2.0

use std::error::Error;
use std::io::{self, Read, Write};
use wfvae::{Image, ImageMut, Latents, LatentsMut, Model, ModelOptions, PixelFormat, Stream, StreamOptions, Tiling};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = std::env::args().skip(1).map(|a| a.parse()).collect::<Result<Vec<usize>, _>>()?;
    let &[width, height, frames, megabytes] = &arguments[..] else {
        return Err("usage: large_frames WIDTH HEIGHT FRAMES MEGABYTES < RGB > RGB".into());
    };
    let model = Model::builtin(&ModelOptions::default())?;
    let mut options = StreamOptions::new(width, height);
    options.pad = true;
    // A model with attention has blended tiles only.
    options.tiling = Tiling::Exact;
    // Each call gets a whole clip, so the caches of one tile exist at a time, not those of all.
    options.clip_frames = frames as u64;
    options.memory_limit = megabytes as u64 * 1_000_000;
    let plan = Stream::estimate(&model, &options)?;
    eprintln!(
        "{} MB; {} tiles of {:?} to encode, {} of {:?} to decode",
        plan.total_bytes / 1_000_000,
        plan.encode_tiles,
        plan.encode_tile,
        plan.decode_tiles,
        plan.decode_tile
    );
    let mut stream = Stream::new(&model, &options)?;

    // The clip and its latents are the program's memory, which the limit does not count.
    let size = width * height * 3;
    let mut pixels = vec![0u8; frames * size];
    io::stdin().lock().read_exact(&mut pixels)?;
    let info = stream.info();
    let latent = info.encoded_channels * info.latent_width * info.latent_height;
    let mut latents = vec![0f32; model.latents_for_frames(frames as u64) as usize * latent];

    let clip = pixels.chunks_exact(size).map(|frame| Image::packed(frame, PixelFormat::Rgb8, width, height));
    let encoded = stream.encode(&clip.collect::<wfvae::Result<Vec<_>>>()?, LatentsMut::F32(&mut latents))?;
    // Without the frames that complete the last group.
    stream.set_frame_count(Some(frames as u64))?;
    let clip = pixels.chunks_exact_mut(size).map(|frame| ImageMut::packed(frame, PixelFormat::Rgb8, width, height));
    stream.decode(Latents::F32(&latents[..encoded * latent]), &mut clip.collect::<wfvae::Result<Vec<_>>>()?)?;
    Ok(io::stdout().write_all(&pixels)?)
}
