//! Tar files of latents, as webdataset reads them: `KEY.safetensors` and `KEY.json` of one clip after the other.
//!
//! A clip's latents wait as a file of their own, which the manifest records, until a shard is full. Then they are copied to the shard,
//! the shard is recorded, and only then the files are deleted: so a job that is killed loses no clip that is done. Clips come in the
//! order of their keys, whichever are done first, so that shards do not depend on the number of jobs.

use crate::files;
use crate::manifest::{Done, Encode, Line, Manifest, Result as Outcome, Row, Shard};
use crate::outputs::{self, Names};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufWriter, Error, Write};
use std::path::{Path, PathBuf};

/// A tar file consists of blocks.
const BLOCK: u64 = 512;
/// Two empty ones end it.
const END: u64 = 2 * BLOCK;
/// Names that are longer take blocks of their own.
const NAME_BYTES: usize = 100;

pub struct Shards {
    folder: PathBuf,
    limit: u64,
    about: About,
    finished: Vec<Shard>,
    /// Of each clip in the order of their keys, from `next` on.
    states: BTreeMap<usize, State>,
    next: usize,
    clips: usize,
    /// What comes into the shard that is not full yet, and its size.
    members: Vec<Member>,
    bytes: u64,
}

/// What all latents of the job have in common.
pub struct About {
    pub model: String,
    pub encode: Encode,
}

/// A clip that has come to its end; one that has not has no state.
pub enum State {
    Waiting(Box<Row>),
    /// It is in a shard already, or has failed.
    Left,
}

struct Member {
    key: String,
    name: String,
    file: PathBuf,
    bytes: u64,
    json: String,
}

/// What `KEY.json` tells of a clip: its row, and the job's.
#[derive(Serialize)]
struct Sample<'a> {
    key: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded: Option<u64>,
    frames: u64,
    latents: u64,
    width: usize,
    height: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    fps: Option<&'a str>,
    model: &'a str,
    encoder: &'a str,
    posterior: &'a str,
    scaled: bool,
    latent_type: &'a str,
}

/// The index of wids, the part of webdataset that reads samples in any order.
#[derive(Serialize)]
struct Index<'a> {
    __kind__: &'a str,
    wids_version: u32,
    shardlist: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    url: &'a str,
    nsamples: usize,
    filesize: u64,
}

impl Shards {
    /// `states`: of the clips that need no encoding.
    pub fn open(
        folder: &Path,
        limit: u64,
        about: About,
        finished: Vec<Shard>,
        states: BTreeMap<usize, State>,
        clips: usize,
    ) -> Result<Self, String> {
        for shard in &finished {
            let found = std::fs::metadata(folder.join(&shard.shard)).map(|found| found.len());
            if found.as_ref().ok() != Some(&shard.bytes) {
                return Err(format!(
                    "{}: {}, and it had {} clips: put it back, or begin again in another folder",
                    folder.join(&shard.shard).display(),
                    found.map_or_else(|e| e.to_string(), |bytes| format!("it has {bytes} bytes, not {}", shard.bytes)),
                    shard.keys.len()
                ));
            }
            // A job may have been killed before they were deleted.
            shard.keys.iter().for_each(|key| remove(folder, &Names::Waiting.of(key)));
        }
        // One that is not recorded is written again, or with other clips.
        let _ = std::fs::remove_file(folder.join(outputs::shard(finished.len())));
        let folder = folder.to_path_buf();
        let shards = Shards { folder, limit, about, finished, states, next: 0, clips, members: vec![], bytes: 0 };
        shards.write_index()?;
        Ok(shards)
    }

    /// A clip has come to its end, and its row is recorded.
    pub fn add(&mut self, index: usize, row: &Row, manifest: &mut Manifest) -> Result<(), String> {
        let state = match row.result {
            Outcome::Done(_) => State::Waiting(row.clone().into()),
            Outcome::Failed { .. } => State::Left,
        };
        self.states.insert(index, state);
        self.advance(manifest)
    }

    /// All clips have come to their end: what waits becomes the last shard.
    pub fn end(&mut self, manifest: &mut Manifest) -> Result<(), String> {
        self.advance(manifest)?;
        match self.next == self.clips && !self.members.is_empty() {
            true => self.pack(manifest),
            false => Ok(()),
        }
    }

    fn advance(&mut self, manifest: &mut Manifest) -> Result<(), String> {
        while let Some(state) = self.states.remove(&self.next) {
            self.next += 1;
            let State::Waiting(row) = state else { continue };
            let Outcome::Done(done) = &row.result else { continue };
            let member = self.member(&row, done)?;
            let bytes = member.size();
            if !self.members.is_empty() && self.bytes + bytes + END > self.limit {
                self.pack(manifest)?;
            }
            self.bytes += bytes;
            self.members.push(member);
        }
        Ok(())
    }

