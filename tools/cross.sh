#!/bin/sh
# Runs a command in a chroot of Debian sid that can build and run libwfvae for other systems: cross.sh COMMAND...
# It has Rust with the standard library for aarch64 and its source (for Windows it is built), compilers, Wine and QEMU. The project
# and Cargo's registry are at the same paths inside, and the command runs in the project's folder.
# The chroot, target/cross/root (4 GB), is made if it is missing: one minute and a half, 600 MB of packages from the machine's
# sources. Needs root. Exits with 77 where it cannot be had; CROSS_ROOT names another folder for it.
#     cross.sh --rust COMMAND...    in one with Rust only, target/cross/rust (1.3 GB), which is made in half the time; in the whole one
#                                   if that is there
set -eu
cd "$(dirname "$0")/.."
top=$PWD
root=${CROSS_ROOT:-$top/target/cross/root}

rust=rustc,cargo,rust-src,gcc,libc6-dev,binutils-mingw-w64-x86-64
packages=$rust,make,gcc-mingw-w64-x86-64-win32,g++-mingw-w64-x86-64-win32,mingw-w64-tools,wine64,wine
packages=$packages,libstd-rust-dev:arm64,gcc-aarch64-linux-gnu,g++-aarch64-linux-gnu,libc6-dev-arm64-cross,qemu-user
packages=$packages,llvm,lld,cmake,pkgconf,python3
architectures=amd64,arm64

skip() {
    echo "cross.sh: skipped: $*" >&2
    exit 77
}

is_made() {
    [ "$(cat "$root/packages" 2> /dev/null)" = "$packages" ]
}

make_root() {
    [ "$(uname -m)" = x86_64 ] || skip "the chroot is for x86-64 machines"
    command -v mmdebstrap > /dev/null || { apt-get -qq update && apt-get -qq install -y mmdebstrap; } > /dev/null 2>&1 ||
        skip "mmdebstrap is not installed, and cannot be"
    # The address of Debian's archive that this machine uses.
    archive=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' "Created-By: Packages" 2> /dev/null |
        grep -v security | sed -n 's/ main$//p' | head -n 1)
    [ -n "$archive" ] || skip "no package source of Debian in /etc/apt"
    echo "cross.sh: makes $root" >&2
    rm -rf "$root" "$root.new"
    mkdir -p "$(dirname "$root")"
    mmdebstrap --quiet --variant=apt --architectures=$architectures --include="$packages" \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Check-Valid-Until "false"' \
        sid "$root.new" "deb $archive sid main" > "$root.log" 2>&1 || {
        tail -n 20 "$root.log" >&2
        rm -rf "$root.new"
        skip "Debian sid cannot be installed; all of the output is in $root.log"
    }
    # Only what is needed at run time, and the licences of what is linked into archives.
    find "$root.new/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "$root.new/var/cache/apt/archives" "$root.new/var/lib/apt/lists"
    echo "$packages" > "$root.new/packages"
    mv "$root.new" "$root"
}

[ "$(id -u)" = 0 ] || skip "a chroot takes root"
if [ "${1:-}" = --rust ]; then
    shift
    is_made || { root=$top/target/cross/rust packages=$rust architectures=amd64; }
fi
is_made || make_root
[ $# -gt 0 ] || exit 0

# How this machine reaches package registries, and its certificates.
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
    [ ! -f "$file" ] || { mkdir -p "$root$(dirname "$file")" && cat "$file" > "$root$file"; }
done
cargo=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$cargo/registry" "$root/opt/cargo/registry" "$root$top"
for file in config.toml config; do
    [ ! -f "$cargo/$file" ] || cp "$cargo/$file" "$root/opt/cargo/"
done

# Its mounts and processes are in namespaces of their own, so that none is left behind.
exec unshare --mount --pid --fork --propagation private sh -euc '
    root=$1 top=$2 cargo=$3
    shift 3
    # Wine knows only files of mounted file systems.
    mount --bind "$root" "$root"
    mount --bind "$top" "$root$top"
    mount --bind "$cargo/registry" "$root/opt/cargo/registry"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    # The folder for temporary files may not be there, and Wine ends if it is named.
    exec env -u TMPDIR HOME=/root CARGO_HOME=/opt/cargo PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 MAKEFLAGS= \
        chroot "$root" sh -euc "cd \"\$1\" && shift && exec \"\$@\"" sh "$top" "$@"' \
    sh "$root" "$top" "$cargo" "$@"
