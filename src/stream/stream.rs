//! The stream handle: what it is made of, where it is in its clips, and when it needs a reset.

use super::alpha::AlphaTrack;
use super::direction::Direction;
use super::estimate::Estimate;
use super::geometry::Geometry;
use super::model::Model;
use super::options::{MemoryKind, StreamOptions};
use super::plan::Plan;
use super::tiles::Tiles;
use crate::engine::{Decoder, Encoder, Engine, check_count};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::float_mode::FloatMode;
use crate::media::{LatentCodec, Posterior};
use crate::model::Half;
use crate::runtime::{CallersMemory, Canceller};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Sizes and counters of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Of the frames, in pixels.
    pub width: usize,
    /// Of the frames, in pixels.
    pub height: usize,
    /// w of the latents.
    pub latent_width: usize,
    /// h of the latents.
    pub latent_height: usize,
    /// C of the latents that decoding reads.
    pub latent_channels: usize,
    /// Channels that encoding writes: C, or 2C for both moments.
    pub encoded_channels: usize,
    /// Bytes of the encoder's caches, waiting frames and buffers. They do not grow.
    pub encode_state_bytes: u64,
    /// Bytes of the decoder's caches, waiting frames and buffers. They do not grow.
    pub decode_state_bytes: u64,
    /// Frames encoded since the start of the clip.
    pub frames_in: u64,
    /// Latents written since the start of the clip.
    pub latents_out: u64,
    /// Latents decoded since the start of the clip.
    pub latents_in: u64,
    /// Frames written since the start of the clip.
    pub frames_out: u64,
    /// Runs of the encoder's steps since the stream was made. Each latent after a clip's first takes as many.
    pub encode_steps: u64,
    /// Runs of the decoder's steps since the stream was made. Each latent after a clip's first takes as many.
    pub decode_steps: u64,
    /// An earlier call failed: reset the stream.
    pub needs_reset: bool,
}

/// Encodes and decodes one clip at a time. Its two directions are independent.
///
/// Thread-safety: one thread at a time. Streams of one model run at the same time without disturbing each other. A
/// [`Canceller`] may be used from any thread.
pub struct Stream {
    pub(super) model: Model,
    pub(super) options: StreamOptions,
    pub(super) geometry: Geometry,
    pub(super) codec: LatentCodec,
    pub(super) encoder: Option<Direction<Encoder>>,
    pub(super) decoder: Option<Direction<Decoder>>,
    /// The longest clip whose memory was found to be there.
    pub(super) longest_clip: u64,
    pub(super) frame_limit: Option<u64>,
    /// If the stream carries alpha.
    pub(super) alpha: Option<AlphaTrack>,
    pub(super) canceller: Canceller,
    /// Of a caller whose frames or latents are on the model's device.
    pub(super) callers: Option<Arc<CallersMemory>>,
    failure: Option<Error>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("model", &self.model).field("info", &self.info()).finish_non_exhaustive()
    }
}

