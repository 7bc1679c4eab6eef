//! A stream's state at one point of its clip, in memory and as bytes; forks.
//!
//! All counters of a stream follow from how many frames and latents came in and whether the clip ended, so these are
//! all that is saved of them: bytes cannot hold counters that contradict each other. Of the tensors only those are saved
//! that the rest of the clip reads, oldest first, wherever they lie in their rings.

use super::counting::check_count;
use super::tiles::Tiles;
use super::{MAX_SIDE, Stream};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::finite::{bf16_bytes_not_finite, f16_bytes_not_finite, f32_bytes_not_finite};
use crate::float_mode::FloatMode;
use crate::graph::{Element, Layout, Port};
use crate::memory;
use crate::runtime::Tensor;
use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

/// How far a clip is in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// Frames or latents that came in.
    pub(super) count: u64,
    /// The clip was flushed.
    pub(super) ended: bool,
}

/// Collects the tensors that the rest of a clip reads.
#[derive(Default)]
pub(super) struct LiveState<'a> {
    tensors: Vec<&'a Tensor>,
    layout: crc32fast::Hasher,
    /// Which part of the frame the next tensors are of; empty for all of it.
    part: String,
    /// The first tensor that the list had no memory for.
    failure: Option<Error>,
}

impl<'a> LiveState<'a> {
    /// A tensor of `port` of the step or stage `of`.
    pub(super) fn add(&mut self, of: &str, port: &Port, tensor: &'a Tensor) {
        let (layout, element) = (layout_name(port.layout), element_name(port.element));
        let line = format!("{}{of}.{} {layout} {element} {}\n", self.part, port.name, tensor.bytes());
        self.layout.update(line.as_bytes());
        if let Err(e) = memory::push(&mut self.tensors, tensor) {
            self.failure.get_or_insert(e);
        }
    }

    /// What comes next is of tile `i`: other tiles of the same size in bytes hold other parts of the frame.
    pub(super) fn tile(&mut self, tiles: &Tiles, i: usize) {
        let (held, _) = tiles.tile(i, 1);
        self.part = match tiles.count() {
            1 => String::new(),
            _ => format!("{}x{} at {},{} ", held.width, held.height, held.x, held.y),
        };
    }

    /// A number for the names, sizes and order of all tensors.
    fn layout(&self) -> u64 {
        self.layout.clone().finalize().into()
    }

    fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes()).sum()
    }
}

/// As docs/formats.md has it; stored snapshots depend on these, so they never change.
fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Frame => "Frame",
        Layout::Pixels => "Pixels",
        Layout::Clip => "Clip",
        Layout::Numbers => "Numbers",
        Layout::Any => "Any",
    }
}

/// Likewise.
fn element_name(element: Element) -> &'static str {
    match element {
        Element::F32 => "F32",
        Element::F16 => "F16",
        Element::Bf16 => "Bf16",
        Element::U8 => "U8",
        Element::I64 => "I64",
    }
}

/// Fails where a stream's state holds a NaN or an infinity.
fn check_finite(element: Element, bytes: &[u8]) -> Result<()> {
    let found = match element {
        Element::F32 => f32_bytes_not_finite(bytes),
        Element::F16 => f16_bytes_not_finite(bytes),
        Element::Bf16 => bf16_bytes_not_finite(bytes),
        Element::U8 | Element::I64 => false,
    };
    if found {
        fail!(NotFinite, "the state of the stream holds a NaN or an infinity, so nothing that follows it can be right");
    }
    Ok(())
}

/// Gives tensors what a [`LiveState`] collected, in the same order.
pub(super) struct SavedState<'a> {
    pieces: std::vec::IntoIter<Cow<'a, [u8]>>,
    /// The first failure of a device to take its piece.
    failure: Option<Error>,
}

