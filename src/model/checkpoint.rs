//! Safetensors files of one checkpoint, memory-mapped, looked up by tensor name.

use super::Config;
use crate::error::{Result, fail};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";
/// Taken, in this order, when a folder holds several safetensors files and no index.
const PREFERRED: [&str; 2] = ["diffusion_pytorch_model.safetensors", "model.safetensors"];
const MAX_JSON_BYTES: u64 = 64 << 20;

/// The element types that weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WeightType {
    F32,
    F16,
    Bf16,
}

enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

struct TensorEntry {
    file: usize,
    dtype: WeightType,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// All tensors of a checkpoint by name. Reading converts to float32; nothing is kept twice.
pub(crate) struct Checkpoint {
    name: String,
    files: Vec<(PathBuf, Bytes)>,
    tensors: HashMap<String, TensorEntry>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and weights, or a weights file with `config.json` beside it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Config)> {
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(e) => fail!(Io, "checkpoint {}: {e}", path.display()),
        };
        let is_folder = meta.is_dir();
        let folder = if is_folder { path } else { path.parent().unwrap_or(Path::new(".")) };
        if !is_folder {
            refuse_pickle(path)?;
        }
        let config_path = folder.join("config.json");
        let config = Config::parse(&read_json(&config_path)?, &config_path)?;
        let files = if is_folder { weight_files(folder)? } else { WeightFiles::One(path.to_path_buf()) };

        let mut checkpoint = Checkpoint { name: path.display().to_string(), files: vec![], tensors: HashMap::new() };
        match files {
            WeightFiles::One(file) => checkpoint.add_file(file)?,
            WeightFiles::Sharded { index, shards } => {
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
        Ok((checkpoint, config))
    }

    /// Weights that are part of the program.
    pub(crate) fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        let mut checkpoint = Checkpoint { name: name.into(), files: vec![], tensors: HashMap::new() };
        checkpoint.add(PathBuf::from(name), Bytes::Static(bytes))?;
        Ok(checkpoint)
    }

