#!/bin/sh
# Runs the unit tests, optimised, but with the checks of a build for debugging: overflows and debug_assert. $@: more for cargo test.
cd "$(dirname "$0")/.." || exit
# shellcheck disable=SC2046
exec "${CARGO:-cargo}" test --quiet --release $(tools/features.sh) --lib --config profile.release.package.wfvae.overflow-checks=true \
    --config profile.release.package.wfvae.debug-assertions=true "$@"
