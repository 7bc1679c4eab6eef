//! From a network's description to ONNX graphs, one for each frame rate inside the network.
//!
//! A graph is one *step*: it takes one frame at its rate (an encoder's later steps: two from the rate before) together
//! with the two past frames of every causal convolution, and gives one frame. Tensors are `[1, channels, height, width]`,
//! or `[1, height, width, channels]` where our operators work on them, float32; time lies outside the graphs. So the start of
//! a clip, its middle and its end run the same graphs with the same weights. This module knows neither files nor ONNX Runtime.
//!
//! ## Precision
//! `Options::compute` says in which type convolutions and matrix products compute and what causal caches hold. Casts lie
//! where a value crosses; with float32 there are none.
//!
//! ## Interpolation
//! Between two rates the decoder interpolates frames, and a causal convolution follows. Both are sums, so they change places:
//! a step ends with the convolution of its own, low-rate frame by each time tap apart, and the next one begins with the
//! weighted sum of nine such results. That is half of the work, as each interpolated frame would meet all taps.
//!
//! A network whose norms span the clip has no steps: it is one graph over all frames (`clip`).
//!
//! ## Sizes
//! A graph takes frames of any size. Where it cuts or joins values by numbers that follow from that size, it takes these
//! numbers as inputs (`size`).
//!
//! ## Causal caches
//! A causal convolution reads its input now (`cacheN.now`, an output too) and one and two frames ago (`cacheN.1`,
//! `cacheN.2`). The caller keeps these tensors and binds them again, moved on by one place, in the next step. At the
//! start of a clip the past is the first frame itself (spec: replicate padding): the caller then binds *one* buffer as
//! `.now`, `.1` and `.2`. For this to be well defined the graph reads the past only through a `Reshape` to the shape
//! of `.now`, which cannot run before `.now` is computed; it moves no data. Selecting with `Where` instead costs 8 to
//! 15 % of the whole step.

mod builder;
mod clip;
mod decoder;
mod encoder;
mod footprint;
mod operator;
mod ops;
mod proto;
mod size;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use builder::{Element, Layout, Operators, Options, Port, Source, StepGraph, Taps};
pub(crate) use clip::{decoder_clip, encoder_clip};
pub(crate) use decoder::decoder;
pub(crate) use encoder::encoder;
pub(crate) use operator::{DOMAIN as OPERATOR_DOMAIN, Kernel, Operator};
pub(crate) use size::SizeList;
pub(crate) use transfer::{copy, pixels};

/// Names of the ports that streams bind by meaning.
pub(crate) mod port {
    /// Encoder, first step: two frames of the clip, `[1, 3, H, W]`, -1 to 1.
    pub(crate) const FRAMES: [&str; 2] = ["frame.0", "frame.1"];
    /// Between encoder steps: the main path's last frame of the pair before, and the pair.
    pub(crate) const MAIN: [&str; 3] = ["main.before", "main.0", "main.1"];
    /// Between encoder steps: the wavelet path's pair.
    pub(crate) const LOW: [&str; 2] = ["low.0", "low.1"];
    /// What an encoder step hands to the next.
    pub(crate) const MAIN_OUT: &str = "main";
    pub(crate) const LOW_OUT: &str = "low";
    /// Encoder, last step: mean and log-variance, `[1, 2L, h, w]`.
    pub(crate) const MOMENTS: &str = "moments";
    /// Decoder, first step.
    pub(crate) const LATENT: &str = "latent";
    /// Between decoder steps: what the last three low-rate frames, oldest first, are to each time tap of the convolution
    /// behind the interpolation; the weights of each of them, nine in the same order; and the side branch's picture.
    pub(crate) const TAPS_OF: [&str; 3] = ["taps.2", "taps.1", "taps.0"];
    pub(crate) const WEIGHTS: &str = "weights";
    pub(crate) const SIDE: &str = "side";
    /// What a decoder step hands to the next: the low-rate frame under each time tap.
    pub(crate) const TAPS: &str = "taps";
    /// Two pictures, of the side branch or, from the last step, of the clip (one, where frames are images).
    pub(crate) const PICTURES: [&str; 2] = ["picture.0", "picture.1"];

    /// Of the graphs that take a whole clip: `[1, 3, T, H, W]`, -1 to 1.
    pub(crate) const VIDEO: &str = "video";
    /// `[1, 2L, T, h, w]` and `[1, L, T, h, w]`.
    pub(crate) const CLIP_MOMENTS: &str = "moments";
    pub(crate) const LATENTS: &str = "latents";
    /// For the n-th interpolation, of every frame that it makes: which low-rate frames, as numbers, and their weights.
    pub(crate) fn interpolation(n: usize) -> [String; 4] {
        ["before", "now", "weight.before", "weight.now"].map(|what| format!("{what}.{n}"))
    }
}
