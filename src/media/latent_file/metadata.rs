//! Writes and parses the header of a latent file.

use super::info::{LatentFileInfo, MAX_CHANNELS, MAX_COMPRESSION, MAX_SIDE};
use crate::error::shortened;
use crate::media::latents::{LatentType, Posterior};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

const FORMAT: &str = "wfvae-latents";
const FORMAT_VERSION: &str = "1";

impl LatentFileInfo {
    /// The JSON header. Its keys are sorted, so that equal clips give identical files.
    pub(super) fn header(&self, latents: u64, frames: u64) -> Result<String, String> {
        let shape = self.shape(latents);
        let bytes = shape.iter().try_fold(self.latent_type.bytes(), |n, side| n.checked_mul(*side));
        let bytes = bytes.ok_or("more latents than a file can hold")?;
        let tensor = TensorInfo { dtype: self.dtype(), shape, data_offsets: (0, bytes) };
        let metadata = Metadata::new(Some(self.metadata(frames)), vec![(self.tensor_name().into(), tensor)]);
        let json = serde_json::to_value(metadata.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        Ok(json.to_string())
    }

    fn metadata(&self, frames: u64) -> HashMap<String, String> {
        let list = |values: &[f32]| serde_json::to_string(values).expect("finite numbers");
        let mut entries = vec![
            ("format", FORMAT.into()),
            ("format_version", FORMAT_VERSION.into()),
            ("model", format!("{:016x}", self.model)),
            ("width", self.width.to_string()),
            ("height", self.height.to_string()),
            ("padded", self.padded.to_string()),
            ("spatial_compression", self.spatial_compression.to_string()),
            ("temporal_compression", self.temporal_compression.to_string()),
            ("latent_channels", self.latent_channels.to_string()),
            ("posterior", self.tensor_name().into()),
            ("scaled", self.scaled.to_string()),
            ("frames", frames.to_string()),
            ("generator", self.generator.clone()),
        ];
        if let Posterior::Sample { seed } = self.posterior {
            entries.push(("seed", seed.to_string()));
        }
        for (key, identity) in [("encoder", self.encoder), ("decoder", self.decoder)] {
            if identity != 0 {
                entries.push((key, format!("{identity:016x}")));
            }
        }
        if !self.scale.is_empty() {
            entries.extend([("scale", list(&self.scale)), ("shift", list(&self.shift))]);
        }
        if let Some((numerator, denominator)) = self.fps {
            entries.push(("fps", format!("{numerator}/{denominator}")));
        }
        if !self.note.is_empty() {
            entries.push(("note", self.note.clone()));
        }
        entries.into_iter().map(|(key, value): (&str, String)| (key.into(), value)).collect()
    }

    /// Parses a header that is valid safetensors.
    pub(super) fn parse(header: &Metadata) -> Result<Self, String> {
        let empty = HashMap::new();
        let fields = Fields(header.metadata().as_ref().unwrap_or(&empty));
        match fields.0.get("format").map(String::as_str) {
            Some(FORMAT) => {}
            found => {
                let found = found.map_or("none".into(), quoted);
                return Err(format!("not a file of latents: found format {found}, expected {FORMAT:?}"));
            }
        }
        let version = fields.text("format_version")?;
        if version != FORMAT_VERSION {
            return Err(format!(
                "found format_version {}, this libwfvae reads {FORMAT_VERSION:?}; use the libwfvae that wrote it, or a \
                 newer one",
                quoted(version)
            ));
        }
        let posterior = match fields.text("posterior")? {
            "mean" => Posterior::Mean,
            "sample" => Posterior::Sample { seed: fields.number("seed", 0..=u64::MAX)? },
            "moments" => Posterior::Moments,
            other => {
                let found = quoted(other);
                return Err(format!("metadata posterior: found {found}, expected \"mean\", \"sample\" or \"moments\""));
            }
        };
        let scaled = fields.flag("scaled")?;
        let (scale, shift) = match scaled || fields.0.contains_key("scale") || fields.0.contains_key("shift") {
            true => (fields.list("scale")?, fields.list("shift")?),
            false => (vec![], vec![]),
        };
        let names = header.offset_keys();
        let [name] = names.as_slice() else {
            let first = names.first().map_or(String::new(), |name| format!(", the first is {}", quoted(name)));
            return Err(format!("found {} tensors{first}; expected one, named mean, sample or moments", names.len()));
        };
        let tensor = header.info(name).expect("a name of the header");
        let latent_type = match tensor.dtype {
            Dtype::F32 => LatentType::F32,
            Dtype::F16 => LatentType::F16,
            other => return Err(format!("tensor {name}: found {other:?}, expected F32 or F16; convert it")),
        };
        let info = LatentFileInfo {
            model: fields.identity("model")?,
            encoder: if fields.0.contains_key("encoder") { fields.identity("encoder")? } else { 0 },
            decoder: if fields.0.contains_key("decoder") { fields.identity("decoder")? } else { 0 },
            width: fields.number("width", 1..=MAX_SIDE)? as usize,
            height: fields.number("height", 1..=MAX_SIDE)? as usize,
            padded: fields.flag("padded")?,
            spatial_compression: fields.number("spatial_compression", 1..=MAX_COMPRESSION)? as usize,
            temporal_compression: fields.number("temporal_compression", 1..=MAX_COMPRESSION)?,
            latent_channels: fields.number("latent_channels", 1..=MAX_CHANNELS)? as usize,
            posterior,
            latent_type,
            scaled,
            scale,
            shift,
            frames: fields.number("frames", 1..=u64::MAX)?,
            latents: tensor.shape.first().map_or(0, |n| *n as u64),
            fps: fields.fps()?,
            generator: fields.text("generator")?.into(),
            note: fields.0.get("note").cloned().unwrap_or_default(),
        };
        info.check()?;
        if name != info.tensor_name() {
            let expected = info.tensor_name();
            return Err(format!("the tensor is named {}, expected {expected:?} from metadata posterior", quoted(name)));
        }
        let expected = info.shape(info.latents_for(info.frames));
        if tensor.shape != expected {
            let (frames, width, height) = (info.frames, info.width, info.height);
            return Err(format!(
                "tensor {name}: found shape {}, expected {expected:?} for {frames} frames of {width}x{height}",
                shortened(format!("{:?}", tensor.shape))
            ));
        }
        Ok(info)
    }
}

/// The metadata of an untrusted file.
struct Fields<'a>(&'a HashMap<String, String>);

