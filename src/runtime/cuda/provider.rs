//! The options of ONNX Runtime's CUDA provider.

use super::kernels::Kernels;
use super::queue::CudaQueue;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{ArbitrarilyConfigurableExecutionProvider, ArenaExtendStrategy, CUDA, ExecutionProviderDispatch};
use std::sync::Arc;

/// The options of ONNX Runtime's CUDA provider that a user may set. They change its speed and memory use. This library
/// sets the others itself (device, stream, channels-last convolutions, for which graphs must be built), or they would
/// give wrong results (ONNX Runtime's own CUDA graphs, because tensor addresses change). The last two are ours.
pub(crate) const PROVIDER_OPTIONS: [&str; 8] = [
    "arena_extend_strategy",
    "cudnn_conv_algo_search",
    "cudnn_conv_use_max_workspace",
    "fuse_conv_bias",
    "gpu_mem_limit",
    "use_tf32",
    OUR_KERNELS,
    OUR_RECORDINGS,
];

/// Whether what lies between convolutions is our kernels: 1, the default, or 0.
pub(crate) const OUR_KERNELS: &str = "wfvae_kernels";
/// Whether runs with the same tensors are recorded as CUDA graphs: 1, the default, or 0.
pub(crate) const OUR_RECORDINGS: &str = "wfvae_graphs";

/// Options of sessions on a CUDA device.
#[derive(Clone, Default)]
pub(crate) struct CudaOptions {
    /// Whether convolutions and matrix products may use tensor cores. ONNX Runtime calls this `use_tf32`, but it
    /// applies to convolutions of every type. If set, float32 operands are rounded to TF32, with 11 significant bits.
    pub(crate) tensor_cores: bool,
    /// Whether ONNX Runtime runs convolutions channels-last, which `graph::Options::channels_last` builds graphs for.
    pub(crate) channels_last: bool,
    /// Names from `PROVIDER_OPTIONS`, and their values.
    pub(crate) more: Arc<[(String, String)]>,
    /// Whether runs are recorded.
    pub(crate) recordings: bool,
    /// For graphs with our operators.
    pub(crate) kernels: Option<Arc<Kernels>>,
}

/// The provider for sessions on that device, which work in `queue`.
pub(crate) fn provider(device: u32, options: &CudaOptions, queue: &CudaQueue) -> ExecutionProviderDispatch {
    // HEURISTIC takes the first of cuDNN's ranking A. Since 1.20 EXHAUSTIVE measures nothing either; it takes the first of
    // ranking B, which is faster for frames of 256x256 and slower for those of 512x512. Without tensor cores, A asks for 256 GB
    // of workspace for convolutions to 896 channels, which L has (cuDNN 9.19 on an H100).
    let ranking = match options.tensor_cores {
        true => ConvAlgorithmSearch::Heuristic,
        false => ConvAlgorithmSearch::Exhaustive,
    };
    let cuda = CUDA::default()
        .with_device_id(device as i32)
        .with_tf32(options.tensor_cores)
        .with_prefer_nhwc(options.channels_last)
        // Streams of any size share a session. If the arena doubled, the session would keep that memory for ever.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        .with_conv_algorithm_search(ranking)
        .with_conv_max_workspace(true);
    // SAFETY: a session keeps its queue.
    let cuda = unsafe { cuda.with_compute_stream(queue.stream()) };
    let more = options.more.iter().filter(|(name, _)| ![OUR_KERNELS, OUR_RECORDINGS].contains(&name.as_str()));
    let cuda = more.fold(cuda, |cuda, (name, value)| cuda.with_arbitrary_config(name, value));
    cuda.build().error_on_failure()
}
