//! The table of docs/limits.md and the constants in the sources are the same.

use std::collections::BTreeSet;
use std::path::Path;

/// Of sizes that no file and no caller names: frames that our own helper program sends.
const OTHERS: [(&str, &str); 1] = [("src/bin/wfvae-batch/media.rs", "MAX_MESSAGE")];
/// Constants with such names are limits.
const NAMES: [&str; 2] = ["MAX_", "LONGEST"];

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The name and the text of the value, if the line defines a constant.
fn constant(line: &str) -> Option<(&str, &str)> {
    if let Some(define) = line.strip_prefix("#define ") {
        let (name, value) = define.split_once(' ')?;
        return Some((name, value.trim()));
    }
    let (_, definition) = line.split_once("const ")?;
    let (name, rest) = definition.split_once(':')?;
    Some((name, rest.split_once('=')?.1.trim().strip_suffix(';')?))
}

fn value(text: &str) -> f64 {
    let number = |text: &str| text.trim().replace('_', "").parse::<f64>().unwrap_or_else(|e| panic!("{text}: {e}"));
    match text.split_once("<<") {
        Some((base, shift)) => number(base) * number(shift).exp2(),
        None => number(text),
    }
}

/// The rows that name a constant: the most, the constant, and its file.
fn rows() -> Vec<(f64, String, String)> {
    let table = read("docs/limits.md");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let (name, file) = cells.get(3)?.strip_prefix('`')?.split_once("`, ")?;
        Some((value(cells[2]), name.to_string(), file.to_string()))
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn the_documented_limits_are_those_of_the_sources() {
    let rows = rows();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for (most, name, file) in rows {
        let source = read(&file);
        let found: Vec<f64> =
            source.lines().filter_map(constant).filter(|(own, _)| *own == name).map(|(_, text)| value(text)).collect();
        assert_eq!(found, [most], "{name} in {file}");
    }
}

#[test]
fn every_limit_is_documented() {
    let documented: BTreeSet<(String, String)> = rows().into_iter().map(|(_, name, file)| (file, name)).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> =
        ["model", "media", "stream", "engine", "capi", "bin"].map(|name| root.join("src").join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let file = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            let limits = |line: &str| constant(line).map(|(name, _)| name.to_string());
            if !file.ends_with(".rs") {
                continue;
            }
            for name in read(&file).lines().filter_map(limits) {
                let is_limit = NAMES.iter().any(|start| name.starts_with(start));
                let known = documented.contains(&(file.clone(), name.clone())) || OTHERS.contains(&(&file, &name));
                assert!(!is_limit || known, "{name} in {file} is not in docs/limits.md");
            }
        }
    }
}