impl<'a> Fields<'a> {
    fn text(&self, key: &str) -> Result<&'a str, String> {
        self.0.get(key).map(String::as_str).ok_or_else(|| format!("metadata {key} is missing"))
    }

    fn number(&self, key: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
        let text = self.text(key)?;
        let (first, last) = (range.start(), range.end());
        let number = u64::from_str(text).ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!("metadata {key}: found {}, expected an integer from {first} to {last}", quoted(text))
        })
    }

    fn flag(&self, key: &str) -> Result<bool, String> {
        let text = self.text(key)?;
        bool::from_str(text)
            .map_err(|_| format!("metadata {key}: found {}, expected \"true\" or \"false\"", quoted(text)))
    }

    fn list(&self, key: &str) -> Result<Vec<f32>, String> {
        let text = self.text(key)?;
        serde_json::from_str(text).map_err(|e| format!("metadata {key}: expected a JSON list of numbers: {e}"))
    }

    fn identity(&self, key: &str) -> Result<u64, String> {
        let text = self.text(key)?;
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| digits);
        number.ok_or_else(|| format!("metadata {key}: found {}, expected 16 hexadecimal digits", quoted(text)))
    }

    fn fps(&self) -> Result<Option<(u32, u32)>, String> {
        let Some(text) = self.0.get("fps") else { return Ok(None) };
        let parts = text.split_once('/').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
        parts
            .map(Some)
            .ok_or_else(|| format!("metadata fps: found {}, expected a fraction like \"30000/1001\"", quoted(text)))
    }
}

/// Quotes a value from a file for a message, shortened if it is long.
fn quoted(text: impl AsRef<str>) -> String {
    shortened(format!("{:?}", text.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back_to_the_bit() {
        let mut bits = 1u32;
        let next = || {
            bits = bits.wrapping_mul(1664525).wrapping_add(1013904223);
            f32::from_bits(bits)
        };
        let values: Vec<f32> = std::iter::repeat_with(next).filter(|v| v.is_normal()).take(20_000).collect();
        let text = serde_json::to_string(&values).unwrap();
        let map = HashMap::from([("scale".to_string(), text)]);
        assert!(Fields(&map).list("scale").unwrap() == values);
    }
}
