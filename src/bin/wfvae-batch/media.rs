//! Frames of media files, from the program `wfvae-media` (media.c), which describes the messages.

use crate::interrupt;
use crate::process::{Pipes, Process};
use crate::watchdog::Watchdog;
use std::io::{BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const PROGRAM: &str = "wfvae-media";
/// FFmpeg's sizes of frames are 31-bit integers; names come before them.
const MAX_MESSAGE: u32 = i32::MAX as u32 + 1000;

/// What a file says of its video.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Description {
    pub width: usize,
    pub height: usize,
    /// FFmpeg's name of the pixel format.
    pub format: String,
    pub rate: Option<(u32, u32)>,
    /// Width and height of a pixel.
    pub aspect: Option<(u32, u32)>,
    /// FFmpeg's name of where the chroma samples are.
    pub location: String,
    /// How frames are turned and mirrored to be shown.
    pub turn: Option<Turn>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Turn {
    By {
        /// FFmpeg's.
        filter: &'static str,
        /// Whether width and height change places.
        swaps: bool,
    },
    /// By another angle.
    Unknown,
}

impl Turn {
    pub fn swaps(&self) -> bool {
        matches!(self, Turn::By { swaps: true, .. })
    }
}

/// A frame, its planes without padding. The names are FFmpeg's.
pub struct Frame {
    pub width: usize,
    pub height: usize,
    /// Frames a second after the filters.
    pub rate: Option<(u32, u32)>,
    pub format: String,
    pub matrix: String,
    pub range: String,
    /// Of chroma samples.
    pub location: String,
    pub planes: Vec<u8>,
}

/// What was found when a clip was read to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// Frames before the filters.
    pub decoded: u64,
    pub sent: u64,
}

pub enum Next {
    Frame(Frame),
    End(Counts),
}

/// One process, which reads one clip after the other. A new one is started after one that crashed or hung.
pub struct Reader {
    program: PathBuf,
    dog: Arc<Watchdog>,
    timeout: Duration,
    memory: u64,
    /// Whether messages of the clip are to come.
    reading: bool,
    connection: Option<Connection>,
}

/// To a process that lives, as far as is known.
struct Connection {
    process: Process,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// The program, which is installed in `libexec/wfvae` beside the folder of this one, and is built in this one's folder.
pub fn find_program() -> Result<PathBuf, String> {
    let own = std::env::current_exe().and_then(std::fs::canonicalize);
    let own = own.map_err(|e| format!("cannot find this program's folder: {e}"))?;
    let folder = own.parent().unwrap_or(Path::new(""));
    let programs = [folder.join(PROGRAM), folder.join("../libexec/wfvae").join(PROGRAM)];
    let found = programs.iter().find(|program| program.is_file()).ok_or_else(|| {
        format!(
            "{} is missing: it reads media files, and comes with wfvae-batch from make and make install",
            programs[1].display()
        )
    })?;
    // Without a clip it ends at once. If it cannot find FFmpeg's libraries, the system says so.
    let tried = Command::new(found).stdin(Stdio::null()).output();
    let tried = tried.map_err(|e| format!("{} cannot be started: {e}", found.display()))?;
    match tried.status.success() {
        true => Ok(found.clone()),
        false => {
            let text = String::from_utf8_lossy(&tried.stderr);
            Err(format!("{} does not run ({}): {}", found.display(), tried.status, text.trim()))
        }
    }
}

impl Reader {
    /// `memory`: that a process may take, in bytes.
    pub fn new(program: PathBuf, dog: Arc<Watchdog>, timeout: Duration, memory: u64) -> Self {
        Reader { program, dog, timeout, memory, reading: false, connection: None }
    }

    pub fn open(&mut self, path: &Path, start: Option<i64>, end: Option<i64>) -> Result<Description, String> {
        let mut body = vec![];
        body.extend(start.unwrap_or(i64::MIN).to_le_bytes());
        body.extend(end.unwrap_or(i64::MAX).to_le_bytes());
        body.extend(bytes_of(path));
        // One that somebody ended between two clips does not count against the second one.
        if !self.connection.as_ref().is_some_and(|connection| connection.process.lives()) {
            self.connection = Some(self.start()?);
        }
        self.on_connection(|connection| {
            connection.send(b'o', &body)?;
            match connection.receive()? {
                (b'i', body) => Ok(Ok(describe(&text(body)))),
                (b'e', body) => Ok(Err(text(body))),
                _ => Err(Broken::Nonsense),
            }
        })?
    }

    /// Begins to read the open clip through a filter graph.
    pub fn run(&mut self, graph: &str) -> Result<(), String> {
        self.reading = true;
        self.on_connection(|connection| connection.send(b'r', graph.as_bytes()))
    }

    pub fn next(&mut self) -> Result<Next, String> {
        loop {
            if let Some(next) = self.next_message()? {
                return Ok(next);
            }
        }
    }

    /// `None`: decoding goes on.
    fn next_message(&mut self) -> Result<Option<Next>, String> {
        let (kind, body) = self.on_connection(Connection::receive)?;
        self.reading = !matches!(kind, b'd' | b'e');
        match kind {
            b'f' => match frame(body) {
                Some(frame) => Ok(Some(Next::Frame(frame))),
                None => Err("the decoder sent a frame that cannot be read".into()),
            },
            b'd' => Ok(Some(Next::End(counts(&text(body))))),
            b'e' => Err(text(body)),
            b'h' => Ok(None),
            _ => Err(format!("the decoder sent a message of the unknown kind {kind}")),
        }
    }

    /// Ends the process if frames are under way that are not wanted.
    pub fn abandon(&mut self) {
        if std::mem::take(&mut self.reading) {
            self.connection = None;
        }
    }

