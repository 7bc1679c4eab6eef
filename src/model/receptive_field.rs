//! The spatial receptive field: which inputs an output depends on. Exact for networks without attention and GroupNorm;
//! with them every output depends on the whole frame. See docs/spec.md section 10.

use super::layer::{Conv, ConvKind, Enlarge, Layer, NormScope, ResBlock};
use super::network::{Decoder, Encoder, Network};

/// A range of positions along one axis, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(i64, i64);

impl Span {
    fn union(self, other: Span) -> Span {
        Span(self.0.min(other.0), self.1.max(other.1))
    }

    fn widened(self, by: i64) -> Span {
        Span(self.0 - by, self.1 + by)
    }

    /// The inputs of a convolution with stride 2 and padding at the bottom and right.
    fn before_down(self) -> Span {
        Span(2 * self.0, 2 * self.1 + 2)
    }

    /// The inputs of a Haar analysis.
    fn before_analysis(self) -> Span {
        Span(2 * self.0, 2 * self.1 + 1)
    }

    /// The inputs of a Haar synthesis or of nearest-neighbour upsampling.
    fn before_synthesis(self) -> Span {
        Span(self.0.div_euclid(2), self.1.div_euclid(2))
    }

    /// The inputs of linear upsampling with half-pixel centres.
    fn before_bilinear(self) -> Span {
        Span((self.0 - 1).div_euclid(2), (self.1 + 1).div_euclid(2))
    }
}

impl Network {
    /// How many pixels beyond its own block, on either side, a latent depends on; `None`: the whole frame.
    pub(crate) fn encoder_reach(&self) -> Option<usize> {
        let block = self.spatial_compression() as i64;
        let span = encoder(&self.encoder)?;
        Some((-span.0).max(span.1 - (block - 1)).max(0) as usize)
    }

    /// How many latents beyond their own, on either side, the pixels of a block depend on; `None`: the whole frame.
    pub(crate) fn decoder_reach(&self) -> Option<usize> {
        let span = decoder(&self.decoder, Span(0, self.spatial_compression() as i64 - 1))?;
        Some((-span.0).max(span.1).max(0) as usize)
    }
}

/// The pixels that one latent depends on.
fn encoder(encoder: &Encoder) -> Option<Span> {
    let mut main = layers(&encoder.tail, Span(0, 0))?;
    let mut low: Option<Span> = None;
    for level in encoder.levels.iter().rev() {
        main = layers(&level.merge, main)?;
        if let Some(flow) = &level.flow {
            let coefficients = conv(&flow.conv, main);
            let coefficients = low.map_or(coefficients, |low| low.union(coefficients));
            low = Some(coefficients.before_analysis());
        }
        main = match (level.down.space, &level.down.conv) {
            (true, _) => main.before_down(),
            (false, Some(kernel)) => conv(kernel, main),
            (false, None) => main,
        };
        main = layers(&level.body, main)?;
    }
    let coefficients = low.map_or(main, |low| low.union(main));
    Some(if encoder.wavelet.is_some() { coefficients.before_analysis() } else { coefficients })
}

/// The latents that these pixels depend on.
fn decoder(decoder: &Decoder, pixels: Span) -> Option<Span> {
    let mut side = if decoder.wavelet.is_some() { pixels.before_synthesis() } else { pixels };
    let mut main = layers(&decoder.tail, side)?;
    for level in decoder.levels.iter().rev() {
        main = layers(&level.merge, main)?;
        main = level.up.conv.as_ref().map_or(main, |kernel| conv(kernel, main));
        main = match level.up.space {
            Some(Enlarge::Bilinear) => main.before_bilinear(),
            Some(Enlarge::Nearest) => main.before_synthesis(),
            None => main,
        };
        main = layers(&level.body, main)?;
        if let Some(flow) = &level.flow {
            // The deeper level's output is added to these coefficients pixel by pixel.
            side = side.before_synthesis();
            main = main.union(layers(&flow.branch, side)?);
        }
    }
    layers(&decoder.head, main)
}

fn layers(layers: &[Layer], after: Span) -> Option<Span> {
    layers.iter().rev().try_fold(after, |span, layer| match layer {
        Layer::Conv(layer) => Some(conv(layer, span)),
        Layer::ResBlock(block) => resblock(block, span),
        Layer::Attention(_) => None,
        Layer::Norm(norm) => (norm.scope == NormScope::Pixel).then_some(span),
        Layer::Silu => Some(span),
    })
}

fn resblock(block: &ResBlock, span: Span) -> Option<Span> {
    let local = block.norm1.scope == NormScope::Pixel;
    local.then(|| conv(&block.conv1, conv(&block.conv2, span)))
}

fn conv(conv: &Conv, span: Span) -> Span {
    span.widened(if conv.kind == ConvKind::Pointwise { 0 } else { 1 })
}
