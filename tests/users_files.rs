//! Checkpoints as tools write them and as people hand them over: names of files, folders above, half downloads, tensors of
//! other types, fields of other tools. What can be opened is; what cannot is refused by the user's mistake.

mod common;

use common::system::{DEVICE, NOT_FOUND, symlink};
use common::{clip, encode, golden, stream};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use wfvae::{ErrorKind, Graphs, Logger, Model, ModelOptions, Posterior, Stream, StreamOptions};

const CASE: &str = "own-noattn";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const DIFFUSERS: &str = "diffusion_pytorch_model.safetensors";

/// Type, shape and bytes by name, as a safetensors file has them.
type Tensors = BTreeMap<String, (String, Vec<u64>, Vec<u8>)>;

fn golden_file(name: &str) -> Vec<u8> {
    std::fs::read(golden(CASE).join(name)).unwrap()
}

fn golden_tensors() -> Tensors {
    let bytes = golden_file(WEIGHTS);
    let size = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let (header, body) = bytes[8..].split_at(size);
    let mut header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    header.remove("__metadata__");
    let tensor = |info: &Value| {
        let place: Vec<usize> = serde_json::from_value(info["data_offsets"].clone()).unwrap();
        let shape = serde_json::from_value(info["shape"].clone()).unwrap();
        (info["dtype"].as_str().unwrap().to_string(), shape, body[place[0]..place[1]].to_vec())
    };
    header.iter().map(|(key, info)| (key.clone(), tensor(info))).collect()
}

/// A safetensors file, written by hand: the crate does not write types that it does not know.
fn file(tensors: &Tensors) -> Vec<u8> {
    let (mut header, mut body) = (Map::new(), vec![]);
    for (key, (dtype, shape, data)) in tensors {
        let start = body.len();
        body.extend(data);
        header.insert(key.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, body.len()] }));
    }
    with_header(&Value::Object(header).to_string(), &body)
}

fn with_header(header: &str, body: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), body].concat()
}

/// A folder whose files are the given ones; folders between are made.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

fn open(path: &Path) -> wfvae::Result<Model> {
    Model::open(path, &ModelOptions::default())
}

/// The model with its warnings.
fn open_and_listen(path: &Path) -> (wfvae::Result<Model>, Vec<String>) {
    let heard = Arc::new(Mutex::new(vec![]));
    let ears = heard.clone();
    let logger = Logger::new(log::LevelFilter::Warn, move |_, text| ears.lock().unwrap().push(text.to_string()));
    let mut options = ModelOptions::default();
    options.logger = logger;
    let model = Model::open(path, &options);
    let heard = heard.lock().unwrap().clone();
    (model, heard)
}

fn latents(model: &Model) -> Vec<f32> {
    encode(&mut stream(model, 16, 16), &clip(5, 16, 16, 1), &[5])
}

/// As [`open`], where the weights that the network needs must be finite.
fn open_checked(path: &Path) -> wfvae::Result<Model> {
    let mut options = ModelOptions::default();
    options.check_finite = true;
    Model::open(path, &options)
}

/// The path opens the golden model.
#[track_caller]
fn opens(path: &Path) {
    let model = open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(latents(&model) == latents(&common::open(CASE)), "{}: another model", path.display());
}

/// The path is refused; its text has all of `texts`.
#[track_caller]
fn refused(path: &Path, kind: ErrorKind, texts: &[&str]) {
    let error = open(path).err().unwrap_or_else(|| panic!("{} was opened", path.display()));
    // Windows separates folders by either.
    let (found, texts) = (unix(error.text()), texts.iter().map(|text| unix(text)));
    assert!(error.kind() == kind && texts.clone().all(|text| found.contains(&text)), "{kind:?} {texts:?}: {error}");
}

fn unix(text: &str) -> String {
    text.replace(std::path::MAIN_SEPARATOR, "/")
}

/// An index that places every tensor in one of two shards, and the shards.
fn shards(names: [&str; 2]) -> (Vec<u8>, [Vec<u8>; 2]) {
    let all = golden_tensors();
    let first = |key: &str| key.starts_with("encoder");
    let map: Map<String, Value> = all.keys().map(|k| (k.clone(), names[usize::from(!first(k))].into())).collect();
    let (one, two): (Tensors, Tensors) = all.into_iter().partition(|(key, _)| first(key));
    (json!({ "metadata": {}, "weight_map": map }).to_string().into(), [file(&one), file(&two)])
}

