//! Frames that matrix units read: bfloat16, channels-last, with zeros around them.
//!
//! A row is followed by one pixel of zeros, which is also what comes before the next row. So every tap of a kernel is at a fixed
//! distance from its pixel, and tiles of pixels may run from one row to the next: what they compute for the zeros is dropped.
//! Zeros also fill a row and a pixel before the frame, and what tiles may read after it.

use super::level::Level;
use super::micro::bfloat16::store_narrow;
use super::micro::tiles::{DEPTH, SIDE};
use super::micro::vectors::load_some;
use super::workers::{Shared, Workers};
use half::bf16;
use pulp::{Simd, WithSimd};

/// Pixels that tiles may read after the frame and the zeros below it.
const SLACK: usize = 2 * SIDE;

/// How such a frame lies in memory: `[rows, pitch, stored]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bordered {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Channels in memory. Those after the frame's own are zero.
    pub(crate) stored: usize,
}

impl Bordered {
    pub(crate) fn new([height, width]: [usize; 2], channels: usize) -> Self {
        Bordered { height, width, stored: Self::stored(channels) }
    }

    /// So that a step of a tile is no more than one cache line of each pixel.
    pub(crate) fn stored(channels: usize) -> usize {
        if channels <= SIDE { SIDE } else { channels.next_multiple_of(DEPTH) }
    }

    pub(crate) fn shape(self) -> [usize; 3] {
        [self.height + 2 + self.slack_rows(), self.pitch(), self.stored]
    }

    /// The frame that has this shape.
    pub(crate) fn of_shape([rows, pitch, stored]: [usize; 3]) -> Option<Self> {
        let width = pitch.checked_sub(1)?;
        let height = rows.checked_sub(2 + SLACK.div_ceil(pitch))?;
        Some(Bordered { height, width, stored })
    }

    pub(super) fn len(self) -> usize {
        self.shape().iter().product()
    }

    /// Pixels from one row to the next.
    pub(super) fn pitch(self) -> usize {
        self.width + 1
    }

    /// The index of the row's first pixel.
    pub(super) fn row(self, y: usize) -> usize {
        1 + (y + 1) * self.pitch()
    }

    fn slack_rows(self) -> usize {
        SLACK.div_ceil(self.pitch())
    }

    /// Writes everything but the frame.
    ///
    /// # Safety
    /// `to` has room for such a frame, and nobody else uses its zeros.
    pub(super) unsafe fn write_zeros(self, to: *mut bf16) {
        // SAFETY: as this function asks of its caller.
        let zeros = |from: usize, until: usize| unsafe {
            to.add(from * self.stored).write_bytes(0, (until - from) * self.stored);
        };
        zeros(0, self.row(0));
        for y in 0..self.height {
            let end = self.row(y) + self.width;
            zeros(end, end + 1);
        }
        zeros(self.row(self.height), self.len() / self.stored);
    }
}

/// Where a bordered frame is written to.
#[derive(Clone, Copy)]
pub(super) struct BorderedOut {
    pub(super) frame: Bordered,
    pub(super) to: Shared<bf16>,
}

impl BorderedOut {
    /// # Safety
    /// As that of `Bordered::write_zeros`, until this is used for the last time.
    pub(super) unsafe fn begin(frame: Bordered, to: *mut bf16) -> Self {
        // SAFETY: as this function asks of its caller.
        unsafe { frame.write_zeros(to) };
        BorderedOut { frame, to: Shared(to) }
    }

    /// Pixel `x` of row `y`.
    ///
    /// # Safety
    /// It is in the frame.
    #[inline(always)]
    pub(super) unsafe fn pixel(self, y: usize, x: usize) -> *mut bf16 {
        // SAFETY: as this function asks of its caller.
        unsafe { self.to.at((self.frame.row(y) + x) * self.frame.stored) }
    }
}

/// Makes a bordered frame of a frame `[height, width, channels]`.
#[derive(Clone, Copy)]
pub(crate) struct Narrow<'a> {
    pub(crate) frame: &'a [f32],
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// With height and width doubled by half-pixel bilinear interpolation.
    pub(crate) doubled: bool,
}

