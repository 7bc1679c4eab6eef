//! Our layers over clips as operators of ONNX Runtime, on its threads.

use super::cancel;
use super::operator_parts::{Parts, guard, no_memory, output, unexpected, values, workers};
use crate::graph::{ClipOperator, Prologue};
use crate::kernels::{Before, Clip, ClipConvolution, FrameSums, GroupStatistics, Interpolated, Norm, Resources};
use crate::model::{NORM_EPSILON, NORM_GROUPS};
use ort::operator::{ComputeContext, Kernel, KernelContext, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;

/// The most inputs that one takes: weights, bias, clip, scale and bias of a norm, residual.
const INPUTS: usize = 6;

pub(super) struct Ours {
    operator: ClipOperator,
    name: String,
    parts: Parts,
}

/// One node. It never changes, as the runtime calls it from several threads at once; `ort` makes that a `&mut`.
pub(super) struct Node {
    operator: ClipOperator,
    name: String,
    prologue: Prologue,
    per_frame: bool,
    times: usize,
    every: usize,
    parts: Parts,
}

impl Ours {
    pub(super) fn new(operator: ClipOperator, parts: Parts) -> Self {
        Ours { operator, name: operator.name(), parts }
    }
}

impl ort::operator::Operator for Ours {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        &self.name
    }

    /// `ClipOperator` documents them.
    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let required = match self.operator {
            ClipOperator::Halved => 1,
            ClipOperator::Interpolation => 2,
            ClipOperator::Statistics | ClipOperator::Convolution(_) => 3,
            ClipOperator::Interpolated(_) => 4,
        };
        let optional = if matches!(self.operator, ClipOperator::Convolution(_)) { INPUTS - required } else { 0 };
        let required = std::iter::repeat_with(|| OperatorInput::required(Float32)).take(required);
        required.chain(std::iter::repeat_with(|| OperatorInput::optional(Float32)).take(optional)).collect::<Vec<_>>()
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Node> {
        let number = |name: &str| context.get::<i64>(name);
        let prologue = Prologue::of_number(number("prologue").unwrap_or(0));
        let one = |name: &str| number(name).map_or(1, |n| n as usize);
        Ok(Node {
            operator: self.operator,
            name: self.name.clone(),
            prologue: prologue.ok_or_else(|| ort::Error::new("an unknown prologue"))?,
            per_frame: number("per_frame") == Some(1),
            times: one("times"),
            every: one("every"),
            parts: self.parts.clone(),
        })
    }
}

impl Kernel for Node {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guard(&self.name, || self.run(context))
    }
}

impl Node {
    fn run(&self, context: &ComputeContext) -> ort::Result<()> {
        let Parts { target, threads, scratch } = &self.parts;
        let workers = &workers(context);
        let resources = Resources { threads: *threads, workers, scratch };
        let stopped = &cancel::is_cancelled_here;
        let list = |i: usize| Ok::<_, ort::Error>(values::<f32>(context, i)?.1);
        match self.operator {
            ClipOperator::Statistics => {
                let (scale, bias, clip) = (list(0)?, list(1)?, clip(context, 2)?);
                let spans = if self.per_frame { clip.frames } else { 1 };
                let (pixels, epsilon) = (clip.values, NORM_EPSILON);
                let statistics = GroupStatistics { pixels, spans, groups: NORM_GROUPS, scale, bias, epsilon };
                let to = output(context, 0, &[spans, 3, 1, scale.len()])?;
                // SAFETY: the output has this size.
                unsafe { target.group_statistics(statistics, workers, to) }.map_err(no_memory)
            }
            ClipOperator::Convolution(operator) => {
                let (weights, bias) = (list(0)?, list(1)?);
                let (silu, after) = (self.prologue.silu(), 3 + self.prologue.inputs());
                let before = match self.prologue {
                    Prologue::Nothing => Before::Nothing,
                    Prologue::Groups | Prologue::GroupsSilu => Before::Groups { factors: list(3)?, silu },
                    Prologue::Pixels | Prologue::PixelsSilu => {
                        Before::Pixels(Norm { scale: list(3)?, bias: list(4)?, epsilon: NORM_EPSILON, silu })
                    }
                    Prologue::Doubled => Before::Doubled,
                };
                let residual =
                    if after < INPUTS && context.input(after)?.is_some() { Some(list(after)?) } else { None };
                let layer = ClipConvolution {
                    method: operator.method().expect("a convolution"),
                    clip: clip(context, 2)?,
                    before,
                    times: self.times,
                    every: self.every,
                    weights,
                    bias,
                    residual,
                };
                let [height, width] = layer.size();
                let to = output(context, 0, &[layer.frames(), height, width, bias.len()])?;
                // SAFETY: the output has this size.
                unsafe { layer.run(*target, resources, stopped, to) }.map_err(no_memory)
            }
            ClipOperator::Interpolated(operator) => {
                let layer = Interpolated {
                    method: operator.method().expect("a convolution"),
                    clip: clip(context, 2)?,
                    doubled: self.prologue == Prologue::Doubled,
                    table: list(3)?,
                    weights: list(0)?,
                    bias: list(1)?,
                };
                let [height, width] = layer.size();
                let to = output(context, 0, &[layer.frames(), height, width, layer.channels()])?;
                // SAFETY: the output has this size.
                unsafe { layer.run(*target, resources, stopped, to) }.map_err(no_memory)
            }
            ClipOperator::Interpolation | ClipOperator::Halved => {
                let clip = clip(context, 0)?;
                let sums = match self.operator {
                    ClipOperator::Halved => FrameSums::Halved,
                    _ => FrameSums::Interpolated(list(1)?),
                };
                let [height, width] = clip.size;
                let to = output(context, 0, &[sums.frames(clip.frames), height, width, clip.channels])?;
                // SAFETY: the output has this size.
                unsafe { sums.run(clip, *target, workers, stopped, to) };
                Ok(())
            }
        }
    }
}

fn clip(context: &ComputeContext, i: usize) -> ort::Result<Clip<'_>> {
    let (shape, values) = values::<f32>(context, i)?;
    let [frames, height, width, channels] = shape[..] else { return Err(unexpected(&shape)) };
    Ok(Clip { values, frames, size: [height, width], channels })
}
