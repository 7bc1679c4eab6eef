//! Synchronisation where no lock of a library serves as it is.
//!
//! Each file is one part of it. `tests/loom` compiles those that are made by hand, all but `made_once`, with the types of loom in place of
//! `types`, and tries every order in which threads can run.

mod at_least_once;
mod jobs;
mod lasting;
mod made_once;
#[cfg(feature = "reserve")]
mod spin_lock;
mod steps;
mod types;

pub(crate) use at_least_once::AtLeastOnce;
pub(crate) use jobs::Jobs;
pub(crate) use lasting::Lasting;
pub(crate) use made_once::MadeOnce;
#[cfg(feature = "reserve")]
pub(crate) use spin_lock::SpinLock;
pub(crate) use steps::Steps;
pub(crate) use types::AtomicPtr;
#[cfg(feature = "reserve")]
pub(crate) use types::{AtomicBool, UnsafeCell};
