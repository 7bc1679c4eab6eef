//! Against direct sums in float64, on every level that this CPU has.

use super::workers::Workers;
use super::*;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn values(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }
}

/// Sizes of a case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) times: usize,
    pub(super) residual: bool,
}

pub(super) const CASES: [Case; 14] = [
    Case { height: 1, width: 1, c_in: 1, c_out: 1, times: 1, residual: false },
    Case { height: 2, width: 3, c_in: 3, c_out: 5, times: 3, residual: true },
    Case { height: 4, width: 4, c_in: 16, c_out: 16, times: 3, residual: false },
    Case { height: 7, width: 9, c_in: 17, c_out: 33, times: 1, residual: true },
    Case { height: 8, width: 8, c_in: 32, c_out: 48, times: 3, residual: false },
    Case { height: 6, width: 10, c_in: 24, c_out: 100, times: 1, residual: false },
    Case { height: 5, width: 2, c_in: 70, c_out: 24, times: 3, residual: true },
    Case { height: 16, width: 2, c_in: 65, c_out: 17, times: 1, residual: true },
    // Several chunks of input channels, and groups of panels.
    Case { height: 9, width: 12, c_in: 130, c_out: 200, times: 3, residual: true },
    // As wide as the released large models.
    Case { height: 8, width: 6, c_in: 768, c_out: 40, times: 3, residual: false },
    Case { height: 6, width: 8, c_in: 384, c_out: 384, times: 1, residual: false },
    // Several blocks of tiles, of one group and of two.
    Case { height: 70, width: 41, c_in: 4, c_out: 12, times: 3, residual: false },
    Case { height: 40, width: 64, c_in: 8, c_out: 112, times: 1, residual: true },
    Case { height: 100, width: 100, c_in: 2, c_out: 3, times: 1, residual: false },
];

