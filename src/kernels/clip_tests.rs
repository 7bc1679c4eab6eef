//! Layers over clips, against float64 and against the same layers over single frames, on every level that this CPU has.

use super::enlarge::Doubling;
use super::group_norm::GroupNorm;
use super::tests::{Random, four, one};
use super::workers::Workers;
use super::*;

const EPSILON: f32 = 1e-6;

/// Plain code for a matrix unit takes long, and a layer does not see the difference.
fn targets() -> Vec<Target> {
    let units = Target::all_with_units().into_iter().filter(|target| !target.has_plain_unit());
    Target::all().into_iter().chain(units).collect()
}

fn factors(target: Target, statistics: GroupStatistics, workers: Workers) -> Vec<f32> {
    let mut found = vec![f32::NAN; statistics.spans * 3 * statistics.scale.len()];
    unsafe { target.group_statistics(statistics, workers, found.as_mut_ptr()) }.unwrap();
    found
}

#[test]
fn statistics_are_their_definition_whichever_threads_work() {
    let mut random = Random(11);
    for (channels, groups, in_span, spans) in [
        (32, 32, 1, 1),
        (32, 32, 5, 3),
        (40, 8, 257, 2),
        (96, 32, 300, 1),
        (80, 16, 4097, 2),
        (32, 2, 9000, 1),
        (3, 3, 70, 1),
    ] {
        for (spread, offset) in [(1.0, 0.5), (0.01, 30.0), (200.0, 0.0)] {
            let pixels: Vec<f32> =
                random.values(spans * in_span * channels).iter().map(|v| v * spread + offset).collect();
            let (scale, bias) = (random.values(channels), random.values(channels));
            let statistics =
                GroupStatistics { pixels: &pixels, spans, groups, scale: &scale, bias: &bias, epsilon: EPSILON };
            for target in Target::all() {
                let found = factors(target, statistics, &one);
                assert_eq!(found, factors(target, statistics, &four), "{target:?}: threads change the result");
                for (span, found) in found.chunks(3 * channels).enumerate() {
                    let pixels = &pixels[span * in_span * channels..][..in_span * channels];
                    for channel in 0..channels {
                        let in_group = channels / groups;
                        let group = channel / in_group * in_group;
                        let values = || {
                            let pixels = pixels.chunks(channels).flat_map(move |pixel| &pixel[group..group + in_group]);
                            pixels.map(|v| f64::from(*v))
                        };
                        let count = values().count() as f64;
                        let mean = values().sum::<f64>() / count;
                        let variance = values().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                        let factor = f64::from(scale[channel]) / (variance + f64::from(EPSILON)).sqrt();
                        let near = |a: f32, b: f64| (f64::from(a) - b).abs() <= 3e-7 * b.abs() + 1e-12;
                        let case = format!("{channels} channels, {in_span} pixels, {offset}, {target:?}");
                        // A mean near 0 has the error of the values.
                        let error = (f64::from(found[channel]) - mean).abs();
                        assert!(error <= 1e-7 * f64::from(spread + offset), "{case}: {} {mean}", found[channel]);
                        // So has the variance of values far from 0.
                        let scaled = found[channels + channel];
                        let far = (mean * mean / (variance + 1e-6)).sqrt() * 1e-9;
                        let error = (f64::from(scaled) - factor).abs() / factor.abs();
                        assert!(near(scaled, factor) || error <= far, "{case}: {scaled} {factor}");
                        assert_eq!(found[2 * channels + channel], bias[channel]);
                    }
                }
            }
        }
    }
}

#[test]
fn group_norms_are_their_definition() {
    let mut random = Random(12);
    for (channels, pixels) in [(3, 5), (32, 1), (40, 700), (9000, 2)] {
        let (values, factors) = (random.values(pixels * channels), random.values(3 * channels));
        for silu in [false, true] {
            for target in Target::all() {
                let mut found = vec![f32::NAN; values.len()];
                let norm = GroupNorm { pixels: &values, factors: &factors, silu };
                unsafe { target.normalize_groups(norm, &four, found.as_mut_ptr()) };
                for (i, found) in found.into_iter().enumerate() {
                    let [mean, scale, bias] = [0, 1, 2].map(|n| f64::from(factors[n * channels + i % channels]));
                    let y = (f64::from(values[i]) - mean) * scale + bias;
                    let y = if silu { y / (1.0 + (-y).exp()) } else { y };
                    assert!((f64::from(found) - y).abs() < 1e-6, "{target:?}: {found} {y}");
                }
            }
        }
    }
}

