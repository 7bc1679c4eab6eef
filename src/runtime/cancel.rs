//! What other threads may do with a running call: cancel it, and see its progress.

use crate::error::{Error, ErrorKind, Result};
use crate::logger::Logger;
use crate::process::Process;
use crate::sync::Steps;
use ort::session::{NoSelectedOutputs, RunOptions};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cancels a call that is running on another thread, and tells its progress. All clones are of the same stream.
///
/// Thread-safety: safe. This is the only part of a stream that other threads may use while a call runs.
#[derive(Clone)]
pub struct Canceller {
    flag: Arc<AtomicBool>,
    /// For runs that wait until a device is done, and for those that do not.
    pub(super) options: Arc<[RunOptions<NoSelectedOutputs>; 2]>,
    /// Held while `flag` and `options` change.
    changing: Arc<Mutex<()>>,
    steps: Arc<Steps>,
    owner: Process,
}

thread_local! {
    /// The flag of the call that this thread runs.
    static WATCHED: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Whether the call that this thread runs was cancelled. The runtime asks before each node; a long one asks itself.
pub(super) fn is_cancelled_here() -> bool {
    WATCHED.with_borrow(|flag| flag.as_ref().is_some_and(|flag| flag.load(Ordering::SeqCst)))
}

/// How far a stream's running call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CallProgress {
    /// Steps that it has run.
    pub steps_done: u64,
    /// Steps that it runs in all; 0 if no call is running.
    pub steps_total: u64,
}

/// Ends the progress of a call when it is dropped.
pub(crate) struct Counted(Arc<Steps>);

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller")
            .field("cancelled", &self.is_cancelled())
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

impl Canceller {
    pub(crate) fn new() -> Result<Self> {
        let options = || -> ort::Result<_> {
            let mut options = [RunOptions::new()?, RunOptions::new()?];
            options[1].disable_device_sync()?;
            Ok(options)
        };
        let options = options().map_err(failed)?;
        Ok(Canceller {
            flag: Arc::default(),
            options: Arc::new(options),
            changing: Arc::default(),
            steps: Arc::default(),
            owner: Process::current(),
        })
    }

    /// Makes the running call fail with [`ErrorKind::Cancelled`] after its current layer, on a device after its current step, usually within
    /// milliseconds.
    /// If no call is running, the next one fails. Resetting the stream clears the cancellation. In a forked child this
    /// does nothing.
    pub fn cancel(&self) {
        if !self.owner.is_current() {
            return;
        }
        let _changing = self.changing.lock();
        self.flag.store(true, Ordering::SeqCst);
        for options in &*self.options {
            if let Err(e) = options.terminate() {
                Logger::default().log(log::Level::Warn, format_args!("cancel: {e}"));
            }
        }
    }

    /// How far the stream's running call is.
    pub fn progress(&self) -> CallProgress {
        let [steps_done, steps_total] = self.steps.read();
        CallProgress { steps_done, steps_total }
    }

    /// A call of that many steps begins.
    pub(crate) fn begin(&self, total: u64) -> Counted {
        self.steps.begin(total);
        Counted(self.steps.clone())
    }

    /// A step of the call has run.
    pub(crate) fn count_step(&self) {
        self.steps.count();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// Tells our operators, while the runtime runs them on this thread, whether this is cancelled.
    pub(super) fn watched<R>(&self, run: impl FnOnce() -> R) -> R {
        let before = WATCHED.replace(Some(self.flag.clone()));
        let result = run();
        WATCHED.replace(before);
        result
    }

    pub(crate) fn clear(&self) -> Result<()> {
        let _changing = self.changing.lock();
        self.flag.store(false, Ordering::SeqCst);
        self.options.iter().try_for_each(|options| options.unterminate().map_err(failed))
    }
}

fn failed(e: ort::Error) -> Error {
    Error::new(ErrorKind::Runtime, format!("run options: {e}"))
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.end();
    }
}
