//! The kernels for pictures in a device's memory, compiled for the CPU by tests/cuda-kernels/check.sh, give what the CPU's
//! conversions give: every format in every arrangement, bit for bit.

use super::device_picture::DevicePicture;
use super::format_tests::each;
use super::{Image, ImageMut, PixelFormat, Range, Rect};
use crate::platform::{SharedLibrary, Symbols};
use std::ffi::c_int;
use std::path::Path;

struct Kernels {
    read: extern "C" fn(DevicePicture, *mut f32, c_int, c_int),
    check: extern "C" fn(DevicePicture, u64, *mut u64),
    /// Chroma too.
    write: extern "C" fn(DevicePicture, *const f32, c_int, c_int, *mut u64),
}

impl Kernels {
    fn open() -> Self {
        let path = std::env::var("WFVAE_TEST_PIXEL_KERNELS").expect("run tests/cuda-kernels/check.sh");
        let library = SharedLibrary::open(Path::new(&path), Symbols::Own).unwrap();
        let symbol = |name| library.symbol(name).expect("tests/cuda-kernels/pixels.cpp has it");
        // SAFETY: tests/cuda-kernels/pixels.cpp has these functions.
        unsafe {
            Kernels {
                read: std::mem::transmute::<*mut _, extern "C" fn(_, _, _, _)>(symbol(c"read_picture")),
                check: std::mem::transmute::<*mut _, extern "C" fn(_, _, _)>(symbol(c"check_picture")),
                write: std::mem::transmute::<*mut _, extern "C" fn(_, _, _, _, _)>(symbol(c"write_picture")),
            }
        }
    }
}

