//! Which frames of the lower rate make a frame of the doubled rate (spec section 5: upstream's interpolation with
//! half-pixel centres, over all frames but the clip's first).

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

/// The frames that low-rate frame `now` makes final.
pub(crate) fn blends(interpolation: Interpolation, now: u64) -> Vec<Blend> {
    match (now, interpolation) {
        (0, _) => vec![Blend::alone(now)],
        (_, Interpolation::Nearest) => vec![Blend::alone(now); 2],
        (1, Interpolation::Trilinear) => vec![Blend::alone(now)],
        (_, Interpolation::Trilinear) => {
            [[0.75, 0.25], [0.25, 0.75]].map(|weights| Blend { before: now - 1, now, weights }).into()
        }
    }
}

/// The clip's last frame, which waited for a successor of low-rate frame `last`.
pub(crate) fn held_back(interpolation: Interpolation, last: u64) -> Option<Blend> {
    (interpolation == Interpolation::Trilinear && last > 0).then_some(Blend::alone(last))
}

/// All frames of a clip of `count` low-rate frames.
pub(crate) fn of_clip(interpolation: Interpolation, count: u64) -> Vec<Blend> {
    let last = (0..count).last().and_then(|last| held_back(interpolation, last));
    (0..count).flat_map(|now| blends(interpolation, now)).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's example: 1, 2, 4, 8 after a first frame become 1, 1.25, 1.75, 2.5, 3.5, 5, 7, 8.
    #[test]
    fn interpolated_frames_equal_the_specification() {
        let low = [-100.0, 1.0, 2.0, 4.0, 8.0];
        let value = |b: &Blend| b.weights[0] * low[b.before as usize] + b.weights[1] * low[b.now as usize];
        let trilinear: Vec<f32> = of_clip(Interpolation::Trilinear, 5).iter().map(value).collect();
        assert_eq!(trilinear, [-100.0, 1.0, 1.25, 1.75, 2.5, 3.5, 5.0, 7.0, 8.0]);
        let nearest: Vec<f32> = of_clip(Interpolation::Nearest, 3).iter().map(value).collect();
        assert_eq!(nearest, [-100.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(of_clip(Interpolation::Trilinear, 1).len(), 1);
    }
}
