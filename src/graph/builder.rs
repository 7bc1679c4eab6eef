//! Collects nodes, ports, caches and weights of one step and writes them as an ONNX model.

use super::footprint::{self, Scratch, Working};
use super::operator::{self, Kernel};
use super::proto::{self, Attribute, Dim, DimValue};
use super::size::{Size, SizeList};
use crate::model::Weight;
use prost::Message;
use std::collections::HashMap;

const OPSET: i64 = 17;
/// In which LayerNormalization is ONNX Runtime's.
const NARROW_NORMS_OPSET: i64 = 16;
/// The first in which convolutions take bfloat16.
const BF16_OPSET: i64 = 22;
const IR_VERSION: i64 = 8;
/// Initializers start on cache lines.
const ALIGNMENT: usize = 64;

/// How a tensor's axes follow from the picture's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[1, channels, H / divisor, W / divisor]`
    Frame,
    /// `[1, H / divisor, W / divisor, channels]`
    Pixels,
    /// `[1, channels, T, H / divisor, W / divisor]`
    Clip,
    /// `[N]`, as many as channels; of interpolations in graphs of a whole clip as many for each frame.
    Numbers,
    /// Any shape.
    Any,
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Element {
    #[default]
    F32,
    F16,
    Bf16,
    U8,
    I64,
}

/// A tensor of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) channels: usize,
    pub(crate) divisor: usize,
    pub(crate) layout: Layout,
    pub(crate) element: Element,
}

/// A value that is an input or output of the graph, under a name of its own.
pub(crate) type Port = Value;

/// What leaves a network's description open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Of the causal caches and time taps that streams keep, where convolutions compute in float32; else these are what
    /// convolutions read and give.
    pub(crate) cache: Element,
    /// In which convolutions and matrix products compute, and their weights are stored. Residual sums, the statistics of
    /// norms, the logits and the softmax of attention, wavelets and the interpolation are float32 always
    /// (a CUDA device multiplies these as TF32 below float32).
    pub(crate) compute: Element,
    /// Attention works on as many queries at once as keep its score matrix below this.
    pub(crate) attention_bytes: u64,
    pub(crate) operators: Operators,
    /// Where convolutions are ONNX's.
    pub(crate) taps: Taps,
    /// Where convolutions are ONNX's: frames are channels-last all the same, with a transposition on both sides of each
    /// convolution. A provider that prefers channels-last convolutions leaves the transpositions out.
    pub(crate) channels_last: bool,
    /// In float16, norms of float32 give float16: one pass less. ONNX's LayerNormalization, which begins with version 17,
    /// cannot do this. ONNX Runtime has one for graphs of earlier versions that can.
    pub(crate) narrow_norms: bool,
}

impl Options {
    pub(super) fn narrows_norms(&self) -> bool {
        self.narrow_norms && self.compute == Element::F16
    }
}

/// How ONNX's operators look at the three frames of a causal convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taps {
    /// A 2D convolution of each, and sums.
    Added,
    /// One 2D convolution, of the three stacked on their channels.
    Stacked,
    /// One 3D convolution, of a clip of three frames.
    Volume,
}

/// What convolutions are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operators {
    /// Those of ONNX, on planes.
    Onnx,
    /// Those of ONNX, but norms are ours.
    OurNorms,
    /// Ours, on channels-last frames, with large tiles only where their rounding stays small in the result.
    Exact,
    /// Ours, with large tiles everywhere.
    Fast,
}

/// The half of the network that a graph is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    Encoder,
    Decoder,
    /// Of neither: it moves tensors to and from a device.
    Transfer,
}

impl Value {
    pub(crate) fn channel_axis(&self) -> i64 {
        if self.layout == Layout::Pixels { 3 } else { 1 }
    }

    /// Where frames are `[height, width]` and, in clips, this value has `frames` of them.
    pub(crate) fn shape(&self, [height, width]: [usize; 2], frames: usize) -> Vec<usize> {
        let (height, width) = (height / self.divisor, width / self.divisor);
        match self.layout {
            Layout::Frame => vec![1, self.channels, height, width],
            Layout::Pixels => vec![1, height, width, self.channels],
            Layout::Clip => vec![1, self.channels, frames, height, width],
            Layout::Numbers => vec![self.channels * frames],
            Layout::Any => unreachable!("no port of a step"),
        }
    }

