//! Safetensors files of one checkpoint, looked up by tensor name. They stay open, and weights are read when they are asked
//! for: a file that another program cuts meanwhile is then an error, where a map of it would end the process.

use super::files::{self, Files, Weights};
use super::{Config, damage, header};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::finite::first_not_finite;
use crate::memory;
use half::{bf16, f16};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes that are read at a time, on the stack.
const BLOCK: usize = 1 << 14;
/// Bytes of each tensor that tell whether a file was written to, at its start, middle and end.
const SAMPLE: usize = 64;

/// The element types that weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightType {
    F64,
    F32,
    F16,
    Bf16,
}

impl WeightType {
    /// By its name in safetensors; `None`: one that no weight of ours has.
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            "F64" => Some(WeightType::F64),
            "F32" => Some(WeightType::F32),
            "F16" => Some(WeightType::F16),
            "BF16" => Some(WeightType::Bf16),
            _ => None,
        }
    }

    /// Bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            WeightType::F64 => 8,
            WeightType::F32 => 4,
            WeightType::F16 | WeightType::Bf16 => 2,
        }
    }
}

/// What programs put between the parts of a name; the last one ends others.
const WRAPPERS: [&str; 4] = ["_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "module."];

enum Bytes {
    File(OpenFile),
    Static(&'static [u8]),
}

impl Bytes {
    fn read(&self, path: &Path, out: &mut [u8], start: usize) -> Result<()> {
        match self {
            Bytes::Static(bytes) => out.copy_from_slice(&bytes[start..][..out.len()]),
            Bytes::File(open) => open.file.read_exact_at(out, start as u64).map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => changed(path),
                _ => Error::of_file(&e, format!("{}: {e}", path.display())),
            })?,
        }
        Ok(())
    }
}

struct OpenFile {
    file: File,
    /// Size in bytes, and time of the last change in seconds and nanoseconds.
    state: (u64, i64, i64),
}

