//! config.json and the header of a safetensors file, up to a checked network. The tensors' values are zeros.
//!
//! Text: the input is a byte, a config, a line feed, a header. Structure: it is edits of a small or a golden model's files, or of what
//! its edited config needs; with WFVAE_FUZZ_SHOW set, that is printed as text, which tests/findings.rs can read, and so is the error.

use crate::allocations::bounded;
use crate::checks::{check, data_len, golden};
use arbitrary::{Arbitrary, Unstructured};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::fmt::Write;
use std::sync::LazyLock;
use wfvae::fuzzing;

/// Data behind a header are cut there.
const MOST: usize = 1 << 20;
const LONGEST_HEADER: usize = 1 << 17;

/// Name, type, shape.
type Tensor = (String, String, Vec<u64>);

struct Base {
    config: Map<String, Value>,
    tensors: Vec<Tensor>,
    /// The header of these, and how long the data are.
    header: (String, usize),
}

/// The smallest network of each family: a header of few tensors is what makes an input quick. Attention of CausalVAE has group norms, which
/// need 32 channels.
const SMALL: [&str; 5] = [
    r#"{"_class_name":"WFVAEModel","base_channels":1,"connect_res_layer_num":0,"decoder_energy_flow_hidden_size":1,
"decoder_num_resblocks":1,"encoder_energy_flow_hidden_size":1,"encoder_num_resblocks":1,"latent_dim":1,
"norm_type":"layernorm","use_attention":false}"#,
    r#"{"_class_name":"WFVAE2Model","base_channels":[1,1],"decoder_energy_flow_size":1,"decoder_num_resblocks":2,
"encoder_energy_flow_size":1,"encoder_num_resblocks":1,"latent_dim":1,"layer_res_type":["ResnetBlock2D"],
"layer_type":["thw"],"mid_layers_type":["ResnetBlock2D"],"norm_type":"layernorm"}"#,
    r#"{"_class_name":"CausalVAEModel","decoder_attention":"AttnBlock3DFix","encoder_attention":"AttnBlock3DFix","decoder_mid_resnet":"ResnetBlock2D",
"encoder_mid_resnet":"ResnetBlock2D",
"decoder_resnet_blocks":["ResnetBlock2D"],"decoder_spatial_upsample":[""],
"decoder_temporal_upsample":[""],"embed_dim":1,"encoder_resnet_blocks":["ResnetBlock2D"],
"encoder_spatial_downsample":[""],"encoder_temporal_downsample":[""],"hidden_size":32,"hidden_size_mult":[1],
"norm_type":"layernorm","num_res_blocks":1,"z_channels":1}"#,
    // Of images; and with blocks that mix what was stored with what was computed.
    r#"{"_class_name":"WFVAE2Model","base_channels":[1,1],"decoder_energy_flow_size":1,"decoder_num_resblocks":2,
"encoder_energy_flow_size":1,"encoder_num_resblocks":1,"input_type":"image","latent_dim":1,
"layer_res_type":["ResnetBlock2D"],"layer_type":["hw"],"mid_layers_type":["AttnBlock2D"],"norm_type":"layernorm"}"#,
    r#"{"_class_name":"CausalVAEModel","decoder_attention":"AttnBlock3DFix","encoder_attention":"AttnBlock3DFix","decoder_mid_resnet":"ResnetBlock2D",
"encoder_mid_resnet":"ResnetBlock2D",
"decoder_resnet_blocks":["ResnetBlock2D","ResnetBlock2D"],
"decoder_spatial_upsample":["","SpatialUpsample2x"],"decoder_temporal_upsample":["TimeUpsampleRes2x",""],"embed_dim":1,
"encoder_resnet_blocks":["ResnetBlock2D","ResnetBlock2D"],"encoder_spatial_downsample":["SpatialDownsample2x",""],
"encoder_temporal_downsample":["","TimeDownsampleRes2x"],"hidden_size":1,"hidden_size_mult":[1,32],
"norm_type":"layernorm","num_res_blocks":1,"z_channels":1}"#,
];

static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let mut folders: Vec<_> = std::fs::read_dir(golden()).expect("golden models").flatten().map(|e| e.path()).collect();
    folders.sort();
    let golden = folders.iter().filter_map(|folder| base(folder));
    SMALL.iter().map(|config| small(config)).chain(golden).collect()
});

