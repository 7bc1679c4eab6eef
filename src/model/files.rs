//! Finds the files of a checkpoint. Programs use different names and folders, and users may give a parent folder or a
//! single file.

use super::config::{Config, json, shown};
use super::damage;
use crate::error::{Error, Result, fail, shortened};
use crate::memory;
use crate::platform::{self, Kind};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Preferred names, in this order. An index goes before a single file.
const USUAL: [&str; 2] = ["diffusion_pytorch_model", "model"];
/// How many folders a message lists.
const MOST_NAMED: usize = 5;
/// Those of models have a few kB.
const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// 256 for each tensor that a checkpoint may have.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Each is an open file.
const MAX_SHARDS: usize = 1024;
/// Of refs/main, which holds a hash.
const MAX_REF_BYTES: u64 = 1024;
/// File name extensions of unfinished downloads.
const UNFINISHED: [&str; 9] =
    ["incomplete", "part", "partial", "crdownload", "download", "aria2", "opdownload", "tmp", "lock"];
const PICKLES: [&str; 7] = ["ckpt", "pt", "pth", "bin", "pkl", "pickle", "th"];
const FOREIGN: [&str; 9] = ["gguf", "onnx", "msgpack", "h5", "npz", "zip", "tar", "gz", "distcp"];

pub(super) enum Weights {
    One(PathBuf),
    /// The shards, and for each the tensors that the index assigns to it.
    Sharded {
        index: PathBuf,
        shards: Vec<(String, Vec<String>)>,
    },
}

pub(super) struct Files {
    /// The folder or file that is opened, for messages.
    pub(super) name: PathBuf,
    /// The folder of the shards.
    pub(super) folder: PathBuf,
    pub(super) config: Config,
    pub(super) weights: Weights,
}

/// Finds the config and the weights for a user's path.
pub(super) fn find(path: &Path) -> Result<Files> {
    if path.as_os_str().is_empty() {
        fail!(Io, "checkpoint: the path is empty; name a folder");
    }
    let kind = match platform::kind(path) {
        Ok(Kind::Other) => fail!(Io, "{}: neither a folder nor a file", path.display()),
        Ok(kind) => kind,
        // Such as the name of a model on a hub.
        Err(e) if e.kind() == ErrorKind::NotFound && !path.is_symlink() => {
            let text = "name a folder or a file on this machine, as the library downloads nothing";
            return Err(Error::of_file(&e, format!("checkpoint {}: {e}; {text}", path.display())));
        }
        Err(e) => return Err(cannot_open(path, &e).prefixed("checkpoint")),
    };
    if kind == Kind::Folder {
        let folder = model_folder(path)?;
        let mut config = config_of(&folder)?;
        let weights = weights_of(&folder, &mut config)?;
        return Ok(Files { name: folder.clone(), folder, config, weights });
    }
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if is_index(&name) {
        let weights = Weights::Sharded { index: path.to_path_buf(), shards: read_index(path)? };
        return Ok(Files { name: path.to_path_buf(), config: config_of(&folder)?, folder, weights });
    }
    if name.ends_with(".json") {
        fail!(Checkpoint, "{}: not weights: name the folder, or the *.safetensors file beside it", path.display());
    }
    refuse_pickle(path)?;
    if let Some(count) = shard(&name).filter(|count| *count > 1) {
        fail!(Checkpoint, "{}: one of {count} shards: name the folder or the index (*.index.json)", path.display());
    }
    if !name.ends_with(".safetensors") && !is_there(&folder.join("config.json"))? {
        fail!(Checkpoint, "{}: not weights: name the model's folder, or its *.safetensors file", path.display());
    }
    let config = config_of(&folder)?;
    Ok(Files { name: path.to_path_buf(), folder, config, weights: Weights::One(path.to_path_buf()) })
}

/// "path: why", where a dangling link is called one.
pub(super) fn cannot_open(path: &Path, error: &std::io::Error) -> Error {
    let text = match std::fs::read_link(path) {
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            let target = target.display();
            format!("{}: a link to {target}, which does not exist; is the download finished?", path.display())
        }
        _ => format!("{}: {error}", path.display()),
    };
    Error::of_file(error, text)
}

