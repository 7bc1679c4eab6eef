//! No memory, no address space, no threads: calls end with an error that says so, and the process goes on. Each case runs in a
//! process of its own.
//!
//! `WFVAE_LIMITS_ALL=1` fails every allocation instead of some, and the first ones of more processes.

use libc::{RLIM_INFINITY, rlimit};
use std::ffi::c_long;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use wfvae::{
    Error, ErrorKind, Image, ImageMut, LatentReader, LatentType, LatentWriter, Latents, LatentsMut, Model,
    ModelOptions, PixelFormat, Stream, StreamOptions,
};

const CASE: &str = "WFVAE_LIMITS_CASE";
const ALL: &str = "WFVAE_LIMITS_ALL";
const PRELOAD: &str = "LD_PRELOAD";
/// A model of whose kernels some are ours, and one that takes whole clips.
const MODELS: [&str; 2] = ["tests/golden/v1-tiny", "tests/golden/own-v2-groupnorm"];
const WIDTH: usize = 64;
const HEIGHT: usize = 48;
const FRAMES: usize = 9;
/// The least block of ONNX Runtime that the tests refuse, while it computes: its tensors. While it builds a session it faults
/// where it is refused one.
const LARGE: usize = 16 << 10;
/// What `first` says of a process that was refused nothing.
const ENOUGH: &str = "there was enough";

pub fn main() -> ExitCode {
    if let Ok(case) = std::env::var(CASE) {
        child(&case);
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    let mut run = |name: &str, preload: Option<&Path>, case: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(CASE, case);
        if let Some(library) = preload {
            command.env(PRELOAD, library);
        }
        let output = command.output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // Whatever a panic says, in whichever thread.
        let ok = output.status.success() && !error.contains("panicked") && out.contains("done");
        println!("{} {name}: {}", if ok { "ok" } else { "FAILED" }, out.lines().last().unwrap_or_default());
        if !ok {
            failed += 1;
            println!("{}\n{out}{error}", output.status);
        }
        out.lines().last().unwrap_or_default().to_string()
    };
    run("n_threads is obeyed", None, "threads");
    run("threads that have no work take no CPU time", None, "idle");
    run("limits of address space", None, "space");
    run("limits of threads", None, "processes");
    let folder = tempfile::tempdir().unwrap();
    match preloaded(folder.path()) {
        Ok(library) => {
            for model in MODELS {
                for forever in [0, 1] {
                    let how = if forever == 0 { "fails" } else { "and all later ones fail" };
                    let name = format!("{model}: the n-th allocation {how}");
                    let told = run(&name, Some(&library), &format!("memory:{model}:{forever}"));
                    // "done, TRIED of COUNT allocations, ..."
                    let count: u64 = told.split(' ').nth(3).and_then(|count| count.parse().ok()).unwrap_or(2000);
                    let tenths: &[u64] = if all() { &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] } else { &[0, 1, 3] };
                    let mut refused = 0;
                    for tenth in tenths {
                        let case = format!("first:{model}:{forever}:{}", tenth * tenth * count / 100);
                        let name = format!("{model}: the same in a new process, {tenth}/10");
                        refused += usize::from(!run(&name, Some(&library), &case).ends_with(ENOUGH));
                    }
                    assert!(forever == 0 || refused > 0, "{model}: no new process was refused memory");
                }
            }
        }
        Err(text) => println!("skipped: memory that ends: {text}"),
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all() -> bool {
    std::env::var_os(ALL).is_some()
}

/// The library that lets allocations fail.
fn preloaded(folder: &Path) -> Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return Err("only with glibc".into());
    }
    let library = folder.join("fail_malloc.so");
    let compiler = std::env::var_os("CC").unwrap_or("cc".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/limits/fail_malloc.c");
    let output = Command::new(compiler).args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).output();
    let output = output.map_err(|e| format!("no C compiler: {e}"))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(library)
}

fn child(case: &str) {
    let fields: Vec<&str> = case.split(':').collect();
    match fields[..] {
        ["threads"] => threads(),
        ["idle"] => idle(),
        ["space"] => space(),
        ["processes"] => processes(),
        ["memory", model, forever] => memory(model, forever == "1"),
        ["first", model, forever, n] => first(model, forever == "1", n.parse().unwrap()),
        _ => panic!("{case}"),
    }
}

/// All that one user does with a model, with buffers that are there before: nothing here allocates while it runs.
struct Work {
    path: PathBuf,
    options: ModelOptions,
    stream: StreamOptions,
    video: Vec<u8>,
    latents: Vec<f32>,
    pixels: Vec<u8>,
    file: PathBuf,
    onnx: PathBuf,
    /// What to do once there is a stream.
    made: Option<extern "C" fn(usize)>,
    _folder: tempfile::TempDir,
}

