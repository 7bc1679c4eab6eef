//! The n-th call of a kind fails, while one step of a user's work runs.

use super::memory::{allocated, is_of_memory};
use super::resources::{Files, Resources, files, put};
use super::shim::{ENDS, Failing, SHORT, Shim};
use super::work::{HEIGHT, Objects, Step, WIDTH, Work};
use super::{MODELS, all};
use libc::{EACCES, EAGAIN, EINTR, EIO, EMFILE, ENOLCK, ENOMEM, ENOSPC};
use std::collections::BTreeMap;
use std::ffi::{c_int, c_long};
use std::path::Path;
use wfvae::{Error, ErrorKind, Model, ModelOptions, Stream, StreamOptions};

/// What fails, and how.
pub const KINDS: [(&str, &[c_int]); 12] = [
    ("open", &[EMFILE, ENOMEM]),
    ("read", &[EIO, ENDS]),
    ("write", &[ENOSPC, EIO]),
    ("sync", &[EIO]),
    ("rename", &[EIO]),
    ("stat", &[EIO, ENOMEM]),
    ("list", &[EIO]),
    ("seek", &[EIO]),
    ("lock", &[ENOLCK]),
    // What was begun cannot be deleted either.
    ("write unlink", &[EIO]),
    ("map", &[ENOMEM]),
    ("thread", &[EAGAIN]),
];
/// No error number: calls are counted.
const NOTHING: c_int = 0;
/// Those with which a process begins.
pub const FIRST_KINDS: [&str; 6] = ["open", "read", "stat", "list", "map", "thread"];
/// What `new_process` says when there was no such call.
pub const NO_MORE: &str = "no such call";

/// Whether that is what the documentation says of a call that failed so.
fn is_documented(error: &Error, work: &Work, kind: &str, how: c_int) -> bool {
    if kind == "thread" {
        return error.kind() == ErrorKind::Runtime && error.text().contains("n_threads");
    }
    if kind == "map" {
        return is_of_memory(error);
    }
    let named = [work.model(), work.folder()].iter().any(|path| error.text().contains(path.to_str().unwrap()));
    let reason = match how {
        ENDS => ["cut", "changed", "empty"].iter().any(|word| error.text().contains(word)),
        _ => error.text().contains(&std::io::Error::from_raw_os_error(how).to_string()),
    };
    let expected = match (error.kind(), how) {
        (ErrorKind::OutOfMemory, ENOMEM) | (ErrorKind::Io, _) => true,
        // A file that is not what it was.
        (ErrorKind::Checkpoint | ErrorKind::Config, ENDS) => true,
        _ => false,
    };
    named && reason && expected
}

/// Lets go of what a step makes anew. A model keeps its sessions, so a stream is made of a new one.
fn let_go(step: Step, objects: &mut Objects) {
    if matches!(step, Step::Open | Step::Create) {
        *objects = Objects::default();
    }
}

/// What a step needs and was let go.
fn make_ready(step: Step, work: &mut Work, objects: &mut Objects) {
    if step == Step::Create {
        work.steps(objects, &[Step::Open], || (), || ()).unwrap();
    }
}

/// The files before a step: without those that it makes, and with others in their place.
fn places(step: Step, work: &Work, right: &Files) -> Vec<Files> {
    let own = |path: &Path| match step {
        Step::Write => path == work.file,
        Step::Save => path.starts_with(&work.onnx),
        _ => false,
    };
    let mut absent = right.clone();
    absent.retain(|path, _| !own(path));
    let mut old = right.clone();
    old.iter_mut().filter(|(path, _)| own(path)).for_each(|(_, content)| *content = b"old".to_vec());
    if absent == *right { vec![absent] } else { vec![absent, old] }
}

/// How call `n` fails, and whether all later ones fail too.
type Way = (c_long, c_int, bool);

