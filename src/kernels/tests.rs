//! Against the direct sums in float64, on every kind of vector that this processor has.

use super::simd::lanes_of;
use super::tiles::Tile;
use super::*;
use pulp::Arch;

fn archs() -> Vec<Arch> {
    #[cfg(target_arch = "x86_64")]
    {
        use pulp::x86::{V3, V4};
        let v4 = V4::try_new().map(Arch::V4);
        let v3 = V3::try_new().map(Arch::V3);
        [Some(Arch::Scalar), v3, v4].into_iter().flatten().collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    vec![Arch::Scalar, Arch::new()]
}

struct Random(u64);

impl Random {
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }
}

/// Sizes of a case.
#[derive(Debug, Clone, Copy)]
struct Case {
    height: usize,
    width: usize,
    c_in: usize,
    c_out: usize,
    times: usize,
    residual: bool,
}

const CASES: [Case; 14] = [
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

/// `[c_out, c_in, times, side, side]` over frames `[height, width, c_in]`; `offset` is that of the first place.
fn direct(
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

/// Runs `convolve` on all cases; it gets the input and a place for the output.
fn check(
    side: usize,
    packing: Packing,
    stride: usize,
    offset: usize,
    scale: usize,
    tolerance: f64,
    convolve: impl Fn(Arch, Input, Workers, &mut [f32]),
) {
    for case in CASES.into_iter().filter(|case| case.height % stride == 0 && case.width % stride == 0) {
        let mut random = Random(7);
        let pixels = case.height * case.width * scale * scale / stride / stride;
        let frames: Vec<Vec<f32>> =
            (0..case.times).map(|_| random.numbers(case.height * case.width * case.c_in)).collect();
        let frames: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
        let row = case.c_in * case.times * side * side;
        let kernel: Vec<f32> = random.numbers(case.c_out * row).iter().map(|w| w / (row as f32).sqrt()).collect();
        let (bias, residual) = (random.numbers(case.c_out), random.numbers(pixels * case.c_out));
        let mut expected = direct(case, &frames, &kernel, side, stride, offset, scale);
        for (i, value) in expected.iter_mut().enumerate() {
            *value += f64::from(bias[i % case.c_out]) + if case.residual { f64::from(residual[i]) } else { 0.0 };
        }
        for arch in archs() {
            let lanes = lanes_of(arch);
            let shape = KernelShape { c_out: case.c_out, c_in: case.c_in, times: case.times, places: side * side };
            let mut weights = vec![f32::NAN; shape.packed_len(lanes)];
            let read_rows = |rows: std::ops::Range<usize>, out: &mut [f32]| {
                out.copy_from_slice(&kernel[rows.start * row..rows.end * row]);
            };
            pack(shape, packing, lanes, &read_rows, 2, &mut weights).unwrap();
            let input = Input {
                frames: &frames,
                height: case.height,
                width: case.width,
                c_in: case.c_in,
                weights: &weights,
                bias: &bias,
                residual: case.residual.then_some(&residual),
            };
            let mut results = [(); 2].map(|()| vec![f32::NAN; expected.len()]);
            let one: Workers = &|jobs, job| (0..jobs).for_each(job);
            let four: Workers = &|jobs, job| {
                let next = std::sync::atomic::AtomicUsize::new(0);
                let work = || {
                    let claim = || Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).filter(|n| *n < jobs);
                    std::iter::from_fn(claim).for_each(job);
                };
                std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
            };
            for (workers, result) in [one, four].into_iter().zip(&mut results) {
                convolve(arch, input, workers, result);
            }
            assert_eq!(results[0], results[1], "{case:?} {arch:?}: threads change the result");
            let error = results[0].iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(error <= tolerance, "{case:?} {arch:?}: off by {error:.1e}");
        }
    }
}

fn check_winograd<T: Tile<IN, OUT>, const IN: usize, const OUT: usize>(sampling: Sampling, tolerance: f64) {
    let scale = if sampling == Sampling::Doubled { 2 } else { 1 };
    for threads in [1, 4, 64] {
        check(3, Packing::PlaceLast, 1, 1, scale, tolerance, |arch, input, workers, out| {
            let conv = Winograd::<T, IN, OUT>::with_arch(arch, input, sampling, threads);
            // Whatever was there must not matter, so it is no number.
            let scratch = ScratchPool::default();
            drop(conv.scratch(&scratch));
            scratch.fill(f32::NAN);
            assert_eq!(out.len(), conv.output_len());
            unsafe { conv.run(out.as_mut_ptr(), &scratch, workers) }.unwrap();
        });
    }
}

#[test]
fn small_tiles_are_the_convolution() {
    check_winograd::<Tile2, 4, 2>(Sampling::Same, 8e-6);
    check_winograd::<Tile2, 4, 2>(Sampling::Doubled, 8e-6);
}

#[test]
fn large_tiles_are_the_convolution() {
    check_winograd::<Tile4, 6, 4>(Sampling::Same, 2e-5);
    check_winograd::<Tile4, 6, 4>(Sampling::Doubled, 2e-5);
}

#[test]
fn pointwise_is_the_convolution() {
    check(1, Packing::ChannelLast, 1, 0, 1, 2e-6, |arch, input, workers, out| {
        let conv = Pointwise::with_arch(arch, input);
        unsafe { conv.run(out.as_mut_ptr(), workers) };
    });
}

#[test]
fn strided_is_the_convolution() {
    check(3, Packing::ChannelLast, 2, 0, 1, 8e-6, |arch, input, workers, out| {
        let conv = Strided::with_arch(arch, input);
        unsafe { conv.run(out.as_mut_ptr(), workers) };
    });
}

#[test]
fn norms_are_their_definition() {
    let mut random = Random(3);
    for channels in [1, 3, 8, 16, 17, 40, 100] {
        for (pixels, spread) in [(1, 1.0), (300, 1.0), (4, 100.0)] {
            let numbers: Vec<f32> = random.numbers(pixels * channels).iter().map(|v| v * spread + 0.5).collect();
            let scale: Vec<f32> = random.numbers(channels).iter().map(|v| v * 40.0).collect();
            let bias = random.numbers(channels);
            for silu in [false, true] {
                let norm = LayerNorm { pixels: &numbers, scale: &scale, bias: &bias, silu };
                for arch in archs() {
                    let mut found = vec![f32::NAN; numbers.len()];
                    unsafe { norm.run_with(arch, found.as_mut_ptr(), &|jobs, job| (0..jobs).for_each(job)) };
                    for (numbers, found) in numbers.chunks(channels).zip(found.chunks(channels)) {
                        let numbers: Vec<f64> = numbers.iter().map(|v| f64::from(*v)).collect();
                        let mean = numbers.iter().sum::<f64>() / channels as f64;
                        let variance = numbers.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / channels as f64;
                        for c in 0..channels {
                            let mut y = (numbers[c] - mean) / (variance + f64::from(NORM_EPSILON)).sqrt();
                            y = y * f64::from(scale[c]) + f64::from(bias[c]);
                            if silu {
                                y /= 1.0 + (-y).exp();
                            }
                            let error = (f64::from(found[c]) - y).abs();
                            assert!(
                                error <= 4e-5 + 4e-6 * y.abs(),
                                "{channels} channels, {arch:?}: found {}, expected {y}",
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
        let frames: Vec<Vec<f32>> = (0..3).map(|_| random.numbers(pixels * 3 * channels)).collect();
        let mut frames: Vec<&[f32]> = frames.iter().map(Vec::as_slice).collect();
        // What has no weight may hold anything.
        let unused = vec![f32::NAN; frames[0].len()];
        for (n, weights) in [weights, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]].into_iter().enumerate() {
            if n == 1 {
                frames[..2].fill(&unused);
            }
            for arch in archs() {
                let mut found = vec![f32::NAN; pixels * channels];
                let blend = Blend { frames: &frames, weights: &weights, channels };
                unsafe { blend.run_with(arch, found.as_mut_ptr(), &|jobs, job| (0..jobs).for_each(job)) };
                for (i, found) in found.into_iter().enumerate() {
                    let at = |part: usize| i / channels * 3 * channels + part * channels + i % channels;
                    let terms = (0..9).filter(|term| weights[*term] != 0.0);
                    let sum: f64 =
                        terms.map(|term| f64::from(weights[term]) * f64::from(frames[term / 3][at(term % 3)])).sum();
                    assert!(
                        (f64::from(found) - sum).abs() < 1e-6,
                        "{channels} channels, {arch:?}, {i}: {found}, {sum}"
                    );
                }
            }
        }
    }
}
