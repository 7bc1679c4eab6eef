//! Our kernels on a CUDA device: compiled once in a process for each device and precision, and started on any stream.

use super::compiler::{Compiler, Text};
use super::module::{Context, Function};
use super::probe;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{DeviceKind, DeviceOperator, Element};
use crate::process::Loading;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::ffi::c_void;
use std::path::Path;
use std::sync::Arc;

const TEXT: Text = Text { name: "kernels.cu", text: include_str!("kernels.cu") };
const WARP: usize = 32;
/// Bytes that a thread reads or writes at once, at most.
const PACK_BYTES: usize = 16;

static COMPILED: Mutex<Vec<Arc<Kernels>>> = Mutex::new(Vec::new());

/// The kernels of a device for graphs that compute in one type.
pub(crate) struct Kernels {
    device: u32,
    compute: Element,
    context: Context,
    functions: HashMap<String, Function>,
}

/// An argument of a kernel.
pub(super) enum Argument {
    Address(*mut c_void),
    Count(i64),
    Number(i32),
    Weights([f32; 9]),
}

impl Kernels {
    /// Compiles them if that is still to do. `runtime` is the path of an ONNX Runtime whose device was checked.
    pub(crate) fn get(runtime: &Path, device: u32, compute: Element) -> Result<Arc<Self>> {
        let _loading = Loading::begin()?;
        let mut compiled = COMPILED.lock();
        if let Some(kernels) = compiled.iter().find(|kernels| (kernels.device, kernels.compute) == (device, compute)) {
            return Ok(kernels.clone());
        }
        let kernels = Self::compile(runtime, device, compute).map_err(|e| Error::new(ErrorKind::Provider, e))?;
        let kernels = Arc::new(kernels);
        compiled.push(kernels.clone());
        Ok(kernels)
    }

    fn compile(runtime: &Path, device: u32, compute: Element) -> Result<Self, String> {
        let names: Vec<String> = DeviceOperator::all(compute).into_iter().flat_map(Forms::names).collect();
        let defined = format!("-DOF_{}", format!("{compute:?}").to_uppercase());
        let (context, functions) = build(runtime, device, &TEXT, &defined, &names)?;
        Ok(Kernels { device, compute, context, functions: names.into_iter().zip(functions).collect() })
    }

    pub(super) fn compute(&self) -> Element {
        self.compute
    }

    /// Starts a kernel. `work` is the number of threads that have something to do, in each of two directions.
    ///
    /// # Safety
    /// The arguments must be the function's, with addresses of this device.
    pub(super) unsafe fn start(
        &self,
        function: Function,
        work: [usize; 2],
        stream: *mut c_void,
        mut arguments: Vec<Argument>,
    ) -> Result<(), String> {
        let mut addresses: Vec<*mut c_void> = arguments
            .iter_mut()
            .map(|argument| match argument {
                Argument::Address(address) => (address as *mut *mut c_void).cast(),
                Argument::Count(count) => (count as *mut i64).cast(),
                Argument::Number(number) => (number as *mut i32).cast(),
                Argument::Weights(weights) => (weights as *mut [f32; 9]).cast(),
            })
            .collect();
        // SAFETY: the driver copies the arguments before it returns.
        unsafe { self.context.launch(function, work, stream, &mut addresses) }
    }
}

/// Compiles a text for a device, loads it there and finds kernels in it.
pub(super) fn build(
    runtime: &Path,
    device: u32,
    text: &Text,
    option: &str,
    names: &[String],
) -> Result<(Context, Vec<Function>), String> {
    let (libraries, folders) = probe::compilers(runtime);
    let compiler = Compiler::open(&libraries, &folders)?;
    let context = Context::open(device)?;
    let code = compiler.compile(text, option, context.capability)?;
    // SAFETY: it is whole, as the compiler gave it.
    let functions = unsafe { context.load(&code, names)? };
    Ok((context, functions))
}

/// The kernels of an operator.
pub(super) struct Forms {
    /// One channel at a time.
    any: Function,
    /// Packs of channels.
    many: Function,
    /// Of norms: with so many turns of packs, which stay in registers.
    turns: Option<[Function; 3]>,
    /// Channels of a pack.
    pack: usize,
}

/// A kernel for frames of some number of channels.
pub(super) struct Choice {
    pub(super) function: Function,
    /// Channels that a thread takes at once.
    pub(super) pack: usize,
    /// Lanes of a warp that work on one pixel of a norm.
    pub(super) lanes: usize,
}

const TURNS: [usize; 3] = [1, 2, 4];

impl Forms {
    fn suffixes(kind: DeviceKind) -> Vec<String> {
        let turns = if matches!(kind, DeviceKind::Norm | DeviceKind::AddNorm) { &TURNS[..] } else { &[] };
        ["any", "many"].map(String::from).into_iter().chain(turns.iter().map(usize::to_string)).collect()
    }

    fn names(operator: DeviceOperator) -> impl Iterator<Item = String> {
        Self::suffixes(operator.kind).into_iter().map(move |suffix| format!("{}_{suffix}", operator.name()))
    }

    pub(super) fn of(kernels: &Kernels, operator: DeviceOperator) -> Self {
        let functions: Vec<Function> = Self::names(operator).map(|name| kernels.functions[&name]).collect();
        let half = operator.first == Element::F16 && matches!(operator.kind, DeviceKind::Norm | DeviceKind::Stack);
        Forms {
            any: functions[0],
            many: functions[1],
            turns: functions[2..].try_into().ok(),
            // What is float32 of its inputs and results fills a pack.
            pack: PACK_BYTES / if half { 2 } else { 4 },
        }
    }

    /// For frames of so many channels at these addresses.
    pub(super) fn choose(&self, channels: usize, addresses: &[*mut c_void]) -> Choice {
        let aligned = addresses.iter().all(|address| (*address as usize).is_multiple_of(PACK_BYTES));
        if !aligned || !channels.is_multiple_of(self.pack) {
            return Choice { function: self.any, pack: 1, lanes: WARP };
        }
        let packs = channels / self.pack;
        let lanes = packs.next_power_of_two().min(WARP);
        let fits = TURNS.iter().position(|turns| packs <= turns * lanes);
        let function = self.turns.zip(fits).map_or(self.many, |(turns, fits)| turns[fits]);
        Choice { function, pack: self.pack, lanes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text has a kernel for each name.
    #[test]
    fn the_text_has_the_operators_of_each_precision() {
        for compute in [Element::F32, Element::F16] {
            for operator in DeviceOperator::all(compute) {
                let name = operator.name();
                assert!(TEXT.text.contains(&format!("({name}, ")), "{name}");
            }
        }
    }
}
