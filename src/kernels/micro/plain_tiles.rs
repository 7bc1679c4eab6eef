//! Products of tiles in plain code, with the roundings that Intel's manual describes: for tests.

use super::parts::PARTS;
use super::tiles::{DEPTH, PartProducts, Products, SIDE, weights_bytes};
use half::bf16;

pub(super) unsafe fn run(products: &Products, depth: usize, tiles: usize) {
    let Products { pixels, count, stride, steps, weights, sums, accumulate, .. } = *products;
    let width = tiles * SIDE;
    for pixel in 0..count * SIDE {
        for channel in 0..width {
            let result = unsafe { sums.add(pixel * width + channel) };
            let mut sum = if accumulate { unsafe { result.read() } } else { 0.0 };
            for (n, step) in steps.iter().enumerate() {
                let (a, b) = unsafe {
                    let tile = weights.add((n * tiles + channel / SIDE) * weights_bytes(depth));
                    (pixels[pixel / SIDE].add(step + pixel % SIDE * stride), tile)
                };
                sum += unsafe { products_of(a, b, channel % SIDE, depth) };
            }
            unsafe { result.write(sum) };
        }
    }
}

pub(super) unsafe fn run_parts(products: &PartProducts, tiles: usize) {
    let PartProducts { rows, stride, steps, weights, sums, sums_stride, accumulate } = *products;
    // The part of the numbers and that of the weights, in the order in which the unit adds their products.
    const ORDER: [[usize; 2]; 6] = [[2, 0], [1, 0], [1, 1], [0, 1], [0, 2], [0, 0]];
    let tile = weights_bytes(DEPTH);
    for half in 0..2 {
        for step in 0..steps {
            for (n, [a, b]) in ORDER.into_iter().enumerate() {
                for pixel in 0..SIDE {
                    for channel in 0..tiles * SIDE {
                        unsafe {
                            let result = sums.byte_add((half * SIDE + pixel) * sums_stride).add(channel);
                            let row = rows.add((half * SIDE + pixel) * stride + (step * PARTS + a) * 2 * DEPTH);
                            let weights = weights.add(((step * PARTS + b) * tiles + channel / SIDE) * tile);
                            let sum = if accumulate || step > 0 || n > 0 { result.read() } else { 0.0 };
                            result.write(sum + products_of(row, weights, channel % SIDE, DEPTH));
                        }
                    }
                }
            }
        }
    }
}

/// The sum of a row's products with one channel of a tile of weights.
unsafe fn products_of(row: *const u8, weights: *const u8, channel: usize, depth: usize) -> f32 {
    let at = |from: *const u8, i: usize| unsafe { from.cast::<bf16>().add(i).read() }.to_f32();
    let mut sums = [0.0f32; 2];
    for k in 0..depth {
        sums[k % 2] = at(row, k).mul_add(at(weights, (k / 2 * SIDE + channel) * 2 + k % 2), sums[k % 2]);
    }
    sums[0] + sums[1]
}
