#!/bin/sh
# Looks for data races with the thread sanitizer: check_races.sh RUNTIME. RUNTIME is that of a nightly Rust. The standard library has
# to be instrumented, too, so it is built from its source, in the chroot of tools/cross.sh, which has that. Exits with 77 where that
# cannot be had.
set -eu
cd "$(dirname "$0")/.."
triple=x86_64-unknown-linux-gnu
folder=$PWD/target/sanitizers/thread
build=$folder/$triple/debug
if [ "${1:-}" != --inside ]; then
    mkdir -p "$folder"
    cp "$1" "$folder/runtime.a"
    exec tools/cross.sh --rust tests/check_races.sh --inside
fi

# Where the compiler takes it from for programs. A shared library brings none.
cp "$folder/runtime.a" "$(rustc --print sysroot)/lib/rustlib/$triple/lib/librustc-stable_rt.tsan.a"
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$folder" CARGO_INCREMENTAL=0
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=-Zsanitizer=thread
export WFVAE_ONNXRUNTIME="$PWD/target/onnxruntime/libonnxruntime.so.1"
export TSAN_OPTIONS="suppressions=$PWD/tests/c/tsan.supp"
worst=0

cargo build --quiet --lib -Z build-std --target $triple
ln -sf libwfvae.so "$build/$(objdump -p "$build/libwfvae.so" | sed -n 's/ *SONAME *//p')"
mkdir -p "$build/c"

# c_program SOURCE...: builds the first one's program, with the sanitizer's runtime, which the library finds in it.
c_program() {
    program=$build/c/$(basename "$1" .c)
    objects=
    for source in "$@"; do
        object=$program-$(basename "$source" .c).o
        cc -std=c99 -O1 -g -fsanitize=thread -Iinclude -Iexamples -c -o "$object" "$source"
        objects="$objects $object"
    done
    # shellcheck disable=SC2086
    cc -rdynamic -o "$program" $objects -Wl,--whole-archive "$folder/runtime.a" -Wl,--no-whole-archive -L"$build" -lwfvae \
        -Wl,-rpath,"$build" -lpthread -ldl -lrt -lm -lgcc_s
}

c_program tests/c/mistakes.c
"$build/c/mistakes" none
"$build/c/mistakes" race > "$folder/mistakes.log" 2>&1 && echo "a data race is not noticed" && exit 1
grep -q 'data race.*mistakes\.c' "$folder/mistakes.log" || { cat "$folder/mistakes.log" && exit 1; }

for name in test_threads test_cancel test_other_threads; do
    c_program tests/c/$name.c tests/c/os_posix.c
    case $name in test_other_threads) model=tests/golden ;; *) model=tests/golden/v1-image ;; esac
    start=$(date +%s)
    status=0
    "$build/c/$name" $model > "$folder/$name.log" 2>&1 || status=$?
    echo "$name: status $status, $(($(date +%s) - start)) s"
    [ $status = 0 ] || { worst=1 && tail -n 60 "$folder/$name.log"; }
done

# Unit tests of all that works on several threads.
for room in kernels:: media:: memory:: parallel:: process:: runtime::; do
    cargo test --quiet --lib -Z build-std --target $triple -- $room || worst=1
done
exit $worst