    /// Its size over that of one plane of a frame.
    fn floats_per_pixel(&self) -> f64 {
        match self.layout {
            Layout::Frame | Layout::Pixels | Layout::Clip => {
                self.channels as f64 / (self.divisor * self.divisor) as f64
            }
            Layout::Numbers | Layout::Any => 0.0,
        }
    }
}

impl Element {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
            Element::U8 => 1,
            Element::I64 => 8,
        }
    }
}

/// The state of one causal convolution: three ports of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) now: Port,
    pub(crate) one_ago: Port,
    pub(crate) two_ago: Port,
}

/// Where an initializer's numbers come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// The whole tensor of the checkpoint.
    Tensor(String),
    /// One time tap of a 3D kernel.
    Tap(String, usize),
    /// A 3D kernel with its time taps side by side on the input channels, the oldest first.
    Stacked(String),
    /// A 3D kernel with its time taps apart, on output channels of their own, the oldest first.
    TapsApart(String),
    /// The 2x2 kernel that a 3x3 one comes to for the pixels at (y, x) of each 2x2 block of repeated pixels.
    Phase(String, [usize; 2]),
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

/// One step: an ONNX model whose weights are external, and what to bind to it.
pub(crate) struct StepGraph {
    /// "encoder.0", "decoder.1"; also the name of the model's file when it is saved.
    pub(crate) name: String,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) caches: Vec<Cache>,
    pub(crate) initializers: Vec<Initializer>,
    /// Size of the external data.
    pub(crate) external_bytes: usize,
    /// Inputs too, behind the caches.
    pub(crate) sizes: Vec<SizeList>,
    /// Inputs too, behind the sizes; there are none where the operators are ONNX's.
    pub(crate) kernels: Vec<Kernel>,
    pub(crate) working: Working,
    pub(crate) has_attention: bool,
    /// The serialized ModelProto.
    pub(crate) onnx: Vec<u8>,
}

impl StepGraph {
    /// The external data's file name inside the model.
    pub(crate) fn weights_file(&self) -> String {
        weights_file(&self.name)
    }

    /// Bytes of all weights, as the graph has them.
    pub(crate) fn weight_bytes(&self) -> usize {
        let kernel = |kernel: &Kernel| kernel.shape.packed_len(crate::kernels::lanes()) * size_of::<f32>();
        self.external_bytes + self.kernels.iter().map(kernel).sum::<usize>()
    }
}

fn weights_file(name: &str) -> String {
    format!("{name}.bin")
}

pub(crate) struct Builder {
    name: String,
    half: Half,
    pub(super) options: Options,
    graph: proto::Graph,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    caches: Vec<Cache>,
    initializers: Vec<Initializer>,
    external_bytes: usize,
    sizes: Vec<SizeList>,
    kernels: Vec<Kernel>,
    next: usize,
    /// Of what our operators give, in floats per pixel.
    floats_of_ours: HashMap<String, f64>,
    /// Of our convolutions.
    scratches: Vec<Scratch>,
    /// The parts that slices take of what they cut.
    shares: HashMap<String, f64>,
    /// How many times fewer frames than the clip an input has.
    slower: HashMap<String, usize>,
}

impl Builder {
    /// `part`: the step's number, or "clip".
    pub(crate) fn new(half: Half, part: impl std::fmt::Display, options: &Options) -> Self {
        let name = match half {
            Half::Encoder => format!("encoder.{part}"),
            Half::Decoder => format!("decoder.{part}"),
            Half::Transfer => format!("transfer.{part}"),
        };
        let graph = proto::Graph { name: name.clone(), ..Default::default() };
        Builder {
            name,
            half,
            options: *options,
            graph,
            inputs: vec![],
            outputs: vec![],
            caches: vec![],
            initializers: vec![],
            external_bytes: 0,
            sizes: vec![],
            kernels: vec![],
            next: 0,
            floats_of_ours: HashMap::new(),
            scratches: vec![],
            shares: HashMap::new(),
            slower: HashMap::new(),
        }
    }

    pub(crate) fn input(&mut self, name: &str, layout: Layout, channels: usize, divisor: usize) -> Value {
        let value = self.graph_input(name, layout, channels, divisor, Element::F32);
        self.inputs.push(value.clone());
        value
    }

