//! Snapshots and forks.

use super::abi;
use super::guard::guard;
use super::handle::wfvae_stream;
use super::status::wfvae_status;
use crate::error::{Result, fail};
use crate::stream::Snapshot;
use std::ffi::c_void;

/// A stream's state at one point of its clip: causal caches, waiting frames, counters and the frame count, in both
/// directions, and the alpha that it carries.
///
/// A snapshot can be restored to any stream that has the same size, directions, tiles and wfvae_options.alpha, and whose
/// model is the same one, opened with the same cache_type, precision and convolution (exact and fast are
/// interchangeable, and so are stacked and volume). If it was taken at a clip's start, or after its flushes, tiles and
/// the model's options may differ. latent_type, posterior, seed and scaled are not part of it: a restored stream keeps
/// its own.
///
/// Thread-safety: safe; it never changes. Several streams may be restored to one snapshot at the same time.
pub struct wfvae_snapshot(Snapshot);

const _: () = abi::goes_between_threads::<wfvae_snapshot>();

/// Takes a snapshot of a stream, to return to later. Copies only the frames that the rest of the clip needs: at most
/// two thirds of encode_state_bytes and decode_state_bytes, and almost nothing at a clip's start and after its flushes.
/// Alpha comes on top: the planes of the frames that are not decoded yet, and the newest.
///
/// stream: not changed. A cancellation that no call has returned yet is not part of the snapshot.
/// snapshot: receives the handle on success, to be destroyed with wfvae_snapshot_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY; _NEEDS_RESET if an earlier call failed, which leaves an
/// incomplete state; _NOT_FINITE if the state holds a NaN or an infinity, which would reach the next result too;
/// _OUT_OF_MEMORY, and _RUNTIME if a device's memory cannot be read. After these two the stream can be used as before.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_snapshot_create(
    stream: *const wfvae_stream,
    snapshot: *mut *mut wfvae_snapshot,
) -> wfvae_status {
    guard!(status: {
        let out = unsafe { abi::out(snapshot, "snapshot")? };
        out.write(std::ptr::null_mut());
        out.write(wfvae_snapshot::new(unsafe { wfvae_stream::enter(stream, |_, stream| stream.snapshot())? }));
        Ok(())
    })
}

/// Restores a stream to the state of a snapshot, in both directions. Later output is bit-identical to what followed the
/// snapshot. The stream's current clip is forgotten, and so are any failure and any cancellation, as with
/// wfvae_reset(). The step counters of wfvae_info are not set back.
///
/// stream: of the snapshot's model, cache_type, size, directions, tiles and alpha; wfvae_snapshot says more.
/// snapshot: not changed; can be used again.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, also for a snapshot of another model, other directions or tiles, with
/// or without alpha, of another cache_type, or of a version whose state has another layout; _INVALID_SIZE for one of
/// another size; _NOT_FINITE for one that holds a NaN or an infinity; _BUSY, _RUNTIME, _OUT_OF_MEMORY. After a failure
/// the stream is as it was before, except after _RUNTIME or _OUT_OF_MEMORY while copying to a device: then it needs
/// wfvae_reset().
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_snapshot_restore(
    stream: *mut wfvae_stream,
    snapshot: *const wfvae_snapshot,
) -> wfvae_status {
    guard!(status: {
        unsafe {
            wfvae_stream::enter(stream, |handle, stream| {
                stream.restore(&wfvae_snapshot::from_ptr(snapshot)?.0)?;
                handle.clear_error();
                Ok(())
            })
        }
    })
}

/// Destroys a snapshot. Streams that were restored from it do not need it any more.
///
/// snapshot: must not be used afterwards. NULL is allowed.
///
/// Thread-safety: safe, once per snapshot, while no other call uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_snapshot_destroy(snapshot: *mut wfvae_snapshot) {
    guard!(value or (); {
        if !snapshot.is_null() {
            // SAFETY: made by Box::into_raw in `new`, and the caller gives it up.
            drop(unsafe { Box::from_raw(snapshot) });
        }
    })
}

