use super::values::to_code;
use super::{Image, ImageMut, PixelFormat, Range, Rect, Yuv};

fn max_value(bits: u32) -> f32 {
    ((1u32 << bits) - 1) as f32
}

fn to_integer(value: f32, largest: f32) -> u32 {
    to_code((value * 0.5 + 0.5) * largest, largest)
}

const SIZE: (usize, usize) = (5, 3);

fn formats() -> Vec<PixelFormat> {
    let depths = [9, 10, 12, 16];
    let words = depths.iter().flat_map(|&bits| [PixelFormat::RgbPlanar16 { bits }, PixelFormat::GbrPlanar16 { bits }]);
    let bytes = [PixelFormat::Rgb8, PixelFormat::Rgba8, PixelFormat::RgbPlanar8, PixelFormat::GbrPlanar8];
    let floats = [Range::Unit, Range::Signed];
    let floats = floats.iter().flat_map(|&r| [PixelFormat::RgbPlanarF32(r), PixelFormat::GbrPlanarF32(r)]);
    bytes.into_iter().chain(words).chain(floats).collect()
}

/// Writing and reading a picture in any format restores it to within half a step, including padding and cropping.
#[test]
fn every_format_round_trips() {
    let (w, h) = SIZE;
    let plane = |c: usize| (0..w * h).map(move |i| ((i * 37 + c * 101) % 200) as f32 / 100.0 - 1.0);
    let picture: Vec<f32> = (0..3).flat_map(plane).collect();
    for format in formats() {
        // Words, to align the buffer for floats.
        let mut words = vec![0f32; w * h * 4];
        let len = format.bytes(w, h).unwrap();
        let bytes = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), len) };
        ImageMut::packed(bytes, format, w, h).unwrap().write(&picture, &Rect::of(w, h), &Rect::of(w, h)).unwrap();
        let mut padded = vec![9.0; 3 * 8 * 4];
        Image::packed(bytes, format, w, h).unwrap().read(&mut padded, &Rect::of(8, 4));
        let tolerance = match format {
            PixelFormat::RgbPlanar16 { bits } | PixelFormat::GbrPlanar16 { bits } => 1.01 / max_value(bits),
            PixelFormat::RgbPlanarF32(_) | PixelFormat::GbrPlanarF32(_) => 1e-6,
            _ => 1.01 / 255.0,
        };
        for (c, (y, x)) in (0..3).flat_map(|c| (0..4).flat_map(move |y| (0..8).map(move |x| (c, (y, x))))) {
            let expected = picture[(c * h + y.min(h - 1)) * w + x.min(w - 1)];
            let found = padded[(c * 4 + y) * 8 + x];
            assert!((found - expected).abs() <= tolerance, "{format:?} {c} {y} {x}: {found}, {expected}");
        }
    }
}

#[test]
fn integers_round_to_nearest_and_clamp() {
    assert_eq!([-1.5, -1.0, 0.0, 1.0, 1.5, f32::NAN].map(|v| to_integer(v, 255.0)), [0, 0, 128, 255, 255, 0]);
    assert_eq!((0..=255).filter(|&v| to_integer(v as f32 * (2.0 / 255.0) - 1.0, 255.0) != v).count(), 0);
}

#[test]
fn gbr_order_is_green_blue_red() {
    let bytes = [1u8, 2, 3];
    let mut planes = [0.0; 3];
    Image::packed(&bytes, PixelFormat::GbrPlanar8, 1, 1).unwrap().read(&mut planes, &Rect::of(1, 1));
    assert_eq!(planes.map(|v| to_integer(v, 255.0)), [3, 1, 2]);
}

#[test]
fn bottom_up_rows_are_read_through_a_negative_stride() {
    let bytes = [10u8, 11, 20, 21];
    let mut plane = [0.0; 12];
    let last = bytes[2..].as_ptr();
    let image = unsafe { Image::from_raw(PixelFormat::RgbPlanar8, 2, 2, [last; 4], [-2; 4], [0; 4]) };
    image.unwrap().read(&mut plane, &Rect::of(2, 2));
    assert_eq!([0, 1, 2, 3].map(|i| to_integer(plane[i], 255.0)), [20, 21, 10, 11]);
}

