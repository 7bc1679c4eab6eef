//! The calls of a stream that encode and decode. A call is checked first, which says how much it will write, then it runs.
//! The steps are apart so that the C door can convert its arguments in between.

use super::alpha::AlphaTrack;
use super::options::{MemoryKind, StreamOptions};
use super::plan::Plan;
use super::stream::Stream;
use super::tiled::Call;
use crate::engine::Values;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::float_mode::FloatMode;
use crate::media::{Image, ImageMut, Latents, LatentsMut, Rect};
use crate::model::Half;
use crate::parallel;
use crate::runtime::Lent;
use parking_lot::Mutex;
use std::ops::Range;

/// Bytes of frames, as float32, for which it pays to start threads.
const LARGE_CALL: usize = 8 << 20;

/// A stream that needs no reset.
pub(crate) struct Ready<'a>(&'a mut Stream);

/// A call that fits the state of its stream.
pub(crate) struct EncodeCall<'a> {
    pub(super) stream: &'a mut Stream,
    flush: bool,
    /// The clip's latents that it writes.
    latents: Range<u64>,
}

/// A call that fits the state of its stream and has room for its frames.
pub(crate) struct DecodeCall<'a> {
    pub(super) stream: &'a mut Stream,
    flush: bool,
    /// The clip's frames that it writes.
    frames: Range<u64>,
}

impl Stream {
    /// Encodes frames. Writes the latents that they complete, `[n, C, h, w]`, and returns how many:
    /// [`encode_count`](Self::encode_count) tells beforehand. `latents` has room for at least as many; the rest stays as it is.
    ///
    /// # Errors
    /// [`Capacity`](crate::ErrorKind::Capacity), [`InvalidSize`](crate::ErrorKind::InvalidSize),
    /// [`InvalidState`](crate::ErrorKind::InvalidState), and [`NotFinite`](crate::ErrorKind::NotFinite) for an input that holds
    /// a NaN or an infinity: nothing was consumed. After `NotFinite` for a result, [`Runtime`](crate::ErrorKind::Runtime) or
    /// [`Cancelled`](crate::ErrorKind::Cancelled) the stream needs a reset. After
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) it may need one: [`info`](Self::info) tells.
    pub fn encode(&mut self, frames: &[Image<'_>], latents: LatentsMut<'_>) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.ready()?.encode(Some(frames.len()))?.run(frames, latents)
    }

    /// Ends the clip. Writes the latent of an incomplete last group, whose missing frames repeat the last one.
    /// Returns how many latents were written: 0 or 1.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_flush(&mut self, latents: LatentsMut<'_>) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.ready()?.encode(None)?.run(&[], latents)
    }

    /// Decodes latents, `[n, C, h, w]`. Writes the frames that are final and returns how many:
    /// [`decode_count`](Self::decode_count) tells beforehand. `frames` has room for at least as many; the rest stays as it is.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode); [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the values are not whole
    /// latents.
    pub fn decode(&mut self, latents: Latents<'_>, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        let _mode = FloatMode::set_default();
        let ready = self.ready()?;
        let size = ready.0.codec.decoded_len();
        if !latents.len().is_multiple_of(size) {
            fail!(InvalidArgument, "{} values are not whole latents of {size}", latents.len());
        }
        ready.decode(Some(latents.len() / size), frames.len())?.run(latents, frames)
    }

    /// Ends the clip. Writes the frames that the decoder held back and returns how many:
    /// [`decode_flush_count`](Self::decode_flush_count) tells beforehand.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn decode_flush(&mut self, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.ready()?.decode(None, frames.len())?.run(Latents::F32(&[]), frames)
    }

    /// Fails if a reset is needed.
    pub(crate) fn ready(&mut self) -> Result<Ready<'_>> {
        self.check_usable("reset the stream first")?;
        if self.canceller.is_cancelled() {
            return self.settle(Err(Error::new(ErrorKind::Cancelled, "cancelled before the call; reset the stream")));
        }
        Ok(Ready(self))
    }
}

