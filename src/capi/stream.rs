use super::abi::{self, Sized_};
use super::frame::{images, images_mut, wfvae_frame};
use super::guard::{c_text, caught, guard};
use super::model::wfvae_model;
use super::status::wfvae_status;
use crate::error::{ErrorKind, Result, fail};
use crate::media::{LatentType, Latents, LatentsMut, Posterior};
use crate::process::Process;
use crate::stream::{Canceller, Estimate, ModelInfo, Stream, StreamOptions, Tiling};
use half::f16;
use parking_lot::Mutex;
use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

/// Keeps a mistaken count from asking for the memory to describe it.
pub(super) const MAX_PER_CALL: usize = 1 << 16;

/// A stream: the causal caches and counters of one clip at a time. Its two directions, encode and decode, are
/// independent of each other.
///
/// Thread-safety: one thread at a time; a call that finds another thread inside returns WFVAE_STATUS_BUSY.
/// wfvae_cancel() may be called at any time. Streams of one model run at the same time without disturbing each other.
pub struct wfvae {
    stream: Mutex<Stream>,
    canceller: Canceller,
    latent_type: LatentType,
    error: Mutex<CString>,
    owner: Process,
}

/// The directions of a stream, to be combined.
pub const WFVAE_DIRECTION_ENCODE: u32 = 1;
/// The directions of a stream, to be combined.
pub const WFVAE_DIRECTION_DECODE: u32 = 2;

/// The type of the numbers of latents.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_latent_type {
    /// float, 4 bytes.
    F32 = 0,
    /// IEEE half precision, 2 bytes.
    F16 = 1,
}

/// Which latent the encoder writes. The network gives a mean and a variance for each value.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_posterior {
    /// The mean, which is also the mode: C channels.
    Mean = 0,
    /// A sample, mean + exp(logvar / 2) * noise: C channels. The noise depends on wfvae_options.seed and the latent's
    /// place in the clip alone, not on how the clip was cut into calls.
    Sample = 1,
    /// The mean's C channels, then those of the log-variance, clamped to -30..20: 2C channels. Never scaled.
    Moments = 2,
}

/// Whether large frames are worked on in tiles, which takes less memory at a time and more work in all: tiles of size t
/// that overlap by o do (t / (t - o)) squared times the work. In a stream (clip_frames is 0) each tile has causal caches
/// of its own, so that tiles save working memory only.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_tiling {
    /// The whole frame at once.
    Off = 0,
    /// Tiles that overlap by as much as the network looks around (twice the halo in wfvae_model_info), so that the result
    /// is the whole frame's but for rounding. Only for models without attention.
    Exact = 1,
    /// Tiles in whose overlap one fades into the next. For any model; the result is not that of the whole frame, and
    /// attention only sees its tile.
    Blended = 2,
}

/// What a stream takes while it runs, in bytes, to within 15 % or 4 MB, whichever is more; for models that take whole clips
/// to within a third. Loading the weights takes more for a moment. Memory grows with n_threads: each thread has its own
/// for the largest convolution.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_memory {
    /// sizeof(wfvae_memory), set by the caller.
    pub struct_size: usize,
    /// All of the following four.
    pub total_bytes: u64,
    /// The model's weights for the stream's directions, shared with its other streams.
    pub weight_bytes: u64,
    /// Causal caches, waiting frames and buffers of the encoder.
    pub encode_state_bytes: u64,
    /// The same of the decoder.
    pub decode_state_bytes: u64,
    /// What the network's layers hand to each other. Kept from call to call, shared with the model's other streams.
    pub working_bytes: u64,
    /// Of the encoder's tiles, in pixels: the whole frame's without tiling.
    pub encode_tile_width: u32,
    /// As encode_tile_width.
    pub encode_tile_height: u32,
    /// The encoder's tiles of a frame; 0 without encoding.
    pub encode_tiles: u32,
    /// Of the decoder's tiles, in pixels.
    pub decode_tile_width: u32,
    /// As decode_tile_width.
    pub decode_tile_height: u32,
    /// The decoder's tiles of a frame; 0 without decoding.
    pub decode_tiles: u32,
}

unsafe impl Sized_ for wfvae_memory {
    const NAME: &'static str = "wfvae_memory";
    const FIRST_SIZE: usize = size_of::<wfvae_memory>();
}

