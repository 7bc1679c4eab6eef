//! Finds numbers that are none. Everything that comes in and goes out is looked at, so this must cost nothing.

use half::f16;

/// Numbers that are looked at without a branch.
const BLOCK: usize = 256;
/// Float32 numbers from here on round to an infinity in half precision: halfway between its largest, 65504, and the next
/// that there would be.
const TOO_LARGE_FOR_F16: f32 = 65520.0;

/// The first number that is a NaN or an infinity.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    first_from(values, f32::INFINITY)
}

/// The first number that half precision cannot hold.
pub(crate) fn first_not_f16(values: &[f32]) -> Option<usize> {
    first_from(values, TOO_LARGE_FOR_F16)
}

/// The first half precision number that is a NaN or an infinity.
pub(crate) fn first_f16_not_finite(values: &[f16]) -> Option<usize> {
    let bad = |value: &f16| value.to_bits() & 0x7fff >= f16::INFINITY.to_bits();
    first(values, bad)
}

/// The first number of that magnitude or a larger one; a NaN counts as one.
fn first_from(values: &[f32], limit: f32) -> Option<usize> {
    // Without the sign, the bits of numbers are in the numbers' order, with those of NaN behind infinity's.
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
        for place in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 9] {
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![f32::MAX; 2 * BLOCK + 10];
                (values[0], values[1]) = (-f32::MAX, f32::MIN_POSITIVE / 8.0);
                assert_eq!(first_not_finite(&values), None);
                values[place] = bad;
                assert_eq!(first_not_finite(&values), Some(place), "{bad}");
                values.fill(-65504.0);
                assert_eq!(first_not_f16(&values), None);
                values[place] = bad;
                assert_eq!(first_not_f16(&values), Some(place), "{bad}");
                let mut halves = vec![f16::MIN; values.len()];
                assert_eq!(first_f16_not_finite(&halves), None);
                halves[place] = f16::from_f32(bad);
                assert_eq!(first_f16_not_finite(&halves), Some(place), "{bad}");
            }
        }
        assert_eq!((first_not_finite(&[]), first_f16_not_finite(&[])), (None, None));
    }

    #[test]
    fn what_half_precision_cannot_hold_is_what_it_rounds_to_an_infinity() {
        let bits = (65500f32.to_bits()..65600f32.to_bits()).step_by(7);
        for value in bits.map(f32::from_bits).chain([65519.99, 65520.0]).flat_map(|v| [v, -v]) {
            assert_eq!(first_not_f16(&[value]).is_none(), f16::from_f32(value).is_finite(), "{value}");
        }
    }
}
