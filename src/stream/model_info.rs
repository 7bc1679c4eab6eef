//! What a model is and what it runs on.

use super::model_options::Precision;
use std::path::PathBuf;

/// What a model is and what it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The checkpoint's path, or "the built-in model".
    pub name: String,
    /// 1: WFVAEModel, 2: WFVAE2Model, 3: CausalVAEModel.
    pub generation: u32,
    /// C of the latents.
    pub latent_channels: usize,
    /// Pixels per latent value, in each direction.
    pub spatial_compression: usize,
    /// Frames per latent, after the first.
    pub temporal_compression: u64,
    /// Frames of a group that go in before its latent comes out.
    pub encode_delay: u64,
    /// Frames that the decoder holds back until more latents or the flush come.
    pub decode_delay: u64,
    /// Whether the network has attention, whose time grows with the square of a frame's area.
    pub has_attention: bool,
    /// Whether norms or attention span the whole clip in a direction that the model has. Such a direction cannot stream: each
    /// call gets a whole clip and ends it.
    pub whole_clips: bool,
    /// Whether that is so when decoding, too. Where only encoding takes whole clips, latents are decoded in any number of calls.
    pub decode_whole_clips: bool,
    /// Pixels of context that an exact encoder tile needs on each side; `None` if exact tiles are not possible.
    pub encode_halo: Option<usize>,
    /// The same for the decoder.
    pub decode_halo: Option<usize>,
    /// Whether the config's scale and shift can be used.
    pub has_scaling: bool,
    /// Trainable parameters in the checkpoint.
    pub parameters: u64,
    /// Identifies the model: a hash of samples of the weights as they are stored, and of the interpolation. The same on every
    /// machine and in every release. A copy of the weights in another precision has another identity.
    pub identity: u64,
    /// Identifies the encoder, and so its latents: a hash of samples of the values of the encoder's weights, whatever type
    /// they are stored in. The same on every machine and in every release; 0 if the checkpoint holds no encoder.
    pub encoder_identity: u64,
    /// The same for the decoder and the interpolation.
    pub decoder_identity: u64,
    /// Whether the checkpoint holds the encoder. Streams that encode need it.
    pub encodes: bool,
    /// Whether the checkpoint holds the decoder.
    pub decodes: bool,
    /// The execution provider that runs the network: "CPU" or "CUDA".
    pub provider: &'static str,
    /// The index of the device; 0 for the CPU.
    pub device: u32,
    /// Why [`Provider::Auto`](crate::Provider::Auto) took the CPU; `None` if another provider was asked for.
    pub fallback: Option<String>,
    /// The number type that the encoder computes in.
    pub encode_precision: Precision,
    /// The number type that the decoder computes in.
    pub decode_precision: Precision,
    /// Bytes that the model's streams hold on the device, without weights and working memory; 0 on the CPU.
    pub device_bytes: u64,
    /// The ONNX Runtime library in use.
    pub runtime_path: PathBuf,
    /// Its version.
    pub runtime_version: String,
    /// Sessions loaded so far. Each has weights of its own.
    pub sessions: u32,
    /// Bytes of the weights loaded so far, as the network computes with them.
    pub weight_bytes: u64,
}
