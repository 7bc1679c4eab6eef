//! Our Haar transforms as operators of ONNX Runtime, on its threads.

use super::operator_parts::{Parts, bordered, guard, input, output, unexpected, workers};
use crate::graph::HaarOperator;
use crate::kernels::{Analysis, Coefficients, Synthesis};
use ort::operator::{ComputeContext, Kernel, KernelContext, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::{Bfloat16, Float32};

pub(super) struct Ours {
    operator: HaarOperator,
    parts: Parts,
}

/// One node. It never changes, as the runtime calls it from several threads at once; `ort` makes that a `&mut`.
pub(super) struct Node {
    operator: HaarOperator,
    gain: f32,
    parts: Parts,
}

impl Ours {
    pub(super) fn new(operator: HaarOperator, parts: Parts) -> Self {
        Ours { operator, parts }
    }
}

impl ort::operator::Operator for Ours {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        self.operator.name()
    }

    /// `HaarOperator` documents them.
    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(Float32), OperatorInput::optional(Float32)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        let first = if self.operator == HaarOperator::NarrowAnalysis { Bfloat16 } else { Float32 };
        [OperatorOutput::required(first), OperatorOutput::optional(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Node> {
        let gain = context.get::<f32>("gain").ok_or_else(|| ort::Error::new("a Haar transform has no gain"))?;
        Ok(Node { operator: self.operator, gain, parts: self.parts.clone() })
    }
}

impl Kernel for Node {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guard(self.operator.name(), || self.run(context))
    }
}

impl Node {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        match self.operator {
            HaarOperator::Analysis | HaarOperator::NarrowAnalysis => self.analyse(context),
            HaarOperator::Synthesis => self.synthesise(context),
        }
    }

    fn analyse(&self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, first) = input::<f32>(context, 0)?;
        let [_, channels, height, width] = shape[..] else { return Err(unexpected(&shape)) };
        let second = if context.input(1)?.is_some() { Some(input::<f32>(context, 1)?.1) } else { None };
        let pictures: Vec<&[f32]> = [first].into_iter().chain(second).collect();
        let analysis = Analysis { pictures: &pictures, channels, height, width, gain: self.gain };
        let ([rows, columns], of_pixel) = (analysis.result(), analysis.coefficients());
        let to = match self.operator {
            HaarOperator::NarrowAnalysis => {
                Coefficients::Bordered(output(context, 0, &bordered([rows, columns], of_pixel))?)
            }
            _ => Coefficients::Pixels(output(context, 0, &[1, rows, columns, of_pixel])?),
        };
        let needs_low = context.num_outputs()? == 2;
        let low = if needs_low { Some(output(context, 1, &[1, channels, rows, columns])?) } else { None };
        // SAFETY: the outputs have these sizes.
        unsafe { self.parts.target.analyse(analysis, &workers(context), to, low) };
        Ok(())
    }

    fn synthesise(&self, context: &ComputeContext) -> ort::Result<()> {
        let (shape, coefficients) = input::<f32>(context, 0)?;
        let [_, height, width, of_pixel] = shape[..] else { return Err(unexpected(&shape)) };
        let low = if context.input(1)?.is_some() { Some(input::<f32>(context, 1)?.1) } else { None };
        let pictures = context.num_outputs()?;
        let channels = of_pixel / (4 * pictures);
        let synthesis = Synthesis { coefficients, low, channels, height, width, gain: self.gain };
        let shape = [1, channels, 2 * height, 2 * width];
        let pictures = (0..pictures).map(|i| output(context, i, &shape)).collect::<ort::Result<Vec<*mut f32>>>()?;
        // SAFETY: the outputs have this size.
        unsafe { self.parts.target.synthesise(synthesis, &workers(context), &pictures) };
        Ok(())
    }
}