/// Of so many calls: every one in every way, or of very many each in one way; without `all`, the first and the middle one.
fn ways(count: c_long, errors: &[c_int]) -> Vec<Way> {
    let each: Vec<(c_int, bool)> = errors.iter().flat_map(|how| [(*how, false), (*how, true)]).collect();
    let in_turn = |(i, n): (usize, c_long)| (n, each[i % each.len()].0, each[i % each.len()].1);
    match count {
        0 => vec![],
        _ if !all() => [0, count / 2].into_iter().take(count as usize).enumerate().map(in_turn).collect(),
        1..=200 => (0..count).flat_map(|n| each.iter().map(move |(how, forever)| (n, *how, *forever))).collect(),
        _ => (0..count).enumerate().map(in_turn).collect(),
    }
}

pub fn calls(model: &str) {
    let (shim, mut work) = (Shim::new(), Work::new(model, 2));
    // What is made once.
    work.run(|| (), || ()).unwrap();
    let (mut tried, mut refused) = (0, BTreeMap::new());
    let memory = allocated();
    for (i, step) in Step::ALL.into_iter().enumerate() {
        let mut objects = Objects::default();
        work.steps(&mut objects, &Step::ALL[..=i], || (), || ()).unwrap();
        let right = Right { hash: work.hash(), files: files(work.folder()) };
        for place in places(step, &work, &right.files) {
            let mut one = |case: &str, kind: &str, failing, how| {
                put(work.folder(), &place);
                let_go(step, &mut objects);
                let held = Resources::now();
                make_ready(step, &mut work, &mut objects);
                let (result, count) = shim.run(kind, failing, |a, b| work.steps(&mut objects, &[step], a, b));
                if let Err(e) = &result {
                    println!("{:?}: {e}", e.kind());
                    assert!(is_documented(e, &work, kind, how), "{case}: {:?}: {e}", e.kind());
                    check_files(case, &work, e, step, [&place, &right.files, &files(work.folder())]);
                } else {
                    right.check(case, &work);
                }
                if how != NOTHING {
                    // It works where nothing fails, with what that left.
                    work.steps(&mut objects, &[step], || (), || ()).unwrap();
                    right.check(&format!("{case}, again"), &work);
                }
                let_go(step, &mut objects);
                held.check(case);
                (result.is_err(), count)
            };
            for (kind, errors) in KINDS {
                let (_, count) = one("nothing fails", kind, Failing::none(), NOTHING);
                for (n, how, forever) in ways(count, errors) {
                    let case = format!("{step:?}: {kind} {n} of {count}, error {how}, forever: {forever}");
                    println!("{case}");
                    let (failed, _) = one(&case, kind, Failing::from(n, forever, how), how);
                    tried += 1;
                    *refused.entry(kind).or_insert(0) += u32::from(failed);
                }
            }
        }
        put(work.folder(), &right.files);
    }
    let grown = allocated().saturating_sub(memory);
    println!("done, {tried} failures, steps refused: {refused:?}, {grown} bytes more in use at the end");
    assert!(grown < 5000 * tried + (1 << 20), "{grown} bytes were lost in {tried} runs");
    for (kind, _) in KINDS {
        // Where a file cannot be locked, or is one of few pages, there is another way.
        assert!(["map", "lock"].contains(&kind) || refused.get(kind) > Some(&0), "no {kind} was refused");
    }
}

/// What there is when a step was done.
struct Right {
    hash: u64,
    files: Files,
}

impl Right {
    fn check(&self, case: &str, work: &Work) {
        assert_eq!(work.hash(), self.hash, "{case}");
        let found = files(work.folder());
        let wrong =
            found.iter().filter(|(path, content)| self.files.get(*path) != Some(*content)).map(|(path, _)| path);
        assert!(found == self.files, "{case}: not as they should be: {:?}", wrong.collect::<Vec<_>>());
    }
}

/// After a failed step. `files`: before, as they should be at the end, and now.
fn check_files(case: &str, work: &Work, error: &Error, step: Step, files: [&Files; 3]) {
    let [old, right, found] = files;
    for (path, content) in found {
        let hidden = path.file_name().unwrap().to_str().unwrap().starts_with('.');
        // Unfinished files that could not be deleted are there, and the error names them.
        let named = error.text().contains(&format!("the unfinished file {} could not be deleted", path.display()));
        let left = case.contains("unlink")
            && if step == Step::Save { named } else { hidden && !error.text().contains("was deleted") };
        let whole = [old, right].iter().any(|files| files.get(path) == Some(content));
        assert!(whole || left, "{case}: {} has {} bytes", path.display(), content.len());
    }
    if step == Step::Write {
        assert_eq!(found.get(&work.file), old.get(&work.file), "{case}");
    }
}