#[test]
fn weights_have_any_of_the_usual_names() {
    let (config, weights) = (golden_file(CONFIG), golden_file(WEIGHTS));
    let names = [
        DIFFUSERS,
        WEIGHTS,
        "model.fp16.safetensors",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.bf16.safetensors",
        "diffusion_pytorch_model.non_ema.safetensors",
        "my model, März.safetensors",
        "model-00001-of-00001.safetensors",
        // Numbered, but not as shards are.
        "fold-1-of-00010.safetensors",
        "fold-00001-of-10.safetensors",
    ];
    for name in names {
        let folder = folder(&[(CONFIG, &config), (name, &weights)]);
        opens(folder.path());
        opens(&folder.path().join(name));
    }
    let sharded = [
        ("diffusion_pytorch_model.safetensors.index.json", "diffusion_pytorch_model-0000N-of-00002.safetensors"),
        (
            "diffusion_pytorch_model.safetensors.index.fp16.json",
            "diffusion_pytorch_model.fp16-0000N-of-00002.safetensors",
        ),
        (
            "diffusion_pytorch_model.safetensors.index.fp16.json",
            "diffusion_pytorch_model-0000N-of-00002.fp16.safetensors",
        ),
        (
            "diffusion_pytorch_model.fp16.safetensors.index.json",
            "diffusion_pytorch_model.fp16-0000N-of-00002.safetensors",
        ),
        ("model.safetensors.index.json", "model-0000N-of-00002.safetensors"),
        ("odd.safetensors.index.json", "part N.safetensors"),
    ];
    for (index, shard) in sharded {
        let names = [shard.replace('N', "1"), shard.replace('N', "2")];
        let (map, [one, two]) = shards([&names[0], &names[1]]);
        let files: [(&str, &[u8]); 4] = [(CONFIG, &config), (index, &map), (&names[0], &one), (&names[1], &two)];
        let all = folder(&files);
        opens(all.path());
        opens(&all.path().join(index));
        if shard.contains("-of-") {
            refused(
                &all.path().join(&names[0]),
                ErrorKind::Checkpoint,
                &["one of 2 shards: name the folder or the index"],
            );
            let without = folder(&[files[0], files[2], files[3]]);
            refused(without.path(), ErrorKind::Checkpoint, &["a shard, and its index", "is missing"]);
        }
        refused(folder(&files[..3]).path(), ErrorKind::Io, &[&names[1]]);
    }
}

/// Which of several is taken, who hears of it, and what is not decided for the user.
#[test]
fn one_of_several_weights() {
    let (config, weights) = (golden_file(CONFIG), golden_file(WEIGHTS));
    let other: &[u8] = b"not looked at";
    for (first, second) in [(DIFFUSERS, WEIGHTS), (DIFFUSERS, "a.safetensors"), (WEIGHTS, "model.fp16.safetensors")] {
        let folder = folder(&[(CONFIG, &config), (first, &weights), (second, other)]);
        opens(folder.path());
        let (_, warnings) = open_and_listen(folder.path());
        assert_eq!(warnings.len(), usize::from(second == WEIGHTS), "{warnings:?}");
        assert!(warnings.iter().all(|text| text.contains(first) && text.contains(second)), "{warnings:?}");
    }
    // An index comes before the file of its name. Its shards may have any name, also a usual one, and are no others.
    const INDEX: &str = "model.safetensors.index.json";
    for names in [["one.safetensors", "two.safetensors"], [WEIGHTS, "two.safetensors"]] {
        let (index, [one, two]) = shards(names);
        let folder =
            folder(&[(CONFIG, &config), (WEIGHTS, other), (INDEX, &index), (names[0], &one), (names[1], &two)]);
        opens(folder.path());
        let (_, warnings) = open_and_listen(folder.path());
        assert_eq!(warnings.len(), usize::from(names[0] != WEIGHTS), "{warnings:?}");
        assert!(warnings.iter().all(|text| text.contains("ignoring model.safetensors")), "{warnings:?}");
    }
    // What macOS, editors and download tools leave beside the weights is none, nor is the index of pickles.
    let beside = [
        "._model.safetensors",
        "model.safetensors.lock",
        "model.safetensors.bak",
        ".cache/huggingface/x.incomplete",
        "pytorch_model.bin.index.json",
    ];
    for name in beside {
        opens(folder(&[(CONFIG, &config), ("odd.safetensors", &weights), (name, other)]).path());
    }
    let pairs = [["a.safetensors", "b.safetensors"], ["model.bf16.safetensors", "model.fp16.safetensors"]];
    for [one, two] in pairs {
        let folder = folder(&[(CONFIG, &config), (one, &weights), (two, &weights)]);
        refused(folder.path(), ErrorKind::Checkpoint, &["2 safetensors files", "name the one to open", one, two]);
        opens(&folder.path().join(two));
    }
}

