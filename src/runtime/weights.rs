//! A graph's weights, read from the checkpoint: external data for the runtime or a file, and packed ones for our operators.

use super::tensor::Tensor;
use crate::error::{Error, Result, fail};
use crate::graph::{Element, PackedWeight, Source, StepGraph};
use crate::kernels::{NoMemory, Target};
use crate::memory;
use crate::model::Checkpoint;
use std::io::Read;

/// The step's external data in one buffer, aligned for float32.
pub(super) fn external_data(step: &StepGraph, checkpoint: &Checkpoint) -> Result<Vec<f32>> {
    let mut buffer: Vec<f32> = memory::zeros(step.external_bytes.div_ceil(size_of::<f32>()), "weights")?;
    for (range, fill) in weight_reads(step, checkpoint) {
        fill(&mut bytes_of(&mut buffer)[range])?;
    }
    Ok(buffer)
}

fn bytes_of(floats: &mut [f32]) -> &mut [u8] {
    // SAFETY: floats are bytes, and any bytes are floats.
    unsafe { std::slice::from_raw_parts_mut(floats.as_mut_ptr().cast(), size_of_val(floats)) }
}

/// A weight of one of our convolutions, as the kernels pack it.
pub(super) fn pack(weight: &PackedWeight, checkpoint: &Checkpoint, threads: usize) -> Result<Tensor> {
    let PackedWeight { key, convolution, taps_apart } = weight;
    let target = Target::current();
    let mut packed = Tensor::together(&[(vec![target.packed_len(*convolution)], Element::F32)])?.remove(0);
    let read_rows = |rows: std::ops::Range<usize>, out: &mut [f32]| match taps_apart {
        true => checkpoint.read_rows_of_taps(key, rows, out),
        false => checkpoint.read_rows(key, rows, out),
    };
    match target.pack(*convolution, &read_rows, threads, packed.data_mut()) {
        Ok(()) => Ok(packed),
        Err(NoMemory) => fail!(OutOfMemory, "{key}: no memory to pack the weights"),
    }
}

/// Writes a step's external data, tensor by tensor; `io` is the error of a failure to write.
pub(crate) fn write_weights(
    step: &StepGraph,
    checkpoint: &Checkpoint,
    out: &mut impl std::io::Write,
    io: impl Fn(std::io::Error) -> Error,
) -> Result<()> {
    let mut position = 0;
    for (range, fill) in weight_reads(step, checkpoint) {
        let gap = (range.start - position) as u64;
        std::io::copy(&mut std::io::repeat(0).take(gap), out).map_err(&io)?;
        let mut values: Vec<f32> = memory::zeros(range.len().div_ceil(size_of::<f32>()), "weights")?;
        let values = &mut bytes_of(&mut values)[..range.len()];
        fill(values)?;
        out.write_all(values).map_err(&io)?;
        position = range.end;
    }
    Ok(())
}

/// For each initializer, in order: its range of the external data, and a function that reads it to these bytes. Bytes of
/// float32 are aligned for it.
fn weight_reads<'a>(
    step: &'a StepGraph,
    checkpoint: &'a Checkpoint,
) -> impl Iterator<Item = (std::ops::Range<usize>, impl Fn(&mut [u8]) -> Result<()>)> {
    step.initializers.iter().map(move |initializer| {
        let size = initializer.element.bytes();
        let range = initializer.offset..initializer.offset + initializer.elements * size;
        let read = move |out: &mut [f32]| -> Result<()> {
            match &initializer.source {
                Source::Tensor(key) => checkpoint.read(key, out),
                Source::Tap(key, tap) => checkpoint.read_tap(key, *tap, out),
                Source::Phase(key, phase) => checkpoint.read_phase(key, *phase, out)?,
                Source::Stacked(key) => checkpoint.read_stacked(key, out),
                Source::TapsApart(key) => checkpoint.read_taps_apart(key, out),
            }
            Ok(())
        };
        let fill = move |out: &mut [u8]| {
            // SAFETY: any bytes are valid floats.
            if let (Element::F32, ([], floats, [])) = (initializer.element, unsafe { out.align_to_mut::<f32>() }) {
                return read(floats);
            }
            let mut values = memory::zeros(initializer.elements, "weights")?;
            read(&mut values)?;
            for (value, out) in values.into_iter().zip(out.chunks_exact_mut(size)) {
                match initializer.element {
                    Element::F32 => out.copy_from_slice(&value.to_ne_bytes()),
                    Element::F16 => out.copy_from_slice(&half::f16::from_f32(value).to_ne_bytes()),
                    Element::Bf16 => out.copy_from_slice(&half::bf16::from_f32(value).to_ne_bytes()),
                    Element::U8 | Element::I64 => unreachable!("weights are floats"),
                }
            }
            Ok(())
        };
        (range, fill)
    })
}
