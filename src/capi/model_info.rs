//! `wfvae_model_info` and its strings.

use super::abi::CStruct;
use super::text::lasting;
use crate::stream::ModelInfo;
use std::ffi::c_char;

/// Directions of a model or a stream. Combine them with |.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_direction {
    /// Encoding, frames to latents.
    Encode = 1,
    /// Decoding, latents to frames.
    Decode = 2,
}

impl wfvae_direction {
    pub(super) const ENCODE: u32 = Self::Encode as u32;
    pub(super) const DECODE: u32 = Self::Decode as u32;
}

/// What a model is and what it runs on. Strings stay valid until the process ends, also after the model is closed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_model_info {
    /// sizeof(wfvae_model_info), set by the caller.
    pub struct_size: usize,
    /// The folder or file of the checkpoint that was opened, or "the built-in model".
    pub name: *const c_char,
    /// The execution provider that runs the network: "CPU" or "CUDA".
    pub provider: *const c_char,
    /// The ONNX Runtime library in use.
    pub runtime_path: *const c_char,
    /// The version of that library.
    pub runtime_version: *const c_char,
    /// Trainable parameters in the checkpoint.
    pub parameters: u64,
    /// Identifies the model: a hash of samples of the weights as they are stored, and of the interpolation. The same on
    /// every machine and in every release. A copy of the weights in another precision has another identity.
    pub identity: u64,
    /// Bytes of the weights loaded so far, in the type in which the network computes.
    pub weight_bytes: u64,
    /// ONNX Runtime sessions loaded so far. No two of them hold the same weights.
    pub sessions: u32,
    /// 1: WFVAEModel, 2: WFVAE2Model, 3: CausalVAEModel.
    pub generation: u32,
    /// C of the latents.
    pub latent_channels: u32,
    /// Pixels per latent value, horizontally and vertically.
    pub spatial_compression: u32,
    /// Frames per latent, after the first.
    pub temporal_compression: u32,
    /// The most frames that wait in the encoder for the rest of their group: temporal_compression - 1.
    pub encode_delay: u32,
    /// Frames that the decoder holds back until the next latent or the flush.
    pub decode_delay: u32,
    /// 1: the network has attention, whose time grows with the square of a frame's area.
    pub has_attention: u32,
    /// 1: config.json has usable lists scale and shift; see wfvae_options.scaled.
    pub has_scaling: u32,
    /// 1: norms or attention span the whole clip, as with norm_type "groupnorm". Such a model cannot stream: each encode
    /// call and, if decode_whole_clips is set, each decode call takes one whole clip and ends it; call wfvae_reset()
    /// before the next clip. A clip that is encoded has 1 + n * temporal_compression frames, unless
    /// wfvae_options.padding is set.
    pub whole_clips: u32,
    /// Pixels of context that an exact encoder tile needs on each side, a multiple of spatial_compression. 0: the
    /// receptive field is the whole frame, so exact tiles are impossible.
    pub encode_halo: u32,
    /// The same for the decoder.
    pub decode_halo: u32,
    /// Why WFVAE_PROVIDER_AUTO chose the CPU; otherwise empty.
    pub fallback: *const c_char,
    /// Bytes that the model's streams hold on its device, without weights and working memory; 0 on the CPU.
    pub device_bytes: u64,
    /// Index of the provider's device; 0 for the CPU.
    pub device: u32,
    /// The wfvae_precision in which the encoder computes.
    pub encode_precision: u32,
    /// The wfvae_precision in which the decoder computes.
    pub decode_precision: u32,
    /// WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE or both: what streams of the model can do. A checkpoint may hold
    /// only the encoder or only the decoder.
    pub directions: u32,
    /// Identifies the model's encoder, and thereby its latents: a hash of samples of the encoder's weights, by value,
    /// whatever type they are stored in. The same on every machine and in every release; 0 if the checkpoint holds no
    /// encoder.
    pub encoder_identity: u64,
    /// The same for the decoder and the interpolation.
    pub decoder_identity: u64,
    /// 1: decoding takes whole clips. 0: latents are decoded in any number of calls, even if whole_clips is set.
    pub decode_whole_clips: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_model_info {
    const NAME: &'static str = "wfvae_model_info";
    const FIRST_SIZE: usize = size_of::<wfvae_model_info>();
}

/// The strings of `wfvae_model_info`. They are made when a model is opened: a forked child must not wait for a lock.
pub(super) struct ModelTexts {
    name: *const c_char,
    provider: *const c_char,
    fallback: *const c_char,
    runtime_path: *const c_char,
    runtime_version: *const c_char,
}

// SAFETY: the strings never change and are never freed.
unsafe impl Send for ModelTexts {}
unsafe impl Sync for ModelTexts {}

impl ModelTexts {
    pub(super) fn new(info: &ModelInfo) -> Self {
        ModelTexts {
            name: lasting(&info.name),
            provider: lasting(info.provider),
            fallback: lasting(info.fallback.as_deref().unwrap_or("")),
            runtime_path: lasting(&info.runtime_path.to_string_lossy()),
            runtime_version: lasting(&info.runtime_version),
        }
    }
}

impl wfvae_model_info {
    pub(super) fn new(info: &ModelInfo, texts: &ModelTexts) -> Self {
        wfvae_model_info {
            struct_size: size_of::<wfvae_model_info>(),
            name: texts.name,
            provider: texts.provider,
            runtime_path: texts.runtime_path,
            runtime_version: texts.runtime_version,
            parameters: info.parameters,
            identity: info.identity,
            weight_bytes: info.weight_bytes,
            sessions: info.sessions,
            generation: info.generation,
            latent_channels: info.latent_channels as u32,
            spatial_compression: info.spatial_compression as u32,
            temporal_compression: info.temporal_compression as u32,
            encode_delay: info.encode_delay as u32,
            decode_delay: info.decode_delay as u32,
            has_attention: info.has_attention.into(),
            has_scaling: info.has_scaling.into(),
            whole_clips: info.whole_clips.into(),
            encode_halo: info.encode_halo.unwrap_or(0) as u32,
            decode_halo: info.decode_halo.unwrap_or(0) as u32,
            fallback: texts.fallback,
            device_bytes: info.device_bytes,
            device: info.device,
            encode_precision: info.encode_precision as u32,
            decode_precision: info.decode_precision as u32,
            directions: match (info.encodes, info.decodes) {
                (true, false) => wfvae_direction::ENCODE,
                (false, true) => wfvae_direction::DECODE,
                _ => wfvae_direction::ENCODE | wfvae_direction::DECODE,
            },
            encoder_identity: info.encoder_identity,
            decoder_identity: info.decoder_identity,
            decode_whole_clips: info.decode_whole_clips.into(),
            reserved: 0,
        }
    }
}
