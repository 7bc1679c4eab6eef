//! Our operators on the CPU's matrix unit, as graphs name them. `runtime::matrix_operators` runs them on `kernels`.
//!
//! Convolutions read bordered frames of bfloat16 (`kernels::Bordered`), and what makes these writes them: norms, other
//! convolutions and casts. Sums are frames of float32, `[1, H, W, C]`.

use crate::kernels::{Form, Outcome};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MatrixOperator {
    /// A convolution. Inputs: packed weights, bias; scale and shift of the norm, if there is one; what is added to the sums, if
    /// `Adds::Residual`; the frame of now; then both frames before it (one ago, two ago), or neither.
    Convolve(Form, Adds, Gives),
    /// The layer norm of each pixel of a frame, then SiLU if the attribute `silu` is 1, as a bordered frame. Inputs: scale, shift,
    /// the frame.
    Norm,
    /// A frame as a bordered one.
    Narrow,
    /// The same with height and width doubled by half-pixel bilinear interpolation.
    Doubled,
    /// The weighted sum, in float32, of three frames' results for each time tap of a convolution. Inputs: nine weights; the
    /// frames of now, one ago and two ago, which are not bordered, of bfloat16.
    Blend,
    /// softmax(q k^T / sqrt(C)) v over the pixels of a frame. Inputs: q, k and v, `[1, H, W, C]`, of bfloat16, not bordered. The result
    /// is a bordered frame.
    Attend,
}

/// What is added to a convolution's sums besides the bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adds {
    Nothing,
    /// A frame of float32.
    Residual,
}

/// What a convolution gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gives {
    /// The sums.
    Sums,
    /// The sums, rounded to bfloat16.
    Narrow,
    /// Their norm, then SiLU if the attribute `silu` is 1, as a bordered frame; and, if a second result is taken, the sums.
    Normed,
}

impl MatrixOperator {
    pub(crate) fn all() -> Vec<MatrixOperator> {
        use MatrixOperator::{Attend, Blend, Convolve, Doubled, Narrow, Norm};
        let forms = [Form::Same, Form::Doubled, Form::Strided, Form::Pointwise];
        let inputs = forms.into_iter().flat_map(|form| [(form, Adds::Nothing), (form, Adds::Residual)]);
        let gives = [Gives::Sums, Gives::Narrow, Gives::Normed];
        let convolutions = inputs.flat_map(|(form, adds)| gives.map(|gives| Convolve(form, adds, gives)));
        convolutions.chain([Norm, Narrow, Doubled, Blend, Attend]).collect()
    }

    pub(crate) fn name(self) -> String {
        match self {
            MatrixOperator::Convolve(form, Adds::Nothing, gives) => format!("Matrix{form:?}{gives:?}"),
            MatrixOperator::Convolve(form, Adds::Residual, gives) => format!("Matrix{form:?}Residual{gives:?}"),
            other => format!("Matrix{other:?}"),
        }
    }
}

impl Gives {
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Gives::Sums | Gives::Narrow => Outcome::Sums,
            Gives::Normed => Outcome::Normed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_has_a_name() {
        let names: std::collections::HashSet<_> = MatrixOperator::all().into_iter().map(MatrixOperator::name).collect();
        assert_eq!(names.len(), 29, "{names:?}");
        assert!(names.contains("MatrixStridedNormed") && names.contains("MatrixBlend"), "{names:?}");
    }
}