impl Stream {
    /// Makes a stream. Loads the model's weights for its directions, if no stream has before.
    ///
    /// # Errors
    /// [`InvalidSize`](ErrorKind::InvalidSize), [`InvalidArgument`](ErrorKind::InvalidArgument),
    /// [`OutOfMemory`](ErrorKind::OutOfMemory), [`Runtime`](ErrorKind::Runtime), [`Provider`](ErrorKind::Provider);
    /// [`Checkpoint`](ErrorKind::Checkpoint) if its files changed since they were opened, [`Io`](ErrorKind::Io) if they
    /// cannot be read any more.
    pub fn new(model: &Model, options: &StreamOptions) -> Result<Self> {
        let _mode = FloatMode::set_default();
        model.owner().check("model")?;
        let Plan { geometry, at_once, encode, decode, estimate } = Plan::new(model, options)?;
        let codec = LatentCodec::new(model.network(), options.posterior, options.scaled, geometry.latent_rect())?;
        // If the length of clips is not known, each call checks.
        if at_once != Some(0) {
            estimate.check_available(model, options)?;
        }
        if options.encode && geometry.is_padded() && model.network().needs_whole_clip(Half::Encoder).is_some() {
            let (padded, name) = (geometry.padded, model.checkpoint().name());
            model.warn(format_args!(
                "frames of {}x{} are padded to {}x{}, and what is repeated counts in the statistics of {name}: scale or crop them \
                 instead",
                options.width, options.height, padded.width, padded.height
            ));
        }
        let callers = model.callers_memory(options)?;
        let of_frames = callers.as_ref().filter(|_| options.frame_memory == MemoryKind::Cuda);
        let mut encoder: Option<Direction<Encoder>> =
            direction(model, &geometry, encode, options.clip_frames > 0, of_frames)?;
        let mut decoder: Option<Direction<Decoder>> =
            direction(model, &geometry, decode, options.clip_frames > 0, of_frames)?;
        let canceller = Canceller::new()?;
        // Loading kernels, choosing algorithms and growing the arena take seconds, for which the first call should not
        // wait. If memory is too small, the caller is told now.
        if model.device().is_some() {
            encoder.iter_mut().try_for_each(|encoder| encoder.warm_up(&canceller))?;
            decoder.iter_mut().try_for_each(|decoder| decoder.warm_up(&canceller))?;
        }
        Ok(Stream {
            model: model.clone(),
            options: options.clone(),
            geometry,
            codec,
            encoder,
            decoder,
            longest_clip: 0,
            frame_limit: None,
            alpha: options.alpha.then(AlphaTrack::default),
            canceller,
            callers,
            failure: None,
        })
    }

    /// Computes what a stream with these options would take, and its tiles. Allocates nothing for the stream.
    ///
    /// # Errors
    /// Those of [`new`](Self::new) that concern the options, [`OutOfMemory`](ErrorKind::OutOfMemory) if it would exceed
    /// the options' memory limit.
    pub fn estimate(model: &Model, options: &StreamOptions) -> Result<Estimate> {
        let _mode = FloatMode::set_default();
        model.owner().check("model")?;
        Ok(Plan::new(model, options)?.estimate)
    }

    /// The model that this stream runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Sizes and counters.
    pub fn info(&self) -> StreamInfo {
        let (geometry, latent) = (&self.geometry, self.geometry.latent_rect());
        let (encoder, decoder) = (self.encoder.as_ref(), self.decoder.as_ref());
        StreamInfo {
            width: geometry.width,
            height: geometry.height,
            latent_width: latent.width,
            latent_height: latent.height,
            latent_channels: self.model.network().latent_channels,
            encoded_channels: self.codec.encoded_channels(),
            encode_state_bytes: encoder.map_or(0, Direction::state_bytes),
            decode_state_bytes: decoder.map_or(0, Direction::state_bytes),
            frames_in: encoder.map_or(0, |encoder| encoder.progress().count),
            latents_out: encoder.map_or(0, Direction::outputs),
            latents_in: decoder.map_or(0, |decoder| decoder.progress().count),
            frames_out: decoder.map_or(0, |decoder| limited(self.frame_limit, decoder.outputs())),
            encode_steps: encoder.map_or(0, Direction::runs),
            decode_steps: decoder.map_or(0, Direction::runs),
            needs_reset: self.failure.is_some(),
        }
    }

    /// A handle with which other threads stop this stream's calls and see their progress.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// The error that made a reset necessary.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// How many latents encoding `frames` more frames would write.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the stream does not encode, or its clip has ended.
    pub fn encode_count(&self, frames: u64) -> Result<u64> {
        Ok(len(self.encoded_by(frames)?))
    }

    /// How many latents [`encode_flush`](Self::encode_flush) would write: 0 or 1.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the stream does not encode.
    pub fn encode_flush_count(&self) -> Result<u64> {
        Ok(len(self.encoded_by_flush()?))
    }

    /// How many frames decoding `latents` more latents would write.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the stream does not decode, or its clip has ended.
    pub fn decode_count(&self, latents: u64) -> Result<u64> {
        Ok(len(self.decoded_by(latents)?))
    }

