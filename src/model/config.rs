//! `config.json`, read strictly: a field of the wrong type or with an unknown value is an error that names it.

use super::{damage, fields, scaling};
use crate::error::{Result, fail};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// More blocks or channels than this is a damaged file, not a model.
pub(super) const MAX_BLOCKS: u64 = 64;
const MAX_CHANNELS: u64 = 1 << 16;
/// Fields of other tools, which say nothing about the network.
const HOUSEKEEPING: [&str; 9] = [
    "architectures",
    "auto_map",
    "dtype",
    "force_upcast",
    "model_type",
    "sample_size",
    "torch_dtype",
    "transformers_version",
    "diffusers_version",
];
/// Fields of other autoencoders, with the values that every WF-VAE has.
const FIXED: [(&str, &str); 5] = [
    ("in_channels", "[3]"),
    ("out_channels", "[3]"),
    ("act_fn", "[\"silu\", \"swish\"]"),
    ("norm_num_groups", "[32]"),
    ("norm_eps", "[1e-6]"),
];

/// How the decoder doubles the frame rate (spec: `t_interpolation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interpolation {
    Nearest,
    Trilinear,
}

/// The reference's `norm_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormType {
    Layer,
    Group,
}

/// The fields of one `config.json`, with what is needed to report on them.
pub(crate) struct Config {
    path: PathBuf,
    fields: Map<String, Value>,
    /// About the files, from before the config was understood.
    warnings: Vec<String>,
}

/// JSON as people and tools write it, or what is wrong with it.
pub(super) fn json(text: &[u8]) -> Result<Value, String> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    serde_json::from_slice(text).map_err(|e| {
        if text.iter().all(u8::is_ascii_whitespace) {
            return "the file is empty".into();
        }
        let value = || damage::python_value(std::str::from_utf8(text).ok()?);
        let value = || value().map(|(field, value)| format!("{field}: found {value}, which is not JSON"));
        damage::what_it_is(text).or_else(value).unwrap_or_else(|| damage::not_json(text, &e))
    })
}

impl Config {
    pub(crate) fn parse(text: &[u8], path: &Path) -> Result<Self> {
        match json(text) {
            Ok(Value::Object(fields)) => {
                let text = std::str::from_utf8(text).unwrap_or_default();
                if let Err(e) = fields::read(text.trim_start_matches('\u{feff}'), true) {
                    fail!(Config, "{}: {e}", path.display());
                }
                Ok(Config { path: path.to_path_buf(), fields, warnings: vec![] })
            }
            Ok(_) => fail!(Config, "{}: expected a JSON object", path.display()),
            Err(text) => fail!(Config, "{}: {text}", path.display()),
        }
    }

