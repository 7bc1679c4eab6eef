//! Self-attention on a matrix unit: softmax(q k^T / sqrt(channels)) v over the pixels of a frame, one head.
//!
//! Keys and values are packed as tiles of weights. A job computes some units of queries, and takes a block of keys after another:
//! its scores, the softmax's weights of these, and the sums of the values. A weight is exp(score - m), where m is the largest
//! score so far; sums are scaled when m grows (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv
//! 1805.02867). So memory does not grow with the square of the pixels, and a query's result depends neither on other queries
//! nor on how they are divided. Scores, weights' exponents and sums are float32; weights are rounded to bfloat16 before they are
//! multiplied, and so they are in the sum that divides.

use super::bordered::{Bordered, BorderedOut};
use super::conv::convolution::Resources;
use super::level::Level;
use super::micro::bfloat16::{Value, store_narrow, store_narrow_filled};
use super::micro::exponential::exp2_for_bfloat16;
use super::micro::tiles::{AHEAD, DEPTH, Products, SIDE, TILES, weights_bytes};
use super::micro::unit::Ready;
use super::micro::vectors::{load, store};
use super::scratch::{NoMemory, ScratchSize};
use super::workers::Shared;
use half::bf16;
use pulp::{Simd, WithSimd};
use std::array::from_fn;
use std::sync::atomic::{AtomicBool, Ordering};

/// Queries of a unit.
const UNIT: usize = TILES * SIDE;
/// Units of a job, at most. Each reads all keys and values, which are beyond the second-level cache, once for all of its units.
const UNITS: usize = 2;
/// Keys, or output channels, of a panel.
const PANEL: usize = 2 * SIDE;
/// Keys of a block.
const BLOCK: usize = 512;
/// Steps of one call.
const STEPS: usize = 32;

/// Attention over the pixels of one frame.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    /// Each `[height, width, channels]`.
    pub(crate) query: &'a [bf16],
    pub(crate) key: &'a [bf16],
    pub(crate) value: &'a [bf16],
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

/// How it is divided.
#[derive(Clone, Copy)]
struct Division {
    /// Pixels.
    count: usize,
    /// Channels of a query and of a sum, filled up to whole steps and panels.
    channels: usize,
    /// Units of a job.
    units: usize,
}

impl Division {
    fn new([height, width]: [usize; 2], channels: usize, threads: usize) -> Self {
        let count = height * width;
        let units = UNITS.min(count.div_ceil(UNIT).div_ceil(threads)).max(1);
        Division { count, channels: channels.next_multiple_of(PANEL), units }
    }

    /// Keys, filled up to whole panels.
    fn keys(self) -> usize {
        self.count.next_multiple_of(PANEL)
    }

    fn jobs(self) -> usize {
        self.count.div_ceil(self.units * UNIT)
    }

    fn scratch(self, threads: usize) -> ScratchSize {
        // Keys and values of half a float each.
        let shared = self.keys() * self.channels;
        ScratchSize { shared, own: self.units * self.unit_len(), workers: self.jobs().min(threads), frames: 0 }
    }

    /// Elements of float32 of a unit.
    fn unit_len(self) -> usize {
        self.queries_len() + self.scores_len() + self.scores_len() / 2 + self.sums_len()
    }

    fn queries_len(self) -> usize {
        UNIT * self.channels / 2
    }

    fn scores_len(self) -> usize {
        UNIT * BLOCK.min(self.keys())
    }

    fn sums_len(self) -> usize {
        UNIT * self.channels
    }
}

