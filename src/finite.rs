//! Finds NaNs and infinities. This runs over all input and output, so it must be almost free.

use half::{bf16, f16};

/// Values per block; within a block the search has no branches.
const BLOCK: usize = 256;
/// Float32 values from here on round to infinity in float16. It is halfway between 65504, the largest float16, and the
/// next step.
const TOO_LARGE_FOR_F16: f32 = 65520.0;

/// The index of the first NaN or infinity.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    first_from(values, f32::INFINITY)
}

/// The index of the first value that does not fit in float16.
pub(crate) fn first_not_f16(values: &[f32]) -> Option<usize> {
    first_from(values, TOO_LARGE_FOR_F16)
}

/// The index of the first NaN or infinity.
pub(crate) fn first_f16_not_finite(values: &[f16]) -> Option<usize> {
    let bad = |value: &f16| value.to_bits() & 0x7fff >= f16::INFINITY.to_bits();
    first(values, bad)
}

/// Whether the bytes, read as float32 values, contain a NaN or an infinity.
pub(crate) fn f32_bytes_not_finite(bytes: &[u8]) -> bool {
    let infinity = f32::INFINITY.to_bits();
    let words = bytes.chunks_exact(4).map(|b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    words.fold(false, |found, word| found | (word & infinity == infinity))
}

/// The same for float16.
pub(crate) fn f16_bytes_not_finite(bytes: &[u8]) -> bool {
    words_not_finite(bytes, f16::INFINITY.to_bits())
}

/// The same for bfloat16.
pub(crate) fn bf16_bytes_not_finite(bytes: &[u8]) -> bool {
    words_not_finite(bytes, bf16::INFINITY.to_bits())
}

fn words_not_finite(bytes: &[u8], infinity: u16) -> bool {
    let words = bytes.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
    words.fold(false, |found, word| found | (word & infinity == infinity))
}

/// The index of the first value that `convert` turns into a NaN or an infinity.
pub(crate) fn first_not_finite_as<T: Copy>(values: &[T], convert: impl Fn(T) -> f32) -> Option<usize> {
    first(values, |value: &T| !convert(*value).is_finite())
}

/// The index of the first value whose magnitude is at least `limit`, or that is a NaN.
fn first_from(values: &[f32], limit: f32) -> Option<usize> {
    // Without the sign bit, the bits of floats compare in the order of their values, and NaNs compare above infinity.
    let limit = limit.to_bits();
    first(values, |value: &f32| value.to_bits() & 0x7fff_ffff >= limit)
}

fn first<T>(values: &[T], bad: impl Fn(&T) -> bool) -> Option<usize> {
    let any = |block: &[T]| block.iter().fold(false, |found, value| found | bad(value));
    let block = values.chunks(BLOCK).position(any)?;
    let start = block * BLOCK;
    values[start..].iter().position(bad).map(|index| start + index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_found_wherever_it_is() {
        for index in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 9] {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![f32::MAX; 2 * BLOCK + 10];
                (values[0], values[1]) = (-f32::MAX, f32::MIN_POSITIVE / 8.0);
                assert_eq!(first_not_finite(&values), None);
                values[index] = bad;
                assert_eq!(first_not_finite(&values), Some(index), "{bad}");
                values.fill(-65504.0);
                assert_eq!(first_not_f16(&values), None);
                values[index] = bad;
                assert_eq!(first_not_f16(&values), Some(index), "{bad}");
                let mut halves = vec![f16::MIN; values.len()];
                assert_eq!(first_f16_not_finite(&halves), None);
                halves[index] = f16::from_f32(bad);
                assert_eq!(first_f16_not_finite(&halves), Some(index), "{bad}");
            }
        }
        assert_eq!((first_not_finite(&[]), first_f16_not_finite(&[])), (None, None));
    }

    /// Stream state is checked in these types.
    #[test]
    fn bytes_of_every_type_are_checked() {
        fn found<const N: usize>(test: fn(&[u8]) -> bool, fine: [[u8; N]; 3], bad: [[u8; N]; 4]) {
            for bad in bad {
                let mut bytes = [fine.concat(), fine.concat()].concat();
                assert!(!test(&bytes) && !test(&[]));
                bytes[N..2 * N].copy_from_slice(&bad);
                assert!(test(&bytes), "{bad:?}");
            }
        }
        let bad = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        found(f32_bytes_not_finite, [f32::MAX, f32::MIN, 0.0].map(f32::to_ne_bytes), bad.map(f32::to_ne_bytes));
        let halves = bad.map(|v| f16::from_f32(v).to_ne_bytes());
        found(f16_bytes_not_finite, [f16::MAX, f16::MIN, f16::ZERO].map(f16::to_ne_bytes), halves);
        let bfloats = bad.map(|v| bf16::from_f32(v).to_ne_bytes());
        found(bf16_bytes_not_finite, [bf16::MAX, bf16::MIN, bf16::ZERO].map(bf16::to_ne_bytes), bfloats);
        // Float16's infinity is a finite bfloat16 value.
        assert!(!bf16_bytes_not_finite(&0x7c00u16.to_ne_bytes()) && f16_bytes_not_finite(&0x7c00u16.to_ne_bytes()));
    }

    #[test]
    fn what_half_precision_cannot_hold_is_what_it_rounds_to_an_infinity() {
        let bits = (65500f32.to_bits()..65600f32.to_bits()).step_by(7);
        for value in bits.map(f32::from_bits).chain([65519.99, 65520.0]).flat_map(|v| [v, -v]) {
            assert_eq!(first_not_f16(&[value]).is_none(), f16::from_f32(value).is_finite(), "{value}");
        }
    }
}
