//! Encodes clips: media files in, latent files out.

use crate::arguments::{EncodingArguments, Fit, PosteriorName, TypeName};
use crate::clips::Clip;
use crate::engine::Engine;
use crate::files;
use crate::filters;
use crate::formats;
use crate::hash::fnv1a;
use crate::manifest::{self, Done, Job, Source};
use crate::media::{self, Counts, Description, Frame, Next, Reader};
use crate::outputs::Names;
use crate::streams::{FRAMES_AT_ONCE, Lease, ProcessMemory, Streams, Wanted};
use crate::task::Task;
use crate::times::rate_text;
use crate::watchdog::Watchdog;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wfvae::{Image, LatentType, LatentWriter, Latents, LatentsMut, Model, Posterior, StreamOptions};

/// Its libraries and buffers, and the frames that it holds of a clip. Measured.
const READER: ProcessMemory = ProcessMemory { name: "decoding", bytes: 40_000_000 };
const READER_FRAMES: u64 = 24;
/// Of a pixel of 4:4:4, with 8 and with 16 bits.
const PIXEL_BYTES: u64 = 3;
const DEEP_PIXEL_BYTES: u64 = 6;

pub struct Encoding<'a> {
    arguments: &'a EncodingArguments,
    folder: &'a Path,
    names: Names,
    /// Of streams: all but the size.
    options: StreamOptions,
    streams: Streams,
    program: PathBuf,
    dog: Arc<Watchdog>,
    memory: u64,
}

impl<'a> Encoding<'a> {
    pub fn new(
        arguments: &'a EncodingArguments,
        engine: Engine,
        folder: &'a Path,
        names: Names,
        dog: Arc<Watchdog>,
    ) -> Result<Self, String> {
        if !engine.model.info().encodes {
            return Err("the model has no encoder: choose one that has".into());
        }
        let (program, memory) = (media::find_program()?, engine.memory);
        let options = stream_options(arguments, &engine.model)?;
        let streams = Streams::new(engine, READER);
        Ok(Encoding { arguments, folder, names, options, streams, program, dog, memory })
    }

    /// For the manifest.
    pub fn describe(&self, shard_bytes: Option<u64>) -> (Job, manifest::Encode) {
        let (latents, info) = (&self.arguments.latents, self.model().info());
        let encode = manifest::Encode {
            encoder: manifest::identity(info.encoder_identity),
            posterior: format!("{:?}", latents.posterior).to_lowercase(),
            seed: (latents.posterior == PosteriorName::Sample).then_some(latents.seed()),
            scaled: latents.scaled,
            latent_type: match latents.latent_type {
                TypeName::F16 => "f16".into(),
                TypeName::F32 => "f32".into(),
            },
            frames: self.describe_frames(),
            shard_bytes,
        };
        (Job::new(&info, info.encode_precision, manifest::Task::Encode(encode.clone())), encode)
    }

    fn describe_frames(&self) -> String {
        let frames = &self.arguments.frames;
        let steps = [
            frames.filter.as_ref().map(|filter| format!("filter {filter}")),
            frames.fps.map(|fps| format!("fps {}", rate_text(fps))),
            frames.every.map(|every| format!("every {every}")),
            frames.frames.map(|frames| format!("frames {frames}")),
            frames.size.map(|(width, height)| {
                format!("size {width}x{height} {}", if frames.fit == Fit::Crop { "crop" } else { "stretch" })
            }),
        ];
        steps.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// A stream for frames of a size, which are made of a clip's.
    fn take(&self, (width, height): (usize, usize), clip: &Description) -> Result<Lease<'_>, String> {
        let mut options = self.options.clone();
        (options.width, options.height) = (width, height);
        self.streams.take(&Wanted {
            options,
            frames: self.arguments.frames.frames,
            frame_bytes: (width * height) as u64 * DEEP_PIXEL_BYTES,
            held_bytes: source_bytes(clip),
        })
    }
}

impl Task for Encoding<'_> {
    type Worker = Reader;

    fn worker(&self) -> Reader {
        Reader::new(self.program.clone(), self.dog.clone(), self.arguments.work.timeout, self.memory)
    }

    fn model(&self) -> &Model {
        self.streams.model()
    }

    fn run(&self, reader: &mut Reader, clip: &Clip, source: &Source) -> Result<Done, String> {
        let description = reader.open(&clip.path, clip.start, clip.end)?;
        let result = OpenClip { encoding: self, clip, description: &description }.encode(reader, source);
        if result.is_err() {
            // Frames may be under way.
            reader.abandon();
        }
        result
    }
}