impl Work {
    fn new(model: &str, threads: usize) -> Self {
        let mut options = ModelOptions::default();
        options.threads = threads;
        let opened = Model::open(model, &options).unwrap();
        let mut stream = StreamOptions::new(WIDTH, HEIGHT);
        stream.clip_frames = if opened.info().whole_clips { FRAMES as u64 } else { 0 };
        let info = Stream::new(&opened, &stream).unwrap().info();
        let latents = opened.latents_for_frames(FRAMES as u64) as usize;
        let frames = opened.frames_for_latents(latents as u64) as usize;
        let folder = tempfile::tempdir().unwrap();
        let onnx = folder.path().join("onnx");
        std::fs::create_dir(&onnx).unwrap();
        Work {
            path: model.into(),
            options,
            stream,
            video: (0..FRAMES * 3 * WIDTH * HEIGHT).map(|i| (i * 7 % 251) as u8).collect(),
            latents: vec![0.0; latents * info.latent_channels * info.latent_width * info.latent_height],
            pixels: vec![0; frames * 3 * WIDTH * HEIGHT],
            file: folder.path().join("latents.safetensors"),
            onnx,
            made: None,
            _folder: folder,
        }
    }

    /// The hash of all that comes out. `around` is there while the library runs.
    fn run(&mut self, start: impl FnOnce(), stop: impl FnOnce()) -> Result<u64, Error> {
        let images: Vec<Image> = self
            .video
            .chunks_exact(3 * WIDTH * HEIGHT)
            .map(|f| Image::packed(f, PixelFormat::Rgb8, WIDTH, HEIGHT).unwrap())
            .collect();
        self.latents.fill(0.0);
        self.pixels.fill(0);
        let frames = self.pixels.chunks_exact_mut(3 * WIDTH * HEIGHT);
        let mut frames: Vec<ImageMut> =
            frames.map(|f| ImageMut::packed(f, PixelFormat::Rgb8, WIDTH, HEIGHT).unwrap()).collect();
        let latents = &mut self.latents;
        start();
        let result = (|| {
            let model = Model::open(&self.path, &self.options)?;
            let mut stream = Stream::new(&model, &self.stream)?;
            if let Some(made) = self.made {
                made(LARGE);
            }
            let written = stream.encode(&images, LatentsMut::F32(latents))?;
            let size = latents.len() / model.latents_for_frames(FRAMES as u64) as usize;
            stream.encode_flush(LatentsMut::F32(&mut latents[written * size..]))?;
            let snapshot = stream.snapshot()?;
            let written = stream.decode(Latents::F32(latents), &mut frames)?;
            stream.decode_flush(&mut frames[written..])?;
            stream.restore(&snapshot)?;
            let mut writer = LatentWriter::create(&self.file, stream.latent_file(LatentType::F16))?;
            writer.write(Latents::F32(latents))?;
            writer.finish(FRAMES as u64)?;
            LatentReader::open(&self.file)?.read(0, LatentsMut::F32(latents))?;
            model.save_onnx(&self.onnx, wfvae::Graphs::Steps)
        })();
        stop();
        drop(frames);
        result?;
        let mut hash = DefaultHasher::new();
        self.pixels.hash(&mut hash);
        self.latents.iter().for_each(|value| value.to_bits().hash(&mut hash));
        Ok(hash.finish())
    }
}

/// Whether an error is one of memory: its kind says so, or the system's own word for a file, a folder or a library.
fn is_of_memory(error: &Error) -> bool {
    let words = ["annot allocate memory", "out of memory", "bad_alloc", "no memory"];
    error.kind() == ErrorKind::OutOfMemory || words.iter().any(|word| error.text().contains(word))
}

/// The functions of the preloaded library.
struct Malloc {
    start: extern "C" fn(c_long, c_long, *const u8),
    large: extern "C" fn(usize),
    stop: extern "C" fn() -> c_long,
}

impl Malloc {
    fn new() -> Self {
        let symbol = |name: &std::ffi::CStr| {
            let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            assert!(!symbol.is_null(), "{name:?} is not preloaded");
            symbol
        };
        // SAFETY: as they are declared in C.
        unsafe {
            Malloc {
                start: std::mem::transmute::<*mut libc::c_void, extern "C" fn(c_long, c_long, *const u8)>(symbol(
                    c"fail_malloc_start",
                )),
                large: std::mem::transmute::<*mut libc::c_void, extern "C" fn(usize)>(symbol(c"fail_malloc_large")),
                stop: std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> c_long>(symbol(c"fail_malloc_stop")),
            }
        }
    }

