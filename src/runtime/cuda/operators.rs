//! Our kernels as operators of ONNX Runtime's CUDA provider, on its stream.

use super::kernels::{Argument, Forms, Kernels};
use super::memory;
use crate::graph::{DeviceKind, DeviceOperator, Element, OPERATOR_DOMAIN};
use ort::AsPointer;
use ort::memory::MemoryType;
use ort::operator::{ComputeContext, Kernel, KernelContext, OperatorDomain, OperatorInput, OperatorOutput};
use ort::value::TensorElementType;
use std::ffi::c_void;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What graphs with our operators on a device need.
pub(crate) fn domain(kernels: &Arc<Kernels>) -> ort::Result<OperatorDomain> {
    let domain = OperatorDomain::new(OPERATOR_DOMAIN)?;
    DeviceOperator::all(kernels.compute()).into_iter().try_fold(domain, |domain, operator| {
        domain.add(Ours { operator, name: operator.name(), kernels: kernels.clone() })
    })
}

struct Ours {
    operator: DeviceOperator,
    name: String,
    kernels: Arc<Kernels>,
}

/// One node. It never changes, as the runtime calls it from several threads at once; `ort` makes that a `&mut`.
struct Node {
    kind: DeviceKind,
    name: String,
    kernels: Arc<Kernels>,
    forms: Forms,
    silu: bool,
}

impl ort::operator::Operator for Ours {
    type Kernel<'attr> = Node;

    fn name(&self) -> &str {
        &self.name
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some("CUDAExecutionProvider")
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        inputs(self.operator)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        outputs(self.operator)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<Node> {
        Ok(Node {
            kind: self.operator.kind,
            name: self.name.clone(),
            kernels: self.kernels.clone(),
            forms: Forms::of(&self.kernels, self.operator),
            silu: context.get::<i64>("silu") == Some(1),
        })
    }
}

/// `DeviceKind` documents them.
pub(crate) fn inputs(operator: DeviceOperator) -> Vec<OperatorInput> {
    let DeviceOperator { kind, first, compute } = operator;
    let [first, compute] = [first, compute].map(type_of);
    let float = TensorElementType::Float32;
    let required = |types: &[TensorElementType]| types.iter().copied().map(OperatorInput::required).collect();
    let mut inputs: Vec<OperatorInput> = match kind {
        DeviceKind::Norm => required(&[first, float, float]),
        DeviceKind::Add | DeviceKind::AddNarrow => required(&[first, compute]),
        DeviceKind::AddNorm => required(&[first, compute, float, float]),
        // The weights are arguments of the kernel.
        DeviceKind::Blend => vec![OperatorInput::required(float).memory_type(MemoryType::CPUInput)],
        DeviceKind::Stack => required(&[first; 3]),
        DeviceKind::Weave => required(&[first; 4]),
        DeviceKind::Doubled => required(&[first]),
    };
    match kind {
        DeviceKind::Norm | DeviceKind::Add | DeviceKind::AddNarrow | DeviceKind::AddNorm | DeviceKind::Weave => {
            inputs.push(OperatorInput::optional(float));
        }
        DeviceKind::Blend => inputs.extend([first; 3].map(OperatorInput::required)),
        DeviceKind::Stack | DeviceKind::Doubled => {}
    }
    inputs
}

pub(crate) fn outputs(operator: DeviceOperator) -> Vec<OperatorOutput> {
    let compute = type_of(operator.compute);
    let float = TensorElementType::Float32;
    let result = match operator.kind {
        DeviceKind::Norm | DeviceKind::AddNarrow | DeviceKind::AddNorm | DeviceKind::Doubled => compute,
        DeviceKind::Stack | DeviceKind::Weave => type_of(operator.first),
        DeviceKind::Add | DeviceKind::Blend => float,
    };
    let mut outputs = vec![OperatorOutput::required(result)];
    if operator.kind == DeviceKind::AddNorm {
        outputs.push(OperatorOutput::optional(float));
    }
    outputs
}

fn type_of(element: Element) -> TensorElementType {
    match element {
        Element::F16 => TensorElementType::Float16,
        _ => TensorElementType::Float32,
    }
}

impl Kernel for Node {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        // The runtime's frames cannot unwind.
        std::panic::catch_unwind(AssertUnwindSafe(|| self.run(context)))
            .unwrap_or_else(|_| Err("a bug in libwfvae".into()))
            .map_err(|e| ort::Error::new(format!("{}: {e}", self.name)))
    }
}

