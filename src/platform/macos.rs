//! macOS. This builds, but nobody has run it yet.

/// Whether sessions can run on CUDA devices here.
pub(crate) const CUDA: bool = false;
/// Whether ONNX Runtime's releases have a telemetry that sends data over the network.
pub(crate) const TELEMETRY: bool = true;

/// The names of ONNX Runtime's library, in the order of the search.
pub(crate) const RUNTIME_NAMES: &[&str] = &["libonnxruntime.1.dylib", "libonnxruntime.dylib"];
/// The names that its library may have, with and without a version, as text.
pub(crate) const RUNTIME_PATTERN: &str = "libonnxruntime*.dylib";
/// Its file in the Python package.
pub(crate) const RUNTIME_IN_PACKAGE: &str = "onnxruntime/capi/libonnxruntime.*.dylib";

/// The version in the name of a file that may be ONNX Runtime's library; empty if there is none.
pub(crate) fn runtime_version(name: &str) -> Option<&str> {
    let version = name.strip_prefix("libonnxruntime")?.strip_suffix(".dylib")?;
    if version.is_empty() { Some("") } else { version.strip_prefix('.') }
}

/// Keeps this library loaded until the process ends.
pub(crate) fn stay_loaded() {
    let Some(own) = super::unix::loaded_file(stay_loaded as *const std::ffi::c_void) else { return };
    let Ok(own) = std::ffi::CString::new(own.into_os_string().into_encoded_bytes()) else { return };
    // SAFETY: it is loaded already. For a program this fails, which is as good.
    unsafe { libc::dlopen(own.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
}

/// Gives free memory of the allocator back to the system. The allocator of macOS does so itself.
pub(crate) fn trim_heap() {}

/// Lets this process use the tile registers of its CPU. Not tried on this system yet.
pub(crate) fn allow_tile_registers() -> Result<(), &'static str> {
    Err("wfvae asks only Linux for it")
}

/// Asks for large pages. macOS has none for this memory.
pub(crate) fn advise_large_pages(_: &memmap2::MmapMut, _: usize, _: usize) {}

/// How much memory the process can still get, in bytes; `None` if the system does not say. What is free, and what the system
/// drops when memory is needed. macOS has no control groups.
#[allow(deprecated)] // libc points to a crate of its own for these calls, which do not change.
pub(crate) fn available_memory() -> Option<u64> {
    // SAFETY: the calls fill the struct, whose size in integers they get.
    unsafe {
        let mut pages: libc::vm_statistics64 = std::mem::zeroed();
        let mut count = libc::HOST_VM_INFO64_COUNT;
        let host = libc::mach_host_self();
        let status = libc::host_statistics64(host, libc::HOST_VM_INFO64, (&raw mut pages).cast(), &mut count);
        let page = u64::try_from(libc::sysconf(libc::_SC_PAGESIZE)).ok()?;
        let left = u64::from(pages.free_count) + u64::from(pages.inactive_count) + u64::from(pages.purgeable_count);
        (status == libc::KERN_SUCCESS).then_some(left * page)
    }
}