impl Attention<'_> {
    /// What it takes besides its inputs and output.
    pub(super) fn scratch(size: [usize; 2], channels: usize, threads: usize) -> ScratchSize {
        Division::new(size, channels, threads).scratch(threads)
    }

    /// The result is a bordered frame.
    ///
    /// # Safety
    /// `output` has room for it. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run(&self, level: Level, resources: Resources, output: *mut bf16) -> Result<(), NoMemory> {
        let unit = level.unit().expect("graphs have attention like this only where there is a matrix unit");
        let Attention { query, key, value, height, width, channels } = *self;
        let size = [height, width];
        let division = Division::new(size, channels, resources.threads);
        assert!(channels > 0 && [query, key, value].iter().all(|x| x.len() == division.count * channels), "{size:?}");
        // SAFETY: as this function asks of its caller.
        let out = unsafe { BorderedOut::begin(Bordered::new(size, channels), output) };
        let mut shared = resources.scratch.shared(division.scratch(resources.threads))?;
        let keys: Shared<bf16> = Shared(shared.start().cast());
        // SAFETY: within the scratch.
        let values = Shared(unsafe { keys.at(division.keys() * division.channels) });
        (resources.workers)(division.keys() / PANEL, &|panel| {
            // SAFETY: each panel of keys, and each step of values, is this job's own.
            unsafe {
                self.pack_keys(division, panel, keys);
                self.pack_values(division, panel, values);
            }
        });
        // A job that gets no memory does nothing, and then the result is incomplete.
        let short = AtomicBool::new(false);
        (resources.workers)(division.jobs(), &|job| {
            let Ok(mut own) = resources.scratch.own() else { return short.store(true, Ordering::Relaxed) };
            let first = job * division.units;
            let run = Run { attention: *self, division, level, keys, values, out };
            let units = division.units.min(division.count.div_ceil(UNIT) - first);
            // SAFETY: there is room, all keys and values are packed, and each job writes its own pixels. `level` has a unit only where
            // it may be used, and a job has no other.
            unsafe { run.run(first, units, own.start(), &unit.ready(DEPTH)) };
        });
        if short.load(Ordering::Relaxed) { Err(NoMemory) } else { Ok(()) }
    }

    /// As `[step of channels][tile][pair of channels][key][2]`.
    ///
    /// # Safety
    /// `to` has room for all keys, and nobody else uses this panel's.
    unsafe fn pack_keys(&self, division: Division, panel: usize, to: Shared<bf16>) {
        // SAFETY: as this function asks of its caller.
        let to = unsafe {
            std::slice::from_raw_parts_mut(to.at(panel * PANEL * division.channels), PANEL * division.channels)
        };
        to.fill(bf16::ZERO);
        let first = panel * PANEL;
        for n in 0..PANEL.min(division.count - first) {
            let key = &self.key[(first + n) * self.channels..][..self.channels];
            let (tile, column) = (n / SIDE, n % SIDE);
            for (pair, values) in key.chunks(2).enumerate() {
                let (step, pair) = (pair / (DEPTH / 2), pair % (DEPTH / 2));
                let at = ((step * 2 + tile) * (DEPTH / 2) + pair) * PANEL + 2 * column;
                to[at..at + values.len()].copy_from_slice(values);
            }
        }
    }

    /// As `[panel of channels][step of keys][tile][pair of keys][channel][2]`, of which this writes one step of all panels.
    ///
    /// # Safety
    /// `to` has room for all values, and nobody else uses this step's.
    unsafe fn pack_values(&self, division: Division, step: usize, to: Shared<bf16>) {
        let first = step * DEPTH;
        let of_panel = division.keys() * PANEL;
        for panel in 0..division.channels / PANEL {
            // SAFETY: as this function asks of its caller.
            let to = unsafe { to.at(panel * of_panel + step * DEPTH * PANEL) };
            // SAFETY: as this function asks of its caller.
            let to = unsafe { std::slice::from_raw_parts_mut(to, DEPTH * PANEL) };
            for (i, pair) in to.chunks_exact_mut(2).enumerate() {
                let (channel, rest) = (i % SIDE, i / SIDE);
                let (row, tile) = (rest % (DEPTH / 2), rest / (DEPTH / 2));
                let channel = panel * PANEL + tile * SIDE + channel;
                for (n, value) in pair.iter_mut().enumerate() {
                    let key = first + 2 * row + n;
                    let within = key < division.count && channel < self.channels;
                    *value = if within { self.value[key * self.channels + channel] } else { bf16::ZERO };
                }
            }
        }
    }
}

/// One job.
struct Run<'a> {
    attention: Attention<'a>,
    division: Division,
    level: Level,
    keys: Shared<bf16>,
    values: Shared<bf16>,
    out: BorderedOut,
}

