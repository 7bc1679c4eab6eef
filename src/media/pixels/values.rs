//! Reads and writes rows of one channel as float32.

use super::layout::Channel;
use super::shape::Element;
use crate::error::{Error, ErrorKind};
use crate::finite::{first_not_f16, first_not_finite_as};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Values that are converted at a time.
pub(super) const BLOCK: usize = 256;

impl Element {
    /// The largest integer; 1 for floats.
    pub(super) fn largest(self) -> f32 {
        match self {
            Element::U8 => 255.0,
            Element::U16 { bits, .. } => ((1u32 << bits) - 1) as f32,
            _ => 1.0,
        }
    }

    /// The error for a value that would become an infinity.
    pub(super) fn too_large(self, what: &str, [x, y]: [usize; 2]) -> Error {
        let name = if self == Element::Bf16 { "bfloat16" } else { "float16" };
        let text = format!("{what} at column {x}, row {y} is too large for {name}; use frames of float32");
        Error::new(ErrorKind::NotFinite, text)
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Element::F16 | Element::Bf16 | Element::F32)
    }
}

/// Rounds to nearest and clamps to 0..largest; NaN becomes 0.
#[inline(always)]
pub(super) fn to_code(value: f32, largest: f32) -> u32 {
    let value = value + 0.5;
    // In this order a NaN becomes 0, and a comparison is one instruction.
    let value = if value > 0.0 { value } else { 0.0 };
    let value = if value < largest { value } else { largest };
    // SAFETY: 0 to 65535.
    unsafe { value.to_int_unchecked::<i32>() as u32 }
}

impl Channel {
    /// Reads values as they are, from column `x` of row `y`. The caller keeps `x + out.len()` within the row: the layout was
    /// checked, and whoever made it promised readable rows.
    #[inline(always)]
    pub(super) fn read<T: Copy, U>(&self, x: usize, y: usize, out: &mut [U], convert: impl Fn(T) -> U) {
        let from = self.at(x, y).cast::<T>().cast_const();
        if self.step == size_of::<T>() as isize {
            // SAFETY: as above; the values are adjacent and aligned.
            let values = unsafe { std::slice::from_raw_parts(from, out.len()) };
            out.iter_mut().zip(values).for_each(|(out, value)| *out = convert(*value));
            return;
        }
        let read = |out: &mut [U], step: isize| {
            for (i, out) in out.iter_mut().enumerate() {
                // SAFETY: as above.
                *out = convert(unsafe { from.offset(step * i as isize).read() });
            }
        };
        // With a known step the compiler uses vectors.
        match self.step / size_of::<T>() as isize {
            2 => read(out, 2),
            3 => read(out, 3),
            4 => read(out, 4),
            step => read(out, step),
        }
    }

    /// Writes values as they are; as for reading, with writable rows.
    #[inline(always)]
    pub(super) fn write<T: Copy, U: Copy>(&self, x: usize, y: usize, values: &[U], convert: impl Fn(U) -> T) {
        let to = self.at(x, y).cast::<T>();
        if self.step == size_of::<T>() as isize {
            for (i, value) in values.iter().enumerate() {
                // SAFETY: as above.
                unsafe { to.add(i).write(convert(*value)) };
            }
            return;
        }
        let write = |values: &[U], step: isize| {
            for (i, value) in values.iter().enumerate() {
                // SAFETY: as above.
                unsafe { to.offset(step * i as isize).write(convert(*value)) };
            }
        };
        match self.step / size_of::<T>() as isize {
            2 => write(values, 2),
            3 => write(values, 3),
            4 => write(values, 4),
            step => write(values, step),
        }
    }

    /// Reads integers as their codes and floats as they are, each converted.
    #[inline(always)]
    pub(super) fn read_floats(
        &self,
        element: Element,
        [x, y]: [usize; 2],
        out: &mut [f32],
        convert: impl Fn(f32) -> f32,
    ) {
        match element {
            Element::U8 => self.read(x, y, out, |v: u8| convert(f32::from(v))),
            Element::U16 { shift, .. } => self.read(x, y, out, |v: u16| convert(f32::from(v >> shift))),
            Element::F32 => self.read(x, y, out, |v: f32| convert(v)),
            Element::Bf16 => self.read(x, y, out, |v: u16| convert(f32::from_bits(u32::from(v) << 16))),
            Element::F16 => {
                for (i, out) in out.chunks_mut(BLOCK).enumerate() {
                    let mut halves = [f16::ZERO; BLOCK];
                    let halves = &mut halves[..out.len()];
                    self.read(x + i * BLOCK, y, halves, |v: f16| v);
                    halves.convert_to_f32_slice(out);
                    out.iter_mut().for_each(|value| *value = convert(*value));
                }
            }
        }
    }

    /// Writes values, each converted to a code, which is rounded and clamped, or to a float. Returns the index of the first
    /// that is too large for the float.
    #[inline(always)]
    pub(super) fn write_floats(
        &self,
        element: Element,
        [x, y]: [usize; 2],
        values: &[f32],
        convert: impl Fn(f32) -> f32,
    ) -> Option<usize> {
        let largest = element.largest();
        match element {
            Element::U8 => self.write(x, y, values, |v: f32| to_code(convert(v), largest) as u8),
            Element::U16 { shift, .. } => {
                self.write(x, y, values, |v: f32| (to_code(convert(v), largest) << shift) as u16);
            }
            Element::F32 => self.write(x, y, values, |v: f32| convert(v)),
            Element::Bf16 => {
                self.write(x, y, values, |v: f32| bf16::from_f32(convert(v)));
                return first_not_finite_as(values, |v| bf16::from_f32(convert(v)).to_f32());
            }
            Element::F16 => {
                let mut too_large = None;
                for (i, values) in values.chunks(BLOCK).enumerate() {
                    let (mut floats, mut halves) = ([0.0; BLOCK], [f16::ZERO; BLOCK]);
                    let (floats, halves) = (&mut floats[..values.len()], &mut halves[..values.len()]);
                    floats.iter_mut().zip(values).for_each(|(out, value)| *out = convert(*value));
                    too_large = too_large.or_else(|| Some(i * BLOCK + first_not_f16(floats)?));
                    halves.convert_from_f32_slice(floats);
                    self.write(x + i * BLOCK, y, halves, |v: f16| v);
                }
                return too_large;
            }
        }
        None
    }
}
