#!/bin/sh
# Installs the library into target/install-test and uses it from outside the tree, with pkg-config and with CMake. Says what
# it skipped and why; ends with the number of checks that passed and failed.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/groups.sh
top=$PWD
test=$top/target/install-test
prefix=$test/prefix
stage="$test/stage area"
triplet=lib/some-triplet
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
major=${version%%.*}
minor=${version#*.}
minor=${minor%%.*}
abi=$major
[ "$major" = 0 ] && abi=0.$minor
soname=libwfvae.so.$abi
real=libwfvae.so.${version%%[-+]*}

# Settings of the caller's shell, or of a cargo that runs this script, must not lead to another library.
unset WFVAE_ONNXRUNTIME ORT_DYLIB_PATH LD_LIBRARY_PATH PKG_CONFIG_PATH CMAKE_PREFIX_PATH MAKEFLAGS
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

equal() {
    [ "$1" = "$2" ] || { printf 'is:       %s\nexpected: %s\n' "$1" "$2"; false; }
}

# Runs a command that must succeed (prints) or fail (fails), and print a text. Messages may be broken into lines.
prints() {
    text=$1
    shift
    "$@" > "$work/output" 2>&1
    status=$?
    cat "$work/output"
    [ $status = 0 ] && tr -s '\n ' '  ' < "$work/output" | grep -qF "$text"
}

fails() {
    text=$1
    shift
    if "$@" > "$work/output" 2>&1; then status=0; else status=1; fi
    cat "$work/output"
    [ $status = 1 ] && tr -s '\n ' '  ' < "$work/output" | grep -qF "$text"
}

# The files below a folder, and the targets of links.
files() {
    (cd "$1" && find . ! -type d -printf '%P %l\n' | sed 's/ $//; s/ / -> /' | LC_ALL=C sort)
}

# The files that should be installed with a libdir; further arguments are further files.
expected_files() {
    libdir=$1
    shift
    {
        for header in include/wfvae.h include/wfvae.hpp; do [ ! -f $header ] || echo $header; done
        for name in decode encode reconstruct save-onnx scrub; do echo "bin/wfvae-$name"; done
        [ ! "$have_media" ] || echo "bin/wfvae-batch
libexec/wfvae/wfvae-media"
        [ ! "$have_frei0r" ] || echo lib/frei0r-1/wfvae.so
        for file in cmake/wfvae/wfvaeConfig.cmake cmake/wfvae/wfvaeConfigVersion.cmake libwfvae.a \
            "libwfvae.so -> $real" "$soname -> $real" "$real" pkgconfig/wfvae.pc; do
            echo "$libdir/$file"
        done
        for file in share/doc/wfvae/ATTRIBUTION share/doc/wfvae/installed-files "$@"; do echo "$file"; done
    } | LC_ALL=C sort
}

# The entries of one kind in a file's dynamic section.
dynamic() {
    LC_ALL=C readelf -d "$1" | sed -n "s/.*($2).*\[\(.*\)\]/\1/p"
}

no_delete() {
    readelf -d "$1"
    LC_ALL=C readelf -d "$1" | grep -q 'Flags:.* NODELETE'
}

knows_no_machine_path() {
    ! grep -rFn "$top" "$1" --include='*.pc' --include='*.cmake' --include='*.h'
}

# pkg-config with one folder of .pc files and no other.
pc() {
    folder=$1
    shift
    PKG_CONFIG_LIBDIR=$folder pkg-config "$@" | sed 's/ *$//'
}

compile() {
    output=$1
    shift
    ${CC:-cc} -std=c99 -Wall -Wextra -Werror -o "$work/$output" "$work/consumer.c" "$@"
}

# Configures the consumer's project in folder $1, for the package in $2 of version $3.
configure() {
    rm -rf "${work:?}/$1"
    cmake -S "$work" -B "$work/$1" -DWANTED="$3" -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF -DCMAKE_PREFIX_PATH="$2"
}

build() {
    configure "$@" && cmake --build "$work/$1"
}

# The same for C++.
build_cxx() {
    cmake -S "$top/tests/install/cxx" -B "$work/cxx" -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF -DCMAKE_PREFIX_PATH="$1" &&
        cmake --build "$work/cxx"
}

# The file of the version must refuse a program of 32 bits.
unsuitable() {
    printf 'set(CMAKE_SIZEOF_VOID_P 4)\nset(PACKAGE_FIND_VERSION %s)\ninclude("%s")\nmessage("${PACKAGE_VERSION_UNSUITABLE}")\n' \
        "$version" "$prefix/lib/cmake/wfvae/wfvaeConfigVersion.cmake" > "$work/bits.cmake"
    cmake -P "$work/bits.cmake" 2>&1 | grep -x TRUE
}

refused() {
    fails "compatible with requested version" configure refused "$prefix" "$1"
}

loads() {
    ldd "$1"
    ldd "$1" | grep -qF "$soname => $2/$soname "
}

if ! readelf --version > /dev/null 2>&1; then
    echo "install: readelf is missing"
    exit 1
fi
make -s library || exit 1
rm -rf "$test"
cp tests/install/consumer.c tests/install/CMakeLists.txt "$work"

have_frei0r=
if need ffmpeg ffmpeg && { [ -f /usr/include/frei0r.h ] || need frei0r-header frei0r-plugins-dev || [ -f /usr/include/frei0r.h ]; }; then
    have_frei0r=1
elif echo '#include <frei0r.h>' | ${CC:-cc} -E - > /dev/null 2>&1; then
    have_frei0r=1
fi

have_media=
if pkg-config --exists 'libavformat >= 59' libavcodec libavfilter libavutil 2> /dev/null; then have_media=1; fi

# One installation as users make it, and one as packagers make it. Both without cargo: all is built.
runtime=$(basename "$(readlink -f target/onnxruntime/libonnxruntime.so.1)")
licences="share/doc/wfvae/onnxruntime/LICENSE share/doc/wfvae/onnxruntime/ThirdPartyNotices.txt"
echo "a file of others" > "$work/others"
mkdir -p "$test/prefix/bin" && cp "$work/others" "$test/prefix/bin"
# Six frames.
make -s target/demo/box-320x240.y4m
clip=$work/clip.y4m
head -c $((6 * (6 + 320 * 240 * 3 / 2) + $(head -n 1 target/demo/box-320x240.y4m | wc -c))) target/demo/box-320x240.y4m > "$clip"
check "install" make install CARGO=false PREFIX="$prefix"
# The first program of a user, without any setting.
check "the first program after it" prints "psnr 3" \
    env -i "$prefix/bin/wfvae-reconstruct" -q "$clip" /dev/null
check "the programs know their installed names" prints "usage: wfvae-save-onnx [" env -i "$prefix/bin/wfvae-save-onnx" -h
batch_runs() {
    rm -rf "$work/latents"
    prints "1 clips encoded, 6 frames" env -i "$1" encode "$clip" -o "$work/latents" && [ -f "$work/latents/clip.safetensors" ]
}
if [ "$have_media" ]; then
    check "wfvae-batch" batch_runs "$prefix/bin/wfvae-batch"
    ln -s "$prefix/bin/wfvae-batch" "$work/linked"
    check "wfvae-batch through a link" batch_runs "$work/linked"
else
    skip wfvae-batch "FFmpeg's libraries are not installed"
fi
check "install with DESTDIR" make install CARGO=false DESTDIR="$stage" PREFIX=/usr LIBDIR=$triplet ONNXRUNTIME=0
check "install builds what is missing" prints "build --release" make -n install BUILD="$work/empty"
# shellcheck disable=SC2086
check "files" equal "$(files "$prefix")" "$({
    expected_files lib $licences "lib/libonnxruntime.so.1 -> $runtime" "lib/$runtime" && echo bin/others
} | LC_ALL=C sort)"
check "files with DESTDIR" equal "$(files "$stage")" "$(expected_files $triplet | sed 's|^|usr/|')"
check "a program finds the library in a libdir of two folders" prints "psnr 3" \
    env -i WFVAE_ONNXRUNTIME="$prefix/lib/libonnxruntime.so.1" \
    "$stage/usr/bin/wfvae-reconstruct" -q "$clip" /dev/null
