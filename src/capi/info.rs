//! `wfvae_get_info` and `wfvae_get_progress`.

use super::abi::{self, CStruct};
use super::guard::guard;
use super::handle::wfvae_stream;
use super::status::wfvae_status;
use crate::media::LatentType;
use crate::stream::StreamInfo;

/// Sizes and counters of a stream.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_info {
    /// sizeof(wfvae_info), set by the caller.
    pub struct_size: usize,
    /// Width of the frames, in pixels.
    pub width: u32,
    /// Height of the frames, in pixels.
    pub height: u32,
    /// w of the latents.
    pub latent_width: u32,
    /// h of the latents.
    pub latent_height: u32,
    /// C of the latents that decoding reads.
    pub latent_channels: u32,
    /// Channels that encoding writes: C, or 2C with WFVAE_POSTERIOR_MOMENTS.
    pub encoded_channels: u32,
    /// Bytes of one latent that decoding reads.
    pub latent_size: u64,
    /// Bytes of one latent that encoding writes.
    pub encoded_size: u64,
    /// Bytes of the encoder's causal caches, waiting frames and buffers. They do not grow.
    pub encode_state_bytes: u64,
    /// Bytes of the decoder's causal caches, waiting frames and buffers. They do not grow.
    pub decode_state_bytes: u64,
    /// Frames encoded since the start of the clip.
    pub frames_in: u64,
    /// Latents written since the start of the clip.
    pub latents_out: u64,
    /// Latents decoded since the start of the clip.
    pub latents_in: u64,
    /// Frames written since the start of the clip.
    pub frames_out: u64,
    /// Runs of the encoder's steps since the stream was created. Each latent after a clip's first takes the same
    /// number.
    pub encode_steps: u64,
    /// Runs of the decoder's steps since the stream was created. Each latent after a clip's first takes the same
    /// number, some of which the flush runs.
    pub decode_steps: u64,
    /// 1: an earlier call failed; call wfvae_reset().
    pub needs_reset: u32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_info {
    const NAME: &'static str = "wfvae_info";
    const FIRST_SIZE: usize = size_of::<wfvae_info>();
}

/// Gets the sizes and counters of a stream.
///
/// info: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_get_info(stream: *const wfvae_stream, info: *mut wfvae_info) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae_stream::enter(stream, |handle, stream| {
                abi::write(info, &wfvae_info::new(&stream.info(), handle.latent_type()))
            })
        }
    })
}

/// How far a stream's running call is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_progress {
    /// sizeof(wfvae_progress), set by the caller.
    pub struct_size: usize,
    /// Steps of the network that the call has run.
    pub steps_done: u64,
    /// Steps that it runs in all; 0 if no call is running. Steps take different times. A model that takes whole clips
    /// has one step.
    pub steps_total: u64,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_progress {
    const NAME: &'static str = "wfvae_progress";
    const FIRST_SIZE: usize = size_of::<wfvae_progress>();
}

/// Gets how far the encode or decode call is that another thread is running on the stream.
///
/// progress: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe, until wfvae_destroy() is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_get_progress(
    stream: *const wfvae_stream,
    progress: *mut wfvae_progress,
) -> wfvae_status {
    guard!(status: {
        let of = unsafe { wfvae_stream::from_ptr(stream)? }.progress();
        let (steps_done, steps_total) = (of.steps_done, of.steps_total);
        unsafe { abi::write(progress, &wfvae_progress { struct_size: size_of::<wfvae_progress>(), steps_done, steps_total }) }
    })
}

impl wfvae_info {
    fn new(info: &StreamInfo, latent_type: LatentType) -> Self {
        let plane = (info.latent_width * info.latent_height * latent_type.bytes()) as u64;
        wfvae_info {
            struct_size: size_of::<wfvae_info>(),
            width: info.width as u32,
            height: info.height as u32,
            latent_width: info.latent_width as u32,
            latent_height: info.latent_height as u32,
            latent_channels: info.latent_channels as u32,
            encoded_channels: info.encoded_channels as u32,
            latent_size: info.latent_channels as u64 * plane,
            encoded_size: info.encoded_channels as u64 * plane,
            encode_state_bytes: info.encode_state_bytes,
            decode_state_bytes: info.decode_state_bytes,
            frames_in: info.frames_in,
            latents_out: info.latents_out,
            latents_in: info.latents_in,
            frames_out: info.frames_out,
            encode_steps: info.encode_steps,
            decode_steps: info.decode_steps,
            needs_reset: info.needs_reset.into(),
            reserved: 0,
        }
    }
}
