//! The command line.

use crate::times;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;
use wfvae::Precision;

/// Encodes the clips of a data set to latents, on all cores, and records each in a manifest, so that a job that was stopped goes on.
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
    Encode(Box<Arguments>),
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
pub struct Arguments {
    /// Folders, media files or lists.
    #[arg(required = true)]
    pub inputs: Vec<PathBuf>,
    /// The folder of the latents, and of the manifest.
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,
    /// Puts latents into tar files of at most this size, as 1G (or of one clip that is larger), which webdataset reads:
    /// shard-000000.tar and so on, with a .safetensors and a .json of each clip, and index.json.
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub shards: Option<u64>,
    /// Goes on with the job of the manifest: encodes what is not done, what failed, and what has changed since.
    #[arg(long)]
    pub resume: bool,

    /// Checkpoint folder or .safetensors file [default: the model built into the library].
    #[arg(short, long, help_heading = "Model")]
    pub model: Option<PathBuf>,
    /// Where the network runs: auto, cpu, cuda or cuda:DEVICE.
    #[arg(short = 'P', long, default_value = "auto", value_parser = provider, help_heading = "Model")]
    pub provider: wfvae::Provider,
    /// Type in which the network computes; tf32 needs CUDA.
    #[arg(short = 'F', long, value_enum, default_value = "f32", help_heading = "Model")]
    pub precision: PrecisionName,

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

    /// Clips at a time [default: one for each CPU].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), help_heading = "Work")]
    pub jobs: Option<u32>,
    /// Memory for weights, streams and decoders, as 8G or 500M [default: four fifths of what is free].
    #[arg(long, value_name = "SIZE", value_parser = bytes, help_heading = "Work")]
    pub memory: Option<u64>,
    /// A clip fails if none of its frames is decoded for so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = timeout, help_heading = "Work")]
    pub timeout: Duration,
    /// Prints nothing but errors.
    #[arg(short, long, action = ArgAction::SetTrue, help_heading = "Work")]
    pub quiet: bool,
}

impl Arguments {
    /// What clap cannot check.
    pub fn check(&self) -> Result<(), &'static str> {
        match self.seed {
            Some(_) if self.posterior != PosteriorName::Sample => Err("--seed is for --posterior sample"),
            _ if self.frames.is_some() && self.expect_frames.is_some() => {
                Err("--expect-frames with --frames, of which no frame after the last one is read")
            }
            _ if self.scaled && self.posterior == PosteriorName::Moments => {
                Err("--scaled is for means and samples; moments are never scaled")
            }
            _ => Ok(()),
        }
    }

    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}

/// How frames get another size.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Covers the size, and cuts off what is outside, equally on both sides.
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

fn provider(text: &str) -> Result<wfvae::Provider, String> {
    Ok(match text {
        "auto" => wfvae::Provider::Auto,
        "cpu" => wfvae::Provider::Cpu,
        "cuda" => wfvae::Provider::Cuda { device: 0 },
        _ => match text.strip_prefix("cuda:").and_then(|device| device.parse().ok()) {
            Some(device) => wfvae::Provider::Cuda { device },
            None => return Err("expected auto, cpu, cuda or cuda:DEVICE".into()),
        },
    })
}

fn microseconds(text: &str) -> Result<i64, String> {
    times::microseconds(text.parse().map_err(|_| "expected a number of seconds".to_string())?)
}

fn rate(text: &str) -> Result<(u32, u32), String> {
    let wrong = || "expected a rate such as 25, 23.976 or 30000/1001".to_string();
    let (numerator, denominator) = match text.split_once('/') {
        Some((numerator, denominator)) => {
            (numerator.parse().map_err(|_| wrong())?, denominator.parse().map_err(|_| wrong())?)
        }
        None => {
            let value: f64 = text.parse().map_err(|_| wrong())?;
            if !(0.001..=1000.0).contains(&value) {
                return Err(wrong());
            }
            match value.fract() == 0.0 {
                true => (value as u32, 1),
                false => ((value * 1000.0).round() as u32, 1000),
            }
        }
    };
    match (0.001..=1000.0).contains(&(f64::from(numerator) / f64::from(denominator))) {
        true => Ok((numerator, denominator)),
        false => Err(wrong()),
    }
}

fn size(text: &str) -> Result<(usize, usize), String> {
    let parse = |side: &str| side.parse().ok().filter(|&side| (1..=1 << 15).contains(&side));
    text.split_once('x')
        .and_then(|(width, height)| Some((parse(width)?, parse(height)?)))
        .ok_or("expected WIDTHxHEIGHT, each from 1 to 32768".into())
}

fn bytes(text: &str) -> Result<u64, String> {
    let text = text.strip_suffix('B').unwrap_or(text);
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'K' | 'k')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        Some((at, 'T')) => (&text[..at], 1e12),
        _ => (text, 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if (1.0..1e18).contains(&(value * unit)) => Ok((value * unit) as u64),
        _ => Err("expected a size such as 500M or 8G".into()),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=1e6).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds from 0.1 on".into()),
    }
}
