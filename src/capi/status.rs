//! Statuses: their numbers, texts and errors.

use crate::error::ErrorKind;
use std::ffi::CStr;

/// What a call returns. Values never change their meaning. Treat a value that you do not know as a failure.
///
/// "Nothing was consumed" means that the stream, or writer, is as it was before the call.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum wfvae_status {
    /// Success.
    Ok = 0,

    /// An argument is outside its documented range. Nothing was consumed.
    InvalidArgument = 100,
    /// The model or the stream does not support this width or height. Nothing was consumed.
    InvalidSize = 101,
    /// The output buffer is too small. The error text says how much is needed. Nothing was consumed.
    Capacity = 102,
    /// The call is out of order, for example a chunk after the flush. Nothing was consumed.
    InvalidState = 103,
    /// Another thread is inside a call on the same stream. Nothing was consumed. Sets the calling thread's error text
    /// only, not the stream's.
    Busy = 104,
    /// An earlier call on this stream failed: call wfvae_reset() first. Nothing was consumed.
    NeedsReset = 105,
    /// The model, stream or latent writer belongs to the parent of this forked process: open the model in this process.
    /// Or the parent forked while another thread was opening a model or creating a stream, in which case this process
    /// cannot open models at all. Nothing was consumed. Sets the calling thread's error text only, not the stream's.
    Forked = 106,

    /// A file or folder could not be read or written.
    Io = 200,
    /// config.json is malformed, or holds a value that no WF-VAE has.
    Config = 201,
    /// The weights are damaged or incomplete, or do not match config.json.
    Checkpoint = 202,
    /// The model is valid, but of a kind that this version does not support.
    UnsupportedModel = 203,
    /// A latent file is damaged, is of another format or version, or does not match the model or stream.
    LatentFile = 204,

    /// ONNX Runtime was not found or cannot be loaded.
    RuntimeMissing = 300,
    /// The ONNX Runtime that was found is too old.
    RuntimeTooOld = 301,
    /// The requested execution provider cannot run here.
    Provider = 302,
    /// ONNX Runtime failed to load or to run a graph. A stream needs wfvae_reset() afterwards.
    Runtime = 303,
    /// A NaN, an infinity, or a value too large for float16. The error text says where. If it is in the input (frames,
    /// latents, a latent file or a snapshot), nothing was consumed, and the call may be repeated with other input. If
    /// it is in the network's output, the stream needs wfvae_reset() afterwards. wfvae_info.needs_reset tells which.
    NotFinite = 304,

    /// The call was cancelled by wfvae_cancel(). The stream needs wfvae_reset() afterwards.
    Cancelled = 400,
    /// Memory could not be allocated. wfvae_info.needs_reset tells whether an existing stream needs wfvae_reset().
    OutOfMemory = 401,

    /// A bug in libwfvae: please report it with the error text. Any call may return it, so the functions' lists of
    /// statuses leave it out. A stream needs wfvae_reset() afterwards.
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

/// A short English text for any number.
pub(super) fn describe(status: i32) -> &'static CStr {
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