/// Fails unless a path leads to a regular file. Opening a named pipe would wait for its writer.
pub(super) fn check_is_file(path: &Path) -> Result<()> {
    match platform::kind(path) {
        Ok(Kind::File) => Ok(()),
        Ok(Kind::Folder) => fail!(Io, "{}: a folder, expected a file", path.display()),
        Ok(Kind::Other) => fail!(Io, "{}: not a regular file", path.display()),
        Err(e) => Err(cannot_open(path, &e)),
    }
}

/// What asking for a file found; `None` if no such file can be there. What the system could not tell is an error, as another
/// model might be opened if it passed for no.
pub(super) fn if_there<T>(path: &Path, found: std::io::Result<T>) -> Result<Option<T>> {
    use ErrorKind::{InvalidFilename, IsADirectory, NotADirectory, NotFound};
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) => match e.kind() {
            InvalidFilename | IsADirectory | NotADirectory | NotFound => Ok(None),
            _ => Err(Error::of_file(&e, format!("{}: {e}", path.display()))),
        },
    }
}

/// Whether there is something of this name, also a link that leads nowhere.
fn is_there(path: &Path) -> Result<bool> {
    Ok(if_there(path, path.symlink_metadata())?.is_some())
}

/// Whether a path leads to a folder.
fn is_folder(path: &Path) -> Result<bool> {
    Ok(if_there(path, platform::kind(path))? == Some(Kind::Folder))
}

/// The model's folder: the named one, the `vae` folder of a pipeline, or the current snapshot of a download cache.
fn model_folder(path: &Path) -> Result<PathBuf> {
    let has = |folder: &Path, name: &str| is_there(&folder.join(name));
    let mut folder = path.to_path_buf();
    if is_folder(&folder.join("snapshots"))? && !has(&folder, "config.json")? {
        folder = snapshot(&folder)?;
    }
    let vae = folder.join("vae");
    if has(&vae, "config.json")? && (!has(&folder, "config.json")? || has(&folder, "model_index.json")?) {
        folder = vae;
    }
    Ok(folder)
}

/// The snapshot of a cache folder `models--OWNER--NAME` that its `refs/main` names, or the only snapshot.
fn snapshot(cache: &Path) -> Result<PathBuf> {
    let snapshots = cache.join("snapshots");
    let reference = cache.join("refs/main");
    let is_file = if_there(&reference, platform::kind(&reference))? == Some(Kind::File);
    if is_file && let Some(Ok(hash)) = if_there(&reference, read_up_to(&reference, MAX_REF_BYTES))? {
        let hash = String::from_utf8_lossy(&hash);
        let current = snapshots.join(hash.trim());
        if Path::new(hash.trim()).file_name().is_some_and(|name| name == hash.trim()) && is_folder(&current)? {
            return Ok(current);
        }
    }
    let mut folders = vec![];
    for name in names(&snapshots)? {
        if is_folder(&snapshots.join(&name))? {
            folders.push(name);
        }
    }
    match folders.as_slice() {
        [only] => Ok(snapshots.join(only)),
        [] => fail!(Io, "{}: contains no snapshot; is the download finished?", snapshots.display()),
        several => fail!(
            Io,
            "{}: refs/main names none of its snapshots; name one to open: {}",
            snapshots.display(),
            several.join(", ")
        ),
    }
}

fn config_of(folder: &Path) -> Result<Config> {
    let path = folder.join("config.json");
    if let Err(e) = path.symlink_metadata()
        && e.kind() == ErrorKind::NotFound
    {
        return Err(Error::of_file(&e, format!("{}: {e}; {}", path.display(), instead_of_config(folder))));
    }
    Config::parse(&read_small(&path, MAX_CONFIG_BYTES)?, &path)
}

/// What to do if a folder has no config.
fn instead_of_config(folder: &Path) -> String {
    if let Some(text) = models_below(folder) {
        return text;
    }
    match unfinished(folder) {
        Some(file) => format!("an unfinished download: {}", file.display()),
        None => "a checkpoint is a folder with the model's config.json and *.safetensors".into(),
    }
}

