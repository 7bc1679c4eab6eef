//! Estimates of memory against what a process really takes. Each case runs in a process of its own.

mod common;

use common::{bfloat16, clip, decode, encode, on_matrix_unit};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use wfvae::{Model, ModelOptions, Stream, StreamOptions, Tiling};

const CASE: &str = "WFVAE_ESTIMATE_CASE";
/// What a case prints that this CPU cannot run.
const LEFT_OUT: &str = "left out";
/// Errors that the documentation promises: relative ones for streams and for whole clips, and bytes that may be missing or
/// too many whatever the size.
const TOLERANCE: f64 = 0.15;
const CLIP_TOLERANCE: f64 = 0.33;
const TOLERANCE_BYTES: f64 = 4e6;

/// A model ("" is the built-in one), a size, a direction (capital: in bfloat16), the number of threads (0: the machine's), and of
/// how many frames a clip is that is given at once in blended tiles (0: not so). The last six take whole clips.
const CASES: [(&str, usize, usize, char, usize, u64); 27] = [
    ("", 848, 480, 'e', 0, 0),
    ("", 848, 480, 'd', 0, 0),
    ("", 1920, 1088, 'e', 0, 0),
    ("", 1920, 1088, 'd', 0, 0),
    // Memory grows with the threads, also with those that wait for a CPU.
    ("", 848, 480, 'd', 1, 0),
    ("", 848, 480, 'e', 16, 0),
    ("", 848, 480, 'd', 16, 0),
    ("", 848, 480, 'e', 64, 0),
    ("", 848, 480, 'd', 64, 0),
    ("tests/golden/v1-tiny", 848, 480, 'd', 64, 0),
    // Where little is the frames'.
    ("tests/golden/v2-tiny", 64, 64, 'e', 64, 0),
    ("", 64, 64, 'd', 16, 0),
    ("", 64, 64, 'd', 64, 0),
    // Most of it is frames that wait for all of their tiles.
    ("", 512, 256, 'd', 2, 61),
    ("", 848, 480, 'E', 0, 0),
    ("", 848, 480, 'D', 0, 0),
    ("", 1920, 1088, 'D', 1, 0),
    ("", 848, 480, 'D', 16, 0),
    ("", 64, 64, 'D', 64, 0),
    ("", 512, 256, 'D', 2, 61),
    ("tests/golden/v1-tiny", 848, 480, 'D', 2, 0),
    ("tests/golden/own-v2-groupnorm", 256, 192, 'e', 0, 0),
    ("tests/golden/own-v2-groupnorm", 256, 192, 'd', 0, 0),
    ("tests/golden/cv-tiny", 256, 192, 'e', 0, 0),
    ("tests/golden/cv-tiny", 256, 192, 'd', 2, 0),
    ("tests/golden/cv-res", 512, 256, 'e', 2, 0),
    ("tests/golden/cv-res", 256, 192, 'd', 0, 0),
];

