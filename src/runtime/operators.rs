//! Our kernels as operators of ONNX Runtime, on its threads. Their inputs and outputs are its memory.

use super::operator_parts::{Parts, guard, no_memory, workers};
use super::{clip_operators, haar_operators, matrix_operators};
use crate::error::Result;
use crate::graph::{ClipOperator, HaarOperator, MatrixOperator, OPERATOR_DOMAIN, Operator};
use crate::kernels::{Blend, Input, LayerNorm, NoMemory, Norm, Resources, ScratchPool, Target};
use crate::logger::Logger;
use crate::model::NORM_EPSILON;
use ort::operator::{ComputeContext, Kernel, KernelContext, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;
use std::sync::Arc;

/// What graphs with our operators need. Each session has its own, with so many threads, and shares `scratch` with others.
pub(super) fn domain(threads: usize, scratch: Arc<ScratchPool>) -> ort::Result<OperatorDomain> {
    let domain = OperatorDomain::new(OPERATOR_DOMAIN)?;
    let parts = Parts { target: Target::current(), threads, scratch };
    let domain = MatrixOperator::all()
        .into_iter()
        .try_fold(domain, |domain, operator| domain.add(matrix_operators::Ours::new(operator, parts.clone())))?;
    let domain = HaarOperator::ALL
        .into_iter()
        .try_fold(domain, |domain, operator| domain.add(haar_operators::Ours::new(operator, parts.clone())))?;
    let domain = ClipOperator::all()
        .try_fold(domain, |domain, operator| domain.add(clip_operators::Ours::new(operator, parts.clone())))?;
    Operator::ALL.into_iter().try_fold(domain, |domain, operator| match operator {
        Operator::Winograd2 => domain.add(Ours::<{ Operator::Winograd2 as u8 }>(parts.clone())),
        Operator::Winograd2Doubled => domain.add(Ours::<{ Operator::Winograd2Doubled as u8 }>(parts.clone())),
        Operator::Winograd4 => domain.add(Ours::<{ Operator::Winograd4 as u8 }>(parts.clone())),
        Operator::Winograd4Doubled => domain.add(Ours::<{ Operator::Winograd4Doubled as u8 }>(parts.clone())),
        Operator::Strided => domain.add(Ours::<{ Operator::Strided as u8 }>(parts.clone())),
        Operator::Pointwise => domain.add(Ours::<{ Operator::Pointwise as u8 }>(parts.clone())),
        Operator::Norm => domain.add(Ours::<{ Operator::Norm as u8 }>(parts.clone())),
        Operator::NormSilu => domain.add(Ours::<{ Operator::NormSilu as u8 }>(parts.clone())),
        Operator::Blend => domain.add(Ours::<{ Operator::Blend as u8 }>(parts.clone())),
    })
}

/// Chooses what kernels compute with. This is done while ONNX Runtime is loaded, so that no fork can come in between.
pub(super) fn prepare(logger: &Logger) -> Result<()> {
    if let Some(reason) = Target::choose()?.refusal() {
        logger.log(log::Level::Debug, format_args!("float32 is computed with vectors: {reason}"));
    }
    Ok(())
}

/// One operator. It is its own kernel and never changes, as the runtime calls a kernel from several threads at once; `ort`
/// makes that a `&mut`.
#[derive(Clone)]
struct Ours<const OPERATOR: u8>(Parts);

impl<const OPERATOR: u8> Ours<OPERATOR> {
    const WHICH: Operator = Operator::ALL[OPERATOR as usize];
}

impl<const OPERATOR: u8> ort::operator::Operator for Ours<OPERATOR> {
    type Kernel<'attr> = Self;

    fn name(&self) -> &str {
        Self::WHICH.name()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let (required, optional) = (OperatorInput::required, OperatorInput::optional);
        // `Operator` documents them.
        [Float32; 3].map(required).into_iter().chain([Float32; 3].map(optional))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(Float32)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<Self> {
        Ok(self.clone())
    }
}

impl<const OPERATOR: u8> Kernel for Ours<OPERATOR> {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guard(Self::WHICH.name(), || run(Self::WHICH, &self.0, context))
    }
}

fn run(operator: Operator, parts: &Parts, context: &ComputeContext) -> ort::Result<()> {
    let inputs = (0..6).map(|i| context.input(i)).collect::<ort::Result<Vec<_>>>()?;
    let tensors = inputs.iter().flatten().map(|value| value.try_extract_tensor::<f32>());
    let tensors = tensors.collect::<ort::Result<Vec<_>>>()?;
    let missing = || ort::Error::new("an input is missing");
    // Their number tells which of them are given; see `Operator`.
    let [(_, weights), rest @ ..] = &tensors[..] else { return Err(missing()) };
    let (bias, rest) = match (operator, rest) {
        (Operator::Blend, _) => (&[][..], rest),
        (_, [(_, bias), rest @ ..]) => (*bias, rest),
        _ => return Err(missing()),
    };
    let (frames, residual) = match rest {
        [frames @ .., (_, residual)] if frames.len() % 2 == 1 => (frames, Some(*residual)),
        _ => (rest, None),
    };
    let Some((shape, now)) = frames.first() else { return Err(missing()) };
    let frames: Vec<&[f32]> = frames.iter().rev().map(|(_, data)| *data).collect();
    let [1, height, width, c_in] = shape[..] else {
        return Err(ort::Error::new(format!("found a frame {shape:?}, expected [1, H, W, C]")));
    };
    let input = Input {
        frames: &frames,
        height: height as usize,
        width: width as usize,
        c_in: c_in as usize,
        weights,
        bias,
        residual,
    };
    let (size, workers) = ([input.height, input.width], &workers(context));
    if let Some(method) = operator.method() {
        let resources = Resources { threads: parts.threads, workers, scratch: &parts.scratch };
        // SAFETY: the output has the convolution's size.
        return with_output(context, method.output_size(size), bias.len(), |output| unsafe {
            parts.target.convolve(method, input, resources, output)
        });
    }
    if operator == Operator::Blend {
        let channels = input.c_in * frames.len() / weights.len().max(1);
        assert_eq!(channels * weights.len(), input.c_in * frames.len(), "a part for each weight");
        let blend = Blend { frames: input.frames, weights, channels };
        // SAFETY: the output has a part's channels.
        return with_output(context, size, channels, |output| unsafe {
            parts.target.blend(blend, workers, output);
            Ok(())
        });
    }
    let silu = operator == Operator::NormSilu;
    assert_eq!(bias.len(), input.c_in, "a bias for each channel");
    let norm = LayerNorm { pixels: now, norm: Norm { scale: weights, bias, epsilon: NORM_EPSILON, silu } };
    // SAFETY: the output has the size of the input.
    with_output(context, size, bias.len(), |output| unsafe {
        parts.target.normalize(norm, workers, output);
        Ok(())
    })
}

/// Gives `run` the output `[1, height, width, channels]`.
fn with_output(
    context: &ComputeContext,
    [height, width]: [usize; 2],
    channels: usize,
    run: impl FnOnce(*mut f32) -> std::result::Result<(), NoMemory>,
) -> ort::Result<()> {
    let [height, width, channels] = [height, width, channels].map(|n| n as i64);
    let output = context.output(0, [1, height, width, channels])?;
    let mut output = output.ok_or_else(|| ort::Error::new("no output"))?;
    let output = output.try_extract_tensor_mut::<f32>()?.1.as_mut_ptr();
    run(output).map_err(no_memory)
}