/// How a stream is made. Fill with zero, set struct_size, width and height; zero is the default of all else.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_options {
    /// sizeof(wfvae_options).
    pub struct_size: usize,
    /// Of the frames, in pixels, 1 to 32768: multiples of the model's spatial_compression, unless padding is set.
    pub width: u32,
    /// As width.
    pub height: u32,
    /// WFVAE_DIRECTION_ENCODE, WFVAE_DIRECTION_DECODE or both; 0: all that the model has, which is both unless its checkpoint
    /// holds one half alone (wfvae_model_info.directions). A direction that the stream lacks costs no
    /// memory, and no weights of it are loaded.
    pub directions: u32,
    /// 1: any width and height; encoding repeats the last column and row up to the next multiple, decoding crops them.
    pub padding: u32,
    /// A wfvae_latent_type, for both directions.
    pub latent_type: u32,
    /// A wfvae_posterior, for encoding.
    pub posterior: u32,
    /// Of WFVAE_POSTERIOR_SAMPLE.
    pub seed: u64,
    /// 1: latents outside the library are (z - shift) * scale with the config's lists, in both directions. 0: they are
    /// the network's own z.
    pub scaled: u32,
    /// A wfvae_tiling.
    pub tiling: u32,
    /// Of the tiles, in pixels, rounded up to multiples of spatial_compression. 0: the frame's; with tile_height 0 too and
    /// memory_limit, that of the largest tile that the limit allows, which may be the whole frame.
    pub tile_width: u32,
    /// As tile_width.
    pub tile_height: u32,
    /// By how many pixels blended tiles overlap at least, rounded up likewise; 0: a quarter of a tile's shorter side.
    pub tile_overlap: u32,
    /// 1: wfvae_latent_reader_check_stream() lets latents of other encoders through, as long as their sizes are the model's:
    /// for a copy of the model in another precision, or where you know that they fit.
    pub any_encoder: u32,
    /// Above 0: each encode and each decode call gets a whole clip, of at most so many frames, and ends it;
    /// wfvae_reset() comes before the next one. Tiles are then worked on one after the other through all frames, so that
    /// only one tile's causal caches exist. 0: the clip comes in any number of calls; a model that takes whole clips
    /// (wfvae_model_info.whole_clips) takes one of any length, and nothing says in advance whether memory is enough.
    pub clip_frames: u64,
    /// Above 0: wfvae_create() fails with WFVAE_STATUS_OUT_OF_MEMORY and says the numbers, if the stream would need more
    /// bytes than this, the model's weights included; see wfvae_estimate(). A model that takes whole clips needs
    /// clip_frames for it. 0: no limit but the machine's.
    pub memory_limit: u64,
}

unsafe impl Sized_ for wfvae_options {
    const NAME: &'static str = "wfvae_options";
    const FIRST_SIZE: usize = size_of::<wfvae_options>();
}

/// Sizes and counters of a stream.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct wfvae_info {
    /// sizeof(wfvae_info), set by the caller.
    pub struct_size: usize,
    /// Of the frames, in pixels.
    pub width: u32,
    /// Of the frames, in pixels.
    pub height: u32,
    /// w of the latents.
    pub latent_width: u32,
    /// h of the latents.
    pub latent_height: u32,
    /// C of the latents that decoding reads.
    pub latent_channels: u32,
    /// Channels that encoding writes: C, or 2C for WFVAE_POSTERIOR_MOMENTS.
    pub encoded_channels: u32,
    /// Bytes of one latent that decoding reads.
    pub latent_size: u64,
    /// Bytes of one latent that encoding writes.
    pub encoded_size: u64,
    /// Bytes of the encoder's causal caches, waiting frames and buffers. They do not grow.
    pub encode_state_bytes: u64,
    /// Bytes of the decoder's causal caches, waiting frames and buffers. They do not grow.
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
    /// 1: an earlier call failed; call wfvae_reset().
    pub needs_reset: u32,
    /// 0.
    pub reserved: u32,
}

unsafe impl Sized_ for wfvae_info {
    const NAME: &'static str = "wfvae_info";
    const FIRST_SIZE: usize = size_of::<wfvae_info>();
}

