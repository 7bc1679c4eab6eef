//! The two handles: a [`Model`] holds the weights, a [`Stream`] the causal caches and counters of one clip at a time.

mod clip;
mod counting;
mod decoder;
mod decoding;
mod encoder;
mod encoding;
mod interpolation;
mod latent_file;
mod model;
#[cfg(test)]
mod on_device;
mod plan;
#[cfg(test)]
mod properties;
mod snapshot;
mod stage;
mod tiles;

pub use model::{CacheType, Convolution, Graphs, Layout, Model, ModelInfo, ModelOptions, Precision, Provider};
pub use plan::Estimate;
pub use snapshot::{Snapshot, SnapshotInfo};
pub use tiles::Tiling;

use crate::error::{Error, ErrorKind, Result, fail};
use crate::float_mode::FloatMode;
use crate::graph::Port;
use crate::media::{Image, ImageMut, LatentCodec, Latents, LatentsMut, Posterior, Rect};
use crate::memory;
pub use crate::runtime::Canceller;
use crate::runtime::{Device, Tensor};
use clip::{ClipDecoder, ClipEncoder};
use counting::check_count;
use decoding::{Decoding, TiledDecoder};
use encoding::{Encoding, TiledEncoder};
use plan::Plan;
use std::sync::Arc;

/// A wider or higher picture is a mistake in the caller's numbers.
const MAX_SIDE: usize = 1 << 15;

/// How a stream is made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Of the frames, in pixels: a multiple of the spatial compression, unless `pad` is set.
    pub width: usize,
    /// As `width`.
    pub height: usize,
    /// Repeats the last column and row up to the next multiple when encoding, and crops them when decoding.
    pub pad: bool,
    /// Whether the stream can encode. A direction that it lacks costs no memory. A model without that half needs `false`.
    pub encode: bool,
    /// Whether the stream can decode. A model without that half needs `false`.
    pub decode: bool,
    /// Which latent the encoder writes.
    pub posterior: Posterior,
    /// Latents outside the library are `(z - shift) * scale`, with the config's lists, instead of the network's own z.
    pub scaled: bool,
    /// [`check_latent_file`](Stream::check_latent_file) lets latents of other encoders through, as long as their sizes are
    /// the model's: for a copy of the model in another precision, or where you know that they fit.
    pub any_encoder: bool,
    /// Above 0: each call gets a whole clip, of at most so many frames, and ends it; a reset comes before the next one.
    /// Tiles are then worked on one after the other through all frames, so that only one tile's causal caches exist.
    pub clip_frames: u64,
    /// Whether frames are worked on in tiles.
    pub tiling: Tiling,
    /// Of the tiles, in pixels, rounded up to multiples of the spatial compression. 0: the frame's; with `tile_height` 0
    /// too and `memory_limit`, that of the largest tile that the limit allows, which may be the whole frame.
    pub tile_width: usize,
    /// As `tile_width`.
    pub tile_height: usize,
    /// Above 0: making the stream fails, with the numbers, if it would need more bytes than this, the model's weights
    /// included. A model that takes whole clips needs `clip_frames` for it.
    pub memory_limit: u64,
}

impl StreamOptions {
    /// Both directions, no padding, posterior mean, not scaled.
    pub fn new(width: usize, height: usize) -> Self {
        StreamOptions {
            width,
            height,
            pad: false,
            encode: true,
            decode: true,
            posterior: Posterior::Mean,
            any_encoder: false,
            scaled: false,
            clip_frames: 0,
            tiling: Tiling::Off,
            tile_width: 0,
            tile_height: 0,
            memory_limit: 0,
        }
    }
}

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
    /// Runs of the encoder's steps since the stream was made. Their number per latent is constant.
    pub encode_steps: u64,
    /// Runs of the decoder's steps since the stream was made. Their number per latent is constant.
    pub decode_steps: u64,
    /// An earlier call failed: reset the stream.
    pub needs_reset: bool,
}

/// Pixels, padded pixels and latents.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    width: usize,
    height: usize,
    padded_width: usize,
    padded_height: usize,
    compression: usize,
}

/// One stream: its two directions are independent, each encodes or decodes one clip at a time.
///
/// Thread-safety: one thread at a time. Streams of one model run at the same time without disturbing each other. A
/// [`Canceller`] may be used from any thread.
pub struct Stream {
    model: Model,
    options: StreamOptions,
    geometry: Geometry,
    codec: LatentCodec,
    encoder: Option<Encoding>,
    decoder: Option<Decoding>,
    /// The longest clip, where each call gets a whole one.
    at_once: Option<u64>,
    /// Of those whose memory was found to be there.
    longest_clip: u64,
    frame_limit: Option<u64>,
    canceller: Canceller,
    failure: Option<Error>,
}

