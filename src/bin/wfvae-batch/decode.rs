//! Decodes latents: latent files in, videos or pictures out.

use crate::arguments::DecodeArguments;
use crate::clips::Clip;
use crate::engine::Engine;
use crate::manifest::{self, Done, Job, Source};
use crate::outputs::Names;
use crate::streams::{FRAMES_AT_ONCE, Lease, ProcessMemory, Streams, Wanted};
use crate::task::Task;
use crate::times::rate_text;
use crate::videos::{Video, VideoFrames, VideoSettings};
use crate::watchdog::Watchdog;
use std::path::Path;
use std::sync::Arc;
use wfvae::{ImageMut, LatentReader, Latents, LatentsMut, Model, Stream, StreamOptions};

/// ffmpeg's libraries and buffers. Measured.
const WRITER: ProcessMemory = ProcessMemory { name: "ffmpeg", bytes: 65_000_000 };
/// Of a pixel with 8 bits a colour.
const PIXEL_BYTES: u64 = 3;

pub struct Decoding<'a> {
    arguments: &'a DecodeArguments,
    names: Names,
    streams: Streams,
    settings: VideoSettings,
}

impl<'a> Decoding<'a> {
    pub fn new(arguments: &'a DecodeArguments, engine: Engine, dog: Arc<Watchdog>) -> Result<Self, String> {
        if !engine.model.info().decodes {
            return Err("the model has no decoder: choose one that has".into());
        }
        let settings = VideoSettings {
            kind: arguments.kind,
            options: arguments.ffmpeg.iter().flat_map(|text| text.split_whitespace().map(String::from)).collect(),
            timeout: arguments.work.timeout,
            dog,
        };
        settings.check()?;
        Ok(Decoding { arguments, names: arguments.kind.names(), streams: Streams::new(engine, WRITER), settings })
    }

    /// For the manifest.
    pub fn describe(&self) -> Job {
        let info = self.model().info();
        let decode = manifest::Decode {
            decoder: manifest::identity(info.decoder_identity),
            any_encoder: self.arguments.any_encoder,
            video: self.settings.describe(),
            fps: rate_text(self.arguments.fps),
        };
        Job::new(&info, info.decode_precision, manifest::Task::Decode(decode))
    }

    fn take(&self, latents: &LatentReader, frames: &VideoFrames) -> Result<Lease<'_>, String> {
        let info = latents.info();
        let mut options = StreamOptions::for_latent_file(info);
        options.any_encoder = self.arguments.any_encoder;
        if self.model().info().decode_whole_clips {
            options.clip_frames = info.frames;
        }
        let pixels = (info.width * info.height) as u64;
        let (frame_bytes, held_bytes) = (pixels * PIXEL_BYTES, pixels * self.settings.held_bytes(frames));
        self.streams.take(&Wanted { options, frames: Some(info.frames), frame_bytes, held_bytes })
    }
}

impl Task for Decoding<'_> {
    type Worker = ();

    fn worker(&self) {}

    fn model(&self) -> &Model {
        self.streams.model()
    }

    fn run(&self, (): &mut (), clip: &Clip, source: &Source) -> Result<Done, String> {
        let latents = LatentReader::open(&clip.path).map_err(|e| e.to_string())?;
        if !self.arguments.any_encoder {
            self.model().check_latent_file(&latents).map_err(|e| e.to_string())?;
        }
        let info = latents.info();
        let fps = info.fps.unwrap_or(self.arguments.fps);
        let frames = VideoFrames { width: info.width, height: info.height, fps };
        let mut stream = self.take(&latents, &frames)?;
        stream.check_latent_file(&latents).map_err(|e| e.to_string())?;
        let tile = stream.tile()?;
        let output = self.names.of(&clip.key);
        let path = self.folder().join(&output);
        let video = Video::create(&self.settings, &path, &clip.key, &frames)?;
        let mut writer = VideoWriter { settings: &self.settings, frames, video, pixels: vec![], written: 0 };
        writer.decode(&mut stream, &latents)?;
        if writer.written != info.frames {
            return Err(format!("it gives {} frames, and says that it has {}", writer.written, info.frames));
        }
        source.check(&clip.path)?;
        let output_bytes = writer.video.finish(writer.written)?;
        Ok(Done {
            output,
            output_bytes,
            decoded: None,
            frames: info.frames,
            latents: info.latents,
            width: info.width,
            height: info.height,
            tile,
            fps: Some(rate_text(fps)),
        })
    }
}

impl Decoding<'_> {
    fn folder(&self) -> &Path {
        &self.arguments.job.output
    }
}

struct VideoWriter<'a> {
    settings: &'a VideoSettings,
    frames: VideoFrames,
    video: Video,
    pixels: Vec<u8>,
    written: u64,
}

impl VideoWriter<'_> {
    fn decode(&mut self, stream: &mut Stream, file: &LatentReader) -> Result<(), String> {
        let info = file.info();
        stream.set_frame_count(Some(info.frames)).map_err(|e| e.to_string())?;
        let at_once = match stream.options().clip_frames {
            0 => (FRAMES_AT_ONCE as u64 / info.temporal_compression).max(1),
            // Such a stream takes a whole clip in each call.
            _ => info.latents,
        };
        let latent_len = info.latent_channels * info.latent_width() * info.latent_height();
        let mut values = vec![];
        for start in (0..info.latents).step_by(at_once as usize) {
            let count = at_once.min(info.latents - start);
            values.resize(count as usize * latent_len, 0.0);
            file.read(start, LatentsMut::F32(&mut values)).map_err(|e| e.to_string())?;
            let frames = stream.decode_count(count).map_err(|e| e.to_string())?;
            self.write(frames, |images| stream.decode(Latents::F32(&values), images))?;
        }
        let frames = stream.decode_flush_count().map_err(|e| e.to_string())?;
        self.write(frames, |images| stream.decode_flush(images))
    }

    fn write(
        &mut self,
        frames: u64,
        decode: impl FnOnce(&mut [ImageMut<'_>]) -> wfvae::Result<usize>,
    ) -> Result<(), String> {
        let VideoFrames { width, height, .. } = self.frames;
        let format = self.settings.format(&self.frames);
        let size = format.bytes(&self.frames);
        self.pixels.resize(frames as usize * size, 0);
        let pixels = format.pixels(&self.frames);
        let images = self.pixels.chunks_exact_mut(size).map(|bytes| ImageMut::packed(bytes, pixels, width, height));
        let mut images = images.collect::<wfvae::Result<Vec<_>>>().map_err(|e| e.to_string())?;
        let count = decode(&mut images).map_err(|e| e.to_string())?;
        drop(images);
        self.written += count as u64;
        self.pixels[..count * size].chunks_exact(size).try_for_each(|frame| self.video.write(frame))
    }
}
