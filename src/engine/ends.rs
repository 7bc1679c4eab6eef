//! The two ends of a network: tensors that the CPU writes and reads. If the network is on a device, so are these, and their
//! values cross while both go on with other work.

use super::frame_size::FrameSize;
use super::interface::Run;
use super::step::Step;
use crate::error::Result;
use crate::graph::{Element, Port};
use crate::media::{Image, Rect};
use crate::runtime::{Device, Staged, Tensor};
use std::collections::VecDeque;
use std::sync::Arc;

/// So that the CPU can prepare one while another one crosses.
const STAGED_INPUTS: usize = 2;
/// Runs of a step whose results are on their way: the device works on one while the CPU reads that of the one before.
const STAGED_RUNS: usize = 2;

/// The CPU's side of inputs of one shape.
struct Senders {
    staged: [Staged; STAGED_INPUTS],
    turn: usize,
}

impl Senders {
    fn new(device: &Arc<Device>, shape: &[usize], element: Element) -> Result<Self> {
        let staged = || Staged::new(device, shape, element);
        Ok(Senders { staged: [staged()?, staged()?], turn: 0 })
    }

    /// Sends what `write` writes, if that is true.
    fn send(&mut self, to: &Tensor, write: impl FnOnce(&mut Tensor) -> bool) -> Result<bool> {
        let staged = &mut self.staged[self.turn];
        if !write(staged.host()?) {
            return Ok(false);
        }
        staged.send(to)?;
        self.turn = (self.turn + 1) % STAGED_INPUTS;
        Ok(true)
    }
}

/// A network's input, but for frames.
pub(super) struct Inlet {
    tensor: Tensor,
    senders: Option<Senders>,
}

impl Inlet {
    pub(super) fn new(port: &Port, size: FrameSize, device: Option<&Arc<Device>>) -> Result<Self> {
        let senders = |device| Senders::new(device, &port.shape(size.axes(), 1), port.element);
        Ok(Inlet { tensor: size.tensor(port, device)?, senders: device.map(senders).transpose()? })
    }