/// Most inputs begin with a small network.
fn chosen(base: u8) -> &'static Base {
    let base = usize::from(base);
    if base < 192 {
        &BASES[base % SMALL.len()]
    } else {
        &BASES[SMALL.len() + (base - 192) % (BASES.len() - SMALL.len())]
    }
}

fn small(config: &str) -> Base {
    let none = header(&[("x".into(), "F32".into(), vec![1])], &[]);
    let tensors = needed(config.as_bytes(), &none).expect("the config of a small network");
    assert!(tensors.len() < 140, "{} tensors: not small: {config}", tensors.len());
    let header = header(&tensors, &[]);
    with_file(&[], header.0.as_bytes(), header.1, |file| fuzzing::checkpoint(config.as_bytes(), file))
        .expect("a model");
    Base { config: serde_json::from_str(config).expect("JSON"), header, tensors }
}

fn base(folder: &std::path::Path) -> Option<Base> {
    let config = serde_json::from_slice(&std::fs::read(folder.join("config.json")).ok()?).ok()?;
    let file = std::fs::read(folder.join("model.safetensors")).ok()?;
    let length = u64::from_le_bytes(*file.first_chunk()?) as usize;
    let json: Map<String, Value> = serde_json::from_slice(&file[8..8 + length]).ok()?;
    let tensors = json.into_iter().filter(|(name, _)| name != "__metadata__").map(|(name, tensor)| {
        let shape = tensor["shape"].as_array().expect("a shape").iter().filter_map(Value::as_u64).collect();
        (name, tensor["dtype"].as_str().expect("a type").to_string(), shape)
    });
    let tensors: Vec<_> = tensors.collect();
    Some(Base { config, header: header(&tensors, &[]), tensors })
}

/// The tensors that the network of a config needs, if it is one. `of`: the header of a model that may be another one.
fn needed(config: &[u8], of: &(String, usize)) -> wfvae::Result<Vec<Tensor>> {
    let needed = with_file(&[], of.0.as_bytes(), of.1, |file| fuzzing::tensors(config, file))?;
    let of_float = |(name, shape): fuzzing::Tensor| (name, "F32".into(), shape.iter().map(|n| *n as u64).collect());
    let mut tensors: Vec<Tensor> = needed.into_iter().map(of_float).collect();
    tensors.sort();
    tensors.dedup();
    Ok(tensors)
}

#[derive(Arbitrary, Debug)]
enum ConfigEdit {
    Set { field: u8, value: Setting },
    Remove { field: u8 },
}