/// `[c_out, c_in, times, side, side]` over frames `[height, width, c_in]`; the first tap is `offset` rows above its pixel and
/// as many columns to the left.
pub(super) fn direct(
    case: Case,
    frames: &[&[f32]],
    kernel: &[f32],
    side: usize,
    stride: usize,
    offset: usize,
    scale: usize,
) -> Vec<f64> {
    let (height, width) = (case.height * scale, case.width * scale);
    let mut out = vec![];
    for y in (0..height).step_by(stride) {
        for x in (0..width).step_by(stride) {
            for o in 0..case.c_out {
                let mut sum = 0.0;
                for (t, frame) in frames.iter().enumerate() {
                    for (row, column) in (0..side * side).map(|p| (p / side, p % side)) {
                        let (y, x) = ((y + row).wrapping_sub(offset), (x + column).wrapping_sub(offset));
                        if y >= height || x >= width {
                            continue;
                        }
                        for c in 0..case.c_in {
                            let weight = kernel[(((o * case.c_in + c) * case.times + t) * side + row) * side + column];
                            let pixel = frame[(y / scale * case.width + x / scale) * case.c_in + c];
                            sum += f64::from(weight) * f64::from(pixel);
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

/// Computes all cases by `method`, which is a kernel of `side` x `side` taps as in `direct`.
fn check(method: Method, side: usize, stride: usize, offset: usize, scale: usize, tolerance: f64) {
    for case in CASES.into_iter().filter(|case| case.height % stride == 0 && case.width % stride == 0) {
        let mut random = Random(7);
        let Case { height, width, c_in, c_out, times, .. } = case;
        let pixels = height * width * scale * scale / stride / stride;
        let frames: Vec<Vec<f32>> = (0..times).map(|_| random.values(height * width * c_in)).collect();
        let frames: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
        let row = c_in * times * side * side;
        let kernel: Vec<f32> = random.values(c_out * row).iter().map(|w| w / (row as f32).sqrt()).collect();
        let (bias, residual) = (random.values(c_out), random.values(pixels * c_out));
        let mut expected = direct(case, &frames, &kernel, side, stride, offset, scale);
        for (i, value) in expected.iter_mut().enumerate() {
            *value += f64::from(bias[i % c_out]) + if case.residual { f64::from(residual[i]) } else { 0.0 };
        }
        let read_rows = |rows: std::ops::Range<usize>, out: &mut [f32]| {
            out.copy_from_slice(&kernel[rows.start * row..rows.end * row]);
        };
        let run = |target: Target, threads: &[usize]| {
            let convolution = Convolution { method, c_out, c_in, times };
            let mut weights = vec![f32::NAN; target.packed_len(convolution)];
            target.pack(convolution, &read_rows, 2, &mut weights).unwrap();
            let residual = case.residual.then_some(residual.as_slice());
            let input = Input { frames: &frames, height, width, c_in, weights: &weights, bias: &bias, residual };
            let [height, width] = method.output_size([height, width]);
            assert_eq!(height * width * c_out, expected.len());
            let convolve = |workers: Workers, threads: usize| {
                // What was in the scratch must not matter, so it is NaN.
                let scratch = ScratchPool::default();
                drop(scratch.shared(target.scratch(convolution, [input.height, input.width], threads)));
                scratch.fill(f32::NAN);
                let mut result = vec![f32::NAN; expected.len()];
                let resources = Resources { threads, workers, scratch: &scratch };
                // SAFETY: the result has the size that the assertion above compared.
                unsafe { target.convolve(method, input, resources, result.as_mut_ptr()) }.unwrap();
                result
            };
            let mut result = vec![];
            for threads in threads {
                let results = [convolve(&one, *threads), convolve(&four, *threads)];
                assert_eq!(results[0], results[1], "{case:?} {target:?}: threads change the result");
                let errors = results[0].iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
                let error = errors.fold(0.0, f64::max);
                assert!(error <= tolerance, "{case:?} {target:?}: off by {error:.1e}");
                [result, _] = results;
            }
            result
        };
        for target in Target::all() {
            run(target, &[1, 4, 64]);
        }
        // Plain code takes long.
        let small = c_in * c_out * times * expected.len() / c_out <= 1 << 20;
        let units = Target::all_with_units().into_iter().filter(|target| small || !target.has_plain_unit());
        let results: Vec<_> = units.map(|target| run(target, if small { &[4] } else { &[1, 4, 64] })).collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{case:?}: the unit is not what plain code is");
    }
}

pub(super) fn one(jobs: usize, job: &(dyn Fn(usize) + Sync + Send)) {
    (0..jobs).for_each(job);
}

pub(super) fn four(jobs: usize, job: &(dyn Fn(usize) + Sync + Send)) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let claim = || Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).filter(|n| *n < jobs);
        std::iter::from_fn(claim).for_each(job);
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
}

#[test]
fn small_tiles_are_the_convolution() {
    check(Method::Winograd2(Sampling::Same), 3, 1, 1, 1, 8e-6);
    check(Method::Winograd2(Sampling::Doubled), 3, 1, 1, 2, 8e-6);
}

#[test]
fn large_tiles_are_the_convolution() {
    check(Method::Winograd4(Sampling::Same), 3, 1, 1, 1, 2e-5);
    check(Method::Winograd4(Sampling::Doubled), 3, 1, 1, 2, 2e-5);
}

#[test]
fn pointwise_is_the_convolution() {
    check(Method::Pointwise, 1, 1, 0, 1, 2e-6);
}

#[test]
fn strided_is_the_convolution() {
    check(Method::Strided, 3, 2, 0, 1, 8e-6);
}

#[test]
fn norms_are_their_definition() {
    let mut random = Random(3);
    for channels in [1, 3, 8, 16, 17, 40, 100] {
        for (pixels, spread) in [(1, 1.0), (300, 1.0), (4, 100.0)] {
            let values: Vec<f32> = random.values(pixels * channels).iter().map(|v| v * spread + 0.5).collect();
            let scale: Vec<f32> = random.values(channels).iter().map(|v| v * 40.0).collect();
            let bias = random.values(channels);
            for silu in [false, true] {
                let norm = Norm { scale: &scale, bias: &bias, epsilon: 1e-6, silu };
                let layer = LayerNorm { pixels: &values, norm };
                for target in Target::all() {
                    let mut found = vec![f32::NAN; values.len()];
                    unsafe { target.normalize(layer, &one, found.as_mut_ptr()) };
                    for (values, found) in values.chunks(channels).zip(found.chunks(channels)) {
                        let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
                        let mean = values.iter().sum::<f64>() / channels as f64;
                        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channels as f64;
                        for c in 0..channels {
                            let mut y = (values[c] - mean) / (variance + f64::from(norm.epsilon)).sqrt();
                            y = y * f64::from(scale[c]) + f64::from(bias[c]);
                            if silu {
                                y /= 1.0 + (-y).exp();
                            }
                            let error = (f64::from(found[c]) - y).abs();
                            assert!(
                                error <= 4e-5 + 4e-6 * y.abs(),
                                "{channels} channels, {target:?}: found {}, expected {y}",
                                found[c]
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn blends_are_sums() {
    let mut random = Random(5);
    let weights = [0.25, 0.0, 0.0, -0.75, 0.5, 1.0, 0.0, 0.0, 0.75];
    for (channels, pixels) in [(1, 1), (3, 7), (16, 5), (70, 300), (9000, 2)] {
        let frames: Vec<Vec<f32>> = (0..3).map(|_| random.values(pixels * 3 * channels)).collect();
        let mut frames: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
        // Parts of weight 0 may hold anything.
        let unused = vec![f32::NAN; frames[0].len()];
        for (n, weights) in [weights, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]].into_iter().enumerate() {
            if n == 1 {
                frames[..2].fill(&unused);
            }
            for target in Target::all() {
                let mut found = vec![f32::NAN; pixels * channels];
                let blend = Blend { frames: &frames, weights: &weights, channels };
                unsafe { target.blend(blend, &one, found.as_mut_ptr()) };
                for (i, found) in found.into_iter().enumerate() {
                    let at = |part: usize| i / channels * 3 * channels + part * channels + i % channels;
                    let terms = (0..9).filter(|term| weights[*term] != 0.0);
                    let sum: f64 =
                        terms.map(|term| f64::from(weights[term]) * f64::from(frames[term / 3][at(term % 3)])).sum();
                    assert!(
                        (f64::from(found) - sum).abs() < 1e-6,
                        "{channels} channels, {target:?}, {i}: {found}, {sum}"
                    );
                }
            }
        }
    }
}
