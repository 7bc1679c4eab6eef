//! The calls that move a stream: encode, decode, flush, reset, cancel, and the counts that they will write.

use super::abi;
use super::frame::{frames_images, frames_images_mut, images, images_mut, wfvae_frame, wfvae_frames};
use super::guard::guard;
use super::handle::wfvae_stream;
use super::latents::{MAX_PER_CALL, check_latents, latents_at, latents_at_mut};
use super::status::wfvae_status;
use crate::error::{Result, fail};
use crate::media::Latents;
use crate::stream::{MemoryKind, Ready, Stream};
use std::ffi::c_void;

/// Encodes frames and writes the latents that they complete: one for the clip's first frame, then one for every
/// temporal_compression frames. The stream keeps the frames of an incomplete group for the next call.
///
/// frames: n_frames frames of the stream's size, in order of time; read during the call only.
/// n_frames: 1 to 65536.
/// latents: memory for capacity latents, [capacity, encoded_channels, latent_height, latent_width] without gaps,
/// aligned for the latent type. May be NULL if capacity is 0.
/// capacity: in latents; wfvae_encode_count() says how many a call needs.
/// written: receives the number of latents written; 0 on failure.
///
/// Returns: WFVAE_STATUS_OK.
/// _INVALID_ARGUMENT, _INVALID_SIZE, _CAPACITY, _INVALID_STATE, _BUSY, _NEEDS_RESET: nothing was consumed.
/// _RUNTIME, _CANCELLED: the contents of latents are unspecified, and the stream needs wfvae_reset().
/// _OUT_OF_MEMORY: nothing was consumed if memory ran out before the first step; otherwise as for _RUNTIME.
/// _NOT_FINITE: if the input (float frames, or the latents to decode) holds a NaN or an infinity, nothing was consumed.
/// If a result holds one, or does not fit float16 latents or frames, the stream needs wfvae_reset().
/// After _OUT_OF_MEMORY and _NOT_FINITE, wfvae_info.needs_reset tells which of the two cases it was.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_chunk(
    stream: *mut wfvae_stream,
    frames: *const wfvae_frame,
    n_frames: usize,
    latents: *mut c_void,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { encode(stream, InFrames::Array(frames, n_frames), latents, capacity, written) } })
}

/// Does what wfvae_encode_chunk() does, with frames at equal distances in memory.
///
/// frames: the struct is read during the call only, and so are the frames.
/// latents, capacity, written: as for wfvae_encode_chunk().
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_frames(
    stream: *mut wfvae_stream,
    frames: *const wfvae_frames,
    latents: *mut c_void,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { encode(stream, InFrames::Strided(frames), latents, capacity, written) } })
}

/// Ends the clip for encoding. Writes the latent of an incomplete last group, in which the last frame is repeated for
/// the missing ones. Further frames need wfvae_reset(). A second flush writes nothing.
///
/// latents, capacity, written: as for wfvae_encode_chunk(); one latent is always enough.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_flush(
    stream: *mut wfvae_stream,
    latents: *mut c_void,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { encode(stream, InFrames::End, latents, capacity, written) } })
}

/// Decodes latents and writes the frames that are final. The clip's first latent gives one frame, each later one
/// temporal_compression. The stream holds back the last decode_delay of them until the next latent or the flush.
///
/// latents: n_latents latents, [n_latents, latent_channels, latent_height, latent_width] without gaps, aligned for the
/// latent type; read during the call only.
/// n_latents: 1 to 65536.
/// frames: an array of capacity frames, whose memory is written in order. Elements beyond the frames written are not
/// read.
/// capacity: in frames; wfvae_decode_count() says how many a call needs.
/// written: receives the number of frames written; 0 on failure.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_chunk(
    stream: *mut wfvae_stream,
    latents: *const c_void,
    n_latents: usize,
    frames: *mut wfvae_frame,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { decode(stream, Some((latents, n_latents)), OutFrames::Array(frames, capacity), written) } })
}

