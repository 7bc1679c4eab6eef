//! The crate's error type: a kind for programs and a text for people.

use std::fmt;
use std::sync::Arc;

/// What kind of error happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is outside its documented range.
    InvalidArgument,
    /// A width or height that the model or the stream cannot take.
    InvalidSize,
    /// The output buffer is too small; the text says how much is needed. Nothing was consumed.
    Capacity,
    /// The call is not allowed in the stream's current state, for example a chunk after the flush.
    InvalidState,
    /// Another thread is running a call on the same stream.
    Busy,
    /// An earlier call on this stream failed; reset it first.
    NeedsReset,
    /// The object was made by the parent of this forked process. Create a new one in this process.
    Forked,
    /// A file or folder could not be read or written.
    Io,
    /// `config.json` is malformed or holds a value that no WF-VAE has.
    Config,
    /// The weights are damaged, incomplete or do not belong to the config.
    Checkpoint,
    /// The model is valid, but this version does not support it.
    UnsupportedModel,
    /// A latent file is damaged, has another format or version, or does not match the model or stream.
    LatentFile,
    /// ONNX Runtime was not found or cannot be loaded.
    RuntimeMissing,
    /// The ONNX Runtime that was found is too old.
    RuntimeTooOld,
    /// The requested execution provider is not available.
    Provider,
    /// ONNX Runtime failed to load or to run a graph.
    Runtime,
    /// The input or the network's output contains a NaN, an infinity, or a value too large for float16. The text says
    /// where. If the input contains it, nothing was consumed.
    NotFinite,
    /// The call was cancelled from another thread.
    Cancelled,
    /// Memory allocation failed. [`StreamInfo::needs_reset`](crate::StreamInfo::needs_reset) says whether an existing
    /// stream needs a reset.
    OutOfMemory,
    /// A bug in this library; please report it.
    Internal,
}

/// An [`ErrorKind`] and a text that says what went wrong and how to fix it. [`source`](std::error::Error::source) is the
/// error of the system or of another library, if one caused it: its text is part of this one's.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    text: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Sources are not compared.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.text) == (other.kind, &other.text)
    }
}

impl Eq for Error {}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Error { kind, text: text.into(), source: None }
    }

    /// The same error with its cause.
    pub(crate) fn caused_by(self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error { source: Some(Arc::new(source)), ..self }
    }

    /// An error that the system reported for a file.
    pub(crate) fn of_file(error: &std::io::Error, text: impl Into<String>) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            _ => ErrorKind::Io,
        };
        // An io::Error cannot be cloned.
        let source = match error.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::new(error.kind(), error.to_string()),
        };
        Error::new(kind, text).caused_by(source)
    }

    /// The same error with `context: ` before its text.
    pub(crate) fn prefixed(self, context: &str) -> Self {
        Error { text: format!("{context}: {}", self.text), ..self }
    }

    /// Says what else went wrong after it.
    pub(crate) fn followed_by(self, more: &str) -> Self {
        Error { text: format!("{}; {more}", self.text), ..self }
    }

    /// The kind of the error.
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

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// What a file holds, for a message: only its start if it is long.
pub(crate) fn shortened(text: String) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// `fail!(Kind, "text {}", x)` returns early with that error.
macro_rules! fail {
    ($kind:ident, $($text:tt)*) => {
        return Err($crate::error::Error::new($crate::error::ErrorKind::$kind, format!($($text)*)))
    };
}
pub(crate) use fail;

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn the_cause_stays_with_its_kind() {
        let error = crate::LatentReader::open("/no/such/file").unwrap_err().prefixed("context").clone();
        let cause = error.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
        assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
        assert!(error.text().starts_with("context: ") && error.text().contains(&cause.to_string()), "{error}");
        assert!(Error::new(ErrorKind::Internal, "ours").source().is_none());
    }

    #[test]
    fn errors_can_be_sent_and_compared() {
        fn check<T: Send + Sync + Clone + Eq>() {}
        check::<Error>();
        // Of every system.
        let io = std::io::Error::from_raw_os_error(2);
        assert_eq!(Error::of_file(&io, "full"), Error::new(ErrorKind::Io, "full"));
        let cause = Error::of_file(&io, "full");
        assert_eq!(cause.source().unwrap().to_string(), io.to_string());
    }
}
