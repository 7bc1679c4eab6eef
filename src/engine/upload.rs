//! Uploads parts of frames to a device.

use super::frame_size::FrameSize;
use crate::error::Result;
use crate::graph::Element;
use crate::media::{Image, Rect};
use crate::runtime::{Device, Tensor};
use std::sync::Arc;

pub(super) struct Upload {
    device: Arc<Device>,
    /// A frame of each kind, in memory that the device reads directly.
    bytes: Tensor,
    floats: Tensor,
}

impl Upload {
    pub(super) fn new(device: &Arc<Device>, size: FrameSize) -> Result<Self> {
        let shape = [1, 3, size.height, size.width];
        let tensor = |element| Tensor::staged(Some(device), &shape, element);
        Ok(Upload { device: device.clone(), bytes: tensor(Element::U8)?, floats: tensor(Element::F32)? })
    }

    /// 8-bit pixels are copied as they are, all others as float32.
    pub(super) fn send(&mut self, frame: &Image<'_>, part: &Rect, to: &Tensor) -> Result<()> {
        if frame.read_bytes(self.bytes.raw_mut(), part) {
            return self.device.upload_pixels(&self.bytes, to);
        }
        frame.read(self.floats.data_mut(), part);
        self.device.upload(&self.floats, to)
    }
}
