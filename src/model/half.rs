//! The two halves of a model. A checkpoint may contain only one of them.

use super::checkpoint::Checkpoint;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Encoder,
    Decoder,
}

impl Half {
    /// The prefixes of its tensor names. The second one is CausalVAE's.
    fn prefixes(self) -> [&'static str; 2] {
        match self {
            Half::Encoder => ["encoder.", "quant_conv."],
            Half::Decoder => ["decoder.", "post_quant_conv."],
        }
    }

    /// What streams do with it; for error texts.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Half::Encoder => "encode",
            Half::Decoder => "decode",
        }
    }

    pub(super) fn owns(self, key: &str) -> bool {
        self.prefixes().iter().any(|prefix| key.starts_with(prefix))
    }
}

/// The half that a checkpoint lacks entirely, if it has some of the other. Wavelet constants do not count,
/// because a checkpoint of one half may have those of the other; neither do integers, which are not weights.
pub(super) fn missing(checkpoint: &Checkpoint) -> Option<Half> {
    let counts = |key: &str| !key.contains("wavelet_transform") && !checkpoint.is_integer(key);
    let holds = |half: Half| checkpoint.keys().any(|key| half.owns(key) && counts(key));
    match (holds(Half::Encoder), holds(Half::Decoder)) {
        (true, false) => Some(Half::Decoder),
        (false, true) => Some(Half::Encoder),
        _ => None,
    }
}
