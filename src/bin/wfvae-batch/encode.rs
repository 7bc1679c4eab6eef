//! Encodes one clip: media file in, latent file out.

use crate::arguments::{Arguments, PosteriorName, TypeName};
use crate::clips::Clip;
use crate::files;
use crate::filters;
use crate::formats;
use crate::manifest::{Done, Source};
use crate::media::{Counts, Description, Frame, Next, Reader};
use crate::outputs;
use crate::streams::{FRAMES_AT_ONCE, Lease, Streams};
use std::path::Path;
use wfvae::{Image, LatentType, LatentWriter, Latents, LatentsMut, Stream, Tiling};

/// The seed of a clip's samples: FNV-1a of the job's seed, little-endian, and the key.
fn seed(job: u64, key: &str) -> u64 {
    let bytes = job.to_le_bytes().into_iter().chain(key.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

pub fn encode(
    arguments: &Arguments,
    streams: &Streams,
    reader: &mut Reader,
    clip: &Clip,
    source_before: &Source,
) -> Result<Done, String> {
    let description = reader.open(&clip.path, clip.start, clip.end)?;
    let result = Encoding { arguments, streams, clip, description: &description }.run(reader, source_before);
    if result.is_err() {
        // Frames may be under way.
        reader.abandon();
    }
    result
}

/// By Euclid; of numbers that are not 0.
fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

/// A clip that is open.
struct Encoding<'a> {
    arguments: &'a Arguments,
    streams: &'a Streams,
    clip: &'a Clip,
    description: &'a Description,
}

impl Encoding<'_> {
    fn run(&self, reader: &mut Reader, source_before: &Source) -> Result<Done, String> {
        let graph = filters::graph(self.arguments, self.description)?;
        let take = |size| self.streams.take(size, self.description);
        // A decoder that waits for a stream would hold frames. Only after a user's filter the size is not known before.
        let known = filters::size(self.arguments, self.description);
        let early = known.map(take).transpose()?;
        reader.run(&graph)?;
        let first = match reader.next()? {
            Next::Frame(frame) => frame,
            Next::End(counts) => return Err(format!("of its {} frames none is left", counts.decoded)),
        };
        let size = (first.width, first.height);
        let mut stream = match early {
            Some(stream) if known == Some(size) => stream,
            // A file may be wrong about its frames.
            other => {
                drop(other);
                take(size)?
            }
        };
        if self.arguments.posterior == PosteriorName::Sample {
            stream.set_seed(seed(self.arguments.seed(), &self.clip.key)).map_err(|e| e.to_string())?;
        }
        let options = stream.options();
        let tile = (options.tiling != Tiling::Off).then(|| Stream::estimate(stream.model(), options)).transpose();
        let tile = tile.map_err(|e| e.to_string())?.map(|estimate| estimate.encode_tile);

        let output = outputs::of(self.clip, self.arguments);
        let path = self.arguments.output.join(&output);
        let fps = self.rate(&first);
        let writer = self.create(&stream, &path, fps)?;
        let mut clip_writer = ClipWriter::new(&mut stream, writer, self.description);
        let counts = clip_writer.frames(first, reader)?;
        self.check(counts)?;
        if Source::of(&self.clip.path).as_ref() != Ok(source_before) {
            return Err("it was changed while it was read".into());
        }
        let (frames, latents) = clip_writer.finish()?;
        let output_bytes = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
        Ok(Done {
            output,
            output_bytes,
            decoded: counts.decoded,
            frames,
            latents,
            width: size.0,
            height: size.1,
            tile: tile.map(|(width, height)| format!("{width}x{height}")),
            fps: fps.map(|(numerator, denominator)| format!("{numerator}/{denominator}")),
        })
    }

    fn create(&self, stream: &Lease<'_>, path: &Path, fps: Option<(u32, u32)>) -> Result<LatentWriter, String> {
        let folder = path.parent().unwrap_or(Path::new(""));
        files::create_folder(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let latent_type = match self.arguments.latent_type {
            TypeName::F16 => LatentType::F16,
            TypeName::F32 => LatentType::F32,
        };
        let mut info = stream.latent_file(latent_type);
        info.fps = fps;
        stream.model().check_target(path).map_err(|e| e.to_string())?;
        LatentWriter::create(path, info).map_err(|e| e.to_string())
    }

    fn check(&self, counts: Counts) -> Result<(), String> {
        if let Some(expected) = self.clip.expect_frames.filter(|&expected| expected != counts.decoded) {
            return Err(format!("it has {} frames, expected {expected}", counts.decoded));
        }
        match self.arguments.frames.filter(|&wanted| counts.sent < wanted) {
            Some(wanted) => Err(format!("it gives {} frames, fewer than the {wanted} that are wanted", counts.sent)),
            None => Ok(()),
        }
    }

    /// Frames a second of what is encoded.
    fn rate(&self, first: &Frame) -> Option<(u32, u32)> {
        // A filter of the user's may change it.
        let own = if self.arguments.filter.is_some() { first.rate } else { self.description.rate };
        let (numerator, denominator) = self.arguments.fps.or(own)?;
        let denominator = denominator.checked_mul(self.arguments.every.unwrap_or(1))?;
        let divisor = greatest_divisor(numerator, denominator);
        Some((numerator / divisor, denominator / divisor))
    }
}

struct ClipWriter<'a, 'b> {
    description: &'a Description,
    stream: &'a mut Lease<'b>,
    writer: LatentWriter,
    latents: Vec<f32>,
    latent_len: usize,
    frames_at_once: usize,
}

impl<'a, 'b> ClipWriter<'a, 'b> {
    fn new(stream: &'a mut Lease<'b>, writer: LatentWriter, description: &'a Description) -> Self {
        let info = stream.info();
        let latent_len = info.encoded_channels * info.latent_width * info.latent_height;
        // With clip_frames a stream takes a whole clip in each call.
        let frames_at_once = match stream.options().clip_frames {
            0 => FRAMES_AT_ONCE,
            clip_frames => clip_frames as usize,
        };
        ClipWriter { description, stream, writer, latents: vec![], latent_len, frames_at_once }
    }

    fn frames(&mut self, first: Frame, reader: &mut Reader) -> Result<Counts, String> {
        let (width, height) = (first.width, first.height);
        let mut waiting = vec![first];
        loop {
            let counts = match reader.next()? {
                Next::Frame(frame) if (frame.width, frame.height) != (width, height) => {
                    return Err(format!("a frame is {}x{}, expected {width}x{height}", frame.width, frame.height));
                }
                Next::Frame(frame) => {
                    waiting.push(frame);
                    None
                }
                Next::End(counts) => Some(counts),
            };
            if waiting.len() == self.frames_at_once || counts.is_some() {
                self.encode(&waiting)?;
                waiting.clear();
            }
            if let Some(counts) = counts {
                return Ok(counts);
            }
        }
    }

    fn encode(&mut self, frames: &[Frame]) -> Result<(), String> {
        if frames.is_empty() {
            return Ok(());
        }
        let images = frames.iter().map(|frame| {
            let format = formats::pixel_format(frame, self.description)?;
            Image::packed(&frame.planes, format, frame.width, frame.height).map_err(|e| e.to_string())
        });
        let images = images.collect::<Result<Vec<_>, _>>()?;
        let count = self.stream.encode_count(images.len() as u64).map_err(|e| e.to_string())?;
        self.make_room(count);
        let count = self.stream.encode(&images, LatentsMut::F32(&mut self.latents)).map_err(|e| e.to_string())?;
        self.write(count)
    }

    fn make_room(&mut self, latents: u64) {
        self.latents.resize(latents as usize * self.latent_len, 0.0);
    }

    fn write(&mut self, count: usize) -> Result<(), String> {
        self.writer.write(Latents::F32(&self.latents[..count * self.latent_len])).map_err(|e| e.to_string())
    }

    /// Frames and latents.
    fn finish(mut self) -> Result<(u64, u64), String> {
        self.make_room(1);
        let count = self.stream.encode_flush(LatentsMut::F32(&mut self.latents)).map_err(|e| e.to_string())?;
        self.write(count)?;
        let info = self.stream.info();
        self.writer.finish(info.frames_in).map_err(|e| e.to_string())?;
        Ok((info.frames_in, info.latents_out))
    }
}
