//! Convolutions on matrix units, against direct sums in float64.

use super::micro::unit::Unit;
use super::tests::{CASES, Case, Random, direct, four, one};
use super::workers::Workers;
use super::*;
use half::bf16;

/// A bordered frame of rounded values.
fn bordered(values: &[f32], size: [usize; 2], channels: usize) -> Vec<bf16> {
    let narrow = Narrow { frame: values, height: size[0], width: size[1], channels, doubled: false };
    let mut frame = vec![bf16::NAN; narrow.result().shape().iter().product()];
    unsafe { Target::all()[0].narrow(narrow, &one, frame.as_mut_ptr()) };
    frame
}

fn rounded(values: Vec<f32>) -> Vec<f32> {
    values.into_iter().map(|v| bf16::from_f32(v).to_f32()).collect()
}

/// Values of a bordered frame. Everything around them must be zero.
pub(super) fn within(frame: &[bf16], size: [usize; 2], channels: usize) -> Vec<f32> {
    let geometry = Bordered::new(size, channels);
    let [_, pitch, stored] = geometry.shape();
    let mut left: Vec<bf16> = frame.to_vec();
    let mut values = vec![];
    for (y, x) in (0..size[0]).flat_map(|y| (0..size[1]).map(move |x| (y, x))) {
        let pixel = &mut left[(1 + (y + 1) * pitch + x) * stored..][..channels];
        values.extend(pixel.iter().map(|v| v.to_f32()));
        pixel.fill(bf16::ZERO);
    }
    assert!(left.iter().all(|v| v.to_bits() == 0), "zeros around {geometry:?}");
    values
}

struct Setting {
    form: Form,
    side: usize,
    stride: usize,
    offset: usize,
    scale: usize,
}

const SETTINGS: [Setting; 4] = [
    Setting { form: Form::Same, side: 3, stride: 1, offset: 1, scale: 1 },
    Setting { form: Form::Doubled, side: 3, stride: 1, offset: 1, scale: 2 },
    Setting { form: Form::Strided, side: 3, stride: 2, offset: 0, scale: 1 },
    Setting { form: Form::Pointwise, side: 1, stride: 1, offset: 0, scale: 1 },
];