check "without a runtime it says what to do" fails 'pip install onnxruntime' \
    env -i "$stage/usr/bin/wfvae-reconstruct" "$clip" /dev/null
rm "$prefix/lib/libonnxruntime.so.1"
check "a runtime by the name of its version" prints "psnr 3" \
    env -i "$prefix/bin/wfvae-reconstruct" -q "$clip" /dev/null
ln -s "$runtime" "$prefix/lib/libonnxruntime.so.1"

# The plugin in a stock ffmpeg; it must find the library by itself. The last pictures must not be the transparent ones of the start.
plugin_runs() {
    env -i FREI0R_PATH="$1" WFVAE_ONNXRUNTIME="$2" "$(command -v ffmpeg)" -v error -i "$clip" \
        -vf tpad=stop_mode=clone:stop=2,frei0r=wfvae,format=gbrp -f framecrc - | tee "$work/frames" &&
        [ "$(grep -vc '^#' "$work/frames")" = 8 ] && [ "$(grep -v '^#' "$work/frames" | cut -d, -f6 | sort -u | wc -l)" = 4 ]
}
if [ ! "$have_frei0r" ] || ! command -v ffmpeg > /dev/null; then
    skip frei0r "no ffmpeg or no frei0r.h, and it takes root and apt-get to install them here"
