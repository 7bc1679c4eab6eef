#!/bin/sh
# Makes the seeds of the fuzz targets in target/fuzz/seeds: fuzz/make_seeds.sh FOLDER, where built targets are.
set -eu
cd "$(dirname "$0")/.."
python3 fuzz/seeds.py target/fuzz/seeds
[ -x "$1/checkpoint" ] || exit 0
# What the edits of small networks make, as text.
for file in target/fuzz/seeds/checkpoint/small-*-edits; do
    WFVAE_FUZZ_SHOW=1 "$1/checkpoint" "$file" 2> /dev/null | head -c -1 > "${file%-edits}"
done
