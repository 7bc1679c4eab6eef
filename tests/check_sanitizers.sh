#!/bin/sh
# Runs tests under sanitizers: check_sanitizers.sh [PART...]; without a part, all.
#     address    C tests: address, leak and undefined-behaviour sanitizers
#     cxx        tests of the C++ header: the same, and the thread sanitizer; the library itself as it is
#     rust       unit and integration tests: address and leak sanitizers
#     thread     thread tests in C, and unit tests: data races, with an instrumented standard library
#     loom       every order in which threads can run the synchronisation that is made by hand (src/sync)
# Rust's sanitizers need a nightly toolchain. ONNX Runtime is not instrumented. nm and objdump show that the library is.
set -u
cd "$(dirname "$0")/.."
. tests/groups.sh
triple=x86_64-unknown-linux-gnu
all=target/sanitizers
export WFVAE_ONNXRUNTIME="$PWD/target/onnxruntime/libonnxruntime.so.1"
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
[ $# -gt 0 ] || set -- address cxx rust thread loom

# Builds the library, C tests and programs; $rust builds the library. A process can have one runtime of a sanitizer only, and a shared
# library of Rust brings none: that of gcc serves both, as its interface is the one that Rust's LLVM expects.
with_c() {
    folder=$PWD/$all/address
    build=$folder/$triple/release
    make -s c-tests BUILD="$all/address/$triple/release" BENCH= TILE_PEAK= \
        cargo_build="$rust && ln -sf libwfvae.so $build/\$(SONAME)" \
        CFLAGS="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all" &&
        ln -sf "$PWD/target/onnxruntime/libonnxruntime.so.1" "$build/libonnxruntime.so.1"
}

# Each of the functions of ours, named by a part of its name, calls the sanitizer's functions, named by how they begin.
instrumented() {
    file=$1 prefix=$2
    shift 2
    nm "$file" | grep -q " [TUW] $prefix" || { echo "$file is not instrumented"; return 1; }
    for part in "$@"; do
        objdump -d --no-show-raw-insn "$file" | awk -v part="$part" -v call="call.*<$prefix" '
            /^[0-9a-f]+ <.*>:$/ { inside = index($0, part) }
            inside && $0 ~ call { found++ }
            END { print part ": " found + 0 " calls of the sanitizer"; exit !found }' || return 1
    done
}

# The sanitizers notice mistakes of tests/c/mistakes.c, and call them by their names.
mistakes() {
    cc -std=c99 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Iinclude -o "$c/mistakes" tests/c/mistakes.c \
        -L"$build" -lwfvae -Wl,-rpath,"$build" || return 1
    "$c/mistakes" none || { echo "mistakes: none is one"; return 1; }
    while read -r mistake text; do
        "$c/mistakes" "$mistake" > "$folder/mistakes.log" 2>&1 && { echo "mistakes: $mistake is not noticed"; return 1; }
        grep -q "$text" "$folder/mistakes.log" || { echo "mistakes: $mistake has another name" && cat "$folder/mistakes.log"; return 1; }
    done << 'END'
read heap-buffer-overflow
write heap-buffer-overflow
leak detected memory leaks
shift shift exponent 32 is too large
END
    echo "all mistakes are noticed"
}

# Arguments of a C test.
arguments() {
    case $1 in
    test_errors_* | test_info | test_messages | test_other_threads | test_alpha | test_options | test_bfloat16) echo tests/golden ;;
    # With a model named, the programs are shorter.
    test_threads | test_cancel) echo tests/golden/v1-image ;;
    esac
}

# Runs the C tests of these names, and goes on after one that fails.
c_tests() {
    for name in "$@"; do
        start=$(date +%s)
        # A child leaks what only its parent may free, and under strace no leaks can be looked for.
        case $name in test_fork | test_telemetry) leaks=0 ;; *) leaks=1 ;; esac
        # shellcheck disable=SC2046
        ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=$leaks" "$c/$name" $(arguments "$name") > "$folder/$name.log" 2>&1
        status=$?
        echo "$name: status $status, $(($(date +%s) - start)) s"
        [ $status = 0 ] || { worst=1 && tail -n 60 "$folder/$name.log"; }
    done
}

c_programs() {
    rust="CARGO_TARGET_DIR=$all/address RUSTFLAGS=-Zsanitizer=address $cargo +nightly build --quiet --release --lib --target $triple"
    with_c && instrumented "$build/libwfvae.so" __asan_ winograd attention reserve ||
        return 1
    c=$build/c
    mistakes || return 1
    worst=0
    # shellcheck disable=SC2046
    c_tests $(cd tests/c && for source in test_*.c; do basename "$source" .c; done)
    # The example programs, too.
    python3 tests/check_programs.py "$c" > "$folder/programs.log" 2>&1
    status=$?
    echo "check_programs.py: status $status"
    [ $status = 0 ] || { worst=1 && grep -v "^ok " "$folder/programs.log" | tail -n 60; }
    return $worst
}

# Tests that limit the process's memory, or measure it, are left out: the sanitizer takes its own.
rust_tests() {
    set --
    for test in tests/*.rs; do
        name=$(basename "$test" .rs)
        case $name in
        checksums | cuda | cuda_stub | durability | estimate | header | layering | limits | memory | scaling) ;;
        *) set -- "$@" --test "$name" ;;
        esac
    done
    WFVAE_PROPERTY_CASES=${WFVAE_PROPERTY_CASES:-2} CARGO_TARGET_DIR=$all/address RUSTFLAGS=-Zsanitizer=address \
        $cargo +nightly test --quiet --no-fail-fast --target $triple --lib "$@"
    result=$?
    for program in $all/address/$triple/debug/deps/golden-*; do
        case $program in *.d) continue ;; esac
        instrumented "$program" __asan_ winograd attention reserve || return 1
    done
    return $result
}

races() {
    tests/check_races.sh "$(rustc +nightly --print target-libdir)/librustc-nightly_rt.tsan.a"
    result=$?
    [ $result = 0 ] || return $result
    instrumented $all/thread/$triple/debug/libwfvae.so __tsan_ winograd attention spin_lock
}

loom() {
    CARGO_TARGET_DIR=$all/loom $cargo test --quiet --manifest-path tests/loom/Cargo.toml
}

cargo=${CARGO:-cargo}
for part in "$@"; do
    case $part in
    address) group address c_programs ;;
    cxx) group_or_skip cxx "there is no C++ compiler" tests/cxx/check.sh SANITIZERS ;;
    rust) group rust rust_tests ;;
    thread) group_or_skip races "cross.sh says why" races ;;
    loom) group loom loom ;;
    *) echo "$0: \"$part\" is unknown; address, cxx, rust, thread and loom are all there is" >&2 && exit 2 ;;
    esac
done
summary check-sanitizers
