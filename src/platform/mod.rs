//! What differs between operating systems: shared libraries, memory, threads, forks, and what files can do. Each system has a file
//! with the same names, so that no other room names a system.

#[cfg_attr(not(all(target_os = "linux", target_pointer_width = "64")), path = "no_import_slots.rs")]
mod import_slots;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod linux_memory;
#[cfg(target_os = "macos")]
mod macos;
mod shared;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
mod windows_memory;

pub(crate) use import_slots::{Slot, import_slots};
#[cfg(target_os = "linux")]
pub(crate) use linux::*;
#[cfg(target_os = "macos")]
pub(crate) use macos::*;
pub(crate) use shared::{Kind, Symbols, Work};
#[cfg(unix)]
pub(crate) use unix::*;
#[cfg(windows)]
pub(crate) use windows::*;
