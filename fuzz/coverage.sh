#!/bin/sh
# What of their parsers' code fuzz targets reach: fuzz/coverage.sh [TARGET...]. Runs what fuzz/run.sh left in target/fuzz/corpus, the seeds and
# the findings once, and prints a table of the parsers' files for each target; target/fuzz/coverage/TARGET.txt holds the code with
# counts. Exits with 77 where a tool is missing, and says which.
set -eu
cd "$(dirname "$0")/.."
folder=target/fuzz/coverage
[ $# -gt 0 ] || set -- checkpoint index latent_file latent_decode snapshot pixels y4m
FUZZ_BUILD=coverage fuzz/build.sh "$@"
LLVM_PROFILE_FILE=/dev/null fuzz/make_seeds.sh $folder/programs
rustc=$(rustc +nightly --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
WFVAE_ONNXRUNTIME=$PWD/target/onnxruntime/libonnxruntime.so.1
WFVAE_GOLDEN=$PWD/tests/golden
export WFVAE_ONNXRUNTIME WFVAE_GOLDEN
for target in "$@"; do
    model="src/model/config.rs src/model/damage.rs src/model/fields.rs"
    tools=$rustc
    case $target in
    checkpoint)
        files=$model
        for part in blocks causal check checkpoint generation1 generation2 half header identity known_fields mixture network open scaling wavelet weight_type; do
            files="$files src/model/$part.rs"
        done
        ;;
    index) files="src/model/damage.rs src/model/files.rs" ;;
    latent_file | latent_decode) files="src/media/latent_file/info.rs src/media/latent_file/metadata.rs src/media/latent_file/reader.rs" ;;
    snapshot) files="src/stream/snapshot/format.rs src/stream/snapshot/value.rs src/stream/alpha.rs" ;;
    pixels) files="src/media/pixels/shape.rs src/media/pixels/values.rs src/media/pixels/yuv.rs" ;;
    # Of clang's own version.
    y4m) files=examples/y4m.c tools=$(dirname "$(readlink -f "$(command -v clang)")") ;;
    *) echo "fuzz/coverage.sh: \"$target\" is not measured; checkpoint, index, latent_file, latent_decode, snapshot, pixels or y4m" >&2 && exit 2 ;;
    esac
    [ -x "$tools/llvm-cov" ] || [ "$target" != y4m ] || tools/apt-install.sh llvm
    [ -x "$tools/llvm-cov" ] || [ "$target" = y4m ] || rustup component add llvm-tools --toolchain nightly
    [ -x "$tools/llvm-cov" ] || { echo "fuzz/coverage.sh: $tools/llvm-cov is missing: rustup component add llvm-tools --toolchain nightly" >&2; exit 77; }
    rm -rf "$folder/$target" && mkdir -p "$folder/$target"
    inputs=
    for kind in target/fuzz/corpus target/fuzz/seeds fuzz/findings; do [ ! -d "$kind/${target}" ] || inputs="$inputs $kind/$target"; done
    # shellcheck disable=SC2086
    find $inputs -type f -print0 | LLVM_PROFILE_FILE="$folder/$target/%m.profraw" xargs -0 -n 500 $folder/programs/"$target" > "$folder/$target.log" 2>&1 || {
        tail -n 20 "$folder/$target.log"
        echo "$target: found something, see $folder/$target.log" >&2
        exit 1
    }
    "$tools/llvm-profdata" merge -sparse -o "$folder/$target.profdata" "$folder/$target"/*.profraw
    rm -r "${folder:?}/$target"
    # shellcheck disable=SC2086
    "$tools/llvm-cov" show "$folder/programs/$target" -instr-profile="$folder/$target.profdata" $files > "$folder/$target.txt"
    # shellcheck disable=SC2086
    "$tools/llvm-cov" export "$folder/programs/$target" -instr-profile="$folder/$target.profdata" -format=text $files > "$folder/$target.json"
    python3 fuzz/coverage.py "$target" "$folder/$target.json"
done
