//! Cancels a call from another thread.

use crate::error::{Error, ErrorKind, Result};
use crate::logger::Logger;
use crate::process::Process;
use ort::session::{NoSelectedOutputs, RunOptions};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Cancels a call that is running on another thread. All clones cancel the same stream.
///
/// Thread-safety: safe. This is the only part of a stream that other threads may use while a call runs.
#[derive(Clone)]
pub struct Canceller {
    flag: Arc<AtomicBool>,
    pub(super) options: Arc<RunOptions<NoSelectedOutputs>>,
    /// Held while both `flag` and `options` change.
    changing: Arc<Mutex<()>>,
    owner: Process,
}

impl Canceller {
    pub(crate) fn new() -> Result<Self> {
        let options = RunOptions::new().map_err(|e| Error::new(ErrorKind::Runtime, format!("run options: {e}")))?;
        Ok(Canceller {
            flag: Arc::default(),
            options: Arc::new(options),
            changing: Arc::default(),
            owner: Process::current(),
        })
    }

    /// Makes the running call fail with [`ErrorKind::Cancelled`] after its current layer, usually within milliseconds.
    /// If no call is running, the next one fails. Resetting the stream clears the cancellation. In a forked child this
    /// does nothing.
    pub fn cancel(&self) {
        if !self.owner.is_current() {
            return;
        }
        let _changing = self.changing.lock();
        self.flag.store(true, Ordering::SeqCst);
        if let Err(e) = self.options.terminate() {
            Logger::default().log(log::Level::Warn, format_args!("cancel: {e}"));
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    pub(crate) fn clear(&self) -> Result<()> {
        let _changing = self.changing.lock();
        self.flag.store(false, Ordering::SeqCst);
        self.options.unterminate().map_err(|e| Error::new(ErrorKind::Runtime, format!("run options: {e}")))
    }
}
