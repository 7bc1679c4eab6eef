//! Collects the nodes, ports, caches and weights of one graph and writes it as an ONNX model.

use super::device_operators::DeviceOperator;
use super::footprint::{self, Scratch, ScratchOf};
use super::onnx::{self, Attribute, DimValue, ValueInfo};
use super::operators::{DOMAIN, Operator, PackedWeight};
use super::options::{Operators, Options};
use super::size::{Size, SizeList};
use super::step::{Cache, Initializer, Source, StepGraph, weights_file};
use super::value::{Element, Layout, Port, Value};
use crate::kernels::{Bordered, ClipFrames};
use crate::model::{Norm, Weight};
use prost::Message;
use std::collections::HashMap;

const OPSET: i64 = 17;
/// With this one, LayerNormalization is ONNX Runtime's own.
const NARROW_NORMS_OPSET: i64 = 16;
/// The first one whose convolutions take bfloat16.
const BF16_OPSET: i64 = 22;
const IR_VERSION: i64 = 8;
/// Initializers start on cache lines.
const ALIGNMENT: usize = 64;

/// What a graph is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Encoder,
    Decoder,
    /// No part of the network: it moves tensors to and from a device.
    Transfer,
}

pub(super) struct Builder {
    name: String,
    part: Part,
    pub(super) options: Options,
    graph: onnx::Graph,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    caches: Vec<Cache>,
    initializers: Vec<Initializer>,
    external_bytes: usize,
    sizes: Vec<SizeList>,
    packed_weights: Vec<PackedWeight>,
    next: usize,
    /// Sizes of our operators' results, in elements per pixel.
    floats_of_ours: HashMap<String, f64>,
    /// The scratch of our operators.
    scratches: Vec<Scratch>,
    /// The fraction of its input that a slice takes.
    shares: HashMap<String, f64>,
}

impl Builder {
    /// `suffix`: the step's index, or "clip".
    pub(super) fn new(part: Part, suffix: impl std::fmt::Display, options: &Options) -> Self {
        let name = match part {
            Part::Encoder => format!("encoder.{suffix}"),
            Part::Decoder => format!("decoder.{suffix}"),
            Part::Transfer => format!("transfer.{suffix}"),
        };
        let graph = onnx::Graph { name: name.clone(), ..Default::default() };
        Builder {
            name,
            part,
            options: *options,
            graph,
            inputs: vec![],
            outputs: vec![],
            caches: vec![],
            initializers: vec![],
            external_bytes: 0,
            sizes: vec![],
            packed_weights: vec![],
            next: 0,
            floats_of_ours: HashMap::new(),
            scratches: vec![],
            shares: HashMap::new(),
        }
    }

    pub(super) fn input(&mut self, name: &str, layout: Layout, channels: usize, divisor: usize) -> Value {
        let value = self.graph_input(name, layout, channels, divisor, Element::F32);
        self.inputs.push(value.clone());
        value
    }

    /// An input that has one frame for `slower` of the clip's.
    pub(super) fn slower_input(
        &mut self,
        name: &str,
        layout: Layout,
        channels: usize,
        divisor: usize,
        slower: usize,
    ) -> Value {
        let value = Value { slower, ..self.graph_input(name, layout, channels, divisor, Element::F32) };
        self.inputs.push(value.clone());
        value
    }

    /// An input of any shape.
    pub(super) fn any_input(&mut self, name: &str, element: Element) -> Value {
        let value = self.graph_input(name, Layout::Any, 1, 1, element);
        self.inputs.push(value.clone());
        value
    }

    pub(super) fn frame_input(&mut self, name: &str, channels: usize, divisor: usize) -> Value {
        self.input(name, Layout::Frame, channels, divisor)
    }

    pub(super) fn our_convolutions(&self) -> bool {
        matches!(self.options.operators, Operators::Exact | Operators::Fast)
    }

    /// Whether convolutions are ours on the CPU's matrix unit.
    pub(super) fn on_matrix_unit(&self) -> bool {
        self.options.operators == Operators::Matrix
    }

