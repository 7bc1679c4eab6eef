//! Collects nodes, ports, caches and weights of one step and writes them as an ONNX model.

use super::proto::{self, Attribute, Dim, DimValue};
use crate::model::Weight;
use prost::Message;

const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;
/// Initializers start on cache lines.
const ALIGNMENT: usize = 64;

/// A tensor of the graph: `[1, channels, H / divisor, W / divisor]`.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) channels: usize,
    pub(crate) divisor: usize,
}

/// A named input or output of a step. A divisor of 0 marks a single number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) channels: usize,
    pub(crate) divisor: usize,
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
}

/// A weight that lives outside the graph's bytes.
#[derive(Debug, Clone)]
pub(crate) struct Initializer {
    pub(crate) source: Source,
    pub(crate) elements: usize,
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
    pub(crate) weight_bytes: usize,
    /// The serialized ModelProto.
    pub(crate) onnx: Vec<u8>,
}

impl StepGraph {
    /// The external data's file name inside the model.
    pub(crate) fn weights_file(&self) -> String {
        weights_file(&self.name)
    }
}

fn weights_file(name: &str) -> String {
    format!("{name}.bin")
}

pub(crate) struct Builder {
    name: String,
    graph: proto::Graph,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    caches: Vec<Cache>,
    initializers: Vec<Initializer>,
    weight_bytes: usize,
    next: usize,
}

impl Builder {
    pub(crate) fn new(name: String) -> Self {
        let graph = proto::Graph { name: name.clone(), ..Default::default() };
        Builder {
            name,
            graph,
            inputs: vec![],
            outputs: vec![],
            caches: vec![],
            initializers: vec![],
            weight_bytes: 0,
            next: 0,
        }
    }

    pub(crate) fn input(&mut self, name: &str, channels: usize, divisor: usize) -> Value {
        let value = self.graph_input(name, channels, divisor);
        self.inputs.push(port(&value));
        value
    }

    /// A single number.
    pub(crate) fn number_input(&mut self, name: &str) -> Value {
        self.input(name, 1, 0)
    }

    pub(crate) fn output(&mut self, name: &str, value: Value) {
        let value = self.publish(value, name);
        self.outputs.push(port(&value));
    }

    /// `now` as an output, and its two past frames; see the module's documentation.
    pub(crate) fn with_past(&mut self, now: Value) -> (Value, [Value; 2]) {
        let n = self.caches.len();
        let now = self.publish(now, &format!("cache{n}.now"));
        let shape = self.node("Shape", &[&now.name], vec![]);
        let [(one, one_ago), (two, two_ago)] = [1, 2].map(|age| {
            let past = self.graph_input(&format!("cache{n}.{age}"), now.channels, now.divisor);
            let ordered = self.node("Reshape", &[&past.name, &shape], vec![]);
            (port(&past), Value { name: ordered, ..past })
        });
        self.caches.push(Cache { now: port(&now), one_ago: one, two_ago: two });
        (now, [one_ago, two_ago])
    }

    /// Makes a value a graph output under a name of its own.
    fn publish(&mut self, value: Value, name: &str) -> Value {
        let used = self.graph.node.iter().any(|n| n.input.contains(&value.name));
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
        });
        output
    }

    /// A tensor of the checkpoint, used as `dims`.
    pub(crate) fn weight(&mut self, weight: &Weight, dims: &[usize]) -> String {
        self.initializer(weight.key.clone(), Source::Tensor(weight.key.clone()), dims)
    }

    /// One time tap of a causal kernel, as a 2D kernel.
    pub(crate) fn weight_tap(&mut self, weight: &Weight, tap: usize) -> String {
        let [c_out, c_in, _, height, width] = weight.shape[..] else { unreachable!("a causal kernel has five axes") };
        let source = Source::Tap(weight.key.clone(), tap);
        self.initializer(format!("{}[{tap}]", weight.key), source, &[c_out, c_in, height, width])
    }

    fn initializer(&mut self, name: String, source: Source, dims: &[usize]) -> String {
        let elements: usize = dims.iter().product();
        let offset = self.weight_bytes.next_multiple_of(ALIGNMENT);
        let bytes = elements * size_of::<f32>();
        self.weight_bytes = offset + bytes;
        let entry = |key: &str, value: String| proto::Entry { key: key.into(), value };
        self.graph.initializer.push(proto::Tensor {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: proto::FLOAT,
            name: name.clone(),
            external_data: vec![
                entry("location", weights_file(&self.name)),
                entry("offset", offset.to_string()),
                entry("length", bytes.to_string()),
            ],
            data_location: Some(proto::EXTERNAL),
            ..Default::default()
        });
        self.initializers.push(Initializer { source, elements, offset });
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

    fn graph_input(&mut self, name: &str, channels: usize, divisor: usize) -> Value {
        let value = Value { name: name.into(), channels, divisor };
        self.graph.input.push(value_info(&value));
        value
    }

    pub(crate) fn finish(self) -> StepGraph {
        let model = proto::Model {
            ir_version: IR_VERSION,
            producer_name: "libwfvae".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            opset_import: vec![proto::OperatorSet { domain: String::new(), version: OPSET }],
        };
        StepGraph {
            name: self.name,
            inputs: self.inputs,
            outputs: self.outputs,
            caches: self.caches,
            initializers: self.initializers,
            weight_bytes: self.weight_bytes,
            onnx: model.encode_to_vec(),
        }
    }
}

fn port(value: &Value) -> Port {
    Port { name: value.name.clone(), channels: value.channels, divisor: value.divisor }
}

fn value_info(value: &Value) -> proto::ValueInfo {
    let fixed = |n: usize| Dim { value: Some(DimValue::Fixed(n as i64)) };
    let symbol = |axis: &str| Dim { value: Some(DimValue::Symbol(format!("{axis}/{}", value.divisor))) };
    let dim = match value.divisor {
        0 => vec![fixed(1)],
        _ => vec![fixed(1), fixed(value.channels), symbol("H"), symbol("W")],
    };
    let tensor_type = proto::TensorType { elem_type: proto::FLOAT, shape: Some(proto::Shape { dim }) };
    proto::ValueInfo { name: value.name.clone(), r#type: Some(proto::Type { tensor_type: Some(tensor_type) }) }
}
