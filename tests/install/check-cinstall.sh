#!/bin/sh
# Installs the library with cargo-c and with `make install` and compares the results. Ends with the number of checks that passed
# and failed. Expected differences:
# - the folder of the CMake files: cargo-c installs such files only under share, and does not tell its libdir, so they name all usual
#   ones;
# - the programs, the plugin and the list of installed files, which only `make install` has: cargo-c installs libraries, and removes
#   files with a list of its own;
# - the modes of files, which cargo-c copies from the sources;
# - the order of Libs.private, where rustc repeats some;
# - the machine code, because cargo-c builds for an explicit target.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/groups.sh
test=$PWD/target/cinstall-test
make=$test/make/usr/local
cargo=$test/cargo/usr/local
# This version needs no newer Rust than the library.
cargo_c=0.10.21+cargo-0.95.0

# Compares what a command prints for both installations.
same() {
    (cd "$make" && "$@") > "$test/of-make" 2>&1 && (cd "$cargo" && "$@") > "$test/of-cargo" 2>&1 &&
        [ -s "$test/of-make" ] && diff "$test/of-make" "$test/of-cargo"
}

# Kinds and links, with the CMake files where cargo-c puts them.
files() {
    find . ! -type d ! -path './bin/*' ! -path './libexec/*' ! -path './lib/frei0r-1/*' ! -name installed-files -printf '%P %y %l\n' | sed 's|^lib/cmake/|share/cmake/|; s/ $//' | LC_ALL=C sort
}

# The parts of the shared library that programs depend on.
dynamic() {
    LC_ALL=C readelf -d lib/libwfvae.so | grep -E 'SONAME|NEEDED|FLAGS' | sed 's/^ *[^ ]* *//'
}

exports() {
    nm -D --defined-only lib/libwfvae.so | cut -d ' ' -f 2-
}

pkg_config_file() {
    grep -v '^Libs.private:' lib/pkgconfig/wfvae.pc
    grep '^Libs.private:' lib/pkgconfig/wfvae.pc | tr ' ' '\n' | LC_ALL=C sort -u
}

cmake_files() {
    cat ./*/cmake/wfvae/wfvaeConfigVersion.cmake
    grep -v '^foreach(_wfvae_libdir ' ./*/cmake/wfvae/wfvaeConfig.cmake
}

# Builds the consumer with the CMake files of an installation.
consumer() {
    rm -rf "$test/build"
    cmake -S tests/install -B "$test/build" -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF -DCMAKE_PREFIX_PATH="$1" &&
        cmake --build "$test/build" &&
        WFVAE_ONNXRUNTIME=$PWD/target/onnxruntime/libonnxruntime.so.1 "$test/build/consumer"
}

PATH=$PWD/target/cargo-c/bin:$PATH
if ! cargo cinstall --version > /dev/null 2>&1; then
    echo "building cargo-c $cargo_c, which takes minutes"
    cargo install --quiet --locked --root target/cargo-c cargo-c --version "$cargo_c" || {
        echo "check-cinstall: cargo-c does not build; it needs OpenSSL's headers (libssl-dev) and pkg-config"
        exit 1
    }
fi

rm -rf "$test" && mkdir -p "$test"
make -s library || exit 1
check "make install" make install DESTDIR="$test/make" PREFIX=/usr/local ONNXRUNTIME=0
check "cargo cinstall" cargo cinstall --locked --destdir "$test/cargo" --prefix /usr/local --libdir lib
check "files" same files
check "soname, needed libraries and flags" same dynamic
check "one soname" test "$(cd "$cargo" && dynamic | grep -c SONAME)" = 1
check "exported functions" same exports
check "header" same cat include/wfvae.h
check "wfvae.pc" same pkg_config_file
check "CMake files" same cmake_files
if command -v cmake > /dev/null; then
    for libdir in lib lib64 "lib/$(${CC:-cc} -print-multiarch)"; do
        tree=$test/cmake/$libdir
        mkdir -p "$tree/$libdir"
        cp -R "$cargo/include" "$cargo/share" "$tree"
        cp -R "$cargo"/lib/*.so* "$tree/$libdir"
        check "CMake: consumer, $libdir" consumer "$tree"
    done
else
    skip CMake "not installed"
fi

[ $failed = 0 ] && rm -rf "$test"
summary check-cinstall
