//! A list of layers as nodes, one frame at a time.

use super::attention::attention;
use super::builder::Builder;
use super::convolutions::{add_conv, conv};
use super::elementary::silu;
use super::norms::{norm, norm_silu};
use super::value::Value;
use crate::model::{Layer, ResBlock};

pub(super) fn layers(b: &mut Builder, mut x: Value, mut layers: &[Layer]) -> Value {
    while let [layer, rest @ ..] = layers {
        layers = rest;
        x = match (layer, rest) {
            (Layer::Norm(norm), [Layer::Silu, rest @ ..]) => {
                layers = rest;
                norm_silu(b, &x, norm)
            }
            (Layer::Conv(conv), _) => self::conv(b, x, conv),
            (Layer::ResBlock(block), _) => resblock(b, x, block),
            (Layer::Attention(layer), _) => attention(b, x, layer),
            (Layer::Norm(layer), _) => norm(b, &x, layer),
            (Layer::Silu, _) => silu(b, &x),
        };
    }
    x
}

fn resblock(b: &mut Builder, x: Value, block: &ResBlock) -> Value {
    let h = norm_silu(b, &x, &block.norm1);
    let h = conv(b, h, &block.conv1);
    let h = norm_silu(b, &h, &block.norm2);
    let x = match &block.shortcut {
        Some(shortcut) => conv(b, x, shortcut),
        None => x,
    };
    add_conv(b, &x, h, &block.conv2)
}
