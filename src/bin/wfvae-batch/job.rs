//! A job: workers that take one clip after the other, and the manifest of what became of them.

use crate::arguments::{Arguments, Fit, PosteriorName, TypeName};
use crate::clips;
use crate::encode;
use crate::files;
use crate::interrupt;
use crate::lock::lock;
use crate::manifest::{self, Job, Line, Manifest, Row, Source};
use crate::media::{self, Reader};
use crate::outputs;
use crate::progress::Progress;
use crate::shards::Shards;
use crate::streams::Streams;
use crate::times::seconds;
use crate::to_do::{self, ToDo, Work};
use crate::watchdog::Watchdog;
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
    let memory = memory(arguments);
    let model = open_model(arguments, cpus, workers)?;
    let options = stream_options(arguments, &model)?;
    files::create_folder(&arguments.output).map_err(|e| format!("{}: {e}", arguments.output.display()))?;
    let job = describe(arguments, &model);
    let (mut manifest, recorded) = Manifest::open(&arguments.output, &job, arguments.resume)?;
    let goes_on = !recorded.rows.is_empty() || !recorded.shards.is_empty();
    let all = clips.len();
    let to_do = to_do::find(clips, recorded.rows, &recorded.shards, arguments);
    if goes_on {
        forget_stale(&to_do, &model, arguments, &mut manifest)?;
    }
    let open_shards = |limit| Shards::open(&arguments.output, limit, job, recorded.shards, to_do.states, all);
    let mut recorder = Recorder { manifest, shards: arguments.shards.map(open_shards).transpose()? };

    let streams = Streams::new(model, options, memory, arguments.frames, workers);
    let dog = Watchdog::start();
    let shared = Shared {
        arguments,
        streams,
        work: &to_do.left,
        next: AtomicUsize::new(0),
        interrupted: &interrupted,
        stopped: Mutex::new(None),
        progress: Progress::new(to_do.left.len(), to_do.done, arguments.quiet),
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(ROWS_WAITING);
        for _ in 0..workers {
            let (reader, sender) =
                (Reader::new(reader.clone(), dog.clone(), arguments.timeout, memory), sender.clone());
            let shared = &shared;
            scope.spawn(move || shared.work(reader, sender));
        }
        drop(sender);
        if let Err(text) = recorder.run(receiver, &shared.progress) {
            lock(&shared.stopped).get_or_insert(text);
        }
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
        format: manifest::FORMAT.into(),
        format_version: manifest::VERSION,
        model: format!("{:016x}", info.identity),
        encoder: format!("{:016x}", info.encoder_identity),
        precision: info.encode_precision.to_string(),
        posterior: format!("{:?}", arguments.posterior).to_lowercase(),
        seed: (arguments.posterior == PosteriorName::Sample).then_some(arguments.seed()),
        scaled: arguments.scaled,
        latent_type: match arguments.latent_type {
            TypeName::F16 => "f16".into(),
            TypeName::F32 => "f32".into(),
        },
        frames: frames.into_iter().flatten().collect::<Vec<_>>().join(", "),
        shard_bytes: arguments.shards,
    }
}

/// Deletes what is there of clips that are left to encode: latents of what their files were before, and of jobs that were killed
/// before they recorded them. Whoever takes all files of the folder must not find them if the clips fail now. The manifest no longer
/// calls them done, so that new latents are never taken for those of an old row.
fn forget_stale(to_do: &ToDo, model: &Model, arguments: &Arguments, manifest: &mut Manifest) -> Result<(), String> {
    let failed = || manifest::Result::Failed { error: "its file, or what is asked of it, has changed".into() };
    let rows: Vec<_> = to_do.stale.iter().map(|row| Row { result: failed(), ..row.clone() }).collect();
    if !rows.is_empty() {
        manifest.append(&rows.iter().map(Line::Clip).collect::<Vec<_>>())?;
    }
    for work in to_do.left.iter().filter(|work| work.refusal.is_none()) {
        let path = arguments.output.join(outputs::of(&work.clip, arguments));
        if path.is_file() && model.check_target(&path).is_ok() {
            std::fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}

struct Shared<'a> {
    arguments: &'a Arguments,
    streams: Streams,
    work: &'a [Work],
    next: AtomicUsize,
    interrupted: &'a AtomicBool,
    /// Why the job cannot go on.
    stopped: Mutex<Option<String>>,
    progress: Progress,
}

impl Shared<'_> {
    fn work(&self, mut reader: Reader, rows: SyncSender<(usize, Row)>) {
        while !self.interrupted.load(Ordering::Relaxed) && lock(&self.stopped).is_none() {
            let Some(work) = self.work.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            if rows.send((work.index, self.encode(&mut reader, work))).is_err() {
                break;
            }
        }
    }

    fn encode(&self, reader: &mut Reader, work: &Work) -> Row {
        let begin = Instant::now();
        let clip = &work.clip;
        let source = Source::of(&clip.path);
        let result = match (&source, &work.refusal) {
            (Ok(_), Some(refusal)) => Err(refusal.clone()),
            (Ok(source), None) => encode::encode(self.arguments, &self.streams, reader, clip, source),
            (Err(error), _) => Err(error.clone()),
        };
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

/// Writes down what became of clips.
struct Recorder {
    manifest: Manifest,
    shards: Option<Shards>,
}

impl Recorder {
    /// Runs until all workers have ended. One wait for the disk is enough for all rows that came during the last one. Clips without rows
    /// would be encoded again, so a job that can write none is of no use.
    fn run(&mut self, rows: Receiver<(usize, Row)>, progress: &Progress) -> Result<(), String> {
        while let Ok(first) = rows.recv() {
            let rows: Vec<_> = std::iter::once(first).chain(rows.try_iter()).collect();
            let lines: Vec<_> = rows.iter().map(|(_, row)| Line::Clip(row)).collect();
            self.manifest.append(&lines)?;
            for (index, row) in &rows {
                progress.add(row);
                if let Some(shards) = &mut self.shards {
                    shards.add(*index, row, &mut self.manifest)?;
                }
            }
        }
        self.shards.as_mut().map_or(Ok(()), |shards| shards.end(&mut self.manifest))
    }
}
