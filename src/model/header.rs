//! Parses the header of a safetensors file. The library's own parser is needed to accept files with unknown element
//! types, as long as the network does not use those tensors.

use super::fields;
use super::weight_type::WeightType;
use std::ops::Range;

/// The limit of the safetensors format.
const MAX_BYTES: u64 = 100_000_000;

/// One tensor. `range` is its position in the file, which contains all of it.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
}

#[derive(serde::Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The length of the header, which starts at byte 8, or what is wrong with the file. Checks that the file contains the
/// whole header. `start`: the first bytes of the file.
pub(super) fn length(start: &[u8], file_size: u64) -> Result<u64, String> {
    let Some(size) = start.first_chunk::<8>().map(|n| u64::from_le_bytes(*n)) else {
        return Err(format!("found {file_size} bytes, expected a safetensors header"));
    };
    let available = file_size - 8;
    if size > available {
        return Err(format!("truncated, or not safetensors: the header is {size} bytes, {available} are there"));
    }
    if size > MAX_BYTES {
        return Err(format!(
            "damaged, or not safetensors: the header is {size} bytes, at most {MAX_BYTES} are allowed"
        ));
    }
    Ok(size)
}

/// All tensors, sorted by offset, or what is wrong with the header.
pub(super) fn parse(header: &[u8], file_size: u64) -> Result<Vec<Entry>, String> {
    let offset = 8 + header.len() as u64;
    let text = std::str::from_utf8(header).map_err(|e| format!("invalid UTF-8 in header: {e}"))?;
    let tensors = fields::read(text, false).map_err(|e| format!("invalid JSON in header: {e}"))?;
    let mut entries = vec![];
    for (key, info) in tensors.into_iter().filter(|(key, _)| key != "__metadata__") {
        entries.push(entry(key, info, file_size - offset, offset)?);
    }
    entries.sort_by_key(|entry| (entry.range.start, entry.range.end));
    covered(&entries, offset as usize, file_size as usize)?;
    Ok(entries)
}

/// `body`: how many bytes follow the header. `offset`: where they begin.
fn entry(key: String, info: serde_json::Value, body: u64, offset: u64) -> Result<Entry, String> {
    let Info { dtype, shape, data_offsets: (start, end) } =
        serde_json::from_value(info).map_err(|e| format!("tensor {key}: {e}"))?;
    if end > body || start > end {
        return Err(format!(
            "truncated or damaged: tensor {key} is at bytes {start}..{end}, found {body} bytes of data"
        ));
    }
    let bytes = end - start;
    let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
    if let Some(size) = WeightType::of(&dtype).map(|weight| weight.size() as u64) {
        let Some(elements) = elements else {
            return Err(format!("tensor {key}: found {bytes} bytes and an impossible shape"));
        };
        if elements.checked_mul(size) != Some(bytes) {
            return Err(format!("tensor {key}: found {bytes} bytes, its shape and type need {elements} x {size}"));
        }
    }
    let shape = shape.iter().map(|n| *n as usize).collect();
    Ok(Entry { key, dtype, shape, range: (offset + start) as usize..(offset + end) as usize })
}

/// Checks that every byte between `start` and `end` belongs to exactly one tensor.
fn covered(entries: &[Entry], start: usize, end: usize) -> Result<(), String> {
    let mut at = start;
    for entry in entries {
        let (key, Range { start: from, end: to }) = (&entry.key, entry.range.clone());
        if from < at {
            return Err(format!("damaged: tensor {key} begins {} bytes inside the tensor before it", at - from));
        }
        if from > at {
            return Err(format!("damaged: {} bytes before tensor {key} belong to no tensor", from - at));
        }
        at = to;
    }
    match end - at {
        0 => Ok(()),
        more => Err(format!("{more} bytes after the last tensor: damaged, or two files in one; download it again")),
    }
}