/// Calls that end early are made again, or go on where they ended.
pub fn retried(model: &str) {
    let (shim, mut work) = (Shim::new(), Work::new(model, 2));
    let right = (work.run(|| (), || ()).unwrap(), files(work.folder()));
    let mut counted = 0;
    for (kinds, how) in [("open read write sync", EINTR), ("read write", SHORT)] {
        for every in [2, 3] {
            println!("{kinds}: {how}, each of {every}");
            put(work.folder(), &Files::new());
            let (result, count) = shim.run(kinds, Failing::each(every, how), |a, b| work.run(a, b));
            assert_eq!(result.unwrap(), right.0, "{kinds}: {how}");
            assert!(files(work.folder()) == right.1, "{kinds}: {how}: files");
            assert!(count > 20, "{count} calls");
            counted += count;
        }
    }
    println!("done, {counted} calls");
}

/// The first things that a process does with the library, of which call `n` and all later ones fail.
pub fn new_process(model: &str, kind: &str, n: c_long) {
    let shim = Shim::new();
    let how = KINDS.iter().find(|(name, _)| *name == kind).unwrap().1[0];
    let mut options = ModelOptions::default();
    options.threads = 2;
    let (opened, count) = shim.run(kind, Failing::from(n, true, how), |start, stop| {
        start();
        let opened =
            Model::open(model, &options).and_then(|model| Stream::new(&model, &StreamOptions::new(WIDTH, HEIGHT)));
        stop();
        opened
    });
    let told = match &opened {
        Ok(_) if count <= n => NO_MORE.into(),
        Ok(_) => "went on".into(),
        Err(e) => {
            let expected = match kind {
                "map" => is_of_memory(e),
                "thread" => e.kind() == ErrorKind::Runtime && e.text().contains("n_threads"),
                _ => matches!(e.kind(), ErrorKind::Io | ErrorKind::RuntimeMissing | ErrorKind::Runtime),
            };
            assert!(expected, "{kind} {n}: {:?}: {e}", e.kind());
            e.to_string()
        }
    };
    Work::new(model, 2).run(|| (), || ()).unwrap();
    println!("done, {kind} {n} of {count}: {told}");
}

/// A pipeline's folder with a model of its own, which is not the one that is opened. What the system does not tell must not be taken
/// for no.
pub fn other_model() {
    let shim = Shim::new();
    let folder = tempfile::tempdir().unwrap();
    let vae = folder.path().join("vae");
    std::fs::create_dir(&vae).unwrap();
    for (model, to) in MODELS.iter().zip([folder.path(), &vae]) {
        for name in ["config.json", "model.safetensors"] {
            std::fs::copy(Path::new(model).join(name), to.join(name)).unwrap();
        }
    }
    std::fs::write(folder.path().join("model_index.json"), "{}").unwrap();
    let open = |kind: &str, failing| {
        shim.run(kind, failing, |start, stop| {
            start();
            let opened = Model::open(folder.path(), &ModelOptions::default());
            stop();
            opened
        })
    };
    let (mut tried, mut refused) = (0, 0);
    for (kind, how) in [("open", EMFILE), ("stat", EIO), ("stat", EACCES), ("list", EIO)] {
        let (right, count) = open(kind, Failing::none());
        let right = right.unwrap().info().encoder_identity;
        for (n, forever) in (0..count).flat_map(|n| [(n, false), (n, true)]) {
            match open(kind, Failing::from(n, forever, how)).0 {
                Ok(model) => assert_eq!(model.info().encoder_identity, right, "{kind} {n} of {count}"),
                Err(e) => {
                    let reason = std::io::Error::from_raw_os_error(how).to_string();
                    assert!(e.kind() == ErrorKind::Io && e.text().contains(&reason), "{kind} {n} of {count}: {e}");
                    refused += 1;
                }
            }
            tried += 1;
        }
    }
    assert!(refused > 10, "{refused} of {tried} refused");
    println!("done, {tried} failures, {refused} refused");
}