    /// Whether what lies between the convolutions is our operators on a device.
    pub(super) fn on_device(&self) -> bool {
        self.options.operators == Operators::Device
    }

    /// The layout of the network's main path.
    pub(super) fn main_layout(&self) -> Layout {
        let pixels = self.our_convolutions() || self.on_matrix_unit() || self.options.channels_last;
        if pixels { Layout::Pixels } else { Layout::Frame }
    }

    fn takes_whole_clip(&self) -> bool {
        self.inputs.iter().any(|port| port.layout == Layout::Clip)
    }

    /// Whether convolutions of frames of H / `divisor` use large tiles. Their rounding must be small where many layers follow,
    /// as these amplify it.
    pub(super) fn large_tiles(&self, divisor: usize) -> bool {
        match (self.options.operators, self.part) {
            (Operators::Fast, _) => true,
            // Norms over a clip amplify it more.
            (_, Part::Encoder) if self.takes_whole_clip() => divisor >= 8,
            (_, Part::Encoder) => divisor >= 4,
            (_, Part::Decoder | Part::Transfer) => divisor <= 4,
        }
    }

    /// An input like `value`, which is another graph's output.
    pub(super) fn input_like(&mut self, name: &str, value: &Value) -> Value {
        let Value { layout, channels, divisor, element, .. } = *value;
        let value = self.graph_input(name, layout, channels, divisor, element);
        self.inputs.push(value.clone());
        value
    }

    pub(super) fn output(&mut self, name: &str, value: Value) {
        let value = self.publish(value, name);
        self.outputs.push(value);
    }

    /// The type of the past frames that streams keep.
    fn stored_element(&self) -> Element {
        if self.options.compute == Element::F32 { self.options.cache } else { self.options.compute }
    }

    /// An output that a later step reads by `stored_input`.
    pub(super) fn stored_output(&mut self, name: &str, value: Value) {
        let stored = self.cast(value, self.stored_element());
        self.output(name, stored);
    }

    /// What an earlier step gave by `stored_output`.
    pub(super) fn stored_input(&mut self, name: &str, layout: Layout, channels: usize, divisor: usize) -> Value {
        let stored = self.graph_input(name, layout, channels, divisor, self.stored_element());
        self.inputs.push(stored.clone());
        stored
    }

    /// `now` as an output, and its two past frames. See the documentation of `graph`.
    pub(super) fn with_past(&mut self, now: Value) -> (Value, [Value; 2]) {
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
        Value { name: self.cast_node(&value.name, element), element, ..value }
    }

    fn cast_node(&mut self, value: &str, element: Element) -> String {
        self.node("Cast", &[value], vec![Attribute::int("to", onnx::element(element).into())])
    }

