//! Programs that run this one, such as the Python package. They set `WFVAE_BATCH_PARENT` to the id of their process. Then this program
//! ends with the thread that started it (on Linux), and prints what was done, or why nothing could be, to standard output, as a line
//! of JSON.

use crate::job::Outcome;
use serde::Serialize;
use std::io::Write;

const VARIABLE: &str = "WFVAE_BATCH_PARENT";

pub struct Parent;

#[derive(Serialize)]
#[serde(untagged)]
enum Report<'a> {
    Outcome(&'a Outcome),
    Error { error: &'a str },
}

impl Parent {
    /// `None`: a user runs this program.
    pub fn find() -> Result<Option<Self>, String> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
        let id = text.to_str().and_then(|text| text.parse().ok()).filter(|&id: &libc::pid_t| id > 0);
        let id = id.ok_or_else(|| format!("{VARIABLE} is {text:?}, must be the id of a process"))?;
        end_with(id);
        Ok(Some(Parent))
    }

    pub fn tell_outcome(&self, outcome: &Outcome) {
        tell(&Report::Outcome(outcome));
    }

    pub fn tell_error(&self, error: &str) {
        tell(&Report::Error { error });
    }

    /// Tells what is wrong with the command line, without the usage.
    pub fn tell_usage_error(&self, error: &clap::Error) {
        // `--help` is no error.
        if error.use_stderr() {
            let text = error.to_string();
            let first = text.split("\n\n").next().unwrap_or(&text);
            let words: Vec<_> = first.strip_prefix("error: ").unwrap_or(first).split_whitespace().collect();
            self.tell_error(&words.join(" "));
        }
    }
}

fn tell(report: &Report) {
    if let Ok(text) = serde_json::to_string(report) {
        // Nobody may be left to read it.
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }
}

/// Linux ends this process with the thread that started it.
fn end_with(parent: libc::pid_t) {
    // SAFETY: the calls take numbers.
    unsafe {
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // It may have ended before.
        let ended = libc::getppid() != parent && libc::kill(parent, 0) != 0;
        if ended {
            libc::_exit(crate::INTERRUPTED.into());
        }
    }
}