fn check(setting: &Setting, tolerance: f64) {
    let Setting { form, side, stride, offset, scale } = *setting;
    for case in CASES.into_iter().filter(|case| case.height % stride == 0 && case.width % stride == 0) {
        let mut random = Random(11);
        let Case { height, width, c_in, c_out, times, .. } = case;
        let size = [height, width];
        let frames: Vec<Vec<f32>> = (0..times).map(|_| rounded(random.values(height * width * c_in))).collect();
        let narrow: Vec<Vec<bf16>> = frames.iter().map(|frame| bordered(frame, size, c_in)).collect();
        let row = c_in * times * side * side;
        let mut kernel = rounded(random.values(c_out * row).iter().map(|w| w / (row as f32).sqrt()).collect());
        if form == Form::Doubled {
            // So that sums of taps are not rounded.
            kernel.iter_mut().for_each(|w| *w = (*w * 64.0).round() / 64.0);
        }
        let frames: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
        let narrow: Vec<&[bf16]> = narrow.iter().map(Vec::as_slice).collect();
        let method = |outcome| Method::Matrix(form, outcome);
        let [h, w] = method(Outcome::Sums).output_size(size);
        let pixels = h * w;
        let (bias, residual) = (random.values(c_out), random.values(pixels * c_out));
        let mut expected = direct(case, &frames, &kernel, side, stride, offset, scale);
        for (i, value) in expected.iter_mut().enumerate() {
            *value += f64::from(bias[i % c_out]) + if case.residual { f64::from(residual[i]) } else { 0.0 };
        }
        assert_eq!(expected.len(), pixels * c_out);
        let norm_scale = random.values(c_out);
        let norm = Norm { scale: &norm_scale, bias: &bias, epsilon: 1e-6, silu: true };
        let read_rows = |rows: std::ops::Range<usize>, out: &mut [f32]| {
            out.copy_from_slice(&kernel[rows.start * row..rows.end * row]);
        };
        let targets = Target::all_with_units();
        // Plain code is slow; it takes the CPU's place in the large cases only where the CPU has no unit.
        let small = pixels * c_in * c_out * times < 200_000;
        let mut first: Option<Vec<f32>> = None;
        for target in targets {
            if first.is_some() && !small {
                continue;
            }
            let convolution = |outcome| Convolution { method: method(outcome), c_out, c_in, times };
            let mut weights = vec![f32::NAN; target.packed_len(convolution(Outcome::Sums))];
            target.pack(convolution(Outcome::Sums), &read_rows, 2, &mut weights).unwrap();
            let residual = case.residual.then_some(residual.as_slice());
            let input = MatrixInput { frames: &narrow, size, c_in, weights: &weights, bias: &bias, residual };
            let convolve = |workers: Workers, threads: usize, output: MatrixOutput| {
                let outcome = if matches!(output, MatrixOutput::Normed(..)) { Outcome::Normed } else { Outcome::Sums };
                // What was in the scratch must not matter, so it is NaN.
                let scratch = ScratchPool::default();
                drop(scratch.shared(target.scratch(convolution(outcome), size, threads)));
                scratch.fill(f32::NAN);
                let resources = Resources { threads, workers, scratch: &scratch };
                // SAFETY: the outputs below have room.
                unsafe { target.convolve_narrow(convolution(outcome), input, resources, output) }.unwrap();
            };
            let mut sums = vec![f32::NAN; pixels * c_out];
            convolve(&one, 1, MatrixOutput::Sums(sums.as_mut_ptr()));
            let error = sums.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(error <= tolerance, "{case:?} {form:?} {target:?}: off by {error:.1e}");
            // Plain code is slow.
            let ways: &[(Workers, usize)] = match target.unit() == Unit::Plain {
                true => &[(&four, 4)],
                false => &[(&one, 4), (&four, 4), (&four, 64)],
            };
            // The CPU's products are those of the manual, to the last bit.
            assert_eq!(first.get_or_insert(sums.clone()), &sums, "{case:?} {form:?} {target:?}");
            for (workers, threads) in ways.iter().copied() {
                let mut again = vec![f32::NAN; pixels * c_out];
                convolve(workers, threads, MatrixOutput::Sums(again.as_mut_ptr()));
                assert_eq!(sums, again, "{case:?} {form:?} {target:?}: threads change the result");
            }
            let mut small = vec![bf16::NAN; pixels * c_out];
            convolve(&four, 4, MatrixOutput::Narrow(small.as_mut_ptr()));
            assert!(small.iter().zip(&sums).all(|(a, b)| *a == bf16::from_f32(*b)), "{case:?} {form:?} {target:?}");
            let mut normed = vec![bf16::NAN; Bordered::new([h, w], c_out).shape().iter().product()];
            let mut again = normed.clone();
            unsafe { target.normalize_narrow(LayerNorm { pixels: &sums, norm }, [h, w], &one, again.as_mut_ptr()) };
            let mut kept = vec![f32::NAN; pixels * c_out];
            convolve(&four, 4, MatrixOutput::Normed(norm, normed.as_mut_ptr(), Some(kept.as_mut_ptr())));
            assert!(kept == sums && normed == again, "{case:?} {form:?} {target:?}");
            // On one thread, jobs have all of some more channels.
            normed.fill(bf16::NAN);
            kept.fill(f32::NAN);
            convolve(&one, 1, MatrixOutput::Normed(norm, normed.as_mut_ptr(), Some(kept.as_mut_ptr())));
            assert!(kept == sums && normed == again, "{case:?} {form:?} {target:?}");
            normed.fill(bf16::NAN);
            convolve(&four, 2, MatrixOutput::Normed(norm, normed.as_mut_ptr(), None));
            assert_eq!(normed, again, "{case:?} {form:?} {target:?}");
            let mut wide = vec![f32::NAN; pixels * c_out];
            unsafe { target.normalize(LayerNorm { pixels: &sums, norm }, &one, wide.as_mut_ptr()) };
            for (narrow, wide) in within(&normed, [h, w], c_out).into_iter().zip(wide) {
                // Half a unit in the last place, and what SiLU's shorter polynomial is off by.
                assert!((narrow - wide).abs() <= wide.abs() * (1.0 / 256.0 + 1e-4) + 1e-30, "{narrow} {wide}");
            }
        }
    }
}

#[test]
fn matrix_units_compute_the_convolution() {
    for setting in &SETTINGS {
        check(setting, 4e-6);
    }
}

