//! How fast convolutions on the matrix unit are, beside its products alone: `make bench-kernels`.

use super::micro::tiles::SIDE;
use super::tests::{Random, one};
use super::workers::Workers;
use super::*;
use crate::memory::Pages;
use half::bf16;
use std::time::Instant;

/// Channels in and out, height, width: of L at 128x128, and of the built-in model at 848x480.
const SHAPES: [[usize; 4]; 12] = [
    [768, 768, 16, 16],
    [768, 768, 16, 32],
    [384, 384, 32, 32],
    [384, 192, 64, 64],
    [192, 192, 64, 64],
    [96, 96, 64, 64],
    [128, 128, 32, 32],
    [80, 80, 60, 106],
    [64, 64, 120, 212],
    [32, 32, 240, 424],
    [32, 16, 240, 424],
    [16, 16, 240, 424],
];

/// The least of some runs.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let (start, mut best) = (Instant::now(), f64::MAX);
    while start.elapsed().as_secs_f64() < 0.4 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

/// GFLOP/s of one thread's products alone.
fn peak(target: Target) -> f64 {
    const PRODUCTS: usize = 4 << 16;
    // SAFETY: a target has a unit only where it may be used, and this thread has no other.
    let ready = unsafe { target.unit().ready(32) };
    let taken = seconds(|| ready.multiply_registers(PRODUCTS / 4));
    (2 * SIDE * SIDE * 32 * PRODUCTS) as f64 / taken / 1e9
}

/// This thread and another one.
fn two(jobs: usize, job: &(dyn Fn(usize) + Sync + Send)) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let claim = || Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).filter(|n| *n < jobs);
        std::iter::from_fn(claim).for_each(job);
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
}

#[test]
#[ignore = "measures; make bench-kernels runs it"]
fn rates() {
    let target = Target::choose().unwrap();
    if let Err(reason) = target.check_matrix_unit() {
        return println!("skipped: {reason}");
    }
    let peak = peak(target);
    println!("causal 3x3x3 convolutions; products alone reach {peak:.0} GFLOP/s in one thread");
    println!("in brackets: the fraction of that, for each thread");
    println!("{:<24}{:>16}{:>16}{:>24}", "channels, frame", "1 thread", "2 threads", "2 threads, with norm");
    let mut random = Random(1);
    for [c_in, c_out, height, width] in SHAPES {
        let size = [height, width];
        let len: usize = Bordered::new(size, c_in).shape().iter().product();
        // In large pages, as streams have them.
        let pages: Vec<Pages> = (0..3).map(|_| Pages::new(2 * len).unwrap()).collect();
        let values = random.values(1 << 12);
        let frames: Vec<&[bf16]> = pages
            .iter()
            .map(|pages| {
                // SAFETY: the pages have so many bytes, and nobody else uses them.
                let frame = unsafe { std::slice::from_raw_parts_mut(pages.start().cast(), len) };
                frame.iter_mut().zip(values.iter().cycle()).for_each(|(to, value)| *to = bf16::from_f32(*value));
                &*frame
            })
            .collect();
        let (bias, scale) = (random.values(c_out), random.values(c_out));
        let norm = Norm { scale: &scale, bias: &bias, epsilon: 1e-6, silu: true };
        let residual = random.values(height * width * c_out);
        let mut sums = vec![0.0; residual.len()];
        let mut normed = vec![bf16::ZERO; Bordered::new(size, c_out).shape().iter().product()];
        let convolution = |outcome| Convolution { method: Method::Matrix(Form::Same, outcome), c_out, c_in, times: 3 };
        let weights_len = target.packed_len(convolution(Outcome::Sums));
        let pages = Pages::new(4 * weights_len).unwrap();
        // SAFETY: as above.
        let weights = unsafe { std::slice::from_raw_parts_mut(pages.start().cast(), weights_len) };
        let read_rows = |_: std::ops::Range<usize>, out: &mut [f32]| {
            out.iter_mut().zip(values.iter().cycle()).for_each(|(to, value)| *to = value / 64.0);
        };
        target.pack(convolution(Outcome::Sums), &read_rows, 2, weights).unwrap();
        let input = MatrixInput { frames: &frames, size, c_in, weights, bias: &bias, residual: Some(&residual) };
        let scratch = ScratchPool::default();
        let mut rate = |outcome, threads: usize, workers: Workers| {
            let output = match outcome {
                Outcome::Sums => MatrixOutput::Sums(sums.as_mut_ptr()),
                Outcome::Normed => MatrixOutput::Normed(norm, normed.as_mut_ptr(), Some(sums.as_mut_ptr())),
            };
            let resources = Resources { threads, workers, scratch: &scratch };
            // SAFETY: the outputs have these sizes.
            let run = || unsafe { target.convolve_narrow(convolution(outcome), input, resources, output) }.unwrap();
            let rate = 2.0 * (27 * c_in * c_out * height * width) as f64 / seconds(run) / 1e9;
            format!("{rate:.0} ({:.2})", rate / threads as f64 / peak)
        };
        let rates = [rate(Outcome::Sums, 1, &one), rate(Outcome::Sums, 2, &two), rate(Outcome::Normed, 2, &two)];
        let shape = format!("{c_in} to {c_out}, {height}x{width}");
        println!("{shape:<24}{:>16}{:>16}{:>24}", rates[0], rates[1], rates[2]);
    }
}

