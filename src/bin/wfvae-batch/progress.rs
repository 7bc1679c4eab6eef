//! What the user sees while a job runs: a bar on a terminal, else a line now and then.

use crate::lock::lock;
use crate::manifest::{self, Row};
use crate::messages::tell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const LINE_EVERY: Duration = Duration::from_secs(10);

pub struct Progress {
    verb: &'static str,
    bar: ProgressBar,
    total: usize,
    skipped: usize,
    quiet: bool,
    start: Instant,
    counts: Mutex<Counts>,
}

/// Of the clips that this run of the job took.
pub struct Totals {
    pub done: u64,
    pub failed: u64,
    pub frames: u64,
    /// Clips that were done before.
    pub skipped: u64,
}

struct Counts {
    done: u64,
    failed: u64,
    frames: u64,
    printed: Instant,
}

impl Progress {
    /// `verb`: what becomes of clips, such as "encoded".
    pub fn new(verb: &'static str, total: usize, skipped: usize, quiet: bool) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !quiet;
        let target = if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} clips, {per_sec}, {eta} left{msg}");
        bar.set_style(style.expect("a valid template"));
        let start = Instant::now();
        let counts = Mutex::new(Counts { done: 0, failed: 0, frames: 0, printed: start });
        Progress { verb, bar, total, skipped, quiet, start, counts }
    }

    pub fn add(&self, row: &Row) {
        let mut counts = lock(&self.counts);
        match &row.result {
            manifest::Result::Done(done) => {
                counts.done += 1;
                counts.frames += done.frames;
            }
            manifest::Result::Failed { error } => {
                counts.failed += 1;
                self.bar.suspend(|| tell(format_args!("{}: {error}", row.source.path)));
                self.bar.set_message(format!(", {} failed", counts.failed));
            }
        }
        self.bar.inc(1);
        let is_last = counts.done + counts.failed == self.total as u64;
        if self.bar.is_hidden() && !self.quiet && !is_last && counts.printed.elapsed() >= LINE_EVERY {
            counts.printed = Instant::now();
            let gone = self.start.elapsed().as_secs_f64();
            let (ready, total) = (counts.done + counts.failed, self.total);
            let left = gone / ready as f64 * (total as u64 - ready) as f64;
            tell(format_args!(
                "{ready} of {total} clips, {:.2} a second, {} failed, {left:.0} s left",
                ready as f64 / gone,
                counts.failed
            ));
        }
    }

    /// Prints what was done.
    pub fn finish(&self) -> Totals {
        self.bar.finish_and_clear();
        let counts = lock(&self.counts);
        if !self.quiet {
            let gone = self.start.elapsed().as_secs_f64();
            let before = match self.skipped {
                0 => String::new(),
                skipped => format!(", {skipped} were done before"),
            };
            tell(format_args!(
                "{} clips {}, {} frames, in {gone:.1} s; {} failed{before}",
                counts.done, self.verb, counts.frames, counts.failed
            ));
        }
        Totals { done: counts.done, failed: counts.failed, frames: counts.frames, skipped: self.skipped as u64 }
    }
}
