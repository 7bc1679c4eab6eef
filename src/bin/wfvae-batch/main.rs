//! `wfvae-batch` encodes the clips of a data set to latents, and decodes latents to videos, on all cores. A job records each clip in a
//! manifest, so that it goes on where it was stopped. Other programs can also ask for one clip after the other.
//!
//! SPDX-License-Identifier: MIT OR Apache-2.0

#![warn(clippy::undocumented_unsafe_blocks)]

#[cfg(not(unix))]
compile_error!("wfvae-batch is for Unix: it reads clips through processes that are ended by signals");

mod arguments;
mod clips;
mod decode;
mod encode;
mod engine;
mod ffmpeg;
mod files;
mod filters;
mod formats;
mod hash;
mod interrupt;
mod job;
mod lines;
mod lock;
mod manifest;
mod media;
mod messages;
mod outputs;
mod parent;
mod process;
mod progress;
mod serve;
mod shards;
mod streams;
mod task;
mod times;
mod to_do;
mod values;
mod videos;
mod watchdog;

use arguments::{
    Command, CommandLine, DecodeArguments, EncodeArguments, FrameArguments, ListArguments, ServeArguments,
};
use clap::Parser;
use clips::Kind;
use decode::Decoding;
use encode::Encoding;
use engine::Engine;
use job::{Outcome, Setting};
use outputs::Names;
use parent::Parent;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use watchdog::Watchdog;

/// Some clips failed; the manifest says which and why.
const CLIPS_FAILED: u8 = 1;
/// The job could not start, or not go on.
const JOB_FAILED: u8 = 2;
/// As shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let parent = match Parent::find() {
        Ok(parent) => parent,
        Err(text) => return fail(None, &text),
    };
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            parent.inspect(|parent| parent.tell_usage_error(&error));
            error.exit();
        }
    };
    let done = interrupt::handle().and_then(|interrupted| match command {
        Command::Encode(arguments) => encode(&arguments, &interrupted).map(Done::Job),
        Command::Decode(arguments) => decode(&arguments, &interrupted).map(Done::Job),
        Command::Serve(arguments) => {
            let failed = serve(arguments, &interrupted)?;
            Ok(Done::Served { failed, interrupted: interrupted.load(Ordering::Relaxed) })
        }
        Command::List(arguments) => list(&arguments).map(|()| Done::Listed),
    });
    match done {
        Ok(Done::Job(outcome)) => {
            parent.inspect(|parent| parent.tell_outcome(&outcome));
            status(outcome.failed, outcome.interrupted)
        }
        Ok(Done::Served { failed, interrupted }) => status(failed, interrupted),
        Ok(Done::Listed) => ExitCode::SUCCESS,
        Err(text) => fail(parent, &text),
    }
}

enum Done {
    Job(Outcome),
    Served { failed: u64, interrupted: bool },
    Listed,
}

fn status(failed: u64, interrupted: bool) -> ExitCode {
    match (failed, interrupted) {
        (_, true) => INTERRUPTED.into(),
        (0, _) => ExitCode::SUCCESS,
        _ => CLIPS_FAILED.into(),
    }
}

fn fail(parent: Option<Parent>, text: &str) -> ExitCode {
    messages::tell(format_args!("wfvae-batch: {text}"));
    parent.inspect(|parent| parent.tell_error(text));
    JOB_FAILED.into()
}

fn encode(arguments: &EncodeArguments, interrupted: &AtomicBool) -> Result<Outcome, String> {
    let EncodeArguments { job, encoding, .. } = arguments;
    encoding.check()?;
    let clips = clips::find(&arguments.inputs, Kind::Media(&encoding.frames))?;
    let engine = Engine::open(&encoding.model, &encoding.work, clips.len())?;
    let workers = engine.workers;
    let names = if arguments.shards.is_some() { Names::Waiting } else { Names::Latents };
    let task = Encoding::new(encoding, engine, &job.output, names, Watchdog::start())?;
    let (described, encode) = task.describe(arguments.shards);
    let shards = arguments.shards.map(|limit| (limit, encode));
    let quiet = encoding.work.quiet;
    let setting = Setting { arguments: job, names, shards, workers, verb: "encoded", quiet, interrupted };
    job::run(&setting, described, clips, &task)
}

fn decode(arguments: &DecodeArguments, interrupted: &AtomicBool) -> Result<Outcome, String> {
    let DecodeArguments { job, model, work, .. } = arguments;
    let clips = clips::find(&arguments.inputs, Kind::Latents)?;
    let engine = Engine::open(model, work, clips.len())?;
    let workers = engine.workers;
    let names = arguments.kind.names();
    let task = Decoding::new(arguments, engine, Watchdog::start())?;
    let described = task.describe();
    let setting =
        Setting { arguments: job, names, shards: None, workers, verb: "decoded", quiet: work.quiet, interrupted };
    job::run(&setting, described, clips, &task)
}

/// Gives how many clips failed.
fn serve(arguments: Box<ServeArguments>, interrupted: &AtomicBool) -> Result<u64, String> {
    // A thread that reads outlives this function.
    let arguments: &'static ServeArguments = Box::leak(arguments);
    let ServeArguments { output, encoding } = arguments;
    encoding.check()?;
    if output.join(manifest::NAME).exists() {
        return Err(format!("{} is the folder of a job: choose another one", output.display()));
    }
    files::create_folder(output).map_err(|e| format!("{}: {e}", output.display()))?;
    let engine = Engine::open(&encoding.model, &encoding.work, usize::MAX)?;
    let workers = engine.workers;
    let task = Encoding::new(encoding, engine, output, Names::Latents, Watchdog::start())?;
    let (described, _) = task.describe(None);
    serve::run(&task, &described, Kind::Media(&encoding.frames), workers, interrupted)
}

fn list(arguments: &ListArguments) -> Result<(), String> {
    clips::print(&clips::find(&arguments.inputs, Kind::Media(&FrameArguments::default()))?)
}
