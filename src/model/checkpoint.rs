//! The safetensors files of one checkpoint. They stay open, and weights are read when needed. Files are not mapped into
//! memory: if another program truncates one, reading it is an error, while a mapping would crash the process.

use super::config::Config;
use super::files::{self, Files, Weights};
use super::mixture::Mixture;
use super::weight_type::WeightType;
use super::{damage, header};
use crate::error::{Error, ErrorKind, Result, fail, shortened};
use crate::memory;
use crate::platform;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes sampled at the start, middle and end of each tensor, to notice changes of a file.
const SAMPLE: usize = 64;

/// Parts that wrappers add to tensor names. Longer ones come first, because "module." ends them.
const WRAPPERS: [&str; 4] = ["_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "module."];

enum Bytes {
    File(OpenFile),
    Static(&'static [u8]),
}

impl Bytes {
    fn read(&self, path: &Path, out: &mut [u8], start: usize) -> Result<()> {
        match self {
            Bytes::Static(bytes) => out.copy_from_slice(&bytes[start..][..out.len()]),
            Bytes::File(open) => {
                platform::read_exact_at(&open.file, out, start as u64).map_err(|e| match e.kind() {
                    std::io::ErrorKind::UnexpectedEof => changed(path),
                    _ => Error::of_file(&e, format!("{}: {e}", path.display())),
                })?
            }
        }
        Ok(())
    }
}

/// The size in bytes, and the time of the last change.
type State = (u64, SystemTime);

struct OpenFile {
    file: File,
    state: State,
}

pub(super) struct TensorEntry {
    file: usize,
    /// As the file names it. Checked only if the network uses the tensor.
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    range: Range<usize>,
}

/// Errors while files were read. Each is of those who were reading then, and of nobody who reads later.
#[derive(Default)]
struct Failures {
    count: u64,
    last: Option<Error>,
}

/// All tensors of a checkpoint by name. Weights are read from the files each time, as float32.
pub(crate) struct Checkpoint {
    name: String,
    files: Vec<(PathBuf, Bytes)>,
    tensors: HashMap<String, TensorEntry>,
    /// Of tensors whose values for the network are made of others.
    mixtures: HashMap<String, Mixture>,
    /// A hash of the samples of all tensors, taken when the files were opened.
    samples: u32,
    failures: Mutex<Failures>,
}

impl Checkpoint {
    /// Opens what `path` names, see [`files`].
    pub(crate) fn open(path: &Path) -> Result<(Self, Config)> {
        let Files { name, folder, config, weights } = files::find(path)?;
        let mut checkpoint = Checkpoint::new(&name.display().to_string());
        match weights {
            Weights::One(file) => checkpoint.add_file(file)?,
            Weights::Sharded { index, shards } => {
                for shard in shards.iter().map(|(file, _)| file) {
                    checkpoint.add_file(folder.join(shard))?;
                }
                for (shard, key) in shards.iter().flat_map(|(shard, keys)| keys.iter().map(move |k| (shard, k))) {
                    if !checkpoint.tensors.contains_key(key) {
                        let key = shortened(key.clone());
                        fail!(Checkpoint, "{}: names tensor {key} in {shard}, which does not hold it", index.display());
                    }
                }
            }
        }
        checkpoint.samples = checkpoint.sample();
        checkpoint.check_reads_since(0)?;
        Ok((checkpoint, config))
    }

    fn new(name: &str) -> Self {
        Checkpoint {
            name: name.into(),
            files: vec![],
            tensors: HashMap::new(),
            mixtures: HashMap::new(),
            samples: 0,
            failures: Mutex::default(),
        }
    }

    /// A checkpoint that is compiled into the program.
    pub(crate) fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let mut checkpoint = Checkpoint::new(name);
        checkpoint.add(PathBuf::from(name), bytes.len() as u64, Bytes::Static(bytes))?;
        Ok(checkpoint)
    }

    /// From now on, whoever reads these tensors for the network gets the mixtures.
    pub(super) fn mix(&mut self, mixtures: HashMap<String, Mixture>) {
        self.mixtures = mixtures;
    }

    pub(super) fn mixture(&self, key: &str) -> Option<&Mixture> {
        self.mixtures.get(key)
    }

    /// The checkpoint's name for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The files of the weights; none for a built-in checkpoint.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|(_, bytes)| matches!(bytes, Bytes::File(_))).map(|(path, _)| path.as_path())
    }

    fn add_file(&mut self, path: PathBuf) -> Result<()> {
        // Opening a named pipe would wait for its writer.
        files::check_is_file(&path)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => return Err(files::cannot_open(&path, &e)),
        };
        let state = match file_state(&file) {
            Ok((0, _)) => fail!(Checkpoint, "{}: the file is empty", path.display()),
            Ok(state) => state,
            Err(e) => return Err(Error::of_file(&e, format!("{}: {e}", path.display()))),
        };
        self.add(path, state.0, Bytes::File(OpenFile { file, state }))
    }

    /// `size` is the total size of `bytes`, of which only the header is read.
    fn add(&mut self, path: PathBuf, size: u64, bytes: Bytes) -> Result<()> {
        let what = "the header of a safetensors file";
        let mut start = [0; damage::START];
        let start = &mut start[..damage::START.min(size as usize)];
        bytes.read(&path, start, 0)?;
        let refused = |text: String| {
            let text = damage::instead_of_safetensors(start).unwrap_or(text);
            Error::new(ErrorKind::Checkpoint, format!("{}: {text}", path.display()))
        };
        let length = header::length(start, size).map_err(refused)?;
        // The parser allocates a few times the header's size and cannot report that memory is short.
        memory::check_room(8 * length, what)?;
        let mut header = memory::zeros(length as usize, what)?;
        bytes.read(&path, &mut header, 8)?;
        let entries = header::parse(&header, size).map_err(refused)?;
        if self.tensors.len() + entries.len() > header::MAX_TENSORS {
            fail!(Checkpoint, "{}: with the other shards, {}", path.display(), header::too_many_tensors());
        }
        for header::Entry { key, dtype, shape, range } in entries {
            memory::check("the list of tensors")?;
            let entry = TensorEntry { file: self.files.len(), dtype, shape, range };
            if self.tensors.contains_key(&key) {
                fail!(Checkpoint, "{}: tensor {key} is in another shard as well", path.display());
            }
            self.tensors.insert(key, entry);
        }
        self.files.push((path, bytes));
        Ok(())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor that exists.
    pub(super) fn tensor(&self, key: &str) -> &TensorEntry {
        &self.tensors[key]
    }

    /// The shape of the tensor of that name, if it exists.
    pub(crate) fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|t| t.shape.as_slice())
    }

    /// Checks that this library can read the type of a tensor that the network needs.
    pub(super) fn check_type(&self, key: &str) -> Result<()> {
        match self.tensors.get(key).map(|tensor| &tensor.dtype) {
            Some(dtype) if WeightType::of(dtype).is_none() => {
                fail!(Checkpoint, "{}: tensor {key}: found {dtype}, expected F32, F16, BF16 or F64", self.file_of(key))
            }
            _ => Ok(()),
        }
    }

    /// Whether a tensor holds integers, like counters and other state, and so cannot be a weight.
    pub(super) fn is_integer(&self, key: &str) -> bool {
        let integers = ["BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"];
        self.tensors.get(key).is_some_and(|tensor| integers.contains(&tensor.dtype.as_str()))
    }

    /// The name under which a wrapper stored the tensor `key`.
    pub(super) fn wrapped(&self, key: &str) -> Option<&str> {
        let plain = |name: &str| WRAPPERS.iter().fold(name.to_string(), |name, wrapper| name.replace(wrapper, ""));
        let is = |name: &&str| {
            let name = plain(name);
            name == key || name.strip_suffix(key).is_some_and(|prefix| prefix.ends_with('.'))
        };
        self.keys().filter(is).min()
    }

    /// The size of a tensor in bytes.
    pub(super) fn stored_bytes(&self, key: &str) -> usize {
        self.tensor(key).range.len()
    }

    /// Part of a tensor's bytes as stored.
    pub(super) fn stored(&self, key: &str, range: Range<usize>) -> Vec<u8> {
        let mut bytes = vec![0; range.len()];
        self.read_bytes(self.tensor(key), range.start, &mut bytes);
        bytes
    }

    /// Reads a tensor's bytes from `start` on. Fills `out` with 0 on an error, which `while_unchanged` then returns.
    pub(super) fn read_bytes(&self, tensor: &TensorEntry, start: usize, out: &mut [u8]) {
        let (path, bytes) = &self.files[tensor.file];
        if let Err(e) = bytes.read(path, out, tensor.range.start + start) {
            out.fill(0);
            let mut failures = self.failures.lock();
            failures.count += 1;
            failures.last = Some(e);
        }
    }

    /// Runs `read`, and fails if the files changed between opening them and its end, or could not be read.
    pub(crate) fn while_unchanged<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        let failures = self.failures.lock().count;
        self.check_unchanged(failures)?;
        let result = read();
        self.check_unchanged(failures)?;
        result
    }

    /// Fails if a file could not be read since there were so many failures.
    fn check_reads_since(&self, count: u64) -> Result<()> {
        let failures = self.failures.lock();
        match &failures.last {
            Some(e) if failures.count > count => Err(e.clone()),
            _ => Ok(()),
        }
    }

    /// A file that was renamed, deleted or replaced is still open with the same content. One that was written to is
    /// not. `failures`: how many there were before.
    fn check_unchanged(&self, failures: u64) -> Result<()> {
        for (path, bytes) in &self.files {
            let Bytes::File(open) = bytes else { continue };
            match file_state(&open.file) {
                Ok(state) if state == open.state => {}
                Ok(_) => return Err(changed(path)),
                Err(e) => return Err(Error::of_file(&e, format!("{}: {e}", path.display()))),
            }
        }
        // Timestamps may be too coarse to tell two writes apart, and can be set by programs.
        let samples = self.sample();
        self.check_reads_since(failures)?;
        if samples != self.samples {
            return Err(changed(Path::new(&self.name)));
        }
        Ok(())
    }

    fn sample(&self) -> u32 {
        let mut hash = crc32fast::Hasher::new();
        let mut bytes = [0; SAMPLE];
        for tensor in self.tensors.values().filter(|t| matches!(self.files[t.file].1, Bytes::File(_))) {
            let size = tensor.range.len();
            for start in [0, size / 2, size.saturating_sub(SAMPLE)] {
                let bytes = &mut bytes[..SAMPLE.min(size - start)];
                self.read_bytes(tensor, start, bytes);
                hash.update(bytes);
            }
        }
        hash.finalize()
    }

    /// The file to name in a message about `key`, or the checkpoint if the tensor is missing.
    pub(super) fn file_of(&self, key: &str) -> String {
        match (self.tensors.get(key), self.files.as_slice()) {
            (Some(tensor), files) => files[tensor.file].0.display().to_string(),
            (None, [(only, _)]) => only.display().to_string(),
            (None, _) => self.name.clone(),
        }
    }
}

