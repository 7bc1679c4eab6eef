//! Latents in the caller's memory.

use crate::finite::{first_f16_not_finite, first_not_f16, first_not_finite};
use half::f16;
use std::fmt;

/// What the encoder writes. For each value, the network outputs the mean and variance of a Gaussian (arXiv 1312.6114).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Posterior {
    /// The mean, which is also the mode: C channels.
    #[default]
    Mean,
    /// A sample, mean + exp(logvar / 2) * noise: C channels. The noise depends only on the seed and the latent's index
    /// in the clip, not on how the clip is split across calls.
    Sample {
        /// Selects one of 2^64 noise sequences.
        seed: u64,
    },
    /// The mean and the log-variance, clamped to -30..20: 2C channels. Moments are never scaled.
    Moments,
}

/// The element type of latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LatentType {
    /// Single precision.
    #[default]
    F32,
    /// Half precision.
    F16,
}

impl LatentType {
    /// The size of an element.
    pub fn bytes(self) -> usize {
        match self {
            LatentType::F32 => 4,
            LatentType::F16 => 2,
        }
    }
}

/// Latents to read: `[n, channels, height, width]`.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Latents<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision: `f16` of the crate `half`, version 2.
    F16(&'a [f16]),
}

/// A buffer for latents: `[n, channels, height, width]`.
#[non_exhaustive]
pub enum LatentsMut<'a> {
    /// Single precision.
    F32(&'a mut [f32]),
    /// Half precision: `f16` of the crate `half`, version 2.
    F16(&'a mut [f16]),
}

impl fmt::Debug for Latents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_len(f, matches!(self, Latents::F32(_)), self.len())
    }
}

impl fmt::Debug for LatentsMut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_len(f, matches!(self, LatentsMut::F32(_)), self.len())
    }
}

/// Without the values, of which there may be millions.
fn write_len(f: &mut fmt::Formatter<'_>, single: bool, len: usize) -> fmt::Result {
    write!(f, "{}({len} values)", if single { "F32" } else { "F16" })
}

impl Latents<'_> {
    /// The number of elements, not of latents.
    pub fn len(&self) -> usize {
        match self {
            Latents::F32(values) => values.len(),
            Latents::F16(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Latents<'_> {
    /// The index of the first value that is not finite, or would not be when stored as that type.
    pub(super) fn first_not_finite(&self, stored: LatentType) -> Option<usize> {
        match (self, stored) {
            (Latents::F32(values), LatentType::F32) => first_not_finite(values),
            (Latents::F32(values), LatentType::F16) => first_not_f16(values),
            (Latents::F16(values), _) => first_f16_not_finite(values),
        }
    }

    pub(super) fn value(&self, index: usize) -> f32 {
        match self {
            Latents::F32(values) => values[index],
            Latents::F16(values) => values[index].to_f32(),
        }
    }
}

impl LatentsMut<'_> {
    /// The number of elements, not of latents.
    pub fn len(&self) -> usize {
        match self {
            LatentsMut::F32(values) => values.len(),
            LatentsMut::F16(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of the buffer, to read.
    pub(super) fn part(&self, start: usize, count: usize) -> Latents<'_> {
        match self {
            LatentsMut::F32(values) => Latents::F32(&values[start..][..count]),
            LatentsMut::F16(values) => Latents::F16(&values[start..][..count]),
        }
    }

    pub(super) fn write(&mut self, start: usize, values: impl Iterator<Item = f32>) {
        match self {
            LatentsMut::F32(out) => out[start..].iter_mut().zip(values).for_each(|(out, value)| *out = value),
            LatentsMut::F16(out) => {
                out[start..].iter_mut().zip(values).for_each(|(out, value)| *out = f16::from_f32(value));
            }
        }
    }
}

/// For error texts about raw latents that float16 cannot hold: scaled latents are another way out. Moments are never
/// scaled.
pub(super) fn or_scaled(posterior: Posterior, scaled: bool) -> &'static str {
    if scaled || posterior == Posterior::Moments { "" } else { ", or scaled ones" }
}
