//! The handle of a stream: created, entered by one thread at a time, destroyed.

use super::abi;
use super::error_text::{self, reported};
use super::guard::{caught, guard};
use super::model::wfvae_model;
use super::options::wfvae_options;
use super::status::wfvae_status;
use super::text::c_text;
use crate::error::{ErrorKind, Result, fail};
use crate::media::LatentType;
use crate::process::Process;
use crate::stream::{CallProgress, Canceller, Stream};
use parking_lot::Mutex;
use std::ffi::{CString, c_char};
use std::sync::Arc;

/// A stream: the causal caches and counters of one clip at a time. Its two directions, encoding and decoding, are
/// independent of each other.
///
/// Thread-safety: one thread at a time; if another thread is inside a call, a call returns WFVAE_STATUS_BUSY. Only
/// wfvae_cancel() and wfvae_get_progress() may be called at any time. Different streams of one model may run at the same time.
pub struct wfvae_stream {
    stream: Mutex<Stream>,
    canceller: Canceller,
    latent_type: LatentType,
    error: Mutex<CString>,
    owner: Process,
}

const _: () = abi::goes_between_threads::<wfvae_stream>();

/// Creates a stream of a model. The first stream that uses a direction loads its weights, which takes seconds for a
/// large model. On a CUDA device the call also runs each step once, so that the first chunk does not wait for one-time
/// work: choosing algorithms, loading kernels and allocating memory.
///
/// options: read during the call only.
/// stream: receives the handle on success, to be destroyed with wfvae_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE, _OUT_OF_MEMORY, _RUNTIME; _PROVIDER if the provider lacks
/// what the stream needs; _CHECKPOINT if the checkpoint's files changed since they were opened; _IO if they can no
/// longer be read. wfvae_last_error(NULL) returns the text.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_create(
    model: *mut wfvae_model,
    options: *const wfvae_options,
    stream: *mut *mut wfvae_stream,
) -> wfvae_status {
    guard!(status: {
        let create = || {
            let out = unsafe { abi::out(stream, "stream")? };
            out.write(std::ptr::null_mut());
            let model = unsafe { wfvae_model::from_ptr(model)? };
            let (options, latent_type) = unsafe { error_text::read(options)? }.convert(&model.model().info())?;
            let stream = Stream::new(model.model(), &options)?;
            out.write(wfvae_stream::new(stream, latent_type));
            Ok(())
        };
        unsafe { reported(options, create) }
    })
}

/// Destroys a stream. Latents and frames that were not flushed are lost.
///
/// stream: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per stream. If another thread is inside a call on the stream, that call is cancelled and
/// returns there. No call may begin any more; wfvae_get_progress() tells whether an encode or decode call has begun.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_destroy(stream: *mut wfvae_stream) {
    guard!(value or (); {
        if !stream.is_null() {
            let stream = unsafe { Arc::from_raw(stream) };
            match stream.owner.is_current() {
                // Another thread may be inside a call.
                true => stream.canceller.cancel(),
                // At the fork another thread may have held a lock in it, which is never released here.
                false => std::mem::forget(stream),
            }
        }
    })
}

impl wfvae_stream {
    fn new(stream: Stream, latent_type: LatentType) -> *mut wfvae_stream {
        let canceller = stream.canceller();
        let (error, owner) = (Mutex::default(), stream.model().owner());
        let handle = wfvae_stream { stream: Mutex::new(stream), canceller, latent_type, error, owner };
        Arc::into_raw(Arc::new(handle)).cast_mut()
    }

    pub(super) fn fork(&self, stream: &Stream) -> Result<*mut wfvae_stream> {
        Ok(wfvae_stream::new(stream.fork()?, self.latent_type))
    }

    /// A share of the handle, so that another thread that destroys it does not free it under a running call.
    pub(super) unsafe fn from_ptr(stream: *const wfvae_stream) -> Result<Arc<wfvae_stream>> {
        if stream.is_null() {
            fail!(InvalidArgument, "stream is NULL");
        }
        // SAFETY: made by `new`, and not destroyed: the caller begins no call then. The owner never changes.
        unsafe { (*stream).owner.check("stream")? };
        // SAFETY: as above; `new` called Arc::into_raw.
        unsafe {
            Arc::increment_strong_count(stream);
            Ok(Arc::from_raw(stream))
        }
    }

    /// Runs a call on the stream and keeps its error text. Fails if another thread is inside a call.
    pub(super) unsafe fn enter<T>(
        stream: *const wfvae_stream,
        call: impl FnOnce(&wfvae_stream, &mut Stream) -> Result<T>,
    ) -> Result<T> {
        let handle = unsafe { wfvae_stream::from_ptr(stream)? };
        let Some(mut stream) = handle.stream.try_lock() else {
            fail!(Busy, "another thread is inside a call on this stream; give each thread a stream of its own");
        };
        let result = caught(|| call(&handle, &mut stream)).and_then(|result| result);
        if let Err(e) = &result
            && e.kind() == ErrorKind::Internal
        {
            stream.fail(e.clone());
        }
        if let Err(e) = &result {
            *handle.error.lock() = c_text(e.text());
        }
        result
    }

    pub(super) fn cancel(&self) {
        self.canceller.cancel();
    }

    pub(super) fn progress(&self) -> CallProgress {
        self.canceller.progress()
    }

    pub(super) fn latent_type(&self) -> LatentType {
        self.latent_type
    }

    pub(super) fn owner(&self) -> Process {
        self.owner
    }

    pub(super) fn error_text(&self) -> *const c_char {
        self.error.lock().as_ptr()
    }

    pub(super) fn clear_error(&self) {
        *self.error.lock() = CString::default();
    }
}
