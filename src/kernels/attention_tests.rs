//! Attention on matrix units, against its definition in float64.

use super::matrix_tests::within;
use super::micro::unit::Unit;
use super::tests::{Random, four, one};
use super::workers::Workers;
use super::*;
use half::bf16;

struct Case {
    height: usize,
    width: usize,
    channels: usize,
    /// Of queries and keys: the larger, the more one score outweighs the others.
    scale: f32,
}

const CASES: [Case; 9] = [
    Case { height: 1, width: 1, channels: 3, scale: 1.0 },
    Case { height: 2, width: 3, channels: 16, scale: 1.0 },
    Case { height: 8, width: 8, channels: 32, scale: 4.0 },
    Case { height: 5, width: 20, channels: 17, scale: 1.0 },
    Case { height: 16, width: 16, channels: 96, scale: 2.0 },
    Case { height: 7, width: 13, channels: 200, scale: 9.0 },
    // Several blocks of keys.
    Case { height: 32, width: 33, channels: 48, scale: 3.0 },
    Case { height: 1, width: 513, channels: 8, scale: 1.0 },
    // More steps than one call takes.
    Case { height: 4, width: 9, channels: 1100, scale: 1.0 },
];

fn rounded(values: Vec<f32>, scale: f32) -> Vec<bf16> {
    values.into_iter().map(|v| bf16::from_f32(v * scale)).collect()
}

/// softmax(q k^T / sqrt(channels)) v
fn expected([query, key, value]: [&[bf16]; 3], channels: usize) -> Vec<f64> {
    let rows = |x: &[bf16]| -> Vec<Vec<f64>> {
        x.chunks(channels).map(|row| row.iter().map(|v| v.to_f64()).collect()).collect()
    };
    let (queries, keys, values) = (rows(query), rows(key), rows(value));
    let of_query = |query: &Vec<f64>| {
        let dot = |key: &Vec<f64>| query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() / (channels as f64).sqrt();
        let scores: Vec<f64> = keys.iter().map(dot).collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mix = |c: usize| weights.iter().zip(&values).map(|(w, v)| w * v[c]).sum::<f64>() / total;
        (0..channels).map(mix).collect::<Vec<_>>()
    };
    queries.iter().flat_map(of_query).collect()
}

fn attend(target: Target, attention: Attention, workers: Workers, threads: usize) -> Vec<bf16> {
    let size = [attention.height, attention.width];
    let frame = Bordered::new(size, attention.channels);
    let mut output = vec![bf16::NAN; frame.shape().iter().product()];
    // What was in the scratch must not matter, so it is NaN.
    let scratch = ScratchPool::default();
    drop(scratch.shared(target.attention_scratch(size, attention.channels, threads)));
    scratch.fill(f32::NAN);
    let resources = Resources { threads, workers, scratch: &scratch };
    // SAFETY: the output has room.
    unsafe { target.attend(attention, resources, output.as_mut_ptr()) }.unwrap();
    output
}

#[test]
fn attention_is_its_definition() {
    for Case { height, width, channels, scale } in CASES {
        let mut random = Random(7);
        let (size, len) = ([height, width], height * width * channels);
        let [query, key] = [(); 2].map(|()| rounded(random.values(len), scale));
        let value = rounded(random.values(len), 1.0);
        let expected = expected([&query, &key, &value], channels);
        let attention = Attention { query: &query, key: &key, value: &value, height, width, channels };
        let mut first: Option<Vec<bf16>> = None;
        for target in Target::all_with_units() {
            let found = attend(target, attention, &one, 1);
            let result = within(&found, size, channels);
            let errors = result.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
            let error = errors.fold(0.0, f64::max);
            // Weights and the result are rounded to 8 bits.
            assert!(error <= 6e-3, "{height}x{width}x{channels} {target:?}: off by {error:.1e}");
            // The CPU's products are those of the manual, to the last bit.
            assert!(first.get_or_insert(found.clone()) == &found, "{height}x{width}x{channels} {target:?}");
            if target.unit() != Unit::Plain {
                for (workers, threads) in [(&one as Workers, 4), (&four, 2), (&four, 64)] {
                    let again = attend(target, attention, workers, threads);
                    assert!(again == found, "{height}x{width}x{channels}: threads change the result");
                }
            }
        }
    }
}

/// A query that is no number has no other effect; a key or a value that is none is in every result.
#[test]
fn what_is_no_number_is_found() {
    let (height, width, channels) = (5, 40, 24);
    let len = height * width * channels;
    let mut random = Random(8);
    let [query, key, value] = [(); 3].map(|()| rounded(random.values(len), 1.0));
    for target in Target::all_with_units() {
        let attend = |query: &[bf16], key: &[bf16], value: &[bf16]| {
            let attention = Attention { query, key, value, height, width, channels };
            attend(target, attention, &one, 1)
        };
        let pixels = |found: &[bf16]| -> Vec<Vec<f32>> {
            within(found, [height, width], channels).chunks(channels).map(<[f32]>::to_vec).collect()
        };
        let whole = pixels(&attend(&query, &key, &value));
        let with_nan = |x: &[bf16]| {
            let mut x = x.to_vec();
            x[70 * channels + 5] = bf16::NAN;
            x
        };
        for (n, pixel) in pixels(&attend(&with_nan(&query), &key, &value)).iter().enumerate() {
            match n {
                70 => assert!(pixel.iter().all(|v| v.is_nan()), "{target:?}"),
                _ => assert!(*pixel == whole[n], "{target:?}: pixel {n}"),
            }
        }
        let found = pixels(&attend(&query, &with_nan(&key), &value));
        assert!(found.iter().flatten().all(|v| v.is_nan()), "{target:?}");
        for pixel in pixels(&attend(&query, &key, &with_nan(&value))) {
            assert!(pixel.iter().enumerate().all(|(c, v)| v.is_nan() == (c == 5)), "{target:?}");
        }
    }
}
