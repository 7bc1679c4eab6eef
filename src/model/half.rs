//! The two halves of a model, of which a checkpoint may hold one alone.

use super::Checkpoint;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Encoder,
    Decoder,
}

impl Half {
    /// How the names of its tensors begin.
    fn prefix(self) -> &'static str {
        match self {
            Half::Encoder => "encoder.",
            Half::Decoder => "decoder.",
        }
    }

    pub(super) fn owns(self, key: &str) -> bool {
        key.starts_with(self.prefix())
    }
}

/// The half of which a checkpoint holds nothing, while it holds some of the other. The wavelets' constants do not count,
/// which everybody has, nor do integers, which are no weights.
pub(super) fn missing(checkpoint: &Checkpoint) -> Option<Half> {
    let counts = |key: &str| !key.contains("wavelet_transform") && !checkpoint.is_integer(key);
    let holds = |half: Half| checkpoint.keys().any(|key| half.owns(key) && counts(key));
    match (holds(Half::Encoder), holds(Half::Decoder)) {
        (true, false) => Some(Half::Decoder),
        (false, true) => Some(Half::Encoder),
        _ => None,
    }
}
