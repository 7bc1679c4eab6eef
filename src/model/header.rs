//! Parses the header of a safetensors file. The library's own parser is needed to accept files with unknown element
//! types, as long as the network does not use those tensors.

use super::weight_type::WeightType;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt::Formatter;
use std::ops::Range;

/// The limit of the safetensors format.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Of a checkpoint: a hundred times what the largest models have, and more than a config can describe.
pub(super) const MAX_TENSORS: usize = 1 << 18;
/// Of a tensor's name, and of the name of its type. Those of models have up to 100.
const MAX_NAME_BYTES: usize = 1024;
/// PyTorch's limit.
const MAX_AXES: usize = 64;

/// One tensor. `range` is its position in the file, which contains all of it.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
}

#[derive(serde::Deserialize)]
struct Info {
    dtype: Name,
    shape: Axes,
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
    if size > MAX_HEADER_BYTES {
        return Err(format!(
            "damaged, or not safetensors: the header is {size} bytes, at most {MAX_HEADER_BYTES} are allowed"
        ));
    }
    Ok(size)
}

/// All tensors, sorted by offset, or what is wrong with the header.
pub(super) fn parse(header: &[u8], file_size: u64) -> Result<Vec<Entry>, String> {
    let offset = 8 + header.len() as u64;
    let text = std::str::from_utf8(header).map_err(|e| format!("invalid UTF-8 in header: {e}"))?;
    let invalid = |e: serde_json::Error| format!("invalid JSON in header: {e}");
    serde_json::from_str::<IgnoredAny>(text).map_err(invalid)?;
    // What is wrong now is not the JSON, but what it says.
    let Tensors(tensors) = serde_json::from_str(text).map_err(|e| match e.to_string() {
        of_tensor if of_tensor.starts_with("tensor ") => of_tensor,
        _ => invalid(e),
    })?;
    let mut entries = vec![];
    for (key, info) in tensors {
        entries.push(entry(key, info, file_size - offset, offset)?);
    }
    entries.sort_by_key(|entry| (entry.range.start, entry.range.end));
    covered(&entries, offset as usize, file_size as usize)?;
    Ok(entries)
}

/// `body`: how many bytes follow the header. `offset`: where they begin.
fn entry(key: String, info: Info, body: u64, offset: u64) -> Result<Entry, String> {
    let Info { dtype: Name(dtype), shape: Axes(shape), data_offsets: (start, end) } = info;
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

/// The header's tensors by name. What passes a limit is refused where it is read, before it takes memory.
struct Tensors(BTreeMap<String, Info>);

struct Name(String);

struct Axes(Vec<u64>);

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(header: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Tensors;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tensors, A::Error> {
                let (mut tensors, mut metadata) = (BTreeMap::new(), false);
                while let Some(Name(name)) = map.next_key()? {
                    let twice = if name == "__metadata__" { metadata } else { tensors.contains_key(&name) };
                    if twice {
                        return Err(A::Error::custom(format!("the name {name} is there twice")));
                    }
                    if name == "__metadata__" {
                        metadata = true;
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(too_many_tensors()));
                    }
                    let info = map.next_value::<Info>().map_err(|e| A::Error::custom(format!("tensor {name}: {e}")))?;
                    tensors.insert(name, info);
                }
                Ok(Tensors(tensors))
            }
        }

        header.deserialize_map(All)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(name: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                match name.len() {
                    ..=MAX_NAME_BYTES => Ok(Name(name.into())),
                    len => Err(E::custom(format!("a name of {len} bytes, at most {MAX_NAME_BYTES} are allowed"))),
                }
            }
        }

        name.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Axes {
    fn deserialize<D: Deserializer<'de>>(shape: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Axes;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("a shape")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Axes, A::Error> {
                let mut axes = vec![];
                while let Some(axis) = list.next_element()? {
                    if axes.len() == MAX_AXES {
                        return Err(A::Error::custom(format!("a shape of more than {MAX_AXES} axes")));
                    }
                    axes.push(axis);
                }
                Ok(Axes(axes))
            }
        }

        shape.deserialize_seq(List)
    }
}

/// Of a file, or of all shards.
pub(super) fn too_many_tensors() -> String {
    format!("more than {MAX_TENSORS} tensors, which are the most that are allowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(header: &str) -> Option<String> {
        parse(header.as_bytes(), 8 + header.len() as u64).err()
    }

    fn empty(shape: &str) -> String {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[0,0]}}"#)
    }

    #[test]
    fn headers_have_a_largest_size() {
        let of = |size: u64| length(&size.to_le_bytes(), u64::MAX);
        assert_eq!(of(MAX_HEADER_BYTES), Ok(MAX_HEADER_BYTES));
        assert!(of(MAX_HEADER_BYTES + 1).unwrap_err().contains("is 100000001 bytes, at most 100000000 are allowed"));
    }

    #[test]
    fn names_have_a_largest_size() {
        let (most, more) = ("n".repeat(MAX_NAME_BYTES), "n".repeat(MAX_NAME_BYTES + 1));
        assert_eq!(refusal(&format!(r#"{{"{most}":{}}}"#, empty("[0]"))), None);
        let text = refusal(&format!(r#"{{"{more}":{}}}"#, empty("[0]"))).unwrap();
        assert!(text.contains("a name of 1025 bytes, at most 1024 are allowed") && text.len() < 200, "{text}");
        let of_type = |name: &str| format!(r#"{{"x":{}}}"#, empty("[0]").replace("F32", name));
        assert_eq!(refusal(&of_type(&most)), None);
        assert!(refusal(&of_type(&more)).unwrap().contains("tensor x: a name of 1025 bytes"));
        // What programs write about themselves is not read.
        assert_eq!(refusal(&format!(r#"{{"__metadata__":{{"{more}":"{more}","shape":7}}}}"#)), None);
    }

    #[test]
    fn shapes_have_a_largest_number_of_axes() {
        let of = |axes: usize| refusal(&format!(r#"{{"x":{}}}"#, empty(&format!("[0{}]", ",1".repeat(axes - 1)))));
        assert_eq!(of(MAX_AXES), None);
        assert!(of(MAX_AXES + 1).unwrap().contains("tensor x: a shape of more than 64 axes"));
    }

    #[test]
    fn files_have_a_largest_number_of_tensors() {
        let of = |count: usize| {
            let tensors: Vec<String> = (0..count).map(|i| format!(r#""{i}":{}"#, empty("[0]"))).collect();
            refusal(&format!("{{{}}}", tensors.join(",")))
        };
        assert_eq!(of(MAX_TENSORS), None);
        assert!(of(MAX_TENSORS + 1).unwrap().contains("more than 262144 tensors"));
    }
}
