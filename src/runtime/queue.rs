//! What a device has been asked to do and may not have done yet.
//!
//! Sessions of a model share one queue. The device does their runs in the order in which they were asked for. What crosses between
//! the CPU and the device does so beside them. The CPU goes on meanwhile: it waits only for results, and before it writes again
//! where the device may still read.

use super::cuda::{self, CudaQueue, Lane};
use super::environment::Runtime;
use super::place::Place;
#[cfg(test)]
use super::recordings::FakeRecording;
use super::recordings::Recording;
use super::tensor::Tensor;
use crate::error::Result;
use crate::process::Owned;
use cuda::CudaRecording;
use parking_lot::{Mutex, MutexGuard, RwLockReadGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The order in which a device works.
pub(crate) struct Queue {
    /// `None`: a fake device, which does everything at once.
    cuda: Option<Owned<Arc<CudaQueue>>>,
    /// Held while a session puts its work into the queue: the provider's handles for that serve one thread at a time.
    turn: Mutex<()>,
    /// A run that could not be recorded has been told.
    told: AtomicBool,
    /// Runs that a fake device repeated.
    #[cfg(test)]
    pub(super) repeated: std::sync::atomic::AtomicU64,
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
        Ok(Queue {
            cuda,
            turn: Mutex::default(),
            told: AtomicBool::new(false),
            #[cfg(test)]
            repeated: Default::default(),
        })
    }

    pub(super) fn cuda(&self) -> Option<Arc<CudaQueue>> {
        self.cuda.as_ref().map(|cuda| Arc::clone(cuda))
    }

    /// Waits until all runs are done, or until nothing can be done any more.
    pub(super) fn finish(&self) {
        if let Some(cuda) = &self.cuda {
            let _ = cuda.finish(Lane::Work);
        }
    }

    /// Keeps other threads' sessions from putting work into the queue.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock()
    }

    /// Keeps other threads from recording, also for other models.
    pub(super) fn shared(&self) -> Option<RwLockReadGuard<'static, ()>> {
        self.cuda.as_ref().map(|cuda| cuda.shared())
    }

    /// How to say that a run could not be recorded: one warning is enough for a model.
    pub(super) fn level_of_failure(&self) -> log::Level {
        if self.told.swap(true, Ordering::Relaxed) { log::Level::Debug } else { log::Level::Warn }
    }

    /// Records what `work`, a session's run with these tensors, puts into the queue, instead of doing it. `None` if other
    /// threads use the queue now.
    pub(super) fn record(
        &self,
        _inputs: &[&Tensor],
        _outputs: &[&Tensor],
        work: impl FnOnce() -> Result<()>,
    ) -> Result<Option<(Result<()>, Result<Recording>)>> {
        let Some(cuda) = &self.cuda else {
            #[cfg(test)]
            return Ok(Some((Ok(()), FakeRecording::new(_inputs, _outputs).map(Recording::Fake))));
            #[cfg(not(test))]
            unreachable!("a device has a queue")
        };
        let recorded = CudaRecording::record(cuda, work)?;
        let owned = |recording| Recording::Cuda(Owned::new(recording));
        Ok(recorded.map(|(done, recording)| (done, recording.map(owned))))
    }
}