impl<'a> SavedState<'a> {
    /// Cuts `bytes`, which are checked to be as long as all of `sizes`.
    fn cut(mut bytes: &'a [u8], sizes: Vec<u64>) -> Result<Self> {
        let piece = |size: u64| {
            let (piece, rest) = bytes.split_at(size as usize);
            bytes = rest;
            Cow::Borrowed(piece)
        };
        Ok(SavedState::new(memory::list(sizes.into_iter().map(piece), TENSORS)?))
    }

    fn new(pieces: Vec<Cow<'a, [u8]>>) -> Self {
        SavedState { pieces: pieces.into_iter(), failure: None }
    }

    pub(super) fn give(&mut self, tensor: &mut Tensor) {
        let bytes = self.pieces.next().expect("as many tensors as were collected");
        if let Err(e) = tensor.write(&bytes) {
            self.failure.get_or_insert(e);
        }
    }
}

/// Lists of them are as long as there are tiles and layers.
const TENSORS: &str = "a list of a stream's tensors";

/// The first bytes of a snapshot.
const MAGIC: [u8; 8] = *b"WFVAESNP";
/// In the order of the machine that wrote it, as all numbers are.
const BYTE_ORDER: u32 = 0x0102_0304;
/// Grows when the meaning of any byte changes.
const VERSION: u32 = 1;
/// Magic, byte order and version, and eleven numbers.
const HEADER: usize = 16 + 11 * 8;
/// At the end: CRC-32 of all bytes before it.
const CHECKSUM: usize = 4;

const ENCODES: u64 = 1;
const DECODES: u64 = 2;
const ENCODER_ENDED: u64 = 4;
const DECODER_ENDED: u64 = 8;

/// What the header says of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    identity: u64,
    /// Width and height of the frames.
    size: [u64; 2],
    /// The same with padding.
    padded: [u64; 2],
    /// For each direction that the stream has.
    encoder: Option<Progress>,
    decoder: Option<Progress>,
    frame_limit: Option<u64>,
    layout: u64,
}

/// A stream's state at one point of its clip, made by [`Stream::snapshot`]: causal caches, waiting frames, counters and
/// the frame count. Any stream of the same model, cache type, size, directions and tiles can be restored to it, in this
/// process or, through [`as_bytes`](Self::as_bytes), in another; at a clip's start and after its flushes one of other
/// tiles or another cache type too.
///
/// Posterior, seed and scaling are the stream's, not the snapshot's: a stream that is restored keeps its own.
///
/// Thread-safety: safe; it never changes.
#[derive(Clone)]
pub struct Snapshot {
    /// Shared by clones, which cannot be refused memory.
    bytes: Arc<Vec<u8>>,
    header: Header,
}

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// [`ModelInfo::identity`](super::ModelInfo::identity) of the model.
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
    /// As given to [`Stream::set_frame_count`].
    pub frame_count: Option<u64>,
    /// Length of the snapshot as bytes.
    pub bytes: usize,
}

impl Snapshot {
    /// The snapshot as bytes, for [`from_bytes`](Self::from_bytes) in this or another process on a machine of the same
    /// byte order. They are checked against damage, not against malice: a forged snapshot gives wrong pictures, nothing
    /// worse.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes [`as_bytes`](Self::as_bytes).
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io).
    pub fn write(&self, out: &mut impl Write) -> Result<()> {
        out.write_all(&self.bytes).map_err(|e| Error::new(ErrorKind::Io, format!("writing a snapshot: {e}")))
    }

    /// A snapshot from its bytes, all of which are checked. Whether it fits a stream is checked when it is restored.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the bytes are no snapshot, damaged, incomplete, or of another
    /// version or byte order; [`OutOfMemory`](ErrorKind::OutOfMemory).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let header = Header::read(bytes).map_err(|e| e.prefixed("snapshot"))?;
        let mut copy = buffer(bytes.len() as u64)?;
        copy.extend_from_slice(bytes);
        Ok(Snapshot { bytes: Arc::new(copy), header })
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

    fn payload(&self) -> &[u8] {
        &self.bytes[HEADER..self.bytes.len() - CHECKSUM]
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Snapshot").field(&self.info()).finish()
    }
}