/// The subfolders that the user may have meant.
fn models_below(folder: &Path) -> Option<String> {
    let names = names(folder).unwrap_or_default();
    let inside = |name: &&String| ["config.json", "snapshots"].iter().any(|file| folder.join(name).join(file).exists());
    let models: Vec<String> = names.iter().filter(inside).map(|name| folder.join(name).display().to_string()).collect();
    match models.as_slice() {
        [] => None,
        [one] => Some(format!("open the folder {one} instead")),
        few if few.len() <= MOST_NAMED => Some(format!("open one of the folders {}", few.join(", "))),
        many => {
            let named = many[..MOST_NAMED].join(", ");
            Some(format!("open one of the folders {named} and {} more", many.len() - MOST_NAMED))
        }
    }
}

fn unfinished(folder: &Path) -> Option<PathBuf> {
    let has_ending = |name: &&String, endings: &[&str]| {
        let ending = Path::new(name).extension().and_then(|e| e.to_str());
        ending.is_some_and(|e| endings.contains(&e))
    };
    let here = names(folder).unwrap_or_default();
    if let Some(name) = here.iter().find(|name| has_ending(name, &UNFINISHED)) {
        return Some(folder.join(name));
    }
    // The Hugging Face client's download folder. Lock files stay there after a successful download.
    let cache = folder.join(".cache/huggingface/download");
    let cached = names(&cache).unwrap_or_default();
    cached.iter().find(|name| has_ending(name, &UNFINISHED[..1])).map(|name| cache.join(name))
}

/// The names in a folder, sorted, without hidden files: macOS creates files like `._model.safetensors`.
fn names(folder: &Path) -> Result<Vec<String>> {
    let read = || -> std::io::Result<Vec<_>> { std::fs::read_dir(folder)?.collect() };
    let entries = read().map_err(|e| Error::of_file(&e, format!("{}: {e}", folder.display())))?;
    let names = entries.into_iter().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    Ok(names)
}

/// Whether this is `NAME.safetensors.index.json`, possibly with a variant such as `fp16` in the name.
fn is_index(name: &str) -> bool {
    name.ends_with(".json") && name.contains(".safetensors") && name.contains(".index.")
}

/// Whether a new file of this name in a model's folder could be opened instead of the model's weights, or make the
/// choice ambiguous. `by_folder`: the model was opened by its folder.
pub(super) fn competes(folder: &Path, name: &str, by_folder: bool) -> bool {
    let usual = |name: &str| {
        let end = USUAL.iter().find_map(|base| name.strip_prefix(base));
        end.is_some_and(|end| [".safetensors", ".safetensors.index.json"].contains(&end))
    };
    let weights = name.ends_with(".safetensors") || is_index(name);
    usual(name) || (by_folder && weights && !names(folder).unwrap_or_default().iter().any(|name| usual(name)))
}

/// The number of shards, from the name of one: `NAME-00001-of-00003.safetensors`, possibly with a variant in the name.
fn shard(name: &str) -> Option<u64> {
    let (before, after) = name.rsplit_once("-of-")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    let numbered = before.rsplit_once('-').is_some_and(|(_, n)| n.len() == 5 && n.parse::<u32>().is_ok());
    (numbered && digits.len() == 5).then(|| digits.parse().ok()).flatten()
}

/// Finds the weights in a folder. A file with a preferred name is taken; otherwise there must be exactly one file, or
/// one index with its shards.
fn weights_of(folder: &Path, config: &mut Config) -> Result<Weights> {
    let names = names(folder)?;
    let open = |name: &str| -> Result<Weights> {
        let path = folder.join(name);
        Ok(match is_index(name) {
            true => Weights::Sharded { shards: read_index(&path)?, index: path },
            false => Weights::One(path),
        })
    };
    let usual = USUAL.iter().flat_map(|base| [format!("{base}.safetensors.index.json"), format!("{base}.safetensors")]);
    let usual: Vec<String> = usual.filter(|name| names.contains(name)).collect();
    if let [first, others @ ..] = usual.as_slice() {
        let weights = open(first)?;
        let part = |name: &str| match &weights {
            Weights::Sharded { shards, .. } => shards.iter().any(|(file, _)| file == name),
            Weights::One(_) => false,
        };
        for other in others.iter().filter(|name| !part(name)) {
            config.warn(format!("{}: opening {first} and ignoring {other}", folder.display()));
        }
        return Ok(weights);
    }

    let mut indexed = vec![];
    for index in names.iter().filter(|name| is_index(name)) {
        indexed.extend(read_index(&folder.join(index))?.into_iter().map(|(file, _)| file));
    }
    let is_file = |name: &str| name.ends_with(".safetensors");
    let whole = |name: &String| is_file(name) && shard(name).is_none_or(|count| count == 1) && !indexed.contains(name);
    let found: Vec<String> = names.iter().filter(|name| is_index(name) || whole(name)).cloned().collect();
    match found.as_slice() {
        [one] => open(one),
        [] => fail!(Checkpoint, "{}", instead_of_weights(folder, &names)?),
        several => fail!(
            Checkpoint,
            "{}: {} safetensors files or indexes, none of them named {} or {}; name the one to open: {}",
            folder.display(),
            several.len(),
            USUAL[0],
            USUAL[1],
            several.join(", ")
        ),
    }
}

