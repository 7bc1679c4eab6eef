#!/bin/sh
# `make dist`: dist.sh [SYSTEM...] puts archives and wheels for linux-x86_64, linux-aarch64 and windows-x86_64 into target/dist, all of
# them or those named. Two builds of one commit with the same tools give the same bytes, in any folder.
# The programs and files are those of `make install`. Linux binaries are linked with Debian 12's C library, so that they need no newer
# one; the other systems' compilers are in the chroot of tools/cross.sh. Needs root and Debian's packages; exits with 77 without.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
build=target/dist-build
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || true)}" TZ=UTC LC_ALL=C
umask 022

stop() {
    echo "make dist: $*" >&2
    exit 1
}

of_system() {
    case $1 in
    linux-x86_64) triple=x86_64-unknown-linux-gnu architecture=amd64 tools="" ;;
    linux-aarch64) triple=aarch64-unknown-linux-gnu architecture=arm64 tools=aarch64-linux-gnu- ;;
    windows-x86_64) triple=x86_64-pc-windows-gnu architecture="" tools=x86_64-w64-mingw32- ;;
    *) stop "\"$1\" is not a system; linux-x86_64, linux-aarch64 and windows-x86_64 are" ;;
    esac
}

# The part that the system's compilers do, in the chroot where that is needed: dist.sh --compile SYSTEM.
compile() {
    # Paths of this machine, which panics would name. The folders of the registry are named after its host.
    flags="--remap-path-prefix=$top=wfvae"
    separator=$(printf '\037')
    for folder in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        flags="$flags$separator--remap-path-prefix=$folder=crates"
    done
    if [ "$1" = windows-x86_64 ]; then
        # Debian has no standard library for it, but its source.
        export RUSTC_BOOTSTRAP=1
        cargo="cargo -Z build-std=std,panic_unwind"
    else
        cargo=cargo
    fi
    variable=CARGO_TARGET_$(echo "$triple" | tr a-z- A-Z_)_LINKER
    export CARGO_ENCODED_RUSTFLAGS="$flags" CARGO_TARGET_DIR="$top/$build" CARGO_INCREMENTAL=0 \
        CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=symbols "$variable=$top/$build/$1/cc"
    export CC="$build/$1/cc" CFLAGS="-O2 -s" MAKEFLAGS=
    make -s TARGET="$triple" CARGO="$cargo" BUILD="$build/$triple/release" INSTALLED_PLUGIN= \
        DESTDIR="$top/$build/$1/stage" PREFIX="/$name" ONNXRUNTIME=1 library install
    # What the linked parts of the compilers' libraries ask to pass on.
    notices=$build/$1/notices
    rm -rf "$notices" && mkdir -p "$notices"
    for file in "$(rustc --print sysroot)"/share/doc/rust/COPYRIGHT-library.html /usr/share/doc/libstd-rust-dev/copyright; do
        if [ -f "$file" ]; then
            cp "$file" "$notices/rust-library.${file##*[./]}"
            break
        fi
    done
    ls "$notices"/rust-library.* > /dev/null
    if [ "$1" = windows-x86_64 ]; then
        cp /usr/share/doc/mingw-w64-x86-64-dev/copyright "$notices/mingw-w64.txt"
    fi
}

# A compiler that knows where Debian 12's C library is.
write_compiler() {
    mkdir -p "$build/$1"
    options="-Wl,--no-insert-timestamp"
    if [ -n "$architecture" ]; then
        root=$top/$build/$1/root
        multiarch=${triple%%-*}-linux-gnu
        if [ ! -d "$root" ]; then
            archive=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' "Created-By: Packages" | grep -v security |
                sed -n 's/ main$//p' | head -n 1)
            rm -rf "$root.new"
            mmdebstrap --quiet --variant=extract --architectures="$architecture" --include=libc6-dev,libgcc-s1,libstdc++6 \
                --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
                bookworm "$root.new" "deb $archive bookworm main" > "$root.log" 2>&1 ||
                stop "Debian 12's C library cannot be had; $root.log says why"
            mv "$root.new" "$root"
        fi
        # A cross compiler finds its own C library first if it is not told otherwise.
        options="'--sysroot=$root' '-L$root/usr/lib/$multiarch' '-L$root/lib/$multiarch' '-B$root/usr/lib/$multiarch' \
            -isystem '$root/usr/include/$multiarch' -isystem '$root/usr/include'"
    fi
    printf '#!/bin/sh\nexec %sgcc %s "$@"\n' "$tools" "$options" > "$build/$1/cc"
    chmod 755 "$build/$1/cc"
}

