//! Reads weights as float32, in the parts and orders that graphs and kernels need.

use super::checkpoint::Checkpoint;
use super::weight_type::WeightType;
use crate::error::{Result, fail};
use crate::finite::first_not_finite;
use crate::memory;
use half::{bf16, f16};
use std::ops::Range;

/// Bytes read at a time into a buffer on the stack.
const BLOCK: usize = 1 << 14;

impl Checkpoint {
    fn weight_type(&self, key: &str) -> WeightType {
        WeightType::of(&self.tensor(key).dtype).unwrap_or_else(|| unreachable!("checked: {key} has a type of weights"))
    }

    /// Reads `block` elements of every `stride`, starting at element `first`, for the network.
    fn read_blocks(&self, key: &str, first: usize, stride: usize, block: usize, out: &mut [f32]) {
        self.read_stored(key, first, stride, block, out);
        if let Some(mixture) = self.mixture(key) {
            let element = |i: usize| i / block * stride + first + i % block;
            mixture.apply(&self.tensor(key).shape, element, out);
        }
    }

    /// The same as the file stores them.
    fn read_stored(&self, key: &str, first: usize, stride: usize, block: usize, out: &mut [f32]) {
        if block == 0 {
            return;
        }
        let tensor = self.tensor(key);
        let weight_type = self.weight_type(key);
        let width = weight_type.size();
        // Reads as many strides at a time as fit in the buffer, or a part of one.
        let strides = (BLOCK / (stride * width)).max(1);
        let most = if strides > 1 { strides * block } else { block.min(BLOCK / width) };
        let mut buffer = [0; BLOCK];
        let mut done = 0;
        while done < out.len() {
            let (row, column) = (done / block, done % block);
            let count = match strides {
                1 => most.min(block - column),
                _ => most.min(out.len() - done),
            };
            let target = &mut out[done..done + count];
            let block = block.min(count);
            let bytes = &mut buffer[..((count / block - 1) * stride + block) * width];
            self.read_bytes(tensor, (row * stride + first + column) * width, bytes);
            match weight_type {
                WeightType::F64 => copy_blocks(bytes, stride, block, target, |b| f64::from_le_bytes(b) as f32),
                WeightType::F32 => copy_blocks(bytes, stride, block, target, f32::from_le_bytes),
                WeightType::F16 => copy_blocks(bytes, stride, block, target, |b| f16::from_le_bytes(b).to_f32()),
                WeightType::Bf16 => copy_blocks(bytes, stride, block, target, |b| bf16::from_le_bytes(b).to_f32()),
            }
            done += count;
        }
    }

    /// Reads elements from `start` on, as the file stores them.
    pub(super) fn read_part(&self, key: &str, start: usize, out: &mut [f32]) {
        let n = out.len();
        self.read_stored(key, start, n, n, out);
    }

    /// Reads the whole tensor for the network, which must have `out.len()` elements.
    pub(crate) fn read(&self, key: &str, out: &mut [f32]) {
        let n = out.len();
        self.read_blocks(key, 0, n, n, out);
    }

    /// Reads some entries of the first axis.
    pub(crate) fn read_rows(&self, key: &str, rows: Range<usize>, out: &mut [f32]) {
        let tensor = self.tensor(key);
        let row: usize = tensor.shape[1..].iter().product();
        self.read_blocks(key, rows.start * row, tensor.shape.iter().product(), rows.len() * row, out);
    }

    /// Reads time tap `tap` of a [Cout, Cin, 3, 3, 3] kernel as [Cout, Cin, 3, 3].
    pub(crate) fn read_tap(&self, key: &str, tap: usize, out: &mut [f32]) {
        let [.., taps, height, width] = self.tensor(key).shape[..] else { unreachable!("checked: a 3D kernel") };
        self.read_blocks(key, tap * height * width, taps * height * width, height * width, out);
    }

