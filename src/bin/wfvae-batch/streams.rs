//! The streams that workers share: clips of one size use the same ones again, and all of them stay within the memory.

use crate::engine::Engine;
use crate::lock::lock;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, PoisonError};
use wfvae::{ErrorKind, Estimate, Model, Stream, StreamOptions, Tiling};

/// Frames of a clip that are processed in one call.
pub const FRAMES_AT_ONCE: usize = 8;

pub struct Streams {
    model: Model,
    /// Bytes for the model, its streams, and the frames of clips.
    limit: u64,
    jobs: usize,
    process: ProcessMemory,
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
    /// Workers that wait for memory. The first one goes first, so that a large clip is not always overtaken.
    queue: VecDeque<u64>,
    next_in_queue: u64,
}

struct Kept {
    plan: Plan,
    stream: Stream,
}

/// Of the process that reads or writes media files for a worker.
#[derive(Clone, Copy)]
pub struct ProcessMemory {
    pub name: &'static str,
    /// Its libraries and buffers.
    pub bytes: u64,
}

/// The stream that a clip needs.
pub struct Wanted {
    /// All but tiles.
    pub options: StreamOptions,
    /// The clip's length, if that is known before.
    pub frames: Option<u64>,
    /// Of a frame, in this process.
    pub frame_bytes: u64,
    /// That the worker's process holds of the clip.
    pub held_bytes: u64,
}

/// How a clip is processed, and what that takes.
#[derive(Clone)]
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

impl Plan {
    /// Whether a stream that was made for this plan is the one that another plan asks for.
    fn has_stream_of(&self, other: &Plan) -> bool {
        let of = |options: &StreamOptions| {
            let size = (options.width, options.height, options.pad, options.scaled);
            (size, options.tiling, options.memory_limit, options.clip_frames)
        };
        of(&self.options) == of(&other.options)
    }
}

impl Streams {
    /// `process`: what each worker has beside its stream.
    pub fn new(engine: Engine, process: ProcessMemory) -> Self {
        let Engine { model, memory: limit, workers: jobs, .. } = engine;
        Streams { model, limit, jobs, process, state: Mutex::default(), changed: Condvar::new() }
    }

    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A stream for a clip. Waits until there is memory for it.
    pub fn take(&self, wanted: &Wanted) -> Result<Lease<'_>, String> {
        let plan = self.plan(wanted)?;
        let mut state = lock(&self.state);
        let own = state.next_in_queue;
        state.next_in_queue += 1;
        state.queue.push_back(own);
        let result = loop {
            if state.queue.front() == Some(&own)
                && let Some(result) = self.try_take(&mut state, &plan)
            {
                break result;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.queue.pop_front();
        drop(state);
        self.changed.notify_all();
        result
    }

    /// `None`: there is no memory for it yet.
    fn try_take(&self, state: &mut State, plan: &Plan) -> Option<Result<Lease<'_>, String>> {
        let found = state.idle.iter().rposition(|kept| kept.plan.has_stream_of(plan));
        let reused = found.map(|at| state.idle.remove(at));
        let needed = plan.clip_bytes + if reused.is_some() { 0 } else { plan.stream_bytes };
        // What does not fit alone has its tiles, or was refused; estimates may be a little off.
        let alone = state.running == 0;
        let of_idle: u64 = state.idle.iter().map(|kept| kept.plan.stream_bytes).sum();
        if !alone && !self.fits(state.used - of_idle + needed) {
            state.idle.extend(reused);
            return None;
        }
        // Other streams make room, the oldest ones first.
        while !self.fits(state.used + needed) && !state.idle.is_empty() {
            self.drop_oldest(state);
        }
        let stream = match reused {
            Some(kept) => kept.stream,
            None => loop {
                match Stream::new(&self.model, &plan.options) {
                    Ok(stream) => {
                        state.used += plan.stream_bytes;
                        break stream;
                    }
                    // The system has less memory than the limit.
                    Err(e) if e.kind() == ErrorKind::OutOfMemory && !state.idle.is_empty() => self.drop_oldest(state),
                    Err(e) if e.kind() == ErrorKind::OutOfMemory && !alone => return None,
                    Err(e) => return Some(Err(e.to_string())),
                }
            },
        };
        state.running += 1;
        state.used += plan.clip_bytes;
        let kept = Some(Kept { plan: plan.clone(), stream });
        Some(Ok(Lease { kept, clip_bytes: plan.clip_bytes, streams: self }))
    }

