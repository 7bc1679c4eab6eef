#!/bin/sh
# Builds fuzz targets with AddressSanitizer, to target/fuzz: fuzz/build.sh TARGET... docs/fuzzing.md lists them. Needs a nightly Rust and
# a C++ compiler; for targets in C, clang, too. Exits with 77 where one is missing, and says which.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')
programs=target/fuzz/programs
mkdir -p $programs

missing() {
    echo "fuzz/build.sh: $*" >&2
    exit 77
}

have() {
    command -v "$1" > /dev/null || tools/apt-install.sh "$2"
}

# What cargo-fuzz passes, and the checks of a build for debugging.
coverage="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    coverage="$coverage -Cllvm-args=-sanitizer-coverage-$option"
done
flags="--cfg fuzzing -Zsanitizer=address $coverage -Coverflow-checks -Cdebug-assertions"

clang="clang -std=gnu11 -g -O1 -Wall -Wextra -Werror -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Iinclude -Iexamples"
# The library, which is built with the targets in Rust.
rust="target/fuzz/$host/release/deps/libwfvae.a -lpthread -ldl -lm -lgcc_s"

# $1: the target; others: what is linked with it.
in_c() {
    name=$1
    shift
    $clang -o $programs/"$name" "fuzz/$name.c" "$@" $rust
}

# The filter, in FFmpeg's libraries, of which only it is instrumented.
header_row() {
    tools/ffmpeg.sh > target/fuzz/ffmpeg.log 2>&1 || {
        [ $? = 77 ] || { cat target/fuzz/ffmpeg.log >&2; exit 1; }
        missing "header_row needs FFmpeg's source: $(tail -n 1 target/fuzz/ffmpeg.log)"
    }
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release | tr -d '"')
    ffmpeg=target/ffmpeg/$suite
    clang -std=gnu11 -g -O1 -w -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -DHAVE_AV_CONFIG_H \
        -Dwfvae_model_open=model_open_once -Dwfvae_model_close=model_stay_open -Iinclude -I"$ffmpeg/build" -I"$ffmpeg/src" -I"$ffmpeg/src/libavfilter" -I"$ffmpeg/libffmpeg-nvenc-dev/usr/include" -c -o $programs/vf_wfvae.o ffmpeg-filter/vf_wfvae.c
    libraries=
    for part in avfilter swscale avformat avcodec swresample avutil; do libraries="$libraries $ffmpeg/build/lib$part/lib$part.a"; done
    # shellcheck disable=SC2086
    in_c header_row -I"$ffmpeg/build" -I"$ffmpeg/src" $programs/vf_wfvae.o $libraries -lz
}

bins=
for target in "$@"; do
    case $target in
    checkpoint | index | latent_file | snapshot | pixels) bins="$bins --bin $target" ;;
    calls | y4m | header_row) have clang clang || missing "$target needs clang" ;;
    convert) ;;
    *) echo "fuzz/build.sh: \"$target\" is unknown; TARGET=checkpoint, index, latent_file, snapshot, pixels, calls, y4m, header_row or convert" >&2 && exit 2 ;;
    esac
done
[ $# -gt 0 ] || { echo "fuzz/build.sh: name a target: TARGET=checkpoint, index, latent_file, snapshot, pixels, calls, y4m, header_row or convert" >&2; exit 2; }
[ "$*" = convert ] || "$cargo" +nightly --version > /dev/null 2>&1 || missing "a nightly Rust is missing: rustup toolchain install nightly"
[ "$*" = convert ] || have c++ g++ || missing "libFuzzer needs a C++ compiler"
if [ "$*" != convert ]; then
    # shellcheck disable=SC2086
    RUSTFLAGS=$flags "$cargo" +nightly build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir target/fuzz --lib $bins
    for bin in $bins; do [ "$bin" = --bin ] || ln -sf "../$host/release/$bin" $programs/; done
fi
for target in "$@"; do
    case $target in
    calls) in_c calls ;;
    y4m) in_c y4m examples/y4m.c ;;
    header_row) header_row ;;
    convert)
        tools/venv.sh target/fuzz/venv fuzz/requirements.txt || missing "convert needs atheris, which pip cannot fetch for this Python"
        ;;
    esac
done