impl Stream {
    /// The state of this stream, to come back to. Only frames that the rest of the clip needs are copied: at most two thirds of
    /// the state bytes of [`info`](Self::info), next to nothing at a clip's start and end.
    ///
    /// # Errors
    /// [`NeedsReset`](ErrorKind::NeedsReset) after a failure, which leaves nothing worth coming back to;
    /// [`NotFinite`](ErrorKind::NotFinite) if the state holds a NaN or an infinity, which the next result will show too;
    /// [`OutOfMemory`](ErrorKind::OutOfMemory). Both leave the stream as it was.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let _mode = FloatMode::set_default();
        self.check_whole()?;
        let mut header = self.header();
        let state = self.live_state(&header)?;
        header.layout = state.layout();
        let size = (HEADER + CHECKSUM) as u64 + state.bytes();
        let mut bytes = buffer(size)?;
        header.write(size, &mut bytes);
        for tensor in &state.tensors {
            let piece = tensor.read()?;
            check_finite(tensor.element(), &piece)?;
            bytes.extend_from_slice(&piece);
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_ne_bytes());
        Ok(Snapshot { bytes: Arc::new(bytes), header })
    }

    /// Goes to where the snapshot was taken, in both directions: what follows is what followed there, to the bit. The
    /// clip that the stream was in is forgotten, and as with [`reset`](Self::reset) so are any failure and any
    /// cancellation. The step counters of [`info`](Self::info) go on; posterior, seed and scaling stay.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the snapshot is of another model, of other directions or laid
    /// out in another way, [`InvalidSize`](ErrorKind::InvalidSize) if it is of another size,
    /// [`NotFinite`](ErrorKind::NotFinite) if it holds a NaN or an infinity,
    /// [`Runtime`](ErrorKind::Runtime) if the runtime refuses to clear a cancellation. The stream is as before then; after
    /// a failure to copy to a device it needs a reset.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        let _mode = FloatMode::set_default();
        self.model.owner().check("stream")?;
        let sizes = self.check_fits(snapshot)?;
        let state = SavedState::cut(snapshot.payload(), sizes)?;
        self.canceller.clear()?;
        self.failure = None;
        let loaded = self.load(&snapshot.header, state);
        self.settle(loaded)
    }

    /// A second stream of the same model and options, which is where this one is. They do not disturb each other
    /// afterwards. A cancellation that no call has seen yet stays with this one.
    ///
    /// # Errors
    /// As for [`new`](Self::new); [`NeedsReset`](ErrorKind::NeedsReset) after a failure.
    pub fn fork(&self) -> Result<Stream> {
        let _mode = FloatMode::set_default();
        self.check_whole()?;
        let mut fork = Stream::new(&self.model, &self.options)?;
        let header = self.header();
        let state = self.live_state(&header)?;
        let mut pieces = memory::with_room(state.tensors.len(), TENSORS)?;
        for tensor in state.tensors {
            pieces.push(tensor.read()?);
        }
        fork.load(&header, SavedState::new(pieces))?;
        Ok(fork)
    }

    fn check_whole(&self) -> Result<()> {
        self.model.owner().check("stream")?;
        if let Some(failure) = &self.failure {
            fail!(NeedsReset, "an earlier call failed, so there is no whole state; reset the stream first: {failure}");
        }
        Ok(())
    }

    /// Of this moment, but for the layout.
    fn header(&self) -> Header {
        let geometry = &self.geometry;
        Header {
            identity: self.model.network().identities.model,
            size: [geometry.width, geometry.height].map(|n| n as u64),
            padded: [geometry.padded_width, geometry.padded_height].map(|n| n as u64),
            encoder: self.encoder.as_ref().map(|encoder| encoder.progress()),
            decoder: self.decoder.as_ref().map(|decoder| decoder.progress()),
            frame_limit: self.frame_limit,
            layout: 0,
        }
    }

    /// What this stream would have to keep where `header` is.
    fn live_state(&self, header: &Header) -> Result<LiveState<'_>> {
        let counting = self.model.counting();
        let mut state = LiveState::default();
        if let (Some(encoder), Some(at)) = (&self.encoder, header.encoder) {
            encoder.save(at, counting, &mut state);
        }
        if let (Some(decoder), Some(at)) = (&self.decoder, header.decoder) {
            decoder.save(at, counting, &mut state);
        }
        state.failure.take().map_or(Ok(state), Err)
    }

    fn load(&mut self, header: &Header, mut state: SavedState<'_>) -> Result<()> {
        let counting = self.model.counting();
        if let (Some(encoder), Some(at)) = (&mut self.encoder, header.encoder) {
            encoder.load(at, counting, &mut state);
        }
        if let (Some(decoder), Some(at)) = (&mut self.decoder, header.decoder) {
            decoder.load(at, counting, &mut state);
        }
        self.frame_limit = header.frame_limit;
        state.failure.map_or(Ok(()), Err)
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
        let halfway = |part: Option<Progress>| part.is_some_and(|at| at.count > 0 && !at.ended);
        if self.at_once.is_some() && (halfway(theirs.encoder) || halfway(theirs.decoder)) {
            fail!(InvalidArgument, "the snapshot is of the middle of a clip, this stream takes whole clips");
        }
        let state = self.live_state(theirs)?;
        let (found, expected) = (snapshot.payload().len() as u64, state.bytes());
        if theirs.layout != state.layout() || found != expected {
            fail!(
                InvalidArgument,
                "the snapshot holds {found} bytes in layout {:08x}, this stream keeps {expected} in {:08x}: it is of other \
                 tiles, of another cache_type, precision, convolution or layout, or of another version of libwfvae",
                theirs.layout,
                state.layout()
            );
        }
        let mut left = snapshot.payload();
        for tensor in &state.tensors {
            let (piece, rest) = left.split_at(tensor.bytes() as usize);
            check_finite(tensor.element(), piece).map_err(|e| e.prefixed("snapshot"))?;
            left = rest;
        }
        memory::list(state.tensors.iter().map(|tensor| tensor.bytes()), TENSORS)
    }
}

