//! A number that tells models apart, for files that hold latents of one of them.

use super::{Checkpoint, Network};

/// Bytes of each tensor that are looked at, at its start, middle and end. Training changes them all, and a large
/// checkpoint need not be read whole.
const SAMPLE: usize = 64;

/// FNV-1a, 64 bit: fixed forever, unlike the standard library's hasher.
struct Hash(u64);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// Of the weights and of how time is interpolated; the same in every release.
pub(super) fn identity(network: &Network, checkpoint: &Checkpoint) -> u64 {
    let mut hash = Hash(0xcbf2_9ce4_8422_2325);
    hash.add(format!("{:?}", network.interpolation).to_lowercase().as_bytes());
    let mut keys: Vec<&str> = network.weights().into_iter().map(|w| w.key.as_str()).collect();
    keys.sort_unstable();
    for key in keys {
        let bytes = checkpoint.bytes(key);
        hash.add(key.as_bytes());
        hash.add(&(bytes.len() as u64).to_le_bytes());
        for start in [0, bytes.len() / 2, bytes.len().saturating_sub(SAMPLE)] {
            hash.add(&bytes[start..(start + SAMPLE).min(bytes.len())]);
        }
    }
    hash.0
}
