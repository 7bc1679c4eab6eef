#!/bin/sh
# Lets the compiler check the library for other systems: check_compile.sh windows|macos... Nothing is linked or run. Rust is that of
# tools/cross.sh, which has the standard library's source. Exits with 77 where that cannot be had.
set -eu
cd "$(dirname "$0")/.."
[ "${1:-}" = --inside ] || exec tools/cross.sh --rust tests/check_compile.sh --inside "$@"
shift

targets=
for system in "$@"; do
    case $system in
    windows) targets="$targets --target x86_64-pc-windows-gnu" ;;
    macos) targets="$targets --target x86_64-apple-darwin --target aarch64-apple-darwin" ;;
    *) echo "$0: \"$system\" is unknown; windows and macos are all there is" >&2 && exit 2 ;;
    esac
done
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$PWD/target/cross/compile" CARGO_INCREMENTAL=0
# shellcheck disable=SC2086
cargo check --quiet --lib -Z build-std=std,panic_unwind $targets
echo "it compiles for $*"
