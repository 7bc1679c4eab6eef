//! Linux.

pub(crate) use super::linux_memory::available as available_memory;

/// Whether sessions can run on CUDA devices here.
pub(crate) const CUDA: bool = true;
/// Whether ONNX Runtime's releases have a telemetry that sends data over the network.
pub(crate) const TELEMETRY: bool = true;

/// The names of ONNX Runtime's library, in the order of the search.
pub(crate) const RUNTIME_NAMES: &[&str] = &["libonnxruntime.so.1", "libonnxruntime.so"];
/// The names that its library may have, with and without a version, as text.
pub(crate) const RUNTIME_PATTERN: &str = "libonnxruntime.so*";
/// Its file in the Python package.
pub(crate) const RUNTIME_IN_PACKAGE: &str = "onnxruntime/capi/libonnxruntime.so.*";

/// The version in the name of a file that may be ONNX Runtime's library; empty if there is none.
pub(crate) fn runtime_version(name: &str) -> Option<&str> {
    let version = name.strip_prefix("libonnxruntime.so")?;
    if version.is_empty() { Some("") } else { version.strip_prefix('.') }
}

/// Keeps this library loaded until the process ends: build.rs tells the linker.
pub(crate) fn stay_loaded() {}

/// Gives free memory of the allocator back to the system.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no preconditions.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Asks for large pages in a part of a mapping, which the system gives if it can.
pub(crate) fn advise_large_pages(memory: &memmap2::MmapMut, start: usize, bytes: usize) {
    drop(memory.advise_range(memmap2::Advice::HugePage, start, bytes));
}

/// Asks the system to let this process use the tile registers of its CPU, which take 8 KiB of each thread's state. Once is enough.
/// An error says why it does not.
pub(crate) fn allow_tile_registers() -> Result<(), &'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // SAFETY: this only gives a permission.
        if unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 } {
            return Ok(());
        }
    }
    Err(
        "its kernel is older than Linux 5.16, or a thread has an alternate signal stack of less than sysconf(_SC_MINSIGSTKSZ) bytes",
    )
}
