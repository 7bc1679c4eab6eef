//! Videos and folders of pictures, which the program ffmpeg writes: a child process for each.

use crate::arguments::VideoKind;
use crate::files;
use crate::outputs::{self, Names};
use crate::watchdog::{Watch, Watchdog};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use wfvae::{Chroma, Matrix, PixelFormat, Yuv};

const PROGRAM: &str = "ffmpeg";
/// Of what ffmpeg says, in bytes.
const TEXT: usize = 500;

/// How videos are written.
pub struct Settings {
    pub kind: VideoKind,
    /// The user's, for ffmpeg.
    pub options: Vec<String>,
    pub timeout: Duration,
    pub dog: Arc<Watchdog>,
}

/// The frames of a video.
#[derive(Clone, Copy)]
pub struct Frames {
    pub width: usize,
    pub height: usize,
    pub fps: (u32, u32),
}

impl Settings {
    pub fn names(kind: VideoKind) -> Names {
        match kind {
            VideoKind::Mp4 => Names::Video("mp4"),
            VideoKind::Mkv => Names::Video("mkv"),
            VideoKind::Png => Names::Pictures,
        }
    }

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
        let frames = Frames { width: 256, height: 256, fps: (25, 1) };
        let output = ["-f", "null", "-"].map(OsString::from).to_vec();
        let mut process = Process::start(self, &frames, output, Path::new("."))?;
        process.write(&vec![0; self.format(&frames).bytes(&frames)])?;
        process.end()
    }

    /// In which ffmpeg gets frames.
    pub fn format(&self, frames: &Frames) -> Format {
        let has_chroma_pairs = frames.width.is_multiple_of(2) && frames.height.is_multiple_of(2);
        match self.kind {
            VideoKind::Mkv | VideoKind::Png => Format::Rgb,
            VideoKind::Mp4 if has_chroma_pairs => Format::Yuv420,
            VideoKind::Mp4 => Format::Yuv444,
        }
    }

    /// Bytes that ffmpeg holds for each pixel of a frame: x264 and FFV1 keep many frames. Measured; other encoders may need more.
    pub fn held_bytes(&self) -> u64 {
        match self.kind {
            VideoKind::Mp4 | VideoKind::Mkv => 190,
            VideoKind::Png => 20,
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
    pub fn pixels(self, frames: &Frames) -> PixelFormat {
        let yuv = Yuv { matrix: Matrix::Auto.for_height(frames.height), ..Yuv::default() };
        match self {
            Format::Rgb => PixelFormat::Rgb8,
            Format::Yuv420 => PixelFormat::Yuv8 { chroma: Chroma::Half, yuv },
            Format::Yuv444 => PixelFormat::Yuv8 { chroma: Chroma::Full, yuv },
        }
    }

    /// Of a frame.
    pub fn bytes(self, frames: &Frames) -> usize {
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

    /// A filter that tells ffmpeg how colours are to be read.
    fn tags(self, frames: &Frames) -> Option<String> {
        let matrix = match Matrix::Auto.for_height(frames.height) {
            Matrix::Bt709 => "bt709",
            _ => "smpte170m",
        };
        (self != Format::Rgb).then(|| format!("setparams=range=tv:colorspace={matrix}"))
    }
}

/// A video that is being written. It is removed if it is not finished.
pub struct Video {
    process: Process,
    unfinished: PathBuf,
    path: PathBuf,
    kind: VideoKind,
    finished: bool,
}

impl Video {
    pub fn create(settings: &Settings, path: &Path, key: &str, frames: &Frames) -> Result<Self, String> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let named = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
        files::create_folder(folder).map_err(|e| named(folder, e))?;
        let unfinished = outputs::unfinished(path, key);
        // Only this job writes here, so it was left by one that was killed.
        outputs::remove(&unfinished).map_err(|e| named(&unfinished, e))?;
        let (output, place) = match settings.kind {
            // In the folder, whose name may hold what is a pattern for ffmpeg.
            VideoKind::Png => {
                std::fs::create_dir(&unfinished).map_err(|e| named(path, e))?;
                (vec!["-f".into(), "image2".into(), outputs::pictures().into()], unfinished.as_path())
            }
            _ => (file_options(settings.kind, unfinished.file_name().unwrap_or_default()), folder),
        };
        let process = Process::start(settings, frames, output, place);
        if process.is_err() {
            let _ = outputs::remove(&unfinished);
        }
        Ok(Video { process: process?, unfinished, path: path.into(), kind: settings.kind, finished: false })
    }

    pub fn write(&mut self, frame: &[u8]) -> Result<(), String> {
        self.process.write(frame)
    }

    /// Gives the video its name, when it is on the disk, and tells its size in bytes. `frames`: how many it has.
    pub fn finish(mut self, frames: u64) -> Result<u64, String> {
        self.process.end()?;
        let bytes = self.publish(frames).map_err(|e| format!("{}: {e}", self.path.display()))?;
        self.finished = true;
        Ok(bytes)
    }

    fn publish(&self, frames: u64) -> std::io::Result<u64> {
        let files = match self.kind {
            VideoKind::Png => outputs::pictures_in(&self.unfinished)?,
            _ => vec![self.unfinished.clone()],
        };
        let expected = if self.kind == VideoKind::Png { frames } else { 1 };
        if files.len() as u64 != expected {
            let text = format!("ffmpeg wrote {} pictures of {frames} frames", files.len());
            return Err(std::io::Error::other(text));
        }
        for file in &files {
            File::open(file)?.sync_all()?;
        }
        if self.kind == VideoKind::Png {
            files::sync_folder(&self.unfinished);
            outputs::remove(&self.path)?;
        }
        std::fs::rename(&self.unfinished, &self.path)?;
        files::sync_folder(self.path.parent().unwrap_or(Path::new("")));
        outputs::size(&self.path).ok_or_else(|| std::io::Error::other("it is not there"))
    }
}

impl Drop for Video {
    fn drop(&mut self) {
        if !self.finished {
            // First the writer.
            self.process.kill();
            let _ = outputs::remove(&self.unfinished);
        }
    }
}

fn file_options(kind: VideoKind, name: &OsStr) -> Vec<OsString> {
    let options: &[&str] = match kind {
        VideoKind::Mp4 => &["-movflags", "+faststart", "-f", "mp4"],
        _ => &["-f", "matroska"],
    };
    // Else ffmpeg might take a part of the name for a protocol.
    let mut file = OsString::from("file:");
    file.push(name);
    options.iter().map(OsString::from).chain([file]).collect()
}

/// ffmpeg, which reads frames from a pipe.
struct Process {
    child: Arc<Mutex<Child>>,
    watch: Watch,
    /// `None`: it has been told that no frame is to come.
    input: Option<ChildStdin>,
    says: Option<JoinHandle<String>>,
    timeout: Duration,
}

impl Process {
    fn start(settings: &Settings, frames: &Frames, output: Vec<OsString>, folder: &Path) -> Result<Self, String> {
        let format = settings.format(frames);
        let mut command = Command::new(PROGRAM);
        command.args([
            "-hide_banner",
            "-nostdin",
            "-v",
            "error",
            "-y",
            "-f",
            "rawvideo",
            "-pixel_format",
            format.name(),
        ]);
        command.args(["-video_size", &format!("{}x{}", frames.width, frames.height)]);
        command.args(["-framerate", &format!("{}/{}", frames.fps.0, frames.fps.1), "-i", "pipe:0"]);
        command.args(format.tags(frames).iter().flat_map(|tags| ["-vf", tags]));
        command.args(settings.codec()).args(["-threads", "1"]);
        // No dates or random numbers, and one thread, on which x264's decisions depend: the same latents give the same file.
        command.args(["-fflags", "+bitexact", "-flags:v", "+bitexact"]);
        command.args(&settings.options).args(output);
        if !folder.as_os_str().is_empty() {
            command.current_dir(folder);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Control-C lets videos be finished.
        command.process_group(0);
        #[cfg(target_os = "linux")]
        // SAFETY: prctl() may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // It ends with the thread that started it.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let started = command.spawn();
        let mut child = started.map_err(|e| format!("{PROGRAM}, which writes videos, cannot be started: {e}"))?;
        let (input, errors) = (child.stdin.take(), child.stderr.take().expect("a pipe"));
        let says = std::thread::spawn(move || listen(errors));
        let child = Arc::new(Mutex::new(child));
        let watch = settings.dog.watch(child.clone());
        Ok(Process { child, watch, input, says: Some(says), timeout: settings.timeout })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.watch.allow(Some(self.timeout));
        let input = self.input.as_mut().expect("before the end");
        let written = input.write_all(bytes);
        self.watch.allow(None);
        match written {
            Ok(()) => Ok(()),
            // It has ended, and has told why.
            Err(e) => Err(self.end().err().unwrap_or_else(|| format!("{PROGRAM}: {e}"))),
        }
    }

    /// Waits until everything is written.
    fn end(&mut self) -> Result<(), String> {
        self.watch.allow(Some(self.timeout));
        self.input = None;
        // It closes its end of the pipe when it ends.
        let text = self.says.take().and_then(|says| says.join().ok()).unwrap_or_default();
        self.watch.allow(None);
        let late = self.watch.was_late();
        let status = crate::lock::lock(&self.child).wait().map_err(|e| format!("{PROGRAM}: {e}"))?;
        match text.trim() {
            _ if late => Err(format!("{PROGRAM} wrote nothing for {} s (--timeout)", self.timeout.as_secs_f64())),
            "" if status.success() => Ok(()),
            "" => Err(format!("{PROGRAM} ended: {status}")),
            text => Err(format!("{PROGRAM}: {}", text.replace('\n', "; "))),
        }
    }

    fn kill(&mut self) {
        let mut child = crate::lock::lock(&self.child);
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The beginning of what a process says; the rest is read, too, so that it does not wait.
fn listen(mut errors: ChildStderr) -> String {
    let mut text = vec![];
    let mut block = [0; 4096];
    while let Ok(count @ 1..) = errors.read(&mut block) {
        let room = TEXT - text.len();
        text.extend(&block[..count.min(room)]);
    }
    String::from_utf8_lossy(&text).into_owned()
}
