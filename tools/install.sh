#!/bin/sh
# `make install` and `make uninstall`, which set the variables. The result is that of `cargo cinstall`, except for the folder of
# the CMake files.
set -eu
cd "$(dirname "$0")/.."
build=target/release

stop() {
    echo "make $1: $2" >&2
    exit 1
}

case $PREFIX in /*) ;; *) stop "$1" "PREFIX=$PREFIX is not an absolute path" ;; esac
case $LIBDIR in /* | '') stop "$1" "LIBDIR=$LIBDIR is not a path below PREFIX" ;; esac
case $ONNXRUNTIME in '' | 0 | 1) ;; *) stop "$1" "ONNXRUNTIME=$ONNXRUNTIME is not 1" ;; esac
[ "$PREFIX" = / ] || PREFIX=${PREFIX%/}
LIBDIR=${LIBDIR%/}
root=$DESTDIR$PREFIX
lib=$root/$LIBDIR
cmake=$lib/cmake/wfvae
doc=$root/share/doc/wfvae
licences=$doc/onnxruntime
# The file's name has no pre-release part, as with cargo-c.
real=libwfvae.so.${VERSION%%[-+]*}

# Copies a template and fills in the variables, which may hold characters that are special to sed.
fill() {
    quote() { printf '%s' "$1" | sed 's/[&|\]/\\&/g'; }
    description=$(sed -n 's/^description = "\(.*\)"$/\1/p' Cargo.toml)
    sed -e "s|@PREFIX@|$(quote "$PREFIX")|" -e "s|@LIBDIR@|$(quote "$LIBDIR")|" -e "s|@LIBDIRS@|$(quote "$LIBDIR")|" \
        -e "s|@VERSION@|$VERSION|" -e "s|@DESCRIPTION@|$(quote "$description")|" \
        -e "s|@PREFIX_FROM_HERE@|../../$(printf '%s' "$LIBDIR" | sed 's|[^/][^/]*|..|g')|" "packaging/$1.in" > "$2/$1"
    chmod 644 "$2/$1"
}

install_all() {
    other=$lib/libonnxruntime.so.1
    if [ "$ONNXRUNTIME" = 1 ] && [ -e "$other" ] && ! cmp -s target/onnxruntime/libonnxruntime.so.1 "$other"; then
        stop install "$other is another ONNX Runtime: remove it, or install without ONNXRUNTIME=1, then it is used"
    fi
    install -d "$root/include" "$lib/pkgconfig" "$cmake"
    install -m 644 include/wfvae.h "$root/include"
    install -m 644 $build/libwfvae.a "$lib"
    install -m 755 $build/libwfvae.so "$lib/$real"
    ln -sf "$real" "$lib/$SONAME"
    ln -sf "$real" "$lib/libwfvae.so"
    fill wfvae.pc "$lib/pkgconfig"
    fill wfvaeConfig.cmake "$cmake"
    fill wfvaeConfigVersion.cmake "$cmake"
    # The built-in weights are CC-BY: the attribution goes with the library.
    install -d "$doc"
    install -m 644 src/model/builtin/ATTRIBUTION "$doc"
    if [ "$ONNXRUNTIME" = 1 ]; then
        install -m 755 target/onnxruntime/libonnxruntime.so.1 "$lib"
        # Its licence must go with every copy.
        install -d "$licences"
        install -m 644 target/onnxruntime/wheel/onnxruntime/LICENSE \
            target/onnxruntime/wheel/onnxruntime/ThirdPartyNotices.txt "$licences"
    fi
    echo "installed libwfvae $VERSION in $root"
}

uninstall_all() {
    rm -f "$root/include/wfvae.h" "$lib/libwfvae.a" "$lib/libwfvae.so" "$lib/$SONAME" "$lib/$real" \
        "$lib/pkgconfig/wfvae.pc" "$cmake/wfvaeConfig.cmake" "$cmake/wfvaeConfigVersion.cmake" "$doc/ATTRIBUTION"
    if [ "$ONNXRUNTIME" = 1 ]; then
        rm -f "$lib/libonnxruntime.so.1" "$licences/LICENSE" "$licences/ThirdPartyNotices.txt"
    fi
    # Only the library's own folders: others share the rest.
    for folder in "$cmake" "$licences" "$doc"; do
        [ ! -d "$folder" ] || rmdir --ignore-fail-on-non-empty "$folder"
    done
}

case $1 in
    install) install_all ;;
    uninstall) uninstall_all ;;
esac
