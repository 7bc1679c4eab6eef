//! The part of the ONNX format (onnx.proto3, IR version 8) that this library writes.

use super::value::Element;
use prost::Message;

pub(super) const FLOAT: i32 = 1;
pub(super) const UINT8: i32 = 2;
pub(super) const INT64: i32 = 7;
pub(super) const FLOAT16: i32 = 10;
pub(super) const BFLOAT16: i32 = 16;
pub(super) const EXTERNAL: i32 = 1;

/// The format's code for an element type.
pub(super) fn element(element: Element) -> i32 {
    match element {
        Element::F32 => FLOAT,
        Element::F16 => FLOAT16,
        Element::Bf16 => BFLOAT16,
        Element::U8 => UINT8,
        Element::I64 => INT64,
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(int64, tag = "1")]
    pub(super) ir_version: i64,
    #[prost(string, tag = "2")]
    pub(super) producer_name: String,
    #[prost(string, tag = "3")]
    pub(super) producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub(super) opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OperatorSet {
    #[prost(string, tag = "1")]
    pub(super) domain: String,
    #[prost(int64, tag = "2")]
    pub(super) version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(super) node: Vec<Node>,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(super) input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    pub(super) output: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "13")]
    pub(super) value_info: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(super) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) output: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub(super) domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(float, optional, tag = "2")]
    pub(super) f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    pub(super) i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) s: Option<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    pub(super) g: Option<Graph>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub(super) ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    pub(super) kind: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub(super) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(string, tag = "8")]
    pub(super) name: String,
    #[prost(bytes = "vec", optional, tag = "9")]
    pub(super) raw_data: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "13")]
    pub(super) external_data: Vec<Entry>,
    #[prost(int32, optional, tag = "14")]
    pub(super) data_location: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ValueInfo {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) r#type: Option<Type>,
    #[prost(string, tag = "3")]
    pub(super) doc: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(message, optional, tag = "1")]
    pub(super) tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub(super) elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub(super) dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Dim {
    #[prost(oneof = "DimValue", tags = "1, 2")]
    pub(super) value: Option<DimValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum DimValue {
    #[prost(int64, tag = "1")]
    Fixed(i64),
    #[prost(string, tag = "2")]
    Symbol(String),
}

impl Node {
    /// Whether the node, or one in its subgraph, has this input.
    pub(super) fn reads(&self, value: &str) -> bool {
        let nested = || self.attribute.iter().filter_map(|a| a.g.as_ref()).flat_map(|graph| &graph.node);
        self.input.iter().any(|input| input == value) || nested().any(|node| node.reads(value))
    }
}

impl ValueInfo {
    /// A tensor. `dims`: `None` for any shape.
    pub(super) fn tensor(name: &str, elem_type: i32, dims: Option<Vec<DimValue>>) -> Self {
        let dim = |value| Dim { value: Some(value) };
        let shape = dims.map(|dims| Shape { dim: dims.into_iter().map(dim).collect() });
        let r#type = Some(Type { tensor_type: Some(TensorType { elem_type, shape }) });
        ValueInfo { name: name.into(), r#type, ..Default::default() }
    }
}

impl Attribute {
    pub(super) fn int(name: &str, value: i64) -> Self {
        Attribute { name: name.into(), i: Some(value), kind: 2, ..Default::default() }
    }

    pub(super) fn float(name: &str, value: f32) -> Self {
        Attribute { name: name.into(), f: Some(value), kind: 1, ..Default::default() }
    }

    pub(super) fn text(name: &str, value: &str) -> Self {
        Attribute { name: name.into(), s: Some(value.into()), kind: 3, ..Default::default() }
    }

    pub(super) fn graph(name: &str, value: Graph) -> Self {
        Attribute { name: name.into(), g: Some(value), kind: 5, ..Default::default() }
    }

    pub(super) fn ints(name: &str, values: &[i64]) -> Self {
        Attribute { name: name.into(), ints: values.to_vec(), kind: 7, ..Default::default() }
    }
}
