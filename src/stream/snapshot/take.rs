//! Streams that take snapshots, are restored to them, and fork.

use super::format::{CHECKSUM, HEADER, Header};
use super::state::{LiveState, SavedState, TENSORS, check_finite};
use super::value::{Snapshot, buffer};
use crate::engine::Progress;
use crate::error::{Result, fail};
use crate::float_mode::FloatMode;
use crate::graph::Port;
use crate::memory;
use crate::model::Half;
use crate::stream::alpha::AlphaTrack;
use crate::stream::direction::Direction;
use crate::stream::geometry::Geometry;
use crate::stream::stream::Stream;
use std::sync::Arc;

impl Stream {
    /// Saves the state of this stream, for [`restore`](Self::restore). Copies only frames that the rest of the clip needs: at
    /// most two thirds of the state bytes of [`info`](Self::info), and next to nothing at a clip's start and end.
    ///
    /// # Errors
    /// [`NeedsReset`](crate::ErrorKind::NeedsReset) after a failure, which leaves no valid state;
    /// [`NotFinite`](crate::ErrorKind::NotFinite) if the state holds a NaN or an infinity;
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory). Both leave the stream as it was.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let _mode = FloatMode::set_default();
        self.check_usable("so there is no whole state; reset the stream first")?;
        let mut header = self.header();
        let state = self.live_state(&header);
        let tensors = state.tensors()?;
        header.layout = state.layout();
        let alpha = self.alpha.as_ref().map(AlphaTrack::to_bytes).transpose()?;
        let alpha_size = alpha.as_ref().map_or(0, |alpha| alpha.len() as u64 + 8);
        let size = (HEADER + CHECKSUM) as u64 + state.bytes() + alpha_size;
        let mut bytes = buffer(size)?;
        header.write(size, &mut bytes);
        for tensor in tensors {
            let piece = tensor.read()?;
            check_finite(tensor.element(), &piece)?;
            bytes.extend_from_slice(&piece);
        }
        if let Some(alpha) = alpha {
            bytes.extend_from_slice(&alpha);
            bytes.extend_from_slice(&(alpha.len() as u64).to_ne_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_ne_bytes());
        Ok(Snapshot { bytes: Arc::new(bytes), header })
    }

    /// Restores the state of a snapshot, in both directions. Later output is bit-identical to what followed the snapshot. As
    /// with [`reset`](Self::reset), the current clip, any failure and any cancellation are forgotten. The step counters of
    /// [`info`](Self::info) go on; posterior, seed and scaling stay.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the snapshot is of another model, of other directions or laid
    /// out in another way, [`InvalidSize`](crate::ErrorKind::InvalidSize) if it is of another size,
    /// [`NotFinite`](crate::ErrorKind::NotFinite) if it holds a NaN or an infinity,
    /// [`Runtime`](crate::ErrorKind::Runtime) if the runtime refuses to clear a cancellation. The stream is as before then; after
    /// a failure to copy to a device it needs a reset.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let _mode = FloatMode::set_default();
        self.model.owner().check("stream")?;
        let sizes = self.check_fits(snapshot)?;
        let (tensors, _) = snapshot.parts()?;
        let state = SavedState::cut(tensors, sizes)?;
        let alpha = snapshot.alpha()?;
        self.recover()?;
        self.alpha = alpha;
        let resumed = self.resume(&snapshot.header, state);
        self.settle(resumed)
    }

    /// Makes a second stream of the same model and options in the same state. The two are independent afterwards. A
    /// cancellation that no call has seen yet stays with this stream.
    ///
    /// # Errors
    /// As for [`new`](Self::new); [`NeedsReset`](crate::ErrorKind::NeedsReset) after a failure.
    pub fn fork(&self) -> Result<Stream> {
        let _mode = FloatMode::set_default();
        self.check_usable("so there is no whole state; reset the stream first")?;
        let mut fork = Stream::new(&self.model, &self.options)?;
        let header = self.header();
        let state = self.live_state(&header);
        let tensors = state.tensors()?;
        let mut pieces = memory::with_room(tensors.len(), TENSORS)?;
        for tensor in tensors {
            pieces.push(tensor.read()?);
        }
        fork.alpha = self.alpha.as_ref().map(AlphaTrack::share).transpose()?;
        fork.resume(&header, SavedState::new(pieces))?;
        Ok(fork)
    }

    /// Of this moment, without the layout.
    fn header(&self) -> Header {
        let Geometry { width, height, padded, .. } = self.geometry;
        Header {
            identity: self.model.network().identities.model,
            size: [width, height].map(|n| n as u64),
            padded: [padded.width, padded.height].map(|n| n as u64),
            encoder: self.encoder.as_ref().map(Direction::progress),
            decoder: self.decoder.as_ref().map(Direction::progress),
            frame_limit: self.frame_limit,
            layout: 0,
            alpha: self.options.alpha,
        }
    }

    /// What this stream would have to keep where `header` is.
    fn live_state(&self, header: &Header) -> LiveState<'_> {
        let mut state = LiveState::default();
        let mut add = |step: &str, port: &Port, tensor| state.add(step, port, tensor);
        if let (Some(encoder), Some(at)) = (&self.encoder, header.encoder) {
            encoder.kept(at, &mut add);
        }
        if let (Some(decoder), Some(at)) = (&self.decoder, header.decoder) {
            decoder.kept(at, &mut add);
        }
        state
    }

    fn resume(&mut self, header: &Header, mut state: SavedState<'_>) -> Result<()> {
        if let (Some(encoder), Some(at)) = (&mut self.encoder, header.encoder) {
            encoder.resume(at, &mut |tensor| state.give(tensor));
        }
        if let (Some(decoder), Some(at)) = (&mut self.decoder, header.decoder) {
            decoder.resume(at, &mut |tensor| state.give(tensor));
        }
        self.frame_limit = header.frame_limit;
        state.finish()
    }

    /// The sizes of the snapshot's tensors, if they are this stream's.
    fn check_fits(&self, snapshot: &Snapshot) -> Result<Vec<u64>> {
        let (theirs, ours) = (&snapshot.header, self.header());
        if theirs.identity != ours.identity {
            let (found, expected) = (theirs.identity, ours.identity);
            fail!(InvalidArgument, "the snapshot is of model {found:016x}, this stream runs model {expected:016x}");
        }
        if (theirs.size, theirs.padded) != (ours.size, ours.padded) {
            let text = |header: &Header| {
                let ([w, h], [padded_w, padded_h]) = (header.size, header.padded);
                format!("{w}x{h} (padded to {padded_w}x{padded_h})")
            };
            fail!(InvalidSize, "the snapshot is of a stream of {}, this one is of {}", text(theirs), text(&ours));
        }
        if theirs.directions() != ours.directions() {
            let (found, expected) = (theirs.directions(), ours.directions());
            fail!(InvalidArgument, "the snapshot is of a stream that {found}, this one {expected}");
        }
        if theirs.alpha != ours.alpha {
            let carries = |alpha: bool| if alpha { "carries alpha" } else { "carries no alpha" };
            let (found, expected) = (carries(theirs.alpha), carries(ours.alpha));
            fail!(InvalidArgument, "the snapshot is of a stream that {found}, this one {expected}");
        }
        let halfway = |part: Option<Progress>| part.is_some_and(|at| at.count > 0 && !at.ended);
        let parts = [(Half::Encoder, theirs.encoder), (Half::Decoder, theirs.decoder)];
        if parts.into_iter().any(|(half, part)| halfway(part) && self.takes_whole_clips(half)) {
            fail!(InvalidArgument, "the snapshot is of the middle of a clip, this stream takes whole clips");
        }
        let state = self.live_state(theirs);
        let tensors = state.tensors()?;
        let (payload, _) = snapshot.parts()?;
        let (found, expected) = (payload.len() as u64, state.bytes());
        if theirs.layout != state.layout() || found != expected {
            fail!(
                InvalidArgument,
                "the snapshot holds {found} bytes in layout {:08x}, this stream keeps {expected} in {:08x}: it is of other \
                 tiles, of another cache_type, precision, convolution or layout, or of another version or build of libwfvae",
                theirs.layout,
                state.layout()
            );
        }
        let mut left = payload;
        for tensor in tensors {
            let (piece, rest) = left.split_at(tensor.bytes() as usize);
            check_finite(tensor.element(), piece).map_err(|e| e.prefixed("snapshot"))?;
            left = rest;
        }
        memory::list(tensors.iter().map(|tensor| tensor.bytes()), TENSORS)
    }
}
