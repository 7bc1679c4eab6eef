//! What is done with each clip of a job: [`Encoding`](crate::encode::Encoding) or [`Decoding`](crate::decode::Decoding).

use crate::clips::Clip;
use crate::manifest::{Done, Result as Outcome, Row, Source};
use crate::times::seconds;
use std::time::Instant;
use wfvae::Model;

pub trait Task: Sync {
    /// What a thread keeps from one clip to the next.
    type Worker: Send;

    fn worker(&self) -> Self::Worker;

    fn model(&self) -> &Model;

    /// Writes the clip's output, which appears complete or not at all. `source`: what the clip's file was before.
    fn run(&self, worker: &mut Self::Worker, clip: &Clip, source: &Source) -> Result<Done, String>;

    /// Does it, unless there is a reason not to, and tells what became of the clip.
    fn row(&self, worker: &mut Self::Worker, clip: &Clip, refusal: Option<&str>) -> Row {
        let begin = Instant::now();
        let source = Source::of(&clip.path);
        let result = match (&source, refusal) {
            (Ok(_), Some(refusal)) => Err(refusal.into()),
            (Ok(source), None) => self.run(worker, clip, source),
            (Err(error), _) => Err(error.clone()),
        };
        let unknown = || Source { path: clip.path.to_string_lossy().into_owned(), bytes: 0, modified: 0 };
        Row {
            key: clip.key.clone(),
            source: source.unwrap_or_else(|_| unknown()),
            start: clip.start.map(seconds),
            end: clip.end.map(seconds),
            result: match result {
                Ok(done) => Outcome::Done(done),
                Err(error) => Outcome::Failed { error },
            },
            seconds: (begin.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }
}