#[test]
fn doublings_are_bilinear_with_half_pixel_centres() {
    let mut random = Random(13);
    for (height, width, channels) in [(1, 1, 1), (1, 3, 17), (2, 1, 32), (5, 7, 40)] {
        let pixels = random.values(height * width * channels);
        let at = |y: f64, x: f64, c: usize| {
            let (y, x) = (y.clamp(0.0, (height - 1) as f64), x.clamp(0.0, (width - 1) as f64));
            let value =
                |y: usize, x: usize| f64::from(pixels[(y.min(height - 1) * width + x.min(width - 1)) * channels + c]);
            let (top, left) = (y as usize, x as usize);
            let (down, right) = (y - top as f64, x - left as f64);
            let row = |y| (1.0 - right) * value(y, left) + right * value(y, left + 1);
            (1.0 - down) * row(top) + down * row(top + 1)
        };
        for target in Target::all() {
            let mut found = vec![f32::NAN; 4 * pixels.len()];
            let doubling = Doubling { pixels: &pixels, size: [height, width], channels };
            unsafe { target.double(doubling, &four, found.as_mut_ptr()) };
            for (i, found) in found.into_iter().enumerate() {
                let (pixel, c) = (i / channels, i % channels);
                let [y, x] = [pixel / (2 * width), pixel % (2 * width)].map(|n| (n as f64 - 0.5) / 2.0);
                assert!((f64::from(found) - at(y, x, c)).abs() < 1e-6, "{height}x{width}, {target:?}, {i}");
            }
        }
    }
}

