//! Videos and folders of pictures, which the program ffmpeg writes: a child process for each.

use crate::arguments::VideoKind;
use crate::ffmpeg::Ffmpeg;
use crate::files;
use crate::outputs::{self, Names};
use crate::times::rate_text;
use crate::watchdog::Watchdog;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wfvae::{Chroma, Matrix, PixelFormat, Yuv};

/// FFmpeg's largest numerator and denominator of a rate.
const LARGEST: u32 = 1_001_000;
/// Frames a second. Times in Matroska are milliseconds.
const RATES: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// How videos are written.
pub struct VideoSettings {
    pub kind: VideoKind,
    /// The user's, for ffmpeg.
    pub options: Vec<String>,
    pub timeout: Duration,
    pub dog: Arc<Watchdog>,
}

/// The frames of a video.
#[derive(Clone, Copy)]
pub struct VideoFrames {
    pub width: usize,
    pub height: usize,
    pub fps: (u32, u32),
}

impl VideoSettings {
    /// For the manifest.
    pub fn describe(&self) -> String {
        let kind = match self.kind {
            VideoKind::Mp4 => "mp4",
            VideoKind::Mkv => "mkv",
            VideoKind::Png => "png",
        };
        let options = self.options.join(" ");
        if options.is_empty() { kind.into() } else { format!("{kind} {options}") }
    }

    /// Fails if ffmpeg is missing, or cannot encode as it is asked to.
    pub fn check(&self) -> Result<(), String> {
        // An option that is none would be the name of one more output.
        let pairs = std::iter::once("").chain(self.options.iter().map(String::as_str)).zip(&self.options);
        if let Some((_, name)) =
            pairs.into_iter().find(|(before, text)| !before.starts_with('-') && !text.starts_with('-'))
        {
            return Err(format!("--ffmpeg: {name} is neither an option nor the value of one"));
        }
        let frames = VideoFrames { width: 256, height: 256, fps: (25, 1) };
        let output = ["-f", "null", "-"].map(OsString::from).to_vec();
        let mut ffmpeg = Ffmpeg::start(&self.arguments(&frames, output), Path::new(""), self.timeout, &self.dog)?;
        ffmpeg.write(&vec![0; self.format(&frames).bytes(&frames)])?;
        ffmpeg.end(None).map(drop)
    }

    /// Fails if a video cannot have the rate. Pictures have none.
    fn check_rate(&self, (numerator, denominator): (u32, u32)) -> Result<(), String> {
        let value = f64::from(numerator) / f64::from(denominator);
        match self.kind == VideoKind::Png || (RATES.contains(&value) && numerator.max(denominator) <= LARGEST) {
            true => Ok(()),
            false => Err(format!(
                "its rate is {} frames a second; videos can have 1/1000 to 1000, as a fraction of numbers up to {LARGEST}",
                rate_text((numerator, denominator))
            )),
        }
    }

    fn arguments(&self, frames: &VideoFrames, output: Vec<OsString>) -> Vec<OsString> {
        let format = self.format(frames);
        let rate = if self.kind == VideoKind::Png { (25, 1) } else { frames.fps };
        let mut found = vec!["-f".to_string(), "rawvideo".into(), "-pixel_format".into(), format.name().into()];
        found.extend(["-video_size".into(), format!("{}x{}", frames.width, frames.height)]);
        found.extend(["-framerate".into(), rate_text(rate)]);
        // Of the input: as options of the output they would ask FFmpeg 7 and later to convert.
        found.extend(format.tags(frames).map(String::from));
        found.extend(["-i", "pipe:0"].map(String::from));
        found.extend(self.codec().iter().map(|text| text.to_string()));
        // No dates or random numbers, and one thread, on which x264's decisions depend: the same latents give the same file.
        found.extend(["-threads", "1", "-fflags", "+bitexact", "-flags:v", "+bitexact"].map(String::from));
        found.extend(self.options.iter().cloned());
        found.into_iter().map(OsString::from).chain(output).collect()
    }

    /// In which ffmpeg gets frames.
    pub fn format(&self, frames: &VideoFrames) -> Format {
        let has_chroma_pairs = frames.width.is_multiple_of(2) && frames.height.is_multiple_of(2);
        match self.kind {
            VideoKind::Mkv | VideoKind::Png => Format::Rgb,
            VideoKind::Mp4 if has_chroma_pairs => Format::Yuv420,
            VideoKind::Mp4 => Format::Yuv444,
        }
    }

    /// Bytes that ffmpeg holds for each pixel of a frame: x264 and FFV1 keep many frames. Measured; other encoders may need more.
    pub fn held_bytes(&self, frames: &VideoFrames) -> u64 {
        match (self.kind, self.format(frames)) {
            (VideoKind::Png, _) => 20,
            (VideoKind::Mp4, Format::Yuv444) => 320,
            _ => 190,
        }
    }

