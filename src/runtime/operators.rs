//! Our convolutions and norms as operators of ONNX Runtime, which lends them its threads and memory.

use crate::graph::{OPERATOR_DOMAIN, Operator};
use crate::kernels::{
    Blend, Input, LayerNorm, NoMemory, Pointwise, Sampling, ScratchPool, Strided, Tile2, Tile4, Winograd,
};
use ort::operator::{ComputeContext, Kernel, KernelContext, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::TensorElementType::Float32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What graphs with our operators need; each session owns one, has so many threads, and shares `scratch` with others.
pub(super) fn domain(threads: usize, scratch: Arc<ScratchPool>) -> ort::Result<OperatorDomain> {
    let domain = OperatorDomain::new(OPERATOR_DOMAIN)?;
    let place = Workplace { threads, scratch };
    Operator::ALL.into_iter().try_fold(domain, |domain, operator| match operator {
        Operator::Winograd2 => domain.add(Ours::<{ Operator::Winograd2 as u8 }>(place.clone())),
        Operator::Winograd2Doubled => domain.add(Ours::<{ Operator::Winograd2Doubled as u8 }>(place.clone())),
        Operator::Winograd4 => domain.add(Ours::<{ Operator::Winograd4 as u8 }>(place.clone())),
        Operator::Winograd4Doubled => domain.add(Ours::<{ Operator::Winograd4Doubled as u8 }>(place.clone())),
        Operator::Strided => domain.add(Ours::<{ Operator::Strided as u8 }>(place.clone())),
        Operator::Pointwise => domain.add(Ours::<{ Operator::Pointwise as u8 }>(place.clone())),
        Operator::Norm => domain.add(Ours::<{ Operator::Norm as u8 }>(place.clone())),
        Operator::NormSilu => domain.add(Ours::<{ Operator::NormSilu as u8 }>(place.clone())),
        Operator::Blend => domain.add(Ours::<{ Operator::Blend as u8 }>(place.clone())),
    })
}

/// What the operators look up once, so that no fork can come in between.
pub(super) fn prepare() {
    crate::kernels::lanes();
}

/// One operator. It is its own kernel and never changes: the runtime calls one kernel from several threads at once, with
/// what `ort` makes a `&mut`.
#[derive(Clone)]
struct Ours<const OPERATOR: u8>(Workplace);

/// What the operators of one session work with.
#[derive(Clone)]
struct Workplace {
    threads: usize,
    scratch: Arc<ScratchPool>,
}

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
        // `Operator` says what they are.
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
        // The runtime's frames cannot unwind.
        std::panic::catch_unwind(AssertUnwindSafe(|| run(Self::WHICH, &self.0, context)))
            .unwrap_or_else(|_| Err(ort::Error::new(format!("{}: a bug in libwfvae", Self::WHICH.name()))))
    }
}

fn run(operator: Operator, place: &Workplace, context: &ComputeContext) -> ort::Result<()> {
    let inputs = (0..6).map(|i| context.input(i)).collect::<ort::Result<Vec<_>>>()?;
    let tensors = inputs.iter().flatten().map(|value| value.try_extract_tensor::<f32>());
    let tensors = tensors.collect::<ort::Result<Vec<_>>>()?;
    let missing = || ort::Error::new(format!("{}: an input is missing", operator.name()));
    // Which ones are there follows from their number, as `Operator` says.
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
        return Err(ort::Error::new(format!("{}: found a frame {shape:?}, expected [1, H, W, C]", operator.name())));
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
    match operator {
        Operator::Winograd2 => {
            winograd(context, place, &Winograd::<Tile2, 4, 2>::new(input, Sampling::Same, place.threads))
        }
        Operator::Winograd2Doubled => {
            winograd(context, place, &Winograd::<Tile2, 4, 2>::new(input, Sampling::Doubled, place.threads))
        }
        Operator::Winograd4 => {
            winograd(context, place, &Winograd::<Tile4, 6, 4>::new(input, Sampling::Same, place.threads))
        }
        Operator::Winograd4Doubled => {
            winograd(context, place, &Winograd::<Tile4, 6, 4>::new(input, Sampling::Doubled, place.threads))
        }
        Operator::Norm | Operator::NormSilu => {
            let norm = LayerNorm { pixels: now, scale: weights, bias, silu: operator == Operator::NormSilu };
            // SAFETY: the output has the size of the input.
            with_output(context, [input.height, input.width, bias.len()], |output| unsafe {
                norm.run(output, &workers(context));
                Ok(())
            })
        }
        Operator::Blend => {
            let blend =
                Blend { frames: input.frames, weights, channels: input.c_in * frames.len() / weights.len().max(1) };
            assert_eq!(blend.channels * weights.len(), input.c_in * frames.len(), "a part for each weight");
            // SAFETY: the output has a third of the frames' channels.
            with_output(context, [input.height, input.width, blend.channels], |output| unsafe {
                blend.run(output, &workers(context));
                Ok(())
            })
        }
        Operator::Strided => {
            let conv = Strided::new(input);
            let [height, width] = conv.output_size();
            // SAFETY: the output has the size that the convolution asks for.
            with_output(context, [height, width, bias.len()], |output| unsafe {
                conv.run(output, &workers(context));
                Ok(())
            })
        }
        Operator::Pointwise => {
            let conv = Pointwise::new(input);
            let size = [input.height, input.width, bias.len()];
            // SAFETY: as above.
            with_output(context, size, |output| unsafe {
                conv.run(output, &workers(context));
                Ok(())
            })
        }
    }
}

fn winograd<T: crate::kernels::Tile<IN, OUT>, const IN: usize, const OUT: usize>(
    context: &ComputeContext,
    place: &Workplace,
    conv: &Winograd<'_, T, IN, OUT>,
) -> ort::Result<()> {
    let [height, width] = conv.output_size();
    with_output(context, [height, width, conv.output_len() / (height * width).max(1)], |output| {
        // Scratch is not from the runtime's arena, which such blocks of ever other sizes would cut to pieces.
        // SAFETY: the output has the size that the convolution asks for.
        unsafe { conv.run(output, &place.scratch, &workers(context)) }
    })
}

/// Gives `run` the output `[1, height, width, channels]`.
fn with_output(
    context: &ComputeContext,
    size: [usize; 3],
    run: impl FnOnce(*mut f32) -> Result<(), NoMemory>,
) -> ort::Result<()> {
    let [height, width, channels] = size.map(|n| n as i64);
    let output = context.output(0, [1, height, width, channels])?;
    let mut output = output.ok_or_else(|| ort::Error::new("no output"))?;
    let output = output.try_extract_tensor_mut::<f32>()?.1.as_mut_ptr();
    run(output).map_err(|NoMemory| ort::Error::new("out of memory for a convolution"))
}

/// The session's threads.
fn workers<'a>(context: &'a ComputeContext) -> impl Fn(usize, &(dyn Fn(usize) + Sync + Send)) + 'a {
    // As many batches as jobs: a thread takes the next one when it has done its last.
    move |jobs, job| context.par_for(jobs, jobs, job).expect("the runtime has threads")
}
