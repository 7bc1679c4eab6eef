//! `wfvae-batch` encodes the clips of a data set to latents, and decodes latents to videos, on all cores, and records each in a
//! manifest, so that a job that was stopped goes on where it was.
//!
//! SPDX-License-Identifier: MIT OR Apache-2.0

#[cfg(not(unix))]
compile_error!("wfvae-batch is for Unix: it reads clips through processes that are ended by signals");

mod arguments;
mod clips;
mod decode;
mod encode;
mod engine;
mod files;
mod filters;
mod formats;
mod hash;
mod interrupt;
mod job;
mod lock;
mod manifest;
mod media;
mod messages;
mod outputs;
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

use arguments::{Command, CommandLine, DecodeArguments, EncodeArguments, ServeArguments};
use clap::Parser;
use clips::Kind;
use decode::Decoding;
use encode::Encoding;
use engine::Engine;
use job::{Outcome, Setting};
use outputs::Names;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use videos::Settings;
use watchdog::Watchdog;

/// Some clips failed; the manifest says which and why.
const CLIPS_FAILED: u8 = 1;
/// The job could not start, or not go on.
const JOB_FAILED: u8 = 2;
/// As shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    let result = interrupt::handle().and_then(|interrupted| match command {
        Command::Encode(arguments) => encode(&arguments, &interrupted),
        Command::Decode(arguments) => decode(&arguments, &interrupted),
        Command::Serve(arguments) => serve(arguments, &interrupted),
    });
    match result {
        Ok(Outcome { interrupted: true, .. }) => INTERRUPTED.into(),
        Ok(Outcome { failed: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => CLIPS_FAILED.into(),
        Err(text) => {
            messages::tell(format_args!("wfvae-batch: {text}"));
            JOB_FAILED.into()
        }
    }
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
    let names = Settings::names(arguments.kind);
    let task = Decoding::new(arguments, engine, Watchdog::start())?;
    let described = task.describe();
    let setting =
        Setting { arguments: job, names, shards: None, workers, verb: "decoded", quiet: work.quiet, interrupted };
    job::run(&setting, described, clips, &task)
}

fn serve(arguments: Box<ServeArguments>, interrupted: &AtomicBool) -> Result<Outcome, String> {
    // A thread that reads outlives this function.
    let arguments: &'static ServeArguments = Box::leak(arguments);
    let ServeArguments { output, encoding } = arguments;
    encoding.check()?;
    files::create_folder(output).map_err(|e| format!("{}: {e}", output.display()))?;
    let engine = Engine::open(&encoding.model, &encoding.work, usize::MAX)?;
    let workers = engine.workers;
    let task = Encoding::new(encoding, engine, output, Names::Latents, Watchdog::start())?;
    let failed = serve::run(&task, Kind::Media(&encoding.frames), workers, interrupted)?;
    Ok(Outcome { failed, interrupted: interrupted.load(Ordering::Relaxed) })
}