    fn drop_oldest(&self, state: &mut State) {
        state.used -= state.idle.remove(0).plan.stream_bytes;
    }

    /// What does not fit alone is processed in tiles, whatever other streams there are, so that results do not depend on them. Where
    /// the number of frames is known, one tile's causal caches are enough.
    fn plan(&self, wanted: &Wanted) -> Result<Plan, String> {
        let Wanted { frames, frame_bytes, held_bytes, .. } = *wanted;
        let mut options = wanted.options.clone();
        let clip_bytes = |clip_frames: u64| held_bytes + frame_bytes * clip_frames.max(FRAMES_AT_ONCE as u64);
        let estimate = |options: &StreamOptions| Stream::estimate(&self.model, options);
        let plan = |options: StreamOptions, estimate: Estimate| Plan {
            clip_bytes: clip_bytes(options.clip_frames),
            stream_bytes: estimate.total_bytes - estimate.weight_bytes,
            options,
        };
        let whole = estimate(&options).map_err(|e| e.to_string())?;
        let needed = plan(options.clone(), whole);
        if self.fits(needed.stream_bytes + needed.clip_bytes) {
            return Ok(needed);
        }
        options.tiling = Tiling::Exact;
        for clip_frames in [Some(options.clip_frames), frames].into_iter().flatten() {
            options.clip_frames = clip_frames;
            options.memory_limit = self.limit.saturating_sub(self.of_processes() + clip_bytes(clip_frames)).max(1);
            if let Ok(tiled) = estimate(&options) {
                return Ok(plan(options, tiled));
            }
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let advice = match (options.encode, self.model.info().encode_halo, frames) {
            (false, ..) => ", or take fewer --jobs",
            (true, Some(_), None) => {
                ", take fewer --jobs, or make the frames smaller with --size; with --frames they can be processed in tiles"
            }
            _ => ", take fewer --jobs, or make the frames smaller with --size",
        };
        Err(format!(
            "frames of {}x{} need {} MiB, {} MiB of it for {}, and {} MiB may be used; raise --memory{advice}",
            options.width,
            options.height,
            mib(self.fixed() + needed.stream_bytes + needed.clip_bytes),
            mib(self.of_processes() + held_bytes),
            self.process.name,
            mib(self.limit)
        ))
    }

    fn of_processes(&self) -> u64 {
        self.jobs as u64 * self.process.bytes
    }

    /// Of the weights, and of the workers' processes.
    fn fixed(&self) -> u64 {
        self.model.info().weight_bytes + self.of_processes()
    }

    fn fits(&self, bytes: u64) -> bool {
        self.fixed().saturating_add(bytes) <= self.limit
    }
}

impl Lease<'_> {
    /// Of the tiles in which frames are processed, if they are.
    pub fn tile(&self) -> Result<Option<String>, String> {
        let options = self.options();
        if options.tiling == Tiling::Off {
            return Ok(None);
        }
        let estimate = Stream::estimate(self.model(), options).map_err(|e| e.to_string())?;
        let (width, height) = if options.encode { estimate.encode_tile } else { estimate.decode_tile };
        Ok(Some(format!("{width}x{height}")))
    }
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
            Err(_) => state.used -= kept.plan.stream_bytes,
        }
        // More are never used at a time.
        if state.idle.len() > self.streams.jobs {
            self.streams.drop_oldest(&mut state);
        }
        drop(state);
        self.streams.changed.notify_all();
    }
}
