//! What one user does with a model, step by step.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use wfvae::{
    Error, Graphs, Image, ImageMut, LatentReader, LatentType, LatentWriter, Latents, LatentsMut, Model, ModelOptions,
    PixelFormat, Snapshot, Stream, StreamOptions,
};

pub const WIDTH: usize = 64;
pub const HEIGHT: usize = 48;
pub const FRAMES: usize = 9;
const FRAME: usize = 3 * WIDTH * HEIGHT;
/// The least block of ONNX Runtime that the tests refuse, while it computes: its tensors. While it builds a session it faults
/// where it is refused one.
const LARGE: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Open,
    Create,
    Encode,
    Snapshot,
    Decode,
    Write,
    Read,
    Save,
}

impl Step {
    pub const ALL: [Step; 8] =
        [Step::Open, Step::Create, Step::Encode, Step::Snapshot, Step::Decode, Step::Write, Step::Read, Step::Save];
}

/// What the user has made so far.
#[derive(Default)]
pub struct Objects {
    pub model: Option<Model>,
    pub stream: Option<Stream>,
    pub snapshot: Option<Snapshot>,
}

/// Buffers and files that are there before: nothing here allocates while it runs.
pub struct Work {
    path: PathBuf,
    options: ModelOptions,
    stream: StreamOptions,
    video: Vec<u8>,
    latents: Vec<f32>,
    pixels: Vec<u8>,
    pub file: PathBuf,
    pub onnx: PathBuf,
    /// What to do once there is a stream.
    pub made: Option<extern "C" fn(usize)>,
    folder: tempfile::TempDir,
}

impl Work {
    pub fn new(model: &str, threads: usize) -> Self {
        Self::within(tempfile::tempdir().unwrap(), Path::new(model), threads)
    }

    /// With the files that it writes in that folder.
    pub fn within(folder: tempfile::TempDir, model: &Path, threads: usize) -> Self {
        let mut options = ModelOptions::default();
        options.threads = threads;
        let opened = Model::open(model, &options).unwrap();
        let mut stream = StreamOptions::new(WIDTH, HEIGHT);
        stream.clip_frames = if opened.info().whole_clips { FRAMES as u64 } else { 0 };
        let info = Stream::new(&opened, &stream).unwrap().info();
        let latents = opened.latents_for_frames(FRAMES as u64) as usize;
        let frames = opened.frames_for_latents(latents as u64) as usize;
        let onnx = folder.path().join("onnx");
        std::fs::create_dir(&onnx).unwrap();
        Work {
            path: model.into(),
            options,
            stream,
            video: (0..FRAMES * FRAME).map(|i| (i * 7 % 251) as u8).collect(),
            latents: vec![0.0; latents * info.latent_channels * info.latent_width * info.latent_height],
            pixels: vec![0; frames * FRAME],
            file: folder.path().join("latents.safetensors"),
            onnx,
            made: None,
            folder,
        }
    }

    pub fn model(&self) -> &Path {
        &self.path
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All steps, with objects of their own. Gives the hash of all that comes out. `start` and `stop` are around the library's calls.
    pub fn run(&mut self, start: impl FnOnce(), stop: impl FnOnce()) -> Result<u64, Error> {
        self.steps(&mut Objects::default(), &Step::ALL, start, stop)?;
        Ok(self.hash())
    }

    /// Some steps, each of which can be done again.
    pub fn steps(
        &mut self,
        objects: &mut Objects,
        steps: &[Step],
        start: impl FnOnce(),
        stop: impl FnOnce(),
    ) -> Result<(), Error> {
        let images = self.video.chunks_exact(FRAME);
        let images: Vec<Image> = images.map(|f| Image::packed(f, PixelFormat::Rgb8, WIDTH, HEIGHT).unwrap()).collect();
        if steps.contains(&Step::Decode) {
            self.pixels.fill(0);
        }
        let frames = self.pixels.chunks_exact_mut(FRAME);
        let mut frames: Vec<ImageMut> =
            frames.map(|f| ImageMut::packed(f, PixelFormat::Rgb8, WIDTH, HEIGHT).unwrap()).collect();
        let latents = &mut self.latents;
        let mut one = |step: Step| -> Result<(), Error> {
            match (step, &objects.model, &mut objects.stream) {
                (Step::Open, ..) => objects.model = Some(Model::open(&self.path, &self.options)?),
                (Step::Create, Some(model), _) => {
                    objects.stream = Some(Stream::new(model, &self.stream)?);
                    if let Some(made) = self.made {
                        made(LARGE);
                    }
                }
                (Step::Encode, Some(model), Some(stream)) => {
                    latents.fill(0.0);
                    stream.reset()?;
                    let written = stream.encode(&images, LatentsMut::F32(latents))?;
                    let size = latents.len() / model.latents_for_frames(FRAMES as u64) as usize;
                    stream.encode_flush(LatentsMut::F32(&mut latents[written * size..]))?;
                }
                (Step::Snapshot, _, Some(stream)) => {
                    let snapshot = Snapshot::from_bytes(stream.snapshot()?.as_bytes())?;
                    stream.restore(&snapshot)?;
                    objects.snapshot = Some(snapshot);
                }
                (Step::Decode, _, Some(stream)) => {
                    stream.reset()?;
                    let written = stream.decode(Latents::F32(latents), &mut frames)?;
                    stream.decode_flush(&mut frames[written..])?;
                }
                (Step::Write, _, Some(stream)) => {
                    let mut writer = LatentWriter::create(&self.file, stream.latent_file(LatentType::F16))?;
                    writer.write(Latents::F32(latents))?;
                    writer.finish(FRAMES as u64)?;
                }
                (Step::Read, ..) => {
                    LatentReader::open(&self.file)?.read(0, LatentsMut::F32(latents))?;
                }
                (Step::Save, Some(model), _) => model.save_onnx(&self.onnx, Graphs::Steps)?,
                _ => panic!("{step:?} before what it needs"),
            }
            Ok(())
        };
        start();
        let result = steps.iter().try_for_each(|step| one(*step));
        stop();
        result
    }

    /// Of latents and decoded frames.
    pub fn hash(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.pixels.hash(&mut hash);
        self.latents.iter().for_each(|value| value.to_bits().hash(&mut hash));
        hash.finish()
    }
}

/// A number of the process, as the system counts it.
pub fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect(field);
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

/// Sets a limit of the process.
pub fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut now), 0);
        now.rlim_cur = most.min(now.rlim_max);
        assert_eq!(libc::setrlimit(resource, &now), 0);
    }
}
