//! Convolutions of channels-last frames.

pub(super) mod convolution;
pub(super) mod direct;
mod division;
pub(super) mod matrix;
pub(super) mod multipliers;
mod pack;
pub(super) mod transforms;
pub(super) mod winograd;
