//! Writes latents as they are computed. The target file appears complete or not at all.

use super::info::{LatentFileInfo, MAX_CHANNELS, MAX_COMPRESSION, MAX_SIDE};
use super::unfinished;
use crate::error::{Error, ErrorKind, Result, fail};
use crate::float_mode::FloatMode;
use crate::media::latents::{LatentType, Latents, or_scaled};
use crate::platform::{self, Kind};
use crate::process::Owned;
use half::f16;
use std::fmt;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::NamedTempFile;

/// Elements converted at a time.
const BLOCK: usize = 1 << 14;
/// Decimal digits of the header's numbers that are not known at first: T, the end of the data, and the number of
/// frames.
const UNKNOWN_DIGITS: usize = 3 * 20;
/// How often and after which time a file that is in use is replaced again.
const IN_USE_TRIES: u32 = 20;
const IN_USE_PAUSE: Duration = Duration::from_millis(100);

/// Writes a latent file. Latents are appended to a temporary file in the target's folder, `.NAME.wfvae-N.tmp`, where N is
/// 0 unless several writers have the same target.
/// [`finish`](Self::finish) renames it to the target; an error or dropping the writer deletes it. The file of a killed
/// process stays until the next writer of this target starts. Memory use does not depend on the length of the clip.
pub struct LatentWriter {
    /// The path that the caller passed.
    path: PathBuf,
    target: PathBuf,
    info: LatentFileInfo,
    state: State,
    /// The size reserved for the header.
    header_room: usize,
}

enum State {
    /// A forked child must not delete the file.
    Open(Owned<NamedTempFile>),
    Finished,
    Failed(String),
}

impl fmt::Debug for LatentWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatentWriter").field("path", &self.path).field("info", &self.info).finish_non_exhaustive()
    }
}

impl LatentWriter {
    /// Starts a file with the latents that `info` describes. Ignores `frames` and `latents` of `info`. An existing file
    /// stays until [`finish`](Self::finish) replaces it. This does not check whether the target is a file of an open
    /// model; [`Model::check_target`](crate::Model::check_target) does.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) if the target's folder is not writable, or the target exists and is not a regular file;
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the fields of `info` contradict each other.
    pub fn create(path: impl AsRef<Path>, info: LatentFileInfo) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let named = |kind, text: String| Error::new(kind, format!("latent file {}: {text}", path.display()));
        let invalid = |text: String| named(ErrorKind::InvalidArgument, text);
        check_ranges(&info).and_then(|()| info.check()).map_err(invalid)?;

        if path.file_name().is_none() {
            return Err(named(ErrorKind::Io, "not the name of a file".into()));
        }
        // Renaming would replace a device or a pipe by a file.
        if platform::kind(&path).is_ok_and(|kind| kind != Kind::File) {
            let text = "exists and is not a regular file; latents cannot be written to pipes or devices";
            return Err(named(ErrorKind::Io, text.into()));
        }
        if platform::is_kept(&path) {
            let text = "exists and is read-only, so it cannot be replaced; make it writable, or remove it";
            return Err(named(ErrorKind::Io, text.into()));
        }
        // It would also replace a link instead of the file that it points to, so links are resolved. The path is made
        // absolute in case the process changes its working directory.
        let target = dunce::canonicalize(&path).or_else(|_| std::path::absolute(&path));
        let target = target.map_err(|e| named(ErrorKind::Io, e.to_string()))?;
        let folder = folder_of(&target);