struct TensorEntry {
    file: usize,
    /// As the file names it; looked at when the network needs the tensor.
    dtype: String,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// All tensors of a checkpoint by name. Reading converts to float32; nothing is kept twice.
pub(crate) struct Checkpoint {
    name: String,
    files: Vec<(PathBuf, Bytes)>,
    tensors: HashMap<String, TensorEntry>,
    /// Of all tensors, when the files were opened.
    samples: u32,
    /// Why a file could not be read.
    failure: Mutex<Option<Error>>,
}

impl Checkpoint {
    /// Opens what `path` means, see [`files`].
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
                        fail!(Checkpoint, "{}: names tensor {key} in {shard}, which does not hold it", index.display());
                    }
                }
            }
        }
        checkpoint.samples = checkpoint.sample();
        Ok((checkpoint, config))
    }

    fn new(name: &str) -> Self {
        let (files, tensors) = (vec![], HashMap::new());
        Checkpoint { name: name.into(), files, tensors, samples: 0, failure: Mutex::new(None) }
    }

    /// Weights that are part of the program.
    pub(crate) fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let mut checkpoint = Checkpoint::new(name);
        checkpoint.add(PathBuf::from(name), bytes.len() as u64, Bytes::Static(bytes))?;
        Ok(checkpoint)
    }

    /// Where the weights come from, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The weights' files; none of a model that is part of the program.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|(_, bytes)| matches!(bytes, Bytes::File(_))).map(|(path, _)| path.as_path())
    }

    fn add_file(&mut self, path: PathBuf) -> Result<()> {
        // Opening a pipe would wait for its writer.
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => fail!(Io, "{}: a folder, expected a file", path.display()),
            Ok(meta) if !meta.is_file() => fail!(Io, "{}: not a file", path.display()),
            _ => {}
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => return Err(Error::of_file(&e, files::cannot_open(&path, &e))),
        };
        let state = match file_state(&file) {
            Ok((0, ..)) => fail!(Checkpoint, "{}: the file is empty", path.display()),
            Ok(state) => state,
            Err(e) => fail!(Io, "{}: {e}", path.display()),
        };
        self.add(path, state.0, Bytes::File(OpenFile { file, state }))
    }

    /// `size`: of all `bytes`, of which only the header is read.
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
        // What the parser builds of the header is a few times its size, and it cannot be told that there is no memory.
        memory::check_room(4 * length, what)?;
        let mut header = memory::zeros(length as usize, what)?;
        bytes.read(&path, &mut header, 8)?;
        for header::Entry { key, dtype, shape, range } in header::parse(&header, size).map_err(refused)? {
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

    /// The shape of a tensor, if there is one of that name.
    pub(crate) fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|t| t.shape.as_slice())
    }

    /// A tensor that the network needs has a type that this library reads.
    pub(super) fn check_type(&self, key: &str) -> Result<()> {
        match self.tensors.get(key).map(|tensor| &tensor.dtype) {
            Some(dtype) if WeightType::of(dtype).is_none() => {
                fail!(Checkpoint, "{}: tensor {key}: found {dtype}, expected F32, F16, BF16 or F64", self.file_of(key))
            }
            _ => Ok(()),
        }
    }

    /// Whether a tensor counts something or keeps a wrapper's state, as a layer's weights never do.
    pub(super) fn is_integer(&self, key: &str) -> bool {
        let integers = ["BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"];
        self.tensors.get(key).is_some_and(|tensor| integers.contains(&tensor.dtype.as_str()))
    }

    /// The name that a tensor has instead of `key` because a program wrapped the model or a part of it.
    pub(super) fn wrapped(&self, key: &str) -> Option<&str> {
        let plain = |name: &str| WRAPPERS.iter().fold(name.to_string(), |name, wrapper| name.replace(wrapper, ""));
        let is = |name: &&str| {
            let name = plain(name);
            name == key || name.strip_suffix(key).is_some_and(|prefix| prefix.ends_with('.'))
        };
        self.keys().filter(is).min()
    }

    /// Bytes that a tensor takes.
    pub(super) fn stored_bytes(&self, key: &str) -> usize {
        self.tensors[key].range.len()
    }

    /// Some of a tensor's bytes, as they are stored.
    pub(super) fn stored(&self, key: &str, range: Range<usize>) -> Vec<u8> {
        let mut bytes = vec![0; range.len()];
        self.read_bytes(&self.tensors[key], range.start, &mut bytes);
        bytes
    }

    /// The bytes from `start` of a tensor. What cannot be read is 0, and `while_unchanged` says so.
    fn read_bytes(&self, tensor: &TensorEntry, start: usize, out: &mut [u8]) {
        let (path, bytes) = &self.files[tensor.file];
        if let Err(e) = bytes.read(path, out, tensor.range.start + start) {
            out.fill(0);
            self.failure.lock().get_or_insert(e);
        }
    }

    /// What `read` makes of the weights, if these are those of the opening, before and after.
    pub(crate) fn while_unchanged<T>(&self, read: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check_unchanged()?;
        let result = read();
        self.check_unchanged()?;
        result
    }

    /// A file that was renamed, deleted or replaced by another of its name is still the one that is open, with the same
    /// weights. One that was written to is not.
    fn check_unchanged(&self) -> Result<()> {
        for (path, bytes) in &self.files {
            if let Bytes::File(open) = bytes
                && file_state(&open.file).ok() != Some(open.state)
            {
                return Err(changed(path));
            }
        }
        // A clock may be too coarse to tell two writes apart, and times can be set.
        let samples = self.sample();
        if let Some(failure) = self.failure.lock().clone() {
            return Err(failure);
        }
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

    fn weight_type(&self, key: &str) -> WeightType {
        WeightType::of(&self.tensors[key].dtype).unwrap_or_else(|| unreachable!("checked: {key} has a type of weights"))
    }

    /// The file that a message about `key` should name: the tensor's own, or the checkpoint's for a missing one.
    pub(crate) fn file_of(&self, key: &str) -> String {
        match (self.tensors.get(key), self.files.as_slice()) {
            (Some(tensor), files) => files[tensor.file].0.display().to_string(),
            (None, [(only, _)]) => only.display().to_string(),
            (None, _) => self.name.clone(),
        }
    }

    /// Reads a tensor as float32: of each `stride` elements, the `block` that start at `first`.
    fn read_blocks(&self, key: &str, first: usize, stride: usize, block: usize, out: &mut [f32]) {
        if block == 0 {
            return;
        }
        let tensor = &self.tensors[key];
        let weight_type = self.weight_type(key);
        let width = weight_type.size();
        // As many strides at a time as a block holds, or a part of one.
        let strides = (BLOCK / (stride * width)).max(1);
        let most = if strides > 1 { strides * block } else { block.min(BLOCK / width) };
        let mut buffer = [0; BLOCK];
        let mut done = 0;
        while done < out.len() {
            let (row, column) = (done / block, done % block);
            let count = match strides {
                1 => most.min(block - column),
                _ => most.min(out.len() - done),
            };
            let target = &mut out[done..done + count];
            let block = block.min(count);
            let bytes = &mut buffer[..((count / block - 1) * stride + block) * width];
            self.read_bytes(tensor, (row * stride + first + column) * width, bytes);
            match weight_type {
                WeightType::F64 => copy_blocks(bytes, stride, block, target, |b| f64::from_le_bytes(b) as f32),
                WeightType::F32 => copy_blocks(bytes, stride, block, target, f32::from_le_bytes),
                WeightType::F16 => copy_blocks(bytes, stride, block, target, |b| f16::from_le_bytes(b).to_f32()),
                WeightType::Bf16 => copy_blocks(bytes, stride, block, target, |b| bf16::from_le_bytes(b).to_f32()),
            }
            done += count;
        }
    }

    /// The numbers from `start` on.
    pub(super) fn read_part(&self, key: &str, start: usize, out: &mut [f32]) {
        let n = out.len();
        self.read_blocks(key, start, n, n, out);
    }

    /// The whole tensor, which must have `out.len()` elements.
    pub(crate) fn read(&self, key: &str, out: &mut [f32]) {
        let n = out.len();
        self.read_blocks(key, 0, n, n, out);
    }

    /// Some of the first axis' entries.
    pub(crate) fn read_rows(&self, key: &str, rows: std::ops::Range<usize>, out: &mut [f32]) {
        let tensor = &self.tensors[key];
        let row: usize = tensor.shape[1..].iter().product();
        self.read_blocks(key, rows.start * row, tensor.shape.iter().product(), rows.len() * row, out);
    }

    /// Time tap `tap` of a [Cout, Cin, 3, 3, 3] kernel, as [Cout, Cin, 3, 3].
    pub(crate) fn read_tap(&self, key: &str, tap: usize, out: &mut [f32]) {
        let [.., taps, height, width] = self.tensors[key].shape[..] else { unreachable!("checked: a 3D kernel") };
        self.read_blocks(key, tap * height * width, taps * height * width, height * width, out);
    }

    /// A [Cout, Cin, 3, 3, 3] kernel as [Cout, 3 Cin, 3, 3]: the input channels of its first time tap, then of the others.
    pub(crate) fn read_stacked(&self, key: &str, out: &mut [f32]) {
        let [c_out, c_in, taps, height, width] = self.tensors[key].shape[..] else {
            unreachable!("checked: a 3D kernel")
        };
        let places = height * width;
        for (i, out) in out.chunks_exact_mut(c_in * places).take(c_out * taps).enumerate() {
            let (channel, tap) = (i / taps, i % taps);
            self.read_blocks(key, (channel * c_in * taps + tap) * places, taps * places, places, out);
        }
    }

    /// A [Cout, Cin, 3, 3, 3] kernel as [3 Cout, Cin, 3, 3]: the output channels of its first time tap, then of the others.
    pub(crate) fn read_taps_apart(&self, key: &str, out: &mut [f32]) {
        let taps = self.tensors[key].shape[2];
        let size = out.len() / taps;
        out.chunks_exact_mut(size).enumerate().for_each(|(tap, out)| self.read_tap(key, tap, out));
    }

    /// Some output channels of that.
    pub(crate) fn read_rows_of_taps(&self, key: &str, rows: std::ops::Range<usize>, out: &mut [f32]) {
        let [c_out, c_in, taps, height, width] = self.tensors[key].shape[..] else {
            unreachable!("checked: a 3D kernel")
        };
        let places = height * width;
        for (row, out) in rows.zip(out.chunks_exact_mut(c_in * places)) {
            let (tap, channel) = (row / c_out, row % c_out);
            self.read_blocks(key, (channel * c_in * taps + tap) * places, taps * places, places, out);
        }
    }

    /// What a [Cout, Cin, 3, 3] kernel comes to, as [Cout, Cin, 2, 2], for the pixels at `phase` (y, x) of the 2x2 blocks
    /// that repeat one pixel: taps that fall on the same one are summed.
    pub(crate) fn read_phase(&self, key: &str, phase: [usize; 2], out: &mut [f32]) -> Result<()> {
        let mut kernels = memory::zeros(out.len() / 4 * 9, "weights")?;
        self.read(key, &mut kernels);
        // At the upper (left) pixel of a block the first tap meets the block before, at the lower (right) one the last tap
        // the block after.
        let place = |phase: usize, tap: usize| (phase + tap).div_ceil(2) - phase;
        for (kernel, out) in kernels.chunks_exact(9).zip(out.chunks_exact_mut(4)) {
            out.fill(0.0);
            for (i, weight) in kernel.iter().enumerate() {
                out[place(phase[0], i / 3) * 2 + place(phase[1], i % 3)] += weight;
            }
        }
        Ok(())
    }

    /// Fails at the first of these tensors that holds a NaN or an infinity.
    pub(crate) fn check_finite<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut values = [0.0; BLOCK / size_of::<f32>()];
        for key in keys {
            let numbers = self.tensors[key].shape.iter().product();
            for start in (0..numbers).step_by(values.len()) {
                let part = (numbers - start).min(values.len());
                let values = &mut values[..part];
                self.read_part(key, start, values);
                if let Some(index) = first_not_finite(values) {
                    let (file, value, index) = (self.file_of(key), values[index], start + index);
                    fail!(Checkpoint, "{file}: tensor {key}: element {index} is {value}, expected a finite number");
                }
            }
        }
        Ok(())
    }
}

