//! What comes after a layer, which may be part of the node that makes the layer's result.

use crate::model::{Layer, Norm, NormScope};

/// What comes after a layer.
#[derive(Clone, Copy)]
pub(super) enum After<'a> {
    Layers(&'a [Layer]),
    /// Convolutions alone.
    Convolutions,
    Others,
}

/// The norm that the next layer begins with.
#[derive(Clone, Copy)]
pub(super) struct Then<'a> {
    pub(super) norm: &'a Norm,
    pub(super) silu: bool,
    /// Whether the layer needs what the norm is of, too.
    pub(super) needs_sum: bool,
}

impl<'a> After<'a> {
    /// The norm that comes with a sum.
    pub(super) fn then(self) -> Option<Then<'a>> {
        let After::Layers(layers) = self else { return None };
        let (norm, silu, needs_sum) = match layers {
            [Layer::ResBlock(block), ..] => (&block.norm1, true, true),
            [Layer::Norm(norm), Layer::Silu, ..] => (norm, true, false),
            [Layer::Norm(norm), ..] => (norm, false, false),
            [Layer::Attention(attention), ..] => (&attention.norm, false, true),
            _ => return None,
        };
        (norm.scope == NormScope::Pixel).then_some(Then { norm, silu, needs_sum })
    }

    /// Whether the value is read in the type that convolutions compute in.
    pub(super) fn is_narrow(self) -> bool {
        matches!(self, After::Convolutions | After::Layers([Layer::Conv(_), ..]))
    }
}
