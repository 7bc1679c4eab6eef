//! Tensors of a graph: their shapes and element types.

use crate::kernels::Bordered;

/// How a tensor's shape follows from the frame's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[1, channels, H / divisor, W / divisor]`
    Frame,
    /// `[1, H / divisor, W / divisor, channels]`
    Pixels,
    /// What matrix units read: `[1, rows, pitch, channels]`, see `kernels::Bordered`.
    Bordered,
    /// `[1, channels, T, H / divisor, W / divisor]`
    Clip,
    /// `[T, H / divisor, W / divisor, channels]`
    ClipPixels,
    /// `[N]`, one for each channel. For interpolations in graphs of a whole clip, as many for each frame.
    Numbers,
    /// Any shape.
    Any,
}

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Element {
    #[default]
    F32,
    F16,
    Bf16,
    U8,
    I64,
}

/// A tensor of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) channels: usize,
    pub(crate) divisor: usize,
    pub(crate) layout: Layout,
    pub(crate) element: Element,
    /// The clip's frames for each of its own, in graphs of a whole clip; else 1.
    pub(crate) slower: usize,
}

/// A value that is an input or output of the graph.
pub(crate) type Port = Value;

impl Value {
    pub(super) fn channel_axis(&self) -> i64 {
        if matches!(self.layout, Layout::Pixels | Layout::ClipPixels) { 3 } else { 1 }
    }

    /// For frames of `[height, width]`, of which a clip has `frames`.
    pub(crate) fn shape(&self, [height, width]: [usize; 2], frames: usize) -> Vec<usize> {
        let (height, width) = (height / self.divisor, width / self.divisor);
        match self.layout {
            Layout::Frame => vec![1, self.channels, height, width],
            Layout::Pixels => vec![1, height, width, self.channels],
            Layout::Bordered => {
                let [rows, pitch, stored] = Bordered::new([height, width], self.channels).shape();
                vec![1, rows, pitch, stored]
            }
            Layout::Clip => vec![1, self.channels, frames, height, width],
            Layout::ClipPixels => vec![frames, height, width, self.channels],
            Layout::Numbers => vec![self.channels * frames],
            Layout::Any => unreachable!("no port of a step"),
        }
    }

    /// Its memory in elements of float32, divided by the pixels of a frame, or of all of a clip's frames.
    pub(super) fn floats_per_pixel(&self) -> f64 {
        match self.layout {
            // The zeros around large frames are few.
            Layout::Bordered => 0.5 * Bordered::stored(self.channels) as f64 / (self.divisor * self.divisor) as f64,
            Layout::Frame | Layout::Pixels | Layout::Clip | Layout::ClipPixels => {
                self.channels as f64 / (self.divisor * self.divisor * self.slower) as f64
            }
            Layout::Numbers | Layout::Any => 0.0,
        }
    }
}

impl Element {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
            Element::U8 => 1,
            Element::I64 => 8,
        }
    }
}
