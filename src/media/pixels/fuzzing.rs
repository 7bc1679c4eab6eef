//! What fuzz targets do with pictures: compare them with the plain reference.

pub use super::plain::Arrangement;
use super::plain::{Kind, Memory, check_part, check_read, check_write, check_write_in_parts, table};
use super::rect::Rect;
use std::sync::LazyLock;

/// A picture, all of it chosen by the fuzzer.
#[derive(Debug)]
pub struct Picture<'a> {
    /// Counted through all formats.
    pub format: usize,
    /// Columns and rows, at least 1.
    pub size: [usize; 2],
    /// How it lies in memory.
    pub arrangement: Arrangement,
    /// A part that is read: left, top, width and height. It may reach beyond the edges.
    pub part: [usize; 4],
    /// Elements, and values of planes, are taken from these.
    pub bytes: &'a [u8],
}

/// Reads and writes the picture, whole and in parts. Panics where it is not what the reference says.
pub fn check_picture(picture: &Picture<'_>) {
    static TABLE: LazyLock<Vec<super::plain::Plain>> = LazyLock::new(table);
    let plain = &TABLE[picture.format % TABLE.len()];
    let [width, height] = picture.size;
    let name = format!("{:?} {:?} {:?}", plain.format, picture.size, picture.arrangement);
    let byte = |n: usize| *picture.bytes.get(n % picture.bytes.len().max(1)).unwrap_or(&0);
    let word = |n: usize| u16::from_le_bytes([byte(2 * n), byte(2 * n + 1)]);
    // Not far from what pictures hold; others are for the formats' own tests, where the tolerance is of the value.
    let float = |n: usize| f32::from(word(n) as i16) / 12_000.0;
    let mut memory = Memory::new(plain, picture.size, picture.arrangement);
    memory.fill_with(|n| match plain.kind {
        Kind::Byte => vec![byte(n)],
        Kind::Word { bits, shift } => ((word(n) & ((1u32 << bits) - 1) as u16) << shift).to_ne_bytes().to_vec(),
        Kind::Half => half::f16::from_f32(float(n)).to_ne_bytes().to_vec(),
        Kind::Brain => half::bf16::from_f32(float(n)).to_ne_bytes().to_vec(),
        Kind::Float => float(n).to_ne_bytes().to_vec(),
    });
    let whole = check_read(&mut memory, &name);
    let [x, y, w, h] = picture.part;
    check_part(&mut memory, &whole, Rect { x: x % width, y: y % height, width: w, height: h }, &name);
    let planes: Vec<f32> = (0..3 * width * height).map(float).collect();
    check_write(&mut memory, &planes, &name);
    check_write_in_parts(&mut memory, &planes, [x % width, y % height], &name);
}
