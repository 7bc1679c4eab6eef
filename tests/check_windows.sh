#!/bin/sh
# Builds libwfvae for Windows, and runs its tests in Wine, in the chroot of tools/cross.sh: check_windows.sh [--compile|--all]
# --compile: only lets the compiler check the library. --all: checks properties of streams on 100 models in place of 10.
# Exits with 3 where there can be no chroot. What is compared with Linux is made first, outside.
set -u
cd "$(dirname "$0")/.."
. tests/groups.sh
target=x86_64-pc-windows-gnu
clip=target/demo/box-320x240.y4m
results=target/cross/windows-results

if [ "${1:-}" != --inside ]; then
    case $* in
    "" | --compile | --all) ;;
    *) echo "$0: $* is unknown; --compile and --all are all there is" >&2 && exit 2 ;;
    esac
    tools/cross.sh || exit
    [ "${1:-}" != --compile ] || exec tools/cross.sh tests/check_windows.sh --inside --compile
    mkdir -p $results
    make -s target/release/c/reconstruct $clip && tools/fetch-onnxruntime.sh --for windows || exit 1
    target/release/c/reconstruct -q $clip $results/linux.y4m > /dev/null || exit 1
    exec tools/cross.sh tests/check_windows.sh --inside "$@"
fi
option=${2:-}

# Everything is built as for a release, but for the slow last optimisation. The standard library is built, too: Debian has none for
# this target.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$PWD/target/cross/windows" CARGO_INCREMENTAL=0
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=none
build=target/cross/windows/$target/release
std="-Z build-std=std,panic_unwind,test"
# Paths of Windows: Wine shows the root as drive Z.
export WFVAE_ONNXRUNTIME="Z:$PWD/target/onnxruntime-windows/onnxruntime.dll"
export WINEPREFIX=/tmp/wine WINEDEBUG=-all WINEDLLOVERRIDES="mscoree=;mshtml=" XDG_RUNTIME_DIR=/tmp
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
# Wine ends if it is set.
unset TMPDIR

if [ "$option" = --compile ]; then
    # shellcheck disable=SC2086
    exec cargo check --quiet --lib $std --target $target
fi

cargo_test() {
    # shellcheck disable=SC2086
    cargo test --quiet --release $std --target $target "$@"
}

# C tests that take no argument, or the folder of the golden cases.
c_tests() {
    worst=0
    for program in "$build"/test_*.exe; do
        case $(basename "$program" .exe) in
        # It needs a folder without a runtime.
        test_runtime) continue ;;
        test_alpha | test_bfloat16 | test_errors_* | test_info | test_messages | test_options | test_other_threads) set -- tests/golden ;;
        *) set -- ;;
        esac
        wine "$program" "$@" || { echo "$program: failed" && worst=1; }
    done
    return $worst
}

# Beside its runtime, a program finds it; this one looks for others.
runtime_test() {
    folder=target/cross/windows-runtime
    rm -rf $folder && mkdir -p $folder
    cp "$build/wfvae.dll" "$build/test_runtime.exe" "$build"/old_onnxruntime* $folder/ &&
        (unset WFVAE_ONNXRUNTIME && wine $folder/test_runtime.exe "Z:$PWD/target/onnxruntime-windows/onnxruntime.dll")
}

# The same bytes as on Linux, from a file and from a pipe.
same_bytes() {
    wine "$build/reconstruct.exe" -q $clip $results/file.y4m && cmp $results/linux.y4m $results/file.y4m &&
        wine "$build/reconstruct.exe" -q < $clip > $results/pipe.y4m && cmp $results/linux.y4m $results/pipe.y4m
}

group wine wineboot --init
group build make -s "TARGET=$target" "BUILD=$build" "CARGO=cargo $std" all c-tests
group c c_tests
group runtime runtime_test
group same-bytes same_bytes
group programs python3 tests/check_programs.py "$build" wine
# CUDA's part is for Linux.
properties=10
[ "$option" != --all ] || properties=100
export WFVAE_PROPERTY_CASES=$properties
group unit cargo_test --lib -- --skip runtime::cuda
group golden cargo_test --test golden
group streams cargo_test --test streaming --test snapshots --test tiles
group files cargo_test --test latent_files --test users_files --test checkpoints --test formats --test numbers --test scaling
skip fork "Windows has no fork"
skip memory "estimate, limits, memory and durability read /proc, set limits or replace functions of Linux"
skip cuda "CUDA devices work on Linux only so far"
wineserver=$(find /usr/lib -name wineserver -path '*wine*' | head -n 1)
[ -z "$wineserver" ] || "$wineserver" --kill
summary check-windows
