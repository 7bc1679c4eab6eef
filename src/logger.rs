//! Where messages go: to the callback of the model's owner, or else to the `log` crate. Never to the terminal.

use log::{Level, LevelFilter};
use std::fmt;
use std::sync::Arc;

type Callback = dyn Fn(Level, &str) + Send + Sync;

/// Receives the messages of one model and its streams, including those of ONNX Runtime.
///
/// The callback may run on any thread that is inside a call, and on several threads at once.
#[derive(Clone)]
pub struct Logger {
    filter: LevelFilter,
    callback: Option<Arc<Callback>>,
}

impl Logger {
    /// Calls `callback` for every message whose level is `filter` or more severe.
    pub fn new(filter: LevelFilter, callback: impl Fn(Level, &str) + Send + Sync + 'static) -> Self {
        Logger { filter, callback: Some(Arc::new(callback)) }
    }

    pub(crate) fn log(&self, level: Level, text: impl fmt::Display) {
        if level > self.filter {
            return;
        }
        match &self.callback {
            Some(callback) => callback(level, &text.to_string()),
            None => log::log!(target: "wfvae", level, "{text}"),
        }
    }

    /// The most verbose level that is not filtered out.
    pub(crate) fn max_level(&self) -> LevelFilter {
        if self.callback.is_some() { self.filter } else { log::max_level() }
    }
}

impl Default for Logger {
    /// Messages go to the `log` crate under the target `wfvae`.
    fn default() -> Self {
        Logger { filter: LevelFilter::Trace, callback: None }
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("filter", &self.filter).finish_non_exhaustive()
    }
}