    /// An input of any shape.
    pub(super) fn any_input(&mut self, name: &str, element: Element) -> Value {
        let value = self.graph_input(name, Layout::Any, 1, 1, element);
        self.inputs.push(value.clone());
        value
    }

    pub(crate) fn frame_input(&mut self, name: &str, channels: usize, divisor: usize) -> Value {
        self.input(name, Layout::Frame, channels, divisor)
    }

    pub(super) fn our_convolutions(&self) -> bool {
        matches!(self.options.operators, Operators::Exact | Operators::Fast)
    }

    /// Where the main path of the network lies.
    pub(crate) fn main_layout(&self) -> Layout {
        if self.our_convolutions() || self.options.channels_last { Layout::Pixels } else { Layout::Frame }
    }

    /// Whether convolutions of frames of H / `divisor` use large tiles. What is computed far from the result meets many
    /// layers on its way there, which enlarge its rounding; so do, in the encoder, the layers next to the pixels.
    pub(super) fn large_tiles(&self, divisor: usize) -> bool {
        match (self.options.operators, self.half) {
            (Operators::Fast, _) => true,
            (_, Half::Encoder) => divisor >= 4,
            (_, Half::Decoder | Half::Transfer) => divisor <= 4,
        }
    }

    pub(crate) fn main_input(&mut self, name: &str, channels: usize, divisor: usize) -> Value {
        self.input(name, self.main_layout(), channels, divisor)
    }

    pub(crate) fn output(&mut self, name: &str, value: Value) {
        let value = self.publish(value, name);
        self.outputs.push(value);
    }

    /// Of what streams keep to look back at.
    fn stored_element(&self) -> Element {
        if self.options.compute == Element::F32 { self.options.cache } else { self.options.compute }
    }

    /// As an output, what a later step gets back by `stored_input`.
    pub(crate) fn stored_output(&mut self, name: &str, value: Value) {
        let stored = self.cast(value, self.stored_element());
        self.output(name, stored);
    }

    /// In float32.
    pub(crate) fn stored_input(&mut self, name: &str, layout: Layout, channels: usize, divisor: usize) -> Value {
        let stored = self.graph_input(name, layout, channels, divisor, self.stored_element());
        self.inputs.push(stored.clone());
        self.cast(stored, Element::F32)
    }

    /// `now` as an output, and its two past frames; see the module's documentation.
    pub(crate) fn with_past(&mut self, now: Value) -> (Value, [Value; 2]) {
        let n = self.caches.len();
        let (compute, element) = (self.options.compute, self.stored_element());
        let now = self.cast(now, compute);
        let stored = self.cast(now.clone(), element);
        let stored = self.publish(stored, &format!("cache{n}.now"));
        let shape = self.node("Shape", &[&stored.name], vec![]);
        let [(one, one_ago), (two, two_ago)] = [1, 2].map(|age| {
            let name = format!("cache{n}.{age}");
            let past = self.graph_input(&name, now.layout, now.channels, now.divisor, element);
            let ordered = self.node("Reshape", &[&past.name, &shape], vec![]);
            let ordered = self.cast(Value { name: ordered, ..past.clone() }, compute);
            (past, ordered)
        });
        let now = if element == compute { stored.clone() } else { now };
        self.caches.push(Cache { now: stored, one_ago: one, two_ago: two });
        (now, [one_ago, two_ago])
    }

    pub(super) fn cast(&mut self, value: Value, element: Element) -> Value {
        if value.element == element {
            return value;
        }
        let to = Attribute::int("to", proto::element(element).into());
        Value { name: self.node("Cast", &[&value.name], vec![to]), element, ..value }
    }

    /// Makes a value a graph output under a name of its own.
    fn publish(&mut self, value: Value, name: &str) -> Value {
        let used = self.graph.node.iter().any(|node| node.reads(&value.name));
        let produced = self.graph.node.iter_mut().flat_map(|n| &mut n.output).find(|output| **output == value.name);
        match produced {
            Some(output) if !used => *output = name.into(),
            // A graph input, or a value that has readers already.
            _ => {
                self.node("Identity", &[&value.name], vec![]);
                let copy = self.graph.node.last_mut().expect("just added");
                copy.output = vec![name.into()];
            }
        }
        let published = Value { name: name.into(), ..value };
        self.graph.output.push(value_info(&published));
        published
    }

