//! The caller's memory for latents.

use crate::error::{Result, fail};
use crate::media::{LatentType, Latents, LatentsMut};
use half::f16;
use std::ffi::c_void;

/// Frames or latents in one call. A wrong count must not make the library allocate memory to describe them.
pub(super) const MAX_PER_CALL: usize = 1 << 16;

/// How the values of latents are stored.
#[repr(C)]
#[allow(dead_code)]
pub enum wfvae_latent_type {
    /// float, 4 bytes.
    F32 = 0,
    /// IEEE half precision, 2 bytes.
    F16 = 1,
}

pub(super) fn to_latent_type(value: u32) -> Result<LatentType> {
    match value {
        0 => Ok(LatentType::F32),
        1 => Ok(LatentType::F16),
        other => fail!(InvalidArgument, "latent_type is {other}, expected a wfvae_latent_type"),
    }
}

/// The caller's latents, `len` values to read. With `len` 0 the pointer is not looked at.
pub(super) unsafe fn latents_at<'a>(latents: *const c_void, len: usize, kind: LatentType) -> Result<Latents<'a>> {
    if len == 0 {
        return Ok(Latents::F32(&[]));
    }
    check_latents(latents, kind)?;
    // SAFETY: the caller promises so many values.
    Ok(unsafe {
        match kind {
            LatentType::F32 => Latents::F32(std::slice::from_raw_parts(latents.cast(), len)),
            LatentType::F16 => Latents::F16(std::slice::from_raw_parts(latents.cast::<f16>(), len)),
        }
    })
}

/// The same to write.
pub(super) unsafe fn latents_at_mut<'a>(latents: *mut c_void, len: usize, kind: LatentType) -> Result<LatentsMut<'a>> {
    if len == 0 {
        return Ok(LatentsMut::F32(&mut []));
    }
    check_latents(latents, kind)?;
    // SAFETY: the caller promises memory for so many values. They are numbers, and written before they are read, so that they may be
    // anything before.
    Ok(unsafe {
        match kind {
            LatentType::F32 => LatentsMut::F32(std::slice::from_raw_parts_mut(latents.cast(), len)),
            LatentType::F16 => LatentsMut::F16(std::slice::from_raw_parts_mut(latents.cast::<f16>(), len)),
        }
    })
}

pub(super) fn check_latents(latents: *const c_void, kind: LatentType) -> Result<()> {
    let size = kind.bytes();
    if latents.is_null() || !(latents as usize).is_multiple_of(size) {
        fail!(InvalidArgument, "latents is {latents:p}, expected memory aligned to {size} bytes");
    }
    Ok(())
}
