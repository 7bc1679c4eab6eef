//! A network that streams, in one direction: an engine for each tile, whose outputs are joined.

use super::geometry::Geometry;
use super::tiles::Tiles;
use crate::engine::{Counting, Engine, Progress, Run, Step, Values};
use crate::error::{Result, fail};
use crate::graph::Port;
use crate::media::{Packing, Rect};
use crate::memory;
use crate::runtime::{CallersMemory, Canceller, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// Takes an output, or a part of one: its index in the clip, values, the rectangle that these are of, and the part of it
/// that is final.
pub(super) type PartSink<'a> = dyn FnMut(u64, Values<'_>, &Rect, &Rect) -> Result<()> + 'a;

/// How a call is stopped, and where its outputs go.
pub(super) struct Call<'a, 's> {
    pub(super) canceller: &'a Canceller,
    /// How frames of so many columns and rows may be given by a device.
    pub(super) takes: Option<(Packing, [usize; 2])>,
    pub(super) sink: &'a mut PartSink<'s>,
}

pub(super) struct Tiled<E> {
    tiles: Tiles,
    /// One for each tile. Where each call gets a whole clip there is one, which takes the tiles in turn.
    engines: Vec<E>,
    input_divisor: usize,
    output_divisor: usize,
}

impl<E: Engine> Tiled<E> {
    pub(super) fn new(
        steps: &[Arc<Step>],
        counting: Counting,
        geometry: &Geometry,
        tiles: Tiles,
        at_once: bool,
        callers: Option<&Arc<CallersMemory>>,
    ) -> Result<Self> {
        let count = if at_once { 1 } else { tiles.count() };
        let engines = (0..count).map(|_| E::new(steps, counting, tiles.size(), callers)).collect::<Result<_>>()?;
        let [input_divisor, output_divisor] = E::divisors(geometry.compression);
        Ok(Tiled { tiles, engines, input_divisor, output_divisor })
    }

    /// How many inputs a push should take at most.
    pub(super) fn inputs_at_once(&self) -> usize {
        // Tiles have to be joined before the next input.
        if self.tiles.count() == 1 { usize::MAX } else { 1 }
    }

    /// Takes these of `inputs`, the first of which is the clip's input `index`. The first output is the clip's output `first`.
    pub(super) fn push(
        &mut self,
        index: u64,
        inputs: &E::Inputs<'_>,
        range: Range<usize>,
        first: u64,
        call: &mut Call<'_, '_>,
    ) -> Result<()> {
        self.each_tile(first, call, |engine, part, run| {
            (index..).zip(range.clone()).try_for_each(|(index, n)| engine.push(index, inputs, n, part, run))
        })
    }

    /// Ends a clip of `count` inputs.
    pub(super) fn flush(&mut self, count: u64, first: u64, call: &mut Call<'_, '_>) -> Result<()> {
        self.each_tile(first, call, |engine, _, run| engine.flush(count, run))
    }

    /// Takes a whole clip of `count` inputs, one tile after the other.
    pub(super) fn clip(&mut self, inputs: &E::Inputs<'_>, count: usize, call: &mut Call<'_, '_>) -> Result<()> {
        self.each_tile(0, call, |engine, part, run| {
            engine.reset();
            for n in 0..count {
                engine.push(n as u64, inputs, n, part, run)?;
            }
            engine.flush(count as u64, run)
        })
    }