/// Makes a stream on a model, and loads the model's weights for the stream's directions if no stream did before (for a
/// large model that takes seconds). On a CUDA device it also runs each step once, so that the first chunk does not wait
/// for what a size's first run does: choosing algorithms, loading kernels, growing the memory.
///
/// options: read during the call only.
/// stream: receives the handle on success, to be destroyed with wfvae_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE, _OUT_OF_MEMORY, _RUNTIME; _PROVIDER if the precision cannot
/// be had where the model runs; _CHECKPOINT if the checkpoint's files changed since they were opened, _IO if they cannot be
/// read any more. The text is in wfvae_last_error(NULL).
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_create(
    model: *mut wfvae_model,
    options: *const wfvae_options,
    stream: *mut *mut wfvae,
) -> wfvae_status {
    guard!(status: {
        let out = unsafe { abi::out(stream, "stream")? };
        out.write(std::ptr::null_mut());
        let model = unsafe { wfvae_model::from_ptr(model)? };
        let (options, latent_type) = unsafe { abi::read(options)? }.convert(&model.model().info())?;
        let stream = Stream::new(model.model(), &options)?;
        out.write(wfvae::new(stream, latent_type));
        Ok(())
    })
}

/// Says what a stream with these options would take and how it would be tiled. Allocates and loads nothing. For a model
/// that takes whole clips these have clip_frames frames; where that is 0, the shortest ones of more than one latent.
///
/// options: as for wfvae_create().
/// memory: set its struct_size; the rest is written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_SIZE; _OUT_OF_MEMORY if it would exceed memory_limit.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_estimate(
    model: *const wfvae_model,
    options: *const wfvae_options,
    memory: *mut wfvae_memory,
) -> wfvae_status {
    guard!(status: {
        let model = unsafe { wfvae_model::from_ptr(model)? };
        let (options, _) = unsafe { abi::read(options)? }.convert(&model.model().info())?;
        let estimate = Stream::estimate(model.model(), &options)?;
        unsafe { abi::write(memory, &wfvae_memory::from(&estimate)) }
    })
}

/// Destroys a stream. What was not flushed is lost.
///
/// stream: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per stream. A call that another thread has already entered is cancelled and returns there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_destroy(stream: *mut wfvae) {
    guard!(value or (); {
        if !stream.is_null() {
            let stream = unsafe { Arc::from_raw(stream) };
            match stream.owner.is_current() {
                // For a call that another thread has entered, if there is one.
                true => stream.canceller.cancel(),
                // A lock in there may be as another thread left it.
                false => std::mem::forget(stream),
            }
        }
    })
}

/// Encodes frames and writes the latents that they complete: one for the clip's first frame, then one for every
/// temporal_compression frames. Frames of an incomplete group wait inside.
///
/// frames: n_frames frames of the stream's size, in order of time; read during the call only.
/// n_frames: 1 to 65536.
/// latents: room for `capacity` latents, [capacity, encoded_channels, latent_height, latent_width] without gaps,
/// aligned for the latent type; may be NULL if capacity is 0.
/// capacity: in latents; wfvae_encode_count() says how many a call needs.
/// written: receives the number of latents written; 0 on failure.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, _INVALID_SIZE, _CAPACITY, _INVALID_STATE, _BUSY, _NEEDS_RESET, after which
/// nothing was consumed; _RUNTIME, _CANCELLED, after which the contents of latents are unspecified and the stream needs
/// wfvae_reset(); _OUT_OF_MEMORY before the first step, after which nothing was consumed, or in one, which is as _RUNTIME;
/// _NOT_FINITE for float frames (in decoding: latents) with a NaN or an infinity, after which nothing was consumed, and for
/// results that hold one or that latents of float16 cannot hold, after which the stream needs wfvae_reset(). Of the last
/// two, wfvae_info.needs_reset says which it was.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_chunk(
    stream: *mut wfvae,
    frames: *const wfvae_frame,
    n_frames: usize,
    latents: *mut c_void,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae::write(stream, written, |handle, stream| {
                check_given(frames, n_frames, "frames")?;
                let images = images(frames, n_frames)?;
                let needed = stream.encode_count(n_frames as u64)?;
                handle.with_latents(stream, latents, capacity, needed, |stream, out| stream.encode(&images, out))
            })
        }
    })
}

