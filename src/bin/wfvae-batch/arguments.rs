//! The command line.

use crate::outputs::Names;
use crate::values::{bytes, microseconds, provider, rate, size, timeout};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use wfvae::Precision;

/// Encodes the clips of a data set to latents, and decodes latents to videos, on all cores. A job records each clip in a manifest, so
/// that it goes on where it was stopped.
///
/// Exit status: 0, all clips are done; 1, some failed, and the manifest says why; 2, the job could not start or go on; 130, it was
/// interrupted.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 120)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Encode(Box<EncodeArguments>),
    Decode(Box<DecodeArguments>),
    Serve(Box<ServeArguments>),
    List(ListArguments),
}

/// Encodes clips to latents: media files in, a latent file for each out, and a manifest of what was done.
///
/// An input is a folder, which is searched for media files, a media file, or a list: a text file (.txt, one path a line) or JSON
/// lines (.jsonl: {"path": "a.mp4", "key": "a", "start": 1.5, "end": 3, "expect_frames": 37}; only path is needed). Paths in a list are
/// relative to its folder.
///
/// Clips that fail are rows of the manifest and do not stop the job. Control-C finishes the clips that are being encoded; a second
/// one stops at once. In both cases --resume goes on.
#[derive(Args, Debug)]
pub struct EncodeArguments {
    /// Folders, media files or lists.
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub job: JobArguments,
    /// Puts latents into tar files of at most this size, as 1G (or of one clip that is larger), which webdataset reads:
    /// shard-000000.tar and so on, with a .safetensors and a .json of each clip, and index.json.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub shards: Option<u64>,
    #[command(flatten)]
    pub encoding: EncodingArguments,
}

/// Decodes latents to videos: latent files in, a video or a folder of pictures for each out, and a manifest of what was done.
///
/// An input is a folder, which is searched for latent files, a latent file (.safetensors), or a list: a text file (.txt, one path
/// a line) or JSON lines (.jsonl: {"path": "a.safetensors", "key": "a"}; only path is needed). Paths in a list are relative to its
/// folder. Of moments, the mean is decoded.
///
/// Videos are written by the program ffmpeg. Latents that fail are rows of the manifest and do not stop the job. Control-C
/// finishes the videos that are being decoded; a second one stops at once. In both cases --resume goes on.
#[derive(Args, Debug)]
pub struct DecodeArguments {
    /// Folders, latent files or lists.
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    #[command(flatten)]
    pub job: JobArguments,
    #[command(flatten)]
    pub model: ModelArguments,
    /// Also decodes latents of other encoders, as long as their sizes fit.
    #[arg(short = 'E', long, help_heading = "Model")]
    pub any_encoder: bool,

    /// What is written.
    #[arg(long = "as", value_enum, default_value = "mp4", help_heading = "Videos")]
    pub kind: VideoKind,
    /// Frames a second of videos whose latents tell no rate.
    #[arg(long, value_name = "RATE", default_value = "25", value_parser = rate, help_heading = "Videos")]
    pub fps: (u32, u32),
    /// Options for ffmpeg, separated by blanks, such as "-c:v libx265 -crf 20": they are given to it behind those of this program. They
    /// must not change the number of frames; names of files must be absolute.
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true, help_heading = "Videos")]
    pub ffmpeg: Option<String>,
    #[command(flatten)]
    pub work: WorkArguments,
}

/// Encodes clips as another program asks for them, for example Ray. Reads lines of a list (JSON, as `encode` takes
/// them) from standard input. Prints a manifest to standard output: the line that describes the job as soon as clips can come, then the
/// row of each clip, in the order in which they are done.
///
/// Latent files are in the folder of the output when their rows are printed, and whoever asked for them takes them away. Ends where
/// standard input ends, when all clips are done, and at once if nobody can read standard output any more.
#[derive(Args, Debug)]
pub struct ServeArguments {
    /// The folder of the latents.
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
    #[command(flatten)]
    pub encoding: EncodingArguments,
}

/// Prints the clips that inputs name, as lines of a list with keys and absolute paths, in the order of the keys. No file is opened.
#[derive(Args, Debug)]
pub struct ListArguments {
    /// Folders, media files or lists, as for encode.
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
}

/// Where a job writes.
#[derive(Args, Debug)]
pub struct JobArguments {
    /// The folder of the results, and of the manifest.
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
    /// Goes on with the job of the manifest: does what is not done, what failed, and what has changed since.
    #[arg(long)]
    pub resume: bool,
}

/// How clips are encoded.
#[derive(Args, Debug)]
pub struct EncodingArguments {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub latents: LatentArguments,
    #[command(flatten)]
    pub frames: FrameArguments,
    #[command(flatten)]
    pub work: WorkArguments,
}

#[derive(Args, Debug)]
pub struct ModelArguments {
    /// Checkpoint folder or .safetensors file [default: the model built into the library].
    #[arg(short, long, help_heading = "Model")]
    pub model: Option<PathBuf>,
    /// Where the network runs: auto, cpu, cuda or cuda:DEVICE.
    #[arg(short = 'P', long, default_value = "auto", value_parser = provider, help_heading = "Model")]
    pub provider: wfvae::Provider,
    /// Type in which the network computes; tf32 needs CUDA.
    #[arg(short = 'F', long, value_enum, default_value = "f32", help_heading = "Model")]
    pub precision: PrecisionName,
}

