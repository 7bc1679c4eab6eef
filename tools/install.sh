#!/bin/sh
# `make install` and `make uninstall`, which set the variables. Each file and folder that is made is noted in a list below
# share/doc, and uninstall removes what is noted. The library, the headers and the files for pkg-config and CMake are those of
# `cargo cinstall`, except for the folder of the CMake files.
set -eu
cd "$(dirname "$0")/.."

stop() {
    echo "make $1: $2" >&2
    exit 1
}

case $PREFIX in /*) ;; *) stop "$1" "PREFIX=$PREFIX is not an absolute path" ;; esac
case /$LIBDIR/ in // | //* | */../*) stop "$1" "LIBDIR=$LIBDIR is not a path below PREFIX" ;; esac
case $ONNXRUNTIME in '' | 0 | 1) ;; *) stop "$1" "ONNXRUNTIME=$ONNXRUNTIME is not 0 or 1" ;; esac
[ "$PREFIX" = / ] || PREFIX=${PREFIX%/}
LIBDIR=${LIBDIR%/}
root=$DESTDIR$PREFIX
lib=$root/$LIBDIR
doc=share/doc/wfvae
list=$root/$doc/installed-files
# The file's name has no pre-release part, as with cargo-c.
real=libwfvae.so.${VERSION%%[-+]*}

# Names below are relative to the prefix. Notes wait until there is a folder for the list.
notes=
note() {
    notes="$notes$1
"
    if [ -d "$root/$doc" ]; then
        printf '%s' "$notes" >> "$list"
        notes=
    fi
}

noted() {
    [ -f "$list" ] && grep -qxF -e "$1" "$list"
}

folder() {
    [ ! -d "$root/$1" ] || return 0
    [ "$1" = . ] || folder "$(dirname "$1")"
    install -d "$root/$1"
    note "$1/"
}

# put MODE SOURCE NAME
put() {
    folder "$(dirname "$3")"
    note "$3"
    install -m "$1" "$2" "$root/$3"
}

# put_link TARGET NAME
put_link() {
    note "$2"
    ln -sfn "$1" "$root/$2"
}

# Copies a template to a folder and fills in the variables, which may hold characters that are special to sed.
fill() {
    quote() { printf '%s' "$1" | sed 's/[&|\]/\\&/g'; }
    description=$(sed -n 's/^description = "\(.*\)"$/\1/p' Cargo.toml)
    folder "$2"
    note "$2/$1"
    sed -e "s|@PREFIX@|$(quote "$PREFIX")|" -e "s|@LIBDIR@|$(quote "$LIBDIR")|" -e "s|@LIBDIRS@|$(quote "$LIBDIR")|" \
        -e "s|@VERSION@|$VERSION|" -e "s|@DESCRIPTION@|$(quote "$description")|" \
        -e "$([ "$SYSTEM" = posix ] || echo '/^Libs.private:/d')" \
        -e "s|@PREFIX_FROM_HERE@|../../$(printf '%s' "$LIBDIR" | sed 's|[^/][^/]*|..|g')|" "packaging/$1.in" > "$root/$2/$1"
    chmod 644 "$root/$2/$1"
}

# The version of an ONNX Runtime, which stands in the names of its symbols.
version_of() {
    LC_ALL=C grep -aoE -m 1 'VERS_[0-9]+\.[0-9.]+' "$1" | head -n 1 | cut -c 6-
}

# Sets `other` to an ONNX Runtime in LIBDIR that is not ours and that the library can use.
find_other_runtime() {
    other=
    needed=$(sed -n 's/^onnxruntime==1\.\([0-9]*\).*/\1/p' tools/onnxruntime-tested.txt | head -n 1)
    for file in "$lib"/libonnxruntime.so "$lib"/libonnxruntime.so.[0-9]*; do
        [ -f "$file" ] || continue
        # A link may lead to ours.
        ! noted "$LIBDIR/$(basename "$(readlink -f "$file")")" || continue
        other_version=$(version_of "$file")
        case $other_version in
            1.*) minor=${other_version#1.} && minor=${minor%%.*} ;;
            *) continue ;;
        esac
        [ "${minor:-0}" -lt "$needed" ] || other=$file
    done
}

install_runtime() {
    ours=$(readlink -f "$RUNTIME/libonnxruntime.so.1")
    name=$(basename "$ours")
    find_other_runtime
    if [ -n "$other" ] && ! cmp -s "$ours" "$other"; then
        [ "$ONNXRUNTIME" != 1 ] ||
            stop install "$other is another ONNX Runtime: remove it, or install without ONNXRUNTIME=1, then it is used"
        runtime="ONNX Runtime $other_version was there already and is used: $other"
        return
    fi
    if [ -e "$lib/$name" ] && ! noted "$LIBDIR/$name" && ! cmp -s "$ours" "$lib/$name"; then
        stop install "$lib/$name is there, but is not a usable ONNX Runtime: remove it, or install with ONNXRUNTIME=0"
    fi
    # Those of earlier installations.
    for file in "$lib"/libonnxruntime.so.[0-9]*; do
        if [ "$file" != "$lib/$name" ] && noted "$LIBDIR/${file##*/}"; then rm -f "$file"; fi
    done
    put 755 "$ours" "$LIBDIR/$name"
    # The name that the loader and other programs know. Another file of that name stays.
    if [ ! -e "$lib/libonnxruntime.so.1" ] && [ ! -L "$lib/libonnxruntime.so.1" ]; then
        put_link "$name" "$LIBDIR/libonnxruntime.so.1"
    fi
    put_runtime_licences
    runtime="ONNX Runtime: $lib/$name"
}

