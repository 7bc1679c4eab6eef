//! The child processes of this program, which are ended when they do not answer in time, and with this one.

use crate::lock::lock;
use crate::watchdog::{Watch, Watchdog};
use std::io::Result;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A child process. It is ended when this is dropped.
pub struct Process {
    child: Arc<Mutex<Child>>,
    watch: Watch,
}

/// The ends of its pipes, of those that were asked for.
pub struct Pipes {
    pub input: Option<ChildStdin>,
    pub output: Option<ChildStdout>,
    pub errors: Option<ChildStderr>,
}

impl Process {
    /// Starts a process in a group of its own, which signals for this one do not reach, such as those of a terminal. If it starts others,
    /// they are ended with it.
    pub fn start(command: &mut Command, dog: &Arc<Watchdog>) -> Result<(Self, Pipes)> {
        command.process_group(0);
        #[cfg(target_os = "linux")]
        // SAFETY: prctl() may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // The system ends it with the thread that started it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command.spawn()?;
        let pipes = Pipes { input: child.stdin.take(), output: child.stdout.take(), errors: child.stderr.take() };
        let child = Arc::new(Mutex::new(child));
        let watch = dog.watch(child.clone());
        Ok((Process { child, watch }, pipes))
    }

    /// The process is ended unless this is called again before `time` is over; `None`: it may take any time.
    pub fn allow(&self, time: Option<Duration>) {
        self.watch.allow(time);
    }

    /// Whether it was ended because it was late.
    pub fn was_late(&self) -> bool {
        self.watch.was_late()
    }

    /// Whether it runs.
    pub fn lives(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// Waits for its end, which must be near.
    pub fn wait(&self) -> Result<ExitStatus> {
        lock(&self.child).wait()
    }

    /// Ends it, if it has not ended. The status of one that has is what it was.
    pub fn kill(&self) -> Result<ExitStatus> {
        let mut child = lock(&self.child);
        kill(&mut child);
        child.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Ends a process and those that it has started, unless its end has been waited for: its number may be another's then.
pub fn kill(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        // SAFETY: it takes numbers. The group has the number of the process that leads it.
        unsafe { libc::kill(-(child.id() as libc::pid_t), libc::SIGKILL) };
    }
}