    fn member(&self, row: &Row, done: &Done) -> Result<Member, String> {
        let About { model, encode } = &self.about;
        let sample = Sample {
            key: &row.key,
            source: &row.source.path,
            start: row.start,
            end: row.end,
            decoded: done.decoded,
            frames: done.frames,
            latents: done.latents,
            width: done.width,
            height: done.height,
            fps: done.fps.as_deref(),
            model,
            encoder: &encode.encoder,
            posterior: &encode.posterior,
            scaled: encode.scaled,
            latent_type: &encode.latent_type,
        };
        Ok(Member {
            key: row.key.clone(),
            name: sample_name(&row.key),
            file: self.folder.join(&done.output),
            bytes: done.output_bytes,
            json: serde_json::to_string(&sample).map_err(|e| e.to_string())? + "\n",
        })
    }

    fn pack(&mut self, manifest: &mut Manifest) -> Result<(), String> {
        let shard = outputs::shard(self.finished.len());
        let path = self.folder.join(&shard);
        let named = |e: std::io::Error| format!("{}: {e}", path.display());
        let write = |file: &mut BufWriter<&File>| {
            let mut tar = tar::Builder::new(file);
            for member in &self.members {
                let latents = File::open(&member.file)?;
                if latents.metadata()?.len() != member.bytes {
                    return Err(Error::other(format!("{} has changed since it was written", member.file.display())));
                }
                append(&mut tar, &format!("{}.safetensors", member.name), member.bytes, latents)?;
                append(&mut tar, &format!("{}.json", member.name), member.json.len() as u64, member.json.as_bytes())?;
            }
            tar.into_inner().map(drop)
        };
        let written = files::replace(&path, write, |_| Ok(())).and_then(|file| file.metadata());
        let bytes = written.map_err(named)?.len();
        let keys = self.members.drain(..).map(|member| member.key).collect();
        self.bytes = 0;
        let shard = Shard { shard, bytes, keys };
        manifest.append(&[Line::Shard(&shard)])?;
        shard.keys.iter().for_each(|key| remove(&self.folder, &Names::Waiting.of(key)));
        self.finished.push(shard);
        self.write_index()
    }

    fn write_index(&self) -> Result<(), String> {
        let index = Index {
            __kind__: "wids-shard-index-v1",
            wids_version: 1,
            shardlist: self
                .finished
                .iter()
                .map(|Shard { shard, bytes, keys }| Entry { url: shard, nsamples: keys.len(), filesize: *bytes })
                .collect(),
        };
        let text = serde_json::to_string_pretty(&index).map_err(|e| e.to_string())? + "\n";
        let path = self.folder.join(outputs::INDEX);
        let written = files::replace(&path, |file| file.write_all(text.as_bytes()), |_| Ok(()));
        written.map(drop).map_err(|e| format!("{}: {e}", path.display()))
    }
}

impl Member {
    /// Bytes that it takes in a tar file.
    fn size(&self) -> u64 {
        let blocks = |bytes: u64| bytes.div_ceil(BLOCK) * BLOCK;
        let head = |name: usize| BLOCK + if name > NAME_BYTES { BLOCK + blocks(name as u64 + 1) } else { 0 };
        let name = |ending: &str| head(self.name.len() + ending.len());
        name(".safetensors") + blocks(self.bytes) + name(".json") + blocks(self.json.len() as u64)
    }
}

/// webdataset takes what follows the first dot of a file's name for the name's ending, so a key's dots are written as URLs have them.
fn sample_name(key: &str) -> String {
    let (folders, name) = key.rsplit_once('/').map_or(("", key), |(folders, name)| (folders, name));
    let name = name.replace('%', "%25").replace('.', "%2E");
    if folders.is_empty() { name } else { format!("{folders}/{name}") }
}

fn append(
    tar: &mut tar::Builder<&mut BufWriter<&File>>,
    name: &str,
    bytes: u64,
    content: impl std::io::Read,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content)
}

/// Removes a file, and its folders up to the job's if nothing else is in them.
fn remove(folder: &Path, name: &str) {
    let path = folder.join(name);
    if std::fs::remove_file(&path).is_err() {
        return;
    }
    let parents = path.ancestors().skip(1).take_while(|parent| *parent != folder);
    // One that is not empty stays.
    for parent in parents {
        if std::fs::remove_dir(parent).is_err() {
            break;
        }
    }
}

/// The keys of all shards.
pub fn keys(shards: &[Shard]) -> HashSet<&str> {
    shards.iter().flat_map(|shard| &shard.keys).map(String::as_str).collect()
}