fn stream_options(arguments: &EncodingArguments, model: &Model) -> Result<StreamOptions, String> {
    let mut options = StreamOptions::new(1, 1);
    if model.info().whole_clips {
        let why = "the model takes whole clips, so memory depends on their length: add --frames";
        let frames = arguments.frames.frames.ok_or(why)?;
        let whole = model.frames_for_latents(model.latents_for_frames(frames));
        if whole != frames {
            let unit = model.info().temporal_compression;
            return Err(format!(
                "--frames {frames}: the model takes whole clips of 1 + n * {unit} frames; repeated ones would change their \
                 statistics: give {} or {whole}",
                whole - unit
            ));
        }
        options.clip_frames = frames;
    }
    (options.decode, options.pad, options.scaled) = (false, true, arguments.latents.scaled);
    options.posterior = match arguments.latents.posterior {
        PosteriorName::Mean => Posterior::Mean,
        PosteriorName::Sample => Posterior::Sample { seed: arguments.latents.seed() },
        PosteriorName::Moments => Posterior::Moments,
    };
    Ok(options)
}

fn source_bytes(clip: &Description) -> u64 {
    // Names of formats with more than 8 bits end with the byte order.
    let deep = clip.format.ends_with("le") || clip.format.ends_with("be");
    let pixel = if deep { DEEP_PIXEL_BYTES } else { PIXEL_BYTES };
    (clip.width * clip.height) as u64 * pixel * READER_FRAMES
}

/// The seed of a clip's samples: FNV-1a of the job's seed, little-endian, and the key.
fn seed(job: u64, key: &str) -> u64 {
    fnv1a(job.to_le_bytes().into_iter().chain(key.bytes()))
}

/// By Euclid; of numbers that are not 0.
fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

struct OpenClip<'a> {
    encoding: &'a Encoding<'a>,
    clip: &'a Clip,
    description: &'a Description,
}

impl OpenClip<'_> {
    fn encode(&self, reader: &mut Reader, source: &Source) -> Result<Done, String> {
        let EncodingArguments { frames: arguments, latents, .. } = self.encoding.arguments;
        let graph = filters::graph(arguments, self.description)?;
        let take = |size| self.encoding.take(size, self.description);
        // A decoder that waits for a stream would hold frames. Only after a user's filter the size is not known before.
        let known = filters::size(arguments, self.description);
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
        if latents.posterior == PosteriorName::Sample {
            stream.set_seed(seed(latents.seed(), &self.clip.key)).map_err(|e| e.to_string())?;
        }
        let tile = stream.tile()?;

        let output = self.encoding.names.of(&self.clip.key);
        let path = self.encoding.folder.join(&output);
        let fps = self.rate(&first);
        let writer = self.create(&stream, &path, fps)?;
        let mut clip_writer = ClipWriter::new(&mut stream, writer, self.description);
        let counts = clip_writer.frames(first, reader)?;
        self.check(counts)?;
        source.check(&self.clip.path)?;
        let (frames, latents) = clip_writer.finish()?;
        let output_bytes = std::fs::metadata(&path).map_err(|e| format!("{}: {e}", path.display()))?.len();
        Ok(Done {
            output,
            output_bytes,
            decoded: Some(counts.decoded),
            frames,
            latents,
            width: size.0,
            height: size.1,
            tile,
            fps: fps.map(rate_text),
        })
    }

    fn create(&self, stream: &Lease<'_>, path: &Path, fps: Option<(u32, u32)>) -> Result<LatentWriter, String> {
        let folder = path.parent().unwrap_or(Path::new(""));
        files::create_folder(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let latent_type = match self.encoding.arguments.latents.latent_type {
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
        match self.encoding.arguments.frames.frames.filter(|&wanted| counts.sent < wanted) {
            Some(wanted) => Err(format!("it gives {} frames, fewer than the {wanted} that are wanted", counts.sent)),
            None => Ok(()),
        }
    }

    /// Frames a second of what is encoded.
    fn rate(&self, first: &Frame) -> Option<(u32, u32)> {
        // A filter of the user's may change it.
        let arguments = &self.encoding.arguments.frames;
        let own = if arguments.filter.is_some() { first.rate } else { self.description.rate };
        let (numerator, denominator) = arguments.fps.or(own)?;
        let denominator = denominator.checked_mul(arguments.every.unwrap_or(1))?;
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
