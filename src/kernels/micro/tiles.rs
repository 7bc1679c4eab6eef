//! Sums of products of bfloat16 in float32, by the CPU's matrix unit: tiles of pixels times tiles of weights.
//!
//! A tile register holds 16 rows of 64 bytes. A tile of pixels is some neighbouring channels of 16 pixels; a tile of weights is
//! what 16 output channels take of these channels, in pairs of channels; sums are 16 pixels of 16 output channels. Intel's
//! manual ("Intel 64 and IA-32 Architectures Software Developer's Manual", volume 2, TDPBF16PS) has the details.

/// Pixels, and output channels, of a tile.
pub(crate) const SIDE: usize = 16;
/// Tiles of pixels that are multiplied in one go.
pub(crate) const TILES: usize = 4;
/// Channels of a tile of pixels, at most.
pub(crate) const DEPTH: usize = 32;

/// Four tiles of pixels times a panel of weights, added up over steps.
#[derive(Clone, Copy)]
// Other CPUs have no unit that reads them.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) struct Products<'a> {
    /// The first pixel of each tile.
    pub(crate) pixels: [*const u8; TILES],
    /// How many of them are needed; sums of others may be anything.
    pub(crate) count: usize,
    /// Bytes from one pixel of a tile to the next.
    pub(crate) stride: usize,
    /// Bytes from a tile's pixels to the channels that each step takes.
    pub(crate) steps: &'a [usize],
    /// For each step the panel's one or two tiles.
    pub(crate) weights: *const u8,
    /// `[pixel][channel]` of the panel.
    pub(crate) sums: *mut f32,
    /// Whether sums go on from what is there.
    pub(crate) accumulate: bool,
    /// What is fetched into the second-level cache meanwhile: up to `AHEAD` bytes from here at each step, and then from so many
    /// bytes further on. Nothing has to be there.
    pub(crate) ahead: *const u8,
    pub(crate) ahead_stride: usize,
}

/// Two tiles of rows of float32, in parts (`parts`), times a panel of one or two tiles of weights, added up over steps. A step takes
/// `DEPTH` numbers of each row.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(crate) struct PartProducts {
    /// Rows of numbers, `[step][part]`.
    pub(crate) rows: *const u8,
    /// Bytes from one row to the next.
    pub(crate) stride: usize,
    pub(crate) steps: usize,
    /// `[step][part][tile]`
    pub(crate) weights: *const u8,
    /// A row for each row of numbers.
    pub(crate) sums: *mut f32,
    /// Bytes from one row of sums to the next.
    pub(crate) sums_stride: usize,
    /// Whether sums go on from what is there.
    pub(crate) accumulate: bool,
}

/// Bytes that each step can fetch.
pub(crate) const AHEAD: usize = 256;

/// Bytes of a tile of weights.
pub(crate) fn weights_bytes(depth: usize) -> usize {
    depth * SIDE * size_of::<half::bf16>()
}
