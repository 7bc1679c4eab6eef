//! A job: workers that take one clip after the other, and the manifest of what became of them.

use crate::arguments::{Arguments, Fit, PosteriorName, TypeName};
use crate::clips::{self, Clip, seconds};
use crate::encode;
use crate::folders;
use crate::interrupt;
use crate::manifest::{self, Job, Manifest, Row, Source};
use crate::media::{self, Reader};
use crate::progress::Progress;
use crate::streams::Streams;
use crate::watchdog::{Watchdog, lock};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Instant;
use wfvae::{Model, ModelOptions, Posterior, StreamOptions};

/// Rows that wait until those before them are on the disk.
const ROWS_WAITING: usize = 1000;
/// The part of the free memory that a job takes if it is not told.
const PART_OF_FREE: f64 = 0.8;

pub struct Outcome {
    pub failed: u64,
    pub interrupted: bool,
}

pub fn run(arguments: &Arguments) -> Result<Outcome, String> {
    let interrupted = interrupt::handle()?;
    arguments.check()?;
    let clips = clips::find(arguments)?;
    let reader = media::find_program()?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = arguments.jobs.map_or(cpus, |jobs| jobs as usize).min(clips.len());
    let model = open_model(arguments, cpus, workers)?;
    let options = stream_options(arguments, &model)?;
    folders::create(&arguments.output).map_err(|e| format!("{}: {e}", arguments.output.display()))?;
    let (manifest, rows) = Manifest::open(&arguments.output, &describe(arguments, &model), arguments.resume)?;
    let clips = to_do(clips, rows, &arguments.output);

    let streams = Streams::new(model, options, memory(arguments), arguments.frames);
    let dog = Watchdog::start();
    let shared = Shared {
        arguments,
        streams,
        clips: &clips.left,
        next: AtomicUsize::new(0),
        interrupted: &interrupted,
        stopped: Mutex::new(None),
        progress: Progress::new(clips.left.len(), clips.done, arguments.quiet),
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(ROWS_WAITING);
        for _ in 0..workers {
            let (reader, sender) = (Reader::new(reader.clone(), dog.clone(), arguments.timeout), sender.clone());
            let shared = &shared;
            scope.spawn(move || shared.work(reader, sender));
        }
        drop(sender);
        shared.record(manifest, receiver);
    });
    let failed = shared.progress.finish();
    match lock(&shared.stopped).take() {
        Some(text) => Err(text),
        None => Ok(Outcome { failed, interrupted: interrupted.load(Ordering::Relaxed) }),
    }
}

fn open_model(arguments: &Arguments, cpus: usize, workers: usize) -> Result<Model, String> {
    let mut options = ModelOptions::default();
    options.provider = arguments.provider;
    (options.encode_precision, options.decode_precision) = (arguments.precision.into(), arguments.precision.into());
    // Streams side by side use the CPUs better than threads in one stream.
    options.threads = (cpus / workers).max(1);
    let model = match &arguments.model {
        Some(path) => Model::open(path, &options),
        None => Model::builtin(&options),
    };
    model.map_err(|e| format!("model: {e}"))
}

fn memory(arguments: &Arguments) -> u64 {
    let free = || wfvae::available_memory().map(|bytes| (bytes as f64 * PART_OF_FREE) as u64);
    arguments.memory.or_else(free).unwrap_or(u64::MAX)
}

fn stream_options(arguments: &Arguments, model: &Model) -> Result<StreamOptions, String> {
    let mut options = StreamOptions::new(1, 1);
    if model.info().whole_clips {
        let why = "the model takes whole clips, so memory depends on their length: add --frames";
        options.clip_frames = arguments.frames.ok_or(why)?;
    }
    (options.decode, options.pad, options.scaled) = (false, true, arguments.scaled);
    options.posterior = match arguments.posterior {
        PosteriorName::Mean => Posterior::Mean,
        PosteriorName::Sample => Posterior::Sample { seed: arguments.seed() },
        PosteriorName::Moments => Posterior::Moments,
    };
    Ok(options)
}

