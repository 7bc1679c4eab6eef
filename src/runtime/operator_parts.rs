//! What our operators on the CPU have in common.

use crate::kernels::{Bordered, NoMemory, ScratchPool, Target};
use ort::operator::ComputeContext;
use ort::value::PrimitiveTensorElementType;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// What the operators of one session work with.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) target: Target,
    pub(super) threads: usize,
    pub(super) scratch: Arc<ScratchPool>,
}

pub(super) fn no_memory(NoMemory: NoMemory) -> ort::Error {
    ort::Error::new("out of memory for a convolution or attention")
}

/// The session's threads.
pub(super) fn workers<'a>(context: &'a ComputeContext) -> impl Fn(usize, &(dyn Fn(usize) + Sync + Send)) + 'a {
    // As many batches as jobs, so that a thread takes its next job when it has finished the last one.
    move |jobs, job| context.par_for(jobs, jobs, job).expect("the runtime has threads")
}

/// Runs a kernel. A panic is an error, as the runtime's frames cannot unwind; errors name the operator.
pub(super) fn guard(name: &str, run: impl FnOnce() -> ort::Result<()>) -> ort::Result<()> {
    std::panic::catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(ort::Error::new("a bug in libwfvae")))
        .map_err(|e| ort::Error::new(format!("{name}: {e}")))
}

/// The shape of a bordered frame.
pub(super) fn bordered(size: [usize; 2], channels: usize) -> [usize; 4] {
    let [rows, pitch, stored] = Bordered::new(size, channels).shape();
    [1, rows, pitch, stored]
}

pub(super) fn unexpected(shape: &[usize]) -> ort::Error {
    ort::Error::new(format!("found a frame {shape:?}, expected another shape"))
}

/// Shape and values of a frame or a list. A shape of four axes has a first one of length 1.
pub(super) fn input<T: PrimitiveTensorElementType>(
    context: &ComputeContext,
    i: usize,
) -> ort::Result<(Vec<usize>, &[T])> {
    let (shape, values) = values(context, i)?;
    match shape.len() {
        4 if shape[0] != 1 => Err(unexpected(&shape)),
        _ => Ok((shape, values)),
    }
}

/// Shape and values.
pub(super) fn values<T: PrimitiveTensorElementType>(
    context: &ComputeContext,
    i: usize,
) -> ort::Result<(Vec<usize>, &[T])> {
    let value = context.input(i)?.ok_or_else(|| ort::Error::new(format!("input {i} is missing")))?;
    let (shape, values) = value.try_extract_tensor::<T>()?;
    let shape: Vec<usize> = shape.iter().map(|n| *n as usize).collect();
    // SAFETY: the values are the runtime's, and stay until the call returns.
    Ok((shape, unsafe { std::slice::from_raw_parts(values.as_ptr(), values.len()) }))
}

pub(super) fn output<T: PrimitiveTensorElementType>(
    context: &ComputeContext,
    i: usize,
    shape: &[usize; 4],
) -> ort::Result<*mut T> {
    let output = context.output(i, shape.map(|n| n as i64))?;
    let mut output = output.ok_or_else(|| ort::Error::new(format!("output {i} is missing")))?;
    Ok(output.try_extract_tensor_mut::<T>()?.1.as_mut_ptr())
}