    /// Where the weights come from, for messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The weights' files; none of a model that is part of the program.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter(|(_, bytes)| matches!(bytes, Bytes::Mapped(_))).map(|(path, _)| path.as_path())
    }

    fn add_file(&mut self, path: PathBuf) -> Result<()> {
        // Opening a pipe would wait for its writer.
        if std::fs::metadata(&path).is_ok_and(|meta| !meta.is_file()) {
            fail!(Io, "{}: not a file", path.display());
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) => fail!(Io, "{}: {e}", path.display()),
        };
        if file.metadata().is_ok_and(|m| m.len() == 0) {
            fail!(Checkpoint, "{}: the file is empty", path.display());
        }
        // SAFETY: the map is read only. A file that another program truncates later faults, as with any mapped file;
        // the header says not to touch a checkpoint in use.
        let map = match unsafe { Mmap::map(&file) } {
            Ok(map) => map,
            Err(e) => fail!(Io, "{}: {e}", path.display()),
        };
        self.add(path, Bytes::Mapped(map))
    }

    fn add(&mut self, path: PathBuf, bytes: Bytes) -> Result<()> {
        let data = bytes.as_slice();
        let parsed = match SafeTensors::deserialize(data) {
            Ok(parsed) => parsed,
            Err(e) => fail!(Checkpoint, "{}: {}", path.display(), explain_damage(data, &e)),
        };
        let base = data.as_ptr() as usize;
        for (key, view) in parsed.iter() {
            let dtype = match view.dtype() {
                Dtype::F32 => WeightType::F32,
                Dtype::F16 => WeightType::F16,
                Dtype::BF16 => WeightType::Bf16,
                other => {
                    fail!(Checkpoint, "{}: tensor {key}: found {other:?}, expected F32, F16 or BF16", path.display())
                }
            };
            let start = view.data().as_ptr() as usize - base;
            let entry = TensorEntry {
                file: self.files.len(),
                dtype,
                shape: view.shape().to_vec(),
                range: start..start + view.data().len(),
            };
            if self.tensors.insert(key.to_string(), entry).is_some() {
                fail!(Checkpoint, "{}: tensor {key} is in another shard as well", path.display());
            }
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

    /// A tensor as it is stored.
    pub(super) fn bytes(&self, key: &str) -> &[u8] {
        let entry = &self.tensors[key];
        &self.files[entry.file].1.as_slice()[entry.range.clone()]
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
        let bytes = self.bytes(key);
        match self.tensors[key].dtype {
            WeightType::F32 => copy_blocks(bytes, first, stride, block, out, f32::from_le_bytes),
            WeightType::F16 => copy_blocks(bytes, first, stride, block, out, |b| f16::from_le_bytes(b).to_f32()),
            WeightType::Bf16 => copy_blocks(bytes, first, stride, block, out, |b| bf16::from_le_bytes(b).to_f32()),
        }
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
        let mut tap = vec![0.0; out.len() / taps];
        let block = c_in * height * width;
        for t in 0..taps {
            self.read_tap(key, t, &mut tap);
            for o in 0..c_out {
                out[(o * taps + t) * block..][..block].copy_from_slice(&tap[o * block..][..block]);
            }
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
        let mut whole = vec![0.0; c_in * taps * places];
        for (row, out) in rows.zip(out.chunks_exact_mut(c_in * places)) {
            let (tap, channel) = (row / c_out, row % c_out);
            self.read_rows(key, channel..channel + 1, &mut whole);
            for (out, from) in out.chunks_exact_mut(places).zip(whole.chunks_exact(taps * places)) {
                out.copy_from_slice(&from[tap * places..][..places]);
            }
        }
    }

    /// What a [Cout, Cin, 3, 3] kernel comes to, as [Cout, Cin, 2, 2], for the pixels at `phase` (y, x) of the 2x2 blocks
    /// that repeat one pixel: taps that fall on the same one are summed.
    pub(crate) fn read_phase(&self, key: &str, phase: [usize; 2], out: &mut [f32]) {
        let mut kernels = vec![0.0; out.len() / 4 * 9];
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
    }

    /// Gives mapped pages back to the system, which reads them again if they are needed again.
    pub(crate) fn release_pages(&self) {
        for (_, bytes) in &self.files {
            if let Bytes::Mapped(map) = bytes {
                // SAFETY: the map is read only, so its pages are the file's. A refusal costs memory only.
                let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            }
        }
    }

    /// Fails at the first tensor that holds a NaN or an infinity.
    pub(crate) fn check_finite(&self) -> Result<()> {
        for (key, entry) in &self.tensors {
            let bytes = self.bytes(key);
            let found = match entry.dtype {
                WeightType::F32 => first_not_finite(bytes, f32::from_le_bytes),
                WeightType::F16 => first_not_finite(bytes, |b| f16::from_le_bytes(b).to_f32()),
                WeightType::Bf16 => first_not_finite(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            };
            if let Some((index, value)) = found {
                let file = self.file_of(key);
                fail!(Checkpoint, "{file}: tensor {key}: element {index} is {value}, expected a finite number");
            }
        }
        self.release_pages();
        Ok(())
    }
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Static(bytes) => bytes,
        }
    }
}

fn first_not_finite<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Option<(usize, f32)> {
    let values = bytes.chunks_exact(N).map(|b| convert(b.try_into().expect("chunks of N bytes")));
    values.enumerate().find(|(_, value)| !value.is_finite())
}

fn copy_blocks<const N: usize>(
    bytes: &[u8],
    first: usize,
    stride: usize,
    block: usize,
    out: &mut [f32],
    convert: impl Fn([u8; N]) -> f32,
) {
    if block == 0 {
        return;
    }
    for (source, target) in bytes.chunks_exact(stride * N).zip(out.chunks_exact_mut(block)) {
        let source = &source[first * N..(first + block) * N];
        for (element, value) in source.chunks_exact(N).zip(target) {
            *value = convert(element.try_into().expect("chunks of N bytes"));
        }
    }
}

enum WeightFiles {
    One(PathBuf),
    Sharded { index: PathBuf, shards: Vec<(String, Vec<String>)> },
}

fn weight_files(folder: &Path) -> Result<WeightFiles> {
    let index = folder.join(INDEX);
    if index.exists() {
        let shards = read_index(&index)?;
        return Ok(WeightFiles::Sharded { index, shards });
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) => fail!(Io, "{}: {e}", folder.display()),
    };
    let names: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    let found: Vec<&PathBuf> = names.iter().filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
    let preferred = PREFERRED.iter().map(|name| folder.join(name)).find(|p| p.exists());
    match (preferred, found.as_slice()) {
        (Some(file), _) => Ok(WeightFiles::One(file)),
        (None, [one]) => Ok(WeightFiles::One((*one).clone())),
        (None, []) => {
            for path in &names {
                refuse_pickle(path)?;
            }
            fail!(Io, "{}: no *.safetensors file in this folder", folder.display())
        }
        (None, several) => fail!(
            Checkpoint,
            "{}: {} safetensors files, no {INDEX} and none named {} or {}; name the file to open",
            folder.display(),
            several.len(),
            PREFERRED[0],
            PREFERRED[1]
        ),
    }
}