    /// Makes a value an output of the graph with that name.
    fn publish(&mut self, value: Value, name: &str) -> Value {
        let used = self.graph.node.iter().any(|node| node.reads(&value.name));
        let produced = self.graph.node.iter_mut().flat_map(|n| &mut n.output).find(|output| **output == value.name);
        match produced {
            Some(output) if !used => *output = name.into(),
            // An input, or a value that other nodes read already.
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
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let [output] = self.node_outputs(op, inputs, attributes);
        output
    }

    /// ONNX's convolution of inputs of the type `compute`. The result is of the type `arithmetic`.
    pub(super) fn convolution(&mut self, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        if !self.options.wide || self.options.compute == Element::F32 {
            return self.node("Conv", inputs, attributes);
        }
        let inputs: Vec<String> = inputs.iter().map(|input| self.cast_node(input, Element::F32)).collect();
        let result = self.node("Conv", &inputs.iter().map(String::as_str).collect::<Vec<_>>(), attributes);
        match self.options.arithmetic() {
            Element::F32 => result,
            narrow => self.cast_node(&result, narrow),
        }
    }

    pub(super) fn node_outputs<const N: usize>(
        &mut self,
        op: &str,
        inputs: &[&str],
        attribute: Vec<Attribute>,
    ) -> [String; N] {
        let id = self.next;
        self.next += 1;
        let output: [String; N] = std::array::from_fn(|i| if i == 0 { format!("v{id}") } else { format!("v{id}.{i}") });
        self.graph.node.push(onnx::Node {
            input: inputs.iter().map(|i| i.to_string()).collect(),
            output: output.to_vec(),
            name: format!("{}_{id}", op.to_lowercase()),
            op_type: op.into(),
            attribute,
            ..Default::default()
        });
        output
    }

    /// A node of one of our operators, with a result of the shape of `result`.
    pub(super) fn operator_node(&mut self, operator: Operator, inputs: &[&str], result: &Value) -> String {
        let [result] = self.own_node(operator.name(), inputs, vec![], [result.clone()]);
        result.name
    }

    /// A node of one of our operators on a device, with results like these.
    pub(super) fn device_node<const N: usize>(
        &mut self,
        operator: DeviceOperator,
        inputs: &[&str],
        attributes: Vec<Attribute>,
        results: [Value; N],
    ) -> [Value; N] {
        let results = self.own_node(&operator.name(), inputs, attributes, results);
        // The runtime must know the shapes of what it transposes, and does not know our operators.
        self.graph.value_info.extend(results.iter().map(value_info));
        results
    }

    /// A node of that one of our operators, with results like these.
    pub(super) fn own_node<const N: usize>(
        &mut self,
        name: &str,
        inputs: &[&str],
        attributes: Vec<Attribute>,
        results: [Value; N],
    ) -> [Value; N] {
        debug_assert!(!inputs.contains(&""), "{name}: an input is left out");
        let names = self.node_outputs::<N>(name, inputs, attributes);
        self.graph.node.last_mut().expect("just added").domain = DOMAIN.into();
        let mut names = names.into_iter();
        results.map(|result| {
            let result = Value { name: names.next().expect("as many"), ..result };
            self.floats_of_ours.insert(result.name.clone(), result.floats_per_pixel());
            result
        })
    }

    /// An input for these sizes.
    pub(super) fn size_list(&mut self, sizes: Vec<Size>) -> String {
        if let Some(list) = self.sizes.iter().find(|list| list.sizes == sizes) {
            return list.name.clone();
        }
        let list = SizeList { name: format!("size.{}", self.sizes.len()), sizes };
        let dims = vec![DimValue::Fixed(list.sizes.len() as i64)];
        let input = ValueInfo::tensor(&list.name, onnx::INT64, Some(dims));
        self.graph.input.push(ValueInfo { doc: list.describe(), ..input });
        self.sizes.push(list);
        self.sizes[self.sizes.len() - 1].name.clone()
    }

    /// An input for the shape of a value, which is one frame.
    pub(super) fn shape_of(&mut self, x: &Value) -> String {
        let (channels, height, width) = (Size::Fixed(x.channels), Size::Height(x.divisor), Size::Width(x.divisor));
        let one = Size::Fixed(1);
        self.size_list(match x.layout {
            Layout::Pixels => vec![one, height, width, channels],
            _ => vec![one, channels, height, width],
        })
    }

    /// An input for the weight of one of our convolutions, which reads frames of H / `divisor`.
    pub(super) fn packed_weight(&mut self, weight: PackedWeight, divisor: usize) -> String {
        let name = weight.key.clone();
        let dims = vec![DimValue::Symbol(format!("N.{name}"))];
        self.graph.input.push(ValueInfo::tensor(&name, onnx::FLOAT, Some(dims)));
        self.scratches.push(Scratch { of: ScratchOf::Convolution(weight.convolution), divisor });
        self.packed_weights.push(weight);
        name
    }

    /// Tells the footprint of frames that a layer over a clip makes from frames of H / `divisor`.
    pub(super) fn frames_scratch(&mut self, frames: ClipFrames, divisor: usize) {
        self.scratches.push(Scratch { of: ScratchOf::Frames(frames), divisor });
    }

    /// Tells the footprint of attention on the matrix unit over frames of H / `divisor`.
    pub(super) fn attention_scratch(&mut self, channels: usize, divisor: usize) {
        self.scratches.push(Scratch { of: ScratchOf::Attention { channels }, divisor });
    }

    /// A node that runs a subgraph, which `body` emits, on each slice of `over` along an axis, and concatenates the results.
    /// `element` and `result` are the types of slices and results. The subgraph may use all values of this graph. There is no
    /// index to compute with, as a device would do that itself and make the CPU wait.
    pub(super) fn scan_node(
        &mut self,
        over: &str,
        element: Element,
        axis: i64,
        result: Element,
        body: impl FnOnce(&mut Builder, &str) -> String,
    ) -> String {
        let name = format!("scan{}.slice", self.next);
        let untyped = |name: &str, element| ValueInfo::tensor(name, onnx::element(element), None);
        // The body's constants belong to the outer graph, its nodes do not.
        let outer = std::mem::take(&mut self.graph.node);
        let output = body(self, &name);
        let inner = std::mem::replace(&mut self.graph.node, outer);
        let body = onnx::Graph {
            name: format!("{name}.body"),
            node: inner,
            input: vec![untyped(&name, element)],
            output: vec![untyped(&output, result)],
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

    /// A tensor of the checkpoint, reshaped to `dims`.
    pub(super) fn weight(&mut self, weight: &Weight, dims: &[usize], element: Element) -> String {
        self.initializer(weight.key.clone(), Source::Tensor(weight.key.clone()), dims, element)
    }

    /// Scale and shift of a norm.
    pub(super) fn factors(&mut self, norm: &Norm) -> [String; 2] {
        [&norm.weight, &norm.bias].map(|weight| self.weight(weight, &weight.shape, Element::F32))
    }

    /// One time tap of a causal kernel, as a 2D kernel.
    pub(super) fn weight_tap(&mut self, weight: &Weight, tap: usize) -> String {
        let [c_out, c_in, _, height, width] = weight.shape[..] else { unreachable!("a causal kernel has five axes") };
        let source = Source::Tap(weight.key.clone(), tap);
        self.initializer(format!("{}[{tap}]", weight.key), source, &[c_out, c_in, height, width], self.options.compute)
    }

    /// A causal kernel as a 2D kernel of the three frames' channels.
    pub(super) fn weight_stacked(&mut self, weight: &Weight) -> String {
        let [c_out, c_in, times, height, width] = weight.shape[..] else {
            unreachable!("a causal kernel has five axes")
        };
        let dims = [c_out, times * c_in, height, width];
        self.initializer(weight.key.clone(), Source::Stacked(weight.key.clone()), &dims, self.options.compute)
    }

    /// A causal kernel as one 2D kernel, with output channels for each time tap.
    pub(super) fn weight_taps_apart(&mut self, weight: &Weight) -> String {
        let [c_out, c_in, times, height, width] = weight.shape[..] else {
            unreachable!("a causal kernel has five axes")
        };
        let dims = [times * c_out, c_in, height, width];
        self.initializer(weight.key.clone(), Source::TapsApart(weight.key.clone()), &dims, self.options.compute)
    }

    /// The 2x2 kernel for one of the four pixels that each pixel was repeated to.
    pub(super) fn weight_phase(&mut self, weight: &Weight, phase: [usize; 2]) -> String {
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
        let entry = |key: &str, value: String| onnx::Entry { key: key.into(), value };
        self.graph.initializer.push(onnx::Tensor {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: onnx::element(element),
            name: name.clone(),
            external_data: vec![
                entry("location", weights_file(&self.name)),
                entry("offset", offset.to_string()),
                entry("length", bytes.to_string()),
            ],
            data_location: Some(onnx::EXTERNAL),
            ..Default::default()
        });
        self.initializers.push(Initializer { source, elements, element, offset });
        name
    }

    pub(super) fn floats(&mut self, dims: &[usize], values: &[f32]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(dims, onnx::FLOAT, raw)
    }

    pub(super) fn integers(&mut self, values: &[i64]) -> String {
        let raw = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(&[values.len()], onnx::INT64, raw)
    }

    pub(super) fn scalar(&mut self, value: i64) -> String {
        self.constant(&[], onnx::INT64, value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, dims: &[usize], data_type: i32, raw: Vec<u8>) -> String {
        let name = format!("const{}", self.graph.initializer.len());
        self.graph.initializer.push(onnx::Tensor {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type,
            name: name.clone(),
            raw_data: Some(raw),
            ..Default::default()
        });
        name
    }

    fn graph_input(&mut self, name: &str, layout: Layout, channels: usize, divisor: usize, element: Element) -> Value {
        let value = Value { name: name.into(), channels, divisor, layout, element, slower: 1 };
        self.graph.input.push(value_info(&value));
        value
    }

    /// Channels `start..end`.
    pub(super) fn channels(&mut self, x: &Value, start: usize, end: usize) -> Value {
        let [from, to, axis] = [start as i64, end as i64, x.channel_axis()].map(|n| self.integers(&[n]));
        let name = self.node("Slice", &[&x.name, &from, &to, &axis], vec![]);
        let slice = Value { name, channels: end - start, ..x.clone() };
        self.shares.insert(slice.name.clone(), (end - start) as f64 / x.channels as f64);
        slice
    }

    /// The clip's first frame, whose size is negligible.
    pub(super) fn first_frame(&mut self, x: &Value) -> String {
        let [start, end, axis] = [0, 1, 2].map(|n| self.integers(&[n]));
        let name = self.node("Slice", &[&x.name, &start, &end, &axis], vec![]);
        self.shares.insert(name.clone(), 0.0);
        name
    }

    /// Tells the footprint that a value is that fraction of what its node's inputs suggest.
    pub(super) fn share(&mut self, name: &str, share: f64) {
        self.shares.insert(name.into(), share);
    }

    pub(super) fn finish(self) -> StepGraph {
        let inputs = self.caches.iter().flat_map(|c| [&c.one_ago, &c.two_ago]).chain(&self.inputs);
        let known =
            inputs.map(|input| (input.name.clone(), input.floats_per_pixel())).chain(self.floats_of_ours).collect();
        let working = footprint::working(&self.graph, &known, &self.shares, &self.scratches);
        let version = match self.options.compute {
            Element::Bf16 if self.options.has_onnx_bf16() => BF16_OPSET,
            _ if self.options.narrows_norms() => NARROW_NORMS_OPSET,
            _ => OPSET,
        };
        let mut opset_import = vec![onnx::OperatorSet { domain: String::new(), version }];
        if self.options.operators != Operators::Onnx {
            opset_import.push(onnx::OperatorSet { domain: DOMAIN.into(), version: 1 });
        }
        let model = onnx::Model {
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
            packed_weights: self.packed_weights,
            working,
            onnx: model.encode_to_vec(),
        }
    }
}

fn value_info(value: &Value) -> ValueInfo {
    let fixed = |n: usize| DimValue::Fixed(n as i64);
    let side = |axis: &str| DimValue::Symbol(format!("{axis}/{}", value.divisor));
    let dims = match value.layout {
        Layout::Frame => vec![fixed(1), fixed(value.channels), side("H"), side("W")],
        Layout::Pixels => vec![fixed(1), side("H"), side("W"), fixed(value.channels)],
        Layout::Bordered => {
            let side = |axis: &str| DimValue::Symbol(format!("{axis}/{} + border", value.divisor));
            vec![fixed(1), side("H"), side("W"), fixed(Bordered::stored(value.channels))]
        }
        // Frames at different rates have no common divisor, so each port has its own T.
        Layout::Clip => {
            let frames = DimValue::Symbol(format!("T.{}", value.name));
            vec![fixed(1), fixed(value.channels), frames, side("H"), side("W")]
        }
        Layout::ClipPixels => {
            let frames = DimValue::Symbol(format!("T.{}", value.name));
            vec![frames, side("H"), side("W"), fixed(value.channels)]
        }
        Layout::Numbers => vec![DimValue::Symbol(format!("N.{}", value.name))],
        Layout::Any => vec![],
    };
    ValueInfo::tensor(&value.name, onnx::element(value.element), (value.layout != Layout::Any).then_some(dims))
}
