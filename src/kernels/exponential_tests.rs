//! Exponential functions, against the exact ones, on every level that this CPU has.

use super::level::Level;
use super::micro::exponential::{exp2_for_bfloat16, silu, silu_for_bfloat16};
use super::micro::vectors::{load_some, store_some};
use pulp::{Simd, WithSimd};

#[derive(Debug, Clone, Copy)]
enum Function {
    Silu,
    SiluForBfloat16,
    Exp2ForBfloat16,
}

struct Apply<'a>(Function, &'a mut [f32]);

impl WithSimd for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        for values in self.1.chunks_mut(S::F32_LANES) {
            let count = values.len();
            // SAFETY: there are so many values.
            unsafe {
                let x = load_some(s, values.as_ptr(), count);
                let value = match self.0 {
                    Function::Silu => silu(s, x),
                    Function::SiluForBfloat16 => silu_for_bfloat16(s, x),
                    Function::Exp2ForBfloat16 => exp2_for_bfloat16(s, x),
                };
                store_some(s, values.as_mut_ptr(), value, count);
            }
        }
    }
}

/// Values from -80 to 80 and those of `special`, before and after.
fn check(function: Function, exact: impl Fn(f64) -> f64, tolerance: f64, special: impl Fn([f32; 5]) -> bool) {
    let given: Vec<f32> = (-80_000..=80_000).map(|n| n as f32 / 1000.0).collect();
    for level in Level::available() {
        let mut found = given.clone();
        level.dispatch(Apply(function, &mut found));
        for (x, y) in given.iter().zip(found) {
            let (exact, y) = (exact(f64::from(*x)), f64::from(y));
            assert!((y - exact).abs() <= tolerance * exact.abs(), "{level:?} {function:?}: of {x} found {y}");
        }
        let mut found = [f32::NAN, f32::INFINITY, 1e30, -1e30, f32::NEG_INFINITY];
        level.dispatch(Apply(function, &mut found));
        assert!(special(found), "{level:?} {function:?}: {found:?}");
    }
}

#[test]
fn silu_is_the_exact_one() {
    let exact = |x: f64| x / (1.0 + (-x).exp());
    let special = |[nan, infinite, large, low, _]: [f32; 5]| {
        nan.is_nan() && infinite == f32::INFINITY && large == 1e30 && low.abs() < 1e-6
    };
    check(Function::Silu, exact, 1e-6, special);
    check(Function::SiluForBfloat16, exact, 1e-4, special);
}

#[test]
fn exp2_is_the_exact_one() {
    let special = |[nan, infinite, large, low, lowest]: [f32; 5]| {
        nan.is_nan() && infinite > 1e37 && large > 1e37 && (0.0..1e-37).contains(&low) && (0.0..1e-37).contains(&lowest)
    };
    check(Function::Exp2ForBfloat16, f64::exp2, 6e-5, special);
}
