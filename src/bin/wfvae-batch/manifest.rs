//! The manifest of a job: JSON lines, of which the first describes the job and each other one what became of a clip. Lines are
//! appended, and are on the disk before their clips count as done.

use crate::files;
use crate::lines::{self, TooLong};
use crate::messages::tell;
use same_file::Handle;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use wfvae::{ModelInfo, Precision};

pub const NAME: &str = "manifest.jsonl";
const FORMAT: &str = "wfvae-batch";
const VERSION: u32 = 1;
/// Bytes of a line, with its end. That of a shard has the keys of all its clips, of which this is room for millions.
const LONGEST: u64 = 256 << 20;

/// The first line: what every output of the job depends on. A job can go on only with the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    format: String,
    format_version: u32,
    /// Identity of the model, as in latent files (docs/formats.md).
    pub model: String,
    pub precision: String,
    #[serde(flatten)]
    pub task: Task,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "lowercase")]
pub enum Task {
    Encode(Encode),
    Decode(Decode),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encode {
    pub encoder: String,
    pub posterior: String,
    pub seed: Option<u64>,
    pub scaled: bool,
    pub latent_type: String,
    /// The frames: filters, rate and size.
    pub frames: String,
    /// The largest size of shards, if latents are put into shards.
    pub shard_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decode {
    pub decoder: String,
    pub any_encoder: bool,
    /// What is written: the format, and how.
    pub video: String,
    /// The rate of videos whose latents tell none.
    pub fps: String,
}

impl Job {
    pub fn new(model: &ModelInfo, precision: Precision, task: Task) -> Self {
        Job {
            format: FORMAT.into(),
            format_version: VERSION,
            model: identity(model.identity),
            precision: precision.to_string(),
            task,
        }
    }
}

/// As texts have it.
pub fn identity(number: u64) -> String {
    format!("{number:016x}")
}

/// What a clip's file was when it was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub path: String,
    pub bytes: u64,
    /// Nanoseconds since 1970 of its last change.
    pub modified: u64,
}

impl Source {
    pub fn of(path: &Path) -> std::result::Result<Self, String> {
        let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
        if !metadata.is_file() {
            return Err("it is not a regular file".into());
        }
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Source {
            path: path.to_string_lossy().into_owned(),
            bytes: metadata.len(),
            modified: modified.map_or(0, |time| time.as_nanos() as u64),
        })
    }

    /// Fails if the file is not what it was any more.
    pub fn check(&self, path: &Path) -> std::result::Result<(), String> {
        match Source::of(path).as_ref() == Ok(self) {
            true => Ok(()),
            false => Err("it was changed while it was read".into()),
        }
    }

    /// Whether a file is still what it was; where it is does not matter.
    pub fn is_same(&self, other: &Source) -> bool {
        (self.bytes, self.modified) == (other.bytes, other.modified)
    }
}

/// A clip that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Relative to the manifest's folder.
    pub output: String,
    pub output_bytes: u64,
    /// Of an encoded clip: frames of its file, before filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decoded: Option<u64>,
    /// Frames that were encoded or decoded.
    pub frames: u64,
    pub latents: u64,
    pub width: usize,
    pub height: usize,
    /// Of tiles, in which frames were processed that need more memory than there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Result {
    Done(Done),
    Failed { error: String },
}

/// What became of a clip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub key: String,
    pub source: Source,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    #[serde(flatten)]
    pub result: Result,
    /// That the clip took, with waiting for memory.
    pub seconds: f64,
}

impl Row {
    pub fn is_done(&self) -> bool {
        matches!(self.result, Result::Done(_))
    }
}

/// A shard that is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// The file, relative to the manifest's folder.
    pub shard: String,
    pub bytes: u64,
    /// Of its clips, in their order.
    pub keys: Vec<String>,
}

