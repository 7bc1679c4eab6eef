//! Whether kernels are optimised; linker flags of the shared library; CMake files, for cargo-c.

use std::env::var;
use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Without optimisation every vector instruction is a call, and with a little of it most values go through memory. The profile
    // is the user's, not ours.
    println!("cargo:rustc-check-cfg=cfg(optimised)");
    if !["0", "1"].contains(&var("OPT_LEVEL").unwrap().as_str()) {
        println!("cargo:rustc-cfg=optimised");
    }
    if var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // ONNX Runtime's threads and our thread-locals outlive a dlclose, so it must not unmap the library.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
        // The same name as cargo-c gives, which passes its own as well.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libwfvae.so.{}", abi_version());
    }
    if var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") && var("CARGO_FEATURE_BATCH").is_ok() {
        // Where `make install` puts ONNX Runtime: a LIBDIR, of which it tells nothing, so these are all usual ones.
        let multiarch = format!("lib/{}-linux-gnu", var("CARGO_CFG_TARGET_ARCH").unwrap());
        let folders = ["lib", "lib64", &multiarch].map(|folder| format!("$ORIGIN/../{folder}"));
        println!("cargo:rustc-link-arg-bin=wfvae-batch=-Wl,-rpath,{}", folders.join(":"));
    }
    // cargo-c turns this feature on.
    if var("CARGO_FEATURE_CAPI").is_ok() {
        write_cmake_files();
    }
}

/// The part of the version that changes with the ABI: 0.y before 1.0, then x.
fn abi_version() -> String {
    let (major, minor) = (var("CARGO_PKG_VERSION_MAJOR").unwrap(), var("CARGO_PKG_VERSION_MINOR").unwrap());
    if major == "0" { format!("0.{minor}") } else { major }
}

/// Fills the templates as tools/install.sh does, in the folder from which cargo-c installs to share. cargo-c does not tell its
/// libdir, so the files name all usual ones.
fn write_cmake_files() {
    let folder = Path::new(&var("OUT_DIR").unwrap()).join("capi/share/cmake/wfvae");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["wfvaeConfig.cmake", "wfvaeConfigVersion.cmake"] {
        let template = format!("packaging/{name}.in");
        println!("cargo:rerun-if-changed={template}");
        let text = std::fs::read_to_string(&template).unwrap_or_else(|e| panic!("{template}: {e}"));
        let text = text
            .replace("@VERSION@", &var("CARGO_PKG_VERSION").unwrap())
            .replace("@PREFIX_FROM_HERE@", "../../..")
            .replace("@LIBDIRS@", "lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE}");
        std::fs::write(folder.join(name), text).unwrap();
    }
}
