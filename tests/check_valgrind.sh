#!/bin/sh
# C tests under valgrind: threads, the search for a runtime, frames, alpha, and all error cases.
set -u
cd "$(dirname "$0")/.."
c=target/release/c
command -v valgrind > /dev/null 2>&1 || tools/apt-install.sh valgrind || { echo "valgrind is not installed, and cannot be"; exit 1; }
# Valgrind runs one thread at a time; without fair scheduling the thread that cancels may starve.
valgrind="valgrind --quiet --fair-sched=try --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9"
valgrind="$valgrind --suppressions=tests/c/valgrind.supp"
failed=0

run() {
    echo "== $*"
    $valgrind "$@" || failed=1
}

# With a model named, the programs are shorter.
run $c/test_threads tests/golden/v1-image
run $c/test_cancel tests/golden/v1-image
run $c/test_runtime
run $c/test_frames
run $c/test_alpha tests/golden
run $c/test_other_threads tests/golden
# "quick" leaves out what a limit on memory would do to valgrind itself.
run $c/errors_together tests/golden quick
exit $failed
