//! How many latents and frames come of how many frames and latents. Pure arithmetic; docs/spec.md section 6.

use crate::error::{Result, fail};
use crate::model::Interpolation;

/// More than this in one call or clip is a mistake. So many latents, of as many frames as a latent can have, are fewer frames than a
/// `u64` counts.
const MAX_COUNT: u64 = 1 << 48;

/// The frame arithmetic of one network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counting {
    /// Frames per latent after the first, a power of two; 1 where frames are images.
    pub(crate) unit: u64,
    /// How often the decoder doubles the frame rate by interpolation.
    pub(crate) interpolations: u32,
    pub(crate) interpolation: Interpolation,
    /// Whether the decoder's outer wavelet doubles the frame rate once more.
    pub(crate) wavelet: bool,
}

impl Counting {
    /// Latents that `frames` give before a flush.
    pub(super) fn encoded(self, frames: u64) -> u64 {
        match frames {
            0 => 0,
            n => 1 + (n - 1) / self.unit,
        }
    }

    /// Latents of a whole clip.
    pub(crate) fn latents(self, frames: u64) -> u64 {
        match frames {
            0 => 0,
            n => 1 + (n - 1).div_ceil(self.unit),
        }
    }

    /// Frames that `latents` give before a flush.
    pub(super) fn decoded(self, latents: u64) -> u64 {
        let interpolated = (0..self.interpolations).fold(latents, |n, _| self.interpolated(n));
        if self.wavelet { doubled(interpolated) } else { interpolated }
    }

    /// Frames of a whole clip, `u64::MAX` where there would be more.
    pub(crate) fn frames(self, latents: u64) -> u64 {
        match latents {
            0 => 0,
            n => self.unit.saturating_mul(n - 1).saturating_add(1),
        }
    }

    /// Doubled-rate frames that `n` frames give before a flush. The trilinear rule holds the last one back.
    pub(super) fn interpolated(self, n: u64) -> u64 {
        match (self.interpolation, n) {
            (Interpolation::Trilinear, 2..) => 2 * (n - 1),
            _ => doubled(n),
        }
    }

    /// Frames in a whole group that have gone in before any come out: the encoder's share of the delay.
    pub(crate) fn encode_delay(self) -> u64 {
        self.unit - 1
    }

    /// Frames that the decoder holds back until more latents or the flush come.
    pub(crate) fn decode_delay(self) -> u64 {
        let latents = 1 << 20;
        self.frames(latents) - self.decoded(latents)
    }
}

pub(super) fn doubled(n: u64) -> u64 {
    (2 * n).saturating_sub(1)
}

pub(crate) fn check_count(what: &str, count: u64) -> Result<()> {
    if count > MAX_COUNT {
        fail!(InvalidArgument, "{count} {what}: more than {MAX_COUNT}, the most that there may be");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of docs/spec.md section 6: frames after latent 0, 1, 2, 3, and of the flush.
    #[test]
    fn decoded_frames_equal_the_specification() {
        use Interpolation::*;
        let table = [
            (1, Trilinear, [1, 2, 3, 4], 0),
            (2, Trilinear, [1, 3, 5, 7], 0),
            (4, Trilinear, [1, 3, 7, 11], 2),
            (4, Nearest, [1, 5, 9, 13], 0),
            (8, Trilinear, [1, 3, 11, 19], 6),
            (8, Nearest, [1, 9, 17, 25], 0),
        ];
        for (unit, interpolation, after, flush) in table {
            let unit: u64 = unit;
            let wavelet = unit > 1;
            let interpolations = unit.ilog2() - u32::from(wavelet);
            let counting = Counting { unit, interpolations, interpolation, wavelet };
            assert_eq!([1, 2, 3, 4].map(|n| counting.decoded(n)), after, "{unit}x {interpolation:?}");
            for latents in 2..50 {
                assert_eq!(counting.frames(latents) - counting.decoded(latents), flush);
            }
            assert_eq!((counting.decoded(0), counting.decoded(1), counting.frames(1)), (0, 1, 1));
            assert_eq!(counting.decode_delay(), flush);
        }
    }

    /// Of the model that makes most of it. Arithmetic that overflows panics here.
    #[test]
    fn the_longest_clip_can_be_counted() {
        check_count("latents", MAX_COUNT).unwrap();
        let error = check_count("latents", MAX_COUNT + 1).unwrap_err();
        assert!(error.text().starts_with("281474976710657 latents: more than 281474976710656"), "{error}");
        for interpolation in [Interpolation::Nearest, Interpolation::Trilinear] {
            let counting = Counting { unit: 1 << 15, interpolations: 14, interpolation, wavelet: true };
            let frames = counting.frames(MAX_COUNT);
            assert!(counting.decoded(MAX_COUNT) <= frames && frames < 1 << 63, "{interpolation:?}");
            assert_eq!(counting.latents(frames), MAX_COUNT);
        }
    }

    /// docs/spec.md section 11: 4x compression by two interpolations gives 4 j - 2 frames in total after latent j, and 3 on flush.
    #[test]
    fn decoded_frames_without_wavelets_equal_the_specification() {
        let counting = Counting { unit: 4, interpolations: 2, interpolation: Interpolation::Trilinear, wavelet: false };
        assert_eq!([1, 2, 3, 4, 5].map(|n| counting.decoded(n)), [1, 2, 6, 10, 14]);
        assert_eq!((counting.frames(5), counting.decode_delay()), (17, 3));
    }
}
