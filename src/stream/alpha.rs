//! The alpha of frames that were encoded and not yet decoded.

use crate::error::{Result, fail};
use crate::media::{Alpha, Image};
use crate::memory;

const PLANES: &str = "the alpha of frames that are not decoded yet";

/// Alpha by the frames' index in the clip.
#[derive(Default)]
pub(super) struct AlphaTrack {
    /// Index of the first plane.
    first: u64,
    /// `None` for a frame without alpha.
    planes: Vec<Option<Alpha>>,
}

impl AlphaTrack {
    /// The alpha of frames that are about to be encoded.
    pub(super) fn of(frames: &[Image<'_>]) -> Result<Vec<Option<Alpha>>> {
        let mut planes = memory::with_room(frames.len(), PLANES)?;
        for (i, frame) in frames.iter().enumerate() {
            planes.push(frame.alpha().map_err(|e| e.prefixed(&format!("frame {i} of the call")))?);
        }
        Ok(planes)
    }

    /// Makes room for that many more.
    pub(super) fn reserve(&mut self, count: usize) -> Result<()> {
        match self.planes.try_reserve(count) {
            Ok(()) => Ok(()),
            Err(_) => fail!(OutOfMemory, "{PLANES}: cannot allocate"),
        }
    }

    /// Appends planes for which there is room.
    pub(super) fn append(&mut self, planes: Vec<Option<Alpha>>) {
        self.planes.extend(planes);
    }

    /// Of an output frame. One that only completes the clip's last group has that of the last frame.
    pub(super) fn get(&self, index: u64, clip_ended: bool) -> Option<&Alpha> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        match self.planes.get(at) {
            Some(plane) => plane.as_ref(),
            None if clip_ended => self.planes.last()?.as_ref(),
            None => None,
        }
    }

    /// Forgets the frames before that index, except for the newest, which `get` may repeat.
    pub(super) fn drop_before(&mut self, index: u64) {
        let most = self.planes.len().saturating_sub(1);
        let count = usize::try_from(index.saturating_sub(self.first)).map_or(most, |count| count.min(most));
        self.planes.drain(..count);
        self.first += count as u64;
    }

    /// A copy that shares the planes.
    pub(super) fn share(&self) -> Result<Self> {
        Ok(AlphaTrack { first: self.first, planes: memory::list(self.planes.iter().cloned(), PLANES)? })
    }

    /// For a snapshot: the first index, then each plane after its length, which is 0 for a frame without alpha.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut out = memory::list(self.first.to_ne_bytes().into_iter(), PLANES)?;
        for plane in &self.planes {
            let plane = plane.as_ref().map(Alpha::to_bytes).transpose()?.unwrap_or_default();
            if out.try_reserve_exact(8 + plane.len()).is_err() {
                fail!(OutOfMemory, "{PLANES}: cannot allocate");
            }
            out.extend_from_slice(&(plane.len() as u64).to_ne_bytes());
            out.extend_from_slice(&plane);
        }
        Ok(out)
    }

    /// Reads what `to_bytes` wrote, of a stream that has encoded `frames` frames of that size.
    pub(super) fn from_bytes(mut bytes: &[u8], frames: u64, [width, height]: [usize; 2]) -> Result<Self> {
        let first = take_u64(&mut bytes)?;
        let mut planes = vec![];
        while !bytes.is_empty() {
            let len = take_u64(&mut bytes)?;
            let plane = match take(&mut bytes, len)? {
                [] => None,
                plane => Some(Alpha::from_bytes(plane, width, height)?),
            };
            memory::push(&mut planes, plane)?;
        }
        // The newest is always kept.
        let count = planes.len() as u64;
        if first.checked_add(count) != Some(frames) || (frames > 0 && count == 0) {
            fail!(InvalidArgument, "alpha of {count} frames from frame {first} on, expected that up to frame {frames}");
        }
        Ok(AlphaTrack { first, planes })
    }
}

fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Result<&'a [u8]> {
    let split = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len));
    let Some((taken, rest)) = split else { fail!(InvalidArgument, "alpha: cut or damaged") };
    *bytes = rest;
    Ok(taken)
}

fn take_u64(bytes: &mut &[u8]) -> Result<u64> {
    Ok(u64::from_ne_bytes(take(bytes, 8)?.try_into().expect("eight bytes")))
}
