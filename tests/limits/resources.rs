//! What a process holds, and which files there are.

use super::work::status;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Open files, mapped files, threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    open: usize,
    mapped: usize,
    threads: u64,
}

impl Resources {
    pub fn now() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        Resources {
            open: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            mapped: maps.lines().filter(|line| line.contains('/')).count(),
            threads: status("Threads"),
        }
    }

    /// Panics if the process holds something else now. The system counts a thread for a moment longer than it can be waited for.
    pub fn check(self, what: &str) {
        for _ in 0..200 {
            if Self::now() == self {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(Self::now(), self, "{what}");
    }
}

/// The content of all files below a folder.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

pub fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(path).unwrap())),
        }
    }
    found
}

/// Replaces all files below the folders by these.
pub fn put(folder: &Path, wanted: &Files) {
    files(folder)
        .keys()
        .filter(|path| !wanted.contains_key(*path))
        .for_each(|path| std::fs::remove_file(path).unwrap());
    wanted.iter().for_each(|(path, content)| std::fs::write(path, content).unwrap());
}
