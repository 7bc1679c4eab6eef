//! Layers over clips of channels-last frames, `[frames, height, width, channels]`, frame by frame. What a convolution reads is
//! made from the clip just before, in a ring of as many frames as it looks back at. So a normed or enlarged clip never exists.

use super::blend::Blend;
use super::conv::convolution::{Input, Method, Resources};
use super::enlarge::Doubling;
use super::group_norm::GroupNorm;
use super::norm::{LayerNorm, Norm};
use super::scratch::{NoMemory, Scratch, ScratchSize};
use super::target::Target;
use super::workers::Workers;

/// Low-rate frames of which an interpolated frame's convolution is a sum, and time taps of a kernel.
const TAPS: usize = 3;
/// Numbers for an interpolated frame; see `Interpolated::table`.
const COLUMNS: usize = 1 + TAPS * TAPS;

#[derive(Clone, Copy)]
pub(crate) struct Clip<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) frames: usize,
    /// Height and width.
    pub(crate) size: [usize; 2],
    pub(crate) channels: usize,
}

/// What is done to each frame before it is convolved.
#[derive(Clone, Copy)]
pub(crate) enum Before<'a> {
    Nothing,
    /// Its group norm. Factors as in `GroupNorm`, for each frame or for all frames together.
    Groups {
        factors: &'a [f32],
        silu: bool,
    },
    /// The norm of each pixel.
    Pixels(Norm<'a>),
    /// Height and width are doubled bilinearly.
    Doubled,
}

/// What a layer makes of a clip's frames before it convolves them, for its scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClipFrames {
    /// Whether height and width are doubled.
    pub(crate) doubled: bool,
    /// Of all frames that exist at a time.
    pub(crate) channels: usize,
}

/// A convolution of every frame, or of every second one, with the frames before it.
#[derive(Clone, Copy)]
pub(crate) struct ClipConvolution<'a> {
    pub(crate) method: Method,
    pub(crate) clip: Clip<'a>,
    pub(crate) before: Before<'a>,
    /// Time taps. The first frame stands for those before it.
    pub(crate) times: usize,
    /// Distance of the frames that have a result: 1 or 2.
    pub(crate) every: usize,
    pub(crate) weights: &'a [f32],
    pub(crate) bias: &'a [f32],
    /// Added to the result, and of its shape.
    pub(crate) residual: Option<&'a [f32]>,
}

/// A convolution of three time taps over interpolated frames: each low-rate frame is convolved by each tap, and results are
/// weighted sums of nine.
#[derive(Clone, Copy)]
pub(crate) struct Interpolated<'a> {
    pub(crate) method: Method,
    pub(crate) clip: Clip<'a>,
    /// Height and width are doubled before.
    pub(crate) doubled: bool,
    /// For each result, the index of its newest low-rate frame, then the weights of this frame's and the two before its taps, the
    /// oldest first.
    pub(crate) table: &'a [f32],
    /// Of a convolution of one frame whose output channels are those of the oldest tap, then of the next.
    pub(crate) weights: &'a [f32],
    pub(crate) bias: &'a [f32],
}

/// Weighted sums of three neighbouring frames.
#[derive(Clone, Copy)]
pub(crate) enum FrameSums<'a> {
    /// Interpolated frames. The table is that of `Interpolated`; only the newest tap's weights count.
    Interpolated(&'a [f32]),
    /// The mean of every second frame and the two before it.
    Halved,
}

/// Tells whether the caller has lost interest. Results are incomplete then.
type Stopped<'a> = &'a dyn Fn() -> bool;

impl<'a> Clip<'a> {
    fn frame_len(&self) -> usize {
        self.size[0] * self.size[1] * self.channels
    }

    /// The frame `back` frames before frame `n`, or the first one if there is none.
    fn frame(&self, n: usize, back: usize) -> &'a [f32] {
        &self.values[n.saturating_sub(back) * self.frame_len()..][..self.frame_len()]
    }

    fn check(&self) {
        assert_eq!(self.values.len(), self.frames * self.frame_len(), "{} frames of {:?}", self.frames, self.size);
    }
}

