//! The C header is up to date, complete, and compiles alone; the exports in src/capi are guarded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::{Item, ItemFn, Stmt};

const HEADER: &str = "include/wfvae.h";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new().with_config(config).with_crate(root()).generate().unwrap();
    let mut header = vec![];
    bindings.write(&mut header);
    String::from_utf8(header).unwrap()
}

/// `WFVAE_UPDATE_HEADER=1` writes the header instead of comparing it; `make header` does that.
#[test]
fn the_committed_header_is_what_cbindgen_writes() {
    let generated = generate();
    let path = root().join(HEADER);
    if std::env::var_os("WFVAE_UPDATE_HEADER").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == generated, "{HEADER} is out of date: run `make header` and commit it");
}

/// All exported functions, and the file of each.
fn exports() -> Vec<(PathBuf, ItemFn)> {
    let mut found = vec![];
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let file = syn::parse_file(&std::fs::read_to_string(&entry).unwrap()).unwrap();
                let functions = file.items.into_iter().filter_map(|item| match item {
                    Item::Fn(function) if function.sig.abi.is_some() => Some(function),
                    _ => None,
                });
                found.extend(functions.map(|function| (entry.clone(), function)));
            }
        }
    }
    assert!(found.len() > 15, "only {} exports found", found.len());
    found
}

#[test]
fn every_export_is_one_guard_in_capi() {
    for (file, function) in exports() {
        let name = function.sig.ident.to_string();
        assert!(name.starts_with("wfvae_"), "{name} lacks the library's prefix");
        assert!(file.parent().unwrap().ends_with("src/capi"), "{name} is outside src/capi");
        let guarded = match function.block.stmts.as_slice() {
            [Stmt::Macro(statement)] => statement.mac.path.is_ident("guard"),
            [Stmt::Expr(syn::Expr::Macro(expression), None)] => expression.mac.path.is_ident("guard"),
            _ => false,
        };
        assert!(guarded, "{name}: its body must be one guard!");
        let documented = function.attrs.iter().any(|a| a.path().is_ident("doc"));
        assert!(documented, "{name} has no documentation");
    }
}

/// Handles that work only in the process that created them. Other handles are plain data.
const BOUND: [&str; 3] = ["wfvae_stream", "wfvae_model", "wfvae_latent_writer"];

#[test]
fn a_forked_child_tries_every_call_that_takes_what_belongs_to_its_parent() {
    let test = std::fs::read_to_string(root().join("tests/c/test_fork.c")).unwrap();
    let takes_bound = |function: &ItemFn| {
        function.sig.inputs.iter().any(|argument| {
            let syn::FnArg::Typed(argument) = argument else { return false };
            let syn::Type::Ptr(pointer) = &*argument.ty else { return false };
            matches!(&*pointer.elem, syn::Type::Path(path) if BOUND.iter().any(|name| path.path.is_ident(name)))
        })
    };
    let bound: Vec<String> =
        exports().into_iter().map(|(_, f)| f).filter(takes_bound).map(|f| f.sig.ident.to_string()).collect();
    assert!(bound.len() > 20, "only {bound:?} found");
    let missing: Vec<&String> = bound.iter().filter(|name| !test.contains(&format!("{name}("))).collect();
    assert!(missing.is_empty(), "tests/c/test_fork.c does not call {missing:?} in a child");
}

/// Function names that the header declares.
fn declared() -> BTreeSet<String> {
    let header = std::fs::read_to_string(root().join(HEADER)).unwrap();
    let code: String = header.split("/*").map(|part| part.split_once("*/").map_or(part, |(_, code)| code)).collect();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let tokens = code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '('));
    let calls = tokens.filter_map(|token| token.split_once('(').map(|(name, _)| name));
    calls.filter(|name| name.starts_with("wfvae_")).map(str::to_string).collect()
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let library = shared_library();
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().expect("nm runs");
    let text = String::from_utf8(output.stdout).unwrap();
    let symbols: BTreeSet<String> =
        text.lines().filter_map(|line| line.split(' ').nth(2)).map(str::to_string).collect();
    assert_eq!(symbols, declared(), "{}", library.display());
    let written: BTreeSet<String> = exports().iter().map(|(_, function)| function.sig.ident.to_string()).collect();
    assert_eq!(written, declared());
}

/// The library that cargo built together with this test.
fn shared_library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libwfvae.so");
    assert!(library.exists(), "{} does not exist", library.display());
    library
}

