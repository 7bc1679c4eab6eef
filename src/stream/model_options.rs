//! How a model is opened.

use crate::error::{Result, fail};
use crate::logger::Logger;
use crate::runtime::{OUR_KERNELS, OUR_RECORDINGS, PROVIDER_OPTIONS};
use std::path::PathBuf;

/// More is a mistake of the caller.
const MAX_THREADS: usize = 1024;

/// Where the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Provider {
    /// CUDA device 0 if it can be used, otherwise the CPU. [`ModelInfo`](crate::ModelInfo) then says what CUDA lacks.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// A CUDA device. If it cannot be used, opening the model fails and says what is missing. Streams keep their state, and
    /// everything between their two ends, on the device.
    Cuda {
        /// Its index.
        device: u32,
    },
}

/// The number type that a direction of the network computes in. It does not change the types of the caller's frames and
/// latents.
///
/// Below float32, convolutions, matrix products and causal caches use the narrower type, and weights take half the memory.
/// Residual sums, the statistics of norms, attention scores, wavelets and the interpolation stay float32; a CUDA device may
/// then round their products to TF32. Values overflow earlier; a result that is not finite is
/// [`ErrorKind::NotFinite`](crate::ErrorKind::NotFinite) in every precision. Models that take whole clips compute in float32
/// only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Precision {
    /// float32 throughout.
    #[default]
    F32,
    /// float32, but a CUDA device may round the factors of products to 11 bits (TF32), which makes products several times
    /// faster. An error with [`Provider::Cpu`]. The same as `F32` if [`Provider::Auto`] takes the CPU.
    Tf32,
    /// IEEE half precision: 11 bits, values up to 65504. Made for GPUs. ONNX Runtime has no such convolutions for the CPU: it
    /// converts around float32 ones, which is slower than `F32`.
    F16,
    /// bfloat16: 8 bits, the range of float32. On a CUDA device, if the runtime has such convolutions; on the CPU, if it has
    /// a matrix unit (Intel AMX: amx_tile and amx_bf16), on Linux. Otherwise, and in a build with `opt-level` 0 or 1, making a
    /// stream fails. On the CPU it is faster than `F32`, and convolutions are [`Exact`](Convolution::Exact) or
    /// [`Fast`](Convolution::Fast), which are the same.
    Bf16,
}

/// How the causal caches of a model's streams are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CacheType {
    /// As the network computes them: exact.
    #[default]
    F32,
    /// Rounded to half precision: half the memory; results differ in the third or fourth digit.
    F16,
}

/// How 3x3 convolutions are computed. They are nearly all of the work. In bfloat16 on the CPU there are only `Exact` and `Fast`,
/// which are both direct sums on the CPU's matrix unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Convolution {
    /// The fastest way that matches the reference to the rounding of float32: Winograd's algorithm in tiles of 2x2 pixels and,
    /// in layers where this changes the result little, of 4x4 pixels. In a build with `opt-level` 0 or 1, this and
    /// [`Fast`](Self::Fast) are ONNX Runtime's convolutions.
    #[default]
    Exact,
    /// Tiles of 4x4 pixels in all layers. In the golden cases the difference to the reference is mostly up to twice that of
    /// `Exact`, at worst 7 times.
    Fast,
    /// ONNX Runtime's convolutions. A causal convolution is three 2D convolutions, one for each frame, and two sums. In
    /// float16 on the CPU the same as [`Stacked`](Self::Stacked).
    Direct,
    /// ONNX Runtime's convolutions. A causal convolution is one 2D convolution of three frames stacked along the channels.
    /// [`Exact`](Self::Exact) and [`Fast`](Self::Fast) become this on a CUDA device and in float16.
    Stacked,
    /// ONNX Runtime's convolutions. A causal convolution is one 3D convolution of three frames.
    Volume,
}

/// The layout of frames between the layers. You can choose it where convolutions are ONNX Runtime's: on a CUDA device, in
/// float16, and with [`Direct`](Convolution::Direct), [`Stacked`](Convolution::Stacked) and [`Volume`](Convolution::Volume).
/// Otherwise frames are channels-last. Whole clips are channels-last where convolutions are the library's, else planes;
/// [`Planes`](Layout::Planes) computes them by ONNX Runtime's. Results are the same up to the rounding of the convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Layout {
    /// Channels-last on a CUDA device, where that is possible and the norms are of pixels. Otherwise planes.
    #[default]
    Auto,
    /// One plane for each channel. Each norm transposes its frame twice.
    Planes,
    /// The channels of a pixel lie side by side, which suits tensor cores; norms need no transposition. Only CUDA devices have
    /// such convolutions: of float32, TF32 and float16; bfloat16 is an error there. On the CPU, ONNX Runtime transposes around
    /// each convolution, which is slower than planes.
    ChannelsLast,
}

