//! Hashes that identify models, for files that hold a model's latents. docs/formats.md defines them. Files store them,
//! so they must never change.

use super::checkpoint::Checkpoint;
use super::config::Interpolation;
use super::half::Half;
use super::layer::{NormScope, Weight};
use super::network::{CAUSAL, Identities, Network};

/// Bytes that the identity of a whole model hashes at the start, middle and end of each tensor. Training changes every
/// part of a tensor, so a large checkpoint need not be read whole.
const SAMPLE_BYTES: usize = 64;
/// Elements that the identity of a half hashes, at the same positions.
const SAMPLE_ELEMENTS: usize = 32;

/// 64-bit FNV-1a. Unlike the standard library's hasher it never changes.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// The network's weights must have been checked.
pub(super) fn identities(network: &Network, checkpoint: &Checkpoint) -> Identities {
    let half = |half| if network.has(half) { of_half(network, half, checkpoint) } else { 0 };
    Identities { model: whole(network, checkpoint), encoder: half(Half::Encoder), decoder: half(Half::Decoder) }
}

fn whole(network: &Network, checkpoint: &Checkpoint) -> u64 {
    let mut hash = Hash::new();
    hash.add(interpolation(network.interpolation).as_bytes());
    for half in [Half::Encoder, Half::Decoder].into_iter().filter(|half| network.has(*half)) {
        add_layout(&mut hash, network, half);
    }
    for Weight { key, .. } in sorted(network.weights()) {
        let size = checkpoint.stored_bytes(key);
        hash.add(key.as_bytes());
        hash.add(&(size as u64).to_le_bytes());
        for start in [0, size / 2, size.saturating_sub(SAMPLE_BYTES)] {
            hash.add(&checkpoint.stored(key, start..(start + SAMPLE_BYTES).min(size)));
        }
    }
    hash.0
}

/// Hashes float32 values, so that a copy of the model in a wider type has the same identity.
fn of_half(network: &Network, half: Half, checkpoint: &Checkpoint) -> u64 {
    let mut hash = Hash::new();
    match half {
        Half::Encoder => hash.add(b"encoder"),
        Half::Decoder => {
            hash.add(b"decoder ");
            hash.add(interpolation(network.interpolation).as_bytes());
        }
    }
    // Properties that the names and shapes of the weights do not determine.
    hash.add(&[network.generation as u8]);
    add_layout(&mut hash, network, half);
    for wavelet in network.wavelets(half) {
        hash.add(&wavelet.gain().to_le_bytes());
    }
    for norm in network.norms_of(half) {
        hash.add(match norm.scope {
            NormScope::Pixel => b"p",
            NormScope::FrameGroups => b"f",
            NormScope::ClipGroups => b"c",
        });
    }
    for Weight { key, shape } in sorted(network.weights_of(half)) {
        hash.add(key.as_bytes());
        for side in shape {
            hash.add(&(*side as u64).to_le_bytes());
        }
        let elements: usize = shape.iter().product();
        for start in [0, elements / 2, elements.saturating_sub(SAMPLE_ELEMENTS)] {
            let mut values = vec![0.0; SAMPLE_ELEMENTS.min(elements - start)];
            checkpoint.read_part(key, start, &mut values);
            values.iter().for_each(|value| hash.add(&value.to_le_bytes()));
        }
    }
    // 0 means that the half is missing.
    hash.0.max(1)
}

/// Some layers of CausalVAE have no weights, and others have the same.
fn add_layout(hash: &mut Hash, network: &Network, half: Half) {
    if network.generation == CAUSAL {
        hash.add(network.layout(half).as_bytes());
    }
}

fn sorted(mut weights: Vec<&Weight>) -> Vec<&Weight> {
    weights.sort_unstable_by_key(|weight| weight.key.as_str());
    weights
}

fn interpolation(interpolation: Interpolation) -> &'static str {
    match interpolation {
        Interpolation::Nearest => "nearest",
        Interpolation::Trilinear => "trilinear",
    }
}
