//! bfloat16 in memory: the upper half of a float32.

use super::vectors::{self, LINE, load, store};
use half::bf16;
use pulp::Simd;

/// Rounds to nearest, ties to even. A NaN stays one.
#[inline(always)]
pub(crate) fn narrow(value: f32) -> bf16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    bf16::from_bits(if value.is_nan() { bits >> 16 | 0x40 } else { rounded } as u16)
}

/// The first `count` elements of a vector.
///
/// # Safety
/// `count` elements, but at most a vector, can be written at `to`.
#[inline(always)]
pub(crate) unsafe fn store_narrow<S: Simd>(to: *mut bf16, vector: S::f32s, count: usize) {
    // The compiler keeps this in registers.
    let mut values = [0.0; LINE];
    // SAFETY: as this function asks of its caller.
    unsafe {
        store::<S>(values.as_mut_ptr(), vector);
        if count >= S::F32_LANES {
            for i in 0..S::F32_LANES {
                to.add(i).write(narrow(values[i]));
            }
        } else {
            for i in 0..count {
                to.add(i).write(narrow(values[i]));
            }
        }
    }
}

/// The first `count` elements of a vector, and zeros in place of others, which may be NaN.
///
/// # Safety
/// A vector can be written at `to`.
#[inline(always)]
pub(crate) unsafe fn store_narrow_filled<S: Simd>(s: S, to: *mut bf16, vector: S::f32s, count: usize) {
    // SAFETY: as this function asks of its caller.
    unsafe {
        if count < S::F32_LANES {
            store_narrow::<S>(to, s.splat_f32s(0.0), S::F32_LANES);
        }
        store_narrow::<S>(to, vector, count);
    }
}

/// What is read as float32.
pub(crate) trait Value: Copy + Sync {
    /// The first `count` elements, the rest zero.
    ///
    /// # Safety
    /// `count` elements, but at most a vector, can be read at `from`.
    unsafe fn load_some<S: Simd>(s: S, from: *const Self, count: usize) -> S::f32s;
}

impl Value for f32 {
    #[inline(always)]
    unsafe fn load_some<S: Simd>(s: S, from: *const f32, count: usize) -> S::f32s {
        // SAFETY: as this function asks of its caller.
        unsafe { vectors::load_some(s, from, count) }
    }
}

impl Value for bf16 {
    #[inline(always)]
    unsafe fn load_some<S: Simd>(_: S, from: *const bf16, count: usize) -> S::f32s {
        let mut values = [0.0; LINE];
        // SAFETY: as this function asks of its caller.
        unsafe {
            if count >= S::F32_LANES {
                for i in 0..S::F32_LANES {
                    values[i] = wide(from.add(i).read());
                }
            } else {
                for i in 0..count {
                    values[i] = wide(from.add(i).read());
                }
            }
            load::<S>(values.as_ptr())
        }
    }
}

#[inline(always)]
fn wide(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_is_the_crates() {
        let mut bits: Vec<u32> = (0..1 << 16).map(|n| n << 16).collect();
        for more in [1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            bits.extend((0..1 << 16).map(|n| n << 16 | more));
        }
        for bits in bits {
            let value = f32::from_bits(bits);
            let (found, expected) = (narrow(value), bf16::from_f32(value));
            assert!(found == expected || value.is_nan() && found.is_nan(), "{bits:x}: {found:?}, {expected:?}");
            assert!(value.is_nan() || found.to_f32() == wide(found));
        }
    }
}