impl<'a> Ready<'a> {
    /// `frames`: how many, `None` to end the clip.
    pub(crate) fn encode(self, frames: Option<usize>) -> Result<EncodeCall<'a>> {
        let latents = match frames {
            Some(frames) => self.0.encoded_by(frames as u64)?,
            None => self.0.encoded_by_flush()?,
        };
        Ok(EncodeCall { stream: self.0, flush: frames.is_none(), latents })
    }

    /// `latents`: how many, `None` to end the clip. `capacity`: of frames.
    pub(crate) fn decode(self, latents: Option<usize>, capacity: usize) -> Result<DecodeCall<'a>> {
        let frames = match latents {
            Some(latents) => self.0.decoded_by(latents as u64)?,
            None => self.0.decoded_by_flush()?,
        };
        let call = DecodeCall { stream: self.0, flush: latents.is_none(), frames };
        if capacity < call.count() {
            fail!(Capacity, "room for {capacity} frames, this call writes {}", call.count());
        }
        Ok(call)
    }
}

impl EncodeCall<'_> {
    /// Latents that it writes.
    pub(crate) fn count(&self) -> usize {
        (self.latents.end - self.latents.start) as usize
    }

    /// Values of one latent.
    pub(crate) fn latent_len(&self) -> usize {
        self.stream.codec.encoded_len()
    }

    pub(crate) fn latent_memory(&self) -> MemoryKind {
        self.stream.options.latent_memory
    }

    pub(crate) fn check_capacity(&self, latents: usize) -> Result<()> {
        check_capacity(latents, self.count())
    }

    /// Takes the frames that it was checked for, none for a flush.
    pub(crate) fn run(mut self, frames: &[Image<'_>], latents: LatentsMut<'_>) -> Result<usize> {
        self.run_once(frames, latents)
    }

    pub(super) fn run_once(&mut self, frames: &[Image<'_>], mut latents: LatentsMut<'_>) -> Result<usize> {
        let (count, capacity) = (self.count(), latents.len() / self.latent_len());
        let EncodeCall { stream, flush, latents: wanted } = self;
        let flush = *flush;
        stream.check_sizes(frames.iter().map(|frame| (frame.width(), frame.height())))?;
        check_capacity(capacity, count)?;
        let mut lent = None;
        if !flush {
            if frames.is_empty() {
                return Ok(0);
            }
            let lending = stream.lend(frames.iter().map(Image::extents));
            lent = stream.settle_runtime(lending)?;
            let checked = stream.check_finite(frames);
            stream.settle_runtime(checked)?;
            stream.check_clip(Half::Encoder, frames.len() as u64, |longest| longest)?;
            let (given, completed) = (frames.len() as u64, stream.completed(frames.len() as u64));
            if given != completed && stream.model.network().needs_whole_clip(Half::Encoder).is_some() {
                stream.model.warn(format_args!(
                    "a clip of {given} frames: its last one is repeated up to {completed}, and counts in the statistics of {}",
                    stream.model.checkpoint().name()
                ));
            }
        }
        let mut alpha = vec![];
        if let Some(track) = &mut stream.alpha {
            alpha = AlphaTrack::of(frames)?;
            track.reserve(alpha.len())?;
        }
        let Stream { codec, encoder, canceller, .. } = &mut **stream;
        let encoder = encoder.as_mut().expect("the call was checked");
        let _counted = canceller.begin(encoder.runs_of((!flush).then_some(frames.len())));
        let mut sink = |index: u64, moments: Values<'_>, _: &Rect, _: &Rect| {
            codec.encode(moments.floats(), index, (index - wanted.start) as usize, &mut latents)
        };
        let mut call = Call { canceller, takes: None, sink: &mut sink };
        let result = match flush {
            true => encoder.flush(&mut call),
            false => encoder.push(frames, frames.len(), &mut call),
        };
        if let Some(track) = &mut stream.alpha {
            track.append(alpha);
        }
        let result = result.and(lent.map_or(Ok(()), Lent::end));
        stream.settle(result.map(|()| count))
    }
}

