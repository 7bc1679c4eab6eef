//! The streams that workers share: clips of one size use the same ones again, and all of them stay within the memory.

use crate::watchdog::lock;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, PoisonError};
use wfvae::{ErrorKind, Estimate, Model, Stream, StreamOptions, Tiling};

/// Frames of a clip that are encoded in one call.
pub const FRAMES_AT_ONCE: usize = 8;
/// Of a process that decodes clips: its libraries and buffers; and the frames that it holds of a clip. Measured.
const READER_BYTES: u64 = 40_000_000;
const READER_FRAMES: u64 = 24;
/// Of a pixel of a frame, with 4:4:4 or with 16 bits.
const PIXEL_BYTES: u64 = 3;

pub struct Streams {
    model: Model,
    /// All but the size.
    options: StreamOptions,
    /// Bytes for the model, its streams, and the frames of clips.
    limit: u64,
    /// Of every clip, if that is known.
    frames: Option<u64>,
    /// Of the weights, and of the processes that decode.
    fixed: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Bytes of all streams, whether they run or wait, and of the clips that are open.
    used: u64,
    running: usize,
    /// The one that was used last is at the end.
    idle: Vec<Kept>,
}

struct Kept {
    size: (usize, usize),
    stream: Stream,
    bytes: u64,
}

/// What a clip takes beside a stream.
struct Plan {
    options: StreamOptions,
    stream_bytes: u64,
    clip_bytes: u64,
}

/// A stream at the start of a clip. It goes back when this is dropped.
pub struct Lease<'a> {
    kept: Option<Kept>,
    clip_bytes: u64,
    streams: &'a Streams,
}

impl Streams {
    pub fn new(model: Model, options: StreamOptions, limit: u64, frames: Option<u64>, jobs: usize) -> Self {
        let fixed = model.info().weight_bytes + jobs as u64 * READER_BYTES;
        Streams { model, options, limit, frames, fixed, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Whether there is memory to decode frames of so many pixels.
    pub fn check_source(&self, pixels: u64) -> Result<(), String> {
        let needed = self.fixed + source_bytes(pixels);
        match needed <= self.limit {
            true => Ok(()),
            false => Err(format!(
                "decoding it needs {} MiB, {} MiB may be used; raise --memory",
                mib(needed),
                mib(self.limit)
            )),
        }
    }

    /// A stream for frames of a size, which are made from frames of `source_pixels`. Waits until there is memory for it.
    pub fn take(&self, size: (usize, usize), source_pixels: u64) -> Result<Lease<'_>, String> {
        let Plan { options, stream_bytes, clip_bytes } = self.plan(size, source_pixels)?;
        let mut state = lock(&self.state);
        let lease = |state: &mut State, kept| {
            state.running += 1;
            state.used += clip_bytes;
            Ok(Lease { kept: Some(kept), clip_bytes, streams: self })
        };
        loop {
            let alone = state.running == 0;
            if let Some(at) = state.idle.iter().rposition(|kept| kept.size == size)
                && (alone || self.fits(&state, clip_bytes))
            {
                let kept = state.idle.remove(at);
                return lease(&mut state, kept);
            }
            // Streams of other sizes make room, the oldest ones first.
            while !self.fits(&state, stream_bytes + clip_bytes) && !state.idle.is_empty() {
                state.used -= state.idle.remove(0).bytes;
            }
            if alone || self.fits(&state, stream_bytes + clip_bytes) {
                match Stream::new(&self.model, &options) {
                    Ok(stream) => {
                        state.used += stream_bytes;
                        return lease(&mut state, Kept { size, stream, bytes: stream_bytes });
                    }
                    // The system has less memory than the limit.
                    Err(e) if e.kind() == ErrorKind::OutOfMemory && !state.idle.is_empty() => {
                        state.used -= state.idle.remove(0).bytes;
                        continue;
                    }
                    Err(e) if e.kind() == ErrorKind::OutOfMemory && !alone => {}
                    Err(e) => return Err(e.to_string()),
                }
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What does not fit alone is processed in tiles, whatever other streams there are, so that results do not depend on them. Where
    /// the number of frames is known, one tile's causal caches are enough.
    fn plan(&self, (width, height): (usize, usize), source_pixels: u64) -> Result<Plan, String> {
        let mut options = self.options.clone();
        (options.width, options.height) = (width, height);
        let pixels = (width * height) as u64;
        let clip_bytes = |clip_frames: u64| {
            let frames = clip_frames.max(FRAMES_AT_ONCE as u64);
            source_bytes(source_pixels) + PIXEL_BYTES * pixels * frames
        };
        let estimate = |options: &StreamOptions| Stream::estimate(&self.model, options);
        let plan = |options: StreamOptions, estimate: Estimate| Plan {
            clip_bytes: clip_bytes(options.clip_frames),
            stream_bytes: estimate.total_bytes - estimate.weight_bytes,
            options,
        };
        let whole = estimate(&options).map_err(|e| e.to_string())?;
        let others = self.fixed - self.model.info().weight_bytes;
        let needed = whole.total_bytes + others + clip_bytes(options.clip_frames);
        if needed <= self.limit {
            return Ok(plan(options, whole));
        }
        options.tiling = Tiling::Exact;
        for clip_frames in [Some(options.clip_frames), self.frames].into_iter().flatten() {
            options.clip_frames = clip_frames;
            options.memory_limit = self.limit.saturating_sub(others + clip_bytes(clip_frames)).max(1);
            if let Ok(tiled) = estimate(&options) {
                return Ok(plan(options, tiled));
            }
        }
        let tiles = match (self.model.info().encode_halo, self.frames) {
            (Some(_), None) => "; with --frames they can be processed in tiles",
            _ => "",
        };
        Err(format!(
            "frames of {width}x{height} need {} MiB, {} MiB of it for decoding, and {} MiB may be used; make them smaller with --size, or raise --memory{tiles}",
            mib(needed),
            mib(others + source_bytes(source_pixels)),
            mib(self.limit)
        ))
    }

    fn fits(&self, state: &State, bytes: u64) -> bool {
        self.fixed + state.used + bytes <= self.limit
    }
}

fn source_bytes(pixels: u64) -> u64 {
    PIXEL_BYTES * pixels * READER_FRAMES
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl Deref for Lease<'_> {
    type Target = Stream;

    fn deref(&self) -> &Stream {
        &self.kept.as_ref().expect("until it is dropped").stream
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Stream {
        &mut self.kept.as_mut().expect("until it is dropped").stream
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut kept = self.kept.take().expect("until it is dropped");
        let reset = kept.stream.reset();
        let mut state = lock(&self.streams.state);
        state.running -= 1;
        state.used -= self.clip_bytes;
        match reset {
            Ok(()) => state.idle.push(kept),
            Err(_) => state.used -= kept.bytes,
        }
        drop(state);
        self.streams.changed.notify_all();
    }
}
