//! Products of tiles in plain code, with the roundings that Intel's manual describes: for tests.

use super::tiles::{Products, SIDE, weights_bytes};
use half::bf16;

pub(super) unsafe fn run(products: &Products, depth: usize, tiles: usize) {
    let Products { pixels, count, stride, steps, weights, sums, accumulate, .. } = *products;
    let width = tiles * SIDE;
    let at = |from: *const u8, i: usize| unsafe { from.cast::<bf16>().add(i).read() }.to_f32();
    for pixel in 0..count * SIDE {
        for channel in 0..width {
            let result = unsafe { sums.add(pixel * width + channel) };
            let mut sum = if accumulate { unsafe { result.read() } } else { 0.0 };
            for (n, step) in steps.iter().enumerate() {
                let (a, b) = unsafe {
                    let tile = weights.add((n * tiles + channel / SIDE) * weights_bytes(depth));
                    (pixels[pixel / SIDE].add(step + pixel % SIDE * stride), tile)
                };
                let mut parts = [0.0f32; 2];
                for k in 0..depth {
                    let weight = at(b, (k / 2 * SIDE + channel % SIDE) * 2 + k % 2);
                    parts[k % 2] = at(a, k).mul_add(weight, parts[k % 2]);
                }
                sum += parts[0] + parts[1];
            }
            unsafe { result.write(sum) };
        }
    }
}