/// What belongs to a unit of queries.
struct Unit {
    /// The first query.
    first: usize,
    /// Queries that there are.
    count: usize,
    /// `[step of channels][query][channel]`
    queries: *mut bf16,
    /// `[panel of keys][query][key]`
    scores: *mut f32,
    /// `[step of keys][query][key]`
    weights: *mut bf16,
    /// `[panel of channels][query][channel]`
    sums: *mut f32,
    /// Of each query: the largest score so far, and the sum of weights.
    largest: [f32; UNIT],
    total: [f32; UNIT],
}

impl Run<'_> {
    /// # Safety
    /// There are so many units, and room for them. Keys and values are packed, and the unit is ready for `DEPTH` channels.
    unsafe fn run(&self, first: usize, count: usize, scratch: *mut f32, ready: &Ready) {
        let Run { attention, division, level, keys, values, .. } = *self;
        let mut units: [Unit; UNITS] = from_fn(|n| {
            let first = (first + n.min(count - 1)) * UNIT;
            // SAFETY: within the scratch.
            unsafe {
                let queries = scratch.add(n.min(count - 1) * division.unit_len());
                let scores = queries.add(division.queries_len());
                let weights = scores.add(division.scores_len());
                Unit {
                    first,
                    count: UNIT.min(division.count - first),
                    queries: queries.cast(),
                    scores,
                    weights: weights.cast(),
                    sums: weights.add(division.scores_len() / 2),
                    largest: [f32::NEG_INFINITY; UNIT],
                    total: [0.0; UNIT],
                }
            }
        });
        let units = &mut units[..count];
        for unit in &*units {
            // SAFETY: as this function asks of its caller.
            unsafe { attention.pack_queries(division, unit) };
        }
        let (tile, panel_len) = (weights_bytes(DEPTH), PANEL * UNIT);
        for block in (0..division.keys()).step_by(BLOCK) {
            let in_block = BLOCK.min(division.keys() - block);
            for panel in 0..in_block / PANEL {
                // SAFETY: within keys, and within the scratch.
                unsafe {
                    let weights = keys.at((block + panel * PANEL) * division.channels).cast::<u8>();
                    let steps = division.channels / DEPTH;
                    for unit in &*units {
                        let sums = unit.scores.add(panel * panel_len);
                        multiply(ready, unit, unit.queries, steps, weights, sums, false);
                    }
                }
            }
            for unit in &mut *units {
                level.dispatch(Softmax { division, block, in_block, scale: self.scale(), unit });
            }
            for panel in 0..division.channels / PANEL {
                // SAFETY: as above.
                unsafe {
                    let of_panel = division.keys() / DEPTH * 2 * tile;
                    let weights = values.at(0).cast::<u8>().add(panel * of_panel + block / DEPTH * 2 * tile);
                    for unit in &*units {
                        let sums = unit.sums.add(panel * panel_len);
                        multiply(ready, unit, unit.weights, in_block / DEPTH, weights, sums, block > 0);
                    }
                }
            }
        }
        for unit in &*units {
            level.dispatch(Finish { attention, out: self.out, unit });
        }
    }

    /// Of a score in the exponent of 2.
    fn scale(&self) -> f32 {
        std::f32::consts::LOG2_E / (self.attention.channels as f32).sqrt()
    }
}

/// Multiplies rows of a unit, `[step][query][DEPTH]`, by a panel of weights.
///
/// # Safety
/// They are there, and room for the panel's sums.
unsafe fn multiply(
    ready: &Ready,
    unit: &Unit,
    rows: *const bf16,
    steps: usize,
    weights: *const u8,
    sums: *mut f32,
    accumulate: bool,
) {
    let row = DEPTH * size_of::<bf16>();
    let offsets: [usize; STEPS] = from_fn(|step| step * UNIT * row);
    for first in (0..steps).step_by(STEPS) {
        let count = STEPS.min(steps - first);
        // SAFETY: as above.
        let weights = unsafe { weights.add(first * 2 * weights_bytes(DEPTH)) };
        let products = Products {
            pixels: from_fn(|tile| rows.cast::<u8>().wrapping_add(first * UNIT * row + tile * SIDE * row)),
            count: unit.count.div_ceil(SIDE),
            stride: row,
            steps: &offsets[..count],
            weights,
            sums,
            accumulate: accumulate || first > 0,
            // The panel that follows.
            ahead: weights.wrapping_add(count * 2 * weights_bytes(DEPTH)),
            ahead_stride: AHEAD,
        };
        // SAFETY: as this function asks of its caller.
        unsafe { ready.run(&products, 2) };
    }
}

