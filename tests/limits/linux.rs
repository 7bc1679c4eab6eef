//! A system that refuses: no memory, no threads, no files, no space. Calls end with an error that says so, and the process goes on.
//! Each case runs in a process of its own.
//!
//! `WFVAE_LIMITS_ALL=1` fails every call instead of some, and the first ones of more processes.

#[path = "calls.rs"]
mod calls;
#[path = "disk.rs"]
mod disk;
#[path = "memory.rs"]
mod memory;
#[path = "resources.rs"]
mod resources;
#[path = "shim.rs"]
mod shim;
#[path = "threads.rs"]
mod threads;
#[path = "work.rs"]
mod work;

use std::path::Path;
use std::process::{Command, ExitCode};

const CASE: &str = "WFVAE_LIMITS_CASE";
const ALL: &str = "WFVAE_LIMITS_ALL";
const PRELOAD: &str = "LD_PRELOAD";
/// A model of whose kernels some are ours, and one that takes whole clips.
const MODELS: [&str; 2] = ["tests/golden/v1-tiny", "tests/golden/own-v2-groupnorm"];

/// Runs cases, each in a process of its own.
struct Cases {
    failed: usize,
}

impl Cases {
    /// Gives the last line that it printed.
    fn run(&mut self, name: &str, preload: Option<&Path>, case: &str) -> String {
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
            self.failed += 1;
            println!("{}\n{out}{error}", output.status);
        }
        out.lines().last().unwrap_or_default().to_string()
    }
}

pub fn main() -> ExitCode {
    if let Ok(case) = std::env::var(CASE) {
        child(&case);
        return ExitCode::SUCCESS;
    }
    let mut cases = Cases { failed: 0 };
    cases.run("n_threads is obeyed", None, "threads");
    cases.run("threads that have no work take no CPU time", None, "idle");
    cases.run("limits of address space", None, "space");
    cases.run("limits of threads", None, "processes");
    cases.run("files that are cut while they are open", None, "cut");
    cases.run("a full disk", None, "full");
    cases.run("a read-only disk", None, "read-only");
    let folder = tempfile::tempdir().unwrap();
    match shim::build(folder.path()) {
        Ok(library) => {
            calls(&mut cases, &library);
            allocations(&mut cases, &library);
        }
        Err(text) => println!("skipped: memory that ends, and calls that fail: {text}"),
    }
    if cases.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn allocations(cases: &mut Cases, library: &Path) {
    for model in MODELS {
        for forever in [0, 1] {
            let how = if forever == 0 { "fails" } else { "and all later ones fail" };
            let name = format!("{model}: the n-th allocation {how}");
            let told = cases.run(&name, Some(library), &format!("memory:{model}:{forever}"));
            // "done, TRIED of COUNT allocations, ..."
            let count: u64 = told.split(' ').nth(3).and_then(|count| count.parse().ok()).unwrap_or(2000);
            let tenths: &[u64] = if all() { &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9] } else { &[0, 1, 3] };
            let mut refused = 0;
            for tenth in tenths {
                let case = format!("first:{model}:{forever}:{}", tenth * tenth * count / 100);
                let name = format!("{model}: the same in a new process, {tenth}/10");
                refused += usize::from(!cases.run(&name, Some(library), &case).ends_with(memory::ENOUGH));
            }
            assert!(forever == 0 || refused > 0, "{model}: no new process was refused memory");
        }
    }
}

fn calls(cases: &mut Cases, library: &Path) {
    for model in if all() { &MODELS[..] } else { &MODELS[..1] } {
        cases.run(&format!("{model}: interrupted and short calls"), Some(library), &format!("retried:{model}"));
        cases.run(&format!("{model}: the n-th call fails"), Some(library), &format!("calls:{model}"));
    }
    cases.run("no other model is opened where calls fail", Some(library), "other model");
    // In a process that has not loaded the runtime yet.
    let most = if all() { 200 } else { 2 };
    for kind in calls::FIRST_KINDS {
        for n in 0..most {
            let case = format!("new:{}:{kind}:{n}", MODELS[0]);
            if cases.run(&format!("a new process: {kind} fails"), Some(library), &case).ends_with(calls::NO_MORE) {
                break;
            }
        }
    }
}

fn all() -> bool {
    std::env::var_os(ALL).is_some()
}

fn child(case: &str) {
    let fields: Vec<&str> = case.split(':').collect();
    match fields[..] {
        ["threads"] => threads::threads(),
        ["idle"] => threads::idle(),
        ["processes"] => threads::processes(),
        ["space"] => memory::space(),
        ["memory", model, forever] => memory::memory(model, forever == "1"),
        ["first", model, forever, n] => memory::first(model, forever == "1", n.parse().unwrap()),
        ["cut"] => disk::cut(),
        ["full"] => disk::full(),
        ["read-only"] => disk::read_only(),
        ["retried", model] => calls::retried(model),
        ["calls", model] => calls::calls(model),
        ["other model"] => calls::other_model(),
        ["new", model, kind, n] => calls::new_process(model, kind, n.parse().unwrap()),
        _ => panic!("{case}"),
    }
}
