//! Weights in the order in which vectors read them.

use super::super::micro::float32::PANEL_VECTORS;
use super::super::scratch::NoMemory;
use super::convolution::{Convolution, ReadRows};
use crate::memory;
use crate::parallel;

/// The order of weights within a panel, whose output channels are innermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Time, input channel, tap of the 3x3 kernel.
    TapLast,
    /// Time, tap of the kernel, input channel.
    ChannelLast,
}

/// How output channels are divided into panels.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    /// In all panels together.
    pub(super) vectors: usize,
}

impl Panels {
    pub(super) fn new(c_out: usize, lanes: usize) -> Self {
        Panels { vectors: c_out.div_ceil(lanes) }
    }

    pub(super) fn count(self) -> usize {
        self.vectors.div_ceil(PANEL_VECTORS)
    }

    pub(super) fn vectors_of(self, panel: usize) -> usize {
        PANEL_VECTORS.min(self.vectors - panel * PANEL_VECTORS)
    }
}

/// Output channels are rounded up to whole vectors.
pub(super) fn packed_len(convolution: Convolution, lanes: usize) -> usize {
    convolution.c_out.next_multiple_of(lanes) * convolution.row_len()
}

/// Packs weights for vectors of `lanes` elements.
pub(super) fn pack(
    convolution: Convolution,
    order: Order,
    lanes: usize,
    read_rows: ReadRows,
    threads: usize,
    out: &mut [f32],
) -> Result<(), NoMemory> {
    assert_eq!(out.len(), packed_len(convolution, lanes));
    let Convolution { method, c_out, c_in, times } = convolution;
    let taps = method.taps();
    let row = convolution.row_len();
    let width = PANEL_VECTORS * lanes;
    let parts = out.chunks_mut(width * row).enumerate().map(|(panel, out)| {
        let channels = panel * width..c_out.min(panel * width + out.len() / row);
        Part { rows: channels, key: (), out }
    });
    pack_parts(parts, width * row, row, read_rows, threads, &|part, rows| {
        let width_here = part.out.len() / row;
        // In the panel's order, so that whole cache lines are written.
        for (n, line) in part.out.chunks_exact_mut(width_here).enumerate() {
            let (time, channel, tap) = match order {
                Order::TapLast => (n / taps / c_in, n / taps % c_in, n % taps),
                Order::ChannelLast => (n / c_in / taps, n % c_in, n / c_in % taps),
            };
            let at = (channel * times + time) * taps + tap;
            line.fill(0.0);
            for (value, weights) in line.iter_mut().zip(rows.chunks_exact(row)) {
                *value = weights[at];
            }
        }
    })
}

/// A part of the packed weights.
pub(super) struct Part<'a, K> {
    /// The output channels whose weights it has.
    pub(super) rows: std::ops::Range<usize>,
    /// What else the algorithm has to know.
    pub(super) key: K,
    pub(super) out: &'a mut [f32],
}

/// Packs parts on at most `threads` threads. `fill` gets a part and its channels' weights, `row` for each and together at most
/// `most`.
pub(super) fn pack_parts<'a, K: Send>(
    parts: impl Iterator<Item = Part<'a, K>> + Send,
    most: usize,
    row: usize,
    read_rows: ReadRows,
    threads: usize,
    fill: &(dyn Fn(Part<K>, &[f32]) + Sync),
) -> Result<(), NoMemory> {
    let queue = parking_lot::Mutex::new(parts);
    let work = || {
        // A thread that gets no memory leaves the work to the others.
        let Ok(mut rows) = memory::zeros(most, "weights") else { return };
        loop {
            let Some(part) = queue.lock().next() else { break };
            let rows = &mut rows[..part.rows.len() * row];
            read_rows(part.rows.clone(), rows);
            fill(part, rows);
        }
    };
    parallel::together(threads.clamp(1, 64) - 1, work);
    match queue.into_inner().next() {
        Some(_) => Err(NoMemory),
        None => Ok(()),
    }
}
