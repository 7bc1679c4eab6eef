#!/bin/sh
# Runs README's two commands, `make demo` and `make check`, as on a fresh machine: in a bare chroot of Debian with gcc,
# libc6-dev, make, git, python3, python3-pip and nothing that these only recommend, on a clone of what is committed, with
# empty caches and this machine's Rust.
#     check-fresh.sh [SUITE...]     default: bookworm trixie (Debian 12 and 13)
# ONLY=demo runs only that command, ROOTLESS=1 runs them as an ordinary user, WHERE is a folder for the chroots
# (target/fresh); each takes 5 GB and is removed at the end, unless KEEP=1.
# Needs root, and mmdebstrap, which is installed if that is possible. Packages come from the machine's own sources.
set -eu
cd "$(dirname "$0")/.."
top=$PWD
where=${WHERE:-$top/target/fresh}
packages=gcc,libc6-dev,make,git,python3,python3-pip,ca-certificates

die() {
    echo "check-fresh: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || die "a chroot takes root"
command -v mmdebstrap > /dev/null || tools/apt-install.sh mmdebstrap ||
    die "mmdebstrap is not installed, and cannot be"
rust=$(rustc --print sysroot) || die "rustc is not on the path"
# The address of Debian's archive that this machine uses.
archive=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' "Created-By: Packages" |
    grep -v security | sed -n 's/ main$//p' | head -n 1)
[ -n "$archive" ] || die "no package source of Debian in /etc/apt"
mkdir -p "$where"

# Runs a command in the chroot $root. Its mounts and processes are in namespaces of their own, so that none is left behind.
inside() {
    user=root
    [ "${ROOTLESS:-}" != 1 ] || user=nobody
    unshare --mount --pid --fork --propagation private sh -euc '
        root=$1 rust=$2 user=$3
        shift 3
        mount --bind "$rust" "$root/opt/rust"
        mount -o remount,bind,ro "$root/opt/rust"
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        exec chroot --userspec="$user" "$root" "$@"' sh "$root" "$rust" "$user" "$@"
}

# Runs the two commands in the chroot $root. Stops at the first that fails.
two_commands() {
    for target in demo check; do
        [ -z "${ONLY:-}" ] || [ "$ONLY" = "$target" ] || continue
        start=$(date +%s)
        inside env -u PIP_FIND_LINKS -u CARGO_HOME -u RUSTUP_HOME -u MAKEFLAGS HOME=/home LC_ALL=C.UTF-8 \
            PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            make -C /home/libwfvae "$target" || return
        echo "== $suite: make $target: $(($(date +%s) - start)) s"
    done
}

[ $# -gt 0 ] || set -- bookworm trixie
failed=
for suite in "$@"; do
    root=$where/$suite
    rm -rf "$root"
    echo "== $suite: a bare system"
    mmdebstrap --quiet --variant=minbase --include="$packages" "$suite" "$root" "deb $archive $suite main"
    mkdir -p "$root/opt/rust" "$root/home/.cargo"
    # How this machine reaches package registries, and its certificates.
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
        [ ! -f "$file" ] || cat "$file" > "$root$file"
    done
    cargo=${CARGO_HOME:-$HOME/.cargo}/config.toml
    [ ! -f "$cargo" ] || cp "$cargo" "$root/home/.cargo/"
    git clone --quiet --no-hardlinks "$top" "$root/home/libwfvae"
    [ "${ROOTLESS:-}" != 1 ] || chroot "$root" chown -R nobody:nogroup /home
    two_commands || failed="$failed $suite"
    [ "${KEEP:-}" = 1 ] || rm -rf "$root"
done
[ -z "$failed" ] || die "failed:$failed"
echo "check-fresh: passed"