#[test]
fn folders_above_and_files_inside() {
    let (config, weights) = (golden_file(CONFIG), golden_file(WEIGHTS));
    let vae: [(&str, &[u8]); 2] = [("vae/config.json", &config), ("vae/diffusion_pytorch_model.safetensors", &weights)];
    for more in [vec![], vec![("model_index.json", "{}")], vec![("model_index.json", "{}"), (CONFIG, "{}")]] {
        let more: Vec<(&str, &[u8])> = more.into_iter().map(|(name, text)| (name, text.as_bytes())).collect();
        let folder = folder(&[&vae[..], &more].concat());
        opens(folder.path());
        assert!(open(folder.path()).unwrap().info().name.ends_with("vae"));
    }
    // A folder that is a model itself is opened, whatever lies below.
    for below in ["vae/config.json", "snapshots/1/config.json"] {
        opens(folder(&[(CONFIG, &config), (WEIGHTS, &weights), (below, b"{}")]).path());
    }
    let other = folder(&[("first/config.json", &config)]);
    refused(other.path(), ErrorKind::Io, &["open the folder", "/first instead"]);
    std::fs::create_dir_all(other.path().join("second/snapshots")).unwrap();
    refused(other.path(), ErrorKind::Io, &["open one of the folders", "/first, ", "/second"]);
    let plain = folder(&[(CONFIG, &config), (WEIGHTS, &weights)]);
    refused(&plain.path().join(CONFIG), ErrorKind::Checkpoint, &["not weights: name the folder"]);
    refused(folder(&[]).path(), ErrorKind::Io, &["config.json", "a checkpoint is a folder with"]);
    // A pipeline whose own config lies beside.
    let other = folder(&[vae[0], vae[1], (CONFIG, b"{}")]);
    refused(other.path(), ErrorKind::Io, &["no *.safetensors file in this folder; open the folder", "/vae instead"]);
    // A folder of many models: a message, no list.
    let many: Vec<String> = (0..9).map(|n| format!("run{n}/config.json")).collect();
    let many = folder(&many.iter().map(|name| (name.as_str(), &config[..])).collect::<Vec<_>>());
    refused(many.path(), ErrorKind::Io, &["open one of the folders", "/run0, ", "/run4 and 4 more"]);
    // What is no model at all: another argument of a program, a device, a variable of the shell that is not set.
    let clip = folder(&[("clip.y4m", b"YUV4MPEG2 ")]);
    refused(&clip.path().join("clip.y4m"), ErrorKind::Checkpoint, &["clip.y4m: not weights: name the model's folder"]);
    refused(Path::new(DEVICE), ErrorKind::Io, &[&format!("{DEVICE}: neither a folder nor a file")]);
    refused(Path::new(""), ErrorKind::Io, &["the path is empty"]);
    refused(folder(&[(WEIGHTS, &weights)]).path(), ErrorKind::Io, &["config.json", NOT_FOUND]);
}

/// `models--OWNER--NAME` with its blobs, references and snapshots of links.
#[test]
fn download_caches() {
    let (config, weights) = (golden_file(CONFIG), golden_file(WEIGHTS));
    let cache = folder(&[("blobs/9f00", &config), ("blobs/e1aa", &weights), ("refs/main", b"abc\n")]);
    let snapshot = |name: &str, weights: &str| -> Option<PathBuf> {
        let folder = cache.path().join("snapshots").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let follows = symlink("../../blobs/9f00", folder.join(CONFIG));
        (follows && symlink(format!("../../blobs/{weights}"), folder.join(DIFFUSERS))).then_some(folder)
    };
    let Some(current) = snapshot("abc", "e1aa") else { return };
    opens(&current);
    opens(cache.path());
    // Neither the links nor what they lead to is a place for graphs.
    for own in [&current, &cache.path().join("blobs")] {
        let error = open(cache.path()).unwrap().save_onnx(own, Graphs::Steps).unwrap_err();
        assert!(error.text().contains("holds the open model's own files"), "{error}");
        assert_eq!(std::fs::read_dir(own).unwrap().count(), 2);
    }
    let half = snapshot("def", "none").unwrap();
    refused(&half, ErrorKind::Io, &["a link to ", "none, which does not exist; is the download finished?"]);
    opens(cache.path());
    std::fs::remove_file(cache.path().join("refs/main")).unwrap();
    refused(cache.path(), ErrorKind::Io, &["name one to open: abc, def"]);
    std::fs::remove_dir_all(&half).unwrap();
    opens(cache.path());
    // A reference names a snapshot, no other folder.
    std::fs::write(cache.path().join("refs/main"), "../blobs").unwrap();
    opens(cache.path());
    std::fs::remove_dir_all(&current).unwrap();
    refused(cache.path(), ErrorKind::Io, &["contains no snapshot"]);
}

