//! Haar transforms, against their definition in float64.

use super::tests::{Random, four};
use super::*;
use half::bf16;

const GAIN: f32 = 0.3536;

/// The sign of a place in a block of pixels, t, h and w, in a band, by its definition.
fn sign(pictures: usize, band: usize, [t, h, w]: [usize; 3]) -> f64 {
    let differences = match pictures {
        1 => [0, band & 1, band >> 1],
        _ => [band >> 2, band >> 1 & 1, band & 1],
    };
    if (differences[0] * t + differences[1] * h + differences[2] * w) % 2 == 1 { -1.0 } else { 1.0 }
}

fn near(found: f32, expected: f64, what: &str) {
    assert!((f64::from(found) - expected).abs() <= 1e-6, "{what}: found {found}, expected {expected}");
}

const SIZES: [[usize; 2]; 5] = [[2, 2], [2, 6], [4, 130], [6, 128], [10, 258]];

#[test]
fn analysis_is_sums_and_differences() {
    for (pictures, channels, [height, width]) in cases(SIZES) {
        let mut random = Random(5);
        let values: Vec<_> = (0..pictures).map(|_| random.values(channels * height * width)).collect();
        let frames: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let analysis = Analysis { pictures: &frames, channels, height, width, gain: GAIN };
        let (stored, [rows, columns]) = (analysis.coefficients(), analysis.result());
        for target in Target::all() {
            let mut found = vec![f32::NAN; rows * columns * stored];
            let mut low = vec![f32::NAN; channels * rows * columns];
            let to = Coefficients::Pixels(found.as_mut_ptr());
            unsafe { target.analyse(analysis, &four, to, Some(low.as_mut_ptr())) };
            for (i, value) in found.iter().enumerate() {
                let (pixel, band, c) = (i / stored, i % stored / channels, i % channels);
                let (y, x) = (pixel / columns, pixel % columns);
                let places = (0..4 * pictures).map(|i| [i / 4, i / 2 % 2, i % 2]);
                let value_at = |[t, h, w]: [usize; 3]| values[t][(c * height + 2 * y + h) * width + 2 * x + w];
                let sum: f64 = places.map(|at| sign(pictures, band, at) * f64::from(value_at(at))).sum();
                near(*value, sum * f64::from(GAIN), "a coefficient");
                if band == 0 {
                    assert_eq!(low[(c * rows + y) * columns + x], *value);
                }
            }
            // The bordered frame is the same, rounded.
            let geometry = Bordered::new([rows, columns], stored);
            let mut bordered = vec![bf16::NAN; geometry.len()];
            let to = Coefficients::Bordered(bordered.as_mut_ptr());
            unsafe { target.analyse(analysis, &four, to, None) };
            let mut expected = vec![bf16::ZERO; geometry.len()];
            for (i, pixel) in found.chunks(stored).enumerate() {
                let at = (geometry.row(i / columns) + i % columns) * geometry.stored;
                for (to, value) in expected[at..].iter_mut().zip(pixel) {
                    *to = bf16::from_f32(*value);
                }
            }
            assert!(bordered == expected, "{pictures} pictures of {channels}x{height}x{width}");
        }
    }
}

#[test]
fn synthesis_is_sums_and_differences() {
    for (pictures, channels, [height, width]) in cases(SIZES.map(|size| size.map(|n| n / 2))) {
        let mut random = Random(6);
        let stored = 4 * pictures * channels;
        let coefficients = random.values(height * width * stored);
        let low = random.values(channels * height * width);
        for (target, low) in Target::all().into_iter().flat_map(|target| [(target, None), (target, Some(&low[..]))]) {
            let synthesis = Synthesis { coefficients: &coefficients, low, channels, height, width, gain: GAIN };
            let mut found = vec![vec![f32::NAN; 4 * channels * height * width]; pictures];
            let to: Vec<_> = found.iter_mut().map(|picture| picture.as_mut_ptr()).collect();
            unsafe { target.synthesise(synthesis, &four, &to) };
            for (t, picture) in found.iter().enumerate() {
                for (i, value) in picture.iter().enumerate() {
                    let (c, row, column) = (i / (4 * height * width), i / (2 * width) % (2 * height), i % (2 * width));
                    let pixel = row / 2 * width + column / 2;
                    let mut sum = 0.0;
                    for band in 0..4 * pictures {
                        let mut term = f64::from(coefficients[pixel * stored + band * channels + c]);
                        if band == 0 {
                            term += low.map_or(0.0, |low| f64::from(low[c * height * width + pixel]));
                        }
                        sum += sign(pictures, band, [t, row % 2, column % 2]) * term;
                    }
                    near(*value, sum * f64::from(GAIN), "a pixel");
                }
            }
        }
    }
}

fn cases(sizes: [[usize; 2]; 5]) -> impl Iterator<Item = (usize, usize, [usize; 2])> {
    [(1, 3), (2, 3), (2, 1)]
        .into_iter()
        .flat_map(move |(pictures, channels)| sizes.map(|size| (pictures, channels, size)))
}
