//! Names of the ports that callers bind by meaning.

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
/// Decoder, first step: `[1, L, h, w]`.
pub(crate) const LATENT: &str = "latent";
/// Between decoder steps: the results of each time tap of the convolution for the last three low-rate frames, oldest first;
/// nine weights for them, in the same order; and the side branch's picture.
pub(crate) const TAPS_OF: [&str; 3] = ["taps.2", "taps.1", "taps.0"];
pub(crate) const WEIGHTS: &str = "weights";
pub(crate) const SIDE: &str = "side";
/// What a decoder step hands to the next: the results of each time tap for its low-rate frame.
pub(crate) const TAPS: &str = "taps";
/// Two pictures, of the side branch or, from the last step, of the clip (one, if frames are images).
pub(crate) const PICTURES: [&str; 2] = ["picture.0", "picture.1"];

/// Graphs of a whole clip: `[1, 3, T, H, W]`, -1 to 1.
pub(crate) const VIDEO: &str = "video";
/// `[1, 2L, T, h, w]` and `[1, L, T, h, w]`.
pub(crate) const CLIP_MOMENTS: &str = "moments";
pub(crate) const LATENTS: &str = "latents";
/// The n-th interpolation: for every frame that it makes, the indices of two low-rate frames and their weights.
pub(crate) fn interpolation(n: usize) -> [String; 4] {
    ["before", "now", "weight.before", "weight.now"].map(|what| format!("{what}.{n}"))
}
/// The same as one table, where the layers are our operators. See `kernels::Interpolated`.
pub(crate) fn interpolation_table(n: usize) -> String {
    format!("table.{n}")
}
/// Numbers of the table for each frame.
pub(crate) const TABLE_COLUMNS: usize = 10;