    /// What the owner of the model should hear about its files.
    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// The file's name, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    pub(super) fn has_any(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| self.has(field))
    }

    pub(super) fn is_list(&self, field: &str) -> bool {
        self.value(field).is_some_and(Value::is_array)
    }

    /// The field whose object has some of `fields`, where a program keeps the configs of several models in one file.
    pub(super) fn nested(&self, fields: &[&str]) -> Option<&str> {
        let inside =
            |value: &Value| value.as_object().is_some_and(|o| fields.iter().any(|field| o.contains_key(*field)));
        self.fields.iter().find(|(_, value)| inside(value)).map(|(name, _)| name.as_str())
    }

    /// Fields that are not `known`: an error where one may change the results, a warning for each where not. `other`: the
    /// fields of the other generation and its class.
    pub(super) fn check_fields(&self, known: &[&str], other: (&[&str], &str)) -> Result<Vec<String>> {
        let path = self.path.display();
        let mut warnings = self.warnings.clone();
        for (name, value) in self.fields.iter().filter(|(name, value)| !name.starts_with('_') && !value.is_null()) {
            let name = name.as_str();
            if [known, &HOUSEKEEPING, &scaling::OTHERS].iter().any(|fields| fields.contains(&name)) {
                continue;
            }
            if let Some((_, fixed)) = FIXED.iter().find(|(field, _)| *field == name) {
                if !serde_json::from_str::<Vec<Value>>(fixed).is_ok_and(|fixed| fixed.iter().any(|f| same(f, value))) {
                    fail!(UnsupportedModel, "{path}: {name}: found {value}, every WF-VAE has one of {fixed}");
                }
                continue;
            }
            if other.0.contains(&name) {
                fail!(Config, "{path}: {name}: a field of {}, the other generation; is _class_name right?", other.1);
            }
            if let Some(meant) = known.iter().find(|known| alike(name, known)).filter(|meant| **meant != "dropout") {
                fail!(Config, "{path}: {name}: there is no such field; is {meant} meant?");
            }
            warnings.push(format!("{path}: unknown field {name} is ignored"));
        }
        Ok(warnings)
    }

    fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|v| !v.is_null())
    }

    pub(crate) fn text<'a>(&'a self, field: &str, default: &'a str) -> Result<&'a str> {
        match self.value(field) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(other) => fail!(Config, "{}: {field}: found {other}, expected a string", self.path.display()),
        }
    }

    pub(crate) fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.value(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => fail!(Config, "{}: {field}: found {other}, expected true or false", self.path.display()),
        }
    }

    pub(crate) fn channels(&self, field: &str, default: usize) -> Result<usize> {
        self.integer(field, default, 1..=MAX_CHANNELS)
    }

    pub(crate) fn blocks(&self, field: &str, default: usize, at_least: u64) -> Result<usize> {
        self.integer(field, default, at_least..=MAX_BLOCKS)
    }

    fn integer(&self, field: &str, default: usize, range: std::ops::RangeInclusive<u64>) -> Result<usize> {
        let Some(value) = self.value(field) else { return Ok(default) };
        match value.as_u64() {
            Some(n) if range.contains(&n) => Ok(n as usize),
            _ => fail!(
                Config,
                "{}: {field}: found {value}, expected an integer from {} to {}",
                self.path.display(),
                range.start(),
                range.end()
            ),
        }
    }

    pub(crate) fn numbers(&self, field: &str, default: &[f32]) -> Result<Vec<f32>> {
        let Some(value) = self.value(field) else { return Ok(default.to_vec()) };
        let numbers = value.as_array().and_then(|list| list.iter().map(|v| v.as_f64().map(|v| v as f32)).collect());
        match numbers {
            Some(numbers) => Ok(numbers),
            None => fail!(Config, "{}: {field}: found {value}, expected a list of numbers", self.path.display()),
        }
    }

    /// A list of channel counts.
    pub(crate) fn widths(&self, field: &str, default: &[usize]) -> Result<Vec<usize>> {
        let Some(value) = self.value(field) else { return Ok(default.to_vec()) };
        let width = |v: &Value| v.as_u64().filter(|n| (1..=MAX_CHANNELS).contains(n)).map(|n| n as usize);
        match value.as_array().and_then(|list| list.iter().map(width).collect()) {
            Some(widths) => Ok(widths),
            None => fail!(
                Config,
                "{}: {field}: found {value}, expected a list of integers from 1 to {MAX_CHANNELS}",
                self.path.display()
            ),
        }
    }

    /// A list of names.
    pub(crate) fn texts<'a>(&'a self, field: &str, default: &[&'a str]) -> Result<Vec<&'a str>> {
        let Some(value) = self.value(field) else { return Ok(default.to_vec()) };
        match value.as_array().and_then(|list| list.iter().map(Value::as_str).collect()) {
            Some(texts) => Ok(texts),
            None => fail!(Config, "{}: {field}: found {value}, expected a list of strings", self.path.display()),
        }
    }

    pub(crate) fn interpolation(&self, default: Interpolation) -> Result<Interpolation> {
        let default = match default {
            Interpolation::Nearest => "nearest",
            Interpolation::Trilinear => "trilinear",
        };
        match self.text("t_interpolation", default)? {
            "nearest" => Ok(Interpolation::Nearest),
            "trilinear" => Ok(Interpolation::Trilinear),
            other => self.unknown_value("t_interpolation", other, "\"nearest\" or \"trilinear\""),
        }
    }

    pub(crate) fn norm_type(&self, default: NormType) -> Result<NormType> {
        let default = match default {
            NormType::Layer => "layernorm",
            NormType::Group => "groupnorm",
        };
        match self.text("norm_type", default)? {
            "layernorm" => Ok(NormType::Layer),
            "groupnorm" => Ok(NormType::Group),
            other => self.unknown_value("norm_type", other, "\"layernorm\" or \"groupnorm\""),
        }
    }

    /// The error for a value that no WF-VAE has.
    pub(crate) fn unknown_value<T>(&self, field: &str, found: &str, expected: &str) -> Result<T> {
        fail!(Config, "{}: {field}: found \"{found}\", expected {expected}", self.path.display())
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64())
}

/// Whether `name` is `known`, written differently or with one or two letters wrong.
fn alike(name: &str, known: &str) -> bool {
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    distance(&plain(name), &plain(known)) <= if known.len() < 8 { 1 } else { 2 }
}

/// Letters to insert, remove or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, d) in b.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
