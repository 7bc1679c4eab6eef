//! Sums of residuals, and the norms that follow them. On a device both are one pass.

use super::after::{After, Then};
use super::builder::Builder;
use super::convolutions::{add_conv, conv, normed_conv, unbiased_conv};
use super::device_nodes::{self, Unbiased};
use super::norms::{norm, norm_silu, unbiased_norm_silu};
use super::value::Value;
use crate::model::{Conv, Norm, NormScope};

/// A value between two layers.
pub(super) struct Sum {
    /// `None` if the next layer needs only the norm.
    value: Option<Value>,
    /// What the next layer begins with, if the node that made the value made this too.
    normed: Option<Value>,
}

impl From<(Value, Option<Value>)> for Sum {
    /// The norm and, if it is needed, the value.
    fn from((normed, value): (Value, Option<Value>)) -> Self {
        Sum { value, normed: Some(normed) }
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

/// A convolution between layers.
pub(super) fn conv_then(b: &mut Builder, x: Value, conv: &Conv, after: After) -> Sum {
    match after.then() {
        Some(then) if b.on_matrix_unit() => normed_conv(b, None, x, conv, then).into(),
        _ => self::conv(b, x, conv).into(),
    }
}

/// The norm of a convolution, then SiLU.
pub(super) fn conv_norm_silu(b: &mut Builder, x: Value, conv: &Conv, norm: &Norm) -> Value {
    if b.on_matrix_unit() && norm.scope == NormScope::Pixel {
        return normed_conv(b, None, x, conv, Then { norm, silu: true, needs_sum: false }).0;
    }
    let h = unbiased_conv(b, x, conv);
    unbiased_norm_silu(b, &h, norm)
}

/// `x` plus the convolution of `h`.
pub(super) fn add_residual(b: &mut Builder, x: &Unbiased, h: Value, conv: &Conv, after: After) -> Sum {
    let Unbiased { value: x, bias } = x;
    match after.then() {
        Some(then) if b.on_matrix_unit() => return normed_conv(b, Some(x), h, conv, then).into(),
        _ if !b.on_device() => return add_conv(b, x, h, conv).into(),
        _ => {}
    }
    let mut h = unbiased_conv(b, h, conv);
    if let (Some(bias), Some(other)) = (bias, &h.bias) {
        // The runtime adds these up when it loads the graph.
        h.bias = Some(b.node("Add", &[bias, other], vec![]));
    }
    match after.then() {
        Some(Then { norm, silu, needs_sum }) => device_nodes::add_norm(b, x, &h, norm, silu, needs_sum).into(),
        None if after.is_narrow() => device_nodes::add_narrow(b, x, &h).into(),
        None => device_nodes::add(b, x, &h).into(),
    }
}