/// A convolution's weights and bias.
struct Packed {
    convolution: Convolution,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Packed {
    fn new(target: Target, convolution: Convolution, random: &mut Random) -> Self {
        let taps = if convolution.method == Method::Pointwise { 1 } else { 9 };
        let row = convolution.c_in * convolution.times * taps;
        let kernel: Vec<f32> = random.values(convolution.c_out * row).iter().map(|w| w / (row as f32).sqrt()).collect();
        let read = |rows: std::ops::Range<usize>, out: &mut [f32]| {
            out.copy_from_slice(&kernel[rows.start * row..rows.end * row]);
        };
        let mut weights = vec![f32::NAN; target.packed_len(convolution)];
        target.pack(convolution, &read, 1, &mut weights).unwrap();
        Packed { convolution, weights, bias: random.values(convolution.c_out) }
    }

    /// Of single frames.
    fn run(
        &self,
        target: Target,
        frames: &[&[f32]],
        [height, width]: [usize; 2],
        residual: Option<&[f32]>,
    ) -> Vec<f32> {
        let Convolution { method, c_out, c_in, .. } = self.convolution;
        let input = Input { frames, height, width, c_in, weights: &self.weights, bias: &self.bias, residual };
        let [height, width] = method.output_size([height, width]);
        let mut found = vec![f32::NAN; height * width * c_out];
        let resources = Resources { threads: 1, workers: &one, scratch: &ScratchPool::default() };
        unsafe { target.convolve(method, input, resources, found.as_mut_ptr()) }.unwrap();
        found
    }
}

/// Filled with NaN, so that what a layer finds in its scratch does not matter.
fn pool(frames: ClipFrames, size: [usize; 2]) -> ScratchPool {
    let pool = ScratchPool::default();
    drop(pool.frames(frames.scratch(size)));
    pool.fill(f32::NAN);
    pool
}

#[test]
fn convolutions_of_clips_are_those_of_their_frames() {
    let mut random = Random(14);
    let same = [Method::Winograd2(Sampling::Same), Method::Winograd4(Sampling::Same), Method::Pointwise];
    let others = [Method::Winograd2(Sampling::Doubled), Method::Winograd4(Sampling::Doubled), Method::Strided];
    for (method, times, every) in same.into_iter().chain(others).flat_map(|method| {
        let times: &[usize] = if method == Method::Pointwise { &[1] } else { &[1, 3] };
        times.iter().flat_map(move |times| [1, 2].map(|every| (method, *times, every)))
    }) {
        for (count, size, c_in, c_out) in [(1, [2, 2], 32, 5), (2, [2, 4], 33, 17), (5, [4, 2], 5, 8)] {
            let frame = size[0] * size[1] * c_in;
            let values = random.values(count * frame);
            let clip = Clip { values: &values, frames: count, size, channels: c_in };
            let (shared, each) = (random.values(3 * c_in), random.values(count * 3 * c_in));
            let (scale, bias) = (random.values(c_in), random.values(c_in));
            let norm = Norm { scale: &scale, bias: &bias, epsilon: EPSILON, silu: true };
            let befores = [
                Before::Nothing,
                Before::Groups { factors: &shared, silu: true },
                Before::Groups { factors: &each, silu: false },
                Before::Pixels(norm),
                Before::Doubled,
            ];
            for (target, before) in targets().into_iter().flat_map(|target| befores.map(|before| (target, before))) {
                let packed = Packed::new(target, Convolution { method, c_out, c_in, times }, &mut Random(3));
                let doubled = matches!(before, Before::Doubled);
                let read = if doubled { size.map(|side| 2 * side) } else { size };
                let prepared: Vec<Vec<f32>> = values
                    .chunks(frame)
                    .enumerate()
                    .map(|(n, pixels)| {
                        let mut to = vec![f32::NAN; read[0] * read[1] * c_in];
                        let out = to.as_mut_ptr();
                        match before {
                            Before::Nothing => to.copy_from_slice(pixels),
                            Before::Groups { factors, silu } => {
                                let at = if factors.len() == 3 * c_in { 0 } else { n * 3 * c_in };
                                let factors = &factors[at..][..3 * c_in];
                                unsafe { target.normalize_groups(GroupNorm { pixels, factors, silu }, &one, out) };
                            }
                            Before::Pixels(norm) => unsafe {
                                target.normalize(LayerNorm { pixels, norm }, &one, out);
                            },
                            Before::Doubled => unsafe {
                                target.double(Doubling { pixels, size, channels: c_in }, &one, out);
                            },
                        }
                        to
                    })
                    .collect();
                let result = method.output_size(read).iter().product::<usize>() * c_out;
                let frames = count.div_ceil(every);
                let residual = random.values(frames * result);
                for residual in [None, Some(residual.as_slice())] {
                    let expected: Vec<f32> = (0..frames)
                        .flat_map(|n| {
                            let now = n * every;
                            let taps = (0..times).map(|tap| &*prepared[now.saturating_sub(times - 1 - tap)]);
                            let residual = residual.map(|residual| &residual[n * result..][..result]);
                            packed.run(target, &taps.collect::<Vec<_>>(), read, residual)
                        })
                        .collect();
                    let Packed { weights, bias, .. } = &packed;
                    let layer = ClipConvolution { method, clip, before, times, every, weights, bias, residual };
                    assert_eq!((layer.frames(), layer.size()), (frames, method.output_size(read)));
                    for workers in [&one as Workers, &four] {
                        let scratch = &pool(ClipFrames::ring(doubled, c_in, times), size);
                        let mut found = vec![f32::NAN; expected.len()];
                        let resources = Resources { threads: 1, workers, scratch };
                        unsafe { layer.run(target, resources, &|| false, found.as_mut_ptr()) }.unwrap();
                        assert_eq!(found, expected, "{method:?}, {times}, {every}, {count} of {size:?}, {target:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn interpolated_convolutions_are_weighted_sums() {
    let mut random = Random(15);
    for method in [Method::Winograd2(Sampling::Same), Method::Winograd4(Sampling::Same)] {
        for (count, size, c_in, channels, doubled) in
            [(1, [2, 2], 32, 5, false), (2, [3, 2], 33, 17, true), (5, [4, 3], 5, 8, true)]
        {
            let frame = size[0] * size[1] * c_in;
            let values = random.values(count * frame);
            let clip = Clip { values: &values, frames: count, size, channels: c_in };
            // One newest frame is skipped, others are there twice.
            let newest = [0, 1, 1, 2, 4, 4].into_iter().filter(|n| *n < count);
            let table: Vec<f32> = newest.flat_map(|n| [vec![n as f32], random.values(9)].concat()).collect();
            for target in targets() {
                let convolution = Convolution { method, c_out: 3 * channels, c_in, times: 1 };
                let packed = Packed::new(target, convolution, &mut Random(4));
                let read = if doubled { size.map(|side| 2 * side) } else { size };
                let taps: Vec<Vec<f32>> = values
                    .chunks(frame)
                    .map(|pixels| {
                        let mut to = vec![f32::NAN; read[0] * read[1] * c_in];
                        match doubled {
                            true => unsafe {
                                target.double(Doubling { pixels, size, channels: c_in }, &one, to.as_mut_ptr());
                            },
                            false => to.copy_from_slice(pixels),
                        }
                        packed.run(target, &[&to], read, None)
                    })
                    .collect();
                let result = read[0] * read[1] * channels;
                let mut expected = vec![f32::NAN; table.len() / 10 * result];
                for (row, expected) in table.chunks(10).zip(expected.chunks_mut(result)) {
                    let frames = [2, 1, 0].map(|back| &*taps[(row[0] as usize).saturating_sub(back)]);
                    let blend = Blend { frames: &frames, weights: &row[1..], channels };
                    unsafe { target.blend(blend, &one, expected.as_mut_ptr()) };
                }
                let Packed { weights, bias, .. } = &packed;
                let layer = Interpolated { method, clip, doubled, table: &table, weights, bias };
                assert_eq!((layer.frames(), layer.size(), layer.channels()), (table.len() / 10, read, channels));
                for workers in [&one as Workers, &four] {
                    let scratch = &pool(ClipFrames::interpolated(doubled, c_in, 3 * channels), size);
                    let mut found = vec![f32::NAN; expected.len()];
                    let resources = Resources { threads: 1, workers, scratch };
                    unsafe { layer.run(target, resources, &|| false, found.as_mut_ptr()) }.unwrap();
                    assert_eq!(found, expected, "{method:?}, {count} of {size:?}, {target:?}");
                }
            }
        }
    }
}

#[test]
fn sums_of_frames_are_sums() {
    let mut random = Random(16);
    for count in [1, 3, 5] {
        let values = random.values(count * 2 * 3 * 33);
        let clip = Clip { values: &values, frames: count, size: [2, 3], channels: 33 };
        let table: Vec<f32> = (0..count).flat_map(|n| [vec![n as f32], random.values(9)].concat()).collect();
        for (sums, every) in [(FrameSums::Halved, 2), (FrameSums::Interpolated(&table), 1)] {
            assert_eq!(sums.frames(count), count.div_ceil(every));
            for target in Target::all() {
                let mut found = vec![f32::NAN; sums.frames(count) * 2 * 3 * 33];
                unsafe { sums.run(clip, target, &four, &|| false, found.as_mut_ptr()) };
                for (i, found) in found.into_iter().enumerate() {
                    let (n, at) = (i / (2 * 3 * 33), i % (2 * 3 * 33));
                    let weight = |k: usize| if every == 2 { 1.0 / 3.0 } else { f64::from(table[10 * n + 3 * k + 3]) };
                    let value = |k: usize| f64::from(values[(every * n + k).saturating_sub(2) * 2 * 3 * 33 + at]);
                    let sum: f64 = (0..3).map(|k| weight(k) * value(k)).sum();
                    assert!((f64::from(found) - sum).abs() < 1e-6, "{target:?}: {found} {sum}");
                }
            }
        }
    }
}

/// Nothing after the first frame is computed.
#[test]
fn a_layer_that_is_stopped_ends_after_its_frame() {
    let values = vec![1.0; 3 * 4 * 2];
    let clip = Clip { values: &values, frames: 3, size: [2, 2], channels: 2 };
    let packed = Packed::new(
        Target::current(),
        Convolution { method: Method::Pointwise, c_out: 1, c_in: 2, times: 1 },
        &mut Random(5),
    );
    let Packed { weights, bias, .. } = &packed;
    let (method, before) = (Method::Pointwise, Before::Nothing);
    let layer = ClipConvolution { method, clip, before, times: 1, every: 1, weights, bias, residual: None };
    let asked = std::cell::Cell::new(0);
    let stopped = || asked.replace(asked.get() + 1) == 1;
    let mut found = vec![f32::NAN; 3 * 4];
    let resources = Resources { threads: 1, workers: &one, scratch: &ScratchPool::default() };
    unsafe { layer.run(Target::current(), resources, &stopped, found.as_mut_ptr()) }.unwrap();
    assert!(found[..4].iter().all(|v| v.is_finite()) && found[4..].iter().all(|v| v.is_nan()), "{found:?}");
}
