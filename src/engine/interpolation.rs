//! Which frames of the lower rate make a frame of the doubled rate (docs/spec.md section 5: upstream's interpolation with
//! half-pixel centres, over all frames but the clip's first).

use crate::error::Result;
use crate::graph::port;
use crate::memory;
use crate::model::Interpolation;

/// An interpolated frame: which low-rate frames of the clip, with which weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Blend {
    pub(crate) before: u64,
    pub(crate) now: u64,
    pub(crate) weights: [f32; 2],
}

impl Blend {
    fn alone(now: u64) -> Self {
        Blend { before: now, now, weights: [0.0, 1.0] }
    }
}

/// Frame `n` of the doubled rate, as it is unless it is the clip's last.
fn frame(interpolation: Interpolation, n: u64) -> Blend {
    match (n, interpolation) {
        (0, _) => Blend::alone(0),
        (_, Interpolation::Nearest) => Blend::alone(n.div_ceil(2)),
        (1, Interpolation::Trilinear) => Blend::alone(1),
        (_, Interpolation::Trilinear) => {
            let weights = if n.is_multiple_of(2) { [0.75, 0.25] } else { [0.25, 0.75] };
            Blend { before: n / 2, now: n / 2 + 1, weights }
        }
    }
}

/// The frames of the doubled rate that become final when low-rate frame `now` arrives.
pub(super) fn made_final(interpolation: Interpolation, now: u64) -> std::ops::Range<u64> {
    match (now, interpolation) {
        (0, _) => 0..1,
        (_, Interpolation::Nearest) => 2 * now - 1..2 * now + 1,
        (1, Interpolation::Trilinear) => 1..2,
        (_, Interpolation::Trilinear) => 2 * now - 2..2 * now,
    }
}

/// The clip's last frame, which waited for a successor of low-rate frame `last`.
pub(super) fn held_back(interpolation: Interpolation, last: u64) -> Option<u64> {
    (interpolation == Interpolation::Trilinear && last > 0).then_some(2 * last)
}

/// A causal convolution of frame `n` and the two before it, as a sum over low-rate frames: `newest` - 2, `newest` - 1 and
/// `newest`. For each of these, the weights of the three time taps, oldest first. The clip's first frame stands for its own past.
/// `last`: frame `n` is the clip's last, which was held back.
pub(super) fn under_taps(interpolation: Interpolation, n: u64, newest: u64, last: bool) -> [f32; 9] {
    let mut weights = [0.0; 9];
    for tap in 0..3 {
        let blend = match last && tap == 2 {
            true => Blend::alone(newest),
            false => frame(interpolation, n.saturating_sub(2 - tap)),
        };
        for (low, weight) in [(blend.before, blend.weights[0]), (blend.now, blend.weights[1])] {
            if weight != 0.0 {
                let row = low + 2 - newest;
                weights[(3 * row + tap) as usize] += weight;
            }
        }
    }
    weights
}

/// All frames of a clip of `count` low-rate frames.
pub(crate) fn of_clip(interpolation: Interpolation, count: u64) -> Result<Vec<Blend>> {
    let inner = (0..count).flat_map(|now| made_final(interpolation, now)).map(|n| frame(interpolation, n));
    let last = count.checked_sub(1).filter(|last| held_back(interpolation, *last).is_some());
    let mut blends = memory::with_room(2 * count as usize, "the frames of a clip")?;
    blends.extend(inner.chain(last.map(Blend::alone)));
    Ok(blends)
}

/// For each frame of `of_clip`, the newest low-rate frame that its convolution needs, and the weights of `under_taps`.
pub(crate) fn table_of_clip(interpolation: Interpolation, count: u64) -> Result<Vec<[f32; port::TABLE_COLUMNS]>> {
    let row = |n, newest: u64, last| {
        let weights = under_taps(interpolation, n, newest, last);
        std::array::from_fn(|i| if i == 0 { newest as f32 } else { weights[i - 1] })
    };
    let inner = (0..count).flat_map(|now| made_final(interpolation, now).map(move |n| row(n, now, false)));
    let last = count.checked_sub(1).and_then(|last| Some(row(held_back(interpolation, last)?, last, true)));
    let mut rows = memory::with_room(2 * count as usize, "the frames of a clip")?;
    rows.extend(inner.chain(last));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's example: 1, 2, 4, 8 after a first frame become 1, 1.25, 1.75, 2.5, 3.5, 5, 7, 8.
    #[test]
    fn interpolated_frames_equal_the_specification() {
        let low = [-100.0, 1.0, 2.0, 4.0, 8.0];
        let value = |b: &Blend| b.weights[0] * low[b.before as usize] + b.weights[1] * low[b.now as usize];
        let trilinear: Vec<f32> = of_clip(Interpolation::Trilinear, 5).unwrap().iter().map(value).collect();
        assert_eq!(trilinear, [-100.0, 1.0, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, 8.0]);
        let nearest: Vec<f32> = of_clip(Interpolation::Nearest, 3).unwrap().iter().map(value).collect();
        assert_eq!(nearest, [-100.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(of_clip(Interpolation::Trilinear, 1).unwrap().len(), 1);
    }

    #[test]
    fn a_table_has_the_newest_frame_of_each() {
        let newest = |rows: Vec<[f32; 10]>| rows.iter().map(|row| row[0]).collect::<Vec<_>>();
        let trilinear = table_of_clip(Interpolation::Trilinear, 4).unwrap();
        assert_eq!(trilinear[0][1..], under_taps(Interpolation::Trilinear, 0, 0, false));
        assert_eq!(trilinear[6][1..], under_taps(Interpolation::Trilinear, 6, 3, true));
        assert_eq!(newest(trilinear), [0.0, 1.0, 2.0, 2.0, 3.0, 3.0, 3.0]);
        assert_eq!(newest(table_of_clip(Interpolation::Nearest, 3).unwrap()), [0.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(newest(table_of_clip(Interpolation::Trilinear, 1).unwrap()), [0.0]);
    }

    /// The convolution of interpolated values is the sum of low-rate values with these weights.
    #[test]
    fn taps_of_interpolated_frames_are_sums_of_low_rate_frames() {
        let low = [3.0, 1.0, 2.0, -4.0, 8.0, 5.0];
        let kernel = [0.5, -2.0, 7.0];
        for interpolation in [Interpolation::Trilinear, Interpolation::Nearest] {
            for count in 1..=low.len() as u64 {
                let value = |b: &Blend| b.weights[0] * low[b.before as usize] + b.weights[1] * low[b.now as usize];
                let frames: Vec<f32> = of_clip(interpolation, count).unwrap().iter().map(value).collect();
                let expected: Vec<f32> = (0..frames.len())
                    .map(|n| (0..3).map(|tap: usize| kernel[tap] * frames[(n + tap).saturating_sub(2)]).sum())
                    .collect();
                let sum = |n, newest: u64, last| -> f32 {
                    let weights = under_taps(interpolation, n, newest, last);
                    let at = |i: u64| low[(newest + i).saturating_sub(2) as usize];
                    (0..9).map(|i| weights[i] * kernel[i % 3] * at(i as u64 / 3)).sum()
                };
                let inner = (0..count).flat_map(|now| made_final(interpolation, now).map(move |n| (n, now, false)));
                let last = held_back(interpolation, count - 1).map(|n| (n, count - 1, true));
                let found: Vec<f32> = inner.chain(last).map(|(n, newest, last)| sum(n, newest, last)).collect();
                assert_eq!(found, expected, "{interpolation:?}, {count} frames");
            }
        }
    }
}