else
    check "frei0r: the plugin in ffmpeg" plugin_runs "$prefix/lib/frei0r-1" ""
    check "frei0r: with a libdir of two folders" plugin_runs "$stage/usr/lib/frei0r-1" "$prefix/lib/$runtime"
fi

check "no machine paths with DESTDIR" knows_no_machine_path "$stage"
check "soname" equal "$(dynamic "$prefix/lib/libwfvae.so" SONAME)" "$soname"
check "nodelete" no_delete "$prefix/lib/libwfvae.so"
check "no link to ONNX Runtime" equal "$(dynamic "$prefix/lib/libwfvae.so" NEEDED | grep -i onnx)" ""
check "the attribution of the built-in model" \
    cmp src/model/builtin/ATTRIBUTION "$prefix/share/doc/wfvae/ATTRIBUTION"
check "the committed header" cmp include/wfvae.h "$prefix/include/wfvae.h"
check "the C++ header" cmp include/wfvae.hpp "$prefix/include/wfvae.hpp"

check "a relative prefix" fails "not an absolute path" make install PREFIX=relative DESTDIR="$test/none"
check "a libdir outside the prefix" fails "not a path below PREFIX" make install LIBDIR=/lib DESTDIR="$test/none"
check "a wrong ONNXRUNTIME" fails "is not 0 or 1" make install ONNXRUNTIME=yes DESTDIR="$test/none"
check "a libdir above the prefix" fails "not a path below PREFIX" \
    make install CARGO=false LIBDIR=lib/../../lib INSTALLED_PROGRAMS= INSTALLED_PLUGIN= BATCH= DESTDIR="$test/none"
check "nothing installed by these" test ! -e "$test/none"
check "nothing to uninstall" fails "nothing was installed in $test/none" make uninstall PREFIX="$test/none"

# What another ONNX Runtime in LIBDIR means: one that works is used and kept; one that does not stays, and ours is used.
other=$test/other
with_other() {
    rm -rf "$other" && mkdir -p "$other/lib" && cp "$1" "$other/lib/$2"
    shift 2
    make install CARGO=false PREFIX="$other" "$@"
}
runs_on() {
    env -i "$other/bin/wfvae-reconstruct" "$clip" /dev/null && cmp "$1" "$other/lib/$2"
}
{ cat target/onnxruntime/libonnxruntime.so.1 && echo; } > "$work/usable"
echo "not a runtime" > "$work/text"
echo "VERS_1.18.0" > "$work/old"
check "another ONNX Runtime, usable" prints "was there already and is used" with_other "$work/usable" libonnxruntime.so.1
check "it is used" runs_on "$work/usable" libonnxruntime.so.1
check "ours is not there" test ! -e "$other/lib/$runtime"
check "another, usable, and ONNXRUNTIME=1" fails "is another ONNX Runtime" \
    with_other "$work/usable" libonnxruntime.so.1.30.0 ONNXRUNTIME=1
for kind in text old; do
    check "another, $kind" prints "ONNX Runtime: $other/lib/$runtime" with_other "$work/$kind" libonnxruntime.so.1
    check "another, $kind: ours runs" runs_on "$work/$kind" libonnxruntime.so.1
done
check "installed again" make install CARGO=false PREFIX="$other"
check "another, uninstall" make uninstall PREFIX="$other"
check "another is kept" equal "$(files "$other")" lib/libonnxruntime.so.1
check "a prefix with odd characters" make install CARGO=false DESTDIR="$test/odd" PREFIX='/opt/r&d|x'
check "a prefix with odd characters in wfvae.pc" \
    equal "$(sed -n 's/^prefix=//p' "$test/odd/opt/r&d|x/lib/pkgconfig/wfvae.pc")" '/opt/r&d|x'

# The shell splits pkg-config's output at spaces, and pkg-config escapes other characters.
plain_path=1
case $test in *[!A-Za-z0-9/._+@%=-]*) plain_path= ;; esac

have_pkg_config=
if [ ! "$plain_path" ]; then
    skip pkg-config "it cannot be used from a shell with a folder of such a name: $test"
