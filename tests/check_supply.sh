#!/bin/sh
# Asks cargo-deny about the dependencies (deny.toml): licences, second versions, sources and, with a network, known flaws. Then
# counts unsafe code. Fetches and builds cargo-deny first, which takes a quarter of an hour on two cores.
set -u
cd "$(dirname "$0")/.." || exit 1
# This version needs no newer Rust than the library.
version=0.20.2
deny=$PWD/target/cargo-deny/bin/cargo-deny
if [ "$("$deny" --version 2> /dev/null)" != "cargo-deny $version" ]; then
    echo "building cargo-deny $version"
    cargo install --quiet --locked --version $version --root target/cargo-deny --target-dir target/cargo-deny/build cargo-deny || exit 1
fi
"$deny" --locked check licenses bans sources || exit 1
# The database is a repository of its own, which not every network reaches.
if "$deny" fetch db > target/cargo-deny/fetch.log 2>&1; then
    "$deny" --locked check advisories || exit 1
else
    echo "advisories skipped: their database cannot be fetched (target/cargo-deny/fetch.log)"
fi
python3 tests/count_unsafe.py
