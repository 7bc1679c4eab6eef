use super::abi::{self, Sized_};
use super::guard::{c_text, guard};
use super::model::wfvae_model;
use super::status::wfvae_status;
use super::stream::{MAX_PER_CALL, latents_at, latents_at_mut, to_latent_type, wfvae};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::media::{LatentReader, LatentType, LatentWriter, LatentsMut, Posterior};
use crate::process::Process;
use parking_lot::Mutex;
use std::ffi::{CString, c_char, c_void};

/// A latent file that is being written: safetensors with one tensor, [T, C, h, w], and the metadata that one needs to
/// decode it; docs/formats.md lists the keys.
///
/// Latents go to a temporary file in the target's folder, which wfvae_latent_writer_finish() makes the target. Memory
/// does not grow with the clip.
///
/// Thread-safety: one thread at a time; a call that finds another thread inside returns WFVAE_STATUS_BUSY.
pub struct wfvae_latent_writer {
    writer: Mutex<LatentWriter>,
    /// Of the memory that the caller passes: the stream's.
    latent_type: LatentType,
    owner: Process,
}

/// A latent file that is open for reading. Memory does not grow with the clip.
///
/// Thread-safety: safe, but for wfvae_latent_reader_close().
pub struct wfvae_latent_reader {
    reader: LatentReader,
    generator: CString,
    note: CString,
}

/// What a stream does not know about the clip. Fill with zero, set struct_size.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_latent_writer_options {
    /// sizeof(wfvae_latent_writer_options).
    pub struct_size: usize,
    /// Frames per second, as fps_num / fps_den. Both 0: unknown.
    pub fps_num: u32,
    /// As fps_num.
    pub fps_den: u32,
    /// A text of your own that is kept with the latents, up to 65536 bytes of UTF-8. NULL: none.
    pub note: *const c_char,
}

unsafe impl Sized_ for wfvae_latent_writer_options {
    const NAME: &'static str = "wfvae_latent_writer_options";
    const FIRST_SIZE: usize = size_of::<wfvae_latent_writer_options>();
}

/// What a latent file holds. Pointers are valid as long as the reader is open.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_latent_file_info {
    /// sizeof(wfvae_latent_file_info), set by the caller.
    pub struct_size: usize,
    /// wfvae_model_info.identity of the model that the latents belong to.
    pub model_identity: u64,
    /// Frames of the clip, at least 1.
    pub n_frames: u64,
    /// T: latents in the file.
    pub n_latents: u64,
    /// Of WFVAE_POSTERIOR_SAMPLE, else 0.
    pub seed: u64,
    /// Of the frames, in pixels.
    pub width: u32,
    /// Of the frames, in pixels.
    pub height: u32,
    /// 1: width or height is not a multiple of spatial_compression; wfvae_options.padding decodes it.
    pub padded: u32,
    /// Pixels per latent value, in each direction.
    pub spatial_compression: u32,
    /// Frames per latent, after the first.
    pub temporal_compression: u32,
    /// C.
    pub latent_channels: u32,
    /// w of the latents.
    pub latent_width: u32,
    /// h of the latents.
    pub latent_height: u32,
    /// A wfvae_posterior: what the numbers are. A file of WFVAE_POSTERIOR_MOMENTS holds 2C channels.
    pub posterior: u32,
    /// A wfvae_latent_type: how the file stores them. They can be read as either type.
    pub latent_type: u32,
    /// 1: the latents are (z - shift) * scale; wfvae_options.scaled decodes them.
    pub scaled: u32,
    /// Frames per second, as fps_num / fps_den. Both 0: unknown.
    pub fps_num: u32,
    /// As fps_num.
    pub fps_den: u32,
    /// 0.
    pub reserved: u32,
    /// The model's list, latent_channels numbers; NULL where the model has no usable lists.
    pub scale: *const f32,
    /// As scale.
    pub shift: *const f32,
    /// What wrote the file, as "libwfvae 0.1.0".
    pub generator: *const c_char,
    /// The writer's own text, empty if there is none. UTF-8, by whoever made the file.
    pub note: *const c_char,
    /// wfvae_model_info.encoder_identity of the encoder that made the latents; 0 if an early version wrote the file, which
    /// knew model_identity only.
    pub encoder_identity: u64,
    /// wfvae_model_info.decoder_identity of the model that made the latents; 0 if it held no decoder, or as above.
    pub decoder_identity: u64,
}

