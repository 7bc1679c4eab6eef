//! Passes ONNX Runtime's messages to a [`Logger`].

use crate::logger::Logger;
use log::{Level, LevelFilter};
use ort::logging::{LogLevel, LoggerFunction};
use std::sync::Arc;

/// ONNX Runtime warns with these if a device's graph has nodes on the CPU. Computations on shapes belong there. If it
/// has to copy values within the graph it gives another warning.
const NODES_ON_CPU: [&str; 2] =
    ["Some nodes were not assigned to the preferred execution providers", "Rerunning with verbose output"];

impl Logger {
    /// Which of its own messages ONNX Runtime should send.
    pub(super) fn runtime_level(&self) -> LogLevel {
        match self.max_level() {
            LevelFilter::Trace => LogLevel::Verbose,
            _ => LogLevel::Warning,
        }
    }

    /// The callback that receives ONNX Runtime's messages.
    pub(super) fn for_runtime(&self) -> LoggerFunction {
        let logger = self.clone();
        Arc::new(move |level, _, _, location: &str, text: &str| {
            let level =
                if NODES_ON_CPU.iter().any(|known| text.starts_with(known)) { Level::Debug } else { level_of(level) };
            logger.log(level, format_args!("ONNX Runtime: {text} ({location})"));
        })
    }
}

fn level_of(level: LogLevel) -> Level {
    use LogLevel::*;
    match level {
        Verbose => Level::Trace,
        Info => Level::Debug,
        Warning => Level::Warn,
        Error | Fatal => Level::Error,
    }
}
