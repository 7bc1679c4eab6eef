//! Reads a config's JSON object and rejects names that are there twice with different values. Parsers keep the last value of a
//! name, but the author may have meant the first.

use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::{Result, Value};

/// The fields in the order of the text.
pub(super) fn read(text: &str) -> Result<Vec<(String, Value)>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let fields = reader.deserialize_map(Fields)?;
    reader.end()?;
    Ok(fields)
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
        let mut fields: Vec<(String, Value)> = vec![];
        let mut seen = std::collections::HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            match seen.insert(name.clone(), fields.len()) {
                Some(before) if fields[before].1 != value => {
                    return Err(A::Error::custom(format!("the name {name} is there twice")));
                }
                _ => fields.push((name, value)),
            }
        }
        Ok(fields)
    }
}
