//! Products of tiles by Intel's AMX.
//!
//! The registers: 0 to 3 are sums, 4 and 5 pixels, 6 and 7 weights. The compiler never uses them, so they keep their values
//! from one block of assembly to the next.

use super::parts::PARTS;
use super::tiles::{DEPTH, PartProducts, Products, SIDE, weights_bytes};
use std::arch::asm;

/// Bytes of a row of a full register.
const ROW: usize = 64;

#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Whether the CPU has tiles (CPUID leaf 7, EDX bit 24) and their products of bfloat16 (bit 22).
pub(super) fn is_known() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx >> 22 & 0b101 == 0b101
}

/// # Safety
/// As that of `Unit::ready`.
pub(super) unsafe fn load_config(depth: usize) {
    let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
    config.row_bytes[..8].fill(ROW as u16);
    config.rows[..8].fill(SIDE as u8);
    config.row_bytes[4..6].fill(2 * depth as u16);
    config.rows[6..8].fill(depth as u8 / 2);
    // SAFETY: as this function asks of its caller; the configuration is of 64 bytes and valid.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, readonly)) };
}

pub(super) fn release() {
    // SAFETY: a `Ready` ends, so the unit is there.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// A panel of two tiles. Two tiles of pixels at a time, so that each tile that is loaded is multiplied twice.
///
/// # Safety
/// As that of `Ready::run`.
pub(super) unsafe fn wide(products: &Products, depth: usize) {
    let Products { pixels, count, stride, steps, weights, sums, accumulate, ahead, ahead_stride } = *products;
    let tile = weights_bytes(depth);
    for half in 0..count.div_ceil(2) {
        let ahead = ahead.wrapping_add(half * steps.len() * ahead_stride);
        // SAFETY: as this function asks of its caller.
        unsafe {
            // Rows of 128 bytes.
            let upper = sums.byte_add(half * 2 * SIDE * 2 * ROW);
            let lower = upper.byte_add(SIDE * 2 * ROW);
            if accumulate {
                load_sums(upper, lower, 2 * ROW);
            } else {
                zero();
            }
            asm!(
                "2:",
                "mov {step}, qword ptr [{steps}]",
                "tileloadd tmm6, [{weights} + {row}]",
                "lea {at}, [{first} + {step}]",
                "tileloadd tmm4, [{at} + {stride}]",
                "prefetcht1 [{ahead}]",
                "prefetcht1 [{ahead} + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{next} + {row}]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {step}, {second}",
                "tileloadd tmm5, [{step} + {stride}]",
                "prefetcht1 [{ahead} + 128]",
                "prefetcht1 [{ahead} + 192]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "lea {weights}, [{weights} + 2 * {tile}]",
                "lea {next}, [{next} + 2 * {tile}]",
                "add {ahead}, {ahead_stride}",
                "add {steps}, 8",
                "dec {count}",
                "jnz 2b",
                steps = inout(reg) steps.as_ptr() => _,
                step = out(reg) _,
                at = out(reg) _,
                first = in(reg) pixels[2 * half],
                second = in(reg) pixels[2 * half + 1],
                stride = in(reg) stride,
                weights = inout(reg) weights => _,
                next = inout(reg) weights.add(tile) => _,
                tile = in(reg) tile,
                row = in(reg) ROW,
                count = inout(reg) steps.len() => _,
                ahead = inout(reg) ahead => _,
                ahead_stride = in(reg) ahead_stride,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, readonly),
            );
            store_sums(upper, lower, 2 * ROW);
        }
    }
}

/// A panel of one tile.
///
/// # Safety
/// As that of `Ready::run`.
pub(super) unsafe fn single(products: &Products, depth: usize) {
    let Products { pixels, stride, steps, weights, sums, accumulate, .. } = *products;
    // SAFETY: as this function asks of its caller.
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|tile| unsafe { sums.byte_add(tile * SIDE * ROW) });
    // SAFETY: as this function asks of its caller.
    unsafe {
        if accumulate {
            asm!(
                "tileloadd tmm0, [{first} + {row}]",
                "tileloadd tmm1, [{second} + {row}]",
                "tileloadd tmm2, [{third} + {row}]",
                "tileloadd tmm3, [{fourth} + {row}]",
                first = in(reg) first, second = in(reg) second, third = in(reg) third, fourth = in(reg) fourth,
                row = in(reg) ROW,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                options(nostack, readonly),
            );
        } else {
            zero();
        }
        asm!(
            "2:",
            "mov {step}, qword ptr [{steps}]",
            "tileloadd tmm6, [{weights} + {row}]",
            "lea {at}, [{first} + {step}]",
            "tileloadd tmm4, [{at} + {stride}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "lea {at}, [{second} + {step}]",
            "tileloadd tmm5, [{at} + {stride}]",
            "tdpbf16ps tmm1, tmm5, tmm6",
            "lea {at}, [{third} + {step}]",
            "tileloadd tmm4, [{at} + {stride}]",
            "tdpbf16ps tmm2, tmm4, tmm6",
            "add {step}, {fourth}",
            "tileloadd tmm5, [{step} + {stride}]",
            "tdpbf16ps tmm3, tmm5, tmm6",
            "add {weights}, {tile}",
            "add {steps}, 8",
            "dec {count}",
            "jnz 2b",
            steps = inout(reg) steps.as_ptr() => _,
            step = out(reg) _,
            at = out(reg) _,
            first = in(reg) pixels[0],
            second = in(reg) pixels[1],
            third = in(reg) pixels[2],
            fourth = in(reg) pixels[3],
            stride = in(reg) stride,
            weights = inout(reg) weights => _,
            tile = in(reg) weights_bytes(depth),
            row = in(reg) ROW,
            count = inout(reg) steps.len() => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack, readonly),
        );
        asm!(
            "tilestored [{first} + {row}], tmm0",
            "tilestored [{second} + {row}], tmm1",
            "tilestored [{third} + {row}], tmm2",
            "tilestored [{fourth} + {row}], tmm3",
            first = in(reg) first, second = in(reg) second, third = in(reg) third, fourth = in(reg) fourth,
            row = in(reg) ROW,
            options(nostack),
        );
    }
}

