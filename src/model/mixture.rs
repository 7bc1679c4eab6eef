//! Convolutions that are mixed with what they read (`layer::Mix`), as the weights of one convolution.
//!
//! A frame, or the mean of three, is a convolution, too: by a kernel with ones, or thirds, at its centre. So the mixture's
//! kernel is (1 - a) times the stored one, and a, or a third of it, more where a channel reads itself.

use super::layer::Mixed;

/// What a tensor becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mixture {
    /// The share of the stored values.
    stored: f32,
    /// The share of each of the three frames, oldest first.
    frames: [f32; 3],
}

impl Mixture {
    /// a is the sigmoid of `factor`.
    pub(super) fn new(factor: f32, with: Mixed) -> Self {
        let share = 1.0 / (1.0 + (-f64::from(factor)).exp());
        let frames = match with {
            Mixed::Mean => [(share / 3.0) as f32; 3],
            Mixed::Newest => [0.0, 0.0, share as f32],
        };
        Mixture { stored: (1.0 - share) as f32, frames }
    }

    /// Mixes some values of a `[C, C, 3, 3, 3]` kernel or a `[C]` bias. `element` is the index of the i-th in the tensor.
    pub(super) fn apply(&self, shape: &[usize], element: impl Fn(usize) -> usize, values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value *= self.stored);
        let [_, c_in, _, height, width] = *shape else { return };
        let plane = height * width;
        for (i, value) in values.iter_mut().enumerate() {
            let element = element(i);
            let (kernel, tap, pixel) = (element / plane / 3, element / plane % 3, element % plane);
            if kernel / c_in == kernel % c_in && pixel == plane / 2 {
                *value += self.frames[tap];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the definition: a * other + (1 - a) * convolution, at the centre of 3x3 frames of two channels.
    #[test]
    fn one_convolution_equals_the_mixture() {
        let (channels, a) = (2, 1.0 / (1.0 + (-0.4f32).exp()));
        let wave = |i: usize, step: f32| (i as f32 * step).sin();
        let stored: Vec<f32> = (0..channels * channels * 27).map(|i| wave(i, 0.7)).collect();
        let input: Vec<f32> = (0..channels * 27).map(|i| wave(i, 1.9)).collect();
        let convolve = |kernel: &[f32], out: usize| -> f32 {
            kernel[out * input.len()..].iter().zip(&input).map(|(weight, value)| weight * value).sum()
        };
        for with in [Mixed::Mean, Mixed::Newest] {
            let mixture = Mixture::new(0.4, with);
            let mut mixed = stored.clone();
            mixture.apply(&[channels, channels, 3, 3, 3], |i| i, &mut mixed);
            for out in 0..channels {
                let centre = |tap: usize| input[(out * 3 + tap) * 9 + 4];
                let other = match with {
                    Mixed::Mean => (centre(0) + centre(1) + centre(2)) / 3.0,
                    Mixed::Newest => centre(2),
                };
                let expected = a * other + (1.0 - a) * convolve(&stored, out);
                assert!((convolve(&mixed, out) - expected).abs() < 1e-5, "{with:?}");
            }
            let mut bias = [3.0, -1.0];
            mixture.apply(&[channels], |i| i, &mut bias);
            assert_eq!(
                bias.map(|value| (value * 100.0).round()),
                [3.0, -1.0].map(|v: f32| (v * (1.0 - a) * 100.0).round())
            );
        }
    }

    /// Parts of a kernel are mixed as the whole.
    #[test]
    fn parts_are_mixed_by_their_place() {
        let (shape, mixture) = ([2, 2, 3, 3, 3], Mixture::new(-1.0, Mixed::Mean));
        let stored: Vec<f32> = (0..2 * 2 * 27).map(|i| i as f32).collect();
        let mut whole = stored.clone();
        mixture.apply(&shape, |i| i, &mut whole);
        let start = 30;
        let mut part = stored[start..].to_vec();
        mixture.apply(&shape, |i| start + i, &mut part);
        assert_eq!(part, whole[start..]);
    }
}
