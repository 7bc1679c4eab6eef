#!/bin/sh
# Fetches koffi and runs the tests of wfvae.js. Exit code 77: there is no Node 18 with npm, or koffi cannot be fetched.
# SPDX-License-Identifier: MIT OR Apache-2.0
set -eu
cd "$(dirname "$0")/.."
root=$(cd ../.. && pwd)

if ! command -v node > /dev/null || ! command -v npm > /dev/null; then
    echo "node and npm are not installed"
    exit 77
fi
[ "$(node -p 'process.versions.node.split(".")[0] >= 18')" = true ] || { echo "Node 18 or newer is needed"; exit 77; }
# koffi's programs are in a package for each system, so no script has to run.
npm install --no-package-lock --no-audit --no-fund --ignore-scripts --silent > /dev/null 2>&1 || { echo "npm cannot fetch koffi"; exit 77; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 "$root/bindings/abi.py" "${WFVAE_HEADER:-$root/include/wfvae.h}" "$work"
export WFVAE_ABI="$work/abi.txt"
export WFVAE_LIBRARY="${WFVAE_LIBRARY_FOLDER:-$root/target/release}/libwfvae.so"
# A library that is not there is named, and how to name another.
WFVAE_LIBRARY=/none/libwfvae.so node -e "require('./wfvae.js')" 2>&1 | grep -q '/none/libwfvae.so: .*set WFVAE_LIBRARY' ||
    { echo "the error of a missing library does not name it"; exit 1; }
# A call that never ends must not hold up the other tests.
timeout 300 node --test test/wfvae.test.js