fn main() -> ExitCode {
    if !cfg!(target_os = "linux") {
        println!("skipped: what a process takes is read from /proc");
        return ExitCode::SUCCESS;
    }
    if let Ok(case) = std::env::var(CASE) {
        measure(&case);
        return ExitCode::SUCCESS;
    }
    let more = std::env::var("WFVAE_ESTIMATE_CASES").unwrap_or_default();
    // Every second one, and all of whole clips.
    let chosen = |i: usize| common::whole_grids() || i.is_multiple_of(2) || i + 6 >= CASES.len();
    let cases = CASES.iter().enumerate().filter(|(i, _)| chosen(*i)).map(|(_, case)| case);
    let cases = cases.map(|(model, width, height, direction, threads, frames)| {
        format!("{model}:{width}:{height}:{direction}:{threads}:{frames}")
    });
    let mut failed = false;
    for case in cases.chain(more.split_whitespace().map(str::to_string)) {
        let exe = std::env::current_exe().unwrap();
        let output = Command::new(exe).env(CASE, &case).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        if text.trim() == LEFT_OUT {
            println!("{case}: left out, there is no matrix unit");
            continue;
        }
        assert!(output.status.success(), "{case}: {text}{}", String::from_utf8_lossy(&output.stderr));
        let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [estimate, taken, weights, state, working, whole] = numbers[..] else { panic!("{case}: {text}") };
        let tolerance = if whole == 1.0 { CLIP_TOLERANCE } else { TOLERANCE };
        let wrong = (estimate - taken).abs() > TOLERANCE_BYTES.max(tolerance * taken);
        failed |= wrong;
        println!(
            "{case}: estimate {:.1} MB ({:.1} weights, {:.1} state, {:.1} working), taken {:.1} MB, ratio {:.3}{}",
            estimate / 1e6,
            weights / 1e6,
            state / 1e6,
            working / 1e6,
            taken / 1e6,
            estimate / taken,
            if wrong { " FAILED" } else { "" }
        );
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints the estimate, and by how much the process grew.
fn measure(case: &str) {
    let fields: Vec<&str> = case.split(':').collect();
    let [model, width, height, direction, threads, frames] = fields[..] else {
        panic!("{case}: expected MODEL:WIDTH:HEIGHT:e|d|E|D:THREADS:FRAMES")
    };
    let (width, height) = (width.parse().unwrap(), height.parse().unwrap());
    let (threads, frames) = (threads.parse().unwrap(), frames.parse::<u64>().unwrap());
    let narrow = direction == "E" || direction == "D";
    let mut model_options = if narrow { bfloat16() } else { ModelOptions::default() };
    model_options.threads = threads;
    let model = match model {
        "" => Model::builtin(&model_options),
        path => Model::open(path, &model_options),
    };
    let Some(model) = (if narrow { on_matrix_unit(model) } else { Some(model.unwrap()) }) else {
        println!("{LEFT_OUT}");
        return;
    };
    let (encoding, decoding) = (direction.eq_ignore_ascii_case("e"), direction.eq_ignore_ascii_case("d"));
    let video = clip(if frames > 0 { frames as usize } else { 5 }, width, height, 1);
    let mut options = StreamOptions::new(width, height);
    (options.encode, options.decode) = (encoding, decoding);
    let whole = model.info().whole_clips;
    options.clip_frames = if whole { 5 } else { frames };
    if frames > 0 {
        options.tiling = Tiling::Blended { overlap: 32 };
        (options.tile_width, options.tile_height) = (192, 128);
    }
    let plan = if options.clip_frames > 0 { usize::MAX } else { 1 };
    let estimate = Stream::estimate(&model, &options).unwrap();
    let before = anonymous();
    let mut stream = Stream::new(&model, &options).unwrap();
    let info = stream.info();
    let count = model.latents_for_frames(if options.clip_frames > 0 { options.clip_frames } else { 9 }) as usize;
    let latents = vec![0.5; count * info.latent_channels * info.latent_width * info.latent_height];
    let peak = Peak::start();
    let work = if encoding { encode(&mut stream, &video, &[plan]) } else { decode(&mut stream, &latents, &[plan]) };
    let taken = peak.stop() - before - 4 * work.len() as u64 - 4 * latents.len() as u64;
    assert_eq!(estimate.encode_state_bytes, stream.info().encode_state_bytes);
    assert_eq!(estimate.decode_state_bytes, stream.info().decode_state_bytes);
    println!(
        "{} {} {} {} {} {}",
        estimate.total_bytes,
        taken,
        estimate.weight_bytes,
        estimate.encode_state_bytes + estimate.decode_state_bytes,
        estimate.working_bytes,
        u32::from(whole)
    );
}

/// Resident bytes that are the process's own, not mapped files.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|l| l.starts_with("RssAnon:")).expect("RssAnon");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

static PEAK: AtomicU64 = AtomicU64::new(0);
static WATCHING: AtomicBool = AtomicBool::new(true);

/// Watches anonymous memory, which has no high-water mark of its own.
struct Peak(std::thread::JoinHandle<()>);

impl Peak {
    fn start() -> Self {
        Peak(std::thread::spawn(|| {
            while WATCHING.load(Ordering::Relaxed) {
                PEAK.fetch_max(anonymous(), Ordering::Relaxed);
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }))
    }

    fn stop(self) -> u64 {
        // A busy machine may not have let the other thread see the end, when streams and sessions still have what they took.
        PEAK.fetch_max(anonymous(), Ordering::Relaxed);
        WATCHING.store(false, Ordering::Relaxed);
        self.0.join().unwrap();
        PEAK.load(Ordering::Relaxed)
    }
}
