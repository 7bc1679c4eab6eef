//! The text of an index of weights.

use crate::allocations::bounded;
use crate::checks::check;

pub fn run(text: &[u8]) {
    match bounded(text.len(), || wfvae::fuzzing::index(text)) {
        Ok(shards) => {
            assert!(!shards.is_empty());
            for (file, keys) in shards {
                assert!(!keys.is_empty());
                // Only files of the index's own folder.
                assert!(!file.contains('/') && !matches!(file.as_str(), "" | "." | ".."), "{file}");
            }
        }
        Err(error) => check(&error, text.len()),
    }
}