    /// How many frames [`decode_flush`](Self::decode_flush) would write.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the stream does not decode.
    pub fn decode_flush_count(&self) -> Result<u64> {
        Ok(len(self.decoded_by_flush()?))
    }

    /// The clip's latents that `frames` more frames would give.
    pub(super) fn encoded_by(&self, frames: u64) -> Result<Range<u64>> {
        check_count("frames", frames)?;
        let encoder = self.in_clip(&self.encoder)?;
        check_count("frames in the clip", encoder.progress().count + frames)?;
        self.check_groups(frames)?;
        Ok(encoder.outputs_of(frames))
    }

    /// The clip's frames that `latents` more latents would give, without those behind the limit.
    pub(super) fn decoded_by(&self, latents: u64) -> Result<Range<u64>> {
        check_count("latents", latents)?;
        let decoder = self.in_clip(&self.decoder)?;
        check_count("latents in the clip", decoder.progress().count + latents)?;
        Ok(self.limited_range(decoder.outputs_of(latents)))
    }

    pub(super) fn encoded_by_flush(&self) -> Result<Range<u64>> {
        Ok(has(&self.encoder)?.outputs_of_flush())
    }

    pub(super) fn decoded_by_flush(&self) -> Result<Range<u64>> {
        Ok(self.limited_range(has(&self.decoder)?.outputs_of_flush()))
    }

    /// Tells the decoder how many frames the clip has. It then leaves out the frames that the encoder's flush added. `None`
    /// lifts the limit; so does a reset.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if it is too late: the decoder wrote more frames already, or left out
    /// some that the clip would now have.
    pub fn set_frame_count(&mut self, frames: Option<u64>) -> Result<()> {
        let decoded = self.decoder.as_ref().map_or(0, Direction::outputs);
        let written = limited(self.frame_limit, decoded);
        if limited(frames, decoded) != written {
            let count = frames.map_or("without limit".into(), |count| count.to_string());
            let late = match written < decoded {
                true => format!("the frames after the first {written} have been left out"),
                false => format!("{written} frames have been written"),
            };
            fail!(InvalidArgument, "frame count {count}: {late} already; set it before, or reset the stream");
        }
        self.frame_limit = frames;
        Ok(())
    }

    /// Gives the samples of the next clip the noise of another seed than the options'. Clips of one seed have the same noise.
    /// [`reset`](Self::reset) and [`restore`](Self::restore) keep it, and [`fork`](Self::fork) copies it.
    /// [`latent_file`](Self::latent_file) describes files with it from now on.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the posterior is not a sample;
    /// [`InvalidState`](ErrorKind::InvalidState) in the middle of a clip, and if the stream does not encode.
    pub fn set_seed(&mut self, seed: u64) -> Result<()> {
        let begun = has(&self.encoder)?.progress().count;
        if !matches!(self.options.posterior, Posterior::Sample { .. }) {
            fail!(
                InvalidArgument,
                "seed: the stream's posterior is not a sample, so there is no noise; make a stream whose posterior is one"
            );
        }
        if begun > 0 {
            fail!(
                InvalidState,
                "seed: {begun} frames of the clip are encoded already; set it before, or reset the stream"
            );
        }
        self.options.posterior = Posterior::Sample { seed };
        self.codec.set_seed(seed);
        Ok(())
    }

    fn limited_range(&self, frames: Range<u64>) -> Range<u64> {
        limited(self.frame_limit, frames.start)..limited(self.frame_limit, frames.end)
    }

    /// Forgets the clip in both directions, and any failure or cancellation. All memory is kept for the next clip.
    ///
    /// # Errors
    /// [`Runtime`](ErrorKind::Runtime) if the runtime refuses to clear a cancellation.
    pub fn reset(&mut self) -> Result<()> {
        let _mode = FloatMode::set_default();
        self.model.owner().check("stream")?;
        self.encoder.iter_mut().for_each(Direction::reset);
        self.decoder.iter_mut().for_each(Direction::reset);
        self.frame_limit = None;
        self.alpha = self.options.alpha.then(AlphaTrack::default);
        self.recover()
    }

