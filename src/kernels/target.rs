//! What kernels compute with. All that differs between CPUs is decided here.

use super::blend::Blend;
use super::bordered::Narrow;
use super::conv::convolution::{Algorithm, Convolution, FloatAlgorithm, Input, Method, ReadRows, Resources};
use super::conv::direct::Direct;
use super::conv::matrix::{Matrix, MatrixInput, MatrixOutput};
use super::conv::transforms::{F23, F43};
use super::conv::winograd::Winograd;
use super::level::Level;
use super::micro::bfloat16::Value;
#[cfg(test)]
use super::micro::unit::Unit;
use super::norm::LayerNorm;
use super::scratch::{NoMemory, ScratchSize};
use super::workers::Workers;
use crate::error::Result;
use half::bf16;
use once_cell::sync::OnceCell;

/// Names the level to use instead of the highest that this CPU has. For tests and bug reports.
const VARIABLE: &str = "WFVAE_CPU";

/// Whether the compiler has optimised the kernels. They take 50 times as long as ONNX Runtime's own operators with `opt-level` 0,
/// and 15 times with 1.
pub(crate) const OPTIMISED: bool = cfg!(optimised);

/// The instruction set of this process and the algorithms that it has for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    level: Level,
}

impl Target {
    /// Chooses the target of this process, at the first call that succeeds.
    ///
    /// # Errors
    /// `InvalidArgument` if `WFVAE_CPU` names no level of this CPU.
    pub(crate) fn choose() -> Result<Target> {
        static CHOSEN: OnceCell<Target> = OnceCell::new();
        let choose = || -> Result<Target> {
            let level = match std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) {
                Some(name) => Level::named(&name.to_string_lossy(), VARIABLE)?,
                None => Level::best(),
            };
            Ok(Target { level })
        };
        CHOSEN.get_or_try_init(choose).copied()
    }

    /// The target of this process.
    pub(crate) fn current() -> Target {
        Self::choose().expect("opening a model checks this")
    }

    /// Whether the CPU has vectors that we know.
    pub(crate) fn has_vectors(self) -> bool {
        self.level.lanes() > 1
    }

    /// Whether there is a matrix unit that the process may use. If not, says why. Asks the system, so ask only if you would use it.
    pub(crate) fn check_matrix_unit(self) -> std::result::Result<(), &'static str> {
        match self.level.unit() {
            None => Err("this CPU, or the level that WFVAE_CPU forces, has no matrix unit (amx_tile and amx_bf16)"),
            Some(unit) if !unit.is_allowed() => Err(
                "the system does not let this process use the CPU's matrix unit: its kernel is older than Linux 5.16, or a thread has \
                 an alternate signal stack of less than sysconf(_SC_MINSIGSTKSZ) bytes",
            ),
            Some(_) => Ok(()),
        }
    }

    /// Float32 elements of a convolution's packed weights.
    pub(crate) fn packed_len(self, convolution: Convolution) -> usize {
        self.with_algorithm(convolution, |algorithm| algorithm.packed_len())
    }

    /// Packs a convolution's weights into `out`, on at most `threads` threads, fewer if the system gives no more.
    pub(crate) fn pack(
        self,
        convolution: Convolution,
        read_rows: ReadRows,
        threads: usize,
        out: &mut [f32],
    ) -> std::result::Result<(), NoMemory> {
        self.with_algorithm(convolution, |algorithm| algorithm.pack(read_rows, threads, out))
    }

    /// What a convolution of a frame of `[height, width]` takes besides its input and output.
    pub(crate) fn scratch(self, convolution: Convolution, size: [usize; 2], threads: usize) -> ScratchSize {
        self.with_algorithm(convolution, |algorithm| algorithm.scratch(size, threads))
    }

    /// Computes a convolution. Panics if the sizes in `input` do not fit each other.
    ///
    /// # Safety
    /// `output` has room for `method.output_size` times `input.c_out` elements. It may hold anything, and nothing else uses
    /// it.
    pub(crate) unsafe fn convolve(
        self,
        method: Method,
        input: Input,
        resources: Resources,
        output: *mut f32,
    ) -> std::result::Result<(), NoMemory> {
        self.with_floats(input.convolution(method), |algorithm| {
            input.check(method, algorithm.packed_len());
            // SAFETY: the caller promises the output, and the input was checked.
            unsafe { algorithm.run(input, resources, output) }
        })
    }

    /// Computes a convolution on the matrix unit. Panics if there is none, or if the sizes in `input` do not fit each other.
    ///
    /// # Safety
    /// The output has room for the results. It may hold anything, and nothing else uses it.
    pub(crate) unsafe fn convolve_narrow(
        self,
        convolution: Convolution,
        input: MatrixInput,
        resources: Resources,
        output: MatrixOutput,
    ) -> std::result::Result<(), NoMemory> {
        let matrix = self.matrix(convolution).expect("a convolution on a matrix unit");
        unsafe { matrix.run(input, resources, output) }
    }

    /// # Safety
    /// As that of `LayerNorm::run`.
    pub(crate) unsafe fn normalize(self, norm: LayerNorm, workers: Workers, output: *mut f32) {
        unsafe { norm.run(self.level, workers, output) }
    }

    /// # Safety
    /// As that of `LayerNorm::run_bordered`.
    pub(crate) unsafe fn normalize_narrow(
        self,
        norm: LayerNorm,
        size: [usize; 2],
        workers: Workers,
        output: *mut bf16,
    ) {
        unsafe { norm.run_bordered(size, self.level, workers, output) }
    }

    /// # Safety
    /// As that of `Narrow::run`.
    pub(crate) unsafe fn narrow(self, narrow: Narrow, workers: Workers, output: *mut bf16) {
        unsafe { narrow.run(self.level, workers, output) }
    }

    /// # Safety
    /// As that of `Blend::run`.
    pub(crate) unsafe fn blend<T: Value>(self, blend: Blend<T>, workers: Workers, output: *mut f32) {
        unsafe { blend.run(self.level, workers, output) }
    }

    fn with_algorithm<R>(self, convolution: Convolution, then: impl FnOnce(&dyn Algorithm) -> R) -> R {
        match self.matrix(convolution) {
            Some(matrix) => then(&matrix),
            None => self.with_floats(convolution, |algorithm| then(algorithm)),
        }
    }

    fn matrix(self, convolution: Convolution) -> Option<Matrix> {
        match convolution.method {
            Method::Matrix(form, outcome) => Some(Matrix::new(self.level, convolution, form, outcome)),
            _ => None,
        }
    }

    /// The one place that chooses an algorithm of float32.
    fn with_floats<R>(self, convolution: Convolution, then: impl FnOnce(&dyn FloatAlgorithm) -> R) -> R {
        let level = self.level;
        match convolution.method {
            Method::Winograd2(sampling) => then(&Winograd::<F23, 4, 2>::new(level, convolution, sampling)),
            Method::Winograd4(sampling) => then(&Winograd::<F43, 6, 4>::new(level, convolution, sampling)),
            Method::Strided => then(&Direct::new(level, convolution, 3, 2)),
            Method::Pointwise => then(&Direct::new(level, convolution, 1, 1)),
            Method::Matrix(..) => unreachable!("of bfloat16"),
        }
    }

    /// One for each kind of vectors that this CPU has.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Target> {
        let levels = Level::available().into_iter().filter(|level| level.unit().is_none());
        levels.map(|level| Target { level }).collect()
    }

    /// Those with a matrix unit: the CPU's, if it has one, and plain code.
    #[cfg(test)]
    pub(super) fn all_with_units() -> Vec<Target> {
        let best = Target { level: Level::best() };
        let plain = Target { level: best.level.with_plain_unit() };
        Some(best).filter(|best| best.check_matrix_unit().is_ok()).into_iter().chain([plain]).collect()
    }

    #[cfg(test)]
    pub(super) fn unit(self) -> Unit {
        self.level.unit().expect("a matrix unit")
    }
}