    /// Reads a [Cout, Cin, 3, 3, 3] kernel as [Cout, 3 Cin, 3, 3]: all input channels of the first time tap, then of
    /// the others.
    pub(crate) fn read_stacked(&self, key: &str, out: &mut [f32]) {
        let [c_out, c_in, taps, height, width] = self.tensor(key).shape[..] else {
            unreachable!("checked: a 3D kernel")
        };
        let plane = height * width;
        for (i, out) in out.chunks_exact_mut(c_in * plane).take(c_out * taps).enumerate() {
            let (channel, tap) = (i / taps, i % taps);
            self.read_blocks(key, (channel * c_in * taps + tap) * plane, taps * plane, plane, out);
        }
    }

    /// Reads a [Cout, Cin, 3, 3, 3] kernel as [3 Cout, Cin, 3, 3]: all output channels of the first time tap, then of
    /// the others.
    pub(crate) fn read_taps_apart(&self, key: &str, out: &mut [f32]) {
        let taps = self.tensor(key).shape[2];
        let size = out.len() / taps;
        out.chunks_exact_mut(size).enumerate().for_each(|(tap, out)| self.read_tap(key, tap, out));
    }

    /// Reads some entries of the first axis of that.
    pub(crate) fn read_rows_of_taps(&self, key: &str, rows: Range<usize>, out: &mut [f32]) {
        let [c_out, c_in, taps, height, width] = self.tensor(key).shape[..] else {
            unreachable!("checked: a 3D kernel")
        };
        let plane = height * width;
        for (row, out) in rows.zip(out.chunks_exact_mut(c_in * plane)) {
            let (tap, channel) = (row / c_out, row % c_out);
            self.read_blocks(key, (channel * c_in * taps + tap) * plane, taps * plane, plane, out);
        }
    }

    /// Reads the [Cout, Cin, 2, 2] kernel that has the same effect on an image before 2x nearest-neighbour upsampling
    /// as the [Cout, Cin, 3, 3] kernel has after it, for output pixels at `phase` (y, x) of each 2x2 block. Taps that
    /// read the same source pixel are summed.
    pub(crate) fn read_phase(&self, key: &str, phase: [usize; 2], out: &mut [f32]) -> Result<()> {
        let mut kernels = memory::zeros(out.len() / 4 * 9, "weights")?;
        self.read(key, &mut kernels);
        // In the first row (column) of a block, the first tap reads the previous block; in the second, the last tap
        // reads the next block.
        let source = |phase: usize, tap: usize| (phase + tap).div_ceil(2) - phase;
        for (kernel, out) in kernels.chunks_exact(9).zip(out.chunks_exact_mut(4)) {
            out.fill(0.0);
            for (i, weight) in kernel.iter().enumerate() {
                out[source(phase[0], i / 3) * 2 + source(phase[1], i % 3)] += weight;
            }
        }
        Ok(())
    }

    /// Fails at the first tensor that contains a NaN or an infinity.
    pub(crate) fn check_finite<'a>(&self, keys: impl Iterator<Item = &'a str>) -> Result<()> {
        let mut values = [0.0; BLOCK / size_of::<f32>()];
        for key in keys {
            let elements = self.tensor(key).shape.iter().product();
            for start in (0..elements).step_by(values.len()) {
                let part = (elements - start).min(values.len());
                let values = &mut values[..part];
                self.read_part(key, start, values);
                if let Some(index) = first_not_finite(values) {
                    let (file, value, index) = (self.file_of(key), values[index], start + index);
                    fail!(Checkpoint, "{file}: tensor {key}: element {index} is {value}, expected a finite number");
                }
            }
        }
        Ok(())
    }
}

/// Converts the first `block` elements of every `stride`. The last stride may be shorter.
fn copy_blocks<const N: usize>(
    bytes: &[u8],
    stride: usize,
    block: usize,
    out: &mut [f32],
    convert: impl Fn([u8; N]) -> f32,
) {
    for (source, target) in bytes.chunks(stride * N).zip(out.chunks_exact_mut(block)) {
        let source = &source[..block * N];
        for (element, value) in source.chunks_exact(N).zip(target) {
            *value = convert(element.try_into().expect("chunks of N bytes"));
        }
    }
}
