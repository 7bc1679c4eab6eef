//! The two ends of a network: tensors that the CPU writes and reads. If the network is on a device, so are these, and their
//! values cross while both go on with other work.

use super::frame_size::FrameSize;
use super::interface::Run;
use super::step::Step;
use crate::error::Result;
use crate::graph::{Element, Port};
use crate::media::{Image, PixelFormat, Rect};
use crate::memory;
use crate::runtime::{CallersMemory, Device, FOUND_BYTES, Found, Staged, Tensor};
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

    /// Sends what `write` writes, so many bytes.
    fn send(&mut self, to: &Tensor, write: impl FnOnce(&mut Tensor) -> usize) -> Result<()> {
        let staged = &mut self.staged[self.turn];
        let bytes = write(staged.host()?);
        staged.send(to, bytes)?;
        self.turn = (self.turn + 1) % STAGED_INPUTS;
        Ok(())
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
                    host.bytes() as usize
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
    senders: Senders,
    /// Where pictures arrive that the device converts, if it can.
    arrived: Option<Tensor>,
}

impl FrameSenders {
    pub(super) fn new(device: &Arc<Device>, size: FrameSize) -> Result<Self> {
        let shape = [1, 3, size.height, size.width];
        // No picture has more bytes than three planes of float32.
        let arrived = device.pictures().map(|_| Tensor::on(Some(device), &shape, Element::F32));
        Ok(FrameSenders {
            senders: Senders::new(device, &shape, Element::F32)?,
            arrived: arrived.transpose()?,
            device: device.clone(),
        })
    }

    /// Pictures cross as they are, but for parts whose values depend on pixels of others.
    pub(super) fn send(&mut self, frame: &Image<'_>, part: &Rect, to: &Tensor) -> Result<()> {
        let (threads, packing) = (self.device.threads(), frame.packing());
        let whole = part.holds(&Rect::of(frame.width(), frame.height()));
        match (&self.arrived, self.device.pictures()) {
            (Some(arrived), Some(pictures)) if whole || packing.is_of_pixels() => {
                let mut size = [0; 2];
                self.senders.send(arrived, |host| {
                    size = frame.pack_on(threads, host.raw_mut(), part);
                    packing.bytes(size)
                })?;
                pictures.read_crossed(packing, size, arrived, to)
            }
            _ => self.senders.send(to, |host| {
                frame.read_on(threads, host.data_mut(), part);
                host.bytes() as usize
            }),
        }
    }
}

/// How frames come to a network's input.
pub(super) enum FrameInlet {
    /// The network runs on the CPU.
    Cpu,
    Senders(Box<FrameSenders>),
    /// They are on the device.
    Callers(Arc<CallersMemory>),
}

impl FrameInlet {
    pub(super) fn new(
        device: Option<&Arc<Device>>,
        callers: Option<&Arc<CallersMemory>>,
        size: FrameSize,
    ) -> Result<Self> {
        Ok(match (device, callers) {
            (_, Some(callers)) => FrameInlet::Callers(callers.clone()),
            (Some(device), None) => FrameInlet::Senders(Box::new(FrameSenders::new(device, size)?)),
            (None, None) => FrameInlet::Cpu,
        })
    }

    /// The next run reads a part of a frame; of a frame on the device, all of it.
    pub(super) fn fill(&mut self, frame: &Image<'_>, part: &Rect, to: &mut Tensor) -> Result<()> {
        match self {
            FrameInlet::Cpu => {
                frame.read(to.data_mut(), part);
                Ok(())
            }
            FrameInlet::Senders(senders) => senders.send(frame, part, to),
            FrameInlet::Callers(callers) => callers.read(frame, to),
        }
    }

    /// The next run reads a black frame.
    pub(super) fn fill_black(&mut self, size: FrameSize, to: &mut Tensor) -> Result<()> {
        let FrameSize { width, height } = size;
        if let FrameInlet::Callers(_) = self {
            let mut bytes = memory::zeros::<u8>(to.bytes() as usize, "a frame")?;
            bytes.chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&(-1f32).to_ne_bytes()));
            return to.write(&bytes);
        }
        let black = memory::zeros(3 * width * height, "a frame")?;
        self.fill(&Image::packed(&black, PixelFormat::RgbPlanar8, width, height)?, &size.rect(), to)
    }
}

/// A network's results.
pub(super) struct Outlet {
    step: Arc<Step>,
    what: &'static str,
    tensors: Vec<Tensor>,
    /// The CPU's side of them; `None` if they are the CPU's.
    way: Option<Way>,
    /// Results on their way, in their order.
    crossing: VecDeque<Crossing>,
    /// How many there may be.
    most: usize,
}

/// What results are.
pub(super) enum Results {
    Latents,
    Frames,
    /// Frames that become a caller's on the device.
    OnDevice,
}

/// How results leave a device. There is a place for each that may be on its way.
enum Way {
    /// As floats; or, if it can, as pictures that the device converts.
    Values(Vec<Staged>, Option<PictureOutlet>),
    /// Into the caller's frames on the device; what was found in them crosses.
    Callers(Vec<FoundOutlet>),
}

