#!/bin/sh
# Builds and runs the tests of include/wfvae.hpp: in C++20 without RTTI, and in C++17. Each program has several translation units, which
# must agree.
#
#     tests/cxx/check.sh [SANITIZERS]
#
# SANITIZERS: in C++17 under the address and undefined-behaviour sanitizers with leak check, and under the thread sanitizer. CXX chooses
# the compiler. Exit code 77: there is none.
set -u
cd "$(dirname "$0")/../.." || exit 1
cxx=${CXX:-c++}
library=${WFVAE_LIBRARY_DIR:-target/release}
include=${WFVAE_INCLUDE_DIR:-include}
command -v "$cxx" > /dev/null 2>&1 || exit 77
test=$(mktemp -d) || exit 1
trap 'rm -rf "$test"' EXIT
[ "${WFVAE_ONNXRUNTIME:-}" ] || export WFVAE_ONNXRUNTIME="$PWD/target/onnxruntime/libonnxruntime.so.1"
warnings="-Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wold-style-cast -Wshadow -Werror"
failed=0

# Runs a command; shows what it printed if it failed.
quiet() {
    "$@" > "$test/log" 2>&1 || {
        cat "$test/log"
        return 1
    }
}

# build NAME FLAGS...: all translation units at once.
build() {
    name=$1
    shift
    mkdir -p "$test/$name"
    started=
    for source in tests/cxx/*.cpp; do
        object=$test/$name/$(basename "$source" .cpp).o
        # shellcheck disable=SC2086
        "$cxx" "$@" $warnings -g1 "-I$include" -Iinclude -c "$source" -o "$object" &
        started="$started $!"
    done
    built=0
    for process in $started; do wait "$process" || built=1; done
    [ $built = 0 ] && quiet "$cxx" "$@" -o "$test/$name/test_cxx" "$test/$name"/*.o "-L$library" -lwfvae -lpthread \
        "-Wl,-rpath,$(cd "$library" && pwd)"
}

# run NAME FLAGS...: builds, runs, and counts.
run() {
    if build "$@" && mkdir "$test/$1/files" && quiet "$test/$1/test_cxx" tests/golden "$test/$1/files"; then
        echo "ok: $1: $(tail -n 1 "$test/log")"
    else
        failed=$((failed + 1))
        echo "FAILED: $1"
    fi
}

python3 tests/cxx/check_names.py "$include/wfvae.h" || failed=$((failed + 1))

export TSAN_OPTIONS="suppressions=$PWD/tests/cxx/tsan.supp"
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

run c++20 -std=c++20 -fno-rtti
if [ "${1:-}" = SANITIZERS ]; then
    run c++17-sanitizers -std=c++17 -fsanitize=address,undefined -fno-sanitize-recover=all
    run c++17-thread -std=c++17 -fsanitize=thread
else
    run c++17 -std=c++17
fi

# The header alone, and what the tests expect at compile time, in another compiler if there is one.
if command -v clang++ > /dev/null 2>&1; then
    for standard in c++17 c++20; do
        # shellcheck disable=SC2086
        if quiet clang++ -std=$standard $warnings "-I$include" -fsyntax-only -x c++ include/wfvae.hpp &&
            quiet clang++ -std=$standard $warnings "-I$include" -Iinclude -fsyntax-only tests/cxx/test_views.cpp; then
            echo "ok: clang++, $standard"
        else
            failed=$((failed + 1))
            echo "FAILED: clang++, $standard"
        fi
    done
fi
# The example in the header's introduction.
sed -n '/^ \*     #include <wfvae.hpp>/,/^ \*     }$/s/^ \*     //p' include/wfvae.hpp > "$test/introduction.cpp"
# shellcheck disable=SC2086
if grep -q decode_clip "$test/introduction.cpp" &&
    quiet "$cxx" -std=c++17 $warnings "-I$include" -Iinclude -fsyntax-only "$test/introduction.cpp"; then
    echo "ok: the header's introduction"
else
    failed=$((failed + 1))
    echo "FAILED: the header's introduction"
fi
quiet "$cxx" -std=c++14 "-I$include" -fsyntax-only -x c++ include/wfvae.hpp > "$test/old"
# Microsoft's compiler calls every standard 199711 unless it is told otherwise, and has a macro of its own.
as_microsoft() {
    "$cxx" -E -nostdinc -Wno-builtin-macro-redefined -U__cplusplus -D__cplusplus=199711L "-D_MSVC_LANG=$1" -x c++ include/wfvae.hpp 2>&1
}
if grep -q 'needs C++17' "$test/old" && as_microsoft 201402L | grep -q 'needs C++17' &&
    as_microsoft 201703L | grep 'wfvae\.h\b' > "$test/microsoft" && ! as_microsoft 201703L | grep 'needs C++17'; then
    echo "ok: the header says that it needs C++17"
else
    failed=$((failed + 1))
    echo "FAILED: the header does not say that it needs C++17"
fi
[ $failed = 0 ]