    fn start(&self) -> Result<Connection, String> {
        let mut command = Command::new(&self.program);
        command.arg(self.memory.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Systems send what ends this program to all of its processes. It lets clips end.
        // SAFETY: only signal() is called, which may be between fork and exec.
        unsafe {
            command.pre_exec(|| {
                interrupt::ignore(&interrupt::SIGNALS);
                Ok(())
            })
        };
        let started = Process::start(&mut command, &self.dog);
        let (process, pipes) = started.map_err(|e| format!("{} cannot be started: {e}", self.program.display()))?;
        let Pipes { input: Some(input), output: Some(output), .. } = pipes else { unreachable!("both are pipes") };
        Ok(Connection { process, input, output: BufReader::with_capacity(1 << 16, output) })
    }

    fn on_connection<T>(&mut self, work: impl FnOnce(&mut Connection) -> Result<T, Broken>) -> Result<T, String> {
        let connection = self.connection.as_mut().ok_or("no clip is open")?;
        connection.process.allow(Some(self.timeout));
        let result = work(connection);
        connection.process.allow(None);
        let broken = match result {
            Ok(found) => return Ok(found),
            Err(broken) => broken,
        };
        let late = connection.process.was_late();
        // One that sent nonsense may live.
        let status = connection.process.kill();
        self.connection = None;
        Err(match (broken, status) {
            _ if late => format!("no frame was decoded in {} s (--timeout)", self.timeout.as_secs_f64()),
            (Broken::Nonsense, _) => "the decoder sent what is no message".into(),
            (Broken::Ended, Ok(status)) => format!("the decoder ended: {status}"),
            (Broken::Ended, Err(e)) => format!("the decoder ended: {e}"),
        })
    }
}

/// Why a process is of no more use.
enum Broken {
    Ended,
    /// It sent something else than a message.
    Nonsense,
}

impl From<std::io::Error> for Broken {
    fn from(_: std::io::Error) -> Self {
        Broken::Ended
    }
}

impl Connection {
    fn send(&mut self, kind: u8, body: &[u8]) -> Result<(), Broken> {
        self.input.write_all(&[kind])?;
        self.input.write_all(&(body.len() as u32).to_le_bytes())?;
        Ok(self.input.write_all(body)?)
    }

    fn receive(&mut self) -> Result<(u8, Vec<u8>), Broken> {
        let mut head = [0; 5];
        self.output.read_exact(&mut head)?;
        let size = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        if size > MAX_MESSAGE {
            return Err(Broken::Nonsense);
        }
        let mut body = vec![];
        body.try_reserve_exact(size as usize).map_err(|_| Broken::Nonsense)?;
        (&mut self.output).take(u64::from(size)).read_to_end(&mut body)?;
        match body.len() == size as usize {
            true => Ok((head[0], body)),
            false => Err(Broken::Ended),
        }
    }
}

fn text(body: Vec<u8>) -> String {
    String::from_utf8_lossy(&body).into_owned()
}

fn frame(mut body: Vec<u8>) -> Option<Frame> {
    let number = |at: usize| Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?) as usize);
    let (width, height) = (number(0)?, number(4)?);
    let mut at = 8;
    let mut name = || {
        let end = at + body.get(at..)?.iter().position(|&byte| byte == 0)?;
        let name = String::from_utf8(body[at..end].to_vec()).ok();
        at = end + 1;
        name
    };
    let rate = fraction(&name()?);
    let (format, matrix, range, location) = (name()?, name()?, name()?, name()?);
    body.drain(..at);
    Some(Frame { width, height, rate, format, matrix, range, location, planes: body })
}

fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('='))
}

fn counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    for (name, value) in lines(text) {
        let value = value.parse().unwrap_or_default();
        match name {
            "decoded" => counts.decoded = value,
            "sent" => counts.sent = value,
            _ => {}
        }
    }
    counts
}

/// Of positive numbers.
fn fraction(text: &str) -> Option<(u32, u32)> {
    let (numerator, denominator) = text.split_once('/')?;
    let found = (numerator.parse().ok()?, denominator.parse().ok()?);
    Some(found).filter(|&(numerator, denominator)| numerator > 0 && denominator > 0)
}

fn describe(text: &str) -> Description {
    let mut found = Description::default();
    for (name, value) in lines(text) {
        match name {
            "width" => found.width = value.parse().unwrap_or_default(),
            "height" => found.height = value.parse().unwrap_or_default(),
            "format" => found.format = value.into(),
            "location" => found.location = value.into(),
            "rate" => found.rate = fraction(value),
            "aspect" => found.aspect = fraction(value).filter(|(x, y)| x != y),
            "display_matrix" => found.turn = turn(value),
            _ => {}
        }
    }
    found
}

/// Of the first two rows and columns of a display matrix, in units of 1/65536 (ISO/IEC 14496-12, 6.2.2).
fn turn(matrix: &str) -> Option<Turn> {
    let values: Vec<i64> = matrix.split(',').filter_map(|value| value.parse().ok()).collect();
    let signs = [0, 1, 3, 4].map(|i| values.get(i).copied().unwrap_or_default().signum());
    let (filter, swaps) = match signs {
        [1, 0, 0, 1] => return None,
        [-1, 0, 0, -1] => ("hflip,vflip", false),
        [-1, 0, 0, 1] => ("hflip", false),
        [1, 0, 0, -1] => ("vflip", false),
        [0, 1, -1, 0] => ("transpose=clock", true),
        [0, -1, 1, 0] => ("transpose=cclock", true),
        [0, 1, 1, 0] => ("transpose=cclock_flip", true),
        [0, -1, -1, 0] => ("transpose=clock_flip", true),
        _ => return Some(Turn::Unknown),
    };
    Some(Turn::By { filter, swaps })
}

/// The name as the system has it, which need not be UTF-8.
fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