impl Stream {
    /// Makes a stream; loads the model's weights for its directions if no stream did before.
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
        let network = model.network();
        let codec = LatentCodec::new(network, options.posterior, options.scaled, geometry.latent_plane())?;
        // Of clips of unknown length each call asks for itself.
        if at_once != Some(0) {
            estimate.check_available(model, options)?;
        }
        let counting = model.counting();
        let whole = network.needs_whole_clip();
        let encoder = |tiles| -> Result<Encoding> {
            let steps = model.encoder_steps()?;
            Ok(match whole {
                true => Encoding::Clip(ClipEncoder::new(&steps[0], &geometry)),
                false => Encoding::Tiles(TiledEncoder::new(steps, &geometry, tiles, at_once.is_some(), counting)?),
            })
        };
        let decoder = |tiles| -> Result<Decoding> {
            let steps = model.decoder_steps()?;
            Ok(match whole {
                true => Decoding::Clip(ClipDecoder::new(&steps[0], network.interpolation, &geometry)),
                false => Decoding::Tiles(TiledDecoder::new(
                    steps,
                    network.interpolation,
                    &geometry,
                    tiles,
                    at_once.is_some(),
                    network.latent_channels,
                )?),
            })
        };
        let mut encoder = encode.map(encoder).transpose()?;
        let mut decoder = decode.map(decoder).transpose()?;
        let canceller = Canceller::new()?;
        // Loading kernels, choosing algorithms and growing the arena take seconds, which the first chunk is not to wait
        // for; and memory that is too small is told now.
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
            at_once,
            longest_clip: 0,
            frame_limit: None,
            canceller,
            failure: None,
        })
    }

    /// What a stream with these options would take, and its tiles; allocates nothing.
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
        let geometry = &self.geometry;
        let (encoder, decoder) = (self.encoder.as_ref(), self.decoder.as_ref());
        StreamInfo {
            width: geometry.width,
            height: geometry.height,
            latent_width: geometry.latent_width(),
            latent_height: geometry.padded_height / geometry.compression,
            latent_channels: self.model.network().latent_channels,
            encoded_channels: self.codec.encoded_channels(),
            encode_state_bytes: encoder.map_or(0, Encoding::state_bytes),
            decode_state_bytes: decoder.map_or(0, Decoding::state_bytes),
            frames_in: encoder.map_or(0, Encoding::frames_in),
            latents_out: encoder.map_or(0, Encoding::latents_out),
            latents_in: decoder.map_or(0, Decoding::latents_in),
            frames_out: decoder.map_or(0, |d| self.limited(d.frames_out())),
            encode_steps: encoder.map_or(0, Encoding::runs),
            decode_steps: decoder.map_or(0, Decoding::runs),
            needs_reset: self.failure.is_some(),
        }
    }

    /// A handle that stops this stream's calls from other threads.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// The error that made a reset necessary.
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Latents that encoding `frames` more frames would write.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the stream does not encode, or its clip has ended.
    pub fn encode_count(&self, frames: u64) -> Result<u64> {
        check_count("frames", frames)?;
        let encoder = self.live_encoder()?;
        let counting = self.model.counting();
        if self.at_once.is_some() {
            return Ok(counting.latents(frames));
        }
        Ok(counting.encoded(encoder.frames_in() + frames) - counting.encoded(encoder.frames_in()))
    }

    /// Latents that [`encode_flush`](Self::encode_flush) would write: 0 or 1.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the stream does not encode.
    pub fn encode_flush_count(&self) -> Result<u64> {
        let encoder = self.encoder()?;
        let counting = self.model.counting();
        let missing = counting.latents(encoder.frames_in()) - counting.encoded(encoder.frames_in());
        Ok(if encoder.flushed() { 0 } else { missing })
    }

    /// Frames that decoding `latents` more latents would write.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the stream does not decode, or its clip has ended.
    pub fn decode_count(&self, latents: u64) -> Result<u64> {
        check_count("latents", latents)?;
        let decoder = self.live_decoder()?;
        let counting = self.model.counting();
        // A whole clip begins at its start, wherever a call that failed has left the stream.
        let (before, after) = match self.at_once {
            Some(_) => (0, counting.frames(latents)),
            None => (decoder.frames_out(), counting.decoded(decoder.latents_in() + latents)),
        };
        Ok(self.limited(after) - self.limited(before))
    }

    /// Frames that [`decode_flush`](Self::decode_flush) would write.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the stream does not decode.
    pub fn decode_flush_count(&self) -> Result<u64> {
        let decoder = self.decoder()?;
        let after = self.model.counting().frames(decoder.latents_in());
        Ok(if decoder.flushed() { 0 } else { self.limited(after) - self.limited(decoder.frames_out()) })
    }

    /// Tells the decoder how many frames the clip has, so that those which the encoder's flush added are not written.
    /// `None` lifts the limit; a reset does too.
    pub fn set_frame_count(&mut self, frames: Option<u64>) {
        self.frame_limit = frames;
    }

    fn limited(&self, frames: u64) -> u64 {
        self.frame_limit.map_or(frames, |limit| frames.min(limit))
    }

    /// Encodes frames; writes the latents that they complete, `[n, C, h, w]`, and returns their number.
    ///
    /// # Errors
    /// [`Capacity`](ErrorKind::Capacity), [`InvalidSize`](ErrorKind::InvalidSize) and
    /// [`InvalidState`](ErrorKind::InvalidState) consume nothing, and neither does [`NotFinite`](ErrorKind::NotFinite) for
    /// an input that holds a NaN or an infinity. After NotFinite for a result, [`Runtime`](ErrorKind::Runtime) or
    /// [`Cancelled`](ErrorKind::Cancelled) the stream needs a reset, and it may after
    /// [`OutOfMemory`](ErrorKind::OutOfMemory), as [`info`](Self::info) says.
    pub fn encode(&mut self, frames: &[Image<'_>], mut latents: LatentsMut<'_>) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.check_ready()?;
        let count = self.encode_count(frames.len() as u64)?;
        self.check_sizes(frames.iter().map(|frame| (frame.width(), frame.height())))?;
        self.check_latent_capacity(count, latents.len())?;
        if frames.is_empty() {
            return Ok(0);
        }
        self.check_finite(frames)?;
        let clip = self.check_clip(frames.len() as u64, |longest| longest)?;
        let encoder = self.encoder.as_mut().expect("encode_count checked it");
        let mut output = LatentOutput::new(&self.codec, &mut latents);
        let mut sink = |index: u64, moments: &[f32]| output.take(index, moments);
        let result = match clip {
            true => encoder.clip(frames, self.model.counting(), &self.canceller, &mut sink),
            false => encoder.push(frames, &self.canceller, &mut sink),
        };
        let result = result.and_then(|()| output.count());
        self.settle(result)
    }

    /// Ends the clip: writes the latent of an incomplete last group, whose missing frames repeat the last one.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_flush(&mut self, mut latents: LatentsMut<'_>) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.check_ready()?;
        let count = self.encode_flush_count()?;
        self.check_latent_capacity(count, latents.len())?;
        let encoder = self.encoder.as_mut().expect("encode_flush_count checked it");
        if encoder.flushed() {
            return Ok(0);
        }
        let mut output = LatentOutput::new(&self.codec, &mut latents);
        let result = encoder.flush(&self.canceller, &mut |index: u64, moments: &[f32]| output.take(index, moments));
        let result = result.and_then(|()| output.count());
        self.settle(result)
    }

    /// Decodes latents, `[n, C, h, w]`; writes the frames that are final and returns their number.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode); [`InvalidArgument`](ErrorKind::InvalidArgument) if the numbers are not whole
    /// latents.
    pub fn decode(&mut self, latents: Latents<'_>, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.check_ready()?;
        let size = self.codec.decoded_len();
        if !latents.len().is_multiple_of(size) {
            fail!(InvalidArgument, "{} numbers are not whole latents of {size}", latents.len());
        }
        let latent_count = latents.len() / size;
        let counting = self.model.counting();
        let count = self.decode_count(latent_count as u64)?;
        self.check_frame_capacity(count, frames)?;
        if latent_count == 0 {
            return Ok(0);
        }
        self.codec.check(&latents, self.decoder()?.latents_in())?;
        let longest = |frames| counting.frames(counting.latents(frames));
        let clip = self.check_clip(counting.frames(latent_count as u64), longest)?;
        let limit = self.frame_limit.unwrap_or(u64::MAX);
        let decoder = self.decoder.as_mut().expect("decode_count checked it");
        let codec = &self.codec;
        let source = |i: usize, values: &mut [f32]| codec.decode(&latents, i, values);
        let mut output = FrameOutput { frames, first: decoder.frames_out(), limit };
        let mut sink = |index: u64, planes: &[f32], held: &Rect, part: &Rect| output.take(index, planes, held, part);
        let result = match clip {
            true => decoder.clip(latent_count, counting, &source, &self.canceller, &mut sink),
            false => decoder.push(latent_count, &source, &self.canceller, &mut sink),
        };
        self.settle(result.map(|()| count as usize))
    }

    /// Ends the clip: writes the frames that the decoder held back.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn decode_flush(&mut self, frames: &mut [ImageMut<'_>]) -> Result<usize> {
        let _mode = FloatMode::set_default();
        self.check_ready()?;
        let count = self.decode_flush_count()?;
        self.check_frame_capacity(count, frames)?;
        let limit = self.frame_limit.unwrap_or(u64::MAX);
        let decoder = self.decoder.as_mut().expect("decode_flush_count checked it");
        if decoder.flushed() {
            return Ok(0);
        }
        let mut output = FrameOutput { frames, first: decoder.frames_out(), limit };
        let mut sink = |index: u64, planes: &[f32], held: &Rect, part: &Rect| output.take(index, planes, held, part);
        let result = decoder.flush(&self.canceller, &mut sink);
        self.settle(result.map(|()| count as usize))
    }

    /// Forgets the clip in both directions, and any failure or cancellation. All memory is kept for the next clip.
    ///
    /// # Errors
    /// [`Runtime`](ErrorKind::Runtime) if the runtime refuses to clear a cancellation.
    pub fn reset(&mut self) -> Result<()> {
        let _mode = FloatMode::set_default();
        self.model.owner().check("stream")?;
        self.encoder.iter_mut().for_each(Encoding::reset);
        self.decoder.iter_mut().for_each(Decoding::reset);
        (self.frame_limit, self.failure) = (None, None);
        self.canceller.clear()
    }

    /// Makes a reset necessary, after a call of which nobody knows how far it came.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure = Some(error);
    }

    /// After a failure part of a call is done; only a reset makes the state whole again.
    fn settle<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(e) = &result {
            self.failure = Some(e.clone());
        }
        result
    }

    /// Fails if a reset is needed; every call that moves the stream checks this first.
    pub(crate) fn check_ready(&mut self) -> Result<()> {
        self.model.owner().check("stream")?;
        if let Some(failure) = &self.failure {
            fail!(NeedsReset, "an earlier call failed, reset the stream first: {failure}");
        }
        if self.canceller.is_cancelled() {
            return self.settle(Err(Error::new(ErrorKind::Cancelled, "cancelled before the call; reset the stream")));
        }
        Ok(())
    }

    fn encoder(&self) -> Result<&Encoding> {
        self.encoder
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::InvalidState, "this stream was made without encoding"))
    }

    fn decoder(&self) -> Result<&Decoding> {
        self.decoder
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::InvalidState, "this stream was made without decoding"))
    }

    fn live_encoder(&self) -> Result<&Encoding> {
        let encoder = self.encoder()?;
        if encoder.flushed() {
            if encoder.frames_in() > 0 {
                self.check_ended("encode")?;
            }
            fail!(InvalidState, "the encoder was flushed, its clip has ended; reset the stream for the next one");
        }
        Ok(encoder)
    }

    fn live_decoder(&self) -> Result<&Decoding> {
        let decoder = self.decoder()?;
        if decoder.flushed() {
            if decoder.latents_in() > 0 {
                self.check_ended("decode")?;
            }
            fail!(InvalidState, "the decoder was flushed, its clip has ended; reset the stream for the next one");
        }
        Ok(decoder)
    }

    /// Says why a second call is one too many, where each call gets a whole clip.
    fn check_ended(&self, direction: &str) -> Result<()> {
        if self.model.network().needs_whole_clip() {
            fail!(
                InvalidState,
                "a second {direction} call: {} has norm_type \"groupnorm\", whose statistics span the whole clip, so it \
                 cannot stream; give the clip in one call, and reset the stream before the next one",
                self.model.info().name
            );
        }
        if self.at_once.is_some() {
            fail!(
                InvalidState,
                "a second {direction} call: with clip_frames set each call gets a whole clip; reset the stream before \
                 the next one"
            );
        }
        Ok(())
    }

    /// Whether this call gets a whole clip; then its length, in frames, must be what was planned for. `most`: how many
    /// frames the longest clip has here; decoding gives those that completed its last group too.
    fn check_clip(&mut self, frames: u64, most: impl Fn(u64) -> u64) -> Result<bool> {
        let Some(longest) = self.at_once else { return Ok(false) };
        if longest > 0 && frames > most(longest) {
            fail!(InvalidArgument, "a clip of {frames} frames: clip_frames is {longest}");
        }
        // Nobody said how long clips are, so memory was not checked. What a clip took stays for the next one.
        if longest == 0 && frames > self.longest_clip {
            let options = StreamOptions { clip_frames: frames, ..self.options.clone() };
            Plan::new(&self.model, &options)?.estimate.check_available(&self.model, &options)?;
            self.longest_clip = frames;
        }
        Ok(true)
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

    /// Before anything is consumed. What comes out is checked too, but a frame with a NaN may be of no latent of this call.
    fn check_finite(&self, frames: &[Image<'_>]) -> Result<()> {
        let first = self.encoder()?.frames_in();
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

    fn check_latent_capacity(&self, count: u64, numbers: usize) -> Result<()> {
        let capacity = (numbers / self.codec.encoded_len()) as u64;
        if capacity < count {
            fail!(Capacity, "room for {capacity} latents, this call writes {count}");
        }
        Ok(())
    }

    fn check_frame_capacity(&self, count: u64, frames: &[ImageMut<'_>]) -> Result<()> {
        let capacity = frames.len() as u64;
        if capacity < count {
            fail!(Capacity, "room for {capacity} frames, this call writes {count}");
        }
        self.check_sizes(frames[..count as usize].iter().map(|frame| (frame.width(), frame.height())))
    }
}

/// A buffer for frames or latents.
fn zeros(len: usize) -> Result<Vec<f32>> {
    memory::zeros(len, "frames in the making")
}

/// The caller's latents, in the order in which they come.
struct LatentOutput<'a, 'b> {
    codec: &'a LatentCodec,
    latents: &'a mut LatentsMut<'b>,
    written: Result<usize>,
}

impl<'a, 'b> LatentOutput<'a, 'b> {
    fn new(codec: &'a LatentCodec, latents: &'a mut LatentsMut<'b>) -> Self {
        LatentOutput { codec, latents, written: Ok(0) }
    }

    fn take(&mut self, index: u64, moments: &[f32]) {
        if let Ok(count) = self.written {
            self.written = self.codec.encode(moments, index, count, self.latents).map(|()| count + 1);
        }
    }

    fn count(self) -> Result<usize> {
        self.written
    }
}

/// The caller's frames, from clip frame `first` on.
struct FrameOutput<'a, 'b> {
    frames: &'a mut [ImageMut<'b>],
    first: u64,
    limit: u64,
}

impl FrameOutput<'_, '_> {
    fn take(&mut self, index: u64, planes: &[f32], held: &Rect, part: &Rect) {
        if index < self.limit {
            self.frames[(index - self.first) as usize].write(planes, held, part);
        }
    }
}

impl Geometry {
    fn new(model: &Model, options: &StreamOptions) -> Result<Self> {
        let (width, height) = (options.width, options.height);
        let compression = model.network().spatial_compression();
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            fail!(InvalidSize, "{width}x{height}: width and height must be 1 to {MAX_SIDE}");
        }
        let multiple = width.is_multiple_of(compression) && height.is_multiple_of(compression);
        if !multiple && !options.pad {
            fail!(
                InvalidSize,
                "{width}x{height}: width and height must be multiples of {compression}; scale or crop, or ask for padding"
            );
        }
        let [padded_width, padded_height] = [width, height].map(|n| n.next_multiple_of(compression));
        Ok(Geometry { width, height, padded_width, padded_height, compression })
    }

    /// That of a part of the picture.
    fn part(&self, (width, height): (usize, usize)) -> Self {
        Geometry { width, height, padded_width: width, padded_height: height, compression: self.compression }
    }

    fn latent_width(&self) -> usize {
        self.padded_width / self.compression
    }

    fn latent_plane(&self) -> usize {
        self.latent_width() * (self.padded_height / self.compression)
    }

    /// Pixels of a frame.
    fn area(&self) -> u64 {
        (self.padded_width * self.padded_height) as u64
    }

    fn shape(&self, port: &Port, frames: usize) -> Vec<usize> {
        port.shape([self.padded_height, self.padded_width], frames)
    }

    fn bytes(&self, port: &Port) -> u64 {
        (self.shape(port, 1).iter().product::<usize>() * port.element.bytes()) as u64
    }

    /// A tensor for what lies between two runs of a stream's steps.
    fn tensor(&self, port: &Port, device: Option<&Arc<Device>>) -> Result<Tensor> {
        Tensor::on(device, &self.shape(port, 1), port.element)
    }

    /// A tensor for one end of a stream, which the processor writes or reads.
    fn end_tensor(&self, port: &Port, device: Option<&Arc<Device>>) -> Result<Tensor> {
        Tensor::staged(device, &self.shape(port, 1), port.element)
    }

    /// A tensor for a port that holds several frames.
    fn clip_tensor(&self, port: &Port, frames: usize) -> Result<Tensor> {
        Tensor::new(&self.shape(port, frames), port.element)
    }
}
