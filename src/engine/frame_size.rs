//! The size of an engine's frames, and tensors for it.

use crate::error::Result;
use crate::graph::Port;
use crate::media::Rect;
use crate::runtime::{Device, Tensor};
use std::sync::Arc;

/// In pixels; multiples of the spatial compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameSize {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

impl FrameSize {
    pub(crate) fn rect(self) -> Rect {
        Rect::of(self.width, self.height)
    }

    pub(crate) fn pixels(self) -> u64 {
        (self.width * self.height) as u64
    }

    /// As graphs take it: height, width.
    pub(crate) fn axes(self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Bytes of one frame of a port.
    pub(crate) fn bytes(self, port: &Port) -> u64 {
        (port.shape(self.axes(), 1).iter().product::<usize>() * port.element.bytes()) as u64
    }

    /// A tensor that two steps share, or two runs of one.
    pub(super) fn tensor(self, port: &Port, device: Option<&Arc<Device>>) -> Result<Tensor> {
        Tensor::on(device, &port.shape(self.axes(), 1), port.element)
    }

    /// Tensors of these ports, side by side if they are in CPU memory.
    pub(super) fn tensors<'a>(
        self,
        ports: impl Iterator<Item = &'a Port>,
        device: Option<&Arc<Device>>,
    ) -> Result<Vec<Tensor>> {
        if device.is_some() {
            return ports.map(|port| self.tensor(port, device)).collect();
        }
        let shapes: Vec<_> = ports.map(|port| (port.shape(self.axes(), 1), port.element)).collect();
        Tensor::together(&shapes)
    }

    /// A tensor of several frames.
    pub(super) fn clip_tensor(self, port: &Port, frames: usize) -> Result<Tensor> {
        Tensor::new(&port.shape(self.axes(), frames), port.element)
    }
}
