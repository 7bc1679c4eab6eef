//! The floating-point mode of a thread: rounding, handling of denormals, traps, and exception flags.
//!
//! The mode belongs to the host program, which may have set flush-to-zero, another rounding or traps. Our results must
//! not depend on that. ONNX Runtime changes the mode too, and the host must not see that change. So every call that
//! computes, starts threads or calls ONNX Runtime sets the default mode first and restores the host's mode at the end.
//! New threads inherit the mode of the thread that starts them.

/// Restores the mode of the calling thread when dropped. Drop it on the thread that created it.
pub(crate) struct FloatMode {
    of_host: machine::Mode,
    /// Makes this type neither `Send` nor `Sync`.
    thread: std::marker::PhantomData<*const ()>,
}

impl FloatMode {
    /// Sets the default mode: round to nearest, keep denormals, no traps.
    #[must_use = "the mode comes back when this is dropped"]
    pub(crate) fn set_default() -> Self {
        FloatMode { of_host: machine::set_default(), thread: std::marker::PhantomData }
    }
}

impl Drop for FloatMode {
    fn drop(&mut self) {
        machine::restore(&self.of_host);
    }
}

#[cfg(target_arch = "x86_64")]
mod machine {
    use std::arch::asm;

    /// MXCSR, and the x87 environment that C's `long double` uses: control, status, tags and more.
    #[repr(C, align(4))]
    pub(super) struct Mode {
        x87: [u8; 28],
        sse: u32,
    }

    static DEFAULT_SSE: u32 = 0x1f80;
    static DEFAULT_X87: u16 = 0x037f;

    pub(super) fn set_default() -> Mode {
        let mut mode = Mode { x87: [0; 28], sse: 0 };
        // SAFETY: writes the two fields and reads the constants. Rust code expects the default mode. The exception
        // flags are cleared as well; otherwise pending x87 exceptions would trap at once if the host enables traps.
        unsafe {
            asm!(
                "fnstenv [{x87}]",
                "fnclex",
                "fldcw [{x87_default}]",
                "stmxcsr [{sse}]",
                "ldmxcsr [{sse_default}]",
                x87 = in(reg) &raw mut mode.x87,
                x87_default = in(reg) &raw const DEFAULT_X87,
                sse = in(reg) &raw mut mode.sse,
                sse_default = in(reg) &raw const DEFAULT_SSE,
                options(nostack),
            );
        }
        mode
    }

    pub(super) fn restore(mode: &Mode) {
        // SAFETY: reads the two fields, which `set_default` stored.
        unsafe {
            asm!(
                "fldenv [{x87}]",
                "ldmxcsr [{sse}]",
                x87 = in(reg) &raw const mode.x87,
                sse = in(reg) &raw const mode.sse,
                options(nostack),
            );
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use std::arch::asm;

    pub(super) struct Mode {
        control: u64,
        status: u64,
    }

    pub(super) fn set_default() -> Mode {
        let (control, status);
        // SAFETY: these registers belong to this thread. Zero is the default, which Rust code expects.
        unsafe {
            asm!(
                "mrs {control}, fpcr",
                "mrs {status}, fpsr",
                "msr fpcr, xzr",
                "msr fpsr, xzr",
                control = out(reg) control,
                status = out(reg) status,
                options(nostack),
            );
        }
        Mode { control, status }
    }

    pub(super) fn restore(mode: &Mode) {
        // SAFETY: restores what the registers held.
        unsafe {
            asm!(
                "msr fpsr, {status}",
                "msr fpcr, {control}",
                control = in(reg) mode.control,
                status = in(reg) mode.status,
                options(nostack),
            );
        }
    }
}

/// On other CPUs the mode is left alone.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod machine {
    pub(super) struct Mode;

    pub(super) fn set_default() -> Mode {
        Mode
    }

    pub(super) fn restore(_: &Mode) {}
}