# They must go with every copy.
put_runtime_licences() {
    for file in LICENSE ThirdPartyNotices.txt; do
        put 644 "$RUNTIME/wheel/onnxruntime/$file" "$doc/onnxruntime/$file"
    done
}

# Windows has the libraries of a program in the program's folder, and no versions in their names.
install_runtime_on_windows() {
    other=$root/bin/onnxruntime.dll
    if [ -e "$other" ] && ! noted bin/onnxruntime.dll && ! cmp -s "$RUNTIME/onnxruntime.dll" "$other"; then
        stop install "$other is another ONNX Runtime: remove it, or install with ONNXRUNTIME=0, then it is used"
    fi
    put 755 "$RUNTIME/onnxruntime.dll" bin/onnxruntime.dll
    put_runtime_licences
    runtime="ONNX Runtime: $other"
}

# The static library is left out on Windows: what has to be linked with it depends on the compiler.
install_library() {
    if [ "$SYSTEM" = windows ]; then
        put 755 "$BUILD/wfvae.dll" bin/wfvae.dll
        put 644 "$BUILD/libwfvae.dll.a" "$LIBDIR/libwfvae.dll.a"
        put 644 "$BUILD/wfvae.lib" "$LIBDIR/wfvae.lib"
    else
        put 644 "$BUILD/libwfvae.a" "$LIBDIR/libwfvae.a"
        put 755 "$BUILD/libwfvae.so" "$LIBDIR/$real"
        put_link "$real" "$LIBDIR/$SONAME"
        put_link "$real" "$LIBDIR/libwfvae.so"
    fi
}

install_all() {
    # The built-in weights are CC-BY: the attribution goes with the library.
    put 644 src/model/builtin/ATTRIBUTION "$doc/ATTRIBUTION"
    for header in include/wfvae.h include/wfvae.hpp; do
        [ ! -f $header ] || put 644 $header $header
    done
    install_library
    fill wfvae.pc "$LIBDIR/pkgconfig"
    fill wfvaeConfig.cmake "$LIBDIR/cmake/wfvae"
    fill wfvaeConfigVersion.cmake "$LIBDIR/cmake/wfvae"
    for program in $PROGRAMS; do
        name=$(basename "$program")
        case $name in *.exe) exe=.exe ;; *) exe= ;; esac
        put 755 "$program" "bin/wfvae-$(basename "${name%.exe}" _file | tr _ -)$exe"
    done
    if [ -n "$BATCH" ]; then
        put 755 "$BUILD/wfvae-batch" bin/wfvae-batch
        put 755 "$BUILD/wfvae-media" libexec/wfvae/wfvae-media
    elif [ "$SYSTEM" = posix ]; then
        echo "without wfvae-batch: FFmpeg's libraries, 5.0 or newer, were not found (Debian: libavfilter-dev, pkg-config)"
    fi
    if [ -n "$PLUGIN" ]; then
        put 755 "$PLUGIN" "$FREI0RDIR/wfvae.so"
    elif [ "$SYSTEM" = posix ]; then
        echo "without the frei0r plugin: frei0r.h was not found (Debian: frei0r-plugins-dev)"
    fi
    runtime="without ONNX Runtime; docs/onnxruntime.md says where it is searched for"
    if [ "$ONNXRUNTIME" != 0 ]; then
        if [ "$SYSTEM" = windows ]; then install_runtime_on_windows; else install_runtime; fi
    fi
    LC_ALL=C sort -u -o "$list" "$list"
    echo "installed libwfvae $VERSION in $root, programs: $root/bin/wfvae-*"
    echo "$runtime"
}

uninstall_all() {
    [ -f "$list" ] || stop uninstall "nothing was installed in $root: there is no $list"
    if grep -nE '^/|(^|/)\.\.(/|$)' "$list"; then stop uninstall "$list is damaged: it names files elsewhere"; fi
    grep -v '/$' "$list" | while IFS= read -r name; do rm -f "$root/$name"; done
    folders=$(grep '/$' "$list" | LC_ALL=C sort -r)
    rm "$list"
    # Only folders that were made, unless others use them now.
    printf '%s\n' "$folders" | while IFS= read -r name; do
        [ -z "$name" ] || [ ! -d "$root/$name" ] || rmdir --ignore-fail-on-non-empty "$root/${name#./}"
    done
    echo "removed libwfvae from $root"
}

case $1 in
    install) install_all ;;
    uninstall) uninstall_all ;;
esac
