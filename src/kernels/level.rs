//! The instruction sets that kernels are compiled for, by the `pulp` crate.

use super::micro::unit::Unit;
use crate::error::{Result, fail};
use pulp::{Arch, Simd, WithSimd};

/// An instruction set that this CPU has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    name: &'static str,
    arch: Arch,
    /// What multiplies tiles of bfloat16, if there is such a unit.
    unit: Option<Unit>,
}

impl Level {
    /// All that this CPU has, lowest first.
    pub(super) fn available() -> Vec<Level> {
        let level = |name, arch| Level { name, arch, unit: None };
        let mut levels = vec![level("scalar", Arch::Scalar)];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            use pulp::x86::{V3, V4};
            levels.extend(V3::try_new().map(|v3| level("avx2", Arch::V3(v3))));
            levels.extend(V4::try_new().map(|v4| level("avx512", Arch::V4(v4))));
        }
        #[cfg(target_arch = "aarch64")]
        levels.extend(pulp::aarch64::Neon::try_new().map(|neon| level("neon", Arch::Neon(neon))));
        let with_unit = levels.last().filter(|level| level.name == "avx512" && Unit::has_amx()).copied();
        levels.extend(with_unit.map(|level| Level { name: "amx", unit: Some(Unit::Amx), ..level }));
        levels
    }

    #[cfg(test)]
    pub(super) fn with_plain_unit(self) -> Level {
        Level { unit: Some(Unit::Plain), ..self }
    }

    pub(super) fn without_unit(self) -> Level {
        Level { unit: None, ..self }
    }

    pub(super) fn unit(self) -> Option<Unit> {
        self.unit
    }

    pub(super) fn best() -> Level {
        Self::available()[Self::available().len() - 1]
    }

    /// The level of that name; `variable` is where the name is from.
    pub(super) fn named(name: &str, variable: &str) -> Result<Level> {
        let levels = Self::available();
        if let Some(level) = levels.iter().find(|level| level.name == name) {
            return Ok(*level);
        }
        let names: Vec<_> = levels.iter().map(|level| level.name).collect();
        fail!(InvalidArgument, "{variable} is {name:?}, expected a level that this CPU has: {}", names.join(", "));
    }

    /// Elements of a vector.
    pub(super) fn lanes(self) -> usize {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> usize {
                S::F32_LANES
            }
        }
        self.dispatch(Lanes)
    }

    #[inline(always)]
    pub(super) fn dispatch<Op: WithSimd>(self, op: Op) -> Op::Output {
        self.arch.dispatch(op)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names() {
        let levels = Level::available();
        for level in &levels {
            assert_eq!(Level::named(level.name, "").unwrap().lanes(), level.lanes());
        }
        let lanes: Vec<_> = levels.iter().map(|level| (level.name, level.lanes())).collect();
        let known = match cfg!(target_arch = "aarch64") {
            true => &[("scalar", 1), ("neon", 4)][..],
            false => &[("scalar", 1), ("avx2", 8), ("avx512", 16), ("amx", 16)],
        };
        assert_eq!(lanes, known[..lanes.len()]);
        // Every aarch64 CPU has NEON.
        assert!(lanes.len() > 1 || !cfg!(target_arch = "aarch64"));
        // The others are for tests and bug reports.
        assert_eq!(format!("{:?}", Level::best().arch), format!("{:?}", Arch::new()));
    }

    #[test]
    fn a_level_that_the_cpu_lacks_is_an_error_that_names_those_it_has() {
        for name in ["sse9", "AVX2", ""] {
            let text = Level::named(name, "WFVAE_CPU").unwrap_err().to_string();
            assert!(text.contains(&format!("WFVAE_CPU is {name:?}")) && text.contains("has: scalar"), "{text}");
        }
    }
}
