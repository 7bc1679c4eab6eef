//! The tensors of a stream's state: collected, checked and given back.

use crate::error::{Error, Result, fail};
use crate::finite::{bf16_bytes_not_finite, f16_bytes_not_finite, f32_bytes_not_finite};
use crate::graph::{Element, Layout, Port};
use crate::memory;
use crate::runtime::Tensor;
use std::borrow::Cow;

/// For errors: such a list is as long as there are tiles and layers.
pub(super) const TENSORS: &str = "a list of a stream's tensors";

/// The tensors that the rest of a clip reads.
#[derive(Default)]
pub(super) struct LiveState<'a> {
    tensors: Vec<&'a Tensor>,
    layout: crc32fast::Hasher,
    /// The list had no memory for a tensor.
    failure: Option<Error>,
}

impl<'a> LiveState<'a> {
    /// A tensor of `port` of a step.
    pub(super) fn add(&mut self, step: &str, port: &Port, tensor: &'a Tensor) {
        let (layout, element) = (layout_name(port.layout), element_name(port.element));
        let line = format!("{step}.{} {layout} {element} {}\n", port.name, tensor.bytes());
        self.layout.update(line.as_bytes());
        if let Err(e) = memory::push(&mut self.tensors, tensor) {
            self.failure.get_or_insert(e);
        }
    }

    /// The tensors, if there was memory for all.
    pub(super) fn tensors(&self) -> Result<&[&'a Tensor]> {
        self.failure.clone().map_or(Ok(&self.tensors), Err)
    }

    /// A hash of the names, sizes and order of all tensors.
    pub(super) fn layout(&self) -> u64 {
        self.layout.clone().finalize().into()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes()).sum()
    }
}

/// These names are in docs/formats.md. Stored snapshots depend on them, so they never change.
fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Frame => "Frame",
        Layout::Pixels => "Pixels",
        Layout::Bordered => "Bordered",
        Layout::Clip => "Clip",
        Layout::ClipPixels => unreachable!("inside of graphs only"),
        Layout::Numbers => "Numbers",
        Layout::Any => "Any",
    }
}

/// Likewise.
fn element_name(element: Element) -> &'static str {
    match element {
        Element::F32 => "F32",
        Element::F16 => "F16",
        Element::Bf16 => "Bf16",
        Element::U8 => "U8",
        Element::I64 => "I64",
    }
}

/// Fails where a stream's state holds a NaN or an infinity.
pub(super) fn check_finite(element: Element, bytes: &[u8]) -> Result<()> {
    let found = match element {
        Element::F32 => f32_bytes_not_finite(bytes),
        Element::F16 => f16_bytes_not_finite(bytes),
        Element::Bf16 => bf16_bytes_not_finite(bytes),
        Element::U8 | Element::I64 => false,
    };
    if found {
        fail!(NotFinite, "the state of the stream holds a NaN or an infinity, so nothing that follows it can be right");
    }
    Ok(())
}

/// Gives tensors what a [`LiveState`] collected, in the same order.
pub(super) struct SavedState<'a> {
    pieces: std::vec::IntoIter<Cow<'a, [u8]>>,
    /// The first failure to write a tensor.
    failure: Option<Error>,
}

impl<'a> SavedState<'a> {
    /// Cuts `bytes`, which are as long as the sum of `sizes`.
    pub(super) fn cut(mut bytes: &'a [u8], sizes: Vec<u64>) -> Result<Self> {
        let piece = |size: u64| {
            let (piece, rest) = bytes.split_at(size as usize);
            bytes = rest;
            Cow::Borrowed(piece)
        };
        Ok(SavedState::new(memory::list(sizes.into_iter().map(piece), TENSORS)?))
    }

    pub(super) fn new(pieces: Vec<Cow<'a, [u8]>>) -> Self {
        SavedState { pieces: pieces.into_iter(), failure: None }
    }

    pub(super) fn give(&mut self, tensor: &mut Tensor) {
        let bytes = self.pieces.next().expect("as many tensors as were collected");
        if let Err(e) = tensor.write(&bytes) {
            self.failure.get_or_insert(e);
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        self.failure.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn states_of_every_type_are_looked_at() {
        let cases = [
            (Element::F32, f32::NAN.to_ne_bytes().to_vec(), f32::MAX.to_ne_bytes().to_vec()),
            (Element::F16, half::f16::INFINITY.to_ne_bytes().to_vec(), half::f16::MAX.to_ne_bytes().to_vec()),
            (Element::Bf16, half::bf16::INFINITY.to_ne_bytes().to_vec(), half::bf16::MAX.to_ne_bytes().to_vec()),
        ];
        for (element, bad, fine) in cases {
            check_finite(element, &[fine.clone(), fine.clone()].concat()).unwrap();
            assert!(check_finite(element, &[fine, bad].concat()).is_err_and(|e| e.kind() == ErrorKind::NotFinite));
        }
        check_finite(Element::U8, &[255; 8]).unwrap();
        check_finite(Element::I64, &[255; 8]).unwrap();
    }
}
