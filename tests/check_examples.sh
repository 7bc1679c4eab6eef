#!/bin/sh
# The Rust examples: frames of a latent file are those of one stream, to the bit, and errors are reported. Any bytes are pixels.
set -eu
cd "$(dirname "$0")/.."
features=$(tools/features.sh)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
width=61 height=48 frames=11
gunzip -c examples/clips/box-320x240.y4m.gz | head -c $((width * height * 3 * frames)) > "$folder/in.rgb"
example() {
    name=$1
    shift
    # shellcheck disable=SC2086
    cargo run --quiet --release $features --example "$name" -- "$@"
}

example latent_file encode $width $height "$folder/clip.safetensors" < "$folder/in.rgb"
example latent_file decode "$folder/clip.safetensors" > "$folder/decoded.rgb"
example reconstruct_raw $width $height 2000 < "$folder/in.rgb" > "$folder/stream.rgb"
cmp "$folder/decoded.rgb" "$folder/stream.rgb"
[ "$(wc -c < "$folder/decoded.rgb")" = "$(wc -c < "$folder/in.rgb")" ]

# Enough memory, and too little.
gunzip -c examples/clips/box-320x240.y4m.gz | head -c $((768 * 256 * 3)) > "$folder/large.rgb"
example reconstruct_raw 768 256 450 < "$folder/large.rgb" > "$folder/whole.rgb"
[ "$(wc -c < "$folder/whole.rgb")" = $((768 * 256 * 3)) ]
# In tiles, results are the same up to rounding: few bytes differ.
example large_frames 768 256 1 300 < "$folder/large.rgb" > "$folder/tiles.rgb" 2> "$folder/plan"
grep -q " [2-9] tiles of .* encode, [2-9] of " "$folder/plan"
differ=$(cmp -l "$folder/whole.rgb" "$folder/tiles.rgb" || true)
[ "$(wc -c < "$folder/tiles.rgb")" = $((768 * 256 * 3)) ]
[ "$(echo "$differ" | wc -l)" -lt 100 ]
if example reconstruct_raw 768 256 1 < "$folder/large.rgb" > /dev/null 2> "$folder/error"; then exit 1; fi
grep -q "memory_limit\|memory limit" "$folder/error"
# A broken frame.
if head -c 100 "$folder/in.rgb" | example latent_file encode $width $height "$folder/none" 2> "$folder/error"; then exit 1; fi
[ ! -e "$folder/none" ]
echo "examples: passed"