/// Does what wfvae_decode_chunk() does, with frames at equal distances in memory.
///
/// latents, n_latents: as for wfvae_decode_chunk().
/// frames: the struct is read during the call only. Its n_frames is the capacity; frames beyond those written are left
/// as they are.
/// written: as for wfvae_decode_chunk().
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_frames(
    stream: *mut wfvae_stream,
    latents: *const c_void,
    n_latents: usize,
    frames: *const wfvae_frames,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { decode(stream, Some((latents, n_latents)), OutFrames::Strided(frames), written) } })
}

/// Ends the clip for decoding: writes the frames that were held back. Further latents need wfvae_reset(). A second
/// flush writes nothing.
///
/// frames, capacity, written: as for wfvae_decode_chunk(); decode_delay frames (wfvae_model_info) are always enough.
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_flush(
    stream: *mut wfvae_stream,
    frames: *mut wfvae_frame,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { decode(stream, None, OutFrames::Array(frames, capacity), written) } })
}

/// Does what wfvae_decode_flush() does, with frames at equal distances in memory.
///
/// frames, written: as for wfvae_decode_frames().
///
/// Returns: as wfvae_encode_chunk().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_flush_frames(
    stream: *mut wfvae_stream,
    frames: *const wfvae_frames,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { decode(stream, None, OutFrames::Strided(frames), written) } })
}

/// Starts a new clip in both directions. Forgets frames and latents that wait in the stream, the frame count, any
/// failure and any cancellation. Memory is kept for the next clip.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _RUNTIME.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_reset(stream: *mut wfvae_stream) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae_stream::enter(stream, |handle, stream| {
                stream.reset()?;
                handle.clear_error();
                Ok(())
            })
        }
    })
}

/// Stops the call that another thread is running on the stream. That call returns WFVAE_STATUS_CANCELLED after its
/// current layer, on a device after its current step, usually within milliseconds. If no call is running, the next one returns it. The cancellation lasts
/// until wfvae_reset() or wfvae_snapshot_restore().
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT.
/// Thread-safety: safe, until wfvae_destroy() is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_cancel(stream: *mut wfvae_stream) -> wfvae_status {
    guard!(status: {
        unsafe { wfvae_stream::from_ptr(stream)? }.cancel();
        Ok(())
    })
}

/// Tells the decoder how many frames the clip has, so that it does not write the frames that the encoder's flush added.
/// Call it before the last latents are decoded. A reset forgets it.
///
/// n_frames: the clip's length, or UINT64_MAX for no limit.
///
/// Returns: WFVAE_STATUS_OK, _BUSY; _INVALID_ARGUMENT, also if it is too late: the decoder wrote more frames already, or
/// left out some that the clip would now have.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_set_frame_count(stream: *mut wfvae_stream, n_frames: u64) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae_stream::enter(stream, |_, stream| {
                stream.set_frame_count((n_frames != u64::MAX).then_some(n_frames))
            })
        }
    })
}

/// Gives the samples of the next clip the noise of another seed than wfvae_options.seed, so that clips that one stream
/// encodes one after the other have noise of their own. wfvae_reset() and wfvae_snapshot_restore() keep the stream's seed,
/// and wfvae_fork() copies it. Set it before wfvae_latent_writer_create(), which writes it to the file.
///
/// seed: any number. Clips of one seed have the same noise.
///
/// Returns: WFVAE_STATUS_OK, _BUSY; _INVALID_ARGUMENT, also if the posterior is not WFVAE_POSTERIOR_SAMPLE;
/// _INVALID_STATE if frames of the clip are encoded already, or the stream does not encode.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_set_seed(stream: *mut wfvae_stream, seed: u64) -> wfvae_status {
    guard!(status: {
        unsafe { wfvae_stream::enter(stream, |_, stream| stream.set_seed(seed)) }
    })
}

/// Counts the latents that wfvae_encode_chunk() would write for n_frames more frames.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_count(
    stream: *const wfvae_stream,
    n_frames: usize,
    count: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { counted(stream, count, |stream| stream.encode_count(n_frames as u64)) } })
}