elif need pkg-config pkg-config; then
    have_pkg_config=1
    folder=$prefix/lib/pkgconfig
    check "pkg-config: version" equal "$(pc "$folder" --modversion wfvae)" "$version"
    check "pkg-config: at least this version" env PKG_CONFIG_LIBDIR="$folder" pkg-config --exists "wfvae >= $version"
    check "pkg-config: not the next" fails "wfvae >= $major.$((minor + 1))" \
        env PKG_CONFIG_LIBDIR="$folder" pkg-config --print-errors --exists "wfvae >= $major.$((minor + 1))"
    check "pkg-config: cflags" equal "$(pc "$folder" --cflags wfvae)" "-I$prefix/include"
    check "pkg-config: libs" equal "$(pc "$folder" --libs wfvae)" "-L$prefix/lib -lwfvae"
    check "pkg-config: prefix and libdir with DESTDIR" equal \
        "$(pc "$stage/usr/$triplet/pkgconfig" --variable=prefix wfvae) $(pc "$stage/usr/$triplet/pkgconfig" \
            --variable=libdir wfvae)" "/usr /usr/$triplet"

    # shellcheck disable=SC2046
    check "pkg-config: build" compile shared $(pc "$folder" --cflags --libs wfvae)
    check "pkg-config: the program needs the soname" equal "$(dynamic "$work/shared" NEEDED | grep wfvae)" "$soname"
    check "pkg-config: run, on the runtime beside the library" \
        prints "$prefix/lib/$runtime" env LD_LIBRARY_PATH="$prefix/lib" "$work/shared"

    # If there is no shared library, the linker takes the static one.
    mkdir "$test/static"
    cp -R "$prefix/include" "$prefix/lib" "$test/static"
    rm "$test"/static/lib/libwfvae.so*
    # shellcheck disable=SC2046
    check "pkg-config: static build" \
        compile static $(pc "$test/static/lib/pkgconfig" --define-prefix --static --cflags --libs wfvae)
    check "pkg-config: the static program needs no libwfvae" \
        equal "$(dynamic "$work/static" NEEDED | grep -e '^libc\.' -e wfvae)" libc.so.6
    check "pkg-config: static run" prints "libwfvae $version" \
        env WFVAE_ONNXRUNTIME="$prefix/lib/libonnxruntime.so.1" "$work/static"
else
    skip pkg-config "not installed, and it takes root and apt-get to do that here"
fi

have_cmake=
if need cmake cmake; then
    have_cmake=1
    check "CMake: build" build cmake "$prefix" "$abi"
    check "CMake: the program loads what is installed" loads "$work/cmake/consumer" "$prefix/lib"
    check "CMake: run, on the runtime beside the library" \
        prints "$prefix/lib/$runtime" "$work/cmake/consumer"
    if need c++ g++; then
        check "CMake: build in C++" build_cxx "$prefix"
        check "CMake: run in C++" prints "$prefix/lib/$runtime" "$work/cxx/consumer_cxx"
    else
        skip "CMake in C++" "there is no C++ compiler, and it takes root and apt-get to install one here"
    fi
    check "CMake: a libdir of two folders" build triplet "$stage/usr/$triplet/cmake" "$abi"
    check "CMake: any version" configure any "$prefix" ""
    check "CMake: exactly this version" configure exact "$prefix" "$version;EXACT"
    check "CMake: a range" configure range "$prefix" "$version...<$((major + 1))"
    check "CMake: not for 32 bits" unsuitable
    check "CMake: not a newer patch" refused "${version%.*}.999"
    check "CMake: not the next minor version" refused "$major.$((minor + 1))"
    check "CMake: not the next major version" refused $((major + 1))
    check "CMake: not an ABI before" refused 0.0
    check "CMake: not a range below" refused "0...<$version"
    mv "$prefix/include" "$prefix/gone"
    check "CMake: not without the header" fails "include/wfvae.h does not exist" configure gone "$prefix" "$abi"
    mv "$prefix/gone" "$prefix/include"
else
    skip CMake "not installed, and it takes root and apt-get to do that here"
fi

# The installed files must not refer to the folder of the installation. pkg-config splits at spaces, CMake does not.
moved=$test/moved
mv "$prefix" "$moved"
if [ "$have_pkg_config" ]; then
    # shellcheck disable=SC2046
    check "moved, pkg-config: build" compile moved $(pc "$moved/lib/pkgconfig" --define-prefix --cflags --libs wfvae)
    check "moved, pkg-config: run" prints "$moved/lib/$runtime" env LD_LIBRARY_PATH="$moved/lib" "$work/moved"
fi
if [ "$have_cmake" ]; then
    mv "$moved" "$test/moved again"
    moved="$test/moved again"
    check "moved, CMake: build" build moved-cmake "$moved" "$abi"
    check "moved, CMake: the program loads what was moved" loads "$work/moved-cmake/consumer" "$moved/lib"
    check "moved, CMake: run" prints "$moved/lib/$runtime" "$work/moved-cmake/consumer"
fi

check "moved: a program" prints "psnr 3" \
    env -i "$moved/bin/wfvae-reconstruct" -q "$clip" /dev/null

check "uninstall" make uninstall PREFIX="$moved"
check "uninstall with DESTDIR" make uninstall DESTDIR="$stage" PREFIX=/usr
check "uninstall leaves what others have" equal "$(find "$moved" "$stage" -mindepth 1 | LC_ALL=C sort)" "$moved/bin
$moved/bin/others"

[ $failed = 0 ] && rm -rf "$test"
summary install
