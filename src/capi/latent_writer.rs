//! Writing latent files.

use super::abi::{self, CStruct};
use super::error_text::{self, NamesErrorText, reported};
use super::guard::{caught, guard};
use super::handle::wfvae_stream;
use super::latents::{MAX_PER_CALL, latents_at};
use super::status::wfvae_status;
use super::text::c_text;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::media::{LatentType, LatentWriter};
use crate::process::Process;
use parking_lot::Mutex;
use std::ffi::{CString, c_char, c_void};

/// A latent file that is being written: safetensors with one tensor, [T, C, h, w], and the metadata that decoding it
/// needs; docs/formats.md lists the keys.
///
/// Latents go to a temporary file in the target's folder, .NAME.wfvae-N.tmp, where N is 0 unless several writers have the
/// same target; there can be 100. wfvae_latent_writer_finish() replaces the target with it. If the process was killed
/// before that, the next writer of the target removes the file. Memory does not grow with the clip.
///
/// Thread-safety: one thread at a time; if another thread is inside a call, a call returns WFVAE_STATUS_BUSY.
pub struct wfvae_latent_writer {
    writer: Mutex<LatentWriter>,
    /// Of the caller's memory: the stream's.
    latent_type: LatentType,
    error: Mutex<CString>,
    owner: Process,
}

const _: () = abi::goes_between_threads::<wfvae_latent_writer>();

/// Facts about the clip that its stream does not know. Zero-initialise the struct, set struct_size, then set the fields
/// that you need.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_latent_writer_options {
    /// sizeof(wfvae_latent_writer_options).
    pub struct_size: usize,
    /// Frames per second, as fps_num / fps_den. Both 0: unknown.
    pub fps_num: u32,
    /// See fps_num.
    pub fps_den: u32,
    /// A text of your own that is stored with the latents, up to 65536 bytes of UTF-8. NULL: none.
    pub note: *const c_char,
    /// Receives the error text of a call that takes these options, cut to error_size bytes with its terminating zero;
    /// an empty text on success. For callers whose calls run in another thread than theirs. NULL: only
    /// wfvae_last_error(NULL) has the text.
    pub error_text: *mut c_char,
    /// Bytes at error_text, at least 1; 0 if it is NULL.
    pub error_size: usize,
}

// SAFETY: it is of the C language and begins with its size; numbers may be 0 and pointers null.
unsafe impl CStruct for wfvae_latent_writer_options {
    const NAME: &'static str = "wfvae_latent_writer_options";
    const FIRST_SIZE: usize = size_of::<wfvae_latent_writer_options>();
}

impl NamesErrorText for wfvae_latent_writer_options {
    fn error_text(&self) -> (*mut c_char, usize) {
        (self.error_text, self.error_size)
    }
}

/// Starts a latent file for the latents that a stream encodes. Stores the stream's model, size, padding, latent type,
/// posterior, seed and scaling. An existing file of that name stays as it is until wfvae_latent_writer_finish()
/// replaces it.
///
/// stream: read during the call only; need not live as long as the writer.
/// path: the target, in UTF-8: a regular file, or a name that does not exist yet, in a folder that can be written to.
/// Pipes and devices are refused. The files of the stream's model, under any name, and names that its folder would
/// later open as weights are WFVAE_STATUS_INVALID_ARGUMENT.
/// options: NULL for the defaults; read during the call only.
/// writer: receives the handle on success, to be destroyed with wfvae_latent_writer_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _IO. wfvae_last_error(NULL) returns the text.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_writer_create(
    stream: *const wfvae_stream,
    path: *const c_char,
    options: *const wfvae_latent_writer_options,
    writer: *mut *mut wfvae_latent_writer,
) -> wfvae_status {
    guard!(status: {
        let create = || {
            let out = unsafe { abi::out(writer, "writer")? };
            out.write(std::ptr::null_mut());
            let path = unsafe { abi::required_path(path, "path")? };
            let options = match options.is_null() {
                true => None,
                false => Some(unsafe { error_text::read(options)? }),
            };
            let (mut info, latent_type) = unsafe {
                wfvae_stream::enter(stream, |handle, stream| {
                    stream.model().check_target(&path)?;
                    Ok((stream.latent_file(handle.latent_type()), handle.latent_type()))
                })?
            };
            if let Some(options) = options {
                info.fps = ((options.fps_num, options.fps_den) != (0, 0)).then_some((options.fps_num, options.fps_den));
                info.note =
                    unsafe { abi::text(options.note, "wfvae_latent_writer_options: note")? }.unwrap_or_default();
            }
            let writer = Mutex::new(LatentWriter::create(path, info)?);
            let (error, owner) = (Mutex::default(), Process::current());
            out.write(Box::into_raw(Box::new(wfvae_latent_writer { writer, latent_type, error, owner })));
            Ok(())
        };
        unsafe { reported(options, create) }
    })
}