/// Elements in large pages, as streams have them.
struct Elements(Pages, usize);

impl Elements {
    fn repeating(values: &[f32], len: usize) -> Self {
        let pages = Pages::new(4 * len).unwrap();
        // SAFETY: the pages have so many bytes, and nobody else uses them.
        let elements = unsafe { std::slice::from_raw_parts_mut(pages.start().cast::<f32>(), len) };
        elements.iter_mut().zip(values.iter().cycle()).for_each(|(to, value)| *to = *value);
        Elements(pages, len)
    }

    fn get(&self) -> &[f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.0.start().cast(), self.1) }
    }
}

#[test]
#[ignore = "measures; make bench-kernels runs it"]
fn rates_of_float32() {
    let target = Target::choose().unwrap();
    if let Err(reason) = target.check_matrix_unit() {
        return println!("skipped: {reason}");
    }
    let vectors = Target::all()[Target::all().len() - 1];
    println!("causal 3x3x3 convolutions of float32, 2 threads: GFLOP/s of the direct sum");
    println!(
        "{:<24}{:>16}{:>16}{:>16}{:>16}",
        "channels, frame", "2x2, vectors", "2x2, unit", "4x4, vectors", "4x4, unit"
    );
    let mut random = Random(1);
    for [c_in, c_out, height, width] in SHAPES {
        let values = random.values(1 << 12);
        let frames: Vec<_> = (0..3).map(|_| Elements::repeating(&values, height * width * c_in)).collect();
        let frames: Vec<&[f32]> = frames.iter().map(Elements::get).collect();
        let (bias, residual) = (random.values(c_out), random.values(height * width * c_out));
        let mut sums = vec![0.0; residual.len()];
        let scratch = ScratchPool::default();
        let mut rate = |target: Target, method| {
            let convolution = Convolution { method, c_out, c_in, times: 3 };
            let weights = Elements::repeating(&values, target.packed_len(convolution));
            let (weights, residual) = (weights.get(), Some(&residual[..]));
            let input = Input { frames: &frames, height, width, c_in, weights, bias: &bias, residual };
            let resources = Resources { threads: 2, workers: &two, scratch: &scratch };
            // SAFETY: the sums have this size.
            let run = || unsafe { target.convolve(method, input, resources, sums.as_mut_ptr()) }.unwrap();
            let rate = 2.0 * (27 * c_in * c_out * height * width) as f64 / seconds(run) / 1e9;
            format!("{rate:.0}")
        };
        let rates = [Method::Winograd2(Sampling::Same), Method::Winograd4(Sampling::Same)]
            .map(|method| [vectors, target].map(|target| rate(target, method)));
        let shape = format!("{c_in} to {c_out}, {height}x{width}");
        println!("{shape:<24}{:>16}{:>16}{:>16}{:>16}", rates[0][0], rates[0][1], rates[1][0], rates[1][1]);
    }
}
