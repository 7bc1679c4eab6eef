//! Which clips are left to process, by what the manifest says of them.

use crate::clips::Clip;
use crate::manifest::{Result as Outcome, Row, Shard, Source};
use crate::outputs::{self, Names};
use crate::shards::{self, State};
use crate::times::seconds;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A clip to process.
pub struct Work {
    /// Among all clips of the job.
    pub index: usize,
    pub clip: Clip,
    /// Why it cannot be.
    pub refusal: Option<String>,
}

pub struct ToDo {
    pub left: Vec<Work>,
    /// How many clips are done already.
    pub done: usize,
    /// Of the clips that are done already, for shards.
    pub states: BTreeMap<usize, State>,
    /// Of clips that the manifest calls done, which does not hold any more.
    pub stale: Vec<Row>,
}

pub fn find(clips: Vec<Clip>, mut rows: HashMap<String, Row>, finished: &[Shard], names: Names, folder: &Path) -> ToDo {
    let in_shards = shards::keys(finished);
    let mut found = ToDo { left: vec![], done: 0, states: BTreeMap::new(), stale: vec![] };
    for (index, clip) in clips.into_iter().enumerate() {
        let recorded = rows.remove(&clip.key);
        let row = recorded.as_ref().filter(|row| is_of(row, &clip));
        let in_shard = in_shards.contains(clip.key.as_str());
        match row {
            Some(_) if in_shard => {
                found.states.insert(index, State::Left);
                found.done += 1;
            }
            Some(row) if has_output(row, &names.of(&clip.key), folder) => {
                found.states.insert(index, State::Waiting(row.clone().into()));
                found.done += 1;
            }
            _ => {
                let refusal = in_shard.then(|| {
                    "other latents of it are in a shard, which is not changed: its file or the part that is asked for has \
                     changed; give it another key, or begin again in another folder"
                        .into()
                });
                if !in_shard {
                    found.stale.extend(recorded.filter(|row| matches!(row.result, Outcome::Done(_))));
                }
                found.left.push(Work { index, clip, refusal });
            }
        }
    }
    found
}

/// Whether a row is of the same part of the same file, which may be in another place, and tells that it is done.
fn is_of(row: &Row, clip: &Clip) -> bool {
    let Outcome::Done(done) = &row.result else { return false };
    let same_part = (row.start, row.end) == (clip.start.map(seconds), clip.end.map(seconds));
    let same_frames = clip.expect_frames.is_none_or(|expected| Some(expected) == done.decoded);
    let same_source = Source::of(&clip.path).is_ok_and(|source| source.is_same(&row.source));
    same_part && same_frames && same_source
}

fn has_output(row: &Row, name: &str, folder: &Path) -> bool {
    let Outcome::Done(done) = &row.result else { return false };
    // A manifest that somebody changed may name any file.
    done.output == name && outputs::size(&folder.join(&done.output)) == Some(done.output_bytes)
}
