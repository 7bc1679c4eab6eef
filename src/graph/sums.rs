//! Sums of residuals, and the norms that follow them. On a device both are one pass.

use super::builder::Builder;
use super::convolutions::{add_conv, unbiased_conv};
use super::device_nodes::{self, Unbiased};
use super::norms::{norm, norm_silu};
use super::value::Value;
use crate::model::{Conv, Layer, Norm, NormScope};

/// A value between two layers.
pub(super) struct Sum {
    /// `None` if the next layer needs only the norm.
    value: Option<Value>,
    /// What the next layer begins with, if the node that made the value made this too.
    normed: Option<Value>,
}

/// What comes after a layer.
#[derive(Clone, Copy)]
pub(super) enum After<'a> {
    Layers(&'a [Layer]),
    /// Convolutions alone.
    Convolutions,
    Others,
}

/// The norm that the next layer begins with.
struct Next<'a> {
    norm: &'a Norm,
    silu: bool,
    /// Whether the layer needs what the norm is of.
    needs_sum: bool,
}

impl<'a> After<'a> {
    /// The norm that a sum can include.
    fn norm(self) -> Option<Next<'a>> {
        let After::Layers(layers) = self else { return None };
        let (norm, silu, needs_sum) = match layers {
            [Layer::ResBlock(block), ..] => (&block.norm1, true, true),
            [Layer::Norm(norm), Layer::Silu, ..] => (norm, true, false),
            [Layer::Norm(norm), ..] => (norm, false, false),
            [Layer::Attention(attention), ..] => (&attention.norm, false, true),
            _ => return None,
        };
        (norm.scope == NormScope::Pixel).then_some(Next { norm, silu, needs_sum })
    }

    /// Whether the value is read in the type that convolutions compute in.
    fn is_narrow(self) -> bool {
        matches!(self, After::Convolutions | After::Layers([Layer::Conv(_), ..]))
    }
}

impl From<Value> for Sum {
    fn from(value: Value) -> Self {
        Sum { value: Some(value), normed: None }
    }
}

impl Sum {
    pub(super) fn value(self) -> Value {
        self.value.expect("the next layer needs it")
    }

    /// The norm that the next layer begins with.
    pub(super) fn norm_silu(&self, b: &mut Builder, norm: &Norm) -> Value {
        let made = |value: &Option<Value>| value.clone().expect("the value or its norm");
        self.normed.clone().unwrap_or_else(|| norm_silu(b, &made(&self.value), norm))
    }

    pub(super) fn norm(&self, b: &mut Builder, layer: &Norm) -> Value {
        let made = |value: &Option<Value>| value.clone().expect("the value or its norm");
        self.normed.clone().unwrap_or_else(|| norm(b, &made(&self.value), layer))
    }
}

/// `x` plus the convolution of `h`.
pub(super) fn add_residual(b: &mut Builder, x: &Unbiased, h: Value, conv: &Conv, after: After) -> Sum {
    let Unbiased { value: x, bias } = x;
    if !b.on_device() {
        return add_conv(b, x, h, conv).into();
    }
    let mut h = unbiased_conv(b, h, conv);
    if let (Some(bias), Some(other)) = (bias, &h.bias) {
        // The runtime adds these up when it loads the graph.
        h.bias = Some(b.node("Add", &[bias, other], vec![]));
    }
    match after.norm() {
        Some(Next { norm, silu, needs_sum }) => {
            let (normed, value) = device_nodes::add_norm(b, x, &h, norm, silu, needs_sum);
            Sum { value, normed: Some(normed) }
        }
        None if after.is_narrow() => device_nodes::add_narrow(b, x, &h).into(),
        None => device_nodes::add(b, x, &h).into(),
    }
}