/// Planes larger than the picture, some of whose values are beyond black and white.
fn planes(held: &Rect) -> Vec<f32> {
    let value = |n: usize| ((n * 7919 % 997) as f32 / 498.0 - 1.0) * if n % 13 == 5 { 1.6 } else { 1.0 };
    (0..3 * held.width * held.height).map(value).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
#[ignore = "needs the kernels that tests/cuda-kernels/check.sh compiles"]
fn kernels_read_and_write_pictures_as_the_cpu_does() {
    let kernels = Kernels::open();
    let count = std::cell::Cell::new(0);
    each(|memory, name| {
        memory.fill();
        count.set(count.get() + 1);
        let [width, height] = memory.size;
        let held = Rect::of(width + 3, height + 2);
        let (mut expected, mut found) = (planes(&held), planes(&held));
        memory.image().read(&mut expected, &held);
        (kernels.read)(memory.image().on_device(), found.as_mut_ptr(), held.width as c_int, held.height as c_int);
        assert!(bits(&found) == bits(&expected), "{name}: read {found:?}, the CPU {expected:?}");

        let (values, before) = (planes(&held), memory.bytes().to_vec());
        memory.image_mut().write(&values, &held, &Rect::of(width, height)).unwrap();
        let expected = memory.bytes().to_vec();
        memory.bytes().copy_from_slice(&before);
        let mut first = [u64::MAX; 2];
        let picture = memory.image_mut().on_device();
        (kernels.write)(picture, values.as_ptr(), held.width as c_int, held.height as c_int, first.as_mut_ptr());
        assert!(memory.bytes() == &expected[..], "{name}: written");
        assert_eq!(first, [u64::MAX; 2], "{name}");
    });
    assert!(count.get() > 1000, "only {} pictures", count.get());
}

/// Wider than what the CPU converts at a time.
#[test]
#[ignore = "needs the kernels that tests/cuda-kernels/check.sh compiles"]
fn kernels_read_and_write_wide_pictures_as_the_cpu_does() {
    let kernels = Kernels::open();
    let (width, height) = (1301, 6);
    let whole = Rect::of(width, height);
    for format in super::format_tests::formats() {
        let bytes: Vec<u32> = (0..format.bytes(width, height).unwrap().div_ceil(4) as u32)
            .map(|i| 0x3f5c_9e71_u32.wrapping_mul(2 * i + 1) & 0x3fff_3fff)
            .collect();
        // SAFETY: these words, viewed as bytes.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<u8>(), size_of_val(&bytes[..])) };
        let bytes = &bytes[..format.bytes(width, height).unwrap()];
        let image = Image::packed(bytes, format, width, height).unwrap();
        let (mut expected, mut found) = (planes(&whole), planes(&whole));
        image.read(&mut expected, &whole);
        (kernels.read)(image.on_device(), found.as_mut_ptr(), width as c_int, height as c_int);
        assert!(bits(&found) == bits(&expected), "{format:?}: read");

        let values = planes(&whole);
        let written = |write: &dyn Fn(&mut ImageMut<'_>)| {
            let mut words = vec![0u32; bytes.len().div_ceil(4)];
            let all = words.as_mut_ptr().cast::<u8>();
            // SAFETY: these words, viewed as bytes.
            let out = unsafe { std::slice::from_raw_parts_mut(all, bytes.len()) };
            write(&mut ImageMut::packed(out, format, width, height).unwrap());
            words
        };
        let expected = written(&|image| image.write(&values, &whole, &whole).unwrap());
        let found = written(&|image| {
            let mut first = [u64::MAX; 2];
            let size = [width, height].map(|n| n as c_int);
            (kernels.write)(image.on_device(), values.as_ptr(), size[0], size[1], first.as_mut_ptr());
            assert_eq!(first, [u64::MAX; 2], "{format:?}");
        });
        assert!(found == expected, "{format:?}: written");
    }
}

#[test]
#[ignore = "needs the kernels that tests/cuda-kernels/check.sh compiles"]
fn kernels_find_what_the_cpu_finds() {
    let kernels = Kernels::open();
    let (width, height) = (9, 7);
    let whole = Rect::of(width, height);
    for (bad, x, y, channel) in [(f32::NAN, 3, 2, 1), (f32::INFINITY, 8, 6, 2), (3e38, 0, 0, 0)] {
        // 3e38 is finite, but not twice of it.
        for range in [Range::Unit, Range::Signed] {
            let mut values = vec![0.5f32; 3 * width * height];
            for (channel, y, x) in [(channel, y, x), (2, 6, 8)] {
                values[(channel * height + y) * width + x] = bad;
            }
            let image = Image::planar_f32(&values, range, width, height).unwrap();
            let mut first = u64::MAX;
            (kernels.check)(image.on_device(), 1000, &mut first);
            let found = (first != u64::MAX).then(|| image.place(first - 1000));
            assert_eq!(found, image.first_not_finite(), "{bad} {range:?}");
        }
    }
    for (format, bad) in [
        (PixelFormat::RgbPlanarF16(Range::Signed), 65520.0f32),
        (PixelFormat::RgbPlanarF16(Range::Signed), 65519.0),
        (PixelFormat::RgbaF16(Range::Unit), 131039.0),
        (PixelFormat::RgbPlanarBf16(Range::Signed), 3.4e38),
        (PixelFormat::RgbPlanarF32(Range::Signed), 3.4e38),
        (PixelFormat::Rgb8, 1e30),
    ] {
        let mut values = planes(&whole);
        for (channel, y, x) in [(1, 3, 4), (1, 5, 0)] {
            values[(channel * height + y) * width + x] = bad;
        }
        let mut words = vec![0u32; format.bytes(width, height).unwrap().div_ceil(4)];
        let all = words.as_mut_ptr().cast::<u8>();
        // SAFETY: these words, viewed as bytes.
        let out = unsafe { std::slice::from_raw_parts_mut(all, format.bytes(width, height).unwrap()) };
        let mut image = ImageMut::packed(out, format, width, height).unwrap();
        let mut first = [u64::MAX; 2];
        let size = [width, height].map(|n| n as c_int);
        (kernels.write)(image.on_device(), values.as_ptr(), size[0], size[1], first.as_mut_ptr());
        let found = (first[1] != u64::MAX).then(|| image.too_large(first[1]).to_string());
        assert_eq!(found, image.write(&values, &whole, &whole).err().map(|e| e.to_string()), "{format:?} {bad}");
        assert_eq!(first[0], u64::MAX, "{format:?} {bad}");

        // Also where the picture has no pixel.
        values[0] = f32::NAN;
        let mut larger = vec![0.0; 3 * (width + 1) * height];
        larger[width] = f32::INFINITY;
        for (values, width) in [(&values, width), (&larger, width + 1)] {
            let mut first = [u64::MAX; 2];
            (kernels.write)(image.on_device(), values.as_ptr(), width as c_int, size[1], first.as_mut_ptr());
            assert!(first[0] < u64::MAX, "{format:?}");
        }
    }
}