impl Before<'_> {
    fn size(self, size: [usize; 2]) -> [usize; 2] {
        if matches!(self, Before::Doubled) { size.map(|side| 2 * side) } else { size }
    }

    /// # Safety
    /// `to` has room for the frame.
    unsafe fn run(self, clip: &Clip, n: usize, target: Target, resources: Resources, to: *mut f32) {
        let (pixels, workers) = (clip.frame(n, 0), resources.workers);
        // SAFETY: as this function asks of its caller.
        unsafe {
            match self {
                Before::Nothing => to.copy_from_nonoverlapping(pixels.as_ptr(), pixels.len()),
                Before::Groups { factors, silu } => {
                    let len = 3 * clip.channels;
                    let factors = if factors.len() == len { factors } else { &factors[n * len..][..len] };
                    target.normalize_groups(GroupNorm { pixels, factors, silu }, workers, to);
                }
                Before::Pixels(norm) => target.normalize(LayerNorm { pixels, norm }, workers, to),
                Before::Doubled => {
                    target.double(Doubling { pixels, size: clip.size, channels: clip.channels }, workers, to);
                }
            }
        }
    }
}

impl ClipFrames {
    /// Of a convolution of `times` time taps.
    pub(crate) fn ring(doubled: bool, c_in: usize, times: usize) -> Self {
        ClipFrames { doubled, channels: times * c_in }
    }

    /// Of an interpolation. `c_out` are the channels of all taps.
    pub(crate) fn interpolated(doubled: bool, c_in: usize, c_out: usize) -> Self {
        ClipFrames { doubled, channels: TAPS * c_out + if doubled { c_in } else { 0 } }
    }

    /// For a clip of frames of `[height, width]`.
    pub(crate) fn scratch(self, [height, width]: [usize; 2]) -> ScratchSize {
        let times = if self.doubled { 4 } else { 1 };
        ScratchSize { frames: times * height * width * self.channels, ..ScratchSize::default() }
    }
}

impl ClipConvolution<'_> {
    /// Frames of the result.
    pub(crate) fn frames(&self) -> usize {
        self.clip.frames.div_ceil(self.every)
    }

    /// Of the result.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.method.output_size(self.before.size(self.clip.size))
    }

    /// # Safety
    /// `output` has room for the result. It may hold anything, and nothing else uses it.
    pub(crate) unsafe fn run(
        &self,
        target: Target,
        resources: Resources,
        stopped: Stopped,
        output: *mut f32,
    ) -> Result<(), NoMemory> {
        let ClipConvolution { method, clip, before, times, every, weights, bias, residual } = *self;
        clip.check();
        assert!((1..=TAPS).contains(&times) && every > 0);
        let size = before.size(clip.size);
        let (len, result) = (size[0] * size[1] * clip.channels, self.size().iter().product::<usize>() * bias.len());
        assert!(residual.is_none_or(|residual| residual.len() == self.frames() * result), "a residual like the result");
        let mut ring = match before {
            Before::Nothing => None,
            _ => {
                let frames = ClipFrames::ring(matches!(before, Before::Doubled), clip.channels, times);
                Some(resources.scratch.frames(frames.scratch(clip.size))?)
            }
        };
        let ring = ring.as_mut().map(Scratch::start);
        let mut next = 0;
        for (n, now) in (0..clip.frames).step_by(every).enumerate() {
            if stopped() {
                return Ok(());
            }
            next = next.max((now + 1).saturating_sub(times));
            let mut frames = [&[][..]; TAPS];
            for (tap, frame) in frames[..times].iter_mut().enumerate() {
                let back = times - 1 - tap;
                *frame = match ring {
                    None => clip.frame(now, back),
                    // SAFETY: the ring has a slot for each of the last frames.
                    Some(ring) => unsafe {
                        while next <= now.saturating_sub(back) {
                            before.run(&clip, next, target, resources, ring.add(next % times * len));
                            next += 1;
                        }
                        std::slice::from_raw_parts(ring.add(now.saturating_sub(back) % times * len), len)
                    },
                };
            }
            let input = Input {
                frames: &frames[..times],
                height: size[0],
                width: size[1],
                c_in: clip.channels,
                weights,
                bias,
                residual: residual.map(|residual| &residual[n * result..][..result]),
            };
            // SAFETY: the caller promises the output.
            unsafe { target.convolve(method, input, resources, output.add(n * result))? };
        }
        Ok(())
    }
}

