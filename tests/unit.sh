#!/bin/sh
# Runs the unit tests, optimised, but with the checks of a build for debugging: overflows and debug_assert. Lines for backtraces and the last
# steps of the optimiser are left out: the compiler takes a fifth less time without them. $@: more for cargo test.
cd "$(dirname "$0")/.." || exit
# shellcheck disable=SC2046
exec "${CARGO:-cargo}" test --quiet --release $(tools/features.sh) --lib --config profile.release.package.wfvae.overflow-checks=true \
    --config profile.release.package.wfvae.debug-assertions=true --config profile.release.package.wfvae.debug=false \
    --config profile.release.package.wfvae.opt-level=2 "$@"
