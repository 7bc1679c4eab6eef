//! The bytes of a snapshot: a header, the tensors, a checksum.

use crate::engine::{Progress, check_count};
use crate::error::{Result, fail};
use crate::stream::geometry::MAX_SIDE;

/// The first bytes of a snapshot.
const MAGIC: [u8; 8] = *b"WFVAESNP";
/// In the byte order of the machine that wrote it, as all integers are.
const BYTE_ORDER: u32 = 0x0102_0304;
/// Grows when the meaning of any byte changes.
const VERSION: u32 = 1;
/// Magic, byte order, version and eleven fields.
pub(super) const HEADER: usize = 16 + 11 * 8;
/// At the end: CRC-32 of all bytes before it.
pub(super) const CHECKSUM: usize = 4;

const ENCODES: u64 = 1;
const DECODES: u64 = 2;
const ENCODER_ENDED: u64 = 4;
const DECODER_ENDED: u64 = 8;
const ALPHA: u64 = 16;

/// What the header says of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: u64,
    /// Width and height of the frames.
    pub(super) size: [u64; 2],
    /// The same with padding.
    pub(super) padded: [u64; 2],
    /// For each direction that the stream has.
    pub(super) encoder: Option<Progress>,
    pub(super) decoder: Option<Progress>,
    pub(super) frame_limit: Option<u64>,
    pub(super) layout: u64,
    /// Whether the stream carries alpha. It follows the tensors, with its length behind it.
    pub(super) alpha: bool,
}

impl Header {
    pub(super) fn directions(&self) -> &'static str {
        match (self.encoder, self.decoder) {
            (Some(_), Some(_)) => "encodes and decodes",
            (Some(_), None) => "only encodes",
            (None, _) => "only decodes",
        }
    }

    pub(super) fn write(&self, size: u64, out: &mut Vec<u8>) {
        let has = |part: Option<Progress>, flag| if part.is_some() { flag } else { 0 };
        let ended = |part: Option<Progress>, flag| if part.is_some_and(|part| part.ended) { flag } else { 0 };
        let flags = has(self.encoder, ENCODES) | has(self.decoder, DECODES);
        let flags = flags | if self.alpha { ALPHA } else { 0 };
        let flags = flags | ended(self.encoder, ENCODER_ENDED) | ended(self.decoder, DECODER_ENDED);
        let fields: [u64; 11] = [
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
        fields.iter().for_each(|field| out.extend_from_slice(&field.to_ne_bytes()));
    }

    /// Reads the header of a whole snapshot, and checks all that can be checked without a stream.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
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
        let fields: [u64; 11] = std::array::from_fn(|i| u64_at(bytes, 16 + 8 * i));
        let [size, identity, width, height, padded_width, padded_height, flags, frames_in, latents_in, limit, layout] =
            fields;
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
        if flags & (ENCODES | DECODES) == 0 || flags > 31 {
            fail!(InvalidArgument, "flags {flags:x}, expected 1 to 1f with a direction");
        }
        if flags & ALPHA != 0 && flags & (ENCODES | DECODES) != ENCODES | DECODES {
            fail!(InvalidArgument, "flags {flags:x}: alpha needs both directions");
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
            alpha: flags & ALPHA != 0,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
