//! Files that hold the latents of a clip, with all that one needs to use them later: safetensors with one tensor,
//! `[T, C, h, w]`, named after what it holds, and a `__metadata__` map of strings. docs/formats.md lists its keys.

mod reader;
mod writer;

pub use reader::LatentReader;
pub use writer::LatentWriter;

use super::latents::{LatentType, Posterior};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::str::FromStr;

const FORMAT: &str = "wfvae-latents";
const FORMAT_VERSION: &str = "1";
/// As for frames; larger numbers in a file are a mistake or an attack.
const MAX_SIDE: u64 = 1 << 15;
const MAX_CHANNELS: u64 = 1 << 16;
const MAX_COMPRESSION: u64 = 1 << 10;
const MAX_NOTE_BYTES: usize = 1 << 16;

/// What a latent file holds. [`Stream::latent_file`](crate::Stream::latent_file) makes one for a stream's latents.
///
/// The file is safetensors with one little-endian tensor, `[T, C, h, w]`, named after what it holds. All else is in the
/// `__metadata__` map, as strings; `docs/formats.md` lists its keys.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LatentFileInfo {
    /// [`ModelInfo::identity`](crate::ModelInfo::identity) of the model that the latents belong to.
    pub model: u64,
    /// [`ModelInfo::encoder_identity`](crate::ModelInfo::encoder_identity) of the encoder that made the latents; 0 if an
    /// early version wrote the file, which knew `model` only.
    pub encoder: u64,
    /// [`ModelInfo::decoder_identity`](crate::ModelInfo::decoder_identity) of the model that made the latents; 0 if it held
    /// no decoder, or as above.
    pub decoder: u64,
    /// Of the frames, in pixels.
    pub width: usize,
    /// Of the frames, in pixels.
    pub height: usize,
    /// Whether width or height is not a multiple of the spatial compression, so that the frames were padded.
    pub padded: bool,
    /// Pixels per latent value, in each direction.
    pub spatial_compression: usize,
    /// Frames per latent, after the first.
    pub temporal_compression: u64,
    /// C.
    pub latent_channels: usize,
    /// What the numbers are; moments have 2C channels, the mean first.
    pub posterior: Posterior,
    /// How the file stores them.
    pub latent_type: LatentType,
    /// Whether they are `(z - shift) * scale`. Moments never are.
    pub scaled: bool,
    /// The model's list, C numbers, or none where the model has no usable lists.
    pub scale: Vec<f32>,
    /// As `scale`.
    pub shift: Vec<f32>,
    /// Of the clip. Set by the writer.
    pub frames: u64,
    /// T. Set by the writer.
    pub latents: u64,
    /// Frames per second, a numerator and a denominator, if known.
    pub fps: Option<(u32, u32)>,
    /// What wrote the file.
    pub generator: String,
    /// The writer's own text, up to 65536 bytes; may be empty.
    pub note: String,
}

impl LatentFileInfo {
    /// w of the latents.
    pub fn latent_width(&self) -> usize {
        self.width.div_ceil(self.spatial_compression)
    }

    /// h of the latents.
    pub fn latent_height(&self) -> usize {
        self.height.div_ceil(self.spatial_compression)
    }

    /// Channels that the file stores: C, or 2C for moments.
    pub fn stored_channels(&self) -> usize {
        match self.posterior {
            Posterior::Moments => 2 * self.latent_channels,
            _ => self.latent_channels,
        }
    }

    fn plane(&self) -> usize {
        self.latent_width() * self.latent_height()
    }

    /// The tensor's name.
    fn tensor_name(&self) -> &'static str {
        match self.posterior {
            Posterior::Mean => "mean",
            Posterior::Sample { .. } => "sample",
            Posterior::Moments => "moments",
        }
    }

    fn dtype(&self) -> Dtype {
        match self.latent_type {
            LatentType::F32 => Dtype::F32,
            LatentType::F16 => Dtype::F16,
        }
    }

    fn shape(&self, latents: u64) -> Vec<usize> {
        vec![latents as usize, self.stored_channels(), self.latent_height(), self.latent_width()]
    }

    /// Latents of a clip, with the last group completed.
    fn latents_for(&self, frames: u64) -> u64 {
        frames.checked_sub(1).map_or(0, |later| 1 + later.div_ceil(self.temporal_compression))
    }

    /// The JSON header for so many latents. Its keys are sorted, so that equal clips give equal files.
    fn header(&self, latents: u64, frames: u64) -> Result<String, String> {
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

    /// Reads a header that safetensors found consistent in itself.
    fn parse(header: &Metadata) -> Result<Self, String> {
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
            return Err(format!("found {} tensors{first}; expected one, mean, sample or moments", names.len()));
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
            return Err(format!("the tensor is named {}, its posterior says {expected:?}", quoted(name)));
        }
        let expected = info.shape(info.latents_for(info.frames));
        if tensor.shape != expected {
            let (frames, width, height) = (info.frames, info.width, info.height);
            return Err(format!(
                "tensor {name}: found shape {}, expected {expected:?} for {frames} frames of {width}x{height}",
                cut(format!("{:?}", tensor.shape))
            ));
        }
        Ok(info)
    }

    /// What must hold for files that are written as well.
    fn check(&self) -> Result<(), String> {
        let (width, height, compression) = (self.width, self.height, self.spatial_compression);
        let odd = !width.is_multiple_of(compression) || !height.is_multiple_of(compression);
        if self.padded != odd {
            return Err(format!(
                "padded is {}, but {width}x{height} with compression {compression} is not",
                self.padded
            ));
        }
        if self.scaled && matches!(self.posterior, Posterior::Moments) {
            return Err("moments are never scaled, but scaled is true".into());
        }
        for (name, list) in [("scale", &self.scale), ("shift", &self.shift)] {
            let wanted = self.scaled || !self.scale.is_empty() || !self.shift.is_empty();
            if wanted && list.len() != self.latent_channels {
                return Err(format!("{name} has {} entries for {} channels", list.len(), self.latent_channels));
            }
        }
        if self.scale.iter().any(|s| !s.is_normal()) || self.shift.iter().any(|s| !s.is_finite()) {
            return Err("scale and shift must be finite, and scale not zero".into());
        }
        if let Some((numerator, denominator)) = self.fps
            && (numerator == 0 || denominator == 0)
        {
            return Err(format!("fps is {numerator}/{denominator}, expected two numbers of at least 1"));
        }
        if self.note.len() > MAX_NOTE_BYTES {
            return Err(format!("the note has {} bytes, expected at most {MAX_NOTE_BYTES}", self.note.len()));
        }
        Ok(())
    }
}

/// The metadata of a file that nobody vouches for.
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
        parts.map(Some).ok_or_else(|| format!("metadata fps: found {}, expected one like \"30000/1001\"", quoted(text)))
    }
}

/// What a file says, for messages, which need not repeat all of it.
fn quoted(text: impl AsRef<str>) -> String {
    cut(format!("{:?}", text.as_ref()))
}

fn cut(text: String) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
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
