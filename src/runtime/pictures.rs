//! Pictures in a device's memory, which kernels convert to the network's planes, and back.

use super::cuda::{CudaQueue, DevicePlanes, PixelKernels};
#[cfg(test)]
use super::fake_kernels;
use super::queue::Queue;
use super::tensor::Tensor;
use crate::error::Result;
use crate::media::Packing;
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
    pub(crate) fn read(&self, packing: Packing, size: [usize; 2], from: &Tensor, to: &Tensor) -> Result<()> {
        match &self.0 {
            // SAFETY: the tensors are freed only for work that is asked for later.
            Way::Cuda(queue, kernels) => unsafe {
                kernels.read(queue, packing.on_device(from.place(), size), planes(to))
            },
            // SAFETY: a fake device does everything at once.
            #[cfg(test)]
            Way::Fake => unsafe {
                fake_kernels::read(&packing.image(from.place(), size), planes(to));
                Ok(())
            },
        }
    }

    /// The reverse. `found` is told what is found in the planes.
    pub(crate) fn write(
        &self,
        from: &Tensor,
        packing: Packing,
        size: [usize; 2],
        to: &Tensor,
        found: &Tensor,
    ) -> Result<()> {
        match &self.0 {
            Way::Cuda(queue, kernels) => {
                clear(queue, found)?;
                // SAFETY: as above.
                unsafe { kernels.write(queue, planes(from), packing.on_device(to.place(), size), found.place()) }
            }
            // SAFETY: as above.
            #[cfg(test)]
            Way::Fake => unsafe {
                fake_kernels::clear(found);
                fake_kernels::write(planes(from), &mut packing.image_mut(to.place(), size), found);
                Ok(())
            },
        }
    }
}

/// Nothing is found yet.
pub(super) fn clear(queue: &CudaQueue, found: &Tensor) -> Result<()> {
    // SAFETY: the tensor is freed only for work that is asked for later.
    unsafe { queue.fill(found.place(), found.bytes() as usize) }
}

/// A tensor `[1, 3, height, width]` of a device.
pub(super) fn planes(tensor: &Tensor) -> DevicePlanes {
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
