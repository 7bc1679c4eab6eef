//! Reading latent files.

use super::abi::{self, CStruct};
use super::guard::guard;
use super::handle::wfvae_stream;
use super::latents::{MAX_PER_CALL, latents_at_mut, to_latent_type};
use super::model::wfvae_model;
use super::status::wfvae_status;
use super::text::c_text;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::media::{LatentReader, LatentType, LatentsMut, Posterior};
use std::ffi::{CString, c_char, c_void};

/// A latent file that is open for reading. Memory does not grow with the clip.
///
/// Thread-safety: safe, except for wfvae_latent_reader_close().
pub struct wfvae_latent_reader {
    reader: LatentReader,
    generator: CString,
    note: CString,
}

const _: () = abi::goes_between_threads::<wfvae_latent_reader>();

/// What a latent file holds. Pointers are valid as long as the reader is open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_latent_file_info {
    /// sizeof(wfvae_latent_file_info), set by the caller.
    pub struct_size: usize,
    /// wfvae_model_info.identity of the model that encoded the latents.
    pub model_identity: u64,
    /// Frames of the clip, at least 1.
    pub n_frames: u64,
    /// T: latents in the file.
    pub n_latents: u64,
    /// The seed of WFVAE_POSTERIOR_SAMPLE, otherwise 0.
    pub seed: u64,
    /// Width of the frames, in pixels.
    pub width: u32,
    /// Height of the frames, in pixels.
    pub height: u32,
    /// 1: width or height is not a multiple of spatial_compression; decode it with wfvae_options.padding.
    pub padded: u32,
    /// Pixels per latent value, horizontally and vertically.
    pub spatial_compression: u32,
    /// Frames per latent, after the first.
    pub temporal_compression: u32,
    /// C of the latents that decoding reads.
    pub latent_channels: u32,
    /// w of the latents.
    pub latent_width: u32,
    /// h of the latents.
    pub latent_height: u32,
    /// A wfvae_posterior: what the file holds. With WFVAE_POSTERIOR_MOMENTS it has 2C channels.
    pub posterior: u32,
    /// A wfvae_latent_type: how the file stores the values. They can be read as either type.
    pub latent_type: u32,
    /// 1: the latents are (z - shift) * scale; decode them with wfvae_options.scaled.
    pub scaled: u32,
    /// Frames per second, as fps_num / fps_den. Both 0: unknown.
    pub fps_num: u32,
    /// See fps_num.
    pub fps_den: u32,
    /// 0.
    pub reserved: u32,
    /// The model's scale, latent_channels values; NULL if the model has no usable lists.
    pub scale: *const f32,
    /// The model's shift, likewise.
    pub shift: *const f32,
    /// The program that wrote the file, such as "libwfvae 0.1.0".
    pub generator: *const c_char,
    /// The text of wfvae_latent_writer_options.note, empty if there is none. UTF-8; do not trust its contents.
    pub note: *const c_char,
    /// wfvae_model_info.encoder_identity of the encoder that made the latents; 0 if the file was written by an early
    /// version, which stored only model_identity.
    pub encoder_identity: u64,
    /// wfvae_model_info.decoder_identity of that model; 0 if it had no decoder, or if an early version wrote the file.
    pub decoder_identity: u64,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_latent_file_info {
    const NAME: &'static str = "wfvae_latent_file_info";
    const FIRST_SIZE: usize = size_of::<wfvae_latent_file_info>();
}

/// Opens a latent file and checks all of it except the latents' values.
///
/// path: UTF-8. The file must not change while it is open; otherwise reads may fail or return other values.
/// reader: receives the handle on success, to be closed with wfvae_latent_reader_close(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _LATENT_FILE, _OUT_OF_MEMORY. wfvae_last_error(NULL) returns the
/// text, which names the file, what was found and what was expected.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_open(
    path: *const c_char,
    reader: *mut *mut wfvae_latent_reader,
) -> wfvae_status {
    guard!(status: {
        let out = unsafe { abi::out(reader, "reader")? };
        out.write(std::ptr::null_mut());
        let path = unsafe { abi::required_path(path, "path")? };
        let reader = LatentReader::open(path)?;
        let (generator, note) = (c_text(&reader.info().generator), c_text(&reader.info().note));
        out.write(Box::into_raw(Box::new(wfvae_latent_reader { reader, generator, note })));
        Ok(())
    })
}

/// Gets what a latent file holds: what is needed for the wfvae_options of a stream that decodes it, and for buffers.
///
/// info: set its struct_size; the other fields are written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_get_info(
    reader: *const wfvae_latent_reader,
    info: *mut wfvae_latent_file_info,
) -> wfvae_status {
    guard!(status: { unsafe { abi::write(info, &wfvae_latent_reader::from_ptr(reader)?.info()) } })
}

/// Checks that a model's encoder made the latents of a file: compares its identity, its sizes and, for scaled latents,
/// its scale and shift. The decoder may differ. If the checkpoint holds no encoder, the decoder's identity is compared
/// instead. Files of early versions identify only whole models.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT; _LATENT_FILE if they do not match, with a text that names both and says
/// what to do.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_check_model(
    reader: *const wfvae_latent_reader,
    model: *const wfvae_model,
) -> wfvae_status {
    guard!(status: {
        let reader = unsafe { wfvae_latent_reader::from_ptr(reader)? };
        unsafe { wfvae_model::from_ptr(model)? }.model().check_latent_file(&reader.reader)
    })
}