impl DecodeCall<'_> {
    /// Frames that it writes.
    pub(crate) fn count(&self) -> usize {
        (self.frames.end - self.frames.start) as usize
    }

    /// Values of one latent.
    pub(crate) fn latent_len(&self) -> usize {
        self.stream.codec.decoded_len()
    }

    pub(crate) fn latent_memory(&self) -> MemoryKind {
        self.stream.options.latent_memory
    }

    /// Takes the latents that it was checked for, none for a flush, and room for at least as many frames.
    pub(crate) fn run(mut self, latents: Latents<'_>, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        self.run_once(latents, frames)
    }

    pub(super) fn run_once(&mut self, latents: Latents<'_>, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        let (count, latent_count) = (self.count(), latents.len() / self.latent_len());
        let DecodeCall { stream, flush, frames: wanted } = self;
        let (flush, wanted) = (*flush, wanted.clone());
        stream.check_sizes(frames[..count].iter().map(|frame| (frame.width(), frame.height())))?;
        if !flush {
            if latent_count == 0 {
                return Ok(0);
            }
            stream.codec.check(&latents, stream.decoder.as_ref().map_or(0, |decoder| decoder.progress().count))?;
            let counting = stream.model.counting();
            let longest = |frames| counting.frames(counting.latents(frames));
            stream.check_clip(Half::Decoder, counting.frames(latent_count as u64), longest)?;
        }
        let lending = stream.lend(frames[..count].iter().map(ImageMut::extents));
        let lent = stream.settle_runtime(lending)?;
        let threads = stream.model.converting_threads();
        let size = [stream.geometry.width, stream.geometry.height];
        let Stream { codec, decoder, canceller, callers, .. } = &mut **stream;
        let decoder = decoder.as_mut().expect("the call was checked");
        let _counted = canceller.begin(decoder.runs_of((!flush).then_some(latent_count)));
        let source = |n: usize, part: &Rect, values: &mut [f32]| codec.decode(&latents, n, part, values);
        let packing = frames[..count].first().map(ImageMut::packing);
        let packing = packing.filter(|packing| frames[..count].iter().all(|frame| frame.packing() == *packing));
        let mut sink = |index: u64, planes: Values<'_>, held: &Rect, part: &Rect| {
            let callers = || callers.as_ref().expect("its frames are there");
            if !wanted.contains(&index) {
                // Behind the limit. Its values must be finite all the same.
                return match planes {
                    Values::OnDevice(planes, found) => callers().write(planes, None, found),
                    _ => Ok(()),
                };
            }
            let frame = &mut frames[(index - wanted.start) as usize];
            match planes {
                Values::Floats(planes) => frame.write_on(threads, planes, held, part),
                Values::Packed(bytes, size, too_large) => {
                    frame.unpack_on(threads, bytes, size, held, part);
                    too_large.map_or(Ok(()), |index| Err(frame.too_large_in(index, size, held)))
                }
                Values::OnDevice(planes, found) => callers().write(planes, Some(frame), found),
                Values::Written(None) => Ok(()),
                Values::Written(Some(too_large)) => Err(frame.too_large(too_large)),
            }
            .map_err(|e| e.prefixed(&of_clip(index)))
        };
        let mut call = Call { canceller, takes: packing.map(|packing| (packing, size)), sink: &mut sink };
        let result = match flush {
            true => decoder.flush(&mut call),
            false => decoder.push(&source, latent_count, &mut call),
        };
        let result = result.and(lent.map_or(Ok(()), Lent::end));
        let result = result.and_then(|()| stream.write_alpha(wanted, frames));
        stream.settle(result.map(|()| count))
    }
}

