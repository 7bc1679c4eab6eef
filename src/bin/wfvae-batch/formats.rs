//! FFmpeg's pixel formats as libwfvae's.

use crate::media::{Description, Frame};
use wfvae::{Chroma, Matrix, PixelFormat, Siting, Yuv, YuvRange};

const FULL: &[&str] = &[
    "yuv444p",
    "yuv444p9le",
    "yuv444p10le",
    "yuv444p12le",
    "yuv444p14le",
    "yuv444p16le",
    "gbrp",
    "gbrp9le",
    "gbrp10le",
    "gbrp12le",
    "gbrp14le",
    "gbrp16le",
    "gray",
    "gray10le",
    "gray12le",
    "gray16le",
];
/// With fewer chroma samples than pixels, or with the full range in the name.
const SPARSE: &[&str] = &[
    "yuv420p",
    "yuv422p",
    "yuv411p",
    "yuv420p10le",
    "yuv422p10le",
    "yuv420p12le",
    "yuv422p12le",
    "nv12",
    "p010le",
    "yuvj420p",
    "yuvj422p",
    "yuvj444p",
];

/// Formats that libwfvae reads, as FFmpeg's filter `format` takes them: it keeps them, and of others makes the one that loses least.
/// What it makes of the clip's own format is not sparse.
pub fn accepted(own: &str) -> String {
    match SPARSE.contains(&own) {
        true => [FULL, SPARSE].concat().join("|"),
        false => full(),
    }
}

/// Those of them that have chroma samples for every pixel, in which frames can be turned and resized.
pub fn full() -> String {
    FULL.join("|")
}

/// How libwfvae reads a frame of a clip. FFmpeg's names of formats end with the byte order where it matters.
pub fn pixel_format(frame: &Frame, clip: &Description) -> Result<PixelFormat, String> {
    let name = frame.format.strip_suffix("le").unwrap_or(&frame.format);
    let bits = |prefix: &str| -> Option<u32> {
        let rest = name.strip_prefix(prefix)?;
        if rest.is_empty() { Some(8) } else { rest.parse().ok() }
    };
    if let Some(bits) = bits("gbrp") {
        return Ok(if bits == 8 { PixelFormat::GbrPlanar8 } else { PixelFormat::GbrPlanar16 { bits } });
    }
    let yuv = Yuv { matrix: matrix(&frame.matrix, clip)?, range: range(frame), siting: siting(&frame.location)? };
    let flat = Yuv { siting: Siting::default(), ..yuv };
    if let Some(bits) = bits("gray") {
        return Ok(if bits == 8 { PixelFormat::Gray8(flat) } else { PixelFormat::Gray16 { bits, yuv: flat } });
    }
    match name {
        "nv12" => return Ok(PixelFormat::Nv12(yuv)),
        "p010" => return Ok(PixelFormat::P010 { bits: 10, yuv }),
        _ => {}
    }
    let chromas = [
        ("yuv420p", Chroma::Half),
        ("yuvj420p", Chroma::Half),
        ("yuv422p", Chroma::HalfWidth),
        ("yuvj422p", Chroma::HalfWidth),
        ("yuv411p", Chroma::QuarterWidth),
        ("yuv444p", Chroma::Full),
        ("yuvj444p", Chroma::Full),
    ];
    let found = chromas.into_iter().find_map(|(prefix, chroma)| Some((bits(prefix)?, chroma)));
    let (bits, chroma) = found.ok_or_else(|| format!("frames of the format {name} cannot be read"))?;
    let yuv = if chroma == Chroma::Full { flat } else { yuv };
    Ok(if bits == 8 { PixelFormat::Yuv8 { chroma, yuv } } else { PixelFormat::Yuv16 { chroma, bits, yuv } })
}

/// FFmpeg's names of matrices (ITU-T H.273, MatrixCoefficients).
fn matrix(name: &str, clip: &Description) -> Result<Matrix, String> {
    Ok(match name {
        // By the clip's size, whatever filters make of it.
        "unknown" | "reserved" => Matrix::Auto.for_height(clip.height),
        "bt470bg" | "smpte170m" | "fcc" => Matrix::Bt601,
        "bt709" => Matrix::Bt709,
        "bt2020nc" => Matrix::Bt2020,
        // RGB comes as gbrp, and grey has no chroma.
        "gbr" => Matrix::Auto,
        _ => return Err(format!("its colours have the matrix {name}, which libwfvae does not know")),
    })
}

/// Formats of JPEG, and grey without a tag, have the full range.
fn range(frame: &Frame) -> YuvRange {
    let full = ["yuvj", "gray"].iter().any(|prefix| frame.format.starts_with(prefix));
    match frame.range.as_str() {
        "pc" => YuvRange::Full,
        "tv" => YuvRange::Limited,
        _ => {
            if full {
                YuvRange::Full
            } else {
                YuvRange::Limited
            }
        }
    }
}

fn siting(location: &str) -> Result<Siting, String> {
    Ok(match location {
        "left" | "unspecified" | "unknown" => Siting::Left,
        "center" => Siting::Centre,
        "topleft" => Siting::TopLeft,
        _ => return Err(format!("its chroma samples are at \"{location}\", which libwfvae does not know")),
    })
}