    fn codec(&self) -> &'static [&'static str] {
        match self.kind {
            VideoKind::Mp4 => &["-c:v", "libx264", "-crf", "18"],
            // Checksums in every frame.
            VideoKind::Mkv => &["-c:v", "ffv1", "-level", "3", "-slicecrc", "1"],
            VideoKind::Png => &["-c:v", "png"],
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Rgb,
    Yuv420,
    Yuv444,
}

impl Format {
    /// BT.601 or BT.709 by the height, as programs guess it that do not read the tag.
    pub fn pixels(self, frames: &VideoFrames) -> PixelFormat {
        let yuv = Yuv { matrix: Matrix::Auto.for_height(frames.height), ..Yuv::default() };
        match self {
            Format::Rgb => PixelFormat::Rgb8,
            Format::Yuv420 => PixelFormat::Yuv8 { chroma: Chroma::Half, yuv },
            Format::Yuv444 => PixelFormat::Yuv8 { chroma: Chroma::Full, yuv },
        }
    }

    /// Of a frame.
    pub fn bytes(self, frames: &VideoFrames) -> usize {
        let pixels = frames.width * frames.height;
        if self == Format::Yuv420 { pixels * 3 / 2 } else { pixels * 3 }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Rgb => "rgb24",
            Format::Yuv420 => "yuv420p",
            Format::Yuv444 => "yuv444p",
        }
    }

    /// Options of an input that tell ffmpeg how its colours are to be read.
    fn tags(self, frames: &VideoFrames) -> impl Iterator<Item = &'static str> {
        let matrix = match Matrix::Auto.for_height(frames.height) {
            Matrix::Bt709 => "bt709",
            _ => "smpte170m",
        };
        let tags = ["-color_range", "tv", "-colorspace", matrix];
        tags.into_iter().filter(move |_| self != Format::Rgb)
    }
}

/// A video that is being written. It is removed if it is not finished.
pub struct Video {
    ffmpeg: Ffmpeg,
    unfinished: PathBuf,
    path: PathBuf,
    kind: VideoKind,
    finished: bool,
}

impl Video {
    pub fn create(settings: &VideoSettings, path: &Path, key: &str, frames: &VideoFrames) -> Result<Self, String> {
        settings.check_rate(frames.fps)?;
        let kind = settings.kind;
        let folder = path.parent().unwrap_or(Path::new(""));
        let unfinished = outputs::unfinished(path, key);
        let named = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
        files::create_folder(folder).map_err(|e| named(folder, e))?;
        // Of a job that was killed.
        outputs::remove_unfinished(&unfinished).map_err(|e| named(&unfinished, e))?;
        let (output, place) = match kind {
            // ffmpeg works in the folder, as the folder's name may look like a pattern of numbers.
            VideoKind::Png => {
                std::fs::create_dir(&unfinished).map_err(|e| named(&unfinished, e))?;
                (vec!["-f".into(), "image2".into(), outputs::pictures().into()], unfinished.as_path())
            }
            _ => (file_options(kind, unfinished.file_name().unwrap_or_default()), folder),
        };
        let started = Ffmpeg::start(&settings.arguments(frames, output), place, settings.timeout, &settings.dog);
        let started = started.inspect_err(|_| drop(outputs::remove_unfinished(&unfinished)));
        Ok(Video { ffmpeg: started?, unfinished, path: path.into(), kind, finished: false })
    }

    pub fn write(&mut self, frame: &[u8]) -> Result<(), String> {
        self.ffmpeg.write(frame)
    }

    /// Gives the video its name, when it is on the disk, and tells its size in bytes. `frames`: how many it must have.
    pub fn finish(mut self, frames: u64) -> Result<u64, String> {
        let written = self.ffmpeg.end(Some(&self.unfinished))?;
        if written != frames {
            return Err(format!("ffmpeg wrote {written} frames of {frames}; --ffmpeg must not change their number"));
        }
        let bytes = self.publish().map_err(|e| format!("{}: {e}", self.path.display()))?;
        self.finished = true;
        Ok(bytes)
    }

    fn publish(&self) -> std::io::Result<u64> {
        if self.kind == VideoKind::Png {
            for picture in outputs::pictures_in(&self.unfinished)? {
                File::open(picture)?.sync_all()?;
            }
            files::sync_folder(&self.unfinished);
            // A folder takes the place of an empty one only.
            Names::Pictures.remove(&self.path)?;
        } else {
            File::open(&self.unfinished)?.sync_all()?;
        }
        std::fs::rename(&self.unfinished, &self.path)?;
        files::sync_folder(self.path.parent().unwrap_or(Path::new("")));
        outputs::size(&self.path).ok_or_else(|| std::io::Error::other("it is not there"))
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        if !self.finished {
            // Before what it writes is removed.
            self.ffmpeg.kill();
            let _ = outputs::remove_unfinished(&self.unfinished);
        }
    }
}

fn file_options(kind: VideoKind, name: &OsStr) -> Vec<OsString> {
    let format = if kind == VideoKind::Mp4 { "mp4" } else { "matroska" };
    // Without "file:" ffmpeg might take a part of the name for a protocol.
    let mut file = OsString::from("file:");
    file.push(name);
    // The file grows with each frame, so that one can see that ffmpeg works.
    vec!["-flush_packets".into(), "1".into(), "-f".into(), format.into(), file]
}
