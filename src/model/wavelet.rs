//! Reads and checks the Haar constants of a checkpoint. docs/spec.md section 2 defines the transforms.

use super::checkpoint::Checkpoint;
use super::layer::Wavelet;
use crate::error::{Result, fail};

/// The reference's rounded value of 1/(2*sqrt(2)). The rounding affects results, so it is kept.
const DEFAULT_GAIN_3D: f32 = 0.3536;
const GAIN_2D: f32 = 0.5;
const BANDS_3D: [&str; 8] = ["h", "g", "hh", "gh", "h_v", "g_v", "hh_v", "gh_v"];
const BANDS_2D: [&str; 4] = ["aa", "ad", "da", "dd"];

/// The sign of tap (t, h, w) in a band of the 3D transform, where band = 4t + 2h + w.
pub(crate) fn sign_3d(band: usize, t: usize, h: usize, w: usize) -> f32 {
    let minus = (band >> 2 & t) ^ (band >> 1 & h) ^ (band & w) & 1;
    if minus & 1 == 1 { -1.0 } else { 1.0 }
}

/// The sign of tap (h, w) in a band of the 2D transform. The reference orders these bands differently: band = h + 2w.
pub(crate) fn sign_2d(band: usize, h: usize, w: usize) -> f32 {
    if ((band & h) ^ (band >> 1 & w)) & 1 == 1 { -1.0 } else { 1.0 }
}

/// The transform that is stored under `prefix`, or the reference's default if none is stored.
pub(super) fn stored(checkpoint: &Checkpoint, prefix: &str, temporal: bool) -> Result<Wavelet> {
    if !temporal {
        let kernel = |band: usize| (0..4).map(|i| sign_2d(band, i >> 1, i & 1)).collect::<Vec<_>>();
        stored_gain(checkpoint, prefix, &BANDS_2D, &[1, 1, 2, 2], GAIN_2D, kernel)?;
        return Ok(Wavelet::Haar2d);
    }
    let kernel = |band: usize| (0..8).map(|i| sign_3d(band, i >> 2, i >> 1 & 1, i & 1)).collect::<Vec<_>>();
    let gain = stored_gain(checkpoint, prefix, &BANDS_3D, &[1, 1, 2, 2, 2], DEFAULT_GAIN_3D, kernel)?;
    Ok(Wavelet::Haar3d { gain })
}

/// Checks the signs of all bands and returns their common magnitude.
fn stored_gain(
    checkpoint: &Checkpoint,
    prefix: &str,
    bands: &[&str],
    shape: &[usize],
    default: f32,
    signs: impl Fn(usize) -> Vec<f32>,
) -> Result<f32> {
    // The encoder stores 3D kernels in convolution modules; all others are plain parameters.
    let names = |band: &str| [format!("{prefix}.{band}"), format!("{prefix}.{band}_conv.conv.weight")];
    let keys = bands.iter().map(|band| names(band).into_iter().find(|key| checkpoint.shape(key).is_some()));
    let keys: Vec<Option<String>> = keys.collect();
    if keys.iter().all(Option::is_none) {
        return Ok(default);
    }
    let mut gain = None;
    for (band, key) in keys.iter().enumerate() {
        let Some(key) = key else {
            let missing = &names(bands[band])[0];
            fail!(
                Checkpoint,
                "{}: tensor {missing} is missing, although other bands exist",
                checkpoint.file_of(missing)
            );
        };
        let file = checkpoint.file_of(key);
        let found = checkpoint.shape(key).unwrap_or_default();
        if found != shape {
            fail!(Checkpoint, "{file}: tensor {key}: found shape {found:?}, expected {shape:?}");
        }
        checkpoint.check_type(key)?;
        let signs = signs(band);
        let mut kernel = vec![0.0; signs.len()];
        checkpoint.read(key, &mut kernel);
        let gain = *gain.get_or_insert(kernel[0]);
        let plausible = (gain - default).abs() < 1e-3;
        if !plausible || kernel.iter().zip(&signs).any(|(value, sign)| *value != sign * gain) {
            let expected: Vec<f32> = signs.iter().map(|sign| sign * default).collect();
            fail!(Checkpoint, "{file}: tensor {key}: found {kernel:?}, expected the Haar kernel {expected:?}");
        }
    }
    Ok(gain.unwrap_or(default))
}
