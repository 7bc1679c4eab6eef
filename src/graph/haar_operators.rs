//! Our Haar transforms, as graphs name them. `runtime::haar_operators` runs them on `kernels`. The attribute `gain` is their factor.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HaarOperator {
    /// Inputs: one picture (2D) or two (3D), as planes. Results: coefficients, channels-last; and, if a second result is taken,
    /// the band of sums, as planes.
    Analysis,
    /// The same, but coefficients are a bordered frame of bfloat16.
    NarrowAnalysis,
    /// Inputs: coefficients, channels-last; and what is added to the band of sums, as planes, or nothing. Results: one picture
    /// (2D) or two (3D), as planes.
    Synthesis,
}

impl HaarOperator {
    pub(crate) const ALL: [HaarOperator; 3] =
        [HaarOperator::Analysis, HaarOperator::NarrowAnalysis, HaarOperator::Synthesis];

    pub(crate) fn name(self) -> &'static str {
        match self {
            HaarOperator::Analysis => "HaarAnalysis",
            HaarOperator::NarrowAnalysis => "HaarNarrowAnalysis",
            HaarOperator::Synthesis => "HaarSynthesis",
        }
    }
}
