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

pub(super) unsafe fn check(picture: &Image<'_>, before: u64, found: &Tensor) {
    let Some([channel, y, x]) = picture.first_not_finite() else { return };
    let index = before + ((channel * picture.height() + y) * picture.width() + x) as u64;
    // SAFETY: the caller promises it.
    let [first, _] = unsafe { numbers(found) };
    *first = index.min(*first);
}

/// `found` was cleared.
pub(super) unsafe fn write(from: DevicePlanes, to: Option<&mut ImageMut<'_>>, found: &Tensor) {
    // SAFETY: the caller promises it.
    let (planes, [not_finite, too_large]) = unsafe { (planes(from), numbers(found)) };
    if finite::first_not_finite(planes).is_some() {
        *not_finite = 0;
    }
    let first = to.and_then(|picture| picture.write_as_device(planes, &Rect::of(from.width, from.height)));
    *too_large = first.unwrap_or(*too_large);
}

pub(super) fn clear(found: &Tensor) {
    // SAFETY: nobody else uses them now.
    unsafe { *numbers(found) = [u64::MAX; 2] };
}

unsafe fn numbers<'a>(found: &Tensor) -> &'a mut [u64; 2] {
    // SAFETY: the caller promises it.
    unsafe { &mut *found.place().cast() }
}
