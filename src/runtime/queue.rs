//! What a device has been asked to do and may not have done yet.
//!
//! Sessions and copies of a model share one queue. The device does them in the order in which they were asked for, and the CPU
//! goes on meanwhile. It waits only for results, and before it writes again where the device may still read.

use super::cuda::{self, CudaQueue};
use super::environment::Runtime;
use super::place::Place;
use crate::error::Result;
use crate::process::Owned;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

/// The order in which a device works.
pub(crate) struct Queue {
    /// `None`: a fake device, which does everything at once.
    cuda: Option<Owned<Arc<CudaQueue>>>,
    /// Held while a session puts its work into the queue: the provider's handles for that serve one thread at a time.
    turn: Mutex<()>,
}

impl Queue {
    pub(super) fn new(runtime: &Runtime, place: Place) -> Result<Self> {
        let cuda = match place {
            Place::Cuda(device) => {
                let library = cuda::runtime_library(runtime.path())?;
                Some(Owned::new(Arc::new(CudaQueue::new(&library, device)?)))
            }
            _ => None,
        };
        Ok(Queue { cuda, turn: Mutex::default() })
    }

    pub(super) fn cuda(&self) -> Option<Arc<CudaQueue>> {
        self.cuda.as_ref().map(|cuda| Arc::clone(cuda))
    }

    /// Waits until all is done, or until nothing can be done any more.
    pub(super) fn finish(&self) {
        if let Some(cuda) = &self.cuda {
            let _ = cuda.finish();
        }
    }

    /// Keeps other threads from putting work into the queue.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }
}