    /// Does the same with every tile, and hands on the outputs.
    fn each_tile(
        &mut self,
        first: u64,
        call: &mut Call<'_, '_>,
        mut work: impl FnMut(&mut E, &Rect, &mut Run<'_>) -> Result<()>,
    ) -> Result<()> {
        let (tiles, divisor, engines) = (&self.tiles, self.output_divisor, self.engines.len());
        let joins = tiles.are_joined::<E>();
        let mut whole: Vec<Vec<f32>> = vec![];
        for i in 0..tiles.count() {
            let (part, _) = tiles.tile(i, self.input_divisor);
            let (held, owned) = tiles.tile(i, divisor);
            let mut take = |index: u64, values: Values<'_>| {
                if !joins {
                    return (call.sink)(index, values, &held, &owned);
                }
                let values = values.floats();
                let n = (index - first) as usize;
                if n == whole.len() {
                    let channels = values.len() / (held.width * held.height);
                    let zeros =
                        memory::zeros(channels * tiles.whole_plane(divisor), "frames that wait for their tiles")?;
                    memory::push(&mut whole, zeros)?;
                }
                tiles.join(i, divisor, values, &mut whole[n]);
                Ok(())
            };
            let takes = call.takes.filter(|(packing, _)| !joins && (tiles.count() == 1 || packing.is_of_pixels()));
            let inside = |(packing, [width, height]): (Packing, [usize; 2])| {
                let size = [held.width.min(width.checked_sub(held.x)?), held.height.min(height.checked_sub(held.y)?)];
                (!size.contains(&0)).then_some((packing, size))
            };
            let run = Run::new(call.canceller, first, &mut take).taking(takes.and_then(inside));
            let (engine, mut run) = (&mut self.engines[i % engines], run);
            work(engine, &part, &mut run)?;
            engine.finish(&mut run)?;
            // A device may have been asked for all of it long before.
            if call.canceller.is_cancelled() {
                fail!(Cancelled, "cancelled; reset the stream");
            }
        }
        let all = tiles.whole(divisor);
        (first..).zip(&whole).try_for_each(|(index, values)| (call.sink)(index, Values::Floats(values), &all, &all))
    }

    pub(super) fn reset(&mut self) {
        self.engines.iter_mut().for_each(E::reset);
    }

    pub(super) fn warm_up(&mut self, canceller: &Canceller) -> Result<()> {
        // All tiles have one size.
        self.engines[0].warm_up(canceller)
    }

    /// Runs of the steps between two points of a clip.
    pub(super) fn runs_between(&self, from: Progress, to: Progress) -> u64 {
        let engine = &self.engines[0];
        (engine.runs_until(to) - engine.runs_until(from)) * self.tiles.count() as u64
    }

    pub(super) fn runs(&self) -> u64 {
        self.engines.iter().map(E::runs).sum()
    }

    pub(super) fn state_bytes(&self) -> u64 {
        self.engines.iter().map(E::state_bytes).sum()
    }

    /// As [`Engine::kept`]. The names tell the tile: tiles of one size hold other parts of the frame.
    pub(super) fn kept<'a>(&'a self, at: Progress, keep: &mut dyn FnMut(&str, &Port, &'a Tensor)) {
        if at.ended {
            return;
        }
        for (i, engine) in self.engines.iter().enumerate() {
            let (held, _) = self.tiles.tile(i, 1);
            let tile = match self.tiles.count() {
                1 => String::new(),
                _ => format!("{}x{} at {},{} ", held.width, held.height, held.x, held.y),
            };
            engine.kept(at.count, &mut |step, port, tensor| keep(&format!("{tile}{step}"), port, tensor));
        }
    }

    /// As [`Engine::resume`]. After a clip's end there is nothing to fill.
    pub(super) fn resume(&mut self, at: Progress, fill: &mut dyn FnMut(&mut Tensor)) {
        self.reset();
        if !at.ended {
            self.engines.iter_mut().for_each(|engine| engine.resume(at.count, fill));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::media::{Image, Range};
    use crate::stream::{Model, ModelOptions, Stream, StreamOptions};

    /// A device may have been asked for all of a call long before.
    #[test]
    fn a_call_that_is_cancelled_at_its_last_output_fails() {
        const SIDE: usize = 32;
        let model = Model::builtin(&ModelOptions::default()).unwrap();
        let mut stream = Stream::new(&model, &StreamOptions::new(SIDE, SIDE)).unwrap();
        let planes = vec![0.0; 3 * SIDE * SIDE];
        let frames = [Image::planar_f32(&planes, Range::Signed, SIDE, SIDE).unwrap()];
        for cancels in [false, true] {
            let canceller = stream.canceller.clone();
            let mut outputs = 0;
            let mut sink = |_: u64, _: Values<'_>, _: &Rect, _: &Rect| {
                outputs += 1;
                if cancels {
                    canceller.cancel();
                }
                Ok(())
            };
            let mut call = Call { canceller: &canceller, takes: None, sink: &mut sink };
            let result = stream.encoder.as_mut().unwrap().push(&frames, 1, &mut call);
            assert_eq!(outputs, 1);
            assert_eq!(result.err().map(|e| e.kind()), cancels.then_some(ErrorKind::Cancelled));
            stream.reset().unwrap();
        }
    }
}