/// Appends latents that wfvae_encode_chunk() and wfvae_encode_flush() of the stream wrote.
///
/// latents: n_latents latents, [n_latents, encoded_channels, latent_height, latent_width] without gaps, of the stream's
/// latent type and aligned for it; read during the call only. May be NULL if n_latents is 0.
/// n_latents: 0 to 65536.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _INVALID_STATE if the file is finished or an earlier call
/// failed. _NOT_FINITE for a NaN, an infinity, or a value that a float16 file cannot hold: nothing was appended.
/// _IO: the temporary file is removed, and the writer can only be destroyed.
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
                if n_latents > MAX_PER_CALL {
                    fail!(InvalidArgument, "n_latents is {n_latents}, expected at most {MAX_PER_CALL}");
                }
                let info = writer.info();
                let len = info.stored_channels() * info.latent_width() * info.latent_height();
                writer.write(latents_at(latents, n_latents * len, latent_type)?)
            })
        }
    })
}

/// Completes the file: writes its header, flushes it to the disk, and atomically replaces the target with it.
///
/// n_frames: frames of the clip (wfvae_info.frames_in), at least 1. The number of latents written must be
/// wfvae_latents_for_frames() of it.
///
/// Returns: WFVAE_STATUS_OK.
/// _INVALID_ARGUMENT, _INVALID_STATE, _BUSY: the call may be repeated.
/// _IO: the temporary file is removed, the target is as it was, and the writer can only be destroyed. Windows does not
/// always replace a file that another program has open: if it does not for two seconds, the text says so, nothing is
/// removed, and the call may be repeated.
/// Thread-safety: one thread at a time for each writer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_writer_finish(writer: *mut wfvae_latent_writer, n_frames: u64) -> wfvae_status {
    guard!(status: { unsafe { wfvae_latent_writer::enter(writer, |writer, _| writer.finish(n_frames)) } })
}

/// Returns the text of a writer's last error, like wfvae_last_error() for streams.
///
/// Returns: a string, never NULL; empty if there was no error. Valid until the next call on the writer.
/// Thread-safety: one thread at a time for each writer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_writer_last_error(writer: *const wfvae_latent_writer) -> *const c_char {
    guard!(value or c"".as_ptr(); {
        match unsafe { writer.as_ref() } {
            Some(writer) if writer.owner.is_current() => writer.error.lock().as_ptr(),
            _ => c"".as_ptr(),
        }
    })
}

/// Destroys a writer. If its file was not finished, nothing of it remains.
///
/// writer: must not be used afterwards, nor by another thread during the call. NULL is allowed.
///
/// Thread-safety: safe, once per writer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_latent_writer_destroy(writer: *mut wfvae_latent_writer) {
    guard!(value or (); {
        if !writer.is_null() {
            // SAFETY: made by Box::into_raw in wfvae_latent_writer_create.
            let writer = unsafe { Box::from_raw(writer) };
            if !writer.owner.is_current() && writer.writer.is_locked() {
                // At the fork another thread may have been changing it.
                std::mem::forget(writer);
            }
        }
    })
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
        let result = caught(|| call(&mut writer, handle.latent_type)).and_then(|result| result);
        if let Err(e) = &result {
            *handle.error.lock() = c_text(e.text());
        }
        result
    }
}

#[cfg(test)]
mod tests {
    /// What another thread is changing at the fork must not be freed in the child: it may be half of the old and half of the new.
    #[cfg(unix)]
    #[test]
    fn a_child_drops_a_writer_unless_a_call_was_changing_it() {
        use super::super::handle::{wfvae_create, wfvae_destroy};
        use super::super::model::{wfvae_model_close, wfvae_model_open};
        use super::super::options::wfvae_options;
        use super::*;
        use std::ptr::{null, null_mut};

        let folder = tempfile::tempdir().unwrap();
        let path = CString::new(folder.path().join("latents.safetensors").to_str().unwrap()).unwrap();
        let (mut model, mut stream, mut writer) = (null_mut(), null_mut(), null_mut());
        // SAFETY: numbers and pointers may be zero.
        let mut options: wfvae_options = unsafe { std::mem::zeroed() };
        (options.struct_size, options.width, options.height) = (size_of::<wfvae_options>(), 64, 64);
        unsafe {
            assert!(wfvae_model_open(null(), null(), &mut model) == wfvae_status::Ok);
            assert!(wfvae_create(model, &options, &mut stream) == wfvae_status::Ok);
            assert!(wfvae_latent_writer_create(stream, path.as_ptr(), null(), &mut writer) == wfvae_status::Ok);
        }
        for in_call in [false, true] {
            // As in the middle of a call that fails: the text is not the allocator's, which ends the process if it is freed.
            let call = in_call.then(|| unsafe {
                let call = (*writer).writer.lock();
                let torn = CString::from_raw(c"half of a text".as_ptr().cast_mut());
                (call, std::mem::replace(&mut *(*writer).error.lock(), torn))
            });
            // SAFETY: the child uses only its own memory and exits.
            let child = unsafe { libc::fork() };
            assert!(child >= 0);
            if child == 0 {
                unsafe { wfvae_latent_writer_destroy(writer) };
                unsafe { libc::_exit(0) };
            }
            if let Some((_call, whole)) = call {
                // SAFETY: the writer lives.
                std::mem::forget(unsafe { std::mem::replace(&mut *(*writer).error.lock(), whole) });
            }
            let mut status = -1;
            // SAFETY: waits for the child and fills `status`.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0, "in a call: {in_call}");
        }
        unsafe {
            wfvae_latent_writer_destroy(writer);
            wfvae_destroy(stream);
            wfvae_model_close(model);
        }
    }
}
