//! What kernels compute with. All that differs between CPUs is decided here.

use super::attention::Attention;
use super::blend::Blend;
use super::bordered::Narrow;
use super::conv::convolution::{Algorithm, Convolution, FloatAlgorithm, Input, Method, ReadRows, Resources};
use super::conv::direct::Direct;
use super::conv::matrix::{Matrix, MatrixInput, MatrixOutput};
use super::conv::multipliers::{OnUnit, Vectors};
use super::conv::transforms::{F23, F43};
use super::conv::winograd::Winograd;
use super::enlarge::Doubling;
use super::group_norm::{GroupNorm, GroupStatistics};
use super::haar::{Analysis, Coefficients, Synthesis};
use super::level::Level;
use super::micro::bfloat16::Value;
#[cfg(test)]
use super::micro::unit::Unit;
use super::norm::LayerNorm;
use super::scratch::{NoMemory, ScratchSize};
use super::workers::Workers;
use crate::error::{Result, fail};
use half::bf16;
use once_cell::race::OnceBox;

/// Names the level to use instead of the highest that this CPU has. For tests and bug reports.
const VARIABLE: &str = "WFVAE_CPU";

/// Whether the compiler has optimised the kernels. They take 50 times as long as ONNX Runtime's own operators with `opt-level` 0,
/// and 15 times with 1.
pub(crate) const OPTIMISED: bool = cfg!(optimised);

/// Input channels, and output channels, from which on a matrix unit multiplies float32 faster than vectors do. With fewer, too much
/// of the unit is unused.
const ON_UNIT: usize = 64;

/// The instruction set of this process and the algorithms that it has for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    level: Level,
    /// Input channels, and output channels, from which on a matrix unit multiplies float32.
    on_unit: usize,
    /// Why the system refused the CPU's matrix unit, if it did.
    refused: Option<&'static str>,
}

impl Target {
    /// Chooses the target of this process, at the first call that succeeds. Asks the system for a matrix unit, as ONNX Runtime does
    /// when its environment is made.
    ///
    /// # Errors
    /// `InvalidArgument` if `WFVAE_CPU` names no level of this CPU, or one whose matrix unit the system refuses.
    pub(crate) fn choose() -> Result<Target> {
        // Threads do not wait for each other here, as this is before a forked child is refused.
        static CHOSEN: OnceBox<Target> = OnceBox::new();
        let choose = || -> Result<Box<Target>> {
            let named = std::env::var_os(VARIABLE).filter(|name| !name.is_empty());
            let level = match &named {
                Some(name) => Level::named(&name.to_string_lossy(), VARIABLE)?,
                None => Level::best(),
            };
            let refused = level.unit().and_then(|unit| unit.ask().err());
            let level = if refused.is_some() { level.without_unit() } else { level };
            let target = Target { refused, ..Target::new(level) };
            match (target.refusal(), named) {
                (Some(refusal), Some(name)) => fail!(InvalidArgument, "{VARIABLE} is {name:?}, but {refusal}"),
                _ => Ok(Box::new(target)),
            }
        };
        CHOSEN.get_or_try_init(choose).copied()
    }

    fn new(level: Level) -> Target {
        Target { level, on_unit: ON_UNIT, refused: None }
    }

    /// The target of this process.
    pub(crate) fn current() -> Target {
        Self::choose().expect("opening a model checks this")
    }

    /// Whether the CPU has vectors that we know.
    pub(crate) fn has_vectors(self) -> bool {
        self.level.lanes() > 1
    }

    /// Whether there is a matrix unit that the process may use. If not, says why.
    pub(crate) fn check_matrix_unit(self) -> std::result::Result<(), String> {
        let missing = "this CPU, or the level that WFVAE_CPU forces, has no matrix unit (amx_tile and amx_bf16)";
        match self.level.unit() {
            Some(_) => Ok(()),
            None => Err(self.refusal().unwrap_or_else(|| missing.to_owned())),
        }
    }

    /// Why the system does not let the process use the CPU's matrix unit, if that is so.
    pub(crate) fn refusal(self) -> Option<String> {
        let reason = self.refused?;
        Some(format!("the system does not let this process use the CPU's matrix unit: {reason}"))
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
        // SAFETY: as this function asks of its caller.
        unsafe { matrix.run(input, resources, output) }
    }

    /// Attention on the matrix unit. Panics if there is none, or if the sizes do not fit each other.
    ///
    /// # Safety
    /// As that of `Attention::run`.
    pub(crate) unsafe fn attend(
        self,
        attention: Attention,
        resources: Resources,
        output: *mut bf16,
    ) -> std::result::Result<(), NoMemory> {
        // SAFETY: as this function asks of its caller.
        unsafe { attention.run(self.level, resources, output) }
    }

