#!/bin/sh
# `make check-dist`: makes the archives and wheels of `make dist`, unpacks them elsewhere, and builds and runs programs with them:
# natively, in Wine and in QEMU. check.sh [--again] [SYSTEM...]; ends with the number of checks that passed and failed. Exit status 77:
# they cannot be made here. --again: makes them once more from a clone in another folder, which must give the same bytes.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/groups.sh
top=$PWD
test="$top/target/dist-test"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
# The oldest C library that the documentation names.
glibc=2.34
unset WFVAE_ONNXRUNTIME ORT_DYLIB_PATH LD_LIBRARY_PATH PKG_CONFIG_PATH CMAKE_PREFIX_PATH PYTHONPATH MAKEFLAGS

# Paths of this machine: the tree's, the home folder's, the registry's.
names_no_path() {
    find "$1" -type f ! -name '*onnxruntime*' | while IFS= read -r file; do
        for text in "$top" "$HOME/" "${CARGO_HOME:-$HOME/.cargo}" /opt/cargo registry/src target/dist-build; do
            ! grep -aF -m 1 -e "$text" "$file" | head -c 200 | grep . || echo "$file names $text"
        done
    done | tee "$test/paths"
    [ ! -s "$test/paths" ]
}

# The newest version of glibc of which a program or library uses a symbol.
needs_no_newer_glibc() {
    newest=$(cat "$1"/bin/* "$1"/lib/*.so* | grep -aoE 'GLIBC_[0-9]+\.[0-9]+' | cut -c 7- | sort -V | tail -n 1)
    echo "needs glibc $newest"
    [ -n "$newest" ] && [ "$(printf '%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" = "$glibc" ]
}

has_no_debug_information() {
    for file in "$1"/bin/*wfvae* "$1"/lib/libwfvae.so*; do
        [ -f "$file" ] || continue
        case $file in *.exe | *.dll) objdump -h "$file" ;; *) readelf -SW "$file" ;; esac > "$test/sections" || return 1
        grep -F .text "$test/sections" || return 1
        ! grep -e '\.debug_' -e '\.symtab' "$test/sections" || return 1
    done
}

licences() {
    doc=$1/share/doc/wfvae
    for file in LICENSE-MIT LICENSE-APACHE ATTRIBUTION crates.txt rust-library.* onnxruntime/LICENSE onnxruntime/ThirdPartyNotices.txt; do
        # shellcheck disable=SC2086
        [ -s "$doc"/$file ] || { echo "no $file" && return 1; }
    done
    case $1 in *windows*) [ -s "$doc/mingw-w64.txt" ] ;; esac
}

# What the archive's reconstruct writes with vectors of one kind: the same on all x86-64 systems.
same_clip() {
    cmp "$test/linux-x86_64-vectors.y4m" "$test/$1-vectors.y4m"
}

# A system as small as Debian makes it, without Rust and Python.
bare_system() {
    bare=$test/bare
    [ -d "$bare" ] || mmdebstrap --quiet --variant=minbase bookworm "$bare" || return 1
    for program in python3 cargo cc; do
        ! chroot "$bare" sh -c "command -v $program" || return 1
    done
    rm -rf "$bare/opt/wfvae"
    mkdir "$bare/opt/wfvae"
    tar -C "$bare/opt/wfvae" -xzf "target/dist/libwfvae-$version-linux-x86_64.tar.gz"
    cp "$test/clip.y4m" "$bare/opt/wfvae"
    # The loader needs /proc to find a library beside a program.
    unshare --mount --pid --fork --propagation private sh -euc 'mount -t proc proc "$1/proc" && exec chroot "$1" env -i sh -c \
        "cd /opt/wfvae && libwfvae-*/bin/wfvae-reconstruct clip.y4m out.y4m"' sh "$bare" &&
        cmp "$bare/opt/wfvae/out.y4m" "$test/linux-x86_64.y4m"
}

wheel_of() {
    case $1 in
    windows-x86_64) echo target/dist/wfvae-"$version"-py3-none-win_amd64.whl ;;
    linux-*) echo target/dist/wfvae-"$version"-py3-none-manylinux_*_"${1#linux-}".whl ;;
    esac
}

# Runs nothing: it compares what is in the wheel with the archive.
wheel_holds() {
    python3 - "$(wheel_of "$1")" "$2" "wfvae/lib/$(basename "$2")" << 'END'
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
assert wheel.read(sys.argv[3]) == open(sys.argv[2], "rb").read(), "another library"
metadata = next(wheel.read(n).decode() for n in wheel.namelist() if n.endswith("/WHEEL"))
print(metadata)
assert sys.argv[1].split("-none-")[1].removesuffix(".whl") in metadata
licences = {n.rsplit("/", 1)[1] for n in wheel.namelist() if "/licenses/" in n}
assert {"LICENSE-MIT", "LICENSE-APACHE", "ATTRIBUTION", "crates.txt"} <= licences, licences
END
}

# Installs the wheel into a fresh environment; NumPy and ONNX Runtime are those of the tools.
wheel_runs() {
    rm -rf "$test/venv"
    python3 -m venv --without-pip "$test/venv" || return 1
    for folder in target/python/tools/lib/python3*/site-packages; do
        echo "$top/$folder" > "$(echo "$test"/venv/lib/python3*/site-packages)/tools.pth"
    done
    python3 -m pip --python "$test/venv/bin/python" install --quiet --disable-pip-version-check --no-index --no-deps "$(wheel_of "$1")" &&
        (cd / && "$test/venv/bin/python" "$top/tests/dist/line.py")
}

