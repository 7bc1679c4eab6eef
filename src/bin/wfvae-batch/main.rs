//! `wfvae-batch` encodes the clips of a data set to latents, on all cores, and records each in a manifest, so that a job that was
//! stopped goes on where it was.
//!
//! SPDX-License-Identifier: MIT OR Apache-2.0

#[cfg(not(unix))]
compile_error!("wfvae-batch is for Unix: it reads clips through processes that are ended by signals");

mod arguments;
mod clips;
mod encode;
mod files;
mod filters;
mod formats;
mod interrupt;
mod job;
mod lock;
mod manifest;
mod media;
mod messages;
mod outputs;
mod progress;
mod shards;
mod streams;
mod times;
mod to_do;
mod watchdog;

use arguments::{Command, CommandLine};
use clap::Parser;
use std::process::ExitCode;

/// Some clips failed; the manifest says which and why.
const CLIPS_FAILED: u8 = 1;
/// The job could not start, or not go on.
const JOB_FAILED: u8 = 2;
/// As shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let Command::Encode(arguments) = CommandLine::parse().command;
    match job::run(&arguments) {
        Ok(job::Outcome { interrupted: true, .. }) => INTERRUPTED.into(),
        Ok(job::Outcome { failed: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => CLIPS_FAILED.into(),
        Err(text) => {
            messages::tell(format_args!("wfvae-batch: {text}"));
            JOB_FAILED.into()
        }
    }
}