/// Binding generators cannot name anonymous enumerations, and do not agree with compilers on bit-fields.
#[test]
fn the_header_has_what_binding_generators_need() {
    let header = std::fs::read_to_string(root().join(HEADER)).unwrap();
    let code: Vec<&str> = header.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    for kind in ["enum", "struct", "union"] {
        for (i, _) in code.match_indices(&format!("{kind} ")) {
            let name = code[i + kind.len()..].trim_start();
            assert!(!name.starts_with('{'), "an anonymous {kind}: {}", &code[i..(i + 60).min(code.len())]);
        }
    }
    let bit_field = code.lines().find(|line| line.trim_end().ends_with(';') && line.contains(" : "));
    assert_eq!(bit_field, None);
    // Their layout is in a test.
    let sizes = std::fs::read_to_string(root().join("tests/c/test_sizes.c")).unwrap();
    let mut structs = 0;
    for definition in code.split("typedef struct ").skip(1) {
        let Some((name, body)) = definition.split_once(" {") else { continue };
        if name.contains([';', '\n']) {
            continue;
        }
        let (fields, _) = body.split_once('}').unwrap();
        structs += 1;
        for field in fields.lines().filter_map(|line| line.trim().strip_suffix(';')) {
            let field = field.split('[').next().unwrap().rsplit([' ', '*']).next().unwrap();
            assert!(sizes.contains(&format!("FIELD({name}, {field}, ")), "tests/c/test_sizes.c lacks {name}.{field}");
        }
    }
    assert!(structs >= 10, "only {structs} structs found");
}

/// Each comment names the statuses that its function returns. `tests/c/statuses.h` compares them with what calls return.
#[test]
fn every_status_function_says_what_it_returns() {
    let header = std::fs::read_to_string(root().join(HEADER)).unwrap();
    let wrappers = std::fs::read_to_string(root().join("tests/c/statuses.h")).unwrap();
    let known: BTreeSet<&str> = header
        .lines()
        .filter_map(|line| line.trim().strip_prefix("WFVAE_STATUS_")?.split_once(" = ").map(|(name, _)| name))
        .collect();
    assert!(known.len() >= 20 && known.contains("NOT_FINITE"));
    let functions: Vec<&str> = header
        .lines()
        .map(|line| line.strip_prefix("WFVAE_API ").unwrap_or(line))
        .filter_map(|line| line.strip_prefix("enum wfvae_status ")?.split_once('(').map(|(name, _)| name))
        .collect();
    assert!(functions.len() > 25, "{functions:?}");
    for name in functions {
        let (before, _) = header.split_once(&format!("enum wfvae_status {name}(")).unwrap();
        let comment = before.rsplit("\n\n").next().unwrap();
        let returns =
            comment.split("/// Returns:").nth(1).unwrap_or_else(|| panic!("{name} does not say what it returns"));
        let returns = returns.split("/// Thread-safety").next().unwrap();
        let as_other = returns.trim_start().starts_with("as wfvae_");
        assert!(as_other || returns.contains("WFVAE_STATUS_OK"), "{name}: {returns}");
        let words = returns.split(|c: char| c != '_' && !c.is_ascii_alphanumeric());
        for word in words.filter(|word| word.len() > 1 && word.chars().all(|c| c == '_' || c.is_ascii_uppercase())) {
            let status = word.strip_prefix("WFVAE_STATUS").unwrap_or(word).strip_prefix('_');
            assert!(status.is_none_or(|status| known.contains(status)), "{name}: there is no {word}");
        }
        let wrapper = format!("#define {name}(...) seen(\"{name}\", {name}(__VA_ARGS__))\n");
        assert!(wrappers.contains(&wrapper), "tests/c/statuses.h lacks {name}");
    }
}

fn compile_header(compiler: &str, arguments: &[&str]) -> std::io::Result<()> {
    let output = Command::new(compiler)
        .args(arguments)
        .args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
        .arg(root().join(HEADER))
        .output()?;
    assert!(output.status.success(), "{compiler}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn the_header_compiles_alone_as_c99() {
    compile_header("cc", &["-std=c99", "-x", "c"]).expect("cc runs");
}

/// Skipped where there is no C++ compiler; tests/check.sh says so.
#[test]
fn the_header_compiles_alone_as_cxx() {
    match compile_header("c++", &["-std=c++11", "-x", "c++"]) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => eprintln!("skipped: there is no C++ compiler"),
        result => result.expect("c++ runs"),
    }
}

/// The header is the manual for C programmers.
#[test]
fn the_header_has_more_prose_than_code() {
    let header = std::fs::read_to_string(root().join(HEADER)).unwrap();
    let is_prose = |line: &&str| ["/*", " *", "///"].iter().any(|mark| line.trim_start().starts_with(mark.trim()));
    let (prose, code): (Vec<&str>, Vec<&str>) = header.lines().filter(|l| !l.trim().is_empty()).partition(is_prose);
    assert!(prose.len() as f32 > 1.2 * code.len() as f32, "{} lines of prose, {} of code", prose.len(), code.len());
}