/// A result on its way.
struct Crossing {
    place: usize,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Floats,
    /// A picture of so many columns and rows, and bytes.
    Packed([usize; 2], usize),
    /// The caller's frame of that index.
    Written(u64),
}

/// Frames that cross as pictures.
struct PictureOutlet {
    device: Arc<Device>,
    /// As large as three planes of float32, and so are those that fetch it.
    picture: Tensor,
    found: Vec<FoundOutlet>,
}

/// What a device found in a frame.
struct FoundOutlet(Tensor, Staged);

impl FoundOutlet {
    fn all(device: &Arc<Device>, count: usize) -> Result<Vec<Self>> {
        let (shape, element) = (&[FOUND_BYTES], Element::U8);
        let one = || Ok(FoundOutlet(Tensor::on(Some(device), shape, element)?, Staged::new(device, shape, element)?));
        (0..count).map(|_| one()).collect()
    }

    fn fetch(&mut self) -> Result<()> {
        self.1.fetch(&self.0, FOUND_BYTES)
    }

    fn get(&mut self) -> Result<Found> {
        Ok(Found::of(self.1.host()?))
    }
}

impl Way {
    fn new(device: &Arc<Device>, tensors: &[Tensor], results: Results, most: usize) -> Result<Self> {
        if let Results::OnDevice = results {
            return Ok(Way::Callers(FoundOutlet::all(device, most)?));
        }
        let staged = (0..most).map(|i| {
            let tensor = &tensors[i % tensors.len()];
            Staged::new(device, tensor.shape(), tensor.element())
        });
        let staged = staged.collect::<Result<_>>()?;
        let pictures = matches!(results, Results::Frames) && device.pictures().is_some();
        let pictures = pictures.then(|| {
            let picture = Tensor::on(Some(device), tensors[0].shape(), Element::F32)?;
            Ok(PictureOutlet { device: device.clone(), picture, found: FoundOutlet::all(device, most)? })
        });
        Ok(Way::Values(staged, pictures.transpose()?))
    }

    /// Begins to fetch a result.
    fn fetch(&mut self, tensor: &Tensor, place: usize, run: &mut Run<'_>) -> Result<Kind> {
        match (self, run.takes) {
            (Way::Values(staged, Some(outlet)), Some((packing, size))) => {
                let (found, pictures) = (&mut outlet.found[place], outlet.device.pictures());
                let pictures = pictures.expect("it was made for them");
                pictures.write_to_cross(tensor, packing, size, &outlet.picture, &found.0)?;
                let bytes = packing.bytes(size);
                staged[place].fetch(&outlet.picture, bytes)?;
                found.fetch()?;
                Ok(Kind::Packed(size, bytes))
            }
            (Way::Values(staged, _), _) => staged[place].fetch(tensor, tensor.bytes() as usize).map(|()| Kind::Floats),
            (Way::Callers(all), _) => {
                let found = &mut all[place];
                let index = run.give_on_device(tensor, &found.0)?;
                found.fetch().map(|()| Kind::Written(index))
            }
        }
    }
}

impl Outlet {
    /// Of the last step of a network. `what` names a result in errors.
    pub(super) fn new(step: &Arc<Step>, what: &'static str, size: FrameSize, results: Results) -> Result<Self> {
        let device = step.device.as_ref();
        let tensors = step.outputs.iter().map(|port| size.tensor(port, device)).collect::<Result<Vec<_>>>()?;
        let most = STAGED_RUNS * tensors.len();
        let way = device.map(|device| Way::new(device, &tensors, results, most)).transpose()?;
        Ok(Outlet { step: step.clone(), what, tensors, way, crossing: VecDeque::with_capacity(most), most })
    }

    /// What the step writes.
    pub(super) fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Hands on a result of the last run, or begins to fetch it.
    pub(super) fn give(&mut self, index: usize, run: &mut Run<'_>) -> Result<()> {
        if self.crossing.len() == self.most {
            self.arrive(run)?;
        }
        let Some(way) = &mut self.way else { return run.give(&self.step, self.what, self.tensors[index].data()) };
        let place = self.crossing.back().map_or(0, |last| (last.place + 1) % self.most);
        let kind = way.fetch(&self.tensors[index], place, run)?;
        self.crossing.push_back(Crossing { place, kind });
        Ok(())
    }

    /// Hands on the oldest result that is on its way.
    fn arrive(&mut self, run: &mut Run<'_>) -> Result<bool> {
        let (Some(Crossing { place, kind }), Some(way)) = (self.crossing.pop_front(), &mut self.way) else {
            return Ok(false);
        };
        match (way, kind) {
            (Way::Values(staged, Some(outlet)), Kind::Packed(size, bytes)) => {
                let found = outlet.found[place].get()?;
                let bytes = &staged[place].host()?.raw()[..bytes];
                run.give_packed(&self.step, self.what, bytes, size, found)?;
            }
            (Way::Values(staged, _), _) => run.give(&self.step, self.what, staged[place].host()?.data())?,
            (Way::Callers(all), Kind::Written(index)) => {
                run.give_found(&self.step, self.what, index, all[place].get()?)?;
            }
            (Way::Callers(..), _) => unreachable!("they are written on the device"),
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
