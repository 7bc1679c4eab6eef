//! What becomes of a process that gets no memory, no address space or no threads.

#[cfg(target_os = "linux")]
#[path = "limits/linux.rs"]
mod linux;

#[cfg(target_os = "linux")]
use linux::main;

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: the limits are set as on Linux");
}