impl Node {
    fn run(&self, context: &ComputeContext) -> Result<(), String> {
        let count = context.num_inputs().map_err(text)?;
        let inputs = (0..count).map(|i| input(context, i)).collect::<Result<Vec<Input>, String>>()?;
        let address = |i: usize| inputs.get(i).map_or(std::ptr::null_mut(), |input| input.address);
        let first = usize::from(self.kind == DeviceKind::Blend);
        let Some(Input { shape, .. }) = inputs.get(first) else { return Err("an input is missing".into()) };
        let [1, height, width, channels] = shape[..] else {
            return Err(format!("found a frame {shape:?}, expected [1, H, W, C]"));
        };
        // All are frames of this shape, or one value for each channel.
        let fits = |input: &Input| input.shape == *shape || input.shape == [channels];
        if let Some(other) = inputs[first..].iter().find(|input| !fits(input)) {
            return Err(format!("found {:?} beside a frame {shape:?}", other.shape));
        }
        let output =
            |i: usize, height: i64, width: i64, channels: i64| output(context, i, [1, height, width, channels]);
        let same = |i: usize| output(i, height, width, channels);
        let channels_in = channels as usize;
        let pixels = (height * width) as usize;
        let results: Vec<*mut c_void> = match self.kind {
            DeviceKind::Norm | DeviceKind::Add | DeviceKind::AddNarrow => vec![same(0)?],
            DeviceKind::AddNorm => (0..context.num_outputs().map_err(text)?).map(same).collect::<Result<_, _>>()?,
            DeviceKind::Blend => vec![output(0, height, width, channels / 3)?],
            DeviceKind::Stack => vec![output(0, height, width, 3 * channels)?],
            DeviceKind::Weave | DeviceKind::Doubled => vec![output(0, 2 * height, 2 * width, channels)?],
        };
        if pixels == 0 || channels_in == 0 {
            return Ok(());
        }
        // The weights of a blend are no pack's.
        let addresses: Vec<*mut c_void> =
            inputs[first..].iter().map(|input| input.address).chain(results.clone()).collect();
        let channels = if self.kind == DeviceKind::Blend { channels_in / 3 } else { channels_in };
        let choice = self.forms.choose(channels, &addresses);
        let packs = pixels * channels / choice.pack;
        if packs > u32::MAX as usize {
            return Err(format!("a frame {shape:?} is too large"));
        }
        let null = std::ptr::null_mut();
        let result = results[0];
        // As the text of the kernels has them.
        let pointers = match self.kind {
            // x, y, bias, scale, shift, sum, out
            DeviceKind::Norm => vec![address(0), null, address(3), address(1), address(2), null, result],
            DeviceKind::AddNorm => {
                let sum = results.get(1).copied().unwrap_or(null);
                vec![address(0), address(1), address(4), address(2), address(3), sum, result]
            }
            DeviceKind::Add | DeviceKind::AddNarrow => vec![address(0), address(1), address(2), result],
            DeviceKind::Blend => vec![address(1), address(2), address(3), result],
            DeviceKind::Stack => vec![address(0), address(1), address(2), result],
            DeviceKind::Weave => vec![address(0), address(1), address(2), address(3), address(4), result],
            DeviceKind::Doubled => vec![address(0), result],
        };
        let mut arguments: Vec<Argument> = pointers.into_iter().map(Argument::Address).collect();
        let number = |n: usize| Argument::Number(n as i32);
        let [height, width] = [height, width].map(|n| n as usize);
        let (count, channels) = (Argument::Count(packs as i64), number(channels));
        let mut work = [packs, 1];
        match self.kind {
            DeviceKind::Norm | DeviceKind::AddNorm => {
                let lanes = number(choice.lanes.ilog2() as usize);
                arguments.extend([Argument::Count(pixels as i64), channels, lanes, number(self.silu.into())]);
                work = [pixels * choice.lanes, 1];
            }
            DeviceKind::Add | DeviceKind::AddNarrow | DeviceKind::Stack => arguments.extend([count, channels]),
            DeviceKind::Blend => {
                arguments.insert(3, Argument::Weights(weights(&inputs[0])?));
                arguments.extend([count, channels]);
            }
            DeviceKind::Weave => arguments.extend([count, number(width), channels]),
            DeviceKind::Doubled => {
                arguments.extend([number(height), number(width), channels]);
                // A row of the result has twice the packs of one of the frame.
                work = [2 * packs / height, 2 * height];
            }
        }
        let stream = context.stream().map_err(text)?.map_or(std::ptr::null_mut(), |stream| stream.as_ptr());
        // SAFETY: these are the kernel's arguments, and the provider's tensors are on its device.
        unsafe { self.kernels.start(choice.function, work, stream, arguments) }
    }
}