#[derive(Arbitrary, Debug)]
enum Setting {
    Null,
    Flag(bool),
    Small(u8),
    Number(i64),
    Float(f64),
    Known(u8),
    Numbers(Vec<f32>),
    Integers(Vec<u16>),
    Names(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum TensorEdit {
    Remove(u8),
    /// Such as all of the encoder.
    RemoveAll {
        prefix: u8,
    },
    Dimension {
        tensor: u8,
        axis: u8,
        size: u64,
    },
    AddAxis {
        tensor: u8,
        size: u8,
    },
    DropAxis {
        tensor: u8,
    },
    Type {
        tensor: u8,
        name: u8,
    },
    Rename {
        tensor: u8,
        other: u8,
    },
    Prefix {
        tensor: u8,
        prefix: u8,
    },
    Move {
        tensor: u8,
        by: i8,
    },
    /// Its end may come to lie before its start.
    Stretch {
        tensor: u8,
        by: i8,
    },
    Add {
        name: u8,
        size: u8,
    },
}

#[derive(Arbitrary, Debug)]
struct Edits {
    base: u8,
    /// Whether the tensors are those that the edited config needs.
    fitting: bool,
    config: Vec<ConfigEdit>,
    tensors: Vec<TensorEdit>,
}

const TEXTS: [&str; 37] = [
    "WFVAEModel",
    "WFVAE2Model",
    "CausalVAEModel",
    "layernorm",
    "groupnorm",
    "nearest",
    "trilinear",
    "Downsample",
    "Upsample",
    "Spatial2xTime2x3DDownsample",
    "Spatial2xTime2x3DUpsample",
    "HaarWaveletTransform2D",
    "HaarWaveletTransform3D",
    "InverseHaarWaveletTransform2D",
    "InverseHaarWaveletTransform3D",
    "AttnBlock3DFix",
    "AttnBlock3D",
    "ResnetBlock3D",
    "ResnetBlock2D",
    "CausalConv3d",
    "Conv2d",
    "",
    "CausalConv3d_GC",
    "AttnBlock2D",
    "SpatialDownsample2x",
    "SpatialUpsample2x",
    "Spatial2x3DDownsample",
    "Spatial2x3DUpsample",
    "TimeDownsample2x",
    "TimeUpsample2x",
    "TimeDownsampleRes2x",
    "TimeUpsampleRes2x",
    "hw",
    "thw",
    "image",
    "video",
    "mixed",
];
const TYPES: [&str; 9] = ["F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", ""];
const PREFIXES: [&str; 6] = ["module.", "_orig_mod.", "loss.", "encoder.", "decoder.", "x."];

impl Setting {
    fn value(&self) -> Value {
        let text = |i: u8| TEXTS[usize::from(i) % TEXTS.len()];
        match self {
            Setting::Null => Value::Null,
            Setting::Flag(flag) => json!(flag),
            Setting::Small(n) => json!(n),
            Setting::Number(n) => json!(n),
            Setting::Float(n) => json!(n),
            Setting::Known(i) => json!(text(*i)),
            Setting::Numbers(list) => json!(list),
            Setting::Integers(list) => json!(list),
            Setting::Names(list) => json!(list.iter().map(|i| text(*i)).collect::<Vec<_>>()),
        }
    }
}

pub fn run(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    match mode % 4 {
        0 => {
            let end = rest.iter().rposition(|byte| *byte == b'\n').unwrap_or(rest.len());
            read(&rest[..end], rest.get(end + 1..).unwrap_or_default(), None);
        }
        1 => {
            // The whole of a file.
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            open(&rest[..end], &[], rest.get(end + 1..).unwrap_or_default(), 0);
        }
        _ => {
            if let Ok(edits) = Edits::arbitrary(&mut Unstructured::new(rest)) {
                edited(&edits);
            }
        }
    }
}

fn edited(edits: &Edits) {
    let base = chosen(edits.base);
    let mut config = base.config.clone();
    let mut fields = fuzzing::config_fields();
    fields.push("_class_name");
    for edit in &edits.config {
        let name = |i: u8| fields[usize::from(i) % fields.len()];
        match edit {
            ConfigEdit::Set { field, value } => drop(config.insert(name(*field).into(), value.value())),
            ConfigEdit::Remove { field } => drop(config.remove(name(*field))),
        }
    }
    let config = Value::Object(config).to_string();
    let mut tensors = base.tensors.clone();
    if edits.fitting {
        let Ok(needed) = needed(config.as_bytes(), &base.header) else { return };
        tensors = needed;
        let bytes = |shape: &[u64]| shape.iter().try_fold(4u64, |n, side| n.checked_mul(*side));
        let all = tensors.iter().try_fold(0u64, |sum, (_, _, shape)| sum.checked_add(bytes(shape)?));
        if all.is_none_or(|all| all > MOST as u64) {
            return;
        }
    }
    let mut moves = vec![];
    for edit in &edits.tensors {
        if tensors.is_empty() {
            break;
        }
        let count = tensors.len();
        let at = |i: u8| usize::from(i) % count;
        match edit {
            TensorEdit::Remove(i) => drop(tensors.remove(at(*i))),
            TensorEdit::RemoveAll { prefix } => {
                let prefix = PREFIXES[usize::from(*prefix) % PREFIXES.len()];
                tensors.retain(|(name, _, _)| !name.starts_with(prefix));
            }
            TensorEdit::Dimension { tensor, axis, size } => {
                let shape = &mut tensors[at(*tensor)].2;
                let axes = shape.len().max(1);
                if let Some(side) = shape.get_mut(usize::from(*axis) % axes) {
                    *side = *size;
                }
            }
            TensorEdit::AddAxis { tensor, size } => tensors[at(*tensor)].2.push(u64::from(*size)),
            TensorEdit::DropAxis { tensor } => drop(tensors[at(*tensor)].2.pop()),
            TensorEdit::Type { tensor, name } => {
                tensors[at(*tensor)].1 = TYPES[usize::from(*name) % TYPES.len()].into();
            }
            TensorEdit::Rename { tensor, other } => tensors[at(*tensor)].0 = tensors[at(*other)].0.clone(),
            TensorEdit::Prefix { tensor, prefix } => {
                let name = &mut tensors[at(*tensor)].0;
                *name = format!("{}{name}", PREFIXES[usize::from(*prefix) % PREFIXES.len()]);
            }
            TensorEdit::Move { tensor, by } => moves.push((at(*tensor), [i64::from(*by), 0])),
            TensorEdit::Stretch { tensor, by } => moves.push((at(*tensor), [0, i64::from(*by)])),
            TensorEdit::Add { name, size } => {
                let prefix = PREFIXES[usize::from(*name) % PREFIXES.len()];
                tensors.push((format!("{prefix}{name}"), "F32".into(), vec![u64::from(*size)]));
            }
        }
    }
    let (header, len) = header(&tensors, &moves);
    if *SHOW {
        println!("\0{config}\n{header}");
    }
    read(config.as_bytes(), header.as_bytes(), Some(len));
}

/// A header of these tensors one after the other, but for those that are moved or stretched; and how long the data are. As text, because
/// a name may be there twice.
fn header(tensors: &[Tensor], moves: &[(usize, [i64; 2])]) -> (String, usize) {
    let (mut at, mut text) = (0u64, String::from("{"));
    for (i, (name, dtype, shape)) in tensors.iter().enumerate() {
        let size = match dtype.as_str() {
            "F64" | "I64" => 8u64,
            "F32" => 4,
            "F16" | "BF16" => 2,
            _ => 1,
        };
        let bytes = shape.iter().fold(size, |n, side| n.saturating_mul(*side)).min(MOST as u64);
        let own = moves.iter().filter(|(tensor, _)| *tensor == i);
        let [by, longer] = own.fold([0, 0], |sum, (_, by)| [sum[0] + by[0], sum[1] + by[1]]);
        let start = at.saturating_add_signed(by);
        at = start.saturating_add(bytes).saturating_add_signed(longer);
        let (comma, name) = (if i == 0 { "" } else { "," }, json!(name));
        write!(text, r#"{comma}{name}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{at}]}}"#)
            .expect("text");
    }
    text.push('}');
    (text, (at as usize).min(MOST))
}

/// `data`: how many bytes follow the header; `None`: as many as it says.
fn read(config: &[u8], header: &[u8], data: Option<usize>) {
    let data = data.or_else(|| data_len(header));
    open(config, &(header.len() as u64).to_le_bytes(), header, data.unwrap_or(0).min(MOST));
}

fn open(config: &[u8], length: &[u8], header: &[u8], data: usize) {
    let size = config.len() + header.len();
    with_file(length, header, data, |file| match bounded(size, || fuzzing::checkpoint(config, file)) {
        Ok(tensors) => assert!(!tensors.is_empty()),
        Err(error) => {
            if *SHOW {
                eprintln!("{error}");
            }
            check(&error, size);
        }
    });
}

static SHOW: LazyLock<bool> = LazyLock::new(|| std::env::var_os("WFVAE_FUZZ_SHOW").is_some());

/// Zeros behind what is written at the start each time, so that no data are copied.
fn with_file<T>(length: &[u8], header: &[u8], data: usize, work: impl FnOnce(&'static [u8]) -> T) -> T {
    thread_local! {
        static FILE: RefCell<Vec<u8>> = RefCell::new(vec![0; LONGEST_HEADER + MOST + 8]);
    }
    FILE.with_borrow_mut(|file| {
        let length = if length.is_empty() && data > 0 { &(header.len() as u64).to_le_bytes()[..] } else { length };
        let start = length.len() + header.len().min(LONGEST_HEADER);
        file[..length.len()].copy_from_slice(length);
        file[length.len()..start].copy_from_slice(&header[..start - length.len()]);
        // SAFETY: what `work` makes of it is dropped before it changes; no caller's result holds any of it.
        let whole = unsafe { std::slice::from_raw_parts(file.as_ptr(), start + data) };
        let result = work(whole);
        file[..start].fill(0);
        result
    })
}