/// Ends the clip for encoding: writes the latent of an incomplete last group, whose missing frames repeat the last one.
/// Further frames need wfvae_reset(). A second flush writes nothing.
///
/// latents, capacity, written: as for wfvae_encode_chunk(); one latent is always enough.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_flush(
    stream: *mut wfvae,
    latents: *mut c_void,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae::write(stream, written, |handle, stream| {
                let needed = stream.encode_flush_count()?;
                handle.with_latents(stream, latents, capacity, needed, |stream, out| stream.encode_flush(out))
            })
        }
    })
}

/// Decodes latents and writes the frames that are final: one for the clip's first latent, later temporal_compression for
/// each, of which the last decode_delay wait inside for the next latent or the flush.
///
/// latents: n_latents latents, [n_latents, latent_channels, latent_height, latent_width] without gaps, aligned for the
/// latent type; read during the call only.
/// n_latents: 1 to 65536.
/// frames: capacity descriptions of memory to write to, filled in order; those of frames that are not written are not
/// looked at.
/// capacity: in frames; wfvae_decode_count() says how many a call needs.
/// written: receives the number of frames written; 0 on failure.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_chunk(
    stream: *mut wfvae,
    latents: *const c_void,
    n_latents: usize,
    frames: *mut wfvae_frame,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae::write(stream, written, |handle, stream| {
                check_given(latents.cast::<u8>(), n_latents, "latents")?;
                let needed = stream.decode_count(n_latents as u64)?;
                let mut images = frames_for(frames, capacity, needed)?;
                let latents = handle.latents(stream, latents, n_latents)?;
                stream.decode(latents, &mut images)
            })
        }
    })
}

/// Ends the clip for decoding: writes the frames that waited inside. Further latents need wfvae_reset(). A second flush
/// writes nothing.
///
/// frames, capacity, written: as for wfvae_decode_chunk(); decode_delay of wfvae_model_info is always enough.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_flush(
    stream: *mut wfvae,
    frames: *mut wfvae_frame,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae::write(stream, written, |_, stream| {
                let needed = stream.decode_flush_count()?;
                stream.decode_flush(&mut frames_for(frames, capacity, needed)?)
            })
        }
    })
}

/// Forgets the clip in both directions, what waits inside, the frame count, any failure and any cancellation. Memory is
/// kept for the next clip.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _RUNTIME.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_reset(stream: *mut wfvae) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae::enter(stream, |handle, stream| {
                stream.reset()?;
                handle.clear_error();
                Ok(())
            })
        }
    })
}

/// Stops the call that runs on a stream in another thread: it returns WFVAE_STATUS_CANCELLED after the layer it is in,
/// typically within some milliseconds. If none runs, the next one returns that. Until wfvae_reset() or
/// wfvae_snapshot_restore().
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe, until wfvae_destroy() is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_cancel(stream: *mut wfvae) -> wfvae_status {
    guard!(status: {
        unsafe { wfvae::from_ptr(stream)? }.canceller.cancel();
        Ok(())
    })
}

/// Tells the decoder how many frames the clip has, so that it does not write those that the encoder's flush added. To
/// be called before the last latents are decoded; a reset forgets it.
///
/// n_frames: the clip's length, or UINT64_MAX for no limit.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_set_frame_count(stream: *mut wfvae, n_frames: u64) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae::enter(stream, |_, stream| {
                stream.set_frame_count((n_frames != u64::MAX).then_some(n_frames));
                Ok(())
            })
        }
    })
}

/// Sizes and counters of a stream.
///
/// info: set its struct_size; the rest is written on success.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_get_info(stream: *const wfvae, info: *mut wfvae_info) -> wfvae_status {
    guard!(status: {
        unsafe { wfvae::enter(stream, |handle, stream| abi::write(info, &handle.info(stream))) }
    })
}

/// The latents that wfvae_encode_chunk() would write for n_frames more frames.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_count(stream: *const wfvae, n_frames: usize, count: *mut usize) -> wfvae_status {
    guard!(status: { unsafe { wfvae::count(stream, count, |stream| stream.encode_count(n_frames as u64)) } })
}

/// The latents that wfvae_encode_flush() would write: 0 or 1.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_flush_count(stream: *const wfvae, count: *mut usize) -> wfvae_status {
    guard!(status: { unsafe { wfvae::count(stream, count, Stream::encode_flush_count) } })
}

/// The frames that wfvae_decode_chunk() would write for n_latents more latents.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_count(stream: *const wfvae, n_latents: usize, count: *mut usize) -> wfvae_status {
    guard!(status: { unsafe { wfvae::count(stream, count, |stream| stream.decode_count(n_latents as u64)) } })
}

