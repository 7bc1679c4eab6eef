//! The calls of a stream that encode and decode. A call is checked first, which says how much it will write, then it runs.

use super::options::StreamOptions;
use super::plan::Plan;
use super::stream::Stream;
use crate::error::{Result, fail};
use crate::float_mode::FloatMode;
use crate::media::{Image, ImageMut, Latents, LatentsMut, Rect};
use std::ops::Range;

/// A call that was checked: the stream is ready for it.
pub(crate) struct EncodeCall<'a> {
    stream: &'a mut Stream,
    flush: bool,
    /// The clip's latents that it writes.
    latents: Range<u64>,
}

/// A call that was checked: the stream is ready for it.
pub(crate) struct DecodeCall<'a> {
    stream: &'a mut Stream,
    flush: bool,
    /// The clip's frames that it writes.
    frames: Range<u64>,
}

impl Stream {
    /// Encodes frames. Writes the latents that they complete, `[n, C, h, w]`, and returns how many.
    ///
    /// # Errors
    /// [`Capacity`](crate::ErrorKind::Capacity), [`InvalidSize`](crate::ErrorKind::InvalidSize),
    /// [`InvalidState`](crate::ErrorKind::InvalidState), and [`NotFinite`](crate::ErrorKind::NotFinite) for an input that holds
    /// a NaN or an infinity: nothing was consumed. After `NotFinite` for a result, [`Runtime`](crate::ErrorKind::Runtime) or
    /// [`Cancelled`](crate::ErrorKind::Cancelled) the stream needs a reset. After
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) it may need one: [`info`](Self::info) tells.
    pub fn encode(&mut self, frames: &[Image<'_>], latents: LatentsMut<'_>) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.begin_encode(Some(frames.len()))?.run(frames, latents)
    }

    /// Ends the clip. Writes the latent of an incomplete last group, whose missing frames repeat the last one.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_flush(&mut self, latents: LatentsMut<'_>) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.begin_encode(None)?.run(&[], latents)
    }

    /// Decodes latents, `[n, C, h, w]`. Writes the frames that are final and returns how many.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the values are not whole
    /// latents.
    pub fn decode(&mut self, latents: Latents<'_>, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        let _mode = FloatMode::set_default();
        let size = self.latent_len();
        if !latents.len().is_multiple_of(size) {
            self.check_ready()?;
            fail!(InvalidArgument, "{} values are not whole latents of {size}", latents.len());
        }
        self.begin_decode(Some(latents.len() / size))?.run(latents, frames)
    }

    /// Ends the clip. Writes the frames that the decoder held back.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn decode_flush(&mut self, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.begin_decode(None)?.run(Latents::F32(&[]), frames)
    }

    /// `frames`: how many, `None` to end the clip.
    pub(crate) fn begin_encode(&mut self, frames: Option<usize>) -> Result<EncodeCall<'_>> {
        self.check_ready()?;
        let latents = match frames {
            Some(frames) => self.encoded_by(frames as u64)?,
            None => self.encoded_by_flush()?,
        };
        Ok(EncodeCall { stream: self, flush: frames.is_none(), latents })
    }

    /// `latents`: how many, `None` to end the clip.
    pub(crate) fn begin_decode(&mut self, latents: Option<usize>) -> Result<DecodeCall<'_>> {
        self.check_ready()?;
        let frames = match latents {
            Some(latents) => self.decoded_by(latents as u64)?,
            None => self.decoded_by_flush()?,
        };
        Ok(DecodeCall { stream: self, flush: latents.is_none(), frames })
    }
}

impl EncodeCall<'_> {
    /// Latents that it writes.
    pub(crate) fn count(&self) -> u64 {
        self.latents.end - self.latents.start
    }

    /// Takes the frames that it was checked for, none for a flush.
    pub(crate) fn run(self, frames: &[Image<'_>], mut latents: LatentsMut<'_>) -> Result<usize> {
        let (count, first) = (self.count(), self.latents.start);
        let stream = self.stream;
        stream.check_sizes(frames.iter().map(|frame| (frame.width(), frame.height())))?;
        let capacity = (latents.len() / stream.encoded_len()) as u64;
        if capacity < count {
            fail!(Capacity, "room for {capacity} latents, this call writes {count}");
        }
        if frames.is_empty() && !self.flush {
            return Ok(0);
        }
        let before = stream.encoder.as_ref().map_or(0, |encoder| encoder.progress().count);
        check_finite(frames, before)?;
        if !self.flush {
            stream.check_clip(frames.len() as u64, |longest| longest)?;
        }
        let Stream { codec, encoder, canceller, .. } = stream;
        let encoder = encoder.as_mut().expect("the call was checked");
        let mut sink = |index: u64, moments: &[f32], _: &Rect, _: &Rect| {
            codec.encode(moments, index, (index - first) as usize, &mut latents)
        };
        let result = match self.flush {
            true if encoder.progress().ended => Ok(()),
            true => encoder.flush(canceller, &mut sink),
            false => encoder.push(frames, frames.len(), canceller, &mut sink),
        };
        stream.settle(result.map(|()| count as usize))
    }
}

