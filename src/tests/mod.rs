//! Tests of several rooms at once, from inside the crate.

mod fake_device;
mod properties;
