//! Threads: as many as were asked for, idle without work, and none to be had.

use super::MODELS;
use super::work::{HEIGHT, WIDTH, Work, limit, status};
use libc::RLIM_INFINITY;
use std::ffi::c_void;
use std::path::Path;
use std::sync::{Barrier, OnceLock};
use wfvae::{ErrorKind, Image, LatentsMut, Model, ModelOptions, PixelFormat, Stream, StreamOptions};

/// What two threads get that do `work` at the same time, between `start` and `stop`. They are not made by Rust's library, as those of a
/// host are not: some first uses of that library take memory in them.
pub fn at_once<T: Send + Sync>(work: impl Fn() -> T + Sync, start: &mut dyn FnMut(), stop: &mut dyn FnMut()) -> [T; 2] {
    let (begin, end) = (Barrier::new(3), Barrier::new(3));
    let results = [OnceLock::new(), OnceLock::new()];
    let one = |result: &OnceLock<T>| {
        begin.wait();
        let _ = result.set(work());
        end.wait();
    };
    let bodies = results.each_ref().map(|result| move || one(result));
    let bodies: [&(dyn Fn() + Sync); 2] = [&bodies[0], &bodies[1]];
    extern "C" fn run(body: *mut c_void) -> *mut c_void {
        unsafe { (*body.cast::<&(dyn Fn() + Sync)>())() };
        std::ptr::null_mut()
    }
    let threads = bodies.each_ref().map(|body| {
        let (mut thread, body) = (0, std::ptr::from_ref(body).cast_mut().cast());
        // Unwinding would take away what the other one works with.
        if unsafe { libc::pthread_create(&mut thread, std::ptr::null(), run, body) } != 0 {
            std::process::abort();
        }
        thread
    });
    start();
    begin.wait();
    end.wait();
    stop();
    for thread in threads {
        unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
    }
    results.map(|result| result.into_inner().unwrap())
}

/// Each session has n_threads - 1 threads of its own, and the caller's.
pub fn threads() {
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
pub fn idle() {
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

pub fn processes() {
    // The limit does not bind root; it counts all processes of a user, so this must be one that has no others.
    if unsafe { libc::getuid() } != 0 {
        return println!("done: skipped, only root can be another user");
    }
    let mut work = Work::new(MODELS[0], 4);
    let right = work.run(|| (), || ()).unwrap();
    let path = work.folder().to_path_buf();
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
