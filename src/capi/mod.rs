//! The C interface: checks what C passes, converts it, and turns panics and errors into a status and a text.
//! No other logic; every export is one `guard!`.
//!
//! cbindgen generates `include/wfvae.h` from these files (`make header`), so their documentation is for C programmers.
//!
//! Unsafe code here has one reason, unless another is given: C passes what the header says. Pointers are NULL, which is checked, or
//! lead to as much as the header asks for, for as long as it says; handles are those that the library made and has not destroyed.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]
#![allow(clippy::undocumented_unsafe_blocks, reason = "above")]

mod abi;
mod error_text;
mod guard;
mod last_error;
mod text;

// The header has the order of these lines. Blank lines keep rustfmt from sorting them.
mod status;

mod errors;

mod model_options;

mod model_info;

mod model;

mod frame;

mod latents;

mod handle;

mod options;

mod calls;

mod info;

mod snapshot;

mod latent_writer;

mod latent_reader;

mod version;