    /// Adds a node with one output; returns the output's name.
    pub(crate) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let [output] = self.node_outputs(op, inputs, attributes);
        output
    }

    pub(crate) fn node_outputs<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&str],
        attribute: Vec<Attribute>,
    ) -> [String; N] {
        let id = self.next;
        self.next += 1;
        let output: [String; N] = std::array::from_fn(|i| if i == 0 { format!("v{id}") } else { format!("v{id}.{i}") });
        self.graph.node.push(proto::Node {
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: output.to_vec(),
            name: format!("{}_{id}", op.to_lowercase()),
            op_type: op.into(),
            attribute,
            ..Default::default()
        });
        output
    }

    /// One of our operators, with a result like `result`.
    pub(super) fn operator_node(&mut self, op: &str, inputs: &[&str], result: &Value) -> String {
        debug_assert!(!inputs.contains(&""), "{op}: an input is left out");
        let name = self.node(op, inputs, vec![]);
        self.graph.node.last_mut().expect("just added").domain = operator::DOMAIN.into();
        self.floats_of_ours.insert(name.clone(), result.floats_per_pixel());
        name
    }

    /// Says that a node of ours takes memory besides its values.
    pub(super) fn needs_scratch(&mut self, scratch: Scratch) {
        self.scratches.push(scratch);
    }

    /// An input for these numbers.
    pub(super) fn size_list(&mut self, numbers: Vec<Size>) -> String {
        if let Some(list) = self.sizes.iter().find(|list| list.numbers == numbers) {
            return list.name.clone();
        }
        let list = SizeList { name: format!("size.{}", self.sizes.len()), numbers };
        let dim = vec![Dim { value: Some(DimValue::Fixed(list.numbers.len() as i64)) }];
        let tensor_type = proto::TensorType { elem_type: proto::INT64, shape: Some(proto::Shape { dim }) };
        let r#type = Some(proto::Type { tensor_type: Some(tensor_type) });
        self.graph.input.push(proto::ValueInfo { name: list.name.clone(), r#type, doc: list.describe() });
        self.sizes.push(list);
        self.sizes[self.sizes.len() - 1].name.clone()
    }

    /// An input for the shape of a value that is one frame.
    pub(super) fn shape_of(&mut self, x: &Value) -> String {
        let (channels, height, width) = (Size::Fixed(x.channels), Size::Height(x.divisor), Size::Width(x.divisor));
        let one = Size::Fixed(1);
        self.size_list(match x.layout {
            Layout::Pixels => vec![one, height, width, channels],
            _ => vec![one, channels, height, width],
        })
    }

    /// An input for a kernel of one of our operators.
    pub(super) fn kernel(&mut self, kernel: Kernel) -> String {
        let name = kernel.key.clone();
        let dim = Dim { value: Some(DimValue::Symbol(format!("N.{name}"))) };
        let tensor_type = proto::TensorType { elem_type: proto::FLOAT, shape: Some(proto::Shape { dim: vec![dim] }) };
        let r#type = Some(proto::Type { tensor_type: Some(tensor_type) });
        self.graph.input.push(proto::ValueInfo { name: name.clone(), r#type, ..Default::default() });
        self.kernels.push(kernel);
        name
    }

    /// A node that runs a graph of its own, which `body` emits, on each slice of `element`s along an axis of `over`, and puts
    /// together what it gives, `result`s. The graph may use all of this graph's values. No index is there to compute with,
    /// which a device would do on itself and the processor wait for.
    pub(crate) fn scan_node(
        &mut self,
        over: &str,
        element: Element,
        axis: i64,
        result: Element,
        body: impl FnOnce(&mut Builder, &str) -> String,
    ) -> String {
        let name = format!("scan{}.slice", self.next);
        let untyped = |name: String, element| proto::ValueInfo {
            name,
            r#type: Some(proto::Type {
                tensor_type: Some(proto::TensorType { elem_type: proto::element(element), shape: None }),
            }),
            ..Default::default()
        };
        // Constants that the body makes belong to the outer graph; its nodes do not.
        let outer = std::mem::take(&mut self.graph.node);
        let output = body(self, &name);
        let inner = std::mem::replace(&mut self.graph.node, outer);
        let body = proto::Graph {
            name: format!("{name}.body"),
            node: inner,
            input: vec![untyped(name, element)],
            output: vec![untyped(output, result)],
            ..Default::default()
        };
        let attributes = vec![
            Attribute::graph("body", body),
            Attribute::int("num_scan_inputs", 1),
            Attribute::ints("scan_input_axes", &[axis]),
            Attribute::ints("scan_output_axes", &[axis]),
        ];
        self.node("Scan", &[over], attributes)
    }

    /// A tensor of the checkpoint, used as `dims`.
    pub(crate) fn weight(&mut self, weight: &Weight, dims: &[usize], element: Element) -> String {
        self.initializer(weight.key.clone(), Source::Tensor(weight.key.clone()), dims, element)
    }

    /// One time tap of a causal kernel, as a 2D kernel.
    pub(crate) fn weight_tap(&mut self, weight: &Weight, tap: usize) -> String {
        let [c_out, c_in, _, height, width] = weight.shape[..] else { unreachable!("a causal kernel has five axes") };
        let source = Source::Tap(weight.key.clone(), tap);
        self.initializer(format!("{}[{tap}]", weight.key), source, &[c_out, c_in, height, width], self.options.compute)
    }

    /// A causal kernel as a 2D kernel of the three frames' channels.
    pub(crate) fn weight_stacked(&mut self, weight: &Weight) -> String {
        let [c_out, c_in, times, height, width] = weight.shape[..] else {
            unreachable!("a causal kernel has five axes")
        };
        let dims = [c_out, times * c_in, height, width];
        self.initializer(weight.key.clone(), Source::Stacked(weight.key.clone()), &dims, self.options.compute)
    }

    /// A causal kernel as a 2D kernel for each time tap, on output channels of its own.
    pub(crate) fn weight_taps_apart(&mut self, weight: &Weight) -> String {
        let [c_out, c_in, times, height, width] = weight.shape[..] else {
            unreachable!("a causal kernel has five axes")
        };
        let dims = [times * c_out, c_in, height, width];
        self.initializer(weight.key.clone(), Source::TapsApart(weight.key.clone()), &dims, self.options.compute)
    }

    /// The kernel of a 3x3 convolution for one of the four pixels that each pixel was repeated to.
    pub(crate) fn weight_phase(&mut self, weight: &Weight, phase: [usize; 2]) -> String {
        let [c_out, c_in, ..] = weight.shape[..] else { unreachable!("a kernel has channels") };
        let source = Source::Phase(weight.key.clone(), phase);
        let name = format!("{}[{}{}]", weight.key, phase[0], phase[1]);
        self.initializer(name, source, &[c_out, c_in, 2, 2], self.options.compute)
    }

    fn initializer(&mut self, name: String, source: Source, dims: &[usize], element: Element) -> String {
        let elements: usize = dims.iter().product();
        let offset = self.external_bytes.next_multiple_of(ALIGNMENT);
        let bytes = elements * element.bytes();
        self.external_bytes = offset + bytes;
        let entry = |key: &str, value: String| proto::Entry { key: key.into(), value };
        self.graph.initializer.push(proto::Tensor {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: proto::element(element),
            name: name.clone(),
            external_data: vec![
                entry("location", weights_file(&self.name)),
                entry("offset", offset.to_string()),
                entry("length", bytes.to_string()),
            ],
            data_location: Some(proto::EXTERNAL),
            ..Default::default()
        });
        self.initializers.push(Initializer { source, elements, element, offset });
        name
    }

    pub(crate) fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(dims, proto::FLOAT, raw)
    }

    pub(crate) fn integers(&mut self, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(&[values.len()], proto::INT64, raw)
    }

    pub(crate) fn scalar(&mut self, value: i64) -> String {
        self.constant(&[], proto::INT64, value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, dims: &[usize], data_type: i32, raw: Vec<u8>) -> String {
        let name = format!("const{}", self.graph.initializer.len());
        self.graph.initializer.push(proto::Tensor {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type,
            name: name.clone(),
            raw_data: Some(raw),
            ..Default::default()
        });
        name
    }

    fn graph_input(&mut self, name: &str, layout: Layout, channels: usize, divisor: usize, element: Element) -> Value {
        let value = Value { name: name.into(), channels, divisor, layout, element };
        self.graph.input.push(value_info(&value));
        value
    }

    /// Channels `start..end`.
    pub(crate) fn channels(&mut self, x: &Value, start: usize, end: usize) -> Value {
        let [from, to, axis] = [start as i64, end as i64, x.channel_axis()].map(|n| self.integers(&[n]));
        let name = self.node("Slice", &[&x.name, &from, &to, &axis], vec![]);
        let slice = Value { name, channels: end - start, ..x.clone() };
        self.shares.insert(slice.name.clone(), (end - start) as f64 / x.channels as f64);
        slice
    }

    /// The clip's first frame, which next to all others is nothing.
    pub(crate) fn first_frame(&mut self, x: &Value) -> String {
        let [start, end, axis] = [0, 1, 2].map(|n| self.integers(&[n]));
        let name = self.node("Slice", &[&x.name, &start, &end, &axis], vec![]);
        self.shares.insert(name.clone(), 0.0);
        name
    }

    /// Says that a value is that part of what its node's inputs suggest.
    pub(super) fn share(&mut self, name: &str, share: f64) {
        self.shares.insert(name.into(), share);
    }

    /// Says that the clip has `times` as many frames as this input.
    pub(crate) fn slower(&mut self, input: &Value, times: usize) {
        self.slower.insert(input.name.clone(), times);
    }

    pub(crate) fn finish(self) -> StepGraph {
        let inputs = self.caches.iter().flat_map(|c| [&c.one_ago, &c.two_ago]).chain(&self.inputs);
        let size = |input: &Value| {
            let slower = *self.slower.get(&input.name).unwrap_or(&1);
            (input.name.clone(), input.floats_per_pixel() / slower as f64)
        };
        let known = inputs.map(size).chain(self.floats_of_ours).collect();
        let working = footprint::working(&self.graph, &known, &self.shares, &self.scratches);
        let has_attention = self.graph.node.iter().any(|node| node.op_type == "Scan");
        let version = match self.options.compute {
            Element::Bf16 => BF16_OPSET,
            _ if self.options.narrows_norms() => NARROW_NORMS_OPSET,
            _ => OPSET,
        };
        let mut opset_import = vec![proto::OperatorSet { domain: String::new(), version }];
        if self.options.operators != Operators::Onnx {
            opset_import.push(proto::OperatorSet { domain: operator::DOMAIN.into(), version: 1 });
        }
        let model = proto::Model {
            ir_version: IR_VERSION,
            producer_name: "libwfvae".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import,
        };
        StepGraph {
            name: self.name,
            inputs: self.inputs,
            outputs: self.outputs,
            caches: self.caches,
            initializers: self.initializers,
            external_bytes: self.external_bytes,
            sizes: self.sizes,
            kernels: self.kernels,
            working,
            has_attention,
            onnx: model.encode_to_vec(),
        }
    }
}

fn value_info(value: &Value) -> proto::ValueInfo {
    let fixed = |n: usize| Dim { value: Some(DimValue::Fixed(n as i64)) };
    let symbol = |text: String| Dim { value: Some(DimValue::Symbol(text)) };
    let side = |axis: &str| symbol(format!("{axis}/{}", value.divisor));
    let dim = match value.layout {
        Layout::Frame => vec![fixed(1), fixed(value.channels), side("H"), side("W")],
        Layout::Pixels => vec![fixed(1), side("H"), side("W"), fixed(value.channels)],
        // Frames at different rates have no common divisor: T of a port is its own.
        Layout::Clip => {
            vec![fixed(1), fixed(value.channels), symbol(format!("T.{}", value.name)), side("H"), side("W")]
        }
        Layout::Numbers => vec![symbol(format!("N.{}", value.name))],
        Layout::Any => vec![],
    };
    let shape = (value.layout != Layout::Any).then_some(proto::Shape { dim });
    let tensor_type = proto::TensorType { elem_type: proto::element(value.element), shape };
    let r#type = Some(proto::Type { tensor_type: Some(tensor_type) });
    proto::ValueInfo { name: value.name.clone(), r#type, ..Default::default() }
}