impl DecodeCall<'_> {
    /// Frames that it writes.
    pub(crate) fn count(&self) -> u64 {
        self.frames.end - self.frames.start
    }

    /// Takes the latents that it was checked for, none for a flush.
    pub(crate) fn run(self, latents: Latents<'_>, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        let (count, wanted) = (self.count(), self.frames);
        let stream = self.stream;
        let capacity = frames.len() as u64;
        if capacity < count {
            fail!(Capacity, "room for {capacity} frames, this call writes {count}");
        }
        stream.check_sizes(frames[..count as usize].iter().map(|frame| (frame.width(), frame.height())))?;
        let latent_count = latents.len() / stream.latent_len();
        if latent_count == 0 && !self.flush {
            return Ok(0);
        }
        if !self.flush {
            let before = stream.decoder.as_ref().map_or(0, |decoder| decoder.progress().count);
            stream.codec.check(&latents, before)?;
            let counting = stream.model.counting();
            let longest = |frames| counting.frames(counting.latents(frames));
            stream.check_clip(counting.frames(latent_count as u64), longest)?;
        }
        let Stream { codec, decoder, canceller, .. } = stream;
        let decoder = decoder.as_mut().expect("the call was checked");
        let source = |n: usize, part: &Rect, values: &mut [f32]| codec.decode(&latents, n, part, values);
        let mut sink = |index: u64, planes: &[f32], held: &Rect, part: &Rect| {
            // Others are behind the limit.
            if wanted.contains(&index) {
                frames[(index - wanted.start) as usize].write(planes, held, part);
            }
            Ok(())
        };
        let result = match self.flush {
            true if decoder.progress().ended => Ok(()),
            true => decoder.flush(canceller, &mut sink),
            false => decoder.push(&source, latent_count, canceller, &mut sink),
        };
        stream.settle(result.map(|()| count as usize))
    }
}

impl Stream {
    /// If each call gets a whole clip, its length, in frames, must be what was planned for. `most`: how many frames the
    /// longest clip has here; decoding gives those that completed its last group too.
    fn check_clip(&mut self, frames: u64, most: impl Fn(u64) -> u64) -> Result<()> {
        let Some(longest) = self.at_once else { return Ok(()) };
        if longest > 0 && frames > most(longest) {
            fail!(InvalidArgument, "a clip of {frames} frames: clip_frames is {longest}");
        }
        // The length of clips was not known, so memory was not checked. What a clip took is kept for the next one.
        if longest == 0 && frames > self.longest_clip {
            let options = StreamOptions { clip_frames: frames, ..self.options.clone() };
            Plan::new(&self.model, &options)?.estimate.check_available(&self.model, &options)?;
            self.longest_clip = frames;
        }
        Ok(())
    }

    fn check_sizes(&self, sizes: impl Iterator<Item = (usize, usize)>) -> Result<()> {
        let (w, h) = (self.geometry.width, self.geometry.height);
        if let Some((i, (width, height))) = sizes.enumerate().find(|(_, size)| *size != (w, h)) {
            fail!(
                InvalidSize,
                "frame {i}: {width}x{height} in a stream of {w}x{h}; make a new stream for another size"
            );
        }
        Ok(())
    }
}

/// Before anything is consumed. Outputs are checked too, but a frame with a NaN may give no latent in this call. `first`: the
/// first frame's index in the clip.
fn check_finite(frames: &[Image<'_>], first: u64) -> Result<()> {
    for (i, frame) in frames.iter().enumerate() {
        if let Some([channel, y, x]) = frame.first_not_finite() {
            fail!(
                NotFinite,
                "frame {i} of the call, frame {} of the clip: {} at column {x}, row {y} is a NaN or an infinity, or too \
                 large for float32",
                first + i as u64,
                ["R", "G", "B"][channel]
            );
        }
    }
    Ok(())
}
