use super::guard::{guard, last_error};
use super::stream::wfvae;
use crate::error::ErrorKind;
use std::ffi::{CStr, c_char};

/// What a call returns. Numbers are never reused. Treat one that you do not know as a failure.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum wfvae_status {
    /// Success.
    Ok = 0,

    /// An argument is outside its documented range. Nothing was consumed.
    InvalidArgument = 100,
    /// A width or height that the model or the stream cannot take. Nothing was consumed.
    InvalidSize = 101,
    /// The output buffer is too small; the error text says how much is needed. Nothing was consumed.
    Capacity = 102,
    /// The call is out of order, for example a chunk after the flush. Nothing was consumed.
    InvalidState = 103,
    /// Another thread is inside a call on the same stream. Nothing was consumed. Only the calling thread's error text
    /// is set, not the stream's.
    Busy = 104,
    /// An earlier call on this stream failed: call wfvae_reset() first. Nothing was consumed.
    NeedsReset = 105,
    /// The model, stream or latent writer belongs to the process that this one was forked from: open the model in this
    /// process. Or that process was forked while another thread opened a model or made a stream, and models cannot be opened
    /// in this one at all. Nothing was consumed. Only the calling thread's error text is set, not the stream's.
    Forked = 106,

    /// A file or folder could not be read or written.
    Io = 200,
    /// config.json is malformed or holds a value that no WF-VAE has.
    Config = 201,
    /// The weights are damaged, incomplete or do not belong to the config.
    Checkpoint = 202,
    /// A valid model of a kind that this version does not run.
    UnsupportedModel = 203,
    /// A latent file is damaged, of another kind or version, or does not belong to the model or stream.
    LatentFile = 204,

    /// ONNX Runtime was not found or cannot be loaded.
    RuntimeMissing = 300,
    /// The ONNX Runtime that was found is too old.
    RuntimeTooOld = 301,
    /// The requested execution provider cannot run here.
    Provider = 302,
    /// ONNX Runtime failed to load or to run a graph. A stream needs wfvae_reset() afterwards.
    Runtime = 303,
    /// A NaN or an infinity, or a number too large for float16; the error text says where. In frames, latents, latent
    /// files or snapshots that came in: nothing was consumed, and the call may be repeated with others. In a result of the
    /// network: the stream needs wfvae_reset() afterwards, as wfvae_info.needs_reset says.
    NotFinite = 304,

    /// The call was cancelled by wfvae_cancel(). The stream needs wfvae_reset() afterwards.
    Cancelled = 400,
    /// Memory could not be allocated. wfvae_info.needs_reset says whether a stream that existed needs wfvae_reset().
    OutOfMemory = 401,

    /// A bug in libwfvae; please report it with the error text. Any call may return it, so that their lists leave it out. A
    /// stream needs wfvae_reset() afterwards.
    Internal = 900,
}

impl From<ErrorKind> for wfvae_status {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidArgument => wfvae_status::InvalidArgument,
            ErrorKind::InvalidSize => wfvae_status::InvalidSize,
            ErrorKind::Capacity => wfvae_status::Capacity,
            ErrorKind::InvalidState => wfvae_status::InvalidState,
            ErrorKind::Busy => wfvae_status::Busy,
            ErrorKind::NeedsReset => wfvae_status::NeedsReset,
            ErrorKind::Forked => wfvae_status::Forked,
            ErrorKind::Io => wfvae_status::Io,
            ErrorKind::Config => wfvae_status::Config,
            ErrorKind::Checkpoint => wfvae_status::Checkpoint,
            ErrorKind::UnsupportedModel => wfvae_status::UnsupportedModel,
            ErrorKind::LatentFile => wfvae_status::LatentFile,
            ErrorKind::RuntimeMissing => wfvae_status::RuntimeMissing,
            ErrorKind::RuntimeTooOld => wfvae_status::RuntimeTooOld,
            ErrorKind::Provider => wfvae_status::Provider,
            ErrorKind::Runtime => wfvae_status::Runtime,
            ErrorKind::NotFinite => wfvae_status::NotFinite,
            ErrorKind::Cancelled => wfvae_status::Cancelled,
            ErrorKind::OutOfMemory => wfvae_status::OutOfMemory,
            ErrorKind::Internal => wfvae_status::Internal,
        }
    }
}

fn describe(status: i32) -> &'static CStr {
    use wfvae_status as s;
    const fn is(status: i32, known: wfvae_status) -> bool {
        status == known as i32
    }
    match status {
        n if is(n, s::Ok) => c"success",
        n if is(n, s::InvalidArgument) => c"invalid argument",
        n if is(n, s::InvalidSize) => c"invalid width or height",
        n if is(n, s::Capacity) => c"output buffer too small",
        n if is(n, s::InvalidState) => c"call out of order",
        n if is(n, s::Busy) => c"stream in use by another thread",
        n if is(n, s::NeedsReset) => c"stream needs a reset",
        n if is(n, s::Forked) => c"made by another process, before a fork",
        n if is(n, s::Io) => c"file cannot be read or written",
        n if is(n, s::Config) => c"invalid config.json",
        n if is(n, s::Checkpoint) => c"invalid weights",
        n if is(n, s::UnsupportedModel) => c"unsupported model",
        n if is(n, s::LatentFile) => c"invalid latent file",
        n if is(n, s::RuntimeMissing) => c"ONNX Runtime not found",
        n if is(n, s::RuntimeTooOld) => c"ONNX Runtime too old",
        n if is(n, s::Provider) => c"execution provider not available",
        n if is(n, s::Runtime) => c"ONNX Runtime failed",
        n if is(n, s::NotFinite) => c"not a finite number",
        n if is(n, s::Cancelled) => c"cancelled",
        n if is(n, s::OutOfMemory) => c"out of memory",
        n if is(n, s::Internal) => c"internal error in libwfvae",
        _ => c"unknown status",
    }
}

/// A short English text for a status; any number is allowed.
///
/// Returns: a static string, never NULL.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub extern "C" fn wfvae_status_str(status: i32) -> *const c_char {
    guard!(value or c"".as_ptr(); { describe(status).as_ptr() })
}

/// The text of the last error: what was wrong, and what to do.
///
/// stream: the stream whose call failed, or NULL for the last failing call of any kind in the calling thread.
///
/// Returns: a string, empty if there was no error, never NULL. With a stream it is valid until the next call on that
/// stream; with NULL until the calling thread's next failing call. A reset or a restore clears a stream's
/// text.
/// Thread-safety: as for every call on the stream; with NULL safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_last_error(stream: *const wfvae) -> *const c_char {
    guard!(value or c"".as_ptr(); {
        match unsafe { stream.as_ref() } {
            Some(stream) if stream.owner().is_current() => stream.error_text(),
            _ => last_error(),
        }
    })
}
