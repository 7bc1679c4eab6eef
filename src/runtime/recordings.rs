//! Runs that a device repeats without ONNX Runtime.
//!
//! A run on a device is a list of kernels and copies with fixed arguments. Streams bind their tensors in rotation, so the same
//! lists come back every few runs. ONNX Runtime does the first run with certain tensors; the second is recorded, as a CUDA graph;
//! later ones launch the recording. That takes the CPU some microseconds, where ONNX Runtime takes them for each kernel.
//!
//! A recording holds the addresses of the tensors on the device, and what inputs in the CPU's memory contained: sizes, and the
//! weights of time taps. Between its inputs and outputs it uses memory of the session's arena, as every run of the session does.
//! Runs of a session follow each other in one queue, and no tensor that outlives a run is in that arena.
//!
//! Frames of another size make convolutions plan again, and free the plans that were recorded. So recordings last until then.

use super::cuda::CudaRecording;
use super::tensor::Tensor;
use crate::process::Owned;
use std::collections::HashMap;

/// Of a session; when there are more, all are dropped. A stream, or a tile of one, has up to 12 in the middle of a clip, as its
/// rings turn, and some at its ends.
const MOST: usize = 256;
/// Runs before the next recording, after one that found no memory.
const PAUSE: u64 = 1000;
/// Inputs of the CPU that are larger are no sizes and weights, and would be slow to compare.
const MOST_BYTES: u64 = 256;

/// What a session knows of its runs.
#[derive(Default)]
pub(super) struct Recordings {
    /// Of the inputs of the last run.
    shapes: Vec<Vec<usize>>,
    runs: HashMap<Key, Option<Recording>>,
    /// So many runs are not recorded.
    pause: u64,
}

/// The addresses of tensors on the device, and the bytes of inputs in the CPU's memory.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(Vec<u64>);

pub(super) enum Recording {
    Cuda(Owned<CudaRecording>),
    #[cfg(test)]
    Fake(FakeRecording),
}

/// What is known of a run with certain tensors.
pub(super) enum Known<'a> {
    Nothing,
    /// There was one.
    Seen(Key),
    Recorded(&'a Recording),
}

impl Recordings {
    /// Notes a run with these tensors.
    pub(super) fn of(&mut self, inputs: &[&Tensor], outputs: &[&Tensor]) -> Known<'_> {
        if !self.shapes.iter().map(|shape| &shape[..]).eq(inputs.iter().map(|input| input.shape())) {
            self.shapes = inputs.iter().map(|input| input.shape().to_vec()).collect();
            self.runs.clear();
        }
        let Some(key) = Key::of(inputs, outputs) else { return Known::Nothing };
        if !self.runs.contains_key(&key) {
            if self.runs.len() == MOST {
                self.runs.clear();
            }
            self.runs.insert(key, None);
            return Known::Nothing;
        }
        match &self.runs[&key] {
            Some(recording) => Known::Recorded(recording),
            None if self.pause > 0 => {
                self.pause -= 1;
                Known::Nothing
            }
            None => Known::Seen(key),
        }
    }

    /// A run could not be recorded. If there was no memory, there may be some later.
    pub(super) fn failed(&mut self, no_memory: bool) {
        self.pause = if no_memory { PAUSE } else { u64::MAX };
    }

    /// Drops those that hold one of these addresses.
    pub(super) fn forget(&mut self, places: &[u64]) {
        self.runs.retain(|Key(key), _| !places.iter().any(|place| key.contains(place)));
    }

    pub(super) fn keep(&mut self, key: Key, recording: Recording) {
        self.runs.insert(key, Some(recording));
    }
}

impl Key {
    /// `None` if the run cannot be repeated: its outputs are not all on the device, or an input of the CPU is large.
    fn of(inputs: &[&Tensor], outputs: &[&Tensor]) -> Option<Self> {
        let mut key = Vec::with_capacity(inputs.len() + outputs.len());
        for input in inputs {
            if input.is_on_device() {
                key.extend(input.recorded_place());
            } else if input.bytes() <= MOST_BYTES {
                key.extend(input.raw().iter().map(|byte| u64::from(*byte)));
            } else {
                return None;
            }
        }
        for output in outputs {
            key.push(output.recorded_place()?);
        }
        Some(Key(key))
    }
}

/// What a CUDA graph would hold.
#[cfg(test)]
pub(super) struct FakeRecording {
    /// The addresses of tensors on the device.
    places: Vec<usize>,
    /// Copies of the inputs in the CPU's memory.
    copies: Vec<Option<Tensor>>,
}

#[cfg(test)]
impl FakeRecording {
    pub(super) fn new(inputs: &[&Tensor], outputs: &[&Tensor]) -> crate::error::Result<Self> {
        let copy = |input: &&Tensor| {
            let mut copy = Tensor::new(input.shape(), input.element())?;
            copy.raw_mut().copy_from_slice(input.raw());
            Ok(copy)
        };
        let copies = inputs.iter().map(|input| (!input.is_on_device()).then(|| copy(input)).transpose());
        Ok(FakeRecording {
            places: Self::places(inputs, outputs),
            copies: copies.collect::<crate::error::Result<_>>()?,
        })
    }