/// The frames that wfvae_decode_flush() would write.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_flush_count(stream: *const wfvae, count: *mut usize) -> wfvae_status {
    guard!(status: { unsafe { wfvae::count(stream, count, Stream::decode_flush_count) } })
}

impl wfvae {
    fn new(stream: Stream, latent_type: LatentType) -> *mut wfvae {
        let canceller = stream.canceller();
        let (error, owner) = (Mutex::default(), stream.model().owner());
        let handle = wfvae { stream: Mutex::new(stream), canceller, latent_type, error, owner };
        Arc::into_raw(Arc::new(handle)).cast_mut()
    }

    pub(super) fn fork(&self, stream: &Stream) -> Result<*mut wfvae> {
        Ok(wfvae::new(stream.fork()?, self.latent_type))
    }

    /// Forgets the last error's text.
    pub(super) fn clear_error(&self) {
        *self.error.lock() = CString::default();
    }

    /// A share of the handle, so that destroying it in another thread does not free it under a running call.
    unsafe fn from_ptr(stream: *const wfvae) -> Result<Arc<wfvae>> {
        if stream.is_null() {
            fail!(InvalidArgument, "stream is NULL");
        }
        // SAFETY: made by `new`; the owner never changes.
        unsafe { (*stream).owner.check("stream")? };
        // SAFETY: made by Arc::into_raw in `new`.
        unsafe {
            Arc::increment_strong_count(stream);
            Ok(Arc::from_raw(stream))
        }
    }

    /// Runs a call on the stream, unless another thread is inside, and keeps its error text.
    pub(super) unsafe fn enter<T>(
        stream: *const wfvae,
        call: impl FnOnce(&wfvae, &mut Stream) -> Result<T>,
    ) -> Result<T> {
        let handle = unsafe { wfvae::from_ptr(stream)? };
        let Some(mut stream) = handle.stream.try_lock() else {
            fail!(Busy, "another thread is inside a call on this stream; give each thread a stream of its own");
        };
        let result = caught(|| call(&handle, &mut stream)).and_then(|result| result);
        if let Err(e) = &result
            && e.kind() == ErrorKind::Internal
        {
            stream.fail(e.clone());
        }
        if let Err(e) = &result {
            *handle.error.lock() = c_text(e.text());
        }
        result
    }

    /// A call that reports how much it wrote: 0 until it succeeds.
    unsafe fn write(
        stream: *mut wfvae,
        written: *mut usize,
        call: impl FnOnce(&wfvae, &mut Stream) -> Result<usize>,
    ) -> Result<()> {
        let call = |handle: &wfvae, stream: &mut Stream| {
            let written = unsafe { abi::out(written, "written")? };
            stream.check_ready()?;
            written.write(call(handle, stream)?);
            Ok(())
        };
        unsafe { abi::zero(written) };
        unsafe { wfvae::enter(stream, call) }
    }

    unsafe fn count(stream: *const wfvae, count: *mut usize, call: impl FnOnce(&Stream) -> Result<u64>) -> Result<()> {
        let call = |_: &wfvae, stream: &mut Stream| {
            let out = unsafe { abi::out(count, "count")? };
            out.write(call(stream)? as usize);
            Ok(())
        };
        unsafe { abi::zero(count) };
        unsafe { wfvae::enter(stream, call) }
    }

    pub(super) fn owner(&self) -> Process {
        self.owner
    }

    pub(super) fn error_text(&self) -> *const c_char {
        self.error.lock().as_ptr()
    }