/// Why a folder has no weights that can be opened. Fails with another kind of error if the files are not at fault.
fn instead_of_weights(folder: &Path, names: &[String]) -> Result<String> {
    if let Some(name) = names.iter().find(|name| name.ends_with(".safetensors")) {
        let file = folder.join(name);
        return Ok(format!("{}: a shard, and its index (*.safetensors.index.json) is missing", file.display()));
    }
    let ending = |name: &&String, endings: &[&str]| {
        Path::new(name).extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e))
    };
    for name in names {
        refuse_pickle(&folder.join(name))?;
    }
    if let Some(file) = unfinished(folder) {
        fail!(Io, "{}: an unfinished download", file.display());
    }
    if let Some(name) = names.iter().find(|name| ending(name, &FOREIGN)) {
        let file = folder.join(name);
        return Ok(format!("{}: this library reads *.safetensors, but the folder has none", file.display()));
    }
    let below = models_below(folder).map(|text| format!("; {text}")).unwrap_or_default();
    fail!(Io, "{}: no *.safetensors file in this folder{below}", folder.display())
}

/// Reads the shards of a Hugging Face index, with the tensors in each.
fn read_index(index: &Path) -> Result<Vec<(String, Vec<String>)>> {
    shards_of(&read_small(index, MAX_INDEX_BYTES)?, index)
}

/// Those that the text of an index names.
pub(super) fn shards_of(text: &[u8], index: &Path) -> Result<Vec<(String, Vec<String>)>> {
    // The parser cannot report that memory is short.
    memory::check_room(text.len() as u64 * 8, "an index of weights")?;
    let json = match json(text) {
        Ok(json) => json,
        Err(text) => fail!(Checkpoint, "{}: {text}", index.display()),
    };
    let Some(map) = json.get("weight_map").and_then(|m| m.as_object()) else {
        fail!(Checkpoint, "{}: no \"weight_map\" object", index.display());
    };
    let mut shards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, file) in map {
        // Only a file name: an index must not refer to other folders.
        let plain = file.as_str().filter(|f| Path::new(f).file_name().is_some_and(|name| name == *f));
        let Some(file) = plain else {
            fail!(
                Checkpoint,
                "{}: tensor {}: found {}, expected the name of a file in this folder",
                index.display(),
                shortened(key.clone()),
                shown(file)
            );
        };
        shards.entry(file.to_string()).or_default().push(key.clone());
    }
    if shards.len() > MAX_SHARDS {
        fail!(Checkpoint, "{}: names {} files, at most {MAX_SHARDS} are allowed", index.display(), shards.len());
    }
    if shards.is_empty() {
        fail!(Checkpoint, "{}: \"weight_map\" names no tensor", index.display());
    }
    Ok(shards.into_iter().collect())
}

fn refuse_pickle(path: &Path) -> Result<()> {
    if path.extension().and_then(|e| e.to_str()).is_some_and(|e| PICKLES.contains(&e)) {
        fail!(
            Checkpoint,
            "{}: {}, or in Python: state_dict = torch.load(\"{}\", weights_only=True); \
             safetensors.torch.save_file(state_dict, \"model.safetensors\")",
            path.display(),
            damage::CONVERT_PICKLE,
            path.file_name().unwrap_or_default().display()
        );
    }
    Ok(())
}

