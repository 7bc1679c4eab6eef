//! The bytes of a snapshot. If the first byte is even, size and checksum are made right first.

use crate::allocations::bounded;
use crate::checks::check;
use wfvae::Snapshot;

/// Where the size is.
const SIZE: std::ops::Range<usize> = 16..24;

pub fn run(input: &[u8]) {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut bytes = rest.to_vec();
    let len = bytes.len();
    if mode % 2 == 0 && len > SIZE.end + 4 {
        bytes[SIZE].copy_from_slice(&(len as u64).to_ne_bytes());
        let checksum = crc32fast::hash(&bytes[..len - 4]);
        bytes[len - 4..].copy_from_slice(&checksum.to_ne_bytes());
    }
    match bounded(len, || Snapshot::from_bytes(&bytes)) {
        Ok(snapshot) => {
            let info = snapshot.info();
            assert!(snapshot.as_bytes() == bytes && info.bytes == len && (info.encode || info.decode));
            assert!(Snapshot::from_bytes(snapshot.as_bytes()).is_ok_and(|again| again.info() == info));
        }
        Err(error) => check(&error, len),
    }
}
