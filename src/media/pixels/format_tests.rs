//! Every format in every arrangement, against the plain reference.

use super::plain::{Arrangement, Memory, check_part, check_read, check_write, check_write_in_parts, pixels, table};
use super::{Chroma, Image, ImageMut, PixelFormat, Rect, Yuv, YuvRange};

pub(super) fn formats() -> Vec<PixelFormat> {
    table().iter().map(|plain| plain.format).collect()
}

pub(super) fn each(test: impl Fn(&mut Memory, &str)) {
    for plain in table() {
        for size in [[7, 5], [1, 1], [10, 8]] {
            for (wider, flips) in
                [(1, [false, false]), (1, [false, true]), (3, [false, false]), (1, [true, true]), (2, [true, false])]
            {
                let name = format!("{:?} {size:?} {wider} {flips:?}", plain.format);
                let arrangement = Arrangement { wider, gap: 1, flips, room: 64 };
                test(&mut Memory::new(&plain, size, arrangement), &name);
            }
        }
    }
}

#[test]
fn every_arrangement_is_read_as_the_reference_says() {
    each(|memory, name| {
        memory.fill();
        let [width, height] = memory.size;
        let whole = check_read(memory, name);
        for part in [
            Rect { x: width / 2, y: height / 2, width: width - width / 2, height: height - height / 2 },
            Rect { x: width / 3, y: height / 3, width: width + 1, height: height + 2 },
        ] {
            check_part(memory, &whole, part, name);
        }
    });
}

#[test]
fn every_arrangement_is_written_as_the_reference_says_in_one_part_or_several() {
    each(|memory, name| {
        let [width, height] = memory.size;
        let value = |n: usize| ((n * 7919 % 997) as f32 / 498.0 - 1.0) * if n % 13 == 5 { 1.6 } else { 1.0 };
        let planes: Vec<f32> = (0..3 * width * height).map(value).collect();
        check_write(memory, &planes, name);
        check_write_in_parts(memory, &planes, [width / 2, height / 3], name);
    });
}

/// Alpha keeps its exact elements, through bytes too, and converts between types.
#[test]
fn alpha_is_kept() {
    each(|memory, name| {
        memory.fill();
        let (plain, [width, height]) = (memory.plain, memory.size);
        let alpha = memory.image().alpha().unwrap();
        assert_eq!(alpha.is_some(), plain.alpha.is_some(), "{name}");
        let (Some(alpha), Some(at)) = (alpha, plain.alpha) else { return };
        let alpha = super::Alpha::from_bytes(&alpha.to_bytes().unwrap(), width, height).unwrap();
        let before = memory.bytes().to_vec();
        let planes = vec![0.0; 3 * width * height];
        let whole = Rect::of(width, height);
        memory.image_mut().write(&planes, &whole, &whole).unwrap();
        memory.image_mut().write_alpha(&alpha).unwrap();
        for (x, y) in pixels(memory.size) {
            let (offset, bytes) = (memory.offset(at, x, y), plain.kind.bytes());
            assert_eq!(memory.bytes()[offset..][..bytes], before[offset..][..bytes], "{name} {x} {y}");
        }
        let mut words = vec![0u8; 4 * width * height];
        let mut other = ImageMut::packed(&mut words, PixelFormat::Bgra8, width, height).unwrap();
        other.write_alpha(&alpha).unwrap();
        for (x, y) in pixels(memory.size) {
            let expected = (memory.value(at, x, y) / plain.kind.largest()).clamp(0.0, 1.0) * 255.0;
            let found = f64::from(words[4 * (y * width + x) + 3]);
            assert!((found - expected).abs() <= 0.5001, "{name} {x} {y}: {found} {expected}");
        }
    });
    let bad = |bytes: &[u8]| super::Alpha::from_bytes(bytes, 1, 1).is_err();
    assert!(bad(&[]) && bad(&[1]) && bad(&[1, 2, 3]) && bad(&[3, 0]) && bad(&[2, 0, 0, 0]));
    let float = |v: f32| [&[2][..], &v.to_ne_bytes()].concat();
    assert!(bad(&float(f32::NAN)) && bad(&float(f32::INFINITY)) && !bad(&float(0.5)) && !bad(&[1, 7]));
}

