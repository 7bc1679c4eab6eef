//! Control-C, and the signals with which systems end programs.

use crate::messages::tell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub const SIGNALS: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM];

/// The first one sets what this gives, so that clips that are under way are finished; the second one ends the process.
pub fn handle() -> Result<Arc<AtomicBool>, String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = interrupted.clone();
    let handler = move || {
        if seen.swap(true, Ordering::Relaxed) {
            end();
        }
        tell("wfvae-batch: finishes the clips that are under way; Control-C again stops at once");
    };
    let ignored = ignored();
    ctrlc::set_handler(handler).map_err(|e| format!("Control-C cannot be handled: {e}"))?;
    ignore(&ignored);
    Ok(interrupted)
}

/// Other threads are at work, so nothing is tidied up.
pub fn end() -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(crate::INTERRUPTED.into()) }
}

/// Signals that whoever started this process wants to be ignored, as nohup does.
fn ignored() -> Vec<libc::c_int> {
    let is_ignored = |&signal: &libc::c_int| {
        // SAFETY: all zeros are a valid value, and the call only writes to it.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: it writes to the struct only.
        let found = unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) };
        found == 0 && action.sa_sigaction == libc::SIG_IGN
    };
    SIGNALS.into_iter().filter(is_ignored).collect()
}

/// May be called between fork and exec.
pub fn ignore(signals: &[libc::c_int]) {
    for &signal in signals {
        // SAFETY: no code of ours runs in a signal that is ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
