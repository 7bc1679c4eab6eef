//! Haar transforms between pictures, which are planes, and coefficients, which are channels-last.
//!
//! A block of 2x2 pixels, or in 3D of 2x2x2 pixels of two pictures, becomes a coefficient of each band. Bands are numbered by the
//! axes along which they take differences: 4 t + 2 h + w in 3D, and h + 2 w in 2D, which is the reference's order. Coefficients
//! of a pixel are grouped by band; a band has one for each channel of the pictures.

use super::bordered::{Bordered, BorderedOut};
use super::level::Level;
use super::micro::bfloat16::narrow;
use super::workers::{Shared, Workers};
use half::bf16;
use pulp::{Simd, WithSimd};
use std::array::from_fn;

/// Coefficients of a row that are computed at a time.
const BLOCK: usize = 64;
/// Of a transform of two pictures.
const BANDS: usize = 8;
/// Channels of a picture, at most.
const CHANNELS: usize = 4;

/// Of one picture (2D) or of two (3D): sums and differences times a gain.
#[derive(Clone, Copy)]
pub(crate) struct Analysis<'a> {
    /// `[channels, height, width]`, both even.
    pub(crate) pictures: &'a [&'a [f32]],
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) gain: f32,
}

/// The inverse of `Analysis`, if its gain is the inverse of that one's times the number of bands.
#[derive(Clone, Copy)]
pub(crate) struct Synthesis<'a> {
    /// `[height, width, bands * channels]`
    pub(crate) coefficients: &'a [f32],
    /// Added to the band of sums: `[channels, height, width]`.
    pub(crate) low: Option<&'a [f32]>,
    pub(crate) channels: usize,
    /// Of the coefficients.
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) gain: f32,
}

/// Where coefficients go.
#[derive(Clone, Copy)]
pub(crate) enum Coefficients {
    /// `[height, width, bands * channels]`
    Pixels(*mut f32),
    /// A bordered frame of these pixels.
    Bordered(*mut bf16),
}

impl Analysis<'_> {
    /// Coefficients of a pixel.
    pub(crate) fn coefficients(&self) -> usize {
        bands(self.pictures.len()) * self.channels
    }

    /// Height and width of the coefficients.
    pub(crate) fn result(&self) -> [usize; 2] {
        [self.height / 2, self.width / 2]
    }

    /// # Safety
    /// `to` has room for the coefficients, and `low` for the band of sums, `[channels, height / 2, width / 2]`. They may hold
    /// anything, and nothing else uses them.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, to: Coefficients, low: Option<*mut f32>) {
        let Analysis { pictures, channels, height, width, .. } = *self;
        assert!(matches!(pictures.len(), 1 | 2) && height.is_multiple_of(2) && width.is_multiple_of(2));
        assert!((1..=CHANNELS).contains(&channels), "{channels} channels");
        assert!(pictures.iter().all(|picture| picture.len() == channels * height * width), "{height}x{width}");
        let to = match to {
            Coefficients::Pixels(to) => Out::Pixels(Shared(to)),
            Coefficients::Bordered(to) => {
                // SAFETY: as this function asks of its caller.
                Out::Bordered(unsafe { BorderedOut::begin(Bordered::new(self.result(), self.coefficients()), to) })
            }
        };
        let low = low.map(Shared);
        workers(height / 2, &|row| level.dispatch(AnalysisRow { analysis: *self, row, to, low }));
    }
}

impl Synthesis<'_> {
    /// # Safety
    /// The pictures, of which there are one (2D) or two (3D), have room for `[channels, 2 height, 2 width]`. They may hold
    /// anything, and nothing else uses them.
    pub(super) unsafe fn run(&self, level: Level, workers: Workers, pictures: &[*mut f32]) {
        let Synthesis { coefficients, low, channels, height, width, .. } = *self;
        assert!(matches!(pictures.len(), 1 | 2), "{} pictures", pictures.len());
        assert!((1..=CHANNELS).contains(&channels), "{channels} channels");
        assert_eq!(coefficients.len(), height * width * bands(pictures.len()) * channels, "{height}x{width}");
        assert!(low.is_none_or(|low| low.len() == channels * height * width), "{height}x{width}");
        let pictures: [_; 2] = from_fn(|i| pictures.get(i).map(|picture| Shared(*picture)));
        workers(height, &|row| level.dispatch(SynthesisRow { synthesis: *self, row, pictures }));
    }
}

fn bands(pictures: usize) -> usize {
    4 * pictures
}

/// The number of the band of these differences, 4 t + 2 h + w.
fn band(pictures: usize, differences: usize) -> usize {
    match pictures {
        1 => differences >> 1 | (differences & 1) << 1,
        _ => differences,
    }
}

#[derive(Clone, Copy)]
enum Out {
    Pixels(Shared),
    Bordered(BorderedOut),
}

/// Values of neighbouring pixels, for each combination of differences, 4 t + 2 h + w, or for each place in a block.
type Block = [[f32; BLOCK]; BANDS];