    /// Lends the caller's room for as many latents as the call needs.
    unsafe fn with_latents(
        &self,
        stream: &mut Stream,
        latents: *mut c_void,
        capacity: usize,
        needed: u64,
        call: impl FnOnce(&mut Stream, LatentsMut<'_>) -> Result<usize>,
    ) -> Result<usize> {
        let info = stream.info();
        let room = needed.min(capacity as u64) as usize;
        let numbers = room * info.encoded_channels * info.latent_width * info.latent_height;
        // SAFETY: the caller promises room for `capacity` latents, of which these are some.
        call(stream, unsafe { latents_at_mut(latents, numbers, self.latent_type)? })
    }

    unsafe fn latents<'a>(&self, stream: &Stream, latents: *const c_void, count: usize) -> Result<Latents<'a>> {
        let info = stream.info();
        let size = info.latent_channels * info.latent_width * info.latent_height;
        // SAFETY: the caller promises `count` latents.
        unsafe { latents_at(latents, count * size, self.latent_type) }
    }

    pub(super) fn latent_type(&self) -> LatentType {
        self.latent_type
    }

    fn info(&self, stream: &Stream) -> wfvae_info {
        let info = stream.info();
        let plane = (info.latent_width * info.latent_height * self.latent_type.bytes()) as u64;
        wfvae_info {
            struct_size: size_of::<wfvae_info>(),
            width: info.width as u32,
            height: info.height as u32,
            latent_width: info.latent_width as u32,
            latent_height: info.latent_height as u32,
            latent_channels: info.latent_channels as u32,
            encoded_channels: info.encoded_channels as u32,
            latent_size: info.latent_channels as u64 * plane,
            encoded_size: info.encoded_channels as u64 * plane,
            encode_state_bytes: info.encode_state_bytes,
            decode_state_bytes: info.decode_state_bytes,
            frames_in: info.frames_in,
            latents_out: info.latents_out,
            latents_in: info.latents_in,
            frames_out: info.frames_out,
            encode_steps: info.encode_steps,
            decode_steps: info.decode_steps,
            needs_reset: info.needs_reset.into(),
            reserved: 0,
        }
    }
}

pub(super) fn to_latent_type(value: u32) -> Result<LatentType> {
    match value {
        0 => Ok(LatentType::F32),
        1 => Ok(LatentType::F16),
        other => fail!(InvalidArgument, "latent_type is {other}, expected a wfvae_latent_type"),
    }
}

/// `numbers` numbers of the caller's; memory for none may be anywhere.
pub(super) unsafe fn latents_at<'a>(latents: *const c_void, numbers: usize, kind: LatentType) -> Result<Latents<'a>> {
    if numbers == 0 {
        return Ok(Latents::F32(&[]));
    }
    check_latents(latents, kind)?;
    // SAFETY: the caller promises them.
    Ok(unsafe {
        match kind {
            LatentType::F32 => Latents::F32(std::slice::from_raw_parts(latents.cast(), numbers)),
            LatentType::F16 => Latents::F16(std::slice::from_raw_parts(latents.cast::<f16>(), numbers)),
        }
    })
}

/// The same to write.
pub(super) unsafe fn latents_at_mut<'a>(
    latents: *mut c_void,
    numbers: usize,
    kind: LatentType,
) -> Result<LatentsMut<'a>> {
    if numbers == 0 {
        return Ok(LatentsMut::F32(&mut []));
    }
    check_latents(latents, kind)?;
    // SAFETY: the caller promises room for them.
    Ok(unsafe {
        match kind {
            LatentType::F32 => LatentsMut::F32(std::slice::from_raw_parts_mut(latents.cast(), numbers)),
            LatentType::F16 => LatentsMut::F16(std::slice::from_raw_parts_mut(latents.cast::<f16>(), numbers)),
        }
    })
}

fn check_latents(latents: *const c_void, kind: LatentType) -> Result<()> {
    let size = kind.bytes();
    if latents.is_null() || !(latents as usize).is_multiple_of(size) {
        fail!(InvalidArgument, "latents is {latents:p}, expected memory aligned to {size} bytes");
    }
    Ok(())
}

fn check_given<T>(array: *const T, count: usize, name: &str) -> Result<()> {
    if array.is_null() {
        fail!(InvalidArgument, "{name} is NULL");
    }
    if count == 0 || count > MAX_PER_CALL {
        fail!(InvalidArgument, "n_{name} is {count}, expected 1 to {MAX_PER_CALL}");
    }
    Ok(())
}

/// The frames that a call will write. With too few the call fails, and says how many it needs.
unsafe fn frames_for<'a>(
    frames: *mut wfvae_frame,
    capacity: usize,
    needed: u64,
) -> Result<Vec<crate::media::ImageMut<'a>>> {
    let count = needed.min(capacity as u64) as usize;
    if count < needed as usize {
        fail!(Capacity, "room for {capacity} frames, this call writes {needed}");
    }
    if count > 0 && frames.is_null() {
        fail!(InvalidArgument, "frames is NULL, this call writes {needed}");
    }
    unsafe { images_mut(frames, count) }
}

