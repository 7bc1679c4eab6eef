//! Encodes clips as another program asks for them, line by line, and tells it what became of each.

use crate::clips::{self, Clip, Kind};
use crate::lock::lock;
use crate::manifest::Row;
use crate::task::Task;
use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How often a worker without a clip looks whether the program is to end.
const LOOK: Duration = Duration::from_millis(100);

struct Server<'a, T> {
    task: &'a T,
    interrupted: &'a AtomicBool,
    clips: Mutex<Receiver<Result<Clip, String>>>,
    /// Of clips that are being processed: two with one key would write to one file.
    keys: Mutex<HashSet<String>>,
    failed: AtomicU64,
    /// Why it cannot go on.
    stopped: Mutex<Option<String>>,
}

/// Gives how many clips failed.
pub fn run(task: &impl Task, kind: Kind<'static>, workers: usize, interrupted: &AtomicBool) -> Result<u64, String> {
    let (sender, receiver) = sync_channel(workers);
    // Reading cannot be interrupted, so nobody waits for this thread.
    std::thread::spawn(move || read(kind, &sender));
    let server = Server {
        task,
        interrupted,
        clips: Mutex::new(receiver),
        keys: Mutex::default(),
        failed: AtomicU64::new(0),
        stopped: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| server.work());
        }
    });
    match lock(&server.stopped).take() {
        Some(text) => Err(text),
        None => Ok(server.failed.into_inner()),
    }
}

fn read(kind: Kind<'_>, clips: &SyncSender<Result<Clip, String>>) {
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let parsed = line.map_err(|e| e.to_string()).and_then(|line| clips::parse(&line, Path::new(""), kind));
        let named = parsed.map_err(|text| format!("line {} of standard input: {text}", number + 1));
        let is_wrong = named.is_err();
        if clips.send(named).is_err() || is_wrong {
            break;
        }
    }
}

impl<T: Task> Server<'_, T> {
    fn work(&self) {
        let mut worker = self.task.worker();
        while !self.interrupted.load(Ordering::Relaxed) && lock(&self.stopped).is_none() {
            let next = lock(&self.clips).recv_timeout(LOOK);
            let result = match next {
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(clip) => clip.and_then(|clip| self.process(&mut worker, &clip)),
            };
            if let Err(text) = result {
                lock(&self.stopped).get_or_insert(text);
            }
        }
    }

    fn process(&self, worker: &mut T::Worker, clip: &Clip) -> Result<(), String> {
        let is_new = lock(&self.keys).insert(clip.key.clone());
        let refusal = (!is_new).then_some("another clip with its key is being encoded");
        let row = self.task.row(worker, clip, refusal);
        if is_new {
            lock(&self.keys).remove(&clip.key);
        }
        if !row.is_done() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        print(&row)
    }
}

fn print(row: &Row) -> Result<(), String> {
    let line = serde_json::to_string(row).map_err(|e| e.to_string())? + "\n";
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(|e| format!("standard output: {e}"))
}
