//! Memory that ends, and address space.

use super::shim::{Failing, Shim};
use super::threads::at_once;
use super::work::{HEIGHT, WIDTH, Work, limit, status};
use super::{MODELS, all};
use libc::RLIM_INFINITY;
use std::ffi::c_long;
use wfvae::{Error, ErrorKind, Model, ModelOptions, Stream, StreamOptions};

/// What `first` says of a process that was refused nothing.
pub const ENOUGH: &str = "there was enough";

/// Whether an error is one of memory: its kind says so, or the system's own word for a file, a folder or a library.
pub fn is_of_memory(error: &Error) -> bool {
    let words = ["annot allocate memory", "out of memory", "bad_alloc", "no memory"];
    error.kind() == ErrorKind::OutOfMemory || words.iter().any(|word| error.text().contains(word))
}

/// Blocks of this program's, as a host may have them, which take so much of the library's reserve that its calls end where
/// the system has no memory.
fn fill_reserve(shim: &Shim) -> Vec<Vec<u8>> {
    let failing = Failing::from(0, true, libc::ENOMEM);
    let (blocks, _) = shim.run("memory", failing, |start, stop| {
        start();
        let blocks = (0..24).map(|_| Vec::with_capacity(64 << 10)).collect();
        stop();
        blocks
    });
    std::hint::black_box(blocks)
}

/// Works while allocation `n` fails, and all later ones if `forever`; also gives how many there were.
fn run(shim: &Shim, work: &mut Work, n: c_long, forever: bool) -> (Result<u64, Error>, c_long) {
    work.made = (!forever).then_some(shim.large);
    let run = shim.run("memory", Failing::from(n, forever, libc::ENOMEM), |start, stop| work.run(start, stop));
    work.made = None;
    run
}

pub fn memory(model: &str, forever: bool) {
    let (shim, mut work) = (Shim::new(), Work::new(model, 2));
    let right = work.run(|| (), || ()).unwrap();
    let (_, count) = run(&shim, &mut work, c_long::MAX, false);
    // An odd one, so that no pattern is met again and again.
    let step = if all() { 1 } else { (count / 30).max(1) | 1 };
    let (mut refused, mut n, mut tried) = (0, 0, 0);
    let before = allocated();
    while n < count {
        // For who looks for the one that ended the process.
        println!("allocation {n} of {count}");
        let held = (forever && tried % 2 == 0).then(|| fill_reserve(&shim));
        let result = run(&shim, &mut work, n, forever).0;
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

/// The first things that a process does with the library: loading the runtime and what is made once. Two threads do them at the same
/// time, so that one may wait for the other.
pub fn first(model: &str, forever: bool, n: c_long) {
    let shim = Shim::new();
    // They stay while there is memory again, which is then no reason to refuse anything.
    let _held = (forever && n % 2 == 0).then(|| fill_reserve(&shim));
    let mut options = ModelOptions::default();
    options.threads = 2;
    let open =
        || Model::open(model, &options).and_then(|model| Stream::new(&model, &StreamOptions::new(WIDTH, HEIGHT)));
    let (opened, _) =
        shim.run("memory", Failing::from(n, forever, libc::ENOMEM), |start, stop| at_once(open, start, stop));
    let errors: Vec<Error> = opened.into_iter().filter_map(Result::err).collect();
    for e in &errors {
        assert!(is_of_memory(e), "allocation {n}: {:?}: {e}", e.kind());
    }
    let told = errors.first().map_or(ENOUGH.into(), |e| e.to_string());
    Work::new(model, 2).run(|| (), || ()).unwrap();
    println!("done, allocation {n}: {told}");
}

/// Bytes in use, as the allocator counts them.
#[cfg(target_env = "gnu")]
pub fn allocated() -> u64 {
    unsafe { libc::mallinfo2() }.uordblks as u64
}

#[cfg(not(target_env = "gnu"))]
pub fn allocated() -> u64 {
    0
}

pub fn space() {
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