/// Counts the latents that wfvae_encode_flush() would write: 0 or 1.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_encode_flush_count(stream: *const wfvae_stream, count: *mut usize) -> wfvae_status {
    guard!(status: { unsafe { counted(stream, count, Stream::encode_flush_count) } })
}

/// Counts the frames that wfvae_decode_chunk() would write for n_latents more latents.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_count(
    stream: *const wfvae_stream,
    n_latents: usize,
    count: *mut usize,
) -> wfvae_status {
    guard!(status: { unsafe { counted(stream, count, |stream| stream.decode_count(n_latents as u64)) } })
}

/// Counts the frames that wfvae_decode_flush() would write.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _INVALID_STATE, _BUSY.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_decode_flush_count(stream: *const wfvae_stream, count: *mut usize) -> wfvae_status {
    guard!(status: { unsafe { counted(stream, count, Stream::decode_flush_count) } })
}

/// The frames of an encode call.
enum InFrames {
    Array(*const wfvae_frame, usize),
    Strided(*const wfvae_frames),
    /// Ends the clip.
    End,
}

/// The room for the frames of a decode call.
enum OutFrames {
    Array(*mut wfvae_frame, usize),
    Strided(*const wfvae_frames),
}

unsafe fn encode(
    stream: *mut wfvae_stream,
    frames: InFrames,
    latents: *mut c_void,
    capacity: usize,
    written: *mut usize,
) -> Result<()> {
    let call = |handle: &wfvae_stream, stream: Ready<'_>| {
        let images = match frames {
            InFrames::Array(frames, count) => {
                check_given(frames, count, "frames")?;
                // SAFETY: the caller promises `count` frames.
                Some(unsafe { images(frames, count)? })
            }
            // SAFETY: the caller promises the frames that the struct describes.
            InFrames::Strided(frames) => Some(unsafe { frames_images(&abi::read(frames)?)? }),
            InFrames::End => None,
        };
        let call = stream.encode(images.as_ref().map(Vec::len))?;
        let images = images.unwrap_or_default();
        let (kind, memory) = (handle.latent_type(), call.latent_memory());
        if memory == MemoryKind::Cuda && call.count() > 0 {
            check_latents(latents, kind)?;
            call.check_capacity(capacity)?;
            // SAFETY: the caller promises memory for `capacity` latents, of which these are some.
            return unsafe { call.run_to_device(&images, latents, kind) };
        }
        let len = call.count().min(capacity) * call.latent_len();
        // SAFETY: as above.
        call.run(&images, unsafe { latents_at_mut(latents, len, kind)? })
    };
    unsafe { writes(stream, written, call) }
}

/// Decodes latents; `None` ends the clip.
unsafe fn decode(
    stream: *mut wfvae_stream,
    latents: Option<(*const c_void, usize)>,
    frames: OutFrames,
    written: *mut usize,
) -> Result<()> {
    let call = |handle: &wfvae_stream, stream: Ready<'_>| {
        if let Some((latents, count)) = latents {
            check_given(latents.cast::<u8>(), count, "latents")?;
        }
        let latent_count = latents.map(|(_, count)| count);
        let (call, mut images) = match frames {
            OutFrames::Array(frames, capacity) => {
                let call = stream.decode(latent_count, capacity)?;
                if call.count() > 0 && frames.is_null() {
                    fail!(InvalidArgument, "frames is NULL, this call writes {}", call.count());
                }
                // SAFETY: the caller promises `capacity` frames, of which these are some.
                let images = unsafe { images_mut(frames, call.count())? };
                (call, images)
            }
            OutFrames::Strided(frames) => {
                let frames = unsafe { abi::read(frames)? };
                let call = stream.decode(latent_count, frames.n_frames)?;
                // SAFETY: the caller promises the memory of `n_frames` frames, of which these are some.
                let images = match call.count() {
                    0 => vec![],
                    count => unsafe { frames_images_mut(&frames, count)? },
                };
                (call, images)
            }
        };
        let latents = match latents {
            Some((latents, count)) if call.latent_memory() == MemoryKind::Cuda => {
                check_latents(latents, handle.latent_type())?;
                // SAFETY: the caller promises `count` latents.
                return unsafe { call.run_from_device(latents, count, handle.latent_type(), &mut images) };
            }
            // SAFETY: as above.
            Some((latents, count)) => unsafe { latents_at(latents, count * call.latent_len(), handle.latent_type())? },
            None => Latents::F32(&[]),
        };
        call.run(latents, &mut images)
    };
    unsafe { writes(stream, written, call) }
}