fn file_state(file: &File) -> std::io::Result<State> {
    let meta = file.metadata()?;
    Ok((meta.len(), meta.modified()?))
}

fn changed(path: &Path) -> Error {
    let text = "changed since it was opened; open it again once no program writes to it";
    Error::new(ErrorKind::Checkpoint, format!("{}: {text}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};
    use std::sync::LazyLock;

    /// A file with one tensor of 4096 bytes after the header: its path, the tensor's offset, and its checkpoint.
    fn small(folder: &tempfile::TempDir) -> (PathBuf, usize, Checkpoint) {
        let path = folder.path().join("model.safetensors");
        let header = br#"{"x":{"dtype":"F32","shape":[1024],"data_offsets":[0,4096]}}"#;
        let start = 8 + header.len();
        std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header, &[0; 4096]].concat()).unwrap();
        let mut checkpoint = Checkpoint::new("model");
        checkpoint.add_file(path.clone()).unwrap();
        checkpoint.samples = checkpoint.sample();
        (path, start, checkpoint)
    }

    #[test]
    fn a_file_that_is_written_to_while_it_is_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _, checkpoint) = small(&folder);
        checkpoint.while_unchanged(|| Ok(())).unwrap();
        let error = checkpoint.while_unchanged(|| {
            File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
            Ok(())
        });
        assert!(error.unwrap_err().text().contains("changed since"));
    }

    /// Either the modification time has changed, or the samples differ if it was set back.
    #[test]
    fn a_byte_that_changed_is_seen() {
        // Windows counts in 100 ns.
        for (offset, later) in [(1000, 100), (1000, 1 << 30), (0, 0), (2050, 0), (4095, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let (path, start, checkpoint) = small(&folder);
            let mut file = File::options().write(true).open(path).unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            file.seek(SeekFrom::Start((start + offset) as u64)).unwrap();
            file.write_all(b"x").unwrap();
            file.set_modified(time + std::time::Duration::from_nanos(later)).unwrap();
            assert!(checkpoint.while_unchanged(|| Ok(())).is_err(), "byte {offset}, {later} ns later");
        }
    }

    /// Each of them may have all that are allowed, but not together.
    #[test]
    fn shards_have_a_largest_number_of_tensors() {
        static SHARDS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
            [0..1, 1..header::MAX_TENSORS, header::MAX_TENSORS..header::MAX_TENSORS + 1].map(|names| {
                let one = |i: usize| format!(r#""{i}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#);
                let header = format!("{{{}}}", names.map(one).collect::<Vec<_>>().join(","));
                [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()
            })
        });
        let mut checkpoint = Checkpoint::new("model");
        let mut add = |i: usize| checkpoint.add("shard".into(), SHARDS[i].len() as u64, Bytes::Static(&SHARDS[i]));
        add(0).unwrap();
        add(1).unwrap();
        let error = add(2).unwrap_err();
        assert!(error.text().contains("shard: with the other shards, more than 262144 tensors"), "{error}");
    }

    /// The header's size was read when the file was opened, but the file is shorter now.
    #[test]
    fn a_file_that_is_cut_while_it_is_opened_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let header = [b"{}".as_slice(), &[b' '; 1 << 16]].concat();
        let whole = [&(header.len() as u64).to_le_bytes(), header.as_slice()].concat();
        for left in [0, 4, 100, whole.len() - 1, whole.len()] {
            std::fs::write(&path, &whole).unwrap();
            let file = File::options().read(true).write(true).open(&path).unwrap();
            let state = file_state(&file).unwrap();
            file.set_len(left as u64).unwrap();
            let mut checkpoint = Checkpoint::new("model");
            let result = checkpoint.add(path.clone(), state.0, Bytes::File(OpenFile { file, state }));
            let text = result.err().map_or(String::new(), |e| e.text().to_string());
            assert!(
                if left < whole.len() { text.contains("changed since") } else { text.is_empty() },
                "{left}: {text}"
            );
        }
    }
}
