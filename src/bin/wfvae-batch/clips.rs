//! Which clips a job has: those of folders, files and lists, each with a key that names its output.

use crate::arguments::FrameArguments;
use crate::lines::{self, LONGEST, TooLong};
use crate::times::{microseconds, seconds};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Component, Path, PathBuf};
use walkdir::WalkDir;

/// Endings of media files that a folder is searched for.
const MEDIA: &[&str] = &[
    "3gp", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "ts", "vob",
    "webm", "wmv", "y4m",
];

const LATENTS: &[&str] = &["safetensors"];

/// Editors of Windows begin UTF-8 with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What the clips of a job are.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// Media files, or parts of them.
    Media(&'a FrameArguments),
    /// Latent files.
    Latents,
}

impl Kind<'_> {
    fn endings(self) -> &'static [&'static str] {
        match self {
            Kind::Media(_) => MEDIA,
            Kind::Latents => LATENTS,
        }
    }
}

/// A media file or a part of one, or a latent file.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// Names the output: a path without an ending, with `/` between folders.
    pub key: String,
    pub path: PathBuf,
    /// Microseconds from the file's start.
    pub start: Option<i64>,
    pub end: Option<i64>,
    /// How many frames it must have.
    pub expect_frames: Option<u64>,
}

/// A line of a list.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_frames: Option<u64>,
}

/// All clips in an order that depends on their keys only.
pub fn find(inputs: &[PathBuf], kind: Kind<'_>) -> Result<Vec<Clip>, String> {
    let mut clips = vec![];
    if let Kind::Media(arguments) = kind {
        check_range(arguments.start, arguments.end)?;
    }
    for input in inputs {
        let found = clips.len();
        add(input, kind, &mut clips).map_err(|text| format!("{}: {text}", input.display()))?;
        if clips.len() == found {
            let what = match kind {
                Kind::Media(_) => "clip",
                Kind::Latents => "latent file (those in shards have to be unpacked)",
            };
            return Err(format!("{}: it names no {what}", input.display()));
        }
    }
    clips.sort_by(|a, b| a.key.cmp(&b.key));
    let mut seen: HashMap<&str, &Clip> = HashMap::new();
    for clip in &clips {
        check_key(&clip.key).map_err(|text| format!("{}: {text}", clip.path.display()))?;
        if let Some(other) = seen.insert(&clip.key, clip) {
            return Err(format!(
                "{} and {} would both be written to {}; give them keys in a list (.jsonl)",
                other.path.display(),
                clip.path.display(),
                clip.key
            ));
        }
    }
    Ok(clips)
}

fn add(input: &Path, kind: Kind<'_>, clips: &mut Vec<Clip>) -> Result<(), String> {
    let found = std::fs::metadata(input).map_err(|e| e.to_string())?;
    if found.is_dir() {
        return add_folder(input, kind, clips);
    }
    match ending(input).as_deref() {
        Some("jsonl") => add_list(input, kind, clips, |line| serde_json::from_str(line).map_err(|e| e.to_string())),
        Some("txt") => add_list(input, kind, clips, |line| {
            Ok(Line { path: line.into(), key: None, start: None, end: None, expect_frames: None })
        }),
        _ => {
            let name = Path::new(input.file_name().unwrap_or_default());
            clips.push(of_options(key_of(name), input.into(), kind));
            Ok(())
        }
    }
}

fn of_options(key: String, path: PathBuf, kind: Kind<'_>) -> Clip {
    match kind {
        Kind::Media(&FrameArguments { start, end, expect_frames, .. }) => Clip { key, path, start, end, expect_frames },
        Kind::Latents => Clip { key, path, start: None, end: None, expect_frames: None },
    }
}

fn add_folder(folder: &Path, kind: Kind<'_>, clips: &mut Vec<Clip>) -> Result<(), String> {
    for entry in WalkDir::new(folder).follow_links(true) {
        let path = match entry {
            Ok(entry) if entry.file_type().is_dir() => continue,
            Ok(entry) => entry.into_path(),
            // A link to a file that is missing is a clip that fails.
            Err(e) => match e.path() {
                Some(path) if e.loop_ancestor().is_none() && path.is_symlink() => path.into(),
                _ => return Err(e.to_string()),
            },
        };
        if ending(&path).is_some_and(|ending| kind.endings().contains(&ending.as_str())) {
            let key = key_of(path.strip_prefix(folder).expect("it is below"));
            clips.push(of_options(key, path, kind));
        }
    }
    Ok(())
}

