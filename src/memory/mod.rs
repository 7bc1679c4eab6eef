//! Memory whose size depends on the model, the frame or the clip: allocation that can fail.
//!
//! Rust's own `vec!`, `with_capacity`, `to_vec` and `clone` end the process when memory runs out. Everything that grows
//! with the caller's input uses this module instead. Small allocations do not: the feature `reserve` keeps memory in
//! reserve for them.

mod fallible;
mod pages;
#[cfg_attr(not(feature = "reserve"), path = "no_reserve.rs")]
mod reserve;

pub(crate) use fallible::{check, check_room, list, push, with_room, zeros};
pub(crate) use pages::Pages;
pub(crate) use reserve::unlock_in_child;