#[test]
fn weights_that_are_something_else() {
    use ErrorKind::{Checkpoint, Io};
    let config = golden_file(CONFIG);
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d4d\nsize 638492160\n";
    let zeros = "\0".repeat(4096);
    let cases: [(&str, ErrorKind, &str); 13] = [
        (lfs, Checkpoint, "a Git LFS pointer, not the file itself: run `git lfs pull`"),
        ("\n <!DOCTYPE html><html>", Checkpoint, "a text (HTML or XML) page"),
        ("<?xml version=\"1.0\"?><Error>", Checkpoint, "a text (HTML or XML) page"),
        ("Invalid username or password.", Checkpoint, "a text file (\"Invalid username or password.\")"),
        ("{\"error\": \"Repository not found\"}", Checkpoint, "a text file (\"{\"error\": \"Repository"),
        ("PK\x03\x04....archive/data.pkl", Checkpoint, "a PyTorch pickle"),
        ("PK\x03\x04....", Checkpoint, "an archive: unpack it first"),
        ("\u{1f}", Checkpoint, "found 1 bytes, expected a safetensors header"),
        ("GGUF\x03", Checkpoint, "a GGUF file"),
        (&zeros, Checkpoint, "an unfinished download"),
        ("", Checkpoint, "the file is empty"),
        ("\x08\0\0\0\0\0\0\0{}      ", Checkpoint, "decoder"),
        ("\x40\0\0\0\0\0\0\0{}", Checkpoint, "truncated, or not safetensors: the header is 64 bytes, 2 are there"),
    ];
    for (bytes, kind, text) in cases {
        let text = text.replace("decoder", "is missing, expected shape");
        refused(folder(&[(CONFIG, &config), (WEIGHTS, bytes.as_bytes())]).path(), kind, &[WEIGHTS, &text]);
    }
    for start in [&b"\x80\x02}q\0"[..], b"\x80\x04\x95"] {
        refused(folder(&[(CONFIG, &config), (WEIGHTS, start)]).path(), Checkpoint, &["pickle", "training/convert.py"]);
    }
    let starts: [(&[u8], &str); 7] = [
        (b"\x1f\x8b\x08", "a compressed file"),
        (b"BZh91AY&SY", "a compressed file"),
        (b"\xfd7zXZ\0", "a compressed file"),
        (b"\x28\xb5\x2f\xfd", "a compressed file"),
        (b"7z\xbc\xaf\x27\x1c", "an archive"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\xfe\xff\0{", "UTF-16 text"),
    ];
    for (start, text) in starts {
        refused(folder(&[(CONFIG, &config), (WEIGHTS, start)]).path(), Checkpoint, &[text]);
    }

    for name in [
        "model.safetensors.incomplete",
        "x.part",
        "model.safetensors.crdownload",
        ".cache/huggingface/download/h.e.incomplete",
    ] {
        refused(folder(&[(CONFIG, &config), (name, b"")]).path(), Io, &["an unfinished download", name]);
        refused(folder(&[(name, b"")]).path(), Io, &[NOT_FOUND, "an unfinished download", name]);
    }
    // The Hugging Face client leaves its locks there after a success.
    let lock = ".cache/huggingface/download/model.safetensors.lock";
    refused(folder(&[(CONFIG, &config), (lock, b"")]).path(), Io, &["no *.safetensors file in this folder"]);
    for name in ["model.ckpt", "pytorch_model.bin", "model.pth", "model.pt"] {
        let folder = folder(&[(CONFIG, &config), (name, b"x")]);
        refused(folder.path(), Checkpoint, &[name, "training/convert.py"]);
        refused(&folder.path().join(name), Checkpoint, &[name, "training/convert.py"]);
    }
    refused(
        folder(&[(CONFIG, &config), ("m.gguf", b"x")]).path(),
        Checkpoint,
        &["m.gguf: this library reads *.safetensors"],
    );
    refused(folder(&[(CONFIG, &config), ("model.safetensors/x", b"")]).path(), Io, &["a folder, expected a file"]);
    // A device, or a pipe that nobody writes to.
    for name in [CONFIG, WEIGHTS] {
        let folder = folder(&[(CONFIG, &config)]);
        _ = std::fs::remove_file(folder.path().join(name));
        // On Windows nothing leads to a device but its name.
        if cfg!(unix) {
            symlink(DEVICE, folder.path().join(name));
            refused(folder.path(), Io, &[name, "not a regular file"]);
        }
    }
    refused(folder(&[("config.json/x", b"")]).path(), Io, &["config.json: a folder, expected a file"]);
}

#[test]
fn a_header_that_does_not_fit_its_file() {
    let config = golden_file(CONFIG);
    let whole = file(&golden_tensors());
    let refused = |weights: &[u8], texts: &[&str]| {
        refused(folder(&[(CONFIG, &config), (WEIGHTS, weights)]).path(), ErrorKind::Checkpoint, texts)
    };
    refused(&[&whole[..], &[0; 64]].concat(), &["64 bytes after the last tensor"]);
    let tensor = |start: u32, end: u32| format!("{{\"dtype\":\"F8\",\"shape\":[1],\"data_offsets\":[{start},{end}]}}");
    let two = |a: &str, b: &str| with_header(&format!("{{\"x\":{a},\"y\":{b}}}"), &[0; 8]);
    refused(&two(&tensor(0, 4), &tensor(2, 8)), &["tensor y begins 2 bytes inside the tensor before it"]);
    refused(&two(&tensor(0, 4), &tensor(5, 8)), &["1 bytes before tensor y belong to no tensor"]);
    refused(&two(&tensor(0, 4), &tensor(4, 9)), &["tensor y is at bytes 4..9, found 8 bytes of data"]);
    // One of no bytes may begin where another does, whichever is named first.
    refused(&two(&tensor(0, 8), &tensor(0, 0)), &["is missing, expected shape"]);
    let float = |shape: &str| format!("{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[0,8]}}");
    let one = |tensor: &str| with_header(&format!("{{\"x\":{tensor}}}"), &[0; 8]);
    refused(&one(&float("[1]")), &["tensor x: found 8 bytes, its shape and type need 1 x 4"]);
    refused(&one(&float("[3]")), &["tensor x: found 8 bytes, its shape and type need 3 x 4"]);
    refused(&one(&float("[4294967296, 4294967296]")), &["tensor x: found 8 bytes and an impossible shape"]);
    refused(&two("{}", &tensor(0, 8)), &["tensor x: missing field `dtype`"]);
    let twice = format!("{{\"x\":{},\"x\":{}}}", tensor(0, 4), tensor(4, 8));
    refused(&with_header(&twice, &[0; 8]), &["the name x is there twice"]);
    refused(&with_header("[]", &[]), &["expected an object"]);
    // A file of zeros, of which no disk holds more than the start.
    let huge = folder(&[(CONFIG, &config), (WEIGHTS, &[&100_000_001u64.to_le_bytes()[..], b"{"].concat())]);
    std::fs::OpenOptions::new().write(true).open(huge.path().join(WEIGHTS)).unwrap().set_len(1 << 28).unwrap();
    let text = "the header is 100000001 bytes, at most 100000000 are allowed";
    self::refused(huge.path(), ErrorKind::Checkpoint, &[text]);
    // Sizes that begin as pickles and gzip files do.
    for size in [0x280, 0x8b1f] {
        let header = format!("{{{}", " ".repeat(size - 1));
        refused(
            &with_header(&header, &[])[..100],
            &[&format!("truncated, or not safetensors: the header is {size} bytes")],
        );
    }
}

/// The type of a tensor counts where the network needs it.
#[test]
fn types_that_the_network_does_not_need() {
    let config = golden_file(CONFIG);
    let with = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = golden_tensors();
        change(&mut tensors);
        folder(&[(CONFIG, &config), (WEIGHTS, &file(&tensors))])
    };
    let extra = [
        ("loss.discriminator.main.3.num_batches_tracked", "I64", vec![], 8),
        ("_extra_state", "U8", vec![3], 3),
        ("decoder.steps", "I64", vec![], 8),
        ("encoder.mid.0.conv1._extra_state", "U8", vec![0], 0),
        ("text_encoder.embed.weight", "F8_E4M3", vec![4, 4], 16),
        ("loss.ema", "F4_OF_THE_FUTURE", vec![7], 4),
        ("loss.nothing", "F32", vec![0], 0),
    ];
    for (key, dtype, shape, size) in extra {
        opens(with(&|tensors| _ = tensors.insert(key.into(), (dtype.into(), shape.clone(), vec![0; size]))).path());
    }
    for dtype in ["BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64"] {
        let size = if dtype == "BOOL" { 1 } else { dtype[1..].parse::<usize>().unwrap() / 8 };
        opens(
            with(&|tensors| _ = tensors.insert("encoder.steps".into(), (dtype.into(), vec![], vec![0; size]))).path(),
        );
    }
    let set_type =
        |key: &'static str, dtype: &'static str| with(&move |tensors| tensors.get_mut(key).unwrap().0 = dtype.into());
    for key in ["decoder.conv_in.conv.bias", "encoder.wavelet_transform_in.h_conv.conv.weight"] {
        let text = format!("tensor {key}: found F8_E5M2, expected F32, F16, BF16 or F64");
        refused(set_type(key, "F8_E5M2").path(), ErrorKind::Checkpoint, &[&text]);
    }
    // One more float is a layer that the config does not describe.
    let more = with(&|tensors| _ = tensors.insert("encoder.x".into(), ("F32".into(), vec![1], vec![0; 4])));
    refused(more.path(), ErrorKind::Checkpoint, &["config.json does not describe", "encoder.x"]);
    // A NaN that the network never sees is no fault of the model.
    let nan = f32::NAN.to_le_bytes().to_vec();
    let nan = with(&move |tensors| _ = tensors.insert("loss.logvar".into(), ("F32".into(), vec![1], nan.clone())));
    assert!(open_checked(nan.path()).is_ok());
}

#[test]
fn double_precision_is_rounded() {
    let wide = |tensors: Tensors, change: fn(f64) -> f64| -> Tensors {
        let widen = |(dtype, shape, data): (String, Vec<u64>, Vec<u8>)| {
            let values: Vec<f64> = match dtype.as_str() {
                "F16" => data.chunks_exact(2).map(|b| half::f16::from_le_bytes(b.try_into().unwrap()).into()).collect(),
                _ => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
            };
            ("F64".to_string(), shape, values.into_iter().flat_map(|v| change(v).to_le_bytes()).collect())
        };
        tensors.into_iter().map(|(key, tensor)| (key, widen(tensor))).collect()
    };
    let config = golden_file(CONFIG);
    // Less than half a step of float32 away.
    for change in [|v: f64| v, |v: f64| v * (1.0 + 1e-8), |v: f64| v * (1.0 - 1e-8)] {
        opens(folder(&[(CONFIG, &config), (WEIGHTS, &file(&wide(golden_tensors(), change)))]).path());
    }
    let mut large = wide(golden_tensors(), |v| v);
    large.get_mut("decoder.conv_in.conv.bias").unwrap().2[..8].copy_from_slice(&1e300f64.to_le_bytes());
    let folder = folder(&[(CONFIG, &config), (WEIGHTS, &file(&large))]);
    let error = open_checked(folder.path()).unwrap_err();
    assert!(error.text().contains("decoder.conv_in.conv.bias: element 0 is inf"), "{error}");
}

/// Names that wrappers made, outside and inside: what is there is named, and who writes plain names.
#[test]
fn wrapped_names_are_explained() {
    let config = golden_file(CONFIG);
    let renamed = |rename: &dyn Fn(&str) -> String| -> Tensors {
        golden_tensors().into_iter().map(|(key, tensor)| (rename(&key), tensor)).collect()
    };
    for prefix in ["module.", "_orig_mod.", "vae.", "first_stage_model.", "ema.", "module._orig_mod.vae."] {
        let folder = folder(&[(CONFIG, &config), (WEIGHTS, &file(&renamed(&|key| format!("{prefix}{key}"))))]);
        let text = format!("but {prefix}encoder.");
        refused(folder.path(), ErrorKind::Checkpoint, &[&text, "training/convert.py"]);
    }
    // What only ends in the same letters is another tensor.
    let other = folder(&[(CONFIG, &config), (WEIGHTS, &file(&renamed(&|key| format!("text_{key}"))))]);
    refused(other.path(), ErrorKind::Checkpoint, &["is missing, expected shape"]);
    for wrapper in ["_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "module."] {
        let inside = |key: &str| key.replacen('.', &format!(".{wrapper}"), 1);
        let folder = folder(&[(CONFIG, &config), (WEIGHTS, &file(&renamed(&inside)))]);
        let text = format!("but encoder.{wrapper}");
        refused(folder.path(), ErrorKind::Checkpoint, &[&text, "training/convert.py"]);
    }
}

#[test]
fn configs_that_are_something_else() {
    let weights = golden_file(WEIGHTS);
    let with = |text: &[u8]| folder(&[(CONFIG, text), (WEIGHTS, &weights)]);
    let own = String::from_utf8(golden_file(CONFIG)).unwrap();
    opens(with(format!("\u{feff}{own}").as_bytes()).path());
    let changed = |field: &str, value: &str| own.replacen('{', &format!("{{\"{field}\": {value},"), 1);
    opens(with(changed("base_channels", "3").as_bytes()).path());
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d4d\nsize 900\n".to_string();
    let nested = format!("{{\"model_type\": \"wfvae\", \"vae_config\": {own}}}");
    let cases = [
        (lfs, "a Git LFS pointer"),
        ("<!doctype html>".into(), "a text (HTML or XML) page"),
        (" \n".into(), "the file is empty"),
        (changed("clip_range", "[0, Infinity]"), "clip_range: found Infinity, which is not JSON"),
        (own.replace("\"shift\": [", "\"shift\": [NaN, "), "shift: found NaN, which is not JSON"),
        (changed("a \\\" b", "{\"c\": -Infinity}"), "a \" b.c: found -Infinity, which is not JSON"),
        (changed("use_it", "True"), "use_it: found True, which is not JSON"),
        (changed("x", "\"NaN\",,"), "line 1 column"),
        (nested, "no field of such a model, but vae_config has"),
        ("{}".into(), "neither _class_name nor any field"),
        ("{\"hidden_size\": 4}".into(), "nor any field of a WF-VAE"),
        ("[]".into(), "expected a JSON object"),
        (changed("base_channels", "64"), "the name base_channels is there twice"),
        (changed("a", "{\"b\": 1}, \"a\": 2"), "the name a is there twice"),
        (own[..own.len() / 2].into(), "ends too early"),
        (format!("// mine\n{own}"), "JSON has no comments: remove the one in line 1"),
        (changed("x", "1, /* y */ \"z\": 1"), "JSON has no comments"),
        (format!("# mine\n{own}"), "JSON has no comments"),
        (own.replace('"', "'"), "JSON needs double quotes"),
        ("base_channels: 3".into(), "not JSON: "),
    ];
    for (text, expected) in cases {
        refused(with(text.as_bytes()).path(), ErrorKind::Config, &["config.json: ", expected]);
    }
    let huge = with(b"{}");
    std::fs::OpenOptions::new().write(true).open(huge.path().join(CONFIG)).unwrap().set_len((1 << 20) + 1).unwrap();
    refused(huge.path(), ErrorKind::Config, &["config.json: 1048577 bytes, expected at most 1048576"]);
    let utf16: Vec<u8> = [0xfeff].into_iter().chain(own.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    refused(with(&utf16).path(), ErrorKind::Config, &["UTF-16 text: save it as UTF-8"]);
    refused(with(&utf16[2..]).path(), ErrorKind::Config, &["not UTF-8 text: save it as UTF-8"]);
    let latin1 = [&own.as_bytes()[..own.len() - 1], b", \"note\": \"\xe9\"}"].concat();
    refused(with(&latin1).path(), ErrorKind::Config, &["not UTF-8 text: save it as UTF-8"]);

    // The second generation does not say so itself.
    let mut second: Map<String, Value> =
        serde_json::from_slice(&std::fs::read(golden("v2-tiny").join(CONFIG)).unwrap()).unwrap();
    second.remove("_class_name");
    let text = "add \"_class_name\": \"WFVAE2Model\"";
    refused(with(&serde_json::to_vec(&second).unwrap()).path(), ErrorKind::Config, &["layer_type", text]);
    let list = own.replace("\"_class_name\"", "\"_name\"").replace("\"base_channels\": 3", "\"base_channels\": [3, 4]");
    refused(with(list.as_bytes()).path(), ErrorKind::Config, &["base_channels is a list", text]);
}

/// A new file beside the weights must not be opened in their place later, nor make the choice unclear.
#[test]
fn files_that_would_be_opened_as_weights() {
    let (config, weights) = (golden_file(CONFIG), golden_file(WEIGHTS));
    let index = "model.safetensors.index.json";
    // Weights of the folder, what is opened, and the names that are taken and not.
    let cases: [(&str, &str, &[&str], &[&str]); 3] = [
        (WEIGHTS, "", &[DIFFUSERS, index], &["clip.safetensors", "clip.latents", "x/model.safetensors"]),
        (
            "vae.safetensors",
            "",
            &[DIFFUSERS, WEIGHTS, index, "clip.safetensors", "x.safetensors.index.json"],
            &["clip.json"],
        ),
        ("vae.safetensors", "vae.safetensors", &[DIFFUSERS, WEIGHTS, index], &["clip.safetensors"]),
    ];
    for (name, opened, taken, free) in cases {
        let folder = folder(&[(CONFIG, &config), (name, &weights), ("x/y", b"")]);
        let model = open(&folder.path().join(opened)).unwrap();
        let link = folder.path().join("link");
        let folders = if symlink(folder.path(), &link) { vec![folder.path(), &link] } else { vec![folder.path()] };
        for target in taken {
            for path in folders.iter().map(|folder| folder.join(target)) {
                let e = model.check_target(&path).expect_err(target);
                assert!(
                    e.kind() == ErrorKind::InvalidArgument && e.text().contains("would be opened as weights"),
                    "{e}"
                );
            }
        }
        for target in free {
            model.check_target(folder.path().join(target)).unwrap();
        }
    }
}

/// A field that may change the results and is not understood is an error; one that cannot is a warning, and none where
/// other tools always write it.
#[test]
fn fields_that_are_not_of_a_wf_vae() {
    let weights = golden_file(WEIGHTS);
    let with = |field: &str, value: Value| {
        let mut config: Map<String, Value> = serde_json::from_slice(&golden_file(CONFIG)).unwrap();
        config.insert(field.into(), value);
        folder(&[(CONFIG, &serde_json::to_vec(&config).unwrap()), (WEIGHTS, &weights)])
    };
    let silent = [
        ("_diffusers_version", json!("0.42.1")),
        ("_name_or_path", json!("x")),
        ("architectures", json!(["WFVAEModel"])),
        ("auto_map", json!({})),
        ("diffusers_version", json!("0.42.1")),
        ("dtype", json!("float16")),
        ("force_upcast", json!(true)),
        ("model_type", json!("wfvae")),
        ("sample_size", json!(256)),
        ("torch_dtype", json!("float16")),
        ("transformers_version", json!("5.0")),
        ("in_channels", json!(3)),
        ("act_fn", json!("silu")),
        ("norm_eps", json!(0.000001)),
        ("mid_layers_type", Value::Null),
    ];
    for (field, value) in silent {
        let folder = with(field, value);
        let (model, warnings) = open_and_listen(folder.path());
        assert!(model.is_ok() && warnings.is_empty(), "{field}: {warnings:?}");
    }
    for (field, value) in [("learning_rate", json!(1e-5)), ("style", json!("x")), ("dropouts", json!(0))] {
        let folder = with(field, value);
        let (model, warnings) = open_and_listen(folder.path());
        assert!(model.is_ok() && warnings.len() == 1, "{field}: {warnings:?}");
        assert!(warnings[0].contains(&format!("unknown field {field} is ignored")), "{warnings:?}");
    }
    use ErrorKind::{Config, UnsupportedModel};
    let errors = [
        ("l1_downsample_block", json!("Downsample"), Config, "did you mean l1_dowmsample_block?"),
        ("t_interpolaton", json!("nearest"), Config, "did you mean t_interpolation?"),
        ("T-Interpolation", json!("nearest"), Config, "did you mean t_interpolation?"),
        ("scales", json!([1]), Config, "did you mean scale?"),
        ("encoder_energy_flow_size", json!(5), Config, "a field of WFVAE2Model"),
        ("in_channels", json!(4), UnsupportedModel, "in_channels: found 4"),
        ("act_fn", json!("relu"), UnsupportedModel, "act_fn: found \"relu\""),
        ("norm_eps", json!(0.00001), UnsupportedModel, "norm_eps: found"),
        ("t_interpolation", json!("Trilinear"), Config, "found \"Trilinear\", expected"),
    ];
    for (field, value, kind, text) in errors {
        refused(with(field, value).path(), kind, &["config.json", text]);
    }
}

/// The numbers of other autoencoders are not taken for this one's, nor left out in silence.
#[test]
fn a_scaling_factor_is_not_a_scale() {
    let weights = golden_file(WEIGHTS);
    for (field, scale) in [("scaling_factor", false), ("latents_mean", false), ("scaling_factor", true)] {
        let mut config: Map<String, Value> = serde_json::from_slice(&golden_file(CONFIG)).unwrap();
        config.insert(field.into(), 0.5.into());
        if !scale {
            config.remove("scale");
        }
        let folder = folder(&[(CONFIG, &serde_json::to_vec(&config).unwrap()), (WEIGHTS, &weights)]);
        let (model, warnings) = open_and_listen(folder.path());
        let model = model.unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains(field), "{warnings:?}");
        assert_eq!(model.info().has_scaling, scale);
        let mut options = StreamOptions::new(16, 16);
        (options.posterior, options.scaled) = (Posterior::Mean, true);
        match Stream::new(&model, &options) {
            Ok(_) => assert!(scale),
            Err(e) => assert!(!scale && e.text().contains("use \"scale\""), "{e}"),
        }
    }
}
