//! A float32 as the exact sum of three bfloat16, so that units that multiply bfloat16 can multiply float32.
//!
//! Each part is what the ones before it left, cut off to 8 bits. Of the nine products of two numbers' parts the six largest are
//! needed: what the others add is less than 2^-22 of the product, and mostly far less.

use super::tiles::{DEPTH, SIDE};
use super::vectors::{load, store};
use pulp::Simd;

/// Parts of a number.
pub(crate) const PARTS: usize = 3;

/// Elements, of the size of a float32, of one part of `DEPTH` numbers: their two halves in pairs, which is also a row of a tile.
pub(crate) const ROW: usize = DEPTH / 2;

/// Splits `DEPTH` numbers at `from` and `from + SIDE`. Element `i` of a part's row has number `i` in its lower half and number
/// `i + SIDE` in its upper one. Rows are `stride` elements apart.
///
/// # Safety
/// There are so many numbers, and there is room for three rows.
#[inline(always)]
pub(crate) unsafe fn split<S: Simd>(s: S, low: *const f32, high: *const f32, to: *mut f32, stride: usize) {
    let (upper, half) = (s.splat_u32s(0xffff_0000), s.splat_u32s(16));
    let mut at = 0;
    while at < SIDE {
        // SAFETY: within the numbers and the rows.
        unsafe {
            let mut rest = [load::<S>(low.add(at)), load::<S>(high.add(at))];
            for part in 0..PARTS {
                let bits = [s.transmute_u32s_f32s(rest[0]), s.transmute_u32s_f32s(rest[1])];
                let cut = [s.and_u32s(bits[0], upper), s.and_u32s(bits[1], upper)];
                let pair = s.or_u32s(s.wrapping_dyn_shr_u32s(bits[0], half), cut[1]);
                store::<S>(to.add(part * stride + at), s.transmute_f32s_u32s(pair));
                for i in 0..2 {
                    rest[i] = s.sub_f32s(rest[i], s.transmute_f32s_u32s(cut[i]));
                }
            }
        }
        at += S::F32_LANES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::level::Level;
    use pulp::WithSimd;

    struct Split<'a>(&'a [f32], &'a mut [f32]);

    impl WithSimd for Split<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, s: S) {
            let from = self.0.as_ptr();
            assert!(self.0.len() == DEPTH && self.1.len() == PARTS * ROW);
            unsafe { split(s, from, from.add(SIDE), self.1.as_mut_ptr(), ROW) };
        }
    }

    /// The parts of each number.
    fn parts(level: Level, numbers: &[f32; DEPTH]) -> [[f32; PARTS]; DEPTH] {
        let mut rows = vec![0.0; PARTS * ROW];
        level.dispatch(Split(numbers, &mut rows));
        std::array::from_fn(|i| {
            std::array::from_fn(|part| {
                let pair = rows[part * ROW + i % SIDE].to_bits();
                f32::from_bits(if i < SIDE { pair << 16 } else { pair & 0xffff_0000 })
            })
        })
    }

    #[test]
    fn parts_add_up_to_the_number() {
        let mut bits = 1u32;
        for level in Level::available() {
            for _ in 0..2000 {
                let numbers = std::array::from_fn(|_| {
                    bits = bits.wrapping_mul(1664525).wrapping_add(1013904223);
                    // Of 2^-60 to 2^60, so that all parts are normal numbers.
                    f32::from_bits((bits & 0x807f_ffff) | (67 + (bits >> 9) % 120) << 23)
                });
                for (number, parts) in numbers.iter().zip(parts(level, &numbers)) {
                    assert_eq!(parts[0] + (parts[1] + parts[2]), *number, "{level:?}");
                    assert!(parts[1].abs() <= number.abs() / 128.0 && parts[2].abs() <= number.abs() / 32768.0);
                }
            }
        }
    }

    #[test]
    fn a_nan_has_a_part_that_is_one() {
        for level in Level::available() {
            for nan in [f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xff80_0001)] {
                for parts in parts(level, &[nan; DEPTH]) {
                    assert!(parts.iter().any(|part| part.is_nan()), "{level:?}: {parts:?}");
                }
            }
        }
    }
}