impl Narrow<'_> {
    pub(crate) fn result(&self) -> Bordered {
        let scale = if self.doubled { 2 } else { 1 };
        Bordered::new([scale * self.height, scale * self.width], self.channels)
    }

    /// # Safety
    /// `output` has room for the result. It may hold anything, and nothing else uses it.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, output: *mut bf16) {
        let Narrow { frame, height, width, channels, .. } = *self;
        assert_eq!(frame.len(), height * width * channels);
        let result = self.result();
        // SAFETY: as this function asks of its caller.
        let out = unsafe { BorderedOut::begin(result, output) };
        workers(result.height, &|row| {
            level.dispatch(Row { narrow: *self, row, out });
        });
    }
}

struct Row<'a> {
    narrow: Narrow<'a>,
    row: usize,
    out: BorderedOut,
}

impl WithSimd for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, s: S) {
        let Row { narrow: Narrow { frame, height, width, channels, doubled }, row, out } = self;
        let at = |y: usize, x: usize| (y * width + x) * channels;
        // Of a side: the nearer pixel, the other one, which may be the same at an edge.
        let near = |to: usize, size: usize| {
            let nearer = to / 2;
            [nearer, if to.is_multiple_of(2) { nearer.saturating_sub(1) } else { (nearer + 1).min(size - 1) }]
        };
        for column in 0..out.frame.width {
            // SAFETY: pixels are in the frames, and the row is this job's own.
            unsafe {
                let to = out.pixel(row, column);
                let mut c = 0;
                while c < out.frame.stored {
                    let (from, some) = (frame.as_ptr().add(c.min(channels)), channels.saturating_sub(c));
                    let value = if doubled {
                        let ([y, other_y], [x, other_x]) = (near(row, height), near(column, width));
                        let (most, rest) = (s.splat_f32s(0.75), s.splat_f32s(0.25));
                        let [a, b] =
                            [load_some(s, from.add(at(y, x)), some), load_some(s, from.add(at(y, other_x)), some)];
                        let nearer = s.mul_add_e_f32s(a, most, s.mul_f32s(b, rest));
                        let [a, b] = [
                            load_some(s, from.add(at(other_y, x)), some),
                            load_some(s, from.add(at(other_y, other_x)), some),
                        ];
                        let other = s.mul_add_e_f32s(a, most, s.mul_f32s(b, rest));
                        s.mul_add_e_f32s(nearer, most, s.mul_f32s(other, rest))
                    } else {
                        load_some(s, from.add(at(row, column)), some)
                    };
                    store_narrow::<S>(to.add(c), value, S::F32_LANES);
                    c += S::F32_LANES;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_from_their_shapes() {
        for channels in [1, 16, 17, 48, 64, 80] {
            for height in [0, 1, 2, 3, 16, 33, 240] {
                for width in [0, 1, 2, 7, 16, 31, 32, 64, 65, 424] {
                    let frame = Bordered::new([height, width], channels);
                    assert_eq!(Bordered::of_shape(frame.shape()), Some(frame));
                    assert!(frame.stored >= channels);
                    // What a tile of every second pixel reads that begins at the last but one of the last row but one.
                    if height >= 2 && width >= 2 {
                        let last = frame.row(height - 2) + width - 2 + 2 * (SIDE - 1) + 2 * frame.pitch() + 2;
                        assert!(last < frame.len() / frame.stored, "{frame:?}");
                    }
                    // And of every pixel that begins at the zeros after the last row.
                    let last = frame.row(height) - 1 - frame.pitch() + SIDE - 1 + frame.pitch() + 1;
                    assert!(last < frame.len() / frame.stored, "{frame:?}");
                }
            }
        }
        assert_eq!(Bordered::of_shape([3, 1, 16]), None);
        assert_eq!(Bordered::of_shape([3, 0, 16]), None);
    }
}
