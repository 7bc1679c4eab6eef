//! The program ffmpeg, which reads frames from a pipe and tells how far it is.

use crate::process::{Pipes, Process};
use crate::watchdog::Watchdog;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const PROGRAM: &str = "ffmpeg";
/// It marks lines with their levels, as libraries such as x265 print lines of their own. "info" is one of them.
const LEVEL: &str = "level+error";
const ERRORS: [&str; 3] = ["[error]", "[fatal]", "[panic]"];
/// Of what it says, in bytes.
const TEXT: usize = 500;
/// How long it is waited at most before one looks again whether it has ended.
const LOOK: Duration = Duration::from_millis(100);
/// Variables with which it would write a log into the folder of the output, or colour its messages.
const VARIABLES: [&str; 2] = ["FFREPORT", "AV_LOG_FORCE_COLOR"];

pub struct Ffmpeg {
    process: Process,
    /// `None`: it has been told that no frame is to come.
    input: Option<ChildStdin>,
    /// Frames that it has written.
    reports: Option<JoinHandle<u64>>,
    errors: Option<JoinHandle<Messages>>,
    timeout: Duration,
}

/// What it prints to standard error.
#[derive(Default)]
struct Messages {
    errors: String,
    /// All other lines.
    others: String,
}

impl Ffmpeg {
    /// `timeout`: it is ended if it takes no frame for so long, or writes nothing when all have come.
    pub fn start(
        arguments: &[OsString],
        folder: &Path,
        timeout: Duration,
        dog: &Arc<Watchdog>,
    ) -> Result<Self, String> {
        let mut command = Command::new(PROGRAM);
        command.args(["-hide_banner", "-nostdin", "-y", "-loglevel", LEVEL, "-nostats", "-progress", "pipe:1"]);
        command.args(arguments);
        if !folder.as_os_str().is_empty() {
            command.current_dir(folder);
        }
        for name in VARIABLES {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Process::start(&mut command, dog);
        let (process, pipes) =
            started.map_err(|e| format!("{PROGRAM}, which writes videos, cannot be started: {e}"))?;
        let Pipes { input, output: Some(output), errors: Some(errors) } = pipes else { unreachable!("all are pipes") };
        let reports = std::thread::spawn(move || count(output));
        let errors = std::thread::spawn(move || listen(errors));
        Ok(Ffmpeg { process, input, reports: Some(reports), errors: Some(errors), timeout })
    }

    pub fn write(&mut self, frame: &[u8]) -> Result<(), String> {
        self.process.allow(Some(self.timeout));
        let written = self.input.as_mut().expect("before the end").write_all(frame);
        self.process.allow(None);
        match written {
            Ok(()) => Ok(()),
            // It has ended, and most often says why.
            Err(e) => Err(self.end(None).err().unwrap_or_else(|| format!("{PROGRAM} takes no more frames: {e}"))),
        }
    }

    /// Waits until everything is written, which takes as long as the file grows. Gives how many frames there are.
    pub fn end(&mut self, file: Option<&Path>) -> Result<u64, String> {
        self.input = None;
        let (mut size, mut pause) = (None, Duration::from_millis(1));
        self.process.allow(Some(self.timeout));
        while self.process.lives() {
            let found = file.and_then(|file| std::fs::metadata(file).ok()).map(|found| found.len());
            if found != size {
                size = found;
                self.process.allow(Some(self.timeout));
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(LOOK);
        }
        // Both pipes end with it.
        let frames = self.reports.take().and_then(|reports| reports.join().ok()).unwrap_or_default();
        let messages = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        self.process.allow(None);
        let late = self.process.was_late();
        let status = self.process.wait().map_err(|e| format!("{PROGRAM}: {e}"))?;
        match (messages.errors.as_str(), messages.others.as_str()) {
            _ if late => Err(format!("{PROGRAM} wrote nothing for {} s (--timeout)", self.timeout.as_secs_f64())),
            ("", _) if status.success() => Ok(frames),
            ("", "") => Err(format!("{PROGRAM} ended: {status}")),
            ("", others) => Err(format!("{PROGRAM} ended: {status}: {others}")),
            (errors, _) => Err(format!("{PROGRAM}: {errors}")),
        }
    }

    pub fn kill(&self) {
        // It may have ended already.
        let _ = self.process.kill();
    }
}

/// The frames of the last report. Reports are lines NAME=VALUE.
fn count(output: impl Read) -> u64 {
    let lines = BufReader::new(output).lines().map_while(Result::ok);
    let counts = lines.filter_map(|line| line.strip_prefix("frame=")?.trim().parse().ok());
    counts.last().unwrap_or_default()
}

fn listen(errors: impl Read) -> Messages {
    let mut messages = Messages::default();
    for line in BufReader::new(errors).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let is_error = ERRORS.iter().any(|level| line.contains(level));
        let text = if is_error { &mut messages.errors } else { &mut messages.others };
        let line = tidy(&line);
        if !line.is_empty() && text.len() + line.len() <= TEXT {
            text.push_str(if text.is_empty() { "" } else { "; " });
            text.push_str(&line);
        }
    }
    messages
}

/// Without levels, and without addresses, which are others each time: "[libx264 @ 0x55d0c8] [error] text" is "[libx264] text".
fn tidy(line: &str) -> String {
    let mut line = ERRORS.iter().fold(line.to_string(), |line, level| line.replace(&format!("{level} "), ""));
    while let Some(start) = line.find(" @ 0x") {
        let end = line[start..].find(']').map_or(line.len(), |length| start + length);
        line.replace_range(start..end, "");
    }
    line.trim().into()
}

#[cfg(test)]
mod tests {
    use super::{listen, tidy};

    #[test]
    fn messages() {
        let text =
            "x265 [info]: HEVC encoder\n[libx265 @ 0x5577a] [error] no such preset\n[fatal] Conversion failed!\n";
        let found = listen(text.as_bytes());
        assert_eq!(found.errors, "[libx265] no such preset; Conversion failed!");
        assert_eq!(found.others, "x265 [info]: HEVC encoder");
        assert_eq!(tidy("[a @ 0x1] [b @ 0x2"), "[a] [b");
    }
}