/// How a model is opened. The default suits most programs; others change fields of it:
///
/// ```
/// let mut options = wfvae::ModelOptions::default();
/// options.provider = wfvae::Provider::Cpu;
/// options.threads = 4;
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// The path of the ONNX Runtime library, or a name without a folder, which is searched for on the loader's search path.
    /// `None`: it is searched for, in this order: `WFVAE_ONNXRUNTIME`,
    /// `ORT_DYLIB_PATH`, a library that the process has loaded, the folder of libwfvae, the loader's search path.
    pub runtime: Option<PathBuf>,
    /// Where the network runs.
    pub provider: Provider,
    /// The number type that the encoder computes in.
    pub encode_precision: Precision,
    /// The number type that the decoder computes in.
    pub decode_precision: Precision,
    /// Threads that work on one call, up to 1024; 0: one for each CPU that the process may use. Each session has one less of
    /// its own, as the caller's thread works too. The first stream of a direction starts up to twice as many for a moment, to
    /// find out whether the system allows them. A call on large frames starts up to three for a moment, to check and convert
    /// them.
    pub threads: usize,
    /// How causal caches are stored, if the network computes in float32.
    pub cache_type: CacheType,
    /// How 3x3 convolutions are computed.
    pub convolution: Convolution,
    /// The layout of frames between the layers.
    pub layout: Layout,
    /// Options of ONNX Runtime's CUDA provider, as names and values, instead of the library's choice:
    /// `arena_extend_strategy`, `cudnn_conv_algo_search`, `cudnn_conv_use_max_workspace`, `fuse_conv_bias`, `gpu_mem_limit`
    /// (bytes for each session), `use_tf32`. For tuning and measuring; ONNX Runtime's documentation explains them. Two more
    /// are the library's, each 0 or 1. `wfvae_kernels`, 1 by default: whether its own kernels convert frames and run between
    /// channels-last convolutions. `wfvae_graphs`, 0 by default: whether runs that come again are recorded as CUDA graphs, which
    /// makes small frames up to twice as fast. While a run is recorded, for milliseconds in a stream's first calls, no other
    /// code in the process may wait for the whole device (`cudaDeviceSynchronize`): CUDA refuses that. Any other name is an
    /// error, and so is any option with [`Provider::Cpu`]. Ignored if [`Provider::Auto`] takes the CPU.
    pub provider_options: Vec<(String, String)>,
    /// Maximum bytes of the attention score matrix; queries are processed in blocks to fit. 0: 64 MiB. Does not change
    /// results. No effect where the CPU computes in bfloat16, as scores take little memory there.
    pub attention_bytes: u64,
    /// Reads the whole checkpoint when the model is opened and refuses weights that hold a NaN or an infinity, with their
    /// names. Without it such a model opens, and its first result that is not finite is
    /// [`ErrorKind::NotFinite`](crate::ErrorKind::NotFinite).
    pub check_finite: bool,
    /// Where messages go.
    pub logger: Logger,
}

impl ModelOptions {
    /// Whether that one of the library's own provider options is on.
    pub(super) fn is_on(&self, own: &str, by_default: bool) -> bool {
        let given = self.provider_options.iter().rev().find(|(name, _)| name == own);
        given.map_or(by_default, |(_, value)| value == "1")
    }

    /// What can be checked without the model.
    pub(super) fn check(&self) -> Result<()> {
        if self.threads > MAX_THREADS {
            fail!(InvalidArgument, "n_threads is {}, expected 0 to {MAX_THREADS}", self.threads);
        }
        for (name, value) in &self.provider_options {
            if self.provider == Provider::Cpu {
                fail!(
                    InvalidArgument,
                    "provider_options: {name} is an option of a CUDA device, and the provider is the CPU"
                );
            }
            if !PROVIDER_OPTIONS.contains(&name.as_str()) {
                fail!(InvalidArgument, "provider_options: {name:?} is not one of {}", PROVIDER_OPTIONS.join(", "));
            }
            if [OUR_KERNELS, OUR_RECORDINGS].contains(&name.as_str()) && !["0", "1"].contains(&value.as_str()) {
                fail!(InvalidArgument, "provider_options: {name} is {value:?}, expected 0 or 1");
            }
            if value.is_empty() || value.contains('\0') {
                fail!(InvalidArgument, "provider_options: {name} has the value {value:?}, which cannot be one");
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        })
    }
}
