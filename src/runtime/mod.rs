//! ONNX Runtime: finding it, one environment per process, sessions, tensors and cancelling.

mod cuda;
mod device;
mod library;
mod operators;
mod replan;
mod session;
#[cfg(target_pointer_width = "64")]
mod telemetry;
#[cfg(not(target_pointer_width = "64"))]
mod telemetry {
    //! Of ONNX Runtime there are no releases for such processors.
    pub(super) struct OptOut;

    impl OptOut {
        pub(super) fn new(_: &str, _: *const libc::c_void) -> Result<Option<Self>, String> {
            Err("this processor has no 64-bit addresses".into())
        }
    }
}
mod tensor;
pub(crate) mod threads;

pub(crate) use device::{CudaOptions, Device, PROVIDER_OPTIONS, Place};
pub(crate) use session::{Session, SessionOptions, write_weights};
pub(crate) use tensor::Tensor;

use crate::error::{Error, ErrorKind, Result, fail};
use crate::logger::Logger;
use crate::process::{Loading, Process};
use library::Library;
use once_cell::sync::OnceCell;
use ort::session::{NoSelectedOutputs, RunOptions};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The ONNX Runtime that this process uses. There is one, for the life of the process: the runtime keeps a single
/// environment, and unloading it while its threads exist is not safe.
static RUNTIME: OnceCell<Runtime> = OnceCell::new();

pub(crate) struct Runtime {
    library: Library,
    environment: ort::environment::Environment,
}

impl Runtime {
    /// The process's runtime, loaded by the first call, whose `logger` gets any warning. `path` names the library file;
    /// `None` searches for it.
    pub(crate) fn get(path: Option<&Path>, logger: &Logger) -> Result<&'static Runtime> {
        let runtime = {
            let _loading = Loading::begin()?;
            RUNTIME.get_or_try_init(|| Runtime::load(path, logger))?
        };
        if let Some(path) = path
            && !library::same_file(path, &runtime.library.path)
        {
            fail!(
                InvalidState,
                "ONNX Runtime: {} was asked for, but this process already uses {} {}; it cannot load a second one",
                path.display(),
                runtime.library.version,
                runtime.library.path.display()
            );
        }
        Ok(runtime)
    }

    fn load(path: Option<&Path>, logger: &Logger) -> Result<Runtime> {
        operators::prepare();
        let library = library::find(path)?;
        let failed = |e: &dyn std::fmt::Display| {
            let text = format!("ONNX Runtime {} at {}: {e}", library.version, library.path.display());
            Error::new(ErrorKind::Runtime, text)
        };
        let environment = ort::init_from(&library.path).map_err(|e| failed(&e))?;
        let opt_out = telemetry::OptOut::new(&library.version, library.entry.0).unwrap_or_else(|e| {
            let advice = "set ORT_DISABLE_TELEMETRY=1 in the environment of the program";
            let text = format_args!("ONNX Runtime's telemetry cannot be turned off from here, as {e}: {advice}");
            logger.log(log::Level::Warn, text);
            None
        });
        let environment = environment
            .with_name("wfvae")
            .with_telemetry(false)
            .with_logger(Logger::default().for_runtime())
            .build()
            .map_err(|e| failed(&e))?;
        drop(opt_out);
        // ort creates environments with a custom logger at the most verbose level.
        environment.set_log_level(ort::logging::LogLevel::Warning);
        Ok(Runtime { library, environment })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.library.path
    }

    pub(crate) fn version(&self) -> &str {
        &self.library.version
    }

    /// Whether sessions can run on a CUDA device; the error names what is missing.
    pub(crate) fn check_cuda(&self, device: u32) -> Result<()> {
        let has_provider = library::providers().iter().any(|name| name == cuda::PROVIDER);
        cuda::check(&self.library.path, &self.library.version, has_provider, device)
    }
}

/// Stops a call that is running in another thread; clones share one flag.
///
/// Thread-safety: safe; this is the one part of a stream that other threads may use while a call runs.
#[derive(Clone)]
pub struct Canceller {
    flag: Arc<AtomicBool>,
    options: Arc<RunOptions<NoSelectedOutputs>>,
    /// Keeps a cancel and a reset from each changing one half.
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

    /// The call that runs now fails with [`ErrorKind::Cancelled`] after the layer it is in, typically within some
    /// milliseconds. If none runs, the next one fails. A reset of the stream clears this. In the child of a fork nothing
    /// happens, as it has no calls of its parent's stream.
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

/// The path of the file that holds this code: libwfvae, or the program that it is linked into.
fn own_path() -> Option<PathBuf> {
    library::path_of(own_path as *const libc::c_void)
}
