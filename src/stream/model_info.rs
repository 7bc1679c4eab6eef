//! What a model is and what it runs on.

use super::model_options::Precision;
use std::path::PathBuf;

/// What a model is and what it runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The checkpoint's path, or "the built-in model".
    pub name: String,
    /// 1: WFVAEModel, 2: WFVAE2Model.
    pub generation: u32,
    /// C of the latents.
    pub latent_channels: usize,
    /// Pixels per latent value, in each direction.
    pub spatial_compression: usize,
    /// Frames per latent, after the first.
    pub temporal_compression: u64,
    /// Frames that can go in before a latent comes out.
    pub encode_delay: u64,
    /// Frames that the decoder holds back until more latents or the flush come.
    pub decode_delay: u64,
    /// Attention makes time grow with the square of a frame's area.
    pub has_attention: bool,
    /// Group norm spans the whole clip: such a model cannot stream, each call gets a whole clip and ends it.
    pub whole_clips: bool,
    /// Pixels around a tile that exact tiling of the encoder needs, `None` if it is not possible.
    pub encode_halo: Option<usize>,
    /// The same of the decoder.
    pub decode_halo: Option<usize>,
    /// Whether the config's scale and shift can be used.
    pub has_scaling: bool,
    /// Trainable numbers that the checkpoint holds.
    pub parameters: u64,
    /// Tells this model from others: a hash of samples of the weights as they are stored, and of the interpolation. The
    /// same on every machine and in every release; a copy of the weights in another precision has another one.
    pub identity: u64,
    /// Tells this model's encoder, and so its latents, from others: a hash of samples of the encoder's weights, by their
    /// numbers and not by the type that they are stored in. The same on every machine and in every release; 0 if the
    /// checkpoint holds no encoder.
    pub encoder_identity: u64,
    /// The same of the decoder and of the interpolation.
    pub decoder_identity: u64,
    /// Whether the checkpoint holds the encoder; streams that encode need it.
    pub encodes: bool,
    /// Whether the checkpoint holds the decoder.
    pub decodes: bool,
    /// The execution provider that runs the network: "CPU" or "CUDA".
    pub provider: &'static str,
    /// Index of its device; 0 for the processor.
    pub device: u32,
    /// Why [`Provider::Auto`] did not take a CUDA device, if it was asked and did not.
    pub fallback: Option<String>,
    /// In what the encoder computes.
    pub encode_precision: Precision,
    /// In what the decoder computes.
    pub decode_precision: Precision,
    /// Bytes that the model's streams hold on its device, without weights and working memory; 0 on the processor.
    pub device_bytes: u64,
    /// The ONNX Runtime library in use.
    pub runtime_path: PathBuf,
    /// Its version.
    pub runtime_version: String,
    /// Sessions loaded so far, each with weights that no other has.
    pub sessions: u32,
    /// Bytes of the weights loaded so far, as the network computes with them.
    pub weight_bytes: u64,
}
