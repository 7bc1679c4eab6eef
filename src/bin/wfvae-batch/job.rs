//! A job: workers that take one clip after the other, and the manifest of what became of them.

use crate::arguments::JobArguments;
use crate::clips::Clip;
use crate::files;
use crate::lock::lock;
use crate::manifest::{self, Encode, Job, Line, Manifest, Row};
use crate::outputs::{self, Names};
use crate::progress::{Progress, Totals};
use crate::shards::{About, Shards};
use crate::task::Task;
use crate::to_do::{self, ToDo, Work};
use serde::Serialize;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Rows that wait until those before them are on the disk.
const ROWS_WAITING: usize = 1000;

/// What this run of the job did.
#[derive(Serialize)]
pub struct Outcome {
    pub done: u64,
    pub failed: u64,
    /// Clips that were done before.
    pub skipped: u64,
    pub frames: u64,
    pub interrupted: bool,
    /// Bytes of the manifest before the lines of this run.
    pub manifest_bytes_before: u64,
}

/// What a job needs besides its clips and what is done with them.
pub struct Setting<'a> {
    pub arguments: &'a JobArguments,
    pub names: Names,
    pub shards: Option<(u64, Encode)>,
    /// Clips at a time.
    pub workers: usize,
    pub verb: &'static str,
    pub quiet: bool,
    pub interrupted: &'a AtomicBool,
}

pub fn run(setting: &Setting<'_>, job: Job, clips: Vec<Clip>, task: &impl Task) -> Result<Outcome, String> {
    let folder = &setting.arguments.output;
    let goes_on = folder.join(manifest::NAME).exists();
    check_outputs(&clips, setting, goes_on)?;
    files::create_folder(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let (mut manifest, recorded) = Manifest::open(folder, &job, setting.arguments.resume)?;
    let manifest_bytes_before = manifest.bytes()?;
    let all = clips.len();
    let to_do = to_do::find(clips, recorded.rows, &recorded.shards, setting.names, folder);
    if goes_on {
        forget_stale(&to_do, setting, task, &mut manifest)?;
    }
    let open_shards = |(limit, encode)| {
        let about = About { model: job.model, encode };
        Shards::open(folder, limit, about, recorded.shards, to_do.states, all)
    };
    let mut recorder = Recorder { manifest, shards: setting.shards.clone().map(open_shards).transpose()? };

    let shared = Shared {
        task,
        work: &to_do.left,
        next: AtomicUsize::new(0),
        interrupted: setting.interrupted,
        stopped: Mutex::new(None),
        progress: Progress::new(setting.verb, to_do.left.len(), to_do.done, setting.quiet),
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(ROWS_WAITING);
        for _ in 0..setting.workers {
            let (worker, sender, shared) = (task.worker(), sender.clone(), &shared);
            scope.spawn(move || shared.work(worker, sender));
        }
        drop(sender);
        if let Err(text) = recorder.run(receiver, &shared.progress) {
            lock(&shared.stopped).get_or_insert(text);
        }
    });
    let Totals { done, failed, frames, skipped } = shared.progress.finish();
    match lock(&shared.stopped).take() {
        Some(text) => Err(text),
        None => {
            let interrupted = setting.interrupted.load(Ordering::Relaxed);
            Ok(Outcome { done, failed, skipped, frames, interrupted, manifest_bytes_before })
        }
    }
}

/// Fails if outputs would be below each other; and if a job that begins would write over files that no manifest tells of.
fn check_outputs(clips: &[Clip], setting: &Setting<'_>, goes_on: bool) -> Result<(), String> {
    let folder = &setting.arguments.output;
    let mut outputs: HashSet<_> = clips.iter().map(|clip| PathBuf::from(setting.names.of(&clip.key))).collect();
    for output in &outputs {
        if let Some(above) = output.ancestors().skip(1).find(|above| outputs.contains(*above)) {
            return Err(format!("{} and {} would both be outputs: change a key", above.display(), output.display()));
        }
    }
    if goes_on {
        return Ok(());
    }
    if setting.shards.is_some() {
        outputs.extend([outputs::shard(0).into(), outputs::INDEX.into()]);
    }
    let in_the_way: Vec<_> = outputs.iter().map(|output| folder.join(output)).filter(|path| path.exists()).collect();
    let Some(first) = in_the_way.iter().min() else { return Ok(()) };
    let (which, them) = match in_the_way.len() - 1 {
        0 => (format!("{} is", first.display()), "it"),
        more => (format!("{} and {more} more outputs are", first.display()), "them"),
    };
    Err(format!("{which} there already, and no manifest says that a job has made {them}: choose another folder"))
}

/// Deletes what is there of clips that are left: outputs of what their files were before, and of jobs that were killed before they
/// recorded them. Whoever takes all files of the folder must not find them if the clips fail now. The manifest no longer calls them
/// done, so that new outputs are never taken for those of an old row.
fn forget_stale(to_do: &ToDo, setting: &Setting<'_>, task: &impl Task, manifest: &mut Manifest) -> Result<(), String> {
    let failed = || manifest::Result::Failed { error: "its file, or what is asked of it, has changed".into() };
    let rows: Vec<_> = to_do.stale.iter().map(|row| Row { result: failed(), ..row.clone() }).collect();
    if !rows.is_empty() {
        manifest.append(&rows.iter().map(Line::Clip).collect::<Vec<_>>())?;
    }
    for work in to_do.left.iter().filter(|work| work.refusal.is_none()) {
        let key = &work.clip.key;
        let path = setting.arguments.output.join(setting.names.of(key));
        // What cannot be removed is in the way of the clip, which then tells why.
        if task.model().check_target(&path).is_ok() {
            let _ = setting.names.remove(&path);
        }
        let _ = outputs::remove_unfinished(&outputs::unfinished(&path, key));
    }
    Ok(())
}

struct Shared<'a, T> {
    task: &'a T,
    work: &'a [Work],
    next: AtomicUsize,
    interrupted: &'a AtomicBool,
    /// Why the job cannot go on.
    stopped: Mutex<Option<String>>,
    progress: Progress,
}

impl<T: Task> Shared<'_, T> {
    fn work(&self, mut worker: T::Worker, rows: SyncSender<(usize, Row)>) {
        while !self.interrupted.load(Ordering::Relaxed) && lock(&self.stopped).is_none() {
            let Some(work) = self.work.get(self.next.fetch_add(1, Ordering::Relaxed)) else { break };
            let row = self.task.row(&mut worker, &work.clip, work.refusal.as_deref());
            // What ends this program may have ended the clip's process, too. It is tried again.
            if !row.is_done() && self.interrupted.load(Ordering::Relaxed) {
                break;
            }
            if rows.send((work.index, row)).is_err() {
                break;
            }
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