#[test]
fn a_value_that_is_not_finite_stays_within_reach_of_its_taps() {
    // 5 channels in a step of 16, and 40 in two steps of 32.
    for (channels, size) in [(5, [6, 40]), (40, [6, 40])] {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut random = Random(3);
            let mut frame = random.values(size[0] * size[1] * channels);
            let (y, x) = (2, size[1] - 1);
            frame[(y * size[1] + x) * channels + channels - 1] = bad;
            let frame = bordered(&frame, size, channels);
            let kernel = random.values(channels * channels * 9);
            let bias = vec![0.0; channels];
            let read_rows = |rows: std::ops::Range<usize>, out: &mut [f32]| {
                out.copy_from_slice(&kernel[rows.start * 9 * channels..rows.end * 9 * channels]);
            };
            let method = Method::Matrix(Form::Same, Outcome::Sums);
            let convolution = Convolution { method, c_out: channels, c_in: channels, times: 1 };
            for target in Target::all_with_units() {
                let mut weights = vec![f32::NAN; target.packed_len(convolution)];
                target.pack(convolution, &read_rows, 1, &mut weights).unwrap();
                let frames = [frame.as_slice()];
                let input = MatrixInput {
                    frames: &frames,
                    size,
                    c_in: channels,
                    weights: &weights,
                    bias: &bias,
                    residual: None,
                };
                let mut sums = vec![0.0; size[0] * size[1] * channels];
                let scratch = ScratchPool::default();
                let resources = Resources { threads: 1, workers: &one, scratch: &scratch };
                unsafe {
                    let output = MatrixOutput::Sums(sums.as_mut_ptr());
                    target.convolve_narrow(convolution, input, resources, output).unwrap();
                }
                for (i, pixel) in sums.chunks(channels).enumerate() {
                    let near = (i / size[1]).abs_diff(y) <= 1 && (i % size[1]).abs_diff(x) <= 1;
                    assert_eq!(pixel.iter().all(|v| !v.is_finite()), near, "{target:?}, pixel {i}: {pixel:?}");
                    assert_eq!(pixel.iter().any(|v| !v.is_finite()), near, "{target:?}, pixel {i}: {pixel:?}");
                }
            }
        }
    }
}

#[test]
fn doubling_is_bilinear() {
    let mut random = Random(9);
    for (size, channels) in [([1, 1], 1), ([2, 3], 17), ([5, 4], 16), ([1, 7], 33)] {
        let [height, width] = size;
        let values = random.values(height * width * channels);
        for target in Target::all() {
            let narrow = Narrow { frame: &values, height, width, channels, doubled: true };
            let mut found = vec![bf16::NAN; narrow.result().shape().iter().product()];
            unsafe { target.narrow(narrow, &four, found.as_mut_ptr()) };
            let found = within(&found, size.map(|side| 2 * side), channels);
            // Of one side: two places and the weight of the first.
            let near = |to: usize, size: usize| {
                let from = ((to as f64 + 0.5) / 2.0 - 0.5).clamp(0.0, size as f64 - 1.0);
                [(from as usize, 1.0 - from.fract()), ((from as usize + 1).min(size - 1), from.fract())]
            };
            for (i, found) in found.into_iter().enumerate() {
                let (y, x, c) = (i / channels / (2 * width), i / channels % (2 * width), i % channels);
                let parts = near(y, height).into_iter().flat_map(|row| near(x, width).map(|column| (row, column)));
                let at = |y: usize, x: usize| f64::from(values[(y * width + x) * channels + c]);
                let expected: f64 = parts.map(|((y, a), (x, b))| a * b * at(y, x)).sum();
                assert!((f64::from(found) - expected).abs() <= expected.abs() / 256.0 + 1e-6, "{found} {expected}");
            }
        }
    }
}

#[test]
fn zeros_after_the_channels_stay_zeros() {
    for channels in [3, 17, 40] {
        let mut pixels = Random(3).values(4 * channels);
        pixels[channels + 1] = f32::NAN;
        let (scale, bias) = (vec![1.0; channels], vec![0.5; channels]);
        for silu in [false, true] {
            let norm = Norm { scale: &scale, bias: &bias, epsilon: 1e-6, silu };
            for target in Target::all() {
                let mut normed = vec![bf16::NAN; Bordered::new([2, 2], channels).shape().iter().product()];
                let layer = LayerNorm { pixels: &pixels, norm };
                unsafe { target.normalize_narrow(layer, [2, 2], &one, normed.as_mut_ptr()) };
                let found = within(&normed, [2, 2], channels);
                for (pixel, values) in found.chunks(channels).enumerate() {
                    assert!(values.iter().all(|v| v.is_nan() == (pixel == 1)), "{target:?} {channels}: {values:?}");
                }
            }
        }
    }
}
