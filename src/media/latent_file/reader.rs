//! Reads latents from any position in a file.

use super::info::LatentFileInfo;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::float_mode::FloatMode;
use crate::media::latents::{LatentType, LatentsMut, Posterior};
use crate::memory;
use crate::model::{START, instead_of_safetensors};
use crate::platform::{self, Kind};
use half::f16;
use safetensors::tensor::Metadata;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Far more than the lists, the texts and other programs' keys need.
const MAX_HEADER_BYTES: u64 = 16 << 20;
/// Bytes read at a time.
const BLOCK: usize = 1 << 14;

/// An open latent file. Opening checks everything but the values of the latents. These are read on demand, so memory
/// use does not depend on the length of the clip.
///
/// Thread-safety: safe.
pub struct LatentReader {
    path: PathBuf,
    file: File,
    info: LatentFileInfo,
    /// The file offset of the first latent.
    start: u64,
}

impl fmt::Debug for LatentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatentReader").field("path", &self.path).field("info", &self.info).finish_non_exhaustive()
    }
}

impl LatentReader {
    /// Opens a file and checks everything but the values of the latents.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) if the file cannot be read; [`LatentFile`](ErrorKind::LatentFile) if it is damaged, not a
    /// latent file, or of another version (the text says what was found and what was expected);
    /// [`OutOfMemory`](ErrorKind::OutOfMemory).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        // Scale and shift are parsed from text, which rounds.
        let _mode = FloatMode::set_default();
        let path = path.as_ref().to_path_buf();
        let named = |kind, text: String| Error::new(kind, format!("latent file {}: {text}", path.display()));
        let io = |e: std::io::Error| named(ErrorKind::Io, reason(&e)).caused_by(e);
        let damaged = |text: String| named(ErrorKind::LatentFile, text);
        // Opening a named pipe would wait for its writer.
        if platform::kind(&path).map_err(io)? != Kind::File {
            return Err(named(
                ErrorKind::Io,
                "not a regular file; latents cannot be read from pipes or devices".into(),
            ));
        }
        let file = File::open(&path).map_err(io)?;
        // The file is not mapped: if another program truncated it, a mapping would crash the process.
        let size = file.metadata().map_err(io)?.len();
        let mut start = [0; START];
        let start = &mut start[..START.min(size as usize)];
        platform::read_exact_at(&file, start, 0).map_err(io)?;
        // If the file is a video, a web page or a Git LFS pointer, say so instead of calling the header damaged.
        let refused = |text: String| damaged(instead_of_latents(start).unwrap_or(text));
        let Some(length) = start.first_chunk().map(|length| u64::from_le_bytes(*length)) else {
            let found = if size == 0 { "the file is empty".into() } else { format!("found {size} bytes") };
            return Err(refused(format!("{found}, expected a safetensors header")));
        };
        let available = size - 8;
        if length > available {
            let text = "truncated or unfinished, or not safetensors";
            return Err(refused(format!("{text}: the header is {length} bytes, {available} are there")));
        }
        if length > MAX_HEADER_BYTES {
            return Err(refused(format!("a header of {length} bytes, expected at most {MAX_HEADER_BYTES}")));
        }
        memory::check_room(8 * length, "the header of a latent file")?;
        let mut header = memory::zeros(length as usize, "the header of a latent file")?;
        platform::read_exact_at(&file, &mut header, 8).map_err(io)?;
        let header: Metadata = serde_json::from_slice(&header)
            .map_err(|e| refused(format!("damaged, or not safetensors: its header: {e}")).caused_by(e))?;
        let (needed, available) = (header.data_len() as u64, available - length);
        if needed != available {
            let text = "truncated or damaged: the header describes";
            return Err(damaged(format!("{text} {needed} bytes of data, found {available}")));
        }
        let info = LatentFileInfo::parse(&header).map_err(damaged)?;
        Ok(LatentReader { path, file, info, start: 8 + length })
    }

    /// The path that was passed to [`open`](Self::open).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Describes the file.
    pub fn info(&self) -> &LatentFileInfo {
        &self.info
    }

    /// Reads latents to decode, `[n, C, h, w]`, starting with latent `start`. Reads as many as `out` has room for. From
    /// a file of moments it reads the mean.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the file does not contain these latents, or if the size of
    /// `out` is not a multiple of a latent's; [`Io`](ErrorKind::Io); [`NotFinite`](ErrorKind::NotFinite) if a latent
    /// contains a NaN, an infinity, or a value that the type of `out` cannot hold.
    pub fn read(&self, start: u64, out: LatentsMut<'_>) -> Result<()> {
        self.read_channels(self.info.latent_channels, start, out)
    }

    /// Reads both moments, `[n, 2C, h, w]`, from a file of moments.
    ///
    /// # Errors
    /// As for [`read`](Self::read), and [`InvalidState`](ErrorKind::InvalidState) if the file contains something else.
    pub fn read_moments(&self, start: u64, out: LatentsMut<'_>) -> Result<()> {
        if !matches!(self.info.posterior, Posterior::Moments) {
            let (path, found) = (self.path.display(), self.info.tensor_name());
            fail!(InvalidState, "latent file {path}: it holds the {found}, not the moments");
        }
        self.read_channels(2 * self.info.latent_channels, start, out)
    }

    fn read_channels(&self, channels: usize, start: u64, mut out: LatentsMut<'_>) -> Result<()> {
        let _mode = FloatMode::set_default();
        let (plane, stored) = (self.info.plane(), self.info.stored_channels());
        let size = channels * plane;
        if !out.len().is_multiple_of(size) {
            fail!(
                InvalidArgument,
                "the buffer has {} elements, expected a multiple of {size}, the size of a latent",
                out.len()
            );
        }
        let count = (out.len() / size) as u64;
        self.check_range(start, count)?;
        for i in 0..count {
            let from = (start + i) * (stored * plane) as u64;
            let to = i as usize * size;
            self.read_run(from, to, size, &mut out)
                .map_err(|e| e.prefixed(&format!("latent file {}: latent {}", self.path.display(), start + i)))?;
        }
        Ok(())
    }

    /// Fails unless the file contains these latents.
    pub(crate) fn check_range(&self, start: u64, count: u64) -> Result<()> {
        let (path, latents) = (self.path.display(), self.info.latents);
        if start.checked_add(count).is_none_or(|end| end > latents) {
            fail!(
                InvalidArgument,
                "latent file {path}: {count} latents from latent {start} were asked for, it holds {latents}"
            );
        }
        Ok(())
    }

    /// Copies `count` elements from element `from` of the tensor to element `to` of `out`.
    fn read_run(&self, from: u64, to: usize, count: usize, out: &mut LatentsMut<'_>) -> Result<()> {
        let width = self.info.latent_type.bytes();
        let mut block = [0; BLOCK];
        let mut done = 0;
        while done < count {
            let bytes = &mut block[..BLOCK.min((count - done) * width)];
            platform::read_exact_at(&self.file, bytes, self.start + (from + done as u64) * width as u64)
                .map_err(|e| Error::new(ErrorKind::Io, reason(&e)).caused_by(e))?;
            let f32s = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            let f16s = |b: &[u8]| f16::from_le_bytes([b[0], b[1]]).to_f32();
            let stored = self.info.latent_type;
            match stored {
                LatentType::F32 => out.write(to + done, bytes.chunks_exact(4).map(f32s)),
                LatentType::F16 => out.write(to + done, bytes.chunks_exact(2).map(f16s)),
            }
            let read = bytes.len() / width;
            if let Some(bad) = out.part(to + done, read).first_not_finite(LatentType::F32) {
                let element = &bytes[bad * width..][..width];
                let value = if stored == LatentType::F32 { f32s(element) } else { f16s(element) };
                if value.is_finite() {
                    fail!(
                        NotFinite,
                        "{value} is too large for float16, whose largest value is 65504; read float32 latents"
                    );
                }
                fail!(
                    NotFinite,
                    "element {} is {value}: the file is damaged, or was written from invalid latents",
                    done + bad
                );
            }
            done += read;
        }
        Ok(())
    }
}

/// Why a file could not be read. Its size was known before.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it was cut by another program while it was open".into(),
        _ => error.to_string(),
    }
}

/// What a file is that is not a latent file; `None` if its start does not tell.
fn instead_of_latents(start: &[u8]) -> Option<String> {
    if start.starts_with(b"YUV4MPEG2 ") {
        return Some("a clip (Y4M), not latents: encode it first".into());
    }
    if start.len() > 8 && start.iter().all(|byte| *byte == 0) {
        return Some("begins with zeros only: damaged, or copied before it was finished".into());
    }
    instead_of_safetensors(start)
}
