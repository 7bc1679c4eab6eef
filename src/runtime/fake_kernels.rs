//! What the kernels for pictures do, on a fake device, whose memory is the CPU's.

use super::cuda::DevicePlanes;
use super::tensor::Tensor;
use crate::finite;
use crate::media::{Image, ImageMut, Rect};

/// # Safety
/// The memory must be there, and nobody else may use it; so below.
unsafe fn planes<'a>(of: DevicePlanes) -> &'a mut [f32] {
    // SAFETY: the caller promises it.
    unsafe { std::slice::from_raw_parts_mut(of.first.cast(), 3 * of.width * of.height) }
}

pub(super) unsafe fn read(from: &Image<'_>, to: DevicePlanes) {
    // SAFETY: the caller promises it.
    from.read(unsafe { planes(to) }, &Rect::of(to.width, to.height));
}

/// The index of the first value of the frames that is not finite, as one frame after the other.
pub(super) fn check(frames: &[Image<'_>]) -> Option<u64> {
    frames.iter().enumerate().find_map(|(i, frame)| {
        let [channel, y, x] = frame.first_not_finite()?;
        Some((((i * 3 + channel) * frame.height() + y) * frame.width() + x) as u64)
    })
}

/// `found` was cleared.
pub(super) unsafe fn write(from: DevicePlanes, to: &mut ImageMut<'_>, found: &Tensor) {
    // SAFETY: the caller promises it.
    unsafe {
        find(from, found);
        if let Some(index) = to.write_as_device(planes(from), &Rect::of(from.width, from.height)) {
            (*found.place().cast::<[u64; 2]>())[1] = index;
        }
    }
}

pub(super) unsafe fn find(planes_of: DevicePlanes, found: &Tensor) {
    // SAFETY: the caller promises it.
    unsafe {
        if finite::first_not_finite(planes(planes_of)).is_some() {
            (*found.place().cast::<[u64; 2]>())[0] = 0;
        }
    }
}

pub(super) fn clear(found: &Tensor) {
    // SAFETY: two numbers, which nobody else uses now.
    unsafe { *found.place().cast::<[u64; 2]>() = [u64::MAX; 2] };
}