/// Runs a call that reports how much it wrote: 0 unless it succeeds.
unsafe fn writes(
    stream: *mut wfvae_stream,
    written: *mut usize,
    call: impl FnOnce(&wfvae_stream, Ready<'_>) -> Result<usize>,
) -> Result<()> {
    let call = |handle: &wfvae_stream, stream: &mut Stream| {
        let written = unsafe { abi::out(written, "written")? };
        written.write(call(handle, stream.ready()?)?);
        Ok(())
    };
    unsafe { abi::zero(written) };
    unsafe { wfvae_stream::enter(stream, call) }
}

unsafe fn counted(
    stream: *const wfvae_stream,
    count: *mut usize,
    call: impl FnOnce(&Stream) -> Result<u64>,
) -> Result<()> {
    let call = |_: &wfvae_stream, stream: &mut Stream| {
        let out = unsafe { abi::out(count, "count")? };
        out.write(call(stream)? as usize);
        Ok(())
    };
    unsafe { abi::zero(count) };
    unsafe { wfvae_stream::enter(stream, call) }
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

#[cfg(test)]
mod tests {
    use super::super::handle::{wfvae_create, wfvae_destroy};
    use super::super::model::{wfvae_model_close, wfvae_model_open};
    use super::super::options::wfvae_options;
    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::media::LatentsMut;
    use std::ptr;

    #[test]
    fn calls_have_a_largest_count() {
        check_given([0u8].as_ptr(), MAX_PER_CALL, "frames").unwrap();
        let error = check_given([0u8].as_ptr(), MAX_PER_CALL + 1, "frames").unwrap_err();
        assert!(error.text().contains("n_frames is 65537, expected 1 to 65536"), "{error}");
    }

    /// Nobody knows how far a call got that panicked.
    #[test]
    fn a_stream_whose_call_panicked_needs_a_reset() {
        let (mut model, mut stream) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: zero is valid for all fields.
        let mut options: wfvae_options = unsafe { std::mem::zeroed() };
        (options.struct_size, options.width, options.height) = (size_of::<wfvae_options>(), 16, 16);
        assert!(unsafe { wfvae_model_open(ptr::null(), ptr::null(), &mut model) } == wfvae_status::Ok);
        assert!(unsafe { wfvae_create(model, &options, &mut stream) } == wfvae_status::Ok);
        unsafe { wfvae_model_close(model) };
        let mut written = 7;
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let failed = unsafe { writes(stream, &mut written, |_, _| panic!("on purpose")) }.unwrap_err();
        std::panic::set_hook(hook);
        assert!(failed.kind() == ErrorKind::Internal && failed.text().contains("on purpose") && written == 0);

        let kind = |result: Result<()>| result.err().as_ref().map(Error::kind);
        let flush = |_: &wfvae_stream, stream: Ready<'_>| stream.encode(None)?.run(&[], LatentsMut::F32(&mut []));
        let next = || kind(unsafe { writes(stream, &mut 0, flush) });
        assert_eq!(next(), Some(ErrorKind::NeedsReset));
        assert!(unsafe { wfvae_stream::enter(stream, |_, stream| Ok(stream.info().needs_reset)) }.unwrap());
        assert!(unsafe { wfvae_reset(stream) } == wfvae_status::Ok);
        assert_eq!(next(), None);
        unsafe { wfvae_destroy(stream) };
    }
}
