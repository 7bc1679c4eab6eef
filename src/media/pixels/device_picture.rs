//! Pictures in a device's memory, as its kernels take them (src/runtime/cuda/pixels.cu has the same struct).

use super::format::Range;
use super::layout::Layout;
use super::shape::{Colour, Element};
use super::yuv::{Axis, Conversion};

/// A picture, for kernels. Distances are in bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct DevicePicture {
    /// Of R, G, B, or Y, Cb, Cr; then alpha, null if there is none. Of grey, the first thrice.
    first: [*mut u8; 4],
    strides: [i64; 4],
    steps: [i64; 4],
    size: [i32; 2],
    /// Samples of chroma.
    samples: [i32; 2],
    element: i32,
    /// Bits of a 16-bit word below its value.
    shift: i32,
    colour: i32,
    /// How chroma lies across and down.
    axes: [i32; 2],
    largest: f32,
    /// The weights of R and B in luma.
    weights: [f32; 2],
    /// Of luma, then of chroma: the code of 0, and how many codes 1 is.
    scales: [f32; 4],
}

impl DevicePicture {
    /// Without pixels.
    pub(crate) const EMPTY: DevicePicture = DevicePicture {
        first: [std::ptr::null_mut(); 4],
        strides: [0; 4],
        steps: [0; 4],
        size: [0; 2],
        samples: [0; 2],
        element: 0,
        shift: 0,
        colour: 0,
        axes: [0; 2],
        largest: 1.0,
        weights: [0.0; 2],
        scales: [0.0; 4],
    };

    pub(super) fn of(layout: &Layout) -> Self {
        let [r, g, b] = layout.channels;
        let channels = [Some(r), Some(g), Some(b), layout.alpha];
        let of = |channel: usize, what: fn(&super::layout::Channel) -> isize| {
            channels[channel].as_ref().map_or(0, |channel| what(channel) as i64)
        };
        let (element, shift) = match layout.element {
            Element::U8 => (0, 0),
            Element::U16 { shift, .. } => (1, shift as i32),
            Element::F16 => (2, 0),
            Element::Bf16 => (3, 0),
            Element::F32 => (4, 0),
        };
        let colour = match layout.colour {
            Colour::Rgb(_) if !layout.element.is_float() => 0,
            Colour::Rgb(Range::Unit) => 1,
            Colour::Rgb(Range::Signed) => 2,
            Colour::Yuv(..) => 3,
            Colour::Gray(_) => 4,
        };
        let conversion = Conversion::of(layout);
        let axis = |axis: Axis| match axis {
            Axis::Every => 0,
            Axis::Cosited => 1,
            Axis::Centred => 2,
            Axis::CositedInFour => 3,
        };
        DevicePicture {
            first: channels.map(|channel| channel.map_or(std::ptr::null_mut(), |channel| channel.first)),
            strides: [0, 1, 2, 3].map(|i| of(i, |channel| channel.stride)),
            steps: [0, 1, 2, 3].map(|i| of(i, |channel| channel.step)),
            size: [layout.width, layout.height].map(|n| n as i32),
            samples: layout.channel_size(1).map(|n| n as i32),
            element,
            shift,
            colour,
            axes: conversion.as_ref().map_or([0; 2], |c| [c.across, c.down].map(axis)),
            largest: layout.element.largest(),
            weights: conversion.as_ref().map_or([0.0; 2], |c| [c.kr, c.kb]),
            scales: conversion.as_ref().map_or([0.0; 4], |c| [c.luma.zero, c.luma.span, c.chroma.zero, c.chroma.span]),
        }
    }

    /// Columns and rows.
    pub(crate) fn size(&self) -> [usize; 2] {
        self.size.map(|n| n as usize)
    }

    /// Samples of each plane of chroma, if it has such planes.
    pub(crate) fn chroma(&self) -> Option<[usize; 2]> {
        (self.colour == 3).then(|| self.samples.map(|n| n as usize))
    }
}

impl Layout {
    /// The lowest and the highest address of each channel's values.
    pub(super) fn extents(&self) -> impl Iterator<Item = [*mut u8; 2]> {
        let bytes = self.element.bytes();
        let channels = (0..3).map(|i| (self.channels[i], self.channel_size(i)));
        let alpha = self.alpha.map(|channel| (channel, [self.width, self.height]));
        channels.chain(alpha).map(move |(channel, [columns, rows])| {
            let corners = [(0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)];
            let corners = corners.map(|(x, y)| channel.at(x, y));
            let last = corners.into_iter().max().expect("four corners");
            [corners.into_iter().min().expect("four corners"), last.wrapping_add(bytes - 1)]
        })
    }
}
