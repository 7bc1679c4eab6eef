//! What algorithms are made of: vectors in memory, and sums of products in registers.

#[cfg_attr(not(target_arch = "x86_64"), path = "no_amx.rs")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(super) mod bfloat16;
pub(super) mod exponential;
pub(super) mod float32;
pub(super) mod parts;
#[cfg(test)]
mod plain_tiles;
pub(super) mod tiles;
pub(super) mod unit;
pub(super) mod vectors;