impl Stream {
    /// Gives the clip's frames of that range the alpha that is carried for them. They are opaque already.
    fn write_alpha(&mut self, range: Range<u64>, frames: &mut [ImageMut<'_>]) -> Result<()> {
        let Some(track) = &mut self.alpha else { return Ok(()) };
        let ended = self.encoder.as_ref().is_some_and(|encoder| encoder.progress().ended);
        for (index, frame) in range.clone().zip(frames) {
            if let Some(alpha) = track.get(index, ended) {
                frame.write_alpha(alpha).map_err(|e| e.prefixed(&of_clip(index)))?;
            }
        }
        track.drop_before(range.end);
        Ok(())
    }

    /// If each call gets a whole clip, its length, in frames, must be what was planned for. `most`: how many frames the
    /// longest clip has here; decoding gives those that completed its last group too.
    fn check_clip(&mut self, half: Half, frames: u64, most: impl Fn(u64) -> u64) -> Result<()> {
        let longest = self.options.clip_frames;
        if !self.takes_whole_clips(half) {
            return Ok(());
        }
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

    /// Begins to use the caller's frames, of which each channel has a lowest and a highest address, if they are on the
    /// device.
    fn lend(&self, frames: impl Iterator<Item = impl Iterator<Item = [*mut u8; 2]>>) -> Result<Option<Lent>> {
        let callers = self.callers.as_ref().filter(|_| self.options.frame_memory == MemoryKind::Cuda);
        let Some(callers) = callers else { return Ok(None) };
        for (i, mut channels) in frames.enumerate() {
            channels.try_for_each(|ends| callers.check(ends)).map_err(|e| e.prefixed(&format!("frame {i}")))?;
        }
        callers.lend().map(Some)
    }

    /// For what comes before anything is consumed: only after a failure of the device does the stream need a reset.
    pub(super) fn settle_runtime<T>(&mut self, result: Result<T>) -> Result<T> {
        match result {
            Err(e) if e.kind() == ErrorKind::Runtime => self.settle(Err(e)),
            result => result,
        }
    }

    /// Before anything is consumed. Outputs are checked too, but a frame with a NaN may give no latent in this call.
    fn check_finite(&self, frames: &[Image<'_>]) -> Result<()> {
        let found = match &self.callers {
            Some(callers) if self.options.frame_memory == MemoryKind::Cuda => callers.first_not_finite(frames)?,
            _ => first_not_finite(frames, self.model.converting_threads()),
        };
        let Some((i, [channel, y, x])) = found else { return Ok(()) };
        let first = self.encoder.as_ref().map_or(0, |encoder| encoder.progress().count);
        fail!(
            NotFinite,
            "frame {i} of the call, frame {} of the clip: {} at column {x}, row {y} is a NaN or an infinity, or too large \
             for float32",
            first + i as u64,
            ["R", "G", "B"][channel]
        );
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

fn check_capacity(latents: usize, count: usize) -> Result<()> {
    if latents < count {
        fail!(Capacity, "room for {latents} latents, this call writes {count}");
    }
    Ok(())
}

/// For errors.
fn of_clip(index: u64) -> String {
    format!("frame {index} of the clip")
}

/// The first frame, with channel, row and column, that holds a value that is not finite.
fn first_not_finite(frames: &[Image<'_>], threads: usize) -> Option<(usize, [usize; 3])> {
    let found = Mutex::new(None);
    let threads = if frames.len() < 2 || size_of_frames(frames) < LARGE_CALL { 1 } else { threads };
    parallel::for_each(frames.len(), threads, |i| {
        let wanted = found.lock().is_none_or(|(bad, _)| i < bad);
        if wanted && let Some(place) = frames[i].first_not_finite() {
            let mut found = found.lock();
            *found = Some(found.map_or((i, place), |other: (usize, [usize; 3])| other.min((i, place))));
        }
    });
    found.into_inner()
}

fn size_of_frames(frames: &[Image<'_>]) -> usize {
    frames.iter().map(|frame| 3 * frame.width() * frame.height() * size_of::<f32>()).sum()
}
