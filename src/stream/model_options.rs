//! How a model is opened.

use crate::error::{Result, fail};
use crate::logger::Logger;
use crate::runtime::PROVIDER_OPTIONS;
use std::path::PathBuf;

/// More is a mistake of the caller.
const MAX_THREADS: usize = 1024;

/// Where the network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provider {
    /// The best that there is. For now always the processor: no GPU has run the CUDA path yet, so it has to be asked for.
    /// The log and [`ModelInfo`] say so.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A CUDA device. An error that says what is missing, if it cannot be used. Streams keep their state and all that lies
    /// between their two ends on the device.
    Cuda {
        /// Its index.
        device: u32,
    },
}

/// In which numbers a direction of the network computes. The frames and latents of callers do not depend on it.
///
/// Below float32, convolutions, matrix products and causal caches are of the narrower type and weights take half of the
/// memory; residual sums, the statistics of norms, the scores of attention, wavelets and the interpolation stay float32,
/// whose products a CUDA device may then round to TF32. More inputs then make an output that is not finite, which is
/// [`ErrorKind::NotFinite`](crate::ErrorKind::NotFinite) in every precision.
/// Models that take whole clips compute in float32 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// float32 throughout.
    #[default]
    F32,
    /// float32, but a CUDA device may round the factors of products to 11 bits (TF32) and multiply them several times as
    /// fast. An error with [`Provider::Cpu`]; where [`Provider::Auto`] takes the processor the same as `F32`.
    Tf32,
    /// IEEE half precision: 11 bits, up to 65504. Made for GPUs. The processor has no such convolutions: there ONNX Runtime
    /// converts around float32 ones, which is slower than `F32`, and so is the direct convolution that it uses.
    F16,
    /// bfloat16: 8 bits, with the range of float32. For CUDA devices only, where the runtime has such convolutions; making
    /// a stream is an error otherwise.
    Bf16,
}

/// How the causal caches of a model's streams are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheType {
    /// As the network computes them: exact.
    #[default]
    F32,
    /// Rounded to half precision: half the memory, and results that differ in the third or fourth digit.
    F16,
}

/// How 3x3 convolutions are computed, which are nearly all of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Convolution {
    /// The fastest way whose results are the reference's to float32's rounding: Winograd's algorithm in tiles of 2x2 and,
    /// in layers where their rounding stays small in the result, of 4x4 pixels.
    #[default]
    Exact,
    /// Tiles of 4x4 pixels in all layers: in the golden cases results differ from the reference's mostly by up to twice as
    /// much, at worst by 7 times.
    Fast,
    /// By ONNX Runtime's own convolutions: a causal convolution is a 2D one of each of its three frames, and two sums. Below
    /// float32 as [`Stacked`](Self::Stacked).
    Direct,
    /// The same as one 2D convolution of three frames stacked on their channels. What [`Exact`](Self::Exact) and
    /// [`Fast`](Self::Fast) are on a CUDA device and below float32.
    Stacked,
    /// The same as one 3D convolution of a clip of three frames.
    Volume,
}

/// How frames lie in memory between the layers, where convolutions are ONNX Runtime's: on a CUDA device, below float32,
/// and by [`Direct`](Convolution::Direct), [`Stacked`](Convolution::Stacked) and [`Volume`](Convolution::Volume). Elsewhere
/// they are channels-last always, and planes in models that take whole clips. The results are the same to the rounding of
/// the convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// As [`Planes`](Self::Planes).
    #[default]
    Auto,
    /// A plane for each channel. Each norm then transposes its frame twice.
    Planes,
    /// The channels of a pixel side by side, as tensor cores want them; norms transpose nothing. Only a CUDA device has such
    /// convolutions, of float32, TF32 and float16; with bfloat16 it is an error. The processor transposes around each
    /// convolution, which is slower than planes.
    ChannelsLast,
}

/// How a model is opened. The default suits most programs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// The ONNX Runtime library. `None`: `WFVAE_ONNXRUNTIME`, `ORT_DYLIB_PATH`, one that the process has loaded, beside
    /// libwfvae, the loader's search, in this order.
    pub runtime: Option<PathBuf>,
    /// Where the network runs.
    pub provider: Provider,
    /// In what the encoder computes.
    pub encode_precision: Precision,
    /// In what the decoder computes.
    pub decode_precision: Precision,
    /// Threads that work on one call, up to 1024; 0 for all processors that the process may use. Each session has so many,
    /// less one. The first stream of a direction starts up to twice as many for a moment, to find out whether the system
    /// allows them.
    pub threads: usize,
    /// How causal caches are stored, where the network computes in float32.
    pub cache_type: CacheType,
    /// How 3x3 convolutions are computed.
    pub convolution: Convolution,
    /// How frames lie in memory between the layers.
    pub layout: Layout,
    /// Options of ONNX Runtime's CUDA provider, as names and values, in place of the library's own choice:
    /// `arena_extend_strategy`, `cudnn_conv_algo_search`, `cudnn_conv_use_max_workspace`, `fuse_conv_bias`,
    /// `gpu_mem_limit` (bytes, of each session), `use_tf32`. For tuning and measuring; ONNX Runtime's documentation says
    /// what they mean. Any other name is an error, and so is one with [`Provider::Cpu`]; where [`Provider::Auto`] takes the
    /// processor they are not used.
    pub provider_options: Vec<(String, String)>,
    /// Maximum bytes of the attention score matrix; queries are processed in blocks to fit. 0: 64 MiB. Does not change
    /// results.
    pub attention_bytes: u64,
    /// Also refuses weights that hold a NaN or an infinity when the model is opened, and says which; reads the whole
    /// checkpoint. Without it such a model opens, and its first result that is not finite is
    /// [`ErrorKind::NotFinite`](crate::ErrorKind::NotFinite).
    pub check_finite: bool,
    /// Where messages go.
    pub logger: Logger,
}

impl ModelOptions {
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