    /// The next run reads what `write` writes.
    pub(super) fn fill(&mut self, write: impl FnOnce(&mut [f32])) -> Result<()> {
        match &mut self.senders {
            None => write(self.tensor.data_mut()),
            Some(senders) => {
                senders.send(&self.tensor, |host| {
                    write(host.data_mut());
                    true
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn tensor(&self) -> &Tensor {
        &self.tensor
    }
}

/// Frames on their way to a device.
pub(super) struct FrameSenders {
    device: Arc<Device>,
    bytes: Senders,
    floats: Senders,
    /// The bytes on the device.
    arrived: Tensor,
}

impl FrameSenders {
    pub(super) fn new(device: &Arc<Device>, size: FrameSize) -> Result<Self> {
        let shape = [1, 3, size.height, size.width];
        let senders = |element| Senders::new(device, &shape, element);
        Ok(FrameSenders {
            bytes: senders(Element::U8)?,
            floats: senders(Element::F32)?,
            arrived: Tensor::on(Some(device), &shape, Element::U8)?,
            device: device.clone(),
        })
    }

    /// 8-bit pixels cross as they are, all others as float32.
    pub(super) fn send(&mut self, frame: &Image<'_>, part: &Rect, to: &Tensor) -> Result<()> {
        let threads = self.device.threads();
        if self.bytes.send(&self.arrived, |host| frame.read_bytes_on(threads, host.raw_mut(), part))? {
            return self.device.convert_pixels(&self.arrived, to);
        }
        self.floats.send(to, |host| {
            frame.read_on(threads, host.data_mut(), part);
            true
        })?;
        Ok(())
    }
}

impl Drop for FrameSenders {
    fn drop(&mut self) {
        self.device.forget(&self.arrived);
    }
}

/// A network's results.
pub(super) struct Outlet {
    step: Arc<Step>,
    what: &'static str,
    tensors: Vec<Tensor>,
    /// The CPU's side of them, if they are on a device.
    staged: Vec<Staged>,
    /// For frames on a device.
    bytes: Option<ByteOutlet>,
    /// Which of the CPU's side hold results, in their order, and whether these are bytes.
    crossing: VecDeque<(usize, bool)>,
}

/// Frames that cross as bytes.
struct ByteOutlet {
    device: Arc<Device>,
    frame: Tensor,
    finite: Tensor,
    /// As many as there are for floats.
    staged: Vec<[Staged; 2]>,
}

impl ByteOutlet {
    fn new(device: &Arc<Device>, shape: &[usize], count: usize) -> Result<Self> {
        let tensor = |shape, element| Tensor::on(Some(device), shape, element);
        let staged = || Ok([Staged::new(device, shape, Element::U8)?, Staged::new(device, &[], Element::F32)?]);
        Ok(ByteOutlet {
            device: device.clone(),
            frame: tensor(shape, Element::U8)?,
            finite: tensor(&[], Element::F32)?,
            staged: (0..count).map(|_| staged()).collect::<Result<_>>()?,
        })
    }

    fn fetch(&mut self, frame: &Tensor, free: usize) -> Result<()> {
        self.device.convert_to_bytes(frame, &self.frame, &self.finite)?;
        let [bytes, finite] = &mut self.staged[free];
        bytes.fetch(&self.frame)?;
        finite.fetch(&self.finite)
    }
}

impl Drop for ByteOutlet {
    fn drop(&mut self) {
        self.device.forget(&self.frame);
    }
}

impl Outlet {
    /// Of the last step of a network. `what` names a result in errors. `as_bytes`: they are frames, which may cross as bytes.
    pub(super) fn new(step: &Arc<Step>, what: &'static str, size: FrameSize, as_bytes: bool) -> Result<Self> {
        let device = step.device.as_ref();
        let tensors = step.outputs.iter().map(|port| size.tensor(port, device)).collect::<Result<Vec<_>>>()?;
        let count = if device.is_some() { STAGED_RUNS * tensors.len() } else { 0 };
        let staged = device.into_iter().flat_map(|device| (0..count).map(move |i| (device, i)));
        let staged = staged.map(|(device, i)| {
            let tensor = &tensors[i % tensors.len()];
            Staged::new(device, tensor.shape(), tensor.element())
        });
        let staged = staged.collect::<Result<_>>()?;
        let bytes = device.filter(|_| as_bytes).map(|device| ByteOutlet::new(device, tensors[0].shape(), count));
        Ok(Outlet {
            step: step.clone(),
            what,
            staged,
            bytes: bytes.transpose()?,
            tensors,
            crossing: VecDeque::with_capacity(count),
        })
    }

    /// What the step writes.
    pub(super) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Hands on a result of the last run, or begins to fetch it.
    pub(super) fn give(&mut self, index: usize, run: &mut Run<'_>) -> Result<()> {
        if self.staged.is_empty() {
            return run.give(&self.step, self.what, self.tensors[index].data());
        }
        if self.crossing.len() == self.staged.len() {
            self.arrive(run)?;
        }
        let free = self.crossing.back().map_or(0, |(last, _)| (last + 1) % self.staged.len());
        let bytes = self.bytes.as_mut().filter(|_| run.takes_bytes);
        let as_bytes = bytes.is_some();
        match bytes {
            Some(bytes) => bytes.fetch(&self.tensors[index], free)?,
            None => self.staged[free].fetch(&self.tensors[index])?,
        }
        self.crossing.push_back((free, as_bytes));
        Ok(())
    }

    /// Hands on the oldest result that is on its way.
    fn arrive(&mut self, run: &mut Run<'_>) -> Result<bool> {
        match (self.crossing.pop_front(), &mut self.bytes) {
            (None, _) => return Ok(false),
            (Some((oldest, true)), Some(bytes)) => {
                let [bytes, finite] = &mut bytes.staged[oldest];
                run.give_bytes(&self.step, self.what, bytes.host()?.raw(), finite.host()?.data())?;
            }
            (Some((oldest, _)), _) => run.give(&self.step, self.what, self.staged[oldest].host()?.data())?,
        }
        Ok(true)
    }

    /// Hands on all results that are on their way.
    pub(super) fn finish(&mut self, run: &mut Run<'_>) -> Result<()> {
        while self.arrive(run)? {}
        Ok(())
    }

    /// Drops them.
    pub(super) fn forget(&mut self) {
        self.crossing.clear();
    }

    pub(super) fn bytes(&self) -> u64 {
        self.tensors.iter().map(Tensor::bytes).sum()
    }
}