impl From<&Estimate> for wfvae_memory {
    fn from(estimate: &Estimate) -> Self {
        let (encode, decode) = (estimate.encode_tile, estimate.decode_tile);
        wfvae_memory {
            struct_size: size_of::<wfvae_memory>(),
            total_bytes: estimate.total_bytes,
            weight_bytes: estimate.weight_bytes,
            encode_state_bytes: estimate.encode_state_bytes,
            decode_state_bytes: estimate.decode_state_bytes,
            working_bytes: estimate.working_bytes,
            encode_tile_width: encode.0 as u32,
            encode_tile_height: encode.1 as u32,
            encode_tiles: estimate.encode_tiles as u32,
            decode_tile_width: decode.0 as u32,
            decode_tile_height: decode.1 as u32,
            decode_tiles: estimate.decode_tiles as u32,
        }
    }
}

impl wfvae_options {
    /// For a stream of that model.
    fn convert(&self, model: &ModelInfo) -> Result<(StreamOptions, LatentType)> {
        let name = "wfvae_options";
        let mut options = StreamOptions::new(self.width as usize, self.height as usize);
        options.pad = abi::flag(self.padding, "wfvae_options: padding")?;
        options.scaled = abi::flag(self.scaled, "wfvae_options: scaled")?;
        (options.encode, options.decode) = match self.directions {
            0 => (model.encodes, model.decodes),
            3 => (true, true),
            WFVAE_DIRECTION_ENCODE => (true, false),
            WFVAE_DIRECTION_DECODE => (false, true),
            other => fail!(InvalidArgument, "{name}: directions is {other}, expected WFVAE_DIRECTION_ flags"),
        };
        options.posterior = match self.posterior {
            0 => Posterior::Mean,
            1 => Posterior::Sample { seed: self.seed },
            2 => Posterior::Moments,
            other => fail!(InvalidArgument, "{name}: posterior is {other}, expected a wfvae_posterior"),
        };
        let latent_type = to_latent_type(self.latent_type).map_err(|e| e.prefixed(name))?;
        let overlap = self.tile_overlap as usize;
        options.tiling = match (self.tiling, overlap) {
            (0, 0) => Tiling::Off,
            (1, 0) => Tiling::Exact,
            (2, overlap) => Tiling::Blended { overlap },
            (0 | 1, overlap) => {
                fail!(InvalidArgument, "{name}: tile_overlap is {overlap}, 0 unless tiling is WFVAE_TILING_BLENDED")
            }
            (other, _) => fail!(InvalidArgument, "{name}: tiling is {other}, expected a wfvae_tiling"),
        };
        (options.tile_width, options.tile_height) = (self.tile_width as usize, self.tile_height as usize);
        (options.clip_frames, options.memory_limit) = (self.clip_frames, self.memory_limit);
        options.any_encoder = abi::flag(self.any_encoder, "wfvae_options: any_encoder")?;
        Ok((options, latent_type))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::stream::{Model, ModelOptions};

    /// Nobody knows how far the call came, so the stream is of no use before a reset.
    #[test]
    fn a_stream_whose_call_panicked_needs_a_reset() {
        let model = Model::builtin(&ModelOptions::default()).unwrap();
        let stream = wfvae::new(Stream::new(&model, &StreamOptions::new(16, 16)).unwrap(), LatentType::F32);
        let mut written = 7;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let failed = unsafe { wfvae::write(stream, &mut written, |_, _| panic!("on purpose")) }.unwrap_err();
        std::panic::set_hook(hook);
        assert!(failed.kind() == ErrorKind::Internal && failed.text().contains("on purpose") && written == 0);

        let kind = |result: Result<()>| result.err().as_ref().map(Error::kind);
        let next =
            || kind(unsafe { wfvae::write(stream, &mut 0, |_, stream| stream.encode_flush(LatentsMut::F32(&mut []))) });
        assert_eq!(next(), Some(ErrorKind::NeedsReset));
        assert!(unsafe { wfvae::enter(stream, |handle, stream| Ok(handle.info(stream).needs_reset)) }.unwrap() == 1);
        assert!(unsafe { wfvae_reset(stream) } == wfvae_status::Ok);
        assert_eq!(next(), None);
        unsafe { wfvae_destroy(stream) };
    }
}