/// The shards of a Hugging Face index with the keys that it places in each.
fn read_index(index: &Path) -> Result<Vec<(String, Vec<String>)>> {
    let json: serde_json::Value = match serde_json::from_slice(&read_json(index)?) {
        Ok(json) => json,
        Err(e) => fail!(Checkpoint, "{}: {e}", index.display()),
    };
    let Some(map) = json.get("weight_map").and_then(|m| m.as_object()) else {
        fail!(Checkpoint, "{}: no \"weight_map\" object", index.display());
    };
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, file) in map {
        // A plain name: an index must not reach outside its folder.
        let plain = file.as_str().filter(|f| Path::new(f).file_name().is_some_and(|name| name == *f));
        let Some(file) = plain else {
            fail!(
                Checkpoint,
                "{}: tensor {key}: found {file}, expected the name of a file in this folder",
                index.display()
            );
        };
        shards.entry(file.to_string()).or_default().push(key.clone());
    }
    if shards.is_empty() {
        fail!(Checkpoint, "{}: \"weight_map\" names no tensor", index.display());
    }
    Ok(shards.into_iter().collect())
}

fn refuse_pickle(path: &Path) -> Result<()> {
    let pickle = ["ckpt", "pt", "pth", "bin"];
    if path.extension().and_then(|e| e.to_str()).is_some_and(|e| pickle.contains(&e)) {
        fail!(
            Checkpoint,
            "{}: a PyTorch pickle, which this library does not read; convert it with training/convert.py, or in Python: \
             state_dict = torch.load(\"{}\", weights_only=True); \
             safetensors.torch.save_file(state_dict, \"model.safetensors\")",
            path.display(),
            path.file_name().unwrap_or_default().display()
        );
    }
    Ok(())
}

fn read_json(path: &Path) -> Result<Vec<u8>> {
    let size = match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => fail!(Io, "{}: not a file", path.display()),
        Ok(meta) => meta.len(),
        Err(e) => fail!(Io, "{}: {e}", path.display()),
    };
    if size > MAX_JSON_BYTES {
        fail!(Config, "{}: {size} bytes, more than any such file has", path.display());
    }
    match std::fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(e) => fail!(Io, "{}: {e}", path.display()),
    }
}

/// safetensors reports a damaged file without numbers; find the tensor and say what does not fit.
fn explain_damage(data: &[u8], error: &SafeTensorError) -> String {
    let header = data.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    let Some(header) = header else { return format!("found {} bytes, expected a safetensors header", data.len()) };
    let available = data.len() as u64 - 8;
    if header > available {
        return format!("truncated, or not safetensors: the header is {header} bytes, {available} are there");
    }
    let json = serde_json::from_slice::<serde_json::Value>(&data[8..8 + header as usize]);
    let Some(tensors) = json.ok().and_then(|j| j.as_object().cloned()) else { return error.to_string() };
    let available = available - header;
    for (key, info) in tensors.iter().filter(|(key, _)| *key != "__metadata__") {
        let offsets = info.get("data_offsets").and_then(|o| Some((o.get(0)?.as_u64()?, o.get(1)?.as_u64()?)));
        let Some((start, end)) = offsets else { return format!("tensor {key}: no valid data_offsets") };
        if end > available || start > end {
            return format!(
                "truncated or damaged: tensor {key} is at bytes {start}..{end}, found {available} bytes of data"
            );
        }
        let shape = info.get("shape").and_then(|s| s.as_array());
        let elements = shape.and_then(|s| s.iter().try_fold(1u64, |n, d| n.checked_mul(d.as_u64()?)));
        let size = match info.get("dtype").and_then(|d| d.as_str()) {
            Some("F32") => 4,
            Some("F16" | "BF16") => 2,
            _ => continue,
        };
        let Some(elements) = elements else {
            return format!("tensor {key}: found {} bytes, and no shape that a tensor can have", end - start);
        };
        if elements.checked_mul(size) != Some(end - start) {
            return format!("tensor {key}: found {} bytes, its shape and type need {elements} x {size}", end - start);
        }
    }
    error.to_string()
}
