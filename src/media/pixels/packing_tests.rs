//! Pictures that cross to and from a device are the same on both sides, every format in every arrangement.

use super::format_tests::each;
use super::plain::Memory;
use super::{ImageMut, Packing, Rect};

/// Memory for a picture that crosses, aligned for all elements.
fn room(packing: Packing, size: [usize; 2]) -> Vec<u32> {
    vec![0x5a5a_5a5a; packing.bytes(size).div_ceil(4)]
}

fn bytes(words: &mut [u32]) -> &mut [u8] {
    // SAFETY: words, viewed as bytes.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// All of the picture, and parts of it that can cross, one of them beyond its edge.
fn parts(packing: Packing, [width, height]: [usize; 2]) -> Vec<Rect> {
    let mut parts = vec![Rect::of(width, height), Rect::of(width + 3, height + 1)];
    if packing.is_of_pixels() {
        let (x, y) = (width / 3, height / 2);
        parts.push(Rect { x, y, width: width - x, height: height - y });
        parts.push(Rect { x, y, width: width - x + 2, height: height - y + 5 });
        parts.push(Rect { x, y: 0, width: 1, height: 1 });
    }
    parts
}

#[test]
fn what_crosses_to_a_device_is_the_picture() {
    each(|memory, name| {
        memory.fill();
        let [width, height] = memory.size;
        let image = memory.image();
        let packing = image.packing();
        for part in parts(packing, [width, height]) {
            let mut packed = room(packing, [width, height]);
            let size = image.pack_on(3, bytes(&mut packed), &part);
            let mut expected = vec![0.0; 3 * part.width * part.height];
            let mut found = expected.clone();
            image.read(&mut expected, &part);
            // SAFETY: the memory is large enough.
            let crossed = unsafe { packing.image(bytes(&mut packed).as_mut_ptr(), size) };
            crossed.read(&mut found, &Rect::of(part.width, part.height));
            assert!(found == expected, "{name} {part:?}: {found:?}, not {expected:?}");
        }
    });
}

#[test]
fn what_crosses_from_a_device_becomes_the_picture() {
    each(|memory, name| {
        let [width, height] = memory.size;
        let packing = memory.image_mut().packing();
        for part in parts(packing, [width, height]) {
            // What a tile holds, beyond the part of it that is final.
            let x = if packing.is_of_pixels() { part.x / 2 } else { 0 };
            let held = Rect { x, width: part.width + part.x - x, ..part };
            let planes: Vec<f32> =
                (0..3 * held.width * held.height).map(|n| (n * 7919 % 997) as f32 / 498.0 - 1.0).collect();
            let before = memory.bytes().to_vec();
            memory.image_mut().write(&planes, &held, &part).unwrap();
            let expected = memory.bytes().to_vec();
            memory.bytes().copy_from_slice(&before);

            let size = [held.width.min(width - held.x), held.height.min(height - held.y)];
            let mut packed = room(packing, size);
            // SAFETY: the memory is large enough, and nobody else uses it.
            let mut crossed: ImageMut = unsafe { packing.image_mut(bytes(&mut packed).as_mut_ptr(), size) };
            assert_eq!(crossed.write_as_device(&planes, &Rect::of(held.width, held.height)), None);
            drop(crossed);
            unpack(memory, bytes(&mut packed), size, [&held, &part]);
            assert!(memory.bytes() == &expected[..], "{name} {part:?}");
        }
    });
}

fn unpack(memory: &mut Memory, packed: &[u8], size: [usize; 2], [held, part]: [&Rect; 2]) {
    memory.image_mut().unpack_on(2, packed, size, held, part);
}

/// The place is that in the whole picture, also for a part.
#[test]
fn a_value_of_a_part_that_is_too_large_is_named_by_its_place() {
    let mut memory = [0u32; 3 * 9 * 7];
    let image = ImageMut::packed(
        &mut bytes(&mut memory)[..2 * 3 * 9 * 7],
        super::PixelFormat::RgbPlanarF16(super::Range::Unit),
        9,
        7,
    )
    .unwrap();
    let held = Rect { x: 3, y: 2, width: 4, height: 5 };
    // G, row 1, column 2 of the part.
    let error = image.too_large_in(4 * 5 + 4 + 2, [4, 5], &held);
    assert!(error.text().starts_with("G at column 5, row 3 is too large"), "{error}");
}
