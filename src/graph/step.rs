//! What a builder makes: a graph, and what to bind to it.

use super::footprint::Working;
use super::operators::PackedWeight;
use super::size::SizeList;
use super::value::{Element, Layout, Port};

/// An ONNX model whose weights are external, and what to bind to it.
pub(crate) struct StepGraph {
    /// "encoder.0", "decoder.1"; also the name of the model's file when it is saved.
    pub(crate) name: String,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) caches: Vec<Cache>,
    pub(crate) initializers: Vec<Initializer>,
    /// Size of the external data.
    pub(crate) external_bytes: usize,
    /// Inputs too, after the caches.
    pub(crate) sizes: Vec<SizeList>,
    /// Inputs too, after the sizes; there are none if convolutions are ONNX's.
    pub(crate) packed_weights: Vec<PackedWeight>,
    pub(crate) working: Working,
    /// The serialized ModelProto.
    pub(crate) onnx: Vec<u8>,
}

/// The state of one causal convolution: three ports of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) now: Port,
    pub(crate) one_ago: Port,
    pub(crate) two_ago: Port,
}

/// A weight that lives outside the graph's bytes.
#[derive(Debug, Clone)]
pub(crate) struct Initializer {
    pub(crate) source: Source,
    pub(crate) elements: usize,
    pub(crate) element: Element,
    /// Byte offset in the external data.
    pub(crate) offset: usize,
}

/// Where an initializer's values come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// The whole tensor of the checkpoint.
    Tensor(String),
    /// One time tap of a 3D kernel.
    Tap(String, usize),
    /// A 3D kernel whose time taps have input channels of their own, the oldest first.
    Stacked(String),
    /// A 3D kernel whose time taps have output channels of their own, the oldest first.
    TapsApart(String),
    /// The 2x2 kernel that equals a 3x3 one at the pixels (y, x) of each 2x2 block of repeated pixels.
    Phase(String, [usize; 2]),
}

impl StepGraph {
    /// The external data's file name inside the model.
    pub(crate) fn weights_file(&self) -> String {
        weights_file(&self.name)
    }

    /// Whether its layers are our operators on a whole clip.
    pub(crate) fn has_clip_operators(&self) -> bool {
        !self.packed_weights.is_empty() && self.inputs.iter().any(|port| port.layout == Layout::Clip)
    }

    /// Bytes of all weights, as they are in memory.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.external_bytes + self.packed_weights.iter().map(PackedWeight::bytes).sum::<usize>()
    }
}

pub(super) fn weights_file(name: &str) -> String {
    format!("{name}.bin")
}