    fn places(inputs: &[&Tensor], outputs: &[&Tensor]) -> Vec<usize> {
        let on_device = inputs.iter().chain(outputs).filter(|tensor| tensor.is_on_device());
        on_device.map(|tensor| tensor.place() as usize).collect()
    }

    /// The inputs that are repeated; all tensors on the device must be those that were recorded.
    pub(super) fn inputs<'a>(&'a self, inputs: &[&'a Tensor], outputs: &[&Tensor]) -> Vec<&'a Tensor> {
        assert_eq!(self.places, Self::places(inputs, outputs), "a recording for other tensors");
        inputs.iter().zip(&self.copies).map(|(input, copy)| copy.as_ref().unwrap_or(input)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::Runtime;
    use super::super::tensor::DeviceMemory;
    use super::*;
    use crate::graph::Element;
    use crate::logger::Logger;
    use ort::memory::Allocator;
    use std::sync::Arc;

    /// Tensors on it are the CPU's.
    struct Nowhere;

    impl DeviceMemory for Nowhere {
        fn allocated(&self, _: u64) {}

        fn freed(&self, _: u64) {}

        fn upload(&self, _: &Tensor, _: &Tensor) -> crate::error::Result<()> {
            unreachable!("nothing is copied")
        }

        fn download(&self, _: &Tensor, _: &Tensor) -> crate::error::Result<()> {
            unreachable!("nothing is copied")
        }
    }

    fn tensor(size: usize) -> Tensor {
        Runtime::get(None, &Logger::default()).unwrap();
        let device: Arc<dyn DeviceMemory> = Arc::new(Nowhere);
        Tensor::allocate(&Allocator::default(), &[size], Element::F32, Some(device.clone()), Some(device)).unwrap()
    }

    /// What is known of a run, in a letter: nothing, seen, recorded. What was seen is recorded.
    fn run(recordings: &mut Recordings, inputs: &[&Tensor], outputs: &[&Tensor]) -> char {
        let key = match recordings.of(inputs, outputs) {
            Known::Nothing => return 'n',
            Known::Recorded(_) => return 'r',
            Known::Seen(key) => key,
        };
        recordings.keep(key, Recording::Fake(FakeRecording::new(inputs, outputs).unwrap()));
        's'
    }

    #[test]
    fn the_third_run_with_the_same_tensors_is_repeated() {
        let (mut all, [a, b, c]) = (Recordings::default(), [4; 3].map(tensor));
        let [one, two] = [1, 2].map(|value| Tensor::integers(&[value]).unwrap());
        for known in ['n', 's', 'r', 'r'] {
            assert_eq!(run(&mut all, &[&a, &one], &[&b]), known);
        }
        // Each of these differs in one thing.
        for (inputs, output) in [([&c, &one], &b), ([&a, &two], &b), ([&a, &one], &c)] {
            assert_eq!(run(&mut all, &inputs, &[output]), 'n');
        }
        // The value, in another place.
        let again = Tensor::integers(&[1]).unwrap();
        assert_eq!(run(&mut all, &[&a, &again], &[&b]), 'r');
        // Its result, or much that it reads, is the CPU's.
        let (host, large) = (Tensor::floats(&[0.0]).unwrap(), Tensor::floats(&[0.0; 1000]).unwrap());
        for (input, output) in [(&one, &host), (&large, &b)] {
            for _ in 0..3 {
                assert_eq!(run(&mut all, &[&a, input], &[output]), 'n');
            }
        }
    }

    #[test]
    fn recordings_end_with_another_size_their_tensors_or_too_many() {
        let (mut all, [a, b]) = (Recordings::default(), [4; 2].map(tensor));
        let record = |all: &mut Recordings| (0..2).for_each(|_| assert_ne!(run(all, &[&a], &[&b]), 'r'));
        record(&mut all);
        assert_eq!(run(&mut all, &[&tensor(5)], &[&b]), 'n');
        record(&mut all);
        all.forget(&[b.recorded_place().unwrap()]);
        record(&mut all);
        let others: Vec<Tensor> = (0..MOST).map(|_| tensor(4)).collect();
        all.forget(&[others[0].recorded_place().unwrap()]);
        assert_eq!(run(&mut all, &[&a], &[&b]), 'r');
        others[1..].iter().for_each(|other| assert_eq!(run(&mut all, &[other], &[&b]), 'n'));
        assert_eq!((all.runs.len(), run(&mut all, &[&a], &[&b])), (MOST, 'r'));
        assert_eq!(run(&mut all, &[&others[0]], &[&b]), 'n');
        assert_eq!(all.runs.len(), 1);
        record(&mut all);
    }

    #[test]
    fn after_a_failure_runs_are_recorded_later_or_never() {
        let (mut all, [a, b]) = (Recordings::default(), [4; 2].map(tensor));
        all.failed(true);
        for _ in 0..=PAUSE {
            assert_eq!(run(&mut all, &[&a], &[&b]), 'n');
        }
        assert_eq!(run(&mut all, &[&a], &[&b]), 's');
        let (mut all, c) = (Recordings::default(), tensor(4));
        all.failed(false);
        for _ in 0..2 * PAUSE {
            assert_eq!(run(&mut all, &[&a], &[&c]), 'n');
        }
    }
}