fn describe(arguments: &Arguments, model: &Model) -> Job {
    let info = model.info();
    let frames = [
        arguments.filter.as_ref().map(|filter| format!("filter {filter}")),
        arguments.fps.map(|(numerator, denominator)| format!("fps {numerator}/{denominator}")),
        arguments.every.map(|every| format!("every {every}")),
        arguments.frames.map(|frames| format!("frames {frames}")),
        arguments.size.map(|(width, height)| {
            format!("size {width}x{height} {}", if arguments.fit == Fit::Crop { "crop" } else { "stretch" })
        }),
    ];
    Job {
        precision: info.encode_precision.to_string(),
        posterior: format!("{:?}", arguments.posterior).to_lowercase(),
        seed: (arguments.posterior == PosteriorName::Sample).then_some(arguments.seed()),
        scaled: arguments.scaled,
        latent_type: match arguments.latent_type {
            TypeName::F16 => "f16".into(),
            TypeName::F32 => "f32".into(),
        },
        frames: frames.into_iter().flatten().collect::<Vec<_>>().join(", "),
        ..Job::new(info.identity, info.encoder_identity)
    }
}

struct ToDo {
    left: Vec<Clip>,
    /// Clips that are done already.
    done: usize,
}

fn to_do(clips: Vec<Clip>, rows: HashMap<String, Row>, folder: &Path) -> ToDo {
    let all = clips.len();
    let left: Vec<_> = clips.into_iter().filter(|clip| !is_done(clip, rows.get(&clip.key), folder)).collect();
    let done = all - left.len();
    ToDo { left, done }
}

/// Whether the clip's output is that of the same part of the same file, which may be in another place.
fn is_done(clip: &Clip, row: Option<&Row>, folder: &Path) -> bool {
    let Some(row) = row else { return false };
    let manifest::Result::Done(done) = &row.result else { return false };
    let same_part = (row.start, row.end) == (clip.start.map(seconds), clip.end.map(seconds));
    let same_frames = clip.expect_frames.is_none_or(|expected| expected == done.decoded);
    let same_source = encode::source(&clip.path).is_ok_and(|source| source.is_same(&row.source));
    let output = std::fs::metadata(folder.join(&done.output));
    same_part
        && same_frames
        && same_source
        && output.is_ok_and(|output| output.is_file() && output.len() == done.output_bytes)
}

struct Shared<'a> {
    arguments: &'a Arguments,
    streams: Streams,
    clips: &'a [Clip],
    next: AtomicUsize,
    interrupted: &'a AtomicBool,
    /// Why the job cannot go on.
    stopped: Mutex<Option<String>>,
    progress: Progress,
}

impl Shared<'_> {
    fn work(&self, mut reader: Reader, rows: SyncSender<Row>) {
        while !self.interrupted.load(Ordering::Relaxed) && lock(&self.stopped).is_none() {
            let Some(clip) = self.clips.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            if rows.send(self.encode(&mut reader, clip)).is_err() {
                break;
            }
        }
    }

    /// Writes rows until all workers have ended. One wait for the disk is enough for all rows that came during the last one.
    fn record(&self, mut manifest: Manifest, rows: Receiver<Row>) {
        while let Ok(first) = rows.recv() {
            let rows: Vec<_> = std::iter::once(first).chain(rows.try_iter()).collect();
            // Clips without rows would be encoded again, so a job that can write none is of no use.
            if let Err(text) = manifest.append(&rows) {
                lock(&self.stopped).get_or_insert(text);
                break;
            }
            rows.iter().for_each(|row| self.progress.add(row));
        }
    }

    fn encode(&self, reader: &mut Reader, clip: &Clip) -> Row {
        let begin = Instant::now();
        let source = encode::source(&clip.path);
        let result =
            source.clone().and_then(|source| encode::encode(self.arguments, &self.streams, reader, clip, &source));
        let unknown = || Source { path: clip.path.to_string_lossy().into_owned(), bytes: 0, modified: 0 };
        Row {
            key: clip.key.clone(),
            source: source.unwrap_or_else(|_| unknown()),
            start: clip.start.map(seconds),
            end: clip.end.map(seconds),
            result: match result {
                Ok(done) => manifest::Result::Done(done),
                Err(error) => manifest::Result::Failed { error },
            },
            seconds: (begin.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }
}