/// Checks that a stream can decode the latents of a file: the model as wfvae_latent_reader_check_model() does, unless
/// wfvae_options.any_encoder is set, and the frames' size and wfvae_options.scaled.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _LATENT_FILE if it cannot, with a text that names both and says
/// what to do.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_check_stream(
    reader: *const wfvae_latent_reader,
    stream: *const wfvae_stream,
) -> wfvae_status {
    guard!(status: {
        let reader = unsafe { wfvae_latent_reader::from_ptr(reader)? };
        unsafe { wfvae_stream::enter(stream, |_, stream| stream.check_latent_file(&reader.reader)) }
    })
}

/// Reads latents for decoding. From a file of moments it reads the means.
///
/// start: index of the first latent, from 0.
/// n_latents: 1 to 65536; start + n_latents must be at most wfvae_latent_file_info.n_latents.
/// latent_type: the wfvae_latent_type of the memory; values are converted if the file stores the other type.
/// latents: receives [n_latents, latent_channels, latent_height, latent_width] without gaps; aligned for latent_type.
/// Its contents are unspecified on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO; _NOT_FINITE if a latent holds a NaN, an infinity, or a value that
/// latent_type cannot hold.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_read(
    reader: *const wfvae_latent_reader,
    start: u64,
    n_latents: usize,
    latent_type: u32,
    latents: *mut c_void,
) -> wfvae_status {
    guard!(status: {
        let reader = unsafe { wfvae_latent_reader::from_ptr(reader)? };
        let channels = reader.reader.info().latent_channels;
        let room = unsafe { reader.room(start, n_latents, channels, latent_type, latents)? };
        reader.reader.read(start, room)
    })
}

/// Reads both moments from a file of WFVAE_POSTERIOR_MOMENTS.
///
/// start, n_latents, latent_type: as for wfvae_latent_reader_read().
/// latents: receives [n_latents, 2 * latent_channels, latent_height, latent_width], each latent's mean before its
/// log-variance.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _NOT_FINITE as wfvae_latent_reader_read(); _INVALID_STATE if the
/// file holds no moments.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_read_moments(
    reader: *const wfvae_latent_reader,
    start: u64,
    n_latents: usize,
    latent_type: u32,
    latents: *mut c_void,
) -> wfvae_status {
    guard!(status: {
        let reader = unsafe { wfvae_latent_reader::from_ptr(reader)? };
        let channels = 2 * reader.reader.info().latent_channels;
        let room = unsafe { reader.room(start, n_latents, channels, latent_type, latents)? };
        reader.reader.read_moments(start, room)
    })
}

/// Closes a latent file.
///
/// reader: must not be used afterwards, nor by another thread during the call. NULL is allowed.
///
/// Thread-safety: safe, once per reader.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_close(reader: *mut wfvae_latent_reader) {
    guard!(value or (); {
        if !reader.is_null() {
            // SAFETY: made by Box::into_raw in wfvae_latent_reader_open.
            drop(unsafe { Box::from_raw(reader) });
        }
    })
}

impl wfvae_latent_reader {
    unsafe fn from_ptr<'a>(reader: *const wfvae_latent_reader) -> Result<&'a Self> {
        // SAFETY: NULL or made by wfvae_latent_reader_open.
        unsafe { reader.as_ref() }.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "reader is NULL"))
    }

    /// The caller's memory, once it is clear that the file holds so many latents: a wrong count must not reach beyond
    /// it.
    unsafe fn room<'a>(
        &self,
        start: u64,
        n_latents: usize,
        channels: usize,
        kind: u32,
        latents: *mut c_void,
    ) -> Result<LatentsMut<'a>> {
        let kind = to_latent_type(kind)?;
        let info = self.reader.info();
        if n_latents == 0 || n_latents > MAX_PER_CALL {
            fail!(InvalidArgument, "n_latents is {n_latents}, expected 1 to {MAX_PER_CALL}");
        }
        self.reader.check_range(start, n_latents as u64)?;
        unsafe { latents_at_mut(latents, n_latents * channels * info.latent_width() * info.latent_height(), kind) }
    }

    fn info(&self) -> wfvae_latent_file_info {
        let info = self.reader.info();
        let list = |values: &Vec<f32>| if values.is_empty() { std::ptr::null() } else { values.as_ptr() };
        let (posterior, seed) = match info.posterior {
            Posterior::Mean => (0, 0),
            Posterior::Sample { seed } => (1, seed),
            Posterior::Moments => (2, 0),
        };
        let (fps_num, fps_den) = info.fps.unwrap_or((0, 0));
        wfvae_latent_file_info {
            struct_size: size_of::<wfvae_latent_file_info>(),
            model_identity: info.model,
            n_frames: info.frames,
            n_latents: info.latents,
            seed,
            width: info.width as u32,
            height: info.height as u32,
            padded: info.padded.into(),
            spatial_compression: info.spatial_compression as u32,
            temporal_compression: info.temporal_compression as u32,
            latent_channels: info.latent_channels as u32,
            latent_width: info.latent_width() as u32,
            latent_height: info.latent_height() as u32,
            posterior,
            latent_type: match info.latent_type {
                LatentType::F32 => 0,
                LatentType::F16 => 1,
            },
            scaled: info.scaled.into(),
            fps_num,
            fps_den,
            reserved: 0,
            scale: list(&info.scale),
            shift: list(&info.shift),
            generator: self.generator.as_ptr(),
            note: self.note.as_ptr(),
            encoder_identity: info.encoder,
            decoder_identity: info.decoder,
        }
    }
}
