#!/bin/sh
# Runs golden cases, forks and telemetry on each version of ONNX Runtime in tools/onnxruntime-tested.txt, the oldest first.
# --quick: a few cases of every kind of graph, on the oldest version (which is promised to work) and on the newest, without
# waiting for telemetry.
set -u
cd "$(dirname "$0")/.."
versions=$(sed -n 's/^onnxruntime==\([^ ]*\) .*/\1/p' tools/onnxruntime-tested.txt)
cases=
if [ "${1:-}" = --quick ]; then
    versions=$(printf '%s\n' "$versions" | sed -n '1p;$p')
    # Attention, 8 frames a latent, the second generation, 2D and 3D blocks of images, whole clips.
    cases="v1-tiny-8x own-noattn v2-tiny own-v2-image-mixing own-v2-groupnorm"
fi
failed=

run() {
    log=$1
    shift
    if ! "$@" > "$log" 2>&1; then
        cat "$log"
        failed="$failed $version"
    fi
    tail -n 1 "$log"
}

for version in $versions; do
    echo "-- ONNX Runtime $version"
    tools/fetch-onnxruntime.sh "$version" || exit 1
    WFVAE_ONNXRUNTIME=$PWD/target/onnxruntime-$version/libonnxruntime.so.1
    export WFVAE_ONNXRUNTIME
    # shellcheck disable=SC2046,SC2086
    run target/runtimes.log cargo test --quiet --release $(tools/features.sh) --test golden -- $cases
    # Telemetry began with 1.29.
    case $version in
    1.1?.* | 1.2[0-8].*) short=short ;;
    *) short=${cases:+short} ;;
    esac
    # shellcheck disable=SC2086
    run target/runtimes.log target/release/c/test_telemetry $short
    [ -n "$cases" ] || run target/runtimes.log target/release/c/test_fork
done
[ -z "$failed" ] || { echo "failed on:$failed"; exit 1; }
