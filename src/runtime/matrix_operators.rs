//! Our kernels for the CPU's matrix unit as operators of ONNX Runtime, on its threads.

use super::operator_parts::{Parts, bordered, guard, input, no_memory, output, unexpected, workers};
use crate::graph::{Adds, Gives, MatrixOperator};
use crate::kernels::{
    Attention, Blend, Bordered, Convolution, LayerNorm, MatrixInput, MatrixOutput, Method, Narrow, Norm, Resources,
};
use crate::model::NORM_EPSILON;
use half::bf16;
use ort::operator::{ComputeContext, Kernel, KernelContext, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Bfloat16, Float32};

pub(super) struct Ours {
    operator: MatrixOperator,
    name: String,
    parts: Parts,
}

/// One node. It never changes, as the runtime calls it from several threads at once; `ort` makes that a `&mut`.
pub(super) struct Node {
    operator: MatrixOperator,
    name: String,
    silu: bool,
    parts: Parts,
}

impl Ours {
    pub(super) fn new(operator: MatrixOperator, parts: Parts) -> Self {
        Ours { operator, name: operator.name(), parts }
    }
}

impl ort::operator::Operator for Ours {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        &self.name
    }

    /// `MatrixOperator` documents them.
    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let required = |element, count| std::iter::repeat_with(move || OperatorInput::required(element)).take(count);
        let inputs: Vec<OperatorInput> = match self.operator {
            MatrixOperator::Convolve(_, adds, gives) => {
                let inputs = required(Float32, floats_of(adds, gives)).chain(required(Bfloat16, 1));
                inputs.chain([Bfloat16; 2].map(OperatorInput::optional)).collect()
            }
            MatrixOperator::Norm => required(Float32, 3).collect(),
            MatrixOperator::Narrow | MatrixOperator::Doubled => required(Float32, 1).collect(),
            MatrixOperator::Blend => required(Float32, 1).chain(required(Bfloat16, 3)).collect(),
            MatrixOperator::Attend => required(Bfloat16, 3).collect(),
        };
        inputs
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let (floats, narrow) = (OperatorOutput::required(Float32), OperatorOutput::required(Bfloat16));
        match self.operator {
            MatrixOperator::Convolve(.., Gives::Sums) | MatrixOperator::Blend => vec![floats],
            MatrixOperator::Convolve(.., Gives::Normed) => vec![narrow, OperatorOutput::optional(Float32)],
            _ => vec![narrow],
        }
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Node> {
        let silu = context.get::<i64>("silu") == Some(1);
        Ok(Node { operator: self.operator, name: self.name.clone(), silu, parts: self.parts.clone() })
    }
}

/// Inputs of a convolution before its frames.
fn floats_of(adds: Adds, gives: Gives) -> usize {
    2 + if gives == Gives::Normed { 2 } else { 0 } + if adds == Adds::Residual { 1 } else { 0 }
}

impl Kernel for Node {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guard(&self.name, || self.run(context))
    }
}

impl Node {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let (target, workers) = (self.parts.target, &workers(context));
        let floats = |i: usize| input::<f32>(context, i);
        let resources = Resources { threads: self.parts.threads, workers, scratch: &self.parts.scratch };
        match self.operator {
            MatrixOperator::Convolve(form, adds, gives) => {
                let first = floats_of(adds, gives);
                let residual = if adds == Adds::Residual { Some(floats(first - 1)?.1) } else { None };
                let (shape, _) = input::<bf16>(context, first)?;
                let count = if context.input(first + 1)?.is_some() { 3 } else { 1 };
                let frames = (first..first + count).rev().map(|i| Ok(input::<bf16>(context, i)?.1));
                let frames = frames.collect::<ort::Result<Vec<&[bf16]>>>()?;
                let (weights, bias) = (floats(0)?.1, floats(1)?.1);
                let frame = <[usize; 3]>::try_from(&shape[1..]).ok().and_then(Bordered::of_shape);
                let Some(Bordered { height, width, .. }) = frame else { return Err(unexpected(&shape)) };
                let (size, c_out) = ([height, width], bias.len());
                let method = Method::Matrix(form, gives.outcome());
                // The kernel checks whether the weights fit as many channels as there are in memory.
                let convolution = Convolution { method, c_out, c_in: shape[3], times: count };
                let input = MatrixInput { frames: &frames, size, c_in: shape[3], weights, bias, residual };
                let result = method.output_size(size);
                let pixels = [1, result[0], result[1], c_out];
                let (scale, shift);
                let output = match gives {
                    Gives::Sums => MatrixOutput::Sums(output(context, 0, &pixels)?),
                    Gives::Narrow => MatrixOutput::Narrow(output(context, 0, &pixels)?),
                    Gives::Normed => {
                        (scale, shift) = (floats(2)?.1, floats(3)?.1);
                        let norm = Norm { scale, bias: shift, epsilon: NORM_EPSILON, silu: self.silu };
                        let sums = if context.num_outputs()? == 2 { Some(output(context, 1, &pixels)?) } else { None };
                        MatrixOutput::Normed(norm, output(context, 0, &bordered(result, c_out))?, sums)
                    }
                };
                // SAFETY: the outputs have these sizes.
                unsafe { target.convolve_narrow(convolution, input, resources, output) }.map_err(no_memory)
            }
            MatrixOperator::Norm => {
                let (scale, bias, (shape, pixels)) = (floats(0)?.1, floats(1)?.1, floats(2)?);
                let size = [shape[1], shape[2]];
                let to = output(context, 0, &bordered(size, scale.len()))?;
                let norm = Norm { scale, bias, epsilon: NORM_EPSILON, silu: self.silu };
                // SAFETY: the output has this size.
                unsafe { target.normalize_narrow(LayerNorm { pixels, norm }, size, workers, to) };
                Ok(())
            }
            MatrixOperator::Narrow | MatrixOperator::Doubled => {
                let (shape, frame) = floats(0)?;
                let doubled = self.operator == MatrixOperator::Doubled;
                let narrow = Narrow { frame, height: shape[1], width: shape[2], channels: shape[3], doubled };
                let Bordered { height, width, .. } = narrow.result();
                let to = output(context, 0, &bordered([height, width], shape[3]))?;
                // SAFETY: the output has this size.
                unsafe { target.narrow(narrow, workers, to) };
                Ok(())
            }
            MatrixOperator::Attend => {
                let (shape, query) = input::<bf16>(context, 0)?;
                let [_, height, width, channels] = shape[..] else { return Err(unexpected(&shape)) };
                let (key, value) = (input::<bf16>(context, 1)?.1, input::<bf16>(context, 2)?.1);
                let to = output(context, 0, &bordered([height, width], channels))?;
                let attention = Attention { query, key, value, height, width, channels };
                // SAFETY: the output has this size.
                unsafe { target.attend(attention, resources, to) }.map_err(no_memory)
            }
            MatrixOperator::Blend => {
                let weights = floats(0)?.1;
                let frames = (1..4).rev().map(|i| input::<bf16>(context, i)).collect::<ort::Result<Vec<_>>>()?;
                let shape = &frames[0].0;
                let channels = shape[3] * frames.len() / weights.len().max(1);
                assert_eq!(channels * weights.len(), shape[3] * frames.len(), "a part for each weight");
                let frames: Vec<&[bf16]> = frames.iter().map(|(_, frame)| *frame).collect();
                let to = output(context, 0, &[1, shape[1], shape[2], channels])?;
                // SAFETY: the output has a part's channels.
                unsafe { target.blend(Blend { frames: &frames, weights, channels }, workers, to) };
                Ok(())
            }
        }
    }
}
