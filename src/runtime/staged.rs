//! Tensors of the CPU that cross to and from a device while both go on.
//!
//! Each has a second tensor on the device. A frame crosses into that one while runs still read the first; then the device copies
//! it over. Results go the other way.

use super::cuda::{CudaEvent, CudaQueue, Lane};
use super::device::Device;
use super::tensor::Tensor;
use crate::error::Result;
use crate::graph::Element;
use crate::process::Owned;
use std::sync::Arc;

/// A tensor of the CPU that crosses to or from a device while the CPU goes on.
pub(crate) struct Staged {
    host: Tensor,
    device: Arc<Device>,
    way: Way,
    crossing: bool,
}

enum Way {
    Cuda {
        queue: Arc<CudaQueue>,
        /// The second tensor on the device.
        there: Tensor,
        /// To the device: `there` may be overwritten. From it: `there` is complete.
        worked: Owned<CudaEvent>,
        /// The copy between the CPU and `there` is done.
        crossed: Owned<CudaEvent>,
    },
    /// Of a fake device, which copies at once, and notices what would be too early on a real one.
    #[cfg(test)]
    Fake(fake::Crossing),
}

impl Staged {
    pub(crate) fn new(device: &Arc<Device>, shape: &[usize], element: Element) -> Result<Self> {
        let way = match device.queue().cuda() {
            Some(queue) => {
                let event = || CudaEvent::new(&queue).map(Owned::new);
                let (worked, crossed) = (event()?, event()?);
                let there = Tensor::on(Some(device), shape, element)?;
                // Work that was asked for before may use memory that has been freed since.
                worked.set(Lane::Work)?;
                Way::Cuda { queue, there, worked, crossed }
            }
            #[cfg(test)]
            None => Way::Fake(fake::Crossing::default()),
            #[cfg(not(test))]
            None => unreachable!("a device has a queue"),
        };
        let host = Tensor::staged(Some(device), shape, element)?;
        Ok(Staged { host, device: device.clone(), way, crossing: false })
    }

    /// The tensor, once the device neither reads nor writes it.
    pub(crate) fn host(&mut self) -> Result<&mut Tensor> {
        if std::mem::take(&mut self.crossing) {
            match &mut self.way {
                Way::Cuda { crossed, .. } => crossed.wait()?,
                #[cfg(test)]
                Way::Fake(crossing) => crossing.end(&mut self.host),
            }
        }
        Ok(&mut self.host)
    }

    /// Begins a copy of the first so many bytes to a tensor of the device.
    pub(crate) fn send(&mut self, to: &Tensor, bytes: usize) -> Result<()> {
        self.begin(to, bytes, true)
    }

    /// Begins a copy of the first so many bytes of a tensor of the device.
    pub(crate) fn fetch(&mut self, from: &Tensor, bytes: usize) -> Result<()> {
        self.begin(from, bytes, false)
    }

    fn begin(&mut self, other: &Tensor, bytes: usize, to_device: bool) -> Result<()> {
        let room = self.host()?.bytes();
        assert!(bytes as u64 <= room && room == other.bytes(), "copies are between tensors of one size");
        self.device.count_crossing(to_device, bytes);
        match &mut self.way {
            Way::Cuda { queue, there, worked, crossed } => {
                // SAFETY: all have room for these bytes. Those of the host stay until `host` or `drop` has waited. Those of the device
                // are freed only for work that is asked for later, for which a new crossing waits, too.
                let begun = (|| unsafe {
                    if to_device {
                        worked.hold(Lane::Up)?;
                        queue.copy(Lane::Up, self.host.place(), there.place(), bytes)?;
                        crossed.set(Lane::Up)?;
                        crossed.hold(Lane::Work)?;
                        queue.copy(Lane::Work, there.place(), other.place(), bytes)?;
                        worked.set(Lane::Work)
                    } else {
                        // The host has waited for the one before, so `there` is free.
                        queue.copy(Lane::Work, other.place(), there.place(), bytes)?;
                        worked.set(Lane::Work)?;
                        worked.hold(Lane::Down)?;
                        queue.copy(Lane::Down, there.place(), self.host.place(), bytes)?;
                        crossed.set(Lane::Down)
                    }
                })();
                self.crossing = begun.is_ok();
                if begun.is_err() {
                    // Nothing else tells when that is done which was begun.
                    let _ = queue.finish(if to_device { Lane::Up } else { Lane::Down });
                    let _ = queue.finish(Lane::Work);
                }
                begun
            }
            #[cfg(test)]
            Way::Fake(crossing) => {
                self.crossing = true;
                crossing.begin(&self.device, &mut self.host, other, to_device)
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // A forked child cannot wait, and does not free the memory.
        if self.host.is_ours() {
            let _ = self.host();
        }
    }
}

#[cfg(test)]
mod fake {
    use super::{Device, Tensor};
    use crate::error::Result;

    /// What a copy leaves open until its end.
    #[derive(Default)]
    pub(super) struct Crossing {
        /// What was fetched; the host's tensor holds NaNs until then.
        fetched: Option<Tensor>,
        /// What was sent; the host's tensor must not change until then.
        sent: Option<Vec<u8>>,
    }

    impl Crossing {
        pub(super) fn begin(
            &mut self,
            device: &Device,
            host: &mut Tensor,
            other: &Tensor,
            to_device: bool,
        ) -> Result<()> {
            if to_device {
                self.sent = Some(host.raw().to_vec());
                return device.copy(host, other);
            }
            let fetched = Tensor::new(host.shape(), host.element())?;
            device.copy(other, &fetched)?;
            host.raw_mut().fill(0xff);
            self.fetched = Some(fetched);
            Ok(())
        }

        pub(super) fn end(&mut self, host: &mut Tensor) {
            if let Some(sent) = self.sent.take() {
                assert!(host.raw() == sent, "the CPU wrote what the device still reads");
            }
            if let Some(fetched) = self.fetched.take() {
                assert!(host.raw().iter().all(|byte| *byte == 0xff), "the CPU wrote what the device still writes");
                host.raw_mut().copy_from_slice(fetched.raw());
            }
        }
    }
}