    /// Blocks of this program's, as a host may have them, which take so much of the library's reserve that its calls end where
    /// the system has no memory.
    fn fill_reserve(&self) -> Vec<Vec<u8>> {
        (self.start)(0, c_long::MAX, main as *const u8);
        let blocks = (0..24).map(|_| Vec::with_capacity(64 << 10)).collect();
        (self.stop)();
        std::hint::black_box(blocks)
    }

    /// Works while allocation `n` fails, and all later ones if `forever`; also gives how many there were.
    fn run(&self, work: &mut Work, n: c_long, forever: bool) -> (Result<u64, Error>, c_long) {
        let mut count = 0;
        work.made = (!forever).then_some(self.large);
        let result = work.run(|| (self.start)(n, last(n, forever), main as *const u8), || count = (self.stop)());
        work.made = None;
        (result, count)
    }
}

/// The last allocation that fails.
fn last(n: c_long, forever: bool) -> c_long {
    if forever { c_long::MAX } else { n }
}

fn memory(model: &str, forever: bool) {
    let (malloc, mut work) = (Malloc::new(), Work::new(model, 2));
    let right = work.run(|| (), || ()).unwrap();
    let (_, count) = malloc.run(&mut work, c_long::MAX, false);
    // An odd one, so that no pattern is met again and again.
    let step = if all() { 1 } else { (count / 30).max(1) | 1 };
    let (mut refused, mut n, mut tried) = (0, 0, 0);
    let before = allocated();
    while n < count {
        // For who looks for the one that ended the process.
        println!("allocation {n} of {count}");
        let held = (forever && tried % 2 == 0).then(|| malloc.fill_reserve());
        let result = malloc.run(&mut work, n, forever).0;
        drop(held);
        match result {
            Ok(found) => assert_eq!(found, right, "allocation {n} of {count}"),
            Err(e) => {
                assert!(is_of_memory(&e), "allocation {n} of {count}: {:?}: {e}", e.kind());
                refused += 1;
            }
        }
        (n, tried) = (n + step, tried + 1);
    }
    let grown = allocated().saturating_sub(before);
    assert_eq!(work.run(|| (), || ()).unwrap(), right);
    println!("done, {tried} of {count} allocations, {refused} calls refused, {grown} bytes more in use at the end");
    assert!(!forever || refused > 0, "no call was refused");
    // What the C library's caches hold counts too, some 2.5 kB a run; the smallest thing that a run makes and that could be
    // lost, a session, takes more.
    assert!(grown < 5000 * tried as u64 + (1 << 20), "{grown} bytes were lost in {tried} runs");
}

/// The first things that a process does with the library: loading the runtime and what is made once.
fn first(model: &str, forever: bool, n: c_long) {
    let malloc = Malloc::new();
    // They stay while there is memory again, which is then no reason to refuse anything.
    let _held = (forever && n % 2 == 0).then(|| malloc.fill_reserve());
    let mut options = ModelOptions::default();
    options.threads = 2;
    (malloc.start)(n, last(n, forever), main as *const u8);
    let opened = Model::open(model, &options).and_then(|model| Stream::new(&model, &StreamOptions::new(WIDTH, HEIGHT)));
    (malloc.stop)();
    if let Err(e) = &opened {
        assert!(is_of_memory(e), "allocation {n}: {:?}: {e}", e.kind());
    }
    let told = opened.err().map_or(ENOUGH.into(), |e| e.to_string());
    Work::new(model, 2).run(|| (), || ()).unwrap();
    println!("done, allocation {n}: {told}");
}

/// Bytes in use, as the allocator counts them.
#[cfg(target_env = "gnu")]
fn allocated() -> u64 {
    unsafe { libc::mallinfo2() }.uordblks as u64
}