fn read_small(path: &Path, most: u64) -> Result<Vec<u8>> {
    check_is_file(path)?;
    match read_up_to(path, most) {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(size)) => fail!(Config, "{}: {size} bytes, expected at most {most}", path.display()),
        Err(e) => Err(cannot_open(path, &e)),
    }
}

/// The bytes of a file, or its size if that is more than `most`. It may grow meanwhile, and files of the system do not say how large
/// they are.
fn read_up_to(path: &Path, most: u64) -> std::io::Result<std::result::Result<Vec<u8>, u64>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > most {
        return Ok(Err(size));
    }
    let mut bytes = vec![];
    bytes.try_reserve_exact(size as usize)?;
    file.take(most + 1).read_to_end(&mut bytes)?;
    let size = bytes.len() as u64;
    Ok(if size > most { Err(size) } else { Ok(bytes) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn small_files_have_a_largest_size() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("config.json");
        for most in [MAX_CONFIG_BYTES, MAX_INDEX_BYTES, MAX_REF_BYTES] {
            // Sparse: nothing of it is read where it is too large.
            let sized = |bytes: u64| File::create(&path).and_then(|file| file.set_len(bytes)).unwrap();
            sized(most);
            assert_eq!(read_small(&path, most).unwrap().len() as u64, most);
            sized(most + 1);
            let error = read_small(&path, most).unwrap_err();
            assert!(error.text().contains(&format!("{} bytes, expected at most {most}", most + 1)), "{error}");
        }
    }

    /// Files of the system say that they are empty.
    #[test]
    #[cfg(target_os = "linux")]
    fn files_that_do_not_tell_their_size_are_not_read_without_end() {
        let error = read_small(Path::new("/proc/self/maps"), 100).unwrap_err();
        assert!(error.text().contains("101 bytes, expected at most 100"), "{error}");
    }

    #[test]
    fn the_config_and_the_index_are_read_with_their_limits() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model.safetensors.index.json");
        let text = |bytes: u64, text: &str| text.to_string() + &" ".repeat(bytes as usize - text.len());
        std::fs::write(&path, text(MAX_INDEX_BYTES, r#"{"weight_map":{"x":"a"}}"#)).unwrap();
        assert_eq!(read_index(&path).unwrap().len(), 1);
        std::fs::write(&path, text(MAX_INDEX_BYTES + 1, r#"{"weight_map":{"x":"a"}}"#)).unwrap();
        assert!(read_index(&path).unwrap_err().text().contains("67108865 bytes, expected at most 67108864"));
        let path = folder.path().join("config.json");
        std::fs::write(&path, text(MAX_CONFIG_BYTES, "{}")).unwrap();
        config_of(folder.path()).unwrap();
        std::fs::write(&path, text(MAX_CONFIG_BYTES + 1, "{}")).unwrap();
        assert!(config_of(folder.path()).err().unwrap().text().contains("1048577 bytes, expected at most 1048576"));
    }

    #[test]
    fn there_is_a_largest_number_of_shards() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("model.safetensors.index.json");
        let of = |count: usize| {
            let map: BTreeMap<String, String> =
                (0..count).map(|i| (format!("{i}"), format!("{i}.safetensors"))).collect();
            std::fs::write(&path, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
            read_index(&path).map(|shards| shards.len())
        };
        assert_eq!(of(MAX_SHARDS).unwrap(), MAX_SHARDS);
        assert!(of(MAX_SHARDS + 1).unwrap_err().text().contains("names 1025 files, at most 1024 are allowed"));
    }

    #[test]
    fn a_long_reference_of_a_cache_is_ignored() {
        let cache = TempDir::new().unwrap();
        for name in ["snapshots/a", "snapshots/b", "refs"] {
            std::fs::create_dir_all(cache.path().join(name)).unwrap();
        }
        let refers = |bytes: u64| {
            std::fs::write(cache.path().join("refs/main"), format!("{:1$}", "b", bytes as usize)).unwrap();
            snapshot(cache.path()).ok()
        };
        assert_eq!(refers(MAX_REF_BYTES), Some(cache.path().join("snapshots/b")));
        assert_eq!(refers(MAX_REF_BYTES + 1), None);
    }
}
