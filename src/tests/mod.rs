//! Tests of several rooms at once, from inside the crate.

mod callers_memory;
mod fake_device;
mod properties;