/// Returns the bytes that wfvae_snapshot_write() writes. The snapshot takes no more memory than that.
///
/// Returns: the number, or 0 if snapshot is NULL.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_snapshot_size(snapshot: *const wfvae_snapshot) -> usize {
    guard!(value or 0; { unsafe { wfvae_snapshot::from_ptr(snapshot) }.map_or(0, |s| s.0.as_bytes().len()) })
}

/// Writes a snapshot as bytes. wfvae_snapshot_read() reads them in this or another process, on a machine of the same
/// byte order.
///
/// buffer: receives the bytes; needs no alignment.
/// capacity: size of buffer in bytes, wfvae_snapshot_size() or more.
/// written: receives the number of bytes written; 0 on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _CAPACITY.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_snapshot_write(
    snapshot: *const wfvae_snapshot,
    buffer: *mut c_void,
    capacity: usize,
    written: *mut usize,
) -> wfvae_status {
    guard!(status: {
        unsafe { abi::zero(written) };
        let bytes = unsafe { wfvae_snapshot::from_ptr(snapshot)? }.0.as_bytes();
        let written = unsafe { abi::out(written, "written")? };
        if buffer.is_null() {
            fail!(InvalidArgument, "buffer is NULL");
        }
        if capacity < bytes.len() {
            fail!(Capacity, "room for {capacity} bytes, the snapshot has {}", bytes.len());
        }
        // SAFETY: the caller promises room for `capacity` bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), buffer.cast(), bytes.len()) };
        written.write(bytes.len());
        Ok(())
    })
}

/// Reads a snapshot from the bytes that wfvae_snapshot_write() wrote. Checks all of them, and refuses bytes that are
/// damaged, truncated or something else. wfvae_snapshot_restore() checks whether the snapshot fits a stream.
///
/// bytes: read during the call only; need no alignment.
/// size: number of bytes, exactly as many as were written.
/// snapshot: receives the handle on success, to be destroyed with wfvae_snapshot_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK; _INVALID_ARGUMENT, also for bytes that are not a complete, undamaged snapshot of a version
/// that this one reads; _OUT_OF_MEMORY. wfvae_last_error(NULL) returns the text.
/// Thread-safety: safe.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_snapshot_read(
    bytes: *const c_void,
    size: usize,
    snapshot: *mut *mut wfvae_snapshot,
) -> wfvae_status {
    guard!(status: {
        let out = unsafe { abi::out(snapshot, "snapshot")? };
        out.write(std::ptr::null_mut());
        if bytes.is_null() {
            fail!(InvalidArgument, "bytes is NULL");
        }
        if size > isize::MAX as usize {
            fail!(InvalidArgument, "size is {size}, expected at most {}", isize::MAX);
        }
        // SAFETY: the caller promises `size` bytes.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), size) };
        out.write(wfvae_snapshot::new(Snapshot::from_bytes(bytes)?));
        Ok(())
    })
}

/// Creates a second stream of the same model and options, at the same point of the clip. Afterwards the two are
/// independent of each other and may run at the same time.
///
/// stream: not changed. A cancellation that no call has returned yet is not passed on.
/// fork: receives the handle on success, to be destroyed with wfvae_destroy(); set to NULL on failure.
///
/// Returns: WFVAE_STATUS_OK, _INVALID_ARGUMENT, _BUSY, _RUNTIME; _NEEDS_RESET if an earlier call failed;
/// _OUT_OF_MEMORY, after which the first stream can be used as before.
/// Thread-safety: one thread at a time for each stream.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wfvae_fork(stream: *const wfvae_stream, fork: *mut *mut wfvae_stream) -> wfvae_status {
    guard!(status: {
        let out = unsafe { abi::out(fork, "fork")? };
        out.write(std::ptr::null_mut());
        out.write(unsafe { wfvae_stream::enter(stream, |handle, stream| handle.fork(stream))? });
        Ok(())
    })
}

impl wfvae_snapshot {
    fn new(snapshot: Snapshot) -> *mut wfvae_snapshot {
        Box::into_raw(Box::new(wfvae_snapshot(snapshot)))
    }

    unsafe fn from_ptr<'a>(snapshot: *const wfvae_snapshot) -> Result<&'a wfvae_snapshot> {
        match unsafe { snapshot.as_ref() } {
            Some(snapshot) => Ok(snapshot),
            None => fail!(InvalidArgument, "snapshot is NULL"),
        }
    }
}
