//! One error type for the whole crate: a kind that programs can branch on and a text for people.

use std::fmt;

/// What went wrong, in families a program can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is outside its documented range.
    InvalidArgument,
    /// A width or height that the model or the stream cannot take.
    InvalidSize,
    /// The output buffer is too small; the text says how much is needed. Nothing was consumed.
    Capacity,
    /// The call is out of order, for example a chunk after the flush.
    InvalidState,
    /// Another thread is inside a call on the same stream.
    Busy,
    /// An earlier call on this stream failed; reset it first.
    NeedsReset,
    /// The model, stream or latent writer belongs to the process that this one was forked from; make one in this process.
    Forked,
    /// A file or folder could not be read or written.
    Io,
    /// `config.json` is malformed or holds a value that no WF-VAE has.
    Config,
    /// The weights are damaged, incomplete or do not belong to the config.
    Checkpoint,
    /// A valid model of a kind that this version does not run.
    UnsupportedModel,
    /// A latent file is damaged, of another kind or version, or does not belong to the model or stream.
    LatentFile,
    /// ONNX Runtime was not found or cannot be loaded.
    RuntimeMissing,
    /// The ONNX Runtime that was found is too old.
    RuntimeTooOld,
    /// The requested execution provider cannot run here.
    Provider,
    /// ONNX Runtime failed to load or to run a graph.
    Runtime,
    /// A NaN or an infinity, or a number too large for float16, in what came in or in what the network made of it. The text
    /// says where. If it came in, nothing was consumed.
    NotFinite,
    /// The call was cancelled from another thread.
    Cancelled,
    /// Memory could not be allocated. [`StreamInfo::needs_reset`](crate::StreamInfo::needs_reset) says whether a stream that
    /// existed needs a reset.
    OutOfMemory,
    /// A bug in this library; please report it.
    Internal,
}

/// An [`ErrorKind`] and a text that says what was wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    text: String,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Error { kind, text: text.into() }
    }

    /// Of what the system says of a file.
    pub(crate) fn of_file(error: &std::io::Error, text: impl Into<String>) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            _ => ErrorKind::Io,
        };
        Error::new(kind, text)
    }

    /// The same error with `place: ` before its text.
    pub(crate) fn prefixed(self, place: &str) -> Self {
        Error { kind: self.kind, text: format!("{place}: {}", self.text) }
    }

    /// The family of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text alone, as [`Display`](fmt::Display) prints it.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// `fail!(Kind, "text {}", x)` is an early return with that error.
macro_rules! fail {
    ($kind:ident, $($text:tt)*) => {
        return Err($crate::error::Error::new($crate::error::ErrorKind::$kind, format!($($text)*)))
    };
}
pub(crate) use fail;