/// Multiplies two tiles and fetches four lines of those that follow, as these are often far away.
macro_rules! multiply {
    ($tiles:literal, $line:literal) => {
        concat!(
            "tdpbf16ps ",
            $tiles,
            "\nprefetcht1 [{ahead} + 64 * ",
            $line,
            "]\nprefetcht1 [{ahead} + 64 * ",
            $line,
            " + 64]\nprefetcht1 [{ahead} + 64 * ",
            $line,
            " + 128]\nprefetcht1 [{ahead} + 64 * ",
            $line,
            " + 192]"
        )
    };
}

/// Two tiles of rows times a panel of two tiles. The smallest products come first, and each pair of tiles that is loaded is
/// multiplied as often as it can be. Meanwhile the next two tiles of rows are fetched.
///
/// # Safety
/// As that of `Ready::run_parts`.
pub(super) unsafe fn wide_parts(products: &PartProducts) {
    let PartProducts { rows, stride, steps, weights, sums, sums_stride, accumulate } = *products;
    // SAFETY: as this function asks of its caller.
    unsafe {
        let (upper, lower) = (sums, sums.byte_add(SIDE * sums_stride));
        if accumulate {
            load_sums(upper, lower, sums_stride);
        } else {
            zero();
        }
        asm!(
            "2:",
            // Third parts of numbers.
            "tileloadd tmm4, [{upper} + {stride} + 128]",
            "tileloadd tmm6, [{weights} + {row}]",
            multiply!("tmm0, tmm4, tmm6", 0),
            "tileloadd tmm7, [{weights} + {row} + 1024]",
            multiply!("tmm1, tmm4, tmm7", 4),
            "tileloadd tmm5, [{lower} + {stride} + 128]",
            multiply!("tmm2, tmm5, tmm6", 8),
            multiply!("tmm3, tmm5, tmm7", 12),
            // Second parts, with first and second ones of weights.
            "tileloadd tmm4, [{upper} + {stride} + 64]",
            multiply!("tmm0, tmm4, tmm6", 16),
            multiply!("tmm1, tmm4, tmm7", 20),
            "tileloadd tmm5, [{lower} + {stride} + 64]",
            multiply!("tmm2, tmm5, tmm6", 24),
            multiply!("tmm3, tmm5, tmm7", 28),
            "tileloadd tmm6, [{weights} + {row} + 2048]",
            multiply!("tmm0, tmm4, tmm6", 32),
            "tileloadd tmm7, [{weights} + {row} + 3072]",
            multiply!("tmm1, tmm4, tmm7", 36),
            multiply!("tmm2, tmm5, tmm6", 40),
            multiply!("tmm3, tmm5, tmm7", 44),
            // First parts, with all parts of weights.
            "tileloadd tmm4, [{upper} + {stride}]",
            multiply!("tmm0, tmm4, tmm6", 48),
            multiply!("tmm1, tmm4, tmm7", 52),
            "tileloadd tmm5, [{lower} + {stride}]",
            multiply!("tmm2, tmm5, tmm6", 56),
            multiply!("tmm3, tmm5, tmm7", 60),
            "tileloadd tmm6, [{weights} + {row} + 4096]",
            multiply!("tmm0, tmm4, tmm6", 64),
            "tileloadd tmm7, [{weights} + {row} + 5120]",
            multiply!("tmm1, tmm4, tmm7", 68),
            multiply!("tmm2, tmm5, tmm6", 72),
            multiply!("tmm3, tmm5, tmm7", 76),
            "tileloadd tmm6, [{weights} + {row}]",
            multiply!("tmm0, tmm4, tmm6", 80),
            "tileloadd tmm7, [{weights} + {row} + 1024]",
            multiply!("tmm1, tmm4, tmm7", 84),
            multiply!("tmm2, tmm5, tmm6", 88),
            multiply!("tmm3, tmm5, tmm7", 92),
            "add {upper}, {step}",
            "add {lower}, {step}",
            "add {weights}, {weights_step}",
            "add {ahead}, {ahead_step}",
            "dec {steps}",
            "jnz 2b",
            upper = inout(reg) rows => _,
            lower = inout(reg) rows.add(SIDE * stride) => _,
            ahead = inout(reg) rows.wrapping_add(2 * SIDE * stride) => _,
            ahead_step = const 2 * SIDE * PARTS * ROW,
            stride = in(reg) stride,
            step = in(reg) PARTS * ROW,
            weights = inout(reg) weights => _,
            weights_step = in(reg) PARTS * 2 * weights_bytes(DEPTH),
            row = in(reg) ROW,
            steps = inout(reg) steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
        store_sums(upper, lower, sums_stride);
    }
}

/// The same of a panel of one tile.
///
/// # Safety
/// As that of `Ready::run_parts`.
pub(super) unsafe fn single_parts(products: &PartProducts) {
    let PartProducts { rows, stride, steps, weights, sums, sums_stride, accumulate } = *products;
    // SAFETY: as this function asks of its caller.
    unsafe {
        let (upper, lower) = (sums, sums.byte_add(SIDE * sums_stride));
        if accumulate {
            asm!(
                "tileloadd tmm0, [{upper} + {stride}]",
                "tileloadd tmm2, [{lower} + {stride}]",
                upper = in(reg) upper, lower = in(reg) lower, stride = in(reg) sums_stride,
                out("tmm0") _, out("tmm2") _,
                options(nostack, readonly),
            );
        } else {
            zero();
        }
        asm!(
            "2:",
            "tileloadd tmm6, [{weights} + {row}]",
            "tileloadd tmm4, [{upper} + {stride} + 128]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{lower} + {stride} + 128]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm4, [{upper} + {stride} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{lower} + {stride} + 64]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tileloadd tmm7, [{weights} + {row} + 1024]",
            "tdpbf16ps tmm0, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm7",
            "tileloadd tmm4, [{upper} + {stride}]",
            "tdpbf16ps tmm0, tmm4, tmm7",
            "tileloadd tmm5, [{lower} + {stride}]",
            "tdpbf16ps tmm2, tmm5, tmm7",
            "tileloadd tmm7, [{weights} + {row} + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm7",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {upper}, {step}",
            "add {lower}, {step}",
            "add {weights}, {weights_step}",
            "dec {steps}",
            "jnz 2b",
            upper = inout(reg) rows => _,
            lower = inout(reg) rows.add(SIDE * stride) => _,
            stride = in(reg) stride,
            step = in(reg) PARTS * ROW,
            weights = inout(reg) weights => _,
            weights_step = in(reg) PARTS * weights_bytes(DEPTH),
            row = in(reg) ROW,
            steps = inout(reg) steps => _,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly),
        );
        asm!(
            "tilestored [{upper} + {stride}], tmm0",
            "tilestored [{lower} + {stride}], tmm2",
            upper = in(reg) upper, lower = in(reg) lower, stride = in(reg) sums_stride,
            options(nostack),
        );
    }
}