unsafe impl Sized_ for wfvae_latent_file_info {
    const NAME: &'static str = "wfvae_latent_file_info";
    const FIRST_SIZE: usize = size_of::<wfvae_latent_file_info>();
}

/// Begins a latent file for the latents that a stream encodes: its model, size, padding, latent type, posterior, seed and
/// scaling go into the file. A file of that name stays as it is until wfvae_latent_writer_finish() replaces it.
///
/// stream: read during the call only; need not live as long as the writer.
/// path: of the target, a regular file or nothing yet, in a folder that can be written to. Pipes and devices are refused,
/// and with WFVAE_STATUS_INVALID_ARGUMENT the files of the stream's model, by any name, and names that its folder would
/// later open as weights. UTF-8.
/// options: NULL for the defaults; read during the call only.
/// writer: receives the handle on success, to be destroyed with wfvae_latent_writer_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _IO. The text is in wfvae_last_error(NULL).
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_writer_create(
    stream: *const wfvae,
    path: *const c_char,
    options: *const wfvae_latent_writer_options,
    writer: *mut *mut wfvae_latent_writer,
) -> wfvae_status {
    guard!(status: {
        let out = unsafe { abi::out(writer, "writer")? };
        out.write(std::ptr::null_mut());
        let Some(path) = (unsafe { abi::path(path) }) else { fail!(InvalidArgument, "path is NULL") };
        let options = match options.is_null() {
            true => None,
            false => Some(unsafe { abi::read(options)? }),
        };
        let (mut info, latent_type) = unsafe {
            wfvae::enter(stream, |handle, stream| {
                stream.model().check_target(&path)?;
                Ok((stream.latent_file(handle.latent_type()), handle.latent_type()))
            })?
        };
        if let Some(options) = options {
            info.fps = ((options.fps_num, options.fps_den) != (0, 0)).then_some((options.fps_num, options.fps_den));
            info.note = unsafe { abi::text(options.note, "wfvae_latent_writer_options: note")? }.unwrap_or_default();
        }
        let writer = Mutex::new(LatentWriter::create(path, info)?);
        let owner = Process::current();
        out.write(Box::into_raw(Box::new(wfvae_latent_writer { writer, latent_type, owner })));
        Ok(())
    })
}

/// Appends latents, as wfvae_encode_chunk() and wfvae_encode_flush() of the stream write them.
///
/// latents: n_latents latents, [n_latents, encoded_channels, latent_height, latent_width] without gaps, of the stream's
/// latent type and aligned for it; read during the call only. May be NULL if n_latents is 0.
/// n_latents: 0 to 65536.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, _INVALID_STATE (the file is finished, or an earlier call failed), _BUSY;
/// _NOT_FINITE for a NaN, an infinity, or a number that a float16 file cannot hold, after which nothing was appended;
/// _IO, after which the temporary file is gone and the writer can only be destroyed.
/// Thread-safety: one thread at a time for each writer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_writer_write(
    writer: *mut wfvae_latent_writer,
    latents: *const c_void,
    n_latents: usize,
) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae_latent_writer::enter(writer, |writer, latent_type| {
                check_count(n_latents)?;
                let info = writer.info();
                let size = info.stored_channels() * info.latent_width() * info.latent_height();
                writer.write(latents_at(latents, n_latents * size, latent_type)?)
            })
        }
    })
}

/// Completes the file: writes its header, brings it to the disk and puts it in the target's place, at once.
///
/// n_frames: of the clip, at least 1: wfvae_info.frames_in. The latents written must be those of so many frames, see
/// wfvae_latents_for_frames().
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, _INVALID_STATE, _BUSY, after which the call may be repeated; _IO, after
/// which the temporary file is gone, the target is as it was, and the writer can only be destroyed.
/// Thread-safety: one thread at a time for each writer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_writer_finish(writer: *mut wfvae_latent_writer, n_frames: u64) -> wfvae_status {
    guard!(status: { unsafe { wfvae_latent_writer::enter(writer, |writer, _| writer.finish(n_frames)) } })
}

/// Destroys a writer. Of a file that was not finished nothing remains.
///
/// writer: must not be used afterwards, nor in another thread meanwhile. NULL is allowed.
///
/// Thread-safety: safe, once per writer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_writer_destroy(writer: *mut wfvae_latent_writer) {
    guard!(value or (); {
        if !writer.is_null() {
            // SAFETY: made by Box::into_raw in wfvae_latent_writer_create.
            drop(unsafe { Box::from_raw(writer) });
        }
    })
}

