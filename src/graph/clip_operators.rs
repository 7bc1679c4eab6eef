//! Our operators on clips of channels-last frames, `[T, H, W, C]`, as graphs name them. `runtime::clip_operators` runs them on
//! `kernels`.

use super::operators::Operator;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClipOperator {
    /// What a group norm needs to know. Inputs: scale, bias, clip. Result: `[T, 3, 1, C]` if the attribute `per_frame` is 1, else
    /// `[1, 3, 1, C]`: mean, scale / deviation and bias of each channel.
    Statistics,
    /// A convolution of `times` frames, for each frame or for every second one (`every`). Inputs: packed weights, bias, clip;
    /// what `prologue` takes; then what is added to the result, or nothing.
    Convolution(Operator),
    /// A convolution of interpolated frames, by each time tap of the frames that they are made of. Inputs: packed weights, bias,
    /// clip, table. `prologue`: 0 or doubled.
    Interpolated(Operator),
    /// Interpolated frames. Inputs: clip, table.
    Interpolation,
    /// The mean of every second frame and the two before it.
    Halved,
}

/// What a convolution does to each frame first, as an attribute's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prologue {
    Nothing,
    /// The group norm. Input: the result of `ClipOperator::Statistics`.
    Groups,
    GroupsSilu,
    /// The norm of each pixel. Inputs: scale, bias.
    Pixels,
    PixelsSilu,
    /// Bilinear doubling of height and width.
    Doubled,
}

impl ClipOperator {
    pub(crate) fn all() -> impl Iterator<Item = ClipOperator> {
        let convolutions = Operator::ALL.into_iter().filter(|operator| operator.method().is_some());
        let taps = [Operator::Winograd2, Operator::Winograd4];
        [ClipOperator::Statistics, ClipOperator::Interpolation, ClipOperator::Halved]
            .into_iter()
            .chain(convolutions.map(ClipOperator::Convolution))
            .chain(taps.map(ClipOperator::Interpolated))
    }

    pub(crate) fn name(self) -> String {
        match self {
            ClipOperator::Statistics => "ClipStatistics".into(),
            ClipOperator::Convolution(operator) => format!("Clip{}", operator.name()),
            ClipOperator::Interpolated(operator) => format!("ClipInterpolated{}", operator.name()),
            ClipOperator::Interpolation => "ClipInterpolation".into(),
            ClipOperator::Halved => "ClipHalved".into(),
        }
    }
}

impl Prologue {
    const ALL: [Prologue; 6] = [
        Prologue::Nothing,
        Prologue::Groups,
        Prologue::GroupsSilu,
        Prologue::Pixels,
        Prologue::PixelsSilu,
        Prologue::Doubled,
    ];

    /// As an attribute's value.
    pub(super) fn number(self) -> i64 {
        self as i64
    }

    pub(crate) fn of_number(number: i64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Inputs that it takes.
    pub(crate) fn inputs(self) -> usize {
        match self {
            Prologue::Nothing | Prologue::Doubled => 0,
            Prologue::Groups | Prologue::GroupsSilu => 1,
            Prologue::Pixels | Prologue::PixelsSilu => 2,
        }
    }

    pub(crate) fn silu(self) -> bool {
        matches!(self, Prologue::GroupsSilu | Prologue::PixelsSilu)
    }
}
