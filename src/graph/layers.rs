//! A list of layers as nodes, one frame at a time.

use super::after::After;
use super::attention::attention;
use super::builder::Builder;
use super::convolutions::unbiased_conv;
use super::elementary::silu;
use super::sums::{Sum, add_residual, conv_norm_silu, conv_then};
use crate::model::{Layer, ResBlock};

/// `after` comes after the last of these layers.
pub(super) fn layers(b: &mut Builder, x: impl Into<Sum>, mut layers: &[Layer], after: After) -> Sum {
    let mut x = x.into();
    while let [layer, rest @ ..] = layers {
        layers = rest;
        let then = if rest.is_empty() { after } else { After::Layers(rest) };
        x = match (layer, rest) {
            (Layer::Norm(norm), [Layer::Silu, rest @ ..]) => {
                layers = rest;
                x.norm_silu(b, norm).into()
            }
            (Layer::Conv(conv), _) => conv_then(b, x.value(), conv, then),
            (Layer::ResBlock(block), _) => resblock(b, x, block, then),
            (Layer::Attention(layer), _) => attention(b, x, layer, then),
            (Layer::Norm(layer), _) => x.norm(b, layer).into(),
            (Layer::Silu, _) => silu(b, &x.value()).into(),
        };
    }
    x
}

fn resblock(b: &mut Builder, x: Sum, block: &ResBlock, after: After) -> Sum {
    let h = x.norm_silu(b, &block.norm1);
    let h = conv_norm_silu(b, h, &block.conv1, &block.norm2);
    let x = match &block.shortcut {
        Some(shortcut) => unbiased_conv(b, x.value(), shortcut),
        None => x.value().into(),
    };
    add_residual(b, &x, h, &block.conv2, after)
}