impl Interpolated<'_> {
    /// Of the result.
    pub(crate) fn frames(&self) -> usize {
        self.table.len() / COLUMNS
    }

    /// Of the result.
    pub(crate) fn channels(&self) -> usize {
        self.bias.len() / TAPS
    }

    /// Of the result.
    pub(crate) fn size(&self) -> [usize; 2] {
        if self.doubled { Before::Doubled.size(self.clip.size) } else { self.clip.size }
    }

    /// # Safety
    /// As that of `ClipConvolution::run`.
    pub(crate) unsafe fn run(
        &self,
        target: Target,
        resources: Resources,
        stopped: Stopped,
        output: *mut f32,
    ) -> Result<(), NoMemory> {
        let Interpolated { method, clip, doubled, table, weights, bias } = *self;
        clip.check();
        assert!(table.len().is_multiple_of(COLUMNS) && bias.len().is_multiple_of(TAPS));
        let [height, width] = self.size();
        assert_eq!(method.output_size([height, width]), [height, width], "{method:?} between frames");
        let (c_in, c_out, channels) = (clip.channels, bias.len(), self.channels());
        let (read, made) = (height * width * c_in, height * width * c_out);
        let frames = ClipFrames::interpolated(doubled, c_in, c_out);
        let mut scratch = resources.scratch.frames(frames.scratch(clip.size))?;
        let ring = scratch.start();
        let enlarged = ring.wrapping_add(TAPS * made);
        let mut next = 0;
        for (n, row) in table.chunks_exact(COLUMNS).enumerate() {
            let newest = row[0] as usize;
            assert!(newest < clip.frames, "frame {newest} of {}", clip.frames);
            next = next.max((newest + 1).saturating_sub(TAPS));
            while next <= newest {
                if stopped() {
                    return Ok(());
                }
                let mut frame = clip.frame(next, 0);
                // SAFETY: the scratch has room for this frame, and for the last results.
                unsafe {
                    if doubled {
                        Before::Doubled.run(&clip, next, target, resources, enlarged);
                        frame = std::slice::from_raw_parts(enlarged, read);
                    }
                    let input = Input { frames: &[frame], height, width, c_in, weights, bias, residual: None };
                    target.convolve(method, input, resources, ring.add(next % TAPS * made))?;
                }
                next += 1;
            }
            let at = |back: usize| newest.saturating_sub(back) % TAPS * made;
            // SAFETY: these results are in the ring; the caller promises the output.
            unsafe {
                let frames = [2, 1, 0].map(|back| std::slice::from_raw_parts(ring.add(at(back)), made));
                let blend = Blend { frames: &frames, weights: &row[1..], channels };
                target.blend(blend, resources.workers, output.add(n * height * width * channels));
            }
        }
        Ok(())
    }
}

impl FrameSums<'_> {
    /// Of the result, for a clip of so many frames.
    pub(crate) fn frames(self, frames: usize) -> usize {
        match self {
            FrameSums::Interpolated(table) => table.len() / COLUMNS,
            FrameSums::Halved => frames.div_ceil(2),
        }
    }

    /// # Safety
    /// As that of `ClipConvolution::run`.
    pub(crate) unsafe fn run(self, clip: Clip, target: Target, workers: Workers, stopped: Stopped, output: *mut f32) {
        clip.check();
        for n in 0..self.frames(clip.frames) {
            if stopped() {
                return;
            }
            let (newest, weights) = match self {
                FrameSums::Interpolated(table) => {
                    let row = &table[n * COLUMNS..][..COLUMNS];
                    (row[0] as usize, [row[TAPS], row[2 * TAPS], row[3 * TAPS]])
                }
                FrameSums::Halved => (2 * n, [1.0 / 3.0; TAPS]),
            };
            let frames = [2, 1, 0].map(|back| clip.frame(newest, back));
            let blend = Blend { frames: &frames, weights: &weights, channels: clip.channels };
            // SAFETY: the caller promises the output.
            unsafe { target.blend(blend, workers, output.add(n * clip.frame_len())) };
        }
    }
}