#[derive(Args, Debug)]
pub struct LatentArguments {
    /// What is stored: the mean, a sample, or both moments.
    #[arg(short, long, value_enum, default_value = "mean", help_heading = "Latents")]
    pub posterior: PosteriorName,
    /// Seed of samples [default: 0]. Each clip has a seed of its own, made from this one and its key.
    #[arg(short, long, help_heading = "Latents")]
    seed: Option<u64>,
    /// Element type of the files.
    #[arg(long = "type", value_enum, default_value = "f16", value_name = "TYPE", help_heading = "Latents")]
    pub latent_type: TypeName,
    /// Scales latents by scale and shift in the model's config.
    #[arg(short = 'n', long, help_heading = "Latents")]
    pub scaled: bool,
}

#[derive(Args, Debug, Default)]
pub struct FrameArguments {
    /// Seconds from the file's start at which clips begin.
    #[arg(long, value_name = "SECONDS", value_parser = microseconds, help_heading = "Frames")]
    pub start: Option<i64>,
    /// Seconds from the file's start at which clips end.
    #[arg(long, value_name = "SECONDS", value_parser = microseconds, help_heading = "Frames")]
    pub end: Option<i64>,
    /// Converts to so many frames a second, as 25, 23.976 or 30000/1001, by repeating and leaving out frames.
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Frames")]
    pub fps: Option<(u32, u32)>,
    /// Takes each N-th frame only.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Frames")]
    pub every: Option<u32>,
    /// Encodes the first N frames of each clip; a shorter clip fails.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Frames")]
    pub frames: Option<u64>,
    /// Resizes frames to WIDTHxHEIGHT.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size, help_heading = "Frames")]
    pub size: Option<(usize, usize)>,
    /// What is done where the shapes differ.
    #[arg(long, value_enum, default_value = "crop", requires = "size", help_heading = "Frames")]
    pub fit: Fit,
    /// A clip fails if it does not have so many frames, before --fps and --every.
    #[arg(long, value_name = "N", help_heading = "Frames")]
    pub expect_frames: Option<u64>,
    /// A filter graph of FFmpeg, such as bwdif, for the frames from --start to --end, before all other steps.
    #[arg(long, value_name = "GRAPH", help_heading = "Frames")]
    pub filter: Option<String>,
}

#[derive(Args, Debug)]
pub struct WorkArguments {
    /// Clips at a time [default: one for each CPU].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Work")]
    pub jobs: Option<u32>,
    /// Memory for weights, streams, and processes that read or write media files, as 8G or 500M [default: four fifths of what is
    /// free].
    #[arg(long, value_name = "SIZE", value_parser = bytes, help_heading = "Work")]
    pub memory: Option<u64>,
    /// A clip fails if the process that reads or writes its media file does nothing for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = timeout, help_heading = "Work")]
    pub timeout: Duration,
    /// Prints nothing but errors.
    #[arg(short, long, action = ArgAction::SetTrue, help_heading = "Work")]
    pub quiet: bool,
}

impl EncodingArguments {
    /// What clap cannot check.
    pub fn check(&self) -> Result<(), &'static str> {
        let (latents, frames) = (&self.latents, &self.frames);
        match latents.seed {
            Some(_) if latents.posterior != PosteriorName::Sample => Err("--seed is for --posterior sample"),
            _ if frames.frames.is_some() && frames.expect_frames.is_some() => {
                Err("--expect-frames with --frames, of which no frame after the last one is read")
            }
            _ if latents.scaled && latents.posterior == PosteriorName::Moments => {
                Err("--scaled is for means and samples; moments are never scaled")
            }
            _ => Ok(()),
        }
    }
}

impl LatentArguments {
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}

/// How frames get another size.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// Covers the size, and cuts off what is outside, equally on both sides.
    #[default]
    Crop,
    /// Stretches to the size.
    Stretch,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum PrecisionName {
    F32,
    Tf32,
    F16,
    Bf16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Tf32 => Precision::Tf32,
            PrecisionName::F16 => Precision::F16,
            PrecisionName::Bf16 => Precision::Bf16,
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PosteriorName {
    Mean,
    Sample,
    Moments,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
pub enum TypeName {
    F16,
    F32,
}

/// What latents are decoded to.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoKind {
    /// H.264 in MP4: 4:2:0, or 4:4:4 if a side is odd. Not exact.
    Mp4,
    /// FFV1 in Matroska: RGB with 8 bits, without loss.
    Mkv,
    /// A folder of PNG files: 000001.png and so on, RGB with 8 bits.
    Png,
}

impl VideoKind {
    pub fn names(self) -> Names {
        match self {
            VideoKind::Mp4 => Names::Video("mp4"),
            VideoKind::Mkv => Names::Video("mkv"),
            VideoKind::Png => Names::Pictures,
        }
    }
}
