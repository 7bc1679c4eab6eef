//! Pictures of every format and bit depth, at any step and stride, against the plain reference of the library's own tests.

use arbitrary::{Arbitrary, Unstructured};
use wfvae::fuzzing::{Arrangement, Picture, check_picture};

#[derive(Arbitrary)]
struct Choice {
    format: u16,
    size: [u8; 2],
    wider: u8,
    gap: u8,
    flips: [bool; 2],
    guarded: bool,
    part: [u8; 4],
}

/// Columns or rows: few, or as many as lie around a block of the conversions.
fn side(choice: u8, long: bool) -> usize {
    if long { 248 + usize::from(choice % 16) } else { 1 + usize::from(choice % 11) }
}

pub fn run(input: &[u8]) {
    let mut choices = Unstructured::new(input);
    let Ok(choice) = Choice::arbitrary(&mut choices) else { return };
    let bytes = choices.take_rest();
    // A long side makes an input slow: only rows are long, and there are few of them then.
    let long = choice.size[0] >= 252;
    let size = [
        side(choice.size[0], long),
        if long { 1 + usize::from(choice.size[1] % 3) } else { side(choice.size[1], false) },
    ];
    let [x, y, width, height] = choice.part;
    check_picture(&Picture {
        format: usize::from(choice.format),
        size,
        arrangement: Arrangement {
            wider: 1 + usize::from(choice.wider % 4),
            gap: usize::from(choice.gap % 4),
            flips: choice.flips,
            // Without guard bytes, AddressSanitizer sees what is read behind the last plane.
            room: if choice.guarded { 64 } else { 0 },
        },
        part: [usize::from(x), usize::from(y), side(width, false), side(height, false)],
        bytes,
    });
}