/// Bands of rows, also beyond the picture's edges and of a part that is not a multiple of their height.
#[test]
fn reading_on_several_threads_gives_the_same() {
    let (width, height) = (1100_usize, 1003_usize);
    let part = Rect { x: 3, y: 2, width: 1112, height: 1005 };
    let formats = [PixelFormat::Rgba8, PixelFormat::RgbPlanarF32(Range::Signed), PixelFormat::RgbPlanar8];
    for format in formats.into_iter().chain([PixelFormat::Nv12(Yuv::default())]) {
        let floats: Vec<f32> = (0..4 * width * height).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
        // SAFETY: floats are bytes.
        let bytes = unsafe { floats.align_to::<u8>().1 };
        let size = match format {
            PixelFormat::Rgba8 => 4 * width * height,
            PixelFormat::RgbPlanar8 => 3 * width * height,
            PixelFormat::Nv12(_) => width * height + 2 * (width / 2) * height.div_ceil(2),
            _ => 12 * width * height,
        };
        let image = Image::packed(&bytes[..size], format, width, height).unwrap();
        let mut one = vec![0.0; 3 * part.width * part.height];
        image.read(&mut one, &part);
        let whole = Rect::of(width, height);
        let mut packed = vec![0; size];
        assert_eq!(image.pack_on(1, &mut packed, &whole), [width, height]);
        for threads in [2, 3, 7, 1000] {
            let mut more = vec![9.0; one.len()];
            image.read_on(threads, &mut more, &part);
            assert!(more == one, "{format:?} on {threads}");
            let mut more = vec![1; size];
            image.pack_on(threads, &mut more, &whole);
            let used = image.packing().bytes([width, height]);
            assert!(more[..used] == packed[..used], "{format:?}, packed, on {threads}");
        }
        let mut written = [vec![7; size], vec![7; size]];
        for (threads, bytes) in [1, 3].into_iter().zip(&mut written) {
            // SAFETY: bytes of floats are aligned for any format.
            let mut memory = vec![0.0f32; size.div_ceil(4)];
            let memory = unsafe { memory.align_to_mut::<u8>().1 };
            let mut image = ImageMut::packed(&mut memory[..size], format, width, height).unwrap();
            image.write_on(threads, &one, &part, &Rect { x: 3, y: 2, width: 1097, height: 990 }).unwrap();
            bytes.copy_from_slice(&memory[..size]);
        }
        assert!(written[0] == written[1], "{format:?}, written");
        assert!(written[0].iter().any(|byte| *byte != 0));
    }
}

/// They would become infinities.
#[test]
fn values_too_large_for_a_float_are_refused() {
    let (width, height) = (600, 500);
    let part = Rect::of(width, height);
    let mut memory = vec![0f32; 2 * width * height];
    let memory = unsafe { memory.align_to_mut::<u8>().1 };
    // The largest that fit, then the smallest that do not.
    let bf16_ends = [0x7f7f_7fffu32, 0x7f7f_8000].map(f32::from_bits);
    for (format, [fits, too_large], name) in [
        (PixelFormat::RgbF16(Range::Signed), [65519.99, 65520.0], "float16"),
        (PixelFormat::RgbPlanarF16(Range::Unit), [131038.0, 131039.0], "float16"),
        (PixelFormat::RgbPlanarBf16(Range::Signed), bf16_ends, "bfloat16"),
    ] {
        let len = format.bytes(width, height).unwrap();
        let mut planes = vec![-fits; 3 * width * height];
        for (threads, expected) in [(1, None), (3, None), (1, Some((487, 333))), (3, Some((487, 333)))] {
            if let Some((x, y)) = expected {
                planes[(height + y) * width + x] = too_large;
                planes[(2 * height + 1) * width] = too_large;
            }
            let mut image = ImageMut::packed(&mut memory[..len], format, width, height).unwrap();
            let found = image.write_on(threads, &planes, &part, &part).err().map(|e| e.text().to_owned());
            let expected = expected
                .map(|(x, y)| format!("G at column {x}, row {y} is too large for {name}; use frames of float32"));
            assert_eq!(found, expected, "{format:?}, {threads}");
        }
    }
}

/// For every distance that is said to keep pictures apart, no two pixels share a byte.
#[test]
fn pictures_that_lie_apart_share_no_byte() {
    let format = PixelFormat::Rgb8;
    let mut apart = 0;
    for [columns, rows, count] in [[3, 2, 2], [2, 3, 3], [1, 2, 3], [4, 1, 2], [2, 2, 1]] {
        for (step, stride, distance) in (0..9 * 40 * 40).map(|i| (i % 9 * 3 - 12, i / 9 % 40 - 20, i / 360 - 20)) {
            let mut seen = std::collections::HashSet::new();
            let mut places = (0..columns * rows * count).flat_map(|i| {
                let [x, y, n] = [i % columns, i / columns % rows, i / columns / rows];
                (0..3).map(move |byte| x * step + y * stride + n * distance + byte)
            });
            let distinct = places.all(|place| seen.insert(place));
            let [columns, rows, count] = [columns, rows, count].map(|n| n as usize);
            let found = step != 0 && format.lie_apart(0, [columns, rows], [step, stride], (count, distance));
            assert!(distinct || !found, "{columns}x{rows}x{count}: {step}, {stride}, {distance}");
            apart += usize::from(found);
        }
    }
    assert_eq!(apart, 16664);
    // Frames in rows, frames after each other, mirrored, transposed.
    for (steps, distance) in [([3, 60], 12), ([3, 12], 36), ([-9, 3], 100), ([40, 9], -3)] {
        assert!(format.lie_apart(0, [4, 3], steps, (3, distance)), "{steps:?}");
    }
}