finish() {
    stage=$build/$1/stage/$name
    doc=$stage/share/doc/wfvae
    # A list for uninstall, which a folder that was unpacked does not need; and the static library, which has to be linked with the
    # libraries of one compiler, and is larger than all else together.
    rm -f "$doc/installed-files" "$stage/lib/libwfvae.a"
    sed -i -e 's|^prefix=.*|prefix=${pcfiledir}/../..|' -e '/^Libs.private:/d' "$stage/lib/pkgconfig/wfvae.pc"
    cp LICENSE-MIT LICENSE-APACHE "$doc"
    cp "$build/$1"/notices/* "$doc"
    python3 tools/notices.py "$triple" > "$doc/crates.txt"
    sed -e "s|@VERSION@|$version|" -e "s|@SYSTEM@|$1|" "packaging/README-${1%%-*}.md" > "$stage/README.md"
    chmod 644 "$doc"/*.* "$doc"/[A-Z]* "$stage/README.md"
    find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

pack() {
    case $1 in
    windows-*)
        rm -f "target/dist/$name.zip"
        (cd "$build/$1/stage" && python3 -m zipfile -c "$top/target/dist/$name.zip" "$name")
        echo "target/dist/$name.zip"
        ;;
    *)
        tar -C "$build/$1/stage" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf "target/dist/$name.tar" "$name"
        gzip -9nf "target/dist/$name.tar"
        echo "target/dist/$name.tar.gz"
        ;;
    esac
}

wheel() {
    tools/venv.sh target/python/tools bindings/python/requirements.txt
    case $1 in
    windows-*) library=bin/wfvae.dll ;;
    *) library=lib/libwfvae.so ;;
    esac
    stage=$top/$build/$1/stage/$name
    (cd bindings/python && WFVAE_LIBRARY="$stage/$library" WFVAE_BATCH= WFVAE_MEDIA= WFVAE_NOTICES="$stage/share/doc/wfvae" \
        "$top/target/python/tools/bin/python" -m hatchling build -t wheel -d "$top/target/dist")
}

# Not in a condition, in which a command that fails would not end it.
if [ "${1:-}" = --compile ]; then
    name=$2
    of_system "$3"
    compile "$3"
    exit
fi

[ -n "$SOURCE_DATE_EPOCH" ] || stop "the time of the files is that of the commit, and this is no git tree: set SOURCE_DATE_EPOCH"
[ "$(uname -m)" = x86_64 ] || stop "it runs on x86-64 machines"
[ $# -gt 0 ] || set -- linux-x86_64 linux-aarch64 windows-x86_64
for system in "$@"; do of_system "$system"; done
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "make dist: skipped: it takes root and Debian's packages" >&2
    exit 77
fi
command -v mmdebstrap > /dev/null || tools/apt-install.sh mmdebstrap ||
    stop "mmdebstrap cannot be installed"
mkdir -p target/dist
# Before the compilers run, as they name the folders of the registry.
cargo fetch --quiet --locked
for system in "$@"; do
    of_system "$system"
    name=libwfvae-$version-$system
    write_compiler "$system"
    make -s TARGET="$triple" runtime
    rm -rf "$build/$system/stage"
    if [ "$system" = linux-x86_64 ]; then
        tools/dist.sh --compile "$name" "$system"
    else
        tools/cross.sh tools/dist.sh --compile "$name" "$system"
    fi
    finish "$system"
    pack "$system"
    wheel "$system"
done
(cd target/dist && sha256sum libwfvae-* wfvae-*.whl > SHA256SUMS && du -h -- *)