        let header = info.header(0, 0).map_err(invalid)?;
        let header_room = (header.len() + UNKNOWN_DIGITS).next_multiple_of(64);
        let begin = || {
            let file = unfinished::create(folder, &target)?;
            // Zeros are not a valid header, so an unfinished file cannot be opened.
            file.as_file().write_all(&vec![0; 8 + header_room])?;
            Ok(file)
        };
        let file = begin().map_err(|e: std::io::Error| {
            named(ErrorKind::Io, format!("cannot create a file in its folder: {e}")).caused_by(e)
        })?;
        let info = LatentFileInfo { frames: 0, latents: 0, ..info };
        Ok(LatentWriter { path, target, info, state: State::Open(Owned::new(file)), header_room })
    }

    /// Describes the file. `latents` counts the latents written so far.
    pub fn info(&self) -> &LatentFileInfo {
        &self.info
    }

    /// Appends latents, `[n, C, h, w]` (moments: 2C), converted to the file's type. n may be 0.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the size is not a multiple of a latent's;
    /// [`NotFinite`](ErrorKind::NotFinite) for a NaN, an infinity, or a value too large for a float16 file, in which
    /// case nothing was appended; [`InvalidState`](ErrorKind::InvalidState) after [`finish`](Self::finish) or an
    /// [`Io`](ErrorKind::Io) error; [`Io`](ErrorKind::Io), after which the temporary file is deleted.
    pub fn write(&mut self, latents: Latents<'_>) -> Result<()> {
        let _mode = FloatMode::set_default();
        let size = self.info.stored_channels() * self.info.plane();
        if !latents.len().is_multiple_of(size) {
            fail!(
                InvalidArgument,
                "found {} elements, expected a multiple of {size}, the size of a latent",
                latents.len()
            );
        }
        let latent_type = self.info.latent_type;
        if let Some(bad) = latents.first_not_finite(latent_type) {
            let (path, latent, value) =
                (self.path.display(), self.info.latents + (bad / size) as u64, latents.value(bad));
            if value.is_finite() {
                let advice = or_scaled(self.info.posterior, self.info.scaled);
                fail!(
                    NotFinite,
                    "latent file {path}: latent {latent}: {value} is too large for float16, whose largest value is \
                    65504; store float32 latents{advice}"
                );
            }
            fail!(NotFinite, "latent file {path}: latent {latent}: element {} is {value}", bad % size);
        }
        self.on_file(|file| match latents {
            Latents::F32(values) => values.chunks(BLOCK).try_for_each(|block| {
                let values = block.iter().copied();
                file.write_all(&bytes(values, latent_type))
            }),
            Latents::F16(values) => values.chunks(BLOCK).try_for_each(|block| {
                let values = block.iter().map(|v| v.to_f32());
                file.write_all(&bytes(values, latent_type))
            }),
        })?;
        self.info.latents += (latents.len() / size) as u64;
        Ok(())
    }

    /// Completes the file for a clip of `frames` frames and renames it to the target, with its data flushed to the
    /// disk.
    ///
    /// # Errors
    /// [`InvalidState`](ErrorKind::InvalidState) if the number of latents does not match `frames` (more can then be
    /// written), or after an error; [`Io`](ErrorKind::Io), after which the temporary file is deleted. Windows does not
    /// always replace a file that another program has open: if it cannot for two seconds, this fails, but nothing is deleted, and
    /// it can be called again.
    pub fn finish(&mut self, frames: u64) -> Result<()> {
        let path = self.path.display();
        let (found, needed) = (self.info.latents, self.info.latents_for(frames));
        if frames == 0 {
            fail!(InvalidArgument, "latent file {path}: a clip of 0 frames, expected at least 1");
        }
        if matches!(self.state, State::Open(_)) && found != needed {
            fail!(InvalidState, "latent file {path}: {found} latents were written, {frames} frames have {needed}");
        }
        let mut header = match self.info.header(found, frames) {
            Ok(header) => header.into_bytes(),
            Err(text) => fail!(InvalidArgument, "latent file {path}: {text}"),
        };
        let room = self.header_room;
        if header.len() > room {
            fail!(Internal, "latent file {path}: the header has {} bytes, but only {room} are reserved", header.len());
        }
        // safetensors allows spaces after the header.
        header.resize(room, b' ');
        self.on_file(|file| {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&(room as u64).to_le_bytes())?;
            file.write_all(&header)?;
            file.sync_all()?;
            // Its name may be that of another writer's file now, which is not finished.
            match platform::link_count(file)? {
                0 => Err(std::io::Error::other("another program deleted it before it was finished")),
                _ => Ok(()),
            }
        })?;
        self.replace_target()?;
        self.info.frames = frames;
        // Not every file system supports this for a folder.
        let _ = File::open(folder_of(&self.target)).and_then(|folder| folder.sync_all());
        Ok(())
    }

    /// Renames the complete file to the target.
    fn replace_target(&mut self) -> Result<()> {
        let State::Open(file) = &mut self.state else { return Ok(()) };
        // The standard library's rename replaces a file that other programs have open, if the system can do that. Programs that
        // look for viruses or index files have them open for a moment.
        let mut result = std::fs::rename(file.path(), &self.target);
        for _ in 0..IN_USE_TRIES {
            if !result.as_ref().is_err_and(platform::is_in_use) {
                break;
            }
            std::thread::sleep(IN_USE_PAUSE);
            result = std::fs::rename(file.path(), &self.target);
        }
        match result {
            Ok(()) => {
                file.disable_cleanup(true);
                self.state = State::Finished;
                Ok(())
            }
            Err(e) if platform::is_in_use(&e) => {
                let path = self.path.display();
                let text = format!(
                    "latent file {path}: {e}; most likely another program has the old file open: close it, and finish the \
                    latent file again"
                );
                Err(Error::new(ErrorKind::Io, text).caused_by(e))
            }
            Err(e) => Err(self.failed(e)),
        }
    }

    fn on_file(&mut self, work: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
        let path = self.path.display();
        let result = match &mut self.state {
            State::Open(file) => {
                file.owner().check("latent writer")?;
                work(file.as_file_mut())
            }
            State::Finished => fail!(InvalidState, "latent file {path}: it is finished"),
            State::Failed(text) => fail!(InvalidState, "latent file {path}: an earlier call failed: {text}"),
        };
        result.map_err(|e| self.failed(e))
    }

    fn failed(&mut self, error: std::io::Error) -> Error {
        let end = match self.delete() {
            Ok(()) => "the unfinished file was deleted".into(),
            Err((file, e)) => format!("the unfinished file {} could not be deleted: {e}", file.display()),
        };
        self.state = State::Failed(error.to_string());
        let text = format!("latent file {}: {error}; {end}", self.path.display());
        Error::new(ErrorKind::Io, text).caused_by(error)
    }

    /// Deletes the temporary file, unless another program did: its name may be that of another writer's file now. The error
    /// names it.
    fn delete(&mut self) -> Result<(), (PathBuf, std::io::Error)> {
        let State::Open(file) = &mut self.state else { return Ok(()) };
        file.disable_cleanup(true);
        if platform::link_count(file.as_file()).is_ok_and(|links| links == 0) {
            return Ok(());
        }
        std::fs::remove_file(file.path()).map_err(|e| (file.path().to_path_buf(), e))
    }
}

