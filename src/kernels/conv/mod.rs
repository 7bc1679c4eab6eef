//! Convolutions of channels-last frames.

pub(super) mod convolution;
pub(super) mod direct;
mod division;
mod pack;
pub(super) mod transforms;
pub(super) mod winograd;