fn add_list(
    input: &Path,
    kind: Kind<'_>,
    clips: &mut Vec<Clip>,
    parse: impl Fn(&str) -> Result<Line, String>,
) -> Result<(), String> {
    let mut list = BufReader::new(File::open(input).map_err(|e| e.to_string())?);
    let folder = input.parent().unwrap_or(Path::new(""));
    for number in 1.. {
        let named = |text: String| format!("line {number}: {text}");
        let line = match lines::next(&mut list, LONGEST).map_err(|e| e.to_string())? {
            None => break,
            Some(Err(TooLong)) => return Err(named(format!("it is longer than {LONGEST} bytes"))),
            Some(Ok(line)) => line,
        };
        let line = if number == 1 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line) } else { &line };
        let line = std::str::from_utf8(line).map_err(|_| named("it is not UTF-8".into()))?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if !line.trim().is_empty() {
            clips.push(parse(line).and_then(|line| clip_of(line, folder, kind)).map_err(named)?);
        }
    }
    Ok(())
}

/// The clip of a list's line, as JSON.
pub fn parse(line: &str, folder: &Path, kind: Kind<'_>) -> Result<Clip, String> {
    let clip = clip_of(serde_json::from_str(line).map_err(|e| e.to_string())?, folder, kind)?;
    check_key(&clip.key)?;
    Ok(clip)
}

/// Prints lines of a list to standard output, with absolute paths.
pub fn print(clips: &[Clip]) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    for clip in clips {
        let named = |text: String| format!("{}: {text}", clip.path.display());
        let path = std::path::absolute(&clip.path).map_err(|e| named(e.to_string()))?;
        let path = path.into_os_string().into_string();
        let line = Line {
            path: path.map_err(|_| named("its name is not Unicode, which a list has to be".into()))?,
            key: Some(clip.key.clone()),
            start: clip.start.map(seconds),
            end: clip.end.map(seconds),
            expect_frames: clip.expect_frames,
        };
        let text = serde_json::to_string(&line).map_err(|e| e.to_string())?;
        writeln!(out, "{text}").map_err(|e| format!("standard output: {e}"))?;
    }
    out.flush().map_err(|e| format!("standard output: {e}"))
}

fn clip_of(line: Line, folder: &Path, kind: Kind<'_>) -> Result<Clip, String> {
    let Kind::Media(arguments) = kind else {
        if line.start.is_some() || line.end.is_some() || line.expect_frames.is_some() {
            return Err("start, end and expect_frames are for media files; latents are decoded whole".into());
        }
        let key = line.key.unwrap_or_else(|| key_of(Path::new(&line.path)));
        return Ok(of_options(key, folder.join(&line.path), kind));
    };
    let (start, end) = (line.start.map(microseconds).transpose()?, line.end.map(microseconds).transpose()?);
    let key = match line.key {
        Some(key) => key,
        None => {
            let mut key = key_of(Path::new(&line.path));
            // Parts of one file are told apart.
            if start.is_some() || end.is_some() {
                let name = |time: Option<i64>| time.map_or(String::new(), |time| (time / 1000).to_string());
                key = format!("{key}_{}_{}", name(start), name(end));
            }
            key
        }
    };
    let mut clip = of_options(key, folder.join(&line.path), kind);
    (clip.start, clip.end) = (start.or(clip.start), end.or(clip.end));
    check_range(clip.start, clip.end)?;
    if line.expect_frames.is_some() && arguments.frames.is_some() {
        return Err("expect_frames with --frames, of which no frame after the last one is read".into());
    }
    clip.expect_frames = line.expect_frames.or(clip.expect_frames);
    Ok(clip)
}

fn check_range(start: Option<i64>, end: Option<i64>) -> Result<(), String> {
    match (start.unwrap_or(0), end) {
        (start, Some(end)) if end <= start => {
            Err(format!("its end, {} s, is not after its start, {} s", seconds(end), seconds(start)))
        }
        _ => Ok(()),
    }
}

fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

/// A relative path without its ending; of an absolute one, and of one that leads up, only the name. What is not Unicode is replaced.
fn key_of(path: &Path) -> String {
    let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
    let below = path.components().all(|part| matches!(part, Component::Normal(_)));
    let path = if below { path.as_path() } else { Path::new(path.file_name().unwrap_or_default()) };
    let path = path.with_extension("");
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.join("/")
}

fn check_key(key: &str) -> Result<(), String> {
    let relative = key.split('/').all(|part| !matches!(part, "" | "." | "..")) && !key.contains('\0');
    match relative && Path::new(key).is_relative() {
        true => Ok(()),
        false => Err(format!("the key {key:?} is not a path below the output folder")),
    }
}
