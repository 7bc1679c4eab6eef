#!/bin/sh
# Checksums of what this state of the code computes, to compare with another state on the same machine: of all golden
# cases in all ways to compute them, and of both demo clips by the programs. `make checksums` runs it.
set -e
cd "$(dirname "$0")/.."
cargo test --quiet --release --test checksums
for clip in target/demo/box-320x240.y4m target/demo/city-360x200.y4m; do
    while read -r options; do
        # shellcheck disable=SC2086
        target/release/c/reconstruct -q $options "$clip" target/checksums.y4m > target/checksums.log 2>&1 || {
            cat target/checksums.log
            exit 1
        }
        echo "$clip $options: $(sha256sum < target/checksums.y4m | cut -c 1-16)"
    done << END

-C fast
-C stacked
-H
-t 1
-w 33
-w 33 -T exact -s 352
-w 33 -T blended -s 128
END
done
