//! The C door: pointers, numbers from C, panics and error text. No logic; every export is one guarded expression.
//!
//! `include/wfvae.h` is generated from these files by cbindgen (`make header`), so their documentation is written for
//! C programmers.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod abi;
mod frame;
mod guard;
mod latent_file;
mod model;
mod status;
mod stream;

// The header has the modules' order: after the streams.
mod snapshot;
mod version;
