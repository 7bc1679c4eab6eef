//! The files of outputs: their names, relative to the job's folder, and what is there of them.

use crate::hash::fnv1a;
use std::fs::FileType;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// The folder of latents that are to come into a shard.
const WAITING: &str = "waiting";
/// Digits of a picture's number.
const DIGITS: usize = 6;
/// Such numbers are more likely dates, of other pictures.
const MOST: u32 = 10_000_000;

/// How a job names its outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Latent files.
    Latents,
    /// Latent files that wait until a shard is full.
    Waiting,
    /// Videos in files with this ending.
    Video(&'static str),
    /// Folders of pictures.
    Pictures,
}

impl Names {
    pub fn of(self, key: &str) -> String {
        match self {
            Names::Latents => format!("{key}.safetensors"),
            Names::Waiting => format!("{WAITING}/{}", Names::Latents.of(key)),
            Names::Video(ending) => format!("{key}.{ending}"),
            Names::Pictures => format!("{key}.frames"),
        }
    }

    /// Removes an output if it is there. What no job of this kind has made stays, and is an error.
    pub fn remove(self, output: &Path) -> Result<()> {
        match std::fs::symlink_metadata(output) {
            Ok(found) if self == Names::Pictures && found.is_dir() => remove_pictures(output),
            Ok(found) if self == Names::Pictures || found.is_dir() => Err(Error::other("something else has this name")),
            Ok(_) => std::fs::remove_file(output),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }
}

/// Of shards.
pub const INDEX: &str = "index.json";

pub fn shard(number: usize) -> String {
    format!("shard-{number:06}.tar")
}

fn picture(number: u32) -> String {
    format!("{number:0DIGITS$}.png")
}

/// The pattern of pictures' names, for ffmpeg.
pub fn pictures() -> String {
    format!("%0{DIGITS}d.png")
}

/// What an output is called until it is complete, if another program writes it: a name that no file system finds too long, beside the
/// output. The same key gets it again, so what a job that was killed left is found.
pub fn unfinished(output: &Path, key: &str) -> PathBuf {
    output.with_file_name(format!(".wfvae-{:016x}.tmp", fnv1a(key.bytes())))
}

/// Bytes of a file, or of all pictures in a folder. `None`: it is not there.
pub fn size(output: &Path) -> Option<u64> {
    let found = std::fs::metadata(output).ok()?;
    if found.is_file() {
        return Some(found.len());
    }
    let files = pictures_in(output).ok()?;
    files.iter().map(|file| Some(std::fs::metadata(file).ok()?.len())).sum()
}

/// Removes what is there of an output that is not complete.
pub fn remove_unfinished(unfinished: &Path) -> Result<()> {
    let kind = if unfinished.is_dir() { Names::Pictures } else { Names::Latents };
    kind.remove(unfinished)
}

/// All or none.
fn remove_pictures(folder: &Path) -> Result<()> {
    let pictures = pictures_in(folder)?;
    if std::fs::read_dir(folder)?.count() != pictures.len() {
        return Err(Error::other("something else than a job's pictures is in this folder"));
    }
    pictures.iter().try_for_each(std::fs::remove_file)?;
    std::fs::remove_dir(folder)
}

/// The pictures that a job has written to a folder.
pub fn pictures_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".png")?.parse().ok());
        let is_ours = number.is_some_and(|number: u32| number < MOST && *name == *picture(number));
        if is_ours && entry.file_type().is_ok_and(|kind: FileType| kind.is_file()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
