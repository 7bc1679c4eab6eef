//! The process's ONNX Runtime and its environment.

use super::library::{self, Library};
use super::{cuda, operators, telemetry};
use crate::error::{Error, ErrorKind, Result, fail};
use crate::graph::Element;
use crate::logger::Logger;
use crate::platform;
use crate::process::Loading;
use crate::sync::MadeOnce;
use std::path::Path;
use std::sync::Arc;

/// The ONNX Runtime that this process uses. It is never replaced or unloaded: it has one environment per process, and
/// its threads may still be running.
static RUNTIME: MadeOnce<Runtime> = MadeOnce::new();

pub(crate) struct Runtime {
    pub(super) library: Library,
    pub(super) environment: ort::environment::Environment,
}

fn failed(runtime: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Runtime, format!("{runtime}: {e}")).caused_by(e)
}

impl Runtime {
    /// The process's ONNX Runtime. The first call loads it, and sends warnings to `logger`. `path` names the library
    /// file; `None` searches for it.
    pub(crate) fn get(path: Option<&Path>, logger: &Logger) -> Result<&'static Runtime> {
        let runtime = {
            let _loading = Loading::begin()?;
            RUNTIME.get_or_make(|| Runtime::load(path, logger))?
        };
        if let Some(path) = path
            && !library::same_file(path, &runtime.library.path)
        {
            fail!(
                InvalidState,
                "ONNX Runtime: {} was asked for, but this process already uses {} {} and cannot load a second one",
                path.display(),
                runtime.library.version,
                runtime.library.path.display()
            );
        }
        Ok(runtime)
    }

    fn load(path: Option<&Path>, logger: &Logger) -> Result<Runtime> {
        platform::stay_loaded();
        operators::prepare(logger)?;
        let library = library::find(path)?;
        let name = format!("ONNX Runtime {} at {}", library.version, library.path.display());
        let environment = ort::init_from(&library.path).map_err(|e| failed(&name, e))?;
        let opt_out = telemetry::OptOut::new(&library.version, library.entry.0).unwrap_or_else(|e| {
            let advice = "set the environment variable ORT_DISABLE_TELEMETRY=1";
            let text = format_args!("ONNX Runtime's telemetry cannot be turned off, because {e}; {advice}");
            logger.log(log::Level::Warn, text);
            None
        });
        let environment = environment
            .with_name("wfvae")
            .with_telemetry(false)
            .with_logger(Logger::default().for_runtime())
            .build()
            .map_err(|e| failed(&name, e))?;
        drop(opt_out);
        // ort gives an environment with a custom logger the most verbose level.
        environment.set_log_level(ort::logging::LogLevel::Warning);
        Ok(Runtime { library, environment })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.library.path
    }

    pub(crate) fn version(&self) -> &str {
        &self.library.version
    }

    /// Checks that sessions can run on a CUDA device; the error says what is missing.
    pub(crate) fn check_cuda(&self, device: u32) -> Result<()> {
        cuda::check(&self.library.path, &self.library.version, &library::providers(), device)
    }

    /// Our kernels for a device that was checked, and for graphs that compute in this type.
    pub(crate) fn cuda_kernels(&self, device: u32, compute: Element) -> Result<Arc<cuda::Kernels>> {
        cuda::Kernels::get(&self.library.path, device, compute)
    }

    /// Those that read and write pictures there.
    pub(crate) fn cuda_pixel_kernels(&self, device: u32) -> Result<Arc<cuda::PixelKernels>> {
        cuda::PixelKernels::get(&self.library.path, device)
    }
}
