//! Pictures in a device's memory, which kernels convert to the network's planes, and back.

use super::cuda::{CudaQueue, DevicePlanes, PixelKernels};
#[cfg(test)]
use super::fake_kernels;
use super::queue::Queue;
use super::tensor::Tensor;
use crate::error::Result;
use crate::media::{DevicePicture, Image, ImageMut, Packing};
use std::sync::Arc;

/// Two 64-bit numbers, which are the largest if nothing is found.
pub(crate) const FOUND_BYTES: usize = 2 * size_of::<u64>();

/// What was found in values on a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// The index of the first value of pictures that is not finite; of planes, any number if there is one.
    pub(crate) not_finite: Option<u64>,
    /// The index of the first value that is too large for its picture.
    pub(crate) too_large: Option<u64>,
}

/// Converts pictures in the order of a queue.
pub(crate) struct Pictures(Way);

enum Way {
    Cuda(Arc<CudaQueue>, Arc<PixelKernels>),
    /// A fake device.
    #[cfg(test)]
    Fake,
}

impl Pictures {
    pub(super) fn new(queue: &Queue, kernels: Option<Arc<PixelKernels>>) -> Option<Self> {
        match (queue.cuda(), kernels) {
            (Some(queue), Some(kernels)) => Some(Pictures(Way::Cuda(queue, kernels))),
            #[cfg(test)]
            (None, _) => Some(Pictures(Way::Fake)),
            _ => None,
        }
    }

    /// Converts a picture of so many columns and rows that has crossed to planes, `[1, 3, height, width]`, which may be larger.
    pub(crate) fn read_crossed(&self, packing: Packing, size: [usize; 2], from: &Tensor, to: &Tensor) -> Result<()> {
        assert!(packing.bytes(size) as u64 <= from.bytes(), "{size:?} of {packing:?} in {} bytes", from.bytes());
        // SAFETY: there is room, and the tensors are freed only for work that is asked for later.
        unsafe { self.read(&packing.image(from.place(), size), to) }
    }

    /// The reverse. `found` is told what is found in the planes.
    pub(crate) fn write_to_cross(
        &self,
        from: &Tensor,
        packing: Packing,
        size: [usize; 2],
        to: &Tensor,
        found: &Tensor,
    ) -> Result<()> {
        assert!(packing.bytes(size) as u64 <= to.bytes(), "{size:?} of {packing:?} in {} bytes", to.bytes());
        // SAFETY: as above, and nobody else uses the picture now.
        unsafe { self.write(from, Some(&mut packing.image_mut(to.place(), size)), found) }
    }

    /// Converts a picture to planes, which may be larger.
    ///
    /// # Safety
    /// The picture must be in the device's memory until that is done; so below.
    pub(super) unsafe fn read(&self, from: &Image<'_>, to: &Tensor) -> Result<()> {
        // SAFETY: the caller promises it.
        unsafe {
            match &self.0 {
                Way::Cuda(queue, kernels) => kernels.read(queue, from.on_device(), planes(to))?,
                #[cfg(test)]
                Way::Fake => fake_kernels::read(from, planes(to)),
            }
        }
        Ok(())
    }

    /// Finds the first value of a picture that is not finite: its index in `[3, height, width]`, from `before` on.
    ///
    /// # Safety
    /// As above.
    pub(super) unsafe fn check(&self, picture: &Image<'_>, before: u64, found: &Tensor) -> Result<()> {
        // SAFETY: the caller promises it.
        unsafe {
            match &self.0 {
                Way::Cuda(queue, kernels) => kernels.check(queue, picture.on_device(), before, found.place())?,
                #[cfg(test)]
                Way::Fake => fake_kernels::check(picture, before, found),
            }
        }
        Ok(())
    }

    /// Converts planes to a picture, if there is one. `found` is told what is found in the planes.
    ///
    /// # Safety
    /// As above.
    pub(super) unsafe fn write(&self, from: &Tensor, to: Option<&mut ImageMut<'_>>, found: &Tensor) -> Result<()> {
        self.clear(found)?;
        // SAFETY: the caller promises it.
        unsafe {
            match &self.0 {
                Way::Cuda(queue, kernels) => {
                    let picture = to.map_or(DevicePicture::EMPTY, |picture| picture.on_device());
                    kernels.write(queue, planes(from), picture, found.place())?;
                }
                #[cfg(test)]
                Way::Fake => fake_kernels::write(planes(from), to, found),
            }
        }
        Ok(())
    }

    /// Nothing is found yet.
    pub(super) fn clear(&self, found: &Tensor) -> Result<()> {
        match &self.0 {
            // SAFETY: the tensor is freed only for work that is asked for later.
            Way::Cuda(queue, _) => unsafe { queue.fill(found.place(), found.bytes() as usize)? },
            #[cfg(test)]
            Way::Fake => fake_kernels::clear(found),
        }
        Ok(())
    }
}

/// A tensor `[1, 3, height, width]` of a device.
fn planes(tensor: &Tensor) -> DevicePlanes {
    let [.., height, width] = *tensor.shape() else { unreachable!("frames have four axes") };
    DevicePlanes { first: tensor.place(), width, height }
}

impl Found {
    /// What was read.
    pub(crate) fn of(host: &Tensor) -> Self {
        let number = |i: usize| {
            let bytes = &host.raw()[i * size_of::<u64>()..][..size_of::<u64>()];
            let number = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
            (number != u64::MAX).then_some(number)
        };
        Found { not_finite: number(0), too_large: number(1) }
    }
}
