//! The contents of a latent file, as a struct.

use crate::media::latents::{LatentType, Posterior};
use safetensors::Dtype;

/// The limit of frame sizes. Larger numbers in a file are an error or an attack.
pub(super) const MAX_SIDE: u64 = 1 << 15;
pub(super) const MAX_CHANNELS: u64 = 1 << 16;
pub(super) const MAX_COMPRESSION: u64 = 1 << 10;
/// Of the note, and of the name of the program.
const MAX_TEXT_BYTES: usize = 1 << 16;

/// Describes a latent file. [`Stream::latent_file`](crate::Stream::latent_file) creates this for a stream's latents.
///
/// The file is a safetensors file with one little-endian tensor of shape `[T, C, h, w]`, whose name says what it
/// contains. Everything else is in the `__metadata__` map, as strings. `docs/formats.md` lists the keys.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LatentFileInfo {
    /// [`ModelInfo::identity`](crate::ModelInfo::identity) of the model that made the latents.
    pub model: u64,
    /// [`ModelInfo::encoder_identity`](crate::ModelInfo::encoder_identity) of the model that made the latents; 0 in
    /// files of early versions, which stored only `model`.
    pub encoder: u64,
    /// [`ModelInfo::decoder_identity`](crate::ModelInfo::decoder_identity) of the model that made the latents; 0 if the
    /// model had no decoder, and in files of early versions.
    pub decoder: u64,
    /// Width of the frames in pixels.
    pub width: usize,
    /// Height of the frames in pixels.
    pub height: usize,
    /// Whether the frames were padded, because width or height is not a multiple of the spatial compression.
    pub padded: bool,
    /// Pixels per latent in each direction.
    pub spatial_compression: usize,
    /// Frames per latent after the first latent.
    pub temporal_compression: u64,
    /// The number of channels of a latent, C.
    pub latent_channels: usize,
    /// What the tensor contains. Moments have 2C channels, the mean first.
    pub posterior: Posterior,
    /// The element type of the tensor.
    pub latent_type: LatentType,
    /// Whether the latents are scaled: `(z - shift) * scale`. Moments never are.
    pub scaled: bool,
    /// The model's scale, C values; empty if the model has no usable list.
    pub scale: Vec<f32>,
    /// The model's shift, likewise.
    pub shift: Vec<f32>,
    /// The length of the clip in frames. Set by the writer.
    pub frames: u64,
    /// The number of latents, T. Set by the writer.
    pub latents: u64,
    /// Frames per second as numerator and denominator, if known.
    pub fps: Option<(u32, u32)>,
    /// The program that wrote the file: at most 65536 bytes.
    pub generator: String,
    /// Any text of at most 65536 bytes. May be empty.
    pub note: String,
}

impl LatentFileInfo {
    /// The width of a latent, w.
    pub fn latent_width(&self) -> usize {
        self.width.div_ceil(self.spatial_compression)
    }

    /// The height of a latent, h.
    pub fn latent_height(&self) -> usize {
        self.height.div_ceil(self.spatial_compression)
    }

    /// The number of channels in the file: C, or 2C for moments.
    pub fn stored_channels(&self) -> usize {
        match self.posterior {
            Posterior::Moments => 2 * self.latent_channels,
            _ => self.latent_channels,
        }
    }

    pub(super) fn plane(&self) -> usize {
        self.latent_width() * self.latent_height()
    }

    /// The name of the tensor.
    pub(super) fn tensor_name(&self) -> &'static str {
        match self.posterior {
            Posterior::Mean => "mean",
            Posterior::Sample { .. } => "sample",
            Posterior::Moments => "moments",
        }
    }

    pub(super) fn dtype(&self) -> Dtype {
        match self.latent_type {
            LatentType::F32 => Dtype::F32,
            LatentType::F16 => Dtype::F16,
        }
    }

    pub(super) fn shape(&self, latents: u64) -> Vec<usize> {
        vec![latents as usize, self.stored_channels(), self.latent_height(), self.latent_width()]
    }

    /// How many latents a clip has. The last one may cover fewer frames.
    pub(super) fn latents_for(&self, frames: u64) -> u64 {
        frames.checked_sub(1).map_or(0, |later| 1 + later.div_ceil(self.temporal_compression))
    }

    /// Checks that the fields agree with each other. Both reader and writer use this.
    pub(super) fn check(&self) -> Result<(), String> {
        let (width, height, compression) = (self.width, self.height, self.spatial_compression);
        let odd = !width.is_multiple_of(compression) || !height.is_multiple_of(compression);
        if self.padded != odd {
            return Err(format!(
                "padded is {}, which does not fit {width}x{height} with spatial compression {compression}",
                self.padded
            ));
        }
        if self.scaled && matches!(self.posterior, Posterior::Moments) {
            return Err("moments are never scaled, but scaled is true".into());
        }
        for (name, list) in [("scale", &self.scale), ("shift", &self.shift)] {
            let wanted = self.scaled || !self.scale.is_empty() || !self.shift.is_empty();
            if wanted && list.len() != self.latent_channels {
                return Err(format!(
                    "{name} has {} entries, expected {}, one per channel",
                    list.len(),
                    self.latent_channels
                ));
            }
        }
        if self.scale.iter().any(|s| !s.is_normal()) || self.shift.iter().any(|s| !s.is_finite()) {
            return Err("scale and shift must be finite, and scale must not be zero".into());
        }
        if let Some((numerator, denominator)) = self.fps
            && (numerator == 0 || denominator == 0)
        {
            return Err(format!("fps is {numerator}/{denominator}, expected two numbers of at least 1"));
        }
        for (name, text) in [("note", &self.note), ("generator", &self.generator)] {
            if text.len() > MAX_TEXT_BYTES {
                return Err(format!("the {name} has {} bytes, expected at most {MAX_TEXT_BYTES}", text.len()));
            }
        }
        Ok(())
    }
}