struct Input {
    address: *mut c_void,
    shape: Vec<i64>,
}

fn text(e: ort::Error) -> String {
    e.to_string()
}

/// # Safety
/// A function of the runtime gave the status, and nobody else has it.
unsafe fn asked(status: ort::sys::OrtStatusPtr) -> Result<(), String> {
    // SAFETY: as this function asks of its caller.
    unsafe { ort::Error::result_from_status(status) }.map_err(text)
}

/// A tensor, wherever it is. ort's accessors refuse what is not the CPU's, and ask for more than is needed here.
fn input(context: &ComputeContext, i: usize) -> Result<Input, String> {
    let (mut value, mut info, mut axes) = (std::ptr::null(), std::ptr::null_mut(), 0);
    // SAFETY: the context is of this call, the value is its tensor, and the information is freed.
    unsafe {
        asked((ort::api().KernelContext_GetInput)(context.ptr(), i, &mut value))?;
        if value.is_null() {
            return Err(format!("input {i} is missing"));
        }
        asked((ort::api().GetTensorTypeAndShape)(value, &mut info))?;
        let mut found = asked((ort::api().GetDimensionsCount)(info, &mut axes));
        let mut shape = vec![0; axes];
        if found.is_ok() {
            found = asked((ort::api().GetDimensions)(info, shape.as_mut_ptr(), axes));
        }
        (ort::api().ReleaseTensorTypeAndShapeInfo)(info);
        found?;
        Ok(Input { address: address(value.cast_mut())?, shape })
    }
}

fn output(context: &ComputeContext, i: usize, shape: [i64; 4]) -> Result<*mut c_void, String> {
    let mut value = std::ptr::null_mut();
    // SAFETY: as above.
    let status = unsafe {
        let (dims, axes) = (shape.as_ptr(), shape.len());
        (ort::api().KernelContext_GetOutput)(context.ptr().cast_mut(), i, dims, axes, &mut value)
    };
    // SAFETY: the runtime's status, and its tensor, which lives during the call.
    unsafe {
        asked(status)?;
        if value.is_null() {
            return Err(format!("output {i} is missing"));
        }
        address(value)
    }
}

/// Of a tensor's first element.
///
/// # Safety
/// The tensor lives.
unsafe fn address(value: *mut ort::sys::OrtValue) -> Result<*mut c_void, String> {
    // SAFETY: as this function asks of its caller.
    unsafe { memory::address(value) }.map_err(text)
}

/// Of a blend.
fn weights(input: &Input) -> Result<[f32; 9], String> {
    if input.shape != [9] {
        return Err(format!("found weights {:?}, expected nine", input.shape));
    }
    // SAFETY: a tensor of nine floats in the CPU's memory.
    Ok(unsafe { *input.address.cast::<[f32; 9]>() })
}