impl Header {
    fn directions(&self) -> &'static str {
        match (self.encoder, self.decoder) {
            (Some(_), Some(_)) => "encodes and decodes",
            (Some(_), None) => "only encodes",
            (None, _) => "only decodes",
        }
    }

    fn write(&self, size: u64, out: &mut Vec<u8>) {
        let has = |part: Option<Progress>, flag| if part.is_some() { flag } else { 0 };
        let ended = |part: Option<Progress>, flag| if part.is_some_and(|part| part.ended) { flag } else { 0 };
        let flags = has(self.encoder, ENCODES) | has(self.decoder, DECODES);
        let flags = flags | ended(self.encoder, ENCODER_ENDED) | ended(self.decoder, DECODER_ENDED);
        let numbers: [u64; 11] = [
            size,
            self.identity,
            self.size[0],
            self.size[1],
            self.padded[0],
            self.padded[1],
            flags,
            self.encoder.unwrap_or_default().count,
            self.decoder.unwrap_or_default().count,
            self.frame_limit.unwrap_or(u64::MAX),
            self.layout,
        ];
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&BYTE_ORDER.to_ne_bytes());
        out.extend_from_slice(&VERSION.to_ne_bytes());
        numbers.iter().for_each(|number| out.extend_from_slice(&number.to_ne_bytes()));
    }

    /// Reads the header of a whole snapshot, and checks all that can be checked without a stream.
    fn read(bytes: &[u8]) -> Result<Self> {
        let least = HEADER + CHECKSUM;
        if bytes.len() < least {
            fail!(InvalidArgument, "found {} bytes, expected at least {least}", bytes.len());
        }
        if bytes[..8] != MAGIC {
            let found = bytes[..8].escape_ascii();
            fail!(InvalidArgument, "not a snapshot: begins with \"{found}\", expected \"{}\"", MAGIC.escape_ascii());
        }
        let order = u32_at(bytes, 8);
        if order == BYTE_ORDER.swap_bytes() {
            fail!(InvalidArgument, "made on a machine of another byte order");
        }
        if order != BYTE_ORDER {
            fail!(InvalidArgument, "byte order {order:08x}, expected {BYTE_ORDER:08x}: damaged");
        }
        let version = u32_at(bytes, 12);
        if version != VERSION {
            fail!(InvalidArgument, "format version {version}, this libwfvae reads {VERSION}");
        }
        let numbers: [u64; 11] = std::array::from_fn(|i| u64_at(bytes, 16 + 8 * i));
        let [size, identity, width, height, padded_width, padded_height, flags, frames_in, latents_in, limit, layout] =
            numbers;
        if size != bytes.len() as u64 {
            fail!(InvalidArgument, "found {} bytes, expected {size}: cut or damaged", bytes.len());
        }
        let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
        let (found, expected) = (u32_at(checksum, 0), crc32fast::hash(content));
        if found != expected {
            fail!(InvalidArgument, "checksum {found:08x}, expected {expected:08x}: damaged");
        }

        // What follows can only be wrong if the checksum was made for it.
        if [width, height, padded_width, padded_height].iter().any(|n| !(1..=MAX_SIDE as u64).contains(n)) {
            fail!(InvalidArgument, "size {width}x{height} in {padded_width}x{padded_height}, expected 1 to {MAX_SIDE}");
        }
        if flags & (ENCODES | DECODES) == 0 || flags > 15 {
            fail!(InvalidArgument, "flags {flags:x}, expected 1 to f with a direction");
        }
        let part = |has: u64, ended: u64, what: &str, count: u64| {
            check_count(what, count)?;
            let progress = Progress { count, ended: flags & ended != 0 };
            match flags & has != 0 {
                true => Ok(Some(progress)),
                false if progress == Progress::default() => Ok(None),
                false => fail!(InvalidArgument, "{count} {what} in a direction that the stream lacks"),
            }
        };
        Ok(Header {
            identity,
            size: [width, height],
            padded: [padded_width, padded_height],
            encoder: part(ENCODES, ENCODER_ENDED, "frames", frames_in)?,
            decoder: part(DECODES, DECODER_ENDED, "latents", latents_in)?,
            frame_limit: (limit != u64::MAX).then_some(limit),
            layout,
        })
    }
}