/// Replaces values by the sums and differences along an axis: of those whose numbers differ by `apart`.
#[inline(always)]
fn sums_and_differences(block: &mut Block, count: usize, apart: usize) {
    for i in 0..count {
        if i & apart == 0 {
            let (lower, upper) = block.split_at_mut(i + apart);
            for (a, b) in lower[i].iter_mut().zip(&mut upper[0]) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
    }
}

/// Coefficients of neighbouring pixels.
type Coefficient = [f32; BLOCK];

/// Each coefficient of some pixels.
struct Columns([Coefficient; BANDS * CHANNELS]);

impl Columns {
    #[inline(always)]
    fn new() -> Self {
        Columns([[0.0; BLOCK]; BANDS * CHANNELS])
    }

    /// # Safety
    /// There is room for `count` pixels of `of_pixel` coefficients.
    #[inline(always)]
    unsafe fn store(&self, to: *mut f32, count: usize, of_pixel: usize) {
        for i in 0..count {
            for (n, column) in self.0[..of_pixel].iter().enumerate() {
                // SAFETY: as this function asks of its caller.
                unsafe { to.add(i * of_pixel + n).write(column[i]) };
            }
        }
    }

    /// As bfloat16, two at a time.
    ///
    /// # Safety
    /// There is room for `count` pixels of `stored` coefficients. A pixel has `of_pixel` of its own, an even number.
    #[inline(always)]
    unsafe fn store_narrow(&self, to: *mut bf16, count: usize, of_pixel: usize, stored: usize) {
        for (n, pair) in self.0[..of_pixel].chunks_exact(2).enumerate() {
            let mut pairs = [0; BLOCK];
            for i in 0..BLOCK {
                let [first, second] = [narrow(pair[0][i]), narrow(pair[1][i])];
                pairs[i] = u32::from(first.to_bits()) | u32::from(second.to_bits()) << 16;
            }
            for (i, pair) in pairs[..count].iter().enumerate() {
                // SAFETY: as this function asks of its caller.
                unsafe { to.add(i * stored + 2 * n).cast::<u32>().write_unaligned(pair.to_le()) };
            }
        }
        for i in 0..count {
            // SAFETY: as this function asks of its caller.
            unsafe { to.add(i * stored + of_pixel).write_bytes(0, stored - of_pixel) };
        }
    }
}

struct AnalysisRow<'a> {
    analysis: Analysis<'a>,
    /// Of the coefficients.
    row: usize,
    to: Out,
    low: Option<Shared>,
}

impl WithSimd for AnalysisRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let AnalysisRow { analysis: Analysis { pictures, channels, height, width, gain }, row, to, low } = self;
        let times = pictures.len();
        let bands = bands(times);
        let of_pixel = bands * channels;
        let (mut block, mut columns): (Block, _) = ([[0.0; BLOCK]; BANDS], Columns::new());
        for x in (0..width / 2).step_by(BLOCK) {
            let count = BLOCK.min(width / 2 - x);
            for c in 0..channels {
                for (t, picture) in pictures.iter().enumerate() {
                    for h in 0..2 {
                        let pixels = &picture[(c * height + 2 * row + h) * width + 2 * x..][..2 * count];
                        for (i, pair) in pixels.chunks_exact(2).enumerate() {
                            let [even, odd] = [4 * t + 2 * h, 4 * t + 2 * h + 1];
                            (block[even][i], block[odd][i]) = (pair[0], pair[1]);
                        }
                    }
                }
                for apart in [1, 2, 4] {
                    if apart < bands {
                        sums_and_differences(&mut block, bands, apart);
                    }
                }
                for differences in 0..bands {
                    let column = &mut columns.0[band(times, differences) * channels + c];
                    for i in 0..BLOCK {
                        column[i] = gain * block[differences][i];
                    }
                }
                if let Some(low) = low {
                    // SAFETY: this row's results are the job's own.
                    unsafe {
                        let low = low.at((c * height / 2 + row) * (width / 2) + x);
                        low.copy_from_nonoverlapping(columns.0[c].as_ptr(), count);
                    }
                }
            }
            // SAFETY: as above.
            unsafe {
                match to {
                    Out::Pixels(to) => columns.store(to.at((row * (width / 2) + x) * of_pixel), count, of_pixel),
                    Out::Bordered(out) => columns.store_narrow(out.pixel(row, x), count, of_pixel, out.frame.stored),
                }
            }
        }
    }
}

struct SynthesisRow<'a> {
    synthesis: Synthesis<'a>,
    /// Of the coefficients.
    row: usize,
    pictures: [Option<Shared>; 2],
}

impl WithSimd for SynthesisRow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let SynthesisRow { synthesis, row, pictures } = self;
        let Synthesis { coefficients, low, channels, height, width, gain } = synthesis;
        let times = pictures.iter().flatten().count();
        let bands = bands(times);
        let of_pixel = bands * channels;
        let mut block: Block = [[0.0; BLOCK]; BANDS];
        for x in (0..width).step_by(BLOCK) {
            let count = BLOCK.min(width - x);
            for c in 0..channels {
                let pixels = &coefficients[(row * width + x) * of_pixel..][..count * of_pixel];
                for (i, pixel) in pixels.chunks_exact(of_pixel).enumerate() {
                    for differences in 0..bands {
                        block[differences][i] = pixel[band(times, differences) * channels + c];
                    }
                }
                if let Some(low) = low {
                    let low = &low[(c * height + row) * width + x..][..count];
                    for i in 0..count {
                        block[0][i] += low[i];
                    }
                }
                for apart in [4, 2, 1] {
                    if apart < bands {
                        sums_and_differences(&mut block, bands, apart);
                    }
                }
                for i in 0..bands {
                    for value in &mut block[i] {
                        *value *= gain;
                    }
                }
                for (t, picture) in pictures.iter().flatten().enumerate() {
                    for h in 0..2 {
                        let [even, odd] = [4 * t + 2 * h, 4 * t + 2 * h + 1];
                        // SAFETY: this row's results are the job's own.
                        unsafe {
                            let to = picture.at((c * 2 * height + 2 * row + h) * 2 * width + 2 * x);
                            for i in 0..count {
                                to.add(2 * i).write(block[even][i]);
                                to.add(2 * i + 1).write(block[odd][i]);
                            }
                        }
                    }
                }
            }
        }
    }
}