/// Opens a latent file and checks all of it but the latents' values.
///
/// path: UTF-8. The file must not change while it is open; if it does, reads may fail or give other numbers.
/// reader: receives the handle on success, to be closed with wfvae_latent_reader_close(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _LATENT_FILE, _OUT_OF_MEMORY. The text, from wfvae_last_error(NULL),
/// names the file, what was found and what was expected.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_open(
    path: *const c_char,
    reader: *mut *mut wfvae_latent_reader,
) -> wfvae_status {
    guard!(status: {
        let out = unsafe { abi::out(reader, "reader")? };
        out.write(std::ptr::null_mut());
        let Some(path) = (unsafe { abi::path(path) }) else { fail!(InvalidArgument, "path is NULL") };
        let reader = LatentReader::open(path)?;
        let (generator, note) = (c_text(&reader.info().generator), c_text(&reader.info().note));
        out.write(Box::into_raw(Box::new(wfvae_latent_reader { reader, generator, note })));
        Ok(())
    })
}

/// Says what a latent file holds, for wfvae_options of a stream that decodes it, and for buffers.
///
/// info: set its struct_size; the rest is written on success.
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

/// Fails unless the latents of a file are those of a model's encoder: its identity, its sizes, and for scaled latents its
/// scale and shift. Whether the decoder is the one that was beside the encoder does not matter, but for a checkpoint without
/// an encoder, which must hold that one. Files of early versions name whole models only.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT; _LATENT_FILE, with a text that names both and says what to do.
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

/// Fails unless a stream can decode the latents of a file: as wfvae_latent_reader_check_model(), unless
/// wfvae_options.any_encoder is set, and the frames' size and wfvae_options.scaled.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _LATENT_FILE, with a text that names both and says what to do.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_reader_check_stream(
    reader: *const wfvae_latent_reader,
    stream: *const wfvae,
) -> wfvae_status {
    guard!(status: {
        let reader = unsafe { wfvae_latent_reader::from_ptr(reader)? };
        unsafe { wfvae::enter(stream, |_, stream| stream.check_latent_file(&reader.reader)) }
    })
}

/// Reads latents to decode. Of a file of moments these are the means.
///
/// start: the first latent, from 0.
/// n_latents: 1 to 65536, start + n_latents at most wfvae_latent_file_info.n_latents.
/// latent_type: a wfvae_latent_type, of the memory; numbers are converted if the file stores the other one.
/// latents: receives [n_latents, latent_channels, latent_height, latent_width] without gaps; aligned for latent_type. Its
/// contents are unspecified on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO; _NOT_FINITE if a latent holds a NaN, an infinity, or a number that
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

/// Reads both moments, of a file of WFVAE_POSTERIOR_MOMENTS.
///
/// start, n_latents, latent_type: as for wfvae_latent_reader_read().
/// latents: receives [n_latents, 2 * latent_channels, latent_height, latent_width], each latent's mean before its
/// log-variance.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _IO, _NOT_FINITE as wfvae_latent_reader_read(); _INVALID_STATE if the file
/// holds no moments.
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
/// reader: must not be used afterwards, nor in another thread meanwhile. NULL is allowed.
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

fn check_count(n_latents: usize) -> Result<()> {
    if n_latents > MAX_PER_CALL {
        fail!(InvalidArgument, "n_latents is {n_latents}, expected at most {MAX_PER_CALL}");
    }
    Ok(())
}

impl wfvae_latent_writer {
    unsafe fn enter(
        writer: *mut wfvae_latent_writer,
        call: impl FnOnce(&mut LatentWriter, LatentType) -> Result<()>,
    ) -> Result<()> {
        // SAFETY: NULL or made by wfvae_latent_writer_create.
        let handle = unsafe { writer.as_ref() };
        let handle = handle.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "writer is NULL"))?;
        handle.owner.check("latent writer")?;
        let Some(mut writer) = handle.writer.try_lock() else {
            fail!(Busy, "another thread is inside a call on this latent writer");
        };
        call(&mut writer, handle.latent_type)
    }
}

impl wfvae_latent_reader {
    unsafe fn from_ptr<'a>(reader: *const wfvae_latent_reader) -> Result<&'a Self> {
        // SAFETY: NULL or made by wfvae_latent_reader_open.
        unsafe { reader.as_ref() }.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "reader is NULL"))
    }

    /// The caller's memory, if the file holds that many latents: a mistaken count must not reach beyond it.
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
        if n_latents == 0 {
            fail!(InvalidArgument, "n_latents is 0, expected 1 to {MAX_PER_CALL}");
        }
        check_count(n_latents)?;
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