impl Drop for LatentWriter {
    fn drop(&mut self) {
        // A forked child has no right to the file.
        if let State::Open(file) = &self.state
            && file.owner().is_current()
        {
            let _ = self.delete();
        }
    }
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn bytes(values: impl Iterator<Item = f32>, latent_type: LatentType) -> Vec<u8> {
    match latent_type {
        LatentType::F32 => values.flat_map(f32::to_le_bytes).collect(),
        LatentType::F16 => values.flat_map(|v| f16::from_f32(v).to_le_bytes()).collect(),
    }
}

/// Checks the limits that the reader checks.
fn check_ranges(info: &LatentFileInfo) -> Result<(), String> {
    let limits = [
        ("width", info.width as u64, MAX_SIDE),
        ("height", info.height as u64, MAX_SIDE),
        ("spatial_compression", info.spatial_compression as u64, MAX_COMPRESSION),
        ("temporal_compression", info.temporal_compression, MAX_COMPRESSION),
        ("latent_channels", info.latent_channels as u64, MAX_CHANNELS),
    ];
    let wrong = limits.into_iter().find(|(_, value, last)| *value == 0 || value > last);
    wrong.map_or(Ok(()), |(name, value, last)| Err(format!("{name} is {value}, expected 1 to {last}")))
}
