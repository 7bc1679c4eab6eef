//! Converts latents between the caller and the network: sampling, scaling, types and checks.

use super::latents::{Latents, LatentsMut, Posterior, or_scaled};
use super::pixels::Rect;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::finite::{first_f16_not_finite, first_not_finite, first_not_finite_as};
use crate::model::Network;
use half::f16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, StandardNormal};

/// The reference's limits of the log-variance.
const LOG_VARIANCE: (f32, f32) = (-30.0, 20.0);

/// Converts the network's output to the caller's latents, and the caller's latents to the network's input.
pub(crate) struct LatentCodec {
    posterior: Posterior,
    /// Columns of one channel, and its elements.
    width: usize,
    plane: usize,
    scaled: bool,
    /// (scale, shift) of each channel.
    scaling: Vec<(f32, f32)>,
}

impl LatentCodec {
    pub(crate) fn new(network: &Network, posterior: Posterior, scaled: bool, size: Rect) -> Result<Self> {
        let scaling = match (&network.scaling, scaled) {
            (_, false) => vec![(1.0, 0.0); network.latent_channels],
            (Ok(lists), true) => lists.scale.iter().copied().zip(lists.shift.iter().copied()).collect(),
            (Err(text), true) => {
                let text = format!("scaled latents were requested, but {text}");
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
        };
        let (width, plane) = (size.width, size.width * size.height);
        Ok(LatentCodec { posterior, width, plane, scaled: scaled && posterior != Posterior::Moments, scaling })
    }

    /// The seed of the latents that follow, which are samples.
    pub(crate) fn set_seed(&mut self, seed: u64) {
        self.posterior = Posterior::Sample { seed };
    }

    /// The channels of an encoded latent.
    pub(crate) fn encoded_channels(&self) -> usize {
        match self.posterior {
            Posterior::Moments => 2 * self.scaling.len(),
            _ => self.scaling.len(),
        }
    }

    /// The elements of an encoded latent.
    pub(crate) fn encoded_len(&self) -> usize {
        self.encoded_channels() * self.plane
    }

    /// The elements of a latent to decode.
    pub(crate) fn decoded_len(&self) -> usize {
        self.scaling.len() * self.plane
    }

    /// Writes a latent from its moments, which must be finite. `index` is its index in the clip, `call_index` its index in
    /// the call.
    pub(crate) fn encode(
        &self,
        moments: &[f32],
        index: u64,
        call_index: usize,
        out: &mut LatentsMut<'_>,
    ) -> Result<()> {
        self.write(moments, index, call_index, out);
        let range = call_index * self.encoded_len()..(call_index + 1) * self.encoded_len();
        match out {
            LatentsMut::F32(values) if first_not_finite(&values[range.clone()]).is_some() => {
                let (what, cause) = match self.scaled {
                    true => ("scaled, it is", "the config's scale is wrong, or the weights are damaged"),
                    false => ("its sample is", "the weights are damaged"),
                };
                fail!(NotFinite, "latent {index}: {what} too large for float32: {cause}")
            }
            LatentsMut::F16(values) if first_f16_not_finite(&values[range.clone()]).is_some() => {
                let advice = or_scaled(self.posterior, self.scaled);
                fail!(
                    NotFinite,
                    "latent {index}: too large for float16, whose largest value is 65504; store float32 latents{advice}"
                )
            }
            _ => Ok(()),
        }
    }

    fn write(&self, moments: &[f32], index: u64, call_index: usize, out: &mut LatentsMut<'_>) {
        let start = call_index * self.encoded_len();
        let (mean, log_variance) = moments.split_at(self.decoded_len());
        let log_variance = log_variance.iter().map(|v| v.clamp(LOG_VARIANCE.0, LOG_VARIANCE.1));
        match self.posterior {
            Posterior::Moments => out.write(start, mean.iter().copied().chain(log_variance)),
            Posterior::Mean => out.write(start, self.scaled(mean.iter().copied())),
            Posterior::Sample { seed } => {
                let mut noise = ChaCha8Rng::seed_from_u64(seed);
                noise.set_stream(index);
                let sample = mean.iter().zip(log_variance).map(|(mean, log_variance)| {
                    let eps: f32 = StandardNormal.sample(&mut noise);
                    mean + (0.5 * log_variance).exp() * eps
                });
                out.write(start, self.scaled(sample));
            }
        }
    }

    fn scaled(&self, values: impl Iterator<Item = f32>) -> impl Iterator<Item = f32> {
        values.enumerate().map(|(i, z)| {
            let (scale, shift) = self.scaling[i / self.plane];
            (z - shift) * scale
        })
    }

    /// Fails if any of these latents is not finite, before or after unscaling. `first` is the clip index of the first
    /// latent.
    pub(crate) fn check(&self, latents: &Latents<'_>, first: u64) -> Result<()> {
        let size = self.decoded_len();
        let bad = match latents {
            Latents::F32(values) => self.first_not_finite(values, |z| z),
            Latents::F16(values) => self.first_not_finite(values, f16::to_f32),
        };
        let Some(bad) = bad else { return Ok(()) };
        let (call_index, channel, value) = (bad / size, bad % size / self.plane, latents.value(bad));
        let text = if value.is_finite() { ", too large to be unscaled" } else { ", expected finite numbers" };
        fail!(
            NotFinite,
            "latents: latent {call_index} of the call, latent {} of the clip: channel {channel}: element {} of its \
            plane is {value}{text}",
            first + call_index as u64,
            bad % self.plane
        )
    }

    /// The index of the first value that is not finite, as given or once unscaled.
    fn first_not_finite<T: Copy>(&self, values: &[T], value: impl Fn(T) -> f32) -> Option<usize> {
        values.chunks_exact(self.plane).enumerate().find_map(|(i, plane)| {
            let first = i % self.scaling.len() * self.plane;
            first_not_finite_as(plane, |z| self.unscale(first, value(z))).map(|index| i * self.plane + index)
        })
    }

    fn unscale(&self, i: usize, z: f32) -> f32 {
        let (scale, shift) = self.scaling[i / self.plane];
        z / scale + shift
    }

    /// Fills the network's input with a part of a latent. `call_index` is its index in the call.
    pub(crate) fn decode(&self, latents: &Latents<'_>, call_index: usize, part: &Rect, out: &mut [f32]) {
        for (channel, out) in out.chunks_exact_mut(part.width * part.height).enumerate() {
            let first = channel * self.plane;
            for (y, out) in out.chunks_exact_mut(part.width).enumerate() {
                let start = call_index * self.decoded_len() + first + (part.y + y) * self.width + part.x;
                match latents {
                    Latents::F32(values) => {
                        out.iter_mut().zip(&values[start..]).for_each(|(out, z)| *out = self.unscale(first, *z));
                    }
                    Latents::F16(values) => {
                        out.iter_mut()
                            .zip(&values[start..])
                            .for_each(|(out, z)| *out = self.unscale(first, z.to_f32()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A latent of one channel with two values, from their means and log-variances.
    fn encode(posterior: Posterior, scaling: (f32, f32), moments: [f32; 4]) -> Vec<f32> {
        let codec = LatentCodec { posterior, width: 2, plane: 2, scaled: true, scaling: vec![scaling] };
        let mut out = vec![0.0; codec.encoded_len()];
        codec.encode(&moments, 0, 0, &mut LatentsMut::F32(&mut out)).unwrap();
        out
    }

    #[test]
    fn errors_name_the_latent_the_channel_and_the_element() {
        let scaling = vec![(1.0, 0.0), (1e-3, 0.0)];
        let codec = LatentCodec { posterior: Posterior::Mean, width: 2, plane: 2, scaled: true, scaling };
        let text = |values: [f32; 8]| codec.check(&Latents::F32(&values), 5).map_err(|e| e.text().to_string());
        assert_eq!(text([1.0; 8]), Ok(()));
        let mut values = [1.0; 8];
        values[5] = f32::NAN;
        let nan = "latents: latent 1 of the call, latent 6 of the clip: channel 0: element 1 of its plane is NaN, expected finite";
        assert!(text(values).unwrap_err().starts_with(nan), "{:?}", text(values));
        // 1e36 / 1e-3 is no float32.
        (values[5], values[2]) = (1e36, 1e36);
        let large = "latents: latent 0 of the call, latent 5 of the clip: channel 1: element 0 of its plane is";
        assert!(text(values).unwrap_err().starts_with(large), "{:?}", text(values));
    }

    #[test]
    fn moments_are_never_scaled() {
        let moments = [0.5, -0.5, -1.0, 2.0];
        assert_eq!(encode(Posterior::Moments, (2.0, 0.25), moments), moments);
        assert_eq!(encode(Posterior::Mean, (2.0, 0.25), moments), [0.5, -1.5]);
    }

    #[test]
    fn the_log_variance_has_limits() {
        let encode = |posterior, moments| encode(posterior, (1.0, 0.0), moments);
        let (far, limits) = ([0.5, -0.5, -1e3, 1e3], [0.5, -0.5, -30.0, 20.0]);
        assert_eq!(encode(Posterior::Moments, far), limits);
        let sample = Posterior::Sample { seed: 3 };
        let noise = encode(sample, [0.0; 4]);
        assert_eq!(encode(sample, far), [0.5 + (-15f32).exp() * noise[0], -0.5 + 10f32.exp() * noise[1]]);
    }
}
