//! The [`Snapshot`] that callers hold: bytes, and what they say.

use super::format::{CHECKSUM, HEADER, Header};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::platform;
use crate::stream::alpha::AlphaTrack;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

/// For so few bytes the system is not asked how much memory it has: that reads some ten files, and takes longer than the copy.
const SMALL: u64 = 1 << 20;

/// A stream's state at one point of its clip, made by [`Stream::snapshot`](crate::Stream::snapshot): causal caches, waiting
/// frames, counters, the frame count and carried alpha. It fits streams of the same model, cache type, size, directions,
/// tiles and alpha, in this process or, through [`as_bytes`](Self::as_bytes), in another. At a clip's start and after its
/// flushes, tiles and cache type may differ.
///
/// Posterior, seed and scaling are the stream's, not the snapshot's: a stream that is restored keeps its own.
///
/// Thread-safety: safe; it never changes.
#[derive(Clone)]
pub struct Snapshot {
    /// Shared by clones, which cannot be refused memory.
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) header: Header,
}

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// [`ModelInfo::identity`](crate::ModelInfo::identity) of the model.
    pub identity: u64,
    /// Of the frames, in pixels.
    pub width: usize,
    /// Of the frames, in pixels.
    pub height: usize,
    /// Whether the stream encodes.
    pub encode: bool,
    /// Whether the stream decodes.
    pub decode: bool,
    /// Frames encoded since the start of the clip.
    pub frames_in: u64,
    /// Latents decoded since the start of the clip.
    pub latents_in: u64,
    /// The encoder was flushed.
    pub encode_flushed: bool,
    /// The decoder was flushed.
    pub decode_flushed: bool,
    /// As given to [`Stream::set_frame_count`](crate::Stream::set_frame_count).
    pub frame_count: Option<u64>,
    /// Length of the snapshot as bytes.
    pub bytes: usize,
}

impl Snapshot {
    /// The snapshot as bytes, for [`from_bytes`](Self::from_bytes) in any process on a machine of the same byte order. A
    /// checksum protects against damage, not against forgery: a forged snapshot gives wrong pictures, nothing worse.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes [`as_bytes`](Self::as_bytes).
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io).
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        out.write_all(&self.bytes)
            .map_err(|e| Error::new(ErrorKind::Io, format!("writing a snapshot: {e}")).caused_by(e))
    }

    /// Reads a snapshot from bytes and checks them. Whether it fits a stream is checked when it is restored.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the bytes are not a snapshot, are damaged or incomplete, or are of
    /// another version or byte order; [`OutOfMemory`](ErrorKind::OutOfMemory).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let header = Header::read(bytes).map_err(|e| e.prefixed("snapshot"))?;
        let mut copy = buffer(bytes.len() as u64)?;
        copy.extend_from_slice(bytes);
        let snapshot = Snapshot { bytes: Arc::new(copy), header };
        snapshot.alpha()?;
        Ok(snapshot)
    }

    /// What the snapshot holds.
    pub fn info(&self) -> SnapshotInfo {
        let header = &self.header;
        let (encoder, decoder) = (header.encoder.unwrap_or_default(), header.decoder.unwrap_or_default());
        SnapshotInfo {
            identity: header.identity,
            width: header.size[0] as usize,
            height: header.size[1] as usize,
            encode: header.encoder.is_some(),
            decode: header.decoder.is_some(),
            frames_in: encoder.count,
            latents_in: decoder.count,
            encode_flushed: encoder.ended,
            decode_flushed: decoder.ended,
            frame_count: header.frame_limit,
            bytes: self.bytes.len(),
        }
    }

    /// The alpha that the stream carries.
    pub(super) fn alpha(&self) -> Result<Option<AlphaTrack>> {
        if !self.header.alpha {
            return Ok(None);
        }
        let (_, bytes) = self.parts()?;
        let frames = self.header.encoder.unwrap_or_default().count;
        let track = AlphaTrack::from_bytes(bytes, frames, self.header.size.map(|side| side as usize));
        Ok(Some(track.map_err(|e| e.prefixed("snapshot"))?))
    }

    /// The tensors, and the alpha that follows them.
    pub(super) fn parts(&self) -> Result<(&[u8], &[u8])> {
        let payload = &self.bytes[HEADER..self.bytes.len() - CHECKSUM];
        if !self.header.alpha {
            return Ok((payload, &[]));
        }
        let parts = payload.split_last_chunk().and_then(|(parts, len)| {
            let len = usize::try_from(u64::from_ne_bytes(*len)).ok()?;
            parts.split_at_checked(parts.len().checked_sub(len)?)
        });
        parts.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "snapshot: its alpha is cut or damaged"))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Snapshot").field(&self.info()).finish()
    }
}

/// Room for a snapshot. Without the check the system would promise memory that it lacks, and later kill the process.
pub(super) fn buffer(size: u64) -> Result<Vec<u8>> {
    let mut buffer = vec![];
    let available = || platform::available_memory().unwrap_or(u64::MAX);
    if (size > SMALL && size > available()) || buffer.try_reserve_exact(size as usize).is_err() {
        let available = available();
        fail!(OutOfMemory, "a snapshot of {size} bytes: cannot allocate, {available} bytes are available");
    }
    Ok(buffer)
}
