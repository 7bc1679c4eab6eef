//! NVIDIA's driver: whether it works, its CUDA version, and the number of devices.

use super::loader::{functions, open_library};
use crate::error::{Result, fail};
use std::ffi::{c_int, c_uint};

pub(super) const FILE: &str = "libcuda.so.1";

functions! {
    struct Functions {
        init = c"cuInit": fn(c_uint) -> c_int;
        version = c"cuDriverGetVersion": fn(*mut c_int) -> c_int;
        count = c"cuDeviceGetCount": fn(*mut c_int) -> c_int;
    }
}

/// NVIDIA's driver, called through its C interface.
pub(super) struct Driver {
    /// The newest CUDA version that it runs: 1000 times the major plus 10 times the minor version.
    version: u32,
    devices: u32,
}

impl Driver {
    pub(super) fn open(name: &str) -> Result<Self> {
        let advice = "a machine with an NVIDIA GPU needs its driver; in a container, enable GPU access (--gpus all)";
        let handle = match open_library(name, &[]) {
            Ok(handle) => handle,
            Err(reason) => fail!(Provider, "no NVIDIA driver: {reason}; {advice}"),
        };
        // SAFETY: the driver's functions have had these signatures since its first version.
        let functions = match unsafe { Functions::of(handle) } {
            Ok(functions) => functions,
            Err(missing) => fail!(Provider, "{name} is not NVIDIA's driver: it has no {missing}; {advice}"),
        };
        let asked = |name: &str, result: c_int| {
            if result != 0 {
                fail!(Provider, "the NVIDIA driver does not work: {name} gives error {result}; {advice}");
            }
            Ok(())
        };
        let (mut found, mut devices) = (0, 0);
        // SAFETY: it writes a number.
        asked("cuDriverGetVersion", unsafe { (functions.version)(&mut found) })?;
        // 100 means that there is no device.
        // SAFETY: nothing has to be there before.
        match unsafe { (functions.init)(0) } {
            100 => {}
            result => {
                asked("cuInit", result)?;
                // SAFETY: it writes a number.
                asked("cuDeviceGetCount", unsafe { (functions.count)(&mut devices) })?;
            }
        }
        Ok(Driver { version: found.max(0) as u32, devices: devices.max(0) as u32 })
    }

    /// A driver runs all minor versions of a major version that it supports.
    pub(super) fn check_version(&self, needed: Option<u32>) -> Result<()> {
        let (major, minor) = (self.version / 1000, self.version % 1000 / 10);
        match needed {
            Some(needed) if major < needed => fail!(
                Provider,
                "the NVIDIA driver is too old: it runs CUDA up to {major}.{minor}, this ONNX Runtime needs {needed}.0; \
                 update the driver, or install an onnxruntime-gpu for CUDA {major}"
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn check_device(&self, device: u32) -> Result<()> {
        match self.devices {
            0 => fail!(Provider, "the NVIDIA driver finds no device"),
            count if device >= count => {
                fail!(Provider, "no such device: the driver finds {count}, with indices from 0")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn text<T>(result: Result<T>) -> String {
        let error = result.err().expect("something is missing");
        assert_eq!(error.kind(), ErrorKind::Provider);
        error.text().into()
    }

    #[test]
    fn a_missing_cuda_driver_is_named() {
        let missing = text(Driver::open("libcuda-nowhere.so.1"));
        assert!(missing.contains("no NVIDIA driver: libcuda-nowhere.so.1"), "{missing}");
        let other = text(Driver::open("libm.so.6"));
        assert!(other.contains("libm.so.6 is not NVIDIA's driver: it has no cuInit"), "{other}");
    }

    #[test]
    fn old_cuda_drivers_and_absent_devices_are_named() {
        let driver = Driver { version: 12040, devices: 2 };
        let old = text(driver.check_version(Some(13)));
        assert!(old.contains("runs CUDA up to 12.4") && old.contains("needs 13.0"), "{old}");
        assert!(driver.check_version(Some(12)).is_ok() && driver.check_device(1).is_ok());
        assert!(text(driver.check_device(2)).contains("the driver finds 2"));
        assert!(text(Driver { version: 13000, devices: 0 }.check_device(0)).contains("finds no device"));
    }
}
