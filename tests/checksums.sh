#!/bin/sh
# Checksums of what this state of the code computes, to compare with another state on the same machine: of all golden
# cases in all ways to compute them, and of both demo clips by the programs. `make checksums` runs it.
set -e
cd "$(dirname "$0")/.."
cargo test --quiet --release --test checksums
for clip in target/demo/box-320x240.y4m target/demo/city-360x200.y4m; do
    while read -r options; do
        # shellcheck disable=SC2086
        sum=$(target/release/c/reconstruct -q $options "$clip" - 2> /dev/null | sha256sum | cut -c 1-16)
        echo "$clip $options: $sum"
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
