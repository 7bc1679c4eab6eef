//! How much memory a graph takes while it runs: the peak of its live values, in elements per pixel of a frame, and the scratch
//! of our operators.
//!
//! This is an estimate, as ONNX Runtime chooses the order of the nodes and keeps what it freed. A test compares it with what
//! a process takes.

use super::onnx::{Attribute, Graph, Node};
use crate::kernels::{ClipFrames, Convolution, ScratchSize, Target};
use std::collections::HashMap;

/// What a graph takes while it runs, without ports and attention's scores.
pub(crate) struct Working {
    /// The peak of its live values, in elements per pixel of a frame.
    pub(crate) floats: f64,
    /// The same while attention runs.
    attending: f64,
    scratches: Vec<Scratch>,
}

/// One of our operators that may take memory besides its frames.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    pub(super) of: ScratchOf,
    /// Of the frame that it reads.
    pub(super) divisor: usize,
}

#[derive(Clone, Copy)]
pub(super) enum ScratchOf {
    Convolution(Convolution),
    /// Of a layer over a clip.
    Frames(ClipFrames),
    /// On the matrix unit.
    Attention {
        channels: usize,
    },
}

impl Working {
    /// What its session takes for frames of `[height, width]`, if it has `times` as many values as for one frame.
    pub(crate) fn bytes(&self, size: [usize; 2], times: f64) -> u64 {
        bytes(self.floats, size, times)
    }

    /// The same while attention runs, without its scores.
    pub(crate) fn attending_bytes(&self, size: [usize; 2], times: f64) -> u64 {
        bytes(self.attending, size, times)
    }

    /// What its operators take of the model's pool, which all sessions share.
    pub(crate) fn scratch(&self, size: [usize; 2], threads: usize) -> ScratchSize {
        let target = Target::current();
        let sizes = self.scratches.iter().map(|Scratch { of, divisor }| {
            let size = size.map(|side| side / divisor);
            match *of {
                ScratchOf::Convolution(convolution) => target.scratch(convolution, size, threads),
                ScratchOf::Frames(frames) => frames.scratch(size),
                ScratchOf::Attention { channels } => target.attention_scratch(size, channels, threads),
            }
        });
        sizes.fold(ScratchSize::default(), ScratchSize::max)
    }
}

fn bytes(floats: f64, [height, width]: [usize; 2], times: f64) -> u64 {
    (4.0 * floats * (height * width) as f64 * times) as u64
}

/// The ports of `graph` belong to the caller and do not count. `known` are the sizes of its inputs and of our operators'
/// results; `shares` are the parts that slices take.
pub(super) fn working(
    graph: &Graph,
    known: &HashMap<String, f64>,
    shares: &HashMap<String, f64>,
    scratches: &[Scratch],
) -> Working {
    let mut last_use: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for input in reads(node) {
            last_use.insert(input, i);
        }
    }
    let mut dims: HashMap<&str, &[i64]> =
        graph.initializer.iter().map(|t| (t.name.as_str(), t.dims.as_slice())).collect();
    for node in graph.node.iter().filter(|node| node.op_type == "Cast") {
        if let Some(of_initializer) = dims.get(node.input[0].as_str()) {
            dims.insert(&node.output[0], of_initializer);
        }
    }
    let owned = |name: &str| graph.output.iter().any(|output| output.name == name);
    let mut size = known.clone();
    let (mut live, mut peak, mut attending) = (HashMap::<String, f64>::new(), 0.0f64, 0.0f64);
    for (i, node) in graph.node.iter().enumerate() {
        let floats = output_size(node, &size, &dims);
        // Elementwise nodes write over an input that no later node reads.
        let in_place = matches!(
            node.op_type.as_str(),
            "Add" | "Mul" | "Sigmoid" | "Reshape" | "Squeeze" | "Unsqueeze" | "Div" | "Sub"
        )
        .then(|| node.input.iter().find(|x| live.contains_key(*x) && last_use.get(x.as_str()) == Some(&i)))
        .flatten()
        .cloned();
        if let Some(input) = in_place {
            live.remove(&input);
        }
        for output in &node.output {
            let floats = known.get(output).copied().unwrap_or(floats * shares.get(output).unwrap_or(&1.0));
            size.insert(output.clone(), floats);
            if !owned(output) {
                live.insert(output.clone(), floats);
            }
        }
        // 2D convolutions use a blocked layout, so they copy their input and their output.
        let blocked = node.op_type == "Conv" && ints(node, "kernel_shape").is_some_and(|kernel| kernel.len() == 2);
        let copies = if blocked { size.get(&node.input[0]).copied().unwrap_or(0.0) + floats } else { 0.0 };
        let now = live.values().sum::<f64>() + copies;
        peak = peak.max(now);
        if node.op_type == "Scan" {
            attending = attending.max(now);
        }
        live.retain(|name, _| last_use.get(name.as_str()).is_some_and(|last| *last > i));
    }
    Working { floats: peak, attending, scratches: scratches.to_vec() }
}

fn reads(node: &Node) -> Vec<&str> {
    let nested = node.attribute.iter().filter_map(|a| a.g.as_ref()).flat_map(|graph| graph.node.iter().flat_map(reads));
    node.input.iter().map(String::as_str).chain(nested).collect()
}

fn ints<'a>(node: &'a Node, name: &str) -> Option<&'a [i64]> {
    node.attribute.iter().find(|a: &&Attribute| a.name == name).map(|a| a.ints.as_slice())
}

/// Size of a node's output in elements per pixel. It is 0 if it does not grow with the frame.
fn output_size(node: &Node, size: &HashMap<String, f64>, dims: &HashMap<&str, &[i64]>) -> f64 {
    let of = |i: usize| node.input.get(i).and_then(|name| size.get(name)).copied().unwrap_or(0.0);
    let largest = || (0..node.input.len()).map(of).fold(0.0, f64::max);
    match node.op_type.as_str() {
        "Conv" => {
            let kernel = dims.get(node.input[1].as_str()).copied().unwrap_or(&[1, 1]);
            let stride: i64 = ints(node, "strides").unwrap_or(&[]).iter().product();
            of(0) * kernel[0] as f64 / kernel[1] as f64 / stride.max(1) as f64
        }
        "ConvTranspose" => {
            let kernel = dims.get(node.input[1].as_str()).copied().unwrap_or(&[1, 1]);
            let stride: i64 = ints(node, "strides").unwrap_or(&[]).iter().product();
            of(0) * kernel[1] as f64 / kernel[0] as f64 * stride.max(1) as f64
        }
        "Resize" => 4.0 * of(0),
        // The frames of the doubled rate.
        "Gather" => 2.0 * of(0),
        "Concat" => (0..node.input.len()).map(of).sum(),
        "Shape" | "Size" | "ReduceMean" => 0.0,
        _ => largest(),
    }
}
