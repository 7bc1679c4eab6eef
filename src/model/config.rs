//! `config.json`, read strictly: a field of the wrong type or with an unknown value is an error that names it.

use crate::error::{Result, fail};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// More blocks or channels than this is a damaged file, not a model.
pub(super) const MAX_BLOCKS: u64 = 64;
const MAX_CHANNELS: u64 = 1 << 16;

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
}

impl Config {
    pub(crate) fn parse(text: &[u8], path: &Path) -> Result<Self> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => Ok(Config { path: path.to_path_buf(), fields }),
            Ok(_) => fail!(Config, "{}: expected a JSON object", path.display()),
            Err(e) => fail!(Config, "{}: {e}", path.display()),
        }
    }

    /// The file's name, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn has(&self, field: &str) -> bool {
        self.value(field).is_some()
    }

    /// A warning for each field that is neither metadata (`_...`) nor in `known`.
    pub(crate) fn unknown_fields(&self, known: &[&str]) -> Vec<String> {
        let names = self.fields.keys().map(String::as_str);
        let unknown = names.filter(|name| !name.starts_with('_') && !known.contains(name));
        unknown.map(|field| format!("{}: unknown field {field} is ignored", self.path.display())).collect()
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
