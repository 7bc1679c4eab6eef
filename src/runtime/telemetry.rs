//! Turns ONNX Runtime's telemetry off before it starts.
//!
//! Since version 1.29, creating the first environment of a process starts telemetry: it writes a device ID and a
//! database to the home folder and starts a thread that sends events to Microsoft. No API call can prevent this; even
//! `DisableTelemetryEvents` starts it. The only switch is the environment variable `ORT_DISABLE_TELEMETRY`, which ONNX
//! Runtime reads once. Setting that variable would race with other threads that read the environment. So while the
//! environment is created, ONNX Runtime's calls of `getenv`, and only those, are redirected to a function here that
//! answers for this variable. The redirection changes the slot in which the loader stored the address of `getenv`.

use super::library::is_new_enough;
use crate::platform::{self, Slot};
use std::ffi::{CStr, c_char, c_void};

/// The first minor version with telemetry.
const SINCE: u32 = 29;
/// The variable that all releases use, and the name that it had before them.
const VARIABLES: [&CStr; 2] = [c"ORT_DISABLE_TELEMETRY", c"ORT_TELEMETRY_DISABLED"];

/// While this exists, ONNX Runtime reads that the user wants no telemetry.
pub(super) struct OptOut {
    slots: Vec<Slot>,
}

impl OptOut {
    /// `entry`: any function of the library. Returns `None` if there is nothing to do: the library has no telemetry, or
    /// the program has set the variable itself. An error means that telemetry cannot be turned off.
    pub(super) fn new(version: &str, entry: *const c_void) -> Result<Option<Self>, String> {
        let answered = VARIABLES.iter().any(|name| {
            let name = name.to_str().expect("ASCII");
            std::env::var_os(name).is_some_and(|value| !value.is_empty())
        });
        if answered || !platform::TELEMETRY || !is_new_enough(version, SINCE) {
            return Ok(None);
        }
        let slots = platform::import_slots(entry, c"getenv")?;
        let mut opt_out = OptOut { slots: vec![] };
        for mut slot in slots {
            // SAFETY: the runtime is never unloaded, and this function is one like getenv.
            unsafe { slot.write(Self::getenv as *const () as usize)? };
            opt_out.slots.push(slot);
        }
        if opt_out.slots.is_empty() {
            return Err("it does not import getenv".into());
        }
        Ok(Some(opt_out))
    }

    /// Called by ONNX Runtime in place of `getenv`.
    unsafe extern "C" fn getenv(name: *const c_char) -> *mut c_char {
        // SAFETY: callers of getenv pass a string.
        match VARIABLES.contains(&unsafe { CStr::from_ptr(name) }) {
            true => c"1".as_ptr().cast_mut(),
            // SAFETY: as above.
            false => unsafe { libc::getenv(name) },
        }
    }
}

impl Drop for OptOut {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            // The slot was writable before. If it is not now, our function stays in place, which is harmless.
            // SAFETY: as above.
            let _ = unsafe { slot.write(slot.before) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logger::Logger;
    use crate::runtime::environment::Runtime;

    fn slots() -> Vec<Slot> {
        let runtime = Runtime::get(None, &Logger::default()).unwrap();
        platform::import_slots(runtime.library.entry.0, c"getenv").unwrap()
    }

    /// What the slot's function answers for a variable.
    fn ask(slot: &Slot, name: &CStr) -> Option<String> {
        // SAFETY: the slot holds a function with the signature of getenv.
        let value = unsafe {
            let getenv = *(slot.address() as *const unsafe extern "C" fn(*const c_char) -> *mut c_char);
            getenv(name.as_ptr())
        };
        // SAFETY: NULL or a string of the environment.
        (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned())
    }

    #[test]
    fn only_the_runtime_is_told_and_only_while_it_is_needed() {
        if !platform::TELEMETRY {
            return println!("skipped: there is nothing to turn off here");
        }
        if VARIABLES.iter().any(|name| std::env::var_os(name.to_str().unwrap()).is_some()) {
            return println!("skipped: {VARIABLES:?} must not be set");
        }
        let before: Vec<usize> = slots().iter().map(|slot| slot.before).collect();
        // Creating the process's environment has put other functions there and restored them.
        assert!(!before.is_empty() && before.iter().all(|address| *address != OptOut::getenv as *const () as usize));
        let path = std::env::var("PATH").unwrap();
        {
            let entry = Runtime::get(None, &Logger::default()).unwrap().library.entry.0;
            let _opt_out = OptOut::new("1.99.0", entry).unwrap().expect("no variable is set");
            for slot in &slots() {
                assert_eq!(ask(slot, c"ORT_DISABLE_TELEMETRY").as_deref(), Some("1"));
                assert_eq!(ask(slot, c"PATH").as_ref(), Some(&path));
                assert_eq!(ask(slot, c"WFVAE_NO_SUCH_VARIABLE"), None);
            }
            assert!(std::env::var_os("ORT_DISABLE_TELEMETRY").is_none());
            assert!(OptOut::new("1.28.0", entry).unwrap().is_none());
            assert!(OptOut::new("1.29.0", entry).unwrap().is_some());
        }
        assert_eq!(slots().iter().map(|slot| slot.before).collect::<Vec<usize>>(), before);
    }
}
