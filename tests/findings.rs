//! What fuzz targets found, once more: each file of fuzz/findings, as its target gets it. docs/fuzzing.md says how one comes there. Those of
//! targets in C are run by tests/c/test_findings.c, and those of `convert` are cases of training/test_convert.py.
#![cfg(target_os = "linux")]

#[path = "../fuzz/src/checks.rs"]
mod checks;
#[path = "../fuzz/src/latent_file.rs"]
mod latent_file;
#[path = "../fuzz/src/snapshot.rs"]
mod snapshot;

use std::path::{Path, PathBuf};
use wfvae::{Model, ModelOptions};

mod allocations {
    /// Only fuzz targets count.
    pub fn bounded<T>(_: usize, work: impl FnOnce() -> T) -> T {
        work()
    }
}

/// The findings of a target, by name.
fn findings(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/findings").join(target);
    let Ok(files) = std::fs::read_dir(folder) else { return vec![] };
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn each(target: &str, run: impl Fn(&[u8])) {
    for (path, input) in findings(target) {
        println!("{}", path.display());
        run(&input);
    }
}

/// Opens a folder of these files, which must end in a model or in an error.
fn open(files: &[(&str, &[u8])]) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    if let Err(error) = Model::open(folder.path(), &ModelOptions::default()) {
        checks::check(
            &error,
            files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + folder.path().as_os_str().len(),
        );
    }
}

#[test]
fn findings_of_latent_files() {
    each("latent_file", latent_file::run);
    each("latent_file", latent_file::run_decode);
}

#[test]
fn findings_of_snapshots() {
    each("snapshot", snapshot::run);
}

/// As text, see fuzz/src/checkpoint.rs.
#[test]
fn findings_of_checkpoints() {
    each("checkpoint", |input| {
        let (mode, rest) = input.split_first().unwrap();
        let end = match mode {
            0 => rest.iter().rposition(|byte| *byte == b'\n'),
            1 => rest.iter().position(|byte| *byte == b'\n'),
            _ => panic!("edits; WFVAE_FUZZ_SHOW=1 prints them as text"),
        };
        let (config, header) = rest.split_at(end.unwrap_or(rest.len()));
        let header = header.get(1..).unwrap_or_default();
        let mut weights = if *mode == 0 { (header.len() as u64).to_le_bytes().to_vec() } else { vec![] };
        weights.extend_from_slice(header);
        if *mode == 0 {
            weights.resize(weights.len() + checks::data_len(header).unwrap_or(0).min(1 << 20), 0);
        }
        open(&[("config.json", config), ("model.safetensors", &weights)]);
    });
}

#[test]
fn findings_of_indexes() {
    let config = std::fs::read(checks::golden().join("own-v2-image/config.json")).unwrap();
    each("index", |input| open(&[("config.json", &config), ("model.safetensors.index.json", input)]));
}
