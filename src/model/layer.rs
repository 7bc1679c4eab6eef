//! The building blocks of a network: weights, convolutions, norms and layers.

/// A tensor's name and expected shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) key: String,
    pub(crate) shape: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConvKind {
    /// 3x3, applied to each frame separately.
    Spatial,
    /// 3x3x3, over this frame and the two before it.
    Causal,
    /// 1x1 or 1x1x1.
    Pointwise,
}

#[derive(Debug, Clone)]
pub(crate) struct Conv {
    pub(crate) kind: ConvKind,
    pub(crate) weight: Weight,
    pub(crate) bias: Weight,
    pub(crate) mix: Option<Mix>,
}

/// What a causal convolution's result is mixed with: the result is a * `with` + (1 - a) * convolution, where a is the sigmoid
/// of `factor`, a single number. Readers of the weights get those of one convolution that does both.
#[derive(Debug, Clone)]
pub(crate) struct Mix {
    pub(crate) factor: Weight,
    pub(crate) with: Mixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mixed {
    /// The mean of the three frames that the convolution reads.
    Mean,
    /// The newest of them.
    Newest,
}

/// The elements over which a norm takes its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormScope {
    /// LayerNorm: the channels of each pixel.
    Pixel,
    /// GroupNorm over each frame: groups of 1/32 of the channels.
    FrameGroups,
    /// GroupNorm over all frames, in the same groups. It needs the whole clip at once.
    ClipGroups,
}

/// The number of groups of every GroupNorm.
pub(crate) const NORM_GROUPS: usize = 32;

/// Added to the variance in every norm (docs/spec.md section 2).
pub(crate) const NORM_EPSILON: f32 = 1e-6;

/// An affine norm.
#[derive(Debug, Clone)]
pub(crate) struct Norm {
    pub(crate) scope: NormScope,
    pub(crate) weight: Weight,
    pub(crate) bias: Weight,
}

#[derive(Debug, Clone)]
pub(crate) struct ResBlock {
    pub(crate) norm1: Norm,
    pub(crate) conv1: Conv,
    pub(crate) norm2: Norm,
    pub(crate) conv2: Conv,
    /// Present if the number of channels changes.
    pub(crate) shortcut: Option<Conv>,
}

/// Self-attention with one head over the pixels of one frame.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// The legacy attention of CausalVAE, whose queries, keys and values are of the whole clip: their `[C, T, H * W]` is taken
    /// as `[T, C, H * W]` without being permuted.
    pub(crate) mixes_frames: bool,
    pub(crate) norm: Norm,
    pub(crate) query: Conv,
    pub(crate) key: Conv,
    pub(crate) value: Conv,
    pub(crate) output: Conv,
}

#[derive(Debug, Clone)]
pub(crate) enum Layer {
    Conv(Conv),
    ResBlock(ResBlock),
    Attention(Attention),
    Norm(Norm),
    Silu,
}

/// Haar transforms. The gain of a 3D transform comes from the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Wavelet {
    Haar2d,
    Haar3d { gain: f32 },
}

/// Halves height and width, the frame rate, or both.
#[derive(Debug, Clone)]
pub(crate) struct Down {
    /// Strided where it halves. Without one, the mean of every second frame and the two before it.
    pub(crate) conv: Option<Conv>,
    pub(crate) space: bool,
    pub(crate) time: bool,
}

/// How height and width are doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enlarge {
    /// Every pixel is repeated to 2x2.
    Nearest,
    /// With half-pixel centres.
    Bilinear,
}

/// Doubles height and width, the frame rate, or both; then comes the convolution, if there is one. A doubling of the frame
/// rate with a doubling of the sides is bilinear, and one without a convolution leaves the sides.
#[derive(Debug, Clone)]
pub(crate) struct Up {
    pub(crate) conv: Option<Conv>,
    pub(crate) space: Option<Enlarge>,
    pub(crate) time: bool,
}

impl Wavelet {
    pub(crate) fn is_temporal(self) -> bool {
        matches!(self, Wavelet::Haar3d { .. })
    }

    /// The gain of a 3D transform, which the checkpoint stores; 0 for 2D, whose gain is fixed.
    pub(super) fn gain(self) -> f32 {
        match self {
            Wavelet::Haar2d => 0.0,
            Wavelet::Haar3d { gain } => gain,
        }
    }
}

impl Conv {
    pub(crate) fn in_channels(&self) -> usize {
        self.weight.shape[1]
    }

    pub(crate) fn out_channels(&self) -> usize {
        self.weight.shape[0]
    }
}

impl Down {
    /// A WF-VAE's: it halves the frame rate if its convolution is causal.
    pub(super) fn strided(conv: Conv) -> Self {
        let time = conv.kind == ConvKind::Causal;
        Down { conv: Some(conv), space: true, time }
    }
}

impl Up {
    /// A WF-VAE's: it doubles the frame rate if its convolution is causal.
    pub(super) fn of(conv: Conv) -> Self {
        let time = conv.kind == ConvKind::Causal;
        Up { conv: Some(conv), space: Some(if time { Enlarge::Bilinear } else { Enlarge::Nearest }), time }
    }
}
