#!/bin/sh
# Builds for Linux aarch64 and runs tests in QEMU: on a Cortex-A72, which has no FP16 arithmetic, and on QEMU's "max", which has all
# that QEMU knows. Says what it skipped and why; ends with the number of groups that passed and failed.
#     check_aarch64.sh [--all]     --all: unit tests of all rooms and all golden cases on both, and all C tests; takes half an hour
# The compilers and QEMU are in the chroot of tools/cross.sh. Exits with 77 where that cannot be had.
set -u
cd "$(dirname "$0")/.."
if [ "${1:-}" != --inside ]; then
    case $* in
    "" | --all) ;;
    *) echo "$0: $* is unknown; --all is all there is" >&2 && exit 2 ;;
    esac
    tools/fetch-onnxruntime.sh --for aarch64 || exit 1
    exec tools/cross.sh tests/check_aarch64.sh --inside "$@"
fi
all=${2:-}
. tests/groups.sh

triple=aarch64-unknown-linux-gnu
export CARGO_TARGET_DIR="$PWD/target/cross/aarch64" CARGO_BUILD_TARGET=$triple CARGO_INCREMENTAL=0
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export WFVAE_ONNXRUNTIME="$PWD/target/onnxruntime-aarch64/libonnxruntime.so.1"
export CARGO_MANIFEST_DIR="$PWD"
# All of it in the profile of tests: another one would compile everything twice.
build=target/cross/aarch64/$triple/debug
c=$build/c
programs=target/cross/aarch64/programs

build() {
    mkdir -p target/cross/aarch64
    cargo build --quiet --lib && cargo test --no-run --lib --test golden --test numbers 2> "$programs.log" || {
        cat "$programs.log"
        return 1
    }
    for name in src/lib.rs tests/golden.rs tests/numbers.rs; do
        program=$(sed -n "s|.*Executable.* $name (\(.*\))$|\1|p" "$programs.log")
        ln -sf "$PWD/$program" "$programs-$(basename "$name" .rs)" || return 1
    done
    soname=$(aarch64-linux-gnu-readelf -d $build/libwfvae.so | sed -n 's/.*soname: \[\(.*\)\]/\1/p')
    ln -sf libwfvae.so "$build/$soname" && ln -sf "$WFVAE_ONNXRUNTIME" "$build/libonnxruntime.so.1" &&
        make -s -o library TARGET=$triple BUILD=$build c-tests
}

# Runs a program on the CPU $cpu, for at most half an hour.
run() {
    timeout 1800 qemu-aarch64 -cpu "$cpu" "$@"
}

# Runs tests/c/test_NAME.c of each name, which may be a pattern, with the arguments. One that fails does not hide the others.
c_tests() {
    patterns=$1 worst=0
    shift
    for pattern in $patterns; do
        for source in tests/c/test_$pattern.c; do
            run "$c/$(basename "$source" .c)" "$@" || worst=1
        done
    done
    return $worst
}

# A program in QEMU cannot start another one, so this is test_telemetry's second run, and QEMU tells its system calls.
telemetry() {
    home=$(mktemp -d) program=$PWD/$c/test_telemetry worst=0 how=again
    [ -z "$all" ] || how=linger
    (cd "$home" && unset $(env | sed -n 's/^\(CI\|ORT_[A-Z_]*\|XDG_CACHE_HOME\)=.*/\1/p') &&
        HOME=$home ORT_DISABLE_TELEMETRY='' run -strace -D "$home.calls" "$program" $how) || worst=1
    [ -z "$(ls -A "$home")" ] || { echo "FAILED files are left: $(ls -A "$home")" && worst=1; }
    # An empty list proves nothing.
    grep -q 'openat(.*libonnxruntime' "$home.calls" || { echo "FAILED no system calls were seen" && worst=1; }
    ! grep -E '(socket|connect|sendto|sendmsg|sendmmsg)\(' "$home.calls" || { echo "FAILED sockets are used" && worst=1; }
    rm -rf "$home" "$home.calls"
    return $worst
}

# Every level that this CPU has.
levels() {
    make -s target/demo/box-320x240.y4m && known=$(cpu_levels run $c/reconstruct) || return 1
    [ "$known" = "scalar neon" ] || { echo "FAILED the levels are \"$known\"" && return 1; }
    for level in $known; do
        echo "WFVAE_CPU=$level"
        WFVAE_CPU=$level run "$programs-golden" own-v2-image || return 1
    done
}

# What may depend on the CPU or the system. Our kernels are the same code on both CPUs and take most of the time, so they run on one.
# There is no matrix unit, and what tests take for it is slow in QEMU. With --all, what is left out besides are most tests of the fake
# CUDA device, which are slow, too, and most random models.
units() {
    export WFVAE_PROPERTY_CASES=2
    case $cpu$all in
    *--all) set -- --skip tests::fake_device --skip callers_memory::frames --skip callers_memory::latents --skip callers_memory::snapshots ;;
    max*) set -- runtime:: platform:: finite:: media:: model:: graph:: stream:: memory::pages memory::reserve process:: capi:: \
        kernels::level what_is_not_finite ;;
    *) set -- kernels:: platform:: runtime::telemetry finite:: ;;
    esac
    run "$programs-lib" --quiet --skip matrix_units_compute_the_convolution "$@"
}

# With FP16 arithmetic, two cases whose frames come out wrong if ONNX Runtime computes in float16: v1-image if convolutions do,
# v1-rect if additions and multiplications do.
golden() {
    case $cpu$all in
    *--all) set -- ;;
    max*) set -- v1-image v1-rect ;;
    *) set -- own-8x-nearest own-v2-2x ;;
    esac
    run "$programs-golden" "$@"
}

units_and_golden() {
    units
    units_passed=$?
    golden && [ $units_passed = 0 ]
}

group build build
[ $failed = 0 ] || {
    summary check-aarch64
    exit 1
}
# Neither CPU keeps two cores busy.
cpu=cortex-a72
beside units_and_golden
# SVE vectors of 128 bits, as most CPUs have. With QEMU's default, which are longer, the built-in model takes more than half an hour
# instead of four minutes.
cpu=max,sve-max-vq=1
group units units
group golden golden
group cortex-a72 ends units_and_golden
# Overflows and NaNs, with kernels for SME.
group numbers run "$programs-numbers"
group levels levels
group telemetry telemetry
group programs c_tests 'y4m_* png'
group errors c_tests 'errors_latent_file info messages' tests/golden
group runtime c_tests runtime
# With a model named, they are shorter.
group threads c_tests 'threads cancel' tests/golden/v1-image
if [ -n "$all" ]; then
    group float c_tests float
    group more-errors c_tests 'errors_[!l]* other_threads' tests/golden
    group alpha c_tests 'alpha bfloat16 options' tests/golden
    group frames c_tests 'header_loop sizes frames'
    group fork c_tests fork
else
    skip c-tests "ARGS=--all runs those of the floating-point mode, the header's loop, other errors, alpha, frames and fork, which take QEMU minutes"
fi
skip valgrind "it is not for programs in QEMU"
summary check-aarch64