impl Attention<'_> {
    /// # Safety
    /// The unit has room for its queries, which nobody else uses.
    unsafe fn pack_queries(&self, division: Division, unit: &Unit) {
        // SAFETY: as this function asks of its caller.
        let to = unsafe { std::slice::from_raw_parts_mut(unit.queries, 2 * division.queries_len()) };
        to.fill(bf16::ZERO);
        for n in 0..unit.count {
            let query = &self.query[(unit.first + n) * self.channels..][..self.channels];
            for (step, values) in query.chunks(DEPTH).enumerate() {
                to[(step * UNIT + n) * DEPTH..][..values.len()].copy_from_slice(values);
            }
        }
    }
}

/// The index of a row's column in panels.
#[inline(always)]
fn at(row: usize, panel: usize, column: usize) -> usize {
    (panel * UNIT + row) * PANEL + column
}

/// Makes weights of a block's scores.
struct Softmax<'a> {
    division: Division,
    /// The first key.
    block: usize,
    /// Keys, filled up to whole panels.
    in_block: usize,
    scale: f32,
    unit: &'a mut Unit,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Softmax { division, block, in_block, scale, unit } = self;
        let panels = in_block / PANEL;
        let real = in_block.min(division.count - block);
        for row in 0..unit.count {
            // SAFETY: within the scratch of this unit.
            unsafe {
                for key in real..in_block {
                    unit.scores.add(at(row, key / PANEL, key % PANEL)).write(f32::NEG_INFINITY);
                }
                let mut largest = s.splat_f32s(f32::NEG_INFINITY);
                for panel in 0..panels {
                    for column in (0..PANEL).step_by(S::F32_LANES) {
                        largest = s.max_f32s(largest, load::<S>(unit.scores.add(at(row, panel, column))));
                    }
                }
                let before = unit.largest[row];
                let largest = before.max(s.reduce_max_f32s(largest));
                let factor = if largest > before { ((before - largest) * scale).exp2() } else { 1.0 };
                unit.largest[row] = largest;
                let (scales, offset) = (s.splat_f32s(scale), s.splat_f32s(-largest * scale));
                let mut total = s.splat_f32s(0.0);
                for panel in 0..panels {
                    for column in (0..PANEL).step_by(S::F32_LANES) {
                        let score = load::<S>(unit.scores.add(at(row, panel, column)));
                        let weight = exp2_for_bfloat16(s, s.mul_add_e_f32s(score, scales, offset));
                        let to = unit.weights.add(at(row, panel, column));
                        store_narrow::<S>(to, weight, S::F32_LANES);
                        total = s.add_f32s(total, bf16::load_some(s, to, S::F32_LANES));
                    }
                }
                unit.total[row] = unit.total[row] * factor + s.reduce_sum_f32s(total);
                if block > 0 && factor != 1.0 {
                    for panel in 0..division.channels / PANEL {
                        for column in (0..PANEL).step_by(S::F32_LANES) {
                            let sums = unit.sums.add(at(row, panel, column));
                            store::<S>(sums, s.mul_f32s(load::<S>(sums), s.splat_f32s(factor)));
                        }
                    }
                }
            }
        }
    }
}

/// Writes the results.
struct Finish<'a> {
    attention: Attention<'a>,
    out: BorderedOut,
    unit: &'a Unit,
}

impl WithSimd for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Finish { attention: Attention { width, channels, .. }, out, unit } = self;
        for row in 0..unit.count {
            let pixel = unit.first + row;
            let factor = s.splat_f32s(1.0 / unit.total[row]);
            // SAFETY: the pixel is in the frame, and its results are this job's own. Sums have at least as many channels.
            unsafe {
                let to = out.pixel(pixel / width, pixel % width);
                let mut c = 0;
                while c < out.frame.stored {
                    let sums = load::<S>(unit.sums.add(at(row, c / PANEL, c % PANEL)));
                    store_narrow_filled(s, to.add(c), s.mul_f32s(sums, factor), channels.saturating_sub(c));
                    c += S::F32_LANES;
                }
            }
        }
    }
}