#[cfg(test)]
pub(super) fn multiply_registers(times: usize) {
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {times}",
            "jnz 2b",
            times = inout(reg) times => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            options(nostack, nomem),
        );
    }
}

/// The sums of two tiles of rows and a panel of two tiles.
///
/// # Safety
/// They are there, in rows `stride` bytes apart.
#[inline(always)]
unsafe fn load_sums(upper: *const f32, lower: *const f32, stride: usize) {
    // SAFETY: as this function asks of its caller.
    unsafe {
        asm!(
            "tileloadd tmm0, [{upper} + {stride}]",
            "tileloadd tmm1, [{upper} + {stride} + 64]",
            "tileloadd tmm2, [{lower} + {stride}]",
            "tileloadd tmm3, [{lower} + {stride} + 64]",
            upper = in(reg) upper, lower = in(reg) lower, stride = in(reg) stride,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            options(nostack, readonly),
        );
    }
}

/// # Safety
/// There is room for what `load_sums` loads.
#[inline(always)]
unsafe fn store_sums(upper: *mut f32, lower: *mut f32, stride: usize) {
    // SAFETY: as this function asks of its caller.
    unsafe {
        asm!(
            "tilestored [{upper} + {stride}], tmm0",
            "tilestored [{upper} + {stride} + 64], tmm1",
            "tilestored [{lower} + {stride}], tmm2",
            "tilestored [{lower} + {stride} + 64], tmm3",
            upper = in(reg) upper, lower = in(reg) lower, stride = in(reg) stride,
            options(nostack),
        );
    }
}

#[inline(always)]
fn zero() {
    // SAFETY: as above.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            options(nostack, nomem),
        );
    }
}