# In QEMU, with Debian 12's Python and NumPy, which are unpacked and not installed.
wheel_runs_on_aarch64() {
    python=$test/python-aarch64
    if [ ! -d "$python" ]; then
        mmdebstrap --quiet --variant=extract --architectures=arm64 --include=python3,python3-numpy,libstdc++6 \
            --aptopt='APT::Install-Recommends "false"' bookworm "$python.new" "$(debian_source)" || return 1
        mv "$python.new" "$python"
    fi
    rm -rf "$test/wheel-aarch64"
    python3 -m zipfile -e "$(wheel_of "$1")" "$test/wheel-aarch64"
    libraries=$python/usr/lib/aarch64-linux-gnu
    tools/cross.sh qemu-aarch64 -L "$python" \
        -E "LD_LIBRARY_PATH=$libraries/blas:$libraries/lapack:$libraries:$python/lib/aarch64-linux-gnu" \
        -E "PYTHONPATH=$test/wheel-aarch64:$top/target/onnxruntime-aarch64/wheel:$python/usr/lib/python3/dist-packages" \
        -E "PYTHONHOME=$python/usr" "$python/usr/bin/python3" "$top/tests/dist/line.py"
}

# In Wine.
wheel_runs_on_windows() {
    tools/fetch-windows-languages.sh && rm -rf "$test/wheel-windows" || return 1
    python3 -m zipfile -e "$(wheel_of "$1")" "$test/wheel-windows"
    languages=target/windows-languages
    WINEPREFIX="$test/wine" WINEDEBUG=-all \
        PYTHONPATH="Z:$test/wheel-windows;Z:$top/$languages/site;Z:$top/target/onnxruntime-windows/wheel" \
        tools/cross.sh wine $languages/python/python.exe tests/dist/line.py
}

# The last commit, in a folder with another name, gives the archives and wheels that are there.
same_bytes_again() {
    git diff --quiet HEAD || { echo "the tree is not that of the last commit, of which a clone would be" && return 1; }
    rm -rf "$test/clone" && git clone --quiet . "$test/clone" || return 1
    (cd "$test/clone" && CROSS_ROOT="${CROSS_ROOT:-$top/target/cross/root}" tools/dist.sh "$@") || return 1
    cat "$test/clone/target/dist/SHA256SUMS"
    (cd target/dist && sha256sum --check "$test/clone/target/dist/SHA256SUMS")
}

debian_source() {
    apt-get indextargets --format 'deb $(REPO_URI) bookworm $(COMPONENT)' "Created-By: Packages" | grep -v security |
        grep ' main$' | head -n 1
}

again=
[ "${1:-}" != --again ] || { again=1 && shift; }
[ $# -gt 0 ] || set -- linux-x86_64 linux-aarch64 windows-x86_64
tools/dist.sh "$@" || exit $?
make -s target/demo/box-320x240.y4m || exit 1
mkdir -p "$test"
rm -rf "$test"/*.y4m "$test/unpacked here"
# Six frames.
head -c $((6 * (6 + 320 * 240 * 3 / 2) + $(head -n 1 target/demo/box-320x240.y4m | wc -c))) target/demo/box-320x240.y4m > "$test/clip.y4m"
for system in "$@"; do
    name=libwfvae-$version-$system
    folder="$test/unpacked here/$name"
    mkdir -p "$test/unpacked here"
    in_chroot=tools/cross.sh
    case $system in
    windows-*)
        check "$system: unpack" python3 -m zipfile -e "target/dist/$name.zip" "$test/unpacked here"
        library=$folder/bin/wfvae.dll
        ;;
    *)
        check "$system: unpack" tar -C "$test/unpacked here" -xzf "target/dist/$name.tar.gz"
        check "$system: glibc $glibc is enough" needs_no_newer_glibc "$folder"
        library=$folder/lib/libwfvae.so
        [ "$system" != linux-x86_64 ] || in_chroot=
        ;;
    esac
    check "$system: no path of this machine" names_no_path "$folder"
    check "$system: no debug information" has_no_debug_information "$folder"
    check "$system: licences" licences "$folder"
    # The chroot's C++ compiler for aarch64 needs a newer C++ library than Debian 12's, in which programs run.
    case $system in linux-x86_64) more="C++" ;; windows-*) more="C++ msvc-lib" ;; *) more= ;; esac
    for how in reconstruct pkg-config CMake $more; do
        check "$system: $how" $in_chroot tests/dist/use.sh "$how" "$system" "$folder" "$test"
    done
    check "$system: the wheel holds this library" wheel_holds "$system" "$library"
    case $system in
    linux-x86_64)
        check "$system: a bare Debian" bare_system
        check "$system: the wheel" wheel_runs "$system"
        ;;
    linux-aarch64) check "$system: the wheel" wheel_runs_on_aarch64 "$system" ;;
    windows-x86_64)
        check "$system: the wheel" wheel_runs_on_windows "$system"
        [ ! -f "$test/linux-x86_64-vectors.y4m" ] || check "$system: reconstruct, as on Linux" same_clip "$system"
        ;;
    esac
done
[ -z "$again" ] || check "the same bytes from another folder" same_bytes_again "$@"
summary dist
