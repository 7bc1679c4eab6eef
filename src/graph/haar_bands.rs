//! Haar transforms as numbers.

use crate::model::{Wavelet, sign_2d, sign_3d};

pub(super) fn bands(wavelet: Wavelet) -> usize {
    if wavelet.is_temporal() { 8 } else { 4 }
}

/// Every (band, channel, t, h, w) of a transform.
pub(super) fn taps(wavelet: Wavelet, channels: usize) -> impl Iterator<Item = (usize, usize, usize, usize, usize)> {
    let (bands, times) = (bands(wavelet), if wavelet.is_temporal() { 2 } else { 1 });
    (0..bands * channels * times * 4).map(move |i| {
        let (block, pixel) = (i / 4, i % 4);
        (block / times / channels, block / times % channels, block % times, pixel / 2, pixel % 2)
    })
}

pub(super) fn coefficient(wavelet: Wavelet, band: usize, t: usize, h: usize, w: usize) -> f32 {
    match wavelet {
        Wavelet::Haar2d => 0.5 * sign_2d(band, h, w),
        Wavelet::Haar3d { gain } => gain * sign_3d(band, t, h, w),
    }
}
