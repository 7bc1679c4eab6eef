//! What algorithms are made of: vectors in memory, and sums of products in registers.

pub(super) mod float32;
pub(super) mod vectors;