#[cfg(not(target_env = "gnu"))]
fn allocated() -> u64 {
    0
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect(field);
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

/// Each session has n_threads - 1 threads of its own, and the caller's.
fn threads() {
    let open = |threads: usize| {
        let mut options = ModelOptions::default();
        options.threads = threads;
        Model::builtin(&options).unwrap()
    };
    // The system counts a thread for a moment longer than it can be waited for.
    let settled = |expected: u64| {
        for _ in 0..200 {
            if status("Threads") == expected {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        status("Threads")
    };
    // What the runtime starts once.
    drop(Stream::new(&open(1), &StreamOptions::new(WIDTH, HEIGHT)).unwrap());
    let before = settled(1);
    for threads in [1, 2, 3, 7] {
        let model = open(threads);
        let stream = Stream::new(&model, &StreamOptions::new(WIDTH, HEIGHT)).unwrap();
        let sessions = u64::from(model.info().sessions);
        let expected = before + sessions * (threads as u64 - 1);
        assert_eq!(settled(expected), expected, "{threads} threads in {sessions} sessions");
        drop((stream, model));
        assert_eq!(settled(before), before, "threads stayed");
    }
    println!("done");
}

/// The host's CPUs are not for threads that wait for the next call.
fn idle() {
    let time = || {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: fills the time.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) }, 0);
        time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
    };
    let mut options = ModelOptions::default();
    options.threads = 4;
    let model = Model::builtin(&options).unwrap();
    let mut stream = Stream::new(&model, &StreamOptions::new(WIDTH, HEIGHT)).unwrap();
    let picture = vec![9; 3 * WIDTH * HEIGHT];
    let picture = Image::packed(&picture, PixelFormat::Rgb8, WIDTH, HEIGHT).unwrap();
    let (mut working, mut idle) = (0.0, 0.0);
    for _ in 0..10 {
        let start = time();
        let mut latents = vec![0.0; stream.info().latent_channels * WIDTH * HEIGHT];
        stream.encode(&[picture; 4], LatentsMut::F32(&mut latents)).unwrap();
        let end = time();
        std::thread::sleep(std::time::Duration::from_millis(50));
        (working, idle) = (working + end - start, idle + time() - end);
    }
    assert!(idle < 0.01, "{idle:.4} s of CPU time in 0.5 s without work, {working:.4} s with it");
    println!("done, {:.1} ms of CPU time in 0.5 s without work", 1e3 * idle);
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) {
    let mut now = rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        assert_eq!(libc::getrlimit(resource, &mut now), 0);
        now.rlim_cur = most.min(now.rlim_max);
        assert_eq!(libc::setrlimit(resource, &now), 0);
    }
}

fn space() {
    let mut work = Work::new(MODELS[0], 2);
    let right = work.run(|| (), || ()).unwrap();
    let mut refused = 0;
    for megabytes in [0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 4096] {
        let most = (status("VmSize") << 10) + (megabytes << 20);
        println!("{megabytes} MB more");
        match work.run(|| limit(libc::RLIMIT_AS, most), || limit(libc::RLIMIT_AS, RLIM_INFINITY)) {
            Ok(found) => assert_eq!(found, right, "{megabytes} MB"),
            Err(e) => {
                assert!(is_of_memory(&e), "{megabytes} MB: {:?}: {e}", e.kind());
                refused += 1;
            }
        }
    }
    assert_eq!(work.run(|| (), || ()).unwrap(), right);
    assert!(refused > 0);
    println!("done, {refused} refused");
}

fn processes() {
    // The limit does not bind root; it counts all processes of a user, so this must be one that has no others.
    if unsafe { libc::getuid() } != 0 {
        return println!("done: skipped, only root can be another user");
    }
    let mut work = Work::new(MODELS[0], 4);
    let right = work.run(|| (), || ()).unwrap();
    let path = work._folder.path().to_path_buf();
    let user = 50_000 + std::process::id() % 10_000;
    let mut own = vec![path.clone(), path.join("onnx")];
    let entries = [path.read_dir(), path.join("onnx").read_dir()].into_iter().flat_map(Result::unwrap);
    own.extend(entries.map(|entry| entry.unwrap().path()));
    // Root of a container may not have the right.
    let changed = own.iter().try_for_each(|path| std::os::unix::fs::chown(path, Some(user), Some(user)));
    let became =
        unsafe { libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(user) == 0 && libc::setuid(user) == 0 };
    if changed.is_err() || !became {
        return println!("done: skipped, this root cannot be another user");
    }
    if std::fs::File::open(Path::new(MODELS[0]).join("config.json")).is_err() {
        return println!("done: skipped, other users cannot read {}", MODELS[0]);
    }
    let own = status("Threads");
    let (mut refused, mut went_on) = (0, 0);
    for more in 0..16 {
        println!("{more} more threads");
        match work.run(|| limit(libc::RLIMIT_NPROC, own + more), || limit(libc::RLIMIT_NPROC, RLIM_INFINITY)) {
            Ok(found) => {
                assert_eq!(found, right, "{more} more threads");
                went_on += 1;
            }
            Err(e) => {
                assert!(
                    e.kind() == ErrorKind::Runtime && e.text().contains("n_threads"),
                    "{more} more: {:?}: {e}",
                    e.kind()
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && went_on > 0, "{refused} refused, {went_on} went on");
    assert_eq!(work.run(|| (), || ()).unwrap(), right);
    println!("done, {refused} refused, {went_on} went on");
}