    /// What attention over a frame of `[height, width]` takes besides its inputs and output.
    pub(crate) fn attention_scratch(self, size: [usize; 2], channels: usize, threads: usize) -> ScratchSize {
        Attention::scratch(size, channels, threads)
    }

    /// # Safety
    /// As that of `LayerNorm::run`.
    pub(crate) unsafe fn normalize(self, norm: LayerNorm, workers: Workers, output: *mut f32) {
        // SAFETY: as this function asks of its caller.
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
        // SAFETY: as this function asks of its caller.
        unsafe { norm.run_bordered(size, self.level, workers, output) }
    }

    /// # Safety
    /// As that of `GroupStatistics::run`.
    pub(crate) unsafe fn group_statistics(
        self,
        statistics: GroupStatistics,
        workers: Workers,
        output: *mut f32,
    ) -> std::result::Result<(), NoMemory> {
        // SAFETY: as this function asks of its caller.
        unsafe { statistics.run(self.level, workers, output) }
    }

    /// # Safety
    /// As that of `GroupNorm::run`.
    pub(crate) unsafe fn normalize_groups(self, norm: GroupNorm, workers: Workers, output: *mut f32) {
        // SAFETY: as this function asks of its caller.
        unsafe { norm.run(self.level, workers, output) }
    }

    /// # Safety
    /// As that of `Doubling::run`.
    pub(crate) unsafe fn double(self, doubling: Doubling, workers: Workers, output: *mut f32) {
        // SAFETY: as this function asks of its caller.
        unsafe { doubling.run(self.level, workers, output) }
    }

    /// # Safety
    /// As that of `Narrow::run`.
    pub(crate) unsafe fn narrow(self, narrow: Narrow, workers: Workers, output: *mut bf16) {
        // SAFETY: as this function asks of its caller.
        unsafe { narrow.run(self.level, workers, output) }
    }

    /// # Safety
    /// As that of `Blend::run`.
    pub(crate) unsafe fn blend<T: Value>(self, blend: Blend<T>, workers: Workers, output: *mut f32) {
        // SAFETY: as this function asks of its caller.
        unsafe { blend.run(self.level, workers, output) }
    }

    /// # Safety
    /// As that of `Analysis::run`.
    pub(crate) unsafe fn analyse(self, analysis: Analysis, workers: Workers, to: Coefficients, low: Option<*mut f32>) {
        // SAFETY: as this function asks of its caller.
        unsafe { analysis.run(self.level, workers, to, low) }
    }

    /// # Safety
    /// As that of `Synthesis::run`.
    pub(crate) unsafe fn synthesise(self, synthesis: Synthesis, workers: Workers, pictures: &[*mut f32]) {
        // SAFETY: as this function asks of its caller.
        unsafe { synthesis.run(self.level, workers, pictures) }
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
        // This must not depend on the size of frames, as tiles give the same bits as whole frames.
        let unit = level.unit().filter(|_| convolution.c_in.min(convolution.c_out) >= self.on_unit);
        match (convolution.method, unit.map(OnUnit)) {
            (Method::Winograd2(sampling), Some(unit)) => {
                then(&Winograd::<F23, _, 4, 2>::new(level, unit, convolution, sampling))
            }
            (Method::Winograd2(sampling), None) => {
                then(&Winograd::<F23, _, 4, 2>::new(level, Vectors, convolution, sampling))
            }
            (Method::Winograd4(sampling), Some(unit)) => {
                then(&Winograd::<F43, _, 6, 4>::new(level, unit, convolution, sampling))
            }
            (Method::Winograd4(sampling), None) => {
                then(&Winograd::<F43, _, 6, 4>::new(level, Vectors, convolution, sampling))
            }
            (Method::Strided, _) => then(&Direct::new(level, convolution, 3, 2)),
            (Method::Pointwise, _) => then(&Direct::new(level, convolution, 1, 1)),
            (Method::Matrix(..), _) => unreachable!("of bfloat16"),
        }
    }

    /// One for each kind of vectors that this CPU has.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Target> {
        let levels = Level::available().into_iter().filter(|level| level.unit().is_none());
        levels.map(Target::new).collect()
    }

    /// Those with a matrix unit: the CPU's, if it has one, and plain code. They use it however few the channels are.
    #[cfg(test)]
    pub(super) fn all_with_units() -> Vec<Target> {
        let best = Level::best();
        let units = best.unit().filter(|unit| unit.ask().is_ok()).map(|_| best);
        let units = units.into_iter().chain([best.with_plain_unit()]);
        units.map(|level| Target { on_unit: 0, ..Target::new(level) }).collect()
    }

    #[cfg(test)]
    pub(super) fn has_plain_unit(self) -> bool {
        self.level.unit() == Some(Unit::Plain)
    }

    #[cfg(test)]
    pub(super) fn unit(self) -> Unit {
        self.level.unit().expect("a matrix unit")
    }
}
