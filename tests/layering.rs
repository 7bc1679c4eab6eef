//! The order of the rooms of `src`, as their imports show it. `cargo test --test layering -- --nocapture` prints who uses whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use syn::visit::{self, Visit};

/// A room uses only rooms above it in this list.
const ROOMS: [&str; 18] = [
    "error",
    "platform",
    "sync",
    "memory",
    "process",
    "float_mode",
    "parallel",
    "finite",
    "logger",
    "model",
    "media",
    "kernels",
    "graph",
    "runtime",
    "engine",
    "stream",
    "capi",
    // Compiled for fuzz targets only.
    "fuzzing",
];

/// A module of the crate, as the names from its root.
type Module = Vec<String>;

struct File {
    module: Module,
    path: PathBuf,
    is_face: bool,
    /// What it names of the crate, from the crate's root.
    names: BTreeSet<Module>,
    /// Whether it holds anything but `mod` and `use`.
    has_code: bool,
}

#[test]
fn rooms_use_only_what_is_below_them() {
    let files = files();
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut wrong = vec![];
    for file in &files {
        let own = file.module[0].as_str();
        let level = ROOMS.iter().position(|room| *room == own);
        assert!(level.is_some(), "{}: tests/layering.rs does not know the room {own}", file.path.display());
        for name in &file.names {
            let room = name.first().map_or("the root", String::as_str);
            if room == own {
                continue;
            }
            uses.entry(own).or_default().insert(name.first().map_or("", String::as_str));
            if ROOMS.iter().position(|other| *other == room) >= level || !ROOMS.contains(&room) {
                wrong.push(format!("{} uses {}", file.path.display(), name.join("::")));
            }
        }
    }
    for (room, others) in &uses {
        println!("{room}: {}", others.iter().copied().collect::<Vec<_>>().join(" "));
    }
    assert!(wrong.is_empty(), "rooms in the wrong order:\n{}", wrong.join("\n"));
}

#[test]
fn files_of_a_room_use_each_other_directly_and_in_no_circle() {
    let files = files();
    let mut edges: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    let mut wrong = vec![];
    for file in files.iter().filter(|file| !file.is_face) {
        for name in file.names.iter().filter(|name| name.first() == file.module.first()) {
            let found = files.iter().filter(|other| name.starts_with(&other.module));
            let Some(target) = found.max_by_key(|other| other.module.len()) else { continue };
            if target.module == file.module {
                continue;
            }
            if target.is_face && file.module.starts_with(&target.module) {
                wrong.push(format!("{} uses {} through the room's face", file.path.display(), name.join("::")));
            }
            edges.entry(&file.module).or_default().insert(&target.module);
        }
    }
    // What a folder's face hands on is of its files.
    for face in files.iter().filter(|file| file.is_face && file.module.len() > 1) {
        let inside = files.iter().filter(|file| file.module.len() > face.module.len());
        let inside = inside.filter(|file| file.module.starts_with(&face.module)).map(|file| &file.module);
        edges.entry(&face.module).or_default().extend(inside);
    }
    assert!(wrong.is_empty(), "not from the file itself:\n{}", wrong.join("\n"));
    for start in edges.keys() {
        if let Some(circle) = circle(&edges, start) {
            let circle: Vec<_> = circle.iter().map(|module| module.join("/")).collect();
            panic!("files in a circle: {}", circle.join(" -> "));
        }
    }
}

#[test]
fn faces_hold_no_code() {
    let with_code: Vec<_> = files().into_iter().filter(|file| file.is_face && file.has_code).collect();
    let paths: Vec<_> = with_code.iter().map(|file| file.path.display().to_string()).collect();
    assert!(paths.is_empty(), "a mod.rs holds more than `mod` and `use`: {}", paths.join(", "));
}

/// A way from `start` back to it.
fn circle<'a>(edges: &BTreeMap<&'a Module, BTreeSet<&'a Module>>, start: &'a Module) -> Option<Vec<&'a Module>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop() {
        for next in edges.get(way[way.len() - 1]).into_iter().flatten() {
            let longer = [way.as_slice(), &[*next]].concat();
            if *next == start {
                return Some(longer);
            }
            if seen.insert(*next) {
                ways.push(longer);
            }
        }
    }
    None
}