fn file_state(file: &File) -> std::io::Result<(u64, i64, i64)> {
    file.metadata().map(|meta| (meta.len(), meta.mtime(), meta.mtime_nsec()))
}

fn changed(path: &Path) -> Error {
    let text = "changed since it was opened; open it again, when nobody writes to it any more";
    Error::new(ErrorKind::Checkpoint, format!("{}: {text}", path.display()))
}

/// Of each `stride` elements the first `block`; the last stride may end there.
fn copy_blocks<const N: usize>(
    bytes: &[u8],
    stride: usize,
    block: usize,
    out: &mut [f32],
    convert: impl Fn([u8; N]) -> f32,
) {
    for (source, target) in bytes.chunks(stride * N).zip(out.chunks_exact_mut(block)) {
        let source = &source[..block * N];
        for (element, value) in source.chunks_exact(N).zip(target) {
            *value = convert(element.try_into().expect("chunks of N bytes"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one tensor, 4096 bytes behind its header, and its checkpoint.
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

    /// Either the time tells, to the nanosecond, or the samples do where somebody set it back.
    #[test]
    fn a_byte_that_changed_is_seen() {
        for (place, later) in [(1000, 1), (1000, 1 << 30), (0, 0), (2050, 0), (4095, 0)] {
            let folder = tempfile::tempdir().unwrap();
            let (path, start, checkpoint) = small(&folder);
            let file = File::options().write(true).open(path).unwrap();
            let time = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(b"x", (start + place) as u64).unwrap();
            file.set_modified(time + std::time::Duration::from_nanos(later)).unwrap();
            assert!(checkpoint.while_unchanged(|| Ok(())).is_err(), "byte {place}, {later} ns later");
        }
    }

    /// A header's size is that of the opening, the file is shorter.
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