#[test]
fn alpha_of_bytes_is_written_in_all_formats() {
    each(|memory, name| {
        let (plain, [width, height]) = (memory.plain, memory.size);
        let Some(at) = plain.alpha else { return };
        let bytes: Vec<u8> = (0..width * height).map(|i| [0, 255, 1, 128, 254, 77][i % 6]).collect();
        let alpha = super::Alpha::from_bytes(&[&[1], &bytes[..]].concat(), width, height).unwrap();
        memory.image_mut().write_alpha(&alpha).unwrap();
        let largest = plain.kind.largest();
        for (x, y) in pixels(memory.size) {
            let byte = bytes[y * width + x];
            let (found, expected) = (memory.value(at, x, y), f64::from(byte) / 255.0 * largest);
            // Half a code, or half a step of the shortest float.
            let most = if largest > 1.0 { 0.5001 } else { 1.0 / 512.0 };
            let exact = byte == 0 || byte == 255;
            assert!((found - expected).abs() <= if exact { 0.0 } else { most }, "{name} {x} {y}: {found} {expected}");
        }
    });
}

/// Codes of 4:4:4 come back exactly.
#[test]
fn full_chroma_round_trips_exactly() {
    for (range, bits) in [YuvRange::Limited, YuvRange::Full].into_iter().flat_map(|r| [9, 10, 12, 16].map(|b| (r, b))) {
        let yuv = Yuv { range, ..Yuv::default() };
        let format = PixelFormat::Yuv16 { chroma: Chroma::Full, bits, yuv };
        // Grey of all codes, and coloured ones from the middle of the range, which no matrix clips.
        let codes: Vec<u16> = (0..3 * 512).map(|i| ((i * 977) % (1 << bits)) as u16).collect();
        let bytes: Vec<u8> = codes.iter().flat_map(|v| v.to_ne_bytes()).collect();
        let mut aligned = vec![0u32; bytes.len() / 4];
        // SAFETY: all of the words, viewed as bytes.
        let memory = unsafe { std::slice::from_raw_parts_mut(aligned.as_mut_ptr().cast::<u8>(), bytes.len()) };
        memory.copy_from_slice(&bytes);
        let (mut planes, whole) = (vec![0.0; 3 * 512], Rect::of(32, 16));
        Image::packed(memory, format, 32, 16).unwrap().read(&mut planes, &whole);
        memory.fill(0);
        ImageMut::packed(memory, format, 32, 16).unwrap().write(&planes, &whole, &whole).unwrap();
        assert!(memory == &bytes[..], "{format:?}");
    }
}

#[test]
fn strided_slices_hold_what_they_must() {
    let (luma, chroma) = (vec![1u8; 10 * 4 + 6], vec![2u8; 12 + 6]);
    let nv12 = PixelFormat::Nv12(Yuv::default());
    let image = |planes: &[(&[u8], usize)], format| Image::strided(planes.iter().copied(), format, 6, 5).map(|_| ());
    let text = |planes: &[(&[u8], usize)], format| image(planes, format).unwrap_err().text().to_string();
    assert!(image(&[(&luma, 10), (&[2; 2 * 12 + 6], 12)], nv12).is_ok());
    assert!(text(&[(&luma, 10), (&chroma, 12)], nv12).contains("plane 1"));
    assert!(
        text(&[(&luma[1..], 10), (&[2; 30], 12)], nv12)
            .contains("plane 0: 5 rows at a stride of 10 need 46 bytes, found 45")
    );
    assert!(text(&[(&luma, 10)], nv12).contains("found 1 planes"));
    assert!(text(&[(&luma, 5), (&[2; 30], 12)], nv12).contains("stride 5 is shorter"));
    assert!(text(&[(&luma, usize::MAX), (&[2; 30], 12)], nv12).contains("need more than memory can have"));
    let packed = |height| Image::packed(&luma, PixelFormat::Rgb8, 6, height).unwrap_err().text().to_string();
    assert!(
        packed(5).ends_with("found 46 bytes, expected 90") && packed(usize::MAX).ends_with("more than memory can have")
    );
    assert!(text(&[(&luma, 10), (&[2; 30], 12), (&luma, 10), (&luma, 10)], nv12).contains("more planes"));
    assert!(image(&[(&luma, 10), (&[2; 30], 12), (&luma, 10)], nv12).is_ok());
    assert!(text(&[(&[0; 200], 20), (&[0; 200], 20)], PixelFormat::Rgb8).contains("more planes"));
}