/// All files of `src` but the crate's root and what is compiled for tests only.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut sources, mut folders) = (vec![], vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // Programs are crates of their own, which see only what the library offers.
                if path != root.join("bin") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                sources.push((path.strip_prefix(&root).unwrap().to_path_buf(), syntax));
            }
        }
    }
    let for_tests: Vec<Module> = sources.iter().flat_map(|(path, syntax)| test_modules(path, syntax)).collect();
    sources.retain(|(path, _)| !for_tests.iter().any(|tests| module_of(path).starts_with(tests)));
    let files: Vec<File> = sources
        .iter()
        .filter(|(path, _)| path != Path::new("lib.rs"))
        .map(|(path, syntax)| read(path, syntax))
        .collect();
    assert!(files.len() > 50, "found {} files", files.len());
    files
}

/// Of a file's path in `src`.
fn module_of(path: &Path) -> Module {
    let mut module: Module = path.with_extension("").iter().map(|name| name.to_str().unwrap().to_string()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// The modules in files of their own that are compiled for tests only.
fn test_modules(path: &Path, syntax: &syn::File) -> Vec<Module> {
    let modules = syntax.items.iter().filter_map(|item| match item {
        syn::Item::Mod(item) if item.content.is_none() && is_test(&item.attrs) => Some(item.ident.to_string()),
        _ => None,
    });
    modules.map(|name| [module_of(path), vec![name]].concat()).collect()
}

fn read(path: &Path, syntax: &syn::File) -> File {
    let items: Vec<_> = syntax.items.iter().filter(|item| !is_test(attributes(item))).collect();
    let has_code = items.iter().any(|item| match item {
        syn::Item::Mod(item) => item.content.is_some(),
        syn::Item::Use(_) => false,
        _ => true,
    });
    let (module, is_face) = (module_of(path), path.ends_with("mod.rs"));
    let mut collector = Collector { module: module.clone(), is_face, names: BTreeSet::new() };
    items.iter().for_each(|item| collector.visit_item(item));
    File { module, path: path.into(), is_face, names: collector.names, has_code }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}

/// Collects what a file names of the crate.
struct Collector {
    module: Module,
    is_face: bool,
    names: BTreeSet<Module>,
}

impl Collector {
    /// A path as it is written, if it begins in the crate.
    fn add(&mut self, path: &[String]) {
        let mut module = match path.first().map(String::as_str) {
            Some("crate") => vec![],
            Some("super" | "self") => self.module.clone(),
            Some(_) if self.is_face => self.module.clone(),
            _ => return,
        };
        for name in path {
            match name.as_str() {
                "crate" | "self" => {}
                "super" => drop(module.pop()),
                name => module.push(name.into()),
            }
        }
        if self.is_face && module.starts_with(&self.module) {
            return;
        }
        self.names.insert(module);
    }

    fn add_tree(&mut self, mut path: Vec<String>, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.add_tree(path, &inner.tree);
            }
            syn::UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.add(&path);
            }
            syn::UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.add(&path);
            }
            syn::UseTree::Glob(_) => {
                let ours = path.first().is_some_and(|name| matches!(name.as_str(), "crate" | "super" | "self"));
                assert!(!ours, "{}: a use of everything cannot be checked", self.module.join("/"));
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(path.clone(), tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(vec![], &item.tree);
    }

    /// `pub(crate)` is no import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if matches!(names[0].as_str(), "crate" | "super") {
            self.add(&names);
        }
        visit::visit_path(self, path);
    }

    /// What is inside of a macro's call is not parsed: its paths are found by their words.
    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        let text = item.tokens.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        for (i, word) in words.iter().enumerate() {
            if matches!(*word, "crate" | "super") && words.get(i + 1) == Some(&"::") {
                let path = words[i..].split(|word| *word == "::").map_while(|part| match part {
                    [name, ..] if name.chars().all(|c| c.is_alphanumeric() || c == '_') => Some(name.to_string()),
                    _ => None,
                });
                let mut path: Vec<String> = path.collect();
                // The last name is followed by other words.
                path.truncate(1 + words[i + 1..].chunks(2).take_while(|pair| pair[0] == "::").count());
                self.add(&path);
            }
        }
        visit::visit_macro(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes: &[syn::Attribute] = match item {
            syn::ImplItem::Fn(item) => &item.attrs,
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }
}
