#!/bin/sh
# One check of an unpacked archive, for check.sh: use.sh HOW SYSTEM FOLDER TEST, in the chroot of tools/cross.sh if the system is another.
set -eux
cd "$(dirname "$0")/../.."
. tests/groups.sh
top=$PWD
how=$1 system=$2 folder=$3 test=$4
work="$test/work $system"
rm -rf "$work" && mkdir -p "$work"
exe=
case $system in
linux-x86_64)
    runner=
    cxx=c++ cmake=
    ;;
linux-aarch64)
    # With Debian 12's libraries, for which the archive was built, and not the chroot's. The folder's name has no space.
    root=target/dist-build/$system/root
    libraries=$root/usr/lib/aarch64-linux-gnu:$root/lib/aarch64-linux-gnu
    runner="qemu-aarch64 -cpu cortex-a72 -L $root -E LD_LIBRARY_PATH=$libraries"
    cxx=false cmake="-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64"
    ;;
windows-x86_64)
    export WINEPREFIX="$test/wine" WINEDEBUG=-all
    runner=wine exe=.exe
    cxx=x86_64-w64-mingw32-g++ cmake="-DCMAKE_SYSTEM_NAME=Windows -DCMAKE_EXE_LINKER_FLAGS=-static"
    ;;
esac
cc="$top/target/dist-build/$system/cc"

# Runs a program, which must name this archive's ONNX Runtime, or the copy beside it.
runs() {
    $runner "$1" > "$work/output"
    cat "$work/output"
    grep -q '^libwfvae [0-9.]*: ' "$work/output"
    if [ "$exe" ]; then grep -q 'onnxruntime\.dll' "$work/output"; else grep -qF "$folder/lib/libonnxruntime.so" "$work/output"; fi
}

configure() {
    # The archive's CMake files are found through their folder, which a cross build does not search.
    cmake -S "$1" -B "$work/build" -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF -DCMAKE_PREFIX_PATH="$folder" -DCMAKE_C_COMPILER="$cc" \
        -DCMAKE_CXX_COMPILER="$cxx" $cmake
    cmake --build "$work/build"
}

case $how in
reconstruct)
    $runner "$folder/bin/wfvae-reconstruct$exe" "$test/clip.y4m" "$test/$system.y4m" > "$test/$system.log" 2>&1 || status=$?
    cat "$test/$system.log"
    [ "${status:-0}" = 0 ]
    grep -q '^psnr 3[4-9]' "$test/$system.log"
    # With the widest vectors, and without a matrix unit, which not every system lets programs use.
    levels=$(cpu_levels $runner "$folder/bin/wfvae-reconstruct$exe")
    levels=${levels% amx}
    WFVAE_CPU=${levels##* } $runner "$folder/bin/wfvae-reconstruct$exe" -q "$test/clip.y4m" "$test/$system-vectors.y4m"
    ;;
pkg-config)
    # The shell would split the folder's name.
    export PKG_CONFIG_LIBDIR="$folder/lib/pkgconfig"
    eval "set -- $(pkg-config --cflags --libs wfvae)"
    if [ "$exe" ]; then cp "$folder"/bin/*.dll "$work"; else set -- "$@" "-Wl,-rpath,$folder/lib"; fi
    "$cc" -std=c99 -Wall -Wextra -Werror -o "$work/consumer$exe" tests/install/consumer.c "$@"
    runs "$work/consumer$exe"
    ;;
CMake)
    configure tests/install
    runs "$work/build/consumer$exe"
    ;;
C++)
    configure tests/install/cxx
    [ -z "$exe" ] || cp "$folder"/bin/*.dll "$work/build"
    runs "$work/build/consumer_cxx$exe"
    ;;
msvc-lib)
    # A program without a C library, as Microsoft's is not here, linked by LLVM's copy of Microsoft's linker.
    "$cc" -O2 -ffreestanding -Iinclude -c -o "$work/start.obj" tests/dist/start.c
    lld-link /entry:start /subsystem:console /nodefaultlib /opt:ref "/out:$work/start.exe" "$work/start.obj" "$folder/lib/wfvae.lib"
    cp "$folder"/bin/*.dll "$work"
    $runner "$work/start.exe"
    ;;
esac
