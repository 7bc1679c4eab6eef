//! Our operators on a CUDA device, as graphs name them. `runtime::cuda` runs them. They are what lies between the convolutions
//! of channels-last frames, each in one pass over memory.

use super::value::Element;

/// One of them, for its types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceOperator {
    pub(crate) kind: DeviceKind,
    /// Of the first frame.
    pub(crate) first: Element,
    /// Of the other frame of a sum, and of normed, stacked and doubled results.
    pub(crate) compute: Element,
}

/// What they compute. All take and give frames `[1, H, W, C]`; scales, shifts and biases are float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    /// The layer norm of each pixel of a frame, then SiLU if the attribute `silu` is 1. Inputs: the frame, scale, shift; then a
    /// bias, which is added to the frame before, or nothing.
    Norm,
    /// The sum of two frames in float32. Inputs: these; then a bias, or nothing.
    Add,
    /// The same sum in the type that convolutions compute in.
    AddNarrow,
    /// The norm of such a sum and, if a second result is taken, the sum in float32. Inputs: the frames, scale, shift; then a
    /// bias, or nothing.
    AddNorm,
    /// The weighted sum, in float32, of three frames' results for each time tap of a convolution. Inputs: nine weights, which
    /// are in the CPU's memory; the frames, the oldest first.
    Blend,
    /// The channels of three frames side by side.
    Stack,
    /// A frame of twice the height and width, of which each of four frames has one pixel of each 2x2 block, in rows. Inputs:
    /// these; then a bias, or nothing.
    Weave,
    /// A frame of float32 with height and width doubled by half-pixel bilinear interpolation.
    Doubled,
}

impl DeviceOperator {
    /// Those of graphs that compute in this type.
    pub(crate) fn all(compute: Element) -> Vec<DeviceOperator> {
        use DeviceKind::{Add, AddNarrow, AddNorm, Blend, Doubled, Norm, Stack, Weave};
        let operator = |first| move |kind| DeviceOperator { kind, first, compute };
        let wide = [Norm, Add, AddNarrow, AddNorm, Doubled].map(operator(Element::F32));
        let narrow = [Norm, Add, AddNarrow, AddNorm, Stack, Weave].map(operator(compute));
        // Caches may be half precision.
        let blends = [Element::F32, Element::F16].map(|first| DeviceOperator { kind: Blend, first, compute });
        let mut all: Vec<DeviceOperator> = wide.into_iter().chain(narrow).chain(blends).collect();
        let mut names = vec![];
        all.retain(|operator| {
            let name = operator.name();
            let new = !names.contains(&name);
            names.push(name);
            new
        });
        all
    }

    /// Its name in a graph, which its kernels begin with.
    pub(crate) fn name(self) -> String {
        let DeviceOperator { kind, first, compute } = self;
        let [first, compute] = [first, compute].map(|element| format!("{element:?}").to_lowercase());
        match kind {
            DeviceKind::Norm => format!("norm_{first}_{compute}"),
            DeviceKind::Add => format!("add_{first}_{compute}"),
            DeviceKind::AddNarrow => format!("add_narrow_{first}_{compute}"),
            DeviceKind::AddNorm => format!("add_norm_{first}_{compute}"),
            DeviceKind::Blend => format!("blend_{first}"),
            DeviceKind::Stack => format!("stack_{first}"),
            DeviceKind::Weave => format!("weave_{first}"),
            DeviceKind::Doubled => format!("doubled_{first}_{compute}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operator_of_a_precision_is_listed_once() {
        let names = |compute| DeviceOperator::all(compute).into_iter().map(DeviceOperator::name).collect::<Vec<_>>();
        let wide = names(Element::F32);
        assert_eq!(wide.len(), 9, "{wide:?}");
        let half = names(Element::F16);
        assert_eq!(half.len(), 13, "{half:?}");
        assert!(half.contains(&"norm_f16_f16".into()) && half.contains(&"add_norm_f32_f16".into()), "{half:?}");
    }
}
