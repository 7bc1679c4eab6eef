//! Encodes clips as another program asks for them, line by line, and tells it what became of each.

use crate::clips::{self, Clip, Kind};
use crate::interrupt;
use crate::lines::{self, LONGEST, TooLong};
use crate::lock::lock;
use crate::manifest::{Job, Result as Outcome, Row, Source};
use crate::task::Task;
use serde::Serialize;
use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// How often a worker without a clip looks whether the program is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What a line asks for.
enum Request {
    Clip(Clip),
    /// It cannot be done; its row says why.
    Refused(Box<Row>),
}

struct Server<'a, T> {
    task: &'a T,
    interrupted: &'a AtomicBool,
    requests: Mutex<Receiver<Result<Request, String>>>,
    /// Of clips that are being processed: two with one key would write to one file.
    keys: Mutex<HashSet<String>>,
    failed: AtomicU64,
    /// Why it cannot go on.
    stopped: Mutex<Option<String>>,
}

/// Prints what describes the job, as a manifest's first line, when it is ready for clips. Gives how many clips failed.
pub fn run(
    task: &impl Task,
    job: &Job,
    kind: Kind<'static>,
    workers: usize,
    interrupted: &AtomicBool,
) -> Result<u64, String> {
    std::thread::spawn(end_without_reader);
    print(job)?;
    let (sender, receiver) = sync_channel(workers);
    // Reading cannot be interrupted, so nobody waits for this thread.
    std::thread::spawn(move || read(kind, &sender));
    let server = Server {
        task,
        interrupted,
        requests: Mutex::new(receiver),
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

fn read(kind: Kind<'_>, requests: &SyncSender<Result<Request, String>>) {
    let mut input = std::io::stdin().lock();
    for number in 0.. {
        let line = match next_line(&mut input) {
            Ok(None) => break,
            Ok(Some(line)) if line.trim().is_empty() => continue,
            line => line.map(Option::unwrap_or_default),
        };
        let request = line.and_then(|line| parse(&line, kind));
        let named = request.map_err(|text| format!("line {} of standard input: {text}", number + 1));
        let is_wrong = named.is_err();
        if requests.send(named).is_err() || is_wrong {
            break;
        }
    }
}

fn next_line(input: &mut impl BufRead) -> Result<Option<String>, String> {
    match lines::next(input, LONGEST).map_err(|e| e.to_string())? {
        None => Ok(None),
        Some(Err(TooLong)) => Err(format!("it is longer than {LONGEST} bytes")),
        Some(Ok(line)) => String::from_utf8(line).map(Some).map_err(|_| "it is not UTF-8".into()),
    }
}

/// A line without a key has no row, so it ends the program.
fn parse(line: &str, kind: Kind<'_>) -> Result<Request, String> {
    let text = match clips::parse(line, Path::new(""), kind) {
        Ok(clip) => return Ok(Request::Clip(clip)),
        Err(text) => text,
    };
    let fields: serde_json::Value = serde_json::from_str(line).map_err(|_| text.clone())?;
    let field = |name: &str| fields.get(name).and_then(|value| value.as_str()).map(String::from);
    let key = field("key").ok_or_else(|| text.clone())?;
    let source = Source { path: field("path").unwrap_or_default(), bytes: 0, modified: 0 };
    let result = Outcome::Failed { error: text };
    Ok(Request::Refused(Box::new(Row { key, source, start: None, end: None, result, seconds: 0.0 })))
}

impl<T: Task> Server<'_, T> {
    fn work(&self) {
        let mut worker = self.task.worker();
        while !self.interrupted.load(Ordering::Relaxed) && lock(&self.stopped).is_none() {
            let requests = lock(&self.requests);
            // The others may have waited for this lock for long.
            if self.interrupted.load(Ordering::Relaxed) {
                break;
            }
            let next = requests.recv_timeout(LOOK);
            drop(requests);
            let result = match next {
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(Err(text)) => Err(text),
                Ok(Ok(Request::Clip(clip))) => self.process(&mut worker, &clip),
                Ok(Ok(Request::Refused(row))) => self.tell(&row),
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
        self.tell(&row)
    }

    fn tell(&self, row: &Row) -> Result<(), String> {
        if !row.is_done() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        print(row)
    }
}

/// Ends this process as soon as nobody can read its standard output any more: whoever asked for the clips has ended, and may have been
/// killed. A clip may take hours, and nobody would take its latents away.
fn end_without_reader() {
    let mut output = libc::pollfd { fd: std::io::stdout().as_raw_fd(), events: 0, revents: 0 };
    loop {
        // SAFETY: it is one structure, and lives until the call returns.
        let found = unsafe { libc::poll(&mut output, 1, -1) };
        if found > 0 && output.revents & (libc::POLLERR | libc::POLLHUP) != 0 {
            interrupt::end();
        }
        // A file has nobody who reads it.
        if found >= 0 {
            break;
        }
    }
}

fn print(value: &impl Serialize) -> Result<(), String> {
    let line = serde_json::to_string(value).map_err(|e| e.to_string())? + "\n";
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(|e| format!("standard output: {e}"))
}
