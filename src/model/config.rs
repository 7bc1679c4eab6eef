//! Reads `config.json` strictly: a field with a wrong type or an unknown value is an error that names the field.

use super::{damage, fields};
use crate::error::{Result, fail, shortened};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Of blocks in a level, of levels, and of the entries of lists about them. Models have up to 10; more means that the file is damaged.
pub(super) const MAX_BLOCKS: u64 = 64;
/// Of a layer, and so of the entries of lists with a number for each channel. Models have up to 2048.
pub(super) const MAX_CHANNELS: u64 = 1 << 16;

/// How the decoder doubles the frame rate: the field `t_interpolation` (docs/spec.md section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interpolation {
    Nearest,
    Trilinear,
}

/// The field `norm_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormType {
    Layer,
    Group,
}

/// The fields of one `config.json`, and what messages about them need.
pub(crate) struct Config {
    path: PathBuf,
    fields: Map<String, Value>,
    /// Warnings about the files, from before the config was read.
    warnings: Vec<String>,
}

/// Parses JSON, tolerating a byte order mark. The error says what is wrong with the file.
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
                if let Err(e) = fields::read(text.trim_start_matches('\u{feff}')) {
                    fail!(Config, "{}: {e}", path.display());
                }
                Ok(Config { path: path.to_path_buf(), fields, warnings: vec![] })
            }
            Ok(_) => fail!(Config, "{}: expected a JSON object", path.display()),
            Err(text) => fail!(Config, "{}: {text}", path.display()),
        }
    }

    /// Adds a warning for the owner of the model.
    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    /// The path of the file, for messages.
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

    /// The field whose object contains some of `fields`: some programs keep the configs of several models in one file.
    pub(super) fn nested(&self, fields: &[&str]) -> Option<&str> {
        let inside =
            |value: &Value| value.as_object().is_some_and(|o| fields.iter().any(|field| o.contains_key(*field)));
        self.fields.iter().find(|(_, value)| inside(value)).map(|(name, _)| name.as_str())
    }

    /// The warnings so far.
    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// All fields that are not null.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value)).filter(|(_, value)| !value.is_null())
    }

    fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|v| !v.is_null())
    }

    pub(crate) fn text<'a>(&'a self, field: &str, default: &'a str) -> Result<&'a str> {
        match self.value(field) {
            None => Ok(default),
            Some(Value::String(text)) => Ok(text),
            Some(other) => fail!(Config, "{}: {field}: found {}, expected a string", self.path.display(), shown(other)),
        }
    }

    pub(crate) fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match self.value(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(other) => {
                fail!(Config, "{}: {field}: found {}, expected true or false", self.path.display(), shown(other))
            }
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
                "{}: {field}: found {}, expected an integer from {} to {}",
                self.path.display(),
                shown(value),
                range.start(),
                range.end()
            ),
        }
    }

    /// A list with a number for each channel.
    pub(crate) fn numbers(&self, field: &str, default: &[f32]) -> Result<Vec<f32>> {
        let number = |v: &Value| v.as_f64().map(|v| v as f32);
        Ok(self.list(field, MAX_CHANNELS, "numbers", number)?.unwrap_or_else(|| default.to_vec()))
    }

    /// A list of channel counts, of levels.
    pub(crate) fn widths(&self, field: &str, default: &[usize]) -> Result<Vec<usize>> {
        let width = |v: &Value| v.as_u64().filter(|n| (1..=MAX_CHANNELS).contains(n)).map(|n| n as usize);
        let widths = self.list(field, MAX_BLOCKS, &format!("integers from 1 to {MAX_CHANNELS}"), width)?;
        Ok(widths.unwrap_or_else(|| default.to_vec()))
    }

    /// A list of names, of layers.
    pub(crate) fn texts<'a>(&'a self, field: &str, default: &[&'a str]) -> Result<Vec<&'a str>> {
        Ok(self.list(field, MAX_BLOCKS, "strings", Value::as_str)?.unwrap_or_else(|| default.to_vec()))
    }

    fn list<'a, T>(
        &'a self,
        field: &str,
        most: u64,
        what: &str,
        entry: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let path = self.path.display();
        let list = value.as_array();
        if let Some(list) = list
            && list.len() as u64 > most
        {
            fail!(Config, "{path}: {field} has {} entries, expected at most {most}", list.len());
        }
        match list.and_then(|list| list.iter().map(entry).collect()) {
            Some(entries) => Ok(Some(entries)),
            None => fail!(Config, "{path}: {field}: found {}, expected a list of {what}", shown(value)),
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
    pub(super) fn unknown_value<T>(&self, field: &str, found: &str, expected: &str) -> Result<T> {
        fail!(
            Config,
            "{}: {field}: found {}, expected {expected}",
            self.path.display(),
            shortened(format!("{found:?}"))
        )
    }
}

/// A value for a message, shortened if it is long.
pub(super) fn shown(value: &Value) -> String {
    shortened(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(value: Value) -> Config {
        Config::parse(json!({ "_class_name": "WFVAEModel", "it": value }).to_string().as_bytes(), Path::new("c"))
            .unwrap()
    }

    fn list(entry: Value, len: u64) -> Config {
        config(vec![entry; len as usize].into())
    }

    #[test]
    fn numbers_have_largest_values() {
        assert_eq!(config(MAX_CHANNELS.into()).channels("it", 1).unwrap() as u64, MAX_CHANNELS);
        let error = config((MAX_CHANNELS + 1).into()).channels("it", 1).unwrap_err();
        assert!(error.text().contains("it: found 65537, expected an integer from 1 to 65536"), "{error}");
        assert_eq!(config(MAX_BLOCKS.into()).blocks("it", 1, 0).unwrap() as u64, MAX_BLOCKS);
        let error = config((MAX_BLOCKS + 1).into()).blocks("it", 1, 0).unwrap_err();
        assert!(error.text().contains("it: found 65, expected an integer from 0 to 64"), "{error}");
    }

    #[test]
    fn lists_have_largest_lengths() {
        let text = |found: Result<usize>| found.err().map(|e| e.text().to_string()).unwrap_or_default();
        let numbers = |len| list(1.5.into(), len).numbers("it", &[]).map(|list| list.len());
        assert_eq!(numbers(MAX_CHANNELS).unwrap() as u64, MAX_CHANNELS);
        assert!(text(numbers(MAX_CHANNELS + 1)).contains("it has 65537 entries, expected at most 65536"));
        let widths = |len, width: u64| list(width.into(), len).widths("it", &[]).map(|list| list.len());
        assert_eq!(widths(MAX_BLOCKS, MAX_CHANNELS).unwrap() as u64, MAX_BLOCKS);
        assert!(text(widths(MAX_BLOCKS + 1, 1)).contains("it has 65 entries, expected at most 64"));
        assert!(text(widths(1, MAX_CHANNELS + 1)).contains("expected a list of integers from 1 to 65536"));
        let texts = |len| list("x".into(), len).texts("it", &[]).map(|list| list.len());
        assert_eq!(texts(MAX_BLOCKS).unwrap() as u64, MAX_BLOCKS);
        assert!(text(texts(MAX_BLOCKS + 1)).contains("it has 65 entries, expected at most 64"));
    }

    #[test]
    fn long_values_are_shortened_in_messages() {
        let error = config("x".repeat(10_000).into()).channels("it", 1).unwrap_err();
        assert!(error.text().len() < 200, "{error}");
    }
}
