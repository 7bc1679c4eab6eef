//! The alpha of a picture, carried beside the network.

use super::layout::Layout;
use super::rect::Rect;
use super::shape::Element;
use super::values::BLOCK;
use crate::error::{Result, fail};
use crate::finite::first_not_finite;
use crate::memory;
use std::sync::Arc;

/// A plane of alpha: 0 is transparent, and 255 or 1.0 is opaque. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Alpha {
    width: usize,
    height: usize,
    values: Values,
}

#[derive(Clone)]
enum Values {
    Bytes(Arc<Vec<u8>>),
    Floats(Arc<Vec<f32>>),
}

const WHAT: &str = "a frame's alpha";
const BYTES: u8 = 1;
const FLOATS: u8 = 2;

impl Alpha {
    pub(super) fn read(layout: &Layout) -> Result<Option<Self>> {
        let Layout { width, height, element, .. } = *layout;
        let Some(channel) = layout.alpha else { return Ok(None) };
        let count = width.saturating_mul(height);
        let values = if element == Element::U8 {
            let mut bytes = memory::zeros(count, WHAT)?;
            let rows = bytes.chunks_exact_mut(width).enumerate();
            rows.for_each(|(y, row)| channel.read(0, y, row, |v: u8| v));
            Values::Bytes(Arc::new(bytes))
        } else {
            let (mut floats, largest) = (memory::zeros(count, WHAT)?, element.largest());
            let rows = floats.chunks_exact_mut(width).enumerate();
            rows.for_each(|(y, row)| channel.read_floats(element, [0, y], row, |v| v / largest));
            if let Some(i) = first_not_finite(&floats) {
                fail!(NotFinite, "alpha at column {}, row {} is a NaN or an infinity", i % width, i / width);
            }
            Values::Floats(Arc::new(floats))
        };
        Ok(Some(Alpha { width, height, values }))
    }

    /// Nothing if the format has no alpha.
    pub(super) fn write(&self, layout: &Layout) -> Result<()> {
        let Layout { width, height, element, .. } = *layout;
        if (width, height) != (self.width, self.height) {
            fail!(InvalidSize, "alpha of {}x{} for a frame of {width}x{height}", self.width, self.height);
        }
        let Some(channel) = layout.alpha else { return Ok(()) };
        let largest = element.largest();
        match &self.values {
            Values::Bytes(bytes) if element == Element::U8 => {
                let rows = bytes.chunks_exact(width).enumerate();
                rows.for_each(|(y, row)| channel.write(0, y, row, |v: u8| v));
            }
            Values::Bytes(bytes) => {
                for (y, row) in bytes.chunks_exact(width).enumerate() {
                    for (i, part) in row.chunks(BLOCK).enumerate() {
                        let mut floats = [0.0; BLOCK];
                        let floats = &mut floats[..part.len()];
                        floats.iter_mut().zip(part).for_each(|(out, v)| *out = f32::from(*v) / 255.0);
                        channel.write_floats(element, [i * BLOCK, y], floats, |v| v * largest);
                    }
                }
            }
            Values::Floats(floats) => {
                for (y, row) in floats.chunks_exact(width).enumerate() {
                    if let Some(x) = channel.write_floats(element, [0, y], row, |v| v * largest) {
                        return Err(element.too_large("alpha", [x, y]));
                    }
                }
            }
        }
        Ok(())
    }

    /// A tag for the type, then the values in native byte order.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let size = match &self.values {
            Values::Bytes(bytes) => bytes.len(),
            Values::Floats(floats) => size_of_val(&floats[..]),
        };
        let mut out = memory::with_room(1 + size, WHAT)?;
        match &self.values {
            Values::Bytes(bytes) => {
                out.push(BYTES);
                out.extend_from_slice(bytes);
            }
            Values::Floats(floats) => {
                out.push(FLOATS);
                floats.iter().for_each(|v| out.extend_from_slice(&v.to_ne_bytes()));
            }
        }
        Ok(out)
    }

    pub(crate) fn from_bytes(bytes: &[u8], width: usize, height: usize) -> Result<Self> {
        let Some((tag, values)) = bytes.split_first() else { fail!(InvalidArgument, "{WHAT} is missing") };
        let size = match *tag {
            BYTES => 1,
            FLOATS => size_of::<f32>(),
            other => fail!(InvalidArgument, "{WHAT} is of type {other}, which this version does not know"),
        };
        let expected = width.checked_mul(height).and_then(|count| count.checked_mul(size));
        if expected != Some(values.len()) {
            fail!(InvalidArgument, "{WHAT} of {width}x{height} has {} bytes, expected {expected:?}", values.len());
        }
        let values = if *tag == BYTES {
            Values::Bytes(Arc::new(memory::list(values.iter().copied(), WHAT)?))
        } else {
            let words = values.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
            let floats = memory::list(words, WHAT)?;
            if first_not_finite(&floats).is_some() {
                fail!(NotFinite, "{WHAT} holds a NaN or an infinity");
            }
            Values::Floats(Arc::new(floats))
        };
        Ok(Alpha { width, height, values })
    }
}

/// Alpha of 1, if the format has any.
pub(super) fn write_opaque(layout: &Layout, part: &Rect) {
    let Some(channel) = layout.alpha else { return };
    let (ones, element) = ([1.0; BLOCK], layout.element);
    let largest = element.largest();
    for y in part.y..part.y + part.height {
        for x in (part.x..part.x + part.width).step_by(BLOCK) {
            let count = (part.x + part.width - x).min(BLOCK);
            channel.write_floats(element, [x, y], &ones[..count], |v| v * largest);
        }
    }
}