/// A line after the first one.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Line<'a> {
    Clip(&'a Row),
    Shard(&'a Shard),
}

/// The same, when it is read.
#[derive(Deserialize)]
#[serde(untagged)]
enum ReadLine {
    Clip(Box<Row>),
    Shard(Shard),
}

/// What earlier runs of a job have recorded.
#[derive(Default)]
pub struct Recorded {
    /// The last row of each clip. Of one that is in a shard, the last one that says that it is done.
    pub rows: HashMap<String, Row>,
    pub shards: Vec<Shard>,
    /// Lines that cannot be read. A power loss may leave anything in those that were not on the disk yet.
    damaged: u64,
}

/// The manifest of the job that is running, which no other process can write to.
pub struct Manifest {
    path: PathBuf,
    file: File,
}

impl Manifest {
    /// Starts or goes on with a manifest.
    pub fn open(folder: &Path, job: &Job, resume: bool) -> std::result::Result<(Self, Recorded), String> {
        let path = folder.join(NAME);
        let named = |text: String| format!("{}: {text}", path.display());
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let mut manifest = Manifest { file: file.map_err(|e| named(e.to_string()))?, path: path.clone() };
        manifest.lock().map_err(named)?;
        let job_line = line(job).map_err(named)?;
        match manifest.read(&job_line, job, resume).map_err(named)? {
            Some(found) => {
                if found.damaged > 0 {
                    tell(format_args!(
                        "wfvae-batch: lines of the manifest are damaged, {}: their clips are processed again",
                        found.damaged
                    ));
                    manifest.drop_damaged().map_err(named)?;
                }
                Ok((manifest, found))
            }
            None => {
                manifest.file.set_len(0).map_err(|e| named(e.to_string()))?;
                manifest.write(&job_line).map_err(named)?;
                files::sync_folder(folder);
                Ok((manifest, Recorded::default()))
            }
        }
    }

    /// Appends lines, which are on the disk when this returns.
    pub fn append(&mut self, lines: &[Line<'_>]) -> std::result::Result<(), String> {
        let text = lines.iter().map(line).collect::<std::result::Result<String, _>>();
        text.and_then(|text| self.write(&text)).map_err(|text| format!("{}: {text}", self.path.display()))
    }

    pub fn bytes(&self) -> std::result::Result<u64, String> {
        let metadata = self.file.metadata().map_err(|e| format!("{}: {e}", self.path.display()))?;
        Ok(metadata.len())
    }

    fn write(&mut self, text: &str) -> std::result::Result<(), String> {
        self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data()).map_err(|e| e.to_string())
    }

    fn lock(&self) -> std::result::Result<(), String> {
        match self.file.try_lock() {
            // The job that wrote it may have replaced it since it was opened, and may go on.
            Ok(()) if self.is_replaced().unwrap_or(true) => Err("another job is writing it".into()),
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err("another job is writing it".into()),
            Err(TryLockError::Error(e)) => Err(format!("it cannot be locked: {e}")),
        }
    }

    fn is_replaced(&self) -> std::io::Result<bool> {
        Ok(Handle::from_file(self.file.try_clone()?)? != Handle::from_path(&self.path)?)
    }

    /// `None`: there is nothing in it yet.
    fn read(&mut self, job_line: &str, job: &Job, resume: bool) -> std::result::Result<Option<Recorded>, String> {
        let mut lines = self.lines().map_err(|e| e.to_string())?;
        let first = match lines.next() {
            Some(first) => first.map_err(|e| e.to_string())?,
            None => return Ok(None),
        };
        // What a power loss left of the first line.
        if !first.ends_with(b"\n") && job_line.as_bytes().starts_with(&first) {
            return Ok(None);
        }
        if !resume {
            return Err("it is there already: add --resume to go on with its job, or choose another folder".into());
        }
        let found = serde_json::from_slice::<Job>(&first).ok().filter(|found| found.format == FORMAT);
        check_same(&found.ok_or("it is not a manifest of wfvae-batch, choose another folder")?, job)?;
        let mut found = Recorded::default();
        // Of clips that are in shards.
        let mut keys = HashSet::new();
        for line in lines {
            match parse(&line.map_err(|e| e.to_string())?) {
                Some(ReadLine::Clip(row)) if keys.contains(&row.key) && matches!(row.result, Result::Failed { .. }) => {
                }
                Some(ReadLine::Clip(row)) => {
                    found.rows.insert(row.key.clone(), *row);
                }
                Some(ReadLine::Shard(shard)) => {
                    keys.extend(shard.keys.iter().cloned());
                    found.shards.push(shard);
                }
                None => found.damaged += 1,
            }
        }
        Ok(Some(found))
    }

    /// With their ends, which the last one of a process that was killed may lack. One that is too long is damaged, and comes as an empty
    /// one.
    fn lines(&mut self) -> std::io::Result<impl Iterator<Item = std::io::Result<Vec<u8>>>> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(&mut self.file);
        Ok(std::iter::from_fn(move || match lines::next(&mut reader, LONGEST).transpose()? {
            Ok(Ok(line)) => Some(Ok(line)),
            Ok(Err(TooLong)) => Some(reader.skip_until(b'\n').map(|_| vec![])),
            Err(e) => Some(Err(e)),
        }))
    }

    /// Replaces the manifest by one without lines that nobody can read, so that others read all of it.
    fn drop_damaged(&mut self) -> std::result::Result<(), String> {
        let path = self.path.clone();
        let lines = self.lines().map_err(|e| e.to_string())?;
        let write = |out: &mut BufWriter<&File>| {
            for (number, line) in lines.enumerate() {
                let line = line?;
                if number == 0 || parse(&line).is_some() {
                    out.write_all(&line)?;
                }
            }
            Ok(())
        };
        // Nobody else may lock it as soon as it has its name.
        let replaced = files::replace(&path, write, |file| file.try_lock().map_err(std::io::Error::from));
        self.file = replaced.map_err(|e| e.to_string())?;
        Ok(())
    }
}

fn line(value: &impl Serialize) -> std::result::Result<String, String> {
    serde_json::to_string(value).map(|text| text + "\n").map_err(|e| e.to_string())
}

fn parse(line: &[u8]) -> Option<ReadLine> {
    serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
}

fn check_same(found: &Job, job: &Job) -> std::result::Result<(), String> {
    if found == job {
        return Ok(());
    }
    match (&found.task, &job.task) {
        (Task::Encode(_), Task::Decode(_)) => return Err("it is of a job that encodes; choose another folder".into()),
        (Task::Decode(_), Task::Encode(_)) => return Err("it is of a job that decodes; choose another folder".into()),
        _ => {}
    }
    let fields = |job: &Job| match serde_json::to_value(job) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (found, wanted) = (fields(found), fields(job));
    let differs: Vec<_> = wanted
        .iter()
        .filter(|(name, value)| found.get(*name) != Some(value))
        .map(|(name, value)| {
            format!("{name} is {}, this job's {value}", found.get(name).unwrap_or(&serde_json::Value::Null))
        })
        .collect();
    Err(format!("it is of another job: {}; choose another folder", differs.join("; ")))
}