    /// Forgets a failure or cancellation.
    pub(super) fn recover(&mut self) -> Result<()> {
        self.canceller.clear()?;
        self.failure = None;
        Ok(())
    }

    /// Makes a reset necessary, after a call that may have stopped anywhere.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure = Some(error);
    }

    /// After a failure the state is undefined until a reset.
    pub(super) fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(e) = &result {
            self.fail(e.clone());
        }
        result
    }

    /// Fails after a failure, which leaves the state undefined, and in a forked process.
    pub(super) fn check_usable(&self, advice: &str) -> Result<()> {
        self.model.owner().check("stream")?;
        if let Some(failure) = &self.failure {
            fail!(NeedsReset, "an earlier call failed, {advice}: {failure}");
        }
        Ok(())
    }

    /// Whether each call of a direction gets a whole clip.
    pub(super) fn takes_whole_clips(&self, half: Half) -> bool {
        self.options.clip_frames > 0 || self.model.network().needs_whole_clip(half).is_some()
    }

    /// A whole clip whose last group is not full would get frames that count in the statistics of its norms: not silently.
    fn check_groups(&self, frames: u64) -> Result<()> {
        let (counting, whole) = (self.model.counting(), self.completed(frames));
        let Some(reason) = self.model.network().needs_whole_clip(Half::Encoder) else { return Ok(()) };
        if frames != whole && !self.options.pad {
            fail!(
                InvalidArgument,
                "a clip of {frames} frames: {} takes 1 + n * {}, {} or {whole}; it has {reason}, so a repeated last frame would \
                 change all latents; drop frames, or ask for padding, which repeats it",
                self.model.info().name,
                counting.unit,
                whole - counting.unit
            );
        }
        Ok(())
    }

    /// The frames of a clip of so many with its last group completed.
    pub(super) fn completed(&self, frames: u64) -> u64 {
        let counting = self.model.counting();
        counting.frames(counting.latents(frames))
    }

    /// A direction, if the stream has it and its clip goes on.
    fn in_clip<'a, E: Engine>(&self, direction: &'a Option<Direction<E>>) -> Result<&'a Direction<E>> {
        let (direction, verb) = (has(direction)?, E::HALF.verb());
        let progress = direction.progress();
        if !progress.ended {
            return Ok(direction);
        }
        if progress.count > 0
            && let Some(reason) = self.model.network().needs_whole_clip(E::HALF)
        {
            fail!(
                InvalidState,
                "a second {verb} call: {} has {reason}, so it cannot stream; give the clip in one call, and reset the stream \
                 before the next one",
                self.model.info().name
            );
        }
        if progress.count > 0 && self.options.clip_frames > 0 {
            fail!(
                InvalidState,
                "a second {verb} call: with clip_frames set each call gets a whole clip; reset the stream before the \
                 next one"
            );
        }
        fail!(InvalidState, "the {verb}r was flushed, its clip has ended; reset the stream for the next one")
    }
}

/// A direction, if the stream has it.
fn has<E: Engine>(direction: &Option<Direction<E>>) -> Result<&Direction<E>> {
    direction.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::InvalidState, format!("this stream does not {}; make one that does", E::HALF.verb()))
    })
}

fn limited(limit: Option<u64>, frames: u64) -> u64 {
    limit.map_or(frames, |limit| frames.min(limit))
}

fn len(outputs: Range<u64>) -> u64 {
    outputs.end - outputs.start
}

/// A direction, if the stream has tiles for it.
fn direction<E: Engine>(
    model: &Model,
    geometry: &Geometry,
    tiles: Option<Tiles>,
    at_once: bool,
    callers: Option<&Arc<CallersMemory>>,
) -> Result<Option<Direction<E>>> {
    let Some(tiles) = tiles else { return Ok(None) };
    let (steps, counting) = (model.steps(E::HALF)?, model.counting());
    Ok(Some(match model.network().needs_whole_clip(E::HALF) {
        Some(_) => Direction::of_whole_clips(&steps[0], counting, geometry),
        None => Direction::new(steps, counting, geometry, tiles, at_once, callers)?,
    }))
}
