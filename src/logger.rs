//! Where messages go: a callback of the model's owner, else the `log` crate. Never to the terminal.

use log::{Level, LevelFilter};
use std::fmt;
use std::sync::Arc;

/// What ONNX Runtime warns of when nodes of a device's graph run on the processor, as computed shapes should. Where that copies
/// values in the middle of the graph it has another warning.
const NODES_ON_THE_PROCESSOR: [&str; 2] =
    ["Some nodes were not assigned to the preferred execution providers", "Rerunning with verbose output"];

type Callback = dyn Fn(Level, &str) + Send + Sync;

/// A sink for the messages of one model and its streams, including ONNX Runtime's about them.
///
/// The callback may run on any thread that is inside a call, and on several at once.
#[derive(Clone)]
pub struct Logger {
    filter: LevelFilter,
    callback: Option<Arc<Callback>>,
}

impl Logger {
    /// Calls `callback` for every message at `filter` or more severe.
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

    /// How much of its own ONNX Runtime is to say about a session.
    pub(crate) fn runtime_level(&self) -> ort::logging::LogLevel {
        let filter = if self.callback.is_some() { self.filter } else { log::max_level() };
        match filter {
            LevelFilter::Trace => ort::logging::LogLevel::Verbose,
            _ => ort::logging::LogLevel::Warning,
        }
    }

    /// The callback for ONNX Runtime's messages.
    pub(crate) fn for_runtime(&self) -> ort::logging::LoggerFunction {
        let logger = self.clone();
        Arc::new(move |level, _, _, location: &str, text: &str| {
            let level = if NODES_ON_THE_PROCESSOR.iter().any(|known| text.starts_with(known)) {
                Level::Debug
            } else {
                level_of(level)
            };
            logger.log(level, format_args!("ONNX Runtime: {text} ({location})"));
        })
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

fn level_of(level: ort::logging::LogLevel) -> Level {
    use ort::logging::LogLevel::*;
    match level {
        Verbose => Level::Trace,
        Info => Level::Debug,
        Warning => Level::Warn,
        Error | Fatal => Level::Error,
    }
}