fn u32_at(bytes: &[u8], place: usize) -> u32 {
    u32::from_ne_bytes(bytes[place..place + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], place: usize) -> u64 {
    u64::from_ne_bytes(bytes[place..place + 8].try_into().expect("eight bytes"))
}

/// Room for a snapshot. Memory that is not there would be promised all the same, and the process killed.
fn buffer(size: u64) -> Result<Vec<u8>> {
    let mut buffer = vec![];
    let available = memory::available().unwrap_or(u64::MAX);
    if size > available || buffer.try_reserve_exact(size as usize).is_err() {
        fail!(OutOfMemory, "a snapshot of {size} bytes: cannot allocate, {available} bytes are available");
    }
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_every_type_are_looked_at() {
        let cases = [
            (Element::F32, f32::NAN.to_ne_bytes().to_vec(), f32::MAX.to_ne_bytes().to_vec()),
            (Element::F16, half::f16::INFINITY.to_ne_bytes().to_vec(), half::f16::MAX.to_ne_bytes().to_vec()),
            (Element::Bf16, half::bf16::INFINITY.to_ne_bytes().to_vec(), half::bf16::MAX.to_ne_bytes().to_vec()),
        ];
        for (element, bad, fine) in cases {
            check_finite(element, &[fine.clone(), fine.clone()].concat()).unwrap();
            assert!(check_finite(element, &[fine, bad].concat()).is_err_and(|e| e.kind() == ErrorKind::NotFinite));
        }
        check_finite(Element::U8, &[255; 8]).unwrap();
        check_finite(Element::I64, &[255; 8]).unwrap();
    }
}
