//! The floating-point mode of a thread: rounding, what becomes of denormals, which exceptions trap, and which were seen.
//!
//! It belongs to the host. Some set it for their own sums (flush to zero, rounding down, traps), and our numbers must not
//! depend on it; ONNX Runtime sets it, and the host must not lose its own. So every call that computes, makes threads or
//! lets the runtime do so puts the default in place and brings the host's back. New threads begin with the mode of the one
//! that makes them.

/// Brings the mode of the calling thread back when it is dropped; must be dropped by the thread that made it.
pub(crate) struct FloatMode {
    of_host: machine::Mode,
    /// Of this thread only.
    thread: std::marker::PhantomData<*const ()>,
}

impl FloatMode {
    /// Puts the default in place: rounding to nearest, denormals as they are, no traps.
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

    /// MXCSR, and the environment of the x87, which `long double` of C uses: control, status, tags and more.
    #[repr(C, align(4))]
    pub(super) struct Mode {
        x87: [u8; 28],
        sse: u32,
    }

    static DEFAULT_SSE: u32 = 0x1f80;
    static DEFAULT_X87: u16 = 0x037f;

    pub(super) fn set_default() -> Mode {
        let mut mode = Mode { x87: [0; 28], sse: 0 };
        // SAFETY: writes the two fields, reads the constants. The default is the mode that Rust's code expects. Exceptions
        // that were seen are cleared too, or those of the x87 would trap at once if the host wants that.
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
        // SAFETY: reads the two fields, which hold what the processor wrote there.
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
        // SAFETY: registers of this thread. Zero is the default, which Rust's code expects.
        unsafe {
            asm!(
                "mrs {control}, fpcr",
                "mrs {status}, fpsr",
                "msr fpcr, xzr",
                control = out(reg) control,
                status = out(reg) status,
                options(nostack),
            );
        }
        Mode { control, status }
    }

    pub(super) fn restore(mode: &Mode) {
        // SAFETY: what the registers held.
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

/// Another processor: its hosts keep the default.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod machine {
    pub(super) struct Mode;

    pub(super) fn set_default() -> Mode {
        Mode
    }

    pub(super) fn restore(_: &Mode) {}
}
