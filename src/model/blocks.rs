//! The reference implementations' layers, with the names of their tensors.

use super::config::NormType;
use super::layer::{Attention, Conv, ConvKind, Layer, Mix, Mixed, Norm, NormScope, ResBlock, Weight};

/// Properties shared by all layers of a network.
pub(super) struct Layers {
    pub(super) norm: NormType,
    /// No layer mixes frames, so GroupNorm takes its statistics per frame.
    pub(super) frames_are_images: bool,
}

impl Layers {
    /// The norm of a layer that the reference runs on the whole clip.
    pub(super) fn norm(&self, prefix: &str, channels: usize) -> Norm {
        match self.norm {
            NormType::Layer => norm(NormScope::Pixel, &format!("{prefix}.norm"), channels),
            NormType::Group if self.frames_are_images => norm(NormScope::FrameGroups, prefix, channels),
            NormType::Group => norm(NormScope::ClipGroups, prefix, channels),
        }
    }

    /// The norm of a layer that the reference runs on each frame.
    fn frame_norm(&self, prefix: &str, channels: usize) -> Norm {
        Layers { norm: self.norm, frames_are_images: true }.norm(prefix, channels)
    }

    pub(super) fn resblock2d(&self, prefix: &str, c_in: usize, c_out: usize) -> Layer {
        let shortcut = || pointwise2d(&format!("{prefix}.nin_shortcut"), c_in, c_out);
        Layer::ResBlock(ResBlock {
            norm1: self.frame_norm(&format!("{prefix}.norm1"), c_in),
            conv1: spatial(&format!("{prefix}.conv1"), c_in, c_out),
            norm2: self.frame_norm(&format!("{prefix}.norm2"), c_out),
            conv2: spatial(&format!("{prefix}.conv2"), c_out, c_out),
            shortcut: (c_in != c_out).then(shortcut),
        })
    }

    pub(super) fn resblock3d(&self, prefix: &str, c_in: usize, c_out: usize) -> Layer {
        let shortcut = || pointwise3d(&format!("{prefix}.nin_shortcut.conv"), c_in, c_out);
        Layer::ResBlock(ResBlock {
            norm1: self.norm(&format!("{prefix}.norm1"), c_in),
            conv1: causal(&format!("{prefix}.conv1.conv"), c_in, c_out),
            norm2: self.norm(&format!("{prefix}.norm2"), c_out),
            conv2: causal(&format!("{prefix}.conv2.conv"), c_out, c_out),
            shortcut: (c_in != c_out).then(shortcut),
        })
    }

    pub(super) fn attention2d(&self, prefix: &str, channels: usize) -> Layer {
        let projection = |name: &str| pointwise2d(&format!("{prefix}.{name}"), channels, channels);
        attention(self.frame_norm(&format!("{prefix}.norm"), channels), projection, false)
    }

    pub(super) fn attention3d(&self, prefix: &str, channels: usize) -> Layer {
        self.attention_of_video(prefix, channels, false)
    }

    /// The kind that mixes frames.
    pub(super) fn legacy_attention(&self, prefix: &str, channels: usize) -> Layer {
        self.attention_of_video(prefix, channels, true)
    }

    fn attention_of_video(&self, prefix: &str, channels: usize, mixes_frames: bool) -> Layer {
        let projection = |name: &str| pointwise3d(&format!("{prefix}.{name}.conv"), channels, channels);
        attention(self.norm(&format!("{prefix}.norm"), channels), projection, mixes_frames)
    }
}

fn attention(norm: Norm, projection: impl Fn(&str) -> Conv, mixes_frames: bool) -> Layer {
    Layer::Attention(Attention {
        mixes_frames,
        norm,
        query: projection("q"),
        key: projection("k"),
        value: projection("v"),
        output: projection("proj_out"),
    })
}

fn norm(scope: NormScope, prefix: &str, channels: usize) -> Norm {
    let shape = &[channels];
    Norm { scope, weight: weight(prefix, "weight", shape), bias: weight(prefix, "bias", shape) }
}

fn weight(prefix: &str, name: &str, shape: &[usize]) -> Weight {
    Weight { key: format!("{prefix}.{name}"), shape: shape.to_vec() }
}

fn conv(kind: ConvKind, prefix: &str, shape: &[usize]) -> Conv {
    Conv { kind, weight: weight(prefix, "weight", shape), bias: weight(prefix, "bias", &shape[..1]), mix: None }
}

pub(super) fn spatial(prefix: &str, c_in: usize, c_out: usize) -> Conv {
    conv(ConvKind::Spatial, prefix, &[c_out, c_in, 3, 3])
}

pub(super) fn causal(prefix: &str, c_in: usize, c_out: usize) -> Conv {
    conv(ConvKind::Causal, prefix, &[c_out, c_in, 3, 3, 3])
}

/// The same as [`spatial`], with a kernel of one frame.
pub(super) fn spatial_of_video(prefix: &str, c_in: usize, c_out: usize) -> Conv {
    conv(ConvKind::Spatial, prefix, &[c_out, c_in, 1, 3, 3])
}

/// A causal convolution that is mixed with what it reads. `factor` names the number that says how much.
pub(super) fn mixed(prefix: &str, channels: usize, factor: &str, with: Mixed) -> Conv {
    let factor = Weight { key: factor.into(), shape: vec![1] };
    Conv { mix: Some(Mix { factor, with }), ..causal(prefix, channels, channels) }
}

pub(super) fn pointwise2d(prefix: &str, c_in: usize, c_out: usize) -> Conv {
    conv(ConvKind::Pointwise, prefix, &[c_out, c_in, 1, 1])
}

pub(super) fn pointwise3d(prefix: &str, c_in: usize, c_out: usize) -> Conv {
    conv(ConvKind::Pointwise, prefix, &[c_out, c_in, 1, 1, 1])
}

pub(super) fn conv2d(prefix: &str, c_in: usize, c_out: usize) -> Layer {
    Layer::Conv(spatial(prefix, c_in, c_out))
}

/// The convolution of an up- or downsampling block. Temporal blocks wrap it in one more module.
pub(super) fn resampling_conv(prefix: &str, channels: usize, temporal: bool) -> Conv {
    match temporal {
        true => causal(&format!("{prefix}.conv.conv"), channels, channels),
        false => spatial(&format!("{prefix}.conv"), channels, channels),
    }
}
